//! Start time of a run, the value of `--start-at`: a delay, or the next time that the local clock shows. Pure: the
//! clock and the UTC offset are arguments.

use std::fmt;
use std::time::Duration;

/// Maximum delay: one year.
const MAX_SECONDS: f64 = 31_536_000.0;

const DAY_S: i64 = 86_400;
const MINUTE_S: i64 = 60;

/// Units in the required order, each at most once: `1h30m`.
const UNITS: &[(char, f64)] = &[('h', 3600.0), ('m', 60.0), ('s', 1.0)];

/// Start time of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// Delay.
    After(Duration),
    /// Next time that the local clock shows.
    Clock {
        /// 0 to 23.
        hour: u8,
        /// 0 to 59.
        minute: u8,
    },
}

/// Text that is no start time. Its message is a phrase to append to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAtError {
    /// Neither a delay nor a time of the clock.
    NotATime,
    /// A delay of more than a year.
    TooFar,
    /// A minute above 59.
    Minute,
    /// An hour above 23, without am or pm.
    Hour24,
    /// An hour that is not between 1 and 12, with am or pm.
    Hour12,
}

impl fmt::Display for StartAtError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            StartAtError::NotATime => "is not a start time such as 2h, 30m, 45s, 14:30, 1am or 10:30pm",
            StartAtError::TooFar => "is more than a year away",
            StartAtError::Minute => "has a minute above 59",
            StartAtError::Hour24 => "has an hour above 23",
            StartAtError::Hour12 => "has an hour that is not between 1 and 12",
        })
    }
}

impl StartAt {
    /// Parses `2h`, `30m`, `45s`, `1h30m`, `1.5h`, `14:30`, `1am` or `10:30 pm`, in upper or lower case.
    ///
    /// # Errors
    /// Returns an error if the text has another form, or the time is out of range.
    pub fn parse(text: &str) -> Result<Self, StartAtError> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(clock) = parse_clock_time(&text) {
            return clock;
        }
        match seconds_of(&text) {
            None => Err(StartAtError::NotATime),
            Some(seconds) if seconds > MAX_SECONDS => Err(StartAtError::TooFar),
            Some(seconds) => Ok(StartAt::After(Duration::from_secs_f64(seconds))),
        }
    }

    /// Returns the start time at `now_ms`, both in milliseconds since 1970.
    ///
    /// `utc_offset_s` returns the UTC offset of the local clock in seconds at a time in seconds since 1970.
    ///
    /// A clock time means the next moment at which the clock shows it: a time of today that has passed means tomorrow.
    /// If the clock is set forward over that time, the moment of the jump counts. If the clock is set back and shows it
    /// twice, the first of the two that is still to come counts.
    #[must_use]
    pub fn epoch_ms(self, now_ms: u64, utc_offset_s: impl Fn(i64) -> i64) -> u64 {
        match self {
            StartAt::After(wait) => now_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            StartAt::Clock { hour, minute } => {
                let time_of_day = i64::from(hour) * 3600 + i64::from(minute) * MINUTE_S;
                let now = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
                u64::try_from(next_shown(time_of_day, now, utc_offset_s)).unwrap_or(0).saturating_mul(1000)
            }
        }
    }
}

/// Returns the first moment after `now` at which the clock shows `time_of_day` or jumps over it.
///
/// Checks the clock minute by minute.
fn next_shown(time_of_day: i64, now: i64, utc_offset_s: impl Fn(i64) -> i64) -> i64 {
    const MAX_MINUTES: i64 = 3 * DAY_S / MINUTE_S; // a clock has been put back by a whole day
    let first = now - now.rem_euclid(MINUTE_S);
    for minute in 0..MAX_MINUTES {
        let (begin, end) = (first + minute * MINUTE_S, first + (minute + 1) * MINUTE_S);
        let (from, to) = (begin + utc_offset_s(begin), end + utc_offset_s(end));
        let next = from + 1 + (time_of_day - from - 1).rem_euclid(DAY_S);
        let is_whole_minute = to - from == MINUTE_S;
        let moment = if next <= to {
            if is_whole_minute { end - (to - next) } else { end }
        } else if to.rem_euclid(DAY_S) == time_of_day {
            end
        } else {
            continue;
        };
        if moment > now {
            return moment;
        }
    }
    now + DAY_S
}

/// Parses `14:30`, `1am` or `10:30pm`. Returns `None` for any other form.
fn parse_clock_time(text: &str) -> Option<Result<StartAt, StartAtError>> {
    let (half, digits) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(digits), _) => (Some(0), digits.trim_end()),
        (None, Some(digits)) => (Some(12), digits.trim_end()),
        (None, None) => (None, text),
    };
    let (hour, minute) = match digits.split_once(':') {
        Some((hour, minute)) if minute.len() == 2 => (hour, minute),
        None if half.is_some() => (digits, "00"),
        _ => return None,
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    Some(match (half, hour, minute) {
        (_, _, 60..) => Err(StartAtError::Minute),
        (None, 0..=23, _) => Ok(StartAt::Clock { hour, minute }),
        (None, ..) => Err(StartAtError::Hour24),
        (Some(half), 1..=12, _) => Ok(StartAt::Clock { hour: hour % 12 + half, minute }),
        (Some(_), ..) => Err(StartAtError::Hour12),
    })
}

/// Parses a number of one or two digits.
fn two_digits(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'0'..=b'9'] | [b'0'..=b'9', b'0'..=b'9'] => text.parse().ok(),
        _ => None,
    }
}

/// Parses `1h30m` or `2.5 h` into seconds.
fn seconds_of(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let (mut rest, mut units) = (text, UNITS);
    while !rest.is_empty() || units.len() == UNITS.len() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let behind = behind.trim_start();
        let index = units.iter().position(|(letter, _)| behind.starts_with(*letter))?;
        seconds += number.parse::<f64>().ok()? * units[index].1;
        units = &units[index + 1..];
        rest = behind[1..].trim_start();
    }
    Some(seconds)
}

/// Returns the remaining seconds at the next countdown message, if `left_s` remain now.
///
/// Messages are due at every full hour, and more often towards the end.
#[must_use]
pub fn next_countdown_s(left_s: u64) -> u64 {
    const LAST_HOUR_S: [u64; 7] = [3600, 1800, 900, 300, 60, 30, 10];
    match left_s {
        3601.. => (left_s - 1) / 3600 * 3600,
        _ => LAST_HOUR_S.into_iter().find(|&mark| mark < left_s).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(seconds: f64) -> Result<StartAt, StartAtError> {
        Ok(StartAt::After(Duration::from_secs_f64(seconds)))
    }

    fn at(hour: u8, minute: u8) -> Result<StartAt, StartAtError> {
        Ok(StartAt::Clock { hour, minute })
    }

    #[test]
    fn delays_are_parsed() {
        for (text, seconds) in [
            ("2h", 7200.0),
            ("30m", 1800.0),
            ("45s", 45.0),
            ("0s", 0.0),
            ("1.5h", 5400.0),
            (" 2 H ", 7200.0),
            ("1h30m", 5400.0),
            ("1h 30m 5s", 5405.0),
            ("1h5s", 3605.0),
            ("8760h", MAX_SECONDS),
        ] {
            assert_eq!(StartAt::parse(text), after(seconds), "{text}");
        }
        for text in ["8761h", "99999999999999999999999999999999999999s", &format!("{}h", "9".repeat(400))] {
            assert_eq!(StartAt::parse(text), Err(StartAtError::TooFar), "{text}");
        }
    }

    #[test]
    fn clock_times_are_parsed() {
        for (text, hour, minute) in [
            ("14:30", 14, 30),
            ("0:00", 0, 0),
            ("02:05", 2, 5),
            ("23:59", 23, 59),
            ("1am", 1, 0),
            ("12am", 0, 0),
            ("12pm", 12, 0),
            ("10:30pm", 22, 30),
            ("10:30 PM", 22, 30),
            ("12:15am", 0, 15),
            ("09am", 9, 0),
        ] {
            assert_eq!(StartAt::parse(text), at(hour, minute), "{text}");
        }
        for (text, error) in [
            ("24:00", StartAtError::Hour24),
            ("14:60", StartAtError::Minute),
            ("13pm", StartAtError::Hour12),
            ("0am", StartAtError::Hour12),
            ("14:30pm", StartAtError::Hour12),
        ] {
            assert_eq!(StartAt::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn other_text_is_not_a_time() {
        for text in [
            "",
            " ",
            "2",
            "h",
            ".h",
            "1..5h",
            "-1h",
            "+1h",
            "1e3s",
            "infs",
            "nans",
            "30m1h",
            "1h1h",
            "2d",
            "2hours",
            "14",
            "14:3",
            "14:300",
            "1:2:3",
            ":30",
            "14:",
            "am",
            "1.5am",
            "tomorrow",
            "१h",
            "１４:３０",
            "2h,",
            "1 30m",
        ] {
            assert_eq!(StartAt::parse(text), Err(StartAtError::NotATime), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[0-9:hmsap. ]){0,12}") {
            let _ = StartAt::parse(&text);
        }

        #[test]
        fn clock_time_is_within_a_day_without_time_changes(
            now_ms in 0_u64..4_000_000_000_000, hour in 0_u8..24, minute in 0_u8..60, offset_s in -50_400_i64..50_400
        ) {
            let due = StartAt::Clock { hour, minute }.epoch_ms(now_ms, |_| offset_s);
            prop_assert!(due > now_ms && due - now_ms <= 86_400_000, "{due}");
            let shown = (i64::try_from(due / 1000).unwrap() + offset_s).rem_euclid(DAY_S);
            prop_assert_eq!(shown, i64::from(hour) * 3600 + i64::from(minute) * 60);
        }

        #[test]
        fn start_time_is_in_the_future_in_any_zone(
            now_ms in any::<u64>(), hour in 0_u8..24, minute in 0_u8..60, jumps in prop::collection::vec(-90_000_i64..90_000, 1..50)
        ) {
            let offset = |at: i64| jumps[usize::try_from(at.rem_euclid(100_000)).unwrap() % jumps.len()];
            let due = StartAt::Clock { hour, minute }.epoch_ms(now_ms, offset);
            prop_assert!(due > now_ms || now_ms > u64::MAX / 2);
        }
    }

    /// Returns a zone with an offset that changes once.
    fn zone(change: i64, before: i64, after: i64) -> impl Fn(i64) -> i64 {
        move |at| if at < change { before } else { after }
    }

    fn due(text: &str, now: i64, zone: impl Fn(i64) -> i64) -> i64 {
        let now_ms = u64::try_from(now).unwrap() * 1000;
        i64::try_from(StartAt::parse(text).unwrap().epoch_ms(now_ms, zone) / 1000).unwrap()
    }

    #[test]
    fn skipped_clock_time_is_the_moment_of_the_change() {
        // Berlin, 29 March 2026: at 01:00 UTC the clock goes from 02:00 to 03:00.
        let change = 1_774_746_000;
        let berlin = || zone(change, 3600, 7200);
        let evening_before = change - 5 * 3600;
        assert_eq!(due("2:30", evening_before, berlin()), change);
        assert_eq!(due("2am", evening_before, berlin()), change);
        assert_eq!(due("3am", evening_before, berlin()), change);
        assert_eq!(due("1:59", evening_before, berlin()), change - 60);
        assert_eq!(due("3:01", evening_before, berlin()), change + 60);
        assert_eq!(due("2:30", change, berlin()), change + 23 * 3600 + 1800, "the day after");
        assert_eq!(due("1am", change, berlin()), change + 22 * 3600, "a day of 23 hours");
        // Lord Howe, 4 October 2026: at 15:30 UTC of the day before it goes from 02:00 to 02:30.
        let change = 1_791_041_400;
        let lord_howe = || zone(change, 37_800, 39_600);
        assert_eq!(due("2:15", change - 3600, lord_howe()), change);
        assert_eq!(due("2:30", change - 3600, lord_howe()), change);
        assert_eq!(due("2:31", change - 3600, lord_howe()), change + 60);
    }

    #[test]
    fn repeated_clock_time_is_the_first_to_come() {
        // New York, 1 November 2026: at 06:00 UTC the clock goes from 02:00 back to 01:00.
        let change = 1_793_512_800;
        let new_york = || zone(change, -14_400, -18_000);
        assert_eq!(due("1:30", change - 3 * 3600, new_york()), change - 1800);
        assert_eq!(due("1:30", change - 1800, new_york()), change + 1800, "once more");
        assert_eq!(due("1am", change - 60, new_york()), change, "it begins again at one");
        assert_eq!(due("2am", change - 3 * 3600, new_york()), change + 3600, "two comes after the second one");
        assert_eq!(due("1:30", change + 1800, new_york()), change + 1800 + DAY_S);
        assert_eq!(due("12am", change - 3600, new_york()), change - 2 * 3600 + 25 * 3600, "a day of 25 hours");
    }

    #[test]
    fn skipped_and_repeated_days_are_handled() {
        let change = 1_325_239_200; // Samoa had no 30 December 2011
        let samoa = zone(change, -36_000, 50_400);
        assert_eq!(due("9am", change - 3600, samoa), change);
        assert_eq!(due("9am", change - 3600, zone(change, 50_400, -36_000)), change + 9 * 3600);
    }

    #[test]
    fn countdown_messages_are_rarer_for_long_waits() {
        let mut marks = Vec::new();
        let mut left = 3 * 3600 + 100;
        while left > 0 {
            left = next_countdown_s(left);
            marks.push(left);
        }
        assert_eq!(marks, [10_800, 7200, 3600, 1800, 900, 300, 60, 30, 10, 0]);
    }
}
