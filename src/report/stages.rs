//! Progress of the stages of a run: lines for the status report and the summary, and the message at the end of a stage.
//! A plan without dependencies has a single stage, and no lines.

use std::time::Duration;

use super::{Counts, Snapshot, counted};
use crate::base::text;

/// Maximum number of stages in a status report; of more stages, those from the first unfinished one are shown.
const MAX_SHOWN: usize = 8;

/// The state of one stage.
pub(super) struct Stage {
    /// Instances of the stage, by status.
    pub(super) counts: Counts,
    /// Start of the first instance.
    pub(super) started: Option<Duration>,
    /// End of the last instance; `None` while one has not ended.
    pub(super) ended: Option<Duration>,
}

impl Stage {
    fn new(view: &Snapshot, stage: usize) -> Self {
        let mut stage_state = Stage { counts: Counts::default(), started: None, ended: Some(Duration::ZERO) };
        for &member in view.stages.members(stage) {
            let record = &view.records[member];
            stage_state.counts.add(&record.status);
            stage_state.started = stage_state.started.into_iter().chain(record.started).min();
            stage_state.ended = match (stage_state.ended, record.ended) {
                (Some(latest), Some(ended)) => Some(latest.max(ended)),
                _ => None,
            };
        }
        stage_state
    }

    fn has_begun(&self) -> bool {
        self.counts.all() > self.counts.pending || self.started.is_some()
    }
}

/// Returns the stages, or none if there is only one.
pub(super) fn all(view: &Snapshot) -> Vec<Stage> {
    if !view.stages.has_multiple() {
        return Vec::new();
    }
    (0..view.stages.count()).map(|stage| Stage::new(view, stage)).collect()
}

/// Returns the lines of a status report.
pub(super) fn lines(view: &Snapshot) -> String {
    let stages = all(view);
    let first_open = stages.iter().position(|stage| stage.ended.is_none()).unwrap_or(0);
    let first = if stages.len() > MAX_SHOWN { first_open } else { 0 };
    let mut lines = String::new();
    for (i, stage) in stages.iter().enumerate().skip(first).take(MAX_SHOWN) {
        let state = match stage.ended {
            Some(at) => format!("ended at {}: {}", text::format_duration(at), stage.counts.words()),
            None if stage.has_begun() || i == first_open => stage.counts.words(),
            None => format!("{} waiting for stage {i}", counted(stage.counts.all(), "instance", "instances")),
        };
        lines += &format!("Stage {} of {}: {state}\n", i + 1, stages.len());
    }
    let more = stages.len().saturating_sub(first + MAX_SHOWN);
    if more > 0 {
        lines += &format!("{} not shown\n", counted(more, "later stage", "later stages"));
    }
    lines
}

/// Returns the lines of the summary.
pub(super) fn summary(view: &Snapshot) -> String {
    const MAX_LISTED: usize = 20;
    let stages = all(view);
    let mut lines = String::new();
    for (i, stage) in stages.iter().enumerate().take(MAX_LISTED) {
        let when = match (stage.started, stage.ended) {
            (Some(started), Some(ended)) => {
                format!(" ({} to {})", text::format_duration(started), text::format_duration(ended))
            }
            _ => String::new(),
        };
        lines += &format!("- {} of {}: {}{when}\n", i + 1, stages.len(), stage.counts.words());
    }
    if stages.len() > MAX_LISTED {
        lines += &format!("- {} more\n", stages.len() - MAX_LISTED);
    }
    lines
}

/// Returns the message about a stage whose last instance has ended.
#[must_use]
pub fn ended(view: &Snapshot, stage: usize) -> String {
    let Stage { counts, ended, .. } = Stage::new(view, stage);
    let after = text::format_duration(ended.unwrap_or(view.elapsed));
    format!("stage {} of {} ended after {after}: {}", stage + 1, view.stages.count(), counts.words())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Cases, Run, failed, planned};
    use super::*;
    use crate::engine::outcome::Status;
    use crate::engine::record::InstanceRecord;

    fn run(config: &str, records: &[InstanceRecord]) -> Run {
        Run::new((planned(config), records.to_vec()), 15_000)
    }

    const FOUR: &str = r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x"},
        {"name": "c", "command": "x", "depends_on": ["a", "b"]}, {"name": "d", "command": "x", "depends_on": ["c"]}]}"#;

    fn record(status: Status, started_ms: Option<u64>, ended_ms: Option<u64>) -> InstanceRecord {
        let [started, ended] = [started_ms, ended_ms].map(|ms| ms.map(Duration::from_millis));
        InstanceRecord { status, started, ended, ..InstanceRecord::default() }
    }

    #[test]
    fn stages_equal_the_golden_file() {
        let mut cases = Cases::default();
        let completed = record(Status::Completed, Some(0), Some(8_200));
        let running = record(Status::Running, Some(5_000), None);
        let mut records = vec![completed, running, InstanceRecord::default(), InstanceRecord::default()];
        cases.add("status of a run in its first stage", &lines(&run(FOUR, &records).snapshot()));
        records[1] = record(failed("x"), Some(5_000), Some(9_000));
        records[2] = record(Status::Skipped("x".into()), None, Some(9_000));
        let run_in_stage_3 = run(FOUR, &records);
        cases.add("end of a stage", &(ended(&run_in_stage_3.snapshot(), 0) + "\n"));
        cases.add("status of a run in its last stage", &lines(&run_in_stage_3.snapshot()));
        records[3] = records[2].clone();
        cases.add("summary", &summary(&run(FOUR, &records).snapshot()));
        let instance = |i: usize| match i {
            0 => r#"{"name": "0", "command": "x"}"#.to_owned(),
            _ => format!(r#"{{"name": "{i}", "command": "x", "depends_on": ["{}"]}}"#, i - 1),
        };
        let config = format!(r#"{{"instances": [{}]}}"#, (0..30).map(instance).collect::<Vec<_>>().join(","));
        let mut records = vec![record(Status::Completed, Some(0), Some(1)); 12];
        records.resize(30, InstanceRecord::default());
        let long = run(&config, &records);
        cases.add("status of a run with many stages", &lines(&long.snapshot()));
        cases.add("summary of a run with many stages", &summary(&long.snapshot()));
        cases.assert("stages.txt");
    }

    #[test]
    fn single_stage_is_not_printed() {
        let config = r#"{"instances": [{"command": "x"}, {"command": "x"}]}"#;
        let run = run(config, &vec![InstanceRecord::default(); 2]);
        assert_eq!(lines(&run.snapshot()) + &summary(&run.snapshot()), "");
    }
}
