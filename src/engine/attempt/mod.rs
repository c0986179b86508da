//! State machine of one attempt of an instance: takes the output of its process, returns the actions to perform. An
//! attempt has several processes in sequence if the conversation is cleared between turns, or if claude rejected the
//! mode in which the session was opened.
//!
//! Pure: the time is an argument, and nothing blocks. The module decides which messages are sent to claude and when,
//! interprets results, and escalates from closing stdin to SIGKILL. It has no access to processes, pipes or signals.

mod background;
mod conversation;
mod shutdown;

use std::time::Duration;

use crate::claude::pricing::Prices;
use crate::claude::protocol::request;
use crate::claude::protocol::{ContentBlock, Retry};
use crate::claude::session;
use crate::claude::tool_denials::ToolDenials;
use crate::claude::usage_meter::{ModelUsage, Usage, UsageMeter};
use crate::config::Background;
use crate::engine::outcome::{ExitStatus, Failure, FailureKind};
use crate::engine::progress::{AttemptProgress, beginning};
use crate::plan::result_template::MAX_RESULT_BYTES;
use crate::plan::{ConversationSegment, Instance, Turn};
use conversation::{Conversation, MessageState};
use shutdown::Shutdown;

/// Number of bytes kept from the end of stderr.
const STDERR_TAIL_BYTES: usize = 4096;

/// An action that an attempt requests.
#[derive(Debug, PartialEq, Eq)]
pub enum AttemptAction {
    /// Write these bytes to stdin.
    Send(Vec<u8>),
    /// Close stdin once all pending input is written.
    CloseInput,
    /// Send SIGTERM and SIGCONT to the process group.
    Terminate,
    /// Kill the process and all its descendants, in every process group.
    Kill,
    /// Record this output of the instance.
    RecordOutput(ContentBlock),
    /// Print this message about the instance.
    Notice(String),
    /// The account's usage limit is reached; other instances will hit it too.
    LimitReached {
        /// End of the limit in seconds since 1970, if claude reports it.
        resets_at_epoch_s: Option<u64>,
    },
}

/// State of the conversation with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `initialize` was sent; the response is pending.
    Initializing,
    /// The message of a turn was sent; its result is pending.
    AwaitingResult,
    /// All turns are answered, and background work continues: agents are running, or one has ended and a turn follows.
    AwaitingBackground,
    /// The process is being ended, or has ended.
    Ending(Shutdown),
}

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The instance completed.
    Completed,
    /// The instance failed.
    Failed(Failure),
}

/// One attempt of an instance.
#[derive(Clone, Debug)]
pub struct Attempt {
    turns: Vec<Turn>,
    /// Segments of the turns, and the index of the one that this process runs.
    segments: Vec<ConversationSegment>,
    segment: usize,
    grace: Duration,
    timeout: Duration,
    idle_timeout: Option<Duration>,
    background: Background,
    background_wait: Duration,
    startup_timeout: Duration,
    fails_on_denied: bool,
    fails_on_mcp: bool,
    tool_denials: ToolDenials,
    /// Permission mode that claude was given, if it must be compared with the reported mode.
    requested_mode: Option<String>,
    started: Duration,
    /// Reason for the stop in progress. It becomes the verdict unless a result decides first.
    stopping: Option<Failure>,
    process: ProcessState,
    conversation: Conversation,
    meter: UsageMeter,
    /// Usage of the earlier processes of this attempt.
    used_before: Usage,
    /// The last result whole, if it is longer than the progress keeps.
    long_result: Option<String>,
    /// Progress that the process has reported.
    pub progress: AttemptProgress,
    /// End of its stderr output.
    pub stderr_tail: Vec<u8>,
}

/// State of the current process.
#[derive(Clone, Debug)]
struct ProcessState {
    started: Duration,
    last_heard: Duration,
    phase: Phase,
    verdict: Option<Verdict>,
    exit: Option<ExitStatus>,
    output_open: bool,
    stderr_open: bool,
    /// Description of a pipe that claude closed early. It is an error only if claude does not exit soon after.
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
    /// Returns an attempt for a process that was spawned at `now`, and its first actions.
    #[must_use]
    pub fn start(instance: &Instance, prices: Prices, grace: Duration, now: Duration) -> (Self, Vec<AttemptAction>) {
        let segments = instance.segments();
        let mut attempt = Attempt {
            turns: instance.turns.clone(),
            segments,
            segment: 0,
            grace,
            timeout: instance.timeout,
            idle_timeout: instance.idle_timeout,
            background: instance.background,
            background_wait: instance.background_wait,
            startup_timeout: instance.startup_timeout,
            fails_on_denied: instance.fail_on_denied,
            fails_on_mcp: instance.fails_on_mcp,
            tool_denials: ToolDenials::from(&instance.invocation),
            requested_mode: None,
            started: now,
            stopping: None,
            process: ProcessState::started(now),
            conversation: Conversation::default(),
            meter: UsageMeter::new(prices),
            used_before: Usage::default(),
            long_result: None,
            progress: AttemptProgress::default(),
            stderr_tail: Vec::new(),
        };
        attempt.skip_to_segment_start();
        (attempt, vec![AttemptAction::Send(request::initialize())])
    }

    /// Sets the permission mode that claude was given. If claude reports another mode, a notice is printed.
    pub fn expect_permission_mode(&mut self, mode: &str) {
        self.requested_mode = Some(mode.to_owned());
    }

    /// Skips to the last turn. This attempt continues an earlier one, in which the other turns were answered.
    pub fn skip_to_last_turn(&mut self) {
        self.segment = self.segments.len().saturating_sub(1);
        self.progress.turns_done = self.turns.len().saturating_sub(1);
        self.progress.answers.resize(self.progress.turns_done, String::new());
    }

    /// Starts over with a new process, spawned at `now`, that runs the same turns.
    pub fn restart(&mut self, now: Duration) -> Vec<AttemptAction> {
        self.used_before = self.used();
        self.meter = self.meter.for_next_process();
        self.set_result(None);
        self.progress.retry = None;
        self.stderr_tail.clear();
        self.process = ProcessState::started(now);
        self.conversation = Conversation::default();
        vec![AttemptAction::Send(request::initialize())]
    }

    /// Starts the next segment with a new process, spawned at `now`, in a conversation of its own.
    pub fn start_next_segment(&mut self, now: Duration) -> Vec<AttemptAction> {
        self.segment += 1;
        self.skip_to_segment_start();
        self.restart(now)
    }

    /// Returns true if the process has completed its segment and another segment follows.
    #[must_use]
    pub fn needs_next_segment(&self) -> bool {
        self.has_next_segment() && self.verdict() == Verdict::Completed
    }

    /// Returns true if the current segment is not the last one.
    fn has_next_segment(&self) -> bool {
        self.segment + 1 < self.segments.len()
    }

    /// Returns the index after the last turn of the current segment.
    fn segment_end(&self) -> usize {
        self.segments.get(self.segment).map_or(self.turns.len(), |segment| segment.turns.end)
    }

    /// Skips the turns before the current segment. A turn that clears the conversation is not sent: the process starts
    /// a new one.
    fn skip_to_segment_start(&mut self) {
        self.progress.turns_done = self.segments.get(self.segment).map_or(0, |segment| segment.turns.start);
        self.progress.answers.resize(self.progress.turns_done, String::new());
    }

    /// Records the time of output on stdout or stderr.
    pub fn on_output(&mut self, now: Duration) {
        self.process.last_heard = now;
    }

    /// Appends bytes to the kept end of stderr.
    pub fn on_stderr(&mut self, bytes: &[u8], now: Duration) {
        self.on_output(now);
        let tail = &mut self.stderr_tail;
        tail.extend_from_slice(bytes);
        if tail.len() > STDERR_TAIL_BYTES {
            tail.drain(..tail.len() - STDERR_TAIL_BYTES);
        }
    }

    /// Handles EOF on stdout: no result can follow.
    pub fn on_stdout_eof(&mut self, now: Duration) -> Vec<AttemptAction> {
        self.process.output_open = false;
        self.pipe_closed("closed stdout and kept running", now)
    }

    /// Handles EOF on stderr.
    pub fn on_stderr_eof(&mut self) {
        self.process.stderr_open = false;
        self.finish_if_drained();
    }

    /// Handles a closed stdin: claude closed it before all input was written.
    pub fn on_stdin_closed(&mut self, now: Duration) -> Vec<AttemptAction> {
        self.pipe_closed("closed stdin and kept running", now)
    }

    /// Handles the exit of the process, after it was reaped.
    pub fn on_exit(&mut self, exit: ExitStatus, now: Duration) -> Vec<AttemptAction> {
        self.process.exit = Some(exit);
        self.process.phase = Phase::Ending(Shutdown::draining(now));
        self.finish_if_drained();
        vec![AttemptAction::Kill] // leftover descendants
    }

    /// Stops the process gracefully, for this reason. A result that shows that the work was done before still counts.
    pub fn stop(&mut self, failure: Failure, now: Duration) -> Vec<AttemptAction> {
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.stopping.get_or_insert(failure);
                self.process.phase = Phase::Ending(Shutdown::Closing(now + self.grace));
                self.cut_off_background();
                vec![AttemptAction::Send(request::interrupt()), AttemptAction::CloseInput]
            }
            // It is stopping already; prevent another turn or process.
            Phase::Ending(_) => {
                self.stopping.get_or_insert(failure);
                Vec::new()
            }
        }
    }

    /// Stops the process after its current message, which is already paid for. If that message ends the last turn, the
    /// attempt completes.
    pub fn stop_after_message(&mut self, failure: Failure, now: Duration) -> Vec<AttemptAction> {
        let may_finish = matches!(self.process.phase, Phase::AwaitingResult | Phase::AwaitingBackground)
            && self.conversation.message != MessageState::Idle;
        if may_finish {
            self.conversation.stop_reason.get_or_insert(failure);
            return Vec::new();
        }
        self.stop(failure, now)
    }

    /// Stops a process that was spawned after the attempt had been stopped.
    pub fn resume_stop(&mut self, now: Duration) -> Vec<AttemptAction> {
        self.stop_if(self.stopping.clone(), now)
    }

    /// Kills the process without a grace period.
    pub fn kill(&mut self, failure: Failure, now: Duration) -> Vec<AttemptAction> {
        match self.process.phase {
            Phase::Ending(Shutdown::Killing { .. } | Shutdown::Draining(_) | Shutdown::Done) => {
                if self.has_next_segment() {
                    self.stopping.get_or_insert(failure);
                }
                Vec::new()
            }
            _ => {
                self.stopping.get_or_insert(failure);
                self.cut_off_background();
                self.process.phase = Phase::Ending(Shutdown::killing(now));
                vec![AttemptAction::Kill]
            }
        }
    }

    /// Returns the next time at which [`on_deadline`](Self::on_deadline) must be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.time_limits().into_iter().chain([self.background_deadline()]).flatten().min()
            }
            Phase::Ending(shutdown) => shutdown.deadline(),
        }
    }

    /// Performs the actions that are due at `now`.
    pub fn on_deadline(&mut self, now: Duration) -> Vec<AttemptAction> {
        if self.next_deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => match self.time_out(now) {
                Some(failure) => self.stop(failure, now),
                None => self.background_is_due(now),
            },
            Phase::Ending(shutdown) => self.escalate(shutdown, now),
        }
    }

    /// Performs the next step of the shutdown.
    fn escalate(&mut self, shutdown: Shutdown, now: Duration) -> Vec<AttemptAction> {
        if let (Shutdown::Closing(_), Some(pipe)) = (shutdown, self.process.closed) {
            let failure = Failure::new(FailureKind::Error, format!("claude {pipe}"));
            self.process.verdict.get_or_insert(Verdict::Failed(failure));
        }
        let (next, action) = shutdown.next(now);
        if next == Shutdown::Done {
            self.finish();
        } else {
            self.process.phase = Phase::Ending(next);
        }
        action.into_iter().collect()
    }

    /// Returns the deadlines of the timeout, the startup timeout and the idle timeout.
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
        if idle { Some(Failure::idle_timeout(self.idle_timeout?, cause.as_deref())) } else { None }
    }

    /// Returns true if the process has ended and its output is read, or if it was abandoned.
    ///
    /// An abandoned process has no exit status.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.process.phase == Phase::Ending(Shutdown::Done)
    }

    /// Returns the exit status of the process, if it has ended.
    #[must_use]
    pub fn exit(&self) -> Option<ExitStatus> {
        self.process.exit
    }

    /// Takes the last result, whole.
    pub fn take_result(&mut self) -> Option<String> {
        self.long_result.take().or_else(|| self.progress.result.clone())
    }

    /// Stores a result: in the progress as much as another instance's message can insert, the whole beside it.
    fn set_result(&mut self, result: Option<String>) {
        self.long_result = None;
        self.progress.result = result;
        if let Some(result) = &mut self.progress.result
            && result.len() > MAX_RESULT_BYTES
        {
            let beginning = beginning(result);
            self.long_result = Some(std::mem::replace(result, beginning));
        }
    }

    /// Returns the usage so far.
    #[must_use]
    pub fn used(&self) -> Usage {
        let mut used = self.used_before;
        used += self.meter.used();
        used
    }

    /// Returns the usage of the first message of the current process, at its largest size so far.
    #[must_use]
    pub fn first_message(&self) -> Option<ModelUsage> {
        self.meter.first_message()
    }

    /// Checks for a session error before any output of the first turn. Returns `Some(true)` if the session already
    /// exists, `Some(false)` if it does not exist.
    #[must_use]
    pub fn session_mismatch(&self) -> Option<bool> {
        if self.stopping.is_some() {
            return None;
        }
        let Conversation { sends_init_per_turn: announces_turns, has_model_output: has_effect, .. } = self.conversation;
        let stderr = String::from_utf8_lossy(&self.stderr_tail);
        let errors = self.progress.result.as_deref().unwrap_or("");
        // 2.0 accepts input while it looks up the session: a turn may have begun when it reports that there is none.
        let reports = |pattern: fn(&str) -> bool| {
            (pattern(&stderr) && !(announces_turns && has_effect)) || (pattern(errors) && !announces_turns)
        };
        if reports(session::is_in_use) {
            Some(true)
        } else if reports(session::is_missing) {
            Some(false)
        } else {
            None
        }
    }

    /// Returns the verdict; valid once the attempt is done.
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
        let is_cut_off = self.conversation.background.is_cut_off;
        if all_answered && self.conversation.background_agents == 0 && !is_cut_off && !self.conversation.turn_under_way
        {
            return Verdict::Completed;
        }
        let how = match self.process.exit {
            Some(ExitStatus::Code(0)) | None => "ended".to_owned(),
            Some(exit) => format!("ended with {exit}"),
        };
        let when = match (self.conversation.initialized, all_answered) {
            (false, _) => "before it answered initialize",
            (true, false) => "without a result",
            (true, true) if self.conversation.background_agents == 0 => "while its background commands were running",
            (true, true) => "while its agents were running",
        };
        let stderr = String::from_utf8_lossy(&self.stderr_tail);
        let mut last_words = String::new();
        for line in stderr.lines() {
            if !line.trim().is_empty() {
                last_words = format!(": {}", crate::base::text::sanitize_line(line));
            }
        }
        Verdict::Failed(Failure::new(FailureKind::Error, format!("claude {how} {when}{last_words}")))
    }

    fn fail(&mut self, failure: Failure, now: Duration) -> Vec<AttemptAction> {
        self.decide(Verdict::Failed(failure), now)
    }

    /// Sets the verdict and closes stdin, so that the process ends.
    fn decide(&mut self, verdict: Verdict, now: Duration) -> Vec<AttemptAction> {
        self.process.verdict.get_or_insert(verdict);
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.process.phase = Phase::Ending(Shutdown::Closing(now + self.grace));
                vec![AttemptAction::CloseInput]
            }
            Phase::Ending(_) => Vec::new(),
        }
    }

    /// Handles a closed pipe. Processes usually end like this, so it gets the grace period to exit.
    fn pipe_closed(&mut self, how: &'static str, now: Duration) -> Vec<AttemptAction> {
        match self.process.phase {
            Phase::Initializing | Phase::AwaitingResult | Phase::AwaitingBackground => {
                self.process.phase = Phase::Ending(Shutdown::Closing(now + self.grace));
                self.process.closed = Some(how);
                vec![AttemptAction::CloseInput]
            }
            Phase::Ending(_) => {
                self.finish_if_drained();
                Vec::new()
            }
        }
    }

    fn finish_if_drained(&mut self) {
        if matches!(self.process.phase, Phase::Ending(Shutdown::Draining(_)))
            && !self.process.output_open
            && !self.process.stderr_open
        {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.process.phase = Phase::Ending(Shutdown::Done);
        self.cut_off_background();
        // Requests in flight, of claude or its agents, may have been served, and their usage is not reported.
        if self.conversation.message != MessageState::Idle || self.conversation.background_agents > 0 {
            self.meter.mark_truncated();
        }
        self.meter.process_ended();
    }
}

#[cfg(test)]
mod tests;
