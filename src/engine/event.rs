//! Interface of the engine: the events that it handles, and the actions that it returns.

use std::time::Duration;

use crate::claude::protocol::{self, ContentBlock};
use crate::claude::session::SessionEntry;
use crate::engine::notice::Notice;
use crate::engine::outcome::ExitStatus;
use crate::plan::InstanceId;

/// An event of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// An event of an instance's process.
    Process(InstanceId, ProcessEvent<'a>),
    /// Instances with a missing slash command, and the error of each.
    MissingCommands(Vec<(InstanceId, String)>),
    /// zen received a signal that stops the run. The first one stops it gracefully, a later one kills the processes.
    Stop(StopSignal),
    /// The run was suspended for this time, which has ended.
    Pause(Duration),
    /// Time has passed: deadlines may be due.
    Tick,
}

/// A signal that stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal {
    /// Name, such as SIGINT.
    pub name: &'static str,
    /// Number, for the exit code.
    pub number: u8,
}

/// An event of an instance's process.
#[derive(Debug)]
pub enum ProcessEvent<'a> {
    /// Another run uses the session of the instance: nothing was spawned.
    SessionBusy,
    /// The requested process was spawned.
    Spawned {
        /// Process id of claude.
        pid: u32,
        /// Conversation that the process opens.
        entry: SessionEntry,
    },
    /// The requested process could not be spawned.
    SpawnFailed {
        /// Error message.
        error: String,
        /// True if another attempt would fail the same.
        is_permanent: bool,
    },
    /// A decoded line of stdout.
    Output(protocol::Event),
    /// A line of stdout over the size limit.
    OversizedLine {
        /// First bytes of the line.
        head: &'a [u8],
        /// Length of the line.
        bytes: u64,
    },
    /// A read from stdout ended; its lines were passed on. The usage so far is charged.
    OutputRead,
    /// EOF on stdout.
    StdoutEof,
    /// Bytes from stderr.
    Stderr(&'a [u8]),
    /// EOF on stderr.
    StderrEof,
    /// The process closed stdin before all input was written.
    StdinClosed,
    /// The process was reaped.
    Exited(ExitStatus),
    /// The search for descendants, begun by [`Action::Kill`] or [`Action::Abandon`], has ended.
    Cleaned(Cleanup),
}

/// Result of the search for the descendants of a process.
#[derive(Clone, Debug, Default)]
pub struct Cleanup {
    /// Ids of the processes that could not be killed.
    pub survivors: Vec<i32>,
    /// True if descendants were alive after the process had exited.
    pub had_descendants: bool,
    /// True if claude has saved the conversation of the named session; `None` without such a session.
    pub is_conversation_saved: Option<bool>,
}

/// An action that the engine requests.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Spawn a process. Must be answered at once by [`ProcessEvent::Spawned`], [`ProcessEvent::SpawnFailed`] or
    /// [`ProcessEvent::SessionBusy`].
    Spawn(Launch),
    /// Write these bytes to stdin.
    Write(InstanceId, Vec<u8>),
    /// Close stdin once all pending input is written.
    CloseStdin(InstanceId),
    /// Send SIGTERM and SIGCONT to the process group.
    Terminate(InstanceId),
    /// Kill the process and all its descendants. Answered by [`ProcessEvent::Cleaned`].
    Kill(InstanceId),
    /// Give up a process that SIGKILL does not end. Answered by [`ProcessEvent::Cleaned`].
    Abandon(InstanceId),
    /// Unlock the session of an instance.
    ReleaseSession(InstanceId),
    /// Record this output of an instance.
    RecordOutput(InstanceId, ContentBlock),
    /// Close the files of an attempt that has ended.
    EndAttempt {
        /// Instance of the attempt.
        instance: InstanceId,
        /// End of its stderr, if the attempt has failed.
        stderr: Option<String>,
        /// Result to write, if the instance has ended with one.
        result: Option<String>,
    },
    /// Print this notice.
    Notice(Notice),
}

/// Request to spawn a process for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Instance to launch.
    pub instance: InstanceId,
    /// Conversation to open; `None` for the first process of an attempt, which opens the last one of its session.
    pub entry: Option<SessionEntry>,
    /// True if the first process begins a new conversation, because the first turn clears it.
    pub is_cleared: bool,
    /// Conversation without a named session that the first process continues.
    pub continues: Option<String>,
    /// Most micro-dollars that it may use, if a limit in dollars is enforced.
    pub micros_left: Option<u64>,
}
