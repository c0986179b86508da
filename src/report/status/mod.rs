//! The status report on a run in progress: a table of the instances, and their usage against the budget. In a long
//! plan, instances of little interest are only counted, so that the rest fits a terminal or a mail.

use std::collections::HashMap;
use std::time::Duration;

use super::{MAX_NAME_COLUMNS, Mark, Snapshot, Style, budget, counted, full_cells, stages, usage_limit};
use crate::base::text;
use crate::claude::protocol::Retry;
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

const MAX_WAITING_SHOWN: usize = 10;
const MAX_REASON_COLUMNS: usize = 80;

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
    if let Some(limit) = view.usage_limit
        && limit.is_active(view.elapsed)
    {
        report += &usage_limit(&limit.describe(view.elapsed));
    }
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
    let mut text = String::new();
    for ((_, record), line) in rows.iter().zip(lines) {
        if record.ended >= Some(since) {
            text += &line;
        }
    }
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
    let mut rows = Vec::new();
    for (instance, record) in view.instances() {
        failed += usize::from(matches!(record.status, Status::Failed(_)));
        let has_row = match record.status {
            Status::Running => true,
            Status::Pending => counts.pending <= MAX_ROWS_OF_STATUS,
            Status::Completed => !is_long || counts.completed <= MAX_ROWS_OF_STATUS,
            Status::Skipped(_) => !is_long || counts.skipped <= MAX_ROWS_OF_STATUS,
            Status::Failed(_) => !is_long || failed <= MAX_ROWS_OF_STATUS,
        };
        if has_row {
            rows.push((instance, record));
        }
    }
    rows
}

/// Returns the header of the table, with its rule, and a line for each row.
fn table(
    view: &Snapshot,
    rows: &[(&Instance, &InstanceRecord)],
    style: Style,
    screen: Option<usize>,
) -> (String, Vec<String>) {
    let mut table = Vec::new();
    for (instance, record) in rows {
        table.push(cells(view, instance, record, style));
    }
    let layout = match screen {
        Some(screen) => Layout::fitted(&widths(&table), screen),
        None => Layout::fixed(),
    };
    for (row, (instance, _)) in table.iter_mut().zip(rows) {
        row[NAME] = style.sanitize(&instance.name, layout.max_name);
    }
    let mut widths = widths(&table);
    widths[NAME] = widths[NAME].min(layout.max_name);
    let header = line(&HEADER, &widths, &layout) + &rule(&widths, &layout);
    let mut lines = Vec::new();
    for row in &table {
        lines.push(line(&row.each_ref().map(String::as_str), &widths, &layout));
    }
    (header, lines)
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
            // The rule is one column wider than the progress column.
            let mut others = usize::from(layout.shown.contains(&PROGRESS));
            for &column in &layout.shown[1..] {
                others += SEPARATOR.len() + widths[column];
            }
            let room = screen.saturating_sub(others);
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
    const NONE: &str = "-";
    let pid = match record.pid {
        Some(pid) if record.status != Status::Pending => pid.to_string(),
        _ => NONE.to_owned(),
    };
    let prefix = style.certainty_prefix(record.used.tokens_certainty);
    [
        String::new(),
        status_cell(&record.status, style),
        pid,
        format!("{prefix}{}", text::thousands(record.used.tokens.total())),
        record.elapsed(view.elapsed).map_or(NONE.to_owned(), text::format_duration),
        style.bar(progress_cells(view, instance, record), PROGRESS_CELLS),
    ]
}

/// Returns the status cell, padded here because the later padding would count colour sequences as columns.
fn status_cell(status: &Status, style: Style) -> String {
    let (mark, word) = (Mark::new(status), status.word());
    let columns = text::width(style.glyphs().glyph(mark)) + 1 + text::width(word);
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
        turns => full_cells(record.current_progress().turns_done as u64, turns as u64, PROGRESS_CELLS),
    };
    let tokens = budget::counted_tokens(&view.plan.budget, &record.used.tokens);
    match instance.max_tokens {
        Some(max_tokens) => by_turns.max(full_cells(tokens, max_tokens, PROGRESS_CELLS)),
        None => by_turns,
    }
}

/// Returns the widths of the columns; that of the name is still the minimum.
fn widths(rows: &[[String; 6]]) -> [usize; 6] {
    let mut widths = MIN_COLUMNS;
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            // Colour sequences in a status would count as columns.
            if i != STATUS {
                widths[i] = widths[i].max(text::width(cell));
            }
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

/// Returns the lines that are shown, and the number of the others: `  2 more wait for a retry`.
fn limited(lines: Vec<String>, state: &str) -> String {
    let more = lines.len().saturating_sub(MAX_WAITING_SHOWN);
    let mut text: String = lines.into_iter().take(MAX_WAITING_SHOWN).collect();
    if more > 0 {
        text += &format!("  {more} more {state}\n");
    }
    text
}

/// Returns a line for each instance that waits to retry an API request, up to a maximum.
fn retries(view: &Snapshot, style: Style) -> String {
    let mut lines = Vec::new();
    for (instance, record) in view.instances() {
        if let Some(retry) = &record.current_progress().retry
            && record.status == Status::Running
        {
            lines.push(retry_line(&style.name(&instance.name), retry, style));
        }
    }
    limited(lines, "wait for a retry")
}

/// Returns a line such as `a: retry 3 of 10 after 2.3s (529 overloaded)`.
fn retry_line(name: &str, retry: &Retry, style: Style) -> String {
    let delay = text::format_duration(Duration::from_millis(retry.delay_ms));
    let status = retry.status.map_or(String::new(), |status| status.to_string());
    let reason = match style.sanitize(&format!("{status} {}", retry.error), MAX_REASON_COLUMNS) {
        none if none.is_empty() => none,
        reason => format!(" ({reason})"),
    };
    format!("  {name}: retry {} of {} after {delay}{reason}\n", retry.attempt, retry.max_retries)
}

/// Returns lines such as `a: waits for 1 background command: make`. The list of commands is truncated.
fn awaited(view: &Snapshot, style: Style) -> String {
    let mut lines = Vec::new();
    for (instance, record) in view.instances() {
        let commands = &record.current_progress().awaited;
        if record.status == Status::Running && !commands.is_empty() {
            let count = counted(commands.len(), "background command", "background commands");
            let list = style.sanitize(&commands.join("; "), MAX_REASON_COLUMNS);
            lines.push(format!("  {}: waits for {count}: {list}\n", style.name(&instance.name)));
        }
    }
    limited(lines, "wait for background commands")
}

/// Returns a line for each instance that waits for its next attempt, up to a maximum.
fn next_attempts(view: &Snapshot, style: Style) -> String {
    let lines = view.instances().filter_map(|waiting| next_attempt(waiting, view.elapsed, style)).collect();
    limited(lines, "wait for another attempt")
}

/// Returns `a: retry 1 of 3 in 12.0s (Timeout after 600s)`.
fn next_attempt((instance, record): (&Instance, &InstanceRecord), now: Duration, style: Style) -> Option<String> {
    let remaining = text::format_duration(record.next_attempt_at?.saturating_sub(now));
    let failure = &record.failed_attempts.last()?.failure;
    let reason = style.sanitize(&failure.error, MAX_REASON_COLUMNS);
    let name = style.name(&instance.name);
    let number = match failure.reason {
        FailureKind::Limit => "again".to_owned(),
        _ => format!("retry {} of {}", record.retry_count(), instance.retries.max_retries),
    };
    Some(format!("  {name}: {number} in {remaining} ({reason})\n"))
}

/// Returns lines such as `a: session diary is in use by another run`, or by another instance.
fn waiting_for_sessions(view: &Snapshot, style: Style) -> String {
    // Instances enter a shared session in the order of the config.
    let mut users: HashMap<&str, &str> = HashMap::new();
    let mut lines = Vec::new();
    for (instance, record) in view.instances() {
        let Some(session) = &instance.invocation.session else { continue };
        if record.status == Status::Running {
            users.insert(&session.uuid, &instance.name);
            continue;
        }
        let reason = match (&record.blocked_on, users.get(session.uuid.as_str())) {
            (Some(reason), _) => reason.clone(),
            (None, Some(user)) if record.status == Status::Pending => {
                format!("session {} is in use by {user}", session.name)
            }
            (None, _) => continue,
        };
        let reason = style.sanitize(&reason, MAX_REASON_COLUMNS);
        lines.push(format!("  {}: {reason}\n", style.name(&instance.name)));
    }
    limited(lines, "wait for their sessions")
}

fn overall(view: &Snapshot, style: Style) -> String {
    let budget = &view.plan.budget;
    let used = view.used();
    let prefix = style.certainty_prefix(used.tokens_certainty);
    let Some(limit) = budget::overall_tokens(budget) else {
        return format!("Overall: {prefix}{} tokens used\n", text::thousands(used.tokens.total()));
    };
    let counted = budget::counted_tokens(budget, &used.tokens);
    format!(
        "Overall: {prefix}{} / {} {}tokens used ({})\n",
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
    let by_tokens = match budget::overall_tokens(budget) {
        Some(limit) => full_cells(budget::counted_tokens(budget, &used.tokens), limit, BUDGET_CELLS),
        None => 0,
    };
    let bar = match budget.disable_visuals {
        Some(true) => String::new(),
        _ => style.bar(full_cells(used.micros, limit, BUDGET_CELLS).max(by_tokens), BUDGET_CELLS) + " ",
    };
    let prefix = style.certainty_prefix(used.micros_certainty);
    Some(format!("Budget: {bar}{prefix}{} / {}\n", text::dollars(used.micros), text::dollars(limit)))
}

#[cfg(test)]
mod tests;
