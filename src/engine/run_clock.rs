//! The clock of a run: time since its start, less the pauses in which nothing of it was running. All deadlines of a run are
//! moments of this clock, so that a pause moves them.
//!
//! Pure: readings of the system's clocks come in as arguments.

use std::time::Duration;

/// An overrun of a wait from which on it is a pause: zen was stopped, frozen or starved.
const LEAST_PAUSE: Duration = Duration::from_secs(2);

/// The longest wait while instances run. A pause is noticed to this precision, as the wait may have begun before it.
pub const MAX_WAIT: Duration = Duration::from_secs(1);

/// The same while none runs: what is left is a wait for a time of day, which a suspended machine passes.
pub const MAX_IDLE_WAIT: Duration = Duration::from_secs(30);

/// The most pauses that are kept one by one; later ones are added to the last.
const MAX_PAUSES: usize = 1000;

/// Two clocks of the system at one moment, each since some moment of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Time, less that in which the machine was suspended.
    pub monotonic: Duration,
    /// Time, with that in which the machine was suspended.
    pub boot: Duration,
}

/// Time since the start of a run, less its pauses.
#[derive(Clone, Debug)]
pub struct RunClock {
    start: Reading,
    /// The time of the pauses in which the monotonic clock went on.
    stopped: Duration,
    /// The time of the suspensions up to now, in which it did not.
    suspended: Duration,
}

impl RunClock {
    /// Returns a clock that starts now.
    #[must_use]
    pub fn new(now: Reading) -> Self {
        RunClock { start: now, stopped: Duration::ZERO, suspended: Duration::ZERO }
    }

    /// Returns the time since the start, less the pauses.
    #[must_use]
    pub fn elapsed(&self, now: Reading) -> Duration {
        now.monotonic.saturating_sub(self.start.monotonic).saturating_sub(self.stopped)
    }

    /// Notes a wait of at most `limit` that took from `before` to `after`. Returns the pause in it, if there was one.
    pub fn on_wait(&mut self, limit: Duration, before: Reading, after: Reading) -> Option<Duration> {
        let took = after.monotonic.saturating_sub(before.monotonic);
        let overrun = Some(took.saturating_sub(limit)).filter(|&overrun| overrun >= LEAST_PAUSE);
        self.add_pause(overrun.unwrap_or_default(), after)
    }

    /// Notes that nothing of the run was running from `before` to `after`. Returns the pause, with a suspension in it.
    pub fn on_stop(&mut self, before: Reading, after: Reading) -> Option<Duration> {
        self.add_pause(after.monotonic.saturating_sub(before.monotonic), after)
    }

    fn add_pause(&mut self, stopped: Duration, now: Reading) -> Option<Duration> {
        let boot = now.boot.saturating_sub(self.start.boot);
        let suspended = boot.saturating_sub(now.monotonic.saturating_sub(self.start.monotonic));
        // The two clocks are read one after the other, and so differ by a little in any case.
        let suspension = suspended.saturating_sub(self.suspended);
        let suspension = Some(suspension).filter(|&suspension| suspension >= LEAST_PAUSE).unwrap_or_default();
        self.suspended += suspension;
        self.stopped += stopped;
        Some(stopped + suspension).filter(|pause| !pause.is_zero())
    }
}

/// The pauses of a run, by which its moments become times of day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// The moment of the run, and how long it lasted.
    pauses: Vec<(Duration, Duration)>,
}

impl Pauses {
    /// Adds a pause at this moment of the run.
    pub fn add(&mut self, at: Duration, length: Duration) {
        let is_full = self.pauses.len() == MAX_PAUSES;
        match self.pauses.last_mut() {
            Some((_, last)) if is_full => *last += length,
            _ => self.pauses.push((at, length)),
        }
    }

    /// Returns the time of all pauses.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.pauses.iter().map(|&(_, length)| length).sum()
    }

    /// Returns the time since the start at this moment of the run, with the pauses before it.
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

    /// The clocks of a machine that was suspended for so long.
    const fn reading(monotonic_s: u64, suspended_s: u64) -> Reading {
        Reading { monotonic: s(1000 + monotonic_s), boot: s(5000 + monotonic_s + suspended_s) }
    }

    #[test]
    fn a_wait_that_takes_much_longer_than_asked_is_a_pause() {
        // Limit, begin and end of the wait, suspended by then; the pause, and the time of the run after it.
        for (limit, began, ended, suspended, pause, elapsed) in [
            (1, 10, 10, 0, None, 10),
            (1, 10, 11, 0, None, 11),
            (1, 10, 12, 0, None, 12), // a loaded machine
            (1, 10, 13, 0, Some(2), 11),
            (1, 10, 3611, 0, Some(3600), 11),
            (30, 10, 3611, 0, Some(3571), 40),
            (1, 10, 11, 3600, Some(3600), 11), // the monotonic clock stands still while the machine is suspended
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
    fn a_stop_is_a_pause_however_short_it_is() {
        let mut clock = RunClock::new(reading(0, 0));
        assert_eq!(clock.on_stop(reading(5, 0), reading(6, 0)), Some(s(1)));
        assert_eq!(clock.elapsed(reading(6, 0)), s(5));
        assert_eq!(clock.on_stop(reading(7, 0), reading(7, 0)), None);
        assert_eq!(clock.on_stop(reading(8, 0), reading(18, 100)), Some(s(110)));
        assert_eq!(clock.elapsed(reading(18, 100)), s(7));
    }

    #[test]
    fn moments_become_times_of_day_by_the_pauses_before_them() {
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
