//! What an instance may use: tools by name, and patterns such as `Bash(git *)` that allow a part of one.

/// The tools of 1.0, which can be refused there only by name. Newer generations restrict with `--tools`.
pub const OF_1_0: &[&str] = &[
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

/// The tool that a name or a pattern is about.
#[must_use]
pub fn name(tool: &str) -> &str {
    tool.split('(').next().unwrap_or(tool)
}

/// Why what is allowed cannot be enforced in a permission mode, if it cannot: better no start than a silent hole.
#[must_use]
pub fn unenforceable(allowed: &[String], permission_mode: &str) -> Option<String> {
    let pattern = allowed.iter().find(|tool| tool.contains('('))?;
    (permission_mode == "bypassPermissions").then(|| {
        format!(
            "'{pattern}' cannot be enforced with permission_mode bypassPermissions, which asks nobody: \
             set \"permission_mode\": \"default\", or allow the whole tool"
        )
    })
}
