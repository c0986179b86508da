//! Retries after a failed attempt.

use std::time::Duration;

use super::Supervisor;
use crate::base::text;
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::engine::record::FailedAttempt;

impl Supervisor<'_> {
    /// Schedules a retry after a failed attempt, or fails the instance.
    pub(super) fn handle_failure(&mut self, index: usize, failure: Failure, now: Duration) {
        let made = self.records[index].retry_count();
        let retries = self.plan.instances[index].retries;
        let (at, when) = match (self.again_after_limit(&failure), retries.delay_after(&failure, made)) {
            _ if self.stopped_by.is_some() => return self.finish_instance(index, Status::Failed(failure), now),
            (Some(at), _) => (at, format!("again in {}", text::format_duration(at.saturating_sub(now)))),
            (None, Some(delay)) => {
                if let Some(why) = self.stopped_by_limit(now).or_else(|| self.stopped_by_failures(index)) {
                    return self.finish_instance(index, Status::Failed(failure.with_retry_cancelled(&why)), now);
                }
                (
                    now + delay,
                    format!("retry {} of {} in {}", made + 1, retries.max_retries, text::format_duration(delay)),
                )
            }
            (None, None) => return self.finish_instance(index, Status::Failed(failure), now),
        };
        self.notice(&format!("{} failed: {}; {when}", self.name(index), failure.error));
        self.try_again(index, failure, at, now);
    }

    /// Records the failed attempt and requeues the instance.
    ///
    /// Its usage stays charged, and the next attempt appends to the same files.
    fn try_again(&mut self, index: usize, failure: Failure, at: Duration, now: Duration) {
        self.ledger.ended(index);
        let used = self.live.remove(&index).map(|live| {
            self.recent[index].push_text(&String::from_utf8_lossy(&live.attempt.stderr_tail));
            live.attempt.used()
        });
        self.leave_session(index);
        let turns = self.plan.instances[index].turns.len();
        let record = &mut self.records[index];
        // All turns were sent: only the rest of the work is missing.
        let is_said = failure.reason == FailureKind::Unfinished && record.progress.turns_done == turns;
        record.continues = record.progress.session_id.clone().filter(|_| is_said);
        record.failed_attempts.push(FailedAttempt {
            pid: record.pid.filter(|_| used.is_some()),
            started: record.attempt_started.unwrap_or(now),
            ended: now,
            exit: record.exit.filter(|_| used.is_some()),
            used: used.unwrap_or_default(),
            failure,
        });
        record.status = Status::Pending;
        record.next_attempt_at = Some(at);
        record.progress.retry = None;
        self.schedule.retry_at(index, at);
        self.json.is_stale = true;
    }
}
