//! MCP servers that claude could not start or reach.

use serde_json::json;

use harness::{RunOutput, Sandbox};

fn run_with_failed_servers(extra: &serde_json::Value) -> RunOutput {
    let sandbox = Sandbox::new();
    let mut instance = json!({
        "name": "a", "pre_commands": ["First. [[say One.]]"], "prompt": "[[say Done.]]",
        "env": {"FAKE_CLAUDE_MCP_FAILED": "github,db"},
    });
    for (name, value) in extra.as_object().expect("fields") {
        instance[name] = value.clone();
    }
    sandbox.run(&sandbox.config(&json!({ "instances": [instance] }).to_string()), &[])
}

#[test]
fn failed_mcp_servers_are_reported_once() {
    let outcome = run_with_failed_servers(&json!({})).expect_code(0);
    assert_eq!(outcome.instance("a")["mcp_failed"], json!(["github", "db"]), "{}", outcome.dump());
    assert_eq!(outcome.stderr, "zen: a: MCP server failed: github, db\n");
    assert!(outcome.stdout.contains("\nMCP servers failed:\n- a: github, db\n"), "{}", outcome.dump());
}

#[test]
fn fail_on_mcp_fails_the_instance_and_is_retried() {
    let fields = json!({"fail_on_mcp": true, "retries": 1, "retry_delay": 0.01});
    let outcome = run_with_failed_servers(&fields).expect_code(2);
    let dump = outcome.dump();
    assert_eq!((outcome.reason("a"), outcome.error("a")), ("error", "MCP server failed: github, db"), "{dump}");
    let a = outcome.instance("a");
    assert_eq!((&a["attempts"], &a["turns_done"]), (&json!(2), &json!(0)), "{dump}");
    assert_eq!(outcome.stderr.matches("zen: a: MCP server failed").count(), 1, "{dump}");
}
