//! The last word on a run: who did their work, who did not and why, what it cost, and where to read on. Knows what is
//! on record; that the run is over is its caller's word.

use std::path::PathBuf;

use super::{Style, View, budget, counted, listed};
use crate::config::BudgetConfig;
use crate::exit::{self, ExitCode};
use crate::outcome::{Failure, Status};
use crate::text;

const MAX_ERROR_COLUMNS: usize = 500;
const MAX_LINE_COLUMNS: usize = 160;
const MAX_PATH_COLUMNS: usize = 4096;
const MAX_DENIALS_SHOWN: usize = 3;

/// How a run ended, and what it leaves.
#[derive(Clone, Debug)]
pub struct Footer {
    /// The signal that stopped the run, by name.
    pub stopped_by: Option<String>,
    /// The directory of the run's files, if any were written.
    pub logs: Option<PathBuf>,
    /// What zen exits with.
    pub exit: ExitCode,
}

/// The summary, with its last newline.
#[must_use]
pub fn summary(view: &View, style: Style, footer: &Footer) -> String {
    let title = match &footer.stopped_by {
        Some(signal) => format!("Orchestration Stopped by {signal} - Results"),
        None => "Orchestration Complete - Results".into(),
    };
    let parts = [
        counts(view, style),
        failed(view, style),
        skipped(view, style),
        denials(view, style),
        totals(view, style),
        leavings(view, style, footer),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    style.title(&title) + "\n" + &parts.join("\n")
}

fn counts(view: &View, style: Style) -> String {
    let counts = view.counts();
    let all = view.records.len();
    let failed = Status::Failed(Failure::interrupted(""));
    let skipped = Status::Skipped(String::new());
    let mut lines =
        format!("{}: {}/{all} instances\n", style.marked(&Status::Completed, "Successful"), counts.completed);
    for (status, word, count, if_none) in [
        (&failed, "Failed", counts.failed, true),
        (&skipped, "Skipped", counts.skipped, false),
        // A run that ends has nobody left in these; if it had, they shall be seen.
        (&Status::Running, "Not ended", counts.running, false),
        (&Status::Pending, "Not started", counts.pending, false),
    ] {
        if count > 0 || if_none {
            lines += &format!("{}: {count}/{all} instances\n", style.marked(status, word));
        }
    }
    lines
}

fn failed(view: &View, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        let Status::Failed(failure) = &record.status else { continue };
        lines += &listed(&instance.name, &failure.error, MAX_ERROR_COLUMNS, style);
        // What the error says already is not said again.
        for line in record.last_words.iter().filter(|line| !failure.error.contains(line.as_str())) {
            lines += &format!("    {}\n", style.shown(line, MAX_LINE_COLUMNS - 4));
        }
    }
    titled("Failed Instances", &lines)
}

fn skipped(view: &View, style: Style) -> String {
    let lines = view.instances().filter_map(|(instance, record)| match &record.status {
        Status::Skipped(why) => Some(listed(&instance.name, why, MAX_ERROR_COLUMNS, style)),
        _ => None,
    });
    titled("Skipped Instances", &lines.collect::<String>())
}

fn denials(view: &View, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        for denial in record.denials.iter().take(MAX_DENIALS_SHOWN) {
            let what = format!("{} {}", denial.tool, denial.on);
            lines += &listed(&instance.name, &what, MAX_LINE_COLUMNS, style);
        }
        if record.denials.len() > MAX_DENIALS_SHOWN {
            let more = format!("{} more", record.denials.len() - MAX_DENIALS_SHOWN);
            lines += &listed(&instance.name, &more, MAX_LINE_COLUMNS, style);
        }
    }
    titled("Permissions refused", &lines)
}

fn titled(title: &str, lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("{title}:\n{lines}") }
}

fn totals(view: &View, style: Style) -> String {
    let budget = &view.plan.budget;
    let used = view.used();
    let sure = |certainty, amount: String| format!("{}{amount}", style.sureness(certainty));
    let tokens = sure(used.tokens_certainty, text::thousands(used.tokens.total()));
    let cost = sure(used.micros_certainty, text::dollars(used.micros));
    let of_tokens = of_token_limit(budget, budget::counted_tokens(budget, &used.tokens));
    let of_cost = budget::overall_micros(budget)
        .map(|limit| format!(" of {}{}", text::dollars(limit), over(used.micros, limit)))
        .unwrap_or_default();
    let time = text::seconds(view.elapsed);
    format!("Total Tokens: {tokens}{of_tokens}\nTotal Cost: {cost}{of_cost}\nTotal Time: {time}\n")
}

fn of_token_limit(budget: &BudgetConfig, counted: u64) -> String {
    let Some(limit) = budget::overall_tokens(budget) else { return String::new() };
    let of_limit = format!(" of {}{}", text::thousands(limit), over(counted, limit));
    match budget::basis_prefix(budget) {
        "" => of_limit,
        basis => format!("; {} {}{of_limit}", text::thousands(counted), basis.trim_end()),
    }
}

fn over(used: u64, limit: u64) -> &'static str {
    if used > limit { " (over budget)" } else { "" }
}

fn leavings(view: &View, style: Style, footer: &Footer) -> String {
    let mut lines = String::new();
    if let Some(logs) = &footer.logs {
        lines += &format!("Logs: {}\n", style.shown(&logs.to_string_lossy(), MAX_PATH_COLUMNS));
    }
    let exit = footer.exit.number();
    lines + &format!("Left running: {}\nExit code: {exit} ({})\n", survivors(view, style), meaning(footer))
}

fn survivors(view: &View, style: Style) -> String {
    let with_some = view.instances().filter(|(_, record)| !record.survivors.is_empty());
    let told: Vec<String> = with_some
        .map(|(instance, record)| {
            let ids: Vec<String> = record.survivors.iter().map(ToString::to_string).collect();
            format!(
                "{} ({}: {})",
                style.name(&instance.name),
                counted(ids.len(), "process", "processes"),
                ids.join(", ")
            )
        })
        .collect();
    if told.is_empty() { "nothing".into() } else { told.join("; ") }
}

fn meaning(footer: &Footer) -> String {
    match (footer.exit, &footer.stopped_by) {
        (ExitCode::Signal(_), Some(signal)) => format!("stopped by {signal}"),
        (ExitCode::Signal(number), None) => format!("stopped by signal {number}"),
        (code, _) => {
            let code = code.number().to_string();
            exit::TABLE
                .iter()
                .find(|(written, _)| *written == code)
                .map_or(String::new(), |(_, meaning)| (*meaning).into())
        }
    }
}
