//! Messages of a run for the user, as data. `report::notices` renders them.

use std::time::Duration;

use crate::config::halt::HaltMode;
use crate::engine::outcome::ExitStatus;
use crate::engine::usage_limit::UsageLimit;
use crate::plan::InstanceId;

/// A message for the user.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An instance waits because another run uses its session.
    WaitsForSession(InstanceId),
    /// The result of `source`, which the instance inserts, is empty.
    EmptyResult {
        /// Instance that inserts it.
        instance: InstanceId,
        /// Instance with the empty result.
        source: InstanceId,
    },
    /// An attempt failed and another one follows.
    Retry {
        /// Instance of the attempt.
        instance: InstanceId,
        /// Error of the attempt.
        error: String,
        /// Number of the retry and the maximum; `None` after a usage limit, which does not count.
        number: Option<(u32, u32)>,
        /// Time until the next attempt.
        delay: Duration,
    },
    /// An instance failed for good.
    Failed {
        /// The instance.
        instance: InstanceId,
        /// Error of the last attempt.
        error: String,
        /// Number of attempts.
        attempts: usize,
    },
    /// A budget denied an instance.
    BudgetDenied {
        /// The instance.
        instance: InstanceId,
        /// Reason, in the wording of the specification.
        reason: String,
    },
    /// A budget that several instances share is reached: they stop.
    BudgetReached(String),
    /// A budget is exceeded, and only warns.
    BudgetExceeded(String),
    /// The last instance of a stage ended.
    StageEnded(usize),
    /// The usage limit of the account is reached.
    UsageLimit(UsageLimit),
    /// The API refused the account of an instance, and others that use it were waiting.
    AccountRefused(InstanceId),
    /// `--halt` stops the run.
    Halted {
        /// Reason for the stop.
        reason: String,
        /// Mode of the stop.
        mode: HaltMode,
    },
    /// A signal stops the run.
    Stopping(&'static str),
    /// zen was stopped by SIGTSTP, with all instances.
    Suspending,
    /// zen was continued after this time.
    Continued(Duration),
    /// The run did not execute for this time.
    Paused(Duration),
    /// claude has not saved the conversation of a named session, and no instance of this run needs it.
    SessionNotSaved(InstanceId),
    /// A message about an instance; printed once, even if several attempts have it.
    Instance(InstanceId, String),
    /// Sessions cannot be locked.
    NoSessionLocks(String),
    /// A file of the run is incomplete.
    FilesIncomplete(String),
    /// Standard output failed, and this text was not printed.
    OutputFailed {
        /// Text that is missing.
        missing: &'static str,
        /// Error of the system.
        error: String,
    },
    /// A step of an instance, for the detailed log.
    Step(InstanceId, Step),
}

/// A step of an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Its conversation is cleared.
    Cleared,
    /// A process was spawned.
    Spawned {
        /// Process id.
        pid: u32,
    },
    /// A turn was answered.
    Answered {
        /// Index of the turn.
        turn: usize,
        /// Answer, truncated.
        answer: String,
    },
    /// Its process received SIGTERM.
    Terminated,
    /// Its process received SIGKILL.
    Killed,
    /// Its process exited.
    Exited(ExitStatus),
    /// It will not start.
    Skipped(String),
    /// It ended with this status.
    Ended(&'static str),
}
