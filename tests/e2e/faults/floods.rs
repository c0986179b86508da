//! Instances that print more than anybody can keep. zen's memory does not grow with it.

use std::fs;

use serde_json::json;

use super::{expect_completed, expect_failed, instance};
use harness::{MAX_WAIT, RunOutput, Sandbox, wait_until, wait_within};

/// How much more than in an idle run zen may need.
const MAX_GROWTH_KB: u64 = 16 * 1024;

/// Runs this script in an instance beside two that wait until it has ended, and watches zen's memory.
fn flood(sandbox: &Sandbox, script: &str) -> RunOutput {
    let waits = format!("{} [[say Done.]]", sandbox.gate("end"));
    let instances = [
        instance("good-before", &waits),
        instance("bad", &format!("{} {script}", sandbox.gate("begin"))),
        instance("good-after", &waits),
    ];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &["--status-report-interval", "0.5"]);
    wait_until("all tools to run", || sandbox.claude_events("tool").len() == 3);
    wait_until("two reports", || zen.stdout().matches("Instance Status").count() >= 2);
    let idle_kb = zen.memory_kb("VmHWM");
    sandbox.open_gate("begin");
    wait_within(10 * MAX_WAIT, "its end", || zen.has_ended("bad").then_some(()));
    let peak_kb = zen.memory_kb("VmHWM");
    sandbox.open_gate("end");
    let outcome = zen.outcome();
    for name in ["good-before", "good-after"] {
        expect_completed(&outcome, name);
    }
    assert!(peak_kb < idle_kb + MAX_GROWTH_KB, "from {idle_kb} kB to {peak_kb} kB\n{}", outcome.dump());
    outcome
}

/// How many bytes of its stream are kept.
fn kept_bytes(outcome: &RunOutput) -> u64 {
    let directory = outcome.instance("bad")["directory"].as_str().expect("a directory");
    fs::metadata(format!("{directory}/stream.jsonl")).expect("its stream").len()
}

#[test]
fn two_hundred_megabytes_in_one_line_without_an_end() {
    let sandbox = Sandbox::new();
    let outcome = flood(&sandbox, "[[next]] [[line 200MB raw]] [[exit 0]]").expect_code(2);
    expect_failed(&outcome, "bad", "error", "claude ended without a result");
    assert_eq!(outcome.instance("bad")["oversized_lines"], 1);
    assert!(kept_bytes(&outcome) > 200_000_000);
}

#[test]
fn two_hundred_megabytes_in_one_event() {
    let sandbox = Sandbox::new();
    let outcome = flood(&sandbox, "[[next]] [[line 200MB]] [[say Fine.]]").expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["result"], "Fine.");
    assert_eq!(outcome.instance("bad")["oversized_lines"], 1);
}

/// Within the bound of a line, and again and again.
#[test]
fn answers_of_three_megabytes() {
    let sandbox = Sandbox::new();
    let answers = "[[line 3MB]] ".repeat(5);
    let outcome = flood(&sandbox, &format!("[[next]] {answers} [[say Fine.]]")).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["oversized_lines"], 0);
}

/// Whatever is kept of an instance has a bound; `report.json`, which is written again and again, too.
fn swell(script: &str) -> RunOutput {
    let sandbox = Sandbox::new();
    let outcome = flood(&sandbox, &format!("[[next]] {script} [[say Fine.]]"));
    let report = fs::metadata(sandbox.path("state/zen/latest/report.json")).expect("a report").len();
    assert!(report < 1_000_000, "{report} bytes\n{}", outcome.dump());
    outcome
}

#[test]
fn a_hundred_denials_of_three_hundred_kilobytes() {
    large_denials(110, "300kB");
}

/// As the audit of November 2026 measured it: 1,120 MB of memory, and 390 MB of report.json.
#[test]
#[ignore = "long"]
fn a_hundred_denials_of_four_megabytes() {
    large_denials(110, "3900kB");
}

fn large_denials(count: u64, size: &str) {
    let outcome = swell(&format!("[[swell denials {count} {size}]]")).expect_code(0);
    let bad = outcome.instance("bad");
    assert_eq!(bad["permission_denials"].as_array().map(Vec::len), Some(100), "{}", outcome.dump());
    assert_eq!(bad["more_permission_denials"], count - 100);
    assert!(outcome.stdout.contains(&format!("bad: {} more\n", count - 3)), "{}", outcome.dump());
}

#[test]
fn forty_tools_of_a_megabyte_that_never_end() {
    swell("[[swell tools 40 900kB]]").expect_code(0);
}

#[test]
#[ignore = "long"]
fn two_hundred_tools_of_four_megabytes_that_never_end() {
    swell("[[swell tools 200 1300kB]]").expect_code(0);
}

#[test]
#[ignore = "long"]
fn a_million_tools_that_never_end() {
    swell("[[swell tools 1000000]]").expect_code(0);
}

#[test]
fn four_thousand_models_in_each_result() {
    let outcome = swell("[[swell models 10]] [[tiny 5000]]").expect_code(0);
    assert!(outcome.total_tokens("bad") >= 8_000, "{}", outcome.dump());
}

#[test]
fn five_results_of_four_megabytes() {
    large_results(5);
}

#[test]
#[ignore = "long"]
fn forty_results_of_four_megabytes() {
    large_results(40);
}

/// Each instance ends with such a result, one after the other. What is left of it in memory is its beginning.
fn large_results(count: usize) {
    let sandbox = Sandbox::new();
    let waits = format!("{} [[say Done.]]", sandbox.gate("end"));
    sandbox.command("large", &format!("{} [[say {}]]", sandbox.gate("begin"), "x".repeat(3_900_000)));
    let large = |i: usize| json!({ "name": format!("large-{i}"), "command": "/large" });
    let mut instances = vec![instance("good", &waits)];
    instances.extend((0..count).map(large));
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &["--max-parallel", "2", "--status-report-interval", "0.5"]);
    wait_until("two tools to run", || sandbox.claude_events("tool").len() == 2);
    wait_until("two reports", || zen.stdout().matches("Instance Status").count() >= 2);
    let idle_kb = zen.memory_kb("VmHWM");
    sandbox.open_gate("begin");
    let last = format!("large-{}", count - 1);
    wait_within(10 * MAX_WAIT, "their end", || zen.has_ended(&last).then_some(()));
    let peak_kb = zen.memory_kb("VmHWM");
    sandbox.open_gate("end");
    let outcome = zen.outcome().expect_code(0);
    // One such line is read, decoded, told and written: five times its size for a moment.
    assert!(peak_kb < idle_kb + 2 * MAX_GROWTH_KB, "from {idle_kb} kB to {peak_kb} kB\n{}", outcome.dump());
    let last = outcome.instance(&last);
    let directory = last["directory"].as_str().expect("a directory");
    assert!(fs::metadata(format!("{directory}/result.txt")).expect("a result").len() > 3_800_000);
    let result = last["result"].as_str().expect("a result");
    assert!(result.len() <= 100_000 && result.ends_with(" bytes more, left out]"), "{}", result.len());
    let report = fs::metadata(sandbox.path("state/zen/latest/report.json")).expect("a report").len();
    assert!(report < 110_000 * count as u64, "{report}");
}

#[test]
fn thirty_megabytes_in_short_lines() {
    let sandbox = Sandbox::new();
    let outcome = flood(&sandbox, "[[next]] [[print 30MB]] [[say Fine.]]").expect_code(0);
    expect_completed(&outcome, "bad");
    assert!(kept_bytes(&outcome) > 29_000_000);
}

/// Each is looked at, and none is worth a word.
#[test]
fn half_a_million_tiny_lines() {
    tiny_lines(500_000);
}

#[test]
#[ignore = "long"]
fn ten_million_tiny_lines() {
    tiny_lines(10_000_000);
}

fn tiny_lines(count: u64) {
    let sandbox = Sandbox::new();
    let outcome = flood(&sandbox, &format!("[[next]] [[tiny {count}]] [[say Fine.]]")).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["result"], "Fine.");
    assert_eq!(outcome.instance("bad")["invalid_lines"], count);
    assert!(kept_bytes(&outcome) > 3 * count);
}

#[test]
#[ignore = "long"]
fn one_gigabyte_in_short_lines() {
    let sandbox = Sandbox::new();
    let outcome = flood(&sandbox, "[[next]] [[print 1GB]] [[say Fine.]]").expect_code(0);
    expect_completed(&outcome, "bad");
    assert!(kept_bytes(&outcome) > 999_000_000);
}

/// Standard error has no form at all.
#[test]
fn fifty_megabytes_on_standard_error() {
    let sandbox = Sandbox::new();
    let command = "head -c 50000000 /dev/zero > /proc/$PPID/fd/2";
    let tool = format!("[[tool Bash {}]]", json!({ "command": command }));
    let outcome = flood(&sandbox, &format!("{tool} [[say Fine.]]")).expect_code(0);
    expect_completed(&outcome, "bad");
}
