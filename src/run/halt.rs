//! Failures that affect other instances: a refused account, and `--halt`.

use std::time::Duration;

use super::Supervisor;
use crate::config::halt::{Halt, HaltMode};
use crate::engine::outcome::{Failure, FailureKind, Status};
use crate::plan::Instance;

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

/// Returns true if both instances use the same account.
fn have_same_account(a: &Instance, b: &Instance) -> bool {
    CREDENTIALS.iter().all(|name| a.invocation.env.get(*name) == b.invocation.env.get(*name))
}

impl Supervisor<'_> {
    /// Fails or stops the instances that must not run after the failure of this one.
    pub(super) fn after_failure(&mut self, index: usize, now: Duration) {
        let Status::Failed(failure) = &self.records[index].status else { return };
        let failure = failure.clone();
        let is_first = !self.refused_accounts.iter().any(|&other| self.have_same_account(other, index));
        if failure.reason == FailureKind::Account && is_first {
            self.refused_accounts.push(index);
            self.end_waiting_of_account(index, now);
        }
        self.halt_if_reached(now);
    }

    fn have_same_account(&self, a: usize, b: usize) -> bool {
        have_same_account(&self.plan.instances[a], &self.plan.instances[b])
    }

    /// Fails the waiting instances that use the same account as an instance that was refused.
    fn end_waiting_of_account(&mut self, refused: usize, now: Duration) {
        let mut waiting = self.schedule.waiting();
        waiting.retain(|&index| self.have_same_account(refused, index));
        if waiting.is_empty() {
            return;
        }
        let why = self.account_refused(refused);
        self.notice(&format!("{why}: instances that have not started do not start"));
        self.fail_waiting(&waiting, FailureKind::Account, &why, now);
    }

    fn account_refused(&self, refused: usize) -> String {
        format!("the API refused the account of {}", self.name(refused))
    }

    /// Stops the run if the number of failures has reached the limit of `--halt`.
    fn halt_if_reached(&mut self, now: Duration) {
        let Some(halt) = self.settings.halt.filter(|_| self.halted.is_none() && self.stopped_by.is_none()) else {
            return;
        };
        let is_failure = |status: &Status| matches!(status, Status::Failed(_));
        let failed = self.records.iter().filter(|record| is_failure(&record.status)).count();
        if halt.is_reached(failed, self.records.len()) {
            self.halt(halt, failed, now);
        }
    }

    fn halt(&mut self, halt: Halt, failed: usize, now: Duration) {
        let why = match failed {
            1 => format!("1 instance failed (--halt {halt})"),
            _ => format!("{failed} instances failed (--halt {halt})"),
        };
        self.halted = Some(why.clone());
        let waiting = self.schedule.stop();
        let running =
            self.running().into_iter().filter(|&index| !self.records[index].status.has_ended()).collect::<Vec<_>>();
        let what = match halt.mode {
            HaltMode::Soon => "starting nothing more",
            HaltMode::Now => "stopping all instances",
        };
        if !(waiting.is_empty() && running.is_empty()) {
            self.notice(&format!("{why}: {what}"));
        }
        self.fail_waiting(&waiting, FailureKind::Halted, &why, now);
        if halt.mode == HaltMode::Soon {
            return;
        }
        let failure = Failure::new(FailureKind::Halted, format!("stopped: {why}"));
        for index in running {
            if let Some(live) = self.live.get_mut(&index) {
                let effects = live.attempt.stop(failure.clone(), now);
                self.apply(index, effects, now);
            }
        }
    }

    fn fail_waiting(&mut self, waiting: &[usize], reason: FailureKind, why: &str, now: Duration) {
        for &index in waiting {
            let error = match self.records[index].failed_attempts.last() {
                Some(last) => last.failure.with_retry_cancelled(why).error,
                None => format!("not started: {why}"),
            };
            self.finish_instance(index, Status::Failed(Failure::new(reason, error)), now);
        }
    }

    /// Returns the reason against a retry if the account was refused or `--halt` has stopped the run.
    pub(super) fn stopped_by_failures(&self, index: usize) -> Option<String> {
        let refused = self.refused_accounts.iter().find(|&&refused| self.have_same_account(refused, index));
        self.halted.clone().or_else(|| refused.map(|&refused| self.account_refused(refused)))
    }
}
