//! What tokens cost by model, for an estimate until claude itself says what a turn has cost.

use super::usage::Tokens;

/// Prices in micro-dollars per million tokens, which is dollars per million times a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Input that was not cached.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input written to the cache.
    pub cache_write: u64,
    /// Input read from the cache.
    pub cache_read: u64,
}

const fn dollars(input: u64, output: u64) -> Price {
    // A cache write costs 1.25 of the input price, a read a tenth of it.
    let input = input * 1_000_000;
    Price { input, output: output * 1_000_000, cache_write: input + input / 4, cache_read: input / 10 }
}

/// By the beginning of the model's name, the longer one first where one begins another.
const TABLE: &[(&str, Price)] = &[
    ("claude-opus-4-1", dollars(15, 75)),
    ("claude-opus-4-0", dollars(15, 75)),
    ("claude-opus-4-2025", dollars(15, 75)),
    ("claude-opus-4", dollars(5, 25)),
    ("claude-3-opus", dollars(15, 75)),
    ("claude-3-5-haiku", Price { input: 800_000, output: 4_000_000, cache_write: 1_000_000, cache_read: 80_000 }),
    ("claude-haiku", dollars(1, 5)),
];

/// The seed's Sonnet 4, which is also what a model that nobody has heard of is taken for.
const SONNET: Price = dollars(3, 15);

/// The price of a model.
#[must_use]
pub fn of(model: &str) -> Price {
    TABLE.iter().find(|(prefix, _)| model.starts_with(prefix)).map_or(SONNET, |(_, price)| *price)
}

/// What these tokens cost at least, in micro-dollars, rounded up.
#[must_use]
pub fn estimate_micros(model: &str, tokens: &Tokens) -> u64 {
    let price = of(model);
    let sum = u128::from(tokens.input) * u128::from(price.input)
        + u128::from(tokens.output) * u128::from(price.output)
        + u128::from(tokens.cache_creation) * u128::from(price.cache_write)
        + u128::from(tokens.cache_read) * u128::from(price.cache_read);
    u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sonnet_4_costs_what_the_seed_says() {
        let million = 1_000_000;
        let of = |tokens: Tokens| estimate_micros("claude-sonnet-4-20250514", &tokens);
        assert_eq!(of(Tokens { input: million, ..Tokens::default() }), 3_000_000);
        assert_eq!(of(Tokens { output: million, ..Tokens::default() }), 15_000_000);
        assert_eq!(of(Tokens { cache_read: million, ..Tokens::default() }), 300_000);
        assert_eq!(of(Tokens { cache_creation: million, ..Tokens::default() }), 3_750_000);
        assert_eq!(of(Tokens { input: 1, ..Tokens::default() }), 3);
    }

    #[test]
    fn the_longer_name_wins() {
        assert_eq!(of("claude-opus-4-1-20250805").input, 15_000_000);
        assert_eq!(of("claude-opus-4-20250514").input, 15_000_000);
        assert_eq!(of("claude-opus-4-5-20251101").input, 5_000_000);
        assert_eq!(of("claude-haiku-4-5").output, 5_000_000);
    }
}
