//! Rules of claude's own files that allow tools without a prompt: settings, and the front matter of commands, which
//! applies while the command runs.
//!
//! No option of claude excludes these rules and keeps the project's commands. A rule that would widen the tools of an
//! instance is therefore denied by name or, if that would also deny allowed tools, reported before the start.

use serde_json::Value;

use super::front_matter;
use super::json::parse_lenient;
use super::permissions::LENIENT_MODES;
use super::tool_policy::hook::WITHOUT_HOOKS;
use super::tools;

/// Returns the rules that settings allow.
///
/// # Errors
/// Returns an error if zen cannot parse the settings.
pub fn allowed_rules(bytes: &[u8]) -> serde_json::Result<Vec<String>> {
    let settings = parse_lenient(bytes)?;
    Ok(rules_in(&settings["permissions"]["allow"]).map(str::to_owned).collect())
}

fn rules_in(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Limits the memory for hostile settings.
const MAX_DENIED_TOOLS: usize = 1_000;

/// Returns the names of the tools that settings deny as a whole.
///
/// Rules with a pattern are left to claude, which lists its denials by them.
#[must_use]
pub fn denied_tools(bytes: &[u8]) -> Vec<String> {
    let settings = parse_lenient(bytes).unwrap_or_default();
    let mut denied = Vec::new();
    for rule in rules_in(&settings["permissions"]["deny"]) {
        let name = rule.strip_suffix("(*)").unwrap_or(rule);
        if !name.contains('(') && denied.len() < MAX_DENIED_TOOLS {
            denied.push(name.to_owned());
        }
    }
    denied
}

/// Returns the kind and the position of the error if claude cannot parse settings as JSON.
///
/// claude accepts more than zen: any number, any nesting, lone surrogates, and bytes that are not UTF-8.
#[must_use]
pub fn syntax_error(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    serde_json::from_str::<serde::de::IgnoredAny>(text).err().map(|error| error.to_string())
}

/// Returns the field or variable of the managed settings that disables hooks, including zen's own.
#[must_use]
pub fn field_against_hooks(bytes: &[u8]) -> Option<&'static str> {
    let settings = parse_lenient(bytes).ok()?;
    for field in ["disableAllHooks", "allowManagedHooksOnly"] {
        if settings[field] == true {
            return Some(field);
        }
    }
    WITHOUT_HOOKS.iter().copied().find(|name| is_switched_on(&settings["env"][*name]))
}

/// Returns true if claude interprets the value of a variable as true.
fn is_switched_on(value: &Value) -> bool {
    !matches!(value.to_string().trim_matches('"'), "null" | "" | "0" | "false")
}

/// Returns the rules that the front matter of a command allows.
#[must_use]
pub fn of_front_matter(text: &str) -> Vec<String> {
    let (fields, _) = front_matter::split(text);
    let mut found = Vec::new();
    for (key, list) in &fields {
        if key == "allowed-tools" {
            found.extend(rules(list));
        }
    }
    found
}

/// Returns the mode in the front matter of an agent, if it does not prompt for everything.
#[must_use]
pub fn lenient_mode(text: &str) -> Option<String> {
    let mode = front_matter::field(text, "permissionMode")?;
    LENIENT_MODES.contains(&mode.as_str()).then_some(mode)
}

/// Returns true if a file of this name may be the command that is called.
///
/// On some generations the last part of a nested name, and the `name` in the front matter, are names of the command.
#[must_use]
pub fn is_called(name: &str, declared_name: Option<&str>, command: &str) -> bool {
    let last_part = name.rsplit(':').next().unwrap_or(name);
    name == command || last_part == command || declared_name == Some(command)
}

/// Returns the `name` in the front matter of a skill.
#[must_use]
pub fn declared_name(text: &str) -> Option<String> {
    front_matter::field(text, "name")
}

/// Returns true if zen finds all rules in the front matter of this file.
#[must_use]
pub fn is_understood(text: &str) -> bool {
    let (fields, body) = front_matter::split(text);
    let head = &text[..text.len() - body.len()];
    for word in ["allowed-tools", "allowed_tools", "hooks"] {
        let fields_found = fields.iter().filter(|(key, _)| key == word).count();
        if head.matches(word).count() != fields_found || (word == "hooks" && fields_found > 0) {
            return false;
        }
    }
    true
}

/// Returns the first place in a command's text where the shell would run its arguments, or where they name a file.
///
/// Such places are !`...` and a block that begins with ```!, with `$ARGUMENTS` or `$1` in it, and either of these
/// arguments after `@` or `!`.
#[must_use]
pub fn argument_with_effect(text: &str) -> Option<&str> {
    let (fields, body) = front_matter::split(text);
    // `arguments: [branch]` also makes `$branch` an argument.
    let has_names = fields.iter().any(|(key, _)| key == "arguments");
    for (open, close) in [("```!", "```"), ("!`", "`")] {
        for (at, _) in body.match_indices(open) {
            let inner = &body[at + open.len()..];
            let end = inner.find(close).unwrap_or(inner.len());
            if argument_positions(&inner[..end], has_names).next().is_some() {
                return Some(&body[at..at + open.len() + end]);
            }
        }
    }
    for at in argument_positions(body, has_names) {
        if body[..at].trim_end_matches(['"', '{']).ends_with(['@', '!']) {
            return Some(body[..=at].split_whitespace().next_back().unwrap_or("$"));
        }
    }
    None
}

/// Returns the positions of the dollar signs that begin an argument: `$ARGUMENTS`, `$1` or, with names, `$branch`.
fn argument_positions(text: &str, has_names: bool) -> impl Iterator<Item = usize> {
    text.match_indices('$').map(|(at, _)| at).filter(move |at| {
        let rest = text[at + 1..].trim_start_matches('{');
        let is_named = has_names && rest.starts_with(char::is_alphabetic);
        is_named || rest.starts_with("ARGUMENTS") || rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Splits a list such as `Read, Bash(git add:*), "Edit"`, with or without brackets, but not inside parentheses.
fn rules(list: &str) -> Vec<String> {
    let mut rules = vec![String::new()];
    let mut depth = 0_usize;
    for character in list.trim().trim_start_matches('[').trim_end_matches(']').chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' | ' ' if depth == 0 => {
                rules.push(String::new());
                continue;
            }
            _ => {}
        }
        rules.last_mut().expect("there is one from the beginning").push(character);
    }
    for rule in &mut rules {
        *rule = rule.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '-')).to_owned();
    }
    rules.retain(|rule| !rule.is_empty());
    rules
}

/// Effect of a rule on the tools that an instance is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleOverlap {
    /// Allows nothing more.
    Covered,
    /// Allows something else, which can be denied.
    Deniable,
    /// Allows more of a tool that is allowed in part. To deny the rule would deny that part too.
    Conflicting,
}

/// Returns the effect of a rule in addition to `allowed`.
///
/// A rule can allow more of a tool that is allowed by patterns, and tools of MCP servers, which are always available.
/// Other tools are not available at all.
#[must_use]
pub fn effect(allowed: &[String], rule: &str) -> RuleOverlap {
    if rule.starts_with("mcp__") {
        return server_rule_effect(allowed, rule);
    }
    let name = tools::name(rule);
    let known: Vec<_> = allowed.iter().map(|tool| tools::rule(tool)).collect();
    let is_of_part = tools::tools_sharing_rule(&name).iter().any(|name| tools::has_pattern_only(allowed, name));
    if !is_of_part || known.contains(&tools::rule(rule)) {
        return RuleOverlap::Covered;
    }
    let Some(prefix) = tools::command_prefix(rule) else { return RuleOverlap::Conflicting };
    let mut is_disjoint = true;
    for own in &known {
        if covers_prefix(own, prefix) {
            return RuleOverlap::Covered;
        }
        is_disjoint &= tools::command_prefix(own).is_none_or(|own| are_disjoint(prefix, own));
    }
    if is_disjoint { RuleOverlap::Deniable } else { RuleOverlap::Conflicting }
}

/// Returns the effect of a rule for an MCP server, or for a tool of one.
fn server_rule_effect(allowed: &[String], rule: &str) -> RuleOverlap {
    let server = rule.split("__").take(2).collect::<Vec<_>>().join("__");
    let tools_of_rule = format!("{rule}__");
    if allowed.iter().any(|tool| tool == rule || *tool == server) {
        RuleOverlap::Covered
    } else if allowed.iter().any(|tool| tool.starts_with(&tools_of_rule)) {
        RuleOverlap::Conflicting
    } else {
        RuleOverlap::Deniable
    }
}

/// Returns true if an allowed pattern covers all commands with this prefix.
fn covers_prefix(allowed: &str, prefix: &str) -> bool {
    let Some(own) = allowed.strip_prefix("Bash(").and_then(|rest| rest.strip_suffix(":*)")) else { return false };
    prefix.strip_prefix(own).is_some_and(|rest| rest.starts_with(' '))
}

/// Returns true if no command has both prefixes.
fn are_disjoint(a: &str, b: &str) -> bool {
    !a.contains('*') && !b.contains('*') && !a.starts_with(b) && !b.starts_with(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_tools_that_settings_deny_are_found() {
        let settings = r#"{"permissions": {"deny": ["Write", "Bash(touch *)", "WebFetch(*)", "mcp__s", 7]}}"#;
        assert_eq!(denied_tools(settings.as_bytes()), ["Write", "WebFetch", "mcp__s"]);
        for settings in ["", "{", "[]", r#"{"permissions": {"deny": "Write"}}"#] {
            assert_eq!(denied_tools(settings.as_bytes()), Vec::<String>::new(), "{settings}");
        }
    }

    #[test]
    fn only_what_claude_cannot_parse_is_a_syntax_error() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for settings in ["{}", "\u{feff}{}", deep.as_str(), r#"{"a": 1e999}"#, r#"{"a": "\ud83d"}"#] {
            assert_eq!(syntax_error(settings.as_bytes()), None, "{settings}");
        }
        assert_eq!(syntax_error(b"{\"a\": \"\xff\"}"), None);
        for settings in ["{", "{\"a\": 1,}", "// x\n{}", "{} {}"] {
            assert!(syntax_error(settings.as_bytes()).is_some(), "{settings}");
        }
        assert_eq!(syntax_error(b"{\n  \"a\": 1,\n}").as_deref(), Some("key must be a string at line 3 column 1"));
    }

    #[test]
    fn rules_are_parsed_from_settings_and_front_matter() {
        let settings = r#"{"permissions": {"allow": ["Bash(npm run *)", 7, "mcp__s"], "deny": ["Read"]}}"#;
        assert_eq!(allowed_rules(settings.as_bytes()).expect("JSON"), ["Bash(npm run *)", "mcp__s"]);
        assert!(allowed_rules(b"{").is_err());
        assert_eq!(field_against_hooks(br#"{"allowManagedHooksOnly": true}"#), Some("allowManagedHooksOnly"));
        assert_eq!(field_against_hooks(br#"{"disableAllHooks": false}"#), None);
        let by_variable = field_against_hooks(br#"{"env": {"CLAUDE_CODE_SIMPLE": "1", "X": "1"}}"#);
        assert_eq!(by_variable, Some("CLAUDE_CODE_SIMPLE"));
        assert_eq!(field_against_hooks(br#"{"env": {"CLAUDE_CODE_SAFE_MODE": "0"}}"#), None);
        for list in [
            "Bash(git add:*), Bash(git commit -m a, b), Read",
            "[\"Bash(git add:*)\", 'Bash(git commit -m a, b)', Read]",
        ] {
            let text = format!("---\ndescription: x\nallowed-tools: {list}\n---\nGo.\n");
            assert_eq!(of_front_matter(&text), ["Bash(git add:*)", "Bash(git commit -m a, b)", "Read"]);
        }
        assert_eq!(of_front_matter("Go."), Vec::<String>::new());
    }

    #[test]
    fn argument_that_the_shell_would_run_is_found() {
        for text in [
            "x !`echo $ARGUMENTS` y",
            "x !`gh pr view $1`",
            "```!\necho $ARGUMENTS\n```\n",
            "x !`a` y !`b $2`",
            "See @$ARGUMENTS",
            "See @\"$1\"",
            "Run !$1",
            "---\narguments: [branch]\n---\n!`git log $branch`",
            "!`echo $ARGUMENTS",
        ] {
            assert!(argument_with_effect(text).is_some(), "{text}");
        }
        for text in ["x !`git log` $ARGUMENTS", "`$1`", "Costs $5: $ARGUMENTS", "x !`echo $HOME`", "me@x.org $1", ""] {
            assert_eq!(argument_with_effect(text), None, "{text}");
        }
    }

    #[test]
    fn unsupported_front_matter_is_recognized() {
        for text in ["x", "---\nallowed-tools: Bash(x)\n---\nx", "---\ndescription: y\n---\nallowed-tools hooks"] {
            assert!(is_understood(text), "{text}");
        }
        for text in [
            "---\n\"allowed-tools\": Bash\n---\nx",
            "---\n{allowed-tools: Bash}\n---\nx",
            "---\nhooks:\n  PreToolUse: x\n---\nx",
        ] {
            assert!(!is_understood(text), "{text}");
        }
        assert_eq!(declared_name("---\nname: go\n---\n").as_deref(), Some("go"));
        assert!(is_called("a:go", None, "go") && is_called("go", None, "go") && is_called("x", Some("go"), "go"));
        assert!(!is_called("gone", None, "go"));
    }

    #[test]
    fn mode_of_an_agent_is_parsed() {
        for (mode, expected) in [
            ("bypassPermissions", Some("bypassPermissions")),
            ("\"acceptEdits\"", Some("acceptEdits")),
            ("default", None),
            ("plan", None),
        ] {
            let text = format!("---\nname: x\npermissionMode: {mode}\n---\nGo.\n");
            assert_eq!(lenient_mode(&text).as_deref(), expected, "{mode}");
        }
        assert_eq!(lenient_mode("---\nname: x\n---\npermissionMode: bypassPermissions\n"), None);
    }

    #[test]
    fn overlap_of_a_rule_with_allowed_patterns() {
        let allowed = ["Read", "Bash(git *)", "Write(docs/**)", "mcp__s__look", "mcp__all"].map(str::to_owned);
        for rule in ["Bash", "Bash(g*)", "Bash(gi:*)", "Edit(src/**)", "Edit", "mcp__s"] {
            assert_eq!(effect(&allowed, rule), RuleOverlap::Conflicting, "{rule}");
        }
        for rule in ["Bash(touch:*)", "Bash(npm run build)", "mcp__s__change", "mcp__other__x", "mcp__other"] {
            assert_eq!(effect(&allowed, rule), RuleOverlap::Deniable, "{rule}");
        }
        for rule in [
            "Read",
            "Bash(git:*)",
            "Bash(git *)",
            "Bash(git push:*)",
            "Edit(docs/**)",
            "WebFetch",
            "mcp__s__look",
            "mcp__all__x",
        ] {
            assert_eq!(effect(&allowed, rule), RuleOverlap::Covered, "{rule}");
        }
        assert_eq!(effect(&["Bash".to_owned()], "Bash(touch *)"), RuleOverlap::Covered);
    }
}
