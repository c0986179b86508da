//! The environment that zen gives to its instances.

use serde_json::{Value, json};

use harness::Sandbox;

#[test]
fn config_overrides_default_environment() {
    let sandbox = Sandbox::new();
    let prompt = "[[say Done.]]";
    let config = json!({"instances": [
        {"name": "plain, one", "prompt": prompt},
        {"name": "own", "prompt": prompt, "env": {"DISABLE_AUTOUPDATER": "0", "OTEL_RESOURCE_ATTRIBUTES": "a=b"}},
        {"name": "none", "prompt": prompt, "env": {"DISABLE_AUTOUPDATER": null, "OTEL_RESOURCE_ATTRIBUTES": null}},
    ]});
    let mut command = sandbox.zen_on(&sandbox.config(&config.to_string()), &[]);
    command.env("DISABLE_AUTOUPDATER", "0").env("OTEL_RESOURCE_ATTRIBUTES", "team=x");
    let outcome = sandbox.started(&mut command).outcome().expect_code(0);
    let run = outcome.report["run"].as_str().expect("the name of the run").to_owned();
    let starts = sandbox.claude_events("start");
    let of = |name: &str, variable: &str| -> Value {
        let start = starts.iter().find(|start| start["env"]["ZEN_INSTANCE"] == name).expect("it was started");
        start["env"][variable].clone()
    };
    assert_eq!(of("plain, one", "DISABLE_AUTOUPDATER"), "1");
    let attributes = format!("team=x,zen.run={run},zen.instance=plain%2C%20one");
    assert_eq!(of("plain, one", "OTEL_RESOURCE_ATTRIBUTES"), attributes);
    assert_eq!(of("own", "DISABLE_AUTOUPDATER"), "0");
    assert_eq!(of("own", "OTEL_RESOURCE_ATTRIBUTES"), "a=b");
    assert_eq!(of("none", "DISABLE_AUTOUPDATER"), Value::Null);
    assert_eq!(of("none", "OTEL_RESOURCE_ATTRIBUTES"), Value::Null);
}
