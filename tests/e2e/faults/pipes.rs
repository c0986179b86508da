//! Instances that close a pipe or do not read one, and live on.

use std::time::Duration;

use serde_json::json;

use super::{
    GRACE, TERMINATE_TO_KILL, at_start, bad, expect_completed, expect_ended_at, expect_failed, instance, run, with,
};
use harness::Sandbox;

#[test]
fn closes_stdout_and_lives_on() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[say Begun.]] [[close stdout]] [[hang]]")], &[]).expect_code(2);
    expect_failed(&outcome, "bad", "error", "claude closed stdout and kept running");
    expect_ended_at(&outcome, "bad", GRACE);
}

/// It never says a word, and is not waited for.
#[test]
fn closes_its_pipes_before_initialize() {
    let sandbox = Sandbox::new();
    let closes = |name: &str, script: &str| {
        with(at_start(instance(name, "never asked"), &format!("{script} [[hang]]")), "timeout", json!(60))
    };
    let instances = [
        closes("stdout", "[[close stdout]]"),
        closes("all", "[[close stdin]] [[close stdout]] [[close stderr]]"),
        closes("all-and-deaf", "[[deaf]] [[close stdin]] [[close stdout]] [[close stderr]]"),
    ];
    let outcome = run(&sandbox, &instances, &[]).expect_code(2);
    for (name, ladder) in [("stdout", GRACE), ("all", GRACE), ("all-and-deaf", GRACE + TERMINATE_TO_KILL)] {
        // If claude closes its input before zen writes `initialize`, zen may see that first.
        let is_input = name != "stdout" && outcome.error(name).contains("stdin");
        let closed = if is_input { "stdin" } else { "stdout" };
        expect_failed(&outcome, name, "error", &format!("claude closed {closed} and kept running"));
        expect_ended_at(&outcome, name, ladder);
        assert_eq!(outcome.total_tokens(name), 0);
    }
}

#[test]
fn closes_stderr_and_lives_on() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[close stderr]] [[wait 1500ms]] [[say Fine.]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert!(outcome.ran("bad") >= Duration::from_millis(1500), "nobody needs its standard error");
}

#[test]
fn closes_stdin_and_finishes_its_turn() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[close stdin]] [[wait 1500ms]] [[say Fine.]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["result"], "Fine.");
}

#[test]
fn closes_stdin_before_its_next_turn() {
    let sandbox = Sandbox::new();
    let closes = with(bad("never read"), "pre_commands", json!(["[[close stdin]] [[say First.]]"]));
    let outcome = run(&sandbox, &[closes], &[]).expect_code(2);
    expect_failed(&outcome, "bad", "error", "claude closed stdin and kept running");
    expect_ended_at(&outcome, "bad", GRACE);
    assert_eq!(outcome.instance("bad")["turns_done"], 1);
}

/// A message that no pipe holds is written as it is read, and nobody waits for that.
#[test]
fn never_reads_ten_megabytes() {
    let sandbox = Sandbox::new();
    let prompt = "0123456789".repeat(1024 * 1024);
    let deaf_reader = with(bad(&prompt), "pre_commands", json!(["[[stop-reading]] [[say First.]]"]));
    let outcome = run(&sandbox, &[with(deaf_reader, "timeout", json!(2))], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", Duration::from_secs(2) + GRACE);
    assert_eq!(outcome.instance("bad")["exit_status"], 143, "neither interrupt nor end reach it: SIGTERM does");
}

#[test]
fn reads_ten_megabytes() {
    let sandbox = Sandbox::new();
    let prompt = format!("{} [[say Fine.]]", "0123456789".repeat(1024 * 1024));
    let outcome = run(&sandbox, &[bad(&prompt)], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["result"], "Fine.");
}
