//! Random choices that a seed reproduces.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A row of random numbers, by its seed (SplitMix64).
#[derive(Debug)]
pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Default for Random {
    fn default() -> Self {
        Random::new()
    }
}

impl Random {
    /// Another one each time, unless `ZEN_TEST_SEED` says which.
    pub fn new() -> Self {
        let of_the_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
        let given = std::env::var("ZEN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        Random::of(given.unwrap_or_else(of_the_clock))
    }

    pub fn of(seed: u64) -> Self {
        Random { seed, state: seed }
    }

    /// A number below this one.
    pub fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).expect("it is below the bound")
    }

    /// A time below this one.
    pub fn time_below(&mut self, bound: Duration) -> Duration {
        let micros = usize::try_from(bound.as_micros()).unwrap_or(usize::MAX);
        Duration::from_micros(u64::try_from(self.below(micros)).unwrap_or(0))
    }
}
