//! Plans, records and hostile text for the tests of the reports.

use std::time::Duration;

use proptest::prelude::*;

use super::{Snapshot, Style};
use crate::base::golden::assert_golden;
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::Usage;
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::engine::progress::AttemptProgress;
use crate::engine::record::InstanceRecord;
use crate::plan::Plan;
pub(super) use crate::plan::planned;
use crate::plan::stages::Stages;

/// State of a run.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) records: Vec<InstanceRecord>,
    pub(super) elapsed: Duration,
    stages: Stages,
}

impl Run {
    pub(super) fn new((plan, records): (Plan, Vec<InstanceRecord>), elapsed_ms: u64) -> Self {
        let stages = Stages::new(&plan.instances);
        Run { plan, records, elapsed: Duration::from_millis(elapsed_ms), stages }
    }

    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            plan: &self.plan,
            stages: &self.stages,
            records: &self.records,
            elapsed: self.elapsed,
            limits: &[],
            refusals: &[],
            usage_limit: None,
        }
    }
}

/// Text of a golden file: a view in several cases.
#[derive(Default)]
pub(super) struct Cases(String);

impl Cases {
    /// Appends a case.
    pub(super) fn add(&mut self, title: &str, text: &str) {
        self.0 += &format!("## {title}\n\n{text}\n");
    }

    /// Compares the cases with the golden file of this name.
    pub(super) fn assert(&self, name: &str) {
        assert_golden(name, &self.0);
    }
}

pub(super) const UNICODE: Style = Style { unicode: true, colour: false };
pub(super) const ASCII: Style = Style { unicode: false, colour: false };
pub(super) const COLOUR: Style = Style { unicode: true, colour: true };

/// Returns a plan of `count` instances named `i0`, `i1` and so on.
pub(super) fn many(count: usize) -> Plan {
    let entries: Vec<String> = (0..count).map(|i| format!(r#"{{"name": "i{i}", "command": "/help"}}"#)).collect();
    planned(&format!(r#"{{"instances": [{}]}}"#, entries.join(",")))
}

pub(super) fn used(tokens: u64, micros: u64) -> Usage {
    Usage { tokens: Tokens { input: tokens, ..Tokens::default() }, micros, ..Usage::default() }
}

pub(super) fn failed(error: &str) -> Status {
    Status::Failed(Failure::new(FailureKind::Error, error))
}

/// Returns the three instances of test 3.1 of the seed, 15 seconds after the start.
pub(super) fn status_of_the_seed() -> (Plan, Vec<InstanceRecord>) {
    let plan = planned(
        r#"{"budget": {"overall_budget": 15000, "overall_cost_budget": 5.0}, "instances": [
            {"name": "data-collector", "command": "/help", "max_tokens_per_command": 2000},
            {"name": "analyzer", "command": "/help", "max_tokens_per_command": 3600},
            {"name": "reporter", "command": "/help", "max_tokens_per_command": 6000}]}"#,
    );
    let ms = Duration::from_millis;
    let completed = InstanceRecord {
        status: Status::Completed,
        pid: Some(12345),
        started: Some(ms(0)),
        ended: Some(ms(8_200)),
        used: used(2_450, 300_000),
        progress: AttemptProgress { turns_done: 1, ..AttemptProgress::default() },
        ..InstanceRecord::default()
    };
    let running = InstanceRecord {
        status: Status::Running,
        pid: Some(12346),
        started: Some(ms(9_900)),
        used: used(1_823, 120_000),
        ..InstanceRecord::default()
    };
    (plan, vec![completed, running, InstanceRecord::default()])
}

/// Returns the three instances of test 3.2 of the seed, after the end of the run.
pub(super) fn summary_of_the_seed() -> (Plan, Vec<InstanceRecord>) {
    let plan = planned(
        r#"{"instances": [
            {"name": "successful-instance", "command": "/help", "max_tokens_per_command": 3000},
            {"name": "failing-instance", "command": "/this-command-does-not-exist", "max_tokens_per_command": 2000},
            {"name": "another-success", "command": "/help", "max_tokens_per_command": 4000}]}"#,
    );
    let completed = |tokens, micros| InstanceRecord {
        status: Status::Completed,
        used: used(tokens, micros),
        progress: AttemptProgress { turns_done: 1, ..AttemptProgress::default() },
        ..InstanceRecord::default()
    };
    let not_found = "Command not found: /this-command-does-not-exist";
    let failing = InstanceRecord {
        status: Status::Failed(Failure::new(FailureKind::CommandNotFound, not_found)),
        ..InstanceRecord::default()
    };
    (plan, vec![completed(3_000, 300_000), failing, completed(4_000, 400_000)])
}

/// Generates text as a hostile author or agent may write it.
pub(super) fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,8}",
        "\\PC{0,8}",
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "\u{1b}[31m",
            "\u{1b}]0;x\u{7}",
            "\u{9b}",
            "\n",
            "\r",
            "\t",
            "|",
            "\u{301}",
            "\u{200d}",
            "\u{202e}",
            "日本",
            "🎉",
            "…",
            "—",
            "\u{0}",
        ])
        .prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

pub(super) fn style() -> impl Strategy<Value = Style> {
    (any::<bool>(), any::<bool>()).prop_map(|(unicode, colour)| Style { unicode, colour })
}

/// Returns the text without colours, or an error if it is not valid output for that style.
pub(super) fn without_colours(text: &str, style: Style) -> Result<String, TestCaseError> {
    let mut plain = text.to_owned();
    for code in ["32", "31", "33", "2", "0"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    match plain.chars().find(|&c| c.is_control() && c != '\n' || !style.unicode && !c.is_ascii()) {
        Some(unfit) => Err(TestCaseError::fail(format!("{unfit:?} in {text:?}"))),
        None if !style.colour && plain != text => Err(TestCaseError::fail(format!("colours in {text:?}"))),
        None => Ok(plain),
    }
}
