//! State of a run at one moment, for the reports.

use std::time::Duration;

use crate::engine::budget::LimitUsage;
use crate::engine::record::InstanceRecord;
use crate::engine::usage_limit::UsageLimit;
use crate::plan::Plan;
use crate::plan::stages::Stages;

/// The state of a run at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The stages of the plan.
    pub stages: &'a Stages,
    /// The record of each instance, in the plan's order.
    pub records: &'a [InstanceRecord],
    /// Time since the start of the run.
    pub elapsed: Duration,
    /// Every limit, with its usage so far.
    pub limits: &'a [LimitUsage],
    /// Instances that a budget denied: index and reason.
    pub refusals: &'a [(usize, String)],
    /// The account's usage limit, if it was reached.
    pub usage_limit: Option<UsageLimit>,
}
