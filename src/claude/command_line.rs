//! How claude is called. No prompt stands in the arguments: all that is said to it goes over its standard input.

use super::session::{self, Entry, Way};
use super::tools;
use crate::plan::{Instance, Plan};

/// What a generation of claude can do, found in what its `--help` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// `--tools`: only these tools exist (2.0 and later).
    pub tools: bool,
    /// `--max-budget-usd`: it stops by itself at so many dollars (2.0 and later).
    pub max_budget_usd: bool,
    /// A `*` anywhere in a rule of a tool (2.1); its help has `Bash(git *)` for an example, where others have `git:*`.
    pub wildcards: bool,
}

impl Abilities {
    /// Reads them off the text of `claude --help`.
    #[must_use]
    pub fn of_help(help: &str) -> Self {
        let has = |flag: &str| help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag);
        let wildcards = help.contains("\"Bash(git *)");
        Abilities { tools: has("--tools"), max_budget_usd: has("--max-budget-usd"), wildcards }
    }

    /// Those of the newest generation.
    #[must_use]
    pub fn newest() -> Self {
        Abilities { tools: true, max_budget_usd: true, wildcards: true }
    }
}

/// What claude must be able to do for a plan, beyond what all generations can.
#[must_use]
pub fn needs_abilities(plan: &Plan) -> bool {
    let has_dollar_limit = plan.budget.overall_micros.is_some() || !plan.budget.command_micros.is_empty();
    has_dollar_limit || plan.instances.iter().any(tools::depend_on_abilities)
}

/// What every process that is spoken to over its standard input is called with.
const SPOKEN_TO: [&str; 6] = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"];

/// The arguments for a process that is asked something, and has no turn.
#[must_use]
pub fn arguments_to_ask() -> Vec<String> {
    SPOKEN_TO.map(str::to_owned).to_vec()
}

/// The arguments for one process of an instance, which may cost `max_micros` at most.
#[must_use]
pub fn arguments(instance: &Instance, entry: Entry, abilities: Abilities, max_micros: Option<u64>) -> Vec<String> {
    let permissions = tools::permissions(instance, abilities);
    let mut arguments = arguments_to_ask();
    arguments.extend(["--include-partial-messages", "--permission-mode", &permissions.mode].map(str::to_owned));
    let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    if let Some(model) = &instance.model {
        add("--model", model.clone());
    }
    if let Some(session) = &instance.session {
        let uuid = session::uuid_of(&session.uuid, entry.conversation);
        match entry.way {
            Way::New | Way::Afresh => add("--session-id", uuid),
            Way::Resume => add("--resume", uuid),
        }
    }
    // A second fence behind zen's own. In a resumed session claude counts what that had cost before.
    let is_resumed = entry.way == Way::Resume;
    if let (Some(micros), true, false) = (max_micros, abilities.max_budget_usd, is_resumed) {
        add("--max-budget-usd", format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    }
    if let Some(tools) = &permissions.tools {
        add("--tools", tools.join(","));
    }
    for (flag, rules) in [("--allowedTools", &permissions.allowed), ("--disallowedTools", &permissions.refused)] {
        if !rules.is_empty() {
            add(flag, rules.join(","));
        }
    }
    arguments.extend(instance.claude_args.iter().cloned());
    arguments
}
