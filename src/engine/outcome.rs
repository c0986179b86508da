//! Outcomes of an instance: its status, the failure and its kind, the exit status of its process.

use std::fmt;
use std::time::Duration;

use crate::claude::turn_outcome::{TurnError, TurnErrorKind};
use crate::engine::exit_code::ExitCode;

/// Status of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Not started, or waiting for another attempt.
    #[default]
    Pending,
    /// Running.
    Running,
    /// Completed: the last turn has a result that is not an error, and all its commands exist.
    Completed,
    /// Failed.
    Failed(Failure),
    /// Never started, because the instance of this name, on which it depends, did not complete.
    Skipped(String),
}

impl Status {
    /// Returns the word for the status in reports.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed(_) => "failed",
            Status::Skipped(_) => "skipped",
        }
    }

    /// Returns true if the status is final.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Status::Pending | Status::Running => false,
            Status::Completed | Status::Failed(_) | Status::Skipped(_) => true,
        }
    }
}

/// Bound on the error text that is kept, in bytes.
const MAX_ERROR_BYTES: usize = 10_000;

/// Failure of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Kind of the failure.
    pub reason: FailureKind,
    /// Error message, for the user.
    pub error: String,
    /// True if another attempt would fail the same, so that a retry is useless.
    pub is_permanent: bool,
}

impl Failure {
    /// Returns a failure of this kind.
    #[must_use]
    pub fn new(reason: FailureKind, error: impl Into<String>) -> Self {
        let mut error = error.into();
        // claude's own text can be megabytes long, and an instance keeps a failure for each attempt.
        if error.len() > MAX_ERROR_BYTES {
            let end = (0..=MAX_ERROR_BYTES).rev().find(|&end| error.is_char_boundary(end)).unwrap_or(0);
            error.truncate(end);
            error.shrink_to_fit();
            error += " [...]";
        }
        Failure { reason, error, is_permanent: false }
    }

    /// Returns a failure that a retry cannot resolve.
    #[must_use]
    pub fn permanent(reason: FailureKind, error: impl Into<String>) -> Self {
        Failure { is_permanent: true, ..Failure::new(reason, error) }
    }

    /// Returns the failure of an instance that should have been retried and cannot be, with the reason.
    #[must_use]
    pub fn with_retry_cancelled(&self, reason: &str) -> Self {
        Failure::permanent(self.reason, format!("{}; no retry: {reason}", self.error))
    }

    /// Returns the failure of an exceeded time limit. `cause` is the known cause, if any: "claude was retrying the
    /// API".
    #[must_use]
    pub fn timeout(limit: Duration, cause: Option<&str>) -> Self {
        Failure::new(FailureKind::Timeout, format!("Timeout after {}{}", whole_seconds(limit), while_clause(cause)))
    }

    /// Returns the failure of an instance that wrote no output within the idle timeout.
    #[must_use]
    pub fn idle_timeout(limit: Duration, cause: Option<&str>) -> Self {
        Failure::new(
            FailureKind::Timeout,
            format!("Timeout: no output for {}{}", whole_seconds(limit), while_clause(cause)),
        )
    }

    /// Returns the failure of a claude that did not answer `initialize` in time.
    #[must_use]
    pub fn startup_timeout(limit: Duration) -> Self {
        let error = format!("Timeout: claude did not answer initialize within {}", whole_seconds(limit));
        Failure::new(FailureKind::Timeout, error)
    }

    /// Returns the failure of an instance that was stopped by a signal to zen.
    #[must_use]
    pub fn interrupted(signal_name: &str) -> Self {
        Failure::new(FailureKind::Interrupted, format!("Stopped by {signal_name}"))
    }
}

impl From<TurnError> for Failure {
    fn from(TurnError { kind, message, is_permanent }: TurnError) -> Self {
        let reason = match kind {
            TurnErrorKind::Error => FailureKind::Error,
            TurnErrorKind::UsageLimit => FailureKind::Limit,
            TurnErrorKind::Budget => FailureKind::Budget,
            TurnErrorKind::Account => FailureKind::Account,
        };
        Failure { is_permanent, ..Failure::new(reason, message) }
    }
}

fn while_clause(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(", while {cause}"))
}

/// Formats a time limit as the user wrote it: "10s", "0.5s".
fn whole_seconds(limit: Duration) -> String {
    format!("{}s", limit.as_secs_f64())
}

/// Kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A slash command of the instance does not exist.
    CommandNotFound,
    /// claude reported an error, or ended without a result.
    Error,
    /// A time limit was exceeded, or the process was silent for too long.
    Timeout,
    /// A budget denied or stopped the instance.
    Budget,
    /// The account's usage limit is reached.
    Limit,
    /// The API rejected the account: its login, its permission or its credit.
    Account,
    /// The process could not be spawned.
    Spawn,
    /// The run was stopped.
    Interrupted,
    /// Background commands were still running after the last turn.
    Unfinished,
    /// Other instances failed, and `--halt` stopped the run.
    Halted,
}

impl FailureKind {
    /// Returns the word for the kind in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            FailureKind::CommandNotFound => "command not found",
            FailureKind::Error => "error",
            FailureKind::Timeout => "timeout",
            FailureKind::Budget => "budget",
            FailureKind::Limit => "limit",
            FailureKind::Account => "account",
            FailureKind::Spawn => "spawn",
            FailureKind::Interrupted => "interrupted",
            FailureKind::Unfinished => "unfinished",
            FailureKind::Halted => "halted",
        }
    }

    /// Returns the exit code of a run in which this failure is the most severe.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            FailureKind::CommandNotFound
            | FailureKind::Error
            | FailureKind::Spawn
            | FailureKind::Interrupted
            | FailureKind::Unfinished
            | FailureKind::Account => ExitCode::Failed,
            FailureKind::Timeout => ExitCode::TimedOut,
            FailureKind::Budget => ExitCode::Budget,
            FailureKind::Limit => ExitCode::TempFail,
            // The failures that stopped the run determine the code.
            FailureKind::Halted => ExitCode::Completed,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Exit status of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Exited with this status.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit status {code}"),
            ExitStatus::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Returns the exit code of a run that no signal stopped. A skipped instance adds nothing: the instance that caused it
/// failed.
#[must_use]
pub fn exit_code<'a>(statuses: impl IntoIterator<Item = &'a Status>) -> ExitCode {
    statuses
        .into_iter()
        .map(|status| match status {
            Status::Completed | Status::Skipped(_) => ExitCode::Completed,
            Status::Failed(failure) => failure.reason.exit_code(),
            // A finished run has no instance in these states; if it had, it must not report success.
            Status::Pending | Status::Running => ExitCode::Failed,
        })
        .fold(ExitCode::Completed, ExitCode::max_severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: FailureKind) -> Status {
        Status::Failed(Failure::new(reason, "x"))
    }

    #[test]
    fn long_error_is_truncated() {
        let failure = Failure::new(FailureKind::Error, "\u{e9}".repeat(1_000_000));
        assert!(failure.error.len() < 10_010 && failure.error.ends_with("\u{e9} [...]"), "{}", failure.error.len());
    }

    #[test]
    fn each_failure_kind_has_an_exit_code() {
        for (reason, code) in [
            (FailureKind::CommandNotFound, 2),
            (FailureKind::Error, 2),
            (FailureKind::Spawn, 2),
            (FailureKind::Unfinished, 2),
            (FailureKind::Account, 2),
            (FailureKind::Timeout, 4),
            (FailureKind::Budget, 3),
            (FailureKind::Limit, 75),
        ] {
            assert_eq!(exit_code(&[Status::Completed, failed(reason)]).number(), code, "{reason}");
        }
        assert_eq!(exit_code(&[Status::Completed, Status::Completed]).number(), 0);
    }

    #[test]
    fn most_severe_failure_determines_the_exit_code() {
        let all = [
            failed(FailureKind::Budget),
            failed(FailureKind::Timeout),
            failed(FailureKind::Limit),
            failed(FailureKind::Error),
        ];
        let expected = [3, 4, 75, 2];
        for (upto, code) in expected.into_iter().enumerate() {
            assert_eq!(exit_code(&all[..=upto]).number(), code);
        }
    }

    #[test]
    fn skipped_instances_do_not_change_the_exit_code() {
        assert_eq!(exit_code(&[failed(FailureKind::Timeout), Status::Skipped("x".into())]).number(), 4);
    }

    #[test]
    fn timeout_error_uses_the_wording_of_the_seed() {
        assert_eq!(Failure::timeout(Duration::from_secs(10), None).error, "Timeout after 10s");
        assert_eq!(Failure::timeout(Duration::from_millis(500), None).error, "Timeout after 0.5s");
        assert_eq!(Failure::timeout(Duration::from_secs(14), Some("x")).error, "Timeout after 14s, while x");
    }
}
