//! Command line of claude. It never contains a prompt: all messages are sent over standard input.

use super::permissions;
use super::session::{self, OpenMode, SessionEntry};
use super::tool_policy::hook::{self, HookProgram};
use crate::claude::capabilities::Capabilities;
use crate::claude::invocation::Invocation;

/// Options of every process that reads its messages from standard input.
const STREAM_ARGS: [&str; 6] = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"];

const DOLLARS_FLAG: &str = "--max-budget-usd";

const SETTINGS_FLAG: &str = "--settings";

/// Returns the arguments of a process that is only queried and has no turn.
#[must_use]
pub fn stream_args() -> Vec<String> {
    STREAM_ARGS.map(str::to_owned).to_vec()
}

/// Returns the arguments of a process that is queried for the commands of an instance with these `claude_args`.
///
/// Disables hooks, which 2.1 would run for the query (measured on 2.1.332), and, unless one of them provides a command,
/// MCP servers, for which 2.0 waits up to 30 s.
#[must_use]
pub fn arguments_to_probe(claude_args: &[String], needs_servers: bool) -> Vec<String> {
    let mut arguments = stream_args();
    arguments.extend(["--permission-mode", "default", "--settings", r#"{"disableAllHooks":true}"#].map(str::to_owned));
    if !needs_servers {
        arguments.push("--strict-mcp-config".to_owned());
    }
    arguments.extend(claude_args.iter().cloned());
    arguments
}

/// Returns the arguments of one process of an invocation, with a limit of `max_micros`.
#[must_use]
pub fn arguments(
    invocation: &Invocation,
    entry: SessionEntry,
    abilities: Capabilities,
    max_micros: Option<u64>,
) -> Vec<String> {
    let permissions = permissions::permissions(invocation, abilities);
    let mut arguments = stream_args();
    arguments.extend(["--include-partial-messages", "--permission-mode", &permissions.mode].map(str::to_owned));
    if let Some(model) = &invocation.model {
        arguments.extend(["--model".to_owned(), model.clone()]);
    }
    if let Some(session) = &invocation.session {
        let flag = match entry.open_mode {
            OpenMode::CreateOrResume | OpenMode::Create => "--session-id",
            OpenMode::Resume => "--resume",
        };
        arguments.extend([flag.to_owned(), session::conversation_uuid(&session.uuid, entry.conversation)]);
    }
    // A second limit besides zen's own. In a resumed session claude would count its earlier cost too.
    if let Some(micros) = max_micros
        && abilities.max_budget_usd
        && entry.open_mode != OpenMode::Resume
    {
        let dollars = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        arguments.extend([DOLLARS_FLAG.to_owned(), dollars]);
    }
    // Joined by `=`: these options take any number of words, and would also take the first of `claude_args`.
    if let Some(tools) = &permissions.tools {
        arguments.push(format!("--tools={}", tools.join(",")));
    }
    for (flag, rules) in [("--allowedTools", &permissions.allowed), ("--disallowedTools", &permissions.refused)] {
        if !rules.is_empty() {
            arguments.push(format!("{flag}={}", rules.join(",")));
        }
    }
    arguments.extend(invocation.claude_args.iter().cloned());
    arguments
}

/// Returns the arguments that install zen's hook, if the instance has `allowed_tools`.
///
/// 1.0 accepts `--settings` only with its value as a separate word.
#[must_use]
pub fn tool_policy_arguments(invocation: &Invocation, program: &HookProgram) -> Vec<String> {
    let Some(allowed) = &invocation.allowed_tools else { return Vec::new() };
    let directory = invocation.cwd.to_string_lossy();
    vec![SETTINGS_FLAG.to_owned(), hook::settings(program, &directory, allowed, invocation.disables_shell_blocks)]
}
