//! Verdicts on the fake claude: turns that never reached the model, stops, known causes, refused accounts, `--halt`.

use serde_json::{Value, json};

use harness::{RunOutput, Sandbox, wait_until};

const GENERATIONS: [&str; 3] = ["2.1", "2.0", "1.0"];

fn config(sandbox: &Sandbox, instances: Value) -> std::path::PathBuf {
    sandbox.config(&json!({ "instances": instances }).to_string())
}

fn on(generation: &str) -> Value {
    json!({ "FAKE_CLAUDE_GENERATION": generation })
}

fn assert_failed(outcome: &RunOutput, name: &str, reason: &str, error: &str) {
    let dump = outcome.dump();
    assert_eq!((outcome.status(name), outcome.reason(name)), ("failed", reason), "{name}\n{dump}");
    assert!(outcome.error(name).starts_with(error), "{name}: {}\n{dump}", outcome.error(name));
}

#[test]
fn failed_shell_line_of_a_command_fails_the_instance() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::new();
        sandbox.command("bad", "Run !`exit 3` now. [[say done]]").command("good", "Run !`true` now. [[say done]]");
        let instances = json!([
            {"name": "bad", "command": "/bad", "env": on(generation)},
            {"name": "good", "command": "/good", "env": on(generation)},
            {"name": "help", "command": "/help", "env": on(generation)},
            {"name": "after", "prompt": "[[say x]]", "depends_on": ["bad"], "env": on(generation)},
        ]);
        let outcome = sandbox.run(&config(&sandbox, instances), &[]).expect_code(2);
        let error =
            if generation == "2.1" { "Shell command failed for pattern" } else { "claude ended the turn without" };
        assert_failed(&outcome, "bad", "error", error);
        for (name, status) in [("good", "completed"), ("help", "completed"), ("after", "skipped")] {
            assert_eq!(outcome.status(name), status, "{generation} {name}\n{}", outcome.dump());
        }
    }
}

#[test]
fn refused_shell_line_is_a_permission_denial() {
    let sandbox = Sandbox::new();
    sandbox.command("date", "Today is !`date`. [[say done]]");
    let instances = json!([
        {"name": "plain", "command": "/date", "allowed_tools": ["Read"], "retries": 3},
        {"name": "strict", "command": "/date", "allowed_tools": ["Read"], "fail_on_denied": true, "retries": 3},
    ]);
    let outcome = sandbox.run(&config(&sandbox, instances), &[]).expect_code(2);
    assert_failed(&outcome, "plain", "error", "Shell command permission check failed");
    assert_failed(&outcome, "strict", "error", "Permission denied: Bash");
    for name in ["plain", "strict"] {
        let denials = &outcome.instance(name)["permission_denials"];
        assert_eq!(denials, &json!([{"tool": "Bash", "input": "date"}]), "{}", outcome.dump());
        assert_eq!(outcome.instance(name)["attempts"], 1, "another attempt would be refused as well");
    }
    assert!(outcome.stdout.contains("Permissions denied"), "{}", outcome.dump());
}

#[test]
fn stop_during_a_shell_line_completes_nothing() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::new();
        sandbox.command("slow", "Run !`touch begun; exec sleep 300` now. [[say done]]");
        let instances = json!([
            {"name": "slow", "command": "/slow", "env": on(generation)},
            {"name": "after", "prompt": "[[say x]]", "depends_on": ["slow"]},
        ]);
        let run = sandbox.start(&config(&sandbox, instances), &[]);
        wait_until("the shell line", || sandbox.workspace().join("begun").exists());
        run.signal(nix::sys::signal::Signal::SIGINT);
        let outcome = run.outcome().expect_code(130);
        assert_failed(&outcome, "slow", "interrupted", "Stopped by SIGINT");
        assert_ne!(outcome.status("after"), "completed", "{}", outcome.dump());
    }
}

#[test]
fn paused_turn_is_not_completed() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::new();
        let prompt = "[[say Half of it.]] [[fake-claude stop-reason pause_turn]]";
        let instances = json!([{"name": "a", "prompt": prompt, "env": on(generation)}]);
        let outcome = sandbox.run(&config(&sandbox, instances), &[]).expect_code(2);
        assert_failed(&outcome, "a", "error", "the API paused the turn (pause_turn)");
    }
}

#[test]
fn timeout_names_the_known_cause() {
    let sandbox = Sandbox::new();
    let prompt = "[[status 529 x1000]]";
    let instances = json!([
        {"name": "late", "prompt": prompt, "timeout": 2},
        {"name": "idle", "prompt": prompt, "idle_timeout": 1, "timeout": 60},
    ]);
    let config = config(&sandbox, instances);
    let mut zen = sandbox.zen_on(&config, &["--grace", "1"]);
    let outcome = sandbox.started(zen.env("FAKE_CLAUDE_RETRY_MS", "30000")).outcome().expect_code(4);
    let cause = "while claude was retrying the API (attempt 1 of 10: HTTP 529 overloaded)";
    assert_eq!(outcome.error("late"), format!("Timeout after 2s, {cause}"), "{}", outcome.dump());
    assert_eq!(outcome.error("idle"), format!("Timeout: no output for 1s, {cause}"), "{}", outcome.dump());
}

#[test]
fn claude_that_never_initializes_is_stopped_by_the_startup_timeout() {
    let sandbox = Sandbox::new();
    let never = json!({"FAKE_CLAUDE_INITIALIZE": "never"});
    let instances = json!([
        {"name": "flag", "prompt": "x", "env": never},
        {"name": "field", "prompt": "x", "env": never, "startup_timeout": 0.5},
        {"name": "late", "prompt": "[[wait 2s]] [[say done]]"},
    ]);
    let outcome =
        sandbox.run(&config(&sandbox, instances), &["--startup-timeout", "1.5", "--grace", "1"]).expect_code(4);
    for (name, limit) in [("flag", "1.5s"), ("field", "0.5s")] {
        let error = format!("Timeout: claude did not answer initialize within {limit}");
        assert_failed(&outcome, name, "timeout", &error);
    }
    assert_eq!(outcome.status("late"), "completed", "only the start is limited\n{}", outcome.dump());
}

#[test]
fn few_refused_logins_are_survived() {
    let sandbox = Sandbox::new();
    let instances = json!([{"name": "a", "prompt": "[[status 401 x3]] [[say Made it.]]"}]);
    let outcome = sandbox.run(&config(&sandbox, instances), &[]).expect_code(0);
    assert_eq!((&outcome.instance("a")["result"], &outcome.instance("a")["retries"]), (&json!("Made it."), &json!(3)));
}

#[test]
fn refused_account_stops_its_instances() {
    for refusal in ["[[error Credit balance is too low]]", "[[status 403]]", "[[status 401 x1000]]"] {
        let sandbox = Sandbox::new();
        let instances = json!([
            {"name": "a", "prompt": refusal, "retries": 3},
            {"name": "b", "prompt": "[[say x]]"},
            {"name": "other", "prompt": "[[say Credit balance is too low]]", "env": {"ANTHROPIC_API_KEY": "another"}},
            {"name": "c", "prompt": "[[say x]]"},
        ]);
        let outcome = sandbox.run(&config(&sandbox, instances), &["--max-parallel", "1"]).expect_code(2);
        let dump = outcome.dump();
        assert_eq!((outcome.reason("a"), &outcome.instance("a")["attempts"]), ("account", &json!(1)), "{dump}");
        for name in ["b", "c"] {
            assert_failed(&outcome, name, "account", "not started: the API refused the account of a");
        }
        assert_eq!(outcome.status("other"), "completed", "it has an account of its own\n{dump}");
        let message = "zen: the API refused the account of a: no further instances of this account start\n";
        assert_eq!(outcome.stderr.matches(message).count(), 1, "{dump}");
    }
}

#[test]
fn permanent_errors_are_not_retried() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::new();
        let instance = |name: &str, prompt: &str| json!({"name": name, "prompt": prompt, "retries": 2, "retry_delay": 0.1, "env": on(generation)});
        let instances = json!([
            instance("invalid", "[[status 400 x1000]]"),
            instance("model", "[[status 404 x1000]]"),
            instance("large", "[[status 413 x1000]]"),
            instance("long", "[[error Prompt is too long]]"),
            instance("other", "[[error it broke]]"),
        ]);
        let outcome = sandbox.run(&config(&sandbox, instances), &[]).expect_code(2);
        for name in ["invalid", "model", "large", "long"] {
            assert_eq!(outcome.instance(name)["attempts"], 1, "{generation} {name}\n{}", outcome.dump());
            assert_eq!(outcome.reason(name), "error", "{generation} {name}");
        }
        assert_eq!(outcome.instance("other")["attempts"], 3, "{}", outcome.dump());
    }
}

#[test]
fn halt_soon_starts_nothing_more() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "running", "prompt": format!("{} [[say done]]", sandbox.gate("go-on"))},
        {"name": "bad", "prompt": "[[error it broke]]"},
        {"name": "waiting", "prompt": "[[say x]]"},
    ]);
    let text = json!({"instances": instances, "halt": "soon,fail=1"}).to_string();
    let run = sandbox.start(&sandbox.config(&text), &["--max-parallel", "2"]);
    wait_until("the halt", || {
        run.stderr().contains("zen: 1 instance failed (--halt soon,fail=1): no further instances start\n")
    });
    sandbox.open_gate("go-on");
    let outcome = run.outcome().expect_code(2);
    assert_eq!(outcome.status("running"), "completed", "{}", outcome.dump());
    assert_failed(&outcome, "waiting", "halted", "not started: 1 instance failed (--halt soon,fail=1)");
}

#[test]
fn halt_now_stops_what_runs_and_keeps_the_exit_code_of_the_failures() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "running", "prompt": "[[hang]]"},
        {"name": "late", "prompt": "[[hang]]", "timeout": 1},
        {"name": "waiting", "prompt": "[[say x]]", "depends_on": [{"name": "running", "when": "done"}]},
    ]);
    let outcome = sandbox.run(&config(&sandbox, instances), &["--halt", "now,fail=30%", "--grace", "1"]).expect_code(4);
    assert_failed(&outcome, "running", "halted", "stopped: 1 instance failed (--halt now,fail=30%)");
    assert_failed(&outcome, "waiting", "halted", "not started: 1 instance failed");
    assert_failed(&outcome, "late", "timeout", "Timeout after 1s");
}
