//! Launch of an instance's process: its session, arguments, environment and messages.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::time::Duration;

use super::{RunningInstance, Supervisor};
use crate::base::lines::LineSplitter;
use crate::claude::argv::{arguments, tool_policy_arguments};
use crate::claude::environment::{DEFAULTS, RESOURCE_ATTRIBUTES, SCRUBBED_VARIABLES, resource_attributes};
use crate::claude::permissions;
use crate::claude::session::Session;
use crate::claude::session::{OpenMode, SessionEntry, last_conversation};
use crate::claude::tool_policy::hook::WITHOUT_HOOKS;
use crate::engine::attempt::{Action, Attempt};
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::plan::result_template::filled;
use crate::plan::{Instance, Turn};
use crate::system::child::{Process, SpawnSpec};
use crate::system::file_lock::Lock;
use crate::system::locate;
use crate::system::process_tree::{INSTANCE_VARIABLE, RUN_VARIABLE};
use crate::system::run_dir::InstanceFiles;
use crate::system::{error_text, is_transient};

/// Descriptors reserved for the report, for reading /proc, and for wait-timeout, which needs four.
const SPARE_DESCRIPTORS: usize = 8;

/// Debug message for a `/clear`, which zen handles itself and never sends to claude.
pub(super) const CLEARED: &str = "the conversation is cleared: a new one begins";

/// Descriptors of an instance's files: its stream and its stderr.
const FILES_OF_INSTANCE: usize = 2;

impl<'a> Supervisor<'a> {
    pub(super) fn start(&mut self, index: usize, now: Duration) {
        let instance = &self.plan.instances[index];
        let continues = self.records[index].continues.is_some();
        let is_cleared = !continues && instance.starts_cleared();
        let unnamed = if continues {
            SessionEntry { conversation: 0, open_mode: OpenMode::Resume }
        } else {
            SessionEntry::open(None, is_cleared)
        };
        let entry = instance.invocation.session.as_ref().map_or(unnamed, |session| {
            let known = locate::conversation_ids(&instance.invocation.env);
            SessionEntry::open(last_conversation(&session.uuid, |uuid| known.contains(uuid)), is_cleared)
        });
        let record = &mut self.records[index];
        // Without the conversation to resume, the attempt starts over.
        record.continues.take_if(|_| entry.open_mode != OpenMode::Resume);
        record.status = Status::Running;
        record.started.get_or_insert(now);
        record.attempt_started = Some(now);
        record.next_attempt_at = None;
        if is_cleared {
            self.debug(index, CLEARED);
        }
        let conversation_before = self.conversation(index, entry);
        if let Some(process) = self.spawn(index, entry, now) {
            let effects = self.begin_attempt(index, process, entry, now);
            if let Some(live) = self.live.get_mut(&index) {
                live.conversation_before = conversation_before;
            }
            self.apply(index, effects, now);
        }
    }

    /// Spawns the next process of an attempt after the last one has exited, and calls `go_on` on the attempt.
    pub(super) fn start_another_process(
        &mut self,
        index: usize,
        entry: SessionEntry,
        go_on: fn(&mut Attempt, Duration) -> Vec<Action>,
        now: Duration,
    ) {
        let conversation_before = self.conversation(index, entry);
        let Some(process) = self.spawn(index, entry, now) else { return };
        let Some(live) = self.live.get_mut(&index) else { return };
        live.conversation_before = conversation_before;
        live.process = process;
        live.lines = LineSplitter::default();
        live.entry = entry;
        let effects = go_on(&mut live.attempt, now);
        self.apply(index, effects, now);
    }

    /// Spawns a process. If that fails, fails the attempt.
    fn spawn(&mut self, index: usize, entry: SessionEntry, now: Duration) -> Option<Process> {
        let launch = self.launch(index, entry);
        // The reaper inherits the run's locks: a killed run counts as running until its last process is gone.
        let kept: Vec<_> = self.lock.iter().map(Lock::fd).chain(self.sessions.fd()).collect();
        match Process::start(&launch, self.settings.descriptor_limit, self.spare_descriptors(), &kept) {
            Ok(process) => {
                self.debug(index, &format!("started, pid {}", process.pid()));
                self.by_child.insert(process.child(), index);
                self.records[index].pid = Some(process.pid());
                self.json.is_stale = true;
                Some(process)
            }
            Err(error) => {
                // ENOENT does not distinguish between the directory, the program and its interpreter.
                let program = launch.program.display();
                let what = if !launch.cwd.is_dir() {
                    format!("its directory {} is not there any more", launch.cwd.display())
                } else if error.kind() == ErrorKind::NotFound && launch.program.exists() {
                    format!("{program} could not be started: the interpreter that it names is not there")
                } else {
                    format!("{program} could not be started: {}", error_text(&error))
                };
                let is_hopeless = !is_transient(&error);
                // The usage of earlier processes of this attempt stays charged.
                self.copy_to_record(index);
                self.charge(index, now);
                self.handle_failure(
                    index,
                    Failure { is_permanent: is_hopeless, ..Failure::new(FailureKind::Spawn, what) },
                    now,
                );
                None
            }
        }
    }

    fn begin_attempt(&mut self, index: usize, process: Process, entry: SessionEntry, now: Duration) -> Vec<Action> {
        let told = self.with_results(index);
        let continues = self.records[index].continues.is_some();
        let told = if continues { Cow::Owned(continued(&told)) } else { told };
        let (mut attempt, effects) = Attempt::start(&told, self.plan.prices.clone(), self.settings.grace, now);
        attempt.expect_permission_mode(permissions::mode(&told.invocation, self.settings.abilities));
        let count = self.plan.instances.len();
        if continues {
            attempt.skip_to_last_turn();
        }
        let live = RunningInstance {
            attempt,
            process,
            lines: LineSplitter::default(),
            files: self.directory.as_ref().map(|d| d.instance(index, count, &told.name)),
            entry,
            conversation_before: None,
            refused_entries: 0,
            sweep: None,
        };
        self.live.insert(index, live);
        effects
    }

    /// Returns the instance with the results of other instances inserted. Those have ended, possibly without a result.
    fn with_results(&mut self, index: usize) -> Cow<'a, Instance> {
        let plan = self.plan;
        let instance = &plan.instances[index];
        if instance.turns.iter().all(|turn| turn.placeholders.is_empty()) {
            return Cow::Borrowed(instance);
        }
        self.warn_of_empty_results(index);
        let told =
            |of: usize| (plan.instances[of].name.as_str(), self.records[of].progress.result.as_deref().unwrap_or(""));
        let mut instance = instance.clone();
        for turn in &mut instance.turns {
            turn.text = filled(&turn.text, &turn.placeholders, told);
        }
        Cow::Owned(instance)
    }

    /// Prints a notice for each empty result, because it leaves a gap in the user's prompt.
    fn warn_of_empty_results(&mut self, index: usize) {
        let of = self.plan.instances[index]
            .turns
            .iter()
            .flat_map(|turn| &turn.placeholders)
            .map(|insertion| insertion.instance);
        let is_empty =
            |&of: &usize| self.records[of].progress.result.as_deref().is_none_or(|text| text.trim().is_empty());
        let empty: BTreeSet<usize> = of.filter(is_empty).collect();
        for of in empty {
            let (name, of) = (self.name(index), self.name(of));
            self.notice(&format!("{name}: the result of {of} is empty, and is passed on like that"));
        }
    }

    /// Returns the number of descriptors that must be left after a spawn, for all files and for the event loop.
    fn spare_descriptors(&self) -> usize {
        let files = self.live.values().filter_map(|live| live.files.as_ref());
        SPARE_DESCRIPTORS + FILES_OF_INSTANCE + files.map(InstanceFiles::unopened).sum::<usize>()
    }

    fn launch(&self, index: usize, entry: SessionEntry) -> SpawnSpec {
        let instance = &self.plan.instances[index];
        let mut variables: Vec<(OsString, Option<OsString>)> =
            SCRUBBED_VARIABLES.iter().map(|name| (OsString::from(name), None)).collect();
        // Otherwise claude would inherit zen's PWD.
        variables.push(("PWD".into(), Some(locate::canonical(&instance.invocation.cwd).into())));
        variables.extend(DEFAULTS.iter().map(|(name, value)| (OsString::from(name), Some(OsString::from(value)))));
        let inherited = std::env::var_os(RESOURCE_ATTRIBUTES);
        let attributes = resource_attributes(inherited.as_deref(), &self.settings.facts.run, &instance.name);
        variables.push((RESOURCE_ATTRIBUTES.into(), Some(attributes)));
        // Variables from the config override all of the above.
        variables.extend(
            instance.invocation.env.iter().map(|(name, value)| (name.into(), value.as_ref().map(OsString::from))),
        );
        variables.push((RUN_VARIABLE.into(), Some(self.settings.facts.run.as_str().into())));
        variables.push((INSTANCE_VARIABLE.into(), Some(instance.name.as_str().into())));
        if instance.invocation.allowed_tools.is_some() {
            variables.extend(WITHOUT_HOOKS.iter().map(|name| (OsString::from(name), None)));
        }
        let mut invocation = Cow::Borrowed(&instance.invocation);
        if let (Some(uuid), None) = (&self.records[index].continues, &invocation.session) {
            invocation.to_mut().session = Some(Session { name: String::new(), uuid: uuid.clone() });
        }
        let mut arguments = arguments(&invocation, entry, self.settings.abilities, self.ledger.dollars_left(index));
        arguments.extend(tool_policy_arguments(&invocation, &self.settings.hook));
        SpawnSpec {
            program: self.settings.claude.clone(),
            arguments: arguments.into_iter().map(OsString::from).collect(),
            cwd: instance.invocation.cwd.clone(),
            variables,
        }
    }
}

/// Returns the instance with its last turn replaced by claude's own prompt to continue interrupted work.
fn continued(instance: &Instance) -> Instance {
    let mut instance = instance.clone();
    if let Some(last) = instance.turns.last_mut() {
        *last = Turn { text: "Continue from where you left off.".to_owned(), ..Turn::default() };
    }
    instance
}
