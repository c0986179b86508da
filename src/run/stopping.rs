//! Stopping: the whole run at a signal, and of an instance everything that it has left behind, in whatever session or group
//! that put itself.

use std::collections::HashSet;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::Run;
use crate::edge::descendants::{self, Mark, Roots, Seen};
use crate::edge::guard::Guard;
use crate::outcome::{Failure, Reason, Status};

/// How long after an instance's survivors were killed it is looked whether they are gone.
const SWEEP_AGAIN: Duration = Duration::from_millis(10);

/// When that is given up: somebody else's process, or one that the kernel holds.
const SWEEP_GIVE_UP: Duration = Duration::from_secs(5);

/// The search for what an instance has left behind.
pub(super) struct Sweep {
    pub(super) again_at: Duration,
    give_up_at: Duration,
    killed: Vec<Seen>,
}

/// Children of zen that are no instance's process.
struct Strays {
    children: usize,
    known: HashSet<i32>,
    are_of_this_instance: bool,
}

impl Run<'_> {
    /// The first stopping signal stops everything by the ladder, the next one at once.
    pub(super) fn stop(&mut self, signal: Signal, now: Duration) {
        let why = Failure::interrupted(signal.as_str());
        let is_first = self.stopped_by.is_none();
        if is_first {
            self.stopped_by = Some(signal);
            self.message(&format!(
                "{} came: everything is being stopped; once more, and it is killed",
                signal.as_str()
            ));
        }
        for index in self.schedule.stop() {
            let failure = match self.records[index].failed_attempts.last() {
                Some(last) => Failure::new(Reason::Interrupted, last.failure.not_tried_again(&why.error).error),
                None => Failure::new(Reason::Interrupted, format!("{} before it started", why.error)),
            };
            self.ended(index, Status::Failed(failure), now);
        }
        for index in self.running() {
            if let Some(live) = self.live.get_mut(&index) {
                let effects =
                    if is_first { live.attempt.stop(why.clone(), now) } else { live.attempt.kill(why.clone(), now) };
                self.apply(index, effects, now);
            }
        }
    }

    /// Ends what an instance has started and left behind, and looks again until nothing is left.
    pub(super) fn sweep(&mut self, index: usize, now: Duration) {
        let unmarked = self.strays(index);
        let Some(live) = self.live.get_mut(&index) else { return };
        let has_ended = live.attempt.exit().is_some();
        let leader = (!has_ended).then(|| live.process.pid().cast_signed());
        // When it has ended, whatever it left has become a child of zen. Without one there is nobody to look for.
        let mut found = if has_ended && unmarked.as_ref().is_some_and(|strays| strays.children == 0) {
            Vec::new()
        } else {
            let unmarked = unmarked.filter(|strays| strays.are_of_this_instance).map(|strays| strays.known);
            descendants::find(&live.mark, &Roots { leader, unmarked })
        };
        // What was given up once is not looked for again.
        found.retain(|one| !is_among(&self.unended, one));
        let killed = live.sweep.as_ref().map(|sweep| descendants::not_ended(&sweep.killed));
        let is_new = |one: &Seen| !is_among(&found, one);
        let without_a_mark: Vec<Seen> = killed.into_iter().flatten().filter(is_new).collect();
        found.extend(without_a_mark);
        if has_ended && !found.is_empty() {
            live.attempt.left_processes();
        }
        if found.is_empty() {
            live.sweep = None;
            return;
        }
        let give_up_at = live.sweep.as_ref().map_or(now + SWEEP_GIVE_UP, |sweep| sweep.give_up_at);
        if now >= give_up_at {
            live.sweep = None;
            self.give_up(index, found);
            return;
        }
        descendants::end(&found);
        live.sweep = Some(Sweep { again_at: now + SWEEP_AGAIN, give_up_at, killed: found });
    }

    /// Lets go of an instance's process, if that could not be ended: the run goes on without it.
    pub(super) fn give_up_unended(&mut self, index: usize) {
        let Some(live) = self.live.get(&index).filter(|live| live.attempt.exit().is_none()) else { return };
        let pid = live.process.pid().cast_signed();
        self.by_pid.remove(&pid);
        self.give_up(index, descendants::see(pid).into_iter().collect());
    }

    fn give_up(&mut self, index: usize, unended: Vec<Seen>) {
        self.records[index].survivors.extend(unended.iter().map(|process| process.pid));
        self.unended.extend(unended);
    }

    /// Forgets those that could not be ended, and have ended since.
    pub(super) fn forget_ended(&mut self) {
        let left: HashSet<i32> = descendants::not_ended(&self.unended).iter().map(|process| process.pid).collect();
        for record in &mut self.records {
            record.survivors.retain(|pid| left.contains(pid));
        }
    }

    /// zen's children that are no instance's process; `None` where the system does not tell.
    fn strays(&self, index: usize) -> Option<Strays> {
        let known = self.known_children();
        let children = other_children(&known)?.len();
        let others_live = self.live.keys().any(|&other| other != index);
        Some(Strays { children, known, are_of_this_instance: !others_live })
    }

    fn known_children(&self) -> HashSet<i32> {
        let guard = self.guard.as_ref().map(Guard::pid);
        let unended = self.unended.iter().map(|process| &process.pid);
        self.by_pid.keys().chain(&self.not_ours).chain(&guard).chain(unended).copied().collect()
    }

    /// Ends what no instance could be blamed for: processes without a mark that came back to zen. Answers who is left; `None`
    /// where the system does not tell.
    pub(super) fn end_strays(&mut self) -> Option<Vec<i32>> {
        let mark = Mark::of_run(&self.settings.facts.run);
        let give_up = self.now() + SWEEP_GIVE_UP;
        loop {
            while let Some(pid) = descendants::ended_child() {
                descendants::reap(pid);
            }
            let known = self.known_children();
            let strays = other_children(&known);
            if strays.as_ref().is_some_and(Vec::is_empty) {
                return strays;
            }
            let is_told = strays.is_some();
            let mut marked = descendants::find(&mark, &Roots { leader: None, unmarked: Some(known) });
            marked.retain(|process| !is_among(&self.unended, process));
            // No instance runs any more: whoever has come back to zen is the run's, whatever mark he carries.
            let strays = strays.filter(|_| !descendants::is_init()).unwrap_or_default();
            let mut left: Vec<i32> = marked.iter().map(|process| process.pid).collect();
            left.extend(strays.iter().filter(|stray| marked.iter().all(|process| process.pid != **stray)));
            if left.is_empty() || self.now() >= give_up {
                return Some(left).filter(|left| is_told || !left.is_empty());
            }
            descendants::end(&marked);
            descendants::end_children(&strays);
            let timeout = PollTimeout::try_from(SWEEP_AGAIN).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(self.signals.fd(), PollFlags::POLLIN)], timeout);
            self.signals.take();
        }
    }
}

fn is_among(processes: &[Seen], one: &Seen) -> bool {
    processes.iter().any(|other| other.pid == one.pid)
}

/// zen's children but these; `None` where the system does not tell.
fn other_children(known: &HashSet<i32>) -> Option<Vec<i32>> {
    Some(descendants::children()?.into_iter().filter(|pid| !known.contains(pid)).collect())
}
