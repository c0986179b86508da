//! Instances that say what nobody expects: no JSON, the wrong JSON, too much or too little of it, and bad news.

use std::time::Duration;

use serde_json::json;

use super::{
    GOOD, bad, beside_good_ones, expect_completed, expect_ended_at, expect_failed, expect_good_ones, instance, run,
    with,
};
use harness::{Sandbox, wait_until};

fn initializes(how: &str) -> serde_json::Value {
    with(bad("[[say Fine.]]"), "env", json!({ "FAKE_CLAUDE_INITIALIZE": how }))
}

#[test]
fn answers_initialize_twice() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[initializes("twice")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    let turns = sandbox.claude_events("turn").iter().filter(|turn| turn["text"] == "[[say Fine.]]").count();
    assert_eq!(turns, 1, "it is asked once");
}

/// Answers to questions that nobody has asked, before and after the one that counts.
#[test]
fn answers_an_unknown_request() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[initializes("disordered")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    let turns = sandbox.claude_events("turn").iter().filter(|turn| turn["text"] == "[[say Fine.]]").count();
    assert_eq!(turns, 1, "it is asked once");
}

#[test]
fn answers_initialize_late() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[initializes("late:1500")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert!(outcome.ran("bad") >= Duration::from_millis(1500));
}

#[test]
fn never_answers_initialize() {
    let sandbox = Sandbox::new();
    let by_timeout = with(initializes("never"), "timeout", json!(1));
    let by_silence = with(with(initializes("never"), "idle_timeout", json!(1)), "name", json!("silent"));
    let outcome = run(&sandbox, &[by_timeout, by_silence], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 1s");
    expect_failed(&outcome, "silent", "timeout", "Timeout: no output for 1s");
    expect_ended_at(&outcome, "bad", Duration::from_secs(1));
    expect_ended_at(&outcome, "silent", Duration::from_secs(1));
    assert_eq!(outcome.total_tokens("bad"), 0);
}

#[test]
fn answers_initialize_with_an_error() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[initializes("error")], &[]).expect_code(2);
    expect_failed(&outcome, "bad", "error", "claude did not initialize: the fake claude refuses to initialize");
    assert_eq!(outcome.total_tokens("bad"), 0);
}

#[test]
fn prints_garbage() {
    let sandbox = Sandbox::new();
    for (generation, name) in [("2.1", "before the answer"), ("2.0", "after it"), ("1.0", "around it")] {
        let script = "[[garbage 42]] [[say Fine.]] [[garbage 42]]";
        let garbles = with(bad(script), "env", json!({ "FAKE_CLAUDE_GENERATION": generation }));
        let outcome = run(&sandbox, &[garbles], &[]).expect_code(0);
        expect_completed(&outcome, "bad");
        assert_eq!(outcome.instance("bad")["result"], "Fine.", "{name}");
        assert_eq!(outcome.total_tokens("bad"), 120, "{name}");
        assert!(outcome.instance("bad")["invalid_lines"].as_u64().is_some_and(|count| count >= 12), "{name}");
        assert!(!outcome.stdout.contains(['\u{1b}', '\u{7}', '\0']), "{}", outcome.dump());
    }
}

#[test]
fn prints_garbage_before_initialize() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[super::at_start(bad("[[say Fine.]]"), "[[garbage 28]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.total_tokens("bad"), 120);
}

#[test]
fn prints_garbage_and_ends() {
    let sandbox = Sandbox::new();
    // The last line of it is half a result, without a newline.
    let outcome = run(&sandbox, &[bad("[[garbage 14]] [[line 700 raw]] [[exit 0]]")], &[]).expect_code(2);
    expect_failed(&outcome, "bad", "error", "claude ended without a result");
}

/// What is nested so deep is not looked at; of a result that is said at once, for no other one comes.
#[test]
fn prints_deeply_nested_json() {
    let sandbox = Sandbox::new();
    let kinds = ["assistant", "user", "system", "stream_event", "control_response"];
    let nests: String = kinds.iter().map(|kind| format!("[[nest 100000 {kind}]] ")).collect();
    let result = instance("result", "[[say Begun.]] [[nest 100000 result]] [[hang]]");
    let outcome = run(&sandbox, &[bad(&format!("{nests} [[say Fine.]]")), result], &[]).expect_code(2);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.total_tokens("bad"), 120);
    expect_failed(&outcome, "result", "error", "claude's result is JSON that zen cannot decode");
    expect_ended_at(&outcome, "result", Duration::ZERO);
}

#[test]
fn prints_unknown_events() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[unknown-events 60]] [[say Fine.]] [[unknown-events 6]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.total_tokens("bad"), 120);
    assert_eq!(outcome.instance("bad")["invalid_lines"], 0, "unknown is not broken");
}

#[test]
fn prints_its_result_twice() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[usage in=900 out=100]] [[say Fine.]] [[result-twice]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.total_tokens("bad"), 1000, "it is paid for once");
    assert_eq!(outcome.instance("bad")["turns_done"], 1);
}

/// The second copy is not the next turn's result.
#[test]
fn prints_a_result_twice_before_its_last_turn() {
    let sandbox = Sandbox::new();
    let twice = "[[usage in=900 out=100]] [[say First.]] [[result-twice]]";
    let twice = with(bad("[[wait 300ms]] [[error The work failed.]]"), "pre_commands", json!([twice]));
    let outcome = run(&sandbox, &[twice], &[]).expect_code(2);
    expect_failed(&outcome, "bad", "error", "The work failed.");
    assert_eq!(outcome.instance("bad")["turns_done"], 1);
}

#[test]
fn reports_an_error() {
    let sandbox = Sandbox::new();
    let instances = [bad("[[error Out of ideas.]]"), instance("max-turns", "[[say x]] [[subtype error_max_turns]]")];
    let outcome = run(&sandbox, &instances, &[]).expect_code(2);
    expect_failed(&outcome, "bad", "error", "Out of ideas.");
    assert_eq!(outcome.reason("max-turns"), "error");
    assert!(outcome.error("max-turns").starts_with("error_max_turns"), "{}", outcome.error("max-turns"));
}

#[test]
fn api_retry_is_in_the_report() {
    let sandbox = Sandbox::new();
    let retries = with(bad("[[status 529 x3]] [[say Fine.]]"), "env", json!({ "FAKE_CLAUDE_RETRY_MS": "500" }));
    let config = sandbox.config(&beside_good_ones(&[retries]));
    let zen = sandbox.start(&config, &["--status-report-interval", "0.1"]);
    wait_until("a report of a retry", || zen.stdout().contains("bad: retry 2 of 10 after "));
    let outcome = zen.outcome().expect_code(0);
    expect_good_ones(&outcome);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["retries"], 3);
    assert!(outcome.stdout.contains("(529 overloaded)"), "{}", outcome.dump());
    let last = outcome.stdout.rsplit("ZEN Orchestrator - Instance Status").next().expect("a report");
    assert!(!last.contains("retry "), "it waits for nothing any more\n{last}");
}

/// claude would go on for minutes.
#[test]
fn is_not_logged_in() {
    let sandbox = Sandbox::new();
    let retries = with(bad("[[status 401 x11]]"), "env", json!({ "FAKE_CLAUDE_RETRY_MS": "300" }));
    let outcome = run(&sandbox, &[retries], &[]).expect_code(2);
    let error = "Authentication failed: the API answered 401 4 times: log in (run claude once and type /login) \
                 or set ANTHROPIC_API_KEY";
    expect_failed(&outcome, "bad", "account", error);
    assert!(outcome.ran("bad") < Duration::from_secs(25), "{:?}", outcome.ran("bad"));
    assert!(outcome.stdout.contains(error), "{}", outcome.dump());
}

/// 2.1 has a field for it. The older generations say it in words alone, and words decide nothing.
#[test]
fn has_used_up_its_plan() {
    for (generation, reason, code) in [("2.1", "limit", 75), ("2.0", "error", 2), ("1.0", "error", 2)] {
        let sandbox = Sandbox::new();
        let limited = with(bad("[[limit 3600]]"), "env", json!({ "FAKE_CLAUDE_GENERATION": generation }));
        let outcome = run(&sandbox, &[limited], &[]).expect_code(code);
        assert_eq!((outcome.status("bad"), outcome.reason("bad")), ("failed", reason), "{generation}");
        assert!(outcome.error("bad").contains("limit"), "{generation}: {}", outcome.error("bad"));
    }
}

/// A throttle that does not end is an error, and no plan that is used up.
#[test]
fn is_throttled_for_good() {
    let sandbox = Sandbox::new();
    let throttled = with(bad("[[status 429 x11]]"), "env", json!({ "FAKE_CLAUDE_RETRY_MS": "10" }));
    let outcome = run(&sandbox, &[throttled, instance("other", GOOD)], &[]).expect_code(2);
    assert_eq!((outcome.status("bad"), outcome.reason("bad")), ("failed", "error"), "{}", outcome.dump());
    expect_completed(&outcome, "other");
}
