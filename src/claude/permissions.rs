//! Translates the permissions of an instance into the options of one generation of claude.
//!
//! `--allowedTools` lists what claude may use without a prompt, and some modes never prompt. `allowed_tools` therefore
//! needs two restrictions together: the set of available tools (`--tools`, or `--disallowedTools` for all others), and
//! a mode that denies everything that would need a prompt.

use std::collections::HashSet;
use std::fmt;

use super::tools::{OF_1_0, SUBAGENTS, WRITING, has_pattern_only, name, needs_wildcards, rule};
use crate::base::text::quote_input;
use crate::claude::capabilities::Capabilities;
use crate::claude::invocation::Invocation;

/// Modes that prompt for nothing, or not for everything. With them a pattern would silently restrict nothing.
pub(super) const LENIENT_MODES: &[&str] = &["acceptEdits", "auto", "bypassPermissions", "delegate"];

/// Tool of 2.1 that is denied to every invocation: the jobs that it schedules recur for days.
pub(super) const NEVER_ENDS: &str = "CronCreate";

/// Permissions in the form that claude receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Permission mode.
    pub mode: String,
    /// Names of the available built-in tools; `None`: all.
    pub tools: Option<Vec<String>>,
    /// Rules for tools that need no prompt.
    pub allowed: Vec<String>,
    /// Rules for tools that are denied.
    pub refused: Vec<String>,
}

/// Returns the permissions of an invocation for a claude with these capabilities.
#[must_use]
pub fn permissions(invocation: &Invocation, abilities: Capabilities) -> Permissions {
    let mode = mode(invocation, abilities).to_owned();
    let mut refused = rules(&invocation.disallowed_tools);
    if abilities.wildcards && !refused.iter().any(|tool| tool == NEVER_ENDS) {
        refused.push(NEVER_ENDS.to_owned());
    }
    let Some(allowed) = &invocation.allowed_tools else {
        return Permissions { mode, tools: None, allowed: Vec::new(), refused };
    };
    let mut names: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for tool in allowed {
        if seen.insert(name(tool)) {
            names.push(name(tool).to_owned());
        }
    }
    let mut rules = rules(allowed);
    if mode == "plan" {
        // In the older generations an allow rule overrides the plan mode.
        rules.retain(|rule| !WRITING.contains(&name(rule)));
    }
    if allows_redirections(allowed, abilities) {
        refused.push("Edit(//**)".to_owned());
    }
    if !abilities.tools {
        for tool in OF_1_0 {
            if !seen.contains(tool) {
                refused.push((*tool).to_owned());
            }
        }
    }
    let tools = abilities.tools.then_some(names);
    Permissions { mode, tools, allowed: rules, refused }
}

fn rules(tools: &[String]) -> Vec<String> {
    tools.iter().map(|tool| rule(tool).into_owned()).collect()
}

/// Returns true if the permissions depend on the generation of claude, or cannot be expressed on each.
#[must_use]
pub fn requires_capabilities(invocation: &Invocation) -> bool {
    let refused = &invocation.disallowed_tools;
    invocation.allowed_tools.is_some()
        || invocation.permission_mode == "dontAsk"
        || refused.iter().any(|t| needs_wildcards(t))
}

/// Returns true if an agent of the project can override the mode, and so exceed the instance's tools.
///
/// Only 2.0 allows this, if the instance may use agents.
#[must_use]
pub fn agents_can_override_mode(invocation: &Invocation, abilities: Capabilities) -> bool {
    let allowed = invocation.allowed_tools.as_deref().unwrap_or_default();
    abilities.tools && !abilities.wildcards && allowed.iter().any(|tool| SUBAGENTS.contains(&name(tool)))
}

/// Returns true if the mode of the config is replaced, because it does not prompt for everything.
#[must_use]
pub fn is_mode_overridden(invocation: &Invocation) -> bool {
    invocation.allowed_tools.is_some() && LENIENT_MODES.contains(&invocation.permission_mode.as_str())
}

/// Returns the mode that claude is started with.
#[must_use]
pub fn mode(invocation: &Invocation, abilities: Capabilities) -> &str {
    // Without a user to prompt, 1.0 denies in its default mode.
    let strict = if abilities.tools { "dontAsk" } else { "default" };
    match invocation.permission_mode.as_str() {
        _ if is_mode_overridden(invocation) => strict,
        "dontAsk" => strict,
        mode => mode,
    }
}

/// Returns true if both names mean the same permission mode: 2.1 accepts `manual` and reports `default`.
#[must_use]
pub fn is_same_mode(requested: &str, reported: &str) -> bool {
    canonical_mode(requested) == canonical_mode(reported)
}

fn canonical_mode(mode: &str) -> &str {
    if mode == "manual" { "default" } else { mode }
}

/// Returns true if commands may write to the workspace by redirections in spite of the patterns.
///
/// 2.0 allows this unless all writing is denied. An instance that may use a writing tool can write anyhow.
fn allows_redirections(allowed: &[String], abilities: Capabilities) -> bool {
    abilities.tools
        && !abilities.wildcards
        && has_pattern_only(allowed, "Bash")
        && !allowed.iter().any(|tool| WRITING.contains(&name(tool)))
}

/// Returns true if Bash is allowed only by patterns.
#[must_use]
pub fn restrict_bash(allowed: &[String]) -> bool {
    has_pattern_only(allowed, "Bash")
}

/// Returns true if the model may call skills or commands, itself or through an agent.
#[must_use]
pub fn call_commands(allowed: &[String]) -> bool {
    allowed.iter().any(|tool| ["Skill", "SlashCommand"].contains(&name(tool)))
}

/// Rule that a generation of claude cannot enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnsupportedRule {
    /// A `*` in a place where this claude does not know it.
    Wildcard {
        /// Field of the rule.
        field: &'static str,
        /// Rule, as written.
        rule: String,
    },
    /// Patterns of Bash beside patterns of a writing tool: commands can write to any file of the workspace.
    WritesByCommand,
}

impl UnsupportedRule {
    /// Returns the field of the config that has the rule.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            UnsupportedRule::Wildcard { field, .. } => field,
            UnsupportedRule::WritesByCommand => "allowed_tools",
        }
    }
}

impl fmt::Display for UnsupportedRule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            UnsupportedRule::Wildcard { rule, .. } => write!(
                f,
                "this claude does not support the pattern '{}': use 'Bash(git *)', with one * at the end, or install claude \
                 2.1",
                quote_input(rule)
            ),
            UnsupportedRule::WritesByCommand => f.write_str(
                "this claude lets commands write to any file of the workspace if a pattern allows a tool to write to some: \
                 allow Bash, or the writing tools, as a whole or not at all, or install claude 2.1",
            ),
        }
    }
}

/// Returns the rules that this claude cannot enforce, at most one of each kind and field.
#[must_use]
pub fn unsupported_rules(invocation: &Invocation, abilities: Capabilities) -> Vec<UnsupportedRule> {
    let mut unsupported = Vec::new();
    if abilities.wildcards {
        return unsupported;
    }
    let allowed = invocation.allowed_tools.as_deref().unwrap_or_default();
    for (field, tools) in [("allowed_tools", allowed), ("disallowed_tools", &invocation.disallowed_tools)] {
        if let Some(rule) = tools.iter().find(|tool| needs_wildcards(tool)) {
            unsupported.push(UnsupportedRule::Wildcard { field, rule: rule.clone() });
        }
    }
    let writes_by_pattern = WRITING.iter().any(|tool| has_pattern_only(allowed, tool));
    if abilities.tools && has_pattern_only(allowed, "Bash") && writes_by_pattern {
        unsupported.push(UnsupportedRule::WritesByCommand);
    }
    unsupported
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::planned;

    const V1_0: Capabilities = Capabilities { tools: false, max_budget_usd: false, wildcards: false };
    const V2_0: Capabilities = Capabilities { tools: true, max_budget_usd: true, wildcards: false };
    const V2_1: Capabilities = Capabilities { tools: true, max_budget_usd: true, wildcards: true };

    fn instance(fields: &str) -> Invocation {
        planned(&format!(r#"{{"instances": [{{"command": "x"{fields}}}]}}"#)).instances.remove(0).invocation
    }

    #[test]
    fn allowed_tools_override_lenient_modes() {
        for (mode, on_1_0, on_2_x) in [
            ("bypassPermissions", "default", "dontAsk"),
            ("acceptEdits", "default", "dontAsk"),
            ("auto", "default", "dontAsk"),
            ("dontAsk", "default", "dontAsk"),
            ("default", "default", "default"),
            ("plan", "plan", "plan"),
        ] {
            let instance = instance(&format!(r#", "permission_mode": "{mode}", "allowed_tools": ["Read"]"#));
            assert_eq!(super::mode(&instance, V1_0), on_1_0, "{mode}");
            assert_eq!(super::mode(&instance, V2_0), on_2_x, "{mode}");
            assert_eq!(super::mode(&instance, V2_1), on_2_x, "{mode}");
        }
        let free = instance(r#", "permission_mode": "acceptEdits""#);
        assert_eq!(super::mode(&free, V2_1), "acceptEdits");
    }

    #[test]
    fn manual_is_another_name_of_the_default_mode() {
        for (requested, reported, expected) in [
            ("manual", "default", true),
            ("default", "default", true),
            ("bypassPermissions", "default", false),
            ("manual", "plan", false),
        ] {
            assert_eq!(is_same_mode(requested, reported), expected, "{requested} {reported}");
        }
    }

    #[test]
    fn each_generation_gets_its_own_form() {
        let instance = instance(
            r#", "allowed_tools": ["Read", "Bash(git *)", "Bash(ls)"], "disallowed_tools": ["Bash(git push *)"]"#,
        );
        let allowed = ["Read", "Bash(git:*)", "Bash(ls)"];
        let on = |abilities| permissions(&instance, abilities);
        assert_eq!(on(V2_1).tools, Some(vec!["Read".to_owned(), "Bash".to_owned()]));
        assert_eq!(
            (on(V2_1).allowed, on(V2_1).refused),
            (allowed.map(str::to_owned).to_vec(), ["Bash(git push:*)", "CronCreate"].map(str::to_owned).to_vec())
        );
        assert_eq!(on(V2_0).refused, ["Bash(git push:*)", "Edit(//**)"]);
        let refused = on(V1_0).refused;
        assert!(refused.contains(&"Write".to_owned()) && !refused.iter().any(|t| t == "Bash" || t == "Read"));
        assert_eq!(on(V1_0).tools, None);
    }

    #[test]
    fn agents_have_modes_of_their_own_on_2_0() {
        for (fields, expected) in [
            (r#", "allowed_tools": ["Task", "Bash(git *)"]"#, true),
            (r#", "allowed_tools": ["Read", "Bash(git *)"]"#, false),
            ("", false),
        ] {
            let instance = instance(fields);
            let overridden = [V1_0, V2_0, V2_1].map(|abilities| agents_can_override_mode(&instance, abilities));
            assert_eq!(overridden, [false, expected, false], "{fields}");
        }
    }

    #[test]
    fn plan_mode_allows_no_writing_tool() {
        let instance = instance(r#", "permission_mode": "plan", "allowed_tools": ["Read", "Write", "Bash"]"#);
        assert_eq!(permissions(&instance, V2_0).allowed, ["Read", "Bash"]);
    }

    #[test]
    fn rules_that_a_generation_cannot_enforce_are_found() {
        for (fields, count_2_0) in [
            (r#", "allowed_tools": ["Bash(git *)"]"#, 0),
            (r#", "allowed_tools": ["Bash(git * main)"]"#, 1),
            (r#", "disallowed_tools": ["Bash(git * main)"]"#, 1),
            (r#", "disallowed_tools": ["mcp__*"]"#, 1),
            (r#", "allowed_tools": ["Bash(git *)", "Edit(src/**)"]"#, 1),
            (r#", "allowed_tools": ["Bash(git *)", "Edit"]"#, 0),
            (r#", "allowed_tools": ["Bash", "Edit(src/**)"]"#, 0),
        ] {
            let instance = instance(fields);
            assert_eq!(unsupported_rules(&instance, V2_0).len(), count_2_0, "{fields}");
            assert_eq!(unsupported_rules(&instance, V2_1), [], "{fields}");
        }
    }
}
