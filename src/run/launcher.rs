//! Launch of an instance's process: its session, arguments, environment and descriptors.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::Locks;
pub(super) use super::sessions::SessionAccess;
use super::sessions::Sessions;
use crate::claude::argv::{arguments, tool_policy_arguments};
use crate::claude::capabilities::Capabilities;
use crate::claude::environment::{DEFAULTS, RESOURCE_ATTRIBUTES, SCRUBBED_VARIABLES, resource_attributes};
use crate::claude::session::{OpenMode, Session, SessionEntry, conversation_uuid, last_conversation};
use crate::claude::tool_policy::hook::{HookProgram, WITHOUT_HOOKS};
use crate::engine::event::Launch;
use crate::plan::{Instance, InstanceId, Plan};
use crate::system::child::{Process, SpawnSpec};
use crate::system::file_lock::Lock;
use crate::system::locate::{self, ConversationState};
use crate::system::process_tree::{INSTANCE_VARIABLE, RUN_VARIABLE};
use crate::system::{error_text, is_transient};

/// Descriptors reserved for the report, for reading /proc, and for wait-timeout, which needs four.
const SPARE_DESCRIPTORS: usize = 8;

/// Descriptors of an instance's files: its stream and its stderr.
const FILES_OF_INSTANCE: usize = 2;

/// Settings of the processes that a run launches.
#[derive(Clone, Debug)]
pub struct LaunchSettings {
    /// Path of the claude executable.
    pub claude: PathBuf,
    /// Capabilities of that version of claude.
    pub capabilities: Capabilities,
    /// Paths of the executable that runs the hook of the tool policy.
    pub hook: HookProgram,
    /// Descriptor limit for child processes (soft, hard), if zen has raised its own.
    pub descriptor_limit: Option<(u64, u64)>,
}

/// Launcher of the instances of a run.
pub(super) struct Launcher<'a> {
    plan: &'a Plan,
    settings: LaunchSettings,
    /// Name of the run.
    run: String,
    /// Lock of the run, held until zen exits.
    lock: Option<Lock>,
    sessions: Sessions,
    /// Conversation that the last process of each instance with a named session has opened.
    conversations: HashMap<InstanceId, Conversation>,
}

/// Conversation of a named session.
struct Conversation {
    uuid: String,
    /// State of its file before the process started; `None` if claude had not saved it.
    before: Option<ConversationState>,
}

/// Error of a launch.
pub(super) struct LaunchError {
    pub(super) message: String,
    /// True if another attempt would fail the same.
    pub(super) is_permanent: bool,
}

impl<'a> Launcher<'a> {
    /// Returns the launcher of the run of this name.
    pub(super) fn new(plan: &'a Plan, settings: LaunchSettings, run: String, locks: Locks) -> Self {
        let sessions = Sessions::new(locks.sessions);
        Launcher { plan, settings, run, lock: locks.run, sessions, conversations: HashMap::new() }
    }

    /// Locks the session of an instance, if it has one.
    pub(super) fn lock_session(&mut self, id: InstanceId) -> SessionAccess {
        match &self.plan.instances[id].invocation.session {
            Some(session) => self.sessions.lock(id, &session.uuid),
            None => SessionAccess::Granted,
        }
    }

    /// Releases the session of an instance.
    pub(super) fn release_session(&mut self, id: InstanceId) {
        self.sessions.release(id);
    }

    /// Spawns a process, with descriptors left for `unopened_files`. Returns the conversation that it opens.
    pub(super) fn spawn(
        &mut self,
        launch: &Launch,
        unopened_files: usize,
    ) -> Result<(Process, SessionEntry), LaunchError> {
        let instance = &self.plan.instances[launch.instance];
        let entry = launch.entry.unwrap_or_else(|| first_entry(instance, launch));
        if let Some(session) = &instance.invocation.session {
            let uuid = conversation_uuid(&session.uuid, entry.conversation);
            let before = locate::conversation(&instance.invocation.env, &uuid);
            self.conversations.insert(launch.instance, Conversation { uuid, before });
        }
        let spec = self.spec(launch, entry);
        // The reaper inherits the run's locks: a killed run counts as running until its last process is gone.
        let kept: Vec<_> = self.lock.iter().map(Lock::fd).chain(self.sessions.fd()).collect();
        let spare = SPARE_DESCRIPTORS + FILES_OF_INSTANCE + unopened_files;
        match Process::start(&spec, self.settings.descriptor_limit, spare, &kept) {
            Ok(process) => Ok((process, entry)),
            Err(error) => Err(launch_error(&spec, &error)),
        }
    }

    /// Returns true if claude has saved the conversation that the last process of an instance opened.
    ///
    /// `None` if the instance has no named session.
    pub(super) fn is_conversation_saved(&self, id: InstanceId) -> Option<bool> {
        let conversation = self.conversations.get(&id)?;
        let after = locate::conversation(&self.plan.instances[id].invocation.env, &conversation.uuid);
        Some(after.is_some() && after != conversation.before)
    }

    fn spec(&self, launch: &Launch, entry: SessionEntry) -> SpawnSpec {
        let instance = &self.plan.instances[launch.instance];
        let mut invocation = Cow::Borrowed(&instance.invocation);
        if let (Some(uuid), None, OpenMode::Resume) = (&launch.continues, &invocation.session, entry.open_mode) {
            invocation.to_mut().session = Some(Session { name: String::new(), uuid: uuid.clone() });
        }
        let mut words = arguments(&invocation, entry, self.settings.capabilities, launch.micros_left);
        words.extend(tool_policy_arguments(&invocation, &self.settings.hook));
        SpawnSpec {
            program: self.settings.claude.clone(),
            arguments: words.into_iter().map(OsString::from).collect(),
            cwd: instance.invocation.cwd.clone(),
            variables: self.variables(instance),
        }
    }

    fn variables(&self, instance: &Instance) -> Vec<(OsString, Option<OsString>)> {
        let mut variables: Vec<(OsString, Option<OsString>)> = Vec::new();
        for name in SCRUBBED_VARIABLES {
            variables.push((name.into(), None));
        }
        // Otherwise claude would inherit zen's PWD.
        variables.push(("PWD".into(), Some(locate::canonical(&instance.invocation.cwd).into())));
        for (name, value) in DEFAULTS {
            variables.push((name.into(), Some(value.into())));
        }
        let inherited = std::env::var_os(RESOURCE_ATTRIBUTES);
        let attributes = resource_attributes(inherited.as_deref(), &self.run, &instance.name);
        variables.push((RESOURCE_ATTRIBUTES.into(), Some(attributes)));
        // Variables from the config override all of the above.
        for (name, value) in &instance.invocation.env {
            variables.push((name.into(), value.as_ref().map(OsString::from)));
        }
        variables.push((RUN_VARIABLE.into(), Some(self.run.as_str().into())));
        variables.push((INSTANCE_VARIABLE.into(), Some(instance.name.as_str().into())));
        if instance.invocation.allowed_tools.is_some() {
            for name in WITHOUT_HOOKS {
                variables.push((name.into(), None));
            }
        }
        variables
    }
}

/// Returns the conversation that the first process of an attempt opens.
fn first_entry(instance: &Instance, launch: &Launch) -> SessionEntry {
    match &instance.invocation.session {
        Some(session) => {
            let known = locate::conversation_ids(&instance.invocation.env);
            let last = last_conversation(&session.uuid, |uuid| known.contains(uuid));
            SessionEntry::open(last, launch.is_cleared)
        }
        None if launch.continues.is_some() => SessionEntry { conversation: 0, open_mode: OpenMode::Resume },
        None => SessionEntry::open(None, launch.is_cleared),
    }
}

fn launch_error(spec: &SpawnSpec, error: &io::Error) -> LaunchError {
    // ENOENT does not distinguish between the directory, the program and its interpreter.
    let program = spec.program.display();
    let message = if !spec.cwd.is_dir() {
        format!("directory {} no longer exists", spec.cwd.display())
    } else if error.kind() == ErrorKind::NotFound && spec.program.exists() {
        format!("{program} could not be started: its interpreter does not exist")
    } else {
        format!("{program} could not be started: {}", error_text(error))
    };
    LaunchError { message, is_permanent: !is_transient(error) }
}
