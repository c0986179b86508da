//! A machine full of other processes, some with huge environments: they must cost zen neither time nor memory. The same for a
//! project with links among its directories.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::time::ClockId;
use nix::unistd::Pid;
use serde_json::{Value, json};

use harness::{Running, Sandbox, wait_until};

const CROWD: usize = 5_000;

/// What one process shows as its environment: more than zen reads, and little enough for the scans of other tests.
const WIDE_BYTES: usize = 24 * 1024 * 1024;

/// The same of one that lives for a moment.
const WIDER_BYTES: usize = 96 * 1024 * 1024;

/// Instances that leave a process, which makes zen look for it.
const LEAVING: usize = 12;

/// The most CPU time beside a crowd, as a multiple of that without it.
const MAX_RATIO: f64 = 1.5;

/// Runs of each kind: the cheapest counts, since the machine may be busy with other tests.
const RUNS: usize = 3;

/// The most memory that the crowd may cost zen.
const MAX_MORE_KB: u64 = 4 * 1024;

/// The most memory that one environment may cost it: 8 MiB are read, into a buffer that doubles.
const MAX_ENVIRONMENT_KB: u64 = 40 * 1024;

const NOT_PERMITTED: i32 = 3;

/// The most time that a search among directories may take.
const BOUND: Duration = Duration::from_secs(60);

/// Other processes, which end with it.
struct Crowd(Child);

impl Crowd {
    /// Returns `None`, and prints that the test is left out, if the processes cannot be made here.
    fn new(program: &Path, count: usize, wide_bytes: usize) -> Option<Self> {
        let mut command = Command::new(program);
        command.args([count.to_string(), wide_bytes.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it was compiled");
        let mut line = String::new();
        let _ = BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line);
        if line == "ready\n" {
            return Some(Crowd(child));
        }
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(NOT_PERMITTED), "the crowd failed");
        leave_out("a user and a pid namespace, or a changed environment, is not permitted");
        None
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn leave_out(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "left out: {test}: {why}");
}

/// Compiles the program of the crowd, where there is a compiler.
fn compiled(sandbox: &Sandbox) -> Option<PathBuf> {
    let (program, source) =
        (sandbox.path("crowd"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/attacks/crowd.c"));
    let made = Command::new("cc").args(["-O1", "-w", "-o"]).arg(&program).arg(source).status();
    if made.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    leave_out("there is no cc");
    None
}

/// The CPU time and the most memory that zen took for a run.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu: Duration,
    memory_kb: u64,
}

impl Cost {
    /// Measures a run of instances that leave processes behind, beside one that waits.
    fn of_a_run() -> Self {
        let sandbox = Sandbox::new();
        let leaves = |i: usize| json!({"name": format!("i{i}"), "prompt": "[[escape 300 env-cleared]] [[say Fine.]]"});
        let mut instances: Vec<Value> = (0..LEAVING).map(leaves).collect();
        instances
            .push(json!({"name": "waits", "prompt": format!("[[wait 1s]] {} [[say Fine.]]", sandbox.gate("gate"))}));
        let config = sandbox.config(&json!({ "instances": instances }).to_string());
        let zen = sandbox.start(&config, &["--max-parallel", "4", "--status-report-interval", "1000"]);
        wait_until("the others to end", || (0..LEAVING).all(|i| zen.has_ended(&format!("i{i}"))));
        let memory_kb = zen.memory_kb("VmHWM");
        sandbox.open_gate("gate");
        wait_until("the end of zen", || zen.is_zombie());
        let cpu = cpu_time(&zen);
        zen.outcome().expect_code(0);
        Cost { cpu, memory_kb }
    }

    fn least(self, other: Cost) -> Cost {
        Cost { cpu: self.cpu.min(other.cpu), memory_kb: self.memory_kb.min(other.memory_kb) }
    }
}

/// Returns the CPU time of zen itself, without its children.
fn cpu_time(zen: &Running) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(zen.pid())).expect("zen is not reaped");
    clock.now().expect("a clock").into()
}

/// Compares runs beside such a crowd with runs without it, in turns.
fn expect_no_cost(count: usize, wide_bytes: usize) {
    let sandbox = Sandbox::new();
    let Some(program) = compiled(&sandbox) else { return };
    let (mut alone, mut beside): (Option<Cost>, Option<Cost>) = (None, None);
    for _ in 0..RUNS {
        let cost = Cost::of_a_run();
        alone = Some(alone.map_or(cost, |least| least.least(cost)));
        let Some(crowd) = Crowd::new(&program, count, wide_bytes) else { return };
        let cost = Cost::of_a_run();
        beside = Some(beside.map_or(cost, |least| least.least(cost)));
        drop(crowd);
    }
    let (alone, beside) = alone.zip(beside).expect("there were runs");
    println!("alone: {alone:?}; beside {count} processes: {beside:?}");
    let ratio = beside.cpu.as_secs_f64() / alone.cpu.as_secs_f64();
    assert!(ratio <= MAX_RATIO, "{ratio:.2} times the CPU time: {alone:?}, {beside:?}");
    assert!(beside.memory_kb <= alone.memory_kb + MAX_MORE_KB, "{alone:?}, {beside:?}");
}

#[test]
fn five_thousand_other_processes_cost_no_time_and_no_memory() {
    expect_no_cost(CROWD, 0);
}

#[test]
fn huge_environment_of_another_user_costs_no_time_and_no_memory() {
    expect_no_cost(1, WIDE_BYTES);
}

/// Starts zen by `exec` from a shell that has a child: it then looks at the environment of each process that comes to it.
fn start_as_heir(sandbox: &Sandbox, mut zen: Command) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 300 & exec \"$@\"", "sh"]).arg(zen.get_program()).args(zen.get_args());
    shell.current_dir(sandbox.path("")).env_clear();
    shell.envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    zen.env_clear();
    sandbox.started(&mut shell)
}

/// Kills what zen has inherited: it is a process of the test.
fn end_inherited(sandbox: &Sandbox) {
    for survivor in sandbox.survivors() {
        let Some((pid, line)) = survivor.split_once(": ") else { continue };
        if line.trim() == "sleep 300" {
            let pid = Pid::from_raw(pid.parse().expect("a number"));
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
    }
    wait_until("the end of what zen inherited", || sandbox.survivors().is_empty());
}

/// Runs a tool that starts this in a session of its own and then kills the reaper of its instance. Returns zen's memory.
fn leave_to_heir(sandbox: &Sandbox, start: &str, ready: &str, more_environment: &[(String, String)]) -> u64 {
    let command = format!(
        "setsid -f {start}; until [ -e {ready} ]; do sleep 0.02; done; \
         read _ _ _ reaper _ < /proc/$PPID/stat; kill -KILL $reaper; sleep 300"
    );
    let instances = json!({"instances": [
        {"name": "waits", "prompt": format!("{} [[say Done.]]", sandbox.gate("gate"))},
        {"name": "leaves", "prompt": format!("[[tool Bash {}]] [[hang]]", json!({ "command": command }))},
    ]});
    let config = sandbox.config(&instances.to_string());
    let mut zen = sandbox.zen_on(&config, &["--grace", "0.5"]);
    zen.envs(more_environment.iter().map(|(name, value)| (name, value)));
    let zen = start_as_heir(sandbox, zen);
    wait_until("the reaper to be killed", || zen.has_ended("leaves"));
    wait_until("the process that it left to be killed", || {
        !sandbox.survivors().iter().any(|survivor| survivor.contains("sleep 301") || survivor.contains("crowd here"))
    });
    let memory_kb = zen.memory_kb("VmHWM");
    println!("zen took {memory_kb} kB");
    sandbox.open_gate("gate");
    wait_until("the end of zen", || zen.is_zombie());
    end_inherited(sandbox);
    let outcome = zen.outcome().expect_code(2);
    assert_eq!(outcome.status("waits"), "completed", "{}", outcome.dump());
    assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
    memory_kb
}

#[test]
fn environment_of_an_orphan_is_read_up_to_a_bound() {
    let sandbox = Sandbox::new();
    let Some(program) = compiled(&sandbox) else { return };
    let mut trial = Command::new(&program);
    trial.args(["here", &WIDER_BYTES.to_string()]).arg(sandbox.path("trial")).stdin(Stdio::null());
    let mut trial = trial.spawn().expect("it was compiled");
    wait_until("the trial", || sandbox.path("trial").exists() || matches!(trial.try_wait(), Ok(Some(_))));
    if trial.try_wait().is_ok_and(|status| status.is_some()) {
        return leave_out("a process may not change where its environment is");
    }
    trial.kill().expect("it lives");
    trial.wait().expect("it ends");
    let ready = sandbox.path("ready").display().to_string();
    let start = format!("{} here {WIDER_BYTES} {ready}", program.display());
    let memory_kb = leave_to_heir(&sandbox, &start, &ready, &[]);
    assert!(memory_kb < MAX_ENVIRONMENT_KB, "{memory_kb} kB");
}

/// As large as the system allows by default: 2 MiB with the arguments.
#[test]
fn claude_with_an_environment_of_two_megabytes_ends_with_its_descendants() {
    let more: Vec<(String, String)> = (0..16).map(|i| (format!("A_LARGE_{i}"), "x".repeat(120_000))).collect();
    let sandbox = Sandbox::new();
    let ready = sandbox.path("ready").display().to_string();
    let start = format!("sh -c 'touch {ready}; sleep 301; true'");
    let memory_kb = leave_to_heir(&sandbox, &start, &ready, &more);
    assert!(memory_kb < MAX_ENVIRONMENT_KB, "{memory_kb} kB");
}

/// To follow each of these links would take longer than any night. The fake claude would: it is asked nothing here.
#[test]
fn links_in_a_project_cost_bounded_time() {
    let sandbox = Sandbox::new();
    let claude = sandbox.workspace().join(".claude");
    for folder in ["commands", "agents", "skills"] {
        fs::create_dir_all(claude.join(folder)).expect("a directory");
        for i in 0..100 {
            symlink(".", claude.join(folder).join(format!("link{i}"))).expect("a link");
        }
    }
    for i in 0..3_000 {
        fs::create_dir_all(claude.join(format!("skills/skill{i}"))).expect("a directory");
    }
    let instance = json!({"name": "a", "prompt": "[[say Done.]]", "allowed_tools": ["Read", "Task"]});
    let config = sandbox.config(&json!({ "instances": [instance] }).to_string());
    let zen = sandbox.start(&config, &["--dry-run"]);
    zen.outcome_within(BOUND).expect_code(0);
    sandbox.command("go", "Go.");
    let mut zen = sandbox.zen(&["--inspect-command", "/go", "--workspace", "workspace", "--claude", "/bin/false"]);
    let outcome = sandbox.started(&mut zen).outcome_within(BOUND).expect_code(0);
    assert!(outcome.stdout.contains("go"), "{}", outcome.dump());
}
