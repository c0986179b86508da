//! Table of all flags.
//!
//! A new flag is one entry here and one field of [`Options`](super::Options).

use super::flag::{Flag, FlagKind, Section};
use super::options::{LockPolicy, LogDir, Query};
use super::parse::Request;
use super::values;
use crate::engine::usage_limit::UsageLimitPolicy;
use crate::report::verbosity::{LogLevel, OnSuccess};

/// All flags, in the order of the sections and of `--help`.
pub static FLAGS: &[Flag] = &[
    Flag {
        long: "config",
        short: Some('c'),
        section: Section::Work,
        kind: FlagKind::Value {
            name: "FILE",
            default: None,
            set: |options, value| values::store(&mut options.config, values::config(value).map(Some)),
        },
        help: "The JSON config to run; - reads it from stdin",
        details: "The config: a JSON file that lists the instances. `-` reads it from standard input. All mistakes in \
            it are reported before anything is launched. With a command on the command line, the `budget`, \
            `pricing` and `defaults` of the config apply, and its instances are not run.",
    },
    Flag {
        long: "workspace",
        short: None,
        section: Section::Work,
        kind: FlagKind::Value {
            name: "DIR",
            default: None,
            set: |options, value| values::store(&mut options.workspace, values::path(value).map(Some)),
        },
        help: "Directory to work in (default: the project's root)",
        details: "The directory in which the instances run, unless the config sets `cwd`. It must exist and be \
            readable. Default: the nearest directory, from the current one upwards, that contains `.git` or \
            `.claude`; if there is none, the current one. A directory above the current one counts only if it, \
            its `.git` and its `.claude` belong to the user or to root and no other user can write to them. The \
            home directory, the directories above it and the root never count: a `.claude` there is claude's \
            own.",
    },
    Flag {
        long: "claude",
        short: None,
        section: Section::Work,
        kind: FlagKind::Value {
            name: "PATH",
            default: None,
            set: |options, value| values::store(&mut options.claude, values::path(value).map(Some)),
        },
        help: "The claude program (default: ZEN_CLAUDE, PATH)",
        details: "The claude program to run. Default: the environment variable `ZEN_CLAUDE`, else the first `claude` \
            in `PATH`. Its standard input and output are sockets: a wrapper script must not open `/dev/stdin` or \
            `/dev/stdout`.",
    },
    Flag {
        long: "dry-run",
        short: Some('n'),
        section: Section::Work,
        kind: FlagKind::Switch(|options| options.dry_run = true),
        help: "Print the plan and launch nothing",
        details: "Check the config as for a run, print the plan (command line, turns, session and tools of each \
            instance, and the budget), and launch nothing. If the plan depends on the version of claude, `claude \
            --help` is run.",
    },
    Flag {
        long: "instance-name",
        short: None,
        section: Section::Command,
        kind: FlagKind::Value {
            name: "NAME",
            default: None,
            set: |options, value| values::store(&mut options.instance.name, values::filled(value).map(Some)),
        },
        help: "Name of the command in reports",
        details: "The name of the command in reports. Default: its slash command, or the beginning of its text. This \
            option and the others of this section set the field of the same name of an instance in a config.",
    },
    Flag {
        long: "instance-description",
        short: None,
        section: Section::Command,
        kind: FlagKind::Value {
            name: "TEXT",
            default: None,
            set: |options, value| values::store(&mut options.instance.description, values::filled(value).map(Some)),
        },
        help: "Description of the command in reports",
        details: "The description of the command in `--dry-run` and `report.json`.",
    },
    Flag {
        long: "session-id",
        short: None,
        section: Section::Command,
        kind: FlagKind::Value {
            name: "NAME",
            default: None,
            set: |options, value| values::store(&mut options.instance.session_id, values::filled(value).map(Some)),
        },
        help: "Conversation to continue",
        details: "The conversation that the command continues; any name. The next run with this name continues it too.",
    },
    Flag {
        long: "clear-history",
        short: None,
        section: Section::Command,
        kind: FlagKind::Switch(|options| options.instance.clear_history = Some(true)),
        help: "Start a new conversation",
        details: "Start a new conversation in the session, with /clear, before the command.",
    },
    Flag {
        long: "compact-history",
        short: None,
        section: Section::Command,
        kind: FlagKind::Switch(|options| options.instance.compact_history = Some(true)),
        help: "Compact the conversation first",
        details: "Compact the conversation, with /compact, before the command.",
    },
    Flag {
        long: "start-at",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "TIME",
            default: None,
            set: |options, value| values::store(&mut options.start_at, values::start_at(value).map(Some)),
        },
        help: "2h, 30m, 45s, 14:30, 1am or 10:30pm (default: now)",
        details: "The time to start at: after a delay (`2h`, `30m`, `45s`, `1h30m`), or at a time of the local clock \
            (`14:30`, `1am`, `10:30pm`); a time that has passed today is tomorrow's. A time that the clock skips \
            in spring is the moment of the change; of a time that occurs twice in autumn, the next occurrence \
            counts. The config is checked before the wait. The wait follows the clock, also if the clock is set \
            or the machine was suspended. The remaining time is printed at shrinking intervals, and on SIGUSR1; a \
            signal that stops a run ends the wait at once.",
    },
    Flag {
        long: "startup-delay",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "SECONDS",
            default: Some("5"),
            set: |options, value| values::store(&mut options.startup_delay, values::seconds(value)),
        },
        help: "Time between two launches",
        details: "The minimum time between two launches. Instances that start at the same moment compete for claude's \
            own files; apart from that they run in parallel, and none waits for another to end. Fractions are \
            allowed.",
    },
    Flag {
        long: "max-parallel",
        short: Some('j'),
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "N",
            default: None,
            set: |options, value| values::store(&mut options.max_parallel, values::count(value, 1).map(Some)),
        },
        help: "Limit the instances that run at a time",
        details: "The maximum number of instances that run at a time. The others wait, in the order of the config, \
            until one has ended. Default: no limit.",
    },
    Flag {
        long: "timeout",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "SECONDS",
            default: Some("10000"),
            set: |options, value| values::store(&mut options.timeout, values::seconds_above_zero(value)),
        },
        help: "Time limit of an instance",
        details: "The time after which an instance is stopped and fails. The field `timeout` of an instance in the \
            config takes precedence. Fractions are allowed.",
    },
    Flag {
        long: "idle-timeout",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "SECONDS",
            default: None,
            set: |options, value| values::store(&mut options.idle_timeout, values::seconds_above_zero(value).map(Some)),
        },
        help: "Kill an instance after SECONDS without output",
        details: "The time without output after which an instance is stopped and fails. A tool that works for a long \
            time writes nothing either: allow for it. The field `idle_timeout` of an instance in the config \
            takes precedence. Default: no limit.",
    },
    Flag {
        long: "startup-timeout",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "SECONDS",
            default: Some("120"),
            set: |options, value| values::store(&mut options.startup_timeout, values::seconds_above_zero(value)),
        },
        help: "Limit the time until claude is ready",
        details: "Stop an instance if its claude has not answered `initialize` within SECONDS after its start; it fails \
            by a timeout. The field `startup_timeout` of an instance in the config takes precedence.",
    },
    Flag {
        long: "grace",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "SECONDS",
            default: Some("5"),
            set: |options, value| values::store(&mut options.grace, values::seconds(value)),
        },
        help: "Time from interrupt to SIGTERM",
        details: "The time that an instance has to end after an interrupt, before it receives SIGTERM. SIGKILL follows \
            two seconds later, to it and to all its descendants. A process that does not end within five \
            seconds, such as one of another user, is abandoned and listed in the summary.",
    },
    Flag {
        long: "on-limit",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "ACTION",
            default: Some("stop"),
            set: |options, value| values::store(&mut options.on_limit, values::one_of(value, &UsageLimitPolicy::WORDS)),
        },
        help: "At a usage limit: wait, stop or fail",
        details: "The action if the account's usage limit is reached, as the result of a turn reports it (2.1 and newer). Running \
            instances continue in any case. `stop`: launch nothing more; the run ends with exit status 75 and \
            prints when the limit resets. `wait`: launch nothing until one minute after the reset, then \
            continue, and run instances again that failed by the limit; if the wait would be longer than \
            `--limit-wait-max`, stop as with `stop`. `fail`: fail an instance that reaches the limit (exit \
            status 75), and run the others. Throttling is no usage limit: claude retries by itself, and then the \
            field `retries` applies. A reset more than eight days ahead counts as unknown.",
    },
    Flag {
        long: "limit-wait-max",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "SECONDS",
            default: Some("21600"),
            set: |options, value| values::store(&mut options.limit_wait_max, values::seconds(value)),
        },
        help: "Longest wait of --on-limit wait",
        details: "The longest wait of `--on-limit wait` for a reset; the default of six hours exceeds the five-hour \
            window of a plan. If the reset is further away, the run stops as with `--on-limit stop`, with exit \
            status 75. A limit without a reset time is retried every 15 minutes, at least once, until this time \
            has passed.",
    },
    Flag {
        long: "halt",
        short: None,
        section: Section::Pace,
        kind: FlagKind::Value {
            name: "WHEN",
            default: None,
            set: |options, value| values::store(&mut options.halt, values::halt(value).map(Some)),
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
        kind: FlagKind::Value {
            name: "N",
            default: None,
            set: |options, value| values::store(&mut options.budget.overall_tokens, values::tokens(value).map(Some)),
        },
        help: "Tokens that all instances may use together",
        details: "The number of tokens that all instances may use together. This option and the others of this section \
            take precedence over the config.",
    },
    Flag {
        long: "overall-cost-budget",
        short: None,
        section: Section::Budget,
        kind: FlagKind::Value {
            name: "DOLLARS",
            default: None,
            set: |options, value| values::store(&mut options.budget.overall_micros, values::dollars(value).map(Some)),
        },
        help: "Dollars that all instances may use together",
        details: "The dollars that all instances may use together. The cost of a turn is the one that claude reports; \
            until then it is estimated by the prices of the model.",
    },
    Flag {
        long: "command-budget",
        short: None,
        section: Section::Budget,
        kind: FlagKind::Value {
            name: "/NAME=N",
            default: None,
            set: |options, value| {
                let (command, limit) = values::per_command(value, values::tokens)?;
                options.budget.command_tokens.insert(command, limit);
                Ok(())
            },
        },
        help: "Tokens for one command; repeatable",
        details: "The number of tokens that all instances with this command may use together. May be \
            repeated; the slash is optional.",
    },
    Flag {
        long: "command-cost-budget",
        short: None,
        section: Section::Budget,
        kind: FlagKind::Value {
            name: "/NAME=DOLLARS",
            default: None,
            set: |options, value| {
                let (command, limit) = values::per_command(value, values::dollars)?;
                options.budget.command_micros.insert(command, limit);
                Ok(())
            },
        },
        help: "Dollars for one command; repeatable",
        details: "The dollars that all instances with this command may use together. May be \
            repeated; the slash is optional.",
    },
    Flag {
        long: "budget-enforcement-mode",
        short: None,
        section: Section::Budget,
        kind: FlagKind::Value {
            name: "MODE",
            default: None,
            set: |options, value| values::store(&mut options.budget.enforcement, values::enforcement(value).map(Some)),
        },
        help: "block or warn (default: as in the config)",
        details: "The action at a limit. `block`: an instance that would exceed it is not started; if it is reached \
            while instances run, those that share it end with their current message. `warn`: print one message, \
            and continue. Default: the config's, else `block`.",
    },
    Flag {
        long: "budget-parameter-type",
        short: None,
        section: Section::Budget,
        kind: FlagKind::Value {
            name: "TYPE",
            default: None,
            set: |options, value| values::store(&mut options.budget.budget_type, values::budget_type(value).map(Some)),
        },
        help: "tokens, cost or mixed (default: all limits)",
        details: "The limits that count: those in `tokens`, those in dollars (`cost`), or both (`mixed`). Default: all \
            limits that are set.",
    },
    Flag {
        long: "disable-budget-visuals",
        short: None,
        section: Section::Budget,
        kind: FlagKind::Switch(|options| options.budget.disable_visuals = Some(true)),
        help: "Omit the budget bar from the reports",
        details: "Omit the budget bar from the status reports.",
    },
    Flag {
        long: "status-report-interval",
        short: None,
        section: Section::Report,
        kind: FlagKind::Value {
            name: "SECONDS",
            default: Some("5"),
            set: |options, value| values::store(&mut options.status_report_interval, values::seconds_above_zero(value)),
        },
        help: "Time between two status reports",
        details: "The time between two status reports on standard output. SIGUSR1 requests one at any time. Fractions \
            are allowed.",
    },
    Flag {
        long: "max-console-lines",
        short: None,
        section: Section::Report,
        kind: FlagKind::Value {
            name: "N",
            default: Some("5"),
            set: |options, value| values::store(&mut options.max_console_lines, values::count(value, 0)),
        },
        help: "Lines of each instance per report",
        details: "The number of recent lines of each instance between two reports: its text and its tools. 0 prints \
            none.",
    },
    Flag {
        long: "max-line-length",
        short: None,
        section: Section::Report,
        kind: FlagKind::Value {
            name: "N",
            default: Some("500"),
            set: |options, value| values::store(&mut options.max_line_length, values::count(value, 20)),
        },
        help: "Columns of each such line",
        details: "The column at which a line of an instance is truncated; at least 20. The log files have whole lines.",
    },
    Flag {
        long: "log-level",
        short: None,
        section: Section::Report,
        kind: FlagKind::Value {
            name: "LEVEL",
            default: Some("concise"),
            set: |options, value| values::store(&mut options.log_level, values::log_level(value)),
        },
        help: "silent, concise or detailed",
        details: "The amount of output. `silent`: errors and the final summary. `concise`: also status reports, recent \
            lines of the instances, and events of budgets. `detailed`: also everything that zen does. Of this \
            option, `--quiet` and `--verbose`, the last one counts.",
    },
    Flag {
        long: "quiet",
        short: Some('q'),
        section: Section::Report,
        kind: FlagKind::Switch(|options| options.log_level = LogLevel::Silent),
        help: "Print errors and the final summary only",
        details: "Print errors and the final summary only, as `--log-level silent` does.",
    },
    Flag {
        long: "on-success",
        short: None,
        section: Section::Report,
        kind: FlagKind::Value {
            name: "ACTION",
            default: Some("report"),
            set: |options, value| values::store(&mut options.on_success, values::one_of(value, &OnSuccess::WORDS)),
        },
        help: "If every instance completes: report or silent",
        details: "The output at the end if every instance has completed. `report`: the final reports of the log level. \
            `silent`: nothing; with `--quiet`, such a run prints no line, and cron sends no mail. Warnings are \
            printed in any case.",
    },
    Flag {
        long: "verbose",
        short: Some('v'),
        section: Section::Report,
        kind: FlagKind::Switch(|options| options.log_level = LogLevel::Detailed),
        help: "Print everything that zen does",
        details: "Print everything that zen does, as `--log-level detailed` does.",
    },
    Flag {
        long: "output-format",
        short: None,
        section: Section::Report,
        kind: FlagKind::Value {
            name: "FORMAT",
            default: None,
            set: |options, value| {
                values::store(&mut options.instance.output_format, values::output_format(value).map(Some))
            },
        },
        help: "Accepted for older scripts; has no effect",
        details: "Accepted for older scripts, without effect: zen reads claude's stream itself, and reports in text \
            and in `report.json`.",
    },
    Flag {
        long: "log-dir",
        short: None,
        section: Section::Files,
        kind: FlagKind::Value {
            name: "DIR",
            default: None,
            set: |options, value| values::store(&mut options.logs, values::path(value).map(LogDir::Path)),
        },
        help: "Directory for the files of runs",
        details: "The directory in which each run creates a directory of its own (see `FILES`). Of this option and \
            `--no-logs`, the last one counts.",
    },
    Flag {
        long: "no-logs",
        short: None,
        section: Section::Files,
        kind: FlagKind::Switch(|options| options.logs = LogDir::Disabled),
        help: "Write no files",
        details: "Write no files: all that is not printed is lost.",
    },
    Flag {
        long: "lock",
        short: None,
        section: Section::Files,
        kind: FlagKind::Value {
            name: "FILE",
            default: None,
            set: |options, value| values::store(&mut options.lock, values::path(value).map(LockPolicy::File)),
        },
        help: "Fail if another run holds this lock file",
        details: "A file that one run at a time can lock; it is created if it does not exist. If another run holds the \
            lock, nothing is launched, the holder is printed, and the exit status is 75. The lock is released \
            when the run ends, in whatever way; the file stays. Default: a config that is a file has one lock \
            for each workspace; all else has none. Of this option and `--no-lock`, the last one counts.",
    },
    Flag {
        long: "no-lock",
        short: None,
        section: Section::Files,
        kind: FlagKind::Switch(|options| options.lock = LockPolicy::Disabled),
        help: "Allow concurrent runs of one config",
        details: "Take no lock, and run concurrently with other runs of the same config. A session is still used by \
            one run at a time: if another run uses the session of an instance, the instance waits until it is free.",
    },
    Flag {
        long: "list-commands",
        short: None,
        section: Section::Answers,
        kind: FlagKind::Switch(|options| options.query = Some(Query::Commands)),
        help: "Print the available slash commands",
        details: "Print the slash commands of the workspace, one a line: name, origin (project, user, a skill, a \
            plugin, or built in), and description. claude lists them; no token is used. Without a claude, the \
            files below `.claude` are read.",
    },
    Flag {
        long: "inspect-command",
        short: None,
        section: Section::Answers,
        kind: FlagKind::Value {
            name: "/NAME",
            default: None,
            set: |options, value| {
                values::store(&mut options.query, values::filled(value).map(Query::Command).map(Some))
            },
        },
        help: "Print details of a slash command",
        details: "Print details of a slash command: its origin, its file, its front matter, and the beginning of its \
            text. The slash is optional.",
    },
    Flag {
        long: "list-examples",
        short: None,
        section: Section::Answers,
        kind: FlagKind::Switch(|options| options.query = Some(Query::Examples)),
        help: "Print the kinds of example configs",
        details: "Print the kinds of configs that `--generate-example` accepts, one a line.",
    },
    Flag {
        long: "generate-example",
        short: None,
        section: Section::Answers,
        kind: FlagKind::Value {
            name: "TYPE",
            default: None,
            set: |options, value| {
                values::store(&mut options.query, values::example(value).map(Query::Example).map(Some))
            },
        },
        help: "Print an example config",
        details: "Print an example config of this kind: `zen --generate-example code_review > review.json`.",
    },
    Flag {
        long: "show-prompt-template",
        short: None,
        section: Section::Answers,
        kind: FlagKind::Switch(|options| options.query = Some(Query::PromptTemplate)),
        help: "Print a prompt to make a model write a config",
        details: "Print a prompt to paste into a model, together with a task, so that it writes a config.",
    },
    Flag {
        long: "print-schema",
        short: None,
        section: Section::Answers,
        kind: FlagKind::Switch(|options| options.query = Some(Query::Schema)),
        help: "Print the JSON Schema of a config",
        details: "Print the JSON Schema (2020-12) of a config, for editors and for programs that write configs. Rules \
            that a schema cannot express, such as unique names, are checked by `--dry-run`.",
    },
    Flag {
        long: "help",
        short: Some('h'),
        section: Section::Information,
        kind: FlagKind::Special(|| Request::Help),
        help: "Print this help",
        details: "Print a short help.",
    },
    Flag {
        long: "version",
        short: Some('V'),
        section: Section::Information,
        kind: FlagKind::Special(|| Request::Version),
        help: "Print the version",
        details: "Print the version.",
    },
];

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;
    use std::collections::HashSet;
    use std::ffi::OsStr;

    #[test]
    fn names_of_flags_are_unique() {
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
    fn table_is_in_the_order_of_the_sections() {
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
    fn each_default_equals_the_documented_one() {
        let mut options = Options::default();
        for flag in FLAGS {
            if let FlagKind::Value { default: Some(default), set, .. } = flag.kind {
                set(&mut options, OsStr::new(default)).unwrap();
                assert_eq!(options, Options::default(), "--{}", flag.long);
            }
        }
    }

    #[test]
    fn no_flag_takes_an_empty_value() {
        for flag in FLAGS {
            if let FlagKind::Value { set, .. } = flag.kind {
                assert!(set(&mut Options::default(), OsStr::new("")).is_err(), "--{}", flag.long);
            }
        }
    }

    #[test]
    fn each_flag_changes_an_option() {
        for flag in FLAGS {
            let mut options = Options::default();
            match flag.kind {
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
