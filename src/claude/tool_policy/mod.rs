//! Decides whether the `allowed_tools` of an instance cover a tool call.
//!
//! Settings, front matter, plugins and hooks can widen claude's own rules. zen therefore adds a PreToolUse hook that
//! denies every call that this module does not cover: a deny beats every allow (measured on 1.0, 2.0 and 2.1). The hook
//! never allows anything; a call that it does not deny is still subject to claude's own rules.

pub mod hook;
mod paths;
mod shell;

use serde_json::Value;

use super::tools::{self, SUBAGENTS, WRITING};

/// Names of the same tool in different generations.
const ALIASES: &[&[&str]] = &[
    SUBAGENTS,
    &["AgentOutput", "AgentOutputTool", "BashOutput", "BashOutputTool", "TaskOutput"],
    &["KillBash", "KillShell", "TaskStop"],
];

/// Tool that carries the answer of `--json-schema` and has no other effect.
const ANSWER_TOOL: &str = "StructuredOutput";

/// One tool call, in the form that claude passes to a hook.
#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    /// Name of the tool.
    pub tool: &'a str,
    /// Input of the tool.
    pub input: &'a Value,
}

impl<'a> ToolCall<'a> {
    /// Returns a field of the input; empty if it is not a string.
    fn text(&self, field: &str) -> &'a str {
        self.input[field].as_str().unwrap_or_default()
    }
}

/// Directories that file patterns refer to.
pub trait Directories {
    /// Returns the absolute path, with the links of its existing part resolved.
    fn resolved(&self, path: &str) -> Option<String>;
    /// Returns the user's home directory.
    fn home(&self) -> Option<String>;
}

/// Returns the reason why `allowed` does not cover a call, or `None` if it does.
#[must_use]
pub fn denial(allowed: &[String], call: &ToolCall, directories: &dyn Directories) -> Option<String> {
    if call.tool == ANSWER_TOOL {
        return None;
    }
    let (mut is_listed, mut patterns) = (false, Vec::new());
    for rule in allowed {
        if concerns(rule, call.tool) {
            is_listed = true;
            match tools::pattern(rule) {
                Some(pattern) => patterns.push(pattern),
                None => return None,
            }
        }
    }
    if !is_listed {
        return Some(format!("allowed_tools does not list {}", call.tool));
    }
    if call.tool == "Bash" {
        return shell::denial(&patterns, call.text("command"), &|path| directories.resolved(path));
    }
    if patterns.iter().any(|pattern| covers_input(pattern, call, directories)) {
        return None;
    }
    Some(format!("allowed_tools allows {} for other input only", call.tool))
}

/// Returns true if a pattern of the tool covers the input of a call; not for Bash.
fn covers_input(pattern: &str, call: &ToolCall, directories: &dyn Directories) -> bool {
    match call.tool {
        tool if WRITING.contains(&tool) => {
            let path = call.input["file_path"].as_str().or(call.input["notebook_path"].as_str());
            path.is_some_and(|path| paths::covers(pattern, path, directories))
        }
        "WebFetch" => covers_url(pattern, call.text("url")),
        "Skill" => covers_command(pattern, call.input["skill"].as_str().unwrap_or(call.text("command"))),
        "SlashCommand" => covers_command(pattern, call.text("command")),
        _ => false,
    }
}

/// Returns true if zen can evaluate the pattern of a rule.
#[must_use]
pub fn can_decide(rule: &str) -> bool {
    let Some(pattern) = tools::pattern(rule) else { return true };
    match tools::name(rule) {
        "Bash" | "Skill" | "SlashCommand" => true,
        "WebFetch" => pattern.starts_with("domain:"),
        name if WRITING.contains(&name) => paths::is_understood(pattern),
        _ => false,
    }
}

/// Returns true if a rule applies to this tool.
fn concerns(rule: &str, tool: &str) -> bool {
    let name = tools::name(rule);
    let is_alias = ALIASES.iter().any(|names| names.contains(&name) && names.contains(&tool));
    if name == tool || is_alias {
        return true;
    }
    // claude applies a pattern of one writing tool to all of them.
    if WRITING.contains(&name) && WRITING.contains(&tool) && tools::pattern(rule).is_some() {
        return true;
    }
    if !name.starts_with("mcp__") {
        return false;
    }
    if name.contains('*') {
        return shell::matches(name, tool);
    }
    tool.strip_prefix(name).is_some_and(|rest| rest.starts_with("__"))
}

/// Returns true if `domain:HOST` covers a URL.
fn covers_url(pattern: &str, url: &str) -> bool {
    let Some(domain) = pattern.strip_prefix("domain:") else { return false };
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    match domain.strip_prefix("*.") {
        Some(parent) => host.to_ascii_lowercase().ends_with(&format!(".{}", parent.to_ascii_lowercase())),
        None => host.eq_ignore_ascii_case(domain),
    }
}

/// Returns true if `NAME`, `NAME:*` or `NAME *` covers a call of a skill or a slash command.
fn covers_command(pattern: &str, called: &str) -> bool {
    let (pattern, called) = (pattern.trim_start_matches('/'), called.trim().trim_start_matches('/'));
    match tools::prefix_of_pattern(pattern) {
        Some(name) => shell::begins_with_words(called, name),
        None => called == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Fixed;

    impl Directories for Fixed {
        fn resolved(&self, path: &str) -> Option<String> {
            if path == "." {
                return Some("/w".to_owned());
            }
            let absolute = if path.starts_with('/') { path.to_owned() } else { format!("/w/{path}") };
            // One link: /w/link leads out of the workspace.
            Some(absolute.replacen("/w/link", "/elsewhere", 1))
        }
        fn home(&self) -> Option<String> {
            Some("/home/me".to_owned())
        }
    }

    fn is_covered(allowed: &[&str], tool: &str, input: Value) -> bool {
        let allowed: Vec<String> = allowed.iter().map(|&rule| rule.to_owned()).collect();
        denial(&allowed, &ToolCall { tool, input: &input }, &Fixed).is_none()
    }

    #[test]
    fn tool_that_is_not_listed_is_denied() {
        let allowed = ["Read", "Task", "mcp__s__look", "mcp__all", "mcp__some__*", "KillShell"];
        for tool in
            ["Read", "Task", "Agent", "mcp__s__look", "mcp__all__x", "mcp__some__y", "TaskStop", "StructuredOutput"]
        {
            assert!(is_covered(&allowed, tool, json!({})), "{tool}");
        }
        for tool in ["Bash", "Write", "mcp__s__change", "mcp__allx__y", "mcp__s", "Reader", "read", "", "Skill"] {
            assert!(!is_covered(&allowed, tool, json!({})), "{tool}");
        }
        assert!(!is_covered(&[], "Read", json!({})), "an empty list allows nothing");
    }

    #[test]
    fn pattern_covers_its_input_only() {
        for (rule, tool, input, expected) in [
            ("Bash(git log *)", "Bash", json!({"command": "git log -1"}), true),
            ("Bash(git log *)", "Bash", json!({"command": "git push"}), false),
            ("Bash(git log *)", "Bash", json!({}), false),
            ("Write(docs/**)", "Write", json!({"file_path": "/w/docs/a/b.md"}), true),
            ("Write(docs/**)", "Edit", json!({"file_path": "docs/a"}), true),
            ("Edit(docs/**)", "NotebookEdit", json!({"notebook_path": "/w/docs/n.ipynb"}), true),
            ("Edit(docs/**)", "Write", json!({"file_path": "/w/src/a"}), false),
            ("Edit(docs/**)", "Write", json!({}), false),
            ("WebFetch(domain:example.org)", "WebFetch", json!({"url": "https://example.org/x"}), true),
            ("WebFetch(domain:example.org)", "WebFetch", json!({"url": "https://example.org:8443"}), true),
            ("WebFetch(domain:example.org)", "WebFetch", json!({"url": "https://example.org@evil.net/"}), false),
            ("WebFetch(domain:example.org)", "WebFetch", json!({"url": "https://evil.net/example.org"}), false),
            ("Skill(hello)", "Skill", json!({"skill": "hello"}), true),
            ("Skill(hello)", "Skill", json!({"skill": "hello2"}), false),
            ("SlashCommand(/go:*)", "SlashCommand", json!({"command": "/go there"}), true),
            ("SlashCommand(/go)", "SlashCommand", json!({"command": "/go there"}), false),
        ] {
            assert_eq!(is_covered(&[rule], tool, input.clone()), expected, "{rule} {input}");
        }
    }

    #[test]
    fn undecidable_patterns_are_recognized() {
        for rule in ["Bash", "Bash(git *)", "Edit(src/**)", "WebFetch(domain:x)", "Skill(x)", "mcp__s__t"] {
            assert!(can_decide(rule), "{rule}");
        }
        for rule in ["WebSearch(x)", "WebFetch(x)", "Edit(src/[ab])", "Monitor(x)"] {
            assert!(!can_decide(rule), "{rule}");
        }
    }
}
