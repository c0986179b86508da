//! Usage limits: what has not started waits, is left out, or goes on, and until when is said.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use harness::{Sandbox, wait_until};

fn config(sandbox: &Sandbox, instances: Value) -> std::path::PathBuf {
    sandbox.config(&json!({ "instances": instances }).to_string())
}

/// An answer of the API that says that the plan is used up, and until when, seen from now.
fn used_up(seconds_ahead: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let reset = now.saturating_add_signed(seconds_ahead);
    let header = |name: &str, value: &str| format!("[[header anthropic-ratelimit-unified-{name}: {value}]]");
    format!("[[status 429 x1000]] {} {}", header("status", "rejected"), header("reset", &reset.to_string()))
}

#[test]
fn pending_instances_do_not_start_by_default() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "running", "prompt": format!("{} [[say done all the same]]", sandbox.gate("go-on"))},
        {"name": "limited", "prompt": used_up(3600)},
        {"name": "waiting", "prompt": "x"},
        {"name": "behind", "prompt": "x", "depends_on": ["running"]},
    ]);
    let run = sandbox.start(&config(&sandbox, instances), &["--max-parallel", "2"]);
    wait_until("word of the limit", || run.stderr().contains("no further instances start"));
    sandbox.open_gate("go-on");
    let outcome = run.outcome().expect_code(75);
    assert_eq!(outcome.instance("running")["result"], "done all the same", "what runs goes on to its end");
    let reset = outcome.report["usage_limit"]["resets_at"].as_str().expect("a time");
    for name in ["waiting", "behind"] {
        assert_eq!(outcome.reason(name), "limit", "{}", outcome.dump());
        assert!(outcome.error(name).starts_with("not started: usage limit until "), "{}", outcome.error(name));
        assert_eq!(outcome.instance(name)["attempts"], 0);
    }
    assert_eq!(outcome.reason("limited"), "limit");
    assert_eq!(outcome.report["usage_limit"]["on_limit"], "stop");
    assert!(reset.ends_with('Z'), "{reset}");
    let told = outcome.stderr.matches("zen: usage limit until ").count();
    assert_eq!(told, 1, "{}", outcome.dump());
    assert!(
        outcome.stderr.contains(" UTC (in 59m") || outcome.stderr.contains(" UTC (in 1h00m)"),
        "{}",
        outcome.stderr
    );
    let line =
        outcome.stdout.lines().rfind(|line| line.starts_with("Usage limit until ")).expect("a line of the summary");
    assert!(outcome.stdout.ends_with("\nExit code: 75 (try again later: the usage limit was reached)\n"));
    assert!(line.contains(" UTC (in ") && line.ends_with("no further instances were started"), "{line}");
}

#[test]
fn waiting_instances_start_after_the_reset() {
    let sandbox = Sandbox::new();
    // A minute after the reset is in two seconds, and the least pause is five.
    sandbox.command("work", &used_up(-58));
    let instances = json!([{"name": "a", "command": "/work"}, {"name": "b", "prompt": "[[say after it]]"}]);
    let arguments = ["--max-parallel", "1", "--on-limit", "wait", "--status-report-interval", "0.5"];
    let run = sandbox.start(&config(&sandbox, instances), &arguments);
    wait_until("word of the wait", || run.stderr().contains("zen: a failed: ") && run.stderr().contains("; again in "));
    wait_until("a report of the wait", || run.stdout().contains("\nUsage limit until "));
    assert_eq!(sandbox.claude_events("start").len(), 1, "nothing starts");
    sandbox.command("work", "[[say Made it.]]");
    let outcome = run.outcome().expect_code(0);
    let a = outcome.instance("a");
    let failed = a["failed_attempts"].as_array().expect("attempts");
    assert_eq!((&a["result"], &failed[0]["reason"]), (&json!("Made it."), &json!("limit")), "{}", outcome.dump());
    assert_eq!(a["attempts"], failed.len() + 1, "{}", outcome.dump());
    assert!(outcome.took >= Duration::from_secs(5), "it waited {:?}", outcome.took);
    let report = outcome.stdout.lines().find(|line| line.starts_with("Usage limit until ")).expect("a line");
    assert!(report.contains(": the run resumes in "), "{report}");
    assert_eq!(outcome.status("b"), "completed");
}

#[test]
fn reset_beyond_the_maximum_wait_stops_the_run() {
    let sandbox = Sandbox::new();
    sandbox.command("work", &used_up(7 * 3600));
    let instances = json!([{"name": "a", "command": "/work"}, {"name": "b", "prompt": "[[say after it]]"}]);
    let config = config(&sandbox, instances);
    let outcome = sandbox.run(&config, &["--max-parallel", "1", "--on-limit", "wait"]).expect_code(75);
    assert_eq!((outcome.reason("a"), outcome.reason("b")), ("limit", "limit"), "{}", outcome.dump());
    let bound = ", longer than --limit-wait-max (6h00m)";
    assert!(outcome.stderr.contains(&format!("{bound}: no further instances start\n")), "{}", outcome.stderr);
    assert!(outcome.error("b").starts_with("not started: usage limit until "), "{}", outcome.error("b"));
    assert!(outcome.error("b").ends_with(bound), "{}", outcome.error("b"));
    assert!(outcome.stdout.contains(&format!("{bound}: no further instances were started\n")), "{}", outcome.dump());
}

/// Nothing starts after `--halt`, so a retry after the reset would never come.
#[test]
fn limit_after_halt_does_not_keep_the_run_waiting() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "limited", "prompt": format!("{} {}", sandbox.gate("go-on"), used_up(3600))},
        {"name": "bad", "prompt": "[[error it broke]]"},
    ]);
    let options = ["--halt", "soon,fail=1", "--on-limit", "wait", "--limit-wait-max", "7200"];
    let run = sandbox.start(&config(&sandbox, instances), &options);
    wait_until("the halt", || run.stderr().contains("1 instance failed (--halt soon,fail=1)"));
    sandbox.open_gate("go-on");
    let outcome = run.outcome().expect_code(2);
    assert_eq!(outcome.reason("limited"), "limit", "{}", outcome.dump());
    assert!(
        outcome.error("limited").ends_with("no retry: 1 instance failed (--halt soon,fail=1)"),
        "{}",
        outcome.dump()
    );
}

#[test]
fn a_reset_in_years_counts_as_unknown() {
    let sandbox = Sandbox::new();
    sandbox.command("work", &used_up(1_700_000_000_000));
    let config = config(&sandbox, json!([{"name": "a", "command": "/work"}, {"name": "b", "prompt": "x"}]));
    let run = sandbox.start(&config, &["--max-parallel", "1", "--on-limit", "wait"]);
    let expected = "zen: usage limit, reset time unknown: the run resumes in 15m00s\n";
    wait_until("word of the wait", || run.stderr().contains(expected));
    run.signal(nix::sys::signal::Signal::SIGINT);
    let outcome = run.outcome().expect_code(130);
    assert_eq!(outcome.report["usage_limit"]["resets_at"], Value::Null, "{}", outcome.dump());
}

#[test]
fn instance_over_budget_after_the_reset_fails_with_budget() {
    let sandbox = Sandbox::new();
    sandbox.command("work", &used_up(-58));
    let gate = sandbox.gate("go-on");
    let beside = format!("[[usage in=5000 out=10]] {gate} [[usage in=3900 out=50]] [[say done]]");
    let config = json!({
        "budget": {"overall_budget": 10_000},
        "instances": [
            {"name": "limited", "command": "/work"},
            {"name": "beside", "prompt": beside, "max_tokens_per_command": 9000},
        ],
    });
    let run = sandbox.start(&sandbox.config(&config.to_string()), &["--on-limit", "wait"]);
    wait_until("word of the wait", || run.stderr().contains("zen: limited failed: "));
    sandbox.open_gate("go-on");
    let outcome = run.outcome().expect_code(3);
    assert_eq!((outcome.status("beside"), outcome.reason("limited")), ("completed", "budget"));
    let error = outcome.error("limited");
    assert!(error.contains("; no retry: Budget exceeded: Estimated 5010 tokens would exceed"), "{error}");
}

#[test]
fn on_limit_fail_lets_other_instances_continue() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "a", "prompt": used_up(3600), "retries": 3}, {"name": "b", "prompt": "[[say beside it]]"},
        {"name": "c", "prompt": "x", "depends_on": ["a"]},
    ]);
    let arguments = ["--max-parallel", "1", "--on-limit", "fail"];
    let outcome = sandbox.run(&config(&sandbox, instances), &arguments).expect_code(75);
    assert_eq!((outcome.reason("a"), outcome.status("b"), outcome.status("c")), ("limit", "completed", "skipped"));
    assert_eq!(outcome.instance("a")["attempts"], 1, "retries are for other failures");
}

/// The event that announces a limit is a line that a tool may have written: without a result that reports the limit, it
/// concerns no instance.
#[test]
fn announced_limit_without_a_refused_result_stops_no_instance() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "completes", "prompt": "[[announce-limit 3600]] [[say Fine.]]"},
        {"name": "fails", "prompt": "[[announce-limit 3600]] [[error it broke]]"},
        {"name": "dies", "prompt": "[[announce-limit 3600]] [[exit 7]]"},
        {"name": "other", "prompt": "[[say Started.]]"},
    ]);
    for on_limit in ["stop", "wait"] {
        let arguments = ["--max-parallel", "1", "--on-limit", on_limit];
        let outcome = sandbox.run(&config(&sandbox, instances.clone()), &arguments).expect_code(2);
        for name in ["completes", "other"] {
            assert_eq!(outcome.status(name), "completed", "{name}: {}", outcome.dump());
        }
        for name in ["fails", "dies"] {
            assert_eq!(outcome.reason(name), "error", "{name}: {}", outcome.dump());
        }
        assert_eq!(outcome.report["usage_limit"], Value::Null, "{}", outcome.dump());
        assert!(!outcome.stderr.contains("usage limit"), "{}", outcome.dump());
    }
}

#[test]
fn usage_limit_ends_the_wait_for_a_retry() {
    let sandbox = Sandbox::new();
    let instances = json!([
        {"name": "a", "prompt": "[[error it broke]]", "retries": 1, "retry_delay": 3600},
        {"name": "b", "prompt": format!("{} [[limit 3600]]", sandbox.gate("go-on"))},
        {"name": "late", "prompt": format!("{} [[error it broke]]", sandbox.gate("at-last")), "retries": 1},
    ]);
    let run = sandbox.start(&config(&sandbox, instances), &[]);
    wait_until("the wait", || run.stderr().contains("retry 1 of 1"));
    sandbox.open_gate("go-on");
    wait_until("the limit", || run.has_ended("b"));
    sandbox.open_gate("at-last");
    let outcome = run.outcome().expect_code(2);
    assert_eq!(outcome.reason("a"), "limit", "{}", outcome.dump());
    for name in ["a", "late"] {
        let expected = "it broke; no retry: usage limit until ";
        assert!(outcome.error(name).starts_with(expected), "{}", outcome.dump());
    }
}

#[test]
fn throttling_is_not_a_usage_limit() {
    let sandbox = Sandbox::new();
    let instances = json!([{"name": "a", "prompt": "[[status 429 x1000]]"}, {"name": "b", "prompt": "[[say done]]"}]);
    let outcome = sandbox.run(&config(&sandbox, instances), &["--max-parallel", "1"]).expect_code(2);
    assert_eq!((outcome.reason("a"), outcome.status("b")), ("error", "completed"), "{}", outcome.dump());
    assert_eq!(outcome.report["usage_limit"], Value::Null);
}
