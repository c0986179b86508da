use super::super::samples::{
    ASCII, COLOUR, UNICODE, failed, hostile, many, status_of_the_seed, style, used, without_colours,
};
use super::*;
use crate::claude::protocol::Retry;
use crate::claude::session::Session;
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::Certainty;
use crate::config::{BudgetType, TokenBasis};
use crate::engine::progress::AttemptProgress;
use crate::engine::record::FailedAttempt;
use crate::plan::Plan;
use crate::plan::stages::Stages;
use proptest::prelude::*;

const SEED: &str = "\
╔═══════════════════════════════════════════════════════════════╗
║  ZEN Orchestrator - Instance Status (15s elapsed)             ║
╚═══════════════════════════════════════════════════════════════╝

Name                | Status      | PID    | Tokens  | Time   | Progress
--------------------|-------------|--------|---------|--------|----------
data-collector      | ✓ completed | 12345  | 2,450   | 8.2s   | ████████
analyzer            | ⏳ running  | 12346  | 1,823   | 5.1s   | ████░░░░
reporter            | ⏸ pending   | -      | 0       | -      | ░░░░░░░░

Overall: 4,273 / 15,000 tokens used (28.5%)
Budget: ████░░░░░░░░░░░░ $0.42 / $5.00
";

const SEED_IN_ASCII: &str = "\
+===============================================================+
|  ZEN Orchestrator - Instance Status (15s elapsed)             |
+===============================================================+

Name                | Status      | PID    | Tokens  | Time   | Progress
--------------------|-------------|--------|---------|--------|----------
data-collector      | + completed | 12345  | 2,450   | 8.2s   | ########
analyzer            | > running   | 12346  | 1,823   | 5.1s   | ####....
reporter            | . pending   | -      | 0       | -      | ........

Overall: 4,273 / 15,000 tokens used (28.5%)
Budget: ####............ $0.42 / $5.00
";

fn at_15s(plan: &Plan, records: &[InstanceRecord], style: Style) -> String {
    on_screen(plan, records, style, None)
}

fn on_screen(plan: &Plan, records: &[InstanceRecord], style: Style, screen: Option<usize>) -> String {
    let stages = &Stages::new(&plan.instances);
    status(
        &Snapshot {
            plan,
            stages,
            records,
            elapsed: Duration::from_secs(15),
            limits: &[],
            refusals: &[],
            usage_limit: None,
        },
        style,
        screen,
    )
}

fn line_of<'a>(report: &'a str, beginning: &str) -> &'a str {
    report.lines().find(|line| line.starts_with(beginning)).unwrap_or("")
}

#[test]
fn test_3_1_the_seed_s_report_to_the_byte() {
    let (plan, records) = status_of_the_seed();
    assert_eq!(at_15s(&plan, &records, UNICODE), SEED);
    assert_eq!(at_15s(&plan, &records, ASCII), SEED_IN_ASCII);
}

#[test]
fn a_colour_is_the_word_s_alone() {
    let (plan, records) = status_of_the_seed();
    let report = at_15s(&plan, &records, COLOUR);
    assert!(report.contains("| ✓ \u{1b}[32mcompleted\u{1b}[0m | 12345  |"));
    assert!(report.contains("| ⏳ \u{1b}[33mrunning\u{1b}[0m  | 12346  |"));
    assert_eq!(without_colours(&report, COLOUR), Ok(SEED.to_owned()));
}

#[test]
fn no_status_has_a_wider_cell_than_its_column() {
    for status in [Status::Pending, Status::Running, Status::Completed, failed("x"), Status::Skipped("x".into())] {
        for style in [UNICODE, ASCII] {
            assert_eq!(text::width(&status_cell(&status, style)), STATUS_COLUMNS, "{status:?}");
        }
    }
}

#[test]
fn columns_grow_with_what_is_in_them() {
    let (mut plan, mut records) = status_of_the_seed();
    plan.instances[0].name = "日本".repeat(30);
    records[0].used = used(1_234_567_890, 0);
    records[1].pid = Some(4_194_304);
    let report = at_15s(&plan, &records, UNICODE);
    let name = "日本".repeat(9) + "日…";
    assert!(
        report.contains(&format!("\n{name} | ✓ completed | 12345   | 1,234,567,890 | 8.2s   | ████████\n")),
        "{report}"
    );
    assert!(report.contains(&format!("\n{:39} | ⏳ running  | 4194304 | 1,823         | 5.1s ", "analyzer")));
    assert!(at_15s(&plan, &records, ASCII).contains(&format!("\n{} | + ", "?".repeat(36) + "...")));
}

#[test]
fn what_is_not_certain_is_marked() {
    let (plan, mut records) = status_of_the_seed();
    records[1].used.tokens_certainty = Certainty::AtLeast;
    records[1].used.micros_certainty = Certainty::Estimate;
    let report = at_15s(&plan, &records, UNICODE);
    assert!(report.contains("| 12346  | ≥1,823  | 5.1s"));
    assert_eq!(line_of(&report, "Overall"), "Overall: ≥4,273 / 15,000 tokens used (28.5%)");
    assert_eq!(line_of(&report, "Budget"), "Budget: ████░░░░░░░░░░░░ ~$0.42 / $5.00");
    assert!(at_15s(&plan, &records, ASCII).contains("| >=1,823 |"));
}

#[test]
fn only_limits_that_count_are_shown_and_as_they_count() {
    let (mut plan, mut records) = status_of_the_seed();
    records[0].used.tokens = Tokens { input: 450, cache_read: 2_000, ..Tokens::default() };
    plan.budget.token_basis = Some(TokenBasis::Uncached);
    let report = at_15s(&plan, &records, UNICODE);
    assert_eq!(line_of(&report, "Overall"), "Overall: 2,273 / 15,000 uncached tokens used (15.2%)");
    assert!(report.contains("| 2,450 "), "the row has them all");
    plan.budget.budget_type = Some(BudgetType::Cost);
    let report = at_15s(&plan, &records, UNICODE);
    assert_eq!(line_of(&report, "Overall"), "Overall: 4,273 tokens used");
    assert_eq!(line_of(&report, "Budget"), "Budget: █░░░░░░░░░░░░░░░ $0.42 / $5.00");
    plan.budget.budget_type = Some(BudgetType::Tokens);
    assert_eq!(line_of(&at_15s(&plan, &records, UNICODE), "Budget"), "");
}

#[test]
fn visuals_can_be_disabled() {
    let (mut plan, records) = status_of_the_seed();
    plan.budget.disable_visuals = Some(true);
    assert_eq!(line_of(&at_15s(&plan, &records, UNICODE), "Budget"), "Budget: $0.42 / $5.00");
}

#[test]
fn progress_is_by_turns_or_tokens_and_full_only_when_completed() {
    let (mut plan, _) = status_of_the_seed();
    plan.instances[0].turns = vec![plan.instances[0].turns[0].clone(); 4];
    let cells = |status: Status, turns_done, tokens| {
        let record = InstanceRecord {
            status,
            progress: AttemptProgress { turns_done, ..AttemptProgress::default() },
            used: used(tokens, 0),
            ..InstanceRecord::default()
        };
        let stages = &Stages::new(&plan.instances);
        let view = Snapshot {
            plan: &plan,
            stages,
            records: &[],
            elapsed: Duration::ZERO,
            limits: &[],
            refusals: &[],
            usage_limit: None,
        };
        progress_cells(&view, &plan.instances[0], &record)
    };
    assert_eq!(cells(Status::Running, 0, 0), 1);
    assert_eq!(cells(Status::Running, 3, 500), 6);
    assert_eq!(cells(Status::Running, 1, 1_750), 7);
    assert_eq!(cells(Status::Running, 4, u64::MAX), 7);
    assert_eq!(cells(failed("x"), 0, 0), 0);
    assert_eq!(cells(failed("x"), 2, 0), 4);
    assert_eq!(cells(failed("x"), 4, 9_999), 7);
    assert_eq!(cells(Status::Completed, 0, 0), 8);
    assert_eq!(cells(Status::Skipped("x".into()), 0, 0), 0);
}

#[test]
fn who_waits_for_a_retry_is_told_beneath_the_table() {
    let (plan, mut records) = status_of_the_seed();
    let retry = Retry { attempt: 3, max_retries: 10, delay_ms: 2_345, status: Some(529), error: "overloaded".into() };
    records[1].progress.retry = Some(retry.clone());
    let report = at_15s(&plan, &records, UNICODE);
    assert!(report.contains("░░░░░░░░\n  analyzer: retry 3 of 10 after 2.3s (529 overloaded)\n\nOverall"), "{report}");
    records[1].progress.retry = Some(Retry { status: None, error: String::new(), ..retry.clone() });
    assert!(at_15s(&plan, &records, UNICODE).contains("  analyzer: retry 3 of 10 after 2.3s\n"));

    let records = vec![
        InstanceRecord {
            status: Status::Running,
            progress: AttemptProgress { retry: Some(retry), ..AttemptProgress::default() },
            ..InstanceRecord::default()
        };
        12
    ];
    let report = at_15s(&many(12), &records, UNICODE);
    assert_eq!(report.matches(": retry ").count(), 10);
    assert!(report.contains("\n  2 more wait for a retry\n\n"));
}

#[test]
fn who_waits_for_another_attempt_is_told_beneath_the_table() {
    let (mut plan, mut records) = status_of_the_seed();
    plan.instances[2].retries.max_retries = 3;
    let Status::Failed(failure) = failed("Timeout after 600s") else { unreachable!() };
    let (started, ended) = (Duration::ZERO, Duration::from_secs(7));
    let attempt = FailedAttempt { pid: None, started, ended, exit: None, used: used(9, 9), failure };
    records[2].failed_attempts = vec![attempt];
    records[2].next_attempt_at = Some(Duration::from_secs(27));
    let report = at_15s(&plan, &records, UNICODE);
    assert!(report.contains("░░░░░░░░\n  reporter: retry 1 of 3 in 12.0s (Timeout after 600s)\n\nOverall"), "{report}");
    let report = at_15s(&many(12), &vec![records[2].clone(); 12], ASCII);
    assert!(report.contains("\n  2 more wait for another attempt\n\n"), "{report}");
}

#[test]
fn who_waits_for_a_session_is_told_beneath_the_table() {
    let diary = || Some(Session { name: "diary".into(), uuid: "x".into() });
    let (mut plan, mut records) = status_of_the_seed();
    plan.instances[2].invocation.session = diary();
    records[2].blocked_on = Some("session diary is in use by another run".into());
    let report = at_15s(&plan, &records, UNICODE);
    assert!(report.contains("░░░░░░░░\n  reporter: session diary is in use by another run\n\nOverall"), "{report}");
    records[2].blocked_on = None;
    plan.instances[1].invocation.session = diary();
    let report = at_15s(&plan, &records, UNICODE);
    assert!(report.contains("░░░░░░░░\n  reporter: session diary is in use by analyzer\n\nOverall"), "{report}");
    records[1].status = Status::Completed;
    assert!(!at_15s(&plan, &records, UNICODE).contains("in use"));
    let mut plan = many(12);
    plan.instances.iter_mut().for_each(|instance| instance.invocation.session = diary());
    records[2].blocked_on = Some("session diary is in use by another run".into());
    let report = at_15s(&plan, &vec![records[2].clone(); 12], ASCII);
    assert!(report.contains("\n  2 more wait for their sessions\n\n"), "{report}");
}

#[test]
fn a_long_queue_is_told_as_a_number() {
    let plan = many(30);
    let mut records = vec![InstanceRecord::default(); 30];
    records[3].status = Status::Running;
    let report = at_15s(&plan, &records, UNICODE);
    assert_eq!(report.matches("░░░\n").count(), 1, "{report}");
    assert!(report.contains("\nInstances: 1 running, 29 pending; 1 of 30 shown\nOverall: "));
    for record in &mut records[..15] {
        record.status = Status::Completed;
    }
    let report = at_15s(&plan, &records, UNICODE);
    assert_eq!(report.matches(" | -      | 0 ").count(), 30, "15 pending ones have a row each");
    assert!(!report.contains("Instances:"));
}

#[test]
fn a_long_table_shows_who_runs_and_who_failed() {
    let plan = many(200);
    let mut records = vec![InstanceRecord { status: Status::Completed, ..InstanceRecord::default() }; 200];
    for (i, record) in records.iter_mut().enumerate().skip(100) {
        record.status = if i % 2 == 0 { Status::Running } else { failed("x") };
    }
    let report = at_15s(&plan, &records, UNICODE);
    assert_eq!((report.matches("⏳ running").count(), report.matches("✗ failed").count()), (50, 20));
    assert!(report.contains("\nInstances: 100 completed, 50 running, 50 failed; 70 of 200 shown\n"));
}

#[test]
fn whole_seconds_up_to_a_hundred() {
    let told = [0, 999, 99_999, 100_000, 10_920_000].map(|ms| whole_seconds(Duration::from_millis(ms)));
    assert_eq!(told, ["0s", "0s", "99s", "1m40s", "3h02m"]);
}

fn a_status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Pending),
        Just(Status::Running),
        Just(Status::Completed),
        hostile().prop_map(|error| failed(&error)),
        hostile().prop_map(Status::Skipped),
    ]
}

fn a_record() -> impl Strategy<Value = InstanceRecord> {
    let started = prop::option::of(0..100_000_000_u64);
    (a_status(), any::<Option<u32>>(), started, any::<u64>(), hostile(), 0..9_usize).prop_map(
        |(status, pid, started, tokens, error, turns_done)| InstanceRecord {
            status,
            pid,
            started: started.map(Duration::from_millis),
            used: used(tokens, tokens),
            progress: AttemptProgress {
                retry: Some(Retry { error, ..Retry::default() }),
                turns_done,
                ..AttemptProgress::default()
            },
            ..InstanceRecord::default()
        },
    )
}

fn bars(line: &str) -> Vec<usize> {
    line.match_indices('|').map(|(i, _)| text::width(&line[..i])).collect()
}

proptest! {
    #[test]
    fn the_table_stays_aligned_and_the_screen_unharmed(
        names in prop::collection::vec(hostile(), 1..6),
        records in prop::collection::vec(a_record(), 6),
        style in style(),
    ) {
        let mut plan = many(names.len());
        for (instance, name) in plan.instances.iter_mut().zip(names) {
            instance.name = name.replace('|', "/");
        }
        let report = at_15s(&plan, &records[..plan.instances.len()], style);
        let plain = without_colours(&report, style).map_err(TestCaseError::fail)?;
        let lines: Vec<&str> = plain.lines().collect();
        for row in &lines[5..6 + plan.instances.len()] {
            prop_assert_eq!(bars(row), bars(lines[4]), "{}", report);
        }
    }
}

#[test]
fn the_table_fits_terminals_of_40_80_and_200_columns() {
    let (mut plan, records) = status_of_the_seed();
    plan.instances[0].name = "collector-".repeat(12);
    for (screen, header, has_progress) in [
        (40, "Name    | Status      | Tokens  | Time  ", false),
        (60, "Name               | Status      | PID    | Tokens  | Time  ", false),
        (61, "Name    | Status      | PID    | Tokens  | Time   | Progress", true),
        (80, "Name                       | Status      | PID    | Tokens  | Time   | Progress", true),
    ] {
        let report = on_screen(&plan, &records, UNICODE, Some(screen));
        let table: Vec<&str> = report.lines().skip(4).take(5).collect();
        assert_eq!(table[0], header, "{report}");
        assert_eq!(report.contains("Progress"), has_progress, "{report}");
        assert!(table.iter().all(|line| text::width(line) <= screen), "{report}");
        assert!(report.lines().take(3).all(|line| text::width(line) <= screen), "{report}");
    }
    let wide = on_screen(&plan, &records, UNICODE, Some(200));
    assert!(wide.contains(&"collector-".repeat(9)) && wide.lines().all(|line| text::width(line) <= 200), "{wide}");
}

#[test]
fn every_terminal_that_has_room_for_a_status_gets_a_table_that_fits() {
    let (mut plan, records) = status_of_the_seed();
    plan.instances[0].name = "collector-".repeat(12);
    for (screen, style) in (22..250).flat_map(|screen| [UNICODE, ASCII].map(|style| (screen, style))) {
        let report = on_screen(&plan, &records, style, Some(screen));
        let table = report.lines().take_while(|line| !line.starts_with("Overall"));
        for line in table {
            assert!(text::width(line) <= screen, "{screen}: {line}");
        }
    }
    for screen in 0..22 {
        on_screen(&plan, &records, UNICODE, Some(screen));
    }
}

#[test]
fn completion_has_the_rows_that_ended_since_and_the_totals() {
    let (plan, mut records) = status_of_the_seed();
    records[0].ended = Some(Duration::from_secs(8));
    records[1].ended = Some(Duration::from_secs(15));
    records[1].status = Status::Completed;
    let stages = &Stages::new(&plan.instances);
    let elapsed = Duration::from_secs(15);
    let view =
        Snapshot { plan: &plan, stages, records: &records, elapsed, limits: &[], refusals: &[], usage_limit: None };
    let text = completion(&view, UNICODE, None, Duration::from_secs(15));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("analyzer            | ✓ completed | 12346  | 1,823   |"), "{text}");
    assert!(lines[1].starts_with("Overall: ") && lines[2].starts_with("Budget: "), "{text}");
}
