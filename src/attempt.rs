//! One attempt of an instance, as a state machine: what was heard from its process goes in, what is to be done about it
//! comes out. It has one process after the other where the conversation is cleared in between, or a session was entered in
//! a way that claude refused.
//!
//! Pure: it is told the time and never waits. It knows what to say to claude and when, what a result means, and how to
//! stop a process that does not end; it knows no process, pipe or signal of the system.

use std::collections::HashSet;
use std::time::Duration;

use crate::claude::commands::Commands;
use crate::claude::control;
use crate::claude::events::{Denial, Event, Message, Retry, Said, TurnResult, is_result};
use crate::claude::prices::Prices;
use crate::claude::session;
use crate::claude::usage::{Meter, Used};
use crate::claude::verdict::{Judgement, is_hopeless, judge};
use crate::outcome::{Exit, Failure, Reason};
use crate::plan::{Instance, Leg, Turn};
use crate::text::cut;

/// How long after SIGTERM comes SIGKILL.
pub const TERMINATE_TO_KILL: Duration = Duration::from_secs(2);

/// How long after SIGKILL it is sent again, to a process that something in the kernel holds.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How long pipes may stay open after the process has ended: somebody who cannot be killed may hold them.
pub const DRAIN: Duration = Duration::from_secs(2);

/// How much of the end of standard error is remembered, in bytes.
const STDERR_TAIL_BYTES: usize = 4096;

/// Of an answer to one of several turns so much is remembered; the last one is whole.
const MAX_ANSWER_COLUMNS: usize = 500;

/// What is to be done to the process.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this to its standard input.
    Send(Vec<u8>),
    /// Close its standard input, once all is written.
    CloseInput,
    /// Ask it to end: SIGTERM and SIGCONT to its group.
    Terminate,
    /// End it and all its descendants, wherever they are.
    Kill,
    /// Tell this of it.
    Tell(Said),
    /// The account's usage limit is reached, and others will run into it too.
    LimitReached {
        /// When it ends, in seconds since 1970, if claude says so.
        resets_at_epoch_s: Option<u64>,
    },
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `initialize` was sent; its answer has not come.
    Asking,
    /// A turn's message was sent; its result has not come.
    InTurn,
    /// All is said and answered, and it goes on by itself: background agents are at work, or one has ended and a turn
    /// follows.
    FollowingUp,
    /// Nothing more will be said to it; it should end by itself before the deadline.
    Leaving(Duration),
    /// SIGTERM was sent; SIGKILL follows at the deadline.
    Terminating(Duration),
    /// SIGKILL was sent; it is sent again at the deadline.
    Killing(Duration),
    /// The process has ended; its pipes may be open until the deadline.
    Draining(Duration),
    /// All has ended.
    Over,
}

/// The message of the main conversation that is under way, if one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streamed {
    /// None is; another may follow in the same turn.
    None,
    /// The model was asked for one: it is paid for, and has not begun to come.
    Asked,
    /// One is.
    Open,
    /// One is, and tools will be used after it.
    OpenForTools,
    /// One is, or has ended, and the turn ends with it: its result follows.
    Answer,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The instance did its work.
    Completed,
    /// It did not.
    Failed(Failure),
}

/// One attempt of an instance.
#[derive(Clone, Debug)]
pub struct Attempt {
    turns: Vec<Turn>,
    /// The parts of the turns, and which one this process is told.
    legs: Vec<Leg>,
    leg: usize,
    grace: Duration,
    timeout: Duration,
    idle_timeout: Option<Duration>,
    fails_on_denied: bool,
    started: Duration,
    last_heard: Duration,
    phase: Phase,
    verdict: Option<Verdict>,
    /// Why it is being stopped, until a result or the end makes that its verdict.
    stopping: Option<Failure>,
    exit: Option<Exit>,
    initialized: bool,
    output_open: bool,
    stderr_open: bool,
    /// Which pipe claude closed before its time; a fault only if it does not end soon after.
    closed: Option<&'static str>,
    limit_rejected: Option<Option<u64>>,
    background_agents: usize,
    /// The message that the model writes at this moment.
    message: Streamed,
    /// The last text of the main conversation.
    last_text: String,
    /// The tools of the main conversation that have not ended, by id.
    tools_at_work: HashSet<String>,
    /// Why it is to end with the message that it is in.
    ending: Option<Failure>,
    /// Whether claude has begun a turn and not ended it.
    turn_under_way: bool,
    /// Whether it has ever said that it begins a turn: all known generations do.
    announces_turns: bool,
    meter: Meter,
    /// What its processes before this one have used.
    used_before: Used,
    /// What it has told of itself.
    pub told: Told,
}

/// What an attempt has told of itself.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The session that claude gave it.
    pub session_id: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// The text of the last result.
    pub result: Option<String>,
    /// How many turns have ended well.
    pub turns_done: usize,
    /// What was answered to each of these, of a long answer the beginning; nothing where the conversation was cleared.
    pub answers: Vec<String>,
    /// Tools that were refused.
    pub denials: Vec<Denial>,
    /// The retry it waits for.
    pub retry: Option<Retry>,
    /// How many requests were retried.
    pub retries: u64,
    /// Lines that were no event.
    pub garbage_lines: u64,
    /// Lines over the bound.
    pub long_lines: u64,
    /// When the usage limit ends, in seconds since 1970.
    pub limit_resets_at: Option<u64>,
    /// The end of what it wrote to standard error.
    pub stderr_tail: Vec<u8>,
}

impl Attempt {
    /// The process of this instance has started, now.
    #[must_use]
    pub fn start(instance: &Instance, prices: Prices, grace: Duration, now: Duration) -> (Self, Vec<Effect>) {
        let legs = instance.legs();
        let mut attempt = Attempt {
            turns: instance.turns.clone(),
            legs,
            leg: 0,
            grace,
            timeout: instance.timeout,
            idle_timeout: instance.idle_timeout,
            fails_on_denied: instance.fails_on_denied,
            started: now,
            last_heard: now,
            phase: Phase::Asking,
            verdict: None,
            stopping: None,
            exit: None,
            initialized: false,
            output_open: true,
            stderr_open: true,
            closed: None,
            limit_rejected: None,
            background_agents: 0,
            message: Streamed::None,
            last_text: String::new(),
            tools_at_work: HashSet::new(),
            ending: None,
            turn_under_way: false,
            announces_turns: false,
            meter: Meter::with(prices),
            used_before: Used::default(),
            told: Told::default(),
        };
        attempt.pass_clears();
        (attempt, vec![Effect::Send(control::initialize())])
    }

    /// Another process of it has started, now, which is told the same turns as the one before it.
    pub fn start_again(&mut self, now: Duration) -> Vec<Effect> {
        self.used_before = self.used();
        self.meter = self.meter.of_next_process();
        self.told.result = None;
        self.told.retry = None;
        self.told.stderr_tail.clear();
        *self = Attempt {
            last_heard: now,
            phase: Phase::Asking,
            verdict: None,
            exit: None,
            initialized: false,
            output_open: true,
            stderr_open: true,
            closed: None,
            limit_rejected: None,
            background_agents: 0,
            message: Streamed::None,
            last_text: String::new(),
            tools_at_work: HashSet::new(),
            ending: None,
            turn_under_way: false,
            announces_turns: false,
            ..self.clone()
        };
        vec![Effect::Send(control::initialize())]
    }

    /// Another process of it has started, now, which is told the next turns, in a conversation of its own.
    pub fn start_next_leg(&mut self, now: Duration) -> Vec<Effect> {
        self.leg += 1;
        self.pass_clears();
        self.start_again(now)
    }

    /// Whether its process has done what it was told, and there are turns for another one.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.is_followed() && self.verdict() == Verdict::Completed
    }

    /// Whether the turns of its process are not the last ones.
    fn is_followed(&self) -> bool {
        self.leg + 1 < self.legs.len()
    }

    /// Where the turns of its process end.
    fn end_of_leg(&self) -> usize {
        self.legs.get(self.leg).map_or(self.turns.len(), |leg| leg.turns.end)
    }

    /// What clears the conversation before the turns of its process is done by beginning another one.
    fn pass_clears(&mut self) {
        self.told.turns_done = self.legs.get(self.leg).map_or(0, |leg| leg.turns.start);
        self.told.answers.resize(self.told.turns_done, String::new());
    }

    /// Something came on its standard output.
    pub fn heard(&mut self, now: Duration) {
        self.last_heard = now;
    }

    /// One decoded line of its standard output.
    pub fn event(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match event {
            Event::Answer { request_id, commands, prices, tells_usage } if request_id == control::INITIALIZE_ID => {
                if !tells_usage {
                    self.meter.hides_calls();
                }
                for (model, price) in prices {
                    self.meter.learn(&model, price);
                }
                self.initialized(commands, now)
            }
            Event::Init { session_id, model } => {
                self.told.session_id = session_id.or(self.told.session_id.take());
                self.told.model = model.or(self.told.model.take());
                self.turn_began();
                Vec::new()
            }
            Event::Message(message) => self.message(*message),
            Event::MessageSoFar { tokens, uses_tools, ended } => {
                self.meter.message_so_far(tokens);
                if ended {
                    self.meter.stream_ended();
                }
                self.message = match (uses_tools, ended) {
                    (true, _) => Streamed::OpenForTools,
                    (false, true) => Streamed::Answer,
                    (false, false) => Streamed::Open,
                };
                Vec::new()
            }
            Event::MessageEnded => self.message_ended(now),
            Event::ToolsEnded(ids) => {
                self.tools_ended(&ids);
                Vec::new()
            }
            Event::Result(result) => self.result(*result, now),
            Event::Retry(retry) => self.retry(retry, now),
            Event::RateLimit { rejected, resets_at } => {
                if !rejected {
                    return Vec::new();
                }
                self.limit_rejected = Some(resets_at);
                self.told.limit_resets_at = resets_at;
                vec![Effect::LimitReached { resets_at_epoch_s: resets_at }]
            }
            Event::Background { agents } => {
                self.background_agents = agents;
                // If a turn follows, it will say so.
                let is_done = agents == 0 && !self.turn_under_way && self.phase == Phase::FollowingUp;
                if is_done { self.completed(now) } else { Vec::new() }
            }
            Event::ConversationReset => {
                self.meter.conversation_reset();
                Vec::new()
            }
            Event::Garbage => {
                self.told.garbage_lines += 1;
                Vec::new()
            }
            Event::UnreadableResult => self.unread_result("is nested deeper than zen reads", now),
            Event::Answer { .. } | Event::Other => Vec::new(),
        }
    }

    /// A line of its standard output that was longer than is kept.
    pub fn long_line(&mut self, head: &[u8], bytes: u64, now: Duration) -> Vec<Effect> {
        self.told.long_lines += 1;
        if is_result(head) {
            return self.unread_result(&format!("is a line of {bytes} bytes, which is longer than zen reads"), now);
        }
        Vec::new()
    }

    /// A result came that tells nothing, and no other one will.
    fn unread_result(&mut self, why: &str, now: Duration) -> Vec<Effect> {
        match self.phase {
            Phase::InTurn => self.fail(Failure::new(Reason::Error, format!("claude's result {why}")), now),
            _ => Vec::new(),
        }
    }

    /// Something came on its standard error.
    pub fn stderr(&mut self, bytes: &[u8]) {
        let tail = &mut self.told.stderr_tail;
        tail.extend_from_slice(bytes);
        if tail.len() > STDERR_TAIL_BYTES {
            tail.drain(..tail.len() - STDERR_TAIL_BYTES);
        }
    }

    /// Its standard output is at its end: no result can come any more.
    pub fn output_ended(&mut self, now: Duration) -> Vec<Effect> {
        self.output_open = false;
        self.pipe_closed("closed its output and lived on", now)
    }

    /// Its standard error is at its end.
    pub fn stderr_ended(&mut self) {
        self.stderr_open = false;
        self.end_if_drained();
    }

    /// It closed its standard input before all was written to it.
    pub fn input_refused(&mut self, now: Duration) -> Vec<Effect> {
        self.pipe_closed("closed its input and lived on", now)
    }

    /// Its process has ended and was reaped.
    pub fn exited(&mut self, exit: Exit, now: Duration) -> Vec<Effect> {
        self.exit = Some(exit);
        self.phase = Phase::Draining(now + DRAIN);
        self.end_if_drained();
        vec![Effect::Kill] // whatever it left behind
    }

    /// Its end is wanted, for this reason. A result that shows that the work was done before still counts.
    pub fn stop(&mut self, why: Failure, now: Duration) -> Vec<Effect> {
        match self.phase {
            Phase::Asking | Phase::InTurn | Phase::FollowingUp => {
                self.stopping.get_or_insert(why);
                self.phase = Phase::Leaving(now + self.grace);
                vec![Effect::Send(control::interrupt()), Effect::CloseInput]
            }
            // It is ending already; no other process shall follow.
            Phase::Leaving(_) | Phase::Terminating(_) | Phase::Killing(_) | Phase::Draining(_) | Phase::Over => {
                if self.is_followed() {
                    self.stopping.get_or_insert(why);
                }
                Vec::new()
            }
        }
    }

    /// Its end is wanted, with the message that it is in: that one is paid for. If it ends the last turn, the work is done.
    pub fn end_with_message(&mut self, why: Failure, now: Duration) -> Vec<Effect> {
        let goes_on = matches!(self.phase, Phase::InTurn | Phase::FollowingUp) && self.message != Streamed::None;
        if goes_on {
            self.ending.get_or_insert(why);
            return Vec::new();
        }
        self.stop(why, now)
    }

    /// Its end is wanted, and nobody waits for it.
    pub fn kill(&mut self, why: Failure, now: Duration) -> Vec<Effect> {
        match self.phase {
            Phase::Asking | Phase::InTurn | Phase::FollowingUp | Phase::Leaving(_) | Phase::Terminating(_) => {
                self.stopping.get_or_insert(why);
                self.phase = Phase::Killing(now + KILL_AGAIN);
                vec![Effect::Kill]
            }
            Phase::Killing(_) | Phase::Draining(_) | Phase::Over => {
                if self.is_followed() {
                    self.stopping.get_or_insert(why);
                }
                Vec::new()
            }
        }
    }

    /// The next moment at which [`deadline`](Self::deadline) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Asking | Phase::InTurn | Phase::FollowingUp => {
                let timeout = self.started.saturating_add(self.timeout);
                let idle = self.idle_timeout.map(|limit| self.last_heard.saturating_add(limit));
                Some(idle.map_or(timeout, |idle| idle.min(timeout)))
            }
            Phase::Leaving(at) | Phase::Terminating(at) | Phase::Killing(at) | Phase::Draining(at) => Some(at),
            Phase::Over => None,
        }
    }

    /// Does what is due.
    pub fn deadline(&mut self, now: Duration) -> Vec<Effect> {
        if self.next_deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        match self.phase {
            Phase::Asking | Phase::InTurn | Phase::FollowingUp => {
                let timed_out = self.started.saturating_add(self.timeout) <= now;
                match self.idle_timeout {
                    Some(limit) if !timed_out => self.stop(Failure::idle_timeout(limit), now),
                    _ => self.stop(Failure::timeout(self.timeout), now),
                }
            }
            Phase::Leaving(_) => {
                if let Some(how) = self.closed {
                    self.verdict.get_or_insert(Verdict::Failed(Failure::new(Reason::Error, format!("claude {how}"))));
                }
                self.phase = Phase::Terminating(now + TERMINATE_TO_KILL);
                vec![Effect::Terminate]
            }
            Phase::Terminating(_) | Phase::Killing(_) => {
                self.phase = Phase::Killing(now + KILL_AGAIN);
                vec![Effect::Kill]
            }
            Phase::Draining(_) => {
                self.over();
                Vec::new()
            }
            Phase::Over => Vec::new(),
        }
    }

    /// Whether the process has ended, and all that it wrote was read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// What it has used up to now.
    #[must_use]
    pub fn used(&self) -> Used {
        let mut used = self.used_before;
        used += self.meter.used();
        used
    }

    /// Whether it ended before its first turn because its session was there already (`Some(true)`) or was not there (`Some(false)`).
    #[must_use]
    pub fn session_mismatch(&self) -> Option<bool> {
        // 2.0 may answer what it can before it looks for the session.
        if self.announces_turns || self.stopping.is_some() {
            return None;
        }
        let stderr = String::from_utf8_lossy(&self.told.stderr_tail);
        let errors = self.told.result.as_deref().unwrap_or("");
        if session::is_in_use(&stderr) || session::is_in_use(errors) {
            Some(true)
        } else if session::is_missing(&stderr) || session::is_missing(errors) {
            Some(false)
        } else {
            None
        }
    }

    /// What it came to. To be asked when it is over.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (&self.verdict, &self.stopping) {
            (Some(Verdict::Completed), Some(failure)) if self.is_followed() => return Verdict::Failed(failure.clone()),
            (Some(verdict), _) => return verdict.clone(),
            (None, Some(failure)) => return Verdict::Failed(failure.clone()),
            (None, None) => {}
        }
        let all_answered = self.told.turns_done == self.end_of_leg();
        if all_answered && self.background_agents == 0 && !self.turn_under_way {
            return Verdict::Completed;
        }
        let how = match self.exit {
            Some(Exit::Code(0)) | None => "ended".to_owned(),
            Some(exit) => format!("ended with {exit}"),
        };
        let when = match (self.initialized, all_answered) {
            (false, _) => "before it answered",
            (true, false) => "without a result",
            (true, true) => "while its agents were at work",
        };
        let stderr = String::from_utf8_lossy(&self.told.stderr_tail);
        let last_words = stderr.lines().rev().find(|line| !line.trim().is_empty());
        let last_words = last_words.map_or_else(String::new, |line| format!(": {}", crate::text::clean(line)));
        Verdict::Failed(Failure::new(Reason::Error, format!("claude {how} {when}{last_words}")))
    }

    fn initialized(&mut self, commands: Result<Vec<String>, String>, now: Duration) -> Vec<Effect> {
        if self.phase != Phase::Asking {
            return Vec::new(); // answered twice, or while it is being stopped
        }
        let commands = match commands {
            Ok(names) => {
                self.initialized = true;
                Commands::new(names)
            }
            Err(error) => {
                let error = format!("claude did not initialize: {error}");
                return self.fail(Failure::new(Reason::Error, error), now);
            }
        };
        let told = self.turns.iter().skip(self.told.turns_done).filter(|turn| !turn.clears());
        let mut called = told.filter_map(|turn| turn.command.as_deref());
        match called.find(|name| !commands.have(name)) {
            Some(missing) => self.fail(Failure::new(Reason::CommandNotFound, commands.not_found(missing)), now),
            None => self.send_turn(now),
        }
    }

    fn send_turn(&mut self, now: Duration) -> Vec<Effect> {
        match self.turns[..self.end_of_leg()].get(self.told.turns_done) {
            Some(turn) => {
                self.phase = Phase::InTurn;
                vec![Effect::Send(control::user(&turn.text))]
            }
            None => self.completed(now),
        }
    }

    fn message(&mut self, message: Message) -> Vec<Effect> {
        self.told.retry = None;
        if let Some(id) = &message.id {
            self.meter.message(id, &message.model, message.tokens, message.of_subagent);
        }
        if message.begins && !message.of_subagent {
            self.message = Streamed::Open;
            self.meter.stream_begins();
        }
        let text = message.said.iter().rev().find_map(|said| match said {
            Said::Text(text) if !message.of_subagent => Some(text),
            _ => None,
        });
        if let Some(text) = text {
            self.last_text.clone_from(text);
        }
        if !message.of_subagent {
            self.tools_at_work.extend(message.tools);
        }
        message.said.into_iter().map(Effect::Tell).collect()
    }

    fn message_ended(&mut self, now: Duration) -> Vec<Effect> {
        if self.message != Streamed::OpenForTools {
            return Vec::new();
        }
        self.message = Streamed::None;
        self.ending.take().map_or_else(Vec::new, |why| self.stop(why, now))
    }

    /// When all tools have ended, claude asks the model for the next message.
    fn tools_ended(&mut self, ids: &[String]) {
        for id in ids {
            self.tools_at_work.remove(id);
        }
        if self.tools_at_work.is_empty() && self.message == Streamed::None && self.turn_under_way {
            self.message = Streamed::Asked;
        }
    }

    fn result(&mut self, result: TurnResult, now: Duration) -> Vec<Effect> {
        // Where claude begins its turns with an init, a result without one was told before.
        if self.announces_turns && !self.turn_under_way {
            return Vec::new();
        }
        if result.was_streaming() {
            self.meter.message_was_cut_off();
        }
        self.meter.settle(result.settlement.clone());
        self.told.retry = None;
        self.told.denials.extend(result.permission_denials.iter().cloned());
        self.told.session_id = result.session_id.clone().or(self.told.session_id.take());
        if self.phase == Phase::Asking || self.verdict.is_some() {
            return Vec::new(); // not the result of anything that was sent
        }
        let unasked = result.unasked;
        self.turn_under_way = false;
        self.tools_at_work.clear();
        let is_answered = std::mem::replace(&mut self.message, Streamed::None) == Streamed::Answer;
        let limit_rejected = self.limit_rejected.take();
        let judgement = judge(&result, limit_rejected);
        self.told.result = Some(if result.text.is_empty() { result.errors.join("\n") } else { result.text });
        let judgement = match judgement {
            // claude's own fence stands behind the message that went over it: if that has answered, the work is done.
            Judgement::Bad(failure) if is_answered && failure.reason == Reason::Budget => {
                self.told.result = Some(std::mem::take(&mut self.last_text));
                self.ending.get_or_insert(failure);
                Judgement::Good
            }
            Judgement::Good if self.fails_on_denied && !self.told.denials.is_empty() => {
                Judgement::Bad(denied(&self.told.denials))
            }
            judgement => judgement,
        };
        match judgement {
            // This may come after an interrupt was sent, or after the process has ended: the work was done all the same.
            Judgement::Good => {
                if !unasked {
                    self.told.turns_done += 1;
                    let answer = self.told.result.as_deref().unwrap_or_default();
                    self.told.answers.push(cut(answer, MAX_ANSWER_COLUMNS, "...").into_owned());
                }
                let all_answered = self.told.turns_done == self.end_of_leg();
                match self.ending.take() {
                    Some(why) if !all_answered || self.is_followed() || self.background_agents > 0 => {
                        self.stop(why, now)
                    }
                    _ if all_answered => self.answered(now),
                    _ if !unasked && self.phase == Phase::InTurn => self.send_turn(now),
                    _ => Vec::new(),
                }
            }
            Judgement::Interrupted | Judgement::Bad(_) if self.stopping.is_some() => Vec::new(),
            Judgement::Interrupted => {
                self.fail(Failure::new(Reason::Error, "claude says that it was interrupted, and not by zen"), now)
            }
            Judgement::Bad(failure) => {
                let is_news = failure.reason == Reason::Limit && limit_rejected.is_none();
                let mut effects = self.fail(failure, now);
                effects.extend(is_news.then_some(Effect::LimitReached { resets_at_epoch_s: None }));
                effects
            }
        }
    }

    /// All turns are answered well. What agents still do in the background is part of the work.
    fn answered(&mut self, now: Duration) -> Vec<Effect> {
        if self.background_agents == 0 {
            return self.completed(now);
        }
        if self.phase == Phase::InTurn {
            self.phase = Phase::FollowingUp; // its input stays open, so that it can be interrupted
        }
        Vec::new()
    }

    /// A turn began after all were answered: claude tells its agents' results to the model.
    fn turn_began(&mut self) {
        self.turn_under_way = true;
        self.message = Streamed::Asked;
        self.announces_turns = true;
        let has_answered = self.verdict == Some(Verdict::Completed) && self.stopping.is_none();
        if has_answered && matches!(self.phase, Phase::Leaving(_)) {
            self.verdict = None;
            self.phase = Phase::FollowingUp;
        }
    }

    fn completed(&mut self, now: Duration) -> Vec<Effect> {
        self.decide(Verdict::Completed, now)
    }

    fn retry(&mut self, retry: Retry, now: Duration) -> Vec<Effect> {
        self.told.retries += 1;
        let hopeless = is_hopeless(&retry);
        self.told.retry = Some(retry);
        self.message = Streamed::None; // what was asked for is refused, and costs nothing
        let why = hopeless.or_else(|| self.ending.take());
        why.map_or_else(Vec::new, |failure| self.stop(failure, now))
    }

    fn fail(&mut self, failure: Failure, now: Duration) -> Vec<Effect> {
        self.decide(Verdict::Failed(failure), now)
    }

    /// It is known what the instance came to; the process is to end.
    fn decide(&mut self, verdict: Verdict, now: Duration) -> Vec<Effect> {
        self.verdict.get_or_insert(verdict);
        match self.phase {
            Phase::Asking | Phase::InTurn | Phase::FollowingUp => {
                self.phase = Phase::Leaving(now + self.grace);
                vec![Effect::CloseInput]
            }
            Phase::Leaving(_) | Phase::Terminating(_) | Phase::Killing(_) | Phase::Draining(_) | Phase::Over => {
                Vec::new()
            }
        }
    }

    /// A pipe was closed. That is the usual way to end, so the process gets its time to do so.
    fn pipe_closed(&mut self, how: &'static str, now: Duration) -> Vec<Effect> {
        match self.phase {
            Phase::Asking | Phase::InTurn | Phase::FollowingUp => {
                self.phase = Phase::Leaving(now + self.grace);
                self.closed = Some(how);
                vec![Effect::CloseInput]
            }
            Phase::Draining(_) => {
                self.end_if_drained();
                Vec::new()
            }
            Phase::Leaving(_) | Phase::Terminating(_) | Phase::Killing(_) | Phase::Over => Vec::new(),
        }
    }

    fn end_if_drained(&mut self) {
        if matches!(self.phase, Phase::Draining(_)) && !self.output_open && !self.stderr_open {
            self.over();
        }
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.meter.process_ended();
    }
}

/// What to say where nothing may have been refused: the tools, each once.
fn denied(denials: &[Denial]) -> Failure {
    let mut tools: Vec<&str> = Vec::new();
    for denial in denials {
        if !tools.contains(&denial.tool.as_str()) {
            tools.push(&denial.tool);
        }
    }
    Failure::new(Reason::Error, format!("Permission denied: {}", tools.join(", ")))
}

#[cfg(test)]
mod tests;
