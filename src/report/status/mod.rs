//! The status report on a run in progress: a table of the instances, and their usage against the budget. In a long
//! plan, instances of little interest are only counted, so that the rest fits a terminal or a mail.

use std::collections::HashMap;
use std::time::Duration;

use super::{MAX_NAME_COLUMNS, Mark, Snapshot, Style, budget, counted, full_cells, stages, usage_limit};
use crate::base::text;
use crate::engine::budget::{Scope, Unit};
use crate::engine::outcome::{FailureKind, Status};
use crate::engine::record::InstanceRecord;
use crate::plan::Instance;

const HEADER: [&str; 6] = ["Name", "Status", "PID", "Tokens", "Time", "Progress"];
const MIN_COLUMNS: [usize; 6] = [19, STATUS_COLUMNS, 6, 7, 6, PROGRESS_CELLS];
const NAME: usize = 0;
const STATUS: usize = 1;
const TOKENS: usize = 3;
const PID: usize = 2;
const TIME: usize = 4;
const PROGRESS: usize = 5;
/// Columns that a narrow screen leaves out, the least important first.
const DISPENSABLE: [usize; 4] = [PROGRESS, PID, TIME, TOKENS];
const SEPARATOR: &str = " | ";
/// Minimum columns of a shortened name, until all other columns that can be left out are gone.
const MIN_NAME_COLUMNS: usize = 7;
/// Maximum columns of a name on a wide screen.
const WIDE_NAME_COLUMNS: usize = 100;
const STATUS_COLUMNS: usize = 11;
const PROGRESS_CELLS: usize = 8;
const BUDGET_CELLS: usize = 16;

/// Number of instances up to which every one has a row, except in a long queue of pending ones.
const MAX_FULL_TABLE: usize = 40;

/// Number of instances above which a status is only counted; of the failed ones, the first this many have rows.
const MAX_ROWS_OF_STATUS: usize = 20;

const MAX_RETRIES_SHOWN: usize = 10;
const MAX_RETRY_ERROR_COLUMNS: usize = 80;

/// Returns the report, with its last newline. The table fits a terminal of `screen` columns; without one its layout is
/// fixed.
#[must_use]
pub fn status(view: &Snapshot, style: Style, screen: Option<usize>) -> String {
    let title = format!("ZEN Orchestrator - Instance Status ({} elapsed)", whole_seconds(view.elapsed));
    let rows = rows(view);
    let mut report = style.title_within(&title, screen) + "\n";
    let (header, lines) = table(view, &rows, style, screen);
    report += &header;
    report.extend(lines);
    report += &retries(view, style);
    report += &awaited(view, style);
    report += &next_attempts(view, style);
    report += &waiting_for_sessions(view, style);
    report.push('\n');
    report += &stages::lines(view);
    report += &view
        .usage_limit
        .filter(|limit| limit.is_active(view.elapsed))
        .map_or_else(String::new, |limit| usage_limit(&limit.describe(view.elapsed)));
    if rows.len() < view.records.len() {
        let (counts, shown, all) = (view.counts().words(), rows.len(), view.records.len());
        report += &format!("Instances: {counts}; {shown} of {all} shown\n");
    }
    report += &used(view, style);
    report
}

/// Returns the update to a report that was printed at `since`: the rows of instances that have ended since then, and
/// the totals.
#[must_use]
pub fn completion(view: &Snapshot, style: Style, screen: Option<usize>, since: Duration) -> String {
    let rows = rows(view);
    let (_, lines) = table(view, &rows, style, screen);
    let lines = rows.iter().zip(lines).filter(|((_, record), _)| record.ended.is_some_and(|at| at >= since));
    let mut text: String = lines.map(|(_, line)| line).collect();
    text += &used(view, style);
    text
}

/// Returns the totals and their budgets.
fn used(view: &Snapshot, style: Style) -> String {
    overall(view, style) + &commands(view, style) + &spent(view, style).unwrap_or_default()
}

/// Returns whole seconds: `15s`; from 100 s on in the format of the other reports.
fn whole_seconds(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..100 => format!("{seconds}s"),
        seconds => text::format_duration(Duration::from_secs(seconds)),
    }
}

/// Returns the instances that have a row, in the plan's order.
fn rows<'a>(view: &Snapshot<'a>) -> Vec<(&'a Instance, &'a InstanceRecord)> {
    let counts = view.counts();
    let is_long = view.records.len() > MAX_FULL_TABLE;
    let mut failed = 0;
    let mut has_row = |status: &Status| match status {
        Status::Running => true,
        Status::Pending => counts.pending <= MAX_ROWS_OF_STATUS,
        Status::Completed => !is_long || counts.completed <= MAX_ROWS_OF_STATUS,
        Status::Skipped(_) => !is_long || counts.skipped <= MAX_ROWS_OF_STATUS,
        Status::Failed(_) => {
            failed += 1;
            !is_long || failed <= MAX_ROWS_OF_STATUS
        }
    };
    view.instances().filter(|(_, record)| has_row(&record.status)).collect()
}

/// Returns the header of the table, with its rule, and a line for each row.
fn table(
    view: &Snapshot,
    rows: &[(&Instance, &InstanceRecord)],
    style: Style,
    screen: Option<usize>,
) -> (String, Vec<String>) {
    let mut cells: Vec<[String; 6]> =
        rows.iter().map(|(instance, record)| cells(view, instance, record, style)).collect();
    let widths = widths(&cells);
    let layout = screen.map_or_else(Layout::fixed, |screen| Layout::fitted(&widths, screen));
    for (row, (instance, _)) in cells.iter_mut().zip(rows) {
        row[NAME] = style.sanitize(&instance.name, layout.max_name);
    }
    let mut widths = self::widths(&cells);
    widths[NAME] = widths[NAME].min(layout.max_name);
    let header = line(&HEADER, &widths, &layout) + &rule(&widths, &layout);
    (header, cells.iter().map(|row| line(&row.each_ref().map(String::as_str), &widths, &layout)).collect())
}

/// Layout of the table: the visible columns, and the maximum width of a name.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    shown: Vec<usize>,
    max_name: usize,
}

impl Layout {
    /// Returns the layout for output that is not a terminal.
    fn fixed() -> Self {
        Layout { shown: (0..HEADER.len()).collect(), max_name: MAX_NAME_COLUMNS }
    }

    /// Returns the layout for a screen: names are shortened first, then whole columns are left out.
    fn fitted(widths: &[usize; 6], screen: usize) -> Self {
        let mut layout = Layout::fixed();
        let mut dispensable = DISPENSABLE.iter();
        loop {
            let others: usize = layout.shown[1..].iter().map(|&i| SEPARATOR.len() + widths[i]).sum();
            let rule_end = usize::from(layout.shown.contains(&PROGRESS));
            let room = screen.saturating_sub(others + rule_end);
            layout.max_name = room.clamp(1, WIDE_NAME_COLUMNS);
            if room >= MIN_NAME_COLUMNS {
                return layout;
            }
            let Some(left_out) = dispensable.next() else { return layout };
            layout.shown.retain(|i| i != left_out);
        }
    }
}

fn cells(view: &Snapshot, instance: &Instance, record: &InstanceRecord, style: Style) -> [String; 6] {
    let sureness = style.certainty_prefix(record.used.tokens_certainty);
    [
        String::new(),
        status_cell(&record.status, style),
        record.pid.filter(|_| record.status != Status::Pending).map_or("-".into(), |pid| pid.to_string()),
        format!("{sureness}{}", text::thousands(record.used.tokens.total())),
        record.elapsed(view.elapsed).map_or("-".into(), text::format_duration),
        style.bar(progress_cells(view, instance, record), PROGRESS_CELLS),
    ]
}

/// Returns the status cell, padded here because the later padding would count colour sequences as columns.
fn status_cell(status: &Status, style: Style) -> String {
    let (mark, word) = (Mark::of(status), status.word());
    let columns = text::width(style.glyphs().of(mark)) + 1 + text::width(word);
    style.status_label(mark, word) + &" ".repeat(STATUS_COLUMNS.saturating_sub(columns))
}

fn progress_cells(view: &Snapshot, instance: &Instance, record: &InstanceRecord) -> usize {
    // Only a completed instance has a full bar.
    let reached = reached_cells(view, instance, record).min(PROGRESS_CELLS - 1);
    match record.status {
        Status::Completed => PROGRESS_CELLS,
        Status::Pending | Status::Skipped(_) => 0,
        Status::Running => reached.max(1),
        Status::Failed(_) => reached,
    }
}

/// Returns the cells filled by turns done or by used tokens of those expected, whichever is more.
fn reached_cells(view: &Snapshot, instance: &Instance, record: &InstanceRecord) -> usize {
    let by_turns = match instance.turns.len() {
        0 => 0,
        turns => full_cells(record.progress.turns_done as u64, turns as u64, PROGRESS_CELLS),
    };
    let tokens = budget::counted_tokens(&view.plan.budget, &record.used.tokens);
    let by_tokens = instance.max_tokens.map_or(0, |max_tokens| full_cells(tokens, max_tokens, PROGRESS_CELLS));
    by_turns.max(by_tokens)
}

/// Returns the widths of the columns; that of the name is still the minimum.
fn widths(rows: &[[String; 6]]) -> [usize; 6] {
    let mut widths = MIN_COLUMNS;
    for row in rows {
        for (i, cell) in row.iter().enumerate().filter(|&(i, _)| i != STATUS) {
            widths[i] = widths[i].max(text::width(cell));
        }
    }
    widths
}

fn line(cells: &[&str; 6], widths: &[usize; 6], layout: &Layout) -> String {
    let padded: Vec<String> = layout.shown.iter().map(|&i| text::pad(cells[i], widths[i])).collect();
    padded.join(SEPARATOR) + "\n"
}

fn rule(widths: &[usize; 6], layout: &Layout) -> String {
    let dashes: Vec<String> = layout.shown.iter().map(|&i| "-".repeat(widths[i])).collect();
    let last = match layout.shown.last() {
        Some(&PROGRESS) => "-",
        _ => "",
    };
    dashes.join("-|-") + last + "\n"
}

/// Returns a line for each instance that waits to retry an API request, up to a maximum.
fn retries(view: &Snapshot, style: Style) -> String {
    let mut waiting =
        view.instances().filter(|(_, record)| record.status == Status::Running && record.progress.retry.is_some());
    let mut lines: String = waiting.by_ref().take(MAX_RETRIES_SHOWN).filter_map(|of| retry(of, style)).collect();
    let more = waiting.count();
    if more > 0 {
        lines += &format!("  {more} more wait for a retry\n");
    }
    lines
}

fn retry((instance, record): (&Instance, &InstanceRecord), style: Style) -> Option<String> {
    let retry = record.progress.retry.as_ref()?;
    let delay = text::format_duration(Duration::from_millis(retry.delay_ms));
    let why = format!("{} {}", retry.status.map_or(String::new(), |status| status.to_string()), retry.error);
    let why = match style.sanitize(&why, MAX_RETRY_ERROR_COLUMNS) {
        why if why.is_empty() => why,
        why => format!(" ({why})"),
    };
    let name = style.name(&instance.name);
    Some(format!("  {name}: retry {} of {} after {delay}{why}\n", retry.attempt, retry.max_retries))
}

/// Returns lines such as `a: waits for 1 background command: make`. The list of commands is truncated.
fn awaited(view: &Snapshot, style: Style) -> String {
    let mut waiting =
        view.instances().filter(|(_, record)| record.status == Status::Running && !record.progress.awaited.is_empty());
    let line = |(instance, record): (&Instance, &InstanceRecord)| {
        let commands = &record.progress.awaited;
        let count = counted(commands.len(), "background command", "background commands");
        let what = style.sanitize(&commands.join("; "), MAX_RETRY_ERROR_COLUMNS);
        format!("  {}: waits for {count}: {what}\n", style.name(&instance.name))
    };
    let mut lines: String = waiting.by_ref().take(MAX_RETRIES_SHOWN).map(line).collect();
    let more = waiting.count();
    if more > 0 {
        lines += &format!("  {more} more wait for background commands\n");
    }
    lines
}

/// Returns a line for each instance that waits for its next attempt, up to a maximum.
fn next_attempts(view: &Snapshot, style: Style) -> String {
    let mut waiting = view.instances().filter(|(_, record)| record.next_attempt_at.is_some());
    let mut lines: String =
        waiting.by_ref().take(MAX_RETRIES_SHOWN).filter_map(|of| next_attempt(of, view.elapsed, style)).collect();
    let more = waiting.count();
    if more > 0 {
        lines += &format!("  {more} more wait for another attempt\n");
    }
    lines
}

/// Returns `a: retry 1 of 3 in 12.0s (Timeout after 600s)`.
fn next_attempt((instance, record): (&Instance, &InstanceRecord), now: Duration, style: Style) -> Option<String> {
    let left = text::format_duration(record.next_attempt_at?.saturating_sub(now));
    let why = style.sanitize(&record.failed_attempts.last()?.failure.error, MAX_RETRY_ERROR_COLUMNS);
    let name = style.name(&instance.name);
    Some(match record.failed_attempts.last()?.failure.reason {
        FailureKind::Limit => format!("  {name}: again in {left} ({why})\n"),
        _ => {
            format!("  {name}: retry {} of {} in {left} ({why})\n", record.retry_count(), instance.retries.max_retries)
        }
    })
}

/// Returns lines such as `a: session diary is in use by another run`, or by another instance.
fn waiting_for_sessions(view: &Snapshot, style: Style) -> String {
    // Instances enter a shared session in the order of the config.
    let mut in_session: HashMap<&str, &str> = HashMap::new();
    let mut waiting = view.instances().filter_map(|(instance, record)| {
        let session = instance.invocation.session.as_ref()?;
        if record.status == Status::Running {
            in_session.insert(&session.uuid, &instance.name);
            return None;
        }
        let because_of = in_session.get(session.uuid.as_str()).filter(|_| record.status == Status::Pending);
        let in_run = || Some(format!("session {} is in use by {}", session.name, because_of?));
        Some((instance, record.blocked_on.clone().or_else(in_run)?))
    });
    let told = |(instance, what): (&Instance, String)| {
        format!("  {}: {}\n", style.name(&instance.name), style.sanitize(&what, MAX_RETRY_ERROR_COLUMNS))
    };
    let mut lines: String = waiting.by_ref().take(MAX_RETRIES_SHOWN).map(told).collect();
    let more = waiting.count();
    if more > 0 {
        lines += &format!("  {more} more wait for their sessions\n");
    }
    lines
}

fn overall(view: &Snapshot, style: Style) -> String {
    let budget = &view.plan.budget;
    let used = view.used();
    let sureness = style.certainty_prefix(used.tokens_certainty);
    let Some(limit) = budget::overall_tokens(budget) else {
        return format!("Overall: {sureness}{} tokens used\n", text::thousands(used.tokens.total()));
    };
    let counted = budget::counted_tokens(budget, &used.tokens);
    format!(
        "Overall: {sureness}{} / {} {}tokens used ({})\n",
        text::thousands(counted),
        text::thousands(limit),
        budget::basis_prefix(budget),
        text::percent(counted, limit)
    )
}

/// Returns the budgets of commands: `Budget of /analyze-code: 8,000 / 10,000 tokens`.
fn commands(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for limit in view.limits {
        let Scope::Command(command) = &limit.scope else { continue };
        let command = style.name(command);
        lines += &match limit.unit {
            Unit::Tokens => {
                let (used, cap) = (text::thousands(limit.used), text::thousands(limit.cap));
                format!("Budget of {command}: {used} / {cap} tokens\n")
            }
            Unit::Micros => {
                format!("Budget of {command}: {} / {}\n", text::dollars(limit.used), text::dollars(limit.cap))
            }
        };
    }
    lines
}

/// Returns the cost against its limit. The bar shows the overall limit closest to exhaustion, dollars or tokens.
fn spent(view: &Snapshot, style: Style) -> Option<String> {
    let budget = &view.plan.budget;
    let limit = budget::overall_micros(budget)?;
    let used = view.used();
    let by_tokens = budget::overall_tokens(budget)
        .map_or(0, |limit| full_cells(budget::counted_tokens(budget, &used.tokens), limit, BUDGET_CELLS));
    let bar = match budget.disable_visuals {
        Some(true) => String::new(),
        _ => style.bar(full_cells(used.micros, limit, BUDGET_CELLS).max(by_tokens), BUDGET_CELLS) + " ",
    };
    let sureness = style.certainty_prefix(used.micros_certainty);
    Some(format!("Budget: {bar}{sureness}{} / {}\n", text::dollars(used.micros), text::dollars(limit)))
}

#[cfg(test)]
mod tests;
