//! The ledger: what was used, against the limits. It answers *start, wait, refuse* before an instance starts, and *stop* or
//! *warn* while it runs.
//!
//! Pure: whole tokens and micro-dollars, no clock and no process. It knows neither how usage is counted nor how anything
//! is stopped.

use std::collections::BTreeMap;

use crate::claude::prices::Prices;
use crate::claude::usage::Used;
use crate::config::{BudgetConfig, BudgetType, Enforcement, TokenBasis};
use crate::plan::Instance;
use crate::text;

/// What an instance is taken to use that announces nothing, in tokens.
const DEFAULT_ESTIMATE_TOKENS: u64 = 1_000;

/// Whether an instance may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may start now.
    Start,
    /// It may never start.
    Refuse(Refusal),
}

/// Why an instance may never start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in the seed's words.
    pub why: String,
    /// Whether the budget for all refuses it, and so all behind it.
    is_overall: bool,
}

/// A limit that was reached while instances ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which limit, and how much of it was used: "Overall budget reached: 10,120 / 10,000 tokens".
    pub what: String,
    /// Whether it is what one instance has announced, and so concerns nobody else.
    pub is_own: bool,
    /// Those that share it, by index: they are to end with the message they are in. Empty where it is only to be said.
    pub stop: Vec<usize>,
}

/// A limit as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// What it limits.
    pub scope: Scope,
    /// What it counts.
    pub unit: Unit,
    /// How much there may be.
    pub cap: u64,
    /// How much there was.
    pub used: u64,
}

/// What a limit is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All instances.
    Overall,
    /// The instances that run this command.
    Command(String),
    /// One instance, by index: what it has announced.
    Instance(usize),
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tokens.
    Tokens,
    /// Micro-dollars.
    Micros,
}

/// The books of a run.
#[derive(Debug)]
pub struct Ledger {
    enforcement: Enforcement,
    basis: TokenBasis,
    limits: Vec<Limit>,
    accounts: Vec<Account>,
    refusals: Vec<(usize, String)>,
    /// The first in the config's order whom the overall budget has refused: it refuses all behind it.
    overall_refused: Option<usize>,
}

#[derive(Debug)]
struct Limit {
    scope: Scope,
    unit: Unit,
    cap: u64,
    used: u64,
    /// What running instances may still take of it, by their estimates.
    committed: u64,
    was_reached: bool,
    members: Vec<usize>,
}

#[derive(Debug)]
struct Account {
    /// The limits that it shares, by index.
    limits: Vec<usize>,
    /// What it is taken to use: in all its attempts if it has announced that, else in each.
    estimate: Amounts,
    has_announced: bool,
    used: Amounts,
    /// What it had used when it was started last, and what it was expected to use from then on.
    used_before: Amounts,
    expected_then: Amounts,
    is_running: bool,
}

/// An amount in each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amounts {
    tokens: u64,
    micros: u64,
}

impl Amounts {
    fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::Micros => self.micros,
        }
    }
}

impl Account {
    /// What an attempt of it that begins now may take, by its estimate. Dollars go with the tokens, for at which price these
    /// were served is not known before.
    fn expected(&self) -> Amounts {
        let Amounts { tokens: announced, micros } = self.estimate;
        if !self.has_announced || announced == 0 {
            return self.estimate;
        }
        let tokens = announced.saturating_sub(self.used.tokens);
        let micros = u128::from(micros) * u128::from(tokens) / u128::from(announced);
        Amounts { tokens, micros: u64::try_from(micros).unwrap_or(u64::MAX) }
    }

    /// What it may still take while it runs.
    fn committed(&self, unit: Unit) -> u64 {
        let of_attempt = self.used.of(unit).saturating_sub(self.used_before.of(unit));
        if self.is_running { self.expected_then.of(unit).saturating_sub(of_attempt) } else { 0 }
    }
}

impl Ledger {
    /// Books with nothing in them.
    #[must_use]
    pub fn new(budget: &BudgetConfig, instances: &[Instance], prices: &Prices) -> Self {
        let limits = limits(budget, instances);
        let account = |instance: &Instance| Account {
            limits: Vec::new(),
            estimate: estimate(instance, prices),
            has_announced: instance.max_tokens.is_some(),
            used: Amounts::default(),
            used_before: Amounts::default(),
            expected_then: Amounts::default(),
            is_running: false,
        };
        let mut accounts: Vec<Account> = instances.iter().map(account).collect();
        for (l, limit) in limits.iter().enumerate() {
            for &member in &limit.members {
                accounts[member].limits.push(l);
            }
        }
        Ledger {
            enforcement: budget.enforcement.unwrap_or_default(),
            basis: budget.token_basis.unwrap_or_default(),
            limits,
            accounts,
            refusals: Vec::new(),
            overall_refused: None,
        }
    }

    /// The first of those that are ready, in the config's order, about whom there is something to say: it may start, or
    /// never will. `None`: all of them wait until one that runs has settled.
    ///
    /// One that waits holds back nobody who leaves it enough.
    #[must_use]
    pub fn next(&self, ready: impl Iterator<Item = usize>) -> Option<(usize, Answer)> {
        if self.enforcement == Enforcement::Warn {
            return ready.map(|instance| (instance, Answer::Start)).next();
        }
        let mut reserved = vec![0_u64; self.limits.len()];
        for instance in ready {
            if let Some(refusal) = self.refusal(instance) {
                return Some((instance, Answer::Refuse(refusal)));
            }
            let account = &self.accounts[instance];
            let expected = account.expected();
            let has_room = account.limits.iter().all(|&l| {
                let limit = &self.limits[l];
                let taken = limit.used.saturating_add(limit.committed).saturating_add(reserved[l]);
                limit.is_own() || taken.saturating_add(expected.of(limit.unit)) <= limit.cap
            });
            if has_room {
                return Some((instance, Answer::Start));
            }
            for &l in &account.limits {
                reserved[l] = reserved[l].saturating_add(expected.of(self.limits[l].unit));
            }
        }
        None
    }

    fn refusal(&self, instance: usize) -> Option<Refusal> {
        if self.overall_refused.is_some_and(|first| instance > first) {
            return Some(Refusal { why: "Overall budget exceeded".to_owned(), is_overall: true });
        }
        let account = &self.accounts[instance];
        account.limits.iter().map(|&l| &self.limits[l]).find_map(|limit| {
            // What an instance has announced is for all its attempts: the next one takes what the others have left.
            let (is_over, estimate) = match limit.is_own() {
                true => (limit.used >= limit.cap, account.estimate.of(limit.unit)),
                false => {
                    let expected = account.expected().of(limit.unit);
                    (limit.used.saturating_add(expected) > limit.cap, expected)
                }
            };
            let is_overall = limit.scope == Scope::Overall;
            (is_over && self.is_certain(limit)).then(|| Refusal { why: limit.would_exceed(estimate), is_overall })
        })
    }

    /// Whether what was used of a limit can only grow. Dollars are estimates while an instance runs, and may turn out too
    /// high when claude says what it was.
    fn is_certain(&self, limit: &Limit) -> bool {
        limit.unit == Unit::Tokens || !limit.members.iter().any(|&m| self.accounts[m].is_running)
    }

    /// An instance was refused, for this reason.
    pub fn refused(&mut self, instance: usize, refusal: Refusal) {
        if refusal.is_overall && self.overall_refused.is_none_or(|first| instance < first) {
            self.overall_refused = Some(instance);
        }
        self.refusals.push((instance, refusal.why));
    }

    /// An instance was started.
    pub fn started(&mut self, instance: usize) {
        self.change(instance, |account| {
            account.is_running = true;
            account.used_before = account.used;
            account.expected_then = account.expected();
        });
    }

    /// An instance has used this much by now, in all its attempts. Answers the limits that were reached by it.
    pub fn book(&mut self, instance: usize, used: &Used) -> Vec<Reached> {
        let cached = match self.basis {
            TokenBasis::Total => 0,
            TokenBasis::Uncached => used.tokens.cache_read,
        };
        let now = Amounts { tokens: used.tokens.total().saturating_sub(cached), micros: used.micros };
        if self.accounts[instance].used == now {
            return Vec::new();
        }
        self.change(instance, |account| account.used = now);
        let mut reached = Vec::new();
        for l in self.accounts[instance].limits.clone() {
            let limit = &mut self.limits[l];
            let is_reached = match self.enforcement {
                Enforcement::Block => limit.used >= limit.cap,
                Enforcement::Warn => limit.used > limit.cap,
            };
            // Dollars that turned out fewer than estimated make room again, and the limit can be reached once more.
            let is_news = is_reached && !limit.was_reached;
            limit.was_reached = is_reached || (limit.was_reached && self.enforcement == Enforcement::Warn);
            if !is_news {
                continue;
            }
            let stop = match self.enforcement {
                Enforcement::Block => limit.members.iter().copied().filter(|&m| self.accounts[m].is_running).collect(),
                Enforcement::Warn => Vec::new(),
            };
            reached.push(Reached { what: limit.told(self.enforcement), is_own: limit.is_own(), stop });
        }
        reached
    }

    /// An instance has ended, and will use no more.
    pub fn ended(&mut self, instance: usize) {
        self.change(instance, |account| account.is_running = false);
    }

    /// How many micro-dollars an instance may use at most, where a limit in dollars is enforced.
    #[must_use]
    pub fn dollars_left(&self, instance: usize) -> Option<u64> {
        let limits = self.accounts[instance].limits.iter().map(|&l| &self.limits[l]);
        let left = limits.filter(|limit| limit.unit == Unit::Micros).map(|limit| limit.cap.saturating_sub(limit.used));
        left.min().filter(|_| self.enforcement == Enforcement::Block)
    }

    /// Every limit with its use; an instance's own limits last.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitState> {
        let state = |l: &Limit| LimitState { scope: l.scope.clone(), unit: l.unit, cap: l.cap, used: l.used };
        self.limits.iter().map(state).collect()
    }

    /// Whom a budget refused, and why, in the order in which it happened.
    #[must_use]
    pub fn refusals(&self) -> &[(usize, String)] {
        &self.refusals
    }

    /// Changes an account, and the sums of the limits that it shares by the same.
    fn change(&mut self, instance: usize, change: impl FnOnce(&mut Account)) {
        let account = &mut self.accounts[instance];
        let amounts = |account: &Account, unit| (account.used.of(unit), account.committed(unit));
        let before = [Unit::Tokens, Unit::Micros].map(|unit| amounts(account, unit));
        change(account);
        for &l in &account.limits {
            let limit = &mut self.limits[l];
            let (used, committed) = before[limit.unit as usize];
            let (used_now, committed_now) = amounts(account, limit.unit);
            // Usage can shrink: an estimate in dollars may turn out too high when claude says what it was.
            limit.used = limit.used.saturating_sub(used).saturating_add(used_now);
            limit.committed = limit.committed.saturating_sub(committed).saturating_add(committed_now);
        }
    }
}

impl Limit {
    fn is_own(&self) -> bool {
        matches!(self.scope, Scope::Instance(_))
    }

    /// "Estimated 6000 tokens would exceed overall budget of 10000 (currently at 6000)": the seed's words.
    fn would_exceed(&self, estimate: u64) -> String {
        let whose = match &self.scope {
            Scope::Overall => "overall",
            Scope::Command(command) => command,
            Scope::Instance(_) => "its own",
        };
        match self.unit {
            Unit::Tokens => format!(
                "Estimated {estimate} tokens would exceed {whose} budget of {} (currently at {})",
                self.cap, self.used
            ),
            Unit::Micros => format!(
                "Estimated {} would exceed {whose} cost budget of {} (currently at {})",
                text::dollars(estimate),
                text::dollars(self.cap),
                text::dollars(self.used)
            ),
        }
    }

    /// "Overall budget reached: 10,120 / 10,000 tokens".
    fn told(&self, enforcement: Enforcement) -> String {
        let whose = match &self.scope {
            Scope::Overall => "Overall budget".to_owned(),
            Scope::Command(command) => format!("Budget of {command}"),
            Scope::Instance(_) => "Its own max_tokens_per_command".to_owned(),
        };
        let what = match enforcement {
            Enforcement::Block => "reached",
            Enforcement::Warn => "exceeded",
        };
        let amount = |amount| match self.unit {
            Unit::Tokens => text::thousands(amount),
            Unit::Micros => text::dollars(amount),
        };
        let unit = if self.unit == Unit::Tokens { " tokens" } else { "" };
        format!("{whose} {what}: {} / {}{unit}", amount(self.used), amount(self.cap))
    }
}

/// The limits that count. A limit of a kind that `budget_type` leaves out is none.
fn limits(budget: &BudgetConfig, instances: &[Instance]) -> Vec<Limit> {
    let counts = |unit: Unit| match budget.budget_type {
        None | Some(BudgetType::Mixed) => true,
        Some(BudgetType::Tokens) => unit == Unit::Tokens,
        Some(BudgetType::Cost) => unit == Unit::Micros,
    };
    let overall = [(Unit::Tokens, budget.overall_tokens), (Unit::Micros, budget.overall_micros)];
    let overall = overall.into_iter().filter_map(|(unit, cap)| Some((Scope::Overall, unit, cap?)));
    let of_command = |limits: &BTreeMap<String, u64>, unit: Unit| -> Vec<(Scope, Unit, u64)> {
        limits.iter().map(|(command, &cap)| (Scope::Command(command.clone()), unit, cap)).collect()
    };
    let by_command = of_command(&budget.command_tokens, Unit::Tokens);
    let by_command = by_command.into_iter().chain(of_command(&budget.command_micros, Unit::Micros));
    let mut limits: Vec<Limit> = overall
        .chain(by_command)
        .filter(|(_, unit, _)| counts(*unit))
        .map(|(scope, unit, cap)| {
            let is_member = |instance: &Instance| match &scope {
                Scope::Command(command) => instance.budget_command.as_ref() == Some(command),
                Scope::Overall | Scope::Instance(_) => true,
            };
            let members = (0..instances.len()).filter(|&i| is_member(&instances[i])).collect();
            Limit { scope, unit, cap, used: 0, committed: 0, was_reached: false, members }
        })
        .collect();
    // What an instance has announced is its own limit, but only where limits are what the user wants.
    let blocks = budget.enforcement.unwrap_or_default() == Enforcement::Block;
    if blocks && counts(Unit::Tokens) && !limits.is_empty() {
        let own = |(i, instance): (usize, &Instance)| {
            let (scope, unit) = (Scope::Instance(i), Unit::Tokens);
            let cap = instance.max_tokens?;
            Some(Limit { scope, unit, cap, used: 0, committed: 0, was_reached: false, members: vec![i] })
        };
        limits.extend(instances.iter().enumerate().filter_map(own));
    }
    limits
}

/// What an instance is taken to use: what it announces; in dollars 60 % of that as input and 40 % as output.
fn estimate(instance: &Instance, prices: &Prices) -> Amounts {
    let tokens = instance.max_tokens.unwrap_or(DEFAULT_ESTIMATE_TOKENS);
    let input = tokens.saturating_mul(6) / 10;
    let expected = crate::claude::tokens::Tokens { input, output: tokens - input, ..Default::default() };
    Amounts { tokens, micros: prices.estimate_micros(instance.model.as_deref().unwrap_or(""), &expected) }
}

#[cfg(test)]
mod tests;
