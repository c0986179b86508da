//! Which instance is in its session, and who waits because another run is: two processes in one session lose a turn.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Supervisor;
use crate::claude::session::{self, SessionEntry, last_conversation};
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::plan::Instance;
use crate::system::locate::{self, ConversationState};
use crate::system::session_locks::{SessionLock, SessionLocks};

/// How long after a look it is looked again whether a session is free, for all that wait together.
const SESSION_RETRY: Duration = Duration::from_secs(1);

/// The sessions that this run is in.
pub(super) struct Sessions {
    /// Missing where there is no session, or no lock can be had.
    locks: Option<SessionLocks>,
    /// By the instance that is in it.
    held: HashMap<usize, SessionLock>,
    next_look: Duration,
}

impl Sessions {
    /// The run is in none.
    pub(super) fn new(locks: Option<SessionLocks>) -> Self {
        Sessions { locks, held: HashMap::new(), next_look: Duration::ZERO }
    }

    /// The descriptor that has to stay open for the sessions to be locked.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.locks.as_ref().map(SessionLocks::fd)
    }
}

/// Returns how an instance enters its session: the last conversation there, or a new one. `is_entered_before` is true if an
/// instance of the same plan, which has not run yet, enters it first.
#[must_use]
pub fn session_entry(instance: &Instance, is_entered_before: bool) -> SessionEntry {
    let is_cleared = instance.starts_cleared();
    let Some(session) = &instance.invocation.session else { return SessionEntry::open(None, is_cleared) };
    let known = locate::conversation_ids(&instance.invocation.env);
    let last = last_conversation(&session.uuid, |uuid| known.contains(uuid));
    SessionEntry::open(last.or(is_entered_before.then_some(0)), is_cleared)
}

impl Supervisor<'_> {
    /// Enters the session of an instance that is to start. Answers false if another run is in it: then the instance waits.
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
            Err(why) => {
                self.sessions.locks = None;
                self.notice(&no_session_locks(&why));
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

    /// Returns the state of the conversation that an instance of a named session enters, if claude has kept it.
    pub(super) fn conversation(&self, index: usize, entry: SessionEntry) -> Option<ConversationState> {
        let instance = &self.plan.instances[index];
        let session = instance.invocation.session.as_ref()?;
        locate::conversation(&instance.invocation.env, &session::conversation_uuid(&session.uuid, entry.conversation))
    }

    /// Looks whether claude has kept the conversation of an instance that has done its work: it may be unable to write to
    /// its folder, and says nothing then. That is a message, or a failure if an instance after this one would go on
    /// without the conversation.
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

    /// Nothing is left of an instance's attempt: whoever wants its session may have it.
    pub(super) fn leave_session(&mut self, index: usize) {
        self.sessions.held.remove(&index);
    }
}

/// What is said where sessions cannot be locked.
#[must_use]
pub fn no_session_locks(why: &str) -> String {
    format!("no locks for sessions: {why}: another run that is in one of them at the same time would not be noticed")
}
