//! Any text as `--start-at`, at any moment, under a clock that is put forward or back once. What is accepted is a moment to
//! come, and not too far; where the clock is not touched, it shows at that moment what was asked for.
//!
//! The lines of an input: the text; the moment in milliseconds since 1970; the seconds that the clock is ahead of UTC; the
//! same after it was touched; and in how many seconds that is.

use zen::base::start_at::{StartAt, next_countdown_s};

const DAY_S: i64 = 86_400;
const YEAR_MS: u64 = 366 * 86_400_000;
/// No clock is further from UTC, and none has been put further in one go than a day.
const MAX_OFFSET_S: i64 = DAY_S / 2;

pub fn run(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (text, rest) = input.split_once('\n').unwrap_or((input, ""));
    let numbers: Vec<i64> = rest.lines().map(|line| line.parse().unwrap_or(0)).collect();
    let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
    let now_ms = number(0).unsigned_abs() % (200 * YEAR_MS);
    let offset = |index: usize| number(index) % (MAX_OFFSET_S + 1);
    let touched_at = i64::try_from(now_ms / 1000).unwrap_or(0).saturating_add(number(3) % (4 * DAY_S));
    let utc_offset_s = |at: i64| if at < touched_at { offset(1) } else { offset(2) };
    let start_at = match StartAt::parse(text) {
        Ok(start_at) => start_at,
        Err(error) => return assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
    };
    let at_ms = start_at.epoch_ms(now_ms, utc_offset_s);
    assert!(at_ms >= now_ms, "{start_at:?} is not in the past");
    match start_at {
        StartAt::After(_) => assert!(at_ms - now_ms <= YEAR_MS, "{start_at:?}"),
        StartAt::Clock { hour, minute } => {
            assert!(hour < 24 && minute < 60, "{start_at:?}");
            let (now_s, at_s) = (now_ms / 1000, at_ms / 1000);
            assert!(at_s > now_s && at_s - now_s <= 3 * DAY_S.unsigned_abs(), "{start_at:?} at {now_ms}: {at_ms}");
            if offset(1) == offset(2) {
                let shown = (i64::try_from(at_s).unwrap_or(0) + offset(1)).rem_euclid(DAY_S);
                assert_eq!(shown, i64::from(hour) * 3600 + i64::from(minute) * 60, "{start_at:?} at {now_ms}");
            }
        }
    }
    hold_to_the_countdown((at_ms - now_ms) / 1000);
}

/// It is said less and less long before, and comes to an end.
fn hold_to_the_countdown(mut left_s: u64) {
    while left_s > 0 {
        let next = next_countdown_s(left_s);
        assert!(next < left_s, "{next} follows {left_s}");
        left_s = next;
    }
}
