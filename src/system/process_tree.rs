//! Processes that came back to zen because they lost their parent, and all that descends from them. Found by descent alone, from
//! zen down: a machine full of other processes costs nothing. Linux's; elsewhere nothing is found.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// The variable with the run's id in every instance's environment.
pub const RUN_VARIABLE: &str = "ZEN_RUN";
/// The variable with the instance's name in its environment.
pub const INSTANCE_VARIABLE: &str = "ZEN_INSTANCE";

/// Bounds on what is read from /proc, where other processes decide how much there is. The system takes 6 MiB of arguments and
/// variables at a start, and more can be made to look like that later.
const MAX_ENVIRONMENT_BYTES: u64 = 8 * 1024 * 1024;
const MAX_STAT_BYTES: u64 = 4 * 1024;
const MAX_CHILDREN_BYTES: u64 = 1024 * 1024;

/// The most processes that are looked at in one search.
const MAX_FOUND: usize = 100_000;

/// The variable that marks the processes of one run.
#[derive(Clone, Debug)]
pub struct ProcessTag(Vec<u8>);

impl ProcessTag {
    /// The mark of a run.
    #[must_use]
    pub fn of_run(run: &str) -> Self {
        ProcessTag(format!("{RUN_VARIABLE}={run}").into_bytes())
    }

    /// Returns true if the process shows this mark in its environment. One that has cleared or overwritten its environment, that
    /// belongs to another user, or that is not dumpable shows none.
    #[must_use]
    pub fn is_on(&self, pid: i32) -> bool {
        let environment = read(format!("/proc/{pid}/environ"), MAX_ENVIRONMENT_BYTES).unwrap_or_default();
        environment.split(|&b| b == 0).any(|variable| variable == self.0)
    }
}

/// A process as /proc shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcInfo {
    /// Its id.
    pub pid: i32,
    /// When it started, in the kernel's ticks: an id can be given away again, this pair cannot.
    pub start_ticks: u64,
    has_ended: bool,
}

/// Makes orphaned descendants zen's children, so that it can find and reap them. Where the system cannot, they go to init.
pub fn become_subreaper() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// zen's own children at this moment, zombies included; `None` where the system does not show them.
#[must_use]
pub fn children() -> Option<Vec<i32>> {
    let me = std::process::id().cast_signed();
    proc_matches_pid_namespace().then(|| children_of_thread(format!("/proc/{me}/task/{me}")))?
}

/// These processes and all that descends from them, as far as they have not ended.
#[must_use]
pub fn trees(roots: &[i32]) -> Vec<ProcInfo> {
    let mut queue = roots.to_vec();
    let mut next = 0;
    while next < queue.len() && queue.len() < MAX_FOUND {
        queue.extend(children_of(queue[next]));
        next += 1;
    }
    queue.into_iter().filter_map(proc_info).filter(|process| !process.has_ended).collect()
}

/// All that descends from this process, as far as it has not ended.
#[must_use]
pub fn below(pid: i32) -> Vec<ProcInfo> {
    trees(&children_of(pid))
}

/// Kills these processes, unless their ids have gone to others meanwhile.
pub fn kill_all(processes: &[ProcInfo]) {
    for process in processes {
        if proc_info(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
}

/// Those of them that have not ended. A process that was killed is there until the kernel has its memory back.
#[must_use]
pub fn still_alive(processes: &[ProcInfo]) -> Vec<ProcInfo> {
    let is_there =
        |then: &&ProcInfo| proc_info(then.pid).is_some_and(|now| now.start_ticks == then.start_ticks && !now.has_ended);
    processes.iter().filter(is_there).copied().collect()
}

/// Returns true if every process that has lost its parent comes to this one in any case, as to init.
#[must_use]
pub fn is_init() -> bool {
    std::process::id() == 1
}

/// A child that has ended and was not reaped, if there is one. It stays as it is.
#[must_use]
pub fn peek_exited_child() -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => return Some(pid.as_raw()),
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Reaps a child that has ended and is no instance's process.
pub fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

/// Returns true if /proc is there and has the numbers of this pid namespace: those of another one are other processes'.
fn proc_matches_pid_namespace() -> bool {
    fs::read_link("/proc/self").is_ok_and(|me| me.as_os_str() == OsStr::new(&std::process::id().to_string()))
}

/// The children of all threads of a process.
fn children_of(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| children_of_thread(thread.path())).flatten().take(MAX_FOUND).collect()
}

fn children_of_thread(thread: impl AsRef<Path>) -> Option<Vec<i32>> {
    let list = read(thread.as_ref().join("children"), MAX_CHILDREN_BYTES)?;
    let list = String::from_utf8_lossy(&list);
    Some(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// The place after the name of what proc(5) calls `num_threads`.
const THREADS: usize = 17;

/// The process with this id, if there is one.
#[must_use]
pub fn proc_info(pid: i32) -> Option<ProcInfo> {
    // `PID (name) STATE PPID PGRP … STARTTIME …`: the name may hold anything, so what counts comes after the last parenthesis.
    let stat = read(format!("/proc/{pid}/stat"), MAX_STAT_BYTES)?;
    let after_name = stat.iter().rposition(|&b| b == b')')? + 1;
    let stat = String::from_utf8_lossy(&stat[after_name..]);
    let fields: Vec<&str> = stat.split_ascii_whitespace().collect();
    let threads: u32 = fields.get(THREADS)?.parse().ok()?;
    // A zombie with more than one thread has only lost its first one.
    let has_ended = *fields.first()? == "X" || (*fields.first()? == "Z" && threads <= 1);
    Some(ProcInfo { pid, has_ended, start_ticks: fields.get(19)?.parse().ok()? })
}

/// Reads a file of /proc up to a bound, which keeps the memory and the time within bounds as well.
fn read(path: impl AsRef<Path>, max_bytes: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(max_bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_tree_is_found_by_descent_and_its_mark_by_its_environment() {
        let run = format!("tree-test-{}", std::process::id());
        let mut child = Command::new("sh");
        child.args(["-c", "env -i sleep 300 & cat; wait"]).env(RUN_VARIABLE, &run).stdin(Stdio::piped());
        let mut child = child.spawn().expect("there is a sh");
        let pid = child.id().cast_signed();
        let give_up = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while below(pid).len() < 2 {
            assert!(std::time::Instant::now() < give_up, "it starts two processes");
        }
        let tree = trees(&[pid]);
        assert_eq!(tree.len(), 3);
        assert!(ProcessTag::of_run(&run).is_on(pid) && !ProcessTag::of_run("another").is_on(pid));
        kill_all(&tree);
        child.wait().expect("it was a child");
        while !still_alive(&tree).is_empty() {
            assert!(std::time::Instant::now() < give_up, "all are killed");
        }
    }

    #[test]
    fn reading_is_bounded() {
        assert_eq!(read("/dev/zero", 1000).map(|bytes| bytes.len()), Some(1000));
    }
}
