//! MCP servers that the real claude cannot start.

use serde_json::json;

use super::on_each_generation;

#[test]
fn real_failed_mcp_server_is_reported_and_fails_on_request() {
    on_each_generation(1, |real| {
        let servers = real.sandbox.path("mcp.json");
        let broken = json!({"mcpServers": {"broken": {"command": "/no/such/server", "args": []}}});
        std::fs::write(&servers, broken.to_string()).expect("a file");
        let fields = json!({"name": "a", "prompt": "[[say Done.]]", "claude_args": ["--mcp-config", servers]});
        let run = |fields: &serde_json::Value| {
            let config = real.sandbox.config(&json!({ "instances": [fields] }).to_string());
            real.run(&config, &[])
        };
        let outcome = run(&fields).expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.instance("a")["mcp_failed"], json!(["broken"]), "{dump}");
        assert!(outcome.stderr.contains("zen: a: MCP server failed: broken\n"), "{dump}");
        let mut strict = fields.clone();
        strict["fail_on_mcp"] = json!(true);
        let outcome = run(&strict).expect_code(2);
        assert_eq!(outcome.error("a"), "MCP server failed: broken", "{}", real.dump(&outcome));
    });
}
