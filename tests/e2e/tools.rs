//! What is refused to an instance: told in any case, a failure where the config says so, and then not tried again.

use serde_json::{Value, json};

use harness::{Outcome, Place};

/// Runs an instance that tries these tools, on a generation of the stand-in.
fn run(place: &Place, generation: &str, tools: &[&str], fields: &Value) -> Outcome {
    let calls: String = tools.iter().map(|tool| format!("[[tool {tool} {{\"file_path\": \"made\"}}]] ")).collect();
    let mut instance = fields.clone();
    instance["name"] = json!("a");
    instance["prompt"] = json!(format!("{calls} [[say That is all.]]"));
    instance["retries"] = json!(2);
    let config = place.config(&json!({ "instances": [instance] }).to_string());
    place.started(place.zen_on(&config, &[]).env("STAND_IN_GENERATION", generation)).outcome()
}

fn denied(outcome: &Outcome) -> Vec<&str> {
    let denials = outcome.instance("a")["permission_denials"].as_array().expect("a list");
    denials.iter().filter_map(|denial| denial["tool"].as_str()).collect()
}

#[test]
fn a_tool_that_the_config_keeps_back_is_refused() {
    for generation in ["1.0", "2.0", "2.1"] {
        for lists in [json!({"allowed_tools": ["Read"]}), json!({"disallowed_tools": ["Write"]})] {
            let place = Place::new();
            let outcome = run(&place, generation, &["Write", "Write"], &lists).expect_code(0);
            assert_eq!(denied(&outcome), ["Write", "Write"], "{generation} {lists}\n{}", outcome.everything());
            let mut strict = lists.clone();
            strict["fail_on_denied"] = json!(true);
            let outcome = run(&place, generation, &["Write"], &strict).expect_code(2);
            let everything = format!("{generation} {lists}\n{}", outcome.everything());
            assert_eq!(
                (outcome.reason("a"), outcome.error("a")),
                ("error", "Permission denied: Write"),
                "{everything}"
            );
            assert_eq!(outcome.instance("a")["permission_denials"], json!([{"tool": "Write", "input": "made"}]));
            assert_eq!(outcome.instance("a")["attempts"], 1, "it is not tried again\n{everything}");
            assert!(!place.workspace().join("made").exists(), "{everything}");
        }
    }
}

#[test]
fn a_tool_that_there_never_was_is_refused_by_nobody() {
    for generation in ["2.0", "2.1"] {
        let place = Place::new();
        let fields = json!({"allowed_tools": ["Read"], "fail_on_denied": true});
        let outcome = run(&place, generation, &["Frobnicate"], &fields).expect_code(0);
        assert_eq!(denied(&outcome), Vec::<&str>::new(), "{generation}\n{}", outcome.everything());
    }
}

/// 2.0 does not hold an agent with a mode of its own to what its instance is allowed.
#[test]
fn an_agent_that_could_do_more_is_refused_before_the_start() {
    for (generation, tools, code) in
        [("2.0", json!(["Task", "Bash(git *)"]), 1), ("2.0", json!(["Bash(git *)"]), 0), ("2.1", json!(["Task"]), 0)]
    {
        let place = Place::new();
        let agents = place.workspace().join(".claude/agents/deep");
        std::fs::create_dir_all(&agents).expect("a directory");
        std::fs::write(agents.join("wide.md"), "---\nname: wide\npermissionMode: bypassPermissions\n---\nGo.\n")
            .expect("an agent");
        let outcome = run(&place, generation, &[], &json!({ "allowed_tools": tools })).expect_code(code);
        let is_told = outcome.stderr.contains("agents/deep/wide.md has permissionMode bypassPermissions, in which");
        assert_eq!(is_told, code == 1, "{}", outcome.everything());
    }
}

fn write_settings(place: &Place, text: &str) {
    std::fs::write(place.workspace().join(".claude/settings.json"), text).expect("settings");
}

#[test]
fn tool_that_settings_deny_is_refused() {
    for generation in ["1.0", "2.0", "2.1"] {
        let deny = json!({"permissions": {"deny": ["Write"]}}).to_string();
        for by_file in [true, false] {
            let place = Place::new();
            let mut fields = json!({});
            match by_file {
                true => write_settings(&place, &deny),
                false => fields["claude_args"] = json!(["--settings", deny]),
            }
            let outcome = run(&place, generation, &["Write", "Frobnicate"], &fields).expect_code(0);
            let everything = format!("{generation} {by_file}\n{}", outcome.everything());
            assert_eq!(denied(&outcome), ["Write"], "{everything}");
            assert!(outcome.stdout.contains("Permissions refused:\n- a: Write made\n"), "{everything}");
            fields["fail_on_denied"] = json!(true);
            let outcome = run(&place, generation, &["Write"], &fields).expect_code(2);
            assert_eq!(outcome.error("a"), "Permission denied: Write", "{}", outcome.everything());
            assert_eq!(outcome.instance("a")["attempts"], 1, "it is not tried again\n{}", outcome.everything());
        }
    }
}

#[test]
fn file_that_settings_deny_is_refused_once() {
    for generation in ["1.0", "2.0", "2.1"] {
        let place = Place::new();
        write_settings(&place, r#"{"permissions": {"deny": ["Edit(made*)"]}}"#);
        let outcome = run(&place, generation, &["Write"], &json!({"fail_on_denied": true})).expect_code(2);
        assert_eq!(outcome.error("a"), "Permission denied: Write", "{generation}\n{}", outcome.everything());
        assert_eq!(denied(&outcome), ["Write"], "{generation}\n{}", outcome.everything());
    }
}

#[test]
fn permission_mode_that_claude_changes_is_reported_once() {
    for generation in ["2.0", "2.1"] {
        let place = Place::new();
        write_settings(&place, r#"{"permissions": {"disableBypassPermissionsMode": "disable"}}"#);
        let instances = json!([
            {"name": "a", "prompt": "[[say Done.]]", "pre_commands": ["Before. [[say Done.]]"]},
            {"name": "b", "prompt": "[[say Done.]]", "permission_mode": "acceptEdits"},
        ]);
        let config = place.config(&json!({ "instances": instances }).to_string());
        let mut zen = place.zen_on(&config, &[]);
        let outcome = place.started(zen.env("STAND_IN_GENERATION", generation)).outcome().expect_code(0);
        let everything = format!("{generation}\n{}", outcome.everything());
        let notice = "zen: a: claude runs in permission mode default instead of bypassPermissions: check 'permissions'";
        assert_eq!(outcome.stderr.matches(notice).count(), 1, "{everything}");
        assert_eq!(outcome.stderr.matches("claude runs in permission mode").count(), 1, "{everything}");
        let list = "Permission modes changed by claude:\n- a: default instead of bypassPermissions\n";
        assert!(outcome.stdout.contains(list), "{everything}");
        let modes = ["a", "b"]
            .map(|name| ["permission_mode", "permission_mode_differs"].map(|f| outcome.instance(name)[f].clone()));
        assert_eq!(modes, [[json!("default"), json!(true)], [json!("acceptEdits"), json!(false)]], "{everything}");
    }
}

#[test]
fn settings_that_claude_cannot_parse_are_a_warning_before_the_start() {
    let warning =
        ".claude/settings.json is not valid JSON: key must be a string at line 1 column 37: claude ignores it";
    let place = Place::new();
    write_settings(&place, r#"{"permissions": {"deny": ["Write"], }}"#);
    let free = json!([{"name": "a", "prompt": "[[say Done.]]"}, {"name": "b", "prompt": "[[say Done.]]"}]);
    let config = place.config(&json!({ "instances": free }).to_string());
    for arguments in [&["--quiet"][..], &["--dry-run"], &[]] {
        let outcome = place.run(&config, arguments).expect_code(0);
        assert_eq!(outcome.stderr.matches(warning).count(), 1, "{arguments:?}\n{}", outcome.everything());
    }
    let without = json!([{"name": "a", "prompt": "[[say Done.]]", "claude_args": ["--setting-sources", "user"]}]);
    let outcome = place.run(&place.config(&json!({ "instances": without }).to_string()), &[]).expect_code(0);
    assert!(!outcome.stderr.contains("not valid JSON"), "{}", outcome.everything());
    let restricted = json!([{"name": "a", "prompt": "[[say Done.]]", "allowed_tools": ["Read"]}]);
    let config = place.config(&json!({ "instances": restricted }).to_string());
    for arguments in [&[][..], &["--dry-run"]] {
        let outcome = place.run(&config, arguments).expect_code(1);
        assert_eq!(outcome.stderr.matches("settings.json").count(), 1, "an error alone\n{}", outcome.everything());
    }
}

#[test]
fn unusable_settings_of_the_user_are_a_warning() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("home/.claude/settings.json")).expect("a directory");
    let config = place.config(r#"{"instances": [{"name": "a", "prompt": "[[say Done.]]"}]}"#);
    let outcome = place.run(&config, &["--quiet"]).expect_code(0);
    let warning = "home/.claude/settings.json is not a regular file: zen did not check it";
    assert!(outcome.stderr.contains(warning), "{}", outcome.everything());
}
