//! The final summary of a run: completed, failed and skipped instances with the errors, usage and cost, and the place
//! of the logs. It reports the records as they are; the caller decides that the run has ended.

use std::path::PathBuf;

use super::{Mark, Snapshot, Style, budget, counted, list_item, stages, usage_limit};
use crate::base::text;
use crate::config::BudgetConfig;
use crate::engine::budget::{LimitUsage, Scope, Unit};
use crate::engine::exit_code::{self, ExitCode};
use crate::engine::outcome::{FailureKind, Status};
use crate::engine::record::InstanceRecord;

const MAX_ERROR_COLUMNS: usize = 500;
const MAX_LINE_COLUMNS: usize = 160;
const MAX_PATH_COLUMNS: usize = 4096;
const MAX_DENIALS_SHOWN: usize = 3;

/// Maximum number of instances listed that a signal or a usage limit kept from starting.
const MAX_UNSTARTED_SHOWN: usize = 10;
/// Minimum length of a line that is dropped as part of the error: shorter ones occur in many errors.
const MIN_BYTES_REPEATED: usize = 12;
const MAX_LAST_LINES: usize = 5;

/// End of a run: exit code and remaining files and processes.
#[derive(Clone, Debug)]
pub struct Footer {
    /// Name of the signal that stopped the run.
    pub stopped_by: Option<String>,
    /// Remaining processes that belong to no instance, by id; `None` if the system does not list processes.
    pub strays: Option<Vec<i32>>,
    /// Directory of the run's files, if any were written.
    pub logs: Option<PathBuf>,
    /// Kinds of files in the directory that are incomplete, by name.
    pub incomplete_files: Vec<&'static str>,
    /// Exit code of zen.
    pub exit: ExitCode,
}

/// Returns the summary, with its last newline.
#[must_use]
pub fn summary(view: &Snapshot, style: Style, footer: &Footer) -> String {
    let title = match &footer.stopped_by {
        Some(signal) => format!("Orchestration Stopped by {signal} - Results"),
        None => "Orchestration Complete - Results".into(),
    };
    let parts = [
        counts(view, style),
        section("Stages", &stages::summary(view)),
        failed(view, style),
        skipped(view, style),
        denials(view, style),
        permission_modes(view, style),
        mcp_failures(view, style),
        background(view, style),
        totals(view, style),
        usage_limit_line(view),
        footer_lines(view, style, footer),
    ];
    let mut text = style.title(&title);
    for part in parts {
        if !part.is_empty() {
            text += &format!("\n{part}");
        }
    }
    text
}

fn usage_limit_line(view: &Snapshot) -> String {
    match view.usage_limit {
        Some(limit) => usage_limit(&limit.describe_final(view.elapsed)),
        None => String::new(),
    }
}

fn counts(view: &Snapshot, style: Style) -> String {
    let counts = view.counts();
    let all = view.records.len();
    let line = |mark, word, count| format!("{}: {count}/{all} instances\n", style.status_label(mark, word));
    let mut lines = line(Mark::Completed, "Successful", counts.completed);
    lines += &line(Mark::Failed, "Failed", counts.failed);
    for (mark, word, count) in [
        (Mark::Skipped, "Skipped", counts.skipped),
        // Both counts are zero at the end of a run; if one is not, show it.
        (Mark::Running, "Not ended", counts.running),
        (Mark::Pending, "Not started", counts.pending),
    ] {
        if count > 0 {
            lines += &line(mark, word, count);
        }
    }
    lines
}

fn failed(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    let mut unstarted = 0;
    for (instance, record) in view.instances() {
        let Status::Failed(failure) = &record.status else { continue };
        if matches!(failure.reason, FailureKind::Interrupted | FailureKind::Limit) && record.started.is_none() {
            unstarted += 1;
            if unstarted > MAX_UNSTARTED_SHOWN {
                continue;
            }
        }
        let error = match record.attempt_count() {
            0 | 1 => failure.error.clone(),
            attempts => format!("{} ({attempts} attempts)", failure.error),
        };
        // The name is not truncated, because the user searches for it in the config.
        lines += &style.sanitize(&format!("- {}: {error}", instance.name), MAX_ERROR_COLUMNS);
        lines.push('\n');
        for line in last_lines(record, &failure.error) {
            lines += &format!("    {}\n", style.sanitize(line, MAX_LINE_COLUMNS - 4));
        }
    }
    if unstarted > MAX_UNSTARTED_SHOWN {
        lines += &format!("- {} more that had not started\n", unstarted - MAX_UNSTARTED_SHOWN);
    }
    section("Failed Instances", &lines)
}

/// Returns the last few lines of output, without those that repeat the error.
fn last_lines<'a>(record: &'a InstanceRecord, error: &str) -> Vec<&'a String> {
    let error = text::sanitize_line(error);
    let mut lines: Vec<&String> = record.last_output.iter().rev().take(MAX_LAST_LINES).collect();
    lines.reverse();
    lines.retain(|line| !repeats(line, &error));
    lines
}

/// True if a line equals the cleaned error, or is a part of it that is too long for a coincidence.
fn repeats(line: &str, error: &str) -> bool {
    let line = text::sanitize_line(line);
    line == error || line.len() >= MIN_BYTES_REPEATED && error.contains(&*line)
}

fn skipped(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        if let Status::Skipped(reason) = &record.status {
            lines += &list_item(&instance.name, reason, MAX_ERROR_COLUMNS, style);
        }
    }
    section("Skipped Instances", &lines)
}

fn denials(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        for denial in record.current_progress().denials.iter().take(MAX_DENIALS_SHOWN) {
            let tool_use = format!("{} {}", denial.tool, denial.input_summary);
            lines += &list_item(&instance.name, &tool_use, MAX_LINE_COLUMNS, style);
        }
        let unshown = record.current_progress().denials.len().saturating_sub(MAX_DENIALS_SHOWN) as u64;
        let unshown = unshown.saturating_add(record.current_progress().more_denials);
        if unshown > 0 {
            lines += &list_item(&instance.name, &format!("{unshown} more"), MAX_LINE_COLUMNS, style);
        }
    }
    section("Permissions denied", &lines)
}

/// Returns the instances in which claude runs in another permission mode than the requested one.
fn permission_modes(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        if let (Some(mode), Some(requested)) =
            (&record.current_progress().permission_mode, &record.current_progress().mode_instead_of)
        {
            let text = format!("{mode} instead of {requested}");
            lines += &list_item(&instance.name, &text, MAX_LINE_COLUMNS, style);
        }
    }
    section("Permission modes changed by claude", &lines)
}

fn mcp_failures(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        let servers = &record.current_progress().mcp_failed;
        if !servers.is_empty() {
            lines += &list_item(&instance.name, &servers.join(", "), MAX_LINE_COLUMNS, style);
        }
    }
    section("MCP servers failed", &lines)
}

/// Returns lines such as `build: completed, 1 background command was stopped: ./serve.sh`.
fn background(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        let commands = &record.current_progress().background_stopped;
        if !commands.is_empty() {
            let count = counted(commands.len(), "background command was", "background commands were");
            let text = format!("{}, {count} stopped: {}", record.status.word(), commands.join("; "));
            lines += &list_item(&instance.name, &text, MAX_ERROR_COLUMNS, style);
        }
    }
    section("Background work stopped", &lines)
}

fn section(title: &str, lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("{title}:\n{lines}") }
}

fn totals(view: &Snapshot, style: Style) -> String {
    let budget = &view.plan.budget;
    let used = view.used();
    let tokens = style.certainty_prefix(used.tokens_certainty).to_owned() + &text::thousands(used.tokens.total());
    let cost = style.certainty_prefix(used.micros_certainty).to_owned() + &text::dollars(used.micros);
    let of_tokens = of_token_limit(budget, budget::counted_tokens(budget, &used.tokens));
    let of_cost = match budget::overall_micros(budget) {
        Some(limit) => format!(" of {}{}", text::dollars(limit), excess(used.micros, limit, text::dollars)),
        None => String::new(),
    };
    let time = text::format_duration(view.elapsed);
    let exceeded = exceeded_commands(view, style);
    format!("Total Tokens: {tokens}{of_tokens}\nTotal Cost: {cost}{of_cost}\n{exceeded}Total Time: {time}\n")
}

/// Returns a line for each budget of a command that was exceeded, with the excess.
fn exceeded_commands(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for LimitUsage { scope, unit, cap, used } in view.limits {
        let Scope::Command(command) = scope else { continue };
        if used <= cap {
            continue;
        }
        let (format, name): (fn(u64) -> String, &str) = match unit {
            Unit::Tokens => (text::thousands, " tokens"),
            Unit::Micros => (text::dollars, ""),
        };
        let excess = excess(*used, *cap, format);
        let command = style.name(command);
        lines += &format!("Budget of {command}: {} of {}{name}{excess}\n", format(*used), format(*cap));
    }
    lines
}

fn of_token_limit(budget: &BudgetConfig, counted: u64) -> String {
    let Some(limit) = budget::overall_tokens(budget) else { return String::new() };
    let of_limit = format!(" of {}{}", text::thousands(limit), excess(counted, limit, text::thousands));
    match budget::basis_prefix(budget) {
        "" => of_limit,
        basis => format!("; {} {}{of_limit}", text::thousands(counted), basis.trim_end()),
    }
}

/// Returns the excess over a limit: rounded to cents, usage and limit may look the same.
fn excess(used: u64, limit: u64, format: fn(u64) -> String) -> String {
    let excess = used.saturating_sub(limit);
    if excess > 0 { format!(" (over budget by {})", format(excess)) } else { String::new() }
}

fn footer_lines(view: &Snapshot, style: Style, footer: &Footer) -> String {
    let mut lines = String::new();
    if let Some(logs) = &footer.logs {
        lines += &format!("Logs: {}\n", style.sanitize(&logs.to_string_lossy(), MAX_PATH_COLUMNS));
    }
    if !footer.incomplete_files.is_empty() {
        lines += &format!("Incomplete files: {}\n", footer.incomplete_files.join(", "));
    }
    lines += &format!("Left running: {}\n", remaining_processes(view, style, footer.strays.as_deref()));
    lines += &format!("Exit code: {} ({})\n", footer.exit.number(), meaning(footer, view.counts().failed));
    lines
}

fn remaining_processes(view: &Snapshot, style: Style, strays: Option<&[i32]>) -> String {
    let mut remaining = Vec::new();
    for (instance, record) in view.instances() {
        remaining.extend(processes(&record.surviving_pids, &style.name(&instance.name)));
    }
    remaining.extend(processes(strays.unwrap_or_default(), "no instance"));
    match (remaining.is_empty(), strays) {
        (false, _) => remaining.join("; "),
        (true, Some(_)) => "nothing".to_owned(),
        (true, None) => "unknown: the system does not list processes".to_owned(),
    }
}

/// Returns process ids and their owner, such as `4711, 4712 (build)`.
fn processes(pids: &[i32], owner: &str) -> Option<String> {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    if pids.is_empty() { None } else { Some(format!("{} ({owner})", pids.join(", "))) }
}

fn meaning(footer: &Footer, failed: usize) -> String {
    match (footer.exit, &footer.stopped_by) {
        (ExitCode::Signal(_), Some(signal)) => format!("stopped by {signal}"),
        (ExitCode::Signal(number), None) => format!("stopped by signal {number}"),
        // The table gives two meanings of this code; only this one applies to a run that has a summary.
        (ExitCode::TempFail, _) => "try again later: the usage limit was reached".to_owned(),
        (ExitCode::Failed, _) if failed == 0 => "report.json is incomplete".to_owned(),
        (ExitCode::Failed, _) => "at least one instance failed".to_owned(),
        (code, _) => {
            let code = code.number().to_string();
            let row = exit_code::TABLE.iter().find(|(number, _)| *number == code);
            row.map_or("", |(_, meaning)| *meaning).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{
        ASCII, COLOUR, Cases, Run, UNICODE, failed, hostile, many, style, summary_of_the_seed, used, without_colours,
    };
    use super::*;
    use crate::claude::protocol::Denial;
    use crate::claude::usage_meter::Certainty;
    use crate::config::TokenBasis;
    use crate::engine::outcome::Failure;
    use crate::engine::progress::AttemptProgress;
    use crate::engine::record::FailedAttempt;
    use crate::plan::Plan;
    use proptest::prelude::*;
    use std::time::Duration;

    const SEED: &str = "\
╔═══════════════════════════════════════════════════════════════╗
║  Orchestration Complete - Results                             ║
╚═══════════════════════════════════════════════════════════════╝

✓ Successful: 2/3 instances
✗ Failed: 1/3 instances

Failed Instances:
- failing-instance: Command not found: /this-command-does-not-exist

Total Tokens: 7,000
Total Cost: $0.70
Total Time: 45.3s
";

    const FOOTER: &str =
        "\nLogs: /logs/20261122T103000Z\nLeft running: nothing\nExit code: 2 (at least one instance failed)\n";

    fn footer(exit: ExitCode) -> Footer {
        Footer {
            stopped_by: None,
            strays: Some(Vec::new()),
            logs: Some("/logs/20261122T103000Z".into()),
            incomplete_files: Vec::new(),
            exit,
        }
    }

    fn text(plan: &Plan, records: &[InstanceRecord], style: Style) -> String {
        text_with(plan, records, style, &footer(ExitCode::Failed))
    }

    fn text_with(plan: &Plan, records: &[InstanceRecord], style: Style, footer: &Footer) -> String {
        let run = Run::new((plan.clone(), records.to_vec()), 45_300);
        summary(&run.snapshot(), style, footer)
    }

    #[test]
    fn summary_of_test_3_2_is_that_of_the_seed() {
        let (plan, records) = summary_of_the_seed();
        assert_eq!(text(&plan, &records, UNICODE), SEED.to_owned() + FOOTER);
        let coloured = text(&plan, &records, COLOUR);
        assert!(coloured.contains("\n✓ \u{1b}[32mSuccessful\u{1b}[0m: 2/3 instances\n"));
        assert_eq!(without_colours(&coloured, COLOUR).ok(), Some(SEED.to_owned() + FOOTER));
    }

    #[test]
    fn summaries_equal_the_golden_file() {
        let mut cases = Cases::default();
        let (plan, records) = summary_of_the_seed();
        cases.add("ASCII", &text(&plan, &records, ASCII));
        add_sections(&mut cases);
        add_budgets(&mut cases);
        add_ends(&mut cases);
        cases.assert("summary.txt");
    }

    fn add_sections(cases: &mut Cases) {
        let (plan, mut records) = summary_of_the_seed();
        records[0].last_output = vec!["completed".into()];
        records[1].last_output =
            ["first", "reading", "it", "Bash: make", "Command not found: /this", "not", "bye \u{1b}[2J"]
                .map(String::from)
                .into();
        cases.add("last output of a failed instance", &text(&plan, &records, UNICODE));
        records[0].progress.denials =
            (1..=5).map(|i| Denial { tool: "Bash".into(), input_summary: format!("rm\n{i}") }).collect();
        records[0].progress.permission_mode = Some("default\n".into());
        records[0].progress.mode_instead_of = Some("bypassPermissions".into());
        records[1].progress.permission_mode = Some("default".into());
        records[0].progress.mcp_failed = vec!["github".into(), "db\n".into()];
        records[0].progress.background_stopped = vec!["./serve.sh".into()];
        records[1].progress.background_stopped = vec!["a\nb".into(), "c".into()];
        records[2] =
            InstanceRecord { status: Status::Skipped("failing-instance failed".into()), ..InstanceRecord::default() };
        cases.add("all sections", &text(&plan, &records, UNICODE));
        records[0].status = Status::Running;
        records[2].status = Status::Pending;
        cases.add("instances without an end", &text(&plan, &records, UNICODE));
    }

    fn add_budgets(cases: &mut Cases) {
        let (mut plan, mut records) = summary_of_the_seed();
        plan.budget.overall_tokens = Some(6_999);
        plan.budget.overall_micros = Some(5_000_000);
        records[0].used.tokens_certainty = Certainty::AtLeast;
        records[0].used.micros_certainty = Certainty::Estimate;
        cases.add("limits, lower bounds and estimates", &text(&plan, &records, UNICODE));
        plan.budget.token_basis = Some(TokenBasis::Uncached);
        records[0].used.tokens.cache_read = 50;
        cases.add("uncached tokens", &text(&plan, &records, ASCII));
        let run = Run::new((plan, records), 45_300);
        let exceeded = |unit| LimitUsage { scope: Scope::Command("/analyze".into()), unit, cap: 10_000, used: 12_345 };
        let limits = [exceeded(Unit::Tokens), exceeded(Unit::Micros)];
        let view = Snapshot { limits: &limits, ..run.snapshot() };
        cases.add("exceeded budgets of commands", &summary(&view, UNICODE, &footer(ExitCode::Budget)));
    }

    fn add_ends(cases: &mut Cases) {
        let (plan, mut records) = summary_of_the_seed();
        let incomplete = Footer { incomplete_files: vec!["report.json", "result.txt"], ..footer(ExitCode::Failed) };
        cases.add("incomplete files", &text_with(&plan, &records, UNICODE, &incomplete));
        let mut completed = records.clone();
        completed[1].status = Status::Completed;
        cases.add("all completed, with incomplete files", &text_with(&plan, &completed, UNICODE, &incomplete));
        records[0].surviving_pids = vec![4711, 4712];
        records[2].surviving_pids = vec![4801];
        let stopped_by = Some("SIGTERM".to_owned());
        let stopped = Footer { stopped_by, strays: Some(vec![99]), logs: None, ..footer(ExitCode::Signal(15)) };
        cases.add("stopped, with remaining processes", &text_with(&plan, &records, UNICODE, &stopped));
        let unknown = Footer { strays: None, ..footer(ExitCode::TempFail) };
        cases.add("processes unknown, usage limit", &text_with(&plan, &completed, UNICODE, &unknown));
    }

    #[test]
    fn last_output_does_not_repeat_the_error() {
        for (line, error, is_repeated) in [
            ("Stop", "Stop", true),
            ("Stop", "Stop hook failed", false),
            ("first line of two", "first line of two\nand the second", true),
            ("first line of two and the second", "first line of two\n  and the second\n", true),
            ("no \u{1b}[31mroute to\u{1b}[0m host", "no route  to host", true),
            ("reading Cargo.toml", "no route to host", false),
            ("no route to host: retry", "no route to host", false),
        ] {
            assert_eq!(repeats(line, &text::sanitize_line(error)), is_repeated, "{line:?} {error:?}");
            let (plan, mut records) = summary_of_the_seed();
            records[1].status = failed(error);
            records[1].last_output = vec![line.into()];
            let lines = text(&plan, &records, UNICODE).lines().filter(|l| l.starts_with("    ")).count();
            assert_eq!(lines, usize::from(!is_repeated), "{line:?} {error:?}");
        }
    }

    #[test]
    fn retry_that_did_not_start_is_no_attempt() {
        let (plan, mut records) = summary_of_the_seed();
        let at = Duration::from_secs;
        let failed_at = |started| FailedAttempt {
            pid: None,
            started,
            ended: started,
            exit: None,
            used: Default::default(),
            failure: Failure::new(FailureKind::Error, "it broke"),
        };
        for (failed, last_started, expected) in
            [(vec![1], 1, ""), (vec![1], 5, " (2 attempts)"), (vec![1, 5], 5, " (2 attempts)")]
        {
            records[1].failed_attempts = failed.into_iter().map(|s| failed_at(at(s))).collect();
            records[1].attempt_started = Some(at(last_started));
            let text = text(&plan, &records, UNICODE);
            assert!(text.contains(&format!("Command not found: /this-command-does-not-exist{expected}\n")), "{text}");
        }
    }

    #[test]
    fn each_exit_code_has_a_meaning() {
        use ExitCode::{Budget, Completed, Failed, NotLaunched, Signal, TempFail, TimedOut};
        for exit in [Budget, Completed, Failed, NotLaunched, Signal(9), TimedOut, TempFail] {
            assert!(!meaning(&footer(exit), 1).is_empty(), "{exit:?}");
        }
        assert_eq!(meaning(&footer(Signal(9)), 0), "stopped by signal 9");
    }

    proptest! {
        #![proptest_config(crate::base::cases::few())]

        #[test]
        fn summary_is_printable_for_any_text(
            texts in prop::collection::vec(hostile(), 6), is_failed: bool, style in style()
        ) {
            let mut plan = many(1);
            plan.instances[0].name.clone_from(&texts[0]);
            let record = InstanceRecord {
                status: if is_failed { failed(&texts[1]) } else { Status::Skipped(texts[1].clone()) },
                last_output: vec![texts[2].repeat(50)],
                progress: AttemptProgress { denials: vec![Denial { tool: texts[3].clone(), input_summary: texts[4].repeat(50) }], ..AttemptProgress::default() },
                used: used(1, 1),
                ..InstanceRecord::default()
            };
            let footer = Footer { logs: Some(texts[5].clone().into()), ..footer(ExitCode::Failed) };
            let run = Run::new((plan, vec![record]), 0);
            let plain = without_colours(&summary(&run.snapshot(), style, &footer), style)?;
            for line in plain.lines().filter(|line| line.starts_with("    ")) {
                prop_assert!(text::width(line) <= MAX_LINE_COLUMNS);
            }
            for line in plain.lines().filter(|line| line.starts_with("- ")) {
                prop_assert!(text::width(line) <= MAX_ERROR_COLUMNS);
            }
        }
    }
}
