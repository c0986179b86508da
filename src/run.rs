//! The loop: it joins the pure parts to the edge. One pass starts what is due, waits until something happens, and then
//! takes what happened in a fixed order: signals, pipes, deaths, deadlines. Effects are applied in one place, and every
//! wait has an end. The reports are written from what the records say.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::attempt::{Attempt, Effect, Verdict};
use crate::claude::command_line::{Abilities, Entry, arguments};
use crate::claude::environment::NOT_PASSED_ON;
use crate::claude::events::decode;
use crate::edge::descendants::{self, INSTANCE_VARIABLE, Mark, RUN_VARIABLE, Roots};
use crate::edge::files::{InstanceFiles, RunDirectory};
use crate::edge::find;
use crate::edge::guard::Guard;
use crate::edge::output::Output;
use crate::edge::process::{Heard, Launch, Process};
use crate::edge::signals::Signals;
use crate::exit::ExitCode;
use crate::flags::LogLevel;
use crate::lines::{Line, Lines};
use crate::outcome::{self, Failure, Reason, Status};
use crate::plan::Plan;
use crate::record::Record;
use crate::report::recent::Recent;
use crate::report::{self, Style, View};
use crate::schedule::{Pace, Schedule, Skip};

/// How much is read from a pipe before the next one has its turn.
const READ_BYTES: usize = 64 * 1024;

/// How long after an instance's survivors were killed it is looked whether they are gone.
const SWEEP_AGAIN: Duration = Duration::from_millis(10);

/// When that is given up: somebody else's process, or one that the kernel holds.
const SWEEP_GIVE_UP: Duration = Duration::from_secs(5);

/// How a run is to go, beyond its plan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How fast instances are started.
    pub pace: Pace,
    /// From an interrupt to SIGTERM.
    pub grace: Duration,
    /// From one report to the next.
    pub report_interval: Duration,
    /// Lines of an instance between two reports.
    pub max_console_lines: usize,
    /// Columns of such a line.
    pub max_line_columns: usize,
    /// How much is printed.
    pub log_level: LogLevel,
    /// How it looks.
    pub style: Style,
    /// The claude program.
    pub claude: PathBuf,
    /// What that one can do.
    pub abilities: Abilities,
    /// The descriptor limit that children get, where zen has raised its own.
    pub descriptor_limit: Option<(u64, u64)>,
    /// What `report.json` says of the run as a whole.
    pub facts: report::json::RunFacts,
}

/// A run under way.
pub struct Run<'a> {
    plan: &'a Plan,
    settings: Settings,
    clock: Clock,
    schedule: Schedule,
    records: Vec<Record>,
    live: Vec<Option<Live>>,
    recent: Vec<Recent>,
    signals: Signals,
    stopped_by: Option<Signal>,
    guard: Option<Guard>,
    /// Children that zen had before the run: a shell that became zen by exec may have left it some.
    not_ours: HashSet<i32>,
    directory: Option<RunDirectory>,
    stdout: Output,
    stderr: Output,
    next_report: Duration,
    buffer: Vec<u8>,
}

/// An instance that runs.
struct Live {
    attempt: Attempt,
    process: Process,
    lines: Lines,
    files: Option<InstanceFiles>,
    mark: Mark,
    entry: Entry,
    /// Whether the other way into its session was tried before.
    is_second_entry: bool,
    sweep: Option<Sweep>,
}

/// The search for what an instance has left behind.
struct Sweep {
    again_at: Duration,
    give_up_at: Duration,
}

/// Time since the run began.
struct Clock {
    began: Instant,
}

impl Clock {
    fn now(&self) -> Duration {
        self.began.elapsed()
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
        directory: Option<RunDirectory>,
        stdout: Output,
        stderr: Output,
    ) -> std::io::Result<Self> {
        descendants::adopt_orphans();
        let not_ours = descendants::children().unwrap_or_default().into_iter().collect();
        let guard = Guard::start(&settings.facts.run);
        let count = plan.instances.len();
        if let Some(directory) = &directory {
            let of_instance = |(i, instance): (usize, &crate::plan::Instance)| {
                directory.instance(i, count, &instance.name).directory().display().to_string()
            };
            settings.facts.directories = plan.instances.iter().enumerate().map(of_instance).collect();
        }
        Ok(Run {
            plan,
            clock: Clock { began: Instant::now() },
            schedule: Schedule::new(&plan.instances, settings.pace),
            records: vec![Record::default(); count],
            live: (0..count).map(|_| None).collect(),
            recent: (0..count).map(|_| Recent::new(settings.max_console_lines, settings.max_line_columns)).collect(),
            signals: Signals::catch()?,
            stopped_by: None,
            guard,
            not_ours,
            directory,
            stdout,
            stderr,
            next_report: settings.report_interval,
            buffer: vec![0; READ_BYTES],
            settings,
        })
    }

    /// Runs the plan to its end.
    pub fn run(mut self) -> ExitCode {
        self.write_report_json();
        loop {
            self.start_due();
            if self.schedule.is_over() {
                return self.end();
            }
            let ready = self.wait();
            let now = self.clock.now();
            self.take_signals(now);
            for pipe in ready {
                self.serve(pipe, now);
            }
            self.reap(now);
            self.pass_deadlines(now);
            self.finish_ended(now);
            self.report_if_due(now);
        }
    }

    fn start_due(&mut self) {
        loop {
            let now = self.clock.now();
            let Some(index) = self.schedule.due(now) else { return };
            self.schedule.started(index, now);
            self.start(index, now);
        }
    }

    fn start(&mut self, index: usize, now: Duration) {
        let instance = &self.plan.instances[index];
        let has_transcript = |uuid: &str| find::has_transcript(uuid, &instance.env);
        let entry = match &instance.session {
            Some(session) if has_transcript(&session.uuid) => Entry::Resume,
            _ => Entry::New,
        };
        let record = &mut self.records[index];
        record.status = Status::Running;
        record.started = Some(now);
        record.attempts += 1;
        self.start_process(index, entry, false, now);
    }

    fn start_process(&mut self, index: usize, entry: Entry, is_second_entry: bool, now: Duration) {
        let instance = &self.plan.instances[index];
        let launch = self.launch(index, entry);
        match Process::start(&launch, self.settings.descriptor_limit) {
            Ok(process) => {
                self.detail(index, &format!("started, pid {}", process.pid()));
                self.records[index].pid = Some(process.pid());
                let (attempt, effects) = Attempt::start(instance, self.settings.grace, now);
                let count = self.plan.instances.len();
                self.live[index] = Some(Live {
                    attempt,
                    process,
                    lines: Lines::default(),
                    files: self.directory.as_ref().map(|d| d.instance(index, count, &instance.name)),
                    mark: Mark::of_instance(&self.settings.facts.run, &instance.name),
                    entry,
                    is_second_entry,
                    sweep: None,
                });
                self.apply(index, effects, now);
            }
            Err(error) => {
                let what = format!("{} could not be started: {error}", launch.program.display());
                self.ended(index, Status::Failed(Failure::new(Reason::Spawn, what)), now);
            }
        }
    }

    fn launch(&self, index: usize, entry: Entry) -> Launch {
        let instance = &self.plan.instances[index];
        let mut variables: Vec<(OsString, Option<OsString>)> =
            NOT_PASSED_ON.iter().map(|name| (OsString::from(name), None)).collect();
        variables.extend(instance.env.iter().map(|(name, value)| (name.into(), value.as_ref().map(OsString::from))));
        variables.push((RUN_VARIABLE.into(), Some(self.settings.facts.run.as_str().into())));
        variables.push((INSTANCE_VARIABLE.into(), Some(instance.name.as_str().into())));
        let arguments = arguments(instance, entry, self.settings.abilities);
        Launch {
            program: self.settings.claude.clone(),
            arguments: arguments.into_iter().map(OsString::from).collect(),
            cwd: instance.cwd.clone(),
            variables,
        }
    }

    /// Waits until a pipe is ready, a signal comes, or something is due. Answers which pipes are ready.
    fn wait(&mut self) -> Vec<Pipe> {
        let timeout = self.next_wake_up().map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_sub(self.clock.now());
            // Rounded up: a wait that ends too early would be followed by one of no time, and so on.
            PollTimeout::try_from(left + Duration::from_nanos(999_999)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
        let waiting = [self.stdout.waiting_fd(), self.stderr.waiting_fd()];
        fds.extend(waiting.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        let first_pipe = fds.len();
        let mut pipes = Vec::new();
        for (index, live) in self.live.iter().enumerate() {
            let Some(live) = live else { continue };
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
        // An error of poll itself (a signal came, memory is short) is as good as nothing ready.
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        // Whatever the event is, an error or an end included, reading or writing tells what is the matter.
        let is_ready = |fd: &PollFd| fd.any() != Some(false);
        let ready = fds[first_pipe..].iter().zip(pipes).filter(|(fd, _)| is_ready(fd)).map(|(_, pipe)| pipe).collect();
        drop(fds);
        self.stdout.write_on();
        self.stderr.write_on();
        ready
    }

    fn next_wake_up(&self) -> Option<Duration> {
        let live = self.live.iter().flatten();
        let deadlines = live.flat_map(|live| [live.attempt.next_deadline(), live.sweep.as_ref().map(|s| s.again_at)]);
        let report = self.reports_status().then_some(self.next_report);
        deadlines.flatten().chain(report).chain(self.schedule.next_start_at()).min()
    }

    fn take_signals(&mut self, now: Duration) {
        for signal in self.signals.take() {
            match signal {
                Signal::SIGCHLD => {} // a pass of the loop reaps
                Signal::SIGUSR1 => self.print_status(now),
                stopping => self.stop(stopping, now),
            }
        }
    }

    /// The first stopping signal stops everything by the ladder, the next one at once.
    fn stop(&mut self, signal: Signal, now: Duration) {
        let why = Failure::interrupted(signal.as_str());
        let is_first = self.stopped_by.is_none();
        if is_first {
            self.stopped_by = Some(signal);
            self.message(&format!("{} came: everything is stopped; once more, and it is killed", signal.as_str()));
        }
        for index in self.schedule.stop() {
            let failure = Failure::new(Reason::Interrupted, format!("{} before it started", why.error));
            self.ended(index, Status::Failed(failure), now);
        }
        for index in 0..self.live.len() {
            if let Some(live) = &mut self.live[index] {
                let effects =
                    if is_first { live.attempt.stop(why.clone(), now) } else { live.attempt.kill(why.clone(), now) };
                self.apply(index, effects, now);
            }
        }
    }

    fn serve(&mut self, pipe: Pipe, now: Duration) {
        match pipe {
            Pipe::Input(index) => {
                if let Some(live) = &mut self.live[index]
                    && !live.process.write_on()
                {
                    let effects = live.attempt.input_refused(now);
                    self.apply(index, effects, now);
                }
            }
            Pipe::Output(index) => self.read_output(index, now),
            Pipe::Errors(index) => self.read_errors(index),
        }
    }

    fn read_output(&mut self, index: usize, now: Duration) {
        let Some(live) = &mut self.live[index] else { return };
        let Live { attempt, process, lines, files, .. } = live;
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
                lines.feed(bytes, &mut take);
                attempt.heard(now);
            }
            Heard::End => {
                lines.finish(&mut take);
                effects.extend(attempt.output_ended(now));
            }
            Heard::Nothing => {}
        }
        self.apply(index, effects, now);
    }

    fn read_errors(&mut self, index: usize) {
        let Some(live) = &mut self.live[index] else { return };
        match live.process.read_errors(&mut self.buffer) {
            Heard::Bytes(count) => {
                let bytes = &self.buffer[..count];
                if let (Some(directory), Some(files)) = (&mut self.directory, &mut live.files) {
                    directory.keep_stderr(files, bytes);
                }
                live.attempt.stderr(bytes);
            }
            Heard::End => live.attempt.stderr_ended(),
            Heard::Nothing => {}
        }
    }

    /// Reaps every child that has ended: instances, and orphans that came back to zen.
    fn reap(&mut self, now: Duration) {
        while let Some(pid) = descendants::ended_child() {
            let index = self.live.iter().position(|live| {
                live.as_ref().is_some_and(|l| l.attempt.exit().is_none() && l.process.pid().cast_signed() == pid)
            });
            let Some(live) = index.and_then(|i| self.live[i].as_mut()) else {
                descendants::reap(pid);
                continue;
            };
            // As long as it is not reaped, its number is its group's and nobody else's.
            live.process.kill();
            if let (Some(exit), Some(index)) = (live.process.reap(), index) {
                let effects = live.attempt.exited(exit, now);
                self.detail(index, &format!("its process ended with {exit}"));
                self.apply(index, effects, now);
            }
        }
    }

    fn pass_deadlines(&mut self, now: Duration) {
        for index in 0..self.live.len() {
            let Some(live) = &mut self.live[index] else { continue };
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
            let Some(live) = &mut self.live[index] else { return };
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
            }
        }
    }

    /// Ends what an instance has started and left behind, and looks again until nothing is left.
    fn sweep(&mut self, index: usize, now: Duration) {
        let unmarked = self.strays(index);
        let Some(live) = &mut self.live[index] else { return };
        let has_ended = live.attempt.exit().is_some();
        let leader = (!has_ended).then(|| live.process.pid().cast_signed());
        // When it has ended, whatever it left has become a child of zen. Without one there is nobody to look for.
        let found = if has_ended && unmarked.as_ref().is_some_and(|strays| strays.children == 0) {
            Vec::new()
        } else {
            let unmarked = unmarked.filter(|strays| strays.are_of_this_instance).map(|strays| strays.known);
            descendants::find(&live.mark, &Roots { leader, unmarked })
        };
        if found.is_empty() {
            live.sweep = None;
            return;
        }
        let give_up_at = live.sweep.as_ref().map_or(now + SWEEP_GIVE_UP, |sweep| sweep.give_up_at);
        if now >= give_up_at {
            live.sweep = None;
            self.records[index].survivors = found.iter().map(|process| process.pid).collect();
            return;
        }
        descendants::end(&found);
        live.sweep = Some(Sweep { again_at: now + SWEEP_AGAIN, give_up_at });
    }

    /// zen's children that are no instance's process; `None` where the system does not tell.
    fn strays(&self, index: usize) -> Option<Strays> {
        let known = self.known_children();
        let children = descendants::children()?.into_iter().filter(|pid| !known.contains(pid)).count();
        let others_live = self.live.iter().enumerate().any(|(i, live)| i != index && live.is_some());
        Some(Strays { children, known, are_of_this_instance: !others_live })
    }

    fn known_children(&self) -> HashSet<i32> {
        let instances = self.live.iter().flatten().filter(|live| live.attempt.exit().is_none());
        let mut known: HashSet<i32> = instances.map(|live| live.process.pid().cast_signed()).collect();
        known.extend(&self.not_ours);
        known.extend(self.guard.as_ref().map(Guard::pid));
        known
    }

    /// Books what every running instance has told, and the end of those whose process and pipes have ended.
    fn finish_ended(&mut self, now: Duration) {
        for index in 0..self.live.len() {
            let Some(live) = &mut self.live[index] else { continue };
            if !live.attempt.is_over() || live.sweep.is_some() {
                continue;
            }
            if let (Some(is_there), false) = (live.attempt.session_mismatch(), live.is_second_entry) {
                let entry = if is_there { Entry::Resume } else { Entry::New };
                if entry != live.entry && self.stopped_by.is_none() {
                    self.start_process(index, entry, true, now);
                    continue;
                }
            }
            let status = match live.attempt.verdict() {
                Verdict::Completed => Status::Completed,
                Verdict::Failed(failure) => Status::Failed(failure),
            };
            self.book(index);
            self.ended(index, status, now);
        }
    }

    /// Copies what the attempt knows to the record that the reports read.
    fn book(&mut self, index: usize) {
        let (Some(live), record) = (&self.live[index], &mut self.records[index]) else { return };
        let told = &live.attempt.told;
        record.used = live.attempt.used();
        record.exit = live.attempt.exit();
        record.session_id.clone_from(&told.session_id);
        record.model.clone_from(&told.model);
        record.result.clone_from(&told.result);
        record.turns_done = told.turns_done;
        record.denials.clone_from(&told.denials);
        record.retry.clone_from(&told.retry);
        record.retries = told.retries;
        record.garbage_lines = told.garbage_lines;
        record.long_lines = told.long_lines;
        record.limit_resets_at = told.limit_resets_at;
    }

    /// An instance has come to its end, or never started. Those that needed it are skipped.
    fn ended(&mut self, index: usize, status: Status, now: Duration) {
        let completed = status == Status::Completed;
        self.detail(index, status.word());
        if let Status::Failed(failure) = &status
            && self.settings.log_level >= LogLevel::Concise
        {
            self.message(&format!("{}: {}: {}", self.plan.instances[index].name, failure.reason, failure.error));
        }
        let record = &mut self.records[index];
        record.status = status;
        record.ended = Some(now);
        record.retry = None;
        if let Some(mut live) = self.live[index].take() {
            if !completed {
                self.recent[index].push_text(&String::from_utf8_lossy(&live.attempt.told.stderr_tail));
            }
            record.last_words = self.recent[index].last_words();
            if let (Some(directory), Some(files)) = (&mut self.directory, &mut live.files) {
                directory.keep_result(files, record.result.as_deref());
            }
        }
        for Skip { instance, because_of } in self.schedule.ended(index, completed) {
            let needed = &self.plan.instances[because_of].name;
            self.records[instance].status = Status::Skipped(format!("{needed} did not complete"));
            self.records[instance].ended = Some(now);
        }
        self.write_report_json();
    }

    fn reports_status(&self) -> bool {
        self.settings.log_level >= LogLevel::Concise
    }

    fn report_if_due(&mut self, now: Duration) {
        if let Some(error) = self.directory.as_mut().and_then(RunDirectory::take_error) {
            self.message(&format!("the run's files are not complete: {error}"));
        }
        if self.reports_status() && now >= self.next_report && !self.schedule.is_over() {
            self.print_status(now);
            // After a suspension one report is enough, not one for each that was missed.
            let missed = (now - self.next_report).as_nanos() / self.settings.report_interval.as_nanos().max(1);
            let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
            self.next_report += self.settings.report_interval.saturating_mul(steps);
        }
    }

    fn print_status(&mut self, now: Duration) {
        for index in 0..self.live.len() {
            self.book(index);
        }
        let view = View { plan: self.plan, records: &self.records, elapsed: now };
        let mut text = report::status::status(&view, self.settings.style);
        for (instance, recent) in self.plan.instances.iter().zip(&mut self.recent) {
            for line in recent.take(&instance.name, self.settings.style) {
                text += &line;
                text.push('\n');
            }
        }
        text.push('\n');
        self.stdout.print(&text);
        if let Some(error) = self.stdout.take_error() {
            self.message(&format!("no more reports: standard output: {}", error.desc()));
        }
    }

    /// Everything has ended: nothing may be left, and the summary says so.
    fn end(mut self) -> ExitCode {
        let left = self.end_strays();
        let now = self.clock.now();
        let code = match self.stopped_by {
            Some(signal) => ExitCode::Signal(signal as u8),
            None => outcome::exit_code(self.records.iter().map(|record| &record.status)),
        };
        self.settings.facts.exit_code = Some(code.number());
        self.settings.facts.stopped_by = self.stopped_by.map(|signal| signal.as_str().to_owned());
        self.write_report_json();
        if !left.is_empty() {
            self.message(&format!("processes that could not be ended: {left:?}"));
        }
        if self.reports_status() {
            self.print_status(now);
        }
        let view = View { plan: self.plan, records: &self.records, elapsed: now };
        let footer = report::summary::Footer {
            stopped_by: self.stopped_by.map(|signal| signal.as_str().to_owned()),
            logs: self.directory.as_ref().map(|d| d.path().to_owned()),
            exit: code,
        };
        let text = report::summary::summary(&view, self.settings.style, &footer);
        self.stdout.print(&text);
        if let Some(error) = self.directory.as_mut().and_then(RunDirectory::take_error) {
            self.message(&format!("the run's files are not complete: {error}"));
        }
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
        self.signals.take();
        self.stdout.finish(self.signals.fd());
        self.stderr.finish(self.signals.fd());
        code
    }

    /// Ends what no instance could be blamed for: processes without a mark that came back to zen.
    fn end_strays(&mut self) -> Vec<i32> {
        let mark = Mark::of_run(&self.settings.facts.run);
        let give_up = self.clock.now() + SWEEP_GIVE_UP;
        loop {
            while let Some(pid) = descendants::ended_child() {
                descendants::reap(pid);
            }
            let known = self.known_children();
            let has_children = descendants::children().is_none_or(|pids| pids.iter().any(|pid| !known.contains(pid)));
            if !has_children {
                return Vec::new();
            }
            let found = descendants::find(&mark, &Roots { leader: None, unmarked: Some(known) });
            if found.is_empty() || self.clock.now() >= give_up {
                return found.iter().map(|process| process.pid).collect();
            }
            descendants::end(&found);
            let timeout = PollTimeout::try_from(SWEEP_AGAIN).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(self.signals.fd(), PollFlags::POLLIN)], timeout);
            self.signals.take();
        }
    }

    fn write_report_json(&mut self) {
        let Some(directory) = &mut self.directory else { return };
        let view = View { plan: self.plan, records: &self.records, elapsed: self.clock.now() };
        directory.replace("report.json", &report::json::report(&view, &self.settings.facts));
    }

    /// A message for whoever looks after the run.
    fn message(&mut self, text: &str) {
        let line = format!("zen: {}\n", crate::text::clean(text));
        self.stderr.print(&if self.settings.style.unicode { line } else { crate::text::ascii(&line).into_owned() });
    }

    /// The same, for whoever wants to know every step.
    fn detail(&mut self, index: usize, text: &str) {
        if self.settings.log_level >= LogLevel::Detailed {
            let at = crate::text::seconds(self.clock.now());
            self.message(&format!("{at} {}: {text}", self.plan.instances[index].name));
        }
    }
}

/// Children of zen that are no instance's process.
struct Strays {
    children: usize,
    known: HashSet<i32>,
    are_of_this_instance: bool,
}

/// The time on the wall, in milliseconds since 1970.
#[must_use]
pub fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
