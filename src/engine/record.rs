//! Record of one instance, written by the engine and read by all reports.

use std::time::Duration;

use crate::claude::session::SessionEntry;
use crate::claude::usage_meter::Usage;
use crate::engine::attempt::Attempt;
use crate::engine::outcome::{ExitStatus, Failure, FailureKind, Status};
use crate::engine::progress::AttemptProgress;

/// Record of one instance.
#[derive(Clone, Debug, Default)]
pub struct InstanceRecord {
    /// Current status.
    pub status: Status,
    /// Process id of its last process.
    pub pid: Option<u32>,
    /// Time of the first start, since the start of the run.
    pub started: Option<Duration>,
    /// Time at which the last attempt started.
    pub attempt_started: Option<Duration>,
    /// Failed attempts, except the last one.
    pub failed_attempts: Vec<FailedAttempt>,
    /// Time of the next attempt, if one is scheduled.
    pub next_attempt_at: Option<Duration>,
    /// Reason that defers the start: the session, which another run is using.
    pub blocked_on: Option<String>,
    /// Index of the dependency that did not complete, if this instance was skipped for it.
    pub skipped_due_to: Option<usize>,
    /// Conversation that the next attempt continues, since the last one left background work unfinished.
    pub continues: Option<String>,
    /// True if claude has kept the conversation of the named session; `None` until the instance has ended its work.
    pub session_kept: Option<bool>,
    /// Time at which the instance ended, since the start of the run.
    pub ended: Option<Duration>,
    /// Exit status of its last process.
    pub exit: Option<ExitStatus>,
    /// Usage of all attempts.
    pub used: Usage,
    /// Progress of the last attempt that has ended. [`current_progress`](Self::current_progress) includes a running one.
    pub progress: AttemptProgress,
    /// Attempt in progress.
    pub(crate) running: Option<Box<RunningAttempt>>,
    /// Last lines of output and of stderr; sanitized, oldest first.
    pub last_output: Vec<String>,
    /// Ids of its processes that could not be killed.
    pub surviving_pids: Vec<i32>,
}

/// Attempt in progress, with the state of its current process.
#[derive(Clone, Debug)]
pub(crate) struct RunningAttempt {
    pub(super) attempt: Attempt,
    /// Conversation that the process has opened.
    pub(super) entry: SessionEntry,
    /// Number of times that claude refused to create or resume its session.
    pub(super) refused_entries: u32,
    /// Process that was requested and not yet spawned, after the last one has ended.
    pub(super) next_process: Option<NextProcess>,
    /// True if the process or its descendants are being killed.
    pub(super) is_cleaning: bool,
    /// True if the process was given up, because SIGKILL does not end it.
    pub(super) is_abandoned: bool,
    /// True if claude has saved the conversation of the named session; `None` if unknown.
    pub(super) is_conversation_saved: Option<bool>,
    /// Number of turns with a logged answer.
    pub(super) answers_logged: usize,
}

/// Reason for another process of the same attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextProcess {
    /// claude refused to open the conversation in the requested mode.
    Retry,
    /// The conversation is cleared: the next segment runs in a new one.
    Segment,
}

impl RunningAttempt {
    pub(super) fn new(attempt: Attempt, entry: SessionEntry) -> Self {
        RunningAttempt {
            answers_logged: attempt.progress.turns_done,
            attempt,
            entry,
            refused_entries: 0,
            next_process: None,
            is_cleaning: false,
            is_abandoned: false,
            is_conversation_saved: None,
        }
    }
}

/// Failed attempt that another one should follow.
#[derive(Clone, Debug)]
pub struct FailedAttempt {
    /// Process id, if a process was spawned.
    pub pid: Option<u32>,
    /// Time of the start, since the start of the run.
    pub started: Duration,
    /// Time of the end, since the start of the run.
    pub ended: Duration,
    /// Exit status of its process.
    pub exit: Option<ExitStatus>,
    /// Usage of this attempt alone.
    pub used: Usage,
    /// Reason of the failure.
    pub failure: Failure,
}

impl InstanceRecord {
    /// Returns the progress of the attempt in progress, or of the last one.
    #[must_use]
    pub fn current_progress(&self) -> &AttemptProgress {
        self.running.as_ref().map_or(&self.progress, |running| &running.attempt.progress)
    }

    /// Returns the usage of the failed attempts together.
    #[must_use]
    pub fn usage_of_failed_attempts(&self) -> Usage {
        self.failed_attempts.iter().fold(Usage::default(), |mut sum, attempt| {
            sum += attempt.used;
            sum
        })
    }

    /// Returns the number of attempts started. A scheduled attempt that did not start is not counted.
    #[must_use]
    pub fn attempt_count(&self) -> usize {
        let failed = self.failed_attempts.len();
        let is_underway = self.failed_attempts.last().is_none_or(|last| self.attempt_started > Some(last.started));
        failed + usize::from(is_underway && self.attempt_started.is_some())
    }

    /// Returns the number of retries, including one that is due now. Attempts after a usage limit do not count.
    #[must_use]
    pub fn retry_count(&self) -> u32 {
        let failed = self.failed_attempts.iter().filter(|attempt| attempt.failure.reason != FailureKind::Limit);
        u32::try_from(failed.count()).unwrap_or(u32::MAX)
    }

    /// Returns the running time up to `now`.
    #[must_use]
    pub fn elapsed(&self, now: Duration) -> Option<Duration> {
        self.started.map(|started| self.ended.unwrap_or(now).saturating_sub(started))
    }
}
