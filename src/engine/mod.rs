//! The engine: all decisions of a run, free of side effects.
//!
//! [`Engine::launch`] returns the next instance to launch, [`Engine::handle`] takes one event. Both return the actions
//! to perform. The time and all facts about the system come in as arguments, so a test can simulate whole runs.

pub mod attempt;
pub mod budget;
mod ending;
pub mod event;
pub mod exit_code;
mod limits;
pub mod notice;
pub mod outcome;
mod process;
pub mod progress;
pub mod record;
pub mod retry;
pub mod run_clock;
pub mod schedule;
#[cfg(test)]
mod simulation;
pub mod snapshot;
mod stopping;
pub mod timing;
pub mod usage_limit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::claude::capabilities::Capabilities;
use crate::claude::usage_meter::ModelUsage;
use crate::config::halt::Halt;
use crate::engine::attempt::Attempt;
use crate::engine::budget::{Admission, Budget, LimitUsage};
use crate::engine::event::{Action, Event, Launch};
use crate::engine::exit_code::ExitCode;
use crate::engine::notice::{Notice, Step};
use crate::engine::record::InstanceRecord;
use crate::engine::run_clock::Now;
use crate::engine::schedule::{LaunchPolicy, Schedule};
use crate::engine::snapshot::Snapshot;
use crate::engine::stopping::StopState;
use crate::engine::usage_limit::UsageLimit;
use crate::plan::stages::Stages;
use crate::plan::{InstanceId, Plan};

/// Policy of a run, apart from its plan.
#[derive(Clone, Debug)]
pub struct RunPolicy {
    /// Pace at which instances are launched.
    pub pace: LaunchPolicy,
    /// Time between an interrupt request and SIGTERM.
    pub grace: Duration,
    /// Policy when the account's usage limit is reached.
    pub limit_policy: usage_limit::Policy,
    /// Number of failures that stops the run, if limited.
    pub halt: Option<Halt>,
    /// Capabilities of the version of claude.
    pub capabilities: Capabilities,
}

/// State of a run, changed by events.
#[derive(Debug)]
pub struct Engine<'a> {
    plan: &'a Plan,
    policy: RunPolicy,
    schedule: Schedule,
    budget: Budget,
    /// True if only the budget holds back an instance that is ready.
    is_budget_blocked: bool,
    usage_limit: Option<UsageLimit>,
    stop: StopState,
    stages: Stages,
    records: Vec<InstanceRecord>,
    /// Instances with an attempt in progress.
    running: BTreeSet<InstanceId>,
    /// Time of the last launch.
    launched_at: Duration,
    /// Time of the next attempt to lock a session, shared by all instances that wait for one.
    next_session_attempt: Duration,
    /// Actions of the transition in progress.
    actions: Vec<Action>,
    /// Number of changes that `report.json` must contain.
    changes: u64,
    /// Wall-clock time of the event in progress, in milliseconds since 1970.
    epoch_ms: u64,
}

impl<'a> Engine<'a> {
    /// Returns the state of a run that has not started any instance.
    ///
    /// `earlier_usage` is the usage of each instance when it last completed, by name.
    #[must_use]
    pub fn new(plan: &'a Plan, policy: RunPolicy, earlier_usage: &BTreeMap<String, ModelUsage>) -> Self {
        let mut budget = Budget::new(&plan.budget, &plan.instances, &plan.prices);
        for (index, instance) in plan.instances.iter().enumerate() {
            if let Some(usage) = earlier_usage.get(&instance.name) {
                budget.expect_as_before(index, usage);
            }
        }
        Engine {
            plan,
            schedule: Schedule::new(&plan.instances, policy.pace),
            policy,
            budget,
            is_budget_blocked: false,
            usage_limit: None,
            stop: StopState::default(),
            stages: Stages::new(&plan.instances),
            records: vec![InstanceRecord::default(); plan.instances.len()],
            running: BTreeSet::new(),
            launched_at: Duration::ZERO,
            next_session_attempt: Duration::ZERO,
            actions: Vec::new(),
            changes: 0,
            epoch_ms: 0,
        }
    }

    /// Returns the actions that launch the next instance that may start now; empty if there is none.
    ///
    /// Denies the instances that no budget can admit any more.
    pub fn launch(&mut self, now: Now) -> Vec<Action> {
        self.epoch_ms = now.epoch_ms;
        let now = now.elapsed;
        loop {
            match self.budget.admit_first(self.schedule.ready(now), now) {
                Some((index, Admission::Admit)) => {
                    self.is_budget_blocked = false;
                    self.launched_at = now;
                    self.request_first_process(InstanceId(index));
                    break;
                }
                Some((index, Admission::Deny(denial))) => self.deny(InstanceId(index), denial, now),
                None => {
                    self.is_budget_blocked = self.schedule.ready(now).next().is_some();
                    break;
                }
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Handles an event. Returns the actions to perform, in order.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        self.epoch_ms = now.epoch_ms;
        match event {
            Event::Process(id, event) => self.on_process(id, event, now.elapsed),
            Event::MissingCommands(missing) => self.fail_missing_commands(missing, now.elapsed),
            Event::Stop(signal) => self.on_stop(signal, now.elapsed),
            Event::Pause(pause) => self.on_pause(pause),
            Event::Tick => self.on_tick(now.elapsed),
        }
        std::mem::take(&mut self.actions)
    }

    /// Returns the time of the next launch or deadline. [`launch`](Self::launch) and [`Event::Tick`] are due then.
    #[must_use]
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let mut next = if self.is_budget_blocked {
            // The instance starts when another one has settled, and not at a fixed time.
            self.schedule.next_deferred_at().into_iter().chain(self.budget.first_message_due(now)).min()
        } else {
            self.schedule.next_start_at()
        };
        for &id in &self.running {
            let deadline = self.attempt(id).and_then(Attempt::next_deadline);
            next = next.into_iter().chain(deadline).min();
        }
        next
    }

    /// Returns true if all instances have ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.schedule.is_finished()
    }

    /// Returns the exit code of the run, once it is finished.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if let Some(signal) = self.stop.signal {
            return ExitCode::Signal(signal.number);
        }
        let code = outcome::exit_code(self.records.iter().map(|record| &record.status));
        if self.budget.is_exceeded() { code.max_severity(ExitCode::Budget) } else { code }
    }

    /// Returns the name of the signal that stopped the run, if one did.
    #[must_use]
    pub fn stopped_by(&self) -> Option<&'static str> {
        self.stop.signal.map(|signal| signal.name)
    }

    /// Returns the number of changes so far. `report.json` is stale if it was written at a lower number.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns every limit, with its usage so far.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitUsage> {
        self.budget.limits()
    }

    /// Returns the state of the run at `now`, for the reports.
    #[must_use]
    pub fn snapshot<'s>(&'s self, limits: &'s [LimitUsage], now: Duration) -> Snapshot<'s> {
        Snapshot {
            plan: self.plan,
            stages: &self.stages,
            records: &self.records,
            elapsed: now,
            limits,
            refusals: self.budget.refusals(),
            usage_limit: self.usage_limit,
        }
    }

    /// Stores the last lines of output of an instance, if it has ended.
    pub fn set_last_output(&mut self, id: InstanceId, lines: Vec<String>) {
        if self.records[id].status.has_ended() {
            self.records[id].last_output = lines;
        }
    }

    /// Removes the surviving processes that are not in `alive`: they have exited since.
    pub fn retain_survivors(&mut self, alive: impl Fn(i32) -> bool) {
        for record in &mut self.records {
            record.surviving_pids.retain(|&pid| alive(pid));
        }
    }

    /// Requests the first process of an attempt.
    fn request_first_process(&mut self, id: InstanceId) {
        let continues = self.records[id].continues.clone();
        let is_cleared = continues.is_none() && self.plan.instances[id].starts_cleared();
        let micros_left = self.budget.dollars_left(id.0);
        self.act(Action::Spawn(Launch { instance: id, entry: None, is_cleared, continues, micros_left }));
    }

    fn attempt(&self, id: InstanceId) -> Option<&Attempt> {
        self.records[id].running.as_ref().map(|running| &running.attempt)
    }

    fn attempt_mut(&mut self, id: InstanceId) -> Option<&mut Attempt> {
        self.records[id].running.as_mut().map(|running| &mut running.attempt)
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn notice(&mut self, notice: Notice) {
        self.act(Action::Notice(notice));
    }

    fn step(&mut self, id: InstanceId, step: Step) {
        self.notice(Notice::Step(id, step));
    }

    /// Performs the actions of all attempts that are due.
    fn on_tick(&mut self, now: Duration) {
        let mut due = Vec::new();
        for &id in &self.running {
            if self.attempt(id).and_then(Attempt::next_deadline).is_some_and(|at| at <= now) {
                due.push(id);
            }
        }
        for id in due {
            self.with_attempt(id, now, |attempt| attempt.on_deadline(now));
            self.settle(id, now);
        }
    }
}
