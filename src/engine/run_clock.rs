//! Clock of a run: the time since its start, without the pauses during which the run did not execute. All deadlines are
//! times on this clock, so that a pause moves them.
//!
//! Pure: readings of the system clocks are passed in as arguments.

use std::time::Duration;

use crate::engine::timing::MIN_PAUSE;

/// Number of pauses kept one by one; later ones are added to the last.
const MAX_PAUSES: usize = 1000;

/// A moment on both clocks of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Time since the start of the run, without its pauses.
    pub elapsed: Duration,
    /// Wall-clock time, in milliseconds since 1970.
    pub epoch_ms: u64,
}

/// Simultaneous readings of two system clocks, each with an epoch of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Time without suspensions of the machine (CLOCK_MONOTONIC).
    pub monotonic: Duration,
    /// Time including suspensions of the machine (CLOCK_BOOTTIME).
    pub boot: Duration,
}

/// Time since the start of a run, less its pauses.
#[derive(Clone, Debug)]
pub struct RunClock {
    start: Reading,
    /// Total of the pauses during which the monotonic clock advanced.
    stopped: Duration,
    /// Total of the suspensions, during which it did not.
    suspended: Duration,
}

impl RunClock {
    /// Returns a clock that starts at `now`.
    #[must_use]
    pub fn new(now: Reading) -> Self {
        RunClock { start: now, stopped: Duration::ZERO, suspended: Duration::ZERO }
    }

    /// Returns the time since the start, without the pauses.
    #[must_use]
    pub fn elapsed(&self, now: Reading) -> Duration {
        now.monotonic.saturating_sub(self.start.monotonic).saturating_sub(self.stopped)
    }

    /// Records a wait from `before` to `after` with a timeout of `limit`. Returns the pause in it, if there was one.
    pub fn on_wait(&mut self, limit: Duration, before: Reading, after: Reading) -> Option<Duration> {
        let took = after.monotonic.saturating_sub(before.monotonic);
        let overrun = Some(took.saturating_sub(limit)).filter(|&overrun| overrun >= MIN_PAUSE);
        self.add_pause(overrun.unwrap_or_default(), after)
    }

    /// Records that the run was stopped from `before` to `after`. Returns the pause, including a suspension.
    pub fn on_stop(&mut self, before: Reading, after: Reading) -> Option<Duration> {
        self.add_pause(after.monotonic.saturating_sub(before.monotonic), after)
    }

    fn add_pause(&mut self, stopped: Duration, now: Reading) -> Option<Duration> {
        let boot = now.boot.saturating_sub(self.start.boot);
        let suspended = boot.saturating_sub(now.monotonic.saturating_sub(self.start.monotonic));
        // The two clocks are read one after the other, so they always differ slightly.
        let suspension = suspended.saturating_sub(self.suspended);
        let suspension = Some(suspension).filter(|&suspension| suspension >= MIN_PAUSE).unwrap_or_default();
        self.suspended += suspension;
        self.stopped += stopped;
        Some(stopped + suspension).filter(|pause| !pause.is_zero())
    }
}

/// Pauses of a run, to convert its times to times of day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// Run time and length of each pause.
    pauses: Vec<(Duration, Duration)>,
}

impl Pauses {
    /// Adds a pause at this run time.
    pub fn add(&mut self, at: Duration, length: Duration) {
        let is_full = self.pauses.len() == MAX_PAUSES;
        match self.pauses.last_mut() {
            Some((_, last)) if is_full => *last += length,
            _ => self.pauses.push((at, length)),
        }
    }

    /// Returns the total length of the pauses.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.pauses.iter().map(|&(_, length)| length).sum()
    }

    /// Converts a run time to the time since the start, including the pauses before it.
    #[must_use]
    pub fn with_pauses(&self, moment: Duration) -> Duration {
        let before = self.pauses.iter().filter(|&&(at, _)| at <= moment);
        moment + before.map(|&(_, length)| length).sum::<Duration>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns the clocks of a machine with this much time in suspension.
    const fn reading(monotonic_s: u64, suspended_s: u64) -> Reading {
        Reading { monotonic: s(1000 + monotonic_s), boot: s(5000 + monotonic_s + suspended_s) }
    }

    #[test]
    fn overlong_wait_is_a_pause() {
        // Timeout, start and end of the wait, suspension until then; the pause, and the run time after it.
        for (limit, began, ended, suspended, pause, elapsed) in [
            (1, 10, 10, 0, None, 10),
            (1, 10, 11, 0, None, 11),
            (1, 10, 12, 0, None, 12), // a loaded machine
            (1, 10, 13, 0, Some(2), 11),
            (1, 10, 3611, 0, Some(3600), 11),
            (30, 10, 3611, 0, Some(3571), 40),
            (1, 10, 11, 3600, Some(3600), 11), // the monotonic clock stops while the machine is suspended
            (1, 10, 11, 1, None, 11),
            (1, 10, 21, 50, Some(60), 11),
        ] {
            let mut clock = RunClock::new(reading(0, 0));
            let after = reading(ended, suspended);
            assert_eq!(clock.on_wait(s(limit), reading(began, 0), after), pause.map(s), "{limit} {began} {ended}");
            assert_eq!(clock.elapsed(after), s(elapsed), "{limit} {began} {ended}");
            let next = reading(ended + 1, suspended);
            assert_eq!(clock.on_wait(s(1), after, next), None, "a pause counts once");
            assert_eq!(clock.elapsed(next), s(elapsed + 1));
        }
    }

    #[test]
    fn short_stop_is_a_pause() {
        let mut clock = RunClock::new(reading(0, 0));
        assert_eq!(clock.on_stop(reading(5, 0), reading(6, 0)), Some(s(1)));
        assert_eq!(clock.elapsed(reading(6, 0)), s(5));
        assert_eq!(clock.on_stop(reading(7, 0), reading(7, 0)), None);
        assert_eq!(clock.on_stop(reading(8, 0), reading(18, 100)), Some(s(110)));
        assert_eq!(clock.elapsed(reading(18, 100)), s(7));
    }

    #[test]
    fn pauses_before_a_moment_move_its_time_of_day() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.with_pauses(s(9)), s(9));
        pauses.add(s(5), s(100));
        pauses.add(s(8), s(1000));
        for (moment, time) in [(0, 0), (4, 4), (5, 105), (7, 107), (8, 1108), (60, 1160)] {
            assert_eq!(pauses.with_pauses(s(moment)), s(time));
        }
        for _ in 0..2 * MAX_PAUSES {
            pauses.add(s(9), s(1));
        }
        assert_eq!((pauses.pauses.len(), pauses.total()), (MAX_PAUSES, s(1100 + 2000)));
    }
}
