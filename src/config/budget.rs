//! Limits of a run: the `budget` section.

use std::collections::{BTreeMap, BTreeSet};

/// The `budget` section; `None` for fields that are left out. The keys of the per-command maps are as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BudgetConfig {
    /// `overall_budget`, in tokens
    pub overall_tokens: Option<u64>,
    /// `overall_cost_budget`, in micro-dollars
    pub overall_micros: Option<u64>,
    /// `command_budgets`, in tokens
    pub command_tokens: BTreeMap<String, u64>,
    /// `command_cost_budgets`, in micro-dollars
    pub command_micros: BTreeMap<String, u64>,
    /// `budget_type`
    pub budget_type: Option<BudgetType>,
    /// `enforcement_mode`
    pub enforcement: Option<Enforcement>,
    /// `disable_visuals`
    pub disable_visuals: Option<bool>,
    /// `token_basis`
    pub token_basis: Option<TokenBasis>,
}

impl BudgetConfig {
    /// Returns the fields of the limits that are set but ignored, and those of the limits in force.
    ///
    /// A limit is ignored if `budget_type` leaves out its kind.
    #[must_use]
    pub fn limits_that_do_not_count(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut of_tokens = Vec::new();
        if self.overall_tokens.is_some() {
            of_tokens.push("overall_budget");
        }
        if !self.command_tokens.is_empty() {
            of_tokens.push("command_budgets");
        }
        let mut of_dollars = Vec::new();
        if self.overall_micros.is_some() {
            of_dollars.push("overall_cost_budget");
        }
        if !self.command_micros.is_empty() {
            of_dollars.push("command_cost_budgets");
        }
        match self.budget_type {
            Some(BudgetType::Tokens) => (of_dollars, of_tokens),
            Some(BudgetType::Cost) => (of_tokens, of_dollars),
            Some(BudgetType::Mixed) | None => (Vec::new(), [of_tokens, of_dollars].concat()),
        }
    }

    /// Returns true if a dollar limit can stop instances of this command.
    #[must_use]
    pub fn blocks_dollars_of(&self, command: Option<&str>) -> bool {
        let is_limited = match command {
            Some(command) => self.command_micros.contains_key(command),
            None => false,
        };
        self.blocks_dollars() && (self.overall_micros.is_some() || is_limited)
    }

    /// Returns true if a dollar limit can stop any instance.
    #[must_use]
    pub fn blocks_dollars(&self) -> bool {
        let is_set = self.overall_micros.is_some() || !self.command_micros.is_empty();
        let counts = self.budget_type != Some(BudgetType::Tokens);
        is_set && counts && self.enforcement.unwrap_or_default() == Enforcement::Block
    }

    /// Returns the commands with a limit of tokens or dollars.
    #[must_use]
    pub fn limited_commands(&self) -> BTreeSet<&str> {
        let mut commands = BTreeSet::new();
        commands.extend(self.command_tokens.keys().chain(self.command_micros.keys()).map(String::as_str));
        commands
    }

    /// Merges these limits with those of the command line (`stronger`), which take precedence.
    #[must_use]
    pub fn merged_with(mut self, stronger: &BudgetConfig) -> Self {
        self.command_tokens.extend(stronger.command_tokens.clone());
        self.command_micros.extend(stronger.command_micros.clone());
        BudgetConfig {
            overall_tokens: stronger.overall_tokens.or(self.overall_tokens),
            overall_micros: stronger.overall_micros.or(self.overall_micros),
            budget_type: stronger.budget_type.or(self.budget_type),
            enforcement: stronger.enforcement.or(self.enforcement),
            disable_visuals: stronger.disable_visuals.or(self.disable_visuals),
            token_basis: stronger.token_basis.or(self.token_basis),
            ..self
        }
    }
}

/// Kind of limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetType {
    /// Limits of tokens.
    Tokens,
    /// Limits of dollars.
    Cost,
    /// Both.
    Mixed,
}

impl BudgetType {
    /// Returns the word for it in the config.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            BudgetType::Tokens => "tokens",
            BudgetType::Cost => "cost",
            BudgetType::Mixed => "mixed",
        }
    }
}

impl Enforcement {
    /// Returns the word for it in the config.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Enforcement::Block => "block",
            Enforcement::Warn => "warn",
        }
    }
}

/// Enforcement of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// Deny instances that would exceed a limit, and stop those that reach it.
    #[default]
    Block,
    /// Warn, and continue.
    Warn,
}

/// Tokens that count against a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenBasis {
    /// Input, output, cache creation and cache reads.
    #[default]
    Total,
    /// All but cache reads.
    Uncached,
}
