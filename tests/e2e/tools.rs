//! What is refused to an instance: told in any case, a failure where the config says so, and then not tried again.

use serde_json::{Value, json};

use harness::{RunOutput, Sandbox};

/// Runs an instance that tries these tools, on a generation of the fake claude.
fn run(sandbox: &Sandbox, generation: &str, tools: &[&str], fields: &Value) -> RunOutput {
    let calls: String = tools.iter().map(|tool| format!("[[tool {tool} {{\"file_path\": \"made\"}}]] ")).collect();
    let mut instance = fields.clone();
    instance["name"] = json!("a");
    instance["prompt"] = json!(format!("{calls} [[say That is all.]]"));
    instance["retries"] = json!(2);
    let config = sandbox.config(&json!({ "instances": [instance] }).to_string());
    sandbox.started(sandbox.zen_on(&config, &[]).env("FAKE_CLAUDE_GENERATION", generation)).outcome()
}

fn denied(outcome: &RunOutput) -> Vec<&str> {
    let denials = outcome.instance("a")["permission_denials"].as_array().expect("a list");
    denials.iter().filter_map(|denial| denial["tool"].as_str()).collect()
}

#[test]
fn disallowed_tool_is_denied() {
    for generation in ["1.0", "2.0", "2.1"] {
        for lists in [json!({"allowed_tools": ["Read"]}), json!({"disallowed_tools": ["Write"]})] {
            let sandbox = Sandbox::new();
            let outcome = run(&sandbox, generation, &["Write", "Write"], &lists).expect_code(0);
            assert_eq!(denied(&outcome), ["Write", "Write"], "{generation} {lists}\n{}", outcome.dump());
            let mut strict = lists.clone();
            strict["fail_on_denied"] = json!(true);
            let outcome = run(&sandbox, generation, &["Write"], &strict).expect_code(2);
            let dump = format!("{generation} {lists}\n{}", outcome.dump());
            assert_eq!((outcome.reason("a"), outcome.error("a")), ("error", "Permission denied: Write"), "{dump}");
            assert_eq!(outcome.instance("a")["permission_denials"], json!([{"tool": "Write", "input": "made"}]));
            assert_eq!(outcome.instance("a")["attempts"], 1, "it is not tried again\n{dump}");
            assert!(!sandbox.workspace().join("made").exists(), "{dump}");
        }
    }
}

#[test]
fn unknown_tool_is_not_a_denial() {
    for generation in ["2.0", "2.1"] {
        let sandbox = Sandbox::new();
        let fields = json!({"allowed_tools": ["Read"], "fail_on_denied": true});
        let outcome = run(&sandbox, generation, &["Frobnicate"], &fields).expect_code(0);
        assert_eq!(denied(&outcome), Vec::<&str>::new(), "{generation}\n{}", outcome.dump());
    }
}

/// 2.0 does not hold an agent with a mode of its own to what its instance is allowed.
#[test]
fn agent_with_more_permissions_is_rejected_before_the_start() {
    for (generation, tools, code) in
        [("2.0", json!(["Task", "Bash(git *)"]), 1), ("2.0", json!(["Bash(git *)"]), 0), ("2.1", json!(["Task"]), 0)]
    {
        let sandbox = Sandbox::new();
        let agents = sandbox.workspace().join(".claude/agents/deep");
        std::fs::create_dir_all(&agents).expect("a directory");
        std::fs::write(agents.join("wide.md"), "---\nname: wide\npermissionMode: bypassPermissions\n---\nGo.\n")
            .expect("an agent");
        let outcome = run(&sandbox, generation, &[], &json!({ "allowed_tools": tools })).expect_code(code);
        let is_told = outcome.stderr.contains("agents/deep/wide.md has permissionMode bypassPermissions, in which");
        assert_eq!(is_told, code == 1, "{}", outcome.dump());
    }
}

fn write_settings(sandbox: &Sandbox, text: &str) {
    std::fs::write(sandbox.workspace().join(".claude/settings.json"), text).expect("settings");
}

#[test]
fn tool_denied_by_settings_is_denied() {
    for generation in ["1.0", "2.0", "2.1"] {
        let deny = json!({"permissions": {"deny": ["Write"]}}).to_string();
        for by_file in [true, false] {
            let sandbox = Sandbox::new();
            let mut fields = json!({});
            match by_file {
                true => write_settings(&sandbox, &deny),
                false => fields["claude_args"] = json!(["--settings", deny]),
            }
            let outcome = run(&sandbox, generation, &["Write", "Frobnicate"], &fields).expect_code(0);
            let dump = format!("{generation} {by_file}\n{}", outcome.dump());
            assert_eq!(denied(&outcome), ["Write"], "{dump}");
            assert!(outcome.stdout.contains("Permissions denied:\n- a: Write made\n"), "{dump}");
            fields["fail_on_denied"] = json!(true);
            let outcome = run(&sandbox, generation, &["Write"], &fields).expect_code(2);
            assert_eq!(outcome.error("a"), "Permission denied: Write", "{}", outcome.dump());
            assert_eq!(outcome.instance("a")["attempts"], 1, "it is not tried again\n{}", outcome.dump());
        }
    }
}

#[test]
fn file_denied_by_settings_is_denied_once() {
    for generation in ["1.0", "2.0", "2.1"] {
        let sandbox = Sandbox::new();
        write_settings(&sandbox, r#"{"permissions": {"deny": ["Edit(made*)"]}}"#);
        let outcome = run(&sandbox, generation, &["Write"], &json!({"fail_on_denied": true})).expect_code(2);
        assert_eq!(outcome.error("a"), "Permission denied: Write", "{generation}\n{}", outcome.dump());
        assert_eq!(denied(&outcome), ["Write"], "{generation}\n{}", outcome.dump());
    }
}

#[test]
fn permission_mode_that_claude_changes_is_reported_once() {
    for generation in ["2.0", "2.1"] {
        let sandbox = Sandbox::new();
        write_settings(&sandbox, r#"{"permissions": {"disableBypassPermissionsMode": "disable"}}"#);
        let instances = json!([
            {"name": "a", "prompt": "[[say Done.]]", "pre_commands": ["Before. [[say Done.]]"]},
            {"name": "b", "prompt": "[[say Done.]]", "permission_mode": "acceptEdits"},
        ]);
        let config = sandbox.config(&json!({ "instances": instances }).to_string());
        let mut zen = sandbox.zen_on(&config, &[]);
        let outcome = sandbox.started(zen.env("FAKE_CLAUDE_GENERATION", generation)).outcome().expect_code(0);
        let dump = format!("{generation}\n{}", outcome.dump());
        let notice = "zen: a: claude runs in permission mode default instead of bypassPermissions: check 'permissions'";
        assert_eq!(outcome.stderr.matches(notice).count(), 1, "{dump}");
        assert_eq!(outcome.stderr.matches("claude runs in permission mode").count(), 1, "{dump}");
        let list = "Permission modes changed by claude:\n- a: default instead of bypassPermissions\n";
        assert!(outcome.stdout.contains(list), "{dump}");
        let modes = ["a", "b"]
            .map(|name| ["permission_mode", "permission_mode_differs"].map(|f| outcome.instance(name)[f].clone()));
        assert_eq!(modes, [[json!("default"), json!(true)], [json!("acceptEdits"), json!(false)]], "{dump}");
    }
}

#[test]
fn settings_that_claude_cannot_parse_are_a_warning_before_the_start() {
    let warning =
        ".claude/settings.json is not valid JSON: key must be a string at line 1 column 37: claude ignores it";
    let sandbox = Sandbox::new();
    write_settings(&sandbox, r#"{"permissions": {"deny": ["Write"], }}"#);
    let free = json!([{"name": "a", "prompt": "[[say Done.]]"}, {"name": "b", "prompt": "[[say Done.]]"}]);
    let config = sandbox.config(&json!({ "instances": free }).to_string());
    for arguments in [&["--quiet"][..], &["--dry-run"], &[]] {
        let outcome = sandbox.run(&config, arguments).expect_code(0);
        assert_eq!(outcome.stderr.matches(warning).count(), 1, "{arguments:?}\n{}", outcome.dump());
    }
    let without = json!([{"name": "a", "prompt": "[[say Done.]]", "claude_args": ["--setting-sources", "user"]}]);
    let outcome = sandbox.run(&sandbox.config(&json!({ "instances": without }).to_string()), &[]).expect_code(0);
    assert!(!outcome.stderr.contains("not valid JSON"), "{}", outcome.dump());
    let restricted = json!([{"name": "a", "prompt": "[[say Done.]]", "allowed_tools": ["Read"]}]);
    let config = sandbox.config(&json!({ "instances": restricted }).to_string());
    for arguments in [&[][..], &["--dry-run"]] {
        let outcome = sandbox.run(&config, arguments).expect_code(1);
        assert_eq!(outcome.stderr.matches("settings.json").count(), 1, "an error alone\n{}", outcome.dump());
    }
}

#[test]
fn unusable_settings_of_the_user_are_a_warning() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("home/.claude/settings.json")).expect("a directory");
    let config = sandbox.config(r#"{"instances": [{"name": "a", "prompt": "[[say Done.]]"}]}"#);
    let outcome = sandbox.run(&config, &["--quiet"]).expect_code(0);
    let warning = "home/.claude/settings.json is not a regular file: zen did not check it";
    assert!(outcome.stderr.contains(warning), "{}", outcome.dump());
}
