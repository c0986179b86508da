//! Processes that were reparented to zen, and their descendants, also those that called setsid(2): zen is their subreaper.
//! Searches the process tree from zen down, so that unrelated processes cost nothing. Requires Linux; other systems list no
//! processes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// Environment variable with the run's id, set for every instance.
pub const RUN_VARIABLE: &str = "ZEN_RUN";
/// Environment variable with the name of the instance.
pub const INSTANCE_VARIABLE: &str = "ZEN_INSTANCE";

// Bounds on reads from /proc, because other processes determine the size of its files. execve(2) accepts 6 MiB of
// arguments and environment, and a process can point /proc/PID/environ to a larger region with prctl(2).
const MAX_ENVIRONMENT_BYTES: u64 = 8 * 1024 * 1024;
const MAX_STAT_BYTES: u64 = 4 * 1024;
const MAX_CHILDREN_BYTES: u64 = 1024 * 1024;

/// Maximum number of processes per search.
const MAX_FOUND: usize = 100_000;

/// Environment variable that tags the processes of one run.
#[derive(Clone, Debug)]
pub struct ProcessTag(Vec<u8>);

impl ProcessTag {
    /// Creates the tag of a run.
    #[must_use]
    pub fn of_run(run: &str) -> Self {
        ProcessTag(format!("{RUN_VARIABLE}={run}").into_bytes())
    }

    /// Returns true if the environment of the process contains this tag.
    ///
    /// Returns false for a process that has overwritten its environment, belongs to another user, or is not dumpable.
    #[must_use]
    pub fn is_on(&self, pid: i32) -> bool {
        let environment = read(format!("/proc/{pid}/environ"), MAX_ENVIRONMENT_BYTES).unwrap_or_default();
        environment.split(|&b| b == 0).any(|variable| variable == self.0)
    }
}

/// A process as listed in /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcInfo {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks. A pid can be reused, but not with the same start time.
    pub start_ticks: u64,
    has_ended: bool,
}

/// Makes zen a subreaper, so that it can find and reap orphaned descendants.
///
/// On other systems than Linux, orphans are reparented to init.
pub fn become_subreaper() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Returns zen's children, including zombies; `None` if the system does not list them.
#[must_use]
pub fn children() -> Option<Vec<i32>> {
    let me = std::process::id().cast_signed();
    proc_matches_pid_namespace().then(|| children_of_thread(format!("/proc/{me}/task/{me}")))?
}

/// Returns these processes and their descendants, without those that have exited.
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

/// Returns the descendants of a process, without those that have exited.
#[must_use]
pub fn below(pid: i32) -> Vec<ProcInfo> {
    trees(&children_of(pid))
}

/// Kills these processes, except those with a reused pid.
pub fn kill_all(processes: &[ProcInfo]) {
    for process in processes {
        if proc_info(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
}

/// Returns the processes that have not exited. A killed process counts until the kernel has freed its memory.
#[must_use]
pub fn still_alive(processes: &[ProcInfo]) -> Vec<ProcInfo> {
    let is_there =
        |then: &&ProcInfo| proc_info(then.pid).is_some_and(|now| now.start_ticks == then.start_ticks && !now.has_ended);
    processes.iter().filter(is_there).copied().collect()
}

/// Returns true if zen is pid 1, to which all orphans are reparented.
#[must_use]
pub fn is_init() -> bool {
    std::process::id() == 1
}

/// Returns an exited child that has not been reaped, and leaves it in that state.
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

/// Reaps an exited child that is not the process of an instance.
pub fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

/// Returns true if /proc exists and shows this pid namespace, not that of other processes.
fn proc_matches_pid_namespace() -> bool {
    fs::read_link("/proc/self").is_ok_and(|me| me.as_os_str() == OsStr::new(&std::process::id().to_string()))
}

/// Returns the children of all threads of a process.
fn children_of(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| children_of_thread(thread.path())).flatten().take(MAX_FOUND).collect()
}

fn children_of_thread(thread: impl AsRef<Path>) -> Option<Vec<i32>> {
    let list = read(thread.as_ref().join("children"), MAX_CHILDREN_BYTES)?;
    let list = String::from_utf8_lossy(&list);
    Some(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Index of `num_threads` (proc(5)) among the fields after the name.
const THREADS: usize = 17;

/// Returns information on the process with this pid; `None` if it does not exist.
#[must_use]
pub fn proc_info(pid: i32) -> Option<ProcInfo> {
    // `PID (name) STATE PPID PGRP … STARTTIME …`: the name may contain anything, so parse after the last parenthesis.
    let stat = read(format!("/proc/{pid}/stat"), MAX_STAT_BYTES)?;
    let after_name = stat.iter().rposition(|&b| b == b')')? + 1;
    let stat = String::from_utf8_lossy(&stat[after_name..]);
    let fields: Vec<&str> = stat.split_ascii_whitespace().collect();
    let threads: u32 = fields.get(THREADS)?.parse().ok()?;
    // A zombie with more than one thread has lost only its main thread.
    let has_ended = *fields.first()? == "X" || (*fields.first()? == "Z" && threads <= 1);
    Some(ProcInfo { pid, has_ended, start_ticks: fields.get(19)?.parse().ok()? })
}

/// Reads a file of /proc up to a bound, which also limits the time and the memory.
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
