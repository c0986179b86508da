//! Processes of the running instances: their pipes and their exit. Has the one poll of the loop.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cleanup::OrphanCleanup;
use crate::base::lines::{Line, LineSplitter};
use crate::engine::outcome::ExitStatus;
use crate::plan::InstanceId;
use crate::system::child::{Process, ReadOutcome};
use crate::system::process_tree::{self, ProcInfo, ProcessTag};
use crate::system::signals::Signals;

/// Maximum number of bytes read from a pipe per pass, so that no instance starves the others.
const READ_BYTES: usize = 64 * 1024;

/// A pipe of an instance.
#[derive(Clone, Copy)]
pub(super) enum Pipe {
    Stdin,
    Stdout,
    Stderr,
}

/// Processes of the running instances.
pub(super) struct Children {
    pub(super) processes: BTreeMap<InstanceId, ChildProcess>,
    /// Instance of each child process (its reaper), by pid, until that is reaped.
    pub(super) by_pid: HashMap<i32, InstanceId>,
    pub(super) tag: ProcessTag,
    /// Children that zen had before the run, left by a shell that ran `exec zen`.
    pub(super) inherited: HashSet<i32>,
    /// True if processes that do not belong to the run may be reparented to zen.
    pub(super) has_inherited: bool,
    /// Processes of instances that survived SIGKILL.
    pub(super) unkillable: Vec<ProcInfo>,
    buffer: Vec<u8>,
    /// Buffer for long lines, lent to the instance that is being read.
    long_line_scratch: Vec<u8>,
}

/// Current process of an instance.
pub(super) struct ChildProcess {
    pub(super) process: Process,
    lines: LineSplitter,
    pub(super) is_reaped: bool,
    pub(super) cleanup: Option<OrphanCleanup>,
}

impl Children {
    /// Makes zen the subreaper of all descendants. `run` is the name of the run.
    pub(super) fn new(run: &str) -> Self {
        process_tree::become_subreaper();
        let inherited: HashSet<i32> = process_tree::children().unwrap_or_default().into_iter().collect();
        Children {
            processes: BTreeMap::new(),
            by_pid: HashMap::new(),
            tag: ProcessTag::of_run(run),
            has_inherited: process_tree::is_init() || !inherited.is_empty(),
            inherited,
            unkillable: Vec::new(),
            buffer: vec![0; READ_BYTES],
            long_line_scratch: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Adds the process of an instance, in place of its last one.
    pub(super) fn insert(&mut self, id: InstanceId, process: Process) {
        self.by_pid.insert(process.child(), id);
        let child = ChildProcess { process, lines: LineSplitter::default(), is_reaped: false, cleanup: None };
        self.processes.insert(id, child);
    }

    /// Removes the process of an instance after its attempt has ended.
    pub(super) fn remove(&mut self, id: InstanceId) {
        self.processes.remove(&id);
    }

    /// Waits until a pipe or one of the other descriptors is ready, or for `timeout`. Returns the ready pipes.
    pub(super) fn poll(
        &self,
        signals: &Signals,
        outputs: [Option<BorrowedFd>; 2],
        timeout: Duration,
    ) -> Vec<(InstanceId, Pipe)> {
        let mut fds = vec![PollFd::new(signals.fd(), PollFlags::POLLIN)];
        fds.extend(outputs.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        let first_pipe = fds.len();
        let mut pipes = Vec::new();
        for (&id, ChildProcess { process, .. }) in &self.processes {
            let stdin = if process.has_pending_stdin() { process.stdin_fd() } else { None };
            for (fd, flags, pipe) in [
                (stdin, PollFlags::POLLOUT, Pipe::Stdin),
                (process.stdout_fd(), PollFlags::POLLIN, Pipe::Stdout),
                (process.stderr_fd(), PollFlags::POLLIN, Pipe::Stderr),
            ] {
                if let Some(fd) = fd {
                    fds.push(PollFd::new(fd, flags));
                    pipes.push((id, pipe));
                }
            }
        }
        // Rounded up to milliseconds: a wait that ends too early would be followed by waits of zero.
        let timeout = PollTimeout::try_from(timeout + Duration::from_nanos(999_999)).unwrap_or(PollTimeout::MAX);
        // An error of poll(2) (EINTR, ENOMEM) is handled like an empty result.
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        let mut ready = Vec::new();
        for (fd, pipe) in fds.iter().skip(first_pipe).zip(pipes) {
            // Any event counts, including POLLERR and POLLHUP: the following read or write returns the cause.
            if fd.any() != Some(false) {
                ready.push(pipe);
            }
        }
        ready
    }

    /// Writes to stdin, or queues the bytes. Returns false if the process has closed it.
    pub(super) fn write(&mut self, id: InstanceId, bytes: &[u8]) -> bool {
        self.processes.get_mut(&id).is_none_or(|child| child.process.send(bytes))
    }

    /// Writes queued bytes to stdin. Returns false if the process has closed it.
    pub(super) fn flush_stdin(&mut self, id: InstanceId) -> bool {
        self.processes.get_mut(&id).is_none_or(|child| child.process.flush_stdin())
    }

    /// Closes stdin once all queued bytes are written.
    pub(super) fn close_stdin(&mut self, id: InstanceId) {
        if let Some(child) = self.processes.get_mut(&id) {
            child.process.close_input();
        }
    }

    /// Sends SIGTERM to the process group.
    pub(super) fn terminate(&self, id: InstanceId) {
        if let Some(child) = self.processes.get(&id) {
            child.process.terminate();
        }
    }

    /// Reads once from stdout, and passes on the bytes and the lines that they complete.
    pub(super) fn read_stdout(
        &mut self,
        id: InstanceId,
        on_bytes: impl FnOnce(&[u8]),
        on_line: impl FnMut(Line),
    ) -> ReadOutcome {
        let Some(ChildProcess { process, lines, .. }) = self.processes.get_mut(&id) else {
            return ReadOutcome::WouldBlock;
        };
        let outcome = process.read_stdout(&mut self.buffer);
        match outcome {
            ReadOutcome::Data(count) => {
                let bytes = &self.buffer[..count];
                on_bytes(bytes);
                lines.lend_scratch(&mut self.long_line_scratch);
                lines.push(bytes, on_line);
                lines.lend_scratch(&mut self.long_line_scratch);
            }
            ReadOutcome::Eof => lines.finish(on_line),
            ReadOutcome::WouldBlock => {}
        }
        outcome
    }

    /// Reads once from stderr, and passes on the bytes.
    pub(super) fn read_stderr(&mut self, id: InstanceId, on_bytes: impl FnOnce(&[u8])) -> ReadOutcome {
        let Some(child) = self.processes.get_mut(&id) else { return ReadOutcome::WouldBlock };
        let outcome = child.process.read_stderr(&mut self.buffer);
        if let ReadOutcome::Data(count) = outcome {
            on_bytes(&self.buffer[..count]);
        }
        outcome
    }

    /// Reaps every exited child: reapers of instances, and orphans that were reparented to zen.
    ///
    /// Returns the instances with an exited process, and its exit status.
    pub(super) fn reap(&mut self) -> Vec<(InstanceId, ExitStatus)> {
        let mut exited = Vec::new();
        while let Some(pid) = process_tree::peek_exited_child() {
            let id = self.by_pid.remove(&pid);
            let Some((id, child)) = id.and_then(|id| Some((id, self.processes.get_mut(&id)?))) else {
                process_tree::reap(pid);
                self.unkillable.retain(|process| process.pid != pid);
                continue;
            };
            if let Some(exit) = child.process.reap() {
                child.is_reaped = true;
                exited.push((id, exit));
            }
        }
        exited
    }
}
