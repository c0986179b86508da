//! The command line: one table of flags, from which the parser, `--help` and the man page all come. A new flag is one
//! entry here and one field of [`Options`]. Knows what may be asked for; not how it is done, nor what a config says.

mod environment;
mod flag;
mod help;
mod man;
mod options;
mod parse;
mod values;

pub use environment::ENVIRONMENT;
pub use flag::{Flag, FlagKind, Section};
pub use help::help;
pub use man::man;
pub use options::{ConfigSource, LockPolicy, LogDir, Options, Query, expand_tilde};
pub use parse::{Request, parse};

use crate::config::halt::Halt;
use crate::config::{BudgetType, Enforcement, OUTPUT_FORMATS};
use crate::engine::usage_limit::UsageLimitPolicy;
use crate::report::verbosity::{LogLevel, OnSuccess};

/// Every flag, by section, in the order in which they are listed.
pub static FLAGS: &[Flag] = &[
    Flag {
        long: "config",
        short: Some('c'),
        section: Section::Work,
        effect: FlagKind::Value {
            name: "FILE",
            default: None,
            set: |options, value| values::config(value).map(|source| options.config = Some(source)),
        },
        help: "The JSON config to run; - reads it from stdin",
        details: "The config: a JSON file that lists the instances and says what each is to do. \
            `-` reads it from standard input. \
            Every mistake in it is reported, all at once, before anything is launched. \
            With a command on the command line, its `budget`, `pricing` and `defaults` count, and its instances are not run.",
    },
    Flag {
        long: "workspace",
        short: None,
        section: Section::Work,
        effect: FlagKind::Value {
            name: "DIR",
            default: None,
            set: |options, value| values::path(value).map(|dir| options.workspace = Some(dir)),
        },
        help: "Where to work, else the project's root",
        details: "The directory that the instances work in, unless the config gives an instance one of its own. \
            It has to be there and to be readable. \
            Without this option it is the nearest directory, from the current one upwards, that holds `.git` or `.claude`, \
            and where there is none, the current one. \
            A directory above the current one counts only if it, and its `.git` and `.claude`, belong to the user or to root \
            and no other user can write to them. \
            The home directory, what is above it, and the root are never found in this way: a `.claude` there is claude's own.",
    },
    Flag {
        long: "claude",
        short: None,
        section: Section::Work,
        effect: FlagKind::Value {
            name: "PATH",
            default: None,
            set: |options, value| values::path(value).map(|program| options.claude = Some(program)),
        },
        help: "The claude program, else ZEN_CLAUDE, else PATH",
        details: "The claude program to run. \
            Without this option it is the one that the environment variable `ZEN_CLAUDE` names, \
            else the first `claude` in `PATH`.",
    },
    Flag {
        long: "dry-run",
        short: Some('n'),
        section: Section::Work,
        effect: FlagKind::Switch(|options| options.dry_run = true),
        help: "Print the plan and launch nothing",
        details: "Check the config as for a run, print what would be run (each instance's command line and turns, \
            its session, its tools, the budget), and launch nothing. Only where the plan depends on what claude can do is \
            `claude --help` asked for that.",
    },
    Flag {
        long: "instance-name",
        short: None,
        section: Section::Command,
        effect: FlagKind::Value {
            name: "NAME",
            default: None,
            set: |options, value| values::filled(value).map(|name| options.instance.name = Some(name)),
        },
        help: "What reports call it",
        details: "What reports call the command. Without this option it is called by its slash command, or by the beginning of its text. \
            This and the other options of this section say of a command on the command line what the fields of an \
            instance say in a config.",
    },
    Flag {
        long: "instance-description",
        short: None,
        section: Section::Command,
        effect: FlagKind::Value {
            name: "TEXT",
            default: None,
            set: |options, value| values::filled(value).map(|text| options.instance.description = Some(text)),
        },
        help: "A word about it, for reports",
        details: "What `--dry-run` and `report.json` say of the command.",
    },
    Flag {
        long: "session-id",
        short: None,
        section: Section::Command,
        effect: FlagKind::Value {
            name: "NAME",
            default: None,
            set: |options, value| values::filled(value).map(|name| options.instance.session_id = Some(name)),
        },
        help: "The conversation to go on with",
        details: "The conversation that the command goes on with; any name. \
            The next run with this name goes on with it too.",
    },
    Flag {
        long: "clear-history",
        short: None,
        section: Section::Command,
        effect: FlagKind::Switch(|options| options.instance.clear_history = Some(true)),
        help: "Start the conversation afresh",
        details: "Start the conversation afresh, with /clear, before the command.",
    },
    Flag {
        long: "compact-history",
        short: None,
        section: Section::Command,
        effect: FlagKind::Switch(|options| options.instance.compact_history = Some(true)),
        help: "Compact the conversation first",
        details: "Compact the conversation, with /compact, before the command.",
    },
    Flag {
        long: "start-at",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "TIME",
            default: None,
            set: |options, value| values::start_at(value).map(|at| options.start_at = Some(at)),
        },
        help: "2h, 30m, 45s, 14:30, 1am or 10:30pm, else now",
        details: "When to start: after a while (`2h`, `30m`, `45s`, `1h30m`), or when the local clock next shows a time \
            (`14:30`, `1am`, `10:30pm`), so that one of today that has passed is tomorrow's. \
            A time that the clock jumps over in spring is the moment of the jump; one that it shows twice in autumn is the \
            first of the two that is still to come. \
            The config is checked before the wait. \
            The wait ends by the clock, also when that is set or the machine has slept; \
            what is left is said now and then, and at SIGUSR1; a signal that stops a run ends it at once.",
    },
    Flag {
        long: "startup-delay",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "SECONDS",
            default: Some("5"),
            set: |options, value| values::seconds(value).map(|delay| options.startup_delay = delay),
        },
        help: "Time between two launches",
        details: "The least time between one launch and the next. \
            Instances that are started at the same moment race for claude's own files; \
            apart from that they run side by side, and none waits for another to end. \
            Fractions are allowed.",
    },
    Flag {
        long: "max-parallel",
        short: Some('j'),
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "N",
            default: None,
            set: |options, value| values::count(value, 1).map(|max| options.max_parallel = Some(max)),
        },
        help: "Instances that may run at a time, else all",
        details: "How many instances may run at a time. \
            The others wait, in the config's order, until one has ended. \
            Without this option nothing waits.",
    },
    Flag {
        long: "timeout",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "SECONDS",
            default: Some("10000"),
            set: |options, value| values::seconds_above_zero(value).map(|timeout| options.timeout = timeout),
        },
        help: "How long an instance may run",
        details: "How long an instance may run before it is stopped and counts as failed. \
            An instance with a `timeout` of its own in the config keeps that. \
            Fractions are allowed.",
    },
    Flag {
        long: "idle-timeout",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "SECONDS",
            default: None,
            set: |options, value| values::seconds_above_zero(value).map(|timeout| options.idle_timeout = Some(timeout)),
        },
        help: "How long it may be silent, else for ever",
        details: "How long an instance may run without writing anything before it is stopped and counts as failed. \
            A tool that works for long is silent too: leave it the time. \
            An instance with an `idle_timeout` of its own in the config keeps that. \
            Without this option silence stops nothing.",
    },
    Flag {
        long: "startup-timeout",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "SECONDS",
            default: Some("120"),
            set: |options, value| values::seconds_above_zero(value).map(|timeout| options.startup_timeout = timeout),
        },
        help: "Limit the time until claude is ready",
        details: "Stop an instance whose claude has not answered `initialize` within SECONDS after its start; it fails by a \
            timeout. \
            An instance with a `startup_timeout` of its own in the config keeps that.",
    },
    Flag {
        long: "grace",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "SECONDS",
            default: Some("5"),
            set: |options, value| values::seconds(value).map(|grace| options.grace = grace),
        },
        help: "Time from interrupt to SIGTERM",
        details: "How long an instance may take to end after it was interrupted, before it is sent SIGTERM. \
            SIGKILL follows two seconds later, to it and to every process that it started. \
            What that does not end within five seconds, such as a process of another user, is let go, and the summary names it.",
    },
    Flag {
        long: "on-limit",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "WHAT",
            default: Some("stop"),
            set: |options, value| values::one_of(value, &UsageLimitPolicy::WORDS).map(|what| options.on_limit = what),
        },
        help: "At a usage limit: wait, stop or fail",
        details: "What happens when the account's usage limit is reached, as claude itself reports it (2.1 and newer). \
            What runs goes on to its end in any case. \
            `stop`: what has not started does not start; the run ends with exit status 75 and says until when the limit \
            holds. \
            `wait`: nothing starts until a minute after that, then the run continues, and an instance that the limit had \
            failed runs again; if the wait would be longer than `--limit-wait-max`, the run stops as with `stop`. \
            `fail`: an instance that hits it fails (exit status 75), and the others continue. \
            A throttle is no usage limit: claude tries again by itself, and then `retries` of the config count. \
            A reset more than eight days ahead counts as unknown.",
    },
    Flag {
        long: "limit-wait-max",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "SECONDS",
            default: Some("21600"),
            set: |options, value| values::seconds(value).map(|max| options.limit_wait_max = max),
        },
        help: "Longest wait of --on-limit wait",
        details: "How long `--on-limit wait` may wait for a reset: six hours if nothing is given, \
            which is more than the five-hour window of a plan. \
            If the reset is further away, the run stops as with `--on-limit stop`, with exit status 75. \
            A limit that names no reset is tried again every 15 minutes, at least once, until so much time has passed.",
    },
    Flag {
        long: "halt",
        short: None,
        section: Section::Pace,
        effect: FlagKind::Value {
            name: "WHEN",
            default: None,
            set: |options, value| {
                Halt::parse(&value.to_string_lossy())
                    .map(|halt| options.halt = Some(halt))
                    .map_err(|problem| format!("{} {problem}", values::quoted(value)))
            },
        },
        help: "Stop after failures: soon|now,fail=N|N%",
        details: "Stop the run after N instances, or N percent of all instances, have failed, as GNU parallel does. \
            `soon,fail=N` starts nothing more and lets running instances end; `now,fail=N` stops these too. \
            The remaining instances fail with the reason halted; the exit status is that of the failures.",
    },
    Flag {
        long: "overall-token-budget",
        short: None,
        section: Section::Budget,
        effect: FlagKind::Value {
            name: "N",
            default: None,
            set: |options, value| values::tokens(value).map(|cap| options.budget.overall_tokens = Some(cap)),
        },
        help: "Tokens that all instances may use together",
        details: "How many tokens all instances may use together. \
            This and the other options of this section beat what the config says.",
    },
    Flag {
        long: "overall-cost-budget",
        short: None,
        section: Section::Budget,
        effect: FlagKind::Value {
            name: "DOLLARS",
            default: None,
            set: |options, value| values::dollars(value).map(|cap| options.budget.overall_micros = Some(cap)),
        },
        help: "Dollars that they may use together",
        details: "How many dollars all instances may use together. \
            What a turn has cost is what claude says; until it does, an estimate by the prices of its model.",
    },
    Flag {
        long: "command-budget",
        short: None,
        section: Section::Budget,
        effect: FlagKind::Value {
            name: "/NAME=N",
            default: None,
            set: |options, value| {
                let (command, cap) = values::per_command(value, values::tokens)?;
                options.budget.command_tokens.insert(command, cap);
                Ok(())
            },
        },
        help: "Tokens for one command; repeatable",
        details: "How many tokens the instances whose command begins with this word may use together. \
            Can be given several times; the slash may be left out.",
    },
    Flag {
        long: "command-cost-budget",
        short: None,
        section: Section::Budget,
        effect: FlagKind::Value {
            name: "/NAME=DOLLARS",
            default: None,
            set: |options, value| {
                let (command, cap) = values::per_command(value, values::dollars)?;
                options.budget.command_micros.insert(command, cap);
                Ok(())
            },
        },
        help: "Dollars for one command; repeatable",
        details: "The same in dollars.",
    },
    Flag {
        long: "budget-enforcement-mode",
        short: None,
        section: Section::Budget,
        effect: FlagKind::Value {
            name: "MODE",
            default: None,
            set: |options, value| {
                let modes = [("block", Enforcement::Block), ("warn", Enforcement::Warn)];
                values::one_of(value, &modes).map(|mode| options.budget.enforcement = Some(mode))
            },
        },
        help: "block or warn, else what the config says",
        details: "What happens at a limit. \
            `block`: an instance that would go over it is not started, and where it is reached while instances run, \
            those that share it end with the message they are in. \
            `warn`: it is said, once, and everything goes on. \
            Where neither this option nor the config says anything, limits block.",
    },
    Flag {
        long: "budget-parameter-type",
        short: None,
        section: Section::Budget,
        effect: FlagKind::Value {
            name: "TYPE",
            default: None,
            set: |options, value| {
                let types = [("tokens", BudgetType::Tokens), ("cost", BudgetType::Cost), ("mixed", BudgetType::Mixed)];
                values::one_of(value, &types).map(|kind| options.budget.budget_type = Some(kind))
            },
        },
        help: "tokens, cost or mixed, else the limits set",
        details: "Which limits count: those in `tokens`, those in dollars (`cost`), or both (`mixed`). \
            Without this option all that are set count.",
    },
    Flag {
        long: "disable-budget-visuals",
        short: None,
        section: Section::Budget,
        effect: FlagKind::Switch(|options| options.budget.disable_visuals = Some(true)),
        help: "Leave the budget's bar out of the reports",
        details: "Leave the budget's bar out of the status reports.",
    },
    Flag {
        long: "status-report-interval",
        short: None,
        section: Section::Report,
        effect: FlagKind::Value {
            name: "SECONDS",
            default: Some("5"),
            set: |options, value| {
                values::seconds_above_zero(value).map(|interval| options.status_report_interval = interval)
            },
        },
        help: "Time between two status reports",
        details: "The time between two status reports on standard output. \
            SIGUSR1 asks for one at any time. \
            Fractions are allowed.",
    },
    Flag {
        long: "max-console-lines",
        short: None,
        section: Section::Report,
        effect: FlagKind::Value {
            name: "N",
            default: Some("5"),
            set: |options, value| values::count(value, 0).map(|max| options.max_console_lines = max),
        },
        help: "Lines of each instance per report",
        details: "How many recent lines of each instance are shown between two reports: \
            what it says and which tools it uses. \
            0 shows none.",
    },
    Flag {
        long: "max-line-length",
        short: None,
        section: Section::Report,
        effect: FlagKind::Value {
            name: "N",
            default: Some("500"),
            set: |options, value| values::count(value, 20).map(|max| options.max_line_length = max),
        },
        help: "Columns of each such line",
        details: "After how many columns a line of an instance is cut; at least 20. \
            The log files keep it whole.",
    },
    Flag {
        long: "log-level",
        short: None,
        section: Section::Report,
        effect: FlagKind::Value {
            name: "LEVEL",
            default: Some("concise"),
            set: |options, value| values::log_level(value).map(|level| options.log_level = level),
        },
        help: "silent, concise or detailed",
        details: "How much to print. \
            `silent`: errors and the final summary only. \
            `concise`: the reports, the instances' recent lines, and what happens to budgets. \
            `detailed`: everything that zen does, as well. \
            Of this option, `--quiet` and `--verbose`, the last one given counts.",
    },
    Flag {
        long: "quiet",
        short: Some('q'),
        section: Section::Report,
        effect: FlagKind::Switch(|options| options.log_level = LogLevel::Silent),
        help: "Print errors and the final summary only",
        details: "The same as `--log-level silent`: errors and the final summary only.",
    },
    Flag {
        long: "on-success",
        short: None,
        section: Section::Report,
        effect: FlagKind::Value {
            name: "WHAT",
            default: Some("report"),
            set: |options, value| values::one_of(value, &OnSuccess::WORDS).map(|what| options.on_success = what),
        },
        help: "If every instance completes: report or silent",
        details: "What is printed at the end if every instance has completed. \
            `report`: the final reports of the log level. \
            `silent`: nothing; with `--quiet`, such a run prints no line, and cron sends no mail. \
            Warnings are printed in any case.",
    },
    Flag {
        long: "verbose",
        short: Some('v'),
        section: Section::Report,
        effect: FlagKind::Switch(|options| options.log_level = LogLevel::Detailed),
        help: "The same as --log-level detailed",
        details: "The same as `--log-level detailed`.",
    },
    Flag {
        long: "output-format",
        short: None,
        section: Section::Report,
        effect: FlagKind::Value {
            name: "FORMAT",
            default: None,
            set: |options, value| {
                let formats = OUTPUT_FORMATS.iter().map(|&format| (format, format)).collect::<Vec<_>>();
                values::one_of(value, &formats).map(|format| options.instance.output_format = Some(format.to_owned()))
            },
        },
        help: "Taken for older scripts; changes nothing",
        details: "Taken for the sake of older scripts. zen reads the stream of claude itself, and reports in text and in `report.json`.",
    },
    Flag {
        long: "log-dir",
        short: None,
        section: Section::Files,
        effect: FlagKind::Value {
            name: "DIR",
            default: None,
            set: |options, value| values::path(value).map(|dir| options.logs = LogDir::Path(dir)),
        },
        help: "Where to keep the files of runs",
        details: "The directory below which this run gets one of its own for its files (see `FILES`). \
            Of this option and `--no-logs`, the last one given counts.",
    },
    Flag {
        long: "no-logs",
        short: None,
        section: Section::Files,
        effect: FlagKind::Switch(|options| options.logs = LogDir::Disabled),
        help: "Keep no files of this run",
        details: "Keep no files of this run: what is not printed is lost.",
    },
    Flag {
        long: "lock",
        short: None,
        section: Section::Files,
        effect: FlagKind::Value {
            name: "FILE",
            default: None,
            set: |options, value| values::path(value).map(|file| options.lock = LockPolicy::File(file)),
        },
        help: "Never run beside another holder of this",
        details: "A file that one run at a time holds; it is made if it is not there. \
            Where another run holds it, nothing is launched, it is said who does, and the exit status is 75. \
            The lock goes with the run, however that ends; the file stays. \
            Without this option a config that is a file has a lock for each workspace, and everything else has none. \
            Of this option and `--no-lock`, the last one given counts.",
    },
    Flag {
        long: "no-lock",
        short: None,
        section: Section::Files,
        effect: FlagKind::Switch(|options| options.lock = LockPolicy::Disabled),
        help: "Run beside other runs of the config",
        details: "Take no lock: run beside other runs of the same config. \
            A session is in one run at a time all the same: an instance whose session another run is in waits until that \
            has left it.",
    },
    Flag {
        long: "list-commands",
        short: None,
        section: Section::Answers,
        effect: FlagKind::Switch(|options| options.question = Some(Query::Commands)),
        help: "Print the slash commands that there are",
        details: "Print the slash commands that the workspace has, one a line: its name, where it comes from (project, user, a skill, \
            a plugin, or built in), and what it does. \
            claude itself is asked for them; no token is spent. \
            Where there is no claude, the files below `.claude` say what they know.",
    },
    Flag {
        long: "inspect-command",
        short: None,
        section: Section::Answers,
        effect: FlagKind::Value {
            name: "/NAME",
            default: None,
            set: |options, value| values::filled(value).map(|called| options.question = Some(Query::Command(called))),
        },
        help: "Print what is known of one of them",
        details: "Print what is known of a slash command: where it comes from, its file, its front matter, and how its text begins. \
            The slash may be left out.",
    },
    Flag {
        long: "list-examples",
        short: None,
        section: Section::Answers,
        effect: FlagKind::Switch(|options| options.question = Some(Query::Examples)),
        help: "Print the kinds of example configs",
        details: "Print the kinds of configs that `--generate-example` knows, one a line.",
    },
    Flag {
        long: "generate-example",
        short: None,
        section: Section::Answers,
        effect: FlagKind::Value {
            name: "TYPE",
            default: None,
            set: |options, value| {
                values::example(value).map(|example| options.question = Some(Query::Example(example)))
            },
        },
        help: "Print an example config, to start from",
        details: "Print a config of this kind, to start from: `zen --generate-example code_review > review.json`.",
    },
    Flag {
        long: "show-prompt-template",
        short: None,
        section: Section::Answers,
        effect: FlagKind::Switch(|options| options.question = Some(Query::PromptTemplate)),
        help: "Print what makes a model write a config",
        details: "Print a text to paste into a model, with what is to be done put in, so that it writes a config.",
    },
    Flag {
        long: "print-schema",
        short: None,
        section: Section::Answers,
        effect: FlagKind::Switch(|options| options.question = Some(Query::Schema)),
        help: "Print the JSON Schema of a config",
        details: "Print the JSON Schema (2020-12) of a config, for editors and for programs that write configs. \
            What it says nothing of, such as names that must be unique, `--dry-run` finds.",
    },
    Flag {
        long: "help",
        short: Some('h'),
        section: Section::Information,
        effect: FlagKind::Special(|| Request::Help),
        help: "Print this help and exit",
        details: "Print a short help and exit.",
    },
    Flag {
        long: "version",
        short: Some('V'),
        section: Section::Information,
        effect: FlagKind::Special(|| Request::Version),
        help: "Print the version and exit",
        details: "Print the version and exit.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::ffi::OsStr;

    #[test]
    fn no_two_flags_have_a_name_in_common() {
        let longs: HashSet<_> = FLAGS.iter().map(|flag| flag.long).collect();
        assert_eq!(longs.len(), FLAGS.len());
        let shorts: Vec<_> = FLAGS.iter().filter_map(|flag| flag.short).collect();
        assert_eq!(shorts.iter().collect::<HashSet<_>>().len(), shorts.len());
    }

    #[test]
    fn long_names_are_words_joined_by_dashes() {
        for flag in FLAGS {
            let words: Vec<_> = flag.long.split('-').collect();
            let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(words.iter().all(is_word), "--{}", flag.long);
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_sections() {
        let by_section: Vec<_> = Section::ALL.into_iter().flat_map(Section::flags).map(|flag| flag.long).collect();
        let as_written: Vec<_> = FLAGS.iter().map(|flag| flag.long).collect();
        assert_eq!(by_section, as_written);
    }

    #[test]
    fn help_is_one_short_line_and_details_are_sentences() {
        for flag in FLAGS {
            assert!(!flag.help.is_empty() && flag.help.len() < 70 && !flag.help.contains('\n'), "--{}", flag.long);
            assert!(!flag.help.ends_with('.'), "--{}", flag.long);
            assert!(flag.details.ends_with('.') && !flag.details.contains(['\n', '\t']), "--{}", flag.long);
            assert!(!flag.details.contains("  "), "--{}", flag.long);
            assert!(flag.help.is_ascii() && flag.details.is_ascii(), "--{}", flag.long);
        }
    }

    #[test]
    fn every_default_is_what_its_flag_would_set() {
        let mut options = Options::default();
        for flag in FLAGS {
            if let FlagKind::Value { default: Some(default), set, .. } = flag.effect {
                set(&mut options, OsStr::new(default)).unwrap();
                assert_eq!(options, Options::default(), "--{}", flag.long);
            }
        }
    }

    #[test]
    fn no_flag_takes_an_empty_value() {
        for flag in FLAGS {
            if let FlagKind::Value { set, .. } = flag.effect {
                assert!(set(&mut Options::default(), OsStr::new("")).is_err(), "--{}", flag.long);
            }
        }
    }

    #[test]
    fn every_flag_sets_something() {
        for flag in FLAGS {
            let mut options = Options::default();
            match flag.effect {
                FlagKind::Switch(set) => set(&mut options),
                FlagKind::Value { set, .. } => {
                    assert!(
                        ["25", "silent", "/a=5", "warn", "mixed", "json", "2h", "code_review", "wait", "soon,fail=1"]
                            .iter()
                            .any(|value| set(&mut options, OsStr::new(value)).is_ok())
                    );
                }
                FlagKind::Special(_) => continue,
            }
            assert_ne!(options, Options::default(), "--{}", flag.long);
        }
    }
}
