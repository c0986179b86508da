//! Recognizes tool uses that failed because the config or the settings files deny the tool. claude does not offer such
//! a tool and reports its use as that of an unknown tool, but to the user it is a denial.

use std::sync::Arc;

use super::permissions::NEVER_ENDS;
use super::tool_policy::hook::{IsListed, denial_in};
use super::tools::{SUBAGENTS, is_known, name};
use crate::claude::invocation::Invocation;

/// Reason why a tool was unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnavailableTool {
    /// claude reports only that there is no such tool.
    Unknown,
    /// Known to claude, but not offered in this session (2.1).
    Disabled,
    /// Available, but zen's hook denied this use.
    Denied(IsListed),
    /// Available, but a rule denies this file. 2.1 lists that in its result too, 2.0 does not (measured).
    DeniedFile,
}

/// Prefix of the error of 2.0.76 for a file that `permissions.deny` or `--disallowedTools` denies.
const DENIED_FILE: &str =
    "<tool_use_error>File is in a directory that is denied by your permission settings.</tool_use_error>";

/// Returns the reason if a tool error reports an unavailable tool or a denied file.
#[must_use]
pub fn unavailable_tool(error: &str) -> Option<UnavailableTool> {
    if let Some(is_listed) = denial_in(error) {
        return Some(UnavailableTool::Denied(is_listed));
    }
    if error.starts_with(DENIED_FILE) {
        return Some(UnavailableTool::DeniedFile);
    }
    let rest = error.strip_prefix("<tool_use_error>Error: No such tool available: ")?;
    Some(if rest.contains(" is disabled for this session") {
        UnavailableTool::Disabled
    } else {
        UnavailableTool::Unknown
    })
}

/// Tools that the config or the settings files deny to an invocation.
#[derive(Clone, Debug, Default)]
pub struct ToolDenials {
    allowed: Option<Vec<String>>,
    refused: Vec<String>,
    denied_by_settings: Arc<[String]>,
}

impl ToolDenials {
    /// Collects the denials of an invocation.
    #[must_use]
    pub fn from(invocation: &Invocation) -> Self {
        let mut refused = invocation.disallowed_tools.clone();
        refused.push(NEVER_ENDS.to_owned());
        let denied_by_settings = Arc::clone(&invocation.denied_by_settings);
        ToolDenials { allowed: invocation.allowed_tools.clone(), refused, denied_by_settings }
    }

    /// Returns true if the config or the settings files deny this tool, which claude reports as unavailable.
    #[must_use]
    pub fn has(&self, tool: &str, missing: UnavailableTool) -> bool {
        match missing {
            UnavailableTool::Denied(_) => return self.allowed.is_some(),
            UnavailableTool::DeniedFile => return true,
            UnavailableTool::Unknown | UnavailableTool::Disabled => {}
        }
        if self.refused.iter().chain(self.denied_by_settings.iter()).any(|rule| denies(rule, tool)) {
            return true;
        }
        // A tool name that no claude knows is not a denial.
        if missing == UnavailableTool::Unknown && !is_known(tool) {
            return false;
        }
        match &self.allowed {
            Some(allowed) => !allowed.iter().any(|rule| is_same_tool(name(rule), tool)),
            None => false,
        }
    }
}

/// Returns true if both names mean the same tool.
fn is_same_tool(name: &str, other: &str) -> bool {
    name == other || (SUBAGENTS.contains(&name) && SUBAGENTS.contains(&other))
}

/// Returns true if a rule denies a tool as a whole.
fn denies(rule: &str, tool: &str) -> bool {
    if let Some(prefix) = rule.strip_suffix('*') {
        return tool.starts_with(prefix);
    }
    is_same_tool(rule, tool) || (rule.starts_with("mcp__") && tool.starts_with(&format!("{rule}__")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withheld(allowed: Option<&[&str]>, refused: &[&str]) -> ToolDenials {
        let owned = |tools: &[&str]| tools.iter().map(|&tool| tool.to_owned()).collect();
        ToolDenials { allowed: allowed.map(owned), refused: owned(refused), denied_by_settings: Arc::default() }
    }

    #[test]
    fn tools_that_settings_deny_are_denied() {
        let by_settings =
            ToolDenials { denied_by_settings: ["Write".to_owned(), "mcp__s".to_owned()].into(), ..withheld(None, &[]) };
        for missing in [UnavailableTool::Unknown, UnavailableTool::Disabled] {
            for tool in ["Write", "mcp__s__look"] {
                assert!(by_settings.has(tool, missing), "{tool}");
            }
            assert!(!by_settings.has("AskUserQuestion", missing), "claude disables it by itself");
        }
        assert!(withheld(None, &[]).has("Read", UnavailableTool::DeniedFile));
    }

    #[test]
    fn only_known_tools_count_as_denied() {
        let reads = withheld(Some(&["Read", "Bash(git *)", "Task"]), &[]);
        for (tool, missing, expected) in [
            ("Write", UnavailableTool::Unknown, true),
            ("Write", UnavailableTool::Disabled, true),
            ("FromATimeToCome", UnavailableTool::Disabled, true),
            ("Frobnicate", UnavailableTool::Unknown, false),
            ("write", UnavailableTool::Unknown, false),
            ("mcp__s__look", UnavailableTool::Unknown, false),
            ("Read", UnavailableTool::Unknown, false),
            ("Bash", UnavailableTool::Unknown, false),
            ("Agent", UnavailableTool::Unknown, false),
        ] {
            assert_eq!(reads.has(tool, missing), expected, "{tool}");
        }
        let all = withheld(None, &[]);
        assert!(!all.has("MultiEdit", UnavailableTool::Unknown), "claude does not have it, and no list denies it");
        assert!(!all.has("AskUserQuestion", UnavailableTool::Disabled), "it is claude's own doing");
    }

    #[test]
    fn tools_denied_by_name_are_denied() {
        let refused = withheld(None, &["Write", "Bash(touch *)", "Task", "mcp__s", "mcp__t__look", "mcp__u__*"]);
        for tool in ["Write", "Agent", "mcp__s__look", "mcp__t__look", "mcp__u__look"] {
            assert!(refused.has(tool, UnavailableTool::Unknown), "{tool}");
        }
        for tool in ["Bash", "Edit", "mcp__t__change", "mcp__sister__look", "mcp__v"] {
            assert!(!refused.has(tool, UnavailableTool::Unknown), "{tool}");
        }
    }

    #[test]
    fn only_errors_of_claude_are_recognized() {
        for (answer, expected) in [
            ("<tool_use_error>Error: No such tool available: Write</tool_use_error>", Some(UnavailableTool::Unknown)),
            (
                "<tool_use_error>Error: No such tool available: Write. Write is disabled for this session, in subagents as \
                 well as here.</tool_use_error>",
                Some(UnavailableTool::Disabled),
            ),
            (
                "<tool_use_error>File is in a directory that is denied by your permission settings.</tool_use_error>",
                Some(UnavailableTool::DeniedFile),
            ),
            ("File is in a directory that is denied by your permission settings.", None),
            ("No such tool available: Write", None),
            ("<tool_use_error>No shell found with ID: 1</tool_use_error>", None),
        ] {
            assert_eq!(unavailable_tool(answer), expected, "{answer}");
        }
    }
}
