//! What claude's own files allow without asking: rules of settings, and those in the front matter of a command, which hold
//! while it runs. No option of claude shuts them out and leaves the project's commands; so a rule that would widen what an
//! instance is allowed is refused by name, or, where that would refuse what is allowed, told before the start.

use serde_json::Value;

use super::front_matter;
use super::permissions::LENIENT_MODES;
use super::tools;

/// The rules that settings allow; none where they are no JSON, for then claude does not take them either.
#[must_use]
pub fn of_settings(text: &str) -> Vec<String> {
    let settings: Value = serde_json::from_str(text).unwrap_or_default();
    let rules = settings["permissions"]["allow"].as_array().into_iter().flatten();
    rules.filter_map(|rule| rule.as_str().map(str::to_owned)).collect()
}

/// The rules that the front matter of a command allows.
#[must_use]
pub fn of_front_matter(text: &str) -> Vec<String> {
    let (fields, _) = front_matter::split(text);
    let lists = fields.iter().filter(|(key, _)| key == "allowed-tools");
    lists.flat_map(|(_, list)| rules(list)).collect()
}

/// The mode in the front matter of an agent, if it is one that asks nobody, or not for everything.
#[must_use]
pub fn lenient_mode(text: &str) -> Option<String> {
    let (fields, _) = front_matter::split(text);
    let mode = fields.into_iter().find(|(key, _)| key == "permissionMode")?.1;
    LENIENT_MODES.contains(&mode.as_str()).then_some(mode)
}

/// `Read, Bash(git add:*), "Edit"`, with or without brackets around it. What stands in brackets is not parted.
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
    let rules =
        rules.iter().map(|rule| rule.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'' || c == '-'));
    rules.filter(|rule| !rule.is_empty()).map(str::to_owned).collect()
}

/// What a rule is beside what an instance is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows nothing more.
    None,
    /// It allows something else, which can be refused.
    Refusable,
    /// It allows more of something that is allowed in part: who refuses it refuses that as well.
    Widening,
}

/// What a rule does beside `allowed`. A rule can allow more of a tool that is allowed by patterns, and tools of MCP servers,
/// which are there in any case; other tools are not there at all.
#[must_use]
pub fn effect(allowed: &[String], rule: &str) -> Effect {
    let is_allowed = |whole: &str| allowed.iter().any(|tool| tool == whole);
    if let Some(rest) = rule.strip_prefix("mcp__") {
        let server = rest.split("__").next().unwrap_or(rest);
        let has_part_of_it = allowed.iter().any(|tool| tool.strip_prefix(rule).is_some_and(|t| t.starts_with("__")));
        return match has_part_of_it {
            _ if is_allowed(rule) || is_allowed(&format!("mcp__{server}")) => Effect::None,
            true => Effect::Widening,
            false => Effect::Refusable,
        };
    }
    let name = tools::name(rule);
    let known: Vec<_> = allowed.iter().map(|tool| tools::rule(tool)).collect();
    let is_of_part = tools::share_rule(&name).iter().any(|name| tools::has_pattern_only(allowed, name));
    match tools::command_prefix(rule) {
        _ if !is_of_part || known.contains(&tools::rule(rule)) => Effect::None,
        Some(prefix) if known.iter().any(|own| begin_with(own, prefix)) => Effect::None,
        Some(prefix)
            if known.iter().filter_map(|tool| tools::command_prefix(tool)).all(|own| are_apart(prefix, own)) =>
        {
            Effect::Refusable
        }
        _ => Effect::Widening,
    }
}

/// Whether this allowed pattern is for all commands that begin with that.
fn begin_with(allowed: &str, prefix: &str) -> bool {
    let own = allowed.strip_prefix("Bash(").and_then(|rest| rest.strip_suffix(":*)"));
    own.and_then(|own| prefix.strip_prefix(own)).is_some_and(|rest| rest.starts_with(' '))
}

/// Whether no command begins with both.
fn are_apart(a: &str, b: &str) -> bool {
    !a.contains('*') && !b.contains('*') && !a.starts_with(b) && !b.starts_with(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_settings_and_front_matter() {
        let settings = r#"{"permissions": {"allow": ["Bash(npm run *)", 7, "mcp__s"], "deny": ["Read"]}}"#;
        assert_eq!(of_settings(settings), ["Bash(npm run *)", "mcp__s"]);
        assert_eq!(of_settings("{"), Vec::<String>::new());
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
    fn the_mode_of_an_agent_is_read_from_its_front_matter() {
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
    fn a_rule_widens_where_only_a_part_is_allowed() {
        let allowed = ["Read", "Bash(git *)", "Write(docs/**)", "mcp__s__look", "mcp__all"].map(str::to_owned);
        for rule in ["Bash", "Bash(g*)", "Bash(gi:*)", "Edit(src/**)", "Edit", "mcp__s"] {
            assert_eq!(effect(&allowed, rule), Effect::Widening, "{rule}");
        }
        for rule in ["Bash(touch:*)", "Bash(npm run build)", "mcp__s__change", "mcp__other__x", "mcp__other"] {
            assert_eq!(effect(&allowed, rule), Effect::Refusable, "{rule}");
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
            assert_eq!(effect(&allowed, rule), Effect::None, "{rule}");
        }
        assert_eq!(effect(&["Bash".to_owned()], "Bash(touch *)"), Effect::None);
    }
}
