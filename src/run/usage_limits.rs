//! Reaction to a usage limit: by `--on-limit`, pending instances wait, fail or start as usual.

use std::time::Duration;

use super::{Supervisor, epoch_ms};
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::engine::usage_limit::{UsageLimit, UsageLimitPolicy};

impl Supervisor<'_> {
    /// Applies `--on-limit` after an instance has hit the usage limit of the account.
    pub(super) fn limit_reached(&mut self, resets_at_epoch_s: Option<u64>, now: Duration) {
        if self.stopped_by.is_some() {
            return;
        }
        let before = self.usage_limit;
        let limit = UsageLimit::reached(before, resets_at_epoch_s, self.settings.limit_policy, now, epoch_ms());
        self.usage_limit = Some(limit);
        self.json.is_stale = true;
        let is_news =
            before.is_none_or(|before| !before.is_active(now) || before.resets_at_epoch_s != limit.resets_at_epoch_s);
        if is_news {
            self.notice(&limit.describe(now));
        }
        match (limit.on_limit, limit.resumes_at) {
            (UsageLimitPolicy::Wait, Some(at)) => self.schedule.pause_until(at),
            (UsageLimitPolicy::Stop, _) => {
                for index in self.schedule.stop() {
                    let why = limit.words_with_bound(now);
                    let error = match self.records[index].failed_attempts.last() {
                        Some(last) => last.failure.with_retry_cancelled(&why).error,
                        None => format!("not started: {why}"),
                    };
                    self.finish_instance(index, Status::Failed(Failure::new(FailureKind::Limit, error)), now);
                }
            }
            (UsageLimitPolicy::Wait | UsageLimitPolicy::Fail, _) => {}
        }
    }

    /// Returns the reason why no retry follows, if a usage limit has stopped the run.
    pub(super) fn stopped_by_limit(&self, now: Duration) -> Option<String> {
        let limit = self.usage_limit.filter(|limit| limit.on_limit == UsageLimitPolicy::Stop)?;
        Some(limit.words_with_bound(now))
    }

    /// Returns the time of the retry if the usage limit caused this failure and the run waits.
    pub(super) fn again_after_limit(&self, failure: &Failure) -> Option<Duration> {
        self.usage_limit?.resumes_at.filter(|_| failure.reason == FailureKind::Limit)
    }
}
