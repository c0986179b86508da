//! How claude is called. No prompt stands in the arguments: all that is said to it goes over its standard input.

use super::abilities::Abilities;
use super::permissions;
use super::session::{self, Entry, Way};
use super::tool_policy::hook::{self, HookProgram};
use crate::config::BudgetConfig;
use crate::plan::{Instance, Plan};
use crate::text::as_written;

/// What claude must be able to do for a plan, beyond what all generations can.
#[must_use]
pub fn needs_abilities(plan: &Plan) -> bool {
    plan.budget.blocks_dollars() || plan.instances.iter().any(permissions::depend_on_abilities)
}

/// What every process that is spoken to over its standard input is called with.
const SPOKEN_TO: [&str; 6] = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"];

/// What zen gives claude itself, or what would put that out of force, and the field that says it in a config.
const OWN_FLAGS: &[(&str, &str)] = &[
    ("--allow-dangerously-skip-permissions", "permission_mode"),
    ("--allowed-tools", "allowed_tools"),
    ("--allowedTools", "allowed_tools"),
    ("--continue", "session_id"),
    ("--dangerously-skip-permissions", "permission_mode"),
    ("--disallowed-tools", "disallowed_tools"),
    ("--disallowedTools", "disallowed_tools"),
    ("--fork-session", "session_id"),
    ("--input-format", ""),
    ("--model", "model"),
    ("--output-format", ""),
    ("--permission-mode", "permission_mode"),
    ("--permission-prompt-tool", "permission_mode"),
    ("--print", ""),
    ("--resume", "session_id"),
    ("--session-id", "session_id"),
    ("--tools", "allowed_tools"),
    ("-c", "session_id"),
    ("-p", ""),
    ("-r", "session_id"),
];

const DOLLARS_FLAG: &str = "--max-budget-usd";

const SETTINGS_FLAG: &str = "--settings";

/// Options that take the hook away by which zen enforces `allowed_tools`.
const WITHOUT_HOOK: &[&str] = &["--bare", "--safe-mode", SETTINGS_FLAG];

/// What is wrong with an instance's arguments that say otherwise than zen's own, each flag once.
#[must_use]
pub fn contradictions(instance: &Instance, budget: &BudgetConfig) -> Vec<String> {
    let mut flags: Vec<&str> = Vec::new();
    for flag in instance.claude_args.iter().filter_map(|argument| argument.split('=').next()) {
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    let wrong = |flag: &str| match OWN_FLAGS.iter().find(|(own, _)| *own == flag) {
        Some((_, "")) => {
            Some(format!("{flag} is zen's own to give, which talks to claude over a stream: leave it out"))
        }
        Some((_, field)) => {
            Some(format!("{flag} would contradict what zen gives claude itself: use the field '{field}'"))
        }
        None if flag == DOLLARS_FLAG && budget.blocks_dollars_of(instance.budget_command.as_deref()) => {
            Some(format!("{flag} would contradict the budget in dollars, which zen gives claude itself: leave it out"))
        }
        None if WITHOUT_HOOK.contains(&flag) && instance.allowed_tools.is_some() => {
            Some(format!("{flag} would put allowed_tools out of force: leave one of them out"))
        }
        None => None,
    };
    let first = instance.claude_args.first().filter(|first| !first.starts_with('-'));
    let no_option = first.map(|first| format!("'{}' is no option: give text in 'prompt'", as_written(first)));
    no_option.into_iter().chain(flags.into_iter().filter_map(wrong)).collect()
}

/// The arguments for a process that is asked something, and has no turn.
#[must_use]
pub fn arguments_to_ask() -> Vec<String> {
    SPOKEN_TO.map(str::to_owned).to_vec()
}

/// The arguments for one process of an instance, which may cost `max_micros` at most.
#[must_use]
pub fn arguments(instance: &Instance, entry: Entry, abilities: Abilities, max_micros: Option<u64>) -> Vec<String> {
    let permissions = permissions::permissions(instance, abilities);
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
        add(DOLLARS_FLAG, format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    }
    // Joined by `=`: these options take any number of words, and would take the first of `claude_args` too.
    let lists = [("--allowedTools", &permissions.allowed), ("--disallowedTools", &permissions.refused)];
    let lists = lists.into_iter().filter(|(_, rules)| !rules.is_empty());
    let lists = permissions.tools.iter().map(|tools| ("--tools", tools)).chain(lists);
    arguments.extend(lists.map(|(flag, rules)| format!("{flag}={}", rules.join(","))));
    arguments.extend(instance.claude_args.iter().cloned());
    arguments
}

/// The arguments that make claude ask zen about each use of a tool, if the instance has `allowed_tools`. 1.0 knows
/// `--settings` only apart from its value.
#[must_use]
pub fn tool_policy_arguments(instance: &Instance, program: &HookProgram) -> Vec<String> {
    let Some(allowed) = &instance.allowed_tools else { return Vec::new() };
    let directory = instance.cwd.to_string_lossy();
    vec![SETTINGS_FLAG.to_owned(), hook::settings(program, &directory, allowed, instance.disables_shell_blocks)]
}
