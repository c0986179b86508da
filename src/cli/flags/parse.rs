//! Parses a command line by the table of flags, and collects every mistake in it. The syntax of flags is that of
//! lexopt. Only `--config` is treated by name, because a run needs it or a command.

use super::error::UsageError;
use super::values::filled;
use super::{FLAGS, Flag, FlagKind, Options, Query, Section, environment};
use crate::base::suggest::closest_match;
use lexopt::{Arg, Parser};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The request of a command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A run (or, with `dry_run`, its plan).
    Run(Box<Options>),
    /// A query, about the workspace and the claude of these options.
    Query(Query, Box<Options>),
    /// The text of [`help`](super::help()).
    Help,
    /// The version.
    Version,
}

/// An argument, classified by the table.
enum Argument {
    Flag(&'static Flag),
    Unknown { given: String, suggestion: Option<&'static Flag> },
    Ambiguous { given: String, candidates: Vec<&'static Flag> },
    Positional(OsString),
    Apex,
}

/// Parses the arguments of a command line, without the program's name, and the variables of the environment. `--help`
/// and `--version` take precedence over any mistake.
///
/// # Errors
///
/// Every mistake of the command line, in its order.
pub fn parse(
    arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Request, Vec<UsageError>> {
    let (options, errors) = environment::options(&variable);
    let mut line =
        CommandLine { parser: Parser::from_args(arguments), options, command_flags: Vec::new(), positionals: 0 };
    let errors = match line.parse_arguments(errors) {
        Outcome::Request(request) => return Ok(request),
        Outcome::Apex => return Err(vec![UsageError::Apex]),
        Outcome::End(errors) => errors,
    };
    let mut options = line.options;
    if !errors.is_empty() {
        return Err(errors);
    }
    if options.config.is_none() && options.single_instance().is_none() && options.query.is_none() {
        return Err(vec![UsageError::NothingToRun]);
    }
    let home = variable("HOME").unwrap_or_default();
    if !home.is_empty() {
        options = options.at_home(Path::new(&home));
    }
    match options.query.take() {
        Some(query) => Ok(Request::Query(query, Box::new(options))),
        None => Ok(Request::Run(Box::new(options))),
    }
}

/// A command line that is being parsed.
struct CommandLine {
    parser: Parser,
    options: Options,
    /// Flags that require a command.
    command_flags: Vec<&'static Flag>,
    /// Number of positional arguments.
    positionals: usize,
}

/// Result of parsing all arguments.
enum Outcome {
    /// `--help` or `--version`.
    Request(Request),
    /// `--apex`.
    Apex,
    /// The end of the line, with all mistakes.
    End(Vec<UsageError>),
}

impl CommandLine {
    /// Parses arguments up to the end, or up to a flag that makes all others irrelevant.
    fn parse_arguments(&mut self, mut errors: Vec<UsageError>) -> Outcome {
        loop {
            let applied = match self.next_argument() {
                Ok(None) => break,
                Ok(Some(Argument::Flag(Flag { kind: FlagKind::Special(request), .. }))) => {
                    return Outcome::Request(request());
                }
                Ok(Some(Argument::Apex)) => return Outcome::Apex,
                Ok(Some(argument)) => self.apply(argument),
                Err(error) => Err(error),
            };
            errors.extend(applied.err());
        }
        if self.positionals == 0 {
            for flag in &self.command_flags {
                errors.push(UsageError::RequiresCommand { option: flag.long });
            }
        }
        Outcome::End(errors)
    }

    fn next_argument(&mut self) -> Result<Option<Argument>, UsageError> {
        let argument = match self.parser.next().map_err(syntax_error)? {
            None => return Ok(None),
            Some(Arg::Long("apex") | Arg::Short('a')) => Argument::Apex,
            Some(Arg::Long(name)) => long(name),
            Some(Arg::Short(letter)) => short(letter),
            Some(Arg::Value(argument)) => Argument::Positional(argument),
        };
        Ok(Some(argument))
    }

    fn apply(&mut self, argument: Argument) -> Result<(), UsageError> {
        match argument {
            Argument::Flag(flag) => self.apply_flag(flag),
            Argument::Unknown { given, suggestion } => {
                self.skip_value(suggestion.is_some_and(Flag::takes_value));
                Err(UsageError::UnknownOption { given, suggestion: suggestion.map(|flag| flag.long) })
            }
            Argument::Ambiguous { given, candidates } => {
                self.skip_value(candidates.iter().copied().all(Flag::takes_value));
                let candidates = candidates.into_iter().map(|flag| flag.long).collect();
                Err(UsageError::AmbiguousOption { given, candidates })
            }
            Argument::Positional(argument) => {
                self.positionals += 1;
                self.set_command(&argument)
            }
            Argument::Apex => Err(UsageError::Apex),
        }
    }

    fn apply_flag(&mut self, flag: &'static Flag) -> Result<(), UsageError> {
        let option = flag.long;
        if flag.section == Section::Command {
            self.command_flags.push(flag);
        }
        match flag.kind {
            FlagKind::Switch(set) => set(&mut self.options),
            FlagKind::Value { name: placeholder, set, .. } => {
                let value = self.value().ok_or(UsageError::MissingValue { option, placeholder })?;
                set(&mut self.options, &value).map_err(|error| UsageError::InvalidValue { option, error })?;
            }
            FlagKind::Special(_) => {}
        }
        Ok(())
    }

    /// Returns the value of the flag just parsed. The next argument is no value if it is a flag (`--config --dry-run`);
    /// a value after `=` may be anything.
    fn value(&mut self) -> Option<OsString> {
        if let Some(mut rest) = self.parser.try_raw_args() {
            return rest.next_if(|next| !is_flag(next));
        }
        self.parser.optional_value()
    }

    /// Skips the value of an unknown flag, which would be reported as a second mistake.
    fn skip_value(&mut self, takes_value: bool) {
        let _value = if takes_value { self.value() } else { self.parser.optional_value() };
    }

    /// Sets the single command from a positional argument. As in a config, it is a prompt if it has no leading slash.
    fn set_command(&mut self, argument: &OsStr) -> Result<(), UsageError> {
        let given = argument.to_string_lossy().into_owned();
        if given.ends_with(".json") && !given.contains(' ') {
            return Err(UsageError::ConfigArgument(given));
        }
        if self.positionals > 1 {
            return Err(UsageError::SecondArgument(given));
        }
        let text = filled(argument).map_err(UsageError::InvalidCommand)?;
        if text.starts_with('/') {
            self.options.instance.command = Some(text);
        } else if text.trim().contains(char::is_whitespace) {
            self.options.instance.prompt = Some(text);
        } else {
            return Err(UsageError::BareWord(given));
        }
        Ok(())
    }
}

fn long(name: &str) -> Argument {
    let given = format!("--{name}");
    match matching_flags(name)[..] {
        [flag] => Argument::Flag(flag),
        [] => Argument::Unknown { given, suggestion: suggestion(name) },
        ref several => Argument::Ambiguous { given, candidates: several.to_vec() },
    }
}

fn short(letter: char) -> Argument {
    match FLAGS.iter().find(|flag| flag.short == Some(letter)) {
        Some(flag) => Argument::Flag(flag),
        None => Argument::Unknown { given: format!("-{letter}"), suggestion: None },
    }
}

/// Returns the flag of this name, else those with this prefix, which netra-zen accepted too.
fn matching_flags(name: &str) -> Vec<&'static Flag> {
    match find(name) {
        Some(flag) => vec![flag],
        None if name.is_empty() => Vec::new(),
        None => FLAGS.iter().filter(|flag| flag.long.starts_with(name)).collect(),
    }
}

fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.long == name)
}

fn suggestion(name: &str) -> Option<&'static Flag> {
    find(closest_match(name, FLAGS.iter().map(|flag| flag.long))?)
}

/// True if the argument is a flag. `-` and negative numbers are values, although they begin with a dash.
fn is_flag(argument: &OsStr) -> bool {
    let argument = argument.to_string_lossy();
    let letter = argument.strip_prefix('-').and_then(|letter| letter.parse::<char>().ok());
    argument.starts_with("--") || letter.is_some_and(|letter| matches!(short(letter), Argument::Flag(_)))
}

fn syntax_error(error: lexopt::Error) -> UsageError {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => {
            UsageError::UnexpectedValue { option, value: value.to_string_lossy().into_owned() }
        }
        other => UsageError::Syntax(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::ValueError;
    use super::super::{ConfigSource, LockPolicy, LogDir};
    use super::*;
    use crate::base::golden::assert_golden;
    use crate::base::start_at::StartAt;
    use crate::config::{BudgetConfig, BudgetType, Enforcement, InstanceConfig};
    use crate::engine::usage_limit::UsageLimitPolicy;
    use crate::report::verbosity::{LogLevel, OnSuccess};
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;
    use std::time::Duration;

    fn request(line: &str) -> Result<Request, Vec<UsageError>> {
        parse(line.split_whitespace().map(OsString::from), |_| None)
    }

    fn options(line: &str) -> Options {
        match request(line) {
            Ok(Request::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn errors(line: &str) -> Vec<UsageError> {
        request(line).unwrap_err()
    }

    #[test]
    fn config_is_enough_and_dash_is_standard_input() {
        let config = Some(ConfigSource::File(PathBuf::from("plan.json")));
        for line in ["--config plan.json", "--config=plan.json", "-c plan.json", "-cplan.json", "-c=plan.json"] {
            assert_eq!(options(line), Options { config: config.clone(), ..Options::default() }, "{line}");
        }
        assert_eq!(options("-c -").config, Some(ConfigSource::Stdin));
    }

    #[test]
    fn each_option_sets_its_field() {
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
            query: None,
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn last_of_contradicting_flags_counts() {
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
    fn help_and_version_take_precedence_over_mistakes() {
        for line in ["-h", "--help", "--bogus plan.json --help", "--config --help", "--timeout abc -qh"] {
            assert_eq!(request(line), Ok(Request::Help), "{line}");
        }
        assert_eq!(request("-V"), Ok(Request::Version));
        assert_eq!(request("--version --help"), Ok(Request::Version));
    }

    #[test]
    fn query_takes_no_config_and_the_last_one_counts() {
        let query = |line: &str| match request(line) {
            Ok(Request::Query(query, options)) => (query, *options),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(query("--list-commands"), (Query::Commands, Options::default()));
        assert_eq!(query("--print-schema -c - --list-examples").0, Query::Examples);
        assert_eq!(query("--inspect-command /a").0, Query::Command("/a".to_owned()));
        let (Query::Example(example), _) = query("--generate-example code_review") else { panic!("an example") };
        assert_eq!(example.name, "code_review");
        let options = query("--show-prompt-template --claude /c -q").1;
        assert_eq!((options.claude, options.log_level), (Some(PathBuf::from("/c")), LogLevel::Silent));
    }

    /// Command lines with mistakes, by the golden file that has their messages.
    const MISTAKEN: &[&str] = &[
        "",
        "--confg plan.json",
        "--confg=plan.json",
        "-c - --dryrun",
        "-c - --frobnicate",
        "-c - --frobnicate=1",
        "-c - -qx",
        "-c - -5",
        "-c - --=x",
        "--config",
        "--config --dry-run",
        "-c -q",
        "-c - --timeout -- ",
        "--config=",
        "-c - --startup-delay abc",
        "-c - --startup-delay -1",
        "-c - --startup-delay 31536001",
        "-c - --timeout 0",
        "-c - --max-parallel 0",
        "-c - --max-parallel 2.5",
        "-c - --log-level loud",
        "-c - --start-at 25:00",
        "-c - --halt never",
        "-c - --overall-token-budget 1e3",
        "-c - --overall-cost-budget $0",
        "-c - --command-budget analyze",
        "-c - --command-budget /a=x",
        "-c - --budget-enforcement-mode stop",
        "-c - --budget-parameter-type usd",
        "-c - --output-format xml",
        "-c - --dry-run=yes",
        "-c - -q=yes",
        "-c - --command 5",
        "-c - --log=x",
        "-c - --session-id s --clear-history",
        "--generate-example code-review",
        "--generate-example poetry",
        "--inspect-command",
        "--list-commands=all",
        "--print-schema --bogus",
        "/analyze src",
        "/analyze plan.json",
        "plan.json",
        "help",
        "--apex",
        "--confg a.json --dry-run=1 --timeout 0 b.json --grace nan --max-line-length 19 --log-dir",
    ];

    #[test]
    fn messages_about_the_command_line() {
        let mut text = String::new();
        for line in MISTAKEN {
            text += &format!("$ zen {line}\n");
            for error in errors(line) {
                text += &format!("zen: {error}\n");
            }
            text.push('\n');
        }
        assert_golden("usage_errors.txt", &text);
    }

    #[test]
    fn unknown_option_has_a_suggestion_if_one_is_close() {
        let unknown = |given: &str, suggestion| vec![UsageError::UnknownOption { given: given.to_owned(), suggestion }];
        assert_eq!(errors("--confg=plan.json"), unknown("--confg", Some("config")), "its value is skipped");
        assert_eq!(errors("-c - --frobnicate=1"), unknown("--frobnicate", None));
        assert_eq!(errors("-c - -qx"), unknown("-x", None));
        assert_eq!(errors("-c - -5"), unknown("-5", None));
    }

    #[test]
    fn next_flag_is_no_value() {
        let missing = vec![UsageError::MissingValue { option: "config", placeholder: "FILE" }];
        for line in ["--config", "--config --dry-run", "-c -q"] {
            assert_eq!(errors(line), missing, "{line}");
        }
    }

    #[test]
    fn argument_is_the_only_command() {
        let parsed = |arguments: &[&str]| parse(arguments.iter().map(OsString::from), |_| None);
        let instance = |arguments: &[&str]| match parsed(arguments) {
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
        assert_eq!(parsed(&["", "-c", "-"]), Err(vec![UsageError::InvalidCommand(ValueError::Empty)]));
    }

    #[test]
    fn command_of_several_words_must_be_quoted() {
        for line in ["/analyze src", "/analyze -q src"] {
            assert_eq!(errors(line), [UsageError::SecondArgument("src".to_owned())], "{line}");
        }
    }

    #[test]
    fn option_of_a_command_requires_one() {
        let requires = |option| UsageError::RequiresCommand { option };
        assert_eq!(errors("-c - --session-id s --clear-history"), [requires("session-id"), requires("clear-history")]);
        assert_eq!(options("-c - --output-format stream-json").single_instance(), None, "older scripts pass it");
    }

    #[test]
    fn single_word_is_no_command() {
        for word in ["help", "version", "nightly", "-"] {
            assert_eq!(errors(word), [UsageError::BareWord(word.to_owned())]);
        }
        let sentence = parse(["sum up".into()].into_iter(), |_| None).expect("a text");
        assert!(matches!(sentence, Request::Run(options) if options.instance.prompt.as_deref() == Some("sum up")));
    }

    #[test]
    fn config_is_no_command() {
        for line in ["plan.json", "-c - -- plan.json", "/analyze plan.json"] {
            assert_eq!(errors(line), [UsageError::ConfigArgument("plan.json".to_owned())], "{line}");
        }
    }

    #[test]
    fn options_may_be_abbreviated_to_a_unique_prefix() {
        assert_eq!(options("-c - --work /w --max-p=3").workspace, Some(PathBuf::from("/w")));
        assert_eq!(options("-c - --time 5").timeout, Duration::from_secs(5));
        let candidates = vec!["command-budget", "command-cost-budget"];
        assert_eq!(
            errors("-c - --command 5"),
            [UsageError::AmbiguousOption { given: "--command".to_owned(), candidates }]
        );
        assert_eq!(errors("-c - --log=x").len(), 1, "its value is skipped");
    }

    #[test]
    fn flag_takes_precedence_over_the_environment() {
        let variable = |name: &str| {
            let (_, value) =
                [("ZEN_CONFIG", "a.json"), ("ZEN_DEBUG", "1")].into_iter().find(|(known, _)| *known == name)?;
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
    fn tilde_is_the_home_directory_in_each_path() {
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
    fn apex_is_the_only_error() {
        for line in ["--apex", "-a --message hello", "-c plan.json --apex"] {
            assert_eq!(errors(line), [UsageError::Apex], "{line}");
        }
    }

    #[test]
    fn without_a_config_or_a_command_there_is_nothing_to_run() {
        for line in ["", "--dry-run --"] {
            assert_eq!(errors(line), [UsageError::NothingToRun], "{line}");
        }
    }

    #[test]
    fn messages_have_no_control_characters() {
        let arguments = ["--\u{1b}[2Jx", "/a", "a\nb\u{202e}"];
        let errors = parse(arguments.into_iter().map(OsString::from), |_| None).unwrap_err();
        assert!(errors[0].to_string().contains(r"'--\u001b[2Jx'"), "{errors:?}");
        assert!(errors[1].to_string().contains(r"'a\nb\u202e'"), "{errors:?}");
        let long = UsageError::BareWord("x".repeat(1000)).to_string();
        assert!(long.len() < 400, "{long}");
    }

    proptest! {
        #[test]
        fn any_command_line_is_parsed_or_rejected_with_printable_messages(
            arguments in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..8),
                "--?[a-z-]{0,8}=?[ -~]{0,3}".prop_map(String::into_bytes),
                prop::sample::select(FLAGS).prop_map(|flag| format!("--{}", flag.long).into_bytes()),
            ], 0..6)
        ) {
            if let Err(errors) = parse(arguments.into_iter().map(OsString::from_vec), |_| None) {
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| !error.to_string().chars().any(char::is_control)));
            }
        }
    }
}
