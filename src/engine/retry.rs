//! Retry policy: decides if a failed instance is retried, and after which delay. Pure.

use std::time::Duration;

use crate::engine::outcome::{Failure, FailureKind};
use crate::engine::timing::MAX_RETRY_DELAY;
use crate::plan::RetryPolicy;

impl RetryPolicy {
    /// Returns the delay before the next attempt after this failure, with `made` retries before it. Returns `None` if
    /// there is no retry.
    ///
    /// Transient failures are retried: an error, a timeout, a temporary failure to spawn the process.
    #[must_use]
    pub fn delay_after(&self, failure: &Failure, made: u32) -> Option<Duration> {
        let may_pass = match failure.reason {
            FailureKind::Error | FailureKind::Timeout | FailureKind::Spawn | FailureKind::Unfinished => {
                !failure.is_permanent
            }
            // Usage limits have a policy for the whole run.
            FailureKind::CommandNotFound
            | FailureKind::Budget
            | FailureKind::Limit
            | FailureKind::Interrupted
            | FailureKind::Account
            | FailureKind::Halted => false,
        };
        let doubled = self.initial_delay.saturating_mul(2_u32.saturating_pow(made));
        (may_pass && made < self.max_retries).then(|| doubled.min(MAX_RETRY_DELAY.max(self.initial_delay)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: RetryPolicy = RetryPolicy { max_retries: 3, initial_delay: Duration::from_secs(5) };

    #[test]
    fn only_transient_failures_are_retried() {
        for (reason, is_retried) in [
            (FailureKind::Error, true),
            (FailureKind::Timeout, true),
            (FailureKind::Spawn, true),
            (FailureKind::Unfinished, true),
            (FailureKind::CommandNotFound, false),
            (FailureKind::Budget, false),
            (FailureKind::Limit, false),
            (FailureKind::Interrupted, false),
            (FailureKind::Account, false),
            (FailureKind::Halted, false),
        ] {
            assert_eq!(THREE.delay_after(&Failure::new(reason, "x"), 0).is_some(), is_retried, "{reason}");
            assert_eq!(THREE.delay_after(&Failure::permanent(reason, "x"), 0), None, "{reason}");
            assert_eq!(RetryPolicy::default().delay_after(&Failure::new(reason, "x"), 0), None, "{reason}");
        }
    }

    #[test]
    fn retry_delay_doubles_up_to_a_bound() {
        let delays = |count, first_s| {
            let retries = RetryPolicy { max_retries: count, initial_delay: Duration::from_secs(first_s) };
            let delay = |made| retries.delay_after(&Failure::new(FailureKind::Error, "x"), made).map(|d| d.as_secs());
            (0..=count).map(delay).collect::<Vec<_>>()
        };
        assert_eq!(delays(3, 5), [Some(5), Some(10), Some(20), None]);
        assert_eq!(delays(4, 200), [Some(200), Some(400), Some(600), Some(600), None]);
        assert_eq!(delays(2, 3600), [Some(3600), Some(3600), None], "what the user gave is no less");
        assert_eq!(delays(1000, 1).iter().flatten().max(), Some(&600));
    }
}
