//! Enforcement of the budget: denies instances, and stops or warns when a limit is reached.

use std::time::Duration;

use super::Supervisor;
use super::reporting::MAX_MESSAGE_COLUMNS;
use crate::claude::usage_meter::Usage;
use crate::config::Enforcement;
use crate::engine::budget::{Denial, LimitReached};
use crate::engine::outcome::{Failure, FailureKind, Status};

impl Supervisor<'_> {
    /// Fails an instance that the budget denies; it is never started.
    pub(super) fn deny(&mut self, index: usize, refusal: Denial, now: Duration) {
        let why = refusal.why.clone();
        self.ledger.refused(index, refusal);
        let name = &self.plan.instances[index].name;
        let text = format!("BLOCK MODE: Budget exceeded for instance {name}: {why}. Skipping.");
        self.budget_notice("🚫 ", &text);
        let why = format!("Budget exceeded: {why}");
        let failure = match self.records[index].failed_attempts.last().map(|last| &last.failure) {
            // The failure is not the usage limit's: the instance waited for its end, and then exceeded the budget.
            Some(last) if last.reason == FailureKind::Limit => {
                Failure::new(FailureKind::Budget, last.with_retry_cancelled(&why).error)
            }
            Some(last) => last.with_retry_cancelled(&why),
            None => Failure::new(FailureKind::Budget, why),
        };
        self.finish_instance(index, Status::Failed(failure), now);
    }

    /// Returns the usage of a running instance, summed over all its attempts.
    pub(super) fn used(&self, index: usize) -> Option<Usage> {
        let mut used = self.records[index].usage_of_failed_attempts();
        used += self.live.get(&index)?.attempt.used();
        Some(used)
    }

    /// Charges the current usage of an instance, and stops the instances that share a limit it has reached.
    pub(super) fn charge(&mut self, index: usize, now: Duration) {
        let Some(used) = self.used(index) else { return };
        // Keep report.json current: zen may be killed with SIGKILL at any time.
        self.json.is_stale |= used != self.records[index].used;
        if let Some(message) = self.live.get(&index).and_then(|live| live.attempt.first_message()) {
            self.ledger.first_message(index, &message);
        }
        for LimitReached { message: what, is_own, stop } in self.ledger.charge(index, &used) {
            match (self.plan.budget.enforcement.unwrap_or_default(), is_own) {
                (Enforcement::Warn, _) => self.budget_notice("⚠️  ", &format!("WARN MODE: {what}")),
                // If the limit stops the instance, its failure contains the message.
                (Enforcement::Block, true) => {}
                (Enforcement::Block, false) => {
                    let rest = "What shares it ends with the message that it is in.";
                    self.budget_notice("🚫 ", &format!("BLOCK MODE: {what}. {rest}"));
                }
            }
            for index in stop {
                if let Some(live) = self.live.get_mut(&index) {
                    let effects = live.attempt.stop_after_message(Failure::new(FailureKind::Budget, what.clone()), now);
                    self.apply(index, effects, now);
                }
            }
        }
    }

    /// Prints a budget message in the format of netra-zen, with its emoji if the terminal supports Unicode.
    fn budget_notice(&mut self, sign: &str, text: &str) {
        let text = self.settings.style.sanitize(text, MAX_MESSAGE_COLUMNS);
        let line = if self.settings.style.unicode { format!("{sign}{text}\n") } else { format!("{text}\n") };
        self.print_message(&line);
    }
}
