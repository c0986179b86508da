//! What the value of a flag means: words in, typed values out, or one line that says what was expected. Knows no flag:
//! the parser puts the flag's name before the line.

use super::{ConfigSource, LogLevel};
use crate::text;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

const MAX_SECONDS: f64 = 31_536_000.0;
const MAX_COUNT: usize = 1_000_000;

/// What the user wrote, as a message may show it.
pub(super) fn quoted(value: &OsStr) -> String {
    const MAX_COLUMNS: usize = 60;
    format!("'{}'", text::cut(&text::clean(&value.to_string_lossy()), MAX_COLUMNS, "..."))
}

pub(super) fn config(value: &OsStr) -> Result<ConfigSource, String> {
    if value == "-" { Ok(ConfigSource::Stdin) } else { path(value).map(ConfigSource::File) }
}

pub(super) fn path(value: &OsStr) -> Result<PathBuf, String> {
    if value.is_empty() { Err("the path is empty".to_owned()) } else { Ok(PathBuf::from(value)) }
}

pub(super) fn seconds(value: &OsStr) -> Result<Duration, String> {
    let number = value.to_str().and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
    match number {
        None => Err(format!("{} is not a number of seconds", quoted(value))),
        Some(number) if number < 0.0 => Err(format!("{} is below 0", quoted(value))),
        Some(number) if number > MAX_SECONDS => {
            Err(format!("{} is more than a year ({MAX_SECONDS} seconds)", quoted(value)))
        }
        Some(number) => Ok(Duration::from_secs_f64(number)),
    }
}

pub(super) fn seconds_above_zero(value: &OsStr) -> Result<Duration, String> {
    match seconds(value)? {
        Duration::ZERO => Err(format!("{} is not above 0", quoted(value))),
        duration => Ok(duration),
    }
}

pub(super) fn count(value: &OsStr, min: usize) -> Result<usize, String> {
    let number = value.to_str().and_then(|text| text.parse::<i128>().ok());
    match number.map(usize::try_from) {
        None => Err(format!("{} is not a whole number", quoted(value))),
        Some(Ok(number)) if (min..=MAX_COUNT).contains(&number) => Ok(number),
        Some(_) => Err(format!("{} is not between {min} and {MAX_COUNT}", quoted(value))),
    }
}

pub(super) fn log_level(value: &OsStr) -> Result<LogLevel, String> {
    match value.to_str() {
        Some("silent") => Ok(LogLevel::Silent),
        Some("concise") => Ok(LogLevel::Concise),
        Some("detailed") => Ok(LogLevel::Detailed),
        _ => Err(format!("{} is none of silent, concise and detailed", quoted(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn mistake<T: std::fmt::Debug>(read: impl Fn(&OsStr) -> Result<T, String>, value: &str) -> String {
        read(OsStr::new(value)).unwrap_err()
    }

    #[test]
    fn seconds_may_have_fractions() {
        assert_eq!(seconds(OsStr::new("2.5")), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds(OsStr::new("0")), Ok(Duration::ZERO));
        assert_eq!(seconds(OsStr::new("31536000")), Ok(Duration::from_secs(31_536_000)));
    }

    #[test]
    fn seconds_that_cannot_be_meant_are_refused() {
        for value in ["abc", "", "5s", "nan", "inf", "-inf", "1e999", " 5"] {
            assert!(mistake(seconds, value).ends_with("is not a number of seconds"), "{value}");
        }
        assert_eq!(mistake(seconds, "-1"), "'-1' is below 0");
        assert_eq!(mistake(seconds, "31536001"), "'31536001' is more than a year (31536000 seconds)");
        assert_eq!(mistake(seconds_above_zero, "0"), "'0' is not above 0");
        assert_eq!(mistake(seconds_above_zero, "1e-30"), "'1e-30' is not above 0");
        assert_eq!(mistake(seconds_above_zero, "-0"), "'-0' is not above 0");
    }

    #[test]
    fn counts_have_bounds() {
        assert_eq!(count(OsStr::new("20"), 20), Ok(20));
        assert_eq!(mistake(|value| count(value, 1), "0"), "'0' is not between 1 and 1000000");
        assert_eq!(mistake(|value| count(value, 0), "-1"), "'-1' is not between 0 and 1000000");
        assert_eq!(
            mistake(|value| count(value, 0), "99999999999999999999"),
            "'99999999999999999999' is not between 0 and 1000000"
        );
        assert_eq!(mistake(|value| count(value, 0), "2.5"), "'2.5' is not a whole number");
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(config(OsStr::new("-")), Ok(ConfigSource::Stdin));
        assert_eq!(config(OsStr::new("./-")), Ok(ConfigSource::File(PathBuf::from("./-"))));
    }

    #[test]
    fn paths_need_not_be_utf8() {
        let name = OsStr::from_bytes(b"caf\xe9.json");
        assert_eq!(path(name), Ok(PathBuf::from(name)));
    }

    #[test]
    fn what_is_quoted_is_short_and_harmless() {
        assert_eq!(quoted(OsStr::new("a\u{1b}[31mb\nc")), "'ab c'");
        assert_eq!(quoted(OsStr::new(&"x".repeat(1000))).len(), 62);
        assert_eq!(quoted(OsStr::from_bytes(b"\xff")), "'\u{fffd}'");
    }
}
