//! The loop of a run: passes events to the engine, and performs the actions that it returns.
//!
//! Each pass launches the instances that are due, polls with a timeout, and then handles in a fixed order: signals,
//! pipes, exited children, deadlines. `Supervisor::perform` is the one place that performs actions. `children` owns
//! the processes, `launcher` starts them, `reporter` writes all output and files.

mod children;
mod cleanup;
pub mod delayed_start;
mod launcher;
mod reporter;
mod sessions;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::base::lines::Line;
use crate::claude::protocol::decode;
use crate::claude::usage_meter::ModelUsage;
use crate::engine::event::{Action, Cleanup, Event, Launch, ProcessEvent, StopSignal};
use crate::engine::exit_code::ExitCode;
use crate::engine::notice::Notice;
use crate::engine::run_clock::Now;
use crate::engine::run_clock::RunClock;
use crate::engine::timing;
use crate::engine::{Engine, RunPolicy};
use crate::plan::{InstanceId, Plan};
use crate::system::child::ReadOutcome;
use crate::system::clock;
use crate::system::file_lock::Lock;
use crate::system::job_control;
use crate::system::output::Output;
use crate::system::run_dir::RunDirectory;
use crate::system::session_locks::SessionLocks;
use crate::system::signals::Signals;
use children::{Children, Pipe};
use cleanup::Survivors;
pub use launcher::LaunchSettings;
use launcher::{Launcher, SessionAccess};
pub use reporter::ReportSettings;
use reporter::Reporter;
pub use sessions::session_entry;

/// Settings of a run, apart from its plan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Policy of the decisions.
    pub policy: RunPolicy,
    /// Usage of each instance when it last completed, by name, for instances without an estimate.
    pub earlier_usage: BTreeMap<String, ModelUsage>,
    /// Instances with a missing slash command, and the error of each.
    pub missing_commands: Vec<(InstanceId, String)>,
    /// Settings of the processes.
    pub launch: LaunchSettings,
    /// Settings of the output.
    pub reports: ReportSettings,
}

/// Open files and streams of a run.
pub struct Resources {
    /// Output and files.
    pub sinks: Sinks,
    /// Locks.
    pub locks: Locks,
}

/// Output and files of a run.
pub struct Sinks {
    /// Directory of the run's files, if it keeps any.
    pub directory: Option<RunDirectory>,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}

/// Locks of a run.
pub struct Locks {
    /// Lock of the run, held until zen exits.
    pub run: Option<Lock>,
    /// Locks of the sessions; `None` if the plan has no session, or if locking failed.
    pub sessions: Option<SessionLocks>,
}

/// A run in progress.
pub struct Supervisor<'a> {
    engine: Engine<'a>,
    children: Children,
    launcher: Launcher<'a>,
    reporter: Reporter<'a>,
    signals: Signals,
    clock: RunClock,
    missing_commands: Vec<(InstanceId, String)>,
}

impl<'a> Supervisor<'a> {
    /// Prepares a run without starting any instance.
    ///
    /// # Errors
    /// Returns the system's error if the signal handlers cannot be installed.
    pub fn new(plan: &'a Plan, settings: Settings, resources: Resources) -> std::io::Result<Self> {
        let run = settings.reports.metadata.run.clone();
        Ok(Supervisor {
            engine: Engine::new(plan, settings.policy, &settings.earlier_usage),
            children: Children::new(&run),
            launcher: Launcher::new(plan, settings.launch, run, resources.locks),
            reporter: Reporter::new(plan, settings.reports, resources.sinks),
            signals: Signals::install()?,
            clock: RunClock::new(clock::read()),
            missing_commands: settings.missing_commands,
        })
    }

    /// Runs the plan to its end and returns the exit code.
    pub fn run(mut self) -> ExitCode {
        self.reporter.start(&self.engine, self.now());
        let missing = std::mem::take(&mut self.missing_commands);
        self.handle(Event::MissingCommands(missing));
        loop {
            self.launch_due();
            if self.engine.is_finished() {
                return self.end();
            }
            self.reporter.update_json(&self.engine, &self.clock);
            let ready = self.wait();
            let had_signals = self.handle_signals();
            // Reaps not only on SIGCHLD: its byte is lost if the pipe is full. If the signal itself is lost, a quiet
            // pass finds the exited children.
            let must_reap = had_signals || ready.is_empty();
            for (id, pipe) in ready {
                self.handle_pipe(id, pipe);
            }
            if must_reap {
                self.reap();
            }
            self.clean_due();
            self.handle(Event::Tick);
            self.reporter.report_if_due(&self.engine, self.now());
        }
    }

    fn launch_due(&mut self) {
        loop {
            let actions = self.engine.launch(self.moment());
            if actions.is_empty() {
                return;
            }
            self.perform(actions);
        }
    }

    /// Waits until a pipe is ready, a signal arrives, or a deadline expires. Returns the ready pipes.
    fn wait(&mut self) -> Vec<(InstanceId, Pipe)> {
        let now = self.now();
        let longest = if self.children.is_empty() { timing::MAX_IDLE_WAIT } else { timing::MAX_WAIT };
        let deadlines =
            [self.engine.next_deadline(now), self.children.next_cleanup(), self.reporter.next_deadline(&self.engine)];
        let next = deadlines.into_iter().flatten().min();
        let timeout = next.map_or(longest, |at| at.saturating_sub(now).min(longest));
        let before = clock::read();
        let ready = self.children.poll(&self.signals, self.reporter.pending_fds(), timeout);
        let pause = self.clock.on_wait(timeout, before, clock::read());
        if let Some(pause) = pause {
            self.on_pause(pause, Notice::Paused(pause));
        }
        self.reporter.flush();
        ready
    }

    /// Handles pending signals. Returns true if there were any.
    fn handle_signals(&mut self) -> bool {
        let signals = self.signals.drain();
        for &signal in &signals {
            match signal {
                Signal::SIGCHLD => {} // the loop reaps
                Signal::SIGUSR1 => self.reporter.print_status(&self.engine, self.now()),
                Signal::SIGTSTP => self.suspend(),
                _ => self.handle(Event::Stop(StopSignal { name: signal.as_str(), number: signal as u8 })),
            }
        }
        !signals.is_empty()
    }

    /// Stops all instances, then zen itself, and continues them when zen is continued.
    fn suspend(&mut self) {
        self.reporter.notice(&Notice::Suspending, &self.engine, self.now());
        let before = clock::read();
        let stopped = job_control::stop_all(&self.children.roots());
        job_control::stop_self(Signal::SIGTSTP);
        job_control::continue_all(&stopped);
        if let Some(pause) = self.clock.on_stop(before, clock::read()) {
            self.on_pause(pause, Notice::Continued(pause));
        }
    }

    fn on_pause(&mut self, pause: Duration, notice: Notice) {
        self.reporter.add_pause(self.now(), pause);
        self.reporter.notice(&notice, &self.engine, self.now());
        self.handle(Event::Pause(pause));
    }

    fn handle_pipe(&mut self, id: InstanceId, pipe: Pipe) {
        match pipe {
            Pipe::Stdin if !self.children.flush_stdin(id) => self.handle_process(id, ProcessEvent::StdinClosed),
            Pipe::Stdin => {}
            Pipe::Stdout => self.read_stdout(id),
            Pipe::Stderr => self.read_stderr(id),
        }
    }

    fn read_stdout(&mut self, id: InstanceId) {
        let now = self.moment();
        let Supervisor { engine, children, reporter, .. } = self;
        let mut actions = Vec::new();
        let on_bytes = |bytes: &[u8]| reporter.append_stdout(id, bytes);
        let on_line = |line: Line| {
            let event = match line {
                Line::Complete(bytes) => ProcessEvent::Output(decode(bytes)),
                Line::Oversized { head, bytes } => ProcessEvent::OversizedLine { head, bytes },
            };
            actions.extend(engine.handle(Event::Process(id, event), now));
        };
        let outcome = children.read_stdout(id, on_bytes, on_line);
        self.perform(actions);
        match outcome {
            ReadOutcome::Data(_) => self.handle_process(id, ProcessEvent::OutputRead),
            ReadOutcome::Eof => self.handle_process(id, ProcessEvent::StdoutEof),
            ReadOutcome::WouldBlock => {}
        }
    }

    fn read_stderr(&mut self, id: InstanceId) {
        let now = self.moment();
        let Supervisor { engine, children, reporter, .. } = self;
        let mut actions = Vec::new();
        let on_bytes = |bytes: &[u8]| {
            reporter.append_stderr(id, bytes);
            actions = engine.handle(Event::Process(id, ProcessEvent::Stderr(bytes)), now);
        };
        let outcome = children.read_stderr(id, on_bytes);
        self.perform(actions);
        if outcome == ReadOutcome::Eof {
            self.handle_process(id, ProcessEvent::StderrEof);
        }
    }

    fn reap(&mut self) {
        for (id, exit) in self.children.reap() {
            self.handle_process(id, ProcessEvent::Exited(exit));
        }
    }

    /// Continues the cleanups that are due.
    fn clean_due(&mut self) {
        let now = self.now();
        for id in self.children.due_cleanups(now) {
            if let Some(survivors) = self.children.clean(id, now) {
                let event = self.cleaned(id, survivors);
                self.handle_process(id, event);
            }
        }
    }

    fn handle_process(&mut self, id: InstanceId, event: ProcessEvent) {
        self.handle(Event::Process(id, event));
    }

    fn handle(&mut self, event: Event) {
        let actions = self.engine.handle(event, self.moment());
        self.perform(actions);
    }

    /// Performs actions in order, and passes the events that answer them back to the engine.
    fn perform(&mut self, actions: Vec<Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if let Some((id, event)) = self.perform_one(action) {
                queue.extend(self.engine.handle(Event::Process(id, event), self.moment()));
            }
        }
    }

    /// Performs an action. Returns the event that answers it, if there is one.
    fn perform_one(&mut self, action: Action) -> Option<(InstanceId, ProcessEvent<'static>)> {
        match action {
            Action::Spawn(launch) => return Some((launch.instance, self.spawn(&launch))),
            Action::Write(id, bytes) if !self.children.write(id, &bytes) => {
                return Some((id, ProcessEvent::StdinClosed));
            }
            Action::Write(..) => {}
            Action::CloseStdin(id) => self.children.close_stdin(id),
            Action::Terminate(id) => self.children.terminate(id),
            Action::Kill(id) => {
                let survivors = self.children.kill(id, self.now())?;
                return Some((id, self.cleaned(id, survivors)));
            }
            Action::Abandon(id) => {
                let survivors = self.children.abandon(id);
                return Some((id, self.cleaned(id, survivors)));
            }
            Action::ReleaseSession(id) => self.launcher.release_session(id),
            Action::RecordOutput(id, block) => self.reporter.record_output(id, &block),
            Action::EndAttempt { instance, stderr, result } => {
                self.children.remove(instance);
                let last_output = self.reporter.end_attempt(instance, stderr.as_deref(), result.as_deref());
                self.engine.set_last_output(instance, last_output);
            }
            Action::Notice(notice) => self.reporter.notice(&notice, &self.engine, self.now()),
        }
        None
    }

    fn spawn(&mut self, launch: &Launch) -> ProcessEvent<'static> {
        let id = launch.instance;
        if launch.entry.is_none() {
            match self.launcher.lock_session(id) {
                SessionAccess::Granted => {}
                SessionAccess::Busy => return ProcessEvent::SessionBusy,
                SessionAccess::Unknown(problem) => {
                    self.reporter.notice(&Notice::NoSessionLocks(problem.to_string()), &self.engine, self.now());
                }
            }
        }
        match self.launcher.spawn(launch, self.reporter.unopened_files()) {
            Ok((process, entry)) => {
                let pid = process.pid();
                self.children.insert(id, process);
                self.reporter.open_files(id);
                ProcessEvent::Spawned { pid, entry }
            }
            Err(error) => ProcessEvent::SpawnFailed { error: error.message, is_permanent: error.is_permanent },
        }
    }

    fn cleaned(&self, id: InstanceId, survivors: Survivors) -> ProcessEvent<'static> {
        ProcessEvent::Cleaned(Cleanup {
            survivors: survivors.pids,
            had_descendants: survivors.had_descendants,
            is_conversation_saved: self.launcher.is_conversation_saved(id),
        })
    }

    /// Kills leftover processes, writes the final report and the summary, and returns the exit code.
    fn end(mut self) -> ExitCode {
        let survivors = self.children.kill_orphans(&mut self.signals, &self.clock);
        let unkillable = self.children.alive_unkillable();
        self.engine.retain_survivors(|pid| unkillable.contains(&pid));
        let now = self.now();
        self.reporter.finish(&self.engine, survivors, now, &mut self.signals)
    }

    /// Returns the time since the run began, excluding pauses.
    fn now(&self) -> Duration {
        self.clock.elapsed(clock::read())
    }

    /// Returns the current moment on both clocks.
    fn moment(&self) -> Now {
        Now { elapsed: self.now(), epoch_ms: epoch_ms() }
    }
}

/// Returns the current wall-clock time, in milliseconds since 1970.
#[must_use]
pub fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
