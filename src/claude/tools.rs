//! Syntax of tool rules: tool names, and patterns such as `Bash(git *)` that allow or deny a part of a tool. Which
//! rules an instance has, and how each generation receives them, is decided elsewhere.

use std::borrow::Cow;

use super::tool_policy;
use crate::base::suggest::closest_match;
use crate::base::text::quote_input;

/// Tools of 1.0, where they can be denied only by name. Newer generations restrict with `--tools`.
pub(super) const OF_1_0: &[&str] = &[
    "Bash",
    "BashOutput",
    "Edit",
    "ExitPlanMode",
    "Glob",
    "Grep",
    "KillShell",
    "MultiEdit",
    "NotebookEdit",
    "Read",
    "SlashCommand",
    "Task",
    "TodoWrite",
    "WebFetch",
    "WebSearch",
    "Write",
];

/// Further tools of all other generations.
const OF_OTHERS: &[&str] = &[
    "Agent",
    "AskUserQuestion",
    "CronCreate",
    "CronDelete",
    "CronList",
    "EnterPlanMode",
    "EnterWorktree",
    "ExitWorktree",
    "LS",
    "LSP",
    "ListAgents",
    "NotebookRead",
    "ReportFindings",
    "ScheduleWakeup",
    "SendMessage",
    "Skill",
    "TaskOutput",
    "TaskStop",
    "ToolSearch",
    "Workflow",
];

/// Names of the subagent tool: that of 2.1, and that of the older generations.
pub(super) const SUBAGENTS: &[&str] = &["Agent", "Task"];

/// Tools that write files. claude knows only patterns of `Edit` and applies them to all of these.
pub(super) const WRITING: &[&str] = &["Edit", "MultiEdit", "NotebookEdit", "Write"];

/// Tools that read files. claude applies patterns of `Read` to all of these.
const READING: &[&str] = &["Glob", "Grep", "LS", "Read"];

/// Tools that no mode prompts for inside the workspace, so that a pattern of them restricts nothing.
const NEVER_PROMPTED: &[&str] = &["Agent", "Glob", "Grep", "LS", "Read", "Task", "TodoWrite"];

/// Returns true if some generation of claude has a tool of this name. Any other name is the model's invention.
pub(super) fn is_known(tool: &str) -> bool {
    OF_1_0.contains(&tool) || OF_OTHERS.contains(&tool)
}

/// Splits the elements of a list of tools at commas outside of parentheses, as claude does.
#[must_use]
pub fn split_list(list: &[String]) -> Vec<String> {
    let mut apart = Vec::with_capacity(list.len());
    for element in list {
        let mut depth = 0_usize;
        let parts = element.split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        apart.extend(parts.map(|part| part.trim().to_owned()));
    }
    apart
}

/// Returns the error if claude could not parse the text as a tool or a pattern of one.
#[must_use]
pub fn syntax_error(tool: &str) -> Option<String> {
    let named = name(tool);
    let is_name = |c: char| c.is_alphanumeric() || "_-.:/".contains(c) || (c == '*' && named.starts_with("mcp__"));
    let is_closed = !tool.contains('(') || tool.ends_with(')');
    if named.is_empty() || !named.chars().all(is_name) || !is_closed {
        return Some(format!("'{}' is no tool: write Read, Bash(git log *) or mcp__server__tool", quote_input(tool)));
    }
    // claude would accept it as an unknown tool, and it would restrict nothing.
    let spelled = known().find(|known| known.eq_ignore_ascii_case(named) && *known != named)?;
    (!is_known(named)).then(|| format!("'{}' is no tool, did you mean '{spelled}'?", quote_input(named)))
}

/// Returns all the tools of all generations.
fn known() -> impl Iterator<Item = &'static str> + Clone {
    OF_1_0.iter().chain(OF_OTHERS).copied()
}

/// Returns the warning about an unknown tool with a name similar to a known one.
#[must_use]
pub fn typo_suggestion(tool: &str) -> Option<String> {
    let named = name(tool);
    if is_known(named) || named.starts_with("mcp__") {
        return None;
    }
    let near = closest_match(named, known()).filter(|near| !near.eq_ignore_ascii_case(named))?;
    Some(format!("claude has no tool '{}', did you mean '{near}'?", quote_input(named)))
}

/// Returns the tool that a rule applies to.
pub(super) fn name(tool: &str) -> &str {
    tool.split('(').next().unwrap_or(tool)
}

/// Returns the text between the parentheses of a rule.
pub(super) fn pattern(tool: &str) -> Option<&str> {
    let (_, pattern) = tool.split_once('(')?;
    Some(pattern.strip_suffix(')').unwrap_or(pattern))
}

/// Returns the rule in a form that every generation accepts: the older ones know `git:*`, but no `*` in a command.
pub(super) fn rule(tool: &str) -> Cow<'_, str> {
    let (name, Some(pattern)) = (name(tool), pattern(tool)) else { return tool.into() };
    match name {
        "Bash" => match pattern.strip_suffix(" *") {
            Some(prefix) if !prefix.contains('*') => format!("Bash({prefix}:*)").into(),
            _ => tool.into(),
        },
        _ if WRITING.contains(&name) => format!("Edit({pattern})").into(),
        _ if READING.contains(&name) => format!("Read({pattern})").into(),
        _ => tool.into(),
    }
}

/// Returns the tools that share the rules of this one.
pub(super) fn tools_sharing_rule<'a>(name: &'a &'a str) -> &'a [&'a str] {
    [WRITING, READING].into_iter().find(|tools| tools.contains(name)).unwrap_or(std::slice::from_ref(name))
}

/// Returns the prefix of the commands that a pattern of Bash covers.
pub(super) fn command_prefix(tool: &str) -> Option<&str> {
    let pattern = pattern(tool).filter(|_| name(tool) == "Bash")?;
    Some(pattern.strip_suffix(":*").or_else(|| pattern.strip_suffix(" *")).unwrap_or(pattern))
}

/// Returns true if only a claude that supports `*` anywhere in a rule can parse this one.
pub(super) fn needs_wildcards(tool: &str) -> bool {
    let rule = rule(tool);
    let in_command = match (name(&rule), pattern(&rule)) {
        ("Bash", Some(pattern)) => pattern.strip_suffix(":*").unwrap_or(pattern).contains('*'),
        _ => false,
    };
    in_command || name(&rule).contains('*')
}

/// Returns true if a tool is allowed by patterns and not as a whole.
pub(super) fn has_pattern_only(allowed: &[String], tool: &str) -> bool {
    allowed.iter().any(|a| name(a) == tool) && !allowed.iter().any(|a| a == tool)
}

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

/// Returns the warning about a pattern that allows every argument of a program that runs other programs.
#[must_use]
pub fn runs_any_program(allowed: &str) -> Option<String> {
    let command = pattern(allowed).filter(|_| name(allowed) == "Bash")?;
    let program = command.split([' ', ':', '*']).next()?;
    let rest = &command[program.len()..];
    let is_open = rest.contains('*') && rest.chars().all(|c| matches!(c, ' ' | ':' | '*'));
    let base = program.rsplit('/').next().unwrap_or(program);
    (is_open && RUNNERS.contains(&base)).then(|| {
        format!(
            "'{}' allows any program, because {base} runs others: name a subcommand, as in Bash(git log *)",
            quote_input(allowed)
        )
    })
}

/// Returns the error about a pattern that restricts nothing on any generation, with the alternative.
///
/// Such a config does not start: that is better than a silent hole.
#[must_use]
pub fn unenforceable(allowed: &str) -> Option<String> {
    let name = name(allowed);
    if !tool_policy::can_decide(allowed) && !NEVER_PROMPTED.contains(&name) {
        return Some(format!(
            "'{allowed}' cannot be enforced: zen does not understand this pattern, allow {name} or leave it out"
        ));
    }
    (pattern(allowed).is_some() && NEVER_PROMPTED.contains(&name)).then(|| {
        format!(
            "'{allowed}' cannot be enforced, for claude asks nobody before it uses {name} in the workspace: allow {name}, \
             and name in disallowed_tools what is to be refused"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_words_that_every_generation_understands() {
        for (tool, expected) in [
            ("Bash", "Bash"),
            ("Bash(git *)", "Bash(git:*)"),
            ("Bash(git:*)", "Bash(git:*)"),
            ("Bash(npm run build)", "Bash(npm run build)"),
            ("Bash(git * main)", "Bash(git * main)"),
            ("Write(docs/**)", "Edit(docs/**)"),
            ("Edit(docs/**)", "Edit(docs/**)"),
            ("Grep(secrets/**)", "Read(secrets/**)"),
            ("WebFetch(domain:example.org)", "WebFetch(domain:example.org)"),
            ("mcp__s__look", "mcp__s__look"),
        ] {
            assert_eq!(rule(tool), expected);
        }
    }

    #[test]
    fn a_comma_parts_tools_but_not_in_brackets() {
        let list = ["Grep,Read(src/**)", " Bash(git log, *) ", "Bash(echo (a,b)), LS"].map(str::to_owned);
        assert_eq!(split_list(&list), ["Grep", "Read(src/**)", "Bash(git log, *)", "Bash(echo (a,b))", "LS"]);
    }

    #[test]
    fn what_cannot_be_a_tool_is_told() {
        for tool in ["Read", "Bash(git *)", "mcp__my-server__do.it", "mcp__*", "Bash(a (b) c)", "Skill(plugin:x)"] {
            assert_eq!(syntax_error(tool), None, "{tool}");
        }
        for tool in ["", "Read (src/**)", "Bash(git", "Read Grep", "(x)", "\u{200b}Read", "*", "bash", "BASH(git *)"] {
            assert!(syntax_error(tool).is_some_and(|what| what.contains("is no tool")), "{tool}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_told_and_a_new_tool_is_not() {
        for (tool, meant) in [("Bsh", "Bash"), ("Wirte", "Write"), ("WebFecth(domain:x)", "WebFetch")] {
            assert!(
                typo_suggestion(tool).is_some_and(|what| what.ends_with(&format!("did you mean '{meant}'?"))),
                "{tool}"
            );
        }
        for tool in ["Bash(git *)", "Task", "mcp__bash", "Telescope"] {
            assert_eq!(typo_suggestion(tool), None, "{tool}");
        }
    }

    #[test]
    fn pattern_of_a_program_that_runs_others_is_warned_of() {
        for rule in
            ["Bash(git *)", "Bash(git:*)", "Bash(make*)", "Bash(/usr/bin/env *)", "Bash(python3 *)", "Bash(sh:*)"]
        {
            assert!(runs_any_program(rule).is_some_and(|what| what.contains("allows any program")), "{rule}");
        }
        for rule in ["Bash", "Bash(git log *)", "Bash(make test)", "Bash(ls *)", "Bash(*)", "Edit(git/*)", "Bash(git)"]
        {
            assert_eq!(runs_any_program(rule), None, "{rule}");
        }
    }

    #[test]
    fn what_restricts_nothing_is_told() {
        for tool in ["Bash(git *)", "Read", "Edit(src/**)", "mcp__s"] {
            assert_eq!(unenforceable(tool), None, "{tool}");
        }
        for tool in ["Read(src/**)", "Task(explore)"] {
            assert!(unenforceable(tool).is_some_and(|what| what.contains("cannot be enforced")), "{tool}");
        }
    }
}
