use super::super::samples::{
    ASCII, COLOUR, Cases, Run, UNICODE, failed, hostile, many, status_of_the_seed, style, used, without_colours,
};
use super::*;
use crate::claude::session::Session;
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::Certainty;
use crate::config::{BudgetType, TokenBasis};
use crate::engine::progress::AttemptProgress;
use crate::engine::record::FailedAttempt;
use crate::plan::Plan;
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

fn at_15s(plan: &Plan, records: &[InstanceRecord], style: Style) -> String {
    on_screen(plan, records, style, None)
}

fn on_screen(plan: &Plan, records: &[InstanceRecord], style: Style, screen: Option<usize>) -> String {
    let run = Run::new((plan.clone(), records.to_vec()), 15_000);
    status(&run.snapshot(), style, screen)
}

#[test]
fn report_of_test_3_1_is_that_of_the_seed() {
    let (plan, records) = status_of_the_seed();
    assert_eq!(at_15s(&plan, &records, UNICODE), SEED);
}

#[test]
fn reports_equal_the_golden_file() {
    let mut cases = Cases::default();
    let (plan, records) = status_of_the_seed();
    cases.add("ASCII", &at_15s(&plan, &records, ASCII));
    add_certainties(&mut cases);
    add_limits(&mut cases);
    add_waiting(&mut cases);
    add_long_plans(&mut cases);
    for screen in [40, 60, 80] {
        let (mut plan, records) = status_of_the_seed();
        plan.instances[0].name = "collector-".repeat(12);
        cases.add(&format!("terminal of {screen} columns"), &on_screen(&plan, &records, UNICODE, Some(screen)));
    }
    let (plan, mut records) = status_of_the_seed();
    records[1].ended = Some(Duration::from_secs(15));
    records[1].status = Status::Completed;
    let run = Run::new((plan, records), 15_000);
    let changes = completion(&run.snapshot(), UNICODE, None, Duration::from_secs(15));
    cases.add("changes since the last report", &changes);
    cases.assert("status.txt");
}

fn add_certainties(cases: &mut Cases) {
    let (plan, mut records) = status_of_the_seed();
    records[1].used.tokens_certainty = Certainty::AtLeast;
    records[1].used.micros_certainty = Certainty::Estimate;
    cases.add("lower bounds and estimates", &at_15s(&plan, &records, UNICODE));
    cases.add("lower bounds and estimates in ASCII", &at_15s(&plan, &records, ASCII));
}

fn add_limits(cases: &mut Cases) {
    let (mut plan, mut records) = status_of_the_seed();
    plan.budget.disable_visuals = Some(true);
    cases.add("without the budget bar", &at_15s(&plan, &records, UNICODE));
    plan.budget.disable_visuals = None;
    records[0].used.tokens = Tokens { input: 450, cache_read: 2_000, ..Tokens::default() };
    plan.budget.token_basis = Some(TokenBasis::Uncached);
    cases.add("uncached tokens", &at_15s(&plan, &records, UNICODE));
    plan.budget.budget_type = Some(BudgetType::Cost);
    cases.add("only limits in dollars", &at_15s(&plan, &records, UNICODE));
    plan.budget.budget_type = Some(BudgetType::Tokens);
    cases.add("only limits in tokens", &at_15s(&plan, &records, UNICODE));
}

fn retry() -> Retry {
    Retry { attempt: 3, max_retries: 10, delay_ms: 2_345, status: Some(529), error: "overloaded".into() }
}

fn add_waiting(cases: &mut Cases) {
    let (mut plan, mut records) = status_of_the_seed();
    records[1].progress.retry = Some(retry());
    records[1].progress.awaited = vec!["make".into()];
    plan.instances[2].retries.max_retries = 3;
    plan.instances[2].invocation.session = Some(Session { name: "diary".into(), uuid: "x".into() });
    let Status::Failed(failure) = failed("Timeout after 600s") else { unreachable!() };
    let (started, ended) = (Duration::ZERO, Duration::from_secs(7));
    let attempt = FailedAttempt { pid: None, started, ended, exit: None, used: used(9, 9), failure };
    records[2].failed_attempts = vec![attempt];
    records[2].next_attempt_at = Some(Duration::from_secs(27));
    records[2].blocked_on = Some("session diary is in use by another run".into());
    cases.add("instances that wait", &at_15s(&plan, &records, UNICODE));
    records[1].progress.retry = Some(Retry { status: None, error: String::new(), ..retry() });
    records[2].blocked_on = None;
    plan.instances[1].invocation.session = plan.instances[2].invocation.session.clone();
    cases.add("a retry without a reason, and a session of another instance", &at_15s(&plan, &records, UNICODE));
    let mut plan = many(12);
    let running = InstanceRecord {
        status: Status::Running,
        progress: AttemptProgress { retry: Some(retry()), awaited: vec!["make".into()], ..AttemptProgress::default() },
        ..InstanceRecord::default()
    };
    cases.add("many that wait for a retry", &at_15s(&plan, &vec![running; 12], ASCII));
    for instance in &mut plan.instances {
        instance.invocation.session = Some(Session { name: "diary".into(), uuid: "x".into() });
    }
    records[2].blocked_on = Some("session diary is in use by another run".into());
    cases.add("many that wait for an attempt and a session", &at_15s(&plan, &vec![records[2].clone(); 12], ASCII));
}

fn add_long_plans(cases: &mut Cases) {
    let plan = many(30);
    let mut records = vec![InstanceRecord::default(); 30];
    records[3].status = Status::Running;
    cases.add("a long queue", &at_15s(&plan, &records, UNICODE));
    let plan = many(200);
    let mut records = vec![InstanceRecord { status: Status::Completed, ..InstanceRecord::default() }; 200];
    for (i, record) in records.iter_mut().enumerate().skip(190) {
        record.status = if i % 2 == 0 { Status::Running } else { failed("x") };
    }
    cases.add("a long plan", &at_15s(&plan, &records, UNICODE));
}

#[test]
fn only_the_word_of_a_status_is_coloured() {
    let (plan, records) = status_of_the_seed();
    let report = at_15s(&plan, &records, COLOUR);
    assert!(report.contains("| ✓ \u{1b}[32mcompleted\u{1b}[0m | 12345  |"));
    assert!(report.contains("| ⏳ \u{1b}[33mrunning\u{1b}[0m  | 12346  |"));
    assert_eq!(without_colours(&report, COLOUR).ok().as_deref(), Some(SEED));
}

#[test]
fn each_status_fits_its_column() {
    for status in [Status::Pending, Status::Running, Status::Completed, failed("x"), Status::Skipped("x".into())] {
        for style in [UNICODE, ASCII] {
            assert_eq!(text::width(&status_cell(&status, style)), STATUS_COLUMNS, "{status:?}");
        }
    }
}

#[test]
fn columns_grow_with_their_cells() {
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
fn progress_is_by_turns_or_tokens_and_full_only_if_completed() {
    let (mut plan, _) = status_of_the_seed();
    plan.instances[0].turns = vec![plan.instances[0].turns[0].clone(); 4];
    let cells = |status: Status, turns_done, tokens| {
        let record = InstanceRecord {
            status,
            progress: AttemptProgress { turns_done, ..AttemptProgress::default() },
            used: used(tokens, 0),
            ..InstanceRecord::default()
        };
        let run = Run::new((plan.clone(), Vec::new()), 0);
        progress_cells(&run.snapshot(), &plan.instances[0], &record)
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
fn long_queue_has_no_rows() {
    let plan = many(30);
    let mut records = vec![InstanceRecord::default(); 30];
    records[3].status = Status::Running;
    assert_eq!(at_15s(&plan, &records, UNICODE).matches("░░░\n").count(), 1);
    for record in &mut records[..15] {
        record.status = Status::Completed;
    }
    let report = at_15s(&plan, &records, UNICODE);
    assert_eq!(report.matches(" | -      | 0 ").count(), 30, "15 pending ones have a row each");
}

#[test]
fn long_table_has_the_running_and_the_first_failed_instances() {
    let plan = many(200);
    let mut records = vec![InstanceRecord { status: Status::Completed, ..InstanceRecord::default() }; 200];
    for (i, record) in records.iter_mut().enumerate().skip(100) {
        record.status = if i % 2 == 0 { Status::Running } else { failed("x") };
    }
    let report = at_15s(&plan, &records, UNICODE);
    assert_eq!((report.matches("⏳ running").count(), report.matches("✗ failed").count()), (50, 20));
}

#[test]
fn whole_seconds_are_printed_up_to_a_hundred() {
    let texts = [0, 999, 99_999, 100_000, 10_920_000].map(|ms| whole_seconds(Duration::from_millis(ms)));
    assert_eq!(texts, ["0s", "0s", "99s", "1m40s", "3h02m"]);
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
    #![proptest_config(crate::base::cases::few())]

    #[test]
    fn table_is_aligned_and_printable_for_any_text(
        names in prop::collection::vec(hostile(), 1..6),
        records in prop::collection::vec(a_record(), 6),
        style in style(),
    ) {
        let mut plan = many(names.len());
        for (instance, name) in plan.instances.iter_mut().zip(names) {
            instance.name = name.replace('|', "/");
        }
        let report = at_15s(&plan, &records[..plan.instances.len()], style);
        let plain = without_colours(&report, style)?;
        let lines: Vec<&str> = plain.lines().collect();
        for row in &lines[5..6 + plan.instances.len()] {
            prop_assert_eq!(bars(row), bars(lines[4]), "{}", report);
        }
    }
}

#[test]
fn table_fits_terminals_of_40_80_and_200_columns() {
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
fn table_fits_each_terminal_that_has_room_for_a_status() {
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
