//! Queries on the `budget` section for the reports: the limits in effect, the tokens that count against them, and the
//! words for its settings. Enforcement is in [`engine::budget`](crate::engine::budget).

use crate::claude::tokens::Tokens;
use crate::config::{BudgetConfig, BudgetType, TokenBasis};

/// Returns the overall limit in tokens, if it is in effect.
pub(super) fn overall_tokens(budget: &BudgetConfig) -> Option<u64> {
    if budget.budget_type == Some(BudgetType::Cost) { None } else { budget.overall_tokens }
}

/// Returns the overall limit in micro-dollars, if it is in effect.
pub(super) fn overall_micros(budget: &BudgetConfig) -> Option<u64> {
    if budget.budget_type == Some(BudgetType::Tokens) { None } else { budget.overall_micros }
}

/// Returns the number of these tokens that count against a limit.
pub(super) fn counted_tokens(budget: &BudgetConfig, tokens: &Tokens) -> u64 {
    match budget.token_basis.unwrap_or_default() {
        TokenBasis::Total => tokens.total(),
        TokenBasis::Uncached => Tokens { cache_read: 0, ..*tokens }.total(),
    }
}

/// True if any limit is set.
pub(super) fn has_limits(budget: &BudgetConfig) -> bool {
    has_token_limits(budget) || has_cost_limits(budget)
}

fn has_token_limits(budget: &BudgetConfig) -> bool {
    budget.overall_tokens.is_some() || !budget.command_tokens.is_empty()
}

fn has_cost_limits(budget: &BudgetConfig) -> bool {
    budget.overall_micros.is_some() || !budget.command_micros.is_empty()
}

/// Returns the budget type that is set, else the one implied by the limits.
pub(super) fn effective_type(budget: &BudgetConfig) -> BudgetType {
    let set = match (has_token_limits(budget), has_cost_limits(budget)) {
        (true, true) => BudgetType::Mixed,
        (false, true) => BudgetType::Cost,
        (_, false) => BudgetType::Tokens,
    };
    budget.budget_type.unwrap_or(set)
}

/// Returns the config's word for a token basis.
pub(super) fn basis_word(basis: TokenBasis) -> &'static str {
    match basis {
        TokenBasis::Total => "total",
        TokenBasis::Uncached => "uncached",
    }
}

/// Returns the prefix of "tokens" in a line about a limit, because the rows and totals beside it count all tokens.
pub(super) fn basis_prefix(budget: &BudgetConfig) -> &'static str {
    match budget.token_basis.unwrap_or_default() {
        TokenBasis::Total => "",
        TokenBasis::Uncached => "uncached ",
    }
}
