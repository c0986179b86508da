//! End of an attempt: a retry, or the end of the instance with its consequences for other instances.

use std::cmp::Reverse;
use std::time::Duration;

use super::Engine;
use crate::claude::usage_meter::Usage;
use crate::engine::event::Action;
use crate::engine::notice::{Notice, Step};
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::engine::record::FailedAttempt;
use crate::engine::schedule::Skip;
use crate::plan::InstanceId;

impl Engine<'_> {
    /// Schedules a retry after a failed attempt, or fails the instance.
    pub(super) fn handle_failure(&mut self, id: InstanceId, failure: Failure, now: Duration) {
        if self.stop.signal.is_some() {
            return self.end(id, Status::Failed(failure), now);
        }
        let retries = self.plan.instances[id].retries;
        let made = self.records[id].retry_count();
        let (at, number) = if let Some(at) = self.retry_after_limit(&failure) {
            (at, None)
        } else if let Some(delay) = retries.delay_after(&failure, made) {
            (now + delay, Some((made + 1, retries.max_retries)))
        } else {
            return self.end(id, Status::Failed(failure), now);
        };
        if let Some(reason) = self.limit_that_stopped(now).or_else(|| self.failures_that_stopped(id)) {
            return self.end(id, Status::Failed(failure.with_retry_cancelled(&reason)), now);
        }
        let (error, delay) = (failure.error.clone(), at.saturating_sub(now));
        self.notice(Notice::Retry { instance: id, error, number, delay });
        self.retry_at(id, failure, at, now);
    }

    /// Records the failed attempt and requeues the instance.
    ///
    /// Its usage stays charged, and the next attempt appends to the same files.
    fn retry_at(&mut self, id: InstanceId, failure: Failure, at: Duration, now: Duration) {
        self.budget.ended(id.0);
        let used = self.end_attempt(id, &Status::Pending);
        let turns = self.plan.instances[id].turns.len();
        let record = &mut self.records[id];
        // All turns were sent: only the rest of the work is missing.
        let is_sent = failure.reason == FailureKind::Unfinished && record.progress.turns_done == turns;
        record.continues = if is_sent { record.progress.session_id.clone() } else { None };
        record.failed_attempts.push(FailedAttempt {
            pid: if used.is_some() { record.pid } else { None },
            started: record.attempt_started.unwrap_or(now),
            ended: now,
            exit: if used.is_some() { record.exit } else { None },
            used: used.unwrap_or_default(),
            failure,
        });
        record.status = Status::Pending;
        record.next_attempt_at = Some(at);
        self.schedule.retry_at(id.0, at);
        self.changes += 1;
    }

    /// Ends the attempt in progress, if there is one, and moves its progress to the record. Returns its usage.
    fn end_attempt(&mut self, id: InstanceId, status: &Status) -> Option<Usage> {
        let record = &mut self.records[id];
        let running = record.running.take();
        let mut used = None;
        if let Some(mut running) = running {
            used = Some(running.attempt.used());
            record.exit = running.attempt.exit();
            let stderr = String::from_utf8_lossy(&running.attempt.stderr_tail).into_owned();
            let stderr = if *status == Status::Completed { None } else { Some(stderr) };
            let result = if status.has_ended() { running.attempt.take_result() } else { None };
            record.progress = running.attempt.progress;
            self.running.remove(&id);
            self.actions.push(Action::EndAttempt { instance: id, stderr, result });
        }
        self.records[id].progress.retry = None;
        self.act(Action::ReleaseSession(id));
        used
    }

    /// Records the final status of an instance, even if it never started, and skips its dependents.
    pub(super) fn end(&mut self, id: InstanceId, status: Status, now: Duration) {
        self.budget.ended(id.0);
        match &status {
            Status::Failed(failure) => self.announce_failure(id, failure),
            _ => self.step(id, Step::Ended(status.word())),
        }
        self.end_attempt(id, &status);
        let is_completed = status == Status::Completed;
        let record = &mut self.records[id];
        record.status = status;
        record.ended = Some(now);
        record.next_attempt_at = None;
        record.blocked_on = None;
        record.skipped_due_to = None;
        self.announce_stage_end(id);
        for Skip { instance, cause } in self.schedule.ended(id.0, is_completed) {
            self.skip(InstanceId(instance), InstanceId(cause), id, now);
        }
        self.changes += 1;
        self.after_failure(id, now);
    }

    /// Prints the failure of an instance, unless another notice reports it.
    fn announce_failure(&mut self, id: InstanceId, failure: &Failure) {
        let has_own_notice = match failure.reason {
            FailureKind::Interrupted | FailureKind::Halted => true,
            FailureKind::Budget | FailureKind::Limit | FailureKind::Account => self.records[id].started.is_none(),
            _ => false,
        };
        if has_own_notice {
            return;
        }
        let attempts = self.records[id].attempt_count();
        self.notice(Notice::Failed { instance: id, error: failure.error.clone(), attempts });
    }

    /// Skips an instance because `cause` did not complete. `first` is the instance that failed first.
    fn skip(&mut self, id: InstanceId, cause: InstanceId, first: InstanceId, now: Duration) {
        let plan = self.plan;
        let (needed, failed) = (&plan.instances[cause].name, &plan.instances[first].name);
        let reason = if cause == first {
            format!("depends on {needed}, which failed")
        } else {
            format!("depends on {needed}, which was skipped because {failed} failed")
        };
        self.step(id, Step::Skipped(reason.clone()));
        let record = &mut self.records[id];
        record.status = Status::Skipped(reason);
        record.skipped_due_to = Some(cause.0);
        record.ended = Some(now);
        self.announce_stage_end(id);
    }

    /// Fails the instances with a missing slash command, before any other starts.
    ///
    /// Fails dependents first, so that an instance that lacks a command itself is not reported as skipped.
    pub(super) fn fail_missing_commands(&mut self, mut missing: Vec<(InstanceId, String)>, now: Duration) {
        missing.sort_by_key(|(id, _)| (Reverse(self.stages.of(id.0)), *id));
        for (id, error) in missing {
            self.end(id, Status::Failed(Failure::permanent(FailureKind::CommandNotFound, error)), now);
        }
    }

    /// Prints a notice if this instance was the last of its stage.
    fn announce_stage_end(&mut self, id: InstanceId) {
        let ended = self.stages.ended(id.0);
        if let Some(stage) = ended
            && self.stages.has_multiple()
            && self.stop.signal.is_none()
        {
            self.notice(Notice::StageEnded(stage));
        }
    }
}
