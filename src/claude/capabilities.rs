//! What one generation of claude can do and another cannot, found in what it says of itself.

/// What a generation of claude can do, found in what its `--help` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `--tools`: only these tools exist (2.0 and later).
    pub tools: bool,
    /// `--max-budget-usd`: it stops by itself at so many dollars (2.0 and later).
    pub max_budget_usd: bool,
    /// A `*` anywhere in a rule of a tool (2.1); its help has `Bash(git *)` for an example, where others have `git:*`.
    pub wildcards: bool,
}

impl Capabilities {
    /// Reads them off the text of `claude --help`.
    #[must_use]
    pub fn of_help(help: &str) -> Self {
        let has = |flag: &str| help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag);
        let wildcards = help.contains("\"Bash(git *)");
        Capabilities { tools: has("--tools"), max_budget_usd: has("--max-budget-usd"), wildcards }
    }

    /// Those of the newest generation.
    #[must_use]
    pub fn newest() -> Self {
        Capabilities { tools: true, max_budget_usd: true, wildcards: true }
    }
}
