//! Processes that an instance has started, wherever they put themselves: found in /proc by the mark in their environment and by
//! descent, and ended. Linux's; elsewhere nothing is found, and a process group is all that is ended.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// The variable with the run's id in every instance's environment.
pub const RUN_VARIABLE: &str = "ZEN_RUN";
/// The variable with the instance's name in its environment.
pub const INSTANCE_VARIABLE: &str = "ZEN_INSTANCE";

/// How often, and after what pause, it is looked at a process in the middle of exec(2). A program's file may come from a slow disk.
const MAX_LOOKS: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// More than an environment usually has.
const ENVIRONMENT_BYTES: usize = 256 * 1024;

/// How often a process must show no environment outside exec(2) until it is believed that it has none.
const LOOKS_TO_BELIEVE: u32 = 8;

/// What the processes of one run, or of one instance of it, carry in their environment.
#[derive(Clone, Debug)]
pub struct Mark {
    run: Vec<u8>,
    instance: Option<Vec<u8>>,
}

impl Mark {
    /// The mark of a whole run.
    #[must_use]
    pub fn of_run(run: &str) -> Self {
        Mark { run: format!("{RUN_VARIABLE}={run}").into_bytes(), instance: None }
    }

    /// The mark of one instance.
    #[must_use]
    pub fn of_instance(run: &str, name: &str) -> Self {
        Mark { instance: Some(format!("{INSTANCE_VARIABLE}={name}").into_bytes()), ..Mark::of_run(run) }
    }

    fn is_on(&self, environment: &[u8]) -> bool {
        let has = |variable: &[u8]| environment.split(|&b| b == 0).any(|v| v == variable);
        has(&self.run) && self.instance.as_ref().is_none_or(|instance| has(instance))
    }
}

/// A process as /proc shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its id.
    pub pid: i32,
    /// When it started, in the kernel's ticks: an id can be given away again, this pair cannot.
    pub start_ticks: u64,
    parent: i32,
    group: i32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Alive,
    /// In the middle of exec(2): its new environment is not there yet.
    InExec,
    /// The kernel is ending it and has its memory back already, or it is the kernel's own: it has no environment.
    Empty,
    /// It has ended and was not reaped.
    Ended,
}

impl State {
    fn has_environment(self) -> bool {
        matches!(self, State::Alive | State::InExec)
    }
}

/// Whom to look for besides those with the mark.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// Descendants of this process, and members of its group; not the process itself.
    pub leader: Option<i32>,
    /// Children of zen with no mark at all: somebody cleared their environment and left them behind. `known` are those
    /// that belong to somebody.
    pub unmarked: Option<HashSet<i32>>,
}

/// Makes orphaned descendants zen's children, so that it can find and reap them. Where the system cannot, they go to init.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// zen's own children at this moment, zombies included; `None` where the system does not tell.
#[must_use]
pub fn children() -> Option<Vec<i32>> {
    let me = std::process::id();
    let list = shows_our_numbers().then(|| fs::read_to_string(format!("/proc/{me}/task/{me}/children")).ok())??;
    Some(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// The living processes that carry the mark or descend from one that does, and those of `roots`.
#[must_use]
pub fn find(mark: &Mark, roots: &Roots) -> Vec<Seen> {
    let me = std::process::id().cast_signed();
    let all = processes();
    let mut children: HashMap<i32, Vec<&Seen>> = HashMap::new();
    for process in &all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found: HashSet<i32> = HashSet::new();
    let mut queue: Vec<i32> = roots.leader.into_iter().collect();
    for process in all.iter().filter(|p| p.pid != me && p.state.has_environment()) {
        let in_group = roots.leader == Some(process.group);
        let is_stray = |known: &HashSet<i32>| process.parent == me && !is_init() && !known.contains(&process.pid);
        let environment = environment_of(process.pid);
        let unmarked = || !contains(&environment, RUN_VARIABLE.as_bytes());
        if in_group || mark.is_on(&environment) || roots.unmarked.as_ref().is_some_and(|k| is_stray(k) && unmarked()) {
            queue.push(process.pid);
        }
    }
    while let Some(pid) = queue.pop() {
        if pid != me && found.insert(pid) {
            queue.extend(children.get(&pid).into_iter().flatten().map(|child| child.pid));
        }
    }
    let is_leader = |pid: i32| roots.leader == Some(pid);
    all.into_iter().filter(|p| found.contains(&p.pid) && p.state.has_environment() && !is_leader(p.pid)).collect()
}

/// Ends these processes, unless their ids have gone to others meanwhile.
pub fn end(processes: &[Seen]) {
    for process in processes {
        if see(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
}

/// Those of them that have not ended. Who was killed shows no mark while the kernel takes his memory back, and with much of
/// it that takes its time.
#[must_use]
pub fn not_ended(processes: &[Seen]) -> Vec<Seen> {
    let is_there = |then: &&Seen| {
        see(then.pid).is_some_and(|now| now.start_ticks == then.start_ticks && now.state != State::Ended)
    };
    processes.iter().filter(is_there).copied().collect()
}

/// Ends children of zen's. As long as they are not reaped, their numbers are theirs.
pub fn end_children(children: &[i32]) {
    for &child in children {
        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
    }
}

/// Whether whoever has lost his parent comes to this process in any case, as to init.
#[must_use]
pub fn is_init() -> bool {
    std::process::id() == 1
}

/// A child that has ended and was not reaped, if there is one. It stays as it is.
#[must_use]
pub fn ended_child() -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => return Some(pid.as_raw()),
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Reaps a child that has ended and is nobody's instance.
pub fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

/// Whether /proc is there and has the numbers of this pid namespace: those of another one are other processes'.
fn shows_our_numbers() -> bool {
    fs::read_link("/proc/self").is_ok_and(|me| me.as_os_str() == OsStr::new(&std::process::id().to_string()))
}

fn processes() -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    if !shows_our_numbers() {
        return Vec::new();
    }
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(see).collect()
}

/// The places after the name of what proc(5) calls `num_threads`, `vsize` and `env_end`.
const THREADS: usize = 17;
const MEMORY_BYTES: usize = 20;
const END_OF_ENVIRONMENT: usize = 48;

/// The process with this id, if there is one.
#[must_use]
pub fn see(pid: i32) -> Option<Seen> {
    // `PID (name) STATE PPID PGRP … STARTTIME …`: the name may hold anything, so what counts comes after the last parenthesis.
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|&b| b == b')')? + 1;
    let stat = String::from_utf8_lossy(&stat[after_name..]);
    let fields: Vec<&str> = stat.split_ascii_whitespace().collect();
    let is_zero = |field: usize| fields.get(field).is_some_and(|value| *value == "0");
    let has_threads = fields.get(THREADS).and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count > 1);
    let state = match *fields.first()? {
        // Its first thread has ended, and others live.
        "Z" if has_threads => State::Alive,
        "Z" | "X" => State::Ended,
        _ if is_zero(MEMORY_BYTES) => State::Empty,
        _ if is_zero(END_OF_ENVIRONMENT) => State::InExec,
        _ => State::Alive,
    };
    Some(Seen {
        pid,
        state,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// Another user's processes do not show theirs, and are not zen's to end. One in the middle of exec(2) shows none either, nor
/// one that began another program between two steps of looking: the first is waited for, the second looked at again.
fn environment_of(pid: i32) -> Vec<u8> {
    let mut looks_outside_exec = 0;
    for _ in 0..MAX_LOOKS {
        match read_at_once(format!("/proc/{pid}/environ")) {
            Ok(environment) if environment.is_empty() => {}
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => return environment_of_a_thread(pid),
            environment => return environment.unwrap_or_default(),
        }
        match see(pid).map(|now| now.state) {
            Some(State::InExec) => sleep(LOOK_AGAIN),
            _ if looks_outside_exec == LOOKS_TO_BELIEVE => break,
            _ => looks_outside_exec += 1,
        }
    }
    Vec::new()
}

/// Where the first thread has ended, the others still show it.
fn environment_of_a_thread(pid: i32) -> Vec<u8> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let environments = threads.filter_map(|thread| read_at_once(thread.path().join("environ")).ok());
    environments.into_iter().find(|environment| !environment.is_empty()).unwrap_or_default()
}

/// Between two reads a process may begin another program, and nothing follows the first part.
fn read_at_once(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let (mut bytes, mut count) = (vec![0; ENVIRONMENT_BYTES], 0);
    loop {
        match file.read(&mut bytes[count..])? {
            0 => break,
            more => count += more,
        }
        if count == bytes.len() {
            bytes.resize(2 * count, 0);
        }
    }
    bytes.truncate(count);
    Ok(bytes)
}

fn contains(environment: &[u8], name: &[u8]) -> bool {
    environment.split(|&b| b == 0).any(|variable| variable.starts_with(name) && variable.get(name.len()) == Some(&b'='))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Its environment is there and not there many times in a second.
    #[test]
    fn one_that_starts_one_program_after_the_other_is_found_at_each_look() {
        let run = format!("exec-test-{}", std::process::id());
        let again = r#"exec sh -c "$0" "$0""#;
        let mut child = Command::new("sh");
        child.args(["-c", again, again]).env(RUN_VARIABLE, &run).stdin(Stdio::null());
        let mut child = child.spawn().expect("there is a sh");
        let pid = child.id().cast_signed();
        let missed = (0..300).filter(|_| !find(&Mark::of_run(&run), &Roots::default()).iter().any(|p| p.pid == pid));
        let missed = missed.count();
        child.kill().and_then(|()| child.wait()).expect("it was alive");
        assert_eq!(missed, 0);
    }
}
