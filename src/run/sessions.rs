//! Session locks of a run. An instance waits if another run uses its session: two processes in one session lose a turn.

use std::collections::HashMap;
use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Supervisor;
use crate::claude::session::{self, SessionEntry, last_conversation};
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::plan::Instance;
use crate::system::locate::{self, ConversationState};
use crate::system::session_locks::{SessionLock, SessionLocks};

/// Interval between two attempts to lock a session, shared by all waiting instances.
const SESSION_RETRY: Duration = Duration::from_secs(1);

/// Sessions that this run has locked.
pub(super) struct Sessions {
    /// Lock file of the sessions; `None` if the plan has no session, or if locking failed.
    locks: Option<SessionLocks>,
    /// Locks held, by instance.
    held: HashMap<usize, SessionLock>,
    next_look: Duration,
}

impl Sessions {
    /// Creates the state of a run that holds no session.
    pub(super) fn new(locks: Option<SessionLocks>) -> Self {
        Sessions { locks, held: HashMap::new(), next_look: Duration::ZERO }
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
    SessionEntry::open(last.or(is_entered_before.then_some(0)), is_cleared)
}

impl Supervisor<'_> {
    /// Locks the session of an instance before its launch.
    ///
    /// If another run holds it, defers the instance and returns false.
    pub(super) fn enter_session(&mut self, index: usize, now: Duration) -> bool {
        let plan = self.plan;
        let (Some(session), Some(locks)) = (&plan.instances[index].invocation.session, &self.sessions.locks) else {
            return true;
        };
        match locks.try_lock(&session.uuid) {
            Ok(Some(lock)) => {
                self.sessions.held.insert(index, lock);
            }
            Ok(None) => {
                self.wait_for_session(index, &session.name, now);
                return false;
            }
            Err(problem) => {
                self.sessions.locks = None;
                self.notice(&no_session_locks(&problem));
            }
        }
        self.records[index].blocked_on = None;
        true
    }

    fn wait_for_session(&mut self, index: usize, session: &str, now: Duration) {
        if self.sessions.next_look <= now {
            self.sessions.next_look = now + SESSION_RETRY;
        }
        self.schedule.defer_until(index, self.sessions.next_look);
        if self.records[index].blocked_on.is_none() {
            let what = format!("session {session} is in use by another run");
            self.notice(&format!("{} waits: {what}", self.name(index)));
            self.records[index].next_attempt_at = None;
            self.records[index].blocked_on = Some(what);
            self.json.is_stale = true;
        }
    }

    /// Returns the state of the conversation of an instance with a named session, if claude has saved it.
    pub(super) fn conversation(&self, index: usize, entry: SessionEntry) -> Option<ConversationState> {
        let instance = &self.plan.instances[index];
        let session = instance.invocation.session.as_ref()?;
        locate::conversation(&instance.invocation.env, &session::conversation_uuid(&session.uuid, entry.conversation))
    }

    /// Checks if claude has saved the conversation of an instance that has completed.
    ///
    /// claude prints nothing if it cannot write to its directory. A lost conversation is a failure if a later instance
    /// of the plan needs it, and a notice otherwise.
    pub(super) fn lost_session(&mut self, index: usize) -> Option<Failure> {
        let session = self.plan.instances[index].invocation.session.as_ref()?;
        let live = self.live.get(&index)?;
        let after = self.conversation(index, live.entry);
        let is_kept = after.is_some() && after != live.conversation_before;
        self.records[index].session_kept = Some(is_kept);
        if is_kept {
            return None;
        }
        let what = format!("claude has not kept the conversation of session {}", session.name);
        let shares = |other: &Instance| other.invocation.session.as_ref().is_some_and(|of| of.uuid == session.uuid);
        let mut others = self.plan.instances.iter().zip(&self.records);
        let next = others.find(|(other, record)| shares(other) && record.status == Status::Pending);
        let Some((next, _)) = next else {
            self.instance_notice(index, &format!("{what}: the next run begins without it"));
            return None;
        };
        let error = format!("{what}, and {} needs it: make claude's directory writable", next.name);
        Some(Failure::permanent(FailureKind::Error, error))
    }

    /// Releases the session of an instance after its attempt.
    pub(super) fn leave_session(&mut self, index: usize) {
        self.sessions.held.remove(&index);
    }
}

/// Returns the notice for a run that cannot lock its sessions.
#[must_use]
pub fn no_session_locks(reason: &impl Display) -> String {
    format!("no locks for sessions: {reason}: concurrent runs in one session are not detected")
}
