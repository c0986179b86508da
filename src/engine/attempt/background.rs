//! Background work that outlives the last turn: commands and scheduled wake-ups. When a command ends, claude begins a
//! turn by itself, and that turn belongs to the instance.
//!
//! Measured on 2.1.330 and 2.1.332. 2.0 and 1.0 report the start of such a command, but not its end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Attempt, AttemptAction, Phase};
use crate::claude::protocol::request;
use crate::claude::protocol::{Leaves, Task, ToolUse};
use crate::config::Background;
use crate::engine::outcome::{Failure, FailureKind};
use crate::engine::timing::FOLLOW_UP;

/// Tools that can leave background work: those that run commands, and the one that schedules a wake-up.
const TOOLS: [&str; 3] = ["Bash", "Monitor", WAKEUP];
const WAKEUP: &str = "ScheduleWakeup";

/// Bound on the entries kept for an instance that starts thousands of commands.
const MAX_COMMANDS: usize = 1000;

/// Unfinished commands and wake-ups of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    /// Commands in the list that claude last sent.
    commands: Vec<Task>,
    /// Commands of running tools, by tool use id.
    used: HashMap<String, String>,
    /// Command of each task, by task id.
    names: HashMap<String, String>,
    /// Prompt of the pending wake-up.
    wakeup: Option<String>,
    /// Commands of which claude will not report the end: those of 2.0 and 1.0.
    unreported: Vec<String>,
    /// True if this version of claude reports background tasks.
    is_reported: bool,
    /// True if work has ended that claude has not passed on to the model: a turn follows.
    pub(super) turn_follows: bool,
    /// Time limit for the start of that turn.
    follow_up_by: Option<Duration>,
    /// Time limit of the wait for commands.
    wait_until: Option<Duration>,
    is_wait_over: bool,
    /// Ids of tasks already listed as stopped; claude may list them again.
    stopped: HashSet<String>,
    /// True if work that the instance had to wait for was stopped.
    pub(super) is_cut_off: bool,
}

impl Running {
    /// Records the command that a tool runs.
    pub(super) fn tool_used(&mut self, used: &ToolUse) {
        if TOOLS.contains(&used.tool.as_str()) && self.used.len() < MAX_COMMANDS {
            self.used.insert(used.id.clone(), used.input_summary.clone());
        }
    }

    /// Handles the end of a tool use, and records the background work that it leaves.
    pub(super) fn tool_ended(&mut self, id: &str, leaves: Leaves) {
        let command = self.used.remove(id);
        match leaves {
            Leaves::Nothing => {}
            Leaves::Command if self.is_reported || self.unreported.len() >= MAX_COMMANDS => {}
            Leaves::Command => self.unreported.push(command.unwrap_or_else(|| "a command".to_owned())),
            Leaves::WakeUp => self.wakeup = Some(command.unwrap_or_default()),
            Leaves::NoWakeUp => self.wakeup = None,
        }
    }

    /// Records the command of a task.
    pub(super) fn name(&mut self, task_id: String, tool_use_id: &str) {
        if let Some(command) = self.used.get(tool_use_id)
            && self.names.len() < MAX_COMMANDS
        {
            self.names.insert(task_id, command.clone());
        }
    }

    /// Handles the start of a turn: claude passes on with it all work that has ended.
    pub(super) fn turn_begins(&mut self) {
        self.turn_follows = false;
        self.follow_up_by = None;
    }

    fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.wakeup.is_none()
    }

    /// Returns a label for each command and for the wake-up.
    fn labels(&self) -> Vec<String> {
        let mut labels = Vec::new();
        for task in &self.commands {
            labels.push(self.names.get(&task.id).unwrap_or(&task.description).clone());
        }
        if let Some(prompt) = &self.wakeup {
            labels.push(format!("wake-up: {prompt}"));
        }
        labels
    }

    fn changed(&mut self, commands: Vec<Task>) {
        self.is_reported = true;
        self.commands = commands;
        self.commands.retain(|task| !self.stopped.contains(&task.id));
        self.names.retain(|id, _| self.commands.iter().any(|task| task.id == *id));
    }
}

impl Attempt {
    /// Returns true if background work must end before the instance completes.
    pub(super) fn needs_background_work(&self) -> bool {
        let waits = self.background == Background::Wait && !self.conversation.background.is_empty();
        self.conversation.background_agents > 0 || waits
    }

    /// Waits for background work, or stops it, after all turns have succeeded.
    pub(super) fn on_all_turns_answered(&mut self, now: Duration) -> Vec<AttemptAction> {
        if self.conversation.turn_under_way || self.conversation.background.is_cut_off {
            return Vec::new();
        }
        self.progress.awaited.clear();
        let running = &mut self.conversation.background;
        if running.is_empty() && self.conversation.background_agents == 0 {
            return if running.turn_follows {
                self.await_turn(now)
            } else {
                self.decide(super::Verdict::Completed, now)
            };
        }
        if running.is_empty() {
            return self.follow_up();
        }
        let wait_until = *running.wait_until.get_or_insert(now.saturating_add(self.background_wait));
        running.is_wait_over |= wait_until <= now;
        let is_wait_over = running.is_wait_over;
        match self.background {
            Background::Wait if !is_wait_over => self.follow_up(),
            Background::Wait | Background::Stop => self.stop_commands(now),
            // Agents are part of the instance's work, and they may start or stop commands.
            Background::Fail if self.conversation.background_agents > 0 => self.follow_up(),
            Background::Fail => {
                let labels = self.conversation.background.labels();
                let mut actions = self.end_commands();
                let error = format!("Unfinished: still running in the background: {}", labels.join("; "));
                actions.extend(self.fail(Failure::new(FailureKind::Unfinished, error), now));
                actions
            }
        }
    }

    /// Handles a change of the list of background tasks.
    pub(super) fn background_changed(&mut self, commands: Vec<Task>, now: Duration) -> Vec<AttemptAction> {
        self.conversation.background.changed(commands);
        self.background_moved(now)
    }

    /// Handles a scheduled wake-up.
    pub(super) fn woke_up(&mut self, now: Duration) -> Vec<AttemptAction> {
        self.conversation.background.wakeup = None;
        self.conversation.background.turn_follows = true;
        self.background_moved(now)
    }

    fn background_moved(&mut self, now: Duration) -> Vec<AttemptAction> {
        if self.process.phase != Phase::AwaitingBackground || self.conversation.turn_under_way {
            return Vec::new();
        }
        self.on_all_turns_answered(now)
    }

    /// Returns the next time at which [`background_is_due`](Self::background_is_due) must be called.
    pub(super) fn background_deadline(&self) -> Option<Duration> {
        if self.process.phase != Phase::AwaitingBackground || self.conversation.turn_under_way {
            return None;
        }
        let running = &self.conversation.background;
        let is_waiting = !running.is_wait_over && !running.is_empty();
        let wait_until = if is_waiting { running.wait_until } else { None };
        running.follow_up_by.into_iter().chain(wait_until).min()
    }

    /// Handles the end of a wait for background work.
    pub(super) fn background_is_due(&mut self, now: Duration) -> Vec<AttemptAction> {
        let running = &mut self.conversation.background;
        if running.follow_up_by.is_some_and(|at| at <= now) {
            running.turn_begins();
        }
        self.on_all_turns_answered(now)
    }

    /// Marks awaited work as cut off, and lists it as stopped. The instance has then not completed.
    pub(super) fn cut_off_background(&mut self) {
        let running = &mut self.conversation.background;
        running.is_cut_off |= self.background != Background::Stop && !running.is_empty();
        self.list_stopped_background();
    }

    /// Lists the commands that end with their process as stopped.
    pub(super) fn list_stopped_background(&mut self) {
        let running = &mut self.conversation.background;
        let labels = running.labels();
        running.stopped.extend(running.commands.drain(..).map(|task| task.id));
        running.wakeup = None;
        self.progress.awaited.clear();
        for label in labels {
            if self.progress.background_stopped.len() < MAX_COMMANDS {
                self.progress.background_stopped.push(label);
            }
        }
    }

    /// Handles processes that were alive after claude had ended: background commands, if claude does not report their
    /// end.
    pub fn left_processes(&mut self) {
        let unreported = std::mem::take(&mut self.conversation.background.unreported);
        if unreported.is_empty() {
            return;
        }
        if self.background == Background::Fail && self.process.verdict == Some(super::Verdict::Completed) {
            let error = format!("Unfinished: still running in the background: {}", unreported.join("; "));
            self.process.verdict = Some(super::Verdict::Failed(Failure::new(FailureKind::Unfinished, error)));
        }
        self.progress.background_stopped.extend(unreported);
    }

    /// Waits for background work. stdin stays open, so that claude can be interrupted.
    fn follow_up(&mut self) -> Vec<AttemptAction> {
        if self.process.phase == Phase::AwaitingResult {
            self.process.phase = Phase::AwaitingBackground;
        }
        self.progress.awaited = self.conversation.background.labels();
        Vec::new()
    }

    fn await_turn(&mut self, now: Duration) -> Vec<AttemptAction> {
        self.conversation.background.follow_up_by.get_or_insert(now.saturating_add(FOLLOW_UP));
        self.follow_up()
    }

    /// Stops the commands, but still waits for agents.
    fn stop_commands(&mut self, now: Duration) -> Vec<AttemptAction> {
        let mut actions = self.end_commands();
        let rest = if self.conversation.background_agents > 0 {
            self.follow_up()
        } else {
            self.decide(super::Verdict::Completed, now)
        };
        actions.extend(rest);
        actions
    }

    fn end_commands(&mut self) -> Vec<AttemptAction> {
        let tasks = self.conversation.background.commands.iter();
        let actions = tasks.map(|task| AttemptAction::Send(request::stop_task(&task.id))).collect();
        self.list_stopped_background();
        actions
    }
}
