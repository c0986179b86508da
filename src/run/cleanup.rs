//! Cleanup: kills everything that an instance has started, in any session or process group.

use std::collections::HashSet;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::children::Children;
use crate::engine::run_clock::RunClock;
use crate::engine::timing::{CLEANUP_GIVE_UP, CLEANUP_INTERVAL, REAPER_GIVE_UP, REAPER_LIMIT};
use crate::plan::InstanceId;
use crate::system::clock;
use crate::system::process_tree::{self, ProcInfo};
use crate::system::signals::Signals;

/// Cleanup in progress of the processes that an instance has started.
pub(super) struct OrphanCleanup {
    next_check: Duration,
    began: Duration,
    killed: Vec<ProcInfo>,
    had_descendants: bool,
}

/// Result of a cleanup.
#[derive(Default)]
pub(super) struct Survivors {
    /// Processes that could not be killed.
    pub(super) pids: Vec<i32>,
    /// True if descendants were alive after the process had exited.
    pub(super) had_descendants: bool,
}

impl Children {
    /// Kills the process of an instance and begins a cleanup. Returns the result if it has ended at once.
    pub(super) fn kill(&mut self, id: InstanceId, now: Duration) -> Option<Survivors> {
        let Some(child) = self.processes.get(&id) else { return Some(Survivors::default()) };
        if !child.is_reaped {
            child.process.kill();
        }
        self.clean(id, now)
    }

    /// Returns the time of the next check of any cleanup.
    pub(super) fn next_cleanup(&self) -> Option<Duration> {
        self.processes.values().filter_map(|child| Some(child.cleanup.as_ref()?.next_check)).min()
    }

    /// Returns the instances with a cleanup that is due.
    pub(super) fn due_cleanups(&self, now: Duration) -> Vec<InstanceId> {
        let mut due = Vec::new();
        for (&id, child) in &self.processes {
            if child.cleanup.as_ref().is_some_and(|cleanup| cleanup.next_check <= now) {
                due.push(id);
            }
        }
        due
    }

    /// Waits for the reaper of an instance, which kills everything that the instance has started.
    ///
    /// zen kills the rest: descendants of a reaper that does not exit, and orphans of a reaper that was killed. Returns
    /// the result once the cleanup has ended.
    pub(super) fn clean(&mut self, id: InstanceId, now: Duration) -> Option<Survivors> {
        let orphans = if self.processes.get(&id)?.is_reaped { self.orphans() } else { Vec::new() };
        let child = self.processes.get_mut(&id)?;
        let last = child.cleanup.take();
        let began = last.as_ref().map_or(now, |last| last.began);
        let mut had_descendants = last.as_ref().is_some_and(|last| last.had_descendants);
        let killed = last.map_or_else(Vec::new, |last| process_tree::still_alive(&last.killed));
        if !child.is_reaped && now < began + REAPER_LIMIT {
            child.cleanup = Some(OrphanCleanup { next_check: began + REAPER_LIMIT, began, killed, had_descendants });
            return None;
        }
        let mut alive =
            if child.is_reaped { process_tree::trees(&orphans) } else { process_tree::below(child.process.child()) };
        for process in killed {
            if !contains(&alive, &process) {
                alive.push(process);
            }
        }
        alive.retain(|process| !contains(&self.unkillable, process));
        had_descendants |= child.is_reaped && (child.process.left_processes() || !alive.is_empty());
        if child.is_reaped && alive.is_empty() {
            return Some(Survivors { pids: Vec::new(), had_descendants });
        }
        if now >= began + CLEANUP_GIVE_UP {
            return Some(Survivors { pids: self.give_up(alive), had_descendants });
        }
        if !child.is_reaped && now >= began + REAPER_GIVE_UP {
            child.process.kill_reaper();
        }
        process_tree::kill_all(&alive);
        child.cleanup =
            Some(OrphanCleanup { next_check: now + CLEANUP_INTERVAL, began, killed: alive, had_descendants });
        None
    }

    /// Abandons the process of an instance, which SIGKILL did not end; the run continues without it.
    pub(super) fn abandon(&mut self, id: InstanceId) -> Survivors {
        let Some(child) = self.processes.get(&id) else { return Survivors::default() };
        let (reaper, pid) = (child.process.child(), child.process.pid().cast_signed());
        self.by_pid.remove(&reaper);
        let alive = [reaper, pid].into_iter().filter_map(process_tree::proc_info).collect();
        Survivors { pids: self.give_up(alive), had_descendants: false }
    }

    fn give_up(&mut self, processes: Vec<ProcInfo>) -> Vec<i32> {
        let pids = processes.iter().map(|process| process.pid).collect();
        self.unkillable.extend(processes);
        pids
    }

    /// Returns the processes that were abandoned and are still alive.
    pub(super) fn alive_unkillable(&self) -> HashSet<i32> {
        process_tree::still_alive(&self.unkillable).iter().map(|process| process.pid).collect()
    }

    /// Returns the reapers of instances, and the processes reparented to zen from a killed reaper.
    pub(super) fn roots(&self) -> Vec<i32> {
        self.by_pid.keys().copied().chain(self.orphans()).collect()
    }

    /// Returns the processes that were reparented to zen from a killed reaper.
    ///
    /// Orphans of inherited children are reparented to zen as well. If zen inherited any, only processes with the run's
    /// tag belong to the run.
    fn orphans(&self) -> Vec<i32> {
        let mut others = self.other_children().unwrap_or_default();
        if self.has_inherited {
            others.retain(|&pid| self.tag.is_on(pid));
        }
        others
    }

    /// Returns zen's children that belong to no instance; `None` if the system does not list them.
    fn other_children(&self) -> Option<Vec<i32>> {
        let mut children = process_tree::children()?;
        children.retain(|pid| {
            !self.by_pid.contains_key(pid)
                && !self.inherited.contains(pid)
                && self.unkillable.iter().all(|process| process.pid != *pid)
        });
        Some(children)
    }

    /// Kills leftover processes after the last instance has ended.
    ///
    /// Returns the processes that could not be killed; `None` if the system does not list them.
    pub(super) fn kill_orphans(&self, signals: &mut Signals, run_clock: &RunClock) -> Option<Vec<i32>> {
        let give_up = run_clock.elapsed(clock::read()) + CLEANUP_GIVE_UP;
        loop {
            while let Some(pid) = process_tree::peek_exited_child() {
                process_tree::reap(pid);
            }
            self.other_children()?;
            let orphans = self.orphans();
            if orphans.is_empty() || run_clock.elapsed(clock::read()) >= give_up {
                return Some(orphans);
            }
            process_tree::kill_all(&process_tree::trees(&orphans));
            let timeout = PollTimeout::try_from(CLEANUP_INTERVAL).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(signals.fd(), PollFlags::POLLIN)], timeout);
            signals.drain();
        }
    }
}

fn contains(processes: &[ProcInfo], process: &ProcInfo) -> bool {
    processes.iter().any(|other| (other.pid, other.start_ticks) == (process.pid, process.start_ticks))
}
