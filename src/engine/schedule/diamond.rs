//! Simulation of 200 instances in a diamond graph with random failures, run by the schedule and the budget on a
//! simulated clock. The outcome must equal the one computed from the graph alone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::{ModelUsage, Usage};
use crate::engine::budget::{Admission, Budget};
use crate::engine::outcome::{Failure, FailureKind};
use crate::plan::{Plan, planned};

const COUNT: usize = 200;
const SEEDS: u64 = 1000;

/// Tokens that an instance uses in each attempt, equal to its default estimate.
const ATTEMPT_TOKENS: u64 = 1_000;

/// Pseudorandom generator: a seed gives the same diamond on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Behavior of an instance.
#[derive(Clone, Copy)]
struct Nature {
    /// Number of attempts that fail before one completes.
    fails: u32,
    is_hopeless: bool,
    runs: Duration,
    /// Delay of its first message after the start; `None` if there is none.
    speaks_after: Option<Duration>,
}

/// Outcome of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Completed,
    Failed,
    Skipped,
}

struct Diamond {
    plan: Plan,
    natures: Vec<Nature>,
    /// Topological order: dependencies first. The order in the config differs.
    order: Vec<usize>,
}

/// Returns a diamond: a first and a last instance, with random layers between them. Each instance depends on some of
/// the layer before.
fn diamond(base: &Plan, random: &mut Random) -> Diamond {
    let mut plan = base.clone();
    let mut order: Vec<usize> = (0..COUNT).collect();
    for i in (1..COUNT).rev() {
        order.swap(i, random.below(i + 1));
    }
    let mut layers = vec![1];
    while layers.iter().sum::<usize>() < COUNT - 1 {
        let left = COUNT - 1 - layers.iter().sum::<usize>();
        layers.push((1 + random.below(40)).min(left));
    }
    layers.push(1);
    let mut start = 0;
    for pair in layers.windows(2) {
        let (before, layer) = (start..start + pair[0], start + pair[0]..start + pair[0] + pair[1]);
        start = layer.start;
        for at in layer {
            // The last instance depends on all of the layer before.
            let others: BTreeSet<usize> = if at == COUNT - 1 {
                before.clone().collect()
            } else {
                (0..=random.below(4)).map(|_| before.start + random.below(before.len())).collect()
            };
            let when = |random: &mut Random| {
                if random.below(4) == 0 { DependencyCondition::Ended } else { DependencyCondition::Completed }
            };
            plan.instances[order[at]].depends_on =
                others.into_iter().map(|other| (order[other], when(random))).collect();
        }
    }
    let rarely = 5 + random.below(60);
    let natures = (0..COUNT).map(|i| {
        plan.instances[i].retries.max_retries = random.below(3) as u32;
        let runs = Duration::from_millis(1 + random.below(20_000) as u64);
        Nature {
            speaks_after: (random.below(4) > 0).then(|| runs.mul_f64(0.5)),
            fails: if random.below(rarely) == 0 { 1 + random.below(4) as u32 } else { 0 },
            is_hopeless: random.below(4) == 0,
            runs,
        }
    });
    let natures = natures.collect();
    Diamond { plan, natures, order }
}

/// Computes the outcome and the number of attempts of each instance from the graph.
fn fates(Diamond { plan, natures, order }: &Diamond) -> Vec<(Fate, u32)> {
    let mut fates = vec![(Fate::Skipped, 0); COUNT];
    for &i in order {
        let needs = |&(other, when): &(usize, DependencyCondition)| {
            when == DependencyCondition::Ended || fates[other].0 == Fate::Completed
        };
        if !plan.instances[i].depends_on.iter().all(needs) {
            continue;
        }
        let Nature { fails, is_hopeless, .. } = natures[i];
        let retries = if is_hopeless { 0 } else { plan.instances[i].retries.max_retries };
        let fate = if fails <= retries { Fate::Completed } else { Fate::Failed };
        fates[i] = (fate, fails.min(retries) + 1);
    }
    fates
}

/// Result of a run on the simulated clock.
struct Played {
    fates: Vec<Option<Fate>>,
    attempts: Vec<u32>,
    now: Duration,
}

fn play(diamond: &Diamond, pace: LaunchPolicy, budget_tokens: u64, looks_closely: bool) -> Played {
    let Diamond { plan, natures, .. } = diamond;
    let mut schedule = Schedule::new(&plan.instances, pace);
    let mut plan_budget = plan.budget.clone();
    plan_budget.overall_tokens = Some(budget_tokens);
    let mut ledger = Budget::new(&plan_budget, &plan.instances, &plan.prices);
    let mut played = Played { fates: vec![None; COUNT], attempts: vec![0; COUNT], now: Duration::ZERO };
    let mut running: BTreeSet<(Duration, usize)> = BTreeSet::new();
    let mut first_messages: BTreeSet<(Duration, usize)> = BTreeSet::new();
    let mut delayed = [false; COUNT];
    let mut last_launch: Option<Duration> = None;
    loop {
        let now = played.now;
        while let Some((i, answer)) = ledger.admit_first(schedule.ready(now), now) {
            assert_eq!(answer, Admission::Admit, "there is enough for all attempts");
            assert!(last_launch.is_none_or(|last| now >= last + pace.startup_delay), "launches stay apart");
            for &(other, when) in &plan.instances[i].depends_on {
                let fate = played.fates[other].expect("it has ended");
                assert!(when == DependencyCondition::Ended || fate == Fate::Completed, "{i} needs {other}");
            }
            ledger.started(i, now);
            schedule.started(i, now);
            running.insert((now + natures[i].runs, i));
            first_messages.extend(natures[i].speaks_after.map(|after| (now + after, i)));
            played.attempts[i] += 1;
            (last_launch, delayed[i]) = (Some(now), false);
        }
        assert!(pace.max_parallel.is_none_or(|max| running.len() <= max), "slots");
        let may_launch = last_launch.is_none_or(|last| now >= last + pace.startup_delay)
            && pace.max_parallel.is_none_or(|max| running.len() < max);
        let is_held = ledger.first_message_due(now).is_some();
        if looks_closely && may_launch && !is_held {
            let waits = |i: &usize| played.fates[*i].is_none() && !delayed[*i] && !running.iter().any(|(_, r)| r == i);
            for i in (0..COUNT).filter(waits) {
                let has_ended = |&(other, _): &(usize, DependencyCondition)| played.fates[other].is_some();
                assert!(!plan.instances[i].depends_on.iter().all(has_ended), "{i} starts at once");
            }
        }
        if schedule.is_finished() {
            let used: u64 = played.attempts.iter().map(|&attempts| u64::from(attempts) * ATTEMPT_TOKENS).sum();
            assert_eq!(ledger.limits()[0].used, used, "the books are of all attempts");
            return played;
        }
        let start = match ledger.first_message_due(now) {
            Some(due) if schedule.ready(now).next().is_some() => {
                schedule.next_deferred_at().map_or(due, |at| at.min(due))
            }
            _ => schedule.next_start_at().unwrap_or(Duration::MAX),
        };
        let first_of = |set: &BTreeSet<(Duration, usize)>| set.first().map_or(Duration::MAX, |&(at, _)| at);
        played.now = start.min(first_of(&running)).min(first_of(&first_messages));
        assert_ne!(played.now, Duration::MAX, "nothing runs, and nothing will start");
        while let Some((_, i)) = first_messages.first().copied().filter(|&(at, _)| at <= played.now) {
            first_messages.pop_first();
            let tokens = Tokens { input: ATTEMPT_TOKENS, ..Tokens::default() };
            ledger.first_message(i, &ModelUsage { tokens, micros: 0 });
        }
        while let Some((_, i)) = running.first().copied().filter(|&(at, _)| at <= played.now) {
            running.pop_first();
            let tokens = Tokens { input: u64::from(played.attempts[i]) * ATTEMPT_TOKENS, ..Tokens::default() };
            ledger.charge(i, &Usage { tokens, ..Usage::default() });
            ledger.ended(i);
            let made = played.attempts[i] - 1;
            let completes = made >= natures[i].fails;
            let failure = Failure { is_permanent: natures[i].is_hopeless, ..Failure::new(FailureKind::Error, "x") };
            if let (false, Some(delay)) = (completes, plan.instances[i].retries.delay_after(&failure, made)) {
                schedule.retry_at(i, played.now + delay);
                delayed[i] = true;
                continue;
            }
            played.fates[i] = Some(if completes { Fate::Completed } else { Fate::Failed });
            for Skip { instance, cause: because_of } in schedule.ended(i, completes) {
                assert!(plan.instances[instance].depends_on.contains(&(because_of, DependencyCondition::Completed)));
                assert_ne!(played.fates[because_of], Some(Fate::Completed));
                assert_eq!(played.fates[instance].replace(Fate::Skipped), None, "skipped once");
                ledger.ended(instance);
            }
        }
    }
}

#[test]
fn a_diamond_of_200_ends_as_the_graph_says_on_every_seed_of_a_thousand() {
    let instances = vec![r#"{"command": "x"}"#; COUNT].join(",");
    let base = planned(&format!(r#"{{"instances": [{instances}]}}"#));
    let (mut skipped, mut failed, mut retried) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let diamond = diamond(&base, &mut random);
        let expected = fates(&diamond);
        let attempts: u64 = expected.iter().map(|(_, attempts)| u64::from(*attempts)).sum();
        let pace = LaunchPolicy {
            startup_delay: Duration::from_millis([0, 1, 500, 5_000][random.below(4)]),
            max_parallel: [None, Some(1), Some(2 + random.below(20))][random.below(3)],
        };
        let played = play(&diamond, pace, attempts * ATTEMPT_TOKENS, seed % 20 == 0);
        let told: Vec<(Fate, u32)> =
            played.fates.iter().zip(&played.attempts).map(|(fate, &n)| (fate.expect("it has ended"), n)).collect();
        assert_eq!(told, expected, "seed {seed}");
        skipped += told.iter().filter(|(fate, _)| *fate == Fate::Skipped).count();
        failed += told.iter().filter(|(fate, _)| *fate == Fate::Failed).count();
        retried += told.iter().filter(|&&(_, attempts)| attempts > 1).count();
    }
    // Guards against a test that covers no failures.
    assert!(
        skipped > 10_000 && failed > 1_000 && retried > 1_000,
        "{skipped} skipped, {failed} failed, {retried} retried"
    );
}
