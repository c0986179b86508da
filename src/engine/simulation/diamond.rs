//! Runs of 200 instances in a diamond graph with random failures. The outcome must equal the one computed from the graph
//! alone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Random;
use super::claude::{SCRIPTED_TOKENS, Script};
use super::plans;
use super::world::World;
use crate::config::DependencyCondition;
use crate::engine::RunPolicy;
use crate::engine::outcome::Status;
use crate::engine::schedule::LaunchPolicy;
use crate::plan::{Plan, planned};

const COUNT: usize = 200;
const SEEDS: u64 = 100;

/// Outcome of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Completed,
    Failed,
    Skipped,
}

impl Outcome {
    fn of(status: &Status) -> Self {
        match status {
            Status::Completed => Outcome::Completed,
            Status::Skipped(_) => Outcome::Skipped,
            Status::Failed(_) | Status::Pending | Status::Running => Outcome::Failed,
        }
    }
}

struct Diamond {
    plan: Plan,
    scripts: Vec<Script>,
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
    let mut scripts = Vec::new();
    for instance in &mut plan.instances {
        instance.retries.max_retries = random.below(3) as u32;
        let duration = Duration::from_millis(1 + random.below(20_000) as u64);
        scripts.push(Script {
            first_message: if random.one_in(4) { None } else { Some(duration / 2) },
            failures: if random.one_in(rarely) { 1 + random.below(4) as u32 } else { 0 },
            is_permanent: random.one_in(4),
            duration,
        });
    }
    Diamond { plan, scripts, order }
}

/// Computes the outcome and the number of attempts of each instance from the graph.
fn expected(Diamond { plan, scripts, order }: &Diamond) -> Vec<(Outcome, u32)> {
    let mut outcomes = vec![(Outcome::Skipped, 0); COUNT];
    for &i in order {
        let is_met = |&(other, when): &(usize, DependencyCondition)| {
            when == DependencyCondition::Ended || outcomes[other].0 == Outcome::Completed
        };
        if !plan.instances[i].depends_on.iter().all(is_met) {
            continue;
        }
        let Script { failures, is_permanent, .. } = scripts[i];
        let retries = if is_permanent { 0 } else { plan.instances[i].retries.max_retries };
        let outcome = if failures <= retries { Outcome::Completed } else { Outcome::Failed };
        outcomes[i] = (outcome, failures.min(retries) + 1);
    }
    outcomes
}

#[test]
fn a_diamond_of_200_ends_as_the_graph_requires_on_every_seed() {
    let instances = vec![r#"{"command": "x"}"#; COUNT].join(",");
    let base = planned(&format!(r#"{{"instances": [{instances}]}}"#));
    let (mut skipped, mut failed, mut retried) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut diamond = diamond(&base, &mut random);
        let expected = expected(&diamond);
        let attempts: u64 = expected.iter().map(|(_, attempts)| u64::from(*attempts)).sum();
        diamond.plan.budget.overall_tokens = Some(attempts * SCRIPTED_TOKENS);
        let pace = LaunchPolicy {
            startup_delay: Duration::from_millis([0, 1, 500, 5_000][random.below(4)]),
            max_parallel: [None, Some(1), Some(2 + random.below(20))][random.below(3)],
        };
        let policy = RunPolicy { pace, halt: None, grace: Duration::from_secs(5), ..plans::policy(&mut random) };
        let mut world = World::scripted(&diamond.plan, policy, &diamond.scripts, seed);
        world.run();
        let statuses = world.statuses();
        let outcomes: Vec<(Outcome, u32)> =
            statuses.iter().map(Outcome::of).zip(world.attempts().iter().copied()).collect();
        assert_eq!(outcomes, expected, "seed {seed}");
        skipped += outcomes.iter().filter(|(outcome, _)| *outcome == Outcome::Skipped).count();
        failed += outcomes.iter().filter(|(outcome, _)| *outcome == Outcome::Failed).count();
        retried += outcomes.iter().filter(|(_, attempts)| *attempts > 1).count();
    }
    // Guards against a test that covers no failures.
    assert!(skipped > 1_000 && failed > 100 && retried > 100, "{skipped} skipped, {failed} failed, {retried} retried");
}
