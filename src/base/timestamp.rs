//! Formats a time, given in milliseconds since 1970: in UTC for machines and file names, in UTC for the user, and in
//! local time with a given UTC offset. Pure: reads no clock and no time zone. Unix time has no leap seconds.

const MS_PER_DAY: u64 = 86_400_000;
const DAYS_PER_400_YEARS: u64 = 146_097;

struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    ms: u64,
}

/// Formats a time as RFC 3339: `2026-11-22T10:30:00.123Z`.
#[must_use]
pub fn rfc3339_utc(epoch_ms: u64) -> String {
    let Moment { year, month, day, hour, minute, second, ms } = moment(epoch_ms);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Formats a time for file names: `20261122T103000Z`.
#[must_use]
pub fn compact_utc(epoch_ms: u64) -> String {
    let Moment { year, month, day, hour, minute, second, .. } = moment(epoch_ms);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Formats a time for the user, rounded up to the minute: `14:30 UTC`, or `2026-11-23 14:30 UTC` on another day.
///
/// Both arguments are in seconds since 1970.
#[must_use]
pub fn minute_utc(epoch_s: u64, now_epoch_s: u64) -> String {
    let minute_ms = epoch_s.div_ceil(60).saturating_mul(60_000);
    let Moment { year, month, day, hour, minute, .. } = moment(minute_ms);
    if minute_ms / MS_PER_DAY == now_epoch_s.saturating_mul(1000) / MS_PER_DAY {
        format!("{hour:02}:{minute:02} UTC")
    } else {
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

/// Formats a time in local time, with the offset from UTC: `2026-11-22 11:30:00 +0100`.
#[must_use]
pub fn on_a_clock(epoch_ms: u64, utc_offset_s: i64) -> String {
    let Moment { year, month, day, hour, minute, second, .. } =
        moment(epoch_ms.saturating_add_signed(utc_offset_s.saturating_mul(1000)));
    let sign = if utc_offset_s < 0 { '-' } else { '+' };
    let (hours, minutes) = (utc_offset_s.unsigned_abs() / 3600, utc_offset_s.unsigned_abs() / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} {sign}{hours:02}{minutes:02}")
}

fn moment(epoch_ms: u64) -> Moment {
    let (year, month, day) = date(epoch_ms / MS_PER_DAY);
    let ms_of_day = epoch_ms % MS_PER_DAY;
    Moment {
        year,
        month,
        day,
        hour: ms_of_day / 3_600_000,
        minute: ms_of_day / 60_000 % 60,
        second: ms_of_day / 1000 % 60,
        ms: ms_of_day % 1000,
    }
}

/// Converts days since 1970-01-01 to year, month and day.
///
/// Counts from 0000-03-01, where a cycle of 400 years begins, in years that begin in March, so that the leap day is the
/// last day. From March on, the months have 31, 30, 31, 30, 31 days, repeated: 153 days in five months.
fn date(epoch_days: u64) -> (u64, u64, u64) {
    let days = epoch_days + 719_468;
    let cycle = days / DAYS_PER_400_YEARS;
    let day_of_cycle = days % DAYS_PER_400_YEARS;
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let year = cycle * 400 + year_of_cycle;
    if months_since_march < 10 { (year, months_since_march + 3, day) } else { (year + 1, months_since_march - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times_are_formatted() {
        assert_eq!(rfc3339_utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339_utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339_utc(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(rfc3339_utc(1_709_251_200_000), "2024-03-01T00:00:00.000Z");
        assert_eq!(rfc3339_utc(1_795_343_400_123), "2026-11-22T10:30:00.123Z");
        assert_eq!(rfc3339_utc(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(rfc3339_utc(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(compact_utc(1_795_343_400_123), "20261122T103000Z");
        assert_eq!(on_a_clock(1_795_343_400_123, 3600), "2026-11-22 11:30:00 +0100");
        assert_eq!(on_a_clock(1_795_343_400_123, -12_600), "2026-11-22 07:00:00 -0330");
    }

    #[test]
    fn minute_of_another_day_has_its_date() {
        let now = 1_795_343_400; // 2026-11-22 10:30:00
        assert_eq!(minute_utc(now, now), "10:30 UTC");
        assert_eq!(minute_utc(now + 1, now), "10:31 UTC", "at its end, and not before");
        assert_eq!(minute_utc(now + 86_400, now), "2026-11-23 10:30 UTC");
        assert_eq!(minute_utc(now - 86_400, now), "2026-11-21 10:30 UTC");
        assert!(minute_utc(u64::MAX, 0).ends_with(" UTC"));
    }

    #[test]
    fn last_representable_time_is_formatted() {
        assert!(rfc3339_utc(u64::MAX).starts_with("584556019-04-03T"));
    }

    fn is_leap(year: u64) -> bool {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    }

    /// Computes the date by counting: subtracts whole years, then whole months.
    fn counted_date(mut days: u64) -> (u64, u64, u64) {
        let mut year = 1970;
        while days >= 365 + u64::from(is_leap(year)) {
            days -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 1;
        for length in months {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        (year, month, days + 1)
    }

    /// Returns the day after a date.
    fn next_day((year, month, day): (u64, u64, u64)) -> (u64, u64, u64) {
        let length = match month {
            2 => 28 + u64::from(is_leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        match (month, day) {
            _ if day < length => (year, month, day + 1),
            (12, _) => (year + 1, 1, 1),
            _ => (year, month + 1, 1),
        }
    }

    #[test]
    fn dates_of_800_years_are_correct() {
        let mut expected = (1970, 1, 1);
        for days in 0..2 * DAYS_PER_400_YEARS {
            assert_eq!(date(days), expected, "day {days}");
            expected = next_day(expected);
        }
    }

    proptest! {
        #[test]
        fn both_formats_agree(epoch_ms in 0..253_402_300_800_000_u64) {
            let plain = rfc3339_utc(epoch_ms).replace(['-', ':'], "");
            prop_assert_eq!(compact_utc(epoch_ms), format!("{}Z", &plain[..15]));
            prop_assert_eq!(date(epoch_ms / MS_PER_DAY), counted_date(epoch_ms / MS_PER_DAY));
        }
    }
}
