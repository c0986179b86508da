//! Which variables of zen's own environment claude must not inherit, and which are set for it.

/// Set by claude for what it runs. A claude that sees them takes itself for one nested in another, and refuses to start
/// or behaves as if someone else spoke to it.
pub const NOT_PASSED_ON: &[&str] = &[
    "AI_AGENT",
    "CLAUDECODE",
    "CLAUDE_CODE_CHILD_NOTES_DIR",
    "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_EXECPATH",
    "CLAUDE_CODE_LAUNCHED_BY_SESSION_IDS",
    "CLAUDE_CODE_MESSAGING_SOCKET",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    "CLAUDE_CODE_SESSION_ATTENDED",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SESSION_KIND",
    "CLAUDE_CODE_SSE_PORT",
    "CLAUDE_EFFORT",
    "CLAUDE_JOB_DIR",
    "CLAUDE_PID",
];

/// Set for a claude that is only asked a question. 2.0 sends two requests of its own at every start, to warm the prompt
/// cache up for its subagents, and leaves them out where nothing is cached; nothing else of it reads this before a request.
pub const SET_TO_ASK: &[(&str, &str)] = &[("DISABLE_PROMPT_CACHING", "1")];

/// Whether claude, run by root, takes `bypassPermissions` with these variables. The newest generation insists on the
/// exact value 1; the older ones take any.
#[must_use]
pub fn is_sandbox(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("IS_SANDBOX").as_deref() == Some("1") || variable("CLAUDE_CODE_BUBBLEWRAP").is_some_and(|v| !v.is_empty())
}
