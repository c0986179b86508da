//! Stops a run on a signal, and kills everything that an instance has left behind, in any session or process group.

use std::collections::HashSet;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::Supervisor;
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::system::process_tree::{self, ProcInfo};

/// Time limit of an instance's reaper, which may be stopped or traced, before zen kills its descendants itself.
const REAPER_LIMIT: Duration = Duration::from_secs(1);

/// Time after which a reaper that has not exited is killed; its children are reparented to zen.
const REAPER_GIVE_UP: Duration = Duration::from_secs(4);

/// Interval between killing processes and checking that they are gone.
const SWEEP_AGAIN: Duration = Duration::from_millis(10);

/// Time after which the cleanup is abandoned: a process may belong to another user or hang in the kernel.
const SWEEP_GIVE_UP: Duration = Duration::from_secs(5);

/// Cleanup of the processes that an instance has started.
pub(super) struct OrphanCleanup {
    pub(super) again_at: Duration,
    began: Duration,
    killed: Vec<ProcInfo>,
}

impl Supervisor<'_> {
    /// Stops all instances: gracefully on the first signal, with SIGKILL on the next one.
    pub(super) fn stop(&mut self, signal: Signal, now: Duration) {
        let why = Failure::interrupted(signal.as_str());
        let is_first = self.stopped_by.is_none();
        if is_first {
            self.stopped_by = Some(signal);
            self.notice(&format!("{} came: everything is being stopped; once more, and it is killed", signal.as_str()));
        }
        for index in self.schedule.stop() {
            let failure = match self.records[index].failed_attempts.last() {
                Some(last) => {
                    Failure::new(FailureKind::Interrupted, last.failure.with_retry_cancelled(&why.error).error)
                }
                None => Failure::new(FailureKind::Interrupted, format!("{} before it started", why.error)),
            };
            self.finish_instance(index, Status::Failed(failure), now);
        }
        for index in self.running() {
            if let Some(live) = self.live.get_mut(&index) {
                let effects =
                    if is_first { live.attempt.stop(why.clone(), now) } else { live.attempt.kill(why.clone(), now) };
                self.apply(index, effects, now);
            }
        }
    }

    /// Waits for the reaper of an instance, which kills everything that the instance has started.
    ///
    /// zen kills the rest: descendants of a reaper that does not exit, and orphans of a reaper that was killed.
    pub(super) fn sweep(&mut self, index: usize, now: Duration) {
        let orphans = self.orphans();
        let Some(live) = self.live.get_mut(&index) else { return };
        let (began, killed) = match &live.sweep {
            Some(sweep) => (sweep.began, process_tree::still_alive(&sweep.killed)),
            None => (now, Vec::new()),
        };
        let mut found = match live.attempt.exit() {
            Some(_) => process_tree::trees(&orphans),
            None if now < began + REAPER_LIMIT => {
                live.sweep = Some(OrphanCleanup { again_at: began + REAPER_LIMIT, began, killed });
                return;
            }
            None => process_tree::below(live.process.child()),
        };
        let is_new = |one: &ProcInfo| !is_among(&found, one);
        let killed: Vec<ProcInfo> = killed.into_iter().filter(is_new).collect();
        found.extend(killed);
        found.retain(|one| !is_among(&self.unkillable, one));
        let has_ended = live.attempt.exit().is_some();
        if has_ended && (live.process.left_processes() || !found.is_empty()) {
            live.attempt.left_processes();
        }
        if has_ended && found.is_empty() {
            live.sweep = None;
            return;
        }
        if now >= began + SWEEP_GIVE_UP {
            live.sweep = None;
            self.give_up(index, found);
            return;
        }
        if !has_ended && now >= began + REAPER_GIVE_UP {
            live.process.kill_reaper();
        }
        process_tree::kill_all(&found);
        live.sweep = Some(OrphanCleanup { again_at: now + SWEEP_AGAIN, began, killed: found });
    }

    /// Abandons the process of an instance if it could not be killed; the run continues without it.
    pub(super) fn abandon_unkillable(&mut self, index: usize) {
        let Some(live) = self.live.get(&index).filter(|live| live.attempt.exit().is_none()) else { return };
        let (child, pid) = (live.process.child(), live.process.pid().cast_signed());
        self.by_child.remove(&child);
        let unended = [child, pid].into_iter().filter_map(process_tree::proc_info).collect();
        self.give_up(index, unended);
    }

    fn give_up(&mut self, index: usize, unended: Vec<ProcInfo>) {
        self.records[index].surviving_pids.extend(unended.iter().map(|process| process.pid));
        self.unkillable.extend(unended);
    }

    /// Removes the surviving processes that have exited since.
    pub(super) fn prune_survivors(&mut self) {
        let left: HashSet<i32> =
            process_tree::still_alive(&self.unkillable).iter().map(|process| process.pid).collect();
        for record in &mut self.records {
            record.surviving_pids.retain(|pid| left.contains(pid));
        }
    }

    /// Returns the processes that were reparented to zen from a killed reaper.
    ///
    /// Orphans of inherited children are reparented to zen as well. If zen inherited any, only processes with the run's
    /// tag belong to the run.
    pub(super) fn orphans(&self) -> Vec<i32> {
        let mut others = self.other_children().unwrap_or_default();
        if self.has_inherited {
            others.retain(|&pid| self.mark.is_on(pid));
        }
        others
    }

    /// Returns zen's children that belong to no instance; `None` if the system does not list them.
    fn other_children(&self) -> Option<Vec<i32>> {
        let is_known = |pid: &i32| {
            self.by_child.contains_key(pid)
                || self.inherited.contains(pid)
                || self.unkillable.iter().any(|process| process.pid == *pid)
        };
        Some(process_tree::children()?.into_iter().filter(|pid| !is_known(pid)).collect())
    }

    /// Kills leftover processes after the last instance has ended.
    ///
    /// Returns the processes that could not be killed; `None` if the system does not list them.
    pub(super) fn end_orphans(&mut self) -> Option<Vec<i32>> {
        let give_up = self.now() + SWEEP_GIVE_UP;
        loop {
            while let Some(pid) = process_tree::peek_exited_child() {
                process_tree::reap(pid);
            }
            self.other_children()?;
            let orphans = self.orphans();
            if orphans.is_empty() || self.now() >= give_up {
                return Some(orphans);
            }
            process_tree::kill_all(&process_tree::trees(&orphans));
            let timeout = PollTimeout::try_from(SWEEP_AGAIN).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(self.signals.fd(), PollFlags::POLLIN)], timeout);
            self.signals.drain();
        }
    }
}

fn is_among(processes: &[ProcInfo], one: &ProcInfo) -> bool {
    processes.iter().any(|other| (other.pid, other.start_ticks) == (one.pid, one.start_ticks))
}
