//! Prints the plan of a run without running it.

use std::path::Path;

use super::console::{answer, print_messages, refuse};
use super::tool_hook;
use crate::base::text;
use crate::claude::argv::{arguments, tool_policy_arguments};
use crate::cli::flags::Options;
use crate::engine::budget::Budget;
use crate::engine::exit_code::ExitCode;
use crate::plan::Instance;
use crate::preflight::PreparedRun;
use crate::report::dry_run::PlannedRun;
use crate::report::{self, Style};
use crate::run::{delayed_start, session_entry};

/// Prints the plan, and then the problems of this machine, if there are any.
pub(super) fn print(prepared: &PreparedRun, options: &Options, due_ms: Option<u64>, style: Style) -> ExitCode {
    print_messages(&prepared.warnings);
    print_messages(&prepared.notes);
    match answer(&plan_text(prepared, options, due_ms, style)) {
        ExitCode::Completed if !prepared.problems.is_empty() => refuse(&prepared.problems),
        code => code,
    }
}

fn plan_text(prepared: &PreparedRun, options: &Options, due_ms: Option<u64>, style: Style) -> String {
    let max_parallel = options.max_parallel.map_or_else(|| "all".to_owned(), |max| max.to_string());
    let mut settings = vec![
        ("workspace", prepared.workspace.display().to_string()),
        ("startup delay", text::format_duration(options.startup_delay)),
        ("in parallel", max_parallel),
    ];
    if let Some(due_ms) = due_ms {
        settings.push(("starts at", delayed_start::describe_start(due_ms)));
    }
    for set in &prepared.overrides {
        settings.push(("budget", set.to_string()));
    }
    let run = PlannedRun {
        plan: &prepared.plan,
        workspace: &prepared.workspace,
        command_lines: &command_lines(prepared),
        settings: &settings,
    };
    report::dry_run::plan(&run, style)
}

/// Returns the command line of each instance, in the plan's order.
fn command_lines(prepared: &PreparedRun) -> Vec<Vec<String>> {
    let plan = &prepared.plan;
    let claude = prepared.claude.as_deref().unwrap_or(Path::new("claude")).display().to_string();
    let budget = Budget::new(&plan.budget, &plan.instances, &plan.prices);
    let hook = tool_hook::program();
    let mut command_lines = Vec::new();
    for (index, instance) in plan.instances.iter().enumerate() {
        let is_entered_before = plan.instances[..index].iter().any(|earlier| uuid(earlier) == uuid(instance));
        let entry = session_entry(instance, is_entered_before);
        let mut words = vec![claude.clone()];
        words.extend(arguments(&instance.invocation, entry, prepared.abilities, budget.dollars_left(index)));
        words.extend(tool_policy_arguments(&instance.invocation, &hook));
        command_lines.push(words);
    }
    command_lines
}

/// Returns the id of the session of an instance, if it has one.
fn uuid(instance: &Instance) -> Option<&str> {
    Some(&instance.invocation.session.as_ref()?.uuid)
}
