//! Syntax of tool rules: tool names, and patterns such as `Bash(git *)` that allow or deny a part of a tool. Which
//! rules an instance has, and how each generation receives them, is decided elsewhere.

use std::borrow::Cow;

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
        let mut start = 0;
        for (i, character) in element.char_indices() {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    apart.push(element[start..i].trim().to_owned());
                    start = i + 1;
                }
                _ => {}
            }
        }
        apart.push(element[start..].trim().to_owned());
    }
    apart
}

/// Returns all the tools of all generations.
pub(super) fn known() -> impl Iterator<Item = &'static str> + Clone {
    OF_1_0.iter().chain(OF_OTHERS).copied()
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
    if name(tool) != "Bash" {
        return None;
    }
    let pattern = pattern(tool)?;
    Some(prefix_of_pattern(pattern).unwrap_or(pattern))
}

/// Returns the words before `:*` or ` *` at the end of a pattern.
pub(super) fn prefix_of_pattern(pattern: &str) -> Option<&str> {
    if let Some(prefix) = pattern.strip_suffix(":*") {
        return Some(prefix);
    }
    pattern.strip_suffix(" *")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_a_form_that_every_generation_accepts() {
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
    fn list_is_split_at_commas_outside_of_parentheses() {
        let list = ["Grep,Read(src/**)", " Bash(git log, *) ", "Bash(echo (a,b)), LS"].map(str::to_owned);
        assert_eq!(split_list(&list), ["Grep", "Read(src/**)", "Bash(git log, *)", "Bash(echo (a,b))", "LS"]);
    }
}
