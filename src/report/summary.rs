//! The final summary of a run: completed, failed and skipped instances with the errors, usage and cost, and the place
//! of the logs. It reports the records as they are; the caller decides that the run has ended.

use std::path::PathBuf;

use super::{Mark, Snapshot, Style, budget, counted, listed, stages, usage_limit};
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
const MAX_LAST_WORDS: usize = 5;

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
        view.usage_limit.map_or_else(String::new, |limit| usage_limit(&limit.describe_final(view.elapsed))),
        footer_lines(view, style, footer),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    style.title(&title) + "\n" + &parts.join("\n")
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
        for line in last_words(record, &failure.error) {
            lines += &format!("    {}\n", style.sanitize(line, MAX_LINE_COLUMNS - 4));
        }
    }
    if unstarted > MAX_UNSTARTED_SHOWN {
        lines += &format!("- {} more that had not started\n", unstarted - MAX_UNSTARTED_SHOWN);
    }
    section("Failed Instances", &lines)
}

/// Returns the last few lines of output, without those that repeat the error.
fn last_words<'a>(record: &'a InstanceRecord, error: &str) -> impl Iterator<Item = &'a String> {
    let last = record.last_output.iter().skip(record.last_output.len().saturating_sub(MAX_LAST_WORDS));
    let error = text::sanitize_line(error).into_owned();
    last.filter(move |line| !repeats(line, &error))
}

/// True if a line equals the cleaned error, or is a part of it that is too long for a coincidence.
fn repeats(line: &str, error: &str) -> bool {
    let line = text::sanitize_line(line);
    line == error || line.len() >= MIN_BYTES_REPEATED && error.contains(&*line)
}

fn skipped(view: &Snapshot, style: Style) -> String {
    let lines = view.instances().filter_map(|(instance, record)| match &record.status {
        Status::Skipped(why) => Some(listed(&instance.name, why, MAX_ERROR_COLUMNS, style)),
        _ => None,
    });
    section("Skipped Instances", &lines.collect::<String>())
}

fn denials(view: &Snapshot, style: Style) -> String {
    let mut lines = String::new();
    for (instance, record) in view.instances() {
        for denial in record.progress.denials.iter().take(MAX_DENIALS_SHOWN) {
            let what = format!("{} {}", denial.tool, denial.input_summary);
            lines += &listed(&instance.name, &what, MAX_LINE_COLUMNS, style);
        }
        let unshown = record.progress.denials.len().saturating_sub(MAX_DENIALS_SHOWN) as u64;
        let unshown = unshown.saturating_add(record.progress.more_denials);
        if unshown > 0 {
            let more = format!("{unshown} more");
            lines += &listed(&instance.name, &more, MAX_LINE_COLUMNS, style);
        }
    }
    section("Permissions refused", &lines)
}

/// Returns the instances in which claude runs in another permission mode than the requested one.
fn permission_modes(view: &Snapshot, style: Style) -> String {
    let lines = view.instances().filter_map(|(instance, record)| {
        let (reported, requested) =
            (record.progress.permission_mode.as_ref()?, record.progress.mode_instead_of.as_ref()?);
        Some(listed(&instance.name, &format!("{reported} instead of {requested}"), MAX_LINE_COLUMNS, style))
    });
    section("Permission modes changed by claude", &lines.collect::<String>())
}

fn mcp_failures(view: &Snapshot, style: Style) -> String {
    let failed = view.instances().filter(|(_, record)| !record.progress.mcp_failed.is_empty());
    let lines = failed.map(|(instance, record)| {
        listed(&instance.name, &record.progress.mcp_failed.join(", "), MAX_LINE_COLUMNS, style)
    });
    section("MCP servers failed", &lines.collect::<String>())
}

/// Returns lines such as `build: completed, 1 background command was stopped: ./serve.sh`.
fn background(view: &Snapshot, style: Style) -> String {
    let stopped = view.instances().filter(|(_, record)| !record.progress.background_stopped.is_empty());
    let lines = stopped.map(|(instance, record)| {
        let commands = &record.progress.background_stopped;
        let count = counted(commands.len(), "background command was", "background commands were");
        let what = format!("{}, {count} stopped: {}", record.status.word(), commands.join("; "));
        listed(&instance.name, &what, MAX_ERROR_COLUMNS, style)
    });
    section("Background work stopped", &lines.collect::<String>())
}

fn section(title: &str, lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("{title}:\n{lines}") }
}

fn totals(view: &Snapshot, style: Style) -> String {
    let budget = &view.plan.budget;
    let used = view.used();
    let sure = |certainty, amount: String| format!("{}{amount}", style.certainty_prefix(certainty));
    let tokens = sure(used.tokens_certainty, text::thousands(used.tokens.total()));
    let cost = sure(used.micros_certainty, text::dollars(used.micros));
    let of_tokens = of_token_limit(budget, budget::counted_tokens(budget, &used.tokens));
    let of_cost = budget::overall_micros(budget)
        .map(|limit| format!(" of {}{}", text::dollars(limit), over(used.micros, limit, text::dollars)))
        .unwrap_or_default();
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
        let (shown, name): (fn(u64) -> String, &str) = match unit {
            Unit::Tokens => (text::thousands, " tokens"),
            Unit::Micros => (text::dollars, ""),
        };
        let over = over(*used, *cap, shown);
        let command = style.name(command);
        lines += &format!("Budget of {command}: {} of {}{name}{over}\n", shown(*used), shown(*cap));
    }
    lines
}

fn of_token_limit(budget: &BudgetConfig, counted: u64) -> String {
    let Some(limit) = budget::overall_tokens(budget) else { return String::new() };
    let of_limit = format!(" of {}{}", text::thousands(limit), over(counted, limit, text::thousands));
    match budget::basis_prefix(budget) {
        "" => of_limit,
        basis => format!("; {} {}{of_limit}", text::thousands(counted), basis.trim_end()),
    }
}

/// Returns the excess over a limit: rounded to cents, usage and limit may look the same.
fn over(used: u64, limit: u64, shown: fn(u64) -> String) -> String {
    let by = used.saturating_sub(limit);
    if by > 0 { format!(" (over budget by {})", shown(by)) } else { String::new() }
}

fn footer_lines(view: &Snapshot, style: Style, footer: &Footer) -> String {
    let mut lines = String::new();
    if let Some(logs) = &footer.logs {
        lines += &format!("Logs: {}\n", style.sanitize(&logs.to_string_lossy(), MAX_PATH_COLUMNS));
    }
    if !footer.incomplete_files.is_empty() {
        lines += &format!("Incomplete files: {}\n", footer.incomplete_files.join(", "));
    }
    let exit = footer.exit.number();
    lines
        + &format!(
            "Left running: {}\nExit code: {exit} ({})\n",
            remaining_processes(view, style, footer.strays.as_deref()),
            meaning(footer, view.counts().failed)
        )
}

fn remaining_processes(view: &Snapshot, style: Style, strays: Option<&[i32]>) -> String {
    let of_instances =
        view.instances().map(|(instance, record)| (style.name(&instance.name), &record.surviving_pids[..]));
    let all = of_instances.chain([("no instance's".to_owned(), strays.unwrap_or_default())]);
    let told = all.filter(|(_, processes)| !processes.is_empty()).map(|(whose, processes)| {
        let ids: Vec<String> = processes.iter().map(ToString::to_string).collect();
        format!("{} ({whose})", ids.join(", "))
    });
    match told.collect::<Vec<_>>() {
        none if none.is_empty() && strays.is_none() => "not known, for the system does not tell".into(),
        none if none.is_empty() => "nothing".into(),
        some => some.join("; "),
    }
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
            exit_code::TABLE
                .iter()
                .find(|(written, _)| *written == code)
                .map_or(String::new(), |(_, meaning)| (*meaning).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{
        ASCII, COLOUR, UNICODE, failed, hostile, many, style, summary_of_the_seed, used, without_colours,
    };
    use super::*;
    use crate::claude::protocol::Denial;
    use crate::claude::usage_meter::Certainty;
    use crate::config::TokenBasis;
    use crate::engine::outcome::Failure;
    use crate::engine::progress::AttemptProgress;
    use crate::engine::record::FailedAttempt;
    use crate::plan::Plan;
    use crate::plan::stages::Stages;
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

    const SEED_IN_ASCII: &str = "\
+===============================================================+
|  Orchestration Complete - Results                             |
+===============================================================+

+ Successful: 2/3 instances
x Failed: 1/3 instances

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

    fn told(plan: &Plan, records: &[InstanceRecord], style: Style) -> String {
        let elapsed = Duration::from_millis(45_300);
        let stages = &Stages::new(&plan.instances);
        summary(
            &Snapshot { plan, stages, records, elapsed, limits: &[], refusals: &[], usage_limit: None },
            style,
            &footer(ExitCode::Failed),
        )
    }

    #[test]
    fn test_3_2_the_seed_s_summary_to_the_byte() {
        let (plan, records) = summary_of_the_seed();
        assert_eq!(told(&plan, &records, UNICODE), SEED.to_owned() + FOOTER);
        assert_eq!(told(&plan, &records, ASCII), SEED_IN_ASCII.to_owned() + FOOTER);
        let coloured = told(&plan, &records, COLOUR);
        assert!(coloured.contains("\n✓ \u{1b}[32mSuccessful\u{1b}[0m: 2/3 instances\n"));
        assert_eq!(without_colours(&coloured, COLOUR), Ok(SEED.to_owned() + FOOTER));
    }

    #[test]
    fn whoever_failed_has_the_last_word_but_does_not_say_it_twice() {
        let (plan, mut records) = summary_of_the_seed();
        records[1].last_output =
            ["first", "reading", "it", "Bash: make", "Command not found: /this", "not", "bye \u{1b}[2J"]
                .map(String::from)
                .into();
        records[0].last_output = vec!["all well".into()];
        let told = told(&plan, &records, UNICODE);
        assert!(told.contains("does-not-exist\n    it\n    Bash: make\n    not\n    bye\n\nTotal"), "{told}");
        assert!(!told.contains("all well"));
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
            let lines = told(&plan, &records, UNICODE).lines().filter(|l| l.starts_with("    ")).count();
            assert_eq!(lines, usize::from(!is_repeated), "{line:?} {error:?}");
        }
    }

    #[test]
    fn an_attempt_that_did_not_follow_is_not_counted() {
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
            let told = told(&plan, &records, UNICODE);
            assert!(told.contains(&format!("Command not found: /this-command-does-not-exist{expected}\n")), "{told}");
        }
    }

    #[test]
    fn skipped_and_forgotten_ones_are_told_where_there_are_some() {
        let (plan, mut records) = summary_of_the_seed();
        records[2] =
            InstanceRecord { status: Status::Skipped("failing-instance failed".into()), ..InstanceRecord::default() };
        let skipped = told(&plan, &records, UNICODE);
        assert!(skipped.contains("✗ Failed: 1/3 instances\n⊘ Skipped: 1/3 instances\n\n"));
        assert!(skipped.contains("\n\nSkipped Instances:\n- another-success: failing-instance failed\n\nTotal"));
        records[0].status = Status::Running;
        records[2].status = Status::Pending;
        let forgotten = told(&plan, &records, UNICODE);
        assert!(forgotten.contains("\n⏳ Not ended: 1/3 instances\n⏸ Not started: 1/3 instances\n\n"));
    }

    #[test]
    fn refused_permissions_are_told_at_most_three_each() {
        let (plan, mut records) = summary_of_the_seed();
        records[0].progress.denials =
            (1..=5).map(|i| Denial { tool: "Bash".into(), input_summary: format!("rm\n{i}") }).collect();
        let expected = "\n\nPermissions refused:\n- successful-instance: Bash rm 1\n- successful-instance: Bash rm 2\n\
            - successful-instance: Bash rm 3\n- successful-instance: 2 more\n\nTotal Tokens";
        assert!(told(&plan, &records, UNICODE).contains(expected));
    }

    #[test]
    fn changed_permission_modes_are_listed_by_instance() {
        let (plan, mut records) = summary_of_the_seed();
        records[0].progress.permission_mode = Some("default\n".into());
        records[0].progress.mode_instead_of = Some("bypassPermissions".into());
        records[1].progress.permission_mode = Some("default".into());
        let expected = "\n\nPermission modes changed by claude:\n\
            - successful-instance: default instead of bypassPermissions\n\nTotal Tokens";
        let told = told(&plan, &records, UNICODE);
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn failed_mcp_servers_are_listed_by_instance() {
        let (plan, mut records) = summary_of_the_seed();
        records[0].progress.mcp_failed = vec!["github".into(), "db\n".into()];
        let expected = "\n\nMCP servers failed:\n- successful-instance: github, db\n\nTotal Tokens";
        assert!(told(&plan, &records, UNICODE).contains(expected));
    }

    #[test]
    fn stopped_background_commands_are_listed_with_the_verdict() {
        let (plan, mut records) = summary_of_the_seed();
        records[0].progress.background_stopped = vec!["./serve.sh".into()];
        records[1].progress.background_stopped = vec!["a\nb".into(), "c".into()];
        let expected = "\n\nBackground work stopped:\n\
            - successful-instance: completed, 1 background command was stopped: ./serve.sh\n\
            - failing-instance: failed, 2 background commands were stopped: a b; c\n\nTotal Tokens";
        assert!(told(&plan, &records, UNICODE).contains(expected));
    }

    #[test]
    fn totals_tell_how_sure_they_are_and_their_limits() {
        let (mut plan, mut records) = summary_of_the_seed();
        plan.budget.overall_tokens = Some(6_999);
        plan.budget.overall_micros = Some(5_000_000);
        records[0].used.tokens_certainty = Certainty::AtLeast;
        records[0].used.micros_certainty = Certainty::Estimate;
        let unicode = told(&plan, &records, UNICODE);
        assert!(unicode.contains("Total Tokens: ≥7,000 of 6,999 (over budget by 1)\nTotal Cost: ~$0.70 of $5.00\n"));
        plan.budget.token_basis = Some(TokenBasis::Uncached);
        records[0].used.tokens.cache_read = 50;
        let ascii = told(&plan, &records, ASCII);
        assert!(ascii.contains("Total Tokens: >=7,050; 7,000 uncached of 6,999 (over budget by 1)\n"), "{ascii}");
    }

    #[test]
    fn incomplete_files_are_listed_and_explain_the_exit_code() {
        let (plan, mut records) = summary_of_the_seed();
        let stages = &Stages::new(&plan.instances);
        let footer = Footer { incomplete_files: vec!["report.json", "result.txt"], ..footer(ExitCode::Failed) };
        for (failed, meaning) in [(true, "at least one instance failed"), (false, "report.json is incomplete")] {
            if !failed {
                records.iter_mut().for_each(|record| record.status = Status::Completed);
            }
            let (records, elapsed) = (&records[..], Duration::from_secs(1));
            let view =
                Snapshot { plan: &plan, stages, records, elapsed, limits: &[], refusals: &[], usage_limit: None };
            let text = summary(&view, UNICODE, &footer);
            assert!(text.contains("\nIncomplete files: report.json, result.txt\nLeft running: nothing\n"), "{text}");
            assert!(text.ends_with(&format!("Exit code: 2 ({meaning})\n")), "{text}");
        }
    }

    #[test]
    fn a_stopped_run_says_so_and_what_it_leaves() {
        let (plan, mut records) = summary_of_the_seed();
        records[0].surviving_pids = vec![4711, 4712];
        records[2].surviving_pids = vec![4801];
        let footer = Footer {
            stopped_by: Some("SIGTERM".into()),
            strays: Some(vec![99]),
            logs: None,
            incomplete_files: Vec::new(),
            exit: ExitCode::Signal(15),
        };
        let stages = &Stages::new(&plan.instances);
        let told = summary(
            &Snapshot {
                plan: &plan,
                stages,
                records: &records,
                elapsed: Duration::ZERO,
                limits: &[],
                refusals: &[],
                usage_limit: None,
            },
            UNICODE,
            &footer,
        );
        assert!(told.contains("║  Orchestration Stopped by SIGTERM - Results                   ║\n"));
        let expected = "\nTotal Time: 0.0s\n\n\
            Left running: 4711, 4712 (successful-instance); 4801 (another-success); 99 (no instance's)\n\
            Exit code: 143 (stopped by SIGTERM)\n";
        assert!(told.ends_with(expected), "{told}");
    }

    #[test]
    fn what_the_system_does_not_tell_is_not_called_nothing() {
        let (plan, records) = summary_of_the_seed();
        let stages = &Stages::new(&plan.instances);
        let elapsed = Duration::ZERO;
        let view =
            Snapshot { plan: &plan, stages, records: &records, elapsed, limits: &[], refusals: &[], usage_limit: None };
        assert_eq!(remaining_processes(&view, UNICODE, Some(&[])), "nothing");
        assert_eq!(remaining_processes(&view, UNICODE, None), "not known, for the system does not tell");
    }

    #[test]
    fn every_exit_code_has_a_meaning() {
        use ExitCode::{Budget, Completed, Failed, NotLaunched, Signal, TempFail, TimedOut};
        for exit in [Budget, Completed, Failed, NotLaunched, Signal(9), TimedOut, TempFail] {
            assert!(!meaning(&footer(exit), 1).is_empty(), "{exit:?}");
        }
        assert_eq!(meaning(&footer(Signal(9)), 0), "stopped by signal 9");
    }

    proptest! {
        #[test]
        fn nothing_hostile_reaches_the_screen(
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
            let stages = &Stages::new(&plan.instances);
            let view = Snapshot { plan: &plan, stages, records: &[record], elapsed: Duration::ZERO, limits: &[], refusals: &[], usage_limit: None };
            let plain = without_colours(&summary(&view, style, &footer), style).map_err(TestCaseError::fail)?;
            for line in plain.lines().filter(|line| line.starts_with("    ")) {
                prop_assert!(text::width(line) <= MAX_LINE_COLUMNS);
            }
            for line in plain.lines().filter(|line| line.starts_with("- ")) {
                prop_assert!(text::width(line) <= MAX_ERROR_COLUMNS);
            }
        }
    }
}
