//! Tokens and cost, with the certainty of each.

use std::ops::AddAssign;

use super::tokens::Tokens;

/// Certainty of a number. A sum has the later of the two variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Reported by claude.
    #[default]
    Exact,
    /// Estimated from the price table.
    Estimate,
    /// Lower bound: the process ended before it reported, or this generation does not report everything.
    AtLeast,
}

impl Certainty {
    /// Returns the value in `report.json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Certainty::Exact => "exact",
            Certainty::Estimate => "estimate",
            Certainty::AtLeast => "at_least",
        }
    }
}

/// Tokens and cost, with the certainty of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens by kind.
    pub tokens: Tokens,
    /// Certainty of the tokens; never an estimate.
    pub tokens_certainty: Certainty,
    /// Cost in micro-dollars.
    pub micros: u64,
    /// Certainty of the cost.
    pub micros_certainty: Certainty,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.tokens += other.tokens;
        self.tokens_certainty = self.tokens_certainty.max(other.tokens_certainty);
        self.micros = self.micros.saturating_add(other.micros);
        self.micros_certainty = self.micros_certainty.max(other.micros_certainty);
    }
}

/// Tokens and cost that claude reports for one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Tokens by kind.
    pub tokens: Tokens,
    /// Cost in micro-dollars.
    pub micros: u64,
}

impl ModelUsage {
    /// Adds tokens and cost.
    pub fn add(&mut self, tokens: Tokens, micros: u64) {
        self.tokens += tokens;
        self.micros = self.micros.saturating_add(micros);
    }
}
