//! Token counts by kind, and their arithmetic.

use std::ops::{Add, AddAssign, Sub};

/// Token counts by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input neither written to the cache nor read from it.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input written to the cache.
    pub cache_creation: u64,
    /// Input read from the cache.
    pub cache_read: u64,
}

impl Tokens {
    /// Returns the sum of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output).saturating_add(self.cache_creation).saturating_add(self.cache_read)
    }

    /// Combines two counts kind by kind.
    #[must_use]
    pub fn by_kind(self, other: Tokens, combine: fn(u64, u64) -> u64) -> Tokens {
        Tokens {
            input: combine(self.input, other.input),
            output: combine(self.output, other.output),
            cache_creation: combine(self.cache_creation, other.cache_creation),
            cache_read: combine(self.cache_read, other.cache_read),
        }
    }
}

impl Add for Tokens {
    type Output = Tokens;
    fn add(self, other: Tokens) -> Tokens {
        self.by_kind(other, u64::saturating_add)
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Tokens) {
        *self = *self + other;
    }
}

impl Sub for Tokens {
    type Output = Tokens;
    fn sub(self, other: Tokens) -> Tokens {
        self.by_kind(other, u64::saturating_sub)
    }
}
