//! Reads a command line by the table of flags and collects every mistake in it. Knows what flags look like, through
//! lexopt, and what the table says; knows no single flag but `--config`, without which there is nothing to run.

use super::values::quoted;
use super::{Effect, FLAGS, Flag, Options};
use crate::nearest::nearest;
use lexopt::{Arg, Parser};
use std::ffi::{OsStr, OsString};

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A run (or, with `dry_run`, its plan).
    Run(Box<Options>),
    /// The text of [`help`](super::help()).
    Help,
    /// The version.
    Version,
}

/// An argument in the terms of the table.
enum Argument {
    Flag(&'static Flag),
    Unknown { spelled: String, meant: Option<&'static Flag> },
    Stray(OsString),
}

/// What the arguments of a command line ask for; they do not include the program's name. `--help` and `--version` are
/// answered whatever else is wrong.
///
/// # Errors
///
/// Every mistake of the command line, one line each, in its order.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Request, Vec<String>> {
    let mut parser = Parser::from_args(arguments);
    let mut options = Options::default();
    let mut mistakes = Vec::new();
    while let Some(argument) = next_argument(&mut parser).transpose() {
        let outcome = match argument {
            Ok(Argument::Flag(Flag { effect: Effect::Answer(request), .. })) => return Ok(request()),
            Ok(Argument::Flag(flag)) => apply(flag, &mut parser, &mut options),
            Ok(Argument::Unknown { spelled, meant }) => {
                // Left where it is, a misspelled flag's value would be a mistake of its own.
                let _value =
                    if meant.is_some_and(Flag::takes_value) { value(&mut parser) } else { parser.optional_value() };
                Err(unknown(&spelled, meant))
            }
            Ok(Argument::Stray(argument)) => {
                Err(format!("unexpected argument {}: a config is given with --config FILE", quoted(&argument)))
            }
            Err(mistake) => Err(mistake),
        };
        mistakes.extend(outcome.err());
    }
    if options.config.is_none() && mistakes.is_empty() {
        mistakes.push("nothing to run: a config is given with --config FILE (see zen --help)".to_owned());
    }
    if mistakes.is_empty() { Ok(Request::Run(Box::new(options))) } else { Err(mistakes) }
}

fn next_argument(parser: &mut Parser) -> Result<Option<Argument>, String> {
    let argument = match parser.next().map_err(|error| unwanted_value(&error))? {
        None => return Ok(None),
        Some(Arg::Long(name)) => match FLAGS.iter().find(|flag| flag.long == name) {
            Some(flag) => Argument::Flag(flag),
            None => Argument::Unknown { spelled: format!("--{name}"), meant: meant(name) },
        },
        Some(Arg::Short(letter)) => match FLAGS.iter().find(|flag| flag.short == Some(letter)) {
            Some(flag) => Argument::Flag(flag),
            None => Argument::Unknown { spelled: format!("-{letter}"), meant: None },
        },
        Some(Arg::Value(argument)) => Argument::Stray(argument),
    };
    Ok(Some(argument))
}

fn apply(flag: &Flag, parser: &mut Parser, options: &mut Options) -> Result<(), String> {
    match flag.effect {
        Effect::Switch(set) => set(options),
        Effect::Value { name, set, .. } => {
            let value = value(parser).ok_or_else(|| format!("--{}: {name} is missing", flag.long))?;
            set(options, &value).map_err(|what| format!("--{}: {what}", flag.long))?;
        }
        Effect::Answer(_) => {}
    }
    Ok(())
}

/// The value of the flag that was just read. A flag in its place is no value (`--config --dry-run`), unless it stands
/// behind a `=`.
fn value(parser: &mut Parser) -> Option<OsString> {
    match parser.try_raw_args() {
        Some(mut rest) => rest.next_if(|next| !is_flag(next)),
        None => parser.optional_value(),
    }
}

/// Not everything that begins with a dash is a flag: `-` and negative numbers are values.
fn is_flag(argument: &OsStr) -> bool {
    let argument = argument.to_string_lossy();
    let is_short = |flag: &Flag| flag.short.is_some_and(|letter| *argument == format!("-{letter}"));
    argument.starts_with("--") || FLAGS.iter().any(is_short)
}

fn meant(name: &str) -> Option<&'static Flag> {
    let long = nearest(name, FLAGS.iter().map(|flag| flag.long))?;
    FLAGS.iter().find(|flag| flag.long == long)
}

fn unknown(spelled: &str, meant: Option<&Flag>) -> String {
    let unknown = format!("unknown option {}", quoted(OsStr::new(spelled)));
    match meant {
        Some(flag) => format!("{unknown}, did you mean '--{}'?", flag.long),
        None => format!("{unknown} (see zen --help)"),
    }
}

fn unwanted_value(error: &lexopt::Error) -> String {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => {
            format!("{option} takes no value, but has {}", quoted(value))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigSource, LogLevel, Logs};
    use super::*;
    use crate::config::{BudgetConfig, BudgetType, Enforcement};
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;
    use std::time::Duration;

    fn request(line: &str) -> Result<Request, Vec<String>> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn options(line: &str) -> Options {
        match request(line) {
            Ok(Request::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn mistakes(line: &str) -> Vec<String> {
        request(line).unwrap_err()
    }

    #[test]
    fn a_config_is_all_it_takes() {
        let config = Some(ConfigSource::File(PathBuf::from("plan.json")));
        for line in ["--config plan.json", "--config=plan.json", "-c plan.json", "-cplan.json", "-c=plan.json"] {
            assert_eq!(options(line), Options { config: config.clone(), ..Options::default() }, "{line}");
        }
        assert_eq!(options("-c -").config, Some(ConfigSource::Stdin));
    }

    #[test]
    fn every_option_has_its_field() {
        let options = options(
            "-c - --workspace /w --claude /bin/claude --dry-run --startup-delay 0.5 --max-parallel 3 --timeout 10 \
             --idle-timeout 2.5 --grace 0 --status-report-interval 3 --max-console-lines 0 --max-line-length 20 \
             --log-level silent --log-dir /logs --overall-token-budget 9000 --overall-cost-budget 1.5 --command-budget a=5 \
             --command-budget /b=6 --command-cost-budget /a=0.5 --budget-enforcement-mode warn \
             --budget-parameter-type mixed --disable-budget-visuals",
        );
        let expected = Options {
            config: Some(ConfigSource::Stdin),
            workspace: PathBuf::from("/w"),
            claude: Some(PathBuf::from("/bin/claude")),
            dry_run: true,
            startup_delay: Duration::from_millis(500),
            max_parallel: Some(3),
            timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_millis(2500)),
            grace: Duration::ZERO,
            budget: BudgetConfig {
                overall_tokens: Some(9_000),
                overall_micros: Some(1_500_000),
                command_tokens: [("/a".to_owned(), 5), ("/b".to_owned(), 6)].into(),
                command_micros: [("/a".to_owned(), 500_000)].into(),
                budget_type: Some(BudgetType::Mixed),
                enforcement: Some(Enforcement::Warn),
                disable_visuals: Some(true),
                token_basis: None,
            },
            status_report_interval: Duration::from_secs(3),
            max_console_lines: 0,
            max_line_length: 20,
            log_level: LogLevel::Silent,
            logs: Logs::In(PathBuf::from("/logs")),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn of_contradicting_flags_the_last_counts() {
        assert_eq!(options("-c - -q -v").log_level, LogLevel::Detailed);
        assert_eq!(options("-c - -vq").log_level, LogLevel::Silent);
        assert_eq!(options("-c - --quiet --log-level concise").log_level, LogLevel::Concise);
        assert_eq!(options("-c - --no-logs --log-dir d").logs, Logs::In(PathBuf::from("d")));
        assert_eq!(options("-c - --log-dir d --no-logs").logs, Logs::Nowhere);
        assert_eq!(options("-c - --timeout 1 --timeout 2").timeout, Duration::from_secs(2));
    }

    #[test]
    fn help_and_version_are_answered_whatever_else_is_wrong() {
        for line in ["-h", "--help", "--bogus plan.json --help", "--config --help", "--timeout abc -qh"] {
            assert_eq!(request(line), Ok(Request::Help), "{line}");
        }
        assert_eq!(request("-V"), Ok(Request::Version));
        assert_eq!(request("--version --help"), Ok(Request::Version));
    }

    #[test]
    fn an_unknown_option_is_told_the_nearest() {
        assert_eq!(mistakes("--confg plan.json"), ["unknown option '--confg', did you mean '--config'?"]);
        assert_eq!(mistakes("--confg=plan.json"), ["unknown option '--confg', did you mean '--config'?"]);
        assert_eq!(mistakes("-c - --dryrun"), ["unknown option '--dryrun', did you mean '--dry-run'?"]);
        assert_eq!(mistakes("-c - --frobnicate"), ["unknown option '--frobnicate' (see zen --help)"]);
        assert_eq!(mistakes("-c - --frobnicate=1"), ["unknown option '--frobnicate' (see zen --help)"]);
        assert_eq!(mistakes("-c - -qx"), ["unknown option '-x' (see zen --help)"]);
        assert_eq!(mistakes("-c - -5"), ["unknown option '-5' (see zen --help)"]);
    }

    #[test]
    fn a_missing_value_is_named() {
        assert_eq!(mistakes("--config"), ["--config: FILE is missing"]);
        assert_eq!(mistakes("--config --dry-run"), ["--config: FILE is missing"]);
        assert_eq!(mistakes("-c -q"), ["--config: FILE is missing"]);
        assert_eq!(mistakes("-c - --timeout -- "), ["--timeout: SECONDS is missing"]);
    }

    #[test]
    fn an_invalid_value_is_told_what_was_expected() {
        assert_eq!(mistakes("-c - --startup-delay abc"), ["--startup-delay: 'abc' is not a number of seconds"]);
        assert_eq!(mistakes("-c - --startup-delay -1"), ["--startup-delay: '-1' is below 0"]);
        assert_eq!(mistakes("-c - --max-parallel 0"), ["--max-parallel: '0' is not between 1 and 1000000"]);
        assert_eq!(mistakes("-c - --log-level loud"), ["--log-level: 'loud' is none of silent, concise, detailed"]);
        assert_eq!(mistakes("--config="), ["--config: the path is empty"]);
    }

    #[test]
    fn a_switch_takes_no_value() {
        assert_eq!(mistakes("-c - --dry-run=yes"), ["--dry-run takes no value, but has 'yes'"]);
        assert_eq!(mistakes("-c - -q=yes"), ["-q takes no value, but has 'yes'"]);
    }

    #[test]
    fn a_stray_argument_is_told_where_a_config_goes() {
        let message = "unexpected argument 'plan.json': a config is given with --config FILE";
        assert_eq!(mistakes("plan.json"), [message]);
        assert_eq!(mistakes("-c - -- plan.json"), [message]);
        assert_eq!(mistakes("-c - -- --help").len(), 1);
    }

    #[test]
    fn without_a_config_there_is_nothing_to_run() {
        assert_eq!(mistakes(""), ["nothing to run: a config is given with --config FILE (see zen --help)"]);
        assert_eq!(mistakes("--dry-run --").len(), 1);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let line = "--confg a.json --dry-run=1 --timeout 0 b.json --grace nan --max-line-length 19 --log-dir";
        let expected = [
            "unknown option '--confg', did you mean '--config'?",
            "--dry-run takes no value, but has '1'",
            "--timeout: '0' is not above 0",
            "unexpected argument 'b.json': a config is given with --config FILE",
            "--grace: 'nan' is not a number of seconds",
            "--max-line-length: '19' is not between 20 and 1000000",
            "--log-dir: DIR is missing",
        ];
        assert_eq!(mistakes(line), expected);
    }

    #[test]
    fn a_message_is_harmless_whatever_the_arguments_are() {
        let mistakes = parse(["--\u{1b}[2Jx", "a\nb\u{202e}"].into_iter().map(OsString::from)).unwrap_err();
        assert_eq!(mistakes[0], "unknown option '--x' (see zen --help)");
        assert_eq!(mistakes[1], "unexpected argument 'a b': a config is given with --config FILE");
    }

    proptest! {
        #[test]
        fn no_command_line_is_too_strange(
            arguments in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..8),
                "--?[a-z-]{0,8}=?[ -~]{0,3}".prop_map(String::into_bytes),
                prop::sample::select(FLAGS).prop_map(|flag| format!("--{}", flag.long).into_bytes()),
            ], 0..6)
        ) {
            if let Err(mistakes) = parse(arguments.into_iter().map(OsString::from_vec)) {
                prop_assert!(!mistakes.is_empty());
                prop_assert!(mistakes.iter().all(|mistake| !mistake.chars().any(char::is_control)));
            }
        }
    }
}
