//! What is refused to an instance: told in any case, a failure where the config says so, and then not tried again.

use serde_json::{Value, json};

use crate::support::{Outcome, Place};

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
            assert_eq!(outcome.instance("a")["permission_denials"], json!([{"tool": "Write", "on": "made"}]));
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
