//! Slash commands: what in a message is one, and whether claude has it.
//!
//! claude itself takes an unknown command for text, or for nothing at all, and calls either a success; so zen asks
//! first. The rule for what is a command is claude's own.

use crate::nearest::nearest;

/// Answered by every generation, and listed by none.
const ALWAYS_THERE: &[&str] = &["help"];

/// What can be called in every generation, though it may not be listed, and what it does.
pub const UNLISTED: &[(&str, &str)] = &[
    ("clear", "Start the conversation afresh"),
    ("compact", "Go on with a summary of the conversation"),
    ("help", "Answered by claude itself, without a token"),
];

/// The name of the slash command that a message calls, without the slash, if it calls one.
///
/// A first word such as `/usr/bin/env` or `/etc/hosts.` has characters that no command name has; `/tmp` has not: where there
/// is no such command, that is a path, and the message is text.
#[must_use]
pub fn called_by(message: &str) -> Option<&str> {
    let word = message.split_whitespace().next()?;
    let name = word.strip_prefix('/')?;
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
    (message.starts_with('/') && !name.is_empty() && name.chars().all(of_a_name)).then_some(name)
}

/// The slash commands of one session, as claude listed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    names: Vec<String>,
}

impl Commands {
    /// Commands of these names, without slashes.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Commands { names }
    }

    /// Whether there is a command of this name.
    #[must_use]
    pub fn have(&self, name: &str) -> bool {
        ALWAYS_THERE.contains(&name) || self.names.iter().any(|n| n == name)
    }

    /// What to say of a command that is not there: the seed's words, and the nearest name.
    #[must_use]
    pub fn not_found(&self, name: &str) -> String {
        let known = self.names.iter().map(String::as_str).chain(ALWAYS_THERE.iter().copied());
        match nearest(name, known) {
            Some(near) => format!("Command not found: /{name} (did you mean /{near}?)"),
            None => format!("Command not found: /{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_claude_takes_for_one() {
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
            assert_eq!(called_by(message), command, "{message:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_the_nearest_name() {
        let commands = Commands::new(vec!["analyze-code".into(), "compact".into()]);
        assert!(commands.have("compact") && commands.have("help") && !commands.have("clear"));
        assert_eq!(
            commands.not_found("analyse-code"),
            "Command not found: /analyse-code (did you mean /analyze-code?)"
        );
        let unlike = "this-command-does-not-exist";
        assert_eq!(commands.not_found(unlike), "Command not found: /this-command-does-not-exist");
    }
}
