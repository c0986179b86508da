//! Budget of a run: usage against limits. It picks the next instance to launch among those that are ready
//! ([`Budget::admit_first`]): it admits, defers or denies them. It stops or warns about running ones.
//!
//! An instance without `max_tokens_per_command` has a learned estimate: the usage of an earlier run, or else the
//! largest first message of this run. Until one of them is known, launches wait for the first message of a launched
//! instance.
//!
//! Pure: counts whole tokens and micro-dollars, takes the time as an argument, and handles no processes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::text;
use crate::claude::pricing::Prices;
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::{ModelUsage, Usage};
use crate::config::{BudgetConfig, BudgetType, Enforcement, TokenBasis};
use crate::engine::timing::FIRST_MESSAGE_WAIT;
use crate::plan::Instance;

/// Estimate in tokens of an instance without an own estimate, before one is learned.
const DEFAULT_ESTIMATE_TOKENS: u64 = 1_000;

/// Decision on an instance that is ready to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The instance may start now.
    Admit,
    /// The instance must never start.
    Deny(Denial),
}

/// Denial of an instance by a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Message with the reason, in the wording of the specification.
    pub reason: String,
    /// True if the overall budget denies it. All later instances are then denied as well.
    is_overall: bool,
}

/// Limit that was reached while instances were running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Message with the limit and its usage: "Overall budget reached: 10,120 / 10,000 tokens".
    pub message: String,
    /// True if it is the own limit of one instance, and so affects no other.
    pub is_own: bool,
    /// Indices of the instances that share the limit; they must stop after their current message. Empty if it only
    /// warns.
    pub stop: Vec<usize>,
}

/// Limit and its usage, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUsage {
    /// Instances that the limit covers.
    pub scope: Scope,
    /// Unit of the amounts.
    pub unit: Unit,
    /// Largest amount allowed.
    pub cap: u64,
    /// Amount used.
    pub used: u64,
}

/// Set of instances that a limit covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All instances.
    Overall,
    /// The instances that run this command.
    Command(String),
    /// One instance, by index: its own `max_tokens_per_command`.
    Instance(usize),
}

/// Unit that a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tokens.
    Tokens,
    /// Micro-dollars.
    Micros,
}

/// Limits, estimates and usage of a run.
#[derive(Debug)]
pub struct Budget {
    enforcement: Enforcement,
    basis: TokenBasis,
    limits: Vec<Limit>,
    accounts: Vec<InstanceBudget>,
    refusals: Vec<(usize, String)>,
    /// First instance, in config order, that the overall budget has denied. All instances after it are denied.
    overall_refused: Option<usize>,
    /// Largest first message of any attempt of this run.
    largest_first: Option<Amounts>,
    /// Running instances without a first message in this attempt, if limits are enforced.
    silent: BTreeSet<usize>,
    /// Time limit of the wait for the first message of the instance launched last.
    first_message_due: Duration,
}

#[derive(Debug)]
struct Limit {
    scope: Scope,
    unit: Unit,
    cap: u64,
    used: u64,
    /// Amount that running instances may still use, by their estimates.
    committed: u64,
    was_reached: bool,
    members: Vec<usize>,
    /// Number of members that are running.
    running: usize,
}

#[derive(Debug)]
struct InstanceBudget {
    /// Indices of the limits that cover the instance.
    limits: Vec<usize>,
    /// Estimate: of all attempts together if it is the instance's own, else of each attempt.
    estimate: Amounts,
    has_own_estimate: bool,
    /// Usage of an earlier run, if known and if the instance has no own estimate.
    earlier: Option<Amounts>,
    used: Amounts,
    /// Usage at the last start, and the amount reserved from then on.
    used_before: Amounts,
    reserved: Amounts,
    is_running: bool,
}

/// Amount in each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amounts {
    tokens: u64,
    micros: u64,
}

impl Amounts {
    fn by_unit(self, other: Amounts, choose: fn(u64, u64) -> u64) -> Amounts {
        Amounts { tokens: choose(self.tokens, other.tokens), micros: choose(self.micros, other.micros) }
    }

    fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::Micros => self.micros,
        }
    }
}

impl InstanceBudget {
    /// Returns true if a limit covers the instance and it has no own estimate.
    fn needs_estimate(&self) -> bool {
        !self.has_own_estimate && !self.limits.is_empty()
    }

    /// Returns the estimate for an attempt that starts now. Its dollars are proportional to its tokens, since their
    /// price is not known yet.
    fn expected(&self, largest_first: Option<Amounts>) -> Amounts {
        let Amounts { tokens: announced, micros } = self.estimate;
        if !self.has_own_estimate {
            return self.earlier.or(largest_first).unwrap_or(self.estimate);
        }
        if announced == 0 {
            return self.estimate;
        }
        let tokens = announced.saturating_sub(self.used.tokens);
        let micros = u128::from(micros) * u128::from(tokens) / u128::from(announced);
        Amounts { tokens, micros: u64::try_from(micros).unwrap_or(u64::MAX) }
    }

    /// Returns the least usage expected of an attempt. The usage of an earlier run is possible but not certain: it
    /// makes other instances wait, but denies none by itself.
    fn minimum(&self, largest_first: Option<Amounts>) -> Amounts {
        match self.earlier {
            Some(earlier) => earlier.by_unit(largest_first.unwrap_or(self.estimate), u64::min),
            None => self.expected(largest_first),
        }
    }

    /// Returns the amount that the running attempt may still use.
    fn committed(&self, unit: Unit) -> u64 {
        let of_attempt = self.used.of(unit).saturating_sub(self.used_before.of(unit));
        if self.is_running { self.reserved.of(unit).saturating_sub(of_attempt) } else { 0 }
    }
}

impl Budget {
    /// Returns a budget without usage.
    #[must_use]
    pub fn new(budget: &BudgetConfig, instances: &[Instance], prices: &Prices) -> Self {
        let limits = limits(budget, instances);
        let mut accounts = Vec::with_capacity(instances.len());
        for instance in instances {
            accounts.push(InstanceBudget {
                limits: Vec::new(),
                estimate: estimate(instance, prices),
                has_own_estimate: instance.max_tokens.is_some(),
                earlier: None,
                used: Amounts::default(),
                used_before: Amounts::default(),
                reserved: Amounts::default(),
                is_running: false,
            });
        }
        for (l, limit) in limits.iter().enumerate() {
            for &member in &limit.members {
                accounts[member].limits.push(l);
            }
        }
        Budget {
            enforcement: budget.enforcement.unwrap_or_default(),
            basis: budget.token_basis.unwrap_or_default(),
            limits,
            accounts,
            refusals: Vec::new(),
            overall_refused: None,
            largest_first: None,
            silent: BTreeSet::new(),
            first_message_due: Duration::ZERO,
        }
    }

    /// Returns true if a limit is enforced and an instance without an own estimate is covered by it.
    #[must_use]
    pub fn learns_estimates(&self) -> bool {
        self.enforcement == Enforcement::Block && self.accounts.iter().any(InstanceBudget::needs_estimate)
    }

    /// Sets the usage of an earlier run as the estimate, unless the instance has its own.
    pub fn expect_as_before(&mut self, instance: usize, used: &ModelUsage) {
        let earlier = self.counted(&used.tokens, used.micros);
        let account = &mut self.accounts[instance];
        account.earlier = if account.has_own_estimate { None } else { Some(earlier) };
    }

    /// Returns the end of the wait for a first message, if there is one now.
    ///
    /// Instances without an estimate are not launched until then.
    #[must_use]
    pub fn first_message_due(&self, now: Duration) -> Option<Duration> {
        let waits = self.largest_first.is_none() && !self.silent.is_empty() && now < self.first_message_due;
        waits.then_some(self.first_message_due)
    }

    /// Returns the first ready instance, in config order, that can be admitted or denied now. Returns `None` if all of
    /// them wait for a running instance, or until [`first_message_due`](Self::first_message_due).
    ///
    /// A waiting instance does not block later ones that leave enough for it.
    #[must_use]
    pub fn admit_first(&self, ready: impl Iterator<Item = usize>, now: Duration) -> Option<(usize, Admission)> {
        if self.enforcement == Enforcement::Warn {
            return ready.map(|instance| (instance, Admission::Admit)).next();
        }
        let mut reserved = vec![0_u64; self.limits.len()];
        for instance in ready {
            if let Some(refusal) = self.refusal(instance) {
                return Some((instance, Admission::Deny(refusal)));
            }
            let account = &self.accounts[instance];
            let expected = account.expected(self.largest_first);
            let mut has_room = true;
            for &l in &account.limits {
                let limit = &self.limits[l];
                let taken = limit.used.saturating_add(limit.committed).saturating_add(reserved[l]);
                let fits = taken.saturating_add(expected.of(limit.unit)) <= limit.cap;
                // If nothing is running or reserved, waiting cannot free more of the limit.
                let is_waited_for = limit.running > 0 || reserved[l] > 0;
                has_room &= limit.is_own() || fits || !is_waited_for;
            }
            if has_room && !self.waits_for_first_message(account, now) {
                return Some((instance, Admission::Admit));
            }
            for &l in &account.limits {
                reserved[l] = reserved[l].saturating_add(expected.of(self.limits[l].unit));
            }
        }
        None
    }

    /// Returns true if the instance must wait for a first message, which shows how much it may use.
    fn waits_for_first_message(&self, account: &InstanceBudget, now: Duration) -> bool {
        let has_estimate = account.has_own_estimate || account.earlier.is_some();
        !has_estimate && !account.limits.is_empty() && self.first_message_due(now).is_some()
    }

    fn refusal(&self, instance: usize) -> Option<Denial> {
        if self.overall_refused.is_some_and(|first| instance > first) {
            return Some(Denial { reason: "Overall budget exceeded".to_owned(), is_overall: true });
        }
        let account = &self.accounts[instance];
        for &l in &account.limits {
            let limit = &self.limits[l];
            // An own estimate covers all attempts: the next attempt gets what the earlier ones have left.
            let (is_over, estimate) = if limit.is_own() {
                (limit.used >= limit.cap, account.estimate.of(limit.unit))
            } else {
                let expected = account.minimum(self.largest_first).of(limit.unit);
                (limit.used.saturating_add(expected) > limit.cap, expected)
            };
            if is_over && Self::is_final(limit) {
                let is_overall = limit.scope == Scope::Overall;
                return Some(Denial { reason: limit.would_exceed(estimate), is_overall });
            }
        }
        None
    }

    /// Returns true if the usage of a limit can only grow. Dollars are estimates while an instance runs, and claude may
    /// report less at the end.
    fn is_final(limit: &Limit) -> bool {
        limit.unit == Unit::Tokens || limit.running == 0
    }

    /// Records the denial of an instance.
    pub fn refused(&mut self, instance: usize, refusal: Denial) {
        if refusal.is_overall && self.overall_refused.is_none_or(|first| instance < first) {
            self.overall_refused = Some(instance);
        }
        self.refusals.push((instance, refusal.reason));
    }

    /// Reserves the estimate of an instance that starts at `now`.
    pub fn started(&mut self, instance: usize, now: Duration) {
        let largest_first = self.largest_first;
        self.change(instance, |account| {
            account.is_running = true;
            account.used_before = account.used;
            account.reserved = account.expected(largest_first);
        });
        if self.enforcement == Enforcement::Block {
            self.silent.insert(instance);
            self.first_message_due = now.saturating_add(FIRST_MESSAGE_WAIT);
        }
    }

    /// Learns from the size of an attempt's first message so far. Instances without an own estimate are expected to use
    /// as much, including running ones without a first message.
    pub fn first_message(&mut self, instance: usize, message: &ModelUsage) {
        let size = self.counted(&message.tokens, message.micros);
        if size == Amounts::default() || self.enforcement == Enforcement::Warn {
            return;
        }
        self.silent.remove(&instance);
        let largest = self.largest_first.unwrap_or_default().by_unit(size, u64::max);
        if self.largest_first.replace(largest) == Some(largest) {
            return;
        }
        let silent: Vec<usize> = self.silent.iter().copied().collect();
        for instance in silent {
            self.change(instance, |account| {
                let expected = account.expected(Some(largest));
                account.reserved = if account.has_own_estimate { account.reserved } else { expected };
            });
        }
    }

    fn counted(&self, tokens: &Tokens, micros: u64) -> Amounts {
        let cached = match self.basis {
            TokenBasis::Total => 0,
            TokenBasis::Uncached => tokens.cache_read,
        };
        Amounts { tokens: tokens.total().saturating_sub(cached), micros }
    }

    /// Charges the usage of all attempts of an instance. Returns the limits that it has newly reached.
    pub fn charge(&mut self, instance: usize, used: &Usage) -> Vec<LimitReached> {
        let now = self.counted(&used.tokens, used.micros);
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
            // If dollars turn out lower than estimated, the limit has room again and can be reached once more.
            let is_news = is_reached && !limit.was_reached;
            limit.was_reached = is_reached || (limit.was_reached && self.enforcement == Enforcement::Warn);
            if !is_news {
                continue;
            }
            let stop = match self.enforcement {
                Enforcement::Block => limit.members.iter().copied().filter(|&m| self.accounts[m].is_running).collect(),
                Enforcement::Warn => Vec::new(),
            };
            reached.push(LimitReached { message: limit.message(self.enforcement), is_own: limit.is_own(), stop });
        }
        reached
    }

    /// Releases the reservation of an instance that has ended.
    pub fn ended(&mut self, instance: usize) {
        self.silent.remove(&instance);
        self.change(instance, |account| account.is_running = false);
    }

    /// Returns the most micro-dollars that an instance may still use, if a limit in dollars is enforced.
    #[must_use]
    pub fn dollars_left(&self, instance: usize) -> Option<u64> {
        if self.enforcement != Enforcement::Block {
            return None;
        }
        let mut left = None;
        for &l in &self.accounts[instance].limits {
            let limit = &self.limits[l];
            if limit.unit == Unit::Micros {
                left = Some(limit.cap.saturating_sub(limit.used).min(left.unwrap_or(u64::MAX)));
            }
        }
        left
    }

    /// Returns true if the usage of an enforced limit exceeds it. Own limits of instances are estimates and are
    /// ignored.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.enforcement == Enforcement::Block && self.limits.iter().any(Limit::is_exceeded)
    }

    /// Returns all limits with their usage; the own limits of instances come last.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitUsage> {
        self.limits.iter().map(Limit::usage).collect()
    }

    /// Returns the denied instances with the reasons, in order of denial.
    #[must_use]
    pub fn refusals(&self) -> &[(usize, String)] {
        &self.refusals
    }

    /// Changes the budget of an instance, and updates the sums of its limits by the difference.
    fn change(&mut self, instance: usize, change: impl FnOnce(&mut InstanceBudget)) {
        let account = &mut self.accounts[instance];
        let amounts = |account: &InstanceBudget, unit| (account.used.of(unit), account.committed(unit));
        let before = [Unit::Tokens, Unit::Micros].map(|unit| amounts(account, unit));
        let ran = account.is_running;
        change(account);
        for &l in &account.limits {
            let limit = &mut self.limits[l];
            let (used, committed) = before[limit.unit as usize];
            let (used_now, committed_now) = amounts(account, limit.unit);
            // Usage can shrink: a dollar estimate may exceed the cost that claude reports at the end.
            limit.used = limit.used.saturating_sub(used).saturating_add(used_now);
            limit.committed = limit.committed.saturating_sub(committed).saturating_add(committed_now);
            limit.running = limit.running + usize::from(account.is_running) - usize::from(ran);
        }
    }
}

impl Limit {
    fn new(scope: Scope, unit: Unit, cap: u64, members: Vec<usize>) -> Self {
        Limit { scope, unit, cap, used: 0, committed: 0, was_reached: false, members, running: 0 }
    }

    fn usage(&self) -> LimitUsage {
        LimitUsage { scope: self.scope.clone(), unit: self.unit, cap: self.cap, used: self.used }
    }

    /// Returns true if the usage exceeds the limit. The own limit of an instance is an estimate and never exceeded.
    fn is_exceeded(&self) -> bool {
        !self.is_own() && self.used > self.cap
    }

    fn is_own(&self) -> bool {
        matches!(self.scope, Scope::Instance(_))
    }

    /// Returns "Estimated 6000 tokens would exceed overall budget of 10000 (currently at 6000)", worded as in the
    /// original program.
    fn would_exceed(&self, estimate: u64) -> String {
        let scope = match &self.scope {
            Scope::Overall => "overall",
            Scope::Command(command) => command,
            Scope::Instance(_) => "its own",
        };
        match self.unit {
            Unit::Tokens => format!(
                "Estimated {estimate} tokens would exceed {scope} budget of {} (currently at {})",
                self.cap, self.used
            ),
            Unit::Micros => format!(
                "Estimated {} would exceed {scope} cost budget of {} (currently at {})",
                text::dollars(estimate),
                text::dollars(self.cap),
                text::dollars(self.used)
            ),
        }
    }

    /// Returns "Overall budget reached: 10,120 / 10,000 tokens".
    fn message(&self, enforcement: Enforcement) -> String {
        let scope = match &self.scope {
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
        format!("{scope} {what}: {} / {}{unit}", amount(self.used), amount(self.cap))
    }
}

/// Returns the limits in force. A limit of a kind that `budget_type` leaves out is dropped.
fn limits(budget: &BudgetConfig, instances: &[Instance]) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (unit, cap) in [(Unit::Tokens, budget.overall_tokens), (Unit::Micros, budget.overall_micros)] {
        if let Some(cap) = cap {
            limits.push(Limit::new(Scope::Overall, unit, cap, (0..instances.len()).collect()));
        }
    }
    for (unit, caps) in [(Unit::Tokens, &budget.command_tokens), (Unit::Micros, &budget.command_micros)] {
        for (command, &cap) in caps {
            limits.push(Limit::new(Scope::Command(command.clone()), unit, cap, members(instances, command)));
        }
    }
    limits.retain(|limit| counts(budget, limit.unit));
    // An instance's `max_tokens_per_command` limits it too, but only if the user has set any limit.
    let blocks = budget.enforcement.unwrap_or_default() == Enforcement::Block;
    if blocks && counts(budget, Unit::Tokens) && !limits.is_empty() {
        for (index, instance) in instances.iter().enumerate() {
            if let Some(cap) = instance.max_tokens {
                limits.push(Limit::new(Scope::Instance(index), Unit::Tokens, cap, vec![index]));
            }
        }
    }
    limits
}

/// Returns true if `budget_type` includes limits in this unit.
fn counts(budget: &BudgetConfig, unit: Unit) -> bool {
    match budget.budget_type {
        None | Some(BudgetType::Mixed) => true,
        Some(BudgetType::Tokens) => unit == Unit::Tokens,
        Some(BudgetType::Cost) => unit == Unit::Micros,
    }
}

/// Returns the instances that run this command.
fn members(instances: &[Instance], command: &str) -> Vec<usize> {
    let mut members = Vec::new();
    for (index, instance) in instances.iter().enumerate() {
        if instance.budget_command.as_deref() == Some(command) {
            members.push(index);
        }
    }
    members
}

/// Returns the estimate of an instance. Its tokens are priced as 60 % input and 40 % output.
fn estimate(instance: &Instance, prices: &Prices) -> Amounts {
    let tokens = instance.max_tokens.unwrap_or(DEFAULT_ESTIMATE_TOKENS);
    let input = tokens.saturating_mul(6) / 10;
    let expected = crate::claude::tokens::Tokens { input, output: tokens - input, ..Default::default() };
    Amounts { tokens, micros: prices.estimate_micros(instance.invocation.model.as_deref().unwrap_or(""), &expected) }
}

#[cfg(test)]
mod tests;
