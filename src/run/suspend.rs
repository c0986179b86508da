//! Suspension: Ctrl-Z stops the instances together with zen, and any pause moves the deadlines.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Supervisor;
use crate::base::text;
use crate::engine::outcome::FailureKind;
use crate::system::{clock, suspension};

impl Supervisor<'_> {
    /// Stops all instances, then zen itself, and continues them when zen is continued.
    pub(super) fn suspend(&mut self) {
        self.notice("received SIGTSTP: stopping all instances until zen is continued");
        let before = clock::read();
        let stopped = suspension::stop_all(&self.instance_processes());
        suspension::stop_self(Signal::SIGTSTP);
        suspension::continue_all(&stopped);
        if let Some(pause) = self.clock.on_stop(before, clock::read()) {
            self.notice(&format!("continued after {}: deadlines are moved by that", text::format_duration(pause)));
            self.after_pause(pause);
        }
    }

    /// Handles a pause that was detected afterwards: SIGSTOP, a cgroup freezer, or a suspended machine.
    pub(super) fn paused(&mut self, pause: Duration) {
        self.notice(&format!("was not running for {}: deadlines are moved by that", text::format_duration(pause)));
        self.after_pause(pause);
    }

    /// Records a pause and moves the end of a usage limit, which is a time of day and comes earlier on the run's clock.
    fn after_pause(&mut self, pause: Duration) {
        let now = self.now();
        self.settings.facts.pauses.add(now, pause);
        self.json.is_stale = true;
        let Some(limit) = &mut self.usage_limit else { return };
        let Some((before, after)) = limit.on_pause(pause) else { return };
        self.schedule.move_hold(before, after);
        for (index, record) in self.records.iter_mut().enumerate() {
            let is_limit = record.failed_attempts.last().is_some_and(|last| last.failure.reason == FailureKind::Limit);
            if let Some(at) = record.next_attempt_at.filter(|_| is_limit) {
                let earlier = at.saturating_sub(pause);
                record.next_attempt_at = Some(earlier);
                self.schedule.move_delay(index, at, earlier);
            }
        }
    }

    /// Returns the reapers of instances, and the processes reparented to zen from a killed reaper.
    fn instance_processes(&self) -> Vec<i32> {
        self.by_child.keys().copied().chain(self.orphans()).collect()
    }
}
