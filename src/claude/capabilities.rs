//! Capabilities that differ between the generations of claude, detected in its `--help`.

/// Capabilities of one generation of claude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Support for `--tools`, which limits the available tools (2.0 and later).
    pub tools: bool,
    /// Support for `--max-budget-usd`, which stops claude at a cost in dollars (2.0 and later).
    pub max_budget_usd: bool,
    /// Support for a `*` anywhere in a tool rule (2.1). Its help has the example `Bash(git *)`, older ones have
    /// `git:*`.
    pub wildcards: bool,
}

impl Capabilities {
    /// Detects the capabilities in the output of `claude --help`.
    #[must_use]
    pub fn of_help(help: &str) -> Self {
        Capabilities {
            tools: has_flag(help, "--tools"),
            max_budget_usd: has_flag(help, "--max-budget-usd"),
            wildcards: help.contains("\"Bash(git *)"),
        }
    }

    /// Returns the capabilities of the newest generation.
    #[must_use]
    pub fn newest() -> Self {
        Capabilities { tools: true, max_budget_usd: true, wildcards: true }
    }
}

fn has_flag(help: &str, flag: &str) -> bool {
    help.split([' ', '\t', '\n', '\r', ',']).any(|word| word == flag)
}
