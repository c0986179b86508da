use super::*;

struct Machine;

impl HostFiles for Machine {
    fn exists(&self, path: &Path) -> bool {
        path == Path::new("/tmp")
    }
    fn is_directory(&self, path: &Path) -> bool {
        path == Path::new("/w/sub")
    }
    fn has_command_file(&self, _: &Path, name: &str) -> bool {
        name == "new"
    }
}

fn planned(text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let config = Config::read(text).expect("the config's own reading finds nothing");
    let defaults =
        Defaults { timeout: Duration::from_secs(10), idle_timeout: None, startup_timeout: Duration::from_secs(120) };
    plan(config, Path::new("/w"), &defaults, &Machine)
}

fn names_of(text: &str) -> Vec<String> {
    planned(text).expect("a plan").instances.into_iter().map(|i| i.name).collect()
}

#[test]
fn a_missing_name_is_made_from_the_command() {
    let names = names_of(
        r#"{"instances": [{"command": "/help me"}, {"command": "/help"}, {"name": "/help-2", "command": "x"},
            {"prompt": "What are the security vulnerabilities?"}, {"prompt": "a\nb"}]}"#,
    );
    assert_eq!(names, ["/help", "/help-3", "/help-2", "What are the security vulnerab...", "a b"]);
}

#[test]
fn turns_are_the_pre_commands_and_then_the_command() {
    let plan = planned(
        r#"{"instances": [{"command": "/analyze src", "prompt": "not used", "compact_history": true,
            "pre_commands": ["/clear", "Set context"]}, {"prompt": "/help"}, {"command": " \n/tmp is full"}]}"#,
    )
    .expect("a plan");
    let told: Vec<_> = plan.instances[0].turns.iter().map(|t| (t.text.as_str(), t.command.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("/compact", Some("compact")),
            ("/clear", Some("clear")),
            ("Set context", None),
            ("/analyze src", Some("analyze"))
        ]
    );
    assert_eq!(plan.instances[1].turns[0].command, None, "a prompt is text");
    let of_path = &plan.instances[2].turns[0];
    assert_eq!(
        (of_path.command.as_deref(), of_path.may_be_path, of_path.text.as_str()),
        (Some("tmp"), true, "/tmp is full"),
        "blanks before the slash are removed"
    );
    assert!(plan.instances[0].turns.iter().all(|turn| !turn.may_be_path));
    assert_eq!((plan.warnings.len(), plan.notes.len()), (0, 1));
}

#[test]
fn unknown_dependencies_directories_and_rings_are_told_together() {
    let mistakes = planned(
        r#"{"instances": [
            {"name": "a", "command": "x", "depends_on": ["b"]},
            {"name": "b", "command": "x", "depends_on": ["c", "collectr"]},
            {"name": "c", "command": "x", "depends_on": [{"name": "a", "when": "done"}]},
            {"name": "collector", "command": "x", "depends_on": ["collector"], "cwd": "gone"},
            {"name": "fine", "command": "x", "cwd": "sub", "depends_on": ["c"]}]}"#,
    )
    .expect_err("mistakes");
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 2, column 57: instance 'a': depends_on: waits for itself: a -> b -> c -> a",
            "line 3, column 57: instance 'b': depends_on: there is no instance 'collectr', did you mean 'collector'?",
            "line 5, column 65: instance 'collector': depends_on: is the instance itself",
            "line 5, column 87: instance 'collector': cwd: /w/gone is no directory that can be entered",
        ]
    );
}

#[test]
fn results_are_of_those_that_have_ended_before() {
    let plan = planned(
        r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x", "depends_on": ["a"]},
            {"name": "c", "command": "/review {{result:b}} {{result: a }}", "depends_on": ["b"],
             "pre_commands": ["Read {{result:a}}"]}]}"#,
    )
    .expect("a plan");
    let turns = &plan.instances[2].turns;
    assert_eq!(turns[0].placeholders, [Placeholder { range: 5..17, instance: 0 }]);
    assert_eq!(
        turns[1].placeholders,
        [Placeholder { range: 8..20, instance: 1 }, Placeholder { range: 21..35, instance: 0 }]
    );
    assert_eq!(turns[1].command.as_deref(), Some("review"));
    let mistakes = planned(
        r#"{"instances": [{"name": "collector", "command": "x"},
            {"name": "b", "prompt": "{{result:colector}} {{result:}}", "command": null, "depends_on": ["collector"]},
            {"name": "c", "command": "{{result:b}}{{result:c}}", "pre_commands": ["/{{result:b}}"]}]}"#,
    );
    let told: Vec<String> = mistakes.expect_err("mistakes").iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 2, column 37: instance 'b': prompt: '{{result:colector}}': there is no instance 'colector', did you mean 'collector'?",
            "line 2, column 37: instance 'b': prompt: '{{result:}}' names no instance",
            "line 3, column 38: instance 'c': command: '{{result:b}}': it does not depend on 'b': name that in its 'depends_on'",
            "line 3, column 38: instance 'c': command: '{{result:c}}': it is the instance itself",
            "line 3, column 82: instance 'c': pre_commands: '{{result:b}}' stands in the name of the command, which is the config's own to say",
        ]
    );
}

#[test]
fn turns_are_parted_where_the_conversation_is_cleared() {
    let legs = |fields: &str| {
        let plan = planned(&format!(r#"{{"instances": [{{"command": "x"{fields}}}]}}"#)).expect("a plan");
        plan.instances[0].segments().into_iter().map(|leg| (leg.turns, leg.starts_fresh)).collect::<Vec<_>>()
    };
    for (fields, expected) in [
        ("", vec![(0..1, false)]),
        (r#", "pre_commands": ["a", "/compact"]"#, vec![(0..3, false)]),
        (r#", "pre_commands": ["/clear"]"#, vec![(1..2, true)]),
        (r#", "clear_history": true, "compact_history": true"#, vec![(1..3, true)]),
        (r#", "clear_history": true, "pre_commands": ["/clear", "a"]"#, vec![(2..4, true)]),
        (r#", "pre_commands": ["a", "/clear", "/clear now", "b"]"#, vec![(0..1, false), (3..5, true)]),
    ] {
        assert_eq!(legs(fields), expected, "{fields}");
    }
}

#[test]
fn a_session_is_of_one_directory_and_has_something_to_do() {
    let mistakes = planned(
        r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"}, {"command": "/clear"},
            {"name": "b", "command": "x", "session_id": "s", "cwd": "sub"}]}"#,
    );
    let told: Vec<String> = mistakes.expect_err("mistakes").iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("'/clear' leaves nothing to be done"), "{told:?}");
    assert!(told[1].contains("session_id: is that of 'a', which runs in another directory"), "{told:?}");
}

#[test]
fn one_session_is_one_queue_and_can_close_a_ring() {
    let plan = planned(
        r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"}, {"name": "b", "command": "x"},
            {"name": "c", "command": "x", "session_id": "s"}]}"#,
    )
    .expect("a plan");
    assert_eq!(waits_for(&plan.instances), [vec![], vec![], vec![0]]);
    let ring = planned(
        r#"{"instances": [{"name": "a", "command": "x", "session_id": "s", "depends_on": ["b"]},
            {"name": "b", "command": "x", "session_id": "s"}]}"#,
    );
    assert!(ring.expect_err("a ring")[0].message.contains("a -> b -> a"));
}

#[test]
fn tools_arguments_and_lengths_are_looked_at() {
    let long = "x".repeat(140_000);
    let mistakes = planned(&format!(
        r#"{{"instances": [
            {{"name": "a", "command": "x", "allowed_tools": ["Grep,Read(src/**)", "LS(x)"]}},
            {{"name": "b", "command": "x", "disallowed_tools": ["Bash (git *)"], "claude_args": ["--tools=Read"]}},
            {{"name": "c", "command": "x", "env": {{"A": "{long}"}}, "claude_args": ["--max-turns", "3", "--output-format",
                "--resume=x", "--resume", "--max-budget-usd=1"]}}],
            "budget": {{"command_cost_budgets": {{"x": 5}}}}}}"#
    ))
    .expect_err("mistakes");
    let told: Vec<String> =
        mistakes.iter().map(|m| format!("{}: {}: {}", m.position.line, m.field, m.message)).collect();
    let expected = [
        "2: allowed_tools: 'Read(src/**)' cannot be enforced",
        "2: allowed_tools: 'LS(x)' cannot be enforced",
        "3: disallowed_tools: 'Bash (git *)' is no tool: ",
        "3: claude_args: --tools would contradict what zen gives claude itself: use the field 'allowed_tools'",
        "4: env: is longer than the 128 KiB",
        "4: claude_args: --output-format is zen's own to give",
        "4: claude_args: --resume would contradict what zen gives claude itself: use the field 'session_id'",
        "4: claude_args: --max-budget-usd would contradict the budget in dollars",
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
    let plan = planned(
        r#"{"instances": [
            {"name": "a", "command": "x", "allowed_tools": ["Read, Bash(git log, *)"], "disallowed_tools": ["Wirte", "Read"]}]}"#,
    )
    .expect("a plan");
    assert_eq!(plan.instances[0].invocation.allowed_tools, Some(vec!["Read".into(), "Bash(git log, *)".into()]));
    let expected = [
        "line 2: instance 'a': disallowed_tools: claude has no tool 'Wirte', did you mean 'Write'?",
        "line 2: instance 'a': disallowed_tools: 'Read' is in allowed_tools too: it is refused",
    ];
    assert_eq!(plan.warnings, expected);
}

#[test]
fn a_budget_of_nobody_is_told_in_harmless_words() {
    let plan = planned(
        r#"{"instances": [{"command": "/a\u001b[2J x"}], "budget": {"command_budgets": {"/ab\u001b[31m": 5, "/zz\n": 5}}}"#,
    )
    .expect("a plan");
    assert!(plan.warnings.iter().all(|warning| !warning.contains(char::is_control)), "{:?}", plan.warnings);
    assert_eq!(plan.warnings.len(), 2);
}

#[test]
fn aliases_of_clear_clear_unless_a_file_defines_the_command() {
    let plan =
        planned(r#"{"instances": [{"pre_commands": ["a", "/reset", "/new"], "command": "b"}]}"#).expect("a plan");
    let clears: Vec<bool> = plan.instances[0].turns.iter().map(Turn::clears).collect();
    assert_eq!(clears, [false, true, false, false], "/new is the user's own here");
    let mistakes = planned(r#"{"instances": [{"command": "/reset"}]}"#).expect_err("nothing to do");
    assert!(mistakes[0].message.contains("leaves nothing to be done"), "{}", mistakes[0].message);
}

#[test]
fn an_estimate_above_a_limit_that_blocks_is_a_mistake() {
    let instances = r#""instances": [{"command": "/a x", "max_tokens_per_command": 6000},
        {"command": "/b", "max_tokens_per_command": 6000}, {"command": "/a", "max_tokens_per_command": 3000}]"#;
    let told = |budget: &str| match planned(&format!(r#"{{"budget": {{{budget}}}, {instances}}}"#)) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(|m| format!("{}: {}", m.field, m.message)).collect(),
    };
    let of = |limit: &str| {
        let rest = "got 6000: in block mode it could never start";
        format!("max_tokens_per_command: must be at most {limit}, which is 5000 tokens, {rest}")
    };
    assert_eq!(told(r#""overall_budget": 5000"#), [of("the overall budget"), of("the overall budget")]);
    assert_eq!(told(r#""command_budgets": {"/a": 5000}"#), [of("the budget of /a")]);
    for budget in [
        r#""overall_budget": 6000"#,
        r#""overall_budget": 5000, "enforcement_mode": "warn""#,
        r#""overall_budget": 5000, "overall_cost_budget": 1, "budget_type": "cost""#,
    ] {
        assert_eq!(told(budget), Vec::<String>::new(), "{budget}");
    }
}
