//! Parses the values of flags into types.

use super::ConfigSource;
use super::error::{Expected, ValueError};
use crate::base::start_at::StartAt;
use crate::cli::examples::{self, Example};
use crate::config::halt::Halt;
use crate::config::{BudgetType, Enforcement, OUTPUT_FORMATS, budget_command};
use crate::report::verbosity::LogLevel;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

const MAX_SECONDS: f64 = 31_536_000.0;
const MAX_COUNT: usize = 1_000_000;
const MAX_TOKENS: i128 = 1_000_000_000_000_000;
const MAX_DOLLARS: f64 = 1e9;

pub(super) type Parsed<T> = Result<T, ValueError>;

/// Stores a parsed value.
pub(super) fn store<T>(place: &mut T, parsed: Parsed<T>) -> Parsed<()> {
    *place = parsed?;
    Ok(())
}

/// Returns the example of this name.
pub(super) fn example(value: &OsStr) -> Parsed<&'static Example> {
    examples::find(&value.to_string_lossy()).map_err(ValueError::Example)
}

pub(super) fn config(value: &OsStr) -> Parsed<ConfigSource> {
    if value == "-" { Ok(ConfigSource::Stdin) } else { path(value).map(ConfigSource::File) }
}

pub(super) fn path(value: &OsStr) -> Parsed<PathBuf> {
    if value.is_empty() { Err(ValueError::Empty) } else { Ok(PathBuf::from(value)) }
}

/// Parses a text that is not blank.
pub(super) fn filled(value: &OsStr) -> Parsed<String> {
    match value.to_str() {
        Some(text) if text.trim().is_empty() => Err(ValueError::Empty),
        Some(text) => Ok(text.to_owned()),
        None => unexpected(value, Expected::Utf8),
    }
}

pub(super) fn start_at(value: &OsStr) -> Parsed<StartAt> {
    let value = value.to_string_lossy();
    StartAt::parse(&value)
        .map_err(|problem| ValueError::StartAt { value: value.into_owned(), problem: problem.to_string() })
}

pub(super) fn halt(value: &OsStr) -> Parsed<Halt> {
    let value = value.to_string_lossy();
    Halt::parse(&value).map_err(|problem| ValueError::Halt { value: value.into_owned(), problem: problem.to_string() })
}

pub(super) fn seconds(value: &OsStr) -> Parsed<Duration> {
    match number::<f64>(value).filter(|number| number.is_finite()) {
        None => unexpected(value, Expected::Seconds),
        Some(number) if number < 0.0 => unexpected(value, Expected::NotNegative),
        Some(number) if number > MAX_SECONDS => unexpected(value, Expected::AtMostSeconds(MAX_SECONDS)),
        Some(number) => Ok(Duration::from_secs_f64(number)),
    }
}

pub(super) fn seconds_above_zero(value: &OsStr) -> Parsed<Duration> {
    // Below a millisecond, the event loop's clock would round it to zero.
    match seconds(value)? {
        Duration::ZERO => unexpected(value, Expected::Positive),
        duration => Ok(duration.max(Duration::from_millis(1))),
    }
}

pub(super) fn count(value: &OsStr, min: usize) -> Parsed<usize> {
    match number::<i128>(value).map(usize::try_from) {
        None => unexpected(value, Expected::Integer),
        Some(Ok(number)) if (min..=MAX_COUNT).contains(&number) => Ok(number),
        Some(_) => unexpected(value, Expected::Between(min, MAX_COUNT)),
    }
}

/// Parses a number of tokens, at least 1.
pub(super) fn tokens(value: &OsStr) -> Parsed<u64> {
    match number::<i128>(value) {
        Some(number @ 1..=MAX_TOKENS) => Ok(number as u64),
        _ => unexpected(value, Expected::Tokens(MAX_TOKENS)),
    }
}

/// Parses an amount of dollars above 0, as micro-dollars.
pub(super) fn dollars(value: &OsStr) -> Parsed<u64> {
    let digits = value.to_str().map(|text| text.strip_prefix('$').unwrap_or(text));
    match digits.map(str::parse::<f64>) {
        Some(Ok(dollars)) if dollars > 0.0 && dollars <= MAX_DOLLARS => Ok(((dollars * 1e6).round() as u64).max(1)),
        _ => unexpected(value, Expected::Dollars(MAX_DOLLARS)),
    }
}

/// Parses `/NAME=LIMIT`; the slash is optional.
pub(super) fn per_command(value: &OsStr, limit: fn(&OsStr) -> Parsed<u64>) -> Parsed<(String, u64)> {
    if let Some((name, number)) = value.to_str().and_then(|text| text.rsplit_once('='))
        && let Some(command) = budget_command(name)
    {
        return match limit(OsStr::new(number.trim())) {
            Ok(limit) => Ok((command, limit)),
            Err(error) => Err(ValueError::Limit { command, error: Box::new(error) }),
        };
    }
    unexpected(value, Expected::CommandLimit)
}

/// Parses one of these words.
pub(super) fn one_of<T: Copy>(value: &OsStr, words: &[(&'static str, T)]) -> Parsed<T> {
    for (word, meaning) in words {
        if value == *word {
            return Ok(*meaning);
        }
    }
    unexpected(value, Expected::OneOf(words.iter().map(|(word, _)| *word).collect()))
}

pub(super) fn enforcement(value: &OsStr) -> Parsed<Enforcement> {
    one_of(value, &[("block", Enforcement::Block), ("warn", Enforcement::Warn)])
}

pub(super) fn budget_type(value: &OsStr) -> Parsed<BudgetType> {
    one_of(value, &[("tokens", BudgetType::Tokens), ("cost", BudgetType::Cost), ("mixed", BudgetType::Mixed)])
}

pub(super) fn output_format(value: &OsStr) -> Parsed<String> {
    let formats: Vec<_> = OUTPUT_FORMATS.iter().map(|&format| (format, format)).collect();
    one_of(value, &formats).map(str::to_owned)
}

pub(super) fn log_level(value: &OsStr) -> Parsed<LogLevel> {
    one_of(value, &[("silent", LogLevel::Silent), ("concise", LogLevel::Concise), ("detailed", LogLevel::Detailed)])
}

fn number<T: std::str::FromStr>(value: &OsStr) -> Option<T> {
    value.to_str()?.parse().ok()
}

fn unexpected<T>(value: &OsStr, expected: Expected) -> Parsed<T> {
    Err(ValueError::Unexpected { expected, value: value.to_string_lossy().into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn expected_form<T: std::fmt::Debug>(parsed: Parsed<T>) -> Expected {
        match parsed {
            Err(ValueError::Unexpected { expected, .. }) => expected,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn slash_of_a_command_limit_is_optional() {
        let parse = |text: &str| per_command(OsStr::new(text), tokens);
        assert_eq!(parse("/analyze=10000"), Ok(("/analyze".into(), 10_000)));
        assert_eq!(parse("analyze=10000"), Ok(("/analyze".into(), 10_000)));
        for text in ["analyze", "=5", "/=5"] {
            assert_eq!(expected_form(parse(text)), Expected::CommandLimit, "{text}");
        }
        let Err(ValueError::Limit { command, error }) = parse("/a=x") else { panic!("a limit") };
        assert_eq!((command.as_str(), expected_form::<()>(Err(*error))), ("/a", Expected::Tokens(MAX_TOKENS)));
        assert_eq!(per_command(OsStr::new("/a=$0.5"), dollars), Ok(("/a".into(), 500_000)));
        for text in ["0", "-1", "1e99", "inf"] {
            assert!(dollars(OsStr::new(text)).is_err() && tokens(OsStr::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_may_have_fractions() {
        assert_eq!(seconds(OsStr::new("2.5")), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds(OsStr::new("0")), Ok(Duration::ZERO));
        assert_eq!(seconds(OsStr::new("31536000")), Ok(Duration::from_secs(31_536_000)));
    }

    #[test]
    fn invalid_seconds_are_rejected() {
        for text in ["abc", "", "5s", "nan", "inf", "-inf", "1e999", " 5"] {
            assert_eq!(expected_form(seconds(OsStr::new(text))), Expected::Seconds, "{text}");
        }
        assert_eq!(expected_form(seconds(OsStr::new("-1"))), Expected::NotNegative);
        assert_eq!(expected_form(seconds(OsStr::new("31536001"))), Expected::AtMostSeconds(MAX_SECONDS));
        for text in ["0", "1e-30", "-0"] {
            assert_eq!(expected_form(seconds_above_zero(OsStr::new(text))), Expected::Positive, "{text}");
        }
    }

    #[test]
    fn counts_have_bounds() {
        assert_eq!(count(OsStr::new("20"), 20), Ok(20));
        for (text, min, expected) in [
            ("0", 1, Expected::Between(1, MAX_COUNT)),
            ("-1", 0, Expected::Between(0, MAX_COUNT)),
            ("99999999999999999999", 0, Expected::Between(0, MAX_COUNT)),
            ("2.5", 0, Expected::Integer),
        ] {
            assert_eq!(expected_form(count(OsStr::new(text), min)), expected, "{text}");
        }
    }

    #[test]
    fn dash_is_standard_input() {
        assert_eq!(config(OsStr::new("-")), Ok(ConfigSource::Stdin));
        assert_eq!(config(OsStr::new("./-")), Ok(ConfigSource::File(PathBuf::from("./-"))));
    }

    #[test]
    fn paths_need_not_be_utf8() {
        let name = OsStr::from_bytes(b"caf\xe9.json");
        assert_eq!(path(name), Ok(PathBuf::from(name)));
        assert_eq!(expected_form(filled(name)), Expected::Utf8);
    }
}
