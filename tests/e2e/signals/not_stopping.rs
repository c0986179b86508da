//! Signals that stop nothing, and what whoever started zen has done to signals before.

use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::unistd::Pid;
use serde_json::json;

use super::{STOPPING, config, has_logged, instance};
use harness::{Sandbox, wait_until};

const TITLE: &str = "ZEN Orchestrator - Instance Status";

#[test]
fn sigusr1_prints_a_report() {
    let sandbox = Sandbox::new();
    let waits = instance("a", &format!("{} [[say Done.]]", sandbox.gate("gate")));
    let zen = sandbox.start(&config(&sandbox, &[waits]), &["--status-report-interval", "1000"]);
    wait_until("the instance", || has_logged(&sandbox, "tool", 1));
    for count in 1..=3 {
        zen.signal(Signal::SIGUSR1);
        wait_until("a report", || zen.stdout().matches(TITLE).count() == count);
        assert!(zen.stdout().contains("⏳ running"), "{}", zen.stdout());
    }
    sandbox.open_gate("gate");
    zen.outcome().expect_code(0);
}

/// As `nohup` does it, for each of them.
#[test]
fn ignored_signals_stay_ignored() {
    std::thread::scope(|scope| {
        for ignored in STOPPING {
            scope.spawn(move || {
                let sandbox = Sandbox::new();
                let waits = instance("a", &format!("{} [[say Done.]]", sandbox.gate("gate")));
                let mut command = sandbox.zen_on(&config(&sandbox, &[waits]), &["--status-report-interval", "1000"]);
                // SAFETY: to ignore a signal runs no code.
                unsafe {
                    command.pre_exec(move || {
                        signal(ignored, SigHandler::SigIgn)?;
                        Ok(())
                    })
                };
                let zen = sandbox.started(&mut command);
                wait_until("the instance", || has_logged(&sandbox, "tool", 1));
                zen.signal(ignored);
                zen.signal(Signal::SIGUSR1); // what came before it was looked at before it
                wait_until("a report", || zen.stdout().contains(TITLE));
                sandbox.open_gate("gate");
                let outcome = zen.outcome().expect_code(0);
                assert_eq!(outcome.status("a"), "completed");
            });
        }
    });
}

/// Whatever zen inherits, children's deaths are noticed, and the signals work.
fn inherits(prepare: fn() -> nix::Result<()>) {
    let sandbox = Sandbox::new();
    let mut restricted = instance("restricted", "[[say Done.]]");
    restricted["allowed_tools"] = json!(["Read"]); // for this claude is asked what it can, before all else
    let mut times_out = instance("times-out", "[[hang]]");
    times_out["timeout"] = json!(1);
    let instances = [instance("a", "[[say Done.]]"), restricted, times_out, instance("runs-on", "[[hang]]")];
    let mut command = sandbox.zen_on(&config(&sandbox, &instances), &[]);
    // SAFETY: system calls that are async-signal-safe.
    unsafe { command.pre_exec(move || Ok(prepare()?)) };
    let zen = sandbox.started(&mut command);
    wait_until("three ends", || ["a", "restricted", "times-out"].iter().all(|name| zen.has_ended(name)));
    zen.signal(Signal::SIGTERM);
    let outcome = zen.outcome().expect_code(143);
    assert_eq!(outcome.status("a"), "completed", "{}", outcome.dump());
    assert_eq!(outcome.status("restricted"), "completed", "{}", outcome.dump());
    assert_eq!(outcome.error("times-out"), "Timeout after 1s", "{}", outcome.dump());
    assert_eq!(outcome.reason("runs-on"), "interrupted", "{}", outcome.dump());
}

#[test]
fn sigchld_was_ignored_at_the_start() {
    inherits(|| {
        // SAFETY: to ignore a signal runs no code.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.map(drop)
    });
}

#[test]
fn all_signals_were_blocked_at_the_start() {
    inherits(|| sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None));
}

/// Whoever has ended meanwhile has ended in time, and whoever has not is stopped.
#[test]
fn a_suspension_longer_than_a_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(8);
    let sandbox = Sandbox::new();
    let with_timeout = |name: &str, prompt: &str| {
        let mut instance = instance(name, prompt);
        instance["timeout"] = json!(TIMEOUT.as_secs_f64());
        instance
    };
    let words = "[[say One line of many, to fill the pipe with.]] ".repeat(20);
    let finishes = format!("{} {words} [[say Done.]]", sandbox.gate("gate"));
    let instances = [with_timeout("finishes", &finishes), with_timeout("hangs", "[[tool Read {}]] [[hang]]")];
    let zen = sandbox.start(&config(&sandbox, &instances), &[]);
    wait_until("both", || has_logged(&sandbox, "tool", 1) && has_logged(&sandbox, "turn", 2));
    let both_run = Instant::now();
    zen.signal(Signal::SIGSTOP);
    wait_until("it to stand still", || state_of(zen.pid()) == 'T');
    sandbox.open_gate("gate");
    wait_until("its result", || has_logged(&sandbox, "result", 1));
    wait_until("the timeout to pass", || both_run.elapsed() > TIMEOUT);
    zen.signal(Signal::SIGCONT);
    let outcome = zen.outcome().expect_code(4);
    assert_eq!(outcome.status("finishes"), "completed", "{}", outcome.dump());
    assert_eq!(outcome.instance("finishes")["result"], "Done.");
    assert_eq!(outcome.error("hangs"), "Timeout after 8s", "{}", outcome.dump());
}

/// The same with children that were stopped as well, as a shell's Ctrl-Z does it.
#[test]
fn a_suspension_of_everything() {
    let sandbox = Sandbox::new();
    let waits = instance("a", &format!("{} [[say Done.]]", sandbox.gate("gate")));
    let zen = sandbox.start(&config(&sandbox, &[waits]), &[]);
    wait_until("the tool", || has_logged(&sandbox, "tool", 1));
    let claude = sandbox.claude_events("start")[0]["pid"].as_i64().expect("a pid");
    let claude = i32::try_from(claude).expect("a pid");
    for pid in [claude, zen.pid()] {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it lives");
        wait_until("it to stand still", || state_of(pid) == 'T');
    }
    for pid in [zen.pid(), claude] {
        kill(Pid::from_raw(pid), Signal::SIGCONT).expect("it lives");
    }
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(0);
    assert_eq!(outcome.status("a"), "completed");
}

fn state_of(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("a state")
}
