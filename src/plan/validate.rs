//! Checks of a single planned instance: tools, arguments, estimates, lengths.

use std::collections::HashSet;

use crate::claude::extra_args;
use crate::claude::invocation::Invocation;
use crate::claude::tool_lint::{self, ToolWarning};
use crate::config::{BudgetConfig, BudgetType, Enforcement, InstanceConfig};
use crate::plan::problem::{LimitName, PlanProblem, PlanWarning};
use crate::plan::{HostFiles, Instance, MAX_SUGGESTIONS, Turn};

/// Longest string of an argument or a variable: Linux's limit (execve(2), MAX_ARG_STRLEN), minus the bytes that zen
/// adds: the name of a variable, the commas of a list.
const MAX_STRING_BYTES: usize = 128 * 1024 - 100;

/// Returns the problems of one instance, each with its field.
pub(super) fn problems(
    instance: &Instance,
    budget: &BudgetConfig,
    host: &dyn HostFiles,
) -> Vec<(&'static str, PlanProblem)> {
    let Invocation { allowed_tools, disallowed_tools, .. } = &instance.invocation;
    let allowed_tools = allowed_tools.as_deref().unwrap_or_default();
    let mut problems = Vec::new();
    for (field, tools) in [("allowed_tools", allowed_tools), ("disallowed_tools", disallowed_tools)] {
        for error in tools.iter().filter_map(|tool| tool_lint::syntax_error(tool)) {
            problems.push((field, PlanProblem::Tool(error)));
        }
    }
    for error in allowed_tools.iter().filter_map(|tool| tool_lint::enforcement_error(tool)) {
        problems.push(("allowed_tools", PlanProblem::Tool(error)));
    }
    let limits_dollars = budget.blocks_dollars_of(instance.budget_command.as_deref());
    for error in extra_args::problems(&instance.invocation, limits_dollars, &|path| host.exists(path)) {
        problems.push(("claude_args", PlanProblem::Argument(error)));
    }
    if let Some(problem) = estimate_above_limit(instance, budget) {
        problems.push(("max_tokens_per_command", problem));
    }
    for (field, bytes) in string_lengths(instance) {
        if bytes > MAX_STRING_BYTES {
            problems.push((field, PlanProblem::TooLong));
        }
    }
    if instance.turns.last().is_some_and(Turn::clears) {
        problems.push(("command", PlanProblem::NothingAfterClear));
    }
    problems
}

/// Checks an instance's estimate against the limits that cover it. If it is larger, the instance could never start, and
/// the overall budget would deny all later instances too.
fn estimate_above_limit(instance: &Instance, budget: &BudgetConfig) -> Option<PlanProblem> {
    let is_enforced = budget.enforcement.unwrap_or_default() == Enforcement::Block;
    if !is_enforced || budget.budget_type == Some(BudgetType::Cost) {
        return None;
    }
    let estimate = instance.max_tokens?;
    if let Some(max) = budget.overall_tokens
        && estimate > max
    {
        return Some(PlanProblem::EstimateAboveLimit { limit: LimitName::Overall, max, estimate });
    }
    let command = instance.budget_command.as_ref()?;
    let max = *budget.command_tokens.get(command)?;
    if estimate <= max {
        return None;
    }
    Some(PlanProblem::EstimateAboveLimit { limit: LimitName::Command(command.clone()), max, estimate })
}

/// Returns the length of the longest argument or variable that each field makes. Messages may have any length, since
/// they are sent over stdin.
fn string_lengths(instance: &Instance) -> [(&'static str, usize); 6] {
    let Invocation { model, env, claude_args, allowed_tools, disallowed_tools, .. } = &instance.invocation;
    let mut longest_variable = 0;
    for (name, value) in env {
        longest_variable = longest_variable.max(name.len() + value.as_deref().map_or(0, str::len));
    }
    [
        ("name", instance.name.len()),
        ("model", model.as_deref().map_or(0, str::len)),
        ("env", longest_variable),
        ("claude_args", claude_args.iter().map(String::len).max().unwrap_or(0)),
        ("allowed_tools", list_bytes(allowed_tools.as_deref().unwrap_or_default())),
        ("disallowed_tools", list_bytes(disallowed_tools)),
    ]
}

/// Returns the length of a list that is passed as one argument, with its commas.
fn list_bytes(list: &[String]) -> usize {
    list.iter().map(String::len).sum::<usize>() + list.len()
}

/// Returns warnings about tools that are probably typos or too broad, at most [`MAX_SUGGESTIONS`] for each field.
pub(super) fn tool_warnings(entry: &InstanceConfig, instance: &Instance) -> Vec<PlanWarning> {
    let Invocation { allowed_tools, disallowed_tools, .. } = &instance.invocation;
    let allowed = allowed_tools.as_deref().unwrap_or_default();
    let allowed_set: HashSet<&String> = allowed.iter().collect();
    let allowed_warnings = allowed.iter().filter_map(|tool| allowed_tool_warning(tool)).take(MAX_SUGGESTIONS);
    let mut warnings = Vec::new();
    for warning in allowed_warnings {
        warnings.push(tool_warning(entry, instance, "allowed_tools", warning));
    }
    let disallowed_warnings = disallowed_tools.iter().filter_map(|tool| {
        if allowed_set.contains(tool) {
            Some(ToolWarning::AlsoAllowed(tool.clone()))
        } else {
            tool_lint::typo_warning(tool)
        }
    });
    for warning in disallowed_warnings.take(MAX_SUGGESTIONS) {
        warnings.push(tool_warning(entry, instance, "disallowed_tools", warning));
    }
    warnings
}

fn allowed_tool_warning(tool: &str) -> Option<ToolWarning> {
    tool_lint::typo_warning(tool).or_else(|| tool_lint::runner_warning(tool))
}

fn tool_warning(entry: &InstanceConfig, instance: &Instance, field: &'static str, warning: ToolWarning) -> PlanWarning {
    let line = entry.position_of(field).map_or(1, |position| position.line);
    PlanWarning::Tool { line, instance: instance.name.clone(), field, warning }
}
