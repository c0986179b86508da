use super::super::samples::{Run, hostile, many, planned, status_of_the_seed, summary_of_the_seed, used};
use super::*;
use crate::base::golden::assert_golden;
use crate::claude::usage_meter::Certainty;
use crate::engine::outcome::{Failure, FailureKind};
use crate::engine::progress::AttemptProgress;
use crate::plan::Plan;
use proptest::prelude::*;
use serde_json::{Value, json};

fn facts() -> RunMetadata {
    RunMetadata {
        run: "20261122T103000Z".into(),
        config: Some("zen.json".into()),
        config_sha256: Some("00ff".into()),
        workspace: "/w".into(),
        claude: "/bin/claude".into(),
        started_epoch_ms: 1_795_343_400_000,
        directories: vec!["/logs/0".into(), "/logs/1".into(), "/logs/2".into()],
        ..RunMetadata::default()
    }
}

fn written(plan: &Plan, records: &[InstanceRecord], metadata: &RunMetadata) -> (String, Value) {
    let run = Run::new((plan.clone(), records.to_vec()), 15_000);
    let text = report(&run.snapshot(), metadata);
    let value = serde_json::from_str(&text).expect("it is JSON");
    (text, value)
}

#[test]
fn report_equals_the_golden_file() {
    let (plan, records) = status_of_the_seed();
    let (text, _) = written(&plan, &records, &facts());
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    assert_golden("report.json", &text.replace(&version, "\"VERSION\""));
}

#[test]
fn running_run_has_no_end() {
    let (plan, records) = status_of_the_seed();
    let (text, mut report) = written(&plan, &records, &facts());
    assert!(text.ends_with("}\n"));
    assert_eq!((&report["exit_code"], &report["ended_at"]), (&Value::Null, &Value::Null));
    let instances = report["instances"].take();
    let certainties = [0, 1, 2].map(|i| instances[i]["tokens_certainty"].as_str());
    assert_eq!(certainties, [Some("exact"), Some("at_least"), Some("exact")], "a running instance uses more");
    assert_eq!(instances[1]["duration_seconds"], 5.1);
    assert_eq!(instances[1]["started_at"], "2026-11-22T10:30:09.900Z");
    assert_eq!(instances[2]["started_at"], Value::Null);
    assert_eq!(instances[2]["directory"], "/logs/2");
}

#[test]
fn instance_has_each_field() {
    let (plan, mut records) = summary_of_the_seed();
    records[1] = InstanceRecord {
        pid: Some(4711),
        session_kept: Some(true),
        started: Some(Duration::from_millis(5_000)),
        attempt_started: Some(Duration::from_millis(5_000)),
        ended: Some(Duration::from_millis(6_001)),
        exit: Some(ExitStatus::Signal(9)),
        used: used(1, 2),
        progress: AttemptProgress {
            session_id: Some("s".into()),
            model: Some("m".into()),
            permission_mode: Some("default".into()),
            mode_instead_of: Some("bypassPermissions".into()),
            denials: vec![Denial { tool: "Bash".into(), input_summary: "rm".into() }],
            mcp_failed: vec!["github".into()],
            background_stopped: vec!["./serve.sh".into()],
            retries: 2,
            invalid_lines: 3,
            oversized_lines: 4,
            ..records[1].progress.clone()
        },
        last_output: vec!["bye".into()],
        surviving_pids: vec![5],
        ..records[1].clone()
    };
    records[1].used.micros_certainty = Certainty::AtLeast;
    let run = RunMetadata { exit_code: Some(2), stopped_by: Some("SIGTERM".into()), ..facts() };
    let (_, report) = written(&plan, &records, &run);
    let expected = json!({
        "name": "failing-instance", "description": null, "status": "failed", "reason": "command not found",
        "error": "Command not found: /this-command-does-not-exist", "stage": null, "skipped_due_to": null,
        "attempts": 1, "failed_attempts": [], "next_attempt_at": null, "blocked_on": null, "pid": 4711,
        "session_id": "s", "session_kept": true, "model": "m",
        "permission_mode": "default", "permission_mode_differs": true,
        "tokens": {"input": 1, "output": 0, "cache_creation": 0, "cache_read": 0, "total": 1},
        "tokens_certainty": "exact", "cost_usd": 0.000_002, "cost_certainty": "at_least",
        "started_at": "2026-11-22T10:30:05.000Z", "ended_at": "2026-11-22T10:30:06.001Z",
        "duration_seconds": 1.001, "exit_status": null, "exit_signal": 9, "turns": 1, "turns_done": 0,
        "answers": [], "result": null, "permission_denials": [{"tool": "Bash", "input": "rm"}],
        "more_permission_denials": 0, "mcp_failed": ["github"], "background_stopped": ["./serve.sh"], "retries": 2,
        "last_output": ["bye"], "invalid_lines": 3, "oversized_lines": 4, "surviving_pids": [5], "directory": "/logs/1",
    });
    assert_eq!(report["instances"][1], expected);
    assert_eq!(report["exit_code"], 2);
    assert_eq!(report["ended_at"], "2026-11-22T10:30:15.000Z");
    assert_eq!(report["stopped_by"], "SIGTERM");
}

#[test]
fn short_version_omits_results_answers_and_last_output() {
    let (plan, mut records) = summary_of_the_seed();
    records[0].progress.result = Some("long".repeat(10_000));
    records[0].progress.answers = vec!["long".repeat(10_000)];
    records[0].last_output = vec!["long".repeat(10_000)];
    let run = RunMetadata { exit_code: Some(2), omitted: Some("results: the disk is full"), ..facts() };
    let (text, report) = written(&plan, &records, &run);
    assert!(text.len() < 10_000, "{}", text.len());
    assert_eq!(report["omitted"], "results: the disk is full");
    let first = &report["instances"][0];
    assert_eq!((&first["result"], &first["answers"], &first["last_output"]), (&Value::Null, &json!([]), &json!([])));
    assert_eq!((&first["status"], &report["exit_code"]), (&json!("completed"), &json!(2)));
}

#[test]
fn fields_of_an_unstarted_instance_are_null() {
    let plan = many(1);
    let skipped = InstanceRecord { status: Status::Skipped("a failed".into()), ..InstanceRecord::default() };
    let (_, report) = written(&plan, &[skipped], &RunMetadata::default());
    let instance = &report["instances"][0];
    assert_eq!((&instance["status"], &instance["error"]), (&json!("skipped"), &json!("a failed")));
    for field in ["reason", "pid", "started_at", "ended_at", "duration_seconds", "exit_status", "directory"] {
        assert_eq!(instance.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(report["limits"]["budget_type"], Value::Null);
}

#[test]
fn stages_and_attempts_are_reported() {
    let plan = planned(
        r#"{"instances": [{"name": "a", "command": "x", "retries": 2},
            {"name": "b", "command": "x", "depends_on": ["a"]}]}"#,
    );
    let s = Duration::from_secs;
    let attempt = FailedAttempt {
        pid: Some(7),
        started: s(0),
        ended: s(2),
        exit: Some(ExitStatus::Code(1)),
        used: used(5, 6),
        failure: Failure::new(FailureKind::Timeout, "Timeout after 2s"),
    };
    let again = InstanceRecord {
        failed_attempts: vec![attempt],
        next_attempt_at: Some(s(9)),
        started: Some(s(0)),
        ..InstanceRecord::default()
    };
    let skipped = InstanceRecord {
        status: Status::Skipped("x".into()),
        skipped_due_to: Some(0),
        ended: Some(s(3)),
        ..InstanceRecord::default()
    };
    let (_, report) = written(&plan, &[again, skipped], &facts());
    let (first, second) = (&report["instances"][0], &report["instances"][1]);
    assert_eq!((&first["stage"], &second["stage"]), (&json!(1), &json!(2)));
    assert_eq!(second["skipped_due_to"], "a");
    assert_eq!(first["next_attempt_at"], "2026-11-22T10:30:09.000Z");
    let failed = &first["failed_attempts"][0];
    assert_eq!((&failed["reason"], &failed["exit_status"]), (&json!("timeout"), &json!(1)));
    assert_eq!((&failed["tokens"]["total"], &failed["ended_at"]), (&json!(5), &json!("2026-11-22T10:30:02.000Z")));
    let expected = json!([
        {"instances": 1, "completed": 0, "failed": 0, "skipped": 0, "started_at": "2026-11-22T10:30:00.000Z",
         "ended_at": null},
        {"instances": 1, "completed": 0, "failed": 0, "skipped": 1, "started_at": null,
         "ended_at": "2026-11-22T10:30:03.000Z"}]);
    assert_eq!(report["stages"], expected);
}

#[test]
fn dollars_have_six_decimals() {
    let written = |micros| serde_json::to_string(&Dollars { micros }).expect("a number");
    assert_eq!(written(0), "0.000000");
    assert_eq!(written(1), "0.000001");
    assert_eq!(written(420_000), "0.420000");
    assert_eq!(written(u64::MAX), "18446744073709.551615");
}

proptest! {
    #![proptest_config(crate::base::cases::few())]

    #[test]
    fn any_text_is_valid_json_and_unchanged(name in hostile(), result in hostile(), micros: u64) {
        let mut plan = many(1);
        plan.instances[0].name.clone_from(&name);
        let record = InstanceRecord {
            progress: AttemptProgress { result: Some(result.clone()), ..AttemptProgress::default() },
            used: used(micros, micros),
            ..InstanceRecord::default()
        };
        let (_, report) = written(&plan, &[record], &RunMetadata { started_epoch_ms: micros, ..RunMetadata::default() });
        prop_assert_eq!(&report["instances"][0]["name"], &json!(name));
        prop_assert_eq!(&report["instances"][0]["result"], &json!(result));
    }
}
