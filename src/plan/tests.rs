use super::*;
use crate::claude::extra_args::ArgumentError;
use crate::claude::tool_lint::{ToolError, ToolWarning};
use crate::config::{Config, Diagnostic};
use crate::plan::problem::{LimitName, PlanProblem, ReferenceError};
use crate::plan::result_template::PlaceholderError;

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

const DEFAULTS: Defaults =
    Defaults { timeout: Duration::from_secs(10), idle_timeout: None, startup_timeout: Duration::from_secs(120) };

fn planned(text: &str) -> Result<Plan, Vec<Diagnostic<PlanProblem>>> {
    let config = Config::read(text).expect("a config that the reader accepts");
    plan(config, Path::new("/w"), &DEFAULTS, &Machine)
}

/// Returns line, column, field and problem of each mistake in a config.
fn mistakes(text: &str) -> Vec<(usize, usize, String, PlanProblem)> {
    let mistakes = planned(text).expect_err("mistakes");
    mistakes.into_iter().map(|m| (m.position.line, m.position.column, m.field, m.problem)).collect()
}

fn unknown(name: &str, suggestion: Option<&str>) -> ReferenceError {
    ReferenceError::UnknownInstance { name: name.into(), suggestion: suggestion.map(str::to_owned) }
}

fn names_of(text: &str) -> Vec<String> {
    planned(text).expect("a plan").instances.into_iter().map(|i| i.name).collect()
}

#[test]
fn missing_name_is_derived_from_the_command() {
    let names = names_of(
        r#"{"instances": [{"command": "/help me"}, {"command": "/help"}, {"name": "/help-2", "command": "x"},
            {"prompt": "What are the security vulnerabilities?"}, {"prompt": "a\nb"}]}"#,
    );
    assert_eq!(names, ["/help", "/help-3", "/help-2", "What are the security vulnerab...", "a b"]);
}

#[test]
fn turns_are_pre_commands_and_command() {
    let plan = planned(
        r#"{"instances": [{"command": "/analyze src", "prompt": "not used", "compact_history": true,
            "pre_commands": ["/clear", "Set context"]}, {"prompt": "/help"}, {"command": " \n/tmp is full"}]}"#,
    )
    .expect("a plan");
    let turns: Vec<_> = plan.instances[0].turns.iter().map(|t| (t.text.as_str(), t.command.as_deref())).collect();
    assert_eq!(
        turns,
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
fn unknown_dependencies_directories_and_cycles_are_reported_together() {
    let mistakes = mistakes(
        r#"{"instances": [
            {"name": "a", "command": "x", "depends_on": ["b"]},
            {"name": "b", "command": "x", "depends_on": ["c", "collectr"]},
            {"name": "c", "command": "x", "depends_on": [{"name": "a", "when": "done"}]},
            {"name": "collector", "command": "x", "depends_on": ["collector"], "cwd": "gone"},
            {"name": "fine", "command": "x", "cwd": "sub", "depends_on": ["c"]}]}"#,
    );
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    let expected = [
        (2, 57, "depends_on", PlanProblem::Cycle { names, is_by_session: false }),
        (3, 57, "depends_on", PlanProblem::Dependency(unknown("collectr", Some("collector")))),
        (5, 65, "depends_on", PlanProblem::Dependency(ReferenceError::Itself)),
        (5, 87, "cwd", PlanProblem::Directory("/w/gone".into())),
    ];
    assert_eq!(mistakes, expected.map(|(line, column, field, problem)| (line, column, field.to_owned(), problem)));
}

#[test]
fn placeholders_must_name_dependencies() {
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
    let mistakes = mistakes(
        r#"{"instances": [{"name": "collector", "command": "x"},
            {"name": "b", "prompt": "{{result:colector}} {{result:}}", "command": null, "depends_on": ["collector"]},
            {"name": "c", "command": "{{result:b}}{{result:c}}", "pre_commands": ["/{{result:b}}"]}]}"#,
    );
    let reference = |text: &str, error| PlaceholderError::Reference { text: text.into(), error };
    let expected = [
        (2, 37, "prompt", reference("{{result:colector}}", unknown("colector", Some("collector")))),
        (2, 37, "prompt", PlaceholderError::Unnamed { text: "{{result:}}".into() }),
        (3, 38, "command", reference("{{result:b}}", ReferenceError::NotADependency("b".into()))),
        (3, 38, "command", reference("{{result:c}}", ReferenceError::Itself)),
        (3, 82, "pre_commands", PlaceholderError::InCommandName { text: "{{result:b}}".into() }),
    ];
    let expected =
        expected.map(|(line, column, field, e)| (line, column, field.to_owned(), PlanProblem::Placeholder(e)));
    assert_eq!(mistakes, expected);
}

#[test]
fn turns_are_split_at_clear() {
    let segments = |fields: &str| {
        let plan = planned(&format!(r#"{{"instances": [{{"command": "x"{fields}}}]}}"#)).expect("a plan");
        plan.instances[0]
            .segments()
            .into_iter()
            .map(|segment| (segment.turns, segment.starts_fresh))
            .collect::<Vec<_>>()
    };
    for (fields, expected) in [
        ("", vec![(0..1, false)]),
        (r#", "pre_commands": ["a", "/compact"]"#, vec![(0..3, false)]),
        (r#", "pre_commands": ["/clear"]"#, vec![(1..2, true)]),
        (r#", "clear_history": true, "compact_history": true"#, vec![(1..3, true)]),
        (r#", "clear_history": true, "pre_commands": ["/clear", "a"]"#, vec![(2..4, true)]),
        (r#", "pre_commands": ["a", "/clear", "/clear now", "b"]"#, vec![(0..1, false), (3..5, true)]),
    ] {
        assert_eq!(segments(fields), expected, "{fields}");
    }
}

#[test]
fn session_has_one_directory_and_a_turn() {
    let mistakes = mistakes(
        r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"}, {"command": "/clear"},
            {"name": "b", "command": "x", "session_id": "s", "cwd": "sub"}]}"#,
    );
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert_eq!((mistakes[0].2.as_str(), &mistakes[0].3), ("command", &PlanProblem::NothingAfterClear));
    let first = "a".to_owned();
    assert_eq!((mistakes[1].2.as_str(), &mistakes[1].3), ("session_id", &PlanProblem::SessionDirectory { first }));
}

#[test]
fn session_can_close_a_cycle() {
    let plan = planned(
        r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"}, {"name": "b", "command": "x"},
            {"name": "c", "command": "x", "session_id": "s"}]}"#,
    )
    .expect("a plan");
    assert_eq!(waits_for(&plan.instances), [vec![], vec![], vec![0]]);
    let mistakes = mistakes(
        r#"{"instances": [{"name": "a", "command": "x", "session_id": "s", "depends_on": ["b"]},
            {"name": "b", "command": "x", "session_id": "s"}]}"#,
    );
    let names = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(mistakes[0].3, PlanProblem::Cycle { names, is_by_session: true });
}

#[test]
fn tools_arguments_and_lengths_are_checked() {
    let long = "x".repeat(140_000);
    let mistakes = mistakes(&format!(
        r#"{{"instances": [
            {{"name": "a", "command": "x", "allowed_tools": ["Grep,Read(src/**)", "LS(x)"]}},
            {{"name": "b", "command": "x", "disallowed_tools": ["Bash (git *)"], "claude_args": ["--tools=Read"]}},
            {{"name": "c", "command": "x", "env": {{"A": "{long}"}}, "claude_args": ["--max-turns", "3", "--output-format",
                "--resume=x", "--resume", "--max-budget-usd=1"]}}],
            "budget": {{"command_cost_budgets": {{"x": 5}}}}}}"#
    ));
    let has_field = |option: &str, field| ArgumentError::HasField { option: option.into(), field };
    let expected = [
        (2, "allowed_tools", PlanProblem::Tool(ToolError::NeverPrompted("Read(src/**)".into()))),
        (2, "allowed_tools", PlanProblem::Tool(ToolError::NeverPrompted("LS(x)".into()))),
        (3, "disallowed_tools", PlanProblem::Tool(ToolError::NotATool("Bash (git *)".into()))),
        (3, "claude_args", PlanProblem::Argument(has_field("--tools", "allowed_tools"))),
        (4, "env", PlanProblem::TooLong),
        (4, "claude_args", PlanProblem::Argument(ArgumentError::SetByZen { option: "--output-format".into() })),
        (4, "claude_args", PlanProblem::Argument(has_field("--resume", "session_id"))),
        (4, "claude_args", PlanProblem::Argument(ArgumentError::DollarLimit)),
    ];
    let found: Vec<_> =
        mistakes.iter().map(|(line, _, field, problem)| (*line, field.as_str(), problem.clone())).collect();
    assert_eq!(found, expected);
    let plan = planned(
        r#"{"instances": [
            {"name": "a", "command": "x", "allowed_tools": ["Read, Bash(git log, *)"], "disallowed_tools": ["Wirte", "Read"]}]}"#,
    )
    .expect("a plan");
    assert_eq!(plan.instances[0].invocation.allowed_tools, Some(vec!["Read".into(), "Bash(git log, *)".into()]));
    let warning = |warning| PlanWarning::Tool { line: 2, instance: "a".into(), field: "disallowed_tools", warning };
    let expected = [
        warning(ToolWarning::UnknownTool { tool: "Wirte".into(), suggestion: "Write" }),
        warning(ToolWarning::AlsoAllowed("Read".into())),
    ];
    assert_eq!(plan.warnings, expected);
}

#[test]
fn unused_budget_is_a_warning_without_control_characters() {
    let plan = planned(
        r#"{"instances": [{"command": "/a\u001b[2J x"}], "budget": {"command_budgets": {"/ab\u001b[31m": 5, "/zz\n": 5}}}"#,
    )
    .expect("a plan");
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().all(|warning| !warning.contains(char::is_control)), "{warnings:?}");
    assert_eq!(plan.warnings.len(), 2);
}

#[test]
fn aliases_of_clear_clear_unless_a_file_defines_the_command() {
    let plan =
        planned(r#"{"instances": [{"pre_commands": ["a", "/reset", "/new"], "command": "b"}]}"#).expect("a plan");
    let clears: Vec<bool> = plan.instances[0].turns.iter().map(Turn::clears).collect();
    assert_eq!(clears, [false, true, false, false], "/new is the user's own here");
    let mistakes = planned(r#"{"instances": [{"command": "/reset"}]}"#).expect_err("nothing to do");
    assert_eq!(mistakes[0].problem, PlanProblem::NothingAfterClear);
}

#[test]
fn estimate_above_a_blocking_limit_is_an_error() {
    let instances = r#""instances": [{"command": "/a x", "max_tokens_per_command": 6000},
        {"command": "/b", "max_tokens_per_command": 6000}, {"command": "/a", "max_tokens_per_command": 3000}]"#;
    let problems = |budget: &str| match planned(&format!(r#"{{"budget": {{{budget}}}, {instances}}}"#)) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.into_iter().map(|m| (m.field, m.problem)).collect(),
    };
    let above = |limit| {
        let problem = PlanProblem::EstimateAboveLimit { limit, max: 5000, estimate: 6000 };
        ("max_tokens_per_command".to_owned(), problem)
    };
    assert_eq!(problems(r#""overall_budget": 5000"#), [above(LimitName::Overall), above(LimitName::Overall)]);
    assert_eq!(problems(r#""command_budgets": {"/a": 5000}"#), [above(LimitName::Command("/a".into()))]);
    for budget in [
        r#""overall_budget": 6000"#,
        r#""overall_budget": 5000, "enforcement_mode": "warn""#,
        r#""overall_budget": 5000, "overall_cost_budget": 1, "budget_type": "cost""#,
    ] {
        assert_eq!(problems(budget), [], "{budget}");
    }
}

/// Renders all errors of a config, of the reader and of the plan, as messages print them.
fn rendered(text: &str) -> String {
    let (config, found) = match Config::read_with_diagnostics(text) {
        Ok(read) => read,
        Err(error) => {
            return format!("  line {}, column {}: {error}\n", error.position.line, error.position.column);
        }
    };
    let notes = config.warnings.clone();
    let mut mistakes: Vec<Diagnostic<PlanProblem>> = found.into_iter().map(Diagnostic::into_problem).collect();
    let mut warnings = Vec::new();
    match plan(config, Path::new("/w"), &DEFAULTS, &Machine) {
        Ok(plan) => warnings.extend(plan.warnings.iter().map(ToString::to_string)),
        Err(more) => mistakes.extend(more),
    }
    Diagnostic::sort(&mut mistakes);
    let lines = mistakes.iter().map(|mistake| format!("  {mistake}\n"));
    let lines = lines.chain(warnings.iter().chain(&notes).map(|warning| format!("  warning: {warning}\n")));
    lines.collect()
}

/// Configs with one kind of mistake each, or few.
const MISTAKES: &[&str] = &[
    "",
    "{\"instances\": [",
    "{\"instances\": [1,]}",
    "{'instances': 1}",
    "{\"instances\": 1} // x",
    "{\"a\": \"b\nc\"}",
    "{\"a\": \"\\ud800\"}",
    "[]",
    "{}",
    r#"{"instances": []}"#,
    r#"{"instances": {}}"#,
    r#"{"instances": [7]}"#,
    r#"{"instances": [{"name": "a"}]}"#,
    r#"{"instances": [{"command": " ", "prompt": ""}]}"#,
    r#"{"instances": [{"command": 7}]}"#,
    r#"{"instances": [{"command": "x", "prompt": "y"}]}"#,
    r#"{"instances": [{"name": "a", "command": "x"}, {"name": "a", "command": "x"}]}"#,
    r#"{"instances": [{"name": "a", "command": "x"}, {"name": "a\u200b", "command": "x"}]}"#,
    r#"{"instances": [{"name": "", "command": "x"}, {"name": "\u200b", "command": "x"}]}"#,
    r#"{"instances": [{"command": "x\u0000"}]}"#,
    r#"{"instances": [{"command": "x", "comand": 1, "wholly_different": 2, "timeout": 1, "timeout": 2}]}"#,
    r#"{"instances": [{"command": "x", "overall_budget": 1}], "timeout": 1, "defaults": {"command": "x"}}"#,
    r#"{"instances": [{"command": "x", "timeout": 0, "retry_delay": "5", "idle_timeout": 1e9}]}"#,
    r#"{"instances": [{"command": "x", "max_tokens_per_command": -1, "retries": 2.5}]}"#,
    r#"{"instances": [{"command": "x", "max_tokens_per_command": 1e16, "retries": "many"}]}"#,
    r#"{"instances": [{"command": "x", "max_tokens_per_command": 2.5, "fail_on_denied": "yes"}]}"#,
    r#"{"instances": [{"command": "x", "permission_mode": "plam", "output_format": "yaml", "background": "go"}]}"#,
    r#"{"instances": [{"command": "x", "pre_commands": "y", "claude_args": {}, "depends_on": 1, "env": []}]}"#,
    r#"{"instances": [{"command": "x", "pre_commands": [1, "", "y", 2, 3, 4, 5, 6]}]}"#,
    r#"{"instances": [{"command": "x", "env": {"A=": "x", "B": "x", "B": 1, "C": []}}]}"#,
    r#"{"instances": [{"command": "x", "depends_on": [{"nmae": "y"}, {"when": "done"}, {"name": "z", "when": "never"}]}]}"#,
    r#"{"instances": [{"name": "a", "command": "x"}, {"command": "x", "depends_on": ["a", "a", {"name": "a", "name": "b"}]}]}"#,
    r#"{"instances": [{"command": "x"}], "budget": {"command_budgets": {"/": 5, "/x": 5, "x": 6, "/y": 0}}}"#,
    r#"{"instances": [{"command": "x"}], "budget": {"command_budgets": [], "overall_cost_budget": -1}}"#,
    r#"{"instances": [{"command": "x"}], "budget": 7, "defaults": 7}"#,
    r#"{"instances": [{"command": "x"}], "pricing": 7, "halt": 7}"#,
    r#"{"instances": [{"command": "x"}], "pricing": {"m": 7, "n": {}, "n": {}, "o": {"input": 1}}, "halt": "soon"}"#,
    r#"{"instances": [{"name": "a", "command": "x", "depends_on": ["a", "b", "collectr"]}, {"name": "collector", "command": "x"}]}"#,
    r#"{"instances": [{"name": "a", "command": "x", "depends_on": ["b"]}, {"name": "b", "command": "x", "depends_on": ["a"]}]}"#,
    r#"{"instances": [{"name": "a", "command": "x", "session_id": "s", "depends_on": ["b"]}, {"name": "b", "command": "x", "session_id": "s"}]}"#,
    r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"}, {"name": "b", "command": "x", "session_id": "s", "cwd": "sub"}]}"#,
    r#"{"instances": [{"command": "x", "cwd": "gone"}]}"#,
    r#"{"instances": [{"command": "/clear"}]}"#,
    r#"{"instances": [{"command": "x", "allowed_tools": ["Read (x)", "bash", "LS(x)", "WebSearch(x)", "Bash(git *)"]}]}"#,
    r#"{"instances": [{"command": "x", "allowed_tools": ["Read", "Bsh", "Bash(sh *)"], "disallowed_tools": ["Wirte", "Read"]}]}"#,
    r#"{"instances": [{"command": "x", "claude_args": ["-p", "--resume", "--bg", "--", "x", "--max-turns"]}]}"#,
    r#"{"instances": [{"command": "x", "claude_args": ["--system-prompt-file", "gone", "--mcp-config", "gone", "--restricted"]}]}"#,
    r#"{"instances": [{"command": "x", "session_id": "s", "claude_args": ["--no-session-persistence"]}]}"#,
    r#"{"instances": [{"command": "x", "allowed_tools": [], "claude_args": ["--settings", "{}"]}]}"#,
    r#"{"instances": [{"command": "x", "claude_args": ["--max-budget-usd", "1"]}], "budget": {"overall_cost_budget": 1}}"#,
    r#"{"instances": [{"command": "/x", "max_tokens_per_command": 9}], "budget": {"overall_budget": 5}}"#,
    r#"{"instances": [{"command": "/x", "max_tokens_per_command": 9}], "budget": {"command_budgets": {"/x": 5, "/xy": 5, "/zzz": 1}}}"#,
    r#"{"instances": [{"command": "/xy"}], "budget": {"command_budgets": {"/xz": 5, "/unlike": 1}}}"#,
    r#"{"instances": [{"name": "a", "command": "{{result:b}} {{result:a}} {{result:bb}} {{results:b}} {{result:}}"}, {"name": "b", "command": "/{{result:a}} {{result:a"}]}"#,
];

#[test]
fn every_mistake_in_a_config_has_its_golden_message() {
    let mut text = String::new();
    for config in MISTAKES {
        text += &format!("{}\n{}\n", config.replace('\n', "\\n"), rendered(config));
    }
    let long = "x".repeat(140_000);
    text += &format!(
        "(a variable of 140,000 bytes)\n{}\n",
        rendered(&format!(r#"{{"instances": [{{"command": "x", "env": {{"A": "{long}"}}}}]}}"#))
    );
    let many = vec!["{}"; 100_001].join(",");
    text += &format!("(100,001 instances)\n{}", rendered(&format!(r#"{{"instances": [{many}]}}"#)));
    crate::base::golden::assert_golden("config_errors.txt", &text);
}
