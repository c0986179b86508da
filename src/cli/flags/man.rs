//! Manual page `zen.1`, in roff, generated from the tables of flags, fields, exit codes and environment variables and
//! from the paragraphs below.
//!
//! Text between backticks is printed in bold. The page is checked in as `man/zen.1`, and a test compares the two.

use super::help::wrapped;
use super::{ENVIRONMENT, Flag, Section};
use crate::config::{self, Field};
use crate::engine::exit_code;

/// Date of the last change of the text.
const DATE: &str = "2026-11-25";

const NAME: &str = "zen - run many headless Claude Code instances from a config";

const SYNOPSIS: &str =
    "\\fBzen \\-\\-config\\fR \\fIFILE\\fR [\\fIOPTION\\fR]...\n.br\n\\fBzen\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR\n";

const DESCRIPTION: &[&str] = &[
    "`zen` runs many headless instances of Claude Code from a JSON config, each in a `claude` process of its own, \
     in parallel, and reports the result, the usage and the cost of each. \
     It is made for cron jobs and scripts: it asks no questions, prints plain text to standard output and messages to \
     standard error, and has an exit status that a script can trust.",
    "A config lists instances. \
     The plan is the config with all defaults resolved. \
     An instance has one or more turns, messages to claude with an answer each, and a retry is another attempt. \
     A session is a conversation that later runs continue. \
     A budget limits tokens and dollars; the usage limit is the one of the account.",
    "An instance has completed if claude has reported success for its last message, the model took part, and its slash \
     commands existed; the exit status of claude does not count. \
     A failed instance never blocks, delays or stops another one. \
     If an instance is stopped, all its descendants are killed.",
    "With a `COMMAND` instead of a config, only this command is run: a slash command if it begins with a slash, else text of \
     several words. \
     It is a single argument, so quote it; after `--` it may begin with a dash.",
    "If an option is repeated, the last one counts. An option takes precedence over an environment variable, and a variable \
     over the config. \
     Long options may be abbreviated to a unique prefix; spell them out in scripts. \
     A path may begin with `~/`, the home directory. \
     All mistakes on the command line and in the config are reported before anything is launched.",
];

const CONFIG: &str = "The config is a JSON object. \
    Its `instances` are objects, each with a `command` (a slash command, or text) or a `prompt` (always text). \
    `defaults` has fields for all of them, `budget` the limits of the run, and `pricing` prices of models that zen does \
    not know, by a prefix of their names: each with `input` and `output`, and optionally `cache_write` and `cache_read`, \
    in dollars per million tokens. \
    Keys that begin with `//`, `_` or `$` are comments; any other unknown key is a mistake. \
    Fields of an instance:";

const STAGES: &[&str] = &[
    "Instances without dependencies are stage 1, their dependents stage 2, and so on. \
     Reports show the progress of each stage, a message announces its end, and a skipped instance names the instance that \
     caused it. \
     No instance waits for a whole stage, only for its own dependencies; launches stay `--startup-delay` apart.",
    "In a command, a prompt or a pre-command, `{{result:NAME}}` is replaced by the last result of an instance that this one \
     depends on, directly or indirectly. \
     For a failed instance it is the text up to the failure, if any. \
     The first 100,000 bytes of a result are inserted; a dry run shows the placeholder. \
     A result cannot name a slash command, and placeholders in it are not replaced. \
     An `@` in a result is followed by a space if claude would attach the file that it names, or call the agent; in the \
     arguments of a slash command a space separates an exclamation mark from a backtick, because older generations of \
     claude run the text between backticks after one. \
     An `@PATH` that the config itself contains is read whatever `allowed_tools` says.",
];

const SESSIONS: &str = "A session is used by one instance at a time, over all runs of a user: claude would lose messages \
    of two concurrent ones. \
    The instances of one run use it in the order of the config. \
    If another run uses it, an instance waits, reports show this, and it starts within a second after the session is free; \
    its `timeout` counts from its own start. \
    A session is free between two attempts.";

const BUDGET: &str = "Fields of `budget`:";

const BUDGET_RULES: &[&str] = &[
    "Before an instance starts, its estimate must fit beside what was used and what running instances may still use; \
     else it waits or, if it can never fit, is denied. \
     After the overall budget has denied one instance, it denies all later ones, even smaller ones. \
     An estimate above a limit that it counts against is a mistake in the config.",
    "The estimate is `max_tokens_per_command`. \
     Without it, the estimate is learned: the usage of the same instance when it last completed, in one of the last runs of \
     the same config and workspace below the log directory, else the largest first message of this run. \
     An estimate from an earlier run makes an instance wait for others, but does not deny it. \
     Until an estimate is known, an instance without one is not launched while another one has not reported its first \
     message, for at most 20 seconds after the last launch; then it is launched, with an estimate of 1,000 tokens.",
    "If a limit is reached while instances run, those that share it end with their current message: an instance has \
     completed if that message ends its work; the others are stopped. \
     So a limit is exceeded by the current messages at most; if all instances have estimates, by one message. \
     A run that used more than a limit exits with status 3, even if every instance completed, and the summary names the \
     excess. \
     The alert `actual_tokens > budget * 1.1` becomes true only if that is more than a tenth of the limit.",
    "Dollars are those that claude reports; until then they are estimated by the prices of the model, marked ~. \
     A lower bound, because a process was killed or claude omits part of its usage, is marked >=.",
];

const CONFIG_EXAMPLE: &str = r#"{
  "instances": [
    {"name": "review", "command": "/review src", "timeout": 1800},
    {"name": "notes", "prompt": "Write the release notes."}
  ]
}"#;

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGINT, SIGTERM, SIGHUP, SIGQUIT",
        "Launch nothing more, stop every instance (interrupt, SIGTERM after `--grace`, SIGKILL), print the summary, and \
         exit with 128 plus the signal's number. \
         A second one kills at once.",
    ),
    ("SIGUSR1", "Print a status report now."),
    (
        "SIGTSTP (Ctrl-Z), SIGCONT",
        "Stop the processes of all instances, then `zen`; continue them with it. A pause moves all timeouts, delays and report \
         times, also one that stops `zen` with its instances in another way (SIGSTOP to all, a frozen container, a suspended \
         batch job or machine). The wait for a usage limit ends at the same time of day. `paused_seconds` in report.json is \
         the time of all pauses.",
    ),
    (
        "nohup, and & in a script",
        "A signal that was ignored when `zen` started stays ignored: a shell without job control ignores SIGINT and SIGQUIT \
         for its background processes.",
    ),
    ("SIGPIPE", "Ignored: if the reader of standard output exits, as in `zen ... | head`, no instance is stopped."),
];

const INHERITED: &str = "Variables by which claude detects that it runs inside claude are removed for instances.";

const FILES: &[(&str, &str)] = &[
    (
        "$XDG_STATE_HOME/zen/RUN/",
        "The files of a run, unless `--log-dir` or `--no-logs` is given; `latest` beside it points to the newest run. `zen` \
         never removes them.",
    ),
    (
        "$XDG_STATE_HOME/zen/locks/",
        "The locks of configs, one for each config and workspace (see `--lock`), and of sessions.",
    ),
    (
        "report.json",
        "In a run's directory: the record of the run, for programs. It is replaced as a whole after each change; \
         `exit_code` is null until the end. Space for the final version is reserved. If the disk is full all the same, a \
         version without results, answers and last output is written, `omitted` is not null, and the exit code is 2; if not \
         even that can be written, the file is removed.",
    ),
    (
        "NN-NAME/stream.jsonl, stderr.txt, result.txt",
        "Beside it, for each instance: standard output and standard error of claude, and the text of its result. Empty files \
         are not created. A result that could not be written whole is removed. The summary lists incomplete files. If an \
         instance puts links in their places, these are replaced, not followed.",
    ),
];

const FILES_ARE_PRIVATE: &str = "Only their owner can read them.";

const NOTES: &[&str] = &[
    "Some safeguards exist on Linux only. \
     Between `zen` and each claude is a small process, its reaper (a child subreaper): all descendants of the instance are \
     reparented to it, in any session and with any environment, and are killed when claude has ended, when the instance is \
     stopped, or when `zen` itself is killed with SIGKILL. On other systems only the process group of the instance is \
     stopped, and instances outlive a `zen` that is killed. \
     The lock of a session works on Linux only; on other systems a message reports this.",
    "A process that another program starts on request (tmux, dockerd, systemd-run, at, cron) does not descend from the instance. \
     No supervisor can see it, `zen` does not stop it, and `Left running` does not list it.",
    "Agents that claude runs in the background are part of an instance's work and are waited for. \
     Commands that still run there after the last turn are treated as `background` says; the summary and \
     `background_stopped` in report.json list those that were stopped. If the instance is stopped while it waits for them (a \
     timeout, a signal, a budget), it has failed.",
    "A line of claude's output that is longer than 4 MiB is kept in the files and not read.",
];

const SECURITY: &[&str] = &[
    "The author of the config, the user that runs `zen`, root, and the programs and servers that the config names are trusted \
     with everything. \
     So are the settings, hooks, plugins and MCP servers that claude loads from the home directory and from the workspace: \
     claude runs their commands as the user, and neither `zen` nor claude asks first. \
     Do not run `zen` in a directory whose `.claude` you have not read.",
    "The text of the model, the results of instances, the files that a tool reads, and other users of the machine are not \
     trusted.",
    "`zen` enforces the following. \
     A result that `{{result:NAME}}` inserts is text: it calls no command or agent, attaches no file, and is not run by a \
     shell; where the file of a command would do so with its arguments, the run is refused. \
     A project above the current directory counts only if no other user controls it. \
     `allowed_tools` decides, by the means of the table below. \
     What an instance starts ends with it. \
     The standard input and output of claude are sockets, which no other process can open: a tool cannot write a result in \
     the name of claude.",
    "`allowed_tools` is enforced by a hook that `zen` gives claude with `--settings`: claude asks `zen` before each use of a \
     tool, in subagents too, and a denial beats every rule, mode, plugin and hook that allows. \
     If `zen` cannot answer, the answer is no. \
     The rules of claude hold beside it. \
     By generation:",
];

/// Means that enforce `allowed_tools`, by generation.
const ENFORCEMENT: &[(&str, &str)] = &[
    (
        "Claude Code 2.1",
        "The hook; `--tools` and `dontAsk` beside it. The !`...` of commands and skills, of which claude asks no hook, runs by \
         the rules of claude; where a pattern restricts Bash, and a skill, a plugin or a command whose file is not \
         understood could be called, it is disabled.",
    ),
    (
        "Claude Code 2.0",
        "The hook; `--tools` and `dontAsk` beside it. A pattern of Bash beside `Skill` or `SlashCommand`, a command of a plugin \
         with such a pattern, and agents with a permission mode of their own are refused before the start.",
    ),
    (
        "Claude Code 1.0",
        "The hook; `--disallowedTools` and the mode `default` beside it. A pattern of Bash beside `SlashCommand` is refused \
         before the start.",
    ),
    (
        "every generation",
        "Refused before the start: settings that cannot be read or understood, a rule in them that widens a pattern of Bash, \
         managed settings that switch hooks off (`disableAllHooks`, `allowManagedHooksOnly`, `CLAUDE_CODE_SIMPLE` or \
         `CLAUDE_CODE_SAFE_MODE`), and `--settings`, `--bare` and `--safe-mode` in `claude_args`.",
    ),
];

const NOT_ENFORCED: &[&str] = &[
    "`zen` only reports the uses of tools that were refused. \
     A pattern such as `Bash(git *)` allows any program, because git runs others: it is a warning. \
     Without `allowed_tools` an instance can do what the user can. \
     Where a process may trace others of the same user (ptrace), that includes control of claude: set \
     `kernel.yama.ptrace_scope` to 1.",
    "No supervisor sees what a server outside does that an instance asks for: a tmux server, dockerd, systemd, `at` or cron \
     start processes of their own, which live on and are not reported. \
     To contain an instance, run `zen` as a user of its own, in a container or on a machine of its own.",
];

const EXAMPLES: &[(&str, &str)] = &[
    ("Print the plan:", "zen --config nightly.json --dry-run"),
    ("Three at a time, half an hour each:", "zen --config nightly.json --max-parallel 3 --timeout 1800"),
    (
        "Every night at two, from a crontab; cron's own `PATH` is short, and it mails the summary:",
        "PATH=/home/me/.local/bin:/usr/local/bin:/usr/bin:/bin\n0 2 * * * cd /srv/app && zen --quiet --config nightly.json",
    ),
    ("One command, without a config:", "zen \"/review src\" --overall-cost-budget 2"),
    ("In a script:", "zen --quiet --config nightly.json || echo \"zen: exit status $?\""),
];

/// Returns the manual page `zen(1)` in roff.
#[must_use]
pub fn man() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH ZEN 1 {DATE} \"zen {version}\" \"User Commands\"\n");
    page += &section("NAME", &roff(NAME));
    page += &section("SYNOPSIS", SYNOPSIS);
    page += &section("DESCRIPTION", &paragraphs(DESCRIPTION.iter().map(|text| roff(text))));
    page += &section("OPTIONS", &options());
    page += &section("CONFIG", &config_section());
    page += &section("EXIT STATUS", &items(exit_code::TABLE));
    page += &section("SIGNALS", &items(SIGNALS));
    page += &section("ENVIRONMENT", &paragraphs([items(ENVIRONMENT), roff(INHERITED)]));
    page += &section("FILES", &paragraphs([items(FILES), roff(FILES_ARE_PRIVATE)]));
    page += &section("NOTES", &paragraphs(NOTES.iter().map(|text| roff(text))));
    page += &section("SECURITY", &security());
    page += &section("EXAMPLES", &paragraphs(EXAMPLES.iter().map(|(what, command)| roff(what) + &example(command))));
    page
}

fn security() -> String {
    let texts = |texts: &[&str]| texts.iter().map(|text| roff(text)).collect::<Vec<_>>();
    let mut bodies = texts(SECURITY);
    if let Some(last) = bodies.last_mut() {
        *last += &items(ENFORCEMENT);
    }
    paragraphs([bodies, texts(NOT_ENFORCED)].concat())
}

fn config_section() -> String {
    let instance = roff(CONFIG) + &fields(config::instance_fields()) + ".PP\nFor example:\n" + &example(CONFIG_EXAMPLE);
    let budget = roff(BUDGET) + &fields(config::budget_fields());
    let rules = |rules: &[&str]| rules.iter().map(|text| roff(text)).collect::<Vec<_>>();
    paragraphs([vec![instance], rules(STAGES), rules(&[SESSIONS]), vec![budget], rules(BUDGET_RULES)].concat())
}

fn fields(fields: impl Iterator<Item = &'static Field>) -> String {
    items(&fields.map(|field| (field.name, field.about)).collect::<Vec<_>>())
}

fn section(title: &str, body: &str) -> String {
    format!(".SH {title}\n{body}")
}

fn paragraphs(bodies: impl IntoIterator<Item = String>) -> String {
    bodies.into_iter().collect::<Vec<_>>().join(".PP\n")
}

fn options() -> String {
    let mut body = String::new();
    for section in Section::ALL {
        body += &format!(".SS {}\n", section.title());
        body.extend(section.flags().map(|flag| item(&spelled(flag), &explained(flag))));
    }
    body
}

fn items(table: &[(&str, &str)]) -> String {
    table.iter().map(|(term, text)| item(&format!("\\fB{}\\fR", escaped(term)), text)).collect()
}

/// Formats a tagged paragraph. `term` is already in roff, `text` is not.
fn item(term: &str, text: &str) -> String {
    format!(".TP\n{term}\n{}", roff(text))
}

fn example(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| text_line(&escaped(line))).collect();
    format!(".PP\n.RS 4\n.EX\n{lines}.EE\n.RE\n")
}

fn spelled(flag: &Flag) -> String {
    let short = flag.short.map_or(String::new(), |letter| format!("\\fB\\-{letter}\\fR, "));
    let value = flag.value_name().map_or(String::new(), |name| format!(" \\fI{name}\\fR"));
    format!("{short}\\fB\\-\\-{}\\fR{value}", escaped(flag.long))
}

fn explained(flag: &Flag) -> String {
    match flag.default() {
        Some(default) => format!("{} Default: `{default}`", flag.details),
        None => flag.details.to_owned(),
    }
}

/// Formats text in roff, with each sentence on lines of its own and text between backticks in bold.
fn roff(text: &str) -> String {
    let mut lines = String::new();
    for sentence in sentences(text) {
        lines.extend(wrapped(&emphasized(sentence.trim_end()), 0).lines().map(text_line));
    }
    lines
}

/// Splits text into sentences. A full stop between backticks does not end a sentence.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    for part in text.split_inclusive(". ") {
        match sentences.last_mut() {
            Some(open) if open.matches('`').count() % 2 == 1 => open.push_str(part),
            _ => sentences.push(part.to_owned()),
        }
    }
    sentences
}

fn emphasized(text: &str) -> String {
    let mut emphasized = String::new();
    for (i, part) in text.split('`').enumerate() {
        let is_bold = i % 2 == 1;
        emphasized += &if is_bold { format!("\\fB{}\\fR", escaped(part)) } else { escaped(part) };
    }
    emphasized
}

/// Formats a text line. A leading dot is escaped, so that the line is not a roff request.
fn text_line(line: &str) -> String {
    if line.starts_with('.') { format!("\\&{line}\n") } else { format!("{line}\n") }
}

/// Escapes backslashes, and the characters that roff would print as typographic ones, such as dashes and apostrophes.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' => escaped += "\\e",
            '-' => escaped += "\\-",
            '~' => escaped += "\\(ti",
            '^' => escaped += "\\(ha",
            '\'' => escaped += "\\(aq",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::FLAGS;
    use super::*;

    #[test]
    fn man_page_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/zen.1");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path, man()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), man(), "run the tests with UPDATE_EXPECTED=1");
    }

    #[test]
    fn a_full_stop_in_code_ends_no_sentence() {
        assert_eq!(
            roff("A reader (`zen ... | head`) goes. It stops."),
            "A reader (\\fBzen ... | head\\fR) goes.\nIt stops.\n"
        );
    }

    #[test]
    fn every_flag_has_its_item() {
        let page = man();
        for flag in FLAGS {
            assert_eq!(page.matches(&format!(".TP\n{}\n", spelled(flag))).count(), 1, "--{}", flag.long);
        }
    }

    #[test]
    fn exit_codes_and_variables_have_their_items() {
        let page = man();
        for (name, _) in exit_code::TABLE.iter().chain(ENVIRONMENT) {
            assert!(page.contains(&format!(".TP\n\\fB{}\\fR\n", escaped(name))), "{name}");
        }
    }

    #[test]
    fn every_backtick_has_its_partner() {
        assert!(!man().contains('`'));
        for flag in FLAGS {
            assert!(flag.details.matches('`').count().is_multiple_of(2), "--{}", flag.long);
        }
    }

    #[test]
    fn text_is_never_a_request_or_an_escape() {
        assert_eq!(roff(".SH"), "\\&.SH\n");
        assert_eq!(roff("'a"), "\\(aqa\n");
        assert_eq!(example(".a\n\\b"), ".PP\n.RS 4\n.EX\n\\&.a\n\\eb\n.EE\n.RE\n");
    }

    #[test]
    fn sentences_stand_on_lines_of_their_own() {
        assert_eq!(roff("Give `--grace`. Then wait."), "Give \\fB\\-\\-grace\\fR.\nThen wait.\n");
        assert!(man().lines().all(|line| line.is_ascii() && line.len() <= 80));
    }
}
