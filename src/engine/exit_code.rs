//! Exit codes of zen, with the table that `--help` and the man page print. `Engine::exit_code` chooses one.

/// Exit code of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Every instance completed.
    Completed,
    /// Nothing was launched.
    NotLaunched,
    /// At least one instance failed.
    Failed,
    /// A budget was exceeded, or denied or stopped an instance, and no instance failed for another reason.
    Budget,
    /// At least one instance timed out, and none failed for another reason.
    TimedOut,
    /// The run should be retried later (EX_TEMPFAIL).
    TempFail,
    /// The run was stopped by this signal.
    Signal(u8),
}

impl ExitCode {
    /// Returns the numeric exit status, 0 to 255.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            ExitCode::Completed => 0,
            ExitCode::NotLaunched => 1,
            ExitCode::Failed => 2,
            ExitCode::Budget => 3,
            ExitCode::TimedOut => 4,
            ExitCode::TempFail => 75,
            ExitCode::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }

    /// Returns the more severe of two codes. The order is 128+N, 2, 75, 4, 3, 0.
    #[must_use]
    pub fn max_severity(self, other: ExitCode) -> ExitCode {
        if other.precedence() < self.precedence() { other } else { self }
    }

    fn precedence(self) -> u8 {
        match self {
            ExitCode::Signal(_) => 0,
            ExitCode::NotLaunched => 1,
            ExitCode::Failed => 2,
            ExitCode::TempFail => 3,
            ExitCode::TimedOut => 4,
            ExitCode::Budget => 5,
            ExitCode::Completed => 6,
        }
    }
}

/// Table of the codes as printed, with their meanings.
pub const TABLE: &[(&str, &str)] = &[
    ("0", "every instance completed"),
    ("1", "nothing was launched: bad option, bad config, bad workspace, no claude"),
    ("2", "at least one instance failed, or report.json is incomplete"),
    ("3", "no other failure, and a budget was exceeded or refused an instance"),
    ("4", "none failed otherwise, and at least one timed out"),
    ("75", "try again later: another run holds the lock, or a usage limit stopped the run"),
    ("128+N", "stopped by signal N (130 for Ctrl-C, 143 for SIGTERM)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_lists_exactly_the_exit_codes() {
        let codes = [
            ExitCode::Completed,
            ExitCode::NotLaunched,
            ExitCode::Failed,
            ExitCode::Budget,
            ExitCode::TimedOut,
            ExitCode::TempFail,
        ];
        let numbers: Vec<String> = codes.iter().map(|c| c.number().to_string()).collect();
        let rows: Vec<&str> = TABLE.iter().map(|(code, _)| *code).filter(|c| *c != "128+N").collect();
        assert_eq!(numbers, rows);
    }

    #[test]
    fn exit_code_precedence_is_signal_failed_retry_timeout_budget() {
        let order = [
            ExitCode::Signal(2),
            ExitCode::Failed,
            ExitCode::TempFail,
            ExitCode::TimedOut,
            ExitCode::Budget,
            ExitCode::Completed,
        ];
        for (i, &a) in order.iter().enumerate() {
            for &b in &order[i..] {
                assert_eq!(a.max_severity(b), a);
                assert_eq!(b.max_severity(a), a);
            }
        }
    }

    #[test]
    fn signal_exit_code_is_128_plus_the_number() {
        assert_eq!(ExitCode::Signal(2).number(), 130);
        assert_eq!(ExitCode::Signal(15).number(), 143);
    }
}
