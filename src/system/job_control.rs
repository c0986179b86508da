//! Stops and continues process trees, and stops zen itself.

use std::collections::HashSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction};
use nix::unistd::Pid;

use crate::system::process_tree;
use crate::system::process_tree::ProcInfo;

/// Maximum number of searches for processes that were forked while the others were being stopped.
const MAX_LOOKS: u32 = 1000;
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Stops these processes and all their descendants with SIGSTOP.
///
/// Returns the processes that it stopped, parents first, without those that were stopped before.
#[must_use]
pub fn stop_all(roots: &[i32]) -> Vec<ProcInfo> {
    let (mut stopped, mut known) = (Vec::new(), HashSet::new());
    let mut were_settled = false;
    for _ in 0..MAX_LOOKS {
        let tree = with_descendants(roots);
        let mut is_settled = true;
        for &pid in &tree {
            let is_stopped = matches!(state(pid), Some('T' | 't' | 'Z' | 'X') | None);
            let is_new = known.insert(pid);
            is_settled &= is_stopped;
            if is_new && !is_stopped {
                stopped.extend(process_tree::proc_info(pid));
                let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            }
        }
        // A parent may have forked after the list of its children was read and before it stopped.
        if is_settled && were_settled {
            break;
        }
        were_settled = is_settled;
        // The kernel stops a process on another CPU with a delay, during which it may fork.
        sleep(CHECK_INTERVAL);
    }
    stopped
}

/// Continues these processes, children first, so that a parent does not see them stopped.
pub fn continue_all(stopped: &[ProcInfo]) {
    for process in stopped.iter().rev() {
        if process_tree::proc_info(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGCONT);
        }
    }
}

/// Stops zen with the default action of this signal, as its parent expects.
///
/// Returns when zen is continued. Returns immediately in an orphaned process group: the kernel does not stop a process
/// that no shell could continue.
pub fn stop_self(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of zen's, and the action that was there is restored.
    unsafe {
        if let Ok(before) = sigaction(signal, &default) {
            let _ = raise(signal);
            let _ = sigaction(signal, &before);
        }
    }
}

/// Returns these processes and their descendants, parents first.
fn with_descendants(roots: &[i32]) -> Vec<i32> {
    let mut tree: Vec<i32> = roots.to_vec();
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        next += 1;
        // /proc lists a child under the thread that forked it.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            tree.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
    tree
}

/// Returns the state letter of a process (proc(5)).
fn state(pid: i32) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 2;
    stat.get(after_name).map(|&byte| char::from(byte))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// A process tree that is killed on drop, even if the test fails.
    struct Tree(std::process::Child);

    impl Drop for Tree {
        fn drop(&mut self) {
            let pid = self.0.id().cast_signed();
            let _ = stop_all(&[pid]);
            for pid in with_descendants(&[pid]) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = self.0.wait();
        }
    }

    /// Shell script that stops its own child and forks continuously.
    const FORKS: &str = "sleep 300 & kill -STOP $!; echo $!; while :; do (:) & wait $!; done";

    #[test]
    fn all_descendants_are_stopped_and_only_those_are_continued() {
        let mut child = Command::new("sh");
        child.args(["-c", FORKS]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Tree(child.spawn().expect("there is a sh"));
        let mut own = String::new();
        let stdout = child.0.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut own).expect("a line");
        let own: i32 = own.trim().parse().expect("a pid");
        let pid = child.0.id().cast_signed();
        let is_stopped = (0..10_000).any(|_| {
            sleep(CHECK_INTERVAL);
            state(own) == Some('T')
        });
        assert!(is_stopped);
        for _ in 0..20 {
            let stopped = stop_all(&[pid]);
            let tree = with_descendants(&[pid]);
            let states: Vec<_> = tree.iter().map(|&pid| state(pid)).collect();
            assert!(states.iter().all(|state| matches!(state, Some('T' | 'Z'))), "{states:?}");
            assert!(stopped.iter().all(|process| process.pid != own), "it was stopped before");
            continue_all(&stopped);
            assert_eq!((state(own), stopped.first().map(|process| process.pid)), (Some('T'), Some(pid)));
        }
    }
}
