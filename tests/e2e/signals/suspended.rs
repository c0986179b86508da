//! zen stopped and continued, with its instances and without them: what is stopped, and that no deadline passes meanwhile.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};
use serde_json::{Value, json};

use super::{alive, config, has_logged, instance};
use harness::{RunOutput, Running, Sandbox, terminal, wait_until, zen_binary};

/// Longer than an instance works in these tests, on a loaded machine too.
const TIMEOUT_S: u64 = 15;

/// Longer than that.
const PAUSE: Duration = Duration::from_secs(TIMEOUT_S + 2);

fn state(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

fn are_stopped(pids: &[i32]) -> bool {
    pids.iter().all(|&pid| state(pid) == 'T')
}

fn waits_at_gate(sandbox: &Sandbox) -> Value {
    let mut waits = instance("a", &format!("{} [[say Done.]]", sandbox.gate("gate")));
    waits["timeout"] = json!(TIMEOUT_S);
    waits["idle_timeout"] = json!(TIMEOUT_S);
    waits
}

/// Starts zen as a job of a shell is started, and waits until its instance is at the gate.
fn started(sandbox: &Sandbox) -> Running {
    let mut command = sandbox.zen_on(&config(sandbox, &[waits_at_gate(sandbox)]), &[]);
    // The system stops no process group that has nothing of its session outside.
    command.process_group(0);
    let zen = sandbox.started(&mut command);
    wait_until("the instance", || has_logged(sandbox, "tool", 1));
    zen
}

fn expect_deadlines_moved(outcome: &RunOutput) {
    let dump = outcome.dump();
    assert_eq!(outcome.status("a"), "completed", "{dump}");
    let seconds = |name: &str| outcome.report[name].as_f64().expect("a number");
    assert!(seconds("paused_seconds") >= PAUSE.as_secs_f64() - 1.5, "{}", outcome.report);
    assert!(seconds("duration_seconds") < PAUSE.as_secs_f64(), "{}", outcome.report);
    let took = outcome.took.as_secs_f64();
    let accounted = seconds("paused_seconds") + seconds("duration_seconds");
    assert!(accounted <= took, "{accounted} of {took}");
}

#[test]
fn sigtstp_stops_the_instances_and_moves_the_deadlines() {
    let sandbox = Sandbox::new();
    let zen = started(&sandbox);
    let pids = alive(&sandbox);
    assert!(pids.len() >= 2, "claude and its tool: {pids:?}");
    zen.signal(Signal::SIGTSTP);
    wait_until("zen to stop", || state(zen.pid()) == 'T');
    // A process on a loaded machine stops when it is scheduled next.
    wait_until("the instance to stop", || are_stopped(&pids));
    sleep(PAUSE);
    assert!(are_stopped(&pids), "{pids:?}");
    zen.signal(Signal::SIGCONT);
    wait_until("word of it", || zen.stderr().contains("zen: continued after "));
    assert!(pids.iter().all(|&pid| state(pid) != 'T'), "{pids:?}");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(0);
    assert!(outcome.stderr.contains("zen: received SIGTSTP"), "{}", outcome.dump());
    expect_deadlines_moved(&outcome);
}

/// As `docker pause`, a batch system, or `kill -STOP` of the whole tree does it.
#[test]
fn a_tree_that_is_frozen_as_a_whole_misses_no_deadline() {
    let sandbox = Sandbox::new();
    let zen = started(&sandbox);
    let mut pids = alive(&sandbox);
    pids.insert(0, zen.pid());
    let signal_all = |signal| pids.iter().for_each(|&pid| kill(Pid::from_raw(pid), signal).expect("it lives"));
    // A pause is detected by a wait that took too long, so zen must be waiting.
    wait_until("zen to wait", || state(zen.pid()) == 'S');
    signal_all(Signal::SIGSTOP);
    sleep(PAUSE);
    signal_all(Signal::SIGCONT);
    wait_until("word of it", || zen.stderr().contains("zen: the run was suspended for "));
    sandbox.open_gate("gate");
    expect_deadlines_moved(&zen.outcome().expect_code(0));
}

/// A shell sends a stopped job SIGCONT after the signal.
#[test]
fn a_stopped_run_can_be_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let sandbox = Sandbox::new();
        let zen = started(&sandbox);
        zen.signal(Signal::SIGTSTP);
        wait_until("zen to stop", || state(zen.pid()) == 'T');
        zen.signal(signal);
        zen.signal(Signal::SIGCONT);
        let outcome = zen.outcome().expect_code(128 + signal as i32);
        assert_eq!(outcome.reason("a"), "interrupted", "{}", outcome.dump());
    }
}

#[test]
fn a_stopped_run_that_is_killed_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let zen = started(&sandbox);
    zen.signal(Signal::SIGTSTP);
    wait_until("zen to stop", || state(zen.pid()) == 'T');
    zen.kill();
    wait_until("the end of all", || sandbox.survivors().is_empty());
}

/// Ctrl-Z at a terminal, on a job of a shell, and `fg`.
#[test]
fn ctrl_z_at_a_terminal_suspends_the_job() {
    if !Command::new("bash").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        eprintln!("left out: there is no bash");
        return;
    }
    let sandbox = Sandbox::new();
    let file = config(&sandbox, &[waits_at_gate(&sandbox)]);
    let zen = sandbox.zen_on(&file, &[]);
    let mut shell = Command::new("bash");
    shell.args([
        "--norc",
        "-c",
        r#"exec 2>/dev/tty; set -m; "$0" "$@"; echo "job: $?"; fg %1 >/dev/null; echo "end: $?""#,
    ]);
    shell.arg(zen_binary()).args(zen.get_args()).current_dir(sandbox.path("")).env_clear();
    shell.envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (master, slave) = terminal(None);
    let fd = slave.as_raw_fd();
    // SAFETY: setsid and ioctl are async-signal-safe.
    unsafe {
        shell.pre_exec(move || {
            setsid()?;
            match libc::ioctl(fd, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    };
    let mut master = File::from(master);
    let mut reader = master.try_clone().expect("a descriptor");
    let shown = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&shown);
    let reading = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            written.lock().expect("a buffer").extend_from_slice(&buffer[..count]);
        }
    });
    let shows = |text: &str| String::from_utf8_lossy(&shown.lock().expect("a buffer")).contains(text);
    let running = sandbox.started_to(shell.stdin(Stdio::null()), Stdio::from(slave));
    drop(shell);
    wait_until("the instance", || has_logged(&sandbox, "tool", 1));
    let pids = alive(&sandbox);
    master.write_all(b"\x1a").expect("a terminal");
    wait_until("word of it", || shows("zen: continued after"));
    sandbox.open_gate("gate");
    running.outcome().expect_code(0);
    reading.join().expect("a reader");
    assert!(shows("zen: received SIGTSTP") && shows("job: 148") && shows("end: 0"), "{shown:?}");
    assert!(pids.iter().all(|&pid| state(pid) != 'T'), "{pids:?}");
}
