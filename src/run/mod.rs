//! The loop: it joins the pure parts to the edge. One pass starts what is due, waits until something happens, and then
//! takes what happened in a fixed order: signals, pipes, deaths, deadlines. Effects are applied in one place, and every
//! wait has an end.
//!
//! Beside it, each in a file of its own: starting a process, trying again, waiting for a session, what the ledger's answers
//! and a usage limit lead to, stopping down to the last descendant, ending, and reporting from what the records say.

mod budgeting;
mod ending;
mod halting;
pub mod later;
mod limits;
mod reporting;
mod retrying;
mod sessions;
mod starting;
mod stopping;
mod suspending;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::attempt::{Attempt, Effect, Verdict};
use crate::claude::abilities::Abilities;
use crate::claude::events::decode;
use crate::claude::session::Entry;
use crate::claude::tool_policy::hook::HookProgram;
use crate::edge::clocks;
use crate::edge::descendants::{self, Mark, Seen};
use crate::edge::files::{InstanceFiles, RunDirectory};
use crate::edge::find::ConversationState;
use crate::edge::lock::Lock;
use crate::edge::output::Output;
use crate::edge::process::{Heard, Process};
use crate::edge::session_locks::SessionLocks;
use crate::edge::signals::Signals;
use crate::exit::ExitCode;
use crate::flags::{LogLevel, OnSuccess};
use crate::halt::Halt;
use crate::ledger::{Answer, Ledger};
use crate::lines::{Line, Lines};
use crate::outcome::Status;
use crate::plan::Plan;
use crate::record::Record;
use crate::report::recent::Recent;
use crate::report::{self, Style};
use crate::run_clock::{self, RunClock};
use crate::schedule::{Pace, Schedule};
use crate::stages::Stages;
use crate::usage_limit::{self, UsageLimit};
use sessions::Sessions;
pub use sessions::{no_session_locks, session_entry};
use stopping::Sweep;

/// How much is read from a pipe before the next one has its turn.
const READ_BYTES: usize = 64 * 1024;

/// How many conversations of a session may be there that nothing told of.
const MAX_REFUSED_ENTRIES: u32 = 10;

/// How long the first launch waits for the first version of `report.json`, so that a run is on record before it costs
/// anything. A slow disk must not hold it up longer.
const FIRST_REPORT_LIMIT: Duration = Duration::from_secs(1);

/// How a run is to go, beyond its plan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How fast instances are started.
    pub pace: Pace,
    /// From an interrupt to SIGTERM.
    pub grace: Duration,
    /// What a usage limit does.
    pub limit_policy: usage_limit::Policy,
    /// How many failures stop the run, if any do.
    pub halt: Option<Halt>,
    /// From one report to the next.
    pub report_interval: Duration,
    /// Lines of an instance between two reports.
    pub max_console_lines: usize,
    /// Columns of such a line.
    pub max_line_columns: usize,
    /// How much is printed.
    pub log_level: LogLevel,
    /// What is printed at the end if every instance has completed.
    pub on_success: OnSuccess,
    /// How it looks.
    pub style: Style,
    /// The claude program.
    pub claude: PathBuf,
    /// What that one can do.
    pub abilities: Abilities,
    /// Where it finds the program that decides on the use of tools.
    pub hook: HookProgram,
    /// The instances whose slash command is known to be missing, with the error.
    pub missing_commands: Vec<(usize, String)>,
    /// The descriptor limit that children get, where zen has raised its own.
    pub descriptor_limit: Option<(u64, u64)>,
    /// What `report.json` says of the run as a whole.
    pub facts: report::json::RunFacts,
}

/// A run under way.
pub struct Run<'a> {
    plan: &'a Plan,
    settings: Settings,
    clock: RunClock,
    schedule: Schedule,
    ledger: Ledger,
    budget_holds_back: bool,
    usage_limit: Option<UsageLimit>,
    /// Instances whose account the API refused, one for each account.
    refused_accounts: Vec<usize>,
    /// Why `--halt` has stopped the run, if it has.
    halted: Option<String>,
    stages: Stages,
    records: Vec<Record>,
    /// Those that run.
    live: BTreeMap<usize, Live>,
    /// The instance of each of zen's children, until that is reaped.
    by_child: HashMap<i32, usize>,
    recent: Vec<Recent>,
    /// Notices about instances that were printed: another attempt does not print them again.
    notices: HashSet<(usize, String)>,
    signals: Signals,
    stopped_by: Option<Signal>,
    mark: Mark,
    /// Children that zen had before the run: a shell that became zen by exec may have left it some.
    inherited: HashSet<i32>,
    /// True if processes that are not the run's may come to zen as orphans.
    has_inherited: bool,
    /// Processes of instances that could not be ended.
    unended: Vec<Seen>,
    directory: Option<RunDirectory>,
    /// Held to the end.
    lock: Option<Lock>,
    sessions: Sessions,
    stdout: Output,
    stderr: Output,
    next_report: Duration,
    last_report: Option<Duration>,
    json: Json,
    buffer: Vec<u8>,
    /// For long lines, lent to whoever is read.
    spare: Vec<u8>,
}

/// When `report.json` is written again.
#[derive(Default)]
struct Json {
    is_stale: bool,
    not_before: Duration,
}

/// An instance that runs.
struct Live {
    attempt: Attempt,
    process: Process,
    lines: Lines,
    files: Option<InstanceFiles>,
    entry: Entry,
    /// The file of its conversation before its process started.
    conversation_before: Option<ConversationState>,
    /// How often claude has refused the way into its session.
    refused_entries: u32,
    sweep: Option<Sweep>,
}

impl Live {
    /// When something is to be done with it, whatever happens until then.
    fn due_at(&self) -> Option<Duration> {
        let sweep = self.sweep.as_ref().map(|sweep| sweep.again_at);
        self.attempt.next_deadline().into_iter().chain(sweep).min()
    }
}

/// Which pipe of which instance.
#[derive(Clone, Copy)]
enum Pipe {
    Input(usize),
    Output(usize),
    Errors(usize),
}

impl<'a> Run<'a> {
    /// Gets a run ready; nothing is started.
    ///
    /// # Errors
    /// The system's, if signals cannot be caught.
    pub fn new(
        plan: &'a Plan,
        mut settings: Settings,
        mut directory: Option<RunDirectory>,
        lock: Option<Lock>,
        session_locks: Option<SessionLocks>,
        stdout: Output,
        stderr: Output,
    ) -> std::io::Result<Self> {
        descendants::adopt_orphans();
        let inherited: HashSet<i32> = descendants::children().unwrap_or_default().into_iter().collect();
        let count = plan.instances.len();
        let mut ledger = Ledger::new(&plan.budget, &plan.instances, &plan.prices);
        budgeting::learn_from_earlier_runs(&mut ledger, plan, directory.as_ref(), &settings.facts);
        if let Some(directory) = &mut directory {
            directory.start_report_thread();
            let of_instance = |(i, instance): (usize, &crate::plan::Instance)| {
                directory.instance(i, count, &instance.name).directory().display().to_string()
            };
            settings.facts.directories = plan.instances.iter().enumerate().map(of_instance).collect();
        }
        Ok(Run {
            plan,
            clock: RunClock::new(clocks::read()),
            schedule: Schedule::new(&plan.instances, settings.pace),
            ledger,
            budget_holds_back: false,
            usage_limit: None,
            refused_accounts: Vec::new(),
            halted: None,
            stages: Stages::new(&plan.instances),
            records: vec![Record::default(); count],
            live: BTreeMap::new(),
            by_child: HashMap::new(),
            recent: (0..count).map(|_| Recent::new(settings.max_console_lines, settings.max_line_columns)).collect(),
            notices: HashSet::new(),
            signals: Signals::catch()?,
            stopped_by: None,
            mark: Mark::of_run(&settings.facts.run),
            has_inherited: descendants::is_init() || !inherited.is_empty(),
            inherited,
            unended: Vec::new(),
            directory,
            lock,
            sessions: Sessions::new(session_locks),
            stdout,
            stderr,
            next_report: settings.report_interval,
            last_report: None,
            json: Json::default(),
            buffer: vec![0; READ_BYTES],
            spare: Vec::new(),
            settings,
        })
    }

    /// Runs the plan to its end.
    pub fn run(mut self) -> ExitCode {
        self.write_report_json();
        if let Some(directory) = &self.directory {
            directory.wait_for_report(FIRST_REPORT_LIMIT);
        }
        self.print_start();
        self.fail_missing_commands();
        loop {
            self.start_due();
            if self.schedule.is_over() {
                return self.end();
            }
            self.update_report_json();
            let ready = self.wait();
            let now = self.now();
            let (signals_came, is_quiet) = (self.take_signals(now), ready.is_empty());
            for pipe in ready {
                self.serve(pipe, now);
            }
            // Not for SIGCHLD alone: its byte is lost where the pipe is full of others. And whatever else can become of a
            // signal, a quiet pass finds who has ended.
            if signals_came || is_quiet {
                self.reap(now);
            }
            self.pass_deadlines(now);
            self.finish_ended(now);
            self.report_if_due(now);
        }
    }

    fn start_due(&mut self) {
        loop {
            let now = self.now();
            match self.ledger.next(self.schedule.ready(now), now) {
                Some((index, Answer::Start)) => {
                    if self.enter_session(index, now) {
                        self.ledger.started(index, now);
                        self.schedule.started(index, now);
                        self.start(index, now);
                    }
                }
                Some((index, Answer::Refuse(refusal))) => self.refuse(index, refusal, now),
                None => {
                    self.budget_holds_back = self.schedule.ready(now).next().is_some();
                    return;
                }
            }
        }
    }

    /// Waits until a pipe is ready, a signal comes, or something is due. Answers which pipes are ready.
    fn wait(&mut self) -> Vec<Pipe> {
        let limit = self.wait_limit();
        // Rounded up: a wait that ends too early would be followed by one of no time, and so on.
        let timeout = PollTimeout::try_from(limit + Duration::from_nanos(999_999)).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
        let waiting = [self.stdout.waiting_fd(), self.stderr.waiting_fd()];
        fds.extend(waiting.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        let first_pipe = fds.len();
        let mut pipes = Vec::new();
        for (&index, live) in &self.live {
            let process = &live.process;
            let input = process.input_fd().filter(|_| process.has_unsent());
            for (fd, flags, pipe) in [
                (input, PollFlags::POLLOUT, Pipe::Input(index)),
                (process.output_fd(), PollFlags::POLLIN, Pipe::Output(index)),
                (process.errors_fd(), PollFlags::POLLIN, Pipe::Errors(index)),
            ] {
                if let Some(fd) = fd {
                    fds.push(PollFd::new(fd, flags));
                    pipes.push(pipe);
                }
            }
        }
        let before = clocks::read();
        // An error of poll itself (a signal came, memory is short) is as good as nothing ready.
        let is_error = poll(&mut fds, timeout).is_err();
        let pause = self.clock.on_wait(limit, before, clocks::read());
        if is_error {
            fds.clear();
            pipes.clear();
        }
        // Whatever the event is, an error or an end included, reading or writing tells what is the matter.
        let is_ready = |fd: &PollFd| fd.any() != Some(false);
        let ready =
            fds.iter().skip(first_pipe).zip(pipes).filter(|(fd, _)| is_ready(fd)).map(|(_, pipe)| pipe).collect();
        drop(fds);
        if let Some(pause) = pause {
            self.paused(pause);
        }
        self.stdout.write_on();
        self.stderr.write_on();
        ready
    }

    /// Returns the time since the run began, less its pauses.
    fn now(&self) -> Duration {
        self.clock.elapsed(clocks::read())
    }

    /// Returns how long the next wait may take: until something is due, and not so long that a pause goes unnoticed.
    fn wait_limit(&self) -> Duration {
        let most = if self.live.is_empty() { run_clock::MAX_IDLE_WAIT } else { run_clock::MAX_WAIT };
        self.next_wake_up().map_or(most, |at| at.saturating_sub(self.now()).min(most))
    }

    fn next_wake_up(&self) -> Option<Duration> {
        let deadlines = self.live.values().filter_map(Live::due_at);
        let report = self.reports_status().then_some(self.next_report);
        // Whom only the budget holds back starts when another has settled, and not at a time.
        let start = if self.budget_holds_back {
            self.schedule.next_again_at().into_iter().chain(self.ledger.first_message_due(self.now())).min()
        } else {
            self.schedule.next_start_at()
        };
        // Without a directory it stays stale, and nothing is due.
        let json = (self.json.is_stale && self.directory.is_some()).then_some(self.json.not_before);
        deadlines.chain(report).chain(start).chain(json).min()
    }

    /// Those that run, in the order of the config.
    fn running(&self) -> Vec<usize> {
        self.live.keys().copied().collect()
    }

    /// Those of them for whom this holds: in most passes nobody.
    fn running_that(&self, holds: impl Fn(&Live) -> bool) -> Vec<usize> {
        self.live.iter().filter(|(_, live)| holds(live)).map(|(&index, _)| index).collect()
    }

    /// Answers whether any came.
    fn take_signals(&mut self, now: Duration) -> bool {
        let signals = self.signals.take();
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

    fn serve(&mut self, pipe: Pipe, now: Duration) {
        match pipe {
            Pipe::Input(index) => {
                if let Some(live) = self.live.get_mut(&index)
                    && !live.process.write_on()
                {
                    let effects = live.attempt.input_refused(now);
                    self.apply(index, effects, now);
                }
            }
            Pipe::Output(index) => self.read_output(index, now),
            Pipe::Errors(index) => self.read_errors(index, now),
        }
    }

    fn read_output(&mut self, index: usize, now: Duration) {
        let Some(live) = self.live.get_mut(&index) else { return };
        let Live { attempt, process, lines, files, .. } = live;
        let turns_done = attempt.told.turns_done;
        let mut effects = Vec::new();
        let mut take = |line: Line| {
            effects.extend(match line {
                Line::Whole(bytes) => attempt.event(decode(bytes), now),
                Line::TooLong { head, bytes } => attempt.long_line(head, bytes, now),
            });
        };
        match process.read_output(&mut self.buffer) {
            Heard::Bytes(count) => {
                let bytes = &self.buffer[..count];
                if let (Some(directory), Some(files)) = (&mut self.directory, files) {
                    directory.keep_stream(files, bytes);
                }
                lines.swap_spare(&mut self.spare);
                lines.feed(bytes, &mut take);
                lines.swap_spare(&mut self.spare);
                attempt.heard(now);
            }
            Heard::End => {
                lines.finish(&mut take);
                effects.extend(attempt.output_ended(now));
            }
            Heard::Nothing => {}
        }
        self.apply(index, effects, now);
        self.tell_answers(index, turns_done);
        self.book(index, now);
    }

    fn read_errors(&mut self, index: usize, now: Duration) {
        let Some(live) = self.live.get_mut(&index) else { return };
        match live.process.read_errors(&mut self.buffer) {
            Heard::Bytes(count) => {
                let bytes = &self.buffer[..count];
                if let (Some(directory), Some(files)) = (&mut self.directory, &mut live.files) {
                    directory.keep_stderr(files, bytes);
                }
                live.attempt.stderr(bytes);
                live.attempt.heard(now);
            }
            Heard::End => live.attempt.stderr_ended(),
            Heard::Nothing => {}
        }
    }

    /// Reaps every child that has ended: reapers of instances, and orphans that came back to zen.
    fn reap(&mut self, now: Duration) {
        while let Some(pid) = descendants::ended_child() {
            let index = self.by_child.remove(&pid);
            let Some((index, live)) = index.and_then(|index| Some((index, self.live.get_mut(&index)?))) else {
                descendants::reap(pid);
                self.unended.retain(|process| process.pid != pid);
                continue;
            };
            if let Some(exit) = live.process.reap() {
                let effects = live.attempt.exited(exit, now);
                self.detail(index, &format!("its process ended with {exit}"));
                self.apply(index, effects, now);
            }
        }
    }

    fn pass_deadlines(&mut self, now: Duration) {
        for index in self.running_that(|live| live.due_at().is_some_and(|at| at <= now)) {
            let Some(live) = self.live.get_mut(&index) else { continue };
            let effects = live.attempt.deadline(now);
            if live.sweep.as_ref().is_some_and(|sweep| sweep.again_at <= now) {
                self.sweep(index, now);
            }
            self.apply(index, effects, now);
        }
    }

    /// The one place where what an attempt wants is done.
    fn apply(&mut self, index: usize, effects: Vec<Effect>, now: Duration) {
        for effect in effects {
            let Some(live) = self.live.get_mut(&index) else { return };
            match effect {
                Effect::Send(bytes) => {
                    if !live.process.send(&bytes) {
                        let effects = live.attempt.input_refused(now);
                        self.apply(index, effects, now);
                    }
                }
                Effect::CloseInput => live.process.close_input(),
                Effect::Terminate => {
                    live.process.terminate();
                    self.detail(index, "it does not end: SIGTERM");
                }
                Effect::Kill => {
                    if live.attempt.exit().is_none() {
                        live.process.kill();
                        self.detail(index, "SIGKILL");
                    }
                    self.sweep(index, now);
                }
                Effect::Tell(said) => self.recent[index].push(&said),
                Effect::Notice(text) => self.notice(index, &text),
                Effect::LimitReached { resets_at_epoch_s } => self.limit_reached(resets_at_epoch_s, now),
            }
        }
    }

    /// Takes the verdicts of those whose process and pipes have ended, or starts the process that goes on with their work.
    fn finish_ended(&mut self, now: Duration) {
        for index in self.running_that(|live| live.attempt.is_over() && live.sweep.is_none()) {
            self.give_up_unended(index);
            let Some(live) = self.live.get_mut(&index) else { continue };
            // An attempt that continues a conversation cannot begin another one.
            let mismatch = live.attempt.session_mismatch().filter(|_| self.records[index].continues.is_none());
            let other_entry = mismatch.and_then(|is_there| live.entry.when_refused(is_there));
            if let Some(entry) = other_entry
                && live.refused_entries < MAX_REFUSED_ENTRIES
                && self.stopped_by.is_none()
            {
                live.refused_entries += 1;
                self.start_another_process(index, entry, Attempt::start_again, now);
                continue;
            }
            if live.attempt.goes_on() {
                let entry = live.entry.cleared();
                self.detail(index, starting::CLEARED);
                self.start_another_process(index, entry, Attempt::start_next_leg, now);
                continue;
            }
            let verdict = live.attempt.verdict();
            self.copy_to_record(index);
            self.book(index, now);
            match verdict {
                Verdict::Completed => match self.lost_session(index) {
                    None => self.ended(index, Status::Completed, now),
                    Some(failure) => self.failed(index, failure, now),
                },
                Verdict::Failed(failure) => self.failed(index, failure, now),
            }
        }
    }
}

/// The time on the wall, in milliseconds since 1970.
#[must_use]
pub fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
