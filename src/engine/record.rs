//! What is known of one instance at a moment: written by the loop, read by every report. Holds no process.

use std::time::Duration;

use crate::claude::usage_meter::Usage;
use crate::engine::outcome::{ExitStatus, Failure, FailureKind, Status};
use crate::engine::progress::AttemptProgress;

/// What is known of one instance.
#[derive(Clone, Debug, Default)]
pub struct InstanceRecord {
    /// Where it stands.
    pub status: Status,
    /// The process id of its last process.
    pub pid: Option<u32>,
    /// When it was started, since the run began.
    pub started: Option<Duration>,
    /// When its last attempt was started.
    pub attempt_started: Option<Duration>,
    /// Its attempts that failed, and were not the last.
    pub failed_attempts: Vec<FailedAttempt>,
    /// When it is tried again, if it waits for that.
    pub next_attempt_at: Option<Duration>,
    /// What keeps it from starting, if that is its session, which another run is in.
    pub blocked_on: Option<String>,
    /// The one that it depends on and that did not complete, by index: for it this one was skipped.
    pub skipped_due_to: Option<usize>,
    /// The conversation that the next attempt continues: the last one left background work unfinished.
    pub continues: Option<String>,
    /// True if claude has kept the conversation of its named session; `None` until its work is done.
    pub session_kept: Option<bool>,
    /// When it ended, since the run began.
    pub ended: Option<Duration>,
    /// How its last process ended.
    pub exit: Option<ExitStatus>,
    /// What it has used, in all its attempts.
    pub used: Usage,
    /// What its last attempt has told of itself.
    pub progress: AttemptProgress,
    /// The last lines that it said, or wrote to standard error; cleaned, oldest first.
    pub last_output: Vec<String>,
    /// Processes of it that could not be ended, by id.
    pub surviving_pids: Vec<i32>,
}

/// An attempt that failed, and after which the instance was to be tried again.
#[derive(Clone, Debug)]
pub struct FailedAttempt {
    /// The process id, if a process was started.
    pub pid: Option<u32>,
    /// When it was started, since the run began.
    pub started: Duration,
    /// When it ended, since the run began.
    pub ended: Duration,
    /// How its process ended.
    pub exit: Option<ExitStatus>,
    /// What it has used, it alone.
    pub used: Usage,
    /// Why it failed.
    pub failure: Failure,
}

impl InstanceRecord {
    /// What its failed attempts have used together.
    #[must_use]
    pub fn usage_of_failed_attempts(&self) -> Usage {
        self.failed_attempts.iter().fold(Usage::default(), |mut sum, attempt| {
            sum += attempt.used;
            sum
        })
    }

    /// How often it was tried. An attempt that was to follow, and did not, is none.
    #[must_use]
    pub fn attempt_count(&self) -> usize {
        let failed = self.failed_attempts.len();
        let is_underway = self.failed_attempts.last().is_none_or(|last| self.attempt_started > Some(last.started));
        failed + usize::from(is_underway && self.attempt_started.is_some())
    }

    /// How many retries were made, or are to be made now: attempts after a usage limit are none.
    #[must_use]
    pub fn retry_count(&self) -> u32 {
        let failed = self.failed_attempts.iter().filter(|attempt| attempt.failure.reason != FailureKind::Limit);
        u32::try_from(failed.count()).unwrap_or(u32::MAX)
    }

    /// How long it has run up to `now`.
    #[must_use]
    pub fn elapsed(&self, now: Duration) -> Option<Duration> {
        self.started.map(|started| self.ended.unwrap_or(now).saturating_sub(started))
    }
}
