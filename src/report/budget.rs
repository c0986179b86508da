//! What a `budget` section says to whoever reports on it: which limits count, which tokens count against them, and the
//! words for its settings. Enforces nothing.

use crate::claude::tokens::Tokens;
use crate::config::{BudgetConfig, BudgetType, TokenBasis};

/// The overall limit in tokens, where it counts.
pub(super) fn overall_tokens(budget: &BudgetConfig) -> Option<u64> {
    budget.overall_tokens.filter(|_| budget.budget_type != Some(BudgetType::Cost))
}

/// The overall limit in micro-dollars, where it counts.
pub(super) fn overall_micros(budget: &BudgetConfig) -> Option<u64> {
    budget.overall_micros.filter(|_| budget.budget_type != Some(BudgetType::Tokens))
}

/// How many of these tokens count against a limit.
pub(super) fn counted_tokens(budget: &BudgetConfig, tokens: &Tokens) -> u64 {
    match budget.token_basis.unwrap_or_default() {
        TokenBasis::Total => tokens.total(),
        TokenBasis::Uncached => Tokens { cache_read: 0, ..*tokens }.total(),
    }
}

/// Whether any limit is set.
pub(super) fn has_limits(budget: &BudgetConfig) -> bool {
    has_token_limits(budget) || has_cost_limits(budget)
}

fn has_token_limits(budget: &BudgetConfig) -> bool {
    budget.overall_tokens.is_some() || !budget.command_tokens.is_empty()
}

fn has_cost_limits(budget: &BudgetConfig) -> bool {
    budget.overall_micros.is_some() || !budget.command_micros.is_empty()
}

/// Which limits count: as given, else those that are set.
pub(super) fn effective_type(budget: &BudgetConfig) -> BudgetType {
    let set = match (has_token_limits(budget), has_cost_limits(budget)) {
        (true, true) => BudgetType::Mixed,
        (false, true) => BudgetType::Cost,
        (_, false) => BudgetType::Tokens,
    };
    budget.budget_type.unwrap_or(set)
}

/// The config's word for it.
pub(super) fn basis_word(basis: TokenBasis) -> &'static str {
    match basis {
        TokenBasis::Total => "total",
        TokenBasis::Uncached => "uncached",
    }
}

/// What stands before "tokens" where they are counted against a limit: the rows and totals beside it count all.
pub(super) fn basis_prefix(budget: &BudgetConfig) -> &'static str {
    match budget.token_basis.unwrap_or_default() {
        TokenBasis::Total => "",
        TokenBasis::Uncached => "uncached ",
    }
}
