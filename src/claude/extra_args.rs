//! Validates `claude_args`: rejects options that override what zen relies on, or that cannot work in its conversation.
//! From `claude --help` of 1.0.128, 2.0.76, 2.1.330 and 2.1.332, and hidden options of the last.
//!
//! An unknown option is passed on: a newer claude may have it.

use std::path::Path;

use super::permissions;
use crate::base::text::quote_input;
use crate::claude::invocation::Invocation;

/// Number of values of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arity {
    None,
    /// One, even if it begins with a dash.
    One,
    /// One, if the next word is not an option.
    Optional,
    /// All words before the next option.
    Many,
}

/// The rule for an option.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Free,
    /// Passed by zen itself.
    OfZen,
    /// Covered by this field of the config.
    Field(&'static str),
    /// Rejected for this reason.
    Refused(&'static str),
    /// Allowed if the value is an existing file.
    File,
    /// Allowed if the value is a JSON object or an existing file.
    JsonOrFile,
}

struct CliOption {
    names: &'static [&'static str],
    arity: Arity,
    rule: Rule,
}

const fn option(names: &'static [&'static str], arity: Arity, rule: Rule) -> CliOption {
    CliOption { names, arity, rule }
}

const ENDS: Rule = Rule::Refused("makes claude exit without doing any work: leave it out");
const ELSEWHERE: Rule = Rule::Refused("moves the session out of the process that zen supervises: leave it out");
const NO_SETTINGS: Rule = Rule::Refused(
    "turns off settings, hooks and commands that zen relies on: choose what is loaded with --setting-sources",
);
const WORKTREE: Rule = Rule::Refused(
    "makes a work tree that is left behind and starts from the remote: use 'git worktree add' and the field 'cwd'",
);
const SCHEMA: Rule =
    Rule::Refused("gives an answer that zen does not read: describe the form of the answer in the field 'prompt'");
const SUGGESTIONS: Rule = Rule::Refused("asks the model again after the result: leave it out");

const DOLLARS: &str = "--max-budget-usd";
const NO_PERSISTENCE: &str = "--no-session-persistence";
/// Options that disable the hook by which zen enforces `allowed_tools`.
const WITHOUT_HOOK: &[&str] = &["--bare", "--safe-mode", "--settings"];
const RESTRICTED: &str = "--restricted";

static OPTIONS: &[CliOption] = &[
    option(&["--add-dir"], Arity::Many, Rule::Free),
    option(&["--agent"], Arity::One, Rule::Free),
    option(&["--agents"], Arity::One, Rule::JsonOrFile),
    option(&["--allow-dangerously-skip-permissions"], Arity::None, Rule::Field("permission_mode")),
    option(&["--allowed-tools", "--allowedTools"], Arity::Many, Rule::Field("allowed_tools")),
    option(&["--append-subagent-system-prompt", "--append-system-prompt"], Arity::One, Rule::Free),
    option(&["--append-subagent-system-prompt-file", "--append-system-prompt-file"], Arity::One, Rule::File),
    option(&["--attach-serve", "--sdk-url"], Arity::One, ELSEWHERE),
    option(&["--autocompact"], Arity::One, Rule::Free),
    option(&["--ax-screen-reader"], Arity::None, Rule::Free),
    option(&["--bare", "--safe-mode"], Arity::None, NO_SETTINGS),
    option(&["--betas"], Arity::Many, Rule::Free),
    option(&["--bg", "--background"], Arity::None, ELSEWHERE),
    option(&["--brief", "--chrome", "--no-chrome", "--ide"], Arity::None, Rule::Free),
    option(&["--cloud", "--rc", "--remote", "--remote-control", "--teleport"], Arity::Optional, ELSEWHERE),
    option(&["--continue", "-c", "--fork-session"], Arity::None, Rule::Field("session_id")),
    option(&["--dangerously-skip-permissions"], Arity::None, Rule::Field("permission_mode")),
    option(&["--debug", "-d"], Arity::Optional, Rule::Free),
    option(&["--debug-file"], Arity::One, Rule::Free),
    option(&["--desktop", "--from-link", "--session-tunnel", "--tmux"], Arity::None, ELSEWHERE),
    option(&["--disable-slash-commands"], Arity::None, Rule::Free),
    option(&["--disallowed-tools", "--disallowedTools"], Arity::Many, Rule::Field("disallowed_tools")),
    option(&["--effort"], Arity::One, Rule::Free),
    option(&["--environment", "--remote-control-session-name-prefix"], Arity::One, ELSEWHERE),
    option(&["--exclude-dynamic-system-prompt-sections"], Arity::None, Rule::Free),
    option(&["--fallback-model"], Arity::One, Rule::Free),
    option(&["--file"], Arity::Many, Rule::Free),
    option(&["--forward-subagent-text"], Arity::None, Rule::Free),
    option(&["--from-pr"], Arity::Optional, Rule::Field("session_id")),
    option(&["--help", "-h", "--init-only", "--version", "-v"], Arity::None, ENDS),
    option(&["--include-hook-events", "--include-partial-messages"], Arity::None, Rule::Free),
    option(&["--input-format", "--output-format"], Arity::One, Rule::OfZen),
    option(&["--json-schema"], Arity::One, SCHEMA),
    option(&[DOLLARS], Arity::One, Rule::Free),
    option(&["--max-turns", "--max-thinking-tokens", "--task-budget", "--thinking"], Arity::One, Rule::Free),
    option(&["--mcp-config"], Arity::Many, Rule::JsonOrFile),
    option(&["--mcp-debug"], Arity::None, Rule::Free),
    option(&["--model"], Arity::One, Rule::Field("model")),
    option(&["--name", "-n"], Arity::One, Rule::Free),
    option(&[NO_PERSISTENCE], Arity::None, Rule::Free),
    option(&["--permission-mode"], Arity::One, Rule::Field("permission_mode")),
    option(&["--permission-prompt-tool", "--permission-prompts"], Arity::One, Rule::Field("permission_mode")),
    option(&["--plugin-dir"], Arity::Many, Rule::File),
    option(&["--plugin-url"], Arity::One, Rule::Free),
    option(&["--print", "-p"], Arity::None, Rule::OfZen),
    option(&["--prompt-suggestions"], Arity::Optional, SUGGESTIONS),
    option(&["--replay-user-messages", RESTRICTED, "--strict-mcp-config", "--verbose"], Arity::None, Rule::Free),
    option(&["--resume", "-r"], Arity::Optional, Rule::Field("session_id")),
    option(
        &["--resume-drops-turn", "--resume-session-at", "--rewind-files", "--session-id"],
        Arity::One,
        Rule::Field("session_id"),
    ),
    option(&["--setting-sources"], Arity::One, Rule::Free),
    option(&["--settings"], Arity::One, Rule::JsonOrFile),
    option(&["--system-prompt", "--system-prompt-snapshot"], Arity::One, Rule::Free),
    option(&["--system-prompt-file"], Arity::One, Rule::File),
    option(&["--tools"], Arity::Many, Rule::Field("allowed_tools")),
    option(&["--worktree", "-w"], Arity::Optional, WORKTREE),
];

/// Existence check for files, given by planning.
pub type Exists<'a> = &'a dyn Fn(&Path) -> bool;

/// Returns the problems of an instance's `claude_args`, each once. `limits_dollars` is true if zen passes a dollar
/// limit.
#[must_use]
pub fn problems(invocation: &Invocation, limits_dollars: bool, exists: Exists) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    let mut add = |problem: Option<String>| problems.extend(problem);
    // Option that may take more values. An unknown option (`None`) may take any number.
    let mut open: Option<(&str, Option<&CliOption>)> = None;
    for word in &invocation.claude_args {
        match open {
            Some((name, Some(option))) if option.arity == Arity::One => {
                add(value_problem(name, option, word, invocation, exists));
                open = None;
            }
            _ if word == "--" => {
                add(Some("'--' would make claude take what follows for a prompt: leave it out".to_owned()));
                open = None;
            }
            _ if word.len() > 1 && word.starts_with('-') => {
                let (name, value) = split(word);
                let option = find(name);
                add(option.and_then(|option| option_problem(name, option, invocation, limits_dollars)));
                if let (Some(option), Some(value)) = (option, value) {
                    add(value_problem(name, option, value, invocation, exists));
                }
                let takes_more = value.is_none() && option.is_none_or(|option| option.arity != Arity::None);
                open = takes_more.then_some((name, option));
            }
            Some((_, None)) => {}
            Some((name, Some(option))) => {
                add(value_problem(name, option, word, invocation, exists));
                open = open.filter(|_| option.arity == Arity::Many);
            }
            None => add(Some(format!("'{}' is no option: give text in 'prompt'", quote_input(word)))),
        }
    }
    if let Some((name, Some(CliOption { arity: Arity::One, rule: Rule::Free | Rule::File | Rule::JsonOrFile, .. }))) =
        open
    {
        add(Some(format!("{name} has no value")));
    }
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}

/// Splits `--name=value`. For joined short options (`-cv`), or one with a value (`-dapi`), the first decides.
fn split(word: &str) -> (&str, Option<&str>) {
    let is_long = word.starts_with("--");
    match word.split_once('=') {
        Some((name, value)) if is_long => (name, Some(value)),
        _ if is_long || !word.is_char_boundary(2) || word.len() == 2 => (word, None),
        _ => (&word[..2], Some(&word[2..])),
    }
}

/// Returns the values of `--settings` in an instance's `claude_args`.
pub fn settings_values(claude_args: &[String]) -> impl Iterator<Item = &str> {
    let separate = claude_args.windows(2).filter(|words| words[0] == "--settings").map(|words| words[1].as_str());
    separate.chain(claude_args.iter().filter_map(|word| word.strip_prefix("--settings=")))
}

/// Returns true if an instance's `claude_args` select the settings files that claude reads.
#[must_use]
pub fn chooses_settings(claude_args: &[String]) -> bool {
    claude_args.iter().any(|word| word.split('=').next() == Some("--setting-sources"))
}

fn find(name: &str) -> Option<&'static CliOption> {
    OPTIONS.iter().find(|option| option.names.contains(&name))
}

fn option_problem(name: &str, option: &CliOption, invocation: &Invocation, limits_dollars: bool) -> Option<String> {
    if WITHOUT_HOOK.contains(&name) && invocation.allowed_tools.is_some() {
        return Some(format!("{name} would put allowed_tools out of force: leave one of them out"));
    }
    match option.rule {
        Rule::OfZen => Some(format!("{name} is zen's own to give, which talks to claude over a stream: leave it out")),
        Rule::Field(field) => {
            Some(format!("{name} would contradict what zen gives claude itself: use the field '{field}'"))
        }
        Rule::Refused(why) => Some(format!("{name} {why}")),
        Rule::Free | Rule::File | Rule::JsonOrFile => match name {
            DOLLARS if limits_dollars => Some(format!(
                "{name} would contradict the budget in dollars, which zen gives claude itself: leave it out"
            )),
            NO_PERSISTENCE if invocation.session.is_some() => {
                Some(format!("{name} would lose the conversation of 'session_id': leave one of them out"))
            }
            RESTRICTED
                if !permissions::is_mode_overridden(invocation)
                    && invocation.permission_mode == "bypassPermissions" =>
            {
                Some(format!(
                    "{name} does not work in permission mode bypassPermissions: set the field 'permission_mode'"
                ))
            }
            _ => None,
        },
    }
}

fn value_problem(
    name: &str,
    option: &CliOption,
    value: &str,
    invocation: &Invocation,
    exists: Exists,
) -> Option<String> {
    let is_json =
        || value.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    let is_file = || exists(&invocation.cwd.join(value));
    match option.rule {
        Rule::File if !is_file() => Some(format!("{name}: '{}' does not exist", quote_input(value))),
        Rule::JsonOrFile if !is_json() && !is_file() => {
            Some(format!("{name}: '{}' is neither a JSON object nor a file that exists", quote_input(value)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::planned;

    fn with(fields: &str, words: &[&str]) -> Vec<String> {
        let mut instance =
            planned(&format!(r#"{{"instances": [{{"command": "x", "cwd": "sub"{fields}}}]}}"#)).instances.remove(0);
        instance.invocation.claude_args = words.iter().map(ToString::to_string).collect();
        problems(&instance.invocation, false, &|path| path == Path::new("/w/sub/there.json"))
    }

    fn of(words: &[&str]) -> Vec<String> {
        with("", words)
    }

    /// Each option in the help of some generation is in the table, with the correct arity.
    #[test]
    fn every_option_of_every_generation_is_decided_upon() {
        for version in ["1.0.128", "2.0.76", "2.1.330"] {
            let file = format!("{}/fixtures/recorded/{version}/help.txt", env!("CARGO_MANIFEST_DIR"));
            let help = std::fs::read_to_string(file).expect("a recording");
            let lines = help.lines().skip_while(|line| *line != "Options:").take_while(|line| *line != "Commands:");
            let mut count = 0;
            for line in lines.filter_map(|line| line.strip_prefix("  ").filter(|line| line.starts_with('-'))) {
                let signature = line.split("  ").next().expect("a part");
                let arity = match signature {
                    _ if signature.contains("...>") => Arity::Many,
                    _ if signature.contains('<') => Arity::One,
                    _ if signature.contains('[') => Arity::Optional,
                    _ => Arity::None,
                };
                for name in signature.split([' ', ',']).filter(|word| word.starts_with('-')) {
                    count += 1;
                    let option = find(name).unwrap_or_else(|| panic!("{version}: {name}"));
                    let is_right = option.arity == arity || name == "--plugin-dir";
                    assert!(is_right, "{version}: {name} takes {arity:?}");
                }
            }
            assert!(count > 20, "{version}: {count} options");
        }
    }

    #[test]
    fn options_that_take_over_are_refused_with_the_way_out() {
        for (words, expected) in [
            (&["--resume=x"][..], "--resume would contradict what zen gives claude itself: use the field 'session_id'"),
            (&["--print"], "--print is zen's own to give, which talks to claude over a stream: leave it out"),
            (&["--bg"], "--bg moves the session out of the process that zen supervises: leave it out"),
            (&["-v"], "-v makes claude exit without doing any work: leave it out"),
            (&["--help"], "--help makes claude exit without doing any work: leave it out"),
            (&["-cv"], "-c would contradict what zen gives claude itself: use the field 'session_id'"),
            (&["--permission-prompts", "host"], "--permission-prompts would contradict"),
            (&["--bare"], "--bare turns off settings, hooks and commands that zen relies on: "),
            (&["--worktree"], "--worktree makes a work tree that is left behind"),
            (&["-w", "tree"], "-w makes a work tree that is left behind"),
            (&["--json-schema", "{}"], "--json-schema gives an answer that zen does not read: "),
            (&["Bash"], "'Bash' is no option: give text in 'prompt'"),
            (&["--verbose", "mcp"], "'mcp' is no option"),
            (&["--effort", "high", "x"], "'x' is no option"),
            (&["--debug", "api", "x"], "'x' is no option"),
            (&["--", "x"], "'--' would make claude take what follows for a prompt: leave it out"),
            (&["--effort"], "--effort has no value"),
            (&["--restricted"], "--restricted does not work in permission mode bypassPermissions: "),
            (&["--settings", "gone.json"], "--settings: 'gone.json' is neither a JSON object nor a file that exists"),
            (&["--settings={bad"], "--settings: '{bad' is neither a JSON object nor a file that exists"),
            (&["--mcp-config", "there.json", "gone"], "--mcp-config: 'gone' is neither"),
            (&["--append-system-prompt-file", "gone"], "--append-system-prompt-file: 'gone' does not exist"),
            (&["--plugin-dir", "gone"], "--plugin-dir: 'gone' does not exist"),
        ] {
            let problems = of(words);
            assert!(problems.first().is_some_and(|problem| problem.starts_with(expected)), "{words:?}: {problems:?}");
        }
        assert_eq!(of(&["--model", "x", "--model=y"]).len(), 1, "each is reported once");
    }

    #[test]
    fn settings_are_found_in_both_forms() {
        let words = ["--settings", "a", "--effort", "high", "--settings={}"].map(str::to_owned);
        assert_eq!(settings_values(&words).collect::<Vec<_>>(), ["a", "{}"]);
        assert!(!chooses_settings(&words));
        assert!(chooses_settings(&["--setting-sources=user".to_owned()]));
    }

    #[test]
    fn other_options_and_their_values_are_passed_on() {
        for words in [
            &["--effort", "high", "--add-dir", "a", "b", "--append-system-prompt", "--bg", "--brief"][..],
            &["--settings", "there.json", "--settings", r#"{"a": 1}"#, "--mcp-config", r#"{"mcpServers": {}}"#],
            &["--of-a-later-version", "x", "y", "--max-turns=3", "-d", "-dapi", "-n", "name"],
            &["--no-session-persistence", "--max-budget-usd", "1", "--append-system-prompt", "-"],
            &[],
        ] {
            assert_eq!(of(words), Vec::<String>::new(), "{words:?}");
        }
        assert_eq!(with(r#", "permission_mode": "default""#, &["--restricted"]), Vec::<String>::new());
        let lost = with(r#", "session_id": "s""#, &["--no-session-persistence"]);
        assert_eq!(
            lost,
            ["--no-session-persistence would lose the conversation of 'session_id': leave one of them out"]
        );
    }
}
