//! Fake runner: performs the engine's actions on fake processes, moves the virtual clock, and checks each step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Random;
use super::claude::{self, Deed, Deeds, EPOCH_MS, Script};
use crate::claude::session::{OpenMode, SessionEntry};
use crate::config::halt::HaltMode;
use crate::config::{DependencyCondition, Enforcement};
use crate::engine::event::{Action, Cleanup, Event, Launch, ProcessEvent, StopSignal};
use crate::engine::exit_code::ExitCode;
use crate::engine::notice::Notice;
use crate::engine::outcome::{ExitStatus, FailureKind, Status};
use crate::engine::run_clock::Now;
use crate::engine::{Engine, RunPolicy};
use crate::plan::{InstanceId, Plan};

/// Bound on the passes of one run: a run that needs more does not end.
const MAX_PASSES: u32 = 100_000;

/// Events that a thousand runs must cover.
pub(super) const COVERED: [&str; 14] = [
    "abandoned",
    "budget",
    "busy",
    "completed",
    "halted",
    "interrupted",
    "killed",
    "limit",
    "paused",
    "retried",
    "second signal",
    "skipped",
    "spawn failed",
    "timeout",
];

/// A fake process.
struct Process {
    /// Number of the process: events of an earlier one are dropped.
    number: u64,
    is_alive: bool,
    is_cleaning: bool,
    is_unkillable: bool,
    has_stdout: bool,
}

/// Something that happens at a time.
enum Scheduled {
    Deed(InstanceId, u64, Deed),
    /// EOF on stderr.
    CloseStderr(InstanceId, u64),
    Cleaned(InstanceId, u64),
    Stop(StopSignal),
    Pause(Duration),
}

pub(super) struct World<'a> {
    plan: &'a Plan,
    policy: RunPolicy,
    engine: Engine<'a>,
    random: Random,
    seed: u64,
    now: Duration,
    paused: Duration,
    schedule: BTreeMap<(Duration, u64), Scheduled>,
    serial: u64,
    processes: BTreeMap<InstanceId, Process>,
    /// Instances that hold the lock of their session.
    sessions: BTreeSet<InstanceId>,
    /// Tokens that each instance has printed.
    printed: Vec<u64>,
    attempts: Vec<u32>,
    ended_attempts: Vec<u32>,
    last_launch: Option<Duration>,
    is_stopped: bool,
    /// True if `--halt now` has stopped the run.
    is_halted_now: bool,
    seen: BTreeSet<&'static str>,
    /// Behavior of each instance, if it is not random. Nothing else then fails.
    scripts: Option<&'a [Script]>,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a Plan, policy: RunPolicy, random: Random, seed: u64) -> Self {
        let count = plan.instances.len();
        let mut world = World {
            plan,
            engine: Engine::new(plan, policy.clone(), &BTreeMap::new()),
            policy,
            random,
            seed,
            now: Duration::ZERO,
            paused: Duration::ZERO,
            schedule: BTreeMap::new(),
            serial: 0,
            processes: BTreeMap::new(),
            sessions: BTreeSet::new(),
            printed: vec![0; count],
            attempts: vec![0; count],
            ended_attempts: vec![0; count],
            last_launch: None,
            is_stopped: false,
            is_halted_now: false,
            seen: BTreeSet::new(),
            scripts: None,
        };
        world.plan_disturbances();
        world
    }

    /// Returns a world without faults, in which each instance follows its script.
    pub(super) fn scripted(plan: &'a Plan, policy: RunPolicy, scripts: &'a [Script], seed: u64) -> Self {
        let world = World::new(plan, policy, Random(seed), seed);
        World { schedule: BTreeMap::new(), scripts: Some(scripts), ..world }
    }

    /// Returns true with a probability of 1 in `n`, and never without faults.
    fn fault(&mut self, n: usize) -> bool {
        self.scripts.is_none() && self.random.one_in(n)
    }

    /// Returns the number of attempts of each instance.
    pub(super) fn attempts(&self) -> &[u32] {
        &self.attempts
    }

    /// Returns the final status of each instance.
    pub(super) fn statuses(&self) -> Vec<Status> {
        self.engine.snapshot(&[], self.now).records.iter().map(|record| record.status.clone()).collect()
    }

    fn plan_disturbances(&mut self) {
        let mut at = Duration::ZERO;
        for _ in 0..self.random.below(3) {
            at += Duration::from_millis(self.random.below(100_000) as u64);
            if self.random.one_in(2) {
                let signal = StopSignal { name: "SIGINT", number: 2 };
                self.at(at, Scheduled::Stop(signal));
                if self.random.one_in(2) {
                    let later = at + Duration::from_millis(self.random.below(6_000) as u64);
                    self.at(later, Scheduled::Stop(signal));
                }
            } else {
                let pause = Duration::from_secs(2 + self.random.below(20_000) as u64);
                self.at(at, Scheduled::Pause(pause));
            }
        }
    }

    fn at(&mut self, time: Duration, scheduled: Scheduled) {
        self.serial += 1;
        self.schedule.insert((time, self.serial), scheduled);
    }

    /// Returns the covered events of the run.
    pub(super) fn coverage(&self) -> impl Iterator<Item = &'static str> {
        self.seen.iter().copied()
    }

    /// Runs the plan to its end.
    pub(super) fn run(&mut self) {
        if self.fault(20) {
            let id = InstanceId(self.random.below(self.plan.instances.len()));
            self.handle(Event::MissingCommands(vec![(id, "Command not found: /x".to_owned())]));
        }
        for _ in 0..MAX_PASSES {
            self.launch_due();
            if self.engine.is_finished() {
                return self.check_end();
            }
            let scheduled = self.schedule.first_key_value().map(|(&(at, _), _)| at);
            let next = scheduled.into_iter().chain(self.engine.next_deadline(self.now)).min();
            let next = next.unwrap_or_else(|| panic!("seed {}: nothing runs, and nothing will start", self.seed));
            self.now = self.now.max(next);
            while let Some(entry) = self.schedule.first_entry()
                && entry.key().0 <= self.now
            {
                let scheduled = entry.remove();
                self.happen(scheduled);
            }
            self.handle(Event::Tick);
            self.check_books();
        }
        panic!("seed {}: the run does not end", self.seed);
    }

    fn moment(&self) -> Now {
        let since_start = u64::try_from((self.now + self.paused).as_millis()).expect("a time");
        Now { elapsed: self.now, epoch_ms: EPOCH_MS + since_start }
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

    fn handle(&mut self, event: Event) {
        let actions = self.engine.handle(event, self.moment());
        self.perform(actions);
    }

    fn process_event(&mut self, id: InstanceId, event: ProcessEvent) {
        self.handle(Event::Process(id, event));
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if let Some((id, event)) = self.perform_one(action) {
                queue.extend(self.engine.handle(Event::Process(id, event), self.moment()));
            }
        }
    }

    fn perform_one(&mut self, action: Action) -> Option<(InstanceId, ProcessEvent<'static>)> {
        match action {
            Action::Spawn(launch) => return Some((launch.instance, self.spawn(&launch))),
            Action::Write(id, bytes) => self.write(id, &bytes),
            Action::CloseStdin(id) => {
                let ignores_one_in = if self.scripts.is_some() { usize::MAX } else { 8 };
                let deeds = claude::exit_after(&mut self.random, ignores_one_in, ExitStatus::Code(0));
                self.react(id, deeds);
            }
            Action::Terminate(id) => {
                let deeds = claude::exit_after(&mut self.random, 3, ExitStatus::Signal(15));
                self.react(id, deeds);
            }
            Action::Kill(id) => return self.kill(id),
            Action::Abandon(id) => {
                self.seen.insert("abandoned");
                let cleanup = Cleanup { survivors: vec![1], ..Cleanup::default() };
                return Some((id, ProcessEvent::Cleaned(cleanup)));
            }
            Action::ReleaseSession(id) => drop(self.sessions.remove(&id)),
            Action::EndAttempt { instance, .. } => {
                let process = self.processes.remove(&instance).expect("a process of the attempt");
                assert!(!process.is_alive || process.is_unkillable, "seed {}: left alive", self.seed);
                self.ended_attempts[instance] += 1;
            }
            Action::Notice(Notice::Halted { mode: HaltMode::Now, .. }) => self.is_halted_now = true,
            Action::RecordOutput(..) | Action::Notice(_) => {}
        }
        None
    }

    fn spawn(&mut self, launch: &Launch) -> ProcessEvent<'static> {
        let id = launch.instance;
        let has_session = self.plan.instances[id].invocation.session.is_some();
        if launch.entry.is_none() {
            self.check_launch(id);
            if has_session && self.fault(10) {
                self.seen.insert("busy");
                return ProcessEvent::SessionBusy;
            }
            if has_session {
                self.sessions.insert(id);
            }
            self.attempts[id] += 1;
            self.last_launch = Some(self.now);
        }
        if self.fault(25) {
            self.seen.insert("spawn failed");
            let is_permanent = self.random.one_in(2);
            return ProcessEvent::SpawnFailed { error: "no".to_owned(), is_permanent };
        }
        self.serial += 1;
        let process = Process {
            number: self.serial,
            is_alive: true,
            is_cleaning: false,
            is_unkillable: self.fault(40),
            has_stdout: true,
        };
        self.processes.insert(id, process);
        if self.fault(15) {
            let after = Duration::from_millis(self.random.below(60_000) as u64);
            self.react(id, vec![(after, Deed::Exit(ExitStatus::Signal(9)))]);
        }
        let open_mode = if self.random.one_in(2) { OpenMode::Resume } else { OpenMode::CreateOrResume };
        ProcessEvent::Spawned { pid: 1, entry: launch.entry.unwrap_or(SessionEntry { conversation: 0, open_mode }) }
    }

    /// Schedules deeds of the current process of an instance.
    fn react(&mut self, id: InstanceId, deeds: Deeds) {
        let Some(process) = self.processes.get(&id) else { return };
        let number = process.number;
        for (after, deed) in deeds {
            self.at(self.now + after, Scheduled::Deed(id, number, deed));
        }
    }

    fn write(&mut self, id: InstanceId, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let script = self.scripts.map(|scripts| &scripts[id.0]);
        let deeds = if text.contains("\"initialize\"") {
            match script {
                Some(_) => vec![(Duration::ZERO, Deed::Print(claude::ready(), 0))],
                None => claude::initialize(&mut self.random),
            }
        } else if text.contains("\"user\"") {
            assert!(!self.is_halted_now, "seed {}: a turn after --halt now", self.seed);
            match script {
                Some(script) => claude::scripted_turn(script, self.attempts[id], &mut self.serial),
                None => claude::turn(&mut self.random, &mut self.serial),
            }
        } else {
            Vec::new() // an interrupt that comes too late, or the end of a task
        };
        self.react(id, deeds);
    }

    fn kill(&mut self, id: InstanceId) -> Option<(InstanceId, ProcessEvent<'static>)> {
        let process = self.processes.get_mut(&id)?;
        let number = process.number;
        if process.is_alive {
            self.seen.insert("killed");
            let is_first_kill = !std::mem::replace(&mut process.is_cleaning, true);
            if !process.is_unkillable {
                let after = Duration::from_millis(self.random.below(50) as u64);
                self.react(id, vec![(after, Deed::Exit(ExitStatus::Signal(9)))]);
            } else if is_first_kill {
                self.at(self.now + Duration::from_secs(5), Scheduled::Cleaned(id, number));
            }
            return None;
        }
        if self.random.one_in(4) {
            self.at(self.now + Duration::from_millis(10), Scheduled::Cleaned(id, number));
            return None;
        }
        Some((id, self.cleaned(id)))
    }

    fn cleaned(&mut self, id: InstanceId) -> ProcessEvent<'static> {
        let has_session = self.plan.instances[id].invocation.session.is_some();
        ProcessEvent::Cleaned(Cleanup {
            survivors: if self.fault(20) { vec![7] } else { Vec::new() },
            had_descendants: self.fault(10),
            is_conversation_saved: if has_session { Some(!self.fault(8)) } else { None },
        })
    }

    fn happen(&mut self, scheduled: Scheduled) {
        match scheduled {
            Scheduled::Deed(id, number, deed) if self.is_current(id, number) => self.act(id, deed),
            Scheduled::CloseStderr(id, number) if self.is_current(id, number) => {
                self.process_event(id, ProcessEvent::StderrEof);
            }
            Scheduled::Cleaned(id, number) if self.is_current(id, number) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.is_cleaning = false;
                }
                let event = self.cleaned(id);
                self.process_event(id, event);
            }
            Scheduled::Deed(..) | Scheduled::CloseStderr(..) | Scheduled::Cleaned(..) => {}
            Scheduled::Stop(signal) => {
                self.seen.insert(if self.is_stopped { "second signal" } else { "interrupted" });
                self.is_stopped = true;
                self.handle(Event::Stop(signal));
            }
            Scheduled::Pause(pause) => {
                self.seen.insert("paused");
                self.paused += pause;
                self.handle(Event::Pause(pause));
            }
        }
    }

    fn is_current(&self, id: InstanceId, number: u64) -> bool {
        self.processes.get(&id).is_some_and(|process| process.number == number)
    }

    fn act(&mut self, id: InstanceId, deed: Deed) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if !process.is_alive {
            return;
        }
        let number = process.number;
        match deed {
            Deed::Print(event, tokens) if process.has_stdout => {
                self.printed[id] += tokens;
                self.process_event(id, ProcessEvent::Output(event));
                self.process_event(id, ProcessEvent::OutputRead);
            }
            Deed::PrintOversized if process.has_stdout => {
                self.process_event(id, ProcessEvent::OversizedLine { head: b"{\"type\":\"user\"", bytes: 9_000_000 });
            }
            Deed::Print(..) | Deed::PrintOversized => {}
            Deed::Complain(text) => self.process_event(id, ProcessEvent::Stderr(text.as_bytes())),
            Deed::CloseStdout => {
                process.has_stdout = false;
                self.process_event(id, ProcessEvent::StdoutEof);
            }
            Deed::CloseStdin => self.process_event(id, ProcessEvent::StdinClosed),
            Deed::Exit(status) => {
                if process.is_unkillable && status == ExitStatus::Signal(9) {
                    return;
                }
                process.is_alive = false;
                process.is_cleaning = false;
                let had_stdout = std::mem::replace(&mut process.has_stdout, false);
                self.process_event(id, ProcessEvent::Exited(status));
                if had_stdout && self.is_current(id, number) {
                    self.process_event(id, ProcessEvent::StdoutEof);
                }
                // A descendant may hold stderr open.
                if !self.random.one_in(10) {
                    let after = Duration::from_millis(self.random.below(3) as u64);
                    self.at(self.now + after, Scheduled::CloseStderr(id, number));
                }
            }
        }
    }

    /// Checks that an instance may start now.
    fn check_launch(&mut self, id: InstanceId) {
        let (seed, instance) = (self.seed, &self.plan.instances[id]);
        let view = self.engine.snapshot(&[], self.now);
        assert!(!self.is_stopped, "seed {seed}: a start after a signal");
        assert!(!self.processes.contains_key(&id), "seed {seed}: two processes of one instance");
        for &(other, condition) in &instance.depends_on {
            let status = &view.records[other].status;
            let is_met = condition == DependencyCondition::Ended || *status == Status::Completed;
            assert!(status.has_ended() && is_met, "seed {seed}: {} needs {other}", id.0);
        }
        let slots = self.policy.pace.max_parallel.unwrap_or(usize::MAX);
        assert!(self.processes.len() < slots, "seed {seed}: no slot");
        let is_apart = self.last_launch.is_none_or(|last| self.now >= last + self.policy.pace.startup_delay);
        assert!(is_apart, "seed {seed}: launches stay apart");
        for holder in &self.sessions {
            let other = &self.plan.instances[*holder].invocation.session;
            assert!(*holder == id || *other != instance.invocation.session, "seed {seed}: a session has two users");
        }
        let record = &view.records[id.0];
        assert!(!record.status.has_ended(), "seed {seed}: a start after the end");
        assert!(record.retry_count() <= instance.retries.max_retries, "seed {seed}: too many retries");
        if let (Some(cap), None) = (self.plan.budget.overall_tokens, self.plan.budget.enforcement) {
            let used: u64 = self.printed.iter().sum();
            assert!(used < cap, "seed {seed}: {used} of {cap} tokens are used");
        }
        if record.failed_attempts.last().is_some_and(|last| last.failure.reason == FailureKind::Limit) {
            self.seen.insert("limit");
        }
        if self.attempts[id] > 0 {
            self.seen.insert("retried");
        }
    }

    /// Checks that the usage of each instance is what it has printed, and that the budget has the same.
    fn check_books(&self) {
        let limits = self.engine.limits();
        let view = self.engine.snapshot(&limits, self.now);
        let mut sum = 0;
        for (record, printed) in view.records.iter().zip(&self.printed) {
            assert_eq!(record.used.tokens.total(), *printed, "seed {}: usage of an instance", self.seed);
            sum += printed;
        }
        if self.plan.budget.overall_tokens.is_some() {
            assert_eq!(limits[0].used, sum, "seed {}: usage of the budget", self.seed);
        }
    }

    /// Checks the state after the last instance has ended.
    fn check_end(&mut self) {
        self.check_books();
        let seed = self.seed;
        assert!(self.processes.is_empty() && self.sessions.is_empty(), "seed {seed}: something is left");
        let view = self.engine.snapshot(&[], self.now);
        let mut are_completed = true;
        for (index, record) in view.records.iter().enumerate() {
            assert!(record.running.is_none(), "seed {seed}: an attempt has not ended");
            assert!(self.ended_attempts[index] <= self.attempts[index], "seed {seed}: attempts");
            are_completed &= record.status == Status::Completed;
            match &record.status {
                Status::Pending | Status::Running => panic!("seed {seed}: {index} has not ended"),
                Status::Completed => {
                    self.seen.insert("completed");
                    assert_eq!(record.progress.turns_done, self.plan.instances[index].turns.len(), "seed {seed}");
                }
                Status::Skipped(_) => {
                    self.seen.insert("skipped");
                    let cause = record.skipped_due_to.expect("a cause");
                    assert_ne!(view.records[cause].status, Status::Completed, "seed {seed}: skipped without a cause");
                    assert_eq!(self.attempts[index], 0, "seed {seed}: skipped after a start");
                }
                Status::Failed(failure) => match failure.reason {
                    FailureKind::Timeout => drop(self.seen.insert("timeout")),
                    FailureKind::Budget => drop(self.seen.insert("budget")),
                    FailureKind::Halted => drop(self.seen.insert("halted")),
                    FailureKind::Interrupted => assert!(self.is_stopped, "seed {seed}: no signal came"),
                    _ => {}
                },
            }
        }
        let code = self.engine.exit_code();
        let is_exceeded = self.plan.budget.overall_tokens.is_some_and(|cap| self.printed.iter().sum::<u64>() > cap)
            && self.plan.budget.enforcement.unwrap_or_default() == Enforcement::Block;
        match code {
            ExitCode::Signal(_) => assert!(self.is_stopped, "seed {seed}"),
            ExitCode::Completed => assert!(are_completed && !is_exceeded, "seed {seed}"),
            _ => assert!(!self.is_stopped && (!are_completed || is_exceeded), "seed {seed}: {code:?}"),
        }
    }
}
