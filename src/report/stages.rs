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
    fn of(view: &Snapshot, stage: usize) -> Self {
        let mut at = Stage { counts: Counts::default(), started: None, ended: Some(Duration::ZERO) };
        for record in view.stages.members(stage).iter().map(|&member| &view.records[member]) {
            at.counts.add(&record.status);
            at.started = at.started.into_iter().chain(record.started).min();
            at.ended = at.ended.and_then(|ended| Some(ended.max(record.ended?)));
        }
        at
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
    (0..view.stages.count()).map(|stage| Stage::of(view, stage)).collect()
}

/// Returns the lines of a status report.
pub(super) fn lines(view: &Snapshot) -> String {
    let stages = all(view);
    let first_open = stages.iter().position(|stage| stage.ended.is_none()).unwrap_or(0);
    let first = if stages.len() > MAX_SHOWN { first_open } else { 0 };
    let mut lines = String::new();
    for (i, stage) in stages.iter().enumerate().skip(first).take(MAX_SHOWN) {
        let what = match stage.ended {
            Some(at) => format!("ended at {}: {}", text::format_duration(at), stage.counts.words()),
            None if stage.has_begun() || i == first_open => stage.counts.words(),
            None => format!("{} waiting for stage {i}", counted(stage.counts.all(), "instance", "instances")),
        };
        lines += &format!("Stage {} of {}: {what}\n", i + 1, stages.len());
    }
    let more = stages.len().saturating_sub(first + MAX_SHOWN);
    if more > 0 {
        lines += &format!("{} behind them\n", counted(more, "stage", "stages"));
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
    let Stage { counts, ended, .. } = Stage::of(view, stage);
    let after = text::format_duration(ended.unwrap_or(view.elapsed));
    format!("stage {} of {} ended after {after}: {}", stage + 1, view.stages.count(), counts.words())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{failed, planned};
    use super::*;
    use crate::engine::outcome::Status;
    use crate::engine::record::InstanceRecord;
    use crate::plan::stages::Stages;

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    fn with<T>(config: &str, records: &[InstanceRecord], tell: impl Fn(&Snapshot) -> T) -> T {
        let plan = planned(config);
        let stages = Stages::new(&plan.instances);
        let elapsed = Duration::from_secs(15);
        tell(&Snapshot {
            plan: &plan,
            stages: &stages,
            records,
            elapsed,
            limits: &[],
            refusals: &[],
            usage_limit: None,
        })
    }

    const THREE: &str = r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x"},
        {"name": "c", "command": "x", "depends_on": ["a", "b"]}, {"name": "d", "command": "x", "depends_on": ["c"]}]}"#;

    fn ended_at(status: Status, started: u64, ended: u64) -> InstanceRecord {
        InstanceRecord { status, started: ms(started), ended: ms(ended), ..InstanceRecord::default() }
    }

    #[test]
    fn stages_come_one_after_the_other() {
        let completed = ended_at(Status::Completed, 0, 8_200);
        let running = InstanceRecord { status: Status::Running, started: ms(5_000), ..InstanceRecord::default() };
        let mut records = vec![completed, running, InstanceRecord::default(), InstanceRecord::default()];
        assert_eq!(
            with(THREE, &records, lines),
            "Stage 1 of 3: 1 completed, 1 running\nStage 2 of 3: 1 instance waiting for stage 1\n\
             Stage 3 of 3: 1 instance waiting for stage 2\n"
        );
        records[1] = ended_at(failed("x"), 5_000, 9_000);
        records[2] =
            InstanceRecord { status: Status::Skipped("x".into()), ended: ms(9_000), ..InstanceRecord::default() };
        assert_eq!(
            with(THREE, &records, |view| ended(view, 0)),
            "stage 1 of 3 ended after 9.0s: 1 completed, 1 failed"
        );
        assert_eq!(
            with(THREE, &records, lines),
            "Stage 1 of 3: ended at 9.0s: 1 completed, 1 failed\nStage 2 of 3: ended at 9.0s: 1 skipped\n\
             Stage 3 of 3: 1 pending\n"
        );
        records[3] = records[2].clone();
        assert_eq!(
            with(THREE, &records, summary),
            "- 1 of 3: 1 completed, 1 failed (0.0s to 9.0s)\n- 2 of 3: 1 skipped\n- 3 of 3: 1 skipped\n"
        );
    }

    #[test]
    fn without_dependencies_nothing_is_said() {
        let config = r#"{"instances": [{"command": "x"}, {"command": "x"}]}"#;
        let records = vec![InstanceRecord::default(); 2];
        assert_eq!(with(config, &records, lines) + &with(config, &records, summary), "");
    }

    #[test]
    fn of_many_stages_those_that_are_next_are_shown() {
        let instance = |i: usize| match i {
            0 => r#"{"name": "0", "command": "x"}"#.to_owned(),
            _ => format!(r#"{{"name": "{i}", "command": "x", "depends_on": ["{}"]}}"#, i - 1),
        };
        let config = format!(r#"{{"instances": [{}]}}"#, (0..30).map(instance).collect::<Vec<_>>().join(","));
        let mut records = vec![ended_at(Status::Completed, 0, 1); 12];
        records.resize(30, InstanceRecord::default());
        let told = with(&config, &records, lines);
        assert!(told.starts_with("Stage 13 of 30: 1 pending\nStage 14 of 30: 1 instance waiting for stage 13\n"));
        assert!(told.ends_with("Stage 20 of 30: 1 instance waiting for stage 19\n10 stages behind them\n"), "{told}");
        assert!(with(&config, &records, summary).ends_with("\n- 20 of 30: 1 pending\n- 10 more\n"));
    }
}
