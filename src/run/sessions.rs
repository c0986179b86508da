//! Which instance is in its session, and who waits because another run is: two processes in one session lose a turn.

use std::collections::HashMap;
use std::time::Duration;

use super::Run;
use crate::edge::session_locks::{SessionLock, SessionLocks};

/// How long after a look it is looked again whether a session is free, for all that wait together.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
}

impl Run<'_> {
    /// Enters the session of an instance that is to start. Answers false if another run is in it: then the instance waits.
    pub(super) fn enter_session(&mut self, index: usize, now: Duration) -> bool {
        let plan = self.plan;
        let (Some(session), Some(locks)) = (&plan.instances[index].session, &self.sessions.locks) else { return true };
        match locks.enter(&session.uuid) {
            Ok(Some(lock)) => {
                self.sessions.held.insert(index, lock);
            }
            Ok(None) => {
                self.wait_for_session(index, &session.name, now);
                return false;
            }
            Err(why) => {
                self.sessions.locks = None;
                self.message(&no_session_locks(&why));
            }
        }
        self.records[index].waits_for = None;
        true
    }

    fn wait_for_session(&mut self, index: usize, session: &str, now: Duration) {
        if self.sessions.next_look <= now {
            self.sessions.next_look = now + LOOK_AGAIN;
        }
        self.schedule.put_off(index, self.sessions.next_look);
        if self.records[index].waits_for.is_none() {
            let what = format!("session {session} is in use by another run");
            self.message(&format!("{} waits: {what}", self.name(index)));
            self.records[index].again_at = None;
            self.records[index].waits_for = Some(what);
            self.json.is_stale = true;
        }
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
