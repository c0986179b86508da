//! Session locks of a run. An instance waits if another run uses its session: two processes in one session lose a turn.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use crate::claude::session::{SessionEntry, last_conversation};
use crate::plan::{Instance, InstanceId};
use crate::system::file_lock::LockProblem;
use crate::system::locate;
use crate::system::session_locks::{SessionLock, SessionLocks};

/// Sessions that this run has locked.
pub(super) struct Sessions {
    /// Lock file of the sessions; `None` if the plan has no session, or if locking failed.
    locks: Option<SessionLocks>,
    /// Locks held, by instance.
    held: HashMap<InstanceId, SessionLock>,
}

/// Access of an instance to its session.
pub(super) enum SessionAccess {
    /// No other run uses the session.
    Granted,
    /// Another run uses the session.
    Busy,
    /// Sessions cannot be locked, for this reason.
    Unknown(LockProblem),
}

impl Sessions {
    /// Creates the state of a run that holds no session.
    pub(super) fn new(locks: Option<SessionLocks>) -> Self {
        Sessions { locks, held: HashMap::new() }
    }

    /// Locks the session of an instance before its launch.
    pub(super) fn lock(&mut self, id: InstanceId, uuid: &str) -> SessionAccess {
        let Some(locks) = &self.locks else { return SessionAccess::Granted };
        match locks.try_lock(uuid) {
            Ok(Some(lock)) => {
                self.held.insert(id, lock);
                SessionAccess::Granted
            }
            Ok(None) => SessionAccess::Busy,
            Err(error) => {
                self.locks = None;
                SessionAccess::Unknown(error)
            }
        }
    }

    /// Releases the session of an instance after its attempt.
    pub(super) fn release(&mut self, id: InstanceId) {
        self.held.remove(&id);
    }

    /// Returns the descriptor that must stay open to keep the locks.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.locks.as_ref().map(SessionLocks::fd)
    }
}

/// Returns the entry of an instance into its session: its last conversation, or a new one.
///
/// `is_entered_before` is true if an instance of the same plan that has not run yet enters the session first.
#[must_use]
pub fn session_entry(instance: &Instance, is_entered_before: bool) -> SessionEntry {
    let is_cleared = instance.starts_cleared();
    let Some(session) = &instance.invocation.session else { return SessionEntry::open(None, is_cleared) };
    let known = locate::conversation_ids(&instance.invocation.env);
    let last = last_conversation(&session.uuid, |uuid| known.contains(uuid));
    SessionEntry::open(last.or(if is_entered_before { Some(0) } else { None }), is_cleared)
}
