//! Effects of the limits on a run: budgets deny and stop instances, a usage limit of the account delays or stops them.

use std::time::Duration;

use super::Engine;
use crate::config::Enforcement;
use crate::engine::budget::{Denial, LimitReached};
use crate::engine::notice::Notice;
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::engine::run_clock::Now;
use crate::engine::usage_limit::{UsageLimit, UsageLimitPolicy};
use crate::plan::InstanceId;

impl Engine<'_> {
    /// Fails an instance that the budget denies; it is never started.
    pub(super) fn deny(&mut self, id: InstanceId, denial: Denial, now: Duration) {
        let reason = denial.reason.clone();
        self.budget.refused(id.0, denial);
        let exceeded = format!("Budget exceeded: {reason}");
        self.notice(Notice::BudgetDenied { instance: id, reason });
        let failure = match self.records[id].failed_attempts.last().map(|last| &last.failure) {
            // The failure is not the usage limit's: the instance waited for its end, and then exceeded the budget.
            Some(last) if last.reason == FailureKind::Limit => {
                Failure::new(FailureKind::Budget, last.with_retry_cancelled(&exceeded).error)
            }
            Some(last) => last.with_retry_cancelled(&exceeded),
            None => Failure::new(FailureKind::Budget, exceeded),
        };
        self.end(id, Status::Failed(failure), now);
    }

    /// Charges the usage of an instance so far, and stops the instances that share a limit it has reached.
    pub(super) fn charge(&mut self, id: InstanceId, now: Duration) {
        let record = &mut self.records[id];
        let Some(running) = &record.running else { return };
        let mut used = record.usage_of_failed_attempts();
        used += running.attempt.used();
        if let Some(message) = running.attempt.first_message() {
            self.budget.first_message(id.0, &message);
        }
        if used == record.used {
            return;
        }
        record.used = used;
        // Keep report.json current: zen may be killed with SIGKILL at any time.
        self.changes += 1;
        for LimitReached { message, is_own, stop } in self.budget.charge(id.0, &used) {
            match (self.plan.budget.enforcement.unwrap_or_default(), is_own) {
                (Enforcement::Warn, _) => self.notice(Notice::BudgetExceeded(message.clone())),
                // If the limit stops the instance, its failure contains the message.
                (Enforcement::Block, true) => {}
                (Enforcement::Block, false) => self.notice(Notice::BudgetReached(message.clone())),
            }
            for index in stop {
                let failure = Failure::new(FailureKind::Budget, message.clone());
                self.with_attempt(InstanceId(index), now, |attempt| attempt.stop_after_message(failure, now));
            }
        }
    }

    /// Applies `--on-limit` after an instance has hit the usage limit of the account.
    pub(super) fn on_limit_reached(&mut self, resets_at_epoch_s: Option<u64>, now: Duration) {
        if self.stop.signal.is_some() {
            return;
        }
        let before = self.usage_limit;
        let limit = UsageLimit::reached(
            before,
            resets_at_epoch_s,
            self.policy.limit_policy,
            Now { elapsed: now, epoch_ms: self.epoch_ms },
        );
        self.usage_limit = Some(limit);
        self.changes += 1;
        let is_known =
            before.is_some_and(|before| before.is_active(now) && before.resets_at_epoch_s == limit.resets_at_epoch_s);
        if !is_known {
            self.notice(Notice::UsageLimit(limit));
        }
        match (limit.on_limit, limit.resumes_at) {
            (UsageLimitPolicy::Wait, Some(at)) => self.schedule.pause_until(at),
            (UsageLimitPolicy::Stop, _) => {
                let waiting = self.schedule.stop();
                self.fail_waiting(&waiting, FailureKind::Limit, &limit.label_with_bound(now), now);
            }
            (UsageLimitPolicy::Wait | UsageLimitPolicy::Fail, _) => {}
        }
    }

    /// Returns the reason why no retry follows, if a usage limit has stopped the run.
    pub(super) fn limit_that_stopped(&self, now: Duration) -> Option<String> {
        let limit = self.usage_limit.filter(|limit| limit.on_limit == UsageLimitPolicy::Stop)?;
        Some(limit.label_with_bound(now))
    }

    /// Returns the time of the retry if the usage limit caused this failure and the run waits.
    pub(super) fn retry_after_limit(&self, failure: &Failure) -> Option<Duration> {
        if failure.reason == FailureKind::Limit { self.usage_limit?.resumes_at } else { None }
    }

    /// Moves the end of a usage limit, which is a time of day and comes earlier on the run's clock after a pause.
    pub(super) fn on_pause(&mut self, pause: Duration) {
        self.changes += 1;
        let Some(limit) = &mut self.usage_limit else { return };
        let Some((before, after)) = limit.on_pause(pause) else { return };
        self.schedule.move_hold(before, after);
        for (index, record) in self.records.iter_mut().enumerate() {
            let is_limit = record.failed_attempts.last().is_some_and(|last| last.failure.reason == FailureKind::Limit);
            if let Some(at) = record.next_attempt_at
                && is_limit
            {
                let earlier = at.saturating_sub(pause);
                record.next_attempt_at = Some(earlier);
                self.schedule.move_delay(index, at, earlier);
            }
        }
    }
}
