//! PreToolUse hook of zen: the settings that install it, and both sides of its protocol.
//!
//! Measured: a `deny` in JSON beats every allow on 1.0, 2.0 and 2.1. Exit status 2 does not on 2.0, where another
//! hook's `allow` wins. The hook's command line therefore also prints that JSON if zen cannot be run.

use serde_json::json;

use super::{Directories, ToolCall, denial};
use crate::claude::json::parse_lenient;

/// Hidden option that runs zen as the hook. Its arguments are the directory and the `allowed_tools` of the instance.
pub const MODE: &str = "--tool-policy-hook";

/// Exit status of a hook that has decided. An unusual value, so that no other failure is mistaken for it.
pub const DECIDED: u8 = 77;

/// Prefix of the reason of each denial by zen.
pub const MARK: &str = "zen: allowed_tools ";

/// Maximum length of claude's text before the mark: the name of a tool and a few words.
const MAX_CHARS_BEFORE_MARK: usize = 300;

/// Variables that make 2.1 skip hooks. zen sets them to 0 in its settings, which override other settings and the
/// environment.
pub const WITHOUT_HOOKS: &[&str] = &["CLAUDE_CODE_SAFE_MODE", "CLAUDE_CODE_SIMPLE"];

/// Timeout of the hook in seconds, after which claude continues without it. Only a stalled machine reaches it.
const TIMEOUT_S: u64 = 86_400;

/// Paths of the program that runs as the hook.
#[derive(Clone, Debug, Default)]
pub struct HookProgram {
    /// Path of the running zen, which an upgrade does not replace.
    pub running: String,
    /// Path of its file, for a claude of another user, which cannot read the first.
    pub file: String,
}

/// Returns the settings that make claude run zen's hook before each tool call.
#[must_use]
pub fn settings(program: &HookProgram, directory: &str, allowed: &[String], disables_shell_blocks: bool) -> String {
    let handler = json!({"type": "command", "command": command(program, directory, allowed), "timeout": TIMEOUT_S});
    let mut off = serde_json::Map::new();
    for name in WITHOUT_HOOKS {
        off.insert((*name).to_owned(), "0".into());
    }
    let mut settings = json!({
        "disableAllHooks": false,
        "env": off,
        "hooks": {"PreToolUse": [{"matcher": "*", "hooks": [handler]}]},
    });
    if disables_shell_blocks {
        settings["disableSkillShellExecution"] = true.into();
    }
    settings.to_string()
}

/// Returns the hook's command line for `sh`. It denies if zen cannot be run or fails.
fn command(program: &HookProgram, directory: &str, allowed: &[String]) -> String {
    let rules = json!(allowed).to_string();
    format!(
        "p={}; [ -x \"$p\" ] || p={}; \"$p\" {MODE} {} {}; [ $? = {DECIDED} ] || echo {}",
        quoted(&program.running),
        quoted(&program.file),
        quoted(directory),
        quoted(&rules),
        quoted(&denial_json("cannot be checked: zen cannot be run"))
    )
}

/// Quotes the text as one word for `sh`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns the output of the hook for a call: empty if the call is covered.
#[must_use]
pub fn answer(call: &[u8], allowed: Option<&[String]>, directories: &dyn Directories) -> String {
    let reason = reason(call, allowed, directories);
    match reason.as_deref().map(|reason| reason.strip_prefix("allowed_tools ").unwrap_or(reason)) {
        Some(reason) => denial_json(reason) + "\n",
        None => String::new(),
    }
}

/// Returns the reason to deny a call, if there is one.
fn reason(call: &[u8], allowed: Option<&[String]>, directories: &dyn Directories) -> Option<String> {
    let call = parse_lenient(call).unwrap_or_default();
    match (allowed, call["tool_name"].as_str()) {
        (Some(allowed), Some(tool)) => denial(allowed, &ToolCall { tool, input: &call["tool_input"] }, directories),
        _ => Some("cannot be checked: the tool call cannot be parsed".to_owned()),
    }
}

fn denial_json(reason: &str) -> String {
    json!({"hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": format!("{MARK}{reason}"),
    }})
    .to_string()
}

/// Parses a tool error. If it carries a denial of this hook, returns whether the result of the turn lists it too.
///
/// Only 2.1 lists such a denial, and only for the main conversation.
#[must_use]
pub fn denial_in(answer: &str) -> Option<IsListed> {
    // 1.0 puts "Bash operation blocked by hook:\n- " before it, 2.0 nothing, 2.1 "PreToolUse:Bash hook error: ". The
    // error may be JSON text, in which the line break is escaped.
    let start: String = answer.chars().take(MAX_CHARS_BEFORE_MARK + MARK.len()).collect();
    let (before, _) = start.split_once(MARK)?;
    if before.is_empty() || before.ends_with(" blocked by hook:\n- ") || before.ends_with(" blocked by hook:\\n- ") {
        Some(IsListed::No)
    } else if before.starts_with("PreToolUse:") && before.ends_with(" hook error: ") {
        Some(IsListed::ByResult)
    } else {
        None
    }
}

/// Listing of a denial in the result of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsListed {
    /// Not listed.
    No,
    /// Listed, if the main conversation used the tool.
    ByResult,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    struct Nowhere;

    impl Directories for Nowhere {
        fn resolved(&self, _: &str) -> Option<String> {
            None
        }
        fn home(&self) -> Option<String> {
            None
        }
    }

    #[test]
    fn call_that_cannot_be_parsed_is_denied() {
        let allowed = ["Read".to_owned()];
        for (call, allowed) in [
            (&b""[..], Some(&allowed[..])),
            (b"{}", Some(&allowed)),
            (b"{\"tool_name\": \"Read\"", Some(&allowed)),
            (b"{\"tool_name\": \"Read\"}", None),
            (b"{\"tool_name\": \"Write\", \"tool_input\": {}}", Some(&allowed)),
        ] {
            let answer = answer(call, allowed, &Nowhere);
            assert!(answer.contains("\"permissionDecision\":\"deny\"") && answer.contains(MARK), "{answer}");
        }
        for call in
            [&b"{\"tool_name\": \"Read\"}"[..], b"{\"tool_name\": \"Read\", \"tool_input\": {\"x\": \"\\ud83d\"}}"]
        {
            assert_eq!(answer(call, Some(&allowed), &Nowhere), "");
        }
    }

    #[test]
    fn command_line_survives_the_shell_and_denies_without_zen() {
        let program = HookProgram { running: "/nowhere/running".into(), file: "/nowhere/it's zen".into() };
        let line = command(&program, "/w/it's \"$HOME\"", &["Bash(echo 'x' *)".to_owned()]);
        let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("there is a sh");
        let denial: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(denial["hookSpecificOutput"]["permissionDecision"], "deny");
        assert!(output.status.success());
        let program = HookProgram { running: "/bin/sh".into(), file: String::new() };
        let script = "printf '%s\n' \"$@\"; exit 77";
        let line = command(&program, "/w/it's \"$HOME\"", &["Bash(echo 'x' *)".to_owned()])
            .replace(MODE, &format!("-c {} {MODE}", quoted(script)));
        let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("there is a sh");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed, "/w/it's \"$HOME\"\n[\"Bash(echo 'x' *)\"]\n");
    }

    #[test]
    fn denial_is_recognized_on_each_generation() {
        for (answer, expected) in [
            ("zen: allowed_tools does not list Write", Some(IsListed::No)),
            ("Bash operation blocked by hook:\n- zen: allowed_tools x", Some(IsListed::No)),
            (r"Bash operation blocked by hook:\n- zen: allowed_tools x", Some(IsListed::No)),
            ("PreToolUse:Bash hook error: zen: allowed_tools x", Some(IsListed::ByResult)),
            ("zen: something else", None),
            ("see zen: allowed_tools x", None),
        ] {
            assert_eq!(denial_in(answer), expected, "{answer}");
        }
    }
}
