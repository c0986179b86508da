//! What becomes of an instance: its status, and the reason where it failed. Words only; who decides is elsewhere.

use std::fmt;
use std::time::Duration;

use crate::claude::turn_outcome::{TurnError, TurnErrorKind};
use crate::engine::exit_code::ExitCode;

/// Where an instance stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It has not started, or waits to be tried again.
    #[default]
    Pending,
    /// It runs.
    Running,
    /// It did its work: a result for its last turn came, it is no error, and its commands existed.
    Completed,
    /// It did not.
    Failed(Failure),
    /// It never started, because one that it depends on did not complete. Says which.
    Skipped(String),
}

impl Status {
    /// The word for it.
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

    /// Whether it will change no more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Status::Pending | Status::Running => false,
            Status::Completed | Status::Failed(_) | Status::Skipped(_) => true,
        }
    }
}

/// How much of an error is kept, in bytes.
const MAX_ERROR_BYTES: usize = 10_000;

/// Why an instance failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of reason.
    pub reason: FailureKind,
    /// The error in a sentence, for a person.
    pub error: String,
    /// Whether another attempt could not come to anything else.
    pub is_permanent: bool,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(reason: FailureKind, error: impl Into<String>) -> Self {
        let mut error = error.into();
        // claude's own text can have megabytes, and an instance has a failure for each attempt.
        if error.len() > MAX_ERROR_BYTES {
            let end = (0..=MAX_ERROR_BYTES).rev().find(|&end| error.is_char_boundary(end)).unwrap_or(0);
            error.truncate(end);
            error.shrink_to_fit();
            error += " [...]";
        }
        Failure { reason, error, is_permanent: false }
    }

    /// A failure that another attempt would come to as well.
    #[must_use]
    pub fn permanent(reason: FailureKind, error: impl Into<String>) -> Self {
        Failure { is_permanent: true, ..Failure::new(reason, error) }
    }

    /// The same, of an instance that was to be tried again and cannot be, for this reason.
    #[must_use]
    pub fn with_retry_cancelled(&self, why: &str) -> Self {
        Failure::permanent(self.reason, format!("{}; not tried again: {why}", self.error))
    }

    /// It ran longer than it may. `cause` is the known cause, if there is one: "claude was retrying the API".
    #[must_use]
    pub fn timeout(limit: Duration, cause: Option<&str>) -> Self {
        Failure::new(FailureKind::Timeout, format!("Timeout after {}{}", whole_seconds(limit), while_clause(cause)))
    }

    /// It wrote nothing for longer than it may.
    #[must_use]
    pub fn idle_timeout(limit: Duration, cause: Option<&str>) -> Self {
        Failure::new(
            FailureKind::Timeout,
            format!("Timeout: no output for {}{}", whole_seconds(limit), while_clause(cause)),
        )
    }

    /// claude did not answer `initialize` in time.
    #[must_use]
    pub fn startup_timeout(limit: Duration) -> Self {
        let error = format!("Timeout: claude did not answer initialize within {}", whole_seconds(limit));
        Failure::new(FailureKind::Timeout, error)
    }

    /// The run was stopped by a signal.
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

/// "10s", "0.5s": as the user wrote it.
fn whole_seconds(limit: Duration) -> String {
    format!("{}s", limit.as_secs_f64())
}

/// The kinds of reasons for which an instance fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A slash command of it does not exist.
    CommandNotFound,
    /// claude said that it failed, or ended without saying anything.
    Error,
    /// It ran, or said nothing, for longer than it may.
    Timeout,
    /// A budget refused or stopped it.
    Budget,
    /// The account's usage limit is reached.
    Limit,
    /// The API refuses the account: its login, its permission or its credit.
    Account,
    /// Its process could not be started.
    Spawn,
    /// The run was stopped.
    Interrupted,
    /// Background commands were still running after the last turn.
    Unfinished,
    /// Other instances failed, and `--halt` stopped the run.
    Halted,
}

impl FailureKind {
    /// The word for it in reports.
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

    /// What a run ends with that has one such failure.
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
            // The failures that stopped the run decide.
            FailureKind::Halted => ExitCode::Completed,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
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

/// What a run of these instances ends with, if no signal stopped it. A skipped one has its cause in one that failed.
#[must_use]
pub fn exit_code<'a>(statuses: impl IntoIterator<Item = &'a Status>) -> ExitCode {
    statuses
        .into_iter()
        .map(|status| match status {
            Status::Completed | Status::Skipped(_) => ExitCode::Completed,
            Status::Failed(failure) => failure.reason.exit_code(),
            // A run that ends has nobody left in these; if it had, nobody shall be told that all went well.
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
    fn of_a_long_error_the_beginning_is_kept() {
        let failure = Failure::new(FailureKind::Error, "\u{e9}".repeat(1_000_000));
        assert!(failure.error.len() < 10_010 && failure.error.ends_with("\u{e9} [...]"), "{}", failure.error.len());
    }

    #[test]
    fn each_reason_has_its_exit_code() {
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
    fn with_several_the_order_of_the_design_decides() {
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
    fn whoever_depended_on_a_timed_out_one_does_not_change_the_code() {
        assert_eq!(exit_code(&[failed(FailureKind::Timeout), Status::Skipped("x".into())]).number(), 4);
    }

    #[test]
    fn a_timeout_is_told_in_the_seed_s_words() {
        assert_eq!(Failure::timeout(Duration::from_secs(10), None).error, "Timeout after 10s");
        assert_eq!(Failure::timeout(Duration::from_millis(500), None).error, "Timeout after 0.5s");
        assert_eq!(Failure::timeout(Duration::from_secs(14), Some("x")).error, "Timeout after 14s, while x");
    }
}
