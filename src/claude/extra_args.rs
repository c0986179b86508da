//! Validates `claude_args`: rejects options that override what zen relies on, or that cannot work in its conversation.
//! From `claude --help` of 1.0.128, 2.0.76, 2.1.330 and 2.1.332, and hidden options of the last.
//!
//! An unknown option is passed on: a newer claude may have it.

use std::collections::HashSet;
use std::fmt;
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
    "disables settings, hooks and commands that zen relies on: choose the settings files with --setting-sources",
);
const WORKTREE: Rule = Rule::Refused(
    "creates a work tree that is not removed and starts from the remote: use 'git worktree add' and the field 'cwd'",
);
const SCHEMA: Rule = Rule::Refused("returns an answer that zen does not read: describe its form in the field 'prompt'");
const SUGGESTIONS: Rule = Rule::Refused("calls the model again after the result: leave it out");

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

/// Element of `claude_args` that does not work with zen. `option` is its name, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ArgumentError {
    /// An option that zen passes itself.
    SetByZen {
        /// Name of the option.
        option: String,
    },
    /// An option that a field of the config sets.
    HasField {
        /// Name of the option.
        option: String,
        /// The field.
        field: &'static str,
    },
    /// An option that cannot work under zen.
    Refused {
        /// Name of the option.
        option: String,
        /// Effect of the option, and the alternative.
        reason: &'static str,
    },
    /// An option that disables the hook by which zen enforces `allowed_tools`.
    DisablesHook {
        /// Name of the option.
        option: String,
    },
    /// A dollar limit beside that of the budget.
    DollarLimit,
    /// An option that discards the conversation of a named session.
    DiscardsSession,
    /// An option that does not work in the mode `bypassPermissions`.
    NeedsOtherMode,
    /// The word `--`.
    Separator,
    /// Text that is no option.
    NotAnOption(String),
    /// An option without its value.
    MissingValue {
        /// Name of the option.
        option: String,
    },
    /// A value that is not an existing file.
    MissingFile {
        /// Name of the option.
        option: String,
        /// Value, as written.
        value: String,
    },
    /// A value that is neither a JSON object nor an existing file.
    NeitherJsonNorFile {
        /// Name of the option.
        option: String,
        /// Value, as written.
        value: String,
    },
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ArgumentError::SetByZen { option } => write!(f, "{option} is set by zen: leave it out"),
            ArgumentError::HasField { option, field } => {
                write!(f, "{option} conflicts with an option of zen: use the field '{field}'")
            }
            ArgumentError::Refused { option, reason } => write!(f, "{option} {reason}"),
            ArgumentError::DisablesHook { option } => {
                write!(f, "{option} would disable allowed_tools: leave one of them out")
            }
            ArgumentError::DollarLimit => {
                write!(f, "{DOLLARS} conflicts with the budget in dollars, which zen passes to claude: leave it out")
            }
            ArgumentError::DiscardsSession => {
                write!(f, "{NO_PERSISTENCE} would discard the conversation of 'session_id': leave one of them out")
            }
            ArgumentError::NeedsOtherMode => write!(
                f,
                "{RESTRICTED} does not work in permission mode bypassPermissions: set the field 'permission_mode'"
            ),
            ArgumentError::Separator => f.write_str("'--' would turn the words after it into a prompt: leave it out"),
            ArgumentError::NotAnOption(word) => {
                write!(f, "'{}' is not an option: put text into 'prompt'", quote_input(word))
            }
            ArgumentError::MissingValue { option } => write!(f, "{option} needs a value"),
            ArgumentError::MissingFile { option, value } => {
                write!(f, "{option}: '{}' does not exist", quote_input(value))
            }
            ArgumentError::NeitherJsonNorFile { option, value } => {
                write!(f, "{option}: '{}' is neither a JSON object nor an existing file", quote_input(value))
            }
        }
    }
}

/// Returns the problems of an instance's `claude_args`, each once. `limits_dollars` is true if zen passes a dollar
/// limit.
#[must_use]
pub fn problems(invocation: &Invocation, limits_dollars: bool, exists: Exists) -> Vec<ArgumentError> {
    let mut checker = Checker { invocation, limits_dollars, exists, errors: Vec::new(), seen: HashSet::new() };
    // Option that may take more values. An unknown option (`None`) may take any number.
    let mut open = None;
    for word in &invocation.claude_args {
        open = checker.word(word, open);
    }
    if let Some((name, Some(CliOption { arity: Arity::One, rule: Rule::Free | Rule::File | Rule::JsonOrFile, .. }))) =
        open
    {
        checker.add(ArgumentError::MissingValue { option: name.to_owned() });
    }
    checker.errors
}

/// Checker of the words of one instance's `claude_args`.
struct Checker<'a> {
    invocation: &'a Invocation,
    limits_dollars: bool,
    exists: Exists<'a>,
    errors: Vec<ArgumentError>,
    seen: HashSet<ArgumentError>,
}

/// Name of an option, and its entry in the table.
type OpenOption<'a> = Option<(&'a str, Option<&'static CliOption>)>;

impl Checker<'_> {
    fn add(&mut self, error: ArgumentError) {
        if self.seen.insert(error.clone()) {
            self.errors.push(error);
        }
    }

    /// Checks a word. `open` is the option that may take it as a value. Returns the option that may take the next word.
    fn word<'w>(&mut self, word: &'w str, open: OpenOption<'w>) -> OpenOption<'w> {
        if let Some((name, Some(option))) = open
            && option.arity == Arity::One
        {
            self.value(name, option, word);
            return None;
        }
        if word == "--" {
            self.add(ArgumentError::Separator);
            return None;
        }
        if word.len() > 1 && word.starts_with('-') {
            return self.option(word);
        }
        match open {
            Some((name, Some(option))) => {
                self.value(name, option, word);
                if option.arity == Arity::Many { open } else { None }
            }
            Some((_, None)) => open,
            None => {
                self.add(ArgumentError::NotAnOption(word.to_owned()));
                None
            }
        }
    }

    /// Checks an option, and its value if that is in the same word.
    fn option<'w>(&mut self, word: &'w str) -> OpenOption<'w> {
        let (name, value) = split(word);
        let Some(option) = find(name) else { return if value.is_none() { Some((name, None)) } else { None } };
        if let Some(error) = self.option_error(name, option) {
            self.add(error);
        }
        match value {
            Some(value) => self.value(name, option, value),
            None if option.arity != Arity::None => return Some((name, Some(option))),
            None => {}
        }
        None
    }

    fn option_error(&self, name: &str, option: &CliOption) -> Option<ArgumentError> {
        let invocation = self.invocation;
        let is_bypassing =
            !permissions::is_mode_overridden(invocation) && invocation.permission_mode == "bypassPermissions";
        let option_name = name.to_owned();
        if WITHOUT_HOOK.contains(&name) && invocation.allowed_tools.is_some() {
            return Some(ArgumentError::DisablesHook { option: option_name });
        }
        match option.rule {
            Rule::OfZen => Some(ArgumentError::SetByZen { option: option_name }),
            Rule::Field(field) => Some(ArgumentError::HasField { option: option_name, field }),
            Rule::Refused(reason) => Some(ArgumentError::Refused { option: option_name, reason }),
            Rule::Free | Rule::File | Rule::JsonOrFile => match name {
                DOLLARS if self.limits_dollars => Some(ArgumentError::DollarLimit),
                NO_PERSISTENCE if invocation.session.is_some() => Some(ArgumentError::DiscardsSession),
                RESTRICTED if is_bypassing => Some(ArgumentError::NeedsOtherMode),
                _ => None,
            },
        }
    }

    fn value(&mut self, name: &str, option: &CliOption, value: &str) {
        let (option_name, owned) = (name.to_owned(), value.to_owned());
        match option.rule {
            Rule::File if !self.is_file(value) => {
                self.add(ArgumentError::MissingFile { option: option_name, value: owned });
            }
            Rule::JsonOrFile if !is_json_object(value) && !self.is_file(value) => {
                self.add(ArgumentError::NeitherJsonNorFile { option: option_name, value: owned });
            }
            _ => {}
        }
    }

    fn is_file(&self, value: &str) -> bool {
        (self.exists)(&self.invocation.cwd.join(value))
    }
}

fn is_json_object(value: &str) -> bool {
    value.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::planned;

    fn errors_with(fields: &str, words: &[&str]) -> Vec<ArgumentError> {
        let mut instance =
            planned(&format!(r#"{{"instances": [{{"command": "x", "cwd": "sub"{fields}}}]}}"#)).instances.remove(0);
        instance.invocation.claude_args = words.iter().map(ToString::to_string).collect();
        problems(&instance.invocation, false, &|path| path == Path::new("/w/sub/there.json"))
    }

    fn errors(words: &[&str]) -> Vec<ArgumentError> {
        errors_with("", words)
    }

    /// Each option in the help of some generation is in the table, with the correct arity.
    #[test]
    fn every_option_of_every_generation_is_in_the_table() {
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
    fn options_that_cannot_work_are_errors() {
        let option = |name: &str| name.to_owned();
        let has_field = |name: &str, field| ArgumentError::HasField { option: option(name), field };
        let missing = |name: &str| ArgumentError::MissingFile { option: option(name), value: "gone".into() };
        let neither =
            |name: &str, value: &str| ArgumentError::NeitherJsonNorFile { option: option(name), value: value.into() };
        let not_an_option = |word: &str| ArgumentError::NotAnOption(word.to_owned());
        for (words, expected) in [
            (&["--resume=x"][..], has_field("--resume", "session_id")),
            (&["--print"], ArgumentError::SetByZen { option: option("--print") }),
            (&["-cv"], has_field("-c", "session_id")),
            (&["--permission-prompts", "host"], has_field("--permission-prompts", "permission_mode")),
            (&["Bash"], not_an_option("Bash")),
            (&["--verbose", "mcp"], not_an_option("mcp")),
            (&["--effort", "high", "x"], not_an_option("x")),
            (&["--debug", "api", "x"], not_an_option("x")),
            (&["--", "x"], ArgumentError::Separator),
            (&["--effort"], ArgumentError::MissingValue { option: option("--effort") }),
            (&["--restricted"], ArgumentError::NeedsOtherMode),
            (&["--settings", "gone.json"], neither("--settings", "gone.json")),
            (&["--settings={bad"], neither("--settings", "{bad")),
            (&["--mcp-config", "there.json", "gone"], neither("--mcp-config", "gone")),
            (&["--append-system-prompt-file", "gone"], missing("--append-system-prompt-file")),
            (&["--plugin-dir", "gone"], missing("--plugin-dir")),
        ] {
            assert_eq!(errors(words).first(), Some(&expected), "{words:?}");
        }
        for words in [
            &["--bg"][..],
            &["-v"],
            &["--help"],
            &["--bare"],
            &["--worktree"],
            &["-w", "tree"],
            &["--json-schema", "{}"],
        ] {
            let name = words[0];
            let errors = errors(words);
            let is_refused = matches!(&errors[..], [ArgumentError::Refused { option, .. }] if option == name);
            assert!(is_refused, "{words:?}: {errors:?}");
        }
        assert_eq!(errors(&["--model", "x", "--model=y"]).len(), 1, "each is reported once");
    }

    #[test]
    fn settings_are_found_in_both_forms() {
        let words = ["--settings", "a", "--effort", "high", "--settings={}"].map(str::to_owned);
        assert_eq!(settings_values(&words).collect::<Vec<_>>(), ["a", "{}"]);
        assert!(!chooses_settings(&words));
        assert!(chooses_settings(&["--setting-sources=user".to_owned()]));
    }

    #[test]
    fn other_options_and_values_are_accepted() {
        for words in [
            &["--effort", "high", "--add-dir", "a", "b", "--append-system-prompt", "--bg", "--brief"][..],
            &["--settings", "there.json", "--settings", r#"{"a": 1}"#, "--mcp-config", r#"{"mcpServers": {}}"#],
            &["--of-a-later-version", "x", "y", "--max-turns=3", "-d", "-dapi", "-n", "name"],
            &["--no-session-persistence", "--max-budget-usd", "1", "--append-system-prompt", "-"],
            &[],
        ] {
            assert_eq!(errors(words), [], "{words:?}");
        }
        assert_eq!(errors_with(r#", "permission_mode": "default""#, &["--restricted"]), []);
        let errors = errors_with(r#", "session_id": "s""#, &["--no-session-persistence"]);
        assert_eq!(errors, [ArgumentError::DiscardsSession]);
    }
}
