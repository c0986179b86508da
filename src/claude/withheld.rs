//! What a config keeps from an instance altogether. claude does not offer such a tool, and tells of its use as of that of a
//! tool that does not exist; to whoever wrote the config it was refused.

use super::permissions::NEVER_ENDS;
use super::tool_policy::hook::{IsListed, denial_in};
use super::tools::{SUBAGENTS, is_known, name};
use crate::plan::Instance;

/// Why claude says that there is no such tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It says no more.
    NotThere,
    /// It knows it, and was told not to offer it (2.1).
    Disabled,
    /// It is there, and zen's hook denied this use of it.
    Denied(IsListed),
}

/// Returns why a tool was not used, if its answer, which is an error, says that the config forbids it.
#[must_use]
pub fn missing(answer: &str) -> Option<Missing> {
    if let Some(is_listed) = denial_in(answer) {
        return Some(Missing::Denied(is_listed));
    }
    let rest = answer.strip_prefix("<tool_use_error>Error: No such tool available: ")?;
    Some(if rest.contains(" is disabled for this session") { Missing::Disabled } else { Missing::NotThere })
}

/// The tools that are kept from an instance.
#[derive(Clone, Debug, Default)]
pub struct Withheld {
    allowed: Option<Vec<String>>,
    refused: Vec<String>,
}

impl Withheld {
    /// Those of this one.
    #[must_use]
    pub fn from(instance: &Instance) -> Self {
        let mut refused = instance.disallowed_tools.clone();
        refused.push(NEVER_ENDS.to_owned());
        Withheld { allowed: instance.allowed_tools.clone(), refused }
    }

    /// Returns true if a use of this tool can be denied.
    #[must_use]
    pub fn can_deny(&self, tool: &str) -> bool {
        self.allowed.is_some() || self.has(tool, Missing::Disabled)
    }

    /// Whether this tool, of which claude says that it is missing, is kept from it by the config.
    #[must_use]
    pub fn has(&self, tool: &str, missing: Missing) -> bool {
        let is_same = |other: &str| other == tool || (SUBAGENTS.contains(&other) && SUBAGENTS.contains(&tool));
        let is_allowed = |allowed: &Vec<String>| allowed.iter().any(|other| is_same(name(other)));
        let is_refused = |rule: &String| match rule.strip_suffix('*') {
            Some(beginning) => tool.starts_with(beginning),
            None => is_same(rule) || (rule.starts_with("mcp__") && tool.starts_with(&format!("{rule}__"))),
        };
        if let Missing::Denied(_) = missing {
            return self.allowed.is_some();
        }
        // A name that claude never knew is no refusal.
        let is_known = missing == Missing::Disabled || is_known(tool);
        self.refused.iter().any(is_refused) || (is_known && self.allowed.as_ref().is_some_and(|all| !is_allowed(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withheld(allowed: Option<&[&str]>, refused: &[&str]) -> Withheld {
        let owned = |tools: &[&str]| tools.iter().map(|&tool| tool.to_owned()).collect();
        Withheld { allowed: allowed.map(owned), refused: owned(refused) }
    }

    #[test]
    fn a_tool_of_claude_that_is_not_allowed_is_withheld_and_an_invention_is_not() {
        let reads = withheld(Some(&["Read", "Bash(git *)", "Task"]), &[]);
        for (tool, missing, expected) in [
            ("Write", Missing::NotThere, true),
            ("Write", Missing::Disabled, true),
            ("FromATimeToCome", Missing::Disabled, true),
            ("Frobnicate", Missing::NotThere, false),
            ("write", Missing::NotThere, false),
            ("mcp__s__look", Missing::NotThere, false),
            ("Read", Missing::NotThere, false),
            ("Bash", Missing::NotThere, false),
            ("Agent", Missing::NotThere, false),
        ] {
            assert_eq!(reads.has(tool, missing), expected, "{tool}");
        }
        let all = withheld(None, &[]);
        assert!(!all.has("MultiEdit", Missing::NotThere), "this claude has none, and nobody forbids it");
        assert!(!all.has("AskUserQuestion", Missing::Disabled), "it is claude's own doing");
    }

    #[test]
    fn what_is_refused_by_name_is_withheld() {
        let refused = withheld(None, &["Write", "Bash(touch *)", "Task", "mcp__s", "mcp__t__look", "mcp__u__*"]);
        for tool in ["Write", "Agent", "mcp__s__look", "mcp__t__look", "mcp__u__look"] {
            assert!(refused.has(tool, Missing::NotThere), "{tool}");
        }
        for tool in ["Bash", "Edit", "mcp__t__change", "mcp__sister__look", "mcp__v"] {
            assert!(!refused.has(tool, Missing::NotThere), "{tool}");
        }
    }

    #[test]
    fn only_claude_s_own_words_count() {
        for (answer, expected) in [
            ("<tool_use_error>Error: No such tool available: Write</tool_use_error>", Some(Missing::NotThere)),
            (
                "<tool_use_error>Error: No such tool available: Write. Write is disabled for this session, in subagents as \
                 well as here.</tool_use_error>",
                Some(Missing::Disabled),
            ),
            ("No such tool available: Write", None),
            ("<tool_use_error>No shell found with ID: 1</tool_use_error>", None),
        ] {
            assert_eq!(missing(answer), expected, "{answer}");
        }
    }
}
