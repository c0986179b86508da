//! Slash commands: finds the command in a message, and checks that claude has it.
//!
//! claude treats an unknown command as text or ignores it, and reports success in both cases; so zen queries the list
//! first. The syntax of a command is claude's own.

use std::fmt;

use crate::base::suggest::closest_match;

/// Commands that every generation answers and none lists.
const ALWAYS_THERE: &[&str] = &["help"];

/// Commands that claude answers itself, and that succeed without a model.
///
/// Measured on 2.1.332, 2.0.76 and 1.0.128 with every command that `initialize` lists. `/compact`, `/goal` and `/recap`
/// call a model only if there is something to do.
const LOCAL: &[&str] = &[
    "agents",
    "auto-mode-setup",
    "autocompact",
    "clear",
    "color",
    "compact",
    "config",
    "context",
    "cost",
    "effort",
    "fast",
    "focus",
    "goal",
    "heapdump",
    "help",
    "list-agents",
    "mcp",
    "model",
    "name",
    "new",
    "output-style",
    "peers",
    "recap",
    "release-notes",
    "reload-plugins",
    "reload-skills",
    "rename",
    "reset",
    "settings",
    "stats",
    "todos",
    "usage",
];

/// Returns true if claude answers this command without a model.
#[must_use]
pub fn is_local(name: &str) -> bool {
    LOCAL.contains(&name)
}

/// Commands of every generation that may be missing from its list, with their descriptions.
pub const UNLISTED: &[(&str, &str)] = &[
    ("clear", "Start a new conversation"),
    ("compact", "Continue with a summary of the conversation"),
    ("help", "Answered by claude without using tokens"),
];

/// Returns true if every generation accepts this command in every session, listed or not.
#[must_use]
pub fn always_works(name: &str) -> bool {
    UNLISTED.iter().any(|(unlisted, _)| *unlisted == name)
}

/// Returns true if an MCP server provides this command: `mcp__SERVER__PROMPT`.
#[must_use]
pub fn is_of_server(name: &str) -> bool {
    name.starts_with("mcp__")
}

/// Removes the blanks before a command's slash: claude treats ` /x` as text.
#[must_use]
pub fn trimmed(text: &str) -> &str {
    let trimmed = text.trim_start();
    if trimmed.starts_with('/') { trimmed } else { text }
}

/// Parses the slash command that a message calls. Returns its name without the slash, or `None` for text.
///
/// A first word such as `/usr/bin/env` or `/etc/hosts.` has characters that no command name has, so it is text.
/// `/tmp is full` calls a command: sent as text it would cost tokens for what may be a typo.
#[must_use]
pub fn parse_invocation(message: &str) -> Option<&str> {
    let word = message.split_whitespace().next()?;
    let name = word.strip_prefix('/')?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_'));
    if message.starts_with('/') && !name.is_empty() && is_name { Some(name) } else { None }
}

/// A slash command as claude lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedCommand {
    /// Name without the slash.
    pub name: String,
    /// Description, without the source that claude adds to it.
    pub description: String,
    /// Placeholder of the arguments.
    pub argument_hint: String,
    /// Aliases (2.1).
    pub aliases: Vec<String>,
    /// Source according to claude.
    pub source: CommandSource,
}

/// Source of a command according to claude.
///
/// 1.0 reports the user's own commands as the project's, so the command's file is more reliable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CommandSource {
    /// No source reported: built in.
    #[default]
    Claude,
    /// The project's files.
    Project,
    /// The user's files.
    User,
    /// The plugin of this name.
    Plugin(String),
}

impl ListedCommand {
    /// Returns true if claude runs this command by this name.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Slash commands of one session, as listed by claude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    listed: Vec<ListedCommand>,
}

impl Commands {
    /// Creates the list from names without slashes.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        let mut listed = Vec::with_capacity(names.len());
        for name in names {
            listed.push(ListedCommand { name, ..ListedCommand::default() });
        }
        Commands { listed }
    }

    /// Creates the list from claude's own.
    #[must_use]
    pub fn from_listed(listed: Vec<ListedCommand>) -> Self {
        Commands { listed }
    }

    /// Returns the commands in claude's order.
    #[must_use]
    pub fn listed(&self) -> &[ListedCommand] {
        &self.listed
    }

    /// Returns true if there is a command of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        ALWAYS_THERE.contains(&name) || self.listed.iter().any(|command| command.has_name(name))
    }

    /// Returns the error for an unknown command. It has the nearest name or, if the name is also a path, the field for
    /// text.
    #[must_use]
    pub fn not_found(&self, name: &str, is_path: bool) -> CommandNotFound {
        let mut known = ALWAYS_THERE.to_vec();
        for command in &self.listed {
            known.push(&command.name);
            known.extend(command.aliases.iter().map(String::as_str));
        }
        let hint = match closest_match(name, known) {
            Some(similar) => NotFoundHint::Similar(vec![similar.to_owned()]),
            None if is_path => NotFoundHint::Path,
            None => NotFoundHint::None,
        };
        CommandNotFound { name: name.to_owned(), hint }
    }
}

/// Slash command that claude does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandNotFound {
    /// Name without the slash.
    pub name: String,
    /// Hint for the user.
    pub hint: NotFoundHint,
}

/// Hint about an unknown slash command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFoundHint {
    /// No hint.
    None,
    /// Similar names; at least one.
    Similar(Vec<String>),
    /// The name is also a path, so that the message may be text.
    Path,
    /// The option that lists all commands.
    List,
}

impl fmt::Display for CommandNotFound {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Command not found: /{}", self.name)?;
        match &self.hint {
            NotFoundHint::None => Ok(()),
            NotFoundHint::Similar(names) => write!(f, " (did you mean /{}?)", alternatives(names)),
            NotFoundHint::Path => f.write_str(" (text that begins with a path belongs in 'prompt')"),
            NotFoundHint::List => f.write_str(" (zen --list-commands lists the commands)"),
        }
    }
}

/// Joins names as `a, /b or /c`.
fn alternatives(names: &[String]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or /{last}", first.join(", /")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_parsed_as_claude_parses_it() {
        for (message, command) in [
            ("/help", Some("help")),
            ("/analyze-code src --deep", Some("analyze-code")),
            ("/generate\nreport", Some("generate")),
            ("/plugin:review_2", Some("plugin:review_2")),
            ("/tmp is full", Some("tmp")),
            ("/usr/bin/env is there", None),
            ("/etc/hosts.", None),
            ("/ alone", None),
            ("//", None),
            ("/über", None),
            (" /help", None),
            ("What does /help do?", None),
            ("", None),
        ] {
            assert_eq!(parse_invocation(message), command, "{message:?}");
        }
    }

    #[test]
    fn unknown_command_has_the_nearest_name() {
        let commands = Commands::new(vec!["analyze-code".into(), "compact".into()]);
        assert!(commands.contains("compact") && commands.contains("help") && !commands.contains("clear"));
        assert_eq!(
            commands.not_found("analyse-code", true).to_string(),
            "Command not found: /analyse-code (did you mean /analyze-code?)"
        );
        let unlike = "this-command-does-not-exist";
        assert_eq!(commands.not_found(unlike, false).to_string(), "Command not found: /this-command-does-not-exist");
        assert_eq!(
            commands.not_found("tmp", true).to_string(),
            "Command not found: /tmp (text that begins with a path belongs in 'prompt')"
        );
    }

    #[test]
    fn only_blanks_before_a_slash_are_removed() {
        for (text, expected) in [(" \n/help x ", "/help x "), ("/help", "/help"), (" text /x", " text /x"), ("", "")] {
            assert_eq!(trimmed(text), expected);
        }
        assert!(always_works("clear") && always_works("compact") && always_works("help") && !always_works("review"));
    }
}
