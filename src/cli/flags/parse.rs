//! Parses a command line by the table of flags, and collects every mistake in it. The syntax of flags is that of
//! lexopt. Only `--config` is treated by name, because a run needs it or a command.

use super::values::{filled, quoted};
use super::{FLAGS, Flag, FlagKind, Options, Query, Section, environment};
use crate::base::suggest::closest_match;
use crate::base::text::quote_input;
use lexopt::{Arg, Parser};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The request of a command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A run (or, with `dry_run`, its plan).
    Run(Box<Options>),
    /// A query, about the workspace and the claude of these options.
    Answer(Query, Box<Options>),
    /// The text of [`help`](super::help()).
    Help,
    /// The version.
    Version,
}

/// An argument, classified by the table.
enum Argument {
    Flag(&'static Flag),
    Unknown { spelled: String, meant: Option<&'static Flag> },
    Ambiguous { spelled: String, may_be: Vec<&'static Flag> },
    Positional(OsString),
    Apex,
}

/// Parses the arguments of a command line, without the program's name, and the variables of the environment. `--help`
/// and `--version` take precedence over any mistake.
///
/// # Errors
///
/// Every mistake of the command line, one line each, in its order.
pub fn parse(
    arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Request, Vec<String>> {
    let mut parser = Parser::from_args(arguments);
    let (mut options, mut mistakes) = environment::options(&variable);
    let mut of_a_command = Vec::new();
    let mut positionals = 0;
    while let Some(argument) = next_argument(&mut parser).transpose() {
        let outcome = match argument {
            Ok(Argument::Flag(Flag { effect: FlagKind::Special(request), .. })) => return Ok(request()),
            Ok(Argument::Flag(flag)) => {
                of_a_command.extend(Some(flag).filter(|flag| flag.section == Section::Command));
                apply(flag, &mut parser, &mut options)
            }
            Ok(Argument::Unknown { spelled, meant }) => {
                // The value of a misspelled flag is skipped, or it would be reported as a second mistake.
                let _value =
                    if meant.is_some_and(Flag::takes_value) { value(&mut parser) } else { parser.optional_value() };
                Err(unknown(&spelled, meant))
            }
            Ok(Argument::Ambiguous { spelled, may_be }) => {
                let _value = if may_be.iter().all(|flag| flag.takes_value()) {
                    value(&mut parser)
                } else {
                    parser.optional_value()
                };
                let names: Vec<_> = may_be.iter().map(|flag| format!("--{}", flag.long)).collect();
                Err(format!("{} may be {}: write it out", quoted(OsStr::new(&spelled)), names.join(" or ")))
            }
            Ok(Argument::Positional(argument)) => {
                positionals += 1;
                command(&argument, positionals, &mut options)
            }
            Ok(Argument::Apex) => return Err(vec![NO_APEX.to_owned()]),
            Err(mistake) => Err(mistake),
        };
        mistakes.extend(outcome.err());
    }
    if positionals == 0 {
        mistakes.extend(of_a_command.into_iter().map(requires_command));
    }
    if options.config.is_none()
        && options.single_instance().is_none()
        && options.question.is_none()
        && mistakes.is_empty()
    {
        mistakes.push(
            "nothing to run: give a config with --config FILE, or one command, such as \"/review src\" (see zen --help)"
                .to_owned(),
        );
    }
    if let Some(home) = variable("HOME").filter(|home| !home.is_empty()) {
        options = options.at_home(Path::new(&home));
    }
    match options.question.take() {
        _ if !mistakes.is_empty() => Err(mistakes),
        Some(question) => Ok(Request::Answer(question, Box::new(options))),
        None => Ok(Request::Run(Box::new(options))),
    }
}

/// Message for scripts written for netra-zen that pass `--apex`.
const NO_APEX: &str = "--apex is not there: it starts an agent of the maker of netra-zen, which zen has no part of";

fn next_argument(parser: &mut Parser) -> Result<Option<Argument>, String> {
    let argument = match parser.next().map_err(|error| unexpected_value(&error))? {
        None => return Ok(None),
        Some(Arg::Long("apex") | Arg::Short('a')) => Argument::Apex,
        Some(Arg::Long(name)) => match matching_flags(name)[..] {
            [flag] => Argument::Flag(flag),
            [] => Argument::Unknown { spelled: format!("--{name}"), meant: suggestion(name) },
            ref several => Argument::Ambiguous { spelled: format!("--{name}"), may_be: several.to_vec() },
        },
        Some(Arg::Short(letter)) => match FLAGS.iter().find(|flag| flag.short == Some(letter)) {
            Some(flag) => Argument::Flag(flag),
            None => Argument::Unknown { spelled: format!("-{letter}"), meant: None },
        },
        Some(Arg::Value(argument)) => Argument::Positional(argument),
    };
    Ok(Some(argument))
}

/// Returns the flag of this name, else those with this prefix, which netra-zen accepted too.
fn matching_flags(name: &str) -> Vec<&'static Flag> {
    match FLAGS.iter().find(|flag| flag.long == name) {
        Some(flag) => vec![flag],
        None if name.is_empty() => Vec::new(),
        None => FLAGS.iter().filter(|flag| flag.long.starts_with(name)).collect(),
    }
}

/// Sets the single command from a positional argument. As in a config, it is a prompt if it has no leading slash.
fn command(argument: &OsStr, position: usize, options: &mut Options) -> Result<(), String> {
    let is_config = argument.to_string_lossy().ends_with(".json") && !argument.to_string_lossy().contains(' ');
    if is_config {
        return Err(format!("unexpected argument {}: a config is given with --config FILE", quoted(argument)));
    }
    if position > 1 {
        return Err(format!(
            "unexpected argument {}: there is one command, and if it has several words, it stands in quotes: \"/review src\"",
            quoted(argument)
        ));
    }
    let text = filled(argument).map_err(|what| format!("the command: {what}"))?;
    // Prevents `zen help` from starting an agent that costs money.
    if !text.starts_with('/') && !text.trim().contains(char::is_whitespace) {
        return Err(format!(
            "unexpected argument {0}: a command is called as \"/{1}\", a text has several words, a config is given with \
             --config FILE (see zen --help)",
            quoted(argument),
            quote_input(text.trim())
        ));
    }
    if text.starts_with('/') {
        options.instance.command = Some(text)
    } else {
        options.instance.prompt = Some(text)
    }
    Ok(())
}

fn requires_command(flag: &Flag) -> String {
    format!(
        "--{} says something of a command on the command line, and there is none: a config says it itself",
        flag.long
    )
}

fn apply(flag: &Flag, parser: &mut Parser, options: &mut Options) -> Result<(), String> {
    match flag.effect {
        FlagKind::Switch(set) => set(options),
        FlagKind::Value { name, set, .. } => {
            let value = value(parser).ok_or_else(|| format!("--{}: {name} is missing", flag.long))?;
            set(options, &value).map_err(|what| format!("--{}: {what}", flag.long))?;
        }
        FlagKind::Special(_) => {}
    }
    Ok(())
}

/// Returns the value of the flag just parsed. The next argument is no value if it is a flag (`--config --dry-run`); a
/// value after `=` may be anything.
fn value(parser: &mut Parser) -> Option<OsString> {
    match parser.try_raw_args() {
        Some(mut rest) => rest.next_if(|next| !is_flag(next)),
        None => parser.optional_value(),
    }
}

/// True if the argument is a flag. `-` and negative numbers are values, although they begin with a dash.
fn is_flag(argument: &OsStr) -> bool {
    let argument = argument.to_string_lossy();
    let is_short = |flag: &Flag| flag.short.is_some_and(|letter| *argument == format!("-{letter}"));
    argument.starts_with("--") || FLAGS.iter().any(is_short)
}

fn suggestion(name: &str) -> Option<&'static Flag> {
    let long = closest_match(name, FLAGS.iter().map(|flag| flag.long))?;
    FLAGS.iter().find(|flag| flag.long == long)
}

fn unknown(spelled: &str, meant: Option<&Flag>) -> String {
    let unknown = format!("unknown option {}", quoted(OsStr::new(spelled)));
    match meant {
        Some(flag) => format!("{unknown}, did you mean '--{}'?", flag.long),
        None => format!("{unknown} (see zen --help)"),
    }
}

fn unexpected_value(error: &lexopt::Error) -> String {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => {
            format!("{option} takes no value, but has {}", quoted(value))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigSource, LockPolicy, LogDir, LogLevel, OnSuccess};
    use super::*;
    use crate::base::start_at::StartAt;
    use crate::config::{BudgetConfig, BudgetType, Enforcement, InstanceConfig};
    use crate::engine::usage_limit::UsageLimitPolicy;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;
    use std::time::Duration;

    fn request(line: &str) -> Result<Request, Vec<String>> {
        parse(line.split_whitespace().map(OsString::from), |_| None)
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
            "-c - --workspace /w --claude /bin/claude --dry-run --start-at 14:30 --startup-delay 0.5 --max-parallel 3 --timeout 10 \
             --idle-timeout 2.5 --startup-timeout 60 --grace 0 --on-limit wait --limit-wait-max 90 --halt now,fail=3 \
             --status-report-interval 3 --max-console-lines 0 --max-line-length 20 \
             --log-level silent --on-success silent --output-format json --log-dir /logs --lock /lock \
             --overall-token-budget 9000 --overall-cost-budget 1.5 --command-budget a=5 \
             --command-budget /b=6 --command-cost-budget /a=0.5 --budget-enforcement-mode warn \
             --budget-parameter-type mixed --disable-budget-visuals",
        );
        let expected = Options {
            config: Some(ConfigSource::Stdin),
            instance: InstanceConfig { output_format: Some("json".to_owned()), ..InstanceConfig::default() },
            workspace: Some(PathBuf::from("/w")),
            claude: Some(PathBuf::from("/bin/claude")),
            dry_run: true,
            start_at: Some(StartAt::Clock { hour: 14, minute: 30 }),
            startup_delay: Duration::from_millis(500),
            max_parallel: Some(3),
            timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_millis(2500)),
            startup_timeout: Duration::from_secs(60),
            grace: Duration::ZERO,
            on_limit: UsageLimitPolicy::Wait,
            limit_wait_max: Duration::from_secs(90),
            halt: crate::config::halt::Halt::parse("now,fail=3").ok(),
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
            on_success: OnSuccess::Silent,
            logs: LogDir::Path(PathBuf::from("/logs")),
            lock: LockPolicy::File(PathBuf::from("/lock")),
            question: None,
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn of_contradicting_flags_the_last_counts() {
        assert_eq!(options("-c - -q -v").log_level, LogLevel::Detailed);
        assert_eq!((options("-c - -n -j 3").dry_run, options("-c - -j3").max_parallel), (true, Some(3)));
        assert_eq!(options("-c - -vq").log_level, LogLevel::Silent);
        assert_eq!(options("-c - --quiet --log-level concise").log_level, LogLevel::Concise);
        assert_eq!(options("-c - --no-logs --log-dir d").logs, LogDir::Path(PathBuf::from("d")));
        assert_eq!(options("-c - --log-dir d --no-logs").logs, LogDir::Disabled);
        assert_eq!(options("-c - --lock l --no-lock").lock, LockPolicy::Disabled);
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
    fn a_question_takes_no_config_and_the_last_one_counts() {
        let question = |line: &str| match request(line) {
            Ok(Request::Answer(question, options)) => (question, *options),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(question("--list-commands"), (Query::Commands, Options::default()));
        assert_eq!(question("--print-schema -c - --list-examples").0, Query::Examples);
        assert_eq!(question("--inspect-command /a").0, Query::Command("/a".to_owned()));
        let (Query::Example(example), _) = question("--generate-example code_review") else { panic!("an example") };
        assert_eq!(example.name, "code_review");
        let options = question("--show-prompt-template --claude /c -q").1;
        assert_eq!((options.claude, options.log_level), (Some(PathBuf::from("/c")), LogLevel::Silent));
    }

    #[test]
    fn what_a_question_is_about_must_be_there() {
        let told = mistakes("--generate-example code-review");
        let nearest =
            "--generate-example: 'code-review' is no example, did you mean 'code_review'? There are: data_analysis, ";
        assert!(told.len() == 1 && told[0].starts_with(nearest), "{told:?}");
        assert_eq!(mistakes("--inspect-command"), ["--inspect-command: /NAME is missing"]);
        assert_eq!(mistakes("--list-commands=all"), ["--list-commands takes no value, but has 'all'"]);
        assert_eq!(mistakes("--print-schema --bogus"), ["unknown option '--bogus' (see zen --help)"]);
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
        assert_eq!(mistakes("-c - --start-at 25:00"), ["--start-at: '25:00' has an hour above 23"]);
        assert_eq!(mistakes("--config="), ["--config: the path is empty"]);
    }

    #[test]
    fn a_switch_takes_no_value() {
        assert_eq!(mistakes("-c - --dry-run=yes"), ["--dry-run takes no value, but has 'yes'"]);
        assert_eq!(mistakes("-c - -q=yes"), ["-q takes no value, but has 'yes'"]);
    }

    #[test]
    fn a_command_stands_alone() {
        let of = |arguments: &[&str]| parse(arguments.iter().map(OsString::from), |_| None);
        let instance = |arguments: &[&str]| match of(arguments) {
            Ok(Request::Run(options)) => options.instance,
            other => panic!("{arguments:?}: {other:?}"),
        };
        assert_eq!(instance(&["/analyze src"]).command.as_deref(), Some("/analyze src"));
        assert_eq!(instance(&["What is new?"]).prompt.as_deref(), Some("What is new?"));
        assert_eq!(instance(&["--", "--what is this?"]).prompt.as_deref(), Some("--what is this?"));
        let all = instance(&[
            "/analyze",
            "--instance-name=n",
            "--instance-description=d",
            "--session-id",
            "s",
            "--clear-history",
            "--compact-history",
        ]);
        let expected = InstanceConfig {
            command: Some("/analyze".to_owned()),
            name: Some("n".to_owned()),
            description: Some("d".to_owned()),
            session_id: Some("s".to_owned()),
            clear_history: Some(true),
            compact_history: Some(true),
            ..InstanceConfig::default()
        };
        assert_eq!(all, expected);
        assert_eq!(of(&["", "-c", "-"]), Err(vec!["the command: the text is empty".to_owned()]));
    }

    #[test]
    fn a_command_of_several_words_is_told_to_stand_in_quotes() {
        let message = "unexpected argument 'src': there is one command, and if it has several words, it stands in quotes: \
            \"/review src\"";
        assert_eq!(mistakes("/analyze src"), [message]);
        assert_eq!(mistakes("/analyze -q src"), [message]);
    }

    #[test]
    fn what_says_something_of_a_command_needs_one() {
        let what = "says something of a command on the command line, and there is none: a config says it itself";
        assert_eq!(
            mistakes("-c - --session-id s --clear-history"),
            [format!("--session-id {what}"), format!("--clear-history {what}")]
        );
        assert_eq!(
            options("-c - --output-format stream-json").single_instance(),
            None,
            "older scripts say it with a config"
        );
    }

    #[test]
    fn a_bare_word_is_no_command() {
        for word in ["help", "version", "nightly", "-"] {
            let mistakes = mistakes(word);
            assert!(
                mistakes[0].starts_with(&format!("unexpected argument '{word}': a command is called as ")),
                "{word}"
            );
        }
        let sentence = parse(["sum up".into()].into_iter(), |_| None).expect("a text");
        assert!(matches!(sentence, Request::Run(options) if options.instance.prompt.as_deref() == Some("sum up")));
    }

    #[test]
    fn a_config_in_place_of_a_command_is_told_where_it_goes() {
        let message = "unexpected argument 'plan.json': a config is given with --config FILE";
        assert_eq!(mistakes("plan.json"), [message]);
        assert_eq!(mistakes("-c - -- plan.json"), [message]);
        assert_eq!(mistakes("/analyze plan.json"), [message]);
    }

    #[test]
    fn the_beginning_of_a_name_is_enough_where_no_other_begins_so() {
        assert_eq!(options("-c - --work /w --max-p=3").workspace, Some(PathBuf::from("/w")));
        assert_eq!(options("-c - --time 5").timeout, Duration::from_secs(5));
        assert_eq!(
            mistakes("-c - --command 5"),
            ["'--command' may be --command-budget or --command-cost-budget: write it out"]
        );
        assert_eq!(mistakes("-c - --log=x"), ["'--log' may be --log-level or --log-dir: write it out"]);
        assert_eq!(mistakes("-c - --=x"), ["unknown option '--' (see zen --help)"]);
    }

    #[test]
    fn a_flag_beats_the_environment() {
        let variable = |name: &str| {
            let (_, value) = [("ZEN_CONFIG", "a.json"), ("ZEN_DEBUG", "1")].into_iter().find(|(of, _)| *of == name)?;
            Some(OsString::from(value))
        };
        let options = |line: &str| match parse(line.split_whitespace().map(OsString::from), variable) {
            Ok(Request::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        };
        let file = |name| Some(ConfigSource::File(PathBuf::from(name)));
        assert_eq!((options("").config, options("").log_level), (file("a.json"), LogLevel::Detailed));
        assert_eq!((options("-c b.json -q").config, options("-q").log_level), (file("b.json"), LogLevel::Silent));
        assert_eq!(options("/analyze").single_instance().and_then(|one| one.command.as_deref()), Some("/analyze"));
    }

    #[test]
    fn a_tilde_is_home_in_every_path() {
        let line = "-c ~/c.json --workspace=~ --claude ~/bin/claude --log-dir=~/logs --lock=~/lock";
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/me"));
        let options = match parse(line.split_whitespace().map(OsString::from), home) {
            Ok(Request::Run(options)) => *options,
            other => panic!("{other:?}"),
        };
        let at_home = |rest: &str| Path::new("/home/me").join(rest);
        assert_eq!(options.config, Some(ConfigSource::File(at_home("c.json"))));
        assert_eq!(options.workspace, Some(at_home("")));
        assert_eq!(options.claude, Some(at_home("bin/claude")));
        assert_eq!((options.logs, options.lock), (LogDir::Path(at_home("logs")), LockPolicy::File(at_home("lock"))));
    }

    #[test]
    fn apex_is_refused_whatever_comes_with_it() {
        for line in ["--apex", "-a --message hello", "-c plan.json --apex"] {
            assert_eq!(mistakes(line), [NO_APEX], "{line}");
        }
    }

    #[test]
    fn without_a_config_or_a_command_there_is_nothing_to_run() {
        let message = "nothing to run: give a config with --config FILE, or one command, such as \"/review src\" (see zen --help)";
        assert_eq!(mistakes(""), [message]);
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
        let arguments = ["--\u{1b}[2Jx", "/a", "a\nb\u{202e}"];
        let mistakes = parse(arguments.into_iter().map(OsString::from), |_| None).unwrap_err();
        assert_eq!(mistakes[0], r"unknown option '--\u001b[2Jx' (see zen --help)");
        assert!(mistakes[1].starts_with(r"unexpected argument 'a\nb\u202e': "), "{mistakes:?}");
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
            if let Err(mistakes) = parse(arguments.into_iter().map(OsString::from_vec), |_| None) {
                prop_assert!(!mistakes.is_empty());
                prop_assert!(mistakes.iter().all(|mistake| !mistake.chars().any(char::is_control)));
            }
        }
    }
}
