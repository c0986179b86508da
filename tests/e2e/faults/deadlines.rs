//! Instances that do not end, and the ladder that ends them: each step at its time, not before and not much later.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{
    GRACE, SLACK, TERMINATE_TO_KILL, at_start, bad, beside_good_ones, expect_completed, expect_ended_at, expect_failed,
    expect_good_ones, run, with,
};
use harness::{Sandbox, wait_for};

const TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn hangs_before_initialize() {
    let sandbox = Sandbox::new();
    let hangs = with(at_start(bad("never asked"), "[[hang]]"), "timeout", json!(2));
    let outcome = run(&sandbox, &[hangs], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", TIMEOUT + GRACE);
    assert_eq!(outcome.instance("bad")["exit_status"], 143, "SIGTERM was enough");
    assert_eq!(outcome.total_tokens("bad"), 0);
}

#[test]
fn hangs_in_a_turn() {
    for generation in ["1.0", "2.0", "2.1"] {
        let sandbox = Sandbox::new();
        let hangs = with(bad("[[usage in=900 out=100]] [[say Begun.]] [[tool Read {}]] [[hang]]"), "timeout", json!(2));
        let hangs = with(hangs, "env", json!({ "FAKE_CLAUDE_GENERATION": generation }));
        let outcome = run(&sandbox, &[hangs], &["--grace", "20"]).expect_code(4);
        expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
        expect_ended_at(&outcome, "bad", TIMEOUT); // the interrupt was enough, and no grace is waited for
        assert!(outcome.instance("bad")["exit_status"].is_number(), "no signal was needed");
        let pid = outcome.instance("bad")["pid"].clone();
        let results = sandbox.claude_events("result");
        let result = results.iter().find(|result| result["pid"] == pid).expect("the interrupted turn has a result");
        let served = result["cumulative_usd"].as_f64();
        let told = outcome.instance("bad")["cost_usd"].as_f64();
        assert!(served.zip(told).is_some_and(|(served, told)| (served - told).abs() < 1e-6), "{served:?} {told:?}");
    }
}

#[test]
fn hangs_after_its_text() {
    let sandbox = Sandbox::new();
    let hangs = with(bad("[[say Fine.]] [[no-result]]"), "timeout", json!(2));
    let outcome = run(&sandbox, &[hangs], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", TIMEOUT);
}

#[test]
fn lingers_after_its_result() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[say Fine.]] [[linger 600]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["result"], "Fine.");
    expect_ended_at(&outcome, "bad", GRACE);
    assert_eq!(outcome.instance("bad")["exit_status"], 143, "SIGTERM was enough");
}

#[test]
fn lingers_after_its_result_and_ignores_signals() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[deaf]] [[say Fine.]] [[linger 600]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    expect_ended_at(&outcome, "bad", GRACE + TERMINATE_TO_KILL);
    assert_eq!(outcome.instance("bad")["exit_signal"], 9);
}

#[test]
fn ignores_signals_before_initialize() {
    let sandbox = Sandbox::new();
    let deaf = with(at_start(bad("never asked"), "[[deaf]] [[hang]]"), "timeout", json!(2));
    let outcome = run(&sandbox, &[deaf], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", TIMEOUT + GRACE + TERMINATE_TO_KILL);
    assert_eq!(outcome.instance("bad")["exit_signal"], 9);
}

#[test]
fn ignores_signals_in_a_turn() {
    let sandbox = Sandbox::new();
    let script = "[[usage in=900 out=100]] [[deaf]] [[say Begun.]] [[tool Bash {\"command\": \"sleep 300\"}]]";
    let outcome = run(&sandbox, &[with(bad(script), "timeout", json!(2))], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", TIMEOUT + GRACE + TERMINATE_TO_KILL);
    assert_eq!(outcome.instance("bad")["exit_signal"], 9);
    assert_eq!(outcome.total_tokens("bad"), 1000, "its one message was whole");
}

#[test]
fn stops_itself() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[with(bad("[[stop-self]] [[hang]]"), "timeout", json!(2))], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", TIMEOUT + GRACE); // SIGTERM reaches a stopped one when it is continued
    assert!(outcome.instance("bad")["exit_signal"].is_null(), "no SIGKILL was needed\n{}", outcome.dump());
}

/// Nobody has told it anything by then.
#[test]
fn stops_itself_before_initialize() {
    let sandbox = Sandbox::new();
    let stops = with(at_start(bad("never asked"), "[[stop-self]] [[hang]]"), "timeout", json!(2));
    let outcome = run(&sandbox, &[stops], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", TIMEOUT + GRACE);
    assert_eq!(outcome.total_tokens("bad"), 0);
}

/// It has done its work, and is stopped before it can end.
#[test]
fn is_stopped_after_its_result() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&beside_good_ones(&[bad("[[say Fine.]] [[linger 600]]")]));
    let zen = sandbox.start(&config, &["--grace", "6"]);
    let pid = wait_for("its result", || {
        let log = sandbox.claude_log();
        let start = log.iter().find(|e| e["event"] == "start" && e["env"]["ZEN_INSTANCE"] == "bad")?;
        log.iter().find(|e| e["event"] == "result" && e["pid"] == start["pid"])?["pid"].as_i64()
    });
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGSTOP).expect("it lives");
    let outcome = zen.outcome().expect_code(0);
    expect_good_ones(&outcome);
    expect_completed(&outcome, "bad");
    expect_ended_at(&outcome, "bad", Duration::from_secs(6));
    assert_eq!(outcome.instance("bad")["exit_status"], 143, "SIGTERM reaches a stopped one when it is continued");
}

#[test]
fn a_fraction_of_a_second_is_a_timeout_too() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[with(bad("[[hang]]"), "timeout", json!(0.5))], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 0.5s");
    expect_ended_at(&outcome, "bad", Duration::from_millis(500));
}

#[test]
fn is_silent_for_too_long() {
    let sandbox = Sandbox::new();
    let silent = with(bad("[[say Begun.]] [[hang]]"), "idle_timeout", json!(1.5));
    let outcome = run(&sandbox, &[silent], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout: no output for 1.5s");
    expect_ended_at(&outcome, "bad", Duration::from_millis(1500));
}

#[test]
fn is_silent_from_the_start() {
    let sandbox = Sandbox::new();
    let silent = with(at_start(bad("never asked"), "[[hang]]"), "idle_timeout", json!(1));
    let outcome = run(&sandbox, &[silent], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout: no output for 1s");
    expect_ended_at(&outcome, "bad", Duration::from_secs(1) + GRACE);
}

/// It takes longer than it may be silent, and is never silent for that long.
#[test]
fn works_with_output() {
    let sandbox = Sandbox::new();
    let works = "[[wait 500ms]] [[say Still here.]] ".repeat(12);
    let outcome = run(&sandbox, &[with(bad(&works), "idle_timeout", json!(5.5))], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    let ran = outcome.ran("bad");
    assert!(ran >= Duration::from_secs(6) && ran < Duration::from_secs(6) + SLACK, "{ran:?}");
}
