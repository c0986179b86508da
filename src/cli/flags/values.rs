//! Parses the values of flags into types, or returns one line that describes the expected value. The caller adds the
//! name of the flag to that line.

use super::ConfigSource;
use crate::base::start_at::StartAt;
use crate::base::text;
use crate::cli::examples::{self, Example};
use crate::config::budget_command;
use crate::report::verbosity::LogLevel;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

const MAX_SECONDS: f64 = 31_536_000.0;
const MAX_COUNT: usize = 1_000_000;
const MAX_TOKENS: i128 = 1_000_000_000_000_000;
const MAX_DOLLARS: f64 = 1e9;

/// Returns the example of this name.
pub(super) fn example(value: &OsStr) -> Result<&'static Example, String> {
    examples::find(&value.to_string_lossy()).map_err(|what| format!("{} {what}", quoted(value)))
}

/// Quotes the user's input for a message.
pub(super) fn quoted(value: &OsStr) -> String {
    format!("'{}'", text::quote_input(&value.to_string_lossy()))
}

pub(super) fn config(value: &OsStr) -> Result<ConfigSource, String> {
    if value == "-" { Ok(ConfigSource::Stdin) } else { path(value).map(ConfigSource::File) }
}

pub(super) fn path(value: &OsStr) -> Result<PathBuf, String> {
    if value.is_empty() { Err("the path is empty".to_owned()) } else { Ok(PathBuf::from(value)) }
}

/// Parses a text that is not blank.
pub(super) fn filled(value: &OsStr) -> Result<String, String> {
    match value.to_str() {
        Some(text) if text.trim().is_empty() => Err("the text is empty".to_owned()),
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("{} is not UTF-8", quoted(value))),
    }
}

pub(super) fn start_at(value: &OsStr) -> Result<StartAt, String> {
    StartAt::parse(&value.to_string_lossy()).map_err(|what| format!("{} {what}", quoted(value)))
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
    // Below a millisecond, the event loop's clock would round it to zero.
    match seconds(value)? {
        Duration::ZERO => Err(format!("{} is not above 0", quoted(value))),
        duration => Ok(duration.max(Duration::from_millis(1))),
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

/// Parses a number of tokens, at least 1.
pub(super) fn tokens(value: &OsStr) -> Result<u64, String> {
    match value.to_str().and_then(|text| text.parse::<i128>().ok()) {
        None => Err(format!("{} is not a whole number of tokens", quoted(value))),
        Some(number @ 1..=MAX_TOKENS) => Ok(number as u64),
        Some(_) => Err(format!("{} is not between 1 and {MAX_TOKENS} tokens", quoted(value))),
    }
}

/// Parses an amount of dollars above 0, as micro-dollars.
pub(super) fn dollars(value: &OsStr) -> Result<u64, String> {
    let dollars = value.to_str().and_then(|text| text.strip_prefix('$').unwrap_or(text).parse::<f64>().ok());
    match dollars {
        Some(dollars) if dollars > 0.0 && dollars <= MAX_DOLLARS => Ok(((dollars * 1e6).round() as u64).max(1)),
        Some(dollars) if dollars.is_finite() => {
            Err(format!("{} is not above 0 and at most {MAX_DOLLARS} dollars", quoted(value)))
        }
        _ => Err(format!("{} is not a number of dollars", quoted(value))),
    }
}

/// Parses `/name=amount`; the slash is optional.
pub(super) fn per_command(value: &OsStr, amount: fn(&OsStr) -> Result<u64, String>) -> Result<(String, u64), String> {
    let split = value.to_str().and_then(|text| text.rsplit_once('='));
    let split = split.and_then(|(name, number)| Some((budget_command(name)?, number)));
    let (command, number) = split.ok_or_else(|| format!("{} is not of the form /name=limit", quoted(value)))?;
    let amount =
        amount(OsStr::new(number.trim())).map_err(|what| format!("{}: {what}", text::quote_input(&command)))?;
    Ok((command, amount))
}

/// Parses one of these words.
pub(super) fn one_of<T: Copy>(value: &OsStr, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| value == *word).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{} is none of {}", quoted(value), words.join(", "))
    })
}

pub(super) fn log_level(value: &OsStr) -> Result<LogLevel, String> {
    one_of(value, &[("silent", LogLevel::Silent), ("concise", LogLevel::Concise), ("detailed", LogLevel::Detailed)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn mistake<T: std::fmt::Debug>(read: impl Fn(&OsStr) -> Result<T, String>, value: &str) -> String {
        read(OsStr::new(value)).unwrap_err()
    }

    #[test]
    fn budgets_of_commands_may_leave_out_the_slash() {
        let read = |text: &str| per_command(OsStr::new(text), tokens);
        assert_eq!(read("/analyze=10000"), Ok(("/analyze".into(), 10_000)));
        assert_eq!(read("analyze=10000"), Ok(("/analyze".into(), 10_000)));
        assert_eq!(read("analyze"), Err("'analyze' is not of the form /name=limit".into()));
        assert_eq!(read("=5"), Err("'=5' is not of the form /name=limit".into()));
        assert_eq!(read("/a=x"), Err("/a: 'x' is not a whole number of tokens".into()));
        assert_eq!(read("/=5"), Err("'/=5' is not of the form /name=limit".into()));
        assert_eq!(per_command(OsStr::new("/a=$0.5"), dollars), Ok(("/a".into(), 500_000)));
        for bad in ["0", "-1", "1e99", "inf"] {
            assert!(dollars(OsStr::new(bad)).is_err() && tokens(OsStr::new(bad)).is_err(), "{bad}");
        }
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
        assert_eq!(quoted(OsStr::new("a\u{1b}[31mb\nc")), r"'a\u001b[31mb\nc'");
        assert_eq!(quoted(OsStr::new(&"x".repeat(1000))).len(), 62);
        assert_eq!(quoted(OsStr::from_bytes(b"\xff")), "'\u{fffd}'");
    }
}
