//! Events of an instance's process: spawn, output, exit. Ends with the verdict on the attempt.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use super::Engine;
use crate::claude::permissions;
use crate::claude::session::{OpenMode, SessionEntry};
use crate::engine::attempt::{Attempt, AttemptAction, Verdict};
use crate::engine::event::{Action, Cleanup, Launch, ProcessEvent};
use crate::engine::notice::{Notice, Step};
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::engine::record::{NextProcess, RunningAttempt};
use crate::engine::timing::SESSION_RETRY;
use crate::plan::result_template::filled;
use crate::plan::{Instance, InstanceId, Turn};

/// Maximum number of session fallbacks per attempt, for conversations that were not found before the launch.
const MAX_REFUSED_ENTRIES: u32 = 10;

impl<'a> Engine<'a> {
    /// Handles an event of an instance's process.
    pub(super) fn on_process(&mut self, id: InstanceId, event: ProcessEvent, now: Duration) {
        match event {
            ProcessEvent::SessionBusy => self.wait_for_session(id, now),
            ProcessEvent::Spawned { pid, entry } => self.on_spawned(id, pid, entry, now),
            ProcessEvent::SpawnFailed { error, is_permanent } => {
                let failure = Failure { is_permanent, ..Failure::new(FailureKind::Spawn, error) };
                self.on_spawn_failed(id, failure, now);
            }
            ProcessEvent::Output(event) => self.with_attempt(id, now, |attempt| attempt.event(event, now)),
            ProcessEvent::OversizedLine { head, bytes } => {
                self.with_attempt(id, now, |attempt| attempt.long_line(head, bytes, now));
            }
            ProcessEvent::OutputRead => {
                if let Some(attempt) = self.attempt_mut(id) {
                    attempt.on_output(now);
                }
                self.on_lines_read(id, now);
            }
            ProcessEvent::StdoutEof => {
                self.with_attempt(id, now, |attempt| attempt.on_stdout_eof(now));
                self.on_lines_read(id, now);
            }
            ProcessEvent::Stderr(bytes) => {
                if let Some(attempt) = self.attempt_mut(id) {
                    attempt.on_stderr(bytes, now);
                }
            }
            ProcessEvent::StderrEof => {
                if let Some(attempt) = self.attempt_mut(id) {
                    attempt.on_stderr_eof();
                }
            }
            ProcessEvent::StdinClosed => self.with_attempt(id, now, |attempt| attempt.on_stdin_closed(now)),
            ProcessEvent::Exited(exit) => {
                self.step(id, Step::Exited(exit));
                self.with_attempt(id, now, |attempt| attempt.on_exit(exit, now));
            }
            ProcessEvent::Cleaned(cleanup) => self.on_cleaned(id, cleanup),
        }
        self.settle(id, now);
    }

    /// Calls a method of an attempt in progress, and passes its actions on.
    pub(super) fn with_attempt(
        &mut self,
        id: InstanceId,
        now: Duration,
        call: impl FnOnce(&mut Attempt) -> Vec<AttemptAction>,
    ) {
        let Some(running) = &mut self.records[id].running else { return };
        for action in call(&mut running.attempt) {
            self.pass_on(id, action, now);
        }
    }

    fn pass_on(&mut self, id: InstanceId, action: AttemptAction, now: Duration) {
        match action {
            AttemptAction::Send(bytes) => self.act(Action::Write(id, bytes)),
            AttemptAction::CloseInput => self.act(Action::CloseStdin(id)),
            AttemptAction::Terminate => {
                self.act(Action::Terminate(id));
                self.step(id, Step::Terminated);
            }
            AttemptAction::Kill => {
                if let Some(running) = &mut self.records[id].running {
                    running.is_cleaning = true;
                    let is_alive = running.attempt.exit().is_none();
                    self.act(Action::Kill(id));
                    if is_alive {
                        self.step(id, Step::Killed);
                    }
                }
            }
            AttemptAction::RecordOutput(block) => self.act(Action::RecordOutput(id, block)),
            AttemptAction::Notice(text) => self.notice(Notice::Instance(id, text)),
            AttemptAction::LimitReached { resets_at_epoch_s } => self.on_limit_reached(resets_at_epoch_s, now),
        }
    }

    fn wait_for_session(&mut self, id: InstanceId, now: Duration) {
        if self.next_session_attempt <= now {
            self.next_session_attempt = now + SESSION_RETRY;
        }
        self.schedule.defer_until(id.0, self.next_session_attempt);
        if self.records[id].blocked_on.is_some() {
            return;
        }
        let session = self.plan.instances[id].invocation.session.as_ref();
        let name = session.map_or("", |session| session.name.as_str());
        self.records[id].next_attempt_at = None;
        self.records[id].blocked_on = Some(format!("session {name} is in use by another run"));
        self.notice(Notice::WaitsForSession(id));
        self.changes += 1;
    }

    fn on_spawned(&mut self, id: InstanceId, pid: u32, entry: SessionEntry, now: Duration) {
        self.changes += 1;
        self.records[id].pid = Some(pid);
        let Some(running) = &mut self.records[id].running else {
            self.begin_launch(id);
            self.begin_attempt(id, entry, now);
            return self.step(id, Step::Spawned { pid });
        };
        let next = running.next_process.take();
        running.entry = entry;
        running.is_conversation_saved = None;
        running.is_abandoned = false;
        match next {
            Some(NextProcess::Segment) => self.with_attempt(id, now, |attempt| attempt.start_next_segment(now)),
            Some(NextProcess::Retry) | None => self.with_attempt(id, now, |attempt| attempt.restart(now)),
        }
        if let Some(running) = &mut self.records[id].running {
            running.answers_logged = running.attempt.progress.turns_done;
        }
        // Another instance may have stopped the run since the process was requested.
        self.with_attempt(id, now, |attempt| attempt.resume_stop(now));
    }

    fn on_spawn_failed(&mut self, id: InstanceId, failure: Failure, now: Duration) {
        if self.records[id].running.is_none() {
            self.begin_launch(id);
        }
        // The usage of earlier processes of this attempt stays charged.
        self.charge(id, now);
        self.handle_failure(id, failure, now);
    }

    /// Records that an attempt of an instance began at the time of its launch.
    fn begin_launch(&mut self, id: InstanceId) {
        let now = self.launched_at;
        self.budget.started(id.0, now);
        self.schedule.started(id.0, now);
        let record = &mut self.records[id];
        record.status = Status::Running;
        record.blocked_on = None;
        record.started.get_or_insert(now);
        record.attempt_started = Some(now);
        record.next_attempt_at = None;
    }

    fn begin_attempt(&mut self, id: InstanceId, entry: SessionEntry, now: Duration) {
        // Without the conversation to resume, the attempt starts over.
        if entry.open_mode != OpenMode::Resume {
            self.records[id].continues = None;
        }
        let continues = self.records[id].continues.is_some();
        if !continues && self.plan.instances[id].starts_cleared() {
            self.step(id, Step::Cleared);
        }
        let mut instance = self.with_results(id);
        if continues {
            continue_last_turn(instance.to_mut());
        }
        let prices = self.plan.prices.clone();
        let (mut attempt, actions) = Attempt::start(&instance, prices, self.policy.grace, now);
        attempt.expect_permission_mode(permissions::mode(&instance.invocation, self.policy.capabilities));
        if continues {
            attempt.skip_to_last_turn();
        }
        self.records[id].running = Some(Box::new(RunningAttempt::new(attempt, entry)));
        self.records[id].exit = None;
        self.running.insert(id);
        for action in actions {
            self.pass_on(id, action, now);
        }
    }

    /// Returns the instance with the results of other instances inserted. Those have ended, possibly without a result.
    fn with_results(&mut self, id: InstanceId) -> Cow<'a, Instance> {
        let plan = self.plan;
        let instance = &plan.instances[id];
        if instance.turns.iter().all(|turn| turn.placeholders.is_empty()) {
            return Cow::Borrowed(instance);
        }
        let mut instance = instance.clone();
        let mut empty = BTreeSet::new();
        for turn in &mut instance.turns {
            let result = |source: usize| self.records[source].progress.result.as_deref().unwrap_or("");
            for placeholder in &turn.placeholders {
                if result(placeholder.instance).trim().is_empty() {
                    empty.insert(placeholder.instance);
                }
            }
            turn.text =
                filled(&turn.text, &turn.placeholders, |source| (plan.instances[source].name.as_str(), result(source)));
        }
        // An empty result leaves a gap in the user's prompt.
        for source in empty {
            self.notice(Notice::EmptyResult { instance: id, source: InstanceId(source) });
        }
        Cow::Owned(instance)
    }

    /// Charges the usage so far, and logs the turns that were answered.
    fn on_lines_read(&mut self, id: InstanceId, now: Duration) {
        if let Some(running) = &mut self.records[id].running {
            let answered = running.answers_logged..running.attempt.progress.turns_done;
            running.answers_logged = answered.end;
            for turn in answered {
                let answer = running.attempt.progress.answers.get(turn).cloned().unwrap_or_default();
                self.actions.push(Action::Notice(Notice::Step(id, Step::Answered { turn, answer })));
            }
        }
        self.charge(id, now);
    }

    fn on_cleaned(&mut self, id: InstanceId, cleanup: Cleanup) {
        let record = &mut self.records[id];
        record.surviving_pids.extend(cleanup.survivors);
        let Some(running) = &mut record.running else { return };
        running.is_cleaning = false;
        running.is_conversation_saved = cleanup.is_conversation_saved;
        if cleanup.had_descendants {
            running.attempt.left_processes();
        }
    }

    /// Handles an attempt after the end of its process: reads the verdict, or requests the next process.
    pub(super) fn settle(&mut self, id: InstanceId, now: Duration) {
        let Some(running) = &mut self.records[id].running else { return };
        if !running.attempt.is_done() || running.is_cleaning || running.next_process.is_some() {
            return;
        }
        if running.attempt.exit().is_none() && !running.is_abandoned {
            running.is_abandoned = true;
            running.is_cleaning = true;
            return self.act(Action::Abandon(id));
        }
        if let Some((next, entry)) = self.next_process(id) {
            return self.request_next_process(id, next, entry);
        }
        let Some(running) = &self.records[id].running else { return };
        let verdict = running.attempt.verdict();
        self.charge(id, now);
        let failure = match verdict {
            Verdict::Completed => self.lost_session(id),
            Verdict::Failed(failure) => Some(failure),
        };
        match failure {
            None => self.end(id, Status::Completed, now),
            Some(failure) => self.handle_failure(id, failure, now),
        }
    }

    /// Returns the reason for another process of the same attempt and its conversation, if one must follow.
    fn next_process(&mut self, id: InstanceId) -> Option<(NextProcess, SessionEntry)> {
        let record = &mut self.records[id];
        let running = record.running.as_mut()?;
        // An attempt that continues a conversation cannot start a new one.
        if record.continues.is_none()
            && self.stop.signal.is_none()
            && running.refused_entries < MAX_REFUSED_ENTRIES
            && let Some(exists) = running.attempt.session_mismatch()
            && let Some(entry) = running.entry.fallback(exists)
        {
            running.refused_entries += 1;
            return Some((NextProcess::Retry, entry));
        }
        if running.attempt.needs_next_segment() {
            let entry = running.entry.next_conversation();
            self.step(id, Step::Cleared);
            return Some((NextProcess::Segment, entry));
        }
        None
    }

    fn request_next_process(&mut self, id: InstanceId, next: NextProcess, entry: SessionEntry) {
        let continues = self.records[id].continues.clone();
        let micros_left = self.budget.dollars_left(id.0);
        if let Some(running) = &mut self.records[id].running {
            running.next_process = Some(next);
        }
        self.act(Action::Spawn(Launch { instance: id, entry: Some(entry), is_cleared: false, continues, micros_left }));
    }

    /// Checks if claude has saved the conversation of an instance that has completed.
    ///
    /// claude prints nothing if it cannot write to its directory. A lost conversation is a failure if a later instance
    /// of the plan needs it, and a notice otherwise.
    fn lost_session(&mut self, id: InstanceId) -> Option<Failure> {
        let plan = self.plan;
        let session = plan.instances[id].invocation.session.as_ref()?;
        let is_saved = self.records[id].running.as_ref()?.is_conversation_saved?;
        self.records[id].session_kept = Some(is_saved);
        if is_saved {
            return None;
        }
        for (other, record) in plan.instances.iter().zip(&self.records) {
            let shares = other.invocation.session.as_ref().is_some_and(|other| other.uuid == session.uuid);
            if shares && record.status == Status::Pending {
                let error = format!(
                    "claude has not saved the conversation of session {}, and {} needs it: make claude's directory writable",
                    session.name, other.name
                );
                return Some(Failure::permanent(FailureKind::Error, error));
            }
        }
        self.notice(Notice::SessionNotSaved(id));
        None
    }
}

/// Replaces the last turn by claude's own prompt to continue interrupted work.
fn continue_last_turn(instance: &mut Instance) {
    if let Some(last) = instance.turns.last_mut() {
        *last = Turn { text: "Continue from where you left off.".to_owned(), ..Turn::default() };
    }
}
