//! What stops a run: each signal, once and twice, at each stage.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{SPENDS, STOPPING, alive, config, has_logged, instance, with_env};
use harness::{RunOutput, Running, Sandbox, wait_until};

/// Longer than any test may take: what ends before has not waited for it.
const LONG_GRACE: [&str; 2] = ["--grace", "300"];

/// What a busy machine may take to end everything at once.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A stage of a run, at which the signal comes.
struct Stage {
    instances: Vec<Value>,
    arguments: &'static [&'static str],
    /// Whether it is reached.
    is_reached: fn(&Sandbox, &Running) -> bool,
}

/// A run that was stopped.
struct Stopped {
    sandbox: Sandbox,
    outcome: RunOutput,
    signal: Signal,
    /// From the last signal to the end.
    took: Duration,
}

impl Stage {
    /// Sends each signal so often to a run of its own, all at the same time, and looks at what is always so.
    fn stop(&self, times: usize, look: impl Fn(&Stopped) + Sync) {
        std::thread::scope(|scope| {
            for signal in STOPPING {
                let look = &look;
                scope.spawn(move || look(&self.stop_with(signal, times)));
            }
        });
    }

    fn stop_with(&self, signal: Signal, times: usize) -> Stopped {
        let sandbox = Sandbox::new();
        let zen = sandbox.start(&config(&sandbox, &self.instances), self.arguments);
        wait_until("the stage", || (self.is_reached)(&sandbox, &zen));
        let mut sent = Instant::now();
        zen.signal(signal);
        if times == 2 {
            wait_until("word of the first", || zen.stderr().contains("send it again to kill them"));
            sent = Instant::now();
            zen.signal(signal);
        }
        let outcome = zen.outcome();
        let took = sent.elapsed();
        assert_eq!(alive(&sandbox), Vec::<i32>::new(), "{}", outcome.dump());
        let stopped = Stopped { sandbox, outcome: outcome.expect_code(128 + signal as i32), signal, took };
        stopped.expect_to_be_told();
        stopped
    }
}

impl Stopped {
    fn expect_to_be_told(&self) {
        let (outcome, name) = (&self.outcome, self.signal.as_str());
        assert_eq!(outcome.report["exit_code"], 128 + self.signal as i32);
        assert_eq!(outcome.report["stopped_by"], name);
        assert!(outcome.report["ended_at"].is_string());
        let title = format!("Orchestration Stopped by {name} - Results");
        assert!(outcome.stdout.contains(&title), "{}", outcome.dump());
        assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
    }

    fn expect_interrupted(&self, name: &str, error: &str) {
        let outcome = &self.outcome;
        let told = (outcome.status(name), outcome.reason(name), outcome.error(name));
        let error = error.replace("SIGNAL", self.signal.as_str());
        assert_eq!(told, ("failed", "interrupted", error.as_str()), "{name}\n{}", outcome.dump());
    }

    /// zen has on its books what was served, to the token and the micro-dollar.
    fn expect_exact_books(&self) {
        let served = self.sandbox.claude_events("served");
        let sum: u64 = served.iter().filter_map(|e| e["total_tokens"].as_u64()).sum();
        let mut by_process: Vec<(u64, f64)> = Vec::new();
        for event in &served {
            let of = (event["pid"].as_u64().expect("a pid"), event["cumulative_usd"].as_f64().expect("dollars"));
            by_process.retain(|(pid, _)| *pid != of.0);
            by_process.push(of);
        }
        let usd: f64 = by_process.iter().map(|(_, usd)| usd).sum();
        let totals = &self.outcome.report["totals"];
        assert!(sum > 0, "something was served");
        assert_eq!(totals["tokens"]["total"].as_u64(), Some(sum), "{}", self.outcome.dump());
        let told = totals["cost_usd"].as_f64().expect("dollars");
        assert!((told - usd).abs() < 2e-6, "{told} instead of {usd}\n{}", self.outcome.dump());
    }
}

/// Two that have not answered `initialize`, and take in what else is said to them.
fn asking() -> Stage {
    let silent = |name| with_env(instance(name, "never asked"), json!({ "FAKE_CLAUDE_INITIALIZE": "never" }));
    Stage {
        instances: vec![silent("a"), silent("b")],
        arguments: &LONG_GRACE,
        is_reached: |sandbox, _| has_logged(sandbox, "start", 2),
    }
}

#[test]
fn once_before_the_first_answer() {
    asking().stop(1, |stopped| {
        for name in ["a", "b"] {
            stopped.expect_interrupted(name, "Stopped by SIGNAL");
            assert_eq!(stopped.outcome.total_tokens(name), 0);
        }
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
    });
}

#[test]
fn twice_before_the_first_answer() {
    let deaf = |name| with_env(instance(name, "never asked"), json!({ "FAKE_CLAUDE_AT_START": "[[deaf]] [[hang]]" }));
    let stage = Stage { instances: vec![deaf("a"), deaf("b")], ..asking() };
    stage.stop(2, |stopped| {
        for name in ["a", "b"] {
            stopped.expect_interrupted(name, "Stopped by SIGNAL");
            assert_eq!(stopped.outcome.instance(name)["exit_signal"], 9);
        }
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
    });
}

/// One of each generation, each with a tool that runs in a session of its own.
fn in_a_turn() -> Stage {
    let of = |generation: &str| with_env(instance(generation, SPENDS), json!({ "FAKE_CLAUDE_GENERATION": generation }));
    Stage {
        instances: vec![of("2.1"), of("2.0"), of("1.0")],
        arguments: &LONG_GRACE,
        is_reached: |sandbox, _| has_logged(sandbox, "tool", 3),
    }
}

#[test]
fn once_in_a_turn() {
    in_a_turn().stop(1, |stopped| {
        // The older generations do not tell of all their own calls, whatever becomes of them.
        for (name, certainty) in [("2.1", "exact"), ("2.0", "at_least"), ("1.0", "at_least")] {
            stopped.expect_interrupted(name, "Stopped by SIGNAL");
            assert_eq!(stopped.outcome.total_tokens(name), 1000);
            assert_eq!(stopped.outcome.instance(name)["tokens_certainty"], certainty);
        }
        stopped.expect_exact_books();
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
    });
}

#[test]
fn twice_in_a_turn() {
    let deaf = |generation: &str| {
        let script = format!("[[deaf]] {SPENDS}");
        with_env(instance(generation, &script), json!({ "FAKE_CLAUDE_GENERATION": generation }))
    };
    let stage = Stage { instances: vec![deaf("2.1"), deaf("2.0"), deaf("1.0")], ..in_a_turn() };
    stage.stop(2, |stopped| {
        for name in ["2.1", "2.0", "1.0"] {
            stopped.expect_interrupted(name, "Stopped by SIGNAL");
            assert_eq!(stopped.outcome.instance(name)["exit_signal"], 9);
            assert_eq!(stopped.outcome.total_tokens(name), 1000, "its message was whole");
        }
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
    });
}

/// What is whole stays on the books, and of what is not, what was seen of it.
#[test]
fn once_in_the_middle_of_a_message() {
    let script =
        "[[usage in=900 out=100]] [[say First.]] [[tool Read {}]] [[usage in=500 out=90]] [[say Half]] [[hang]]";
    let of = |generation: &str| with_env(instance(generation, script), json!({ "FAKE_CLAUDE_GENERATION": generation }));
    let stage = Stage {
        instances: vec![of("2.1"), of("2.0"), of("1.0")],
        arguments: &["--grace", "300", "--status-report-interval", "0.1"],
        is_reached: |_, zen| ["2.1", "2.0", "1.0"].iter().all(|name| zen.stdout().contains(&format!("[{name}] Half"))),
    };
    stage.stop(1, |stopped| {
        for name in ["2.1", "2.0", "1.0"] {
            stopped.expect_interrupted(name, "Stopped by SIGNAL");
            let tokens = stopped.outcome.total_tokens(name);
            assert!((1501..=1590).contains(&tokens), "{name}: {tokens}\n{}", stopped.outcome.dump());
        }
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
    });
}

/// One that is being stopped already, for it was timed out, and one that works.
fn in_the_grace_of_a_stop(arguments: &'static [&'static str]) -> Stage {
    let mut timed_out = instance("timed-out", &format!("[[deaf]] {SPENDS}"));
    timed_out["timeout"] = json!(4);
    Stage {
        instances: vec![timed_out, instance("works", SPENDS)],
        arguments,
        // The deadlines of a second are passed before its report is printed.
        is_reached: |sandbox, zen| has_logged(sandbox, "tool", 2) && seconds_elapsed(&zen.stdout()) >= Some(5),
    }
}

/// As the last report says it: "(5s elapsed)".
fn seconds_elapsed(stdout: &str) -> Option<u64> {
    stdout.rsplit_once("s elapsed)")?.0.rsplit_once('(')?.1.parse().ok()
}

#[test]
fn once_in_the_grace_of_a_stop() {
    let stage = in_the_grace_of_a_stop(&["--grace", "2", "--status-report-interval", "0.2"]);
    stage.stop(1, |stopped| {
        stopped.expect_interrupted("works", "Stopped by SIGNAL");
        let outcome = &stopped.outcome;
        assert_eq!((outcome.reason("timed-out"), outcome.error("timed-out")), ("timeout", "Timeout after 4s"));
        let (ran, due) = (outcome.ran("timed-out"), Duration::from_secs(4 + 2 + 2));
        assert!(ran >= due && ran < due + AT_ONCE, "its own ladder goes on: {ran:?}");
        for name in ["works", "timed-out"] {
            assert_eq!(outcome.total_tokens(name), 1000);
        }
    });
}

#[test]
fn twice_in_the_grace_of_a_stop() {
    let stage = in_the_grace_of_a_stop(&["--grace", "300", "--status-report-interval", "0.2"]);
    stage.stop(2, |stopped| {
        stopped.expect_interrupted("works", "Stopped by SIGNAL");
        assert_eq!(stopped.outcome.reason("timed-out"), "timeout");
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
    });
}

/// The first signal is what the run ends with, whatever the second is.
#[test]
fn two_different_ones() {
    let stage = Stage {
        instances: vec![instance("deaf", &format!("[[deaf]] {SPENDS}"))],
        arguments: &LONG_GRACE,
        is_reached: |sandbox, _| has_logged(sandbox, "tool", 1),
    };
    let sandbox = Sandbox::new();
    let zen = sandbox.start(&config(&sandbox, &stage.instances), stage.arguments);
    wait_until("the stage", || (stage.is_reached)(&sandbox, &zen));
    zen.signal(Signal::SIGTERM);
    wait_until("word of the first", || zen.stderr().contains("received SIGTERM"));
    zen.signal(Signal::SIGINT);
    let outcome = zen.outcome().expect_code(143);
    assert_eq!(outcome.report["stopped_by"], "SIGTERM");
}

/// One works, and the others wait for their time.
fn between_launches(first: &str, times: usize, look: impl Fn(&Stopped) + Sync) {
    let stage = Stage {
        instances: vec![instance("first", first), instance("b", "never"), instance("c", "never")],
        arguments: &["--grace", "300", "--startup-delay", "100"],
        is_reached: |sandbox, zen| has_logged(sandbox, "tool", 1) || zen.has_ended("first"),
    };
    stage.stop(times, |stopped| {
        for name in ["b", "c"] {
            stopped.expect_interrupted(name, "Stopped by SIGNAL before the start");
            assert!(stopped.outcome.instance(name)["pid"].is_null());
            assert!(stopped.outcome.instance(name)["started_at"].is_null());
        }
        assert!(has_logged(&stopped.sandbox, "start", 1), "nothing is started any more");
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
        look(stopped);
    });
}

#[test]
fn once_between_launches() {
    between_launches(SPENDS, 1, |stopped| {
        stopped.expect_interrupted("first", "Stopped by SIGNAL");
        stopped.expect_exact_books();
    });
}

#[test]
fn twice_between_launches() {
    between_launches(&format!("[[deaf]] {SPENDS}"), 2, |stopped| {
        stopped.expect_interrupted("first", "Stopped by SIGNAL");
    });
}

#[test]
fn once_between_launches_while_nothing_runs() {
    between_launches("[[usage in=900 out=100]] [[say Done.]]", 1, |stopped| {
        assert_eq!(stopped.outcome.status("first"), "completed");
        stopped.expect_exact_books();
    });
}

/// One that has done its work and does not end, and one that works.
fn after_a_result(grace: &'static [&'static str]) -> Stage {
    Stage {
        instances: vec![
            instance("done", "[[deaf]] [[usage in=900 out=100]] [[say Done.]] [[linger 300]]"),
            instance("works", SPENDS),
        ],
        arguments: grace,
        // As much of a bar as an instance has that has answered and not ended.
        is_reached: |sandbox, zen| has_logged(sandbox, "tool", 1) && zen.stdout().contains("███████░"),
    }
}

/// What was done before the signal is done.
#[test]
fn once_after_a_result() {
    after_a_result(&["--grace", "1", "--status-report-interval", "0.1"]).stop(1, |stopped| {
        assert_eq!(stopped.outcome.status("done"), "completed", "{}", stopped.outcome.dump());
        stopped.expect_interrupted("works", "Stopped by SIGNAL");
        stopped.expect_exact_books();
    });
}

#[test]
fn twice_after_a_result() {
    after_a_result(&["--grace", "300", "--status-report-interval", "0.1"]).stop(2, |stopped| {
        assert_eq!(stopped.outcome.status("done"), "completed", "{}", stopped.outcome.dump());
        assert_eq!(stopped.outcome.instance("done")["exit_signal"], 9);
        stopped.expect_interrupted("works", "Stopped by SIGNAL");
        assert!(stopped.took < AT_ONCE, "{:?}", stopped.took);
    });
}
