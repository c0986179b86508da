//! Event loop of a run. Connects the pure modules to the system.
//!
//! Each pass starts the due instances, polls with a timeout, and then handles in a fixed order: signals, pipes, exited
//! children, deadlines. `Supervisor::apply` is the one place that executes the actions of attempts. The submodules
//! launch, retry, stop and finish instances, lock sessions, enforce budgets and usage limits, and write the reports.

mod budget;
pub mod delayed_start;
mod finish;
mod halt;
mod launch;
mod reporting;
mod retry;
mod sessions;
mod stop;
mod suspend;
mod usage_limits;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::base::lines::{Line, LineSplitter};
use crate::claude::capabilities::Capabilities;
use crate::claude::protocol::decode;
use crate::claude::session::SessionEntry;
use crate::claude::tool_policy::hook::HookProgram;
use crate::claude::usage_meter::ModelUsage;
use crate::report::verbosity::{LogLevel, OnSuccess};

use crate::config::halt::Halt;
use crate::engine::attempt::{Action, Attempt, Verdict};
use crate::engine::budget::{Admission, Budget};
use crate::engine::exit_code::ExitCode;
use crate::engine::outcome::Status;
use crate::engine::record::InstanceRecord;
use crate::engine::run_clock::{self, RunClock};
use crate::engine::schedule::{LaunchPolicy, Schedule};
use crate::engine::usage_limit::{self, UsageLimit};
use crate::plan::Plan;
use crate::plan::stages::Stages;
use crate::report::output_tail::OutputTail;
use crate::report::{self, Style};
use crate::system::child::{Process, ReadOutcome};
use crate::system::clock;
use crate::system::file_lock::Lock;
use crate::system::locate::ConversationState;
use crate::system::output::Output;
use crate::system::process_tree::{self, ProcInfo, ProcessTag};
use crate::system::run_dir::{InstanceFiles, RunDirectory};
use crate::system::session_locks::SessionLocks;
use crate::system::signals::Signals;
use sessions::Sessions;
pub use sessions::{no_session_locks, session_entry};
use stop::OrphanCleanup;

/// Maximum number of bytes read from a pipe per pass, so that no instance starves the others.
const READ_BYTES: usize = 64 * 1024;

/// Maximum number of session fallbacks per attempt, for conversations that were not found before the launch.
const MAX_REFUSED_ENTRIES: u32 = 10;

/// Maximum time that the first launch waits for the first version of `report.json`.
///
/// The run should be on disk before it costs anything, but a slow disk must not block it longer.
const FIRST_REPORT_LIMIT: Duration = Duration::from_secs(1);

/// Settings of a run, apart from its plan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Usage of each instance when it last completed, by name, for instances without an estimate.
    pub earlier_usage: BTreeMap<String, ModelUsage>,
    /// Pace at which instances are launched.
    pub pace: LaunchPolicy,
    /// Time between an interrupt request and SIGTERM.
    pub grace: Duration,
    /// Policy when the account's usage limit is reached.
    pub limit_policy: usage_limit::Policy,
    /// Number of failures that stops the run, if limited.
    pub halt: Option<Halt>,
    /// Time between two status reports.
    pub report_interval: Duration,
    /// Maximum number of output lines per instance between two reports.
    pub max_console_lines: usize,
    /// Maximum width of such a line, in columns.
    pub max_line_columns: usize,
    /// Amount of output.
    pub log_level: LogLevel,
    /// Output at the end if every instance has completed.
    pub on_success: OnSuccess,
    /// Style of the output.
    pub style: Style,
    /// Path of the claude executable.
    pub claude: PathBuf,
    /// Capabilities of that version of claude.
    pub abilities: Capabilities,
    /// Paths of the executable that runs the hook of the tool policy.
    pub hook: HookProgram,
    /// Instances with a missing slash command, and the error of each.
    pub missing_commands: Vec<(usize, String)>,
    /// Descriptor limit for child processes (soft, hard), if zen has raised its own.
    pub descriptor_limit: Option<(u64, u64)>,
    /// Facts about the run as a whole, for `report.json`.
    pub facts: report::json::RunMetadata,
}

/// A run in progress.
pub struct Supervisor<'a> {
    plan: &'a Plan,
    settings: Settings,
    clock: RunClock,
    schedule: Schedule,
    ledger: Budget,
    is_budget_blocked: bool,
    usage_limit: Option<UsageLimit>,
    /// First instance of each account that the API refused.
    refused_accounts: Vec<usize>,
    /// Reason for the stop if `--halt` has stopped the run.
    halted: Option<String>,
    stages: Stages,
    records: Vec<InstanceRecord>,
    /// Running instances by index.
    live: BTreeMap<usize, RunningInstance>,
    /// Instance of each child process (its reaper), by pid, until that is reaped.
    by_child: HashMap<i32, usize>,
    recent: Vec<OutputTail>,
    /// Notices already printed per instance, so that another attempt does not repeat them.
    notices: HashSet<(usize, String)>,
    signals: Signals,
    stopped_by: Option<Signal>,
    mark: ProcessTag,
    /// Children that zen had before the run, left by a shell that ran `exec zen`.
    inherited: HashSet<i32>,
    /// True if processes that do not belong to the run may be reparented to zen.
    has_inherited: bool,
    /// Processes of instances that survived SIGKILL.
    unkillable: Vec<ProcInfo>,
    directory: Option<RunDirectory>,
    /// Lock of the run, held until zen exits.
    lock: Option<Lock>,
    sessions: Sessions,
    stdout: Output,
    stderr: Output,
    next_report: Duration,
    last_report: Option<Duration>,
    json: ReportThrottle,
    buffer: Vec<u8>,
    /// Buffer for long lines, lent to the instance that is being read.
    long_line_scratch: Vec<u8>,
}

/// Rate limit for rewriting `report.json`.
#[derive(Default)]
struct ReportThrottle {
    is_stale: bool,
    not_before: Duration,
}

/// A running instance.
struct RunningInstance {
    attempt: Attempt,
    process: Process,
    lines: LineSplitter,
    files: Option<InstanceFiles>,
    entry: SessionEntry,
    /// State of the conversation's file before the process started.
    conversation_before: Option<ConversationState>,
    /// Number of times that claude refused to create or resume its session.
    refused_entries: u32,
    sweep: Option<OrphanCleanup>,
}

impl RunningInstance {
    /// Returns the earliest deadline of the attempt or of its orphan cleanup.
    fn due_at(&self) -> Option<Duration> {
        let sweep = self.sweep.as_ref().map(|sweep| sweep.again_at);
        self.attempt.next_deadline().into_iter().chain(sweep).min()
    }
}

/// A pipe of an instance.
#[derive(Clone, Copy)]
enum Pipe {
    Input(usize),
    Output(usize),
    Errors(usize),
}

impl<'a> Supervisor<'a> {
    /// Prepares a run without starting any instance.
    ///
    /// # Errors
    /// Returns the system's error if the signal handlers cannot be installed.
    pub fn new(
        plan: &'a Plan,
        mut settings: Settings,
        mut directory: Option<RunDirectory>,
        lock: Option<Lock>,
        session_locks: Option<SessionLocks>,
        stdout: Output,
        stderr: Output,
    ) -> std::io::Result<Self> {
        process_tree::become_subreaper();
        let inherited: HashSet<i32> = process_tree::children().unwrap_or_default().into_iter().collect();
        let count = plan.instances.len();
        let mut ledger = Budget::new(&plan.budget, &plan.instances, &plan.prices);
        for (index, instance) in plan.instances.iter().enumerate() {
            if let Some(usage) = settings.earlier_usage.get(&instance.name) {
                ledger.expect_as_before(index, usage);
            }
        }
        if let Some(directory) = &mut directory {
            directory.start_report_thread();
            let of_instance = |(i, instance): (usize, &crate::plan::Instance)| {
                directory.instance(i, count, &instance.name).directory().display().to_string()
            };
            settings.facts.directories = plan.instances.iter().enumerate().map(of_instance).collect();
        }
        Ok(Supervisor {
            plan,
            clock: RunClock::new(clock::read()),
            schedule: Schedule::new(&plan.instances, settings.pace),
            ledger,
            is_budget_blocked: false,
            usage_limit: None,
            refused_accounts: Vec::new(),
            halted: None,
            stages: Stages::new(&plan.instances),
            records: vec![InstanceRecord::default(); count],
            live: BTreeMap::new(),
            by_child: HashMap::new(),
            recent: (0..count)
                .map(|_| OutputTail::new(settings.max_console_lines, settings.max_line_columns))
                .collect(),
            notices: HashSet::new(),
            signals: Signals::install()?,
            stopped_by: None,
            mark: ProcessTag::of_run(&settings.facts.run),
            has_inherited: process_tree::is_init() || !inherited.is_empty(),
            inherited,
            unkillable: Vec::new(),
            directory,
            lock,
            sessions: Sessions::new(session_locks),
            stdout,
            stderr,
            next_report: settings.report_interval,
            last_report: None,
            json: ReportThrottle::default(),
            buffer: vec![0; READ_BYTES],
            long_line_scratch: Vec::new(),
            settings,
        })
    }

    /// Runs the plan to its end and returns the exit code.
    pub fn run(mut self) -> ExitCode {
        self.write_report_json();
        if let Some(directory) = &self.directory {
            directory.wait_for_report(FIRST_REPORT_LIMIT);
        }
        self.print_start();
        self.fail_missing_commands();
        loop {
            self.start_due();
            if self.schedule.is_finished() {
                return self.end();
            }
            self.update_report_json();
            let ready = self.wait();
            let now = self.now();
            let (signals_came, is_quiet) = (self.take_signals(now), ready.is_empty());
            for pipe in ready {
                self.handle_ready_pipe(pipe, now);
            }
            // Reaps not only on SIGCHLD: its byte is lost if the pipe is full. If the signal itself is lost, a quiet
            // pass finds the exited children.
            if signals_came || is_quiet {
                self.reap(now);
            }
            self.fire_deadlines(now);
            self.finalize_exited(now);
            self.report_if_due(now);
        }
    }

    fn start_due(&mut self) {
        loop {
            let now = self.now();
            match self.ledger.admit_first(self.schedule.ready(now), now) {
                Some((index, Admission::Admit)) => {
                    if self.enter_session(index, now) {
                        self.ledger.started(index, now);
                        self.schedule.started(index, now);
                        self.start(index, now);
                    }
                }
                Some((index, Admission::Deny(refusal))) => self.deny(index, refusal, now),
                None => {
                    self.is_budget_blocked = self.schedule.ready(now).next().is_some();
                    return;
                }
            }
        }
    }

    /// Waits until a pipe is ready, a signal arrives, or a deadline expires. Returns the ready pipes.
    fn wait(&mut self) -> Vec<Pipe> {
        let limit = self.wait_limit();
        // Rounded up to milliseconds: a wait that ends too early would be followed by waits of zero.
        let timeout = PollTimeout::try_from(limit + Duration::from_nanos(999_999)).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
        let waiting = [self.stdout.pending_fd(), self.stderr.pending_fd()];
        fds.extend(waiting.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        let first_pipe = fds.len();
        let mut pipes = Vec::new();
        for (&index, live) in &self.live {
            let process = &live.process;
            let input = process.stdin_fd().filter(|_| process.has_pending_stdin());
            for (fd, flags, pipe) in [
                (input, PollFlags::POLLOUT, Pipe::Input(index)),
                (process.stdout_fd(), PollFlags::POLLIN, Pipe::Output(index)),
                (process.stderr_fd(), PollFlags::POLLIN, Pipe::Errors(index)),
            ] {
                if let Some(fd) = fd {
                    fds.push(PollFd::new(fd, flags));
                    pipes.push(pipe);
                }
            }
        }
        let before = clock::read();
        // An error of poll(2) (EINTR, ENOMEM) is handled like an empty result.
        let is_error = poll(&mut fds, timeout).is_err();
        let pause = self.clock.on_wait(limit, before, clock::read());
        if is_error {
            fds.clear();
            pipes.clear();
        }
        // Any event counts, including POLLERR and POLLHUP: the following read or write returns the cause.
        let is_ready = |fd: &PollFd| fd.any() != Some(false);
        let ready =
            fds.iter().skip(first_pipe).zip(pipes).filter(|(fd, _)| is_ready(fd)).map(|(_, pipe)| pipe).collect();
        drop(fds);
        if let Some(pause) = pause {
            self.paused(pause);
        }
        self.stdout.flush();
        self.stderr.flush();
        ready
    }

    /// Returns the time since the run began, excluding pauses.
    fn now(&self) -> Duration {
        self.clock.elapsed(clock::read())
    }

    /// Returns the timeout of the next poll: the next deadline, capped so that pauses are detected.
    fn wait_limit(&self) -> Duration {
        let most = if self.live.is_empty() { run_clock::MAX_IDLE_WAIT } else { run_clock::MAX_WAIT };
        self.next_wake_up().map_or(most, |at| at.saturating_sub(self.now()).min(most))
    }

    fn next_wake_up(&self) -> Option<Duration> {
        let deadlines = self.live.values().filter_map(RunningInstance::due_at);
        let report = self.reports_status().then_some(self.next_report);
        // If only the budget blocks an instance, it starts when another one has settled, and not at a fixed time.
        let start = if self.is_budget_blocked {
            self.schedule.next_deferred_at().into_iter().chain(self.ledger.first_message_due(self.now())).min()
        } else {
            self.schedule.next_start_at()
        };
        // Without a run directory, the report stays stale and is never due.
        let json = (self.json.is_stale && self.directory.is_some()).then_some(self.json.not_before);
        deadlines.chain(report).chain(start).chain(json).min()
    }

    /// Returns the running instances in config order.
    fn running(&self) -> Vec<usize> {
        self.live.keys().copied().collect()
    }

    /// Returns the running instances that match `holds`; in most passes there are none.
    fn running_where(&self, holds: impl Fn(&RunningInstance) -> bool) -> Vec<usize> {
        self.live.iter().filter(|(_, live)| holds(live)).map(|(&index, _)| index).collect()
    }

    /// Handles pending signals. Returns true if there were any.
    fn take_signals(&mut self, now: Duration) -> bool {
        let signals = self.signals.drain();
        for &signal in &signals {
            match signal {
                Signal::SIGCHLD => {} // a pass of the loop reaps
                Signal::SIGUSR1 => self.print_status(now),
                Signal::SIGTSTP => self.suspend(),
                stopping => self.stop(stopping, now),
            }
        }
        !signals.is_empty()
    }

    fn handle_ready_pipe(&mut self, pipe: Pipe, now: Duration) {
        match pipe {
            Pipe::Input(index) => {
                if let Some(live) = self.live.get_mut(&index)
                    && !live.process.flush_stdin()
                {
                    let effects = live.attempt.on_stdin_closed(now);
                    self.apply(index, effects, now);
                }
            }
            Pipe::Output(index) => self.read_output(index, now),
            Pipe::Errors(index) => self.read_errors(index, now),
        }
    }

    fn read_output(&mut self, index: usize, now: Duration) {
        let Some(live) = self.live.get_mut(&index) else { return };
        let RunningInstance { attempt, process, lines, files, .. } = live;
        let turns_done = attempt.progress.turns_done;
        let mut effects = Vec::new();
        let mut take = |line: Line| {
            effects.extend(match line {
                Line::Complete(bytes) => attempt.event(decode(bytes), now),
                Line::Oversized { head, bytes } => attempt.long_line(head, bytes, now),
            });
        };
        match process.read_stdout(&mut self.buffer) {
            ReadOutcome::Data(count) => {
                let bytes = &self.buffer[..count];
                if let (Some(directory), Some(files)) = (&mut self.directory, files) {
                    directory.append_stdout(files, bytes);
                }
                lines.lend_scratch(&mut self.long_line_scratch);
                lines.push(bytes, &mut take);
                lines.lend_scratch(&mut self.long_line_scratch);
                attempt.on_output(now);
            }
            ReadOutcome::Eof => {
                lines.finish(&mut take);
                effects.extend(attempt.on_stdout_eof(now));
            }
            ReadOutcome::WouldBlock => {}
        }
        self.apply(index, effects, now);
        self.log_turn_answers(index, turns_done);
        self.charge(index, now);
    }

    fn read_errors(&mut self, index: usize, now: Duration) {
        let Some(live) = self.live.get_mut(&index) else { return };
        match live.process.read_stderr(&mut self.buffer) {
            ReadOutcome::Data(count) => {
                let bytes = &self.buffer[..count];
                if let (Some(directory), Some(files)) = (&mut self.directory, &mut live.files) {
                    directory.append_stderr(files, bytes);
                }
                live.attempt.on_stderr(bytes);
                live.attempt.on_output(now);
            }
            ReadOutcome::Eof => live.attempt.on_stderr_eof(),
            ReadOutcome::WouldBlock => {}
        }
    }

    /// Reaps every exited child: reapers of instances, and orphans that were reparented to zen.
    fn reap(&mut self, now: Duration) {
        while let Some(pid) = process_tree::peek_exited_child() {
            let index = self.by_child.remove(&pid);
            let Some((index, live)) = index.and_then(|index| Some((index, self.live.get_mut(&index)?))) else {
                process_tree::reap(pid);
                self.unkillable.retain(|process| process.pid != pid);
                continue;
            };
            if let Some(exit) = live.process.reap() {
                let effects = live.attempt.on_exit(exit, now);
                self.debug(index, &format!("its process ended with {exit}"));
                self.apply(index, effects, now);
            }
        }
    }

    fn fire_deadlines(&mut self, now: Duration) {
        for index in self.running_where(|live| live.due_at().is_some_and(|at| at <= now)) {
            let Some(live) = self.live.get_mut(&index) else { continue };
            let effects = live.attempt.on_deadline(now);
            if live.sweep.as_ref().is_some_and(|sweep| sweep.again_at <= now) {
                self.sweep(index, now);
            }
            self.apply(index, effects, now);
        }
    }

    /// Executes the actions of an attempt; the only place that does.
    fn apply(&mut self, index: usize, effects: Vec<Action>, now: Duration) {
        for effect in effects {
            let Some(live) = self.live.get_mut(&index) else { return };
            match effect {
                Action::Send(bytes) => {
                    if !live.process.send(&bytes) {
                        let effects = live.attempt.on_stdin_closed(now);
                        self.apply(index, effects, now);
                    }
                }
                Action::CloseInput => live.process.close_input(),
                Action::Terminate => {
                    live.process.terminate();
                    self.debug(index, "it does not end: SIGTERM");
                }
                Action::Kill => {
                    if live.attempt.exit().is_none() {
                        live.process.kill();
                        self.debug(index, "SIGKILL");
                    }
                    self.sweep(index, now);
                }
                Action::RecordOutput(said) => self.recent[index].push(&said),
                Action::Notice(text) => self.instance_notice(index, &text),
                Action::LimitReached { resets_at_epoch_s } => self.limit_reached(resets_at_epoch_s, now),
            }
        }
    }

    /// Handles attempts that are done: reads the verdict, or spawns the process of the next segment.
    fn finalize_exited(&mut self, now: Duration) {
        for index in self.running_where(|live| live.attempt.is_done() && live.sweep.is_none()) {
            self.abandon_unkillable(index);
            let Some(live) = self.live.get_mut(&index) else { continue };
            // An attempt that resumes a conversation cannot start a new one.
            let mismatch = live.attempt.session_mismatch().filter(|_| self.records[index].continues.is_none());
            let other_entry = mismatch.and_then(|is_there| live.entry.fallback(is_there));
            if let Some(entry) = other_entry
                && live.refused_entries < MAX_REFUSED_ENTRIES
                && self.stopped_by.is_none()
            {
                live.refused_entries += 1;
                self.start_another_process(index, entry, Attempt::restart, now);
                continue;
            }
            if live.attempt.needs_next_segment() {
                let entry = live.entry.next_conversation();
                self.debug(index, launch::CLEARED);
                self.start_another_process(index, entry, Attempt::start_next_segment, now);
                continue;
            }
            let verdict = live.attempt.verdict();
            self.copy_to_record(index);
            self.charge(index, now);
            match verdict {
                Verdict::Completed => match self.lost_session(index) {
                    None => self.finish_instance(index, Status::Completed, now),
                    Some(failure) => self.handle_failure(index, failure, now),
                },
                Verdict::Failed(failure) => self.handle_failure(index, failure, now),
            }
        }
    }
}

/// Returns the current wall-clock time, in milliseconds since 1970.
#[must_use]
pub fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
