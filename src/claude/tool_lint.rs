//! Checks of tool rules in a config: rules that claude cannot parse, that restrict nothing, or that are probably a
//! mistake.

use std::fmt;

use super::tool_policy;
use super::tools::{is_known, known, name, pattern};
use crate::base::suggest::closest_match;
use crate::base::text::quote_input;

/// Tools that no mode prompts for inside the workspace, so that a pattern of them restricts nothing.
const NEVER_PROMPTED: &[&str] = &["Agent", "Glob", "Grep", "LS", "Read", "Task", "TodoWrite"];

/// Programs that run other programs given as arguments. A pattern that covers all their arguments allows all of Bash.
const RUNNERS: &[&str] = &[
    "awk",
    "bash",
    "bun",
    "bunx",
    "busybox",
    "cargo",
    "command",
    "crontab",
    "dash",
    "deno",
    "docker",
    "env",
    "eval",
    "exec",
    "expect",
    "find",
    "gawk",
    "gdb",
    "git",
    "go",
    "just",
    "ksh",
    "less",
    "lua",
    "make",
    "man",
    "nice",
    "node",
    "nohup",
    "npm",
    "npx",
    "parallel",
    "perl",
    "php",
    "pip",
    "pip3",
    "pnpm",
    "podman",
    "python",
    "python3",
    "rsync",
    "ruby",
    "scp",
    "script",
    "sed",
    "setsid",
    "sh",
    "source",
    "ssh",
    "strace",
    "stdbuf",
    "sudo",
    "systemd-run",
    "tar",
    "time",
    "timeout",
    "tmux",
    "uv",
    "vi",
    "vim",
    "watch",
    "xargs",
    "yarn",
    "zsh",
];

/// Rule that claude or zen does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolError {
    /// Text that is no tool and no pattern of one.
    NotATool(String),
    /// A tool in the wrong case.
    WrongCase {
        /// Name, as written.
        tool: String,
        /// Name of the tool.
        correct: &'static str,
    },
    /// A pattern that zen cannot evaluate.
    UnsupportedPattern(String),
    /// A pattern of a tool that claude uses without asking.
    NeverPrompted(String),
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ToolError::NotATool(tool) => write!(
                f,
                "'{}' is not a tool: use a form such as Read, Bash(git log *) or mcp__server__tool",
                quote_input(tool)
            ),
            ToolError::WrongCase { tool, correct } => {
                write!(f, "'{}' is not a tool, did you mean '{correct}'?", quote_input(tool))
            }
            ToolError::UnsupportedPattern(rule) => write!(
                f,
                "'{}' cannot be enforced: unsupported pattern: allow {} or leave it out",
                quote_input(rule),
                name(rule)
            ),
            ToolError::NeverPrompted(rule) => {
                let name = name(rule);
                write!(
                    f,
                    "'{}' cannot be enforced: claude uses {name} in the workspace without asking: allow {name}, and list in \
                     disallowed_tools what to deny",
                    quote_input(rule)
                )
            }
        }
    }
}

/// Rule that is valid and probably a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolWarning {
    /// An unknown tool with a name similar to a known one.
    UnknownTool {
        /// Name, as written.
        tool: String,
        /// Similar name.
        suggestion: &'static str,
    },
    /// A pattern that allows every argument of a program that runs other programs.
    RunsAnyProgram {
        /// Rule, as written.
        rule: String,
        /// Program that runs others.
        program: &'static str,
    },
    /// A denied tool that is also allowed.
    AlsoAllowed(String),
}

impl fmt::Display for ToolWarning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ToolWarning::UnknownTool { tool, suggestion } => {
                write!(f, "unknown tool '{}', did you mean '{suggestion}'?", quote_input(tool))
            }
            ToolWarning::RunsAnyProgram { rule, program } => write!(
                f,
                "'{}' allows any program, because {program} runs others: name a subcommand, as in Bash(git log *)",
                quote_input(rule)
            ),
            ToolWarning::AlsoAllowed(tool) => {
                write!(f, "'{}' is in allowed_tools too: it is denied", quote_input(tool))
            }
        }
    }
}

/// Returns the error if claude could not parse the text as a tool or a pattern of one.
#[must_use]
pub fn syntax_error(rule: &str) -> Option<ToolError> {
    let tool = name(rule);
    let is_closed = !rule.contains('(') || rule.ends_with(')');
    if !is_tool_name(tool) || !is_closed {
        return Some(ToolError::NotATool(rule.to_owned()));
    }
    if is_known(tool) {
        return None;
    }
    // claude would accept it as an unknown tool, and it would restrict nothing.
    let correct = known().find(|known| known.eq_ignore_ascii_case(tool))?;
    Some(ToolError::WrongCase { tool: tool.to_owned(), correct })
}

fn is_tool_name(tool: &str) -> bool {
    let is_of_server = tool.starts_with("mcp__");
    !tool.is_empty() && tool.chars().all(|c| c.is_alphanumeric() || "_-.:/".contains(c) || (c == '*' && is_of_server))
}

/// Returns the error about a pattern that restricts nothing on any generation, with the alternative.
///
/// Such a config does not start: that is better than a silent hole.
#[must_use]
pub fn enforcement_error(rule: &str) -> Option<ToolError> {
    if NEVER_PROMPTED.contains(&name(rule)) {
        pattern(rule)?;
        return Some(ToolError::NeverPrompted(rule.to_owned()));
    }
    if tool_policy::can_decide(rule) { None } else { Some(ToolError::UnsupportedPattern(rule.to_owned())) }
}

/// Returns the warning about an unknown tool with a name similar to a known one.
#[must_use]
pub fn typo_warning(rule: &str) -> Option<ToolWarning> {
    let tool = name(rule);
    if is_known(tool) || tool.starts_with("mcp__") {
        return None;
    }
    let suggestion = closest_match(tool, known())?;
    if suggestion.eq_ignore_ascii_case(tool) {
        return None;
    }
    Some(ToolWarning::UnknownTool { tool: tool.to_owned(), suggestion })
}

/// Returns the warning about a pattern that allows every argument of a program that runs other programs.
#[must_use]
pub fn runner_warning(rule: &str) -> Option<ToolWarning> {
    if name(rule) != "Bash" {
        return None;
    }
    let command = pattern(rule)?;
    let path = command.split([' ', ':', '*']).next()?;
    let rest = &command[path.len()..];
    if !rest.contains('*') || rest.contains(|c| !matches!(c, ' ' | ':' | '*')) {
        return None;
    }
    let base = path.rsplit('/').next().unwrap_or(path);
    let program = RUNNERS.iter().find(|runner| **runner == base)?;
    Some(ToolWarning::RunsAnyProgram { rule: rule.to_owned(), program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_a_tool_is_an_error() {
        for tool in ["Read", "Bash(git *)", "mcp__my-server__do.it", "mcp__*", "Bash(a (b) c)", "Skill(plugin:x)"] {
            assert_eq!(syntax_error(tool), None, "{tool}");
        }
        for tool in ["", "Read (src/**)", "Bash(git", "Read Grep", "(x)", "\u{200b}Read", "*"] {
            assert_eq!(syntax_error(tool), Some(ToolError::NotATool(tool.to_owned())), "{tool}");
        }
        for tool in ["bash", "BASH(git *)"] {
            assert!(matches!(syntax_error(tool), Some(ToolError::WrongCase { correct: "Bash", .. })), "{tool}");
        }
    }

    #[test]
    fn similar_name_is_suggested_and_new_tool_is_accepted() {
        for (rule, expected) in [("Bsh", "Bash"), ("Wirte", "Write"), ("WebFecth(domain:x)", "WebFetch")] {
            let warning = ToolWarning::UnknownTool { tool: name(rule).to_owned(), suggestion: expected };
            assert_eq!(typo_warning(rule), Some(warning));
        }
        for rule in ["Bash(git *)", "Task", "mcp__bash", "Telescope"] {
            assert_eq!(typo_warning(rule), None, "{rule}");
        }
    }

    #[test]
    fn pattern_of_a_program_that_runs_others_causes_a_warning() {
        for rule in
            ["Bash(git *)", "Bash(git:*)", "Bash(make*)", "Bash(/usr/bin/env *)", "Bash(python3 *)", "Bash(sh:*)"]
        {
            assert!(matches!(runner_warning(rule), Some(ToolWarning::RunsAnyProgram { .. })), "{rule}");
        }
        for rule in ["Bash", "Bash(git log *)", "Bash(make test)", "Bash(ls *)", "Bash(*)", "Edit(git/*)", "Bash(git)"]
        {
            assert_eq!(runner_warning(rule), None, "{rule}");
        }
    }

    #[test]
    fn rule_that_restricts_nothing_is_an_error() {
        for tool in ["Bash(git *)", "Read", "Edit(src/**)", "mcp__s"] {
            assert_eq!(enforcement_error(tool), None, "{tool}");
        }
        for tool in ["Read(src/**)", "Task(explore)"] {
            assert_eq!(enforcement_error(tool), Some(ToolError::NeverPrompted(tool.to_owned())), "{tool}");
        }
        let tool = "WebSearch(x)";
        assert_eq!(enforcement_error(tool), Some(ToolError::UnsupportedPattern(tool.to_owned())));
    }
}
