//! Usage limit of the account: its reset time, and the time at which a waiting run resumes.
//!
//! Pure: the run's clock and the wall clock are arguments. Its effects on a run are in `limits.rs`.

use std::time::Duration;

use crate::base::text;
use crate::base::timestamp;
use crate::engine::run_clock::Now;
use crate::engine::timing::{AFTER_RESET, FIRST_LIMIT_PAUSE, MAX_LIMIT_PAUSE};

/// Effect of a usage limit on the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageLimitPolicy {
    /// Starts nothing until a minute after the reset, then resumes and retries the instances that the limit failed.
    Wait,
    /// Starts nothing more.
    #[default]
    Stop,
    /// Fails only the instances that reach the limit; the run continues.
    Fail,
}

impl UsageLimitPolicy {
    /// Values of `--on-limit`.
    pub const WORDS: [(&str, UsageLimitPolicy); 3] =
        [("wait", UsageLimitPolicy::Wait), ("stop", UsageLimitPolicy::Stop), ("fail", UsageLimitPolicy::Fail)];

    /// Returns the value of `--on-limit` for this policy.
    #[must_use]
    pub fn word(self) -> &'static str {
        UsageLimitPolicy::WORDS.iter().find(|(_, on_limit)| *on_limit == self).map_or("", |(word, _)| word)
    }
}

/// Policy for usage limits: their effect on the run, and the longest wait.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Effect of a usage limit on the run.
    pub on_limit: UsageLimitPolicy,
    /// Longest wait for one reset, and for a limit without a reset time.
    ///
    /// If the wait would be longer, the run stops as with [`UsageLimitPolicy::Stop`].
    pub max_wait: Duration,
}

/// Default of `--limit-wait-max`.
pub const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(6 * 3600);

/// Maximum distance of a reset time; one further ahead counts as unknown.
///
/// The windows of an account are five hours and seven days. A later time is an error, such as milliseconds for seconds.
const MAX_RESET_AHEAD_S: u64 = 8 * 86_400;

/// A usage limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageLimit {
    /// Reset time in seconds since 1970, if claude has reported one.
    pub resets_at_epoch_s: Option<u64>,
    /// Effect of this limit on the run.
    pub on_limit: UsageLimitPolicy,
    /// Time between `reached` and the reset; zero if no reset time is known.
    remaining: Duration,
    /// Time at which the limit was reached, on the clock of the run.
    reached: Duration,
    /// Time at which the run resumes, if it waits.
    pub resumes_at: Option<Duration>,
    /// Number of earlier waits after which the run hit the limit again.
    consecutive_hits: u32,
    /// Bound of the wait, if the wait would exceed it: the run stops instead.
    passed_max_wait: Option<Duration>,
    /// Sum of the latest consecutive waits without a reset time in the future.
    waited_blindly: Duration,
}

impl UsageLimit {
    /// Creates the limit that was reached at `now`, after the limit `before`.
    #[must_use]
    pub fn reached(
        before: Option<UsageLimit>,
        resets_at_epoch_s: Option<u64>,
        policy: Policy,
        Now { elapsed: now, epoch_ms: now_epoch_ms }: Now,
    ) -> Self {
        let latest_reset_s = (now_epoch_ms / 1000).saturating_add(MAX_RESET_AHEAD_S);
        let resets_at_epoch_s = resets_at_epoch_s.filter(|&reset| reset <= latest_reset_s);
        let waiting = before.filter(|before| before.resumes_at.is_none_or(|at| now < at));
        // If several instances hit the limit during one wait, the latest reset time counts.
        let resets_at_epoch_s = waiting.and_then(|waiting| waiting.resets_at_epoch_s).max(resets_at_epoch_s);
        let reset_ms = resets_at_epoch_s.map_or(0, |seconds| seconds.saturating_mul(1000));
        let left = Duration::from_millis(reset_ms.saturating_sub(now_epoch_ms));
        let past = Duration::from_millis(now_epoch_ms.saturating_sub(reset_ms));
        let times_before = before.map_or(0, |before| before.consecutive_hits + u32::from(waiting.is_none()));
        let pause = match resets_at_epoch_s {
            Some(_) => FIRST_LIMIT_PAUSE.saturating_mul(2_u32.saturating_pow(times_before)).min(MAX_LIMIT_PAUSE),
            None => MAX_LIMIT_PAUSE,
        };
        let until_reset = match resets_at_epoch_s {
            Some(_) => left + AFTER_RESET.saturating_sub(past),
            None => Duration::ZERO,
        };
        let resumes_at = now.saturating_add(until_reset.max(pause));
        let held_until = waiting.and_then(|waiting| waiting.resumes_at);
        let resumes_at = resumes_at.max(held_until.unwrap_or_default());
        let waited_before = before.map_or(Duration::ZERO, |before| before.waited_blindly);
        let waited_blindly = match (left, waiting) {
            (Duration::ZERO, None) => waited_before + (resumes_at - now),
            (Duration::ZERO, Some(_)) => waited_before,
            _ => Duration::ZERO,
        };
        // A stopped run cannot resume: no instance is left to start.
        let has_stopped = before.is_some_and(|before| before.on_limit == UsageLimitPolicy::Stop);
        let is_too_long = left > policy.max_wait || waited_blindly > policy.max_wait.max(MAX_LIMIT_PAUSE);
        let (on_limit, passed_max_wait) = match policy.on_limit {
            UsageLimitPolicy::Wait if has_stopped => {
                (UsageLimitPolicy::Stop, before.and_then(|before| before.passed_max_wait))
            }
            UsageLimitPolicy::Wait if is_too_long => (UsageLimitPolicy::Stop, Some(policy.max_wait)),
            on_limit => (on_limit, None),
        };
        UsageLimit {
            resets_at_epoch_s,
            on_limit,
            remaining: left,
            reached: now,
            resumes_at: (on_limit == UsageLimitPolicy::Wait).then_some(resumes_at),
            consecutive_hits: times_before,
            passed_max_wait,
            waited_blindly,
        }
    }

    /// Shifts the limit after a pause of the run's clock, because it ends at a time of day.
    ///
    /// If the run waits, returns the resume times before and after the shift.
    pub fn on_pause(&mut self, pause: Duration) -> Option<(Duration, Duration)> {
        // `reached` cannot be negative: the rest of the pause is subtracted from `remaining`.
        self.remaining = self.remaining.saturating_sub(pause.saturating_sub(self.reached));
        self.reached = self.reached.saturating_sub(pause);
        let before = self.resumes_at?;
        let after = before.saturating_sub(pause);
        self.resumes_at = Some(after);
        Some((before, after))
    }

    /// Returns the time until the reset; zero if the reset time is unknown.
    #[must_use]
    pub fn left(&self, now: Duration) -> Duration {
        (self.reached + self.remaining).saturating_sub(now)
    }

    /// Returns "usage limit until 14:30 UTC", with the date if that is not the day of `now`.
    #[must_use]
    pub fn label(&self, now: Duration) -> String {
        match self.resets_at_epoch_s {
            Some(reset) => {
                let now_epoch_s = reset.saturating_sub(self.left(now).as_secs());
                format!("usage limit until {}", timestamp::minute_utc(reset, now_epoch_s))
            }
            None => "usage limit, reset time unknown".to_owned(),
        }
    }

    /// Returns the label with the bound that the wait would exceed, if any.
    ///
    /// For example "usage limit until 14:30 UTC, longer than --limit-wait-max (6h00m)".
    #[must_use]
    pub fn label_with_bound(&self, now: Duration) -> String {
        self.with_bound(self.label(now))
    }

    fn with_bound(&self, label: String) -> String {
        match self.passed_max_wait {
            Some(max) => format!("{label}, longer than --limit-wait-max ({})", text::format_duration(max)),
            None => label,
        }
    }

    /// Returns the description at the time at which the limit was reached.
    #[must_use]
    pub fn announcement(&self) -> String {
        self.describe(self.reached)
    }

    /// Returns the label with the effect on the run: "usage limit until 14:30 UTC (in 2h13m): …".
    #[must_use]
    pub fn describe(&self, now: Duration) -> String {
        let label = self.label_with_time_left(now);
        match (self.on_limit, self.resumes_at) {
            (UsageLimitPolicy::Wait, Some(at)) if at > now => {
                format!("{label}: the run resumes in {}", text::format_duration(at - now))
            }
            (UsageLimitPolicy::Wait, _) => format!("{label}: the run has resumed"),
            (UsageLimitPolicy::Stop, _) => format!("{label}: no further instances start"),
            (UsageLimitPolicy::Fail, _) => label,
        }
    }

    /// Returns the description for the end of the run, when nothing resumes or starts any more.
    #[must_use]
    pub fn describe_final(&self, now: Duration) -> String {
        let label = self.label_with_time_left(now);
        match (self.on_limit, self.resumes_at) {
            (UsageLimitPolicy::Wait, Some(at)) if at <= now => format!("{label}: the run has resumed"),
            (UsageLimitPolicy::Stop, _) => format!("{label}: no further instances were started"),
            (UsageLimitPolicy::Wait | UsageLimitPolicy::Fail, _) => label,
        }
    }

    fn label_with_time_left(&self, now: Duration) -> String {
        match self.left(now) {
            Duration::ZERO => self.label_with_bound(now),
            left => self.with_bound(format!("{} (in {})", self.label(now), text::format_duration(left))),
        }
    }

    /// Returns true if the limit still affects the run.
    #[must_use]
    pub fn is_active(&self, now: Duration) -> bool {
        match self.on_limit {
            UsageLimitPolicy::Wait => self.resumes_at.is_some_and(|at| now < at),
            UsageLimitPolicy::Stop => true,
            UsageLimitPolicy::Fail => self.left(now) > Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 10:30:00 UTC
    const NOW_S: u64 = 1_795_343_400;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn policy(on_limit: UsageLimitPolicy) -> Policy {
        Policy { on_limit, max_wait: s(90_000) }
    }

    /// Returns a limit that was reached 100 s into the run.
    fn reached(before: Option<UsageLimit>, in_s: i64, on_limit: UsageLimitPolicy) -> UsageLimit {
        UsageLimit::reached(
            before,
            Some(NOW_S.saturating_add_signed(in_s)),
            policy(on_limit),
            Now { elapsed: s(100), epoch_ms: NOW_S * 1000 },
        )
    }

    #[test]
    fn reset_beyond_the_maximum_wait_stops_the_run() {
        let near = reached(None, 90_000, UsageLimitPolicy::Wait);
        assert_eq!((near.on_limit, near.resumes_at), (UsageLimitPolicy::Wait, Some(s(100 + 90_060))));
        let far = reached(None, 90_001, UsageLimitPolicy::Wait);
        assert_eq!((far.on_limit, far.resumes_at), (UsageLimitPolicy::Stop, None));
        let words = "usage limit until 2026-11-23 11:31 UTC (in 25h00m), longer than --limit-wait-max (25h00m)";
        assert_eq!(far.describe(s(100)), format!("{words}: no further instances start"));
        assert_eq!(
            far.label_with_bound(s(100)),
            "usage limit until 2026-11-23 11:31 UTC, longer than --limit-wait-max (25h00m)"
        );
        // A nearer reset time that is reported later does not restart the run.
        let nearer = reached(Some(far), 60, UsageLimitPolicy::Wait);
        assert_eq!((nearer.on_limit, nearer.resumes_at), (UsageLimitPolicy::Stop, None));
        assert_eq!(reached(None, 90_001, UsageLimitPolicy::Fail).on_limit, UsageLimitPolicy::Fail);
        assert_eq!(
            reached(Some(near), 90_001, UsageLimitPolicy::Wait).on_limit,
            UsageLimitPolicy::Stop,
            "the weekly limit behind the first"
        );
    }

    #[test]
    fn reset_over_eight_days_ahead_counts_as_unknown() {
        let eight_days = 8 * 86_400;
        assert_eq!(reached(None, eight_days, UsageLimitPolicy::Stop).resets_at_epoch_s, Some(NOW_S + 691_200));
        let slip = UsageLimit::reached(
            None,
            Some(NOW_S * 1000),
            policy(UsageLimitPolicy::Wait),
            Now { elapsed: s(100), epoch_ms: NOW_S * 1000 },
        );
        assert_eq!((slip.resets_at_epoch_s, slip.resumes_at), (None, Some(s(1000))));
        assert_eq!(slip.describe(s(100)), "usage limit, reset time unknown: the run resumes in 15m00s");
    }

    #[test]
    fn wait_without_a_reset_time_is_bounded() {
        let mut now = s(100);
        let mut limit = UsageLimit::reached(
            None,
            None,
            policy(UsageLimitPolicy::Wait),
            Now { elapsed: now, epoch_ms: NOW_S * 1000 },
        );
        let mut waits = 1;
        while let Some(at) = limit.resumes_at {
            // Two instances that hit the limit at once cause one wait.
            let again = UsageLimit::reached(
                Some(limit),
                None,
                policy(UsageLimitPolicy::Wait),
                Now { elapsed: now, epoch_ms: NOW_S * 1000 },
            );
            assert_eq!(again.resumes_at, limit.resumes_at);
            now = at;
            limit = UsageLimit::reached(
                Some(again),
                None,
                policy(UsageLimitPolicy::Wait),
                Now { elapsed: now, epoch_ms: NOW_S * 1000 },
            );
            waits += 1;
            assert!(waits < 1_000, "it waits without end");
        }
        assert_eq!((limit.on_limit, waits), (UsageLimitPolicy::Stop, 1 + 90_000 / 900));
        let short = Policy { on_limit: UsageLimitPolicy::Wait, max_wait: s(5) };
        let first = UsageLimit::reached(None, None, short, Now { elapsed: s(100), epoch_ms: NOW_S * 1000 });
        assert_eq!(first.resumes_at, Some(s(1000)), "the first wait is made");
    }

    #[test]
    fn run_resumes_a_minute_after_the_reset() {
        let resumes_in =
            |in_s| reached(None, in_s, UsageLimitPolicy::Wait).resumes_at.map(|at| (at - s(100)).as_secs());
        assert_eq!(resumes_in(3600), Some(3660));
        assert_eq!(resumes_in(-30), Some(30));
        assert_eq!(resumes_in(-58), Some(5), "never at once");
        assert_eq!(resumes_in(-86_400), Some(5));
        assert_eq!(reached(None, 3600, UsageLimitPolicy::Stop).resumes_at, None);
        let unknown = UsageLimit::reached(
            None,
            None,
            policy(UsageLimitPolicy::Wait),
            Now { elapsed: s(100), epoch_ms: NOW_S * 1000 },
        );
        assert_eq!(unknown.resumes_at, Some(s(1000)));
        assert_eq!(unknown.describe(s(100)), "usage limit, reset time unknown: the run resumes in 15m00s");
    }

    #[test]
    fn pause_moves_the_end_of_the_wait_nearer() {
        let mut limit = reached(None, 3600, UsageLimitPolicy::Wait);
        assert_eq!(limit.on_pause(s(60)), Some((s(100 + 3660), s(40 + 3660))));
        assert_eq!((limit.left(s(100)), limit.resumes_at), (s(3540), Some(s(3700))));
        assert_eq!(limit.on_pause(s(1040)).map(|(_, after)| after), Some(s(2660)));
        assert_eq!(limit.left(s(100)), s(2500));
        assert_eq!(limit.on_pause(s(9000)).map(|(_, after)| after), Some(Duration::ZERO));
        assert!(!limit.is_active(s(100)) && limit.left(s(100)).is_zero());
        assert_eq!(reached(None, 3600, UsageLimitPolicy::Stop).on_pause(s(60)), None);
    }

    #[test]
    fn concurrent_hits_wait_for_the_latest_reset() {
        let first = reached(None, 3600, UsageLimitPolicy::Wait);
        let second = reached(Some(first), 1800, UsageLimitPolicy::Wait);
        assert_eq!((second.resumes_at, second.resets_at_epoch_s), (first.resumes_at, first.resets_at_epoch_s));
        let third = UsageLimit::reached(
            Some(second),
            None,
            policy(UsageLimitPolicy::Wait),
            Now { elapsed: s(200), epoch_ms: (NOW_S + 100) * 1000 },
        );
        assert_eq!((third.resumes_at, third.consecutive_hits), (first.resumes_at, 0));
    }

    #[test]
    fn repeated_hits_double_the_pause() {
        let mut limit = reached(None, -100, UsageLimitPolicy::Wait);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let now = limit.resumes_at.expect("it waits");
            limit = UsageLimit::reached(
                Some(limit),
                Some(NOW_S - 100),
                policy(UsageLimitPolicy::Wait),
                Now { elapsed: now, epoch_ms: NOW_S * 1000 },
            );
            pauses.push((limit.resumes_at.expect("it waits") - now).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 900, 900, 900]);
    }

    #[test]
    fn description_has_the_reset_time_and_the_time_left() {
        let stop = reached(None, 7_980, UsageLimitPolicy::Stop);
        assert_eq!(stop.describe(s(100)), "usage limit until 12:43 UTC (in 2h13m): no further instances start");
        assert_eq!(stop.describe(s(9_000)), "usage limit until 12:43 UTC: no further instances start");
        let wait = reached(None, 86_400, UsageLimitPolicy::Wait);
        assert_eq!(
            wait.describe(s(160)),
            "usage limit until 2026-11-23 10:30 UTC (in 23h59m): the run resumes in 24h00m"
        );
        assert!(wait.is_active(s(160)) && !wait.is_active(s(100 + 86_460)));
        assert_eq!(wait.label(s(100 + 86_460)), "usage limit until 10:30 UTC");
        assert_eq!(stop.describe_final(s(9_000)), "usage limit until 12:43 UTC: no further instances were started");
        assert_eq!(wait.describe_final(s(160)), "usage limit until 2026-11-23 10:30 UTC (in 23h59m)");
        assert_eq!(wait.describe_final(s(100 + 86_460)), "usage limit until 10:30 UTC: the run has resumed");
        let fail = reached(None, 60, UsageLimitPolicy::Fail);
        assert_eq!(fail.describe(s(100)), "usage limit until 10:31 UTC (in 60.0s)");
        assert!(fail.is_active(s(159)) && !fail.is_active(s(160)));
    }

    #[test]
    fn extreme_reset_times_do_not_overflow() {
        for seconds in [0, u64::MAX] {
            for on_limit in [UsageLimitPolicy::Wait, UsageLimitPolicy::Stop, UsageLimitPolicy::Fail] {
                let limit = UsageLimit::reached(
                    None,
                    Some(seconds),
                    policy(on_limit),
                    Now { elapsed: s(100), epoch_ms: NOW_S * 1000 },
                );
                assert!(!limit.describe(s(100)).is_empty());
            }
        }
    }
}
