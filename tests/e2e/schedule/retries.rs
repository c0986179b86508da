//! Trying again: what is, what is not, what it costs, and what waits meanwhile.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use harness::{RunOutput, Sandbox, wait_until};

fn config(sandbox: &Sandbox, instances: Value) -> std::path::PathBuf {
    sandbox.config(&json!({ "instances": instances }).to_string())
}

/// A message that is paid for, and then an error.
fn broken(input_tokens: u64, output_tokens: u64) -> String {
    let tool = json!({"command": "true"});
    format!("[[usage in={input_tokens} out={output_tokens}]] [[tool Bash {tool}]] [[error it broke]]")
}

fn starts(sandbox: &Sandbox) -> usize {
    sandbox.claude_events("start").len()
}

fn failed_attempts(outcome: &RunOutput, name: &str) -> Vec<Value> {
    outcome.instance(name)["failed_attempts"].as_array().expect("attempts").clone()
}

#[test]
fn failed_instance_is_retried_until_it_completes() {
    let sandbox = Sandbox::new();
    sandbox.command("flaky", &broken(900, 100));
    let instances = json!([
        {"name": "a", "command": "/flaky", "retries": 3, "retry_delay": 1},
        {"name": "after", "prompt": "[[say then]]", "depends_on": ["a"]},
        {"name": "beside", "prompt": "[[say meanwhile]]"},
    ]);
    let run = sandbox.start(&config(&sandbox, instances), &["--max-parallel", "1", "--status-report-interval", "0.2"]);
    // The slot is free while it waits, and what depends on it waits with it.
    wait_until("a retry, and the one beside it", || {
        run.stderr().contains("retry 1 of 3 in 1.0s") && run.has_ended("beside")
    });
    assert!(!run.has_ended("after"));
    wait_until("a report of it", || run.stdout().contains("  a: retry "));
    sandbox.command("flaky", "[[usage in=900 out=100]] [[say Made it.]]");
    let outcome = run.outcome().expect_code(0);
    let (a, failed) = (outcome.instance("a"), failed_attempts(&outcome, "a"));
    assert_eq!((&a["result"], &a["attempts"]), (&json!("Made it."), &json!(failed.len() + 1)));
    assert_eq!((&failed[0]["reason"], &failed[0]["error"]), (&json!("error"), &json!("it broke")));
    assert_eq!(failed[0]["tokens"]["total"], 1000, "{}", outcome.dump());
    assert_eq!(outcome.total_tokens("a"), 1000 * (failed.len() as u64 + 1), "all attempts are on the books");
    assert_eq!(outcome.status("after"), "completed");
    let stream = std::path::Path::new(a["directory"].as_str().expect("files")).join("stream.jsonl");
    let stream = fs::read_to_string(stream).expect("a stream");
    assert!(stream.contains("it broke") && stream.contains("Made it."), "the attempts stand one behind the other");
}

#[test]
fn failure_of_the_last_attempt_is_reported() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "a", "prompt": broken(40, 2), "retries": 2, "retry_delay": 0.2},
        {"name": "b", "prompt": "[[hang]]", "timeout": 0.5, "retries": 1, "retry_delay": 0.2},
    ]);
    let outcome = sandbox.run(&config(&sandbox, instances), &["--grace", "1"]).expect_code(2);
    let a = outcome.instance("a");
    assert_eq!((&a["status"], &a["attempts"], &a["error"]), (&json!("failed"), &json!(3), &json!("it broke")));
    assert_eq!(outcome.total_tokens("a"), 3 * 42);
    assert!(outcome.ran("a") >= Duration::from_millis(600), "the second delay is twice the first");
    let b = outcome.instance("b");
    assert_eq!((&b["reason"], &b["attempts"]), (&json!("timeout"), &json!(2)), "a timeout is each attempt's own");
    for expected in ["zen: a failed: it broke; retry 1 of 2 in 0.2s", "retry 2 of 2 in 0.4s", "it broke (attempt 3)"] {
        assert!(outcome.stderr.contains(expected), "{expected}\n{}", outcome.dump());
    }
    assert!(outcome.stdout.contains("- a: it broke (3 attempts)\n"), "{}", outcome.dump());
}

#[test]
fn permanent_failure_is_not_retried() {
    let sandbox = Sandbox::new();
    let with_retries =
        |name: &str, prompt: Value| json!({"name": name, "command": prompt, "retries": 5, "retry_delay": 0.1});
    let instances = json!([
        with_retries("unknown", json!("/not-there")),
        with_retries("login", json!("[[status 401 x1000]]")),
        with_retries("limited", json!("[[limit 3600]]")),
    ]);
    let outcome = sandbox.run(&config(&sandbox, instances), &["--max-parallel", "3"]).expect_code(2);
    for (name, reason, attempts) in
        [("unknown", "command not found", 0), ("login", "account", 1), ("limited", "limit", 1)]
    {
        assert_eq!(outcome.reason(name), reason, "{}", outcome.dump());
        assert_eq!(outcome.instance(name)["attempts"], attempts, "{name}\n{}", outcome.dump());
    }
    assert_eq!(starts(&sandbox), 2);
}

/// The older generations have no field for it, and announce no retry.
#[test]
fn refused_login_of_an_older_generation_is_not_retried() {
    for generation in ["2.0", "1.0"] {
        let sandbox = Sandbox::new();
        let env = json!({"FAKE_CLAUDE_GENERATION": generation, "FAKE_CLAUDE_RETRY_MS": "5"});
        let instances = json!([
            {"name": "login", "prompt": "[[status 401 x1000]]", "retries": 5, "retry_delay": 0.1, "env": env},
        ]);
        let outcome = sandbox.run(&config(&sandbox, instances), &[]).expect_code(2);
        assert!(outcome.error("login").starts_with("Authentication failed: API Error: 401 "), "{}", outcome.dump());
        assert!(outcome.error("login").contains("ANTHROPIC_API_KEY"), "says what to do: {}", outcome.dump());
        assert_eq!(outcome.instance("login")["attempts"], 1, "{}", outcome.dump());
    }
}

#[test]
fn missing_program_is_not_retried() {
    let sandbox = Sandbox::new();
    let gone = sandbox.workspace().join("gone");
    fs::create_dir(&gone).expect("a directory");
    let instances = json!([
        {"name": "first", "prompt": sandbox.gate("go-on")},
        {"name": "a", "prompt": "x", "cwd": "gone", "retries": 5, "depends_on": ["first"]},
    ]);
    let run = sandbox.start(&config(&sandbox, instances), &[]);
    wait_until("the first", || starts(&sandbox) == 1);
    fs::remove_dir(&gone).expect("it is empty");
    sandbox.open_gate("go-on");
    let outcome = run.outcome().expect_code(2);
    assert_eq!((outcome.reason("a"), &outcome.instance("a")["attempts"]), ("spawn", &json!(1)));
}

#[test]
fn budget_counts_all_attempts() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "a", "command": broken(599, 1), "retries": 5, "retry_delay": 0.1},
    ]);
    let text = json!({ "instances": instances, "budget": {"overall_budget": 2000} }).to_string();
    let outcome = sandbox.run(&sandbox.config(&text), &[]).expect_code(2);
    // Three attempts have used 600 each, which is what a fourth one is expected to use.
    assert_eq!(outcome.instance("a")["attempts"], 3, "{}", outcome.dump());
    let expected = "it broke; no retry: Budget exceeded: Estimated 600 tokens would exceed overall budget of 2000";
    assert!(outcome.error("a").starts_with(expected), "{}", outcome.dump());

    // What it has announced is its own limit, and for all its attempts. The third goes over it, and is not about to end.
    let sandbox = Sandbox::new();
    let tool = json!({"command": "mkdir first || mkdir second || sleep 300"});
    let command = format!("[[usage in=599 out=1]] [[tool Bash {tool}]] [[error it broke]]");
    let instance = json!({"name": "a", "command": command,
        "max_tokens_per_command": 1300, "retries": 5, "retry_delay": 0.1});
    let text = json!({ "instances": [instance], "budget": {"overall_budget": 100_000} }).to_string();
    let outcome = sandbox.run(&sandbox.config(&text), &[]);
    assert_eq!(outcome.instance("a")["attempts"], 3, "{}", outcome.dump());
    assert_eq!((outcome.total_tokens("a"), outcome.reason("a")), (1800, "budget"));
}

#[test]
fn signal_ends_the_wait_for_a_retry() {
    let sandbox = Sandbox::new();
    let instances = json!([{"name": "a", "prompt": "[[error it broke]]", "retries": 1, "retry_delay": 3600}]);
    let run = sandbox.start(&config(&sandbox, instances), &[]);
    wait_until("the wait", || run.stderr().contains("retry 1 of 1 in 1h00m"));
    run.signal(Signal::SIGTERM);
    let outcome = run.outcome().expect_code(143);
    assert_eq!(outcome.reason("a"), "interrupted");
    assert_eq!(outcome.error("a"), "it broke; no retry: Stopped by SIGTERM");
}

#[test]
fn next_attempt_continues_a_named_session() {
    let sandbox = Sandbox::new();
    sandbox.command("flaky", "[[error it broke]]");
    let instances = json!([{"name": "a", "command": "/flaky", "session_id": "s", "retries": 3, "retry_delay": 1}]);
    let run = sandbox.start(&config(&sandbox, instances), &[]);
    wait_until("the retry", || run.stderr().contains("retry 1 of 3"));
    sandbox.command("flaky", "[[say Made it.]]");
    let outcome = run.outcome().expect_code(0);
    let turns = sandbox.claude_events("turn");
    assert_eq!(turns[0]["session_id"], turns[1]["session_id"], "{}", outcome.dump());
    assert!(turns[1]["history"].as_u64() > turns[0]["history"].as_u64(), "{turns:?}");
}
