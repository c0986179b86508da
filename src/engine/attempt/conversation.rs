//! The conversation between zen and one claude process of an attempt, from `initialize` to the last result.
//!
//! Decides which turn is sent next, what a message and a result mean for the attempt, and when its work is done. The
//! parent module ends the process.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::background::Running;
use super::shutdown::Shutdown;
use super::{Attempt, AttemptAction, Phase, Verdict};
use crate::base::text::truncate;
use crate::claude::permissions::is_same_mode;
use crate::claude::protocol::request;
use crate::claude::protocol::{
    ContentBlock, Denial, Event, InitializeError, Message, Retry, ToolResult, ToolUse, TurnResult, is_result,
};
use crate::claude::slash_commands::{Commands, is_local};
use crate::claude::tool_denials::UnavailableTool;
use crate::claude::tool_policy::hook::IsListed;
use crate::claude::turn_outcome::{
    MAX_REFUSED_LOGINS, TurnError, TurnErrorKind, TurnFacts, TurnOutcome, classify, is_refused_login, refused_logins,
    refused_shell_command, result_text, without_model,
};
use crate::engine::outcome::{Failure, FailureKind};

/// Maximum width of the answer that is kept for each turn. The last answer is also kept whole.
const MAX_ANSWER_COLUMNS: usize = 500;

/// State of the main conversation's current message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MessageState {
    /// No message is in progress; another may follow in the same turn.
    #[default]
    Idle,
    /// The model was asked for a message: it is charged, and its stream has not begun.
    Requested,
    /// A message is being streamed.
    Streaming,
    /// A message is being streamed, and tool calls follow it.
    ToolCalls,
    /// The turn's last message is being streamed or has ended: the result follows.
    Final,
}

impl MessageState {
    fn after_delta(uses_tools: bool, has_ended: bool) -> Self {
        match (uses_tools, has_ended) {
            (true, _) => MessageState::ToolCalls,
            (false, true) => MessageState::Final,
            (false, false) => MessageState::Streaming,
        }
    }
}

/// State of the conversation with one claude process.
#[derive(Clone, Debug, Default)]
pub(super) struct Conversation {
    pub(super) initialized: bool,
    /// Number of the instance's turns sent to this process and earlier ones; 0 if this process was sent none.
    turns_sent: usize,
    /// End of the usage limit that an event announced, if any. Has no effect until the turn's result reports it.
    limit_rejected: Option<Option<u64>>,
    pub(super) background_agents: usize,
    /// Background work other than agents.
    pub(super) background: Running,
    /// State of the message that the model is writing.
    pub(super) message: MessageState,
    /// Last text of the main conversation.
    last_text: String,
    /// Ids of the main conversation's tool calls that have not ended.
    pub(super) tools_at_work: HashSet<String>,
    /// True if all tool calls of the streamed message have ended: 2.1 reports some results before the message ends.
    tools_ended_early: bool,
    /// Tool uses that have not ended: their results may report a denial.
    open_uses: VecDeque<ToolUse>,
    /// Ids of this turn's tool uses that were counted as denied for their file. The result may list them again.
    denied_files: HashSet<String>,
    /// Reason to stop the attempt after the current message, if any.
    pub(super) stop_reason: Option<Failure>,
    /// True if claude has begun a turn and has not sent its result.
    pub(super) turn_under_way: bool,
    /// True if claude has announced the start of a turn. All known generations do.
    pub(super) sends_init_per_turn: bool,
    /// True if a message or a result has arrived: the input has had an effect.
    pub(super) has_model_output: bool,
    /// True if the model has written a message in this turn.
    model_answered: bool,
    /// True if the API paused the last message of the turn.
    paused: bool,
    /// claude's name for the API error in its last message, if any.
    api_error: Option<String>,
    /// Number of consecutive login refusals by the API.
    refused_logins: u32,
    /// `safety_stops` of the last result.
    safety_stops: u64,
}

impl Conversation {
    /// Resets the state of the previous turn.
    fn begin_turn(&mut self) {
        self.model_answered = false;
        self.paused = false;
        self.api_error = None;
    }
}

/// Maximum number of running tool calls that are tracked. claude runs only a few in parallel.
const MAX_TOOLS_AT_WORK: usize = 1_000;

/// Maximum number of tool uses that are tracked until they end, and of denied files.
const MAX_OPEN_USES: usize = 100;

impl Conversation {
    fn tool_begins(&mut self, id: &str) {
        if self.tools_at_work.len() < MAX_TOOLS_AT_WORK {
            self.tools_at_work.insert(id.to_owned());
        }
    }

    /// Tracks a tool use. If there are too many, drops the oldest, which may never end.
    fn use_begins(&mut self, used: ToolUse) {
        if self.open_uses.len() == MAX_OPEN_USES {
            self.open_uses.pop_front();
        }
        self.open_uses.push_back(used);
    }

    fn use_ends(&mut self, id: &str) -> Option<ToolUse> {
        let at = self.open_uses.iter().rposition(|used| used.id == id)?;
        self.open_uses.remove(at)
    }
}

impl Attempt {
    /// Handles one decoded line of stdout.
    pub fn event(&mut self, event: Event, now: Duration) -> Vec<AttemptAction> {
        match event {
            Event::InitializeResponse { request_id, commands, prices, reports_usage }
                if request_id == request::INITIALIZE_ID =>
            {
                self.meter.configure(reports_usage, prices);
                self.initialized(commands, now)
            }
            Event::Init { session_id, model, permission_mode, mcp_failed } => {
                self.progress.session_id = session_id.or(self.progress.session_id.take());
                self.progress.model = model.or(self.progress.model.take());
                self.on_turn_start(now);
                let mut actions = self.mcp_servers_failed(mcp_failed, now);
                actions.extend(permission_mode.and_then(|mode| self.permission_mode_reported(mode)));
                actions
            }
            Event::Message(message) => self.message(*message, now),
            Event::MessageDelta { tokens, uses_tools, ended, paused } => {
                self.meter.update_streaming(tokens);
                self.conversation.paused = paused;
                if ended {
                    self.meter.stream_ended();
                }
                self.conversation.message = MessageState::after_delta(uses_tools, ended);
                Vec::new()
            }
            Event::MessageStop => self.on_message_stop(now),
            Event::CompactionBegins => {
                self.conversation.message = MessageState::Requested;
                Vec::new()
            }
            Event::ToolResults { tools, of_subagent } => {
                self.tools_ended(tools, of_subagent);
                Vec::new()
            }
            Event::Result(result) => self.result(*result, now),
            Event::Retry(retry) => self.retry(retry, now),
            Event::RateLimit { rejected, resets_at } => {
                if !rejected {
                    return Vec::new();
                }
                self.conversation.limit_rejected = Some(resets_at);
                self.progress.limit_resets_at = resets_at;
                Vec::new()
            }
            Event::BackgroundTasks { .. } | Event::CommandInBackground { .. } | Event::TaskEnded | Event::WokeUp => {
                self.background_event(event, now)
            }
            Event::ConversationReset => {
                self.meter.conversation_reset();
                Vec::new()
            }
            Event::Invalid => {
                self.progress.invalid_lines += 1;
                Vec::new()
            }
            Event::MalformedResult => self.unread_result("is JSON that zen cannot decode", now),
            Event::InitializeResponse { .. } | Event::Other => Vec::new(),
        }
    }

    fn background_event(&mut self, event: Event, now: Duration) -> Vec<AttemptAction> {
        match event {
            Event::BackgroundTasks { agents, commands } => {
                self.conversation.background_agents = agents;
                return self.background_changed(commands, now);
            }
            Event::CommandInBackground { task_id, tool_use_id } => {
                self.conversation.background.name(task_id, &tool_use_id);
            }
            Event::TaskEnded => self.conversation.background.turn_follows = true,
            Event::WokeUp => return self.woke_up(now),
            _ => {}
        }
        Vec::new()
    }

    /// Counts an oversized line of stdout. If it is a result, handles it as one that cannot be decoded.
    pub fn long_line(&mut self, head: &[u8], bytes: u64, now: Duration) -> Vec<AttemptAction> {
        self.progress.oversized_lines += 1;
        if is_result(head) {
            return self.unread_result(&format!("is a line of {bytes} bytes, which is over the limit"), now);
        }
        Vec::new()
    }

    /// Fails the turn in progress for a result that cannot be decoded: no other result follows.
    fn unread_result(&mut self, problem: &str, now: Duration) -> Vec<AttemptAction> {
        match self.process.phase {
            Phase::AwaitingBackground if !self.conversation.turn_under_way => Vec::new(),
            Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.fail(Failure::new(FailureKind::Error, format!("claude's result {problem}")), now)
            }
            _ => Vec::new(),
        }
    }

    fn initialized(&mut self, commands: Result<Commands, InitializeError>, now: Duration) -> Vec<AttemptAction> {
        if self.process.phase != Phase::Initializing {
            return Vec::new(); // a second response, or one that arrived during the stop
        }
        let commands = match commands {
            Ok(commands) => {
                self.conversation.initialized = true;
                commands
            }
            Err(error) => {
                let error = format!("claude did not initialize: {error}");
                return self.fail(Failure::new(FailureKind::Error, error), now);
            }
        };
        for turn in self.turns.iter().skip(self.progress.turns_done) {
            if let Some(name) = turn.command.as_deref()
                && !turn.clears()
                && !commands.contains(name)
            {
                let error = commands.not_found(name, turn.may_be_path).to_string();
                return self.fail(Failure::new(FailureKind::CommandNotFound, error), now);
            }
        }
        self.send_turn(now)
    }

    fn send_turn(&mut self, now: Duration) -> Vec<AttemptAction> {
        match self.turns[..self.segment_end()].get(self.progress.turns_done) {
            Some(turn) => {
                self.process.phase = Phase::AwaitingResult;
                self.conversation.turns_sent = self.progress.turns_done + 1;
                self.conversation.begin_turn();
                let line = if turn.command.is_some() { request::user } else { request::text };
                vec![AttemptAction::Send(line(&turn.text))]
            }
            None => self.decide(Verdict::Completed, now),
        }
    }

    fn message(&mut self, message: Message, now: Duration) -> Vec<AttemptAction> {
        self.conversation.has_model_output = true;
        self.progress.retry = None;
        self.conversation.model_answered |= message.is_of_model() && !message.from_subagent;
        if message.is_of_model() {
            self.conversation.refused_logins = 0;
        }
        if !message.from_subagent {
            self.conversation.api_error.clone_from(&message.error);
        }
        if let Some(id) = &message.id {
            self.meter.message(id, &message.model, message.tokens, message.from_subagent);
        }
        if message.is_start && !message.from_subagent {
            self.conversation.message = MessageState::Streaming;
            self.conversation.tools_ended_early = false;
            self.meter.stream_begins();
        }
        for block in &message.content {
            if let ContentBlock::Text(text) = block
                && !message.from_subagent
            {
                self.conversation.last_text.clone_from(text);
            }
        }
        // A message that was not streamed comes whole, and no `MessageStop` follows it.
        let is_whole =
            self.conversation.message == MessageState::Requested && !message.is_start && !message.from_subagent;
        let ends_for_tools = is_whole && !message.tools.is_empty();
        for used in message.tools {
            self.conversation.background.tool_used(&used);
            if !message.from_subagent {
                self.conversation.tool_begins(&used.id);
                self.conversation.tools_ended_early = false;
            }
            self.conversation.use_begins(used);
        }
        let mut actions: Vec<AttemptAction> = message.content.into_iter().map(AttemptAction::RecordOutput).collect();
        if ends_for_tools {
            self.conversation.message = MessageState::ToolCalls;
            actions.extend(self.on_message_stop(now));
        }
        actions
    }

    fn on_message_stop(&mut self, now: Duration) -> Vec<AttemptAction> {
        if self.conversation.message != MessageState::ToolCalls {
            return Vec::new();
        }
        let is_asked_already =
            std::mem::take(&mut self.conversation.tools_ended_early) && self.conversation.turn_under_way;
        self.conversation.message = if is_asked_already { MessageState::Requested } else { MessageState::Idle };
        self.stop_if(self.conversation.stop_reason.clone(), now)
    }

    /// Records the end of tool calls and counts denied ones.
    ///
    /// When all calls have ended, claude asks the model for the next message.
    fn tools_ended(&mut self, ended: Vec<ToolResult>, of_subagent: bool) {
        // Background tasks that have ended by now are reported in the next request, and begin no turn.
        self.conversation.background.turn_follows &= of_subagent;
        for ToolResult { id, missing, leaves } in ended {
            self.conversation.tools_at_work.remove(&id);
            let is_listed_anyway = missing == Some(UnavailableTool::Denied(IsListed::ByResult)) && !of_subagent;
            self.conversation.background.tool_ended(&id, leaves);
            if missing == Some(UnavailableTool::DeniedFile) && self.conversation.denied_files.len() < MAX_OPEN_USES {
                self.conversation.denied_files.insert(id.clone());
            }
            if let (Some(used), Some(missing)) = (self.conversation.use_ends(&id), missing)
                && self.tool_denials.has(&used.tool, missing)
                && !is_listed_anyway
            {
                self.progress.deny(Denial { tool: used.tool, input_summary: used.input_summary });
            }
        }
        if of_subagent || !self.conversation.tools_at_work.is_empty() {
            return;
        }
        match self.conversation.message {
            MessageState::Idle if self.conversation.turn_under_way => {
                self.conversation.message = MessageState::Requested
            }
            MessageState::Streaming | MessageState::ToolCalls => self.conversation.tools_ended_early = true,
            MessageState::Idle | MessageState::Requested | MessageState::Final => {}
        }
    }

    /// Handles the result of a turn.
    fn result(&mut self, result: TurnResult, now: Duration) -> Vec<AttemptAction> {
        // If claude begins each turn with an init, a result outside a turn is a repetition.
        if self.conversation.sends_init_per_turn && !self.conversation.turn_under_way {
            return Vec::new();
        }
        self.record_result(&result);
        if self.conversation.turns_sent == 0 || self.process.verdict.is_some() {
            return Vec::new(); // no turn that was sent is waiting for a result
        }
        let is_unsolicited = result.is_unsolicited || self.progress.turns_done == self.conversation.turns_sent;
        self.conversation.turn_under_way = false;
        self.conversation.tools_at_work.clear();
        let limit_rejected = self.conversation.limit_rejected.take();
        let outcome = self.turn_outcome(&result, limit_rejected, is_unsolicited);
        let limit = limit_reached(&outcome, limit_rejected);
        match outcome {
            // Counts even if an interrupt was sent or the process has exited: the work was done.
            TurnOutcome::Succeeded => self.turn_succeeded(is_unsolicited, now),
            TurnOutcome::Interrupted | TurnOutcome::Failed(_) if self.stopping.is_some() => limit.into_iter().collect(),
            TurnOutcome::Interrupted => {
                self.fail(Failure::new(FailureKind::Error, "claude reports an interrupt that zen did not send"), now)
            }
            TurnOutcome::Failed(error) => {
                let mut actions: Vec<AttemptAction> = limit.into_iter().collect();
                actions.extend(self.fail(error.into(), now));
                actions
            }
        }
    }

    /// Records the usage, the denials and the session of a result.
    fn record_result(&mut self, result: &TurnResult) {
        self.conversation.has_model_output = true;
        if result.was_streaming() {
            self.meter.mark_truncated();
        }
        self.meter.settle(result.settlement.clone());
        self.progress.retry = None;
        for (at, denial) in result.permission_denials.iter().enumerate() {
            if result.denied_ids.get(at).is_none_or(|id| !self.conversation.denied_files.contains(id)) {
                self.progress.deny(denial.clone());
            }
        }
        self.conversation.denied_files.clear();
        self.progress.session_id = result.session_id.clone().or(self.progress.session_id.take());
    }

    /// Returns the outcome of a turn by its result and by earlier events, and stores its text.
    fn turn_outcome(
        &mut self,
        result: &TurnResult,
        limit_rejected: Option<Option<u64>>,
        is_unsolicited: bool,
    ) -> TurnOutcome {
        let is_answered = std::mem::replace(&mut self.conversation.message, MessageState::Idle) == MessageState::Final;
        let outcome = self.classify_result(result, limit_rejected, is_answered);
        let did_work = std::mem::take(&mut self.conversation.model_answered) || result.used_model;
        let outcome = match outcome {
            TurnOutcome::Succeeded if !did_work && !is_unsolicited && !self.is_local_turn() => self.did_no_work(result),
            TurnOutcome::Succeeded if !did_work && self.stopping.is_some() => TurnOutcome::Interrupted,
            outcome => outcome,
        };
        let mut text = result_text(result);
        if text.is_empty() && outcome == TurnOutcome::Interrupted {
            text.clone_from(&self.conversation.last_text);
            self.set_result(if text.is_empty() { None } else { Some(text) });
        } else {
            self.set_result(Some(text));
        }
        match outcome {
            // claude checks `--max-budget-usd` after a message: if that message was the answer, the work is done.
            TurnOutcome::Failed(error) if is_answered && error.kind == TurnErrorKind::Budget => {
                let answer = std::mem::take(&mut self.conversation.last_text);
                self.set_result(Some(answer));
                self.conversation.stop_reason.get_or_insert(error.into());
                TurnOutcome::Succeeded
            }
            TurnOutcome::Succeeded if self.fails_on_denied && !self.progress.denials.is_empty() => {
                TurnOutcome::Failed(denied(&self.progress.denials))
            }
            outcome => outcome,
        }
    }

    /// Counts a turn that succeeded, and sends the next one or ends the attempt.
    fn turn_succeeded(&mut self, is_unsolicited: bool, now: Duration) -> Vec<AttemptAction> {
        if !is_unsolicited {
            self.progress.turns_done += 1;
            let answer = self.progress.result.as_deref().unwrap_or_default();
            self.progress.answers.push(truncate(answer, MAX_ANSWER_COLUMNS, "...").into_owned());
        }
        let all_answered = self.progress.turns_done == self.segment_end();
        match self.conversation.stop_reason.take() {
            Some(failure) if !all_answered || self.has_next_segment() || self.needs_background_work() => {
                self.stop(failure, now)
            }
            _ if all_answered => self.on_all_turns_answered(now),
            _ if !is_unsolicited && self.process.phase == Phase::AwaitingResult => self.send_turn(now),
            _ => Vec::new(),
        }
    }

    /// Records the start of a turn. If the process is closing after its last answer, waits for the turn's result.
    ///
    /// claude begins such a turn to pass the results of background agents to the model.
    fn on_turn_start(&mut self, now: Duration) {
        self.conversation.turn_under_way = true;
        self.conversation.message = MessageState::Requested;
        self.conversation.sends_init_per_turn = true;
        self.conversation.background.turn_begins();
        self.progress.awaited.clear();
        let has_answered = self.process.verdict == Some(Verdict::Completed) && self.stopping.is_none();
        let has_time = now < self.started.saturating_add(self.timeout);
        if has_answered && has_time && matches!(self.process.phase, Phase::Ending(Shutdown::Closing(_))) {
            self.process.verdict = None;
            self.process.phase = Phase::AwaitingBackground;
        }
    }

    /// Records MCP servers that failed. With `fail_on_mcp`, fails the instance before it does any work.
    fn mcp_servers_failed(&mut self, mut servers: Vec<String>, now: Duration) -> Vec<AttemptAction> {
        servers.retain(|server| !self.progress.mcp_failed.contains(server));
        if servers.is_empty() {
            return Vec::new();
        }
        let error = format!("MCP server failed: {}", servers.join(", "));
        self.progress.mcp_failed.append(&mut servers);
        let mut actions = vec![AttemptAction::Notice(error.clone())];
        let is_active = matches!(self.process.phase, Phase::AwaitingResult | Phase::AwaitingBackground);
        if self.fails_on_mcp && is_active {
            actions.push(AttemptAction::Send(request::interrupt()));
            actions.extend(self.fail(Failure::new(FailureKind::Error, error), now));
        }
        actions
    }

    /// Classifies a result by its fields and by earlier events of this process.
    fn classify_result(
        &mut self,
        result: &TurnResult,
        limit_rejected: Option<Option<u64>>,
        is_answered: bool,
    ) -> TurnOutcome {
        let facts = TurnFacts {
            limit_rejected,
            api_error: self.conversation.api_error.as_deref(),
            paused: std::mem::take(&mut self.conversation.paused),
            safety_stops_before: self.conversation.safety_stops,
        };
        let outcome = classify(result, facts);
        self.conversation.safety_stops = result.safety_stops;
        // 1.0 and 2.0 report a complete but empty answer like an interruption.
        let is_empty_answer = is_answered && result.terminal_reason.is_none() && self.stopping.is_none();
        if outcome == TurnOutcome::Interrupted && is_empty_answer { TurnOutcome::Succeeded } else { outcome }
    }

    /// Returns true if the current turn is a command that claude answers without a model.
    fn is_local_turn(&self) -> bool {
        let turn = self.turns.get(self.progress.turns_done);
        turn.and_then(|turn| turn.command.as_deref()).is_some_and(is_local)
    }

    /// Returns the failure of a reported success that never reached the model.
    fn did_no_work(&mut self, result: &TurnResult) -> TurnOutcome {
        let refused = refused_shell_command(result);
        let is_refused = refused.is_some();
        self.progress.denials.extend(refused);
        if self.fails_on_denied && is_refused {
            return TurnOutcome::Failed(denied(&self.progress.denials));
        }
        TurnOutcome::Failed(without_model(result))
    }

    /// Records the reported permission mode. Returns a notice the first time that it differs from the requested mode.
    fn permission_mode_reported(&mut self, mode: String) -> Option<AttemptAction> {
        if self.progress.mode_instead_of.is_some() {
            return None;
        }
        let requested = self.requested_mode.clone();
        if let Some(requested) = requested
            && !is_same_mode(&requested, &mode)
        {
            let notice = format!(
                "claude runs in permission mode {mode} instead of {requested}: check 'permissions' in its settings files"
            );
            self.progress.permission_mode = Some(mode);
            self.progress.mode_instead_of = Some(requested);
            return Some(AttemptAction::Notice(notice));
        }
        self.progress.permission_mode = Some(mode);
        None
    }

    /// Stops the process if there is a reason.
    pub(super) fn stop_if(&mut self, reason: Option<Failure>, now: Duration) -> Vec<AttemptAction> {
        let Some(failure) = reason else { return Vec::new() };
        self.conversation.stop_reason = None;
        self.stop(failure, now)
    }

    fn retry(&mut self, retry: Retry, now: Duration) -> Vec<AttemptAction> {
        self.progress.retries += 1;
        self.conversation.refused_logins =
            if is_refused_login(&retry) { self.conversation.refused_logins + 1 } else { 0 };
        let is_refused = self.conversation.refused_logins >= MAX_REFUSED_LOGINS;
        let refused = if is_refused { Some(refused_logins(&retry).into()) } else { None };
        self.progress.retry = Some(retry);
        self.conversation.message = MessageState::Idle; // the API refused the request, which costs nothing
        self.stop_if(refused.or(self.conversation.stop_reason.clone()), now)
    }
}

/// Returns the action for a result that reports a usage limit, with the end announced by an event.
fn limit_reached(outcome: &TurnOutcome, announced: Option<Option<u64>>) -> Option<AttemptAction> {
    let is_limit = matches!(outcome, TurnOutcome::Failed(error) if error.kind == TurnErrorKind::UsageLimit);
    is_limit.then(|| AttemptAction::LimitReached { resets_at_epoch_s: announced.flatten() })
}

/// Returns the error of an instance with `fail_on_denied`, which lists each denied tool once.
fn denied(denials: &[Denial]) -> TurnError {
    let mut tools: Vec<&str> = Vec::new();
    for denial in denials {
        if !tools.contains(&denial.tool.as_str()) {
            tools.push(&denial.tool);
        }
    }
    // Permanent: a retry would be denied too.
    TurnError::permanent(TurnErrorKind::Error, format!("Permission denied: {}", tools.join(", ")))
}
