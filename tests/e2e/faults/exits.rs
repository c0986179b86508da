//! Instances that end when they should not, or otherwise than they should.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{
    at_start, bad, beside_good_ones, expect_completed, expect_ended_at, expect_failed, expect_good_ones, instance, run,
    with,
};
use harness::{Sandbox, wait_for};

/// All that end a process which does nothing about them, the fake claude's own timers' aside.
const SIGNALS: [Signal; 18] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGKILL,
    Signal::SIGUSR1,
    Signal::SIGSEGV,
    Signal::SIGUSR2,
    Signal::SIGPIPE,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGSYS,
];

/// Nothing was waited for.
const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn killed_by_a_signal_before_initialize() {
    let sandbox = Sandbox::new();
    let dies = |s: &Signal| at_start(instance(s.as_str(), "never asked"), &format!("[[die {}]]", s.as_str()));
    let outcome = run(&sandbox, &SIGNALS.iter().map(dies).collect::<Vec<_>>(), &[]).expect_code(2);
    for signal in SIGNALS {
        let (name, number) = (signal.as_str(), signal as i32);
        expect_failed(
            &outcome,
            name,
            "error",
            &format!("claude ended with signal {number} before it answered initialize"),
        );
        assert_eq!(outcome.instance(name)["exit_signal"], number);
        assert_eq!(outcome.total_tokens(name), 0);
        expect_ended_at(&outcome, name, AT_ONCE);
    }
}

/// The API may have served what was asked for, and nobody tells: that is no exact nothing.
#[test]
fn killed_before_the_first_response() {
    let sandbox = Sandbox::new();
    let asked = instance("asked", "[[die KILL]]");
    let second = with(instance("second", "[[die KILL]]"), "pre_commands", json!(["[[say x]]"]));
    let outcome = run(&sandbox, &[asked, second], &[]).expect_code(2);
    for name in ["asked", "second"] {
        expect_failed(&outcome, name, "error", "claude ended with signal 9 without a result");
        for certainty in ["tokens_certainty", "cost_certainty"] {
            assert_eq!(outcome.instance(name)[certainty], "at_least", "{}", outcome.dump());
        }
    }
}

#[test]
fn killed_by_a_signal_in_a_turn() {
    let sandbox = Sandbox::new();
    let dies = |s: &Signal| {
        let spends = "[[usage in=900 out=100]] [[say Begun.]] [[tool Read {}]]";
        instance(s.as_str(), &format!("{spends} [[say Half]] [[wait 300ms]] [[die {}]]", s.as_str()))
    };
    let outcome = run(&sandbox, &SIGNALS.iter().map(dies).collect::<Vec<_>>(), &[]).expect_code(2);
    for signal in SIGNALS {
        let (name, number) = (signal.as_str(), signal as i32);
        expect_failed(&outcome, name, "error", &format!("claude ended with signal {number} without a result"));
        assert_eq!(outcome.instance(name)["exit_signal"], number);
        // The first message whole; of the second what its beginning told, and that is said to be the least.
        assert!(outcome.total_tokens(name) > 1000, "{}", outcome.dump());
        assert_ne!(outcome.instance(name)["tokens_certainty"], "exact");
        assert!(outcome.stdout.contains('≥'), "{}", outcome.dump());
        expect_ended_at(&outcome, name, Duration::from_millis(300));
    }
}

/// The line stays half a line, and no result comes of it.
#[test]
fn killed_by_a_signal_in_the_middle_of_a_line() {
    let sandbox = Sandbox::new();
    let dies = |s: &Signal| {
        let spends = "[[usage in=900 out=100]] [[say Begun.]] [[tool Read {}]]";
        instance(s.as_str(), &format!("{spends} [[line 3000 raw]] [[wait 300ms]] [[die {}]]", s.as_str()))
    };
    let outcome = run(&sandbox, &SIGNALS.iter().map(dies).collect::<Vec<_>>(), &[]).expect_code(2);
    for signal in SIGNALS {
        let (name, number) = (signal.as_str(), signal as i32);
        expect_failed(&outcome, name, "error", &format!("claude ended with signal {number} without a result"));
        assert_eq!(outcome.instance(name)["exit_signal"], number);
        assert_eq!(outcome.instance(name)["invalid_lines"], 1);
        assert!(outcome.total_tokens(name) >= 1000, "{}", outcome.dump());
        expect_ended_at(&outcome, name, Duration::from_millis(300));
    }
}

/// It has answered the first turn and does not read the second.
#[test]
fn killed_by_a_signal_between_turns() {
    // The fake claude answers SIGINT and SIGTERM, as the real ones do; SIGPIPE is ignored, and of SIGSEGV and SIGBUS one that
    // somebody sends is taken for a mistake.
    const SURVIVED: [Signal; 5] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE, Signal::SIGSEGV, Signal::SIGBUS];
    let sandbox = Sandbox::new();
    let signals: Vec<Signal> = SIGNALS.into_iter().filter(|signal| !SURVIVED.contains(signal)).collect();
    let idles = |s: &Signal| {
        let first = "[[usage in=900 out=100]] [[stop-reading]] [[say First.]]";
        with(instance(s.as_str(), "never read"), "pre_commands", json!([first]))
    };
    let config = sandbox.config(&beside_good_ones(&signals.iter().map(idles).collect::<Vec<_>>()));
    let zen = sandbox.start(&config, &["--timeout", "60"]);
    for &signal in &signals {
        let pid = wait_for("the first turn's result", || {
            let log = sandbox.claude_log();
            let start = log.iter().find(|e| e["event"] == "start" && e["env"]["ZEN_INSTANCE"] == signal.as_str())?;
            let is_result = |e: &&serde_json::Value| e["event"] == "result" && e["pid"] == start["pid"];
            log.iter().find(is_result)?["pid"].as_i64()
        });
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("it lives");
    }
    let outcome = zen.outcome().expect_code(2);
    expect_good_ones(&outcome);
    for signal in signals {
        let (name, number) = (signal.as_str(), signal as i32);
        expect_failed(&outcome, name, "error", &format!("claude ended with signal {number} without a result"));
        assert_eq!(outcome.instance(name)["turns_done"], 1);
        assert_eq!(outcome.total_tokens(name), 1000, "what the first turn cost is known");
    }
}

#[test]
fn ends_well_without_a_result() {
    let sandbox = Sandbox::new();
    let unasked = with(at_start(bad("never asked"), "[[exit 0]]"), "name", json!("unasked"));
    let outcome = run(&sandbox, &[bad("[[say Begun.]] [[exit 0]]"), unasked], &[]).expect_code(2);
    expect_failed(&outcome, "bad", "error", "claude ended without a result");
    expect_failed(&outcome, "unasked", "error", "claude ended before it answered initialize");
    for name in ["bad", "unasked"] {
        assert_eq!(outcome.instance(name)["exit_status"], 0);
        expect_ended_at(&outcome, name, AT_ONCE);
    }
}

#[test]
fn ends_badly_after_a_good_result() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &[bad("[[say Fine.]] [[exit-after 1]]")], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert_eq!(outcome.instance("bad")["exit_status"], 1);
    assert_eq!(outcome.instance("bad")["result"], "Fine.");
}

#[test]
fn exits_at_start_with_a_message() {
    let sandbox = Sandbox::new();
    let words = "[[stderr Checking the licence.]] [[stderr The licence has expired.]] [[exit 3]]";
    let outcome = run(&sandbox, &[at_start(bad("never asked"), words)], &[]).expect_code(2);
    let error = "claude ended with exit status 3 before it answered initialize: The licence has expired.";
    expect_failed(&outcome, "bad", "error", error);
    assert_eq!(outcome.instance("bad")["exit_status"], 3);
    assert!(outcome.stdout.contains(&format!("- bad: {error}\n    Checking the licence.")), "{}", outcome.dump());
    assert!(outcome.stderr.contains(error), "{}", outcome.dump());
}
