//! Simulation of whole runs: the real engine, a fake runner and a virtual clock. Random plans, faults at every step.
//!
//! To add a fault: of claude in `claude.rs`; of the machine, a signal or a pause in `world.rs` (`plan_disturbances`,
//! `fault`), with its name in `COVERED`.

mod claude;
mod diamond;
mod plans;
mod world;

use std::collections::BTreeMap;

use world::World;

/// Pseudorandom generator: a seed gives the same run on every machine (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// Returns true with a probability of 1 in `n`.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Number of runs: a sample in the suite, more by `ZEN_SIMULATED_RUNS`.
fn runs() -> u64 {
    std::env::var("ZEN_SIMULATED_RUNS").map_or(3_000, |runs| runs.parse().expect("a number of runs"))
}

/// Number of runs that covered each event.
type Coverage = BTreeMap<&'static str, u64>;

fn simulate(seeds: impl Iterator<Item = u64>) -> Coverage {
    let mut coverage = Coverage::new();
    for seed in seeds {
        let mut random = Random(seed);
        let (plan, policy) = plans::random(&mut random);
        let mut world = World::new(&plan, policy, random, seed);
        world.run();
        for event in world.coverage() {
            *coverage.entry(event).or_default() += 1;
        }
    }
    coverage
}

#[test]
fn random_runs_end_with_balanced_books_and_start_nothing_that_must_not_start() {
    let first = std::env::var("ZEN_FIRST_SEED").map_or(0, |seed| seed.parse().expect("a seed"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut total = Coverage::new();
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for worker in 0..threads as u64 {
            let seeds = (first + worker..first + runs()).step_by(threads);
            workers.push(scope.spawn(move || simulate(seeds)));
        }
        for worker in workers {
            for (event, count) in worker.join().expect("the seed is in the message above") {
                *total.entry(event).or_default() += count;
            }
        }
    });
    if runs() < 1_000 {
        return;
    }
    // Guards against a simulation that covers nothing.
    for event in world::COVERED {
        assert!(total.get(event).copied().unwrap_or(0) >= 10, "{event} in too few runs: {total:?}");
    }
}
