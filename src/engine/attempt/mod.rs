//! One attempt of an instance, as a state machine: what was heard from its process goes in, what is to be done about it
//! comes out. It has one process after the other where the conversation is cleared in between, or a session was entered in
//! a way that claude refused.
//!
//! Pure: it is told the time and never waits. It knows what to say to claude and when, what a result means, and how to
//! stop a process that does not end; it knows no process, pipe or signal of the system.

mod background;
mod conversation;

use std::time::Duration;

use crate::claude::pricing::Prices;
use crate::claude::protocol::request;
use crate::claude::protocol::{ContentBlock, Retry};
use crate::claude::session;
use crate::claude::tool_denials::ToolDenials;
use crate::claude::usage_meter::{ModelUsage, Usage, UsageMeter};
use crate::config::Background;
use crate::engine::outcome::{ExitStatus, Failure, FailureKind};
use crate::engine::progress::AttemptProgress;
use crate::plan::{ConversationSegment, Instance, Turn};
use conversation::{Conversation, MessageState};

/// How long after SIGTERM comes SIGKILL.
pub const TERMINATE_TO_KILL: Duration = Duration::from_secs(2);

/// How long after SIGKILL it is sent again, to a process that something in the kernel holds.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How long after the first SIGKILL a process is given up: somebody else's, or one that the kernel does not let go.
pub const KILL_GIVE_UP: Duration = Duration::from_secs(10);

/// How long pipes may stay open after the process has ended: somebody who cannot be killed may hold them.
pub const DRAIN: Duration = Duration::from_secs(2);

/// How much of the end of standard error is remembered, in bytes.
const STDERR_TAIL_BYTES: usize = 4096;

/// What is to be done to the process.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this to its standard input.
    Send(Vec<u8>),
    /// Close its standard input, once all is written.
    CloseInput,
    /// Ask it to end: SIGTERM and SIGCONT to its group.
    Terminate,
    /// End it and all its descendants, wherever they are.
    Kill,
    /// Tell this of it.
    RecordOutput(ContentBlock),
    /// Print this message about the instance.
    Notice(String),
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
    Initializing,
    /// A turn's message was sent; its result has not come.
    AwaitingResult,
    /// All is said and answered, and it goes on by itself: background agents are at work, or one has ended and a turn
    /// follows.
    AwaitingBackground,
    /// Nothing more will be said to it; it should end by itself before the deadline.
    Closing(Duration),
    /// SIGTERM was sent; SIGKILL follows at the deadline.
    Terminating(Duration),
    /// SIGKILL was sent; it is sent again at the first moment, and the process given up at the second.
    Killing { again_at: Duration, give_up_at: Duration },
    /// The process has ended; its pipes may be open until the deadline.
    Draining(Duration),
    /// All has ended.
    Done,
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
    legs: Vec<ConversationSegment>,
    leg: usize,
    grace: Duration,
    timeout: Duration,
    idle_timeout: Option<Duration>,
    background: Background,
    background_wait: Duration,
    startup_timeout: Duration,
    fails_on_denied: bool,
    fails_on_mcp: bool,
    withheld: ToolDenials,
    /// The permission mode that claude was given, if it is to be compared with the one that claude reports.
    requested_mode: Option<String>,
    started: Duration,
    /// Why it is being stopped, until a result or the end makes that its verdict.
    stopping: Option<Failure>,
    process: ProcessState,
    dialogue: Conversation,
    meter: UsageMeter,
    /// What its processes before this one have used.
    used_before: Usage,
    /// What it has told of itself.
    pub progress: AttemptProgress,
    /// The end of what it wrote to standard error.
    pub stderr_tail: Vec<u8>,
}

/// Where the process of this moment stands.
#[derive(Clone, Debug)]
struct ProcessState {
    started: Duration,
    last_heard: Duration,
    phase: Phase,
    verdict: Option<Verdict>,
    exit: Option<ExitStatus>,
    output_open: bool,
    stderr_open: bool,
    /// Which pipe claude closed before its time; a fault only if it does not end soon after.
    closed: Option<&'static str>,
}

impl ProcessState {
    fn started(now: Duration) -> Self {
        ProcessState {
            started: now,
            last_heard: now,
            phase: Phase::Initializing,
            verdict: None,
            exit: None,
            output_open: true,
            stderr_open: true,
            closed: None,
        }
    }
}

impl Attempt {
    /// The process of this instance has started, now.
    #[must_use]
    pub fn start(instance: &Instance, prices: Prices, grace: Duration, now: Duration) -> (Self, Vec<Action>) {
        let legs = instance.segments();
        let mut attempt = Attempt {
            turns: instance.turns.clone(),
            legs,
            leg: 0,
            grace,
            timeout: instance.timeout,
            idle_timeout: instance.idle_timeout,
            background: instance.background,
            background_wait: instance.background_wait,
            startup_timeout: instance.startup_timeout,
            fails_on_denied: instance.fail_on_denied,
            fails_on_mcp: instance.fails_on_mcp,
            withheld: ToolDenials::from(&instance.invocation),
            requested_mode: None,
            started: now,
            stopping: None,
            process: ProcessState::started(now),
            dialogue: Conversation::default(),
            meter: UsageMeter::new(prices),
            used_before: Usage::default(),
            progress: AttemptProgress::default(),
            stderr_tail: Vec::new(),
        };
        attempt.skip_to_segment_start();
        (attempt, vec![Action::Send(request::initialize())])
    }

    /// Sets the permission mode that claude was given: if claude reports another one, that is a notice.
    pub fn expect_permission_mode(&mut self, mode: &str) {
        self.requested_mode = Some(mode.to_owned());
    }

    /// Begins with the last turn: those before it were answered in an earlier attempt, which this one continues.
    pub fn skip_to_last_turn(&mut self) {
        self.leg = self.legs.len().saturating_sub(1);
        self.progress.turns_done = self.turns.len().saturating_sub(1);
        self.progress.answers.resize(self.progress.turns_done, String::new());
    }

    /// Another process of it has started, now, which is told the same turns as the one before it.
    pub fn restart(&mut self, now: Duration) -> Vec<Action> {
        self.used_before = self.used();
        self.meter = self.meter.for_next_process();
        self.progress.result = None;
        self.progress.retry = None;
        self.stderr_tail.clear();
        self.process = ProcessState::started(now);
        self.dialogue = Conversation::default();
        vec![Action::Send(request::initialize())]
    }

    /// Another process of it has started, now, which is told the next turns, in a conversation of its own.
    pub fn start_next_segment(&mut self, now: Duration) -> Vec<Action> {
        self.leg += 1;
        self.skip_to_segment_start();
        self.restart(now)
    }

    /// Whether its process has done what it was told, and there are turns for another one.
    #[must_use]
    pub fn needs_next_segment(&self) -> bool {
        self.has_next_segment() && self.verdict() == Verdict::Completed
    }

    /// Whether the turns of its process are not the last ones.
    fn has_next_segment(&self) -> bool {
        self.leg + 1 < self.legs.len()
    }

    /// Where the turns of its process end.
    fn segment_end(&self) -> usize {
        self.legs.get(self.leg).map_or(self.turns.len(), |leg| leg.turns.end)
    }

    /// What clears the conversation before the turns of its process is done by beginning another one.
    fn skip_to_segment_start(&mut self) {
        self.progress.turns_done = self.legs.get(self.leg).map_or(0, |leg| leg.turns.start);
        self.progress.answers.resize(self.progress.turns_done, String::new());
    }

    /// Something came on its standard output, or on standard error.
    pub fn on_output(&mut self, now: Duration) {
        self.process.last_heard = now;
    }

    /// Something came on its standard error.
    pub fn on_stderr(&mut self, bytes: &[u8]) {
        let tail = &mut self.stderr_tail;
        tail.extend_from_slice(bytes);
        if tail.len() > STDERR_TAIL_BYTES {
            tail.drain(..tail.len() - STDERR_TAIL_BYTES);
        }
    }

    /// Its standard output is at its end: no result can come any more.
    pub fn on_stdout_eof(&mut self, now: Duration) -> Vec<Action> {
        self.process.output_open = false;
        self.pipe_closed("closed its output and lived on", now)
    }

    /// Its standard error is at its end.
    pub fn on_stderr_eof(&mut self) {
        self.process.stderr_open = false;
        self.finish_if_drained();
    }

    /// It closed its standard input before all was written to it.
    pub fn on_stdin_closed(&mut self, now: Duration) -> Vec<Action> {
        self.pipe_closed("closed its input and lived on", now)
    }

    /// Its process has ended and was reaped.
    pub fn on_exit(&mut self, exit: ExitStatus, now: Duration) -> Vec<Action> {
        self.process.exit = Some(exit);
        self.process.phase = Phase::Draining(now + DRAIN);
        self.finish_if_drained();
        vec![Action::Kill] // whatever it left behind
    }

    /// Its end is wanted, for this reason. A result that shows that the work was done before still counts.
    pub fn stop(&mut self, why: Failure, now: Duration) -> Vec<Action> {
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.stopping.get_or_insert(why);
                self.process.phase = Phase::Closing(now + self.grace);
                self.cut_off_background();
                vec![Action::Send(request::interrupt()), Action::CloseInput]
            }
            // It is ending already; neither another turn nor another process shall follow.
            Phase::Closing(_) | Phase::Terminating(_) | Phase::Killing { .. } | Phase::Draining(_) | Phase::Done => {
                self.stopping.get_or_insert(why);
                Vec::new()
            }
        }
    }

    /// Its end is wanted, with the message that it is in: that one is paid for. If it ends the last turn, the work is done.
    pub fn stop_after_message(&mut self, why: Failure, now: Duration) -> Vec<Action> {
        let goes_on = matches!(self.process.phase, Phase::AwaitingResult | Phase::AwaitingBackground)
            && self.dialogue.message != MessageState::Idle;
        if goes_on {
            self.dialogue.stop_reason.get_or_insert(why);
            return Vec::new();
        }
        self.stop(why, now)
    }

    /// Its end is wanted, and nobody waits for it.
    pub fn kill(&mut self, why: Failure, now: Duration) -> Vec<Action> {
        match self.process.phase {
            Phase::Initializing
            | Phase::AwaitingResult
            | Phase::AwaitingBackground
            | Phase::Closing(_)
            | Phase::Terminating(_) => {
                self.stopping.get_or_insert(why);
                self.cut_off_background();
                self.begin_to_kill(now)
            }
            Phase::Killing { .. } | Phase::Draining(_) | Phase::Done => {
                if self.has_next_segment() {
                    self.stopping.get_or_insert(why);
                }
                Vec::new()
            }
        }
    }

    /// The next moment at which [`deadline`](Self::on_deadline) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.time_limits().into_iter().chain([self.background_deadline()]).flatten().min()
            }
            Phase::Closing(at) | Phase::Terminating(at) | Phase::Draining(at) => Some(at),
            Phase::Killing { again_at, give_up_at } => Some(again_at.min(give_up_at)),
            Phase::Done => None,
        }
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now: Duration) -> Vec<Action> {
        if self.next_deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => match self.time_out(now) {
                Some(failure) => self.stop(failure, now),
                None => self.background_is_due(now),
            },
            Phase::Closing(_) => {
                if let Some(how) = self.process.closed {
                    self.process
                        .verdict
                        .get_or_insert(Verdict::Failed(Failure::new(FailureKind::Error, format!("claude {how}"))));
                }
                self.process.phase = Phase::Terminating(now + TERMINATE_TO_KILL);
                vec![Action::Terminate]
            }
            Phase::Terminating(_) => self.begin_to_kill(now),
            Phase::Killing { give_up_at, .. } if now < give_up_at => {
                self.process.phase = Phase::Killing { again_at: now + KILL_AGAIN, give_up_at };
                vec![Action::Kill]
            }
            Phase::Killing { .. } | Phase::Draining(_) => {
                self.finish();
                Vec::new()
            }
            Phase::Done => Vec::new(),
        }
    }

    /// Moments at which the timeout, the startup timeout and the idle timeout are over.
    fn time_limits(&self) -> [Option<Duration>; 3] {
        let timeout = self.started.saturating_add(self.timeout);
        let is_starting = self.process.phase == Phase::Initializing;
        let startup = is_starting.then(|| self.process.started.saturating_add(self.startup_timeout));
        let idle = self.idle_timeout.map(|limit| self.process.last_heard.saturating_add(limit));
        [Some(timeout), startup, idle]
    }

    /// Returns the failure of the time limit that has passed, with the cause if claude has reported one.
    fn time_out(&self, now: Duration) -> Option<Failure> {
        let cause = self.progress.retry.as_ref().map(Retry::cause);
        let [timeout, startup, idle] = self.time_limits().map(|at| at.is_some_and(|at| at <= now));
        if timeout {
            return Some(Failure::timeout(self.timeout, cause.as_deref()));
        }
        if startup {
            return Some(Failure::startup_timeout(self.startup_timeout));
        }
        self.idle_timeout.filter(|_| idle).map(|limit| Failure::idle_timeout(limit, cause.as_deref()))
    }

    fn begin_to_kill(&mut self, now: Duration) -> Vec<Action> {
        self.process.phase = Phase::Killing { again_at: now + KILL_AGAIN, give_up_at: now + KILL_GIVE_UP };
        vec![Action::Kill]
    }

    /// Whether the process has ended, and all that it wrote was read; or it cannot be ended, and has no exit status.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.process.phase == Phase::Done
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn exit(&self) -> Option<ExitStatus> {
        self.process.exit
    }

    /// What it has used up to now.
    #[must_use]
    pub fn used(&self) -> Usage {
        let mut used = self.used_before;
        used += self.meter.used();
        used
    }

    /// Returns the first message of its process, as large as it has become.
    #[must_use]
    pub fn first_message(&self) -> Option<ModelUsage> {
        self.meter.first_message()
    }

    /// Whether it ended before anything came of its first turn because its session was there already (`Some(true)`) or was not there (`Some(false)`).
    #[must_use]
    pub fn session_mismatch(&self) -> Option<bool> {
        if self.stopping.is_some() {
            return None;
        }
        let Conversation { sends_init_per_turn: announces_turns, has_model_output: has_effect, .. } = self.dialogue;
        let stderr = String::from_utf8_lossy(&self.stderr_tail);
        let errors = self.progress.result.as_deref().unwrap_or("");
        // 2.0 takes what it is sent while it looks for the session: a turn may have begun when it says that there is none.
        let says = |what: fn(&str) -> bool| {
            (what(&stderr) && !(announces_turns && has_effect)) || (what(errors) && !announces_turns)
        };
        if says(session::is_in_use) {
            Some(true)
        } else if says(session::is_missing) {
            Some(false)
        } else {
            None
        }
    }

    /// What it came to. To be asked when it is over.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (&self.process.verdict, &self.stopping) {
            (Some(Verdict::Completed), Some(failure)) if self.has_next_segment() => {
                return Verdict::Failed(failure.clone());
            }
            (Some(verdict), _) => return verdict.clone(),
            (None, Some(failure)) => return Verdict::Failed(failure.clone()),
            (None, None) => {}
        }
        let all_answered = self.progress.turns_done == self.segment_end();
        let is_cut_off = self.dialogue.background.is_cut_off;
        if all_answered && self.dialogue.background_agents == 0 && !is_cut_off && !self.dialogue.turn_under_way {
            return Verdict::Completed;
        }
        let how = match self.process.exit {
            Some(ExitStatus::Code(0)) | None => "ended".to_owned(),
            Some(exit) => format!("ended with {exit}"),
        };
        let when = match (self.dialogue.initialized, all_answered) {
            (false, _) => "before it answered",
            (true, false) => "without a result",
            (true, true) if self.dialogue.background_agents == 0 => "while its background commands were running",
            (true, true) => "while its agents were at work",
        };
        let stderr = String::from_utf8_lossy(&self.stderr_tail);
        let last_words = stderr.lines().rev().find(|line| !line.trim().is_empty());
        let last_words =
            last_words.map_or_else(String::new, |line| format!(": {}", crate::base::text::sanitize_line(line)));
        Verdict::Failed(Failure::new(FailureKind::Error, format!("claude {how} {when}{last_words}")))
    }

    fn completed(&mut self, now: Duration) -> Vec<Action> {
        self.decide(Verdict::Completed, now)
    }

    fn fail(&mut self, failure: Failure, now: Duration) -> Vec<Action> {
        self.decide(Verdict::Failed(failure), now)
    }

    /// It is known what the instance came to; the process is to end.
    fn decide(&mut self, verdict: Verdict, now: Duration) -> Vec<Action> {
        self.process.verdict.get_or_insert(verdict);
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.process.phase = Phase::Closing(now + self.grace);
                vec![Action::CloseInput]
            }
            Phase::Closing(_) | Phase::Terminating(_) | Phase::Killing { .. } | Phase::Draining(_) | Phase::Done => {
                Vec::new()
            }
        }
    }

    /// A pipe was closed. That is the usual way to end, so the process gets its time to do so.
    fn pipe_closed(&mut self, how: &'static str, now: Duration) -> Vec<Action> {
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.process.phase = Phase::Closing(now + self.grace);
                self.process.closed = Some(how);
                vec![Action::CloseInput]
            }
            Phase::Draining(_) => {
                self.finish_if_drained();
                Vec::new()
            }
            Phase::Closing(_) | Phase::Terminating(_) | Phase::Killing { .. } | Phase::Done => Vec::new(),
        }
    }

    fn finish_if_drained(&mut self) {
        if matches!(self.process.phase, Phase::Draining(_)) && !self.process.output_open && !self.process.stderr_open {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.process.phase = Phase::Done;
        self.cut_off_background();
        // What was asked for, by it or by its agents, may have been served, and nobody tells.
        if self.dialogue.message != MessageState::Idle || self.dialogue.background_agents > 0 {
            self.meter.mark_truncated();
        }
        self.meter.process_ended();
    }
}

#[cfg(test)]
mod tests;
