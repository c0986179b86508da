//! `--start-at`: what is checked before the wait, what is said in it, how it ends.

use std::path::Path;

use nix::sys::signal::Signal;

use harness::{Sandbox, wait_until};

#[test]
fn run_starts_at_its_time() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say Done.]]"]);
    let began_ms = zen::run::epoch_ms();
    let outcome = sandbox.run(&config, &["--start-at", "1.5s"]).expect_code(0);
    assert_eq!(outcome.status("a"), "completed");
    let start = sandbox.claude_events("start").pop().expect("a start")["time_ms"].as_u64().expect("a time");
    assert!(start >= began_ms + 1500, "{} ms after the command", start - began_ms);
    let first = outcome.stderr.lines().next().unwrap_or("");
    assert!(first.starts_with("zen: starts at 20") && first.contains(", in "), "{}", outcome.dump());
    let outcome = sandbox.run(&config, &["--start-at", "0.1s", "--quiet"]).expect_code(0);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn config_is_checked_before_the_wait() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(r#"{"instances": [{"comand": "/help"}]}"#);
    let outcome = sandbox.run(&config, &["--start-at", "10h"]).expect_code(1);
    assert!(outcome.stderr.contains("did you mean 'command'?"), "{}", outcome.dump());
    let config = sandbox.prompts(&["x"]);
    sandbox.run(&config, &["--start-at", "10h", "--workspace", "gone"]).expect_code(1);
    sandbox.run(&config, &["--start-at", "10h", "--claude", "gone"]).expect_code(1);
    std::fs::write(sandbox.path("file"), "x").expect("a file");
    for [flag, value, expected] in [
        ["--log-dir", "file/logs", "zen: no directory for the run's files: "],
        ["--lock", "gone/lock", "zen: lock gone/lock: No such file or directory: give another with --lock FILE\n"],
        ["--lock", "file", "zen: lock file: not a lock file of zen, and would be overwritten: "],
    ] {
        let outcome = sandbox.run(&config, &["--start-at", "10h", flag, value]).expect_code(1);
        assert!(outcome.stderr.starts_with(expected), "{}", outcome.dump());
    }
    let outcome = sandbox.run(&config, &["--start-at", "half past ten"]).expect_code(1);
    let expected = "zen: --start-at: 'half past ten' is not a start time such as 2h, 30m, 45s, 14:30, 1am or 10:30pm\n";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn a_signal_ends_the_wait_at_once() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)]
    {
        let sandbox = Sandbox::new();
        let run = sandbox.start(&sandbox.prompts(&["x"]), &["--start-at", "10h"]);
        wait_until("the wait", || run.stderr().contains("starts at"));
        run.signal(signal);
        let outcome = run.outcome().expect_code(code);
        let last = outcome.stderr.lines().last();
        assert_eq!(last, Some("zen: stopped before the start: nothing was launched"), "{}", outcome.dump());
        assert!(outcome.stdout.is_empty() && sandbox.claude_log().is_empty(), "{}", outcome.dump());
        assert!(!sandbox.path("state/zen").exists(), "a run that was none has no files and no lock");
    }
}

#[test]
fn remaining_wait_is_reported_on_demand_without_delay() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say Done.]]"]);
    let waits = sandbox.start(&config, &["--start-at", "10h"]);
    wait_until("the wait", || waits.stderr().contains("starts at"));
    waits.signal(Signal::SIGUSR1);
    wait_until("a word", || {
        waits.stderr().contains("zen: starts in 9h59m") || waits.stderr().contains("in 10h00m\nzen: ")
    });
    let beside = sandbox.zen_on(&config, &["--timeout", "30"]).output().expect("zen runs");
    assert_eq!(beside.status.code(), Some(0), "{}", String::from_utf8_lossy(&beside.stderr));
    waits.signal(Signal::SIGINT);
    waits.outcome().expect_code(130);
}

/// Whoever asks is answered by a quiet one too.
#[test]
fn quiet_run_reports_the_remaining_wait_only_on_demand() {
    let sandbox = Sandbox::new();
    let waits = sandbox.start(&sandbox.prompts(&["[[say Done.]]"]), &["--start-at", "10h", "--quiet"]);
    wait_until("the wait", || catches(waits.pid(), Signal::SIGUSR1));
    assert_eq!(waits.stderr(), "");
    waits.signal(Signal::SIGUSR1);
    wait_until("a word", || waits.stderr().starts_with("zen: starts in "));
    waits.signal(Signal::SIGINT);
    waits.outcome().expect_code(130);
}

/// Whether a process would not be ended by this signal, but be told of it.
fn catches(pid: i32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("zen lives");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("the line is there");
    let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
    caught >> (signal as i32 - 1) & 1 == 1
}

#[test]
fn delayed_run_can_be_stopped() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let sandbox = Sandbox::new();
        let config = sandbox.prompts(&["[[tool Bash {\"command\": \"sleep 300\"}]]"]);
        let run = sandbox.start(&config, &["--start-at", "0.2s"]);
        wait_until("the tool", || !sandbox.claude_events("tool").is_empty());
        run.signal(signal);
        let outcome = run.outcome().expect_code(128 + signal as i32);
        assert_eq!(outcome.reason("a"), "interrupted", "{}", outcome.dump());
        assert_eq!(outcome.report["stopped_by"], signal.as_str());
    }
}

/// The pure parts know what clocks do; this is that the system's zones are asked.
#[test]
fn start_time_uses_the_local_clock() {
    let has_zones = Path::new("/usr/share/zoneinfo/Europe/Berlin").exists();
    for (zone, offsets) in [
        ("Europe/Berlin", &["+0100", "+0200"][..]),
        ("America/New_York", &["-0500", "-0400"]),
        ("Australia/Lord_Howe", &["+1030", "+1100"]),
        ("Asia/Kathmandu", &["+0545"]),
        ("XXX-5:45", &["+0545"]),
        ("CET-1CEST,M3.5.0,M10.5.0/3", &["+0100", "+0200"]),
        ("UTC0", &["+0000"]),
    ] {
        if !has_zones && zone.contains('/') && !zone.contains(',') {
            continue;
        }
        let sandbox = Sandbox::new();
        let mut command = sandbox.zen_on(&sandbox.prompts(&["x"]), &["--dry-run", "--start-at", "2:40 pm"]);
        let outcome = sandbox.started(command.env("TZ", zone)).outcome().expect_code(0);
        let line = outcome.stdout.lines().find_map(|line| line.strip_prefix("starts at: ")).unwrap_or("");
        let shown = line.split_once(' ').and_then(|(_, rest)| rest.split_once(", in ")).map_or("", |(shown, _)| shown);
        assert!(offsets.iter().any(|offset| shown == format!("14:40:00 {offset}")), "{zone}\n{}", outcome.dump());
    }
}
