//! Stop of a run: by a signal, by `--halt`, or for all instances of an account that the API refused.

use std::time::Duration;

use super::Engine;
use crate::config::halt::{Halt, HaltMode};
use crate::engine::event::StopSignal;
use crate::engine::notice::Notice;
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::plan::{Instance, InstanceId};

/// Environment variables that select claude's account.
const CREDENTIALS: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CONFIG_DIR",
    "HOME",
];

/// Reasons for which instances no longer start.
#[derive(Debug, Default)]
pub(super) struct StopState {
    /// First signal that stopped the run.
    pub(super) signal: Option<StopSignal>,
    /// Reason for the stop if `--halt` has stopped the run.
    halted: Option<String>,
    /// First instance of each account that the API refused.
    refused_accounts: Vec<InstanceId>,
}

/// Returns true if both instances use the same account.
fn have_same_account(a: &Instance, b: &Instance) -> bool {
    CREDENTIALS.iter().all(|name| a.invocation.env.get(*name) == b.invocation.env.get(*name))
}

impl Engine<'_> {
    /// Stops all instances: gracefully on the first signal, with SIGKILL on the next one.
    pub(super) fn on_stop(&mut self, signal: StopSignal, now: Duration) {
        let interrupted = Failure::interrupted(signal.name);
        let is_first = self.stop.signal.is_none();
        if is_first {
            self.stop.signal = Some(signal);
            self.notice(Notice::Stopping(signal.name));
        }
        for index in self.schedule.stop() {
            let failure = match self.records[index].failed_attempts.last() {
                Some(last) => {
                    let error = last.failure.with_retry_cancelled(&interrupted.error).error;
                    Failure::new(FailureKind::Interrupted, error)
                }
                None => Failure::new(FailureKind::Interrupted, format!("{} before the start", interrupted.error)),
            };
            self.end(InstanceId(index), Status::Failed(failure), now);
        }
        for id in self.running.clone() {
            let failure = interrupted.clone();
            if is_first {
                self.with_attempt(id, now, |attempt| attempt.stop(failure, now));
            } else {
                self.with_attempt(id, now, |attempt| attempt.kill(failure, now));
            }
        }
    }

    /// Fails or stops the instances that must not run after the failure of this one.
    pub(super) fn after_failure(&mut self, id: InstanceId, now: Duration) {
        let Status::Failed(failure) = &self.records[id].status else { return };
        if failure.reason == FailureKind::Account && self.refused_account(id).is_none() {
            self.stop.refused_accounts.push(id);
            self.fail_waiting_of_account(id, now);
        }
        self.halt_if_reached(now);
    }

    /// Returns the reason against a retry if the account was refused or `--halt` has stopped the run.
    pub(super) fn failures_that_stopped(&self, id: InstanceId) -> Option<String> {
        if self.stop.halted.is_some() {
            return self.stop.halted.clone();
        }
        self.refused_account(id).map(|refused| self.account_refused(refused))
    }

    /// Returns the first instance of the same account that the API refused, if it did.
    fn refused_account(&self, id: InstanceId) -> Option<InstanceId> {
        self.stop.refused_accounts.iter().copied().find(|&refused| self.have_same_account(refused, id))
    }

    fn have_same_account(&self, a: InstanceId, b: InstanceId) -> bool {
        have_same_account(&self.plan.instances[a], &self.plan.instances[b])
    }

    fn account_refused(&self, refused: InstanceId) -> String {
        format!("the API refused the account of {}", self.plan.instances[refused].name)
    }

    /// Fails the waiting instances that use the same account as an instance that was refused.
    fn fail_waiting_of_account(&mut self, refused: InstanceId, now: Duration) {
        let mut waiting = self.schedule.waiting();
        waiting.retain(|&index| self.have_same_account(refused, InstanceId(index)));
        if waiting.is_empty() {
            return;
        }
        self.notice(Notice::AccountRefused(refused));
        self.fail_waiting(&waiting, FailureKind::Account, &self.account_refused(refused), now);
    }

    /// Stops the run if the number of failures has reached the limit of `--halt`.
    fn halt_if_reached(&mut self, now: Duration) {
        let Some(halt) = self.policy.halt else { return };
        if self.stop.halted.is_some() || self.stop.signal.is_some() {
            return;
        }
        let mut failed = 0;
        for record in &self.records {
            failed += usize::from(matches!(record.status, Status::Failed(_)));
        }
        if halt.is_reached(failed, self.records.len()) {
            self.halt(halt, failed, now);
        }
    }

    fn halt(&mut self, halt: Halt, failed: usize, now: Duration) {
        let reason = match failed {
            1 => format!("1 instance failed (--halt {halt})"),
            _ => format!("{failed} instances failed (--halt {halt})"),
        };
        self.stop.halted = Some(reason.clone());
        let waiting = self.schedule.stop();
        let running = self.running.clone();
        if !(waiting.is_empty() && running.is_empty()) {
            self.notice(Notice::Halted { reason: reason.clone(), mode: halt.mode });
        }
        self.fail_waiting(&waiting, FailureKind::Halted, &reason, now);
        if halt.mode == HaltMode::Soon {
            return;
        }
        let failure = Failure::new(FailureKind::Halted, format!("stopped: {reason}"));
        for id in running {
            self.with_attempt(id, now, |attempt| attempt.stop(failure.clone(), now));
        }
    }

    /// Fails instances that have not started, or that wait for a retry.
    pub(super) fn fail_waiting(&mut self, waiting: &[usize], kind: FailureKind, reason: &str, now: Duration) {
        for &index in waiting {
            let error = match self.records[index].failed_attempts.last() {
                Some(last) => last.failure.with_retry_cancelled(reason).error,
                None => format!("not started: {reason}"),
            };
            self.end(InstanceId(index), Status::Failed(Failure::new(kind, error)), now);
        }
    }
}
