//! Price of tokens by model, for estimates until claude reports the cost of a turn.

use std::collections::BTreeMap;

use super::tokens::Tokens;

/// Prices of one model, in micro-dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Uncached input.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input written to the cache.
    pub cache_write: u64,
    /// Input read from the cache.
    pub cache_read: u64,
}

impl Price {
    /// Derives all prices from those of input and output, in micro-dollars per million tokens.
    ///
    /// A cache write costs 1.25 of the input price and a read a tenth of it, unless the table differs.
    #[must_use]
    pub const fn from_base_prices(input: u64, output: u64) -> Self {
        Price { input, output, cache_write: input.saturating_add(input / 4), cache_read: input / 10 }
    }
}

const fn dollars(input: u64, output: u64) -> Price {
    Price::from_base_prices(input * 1_000_000, output * 1_000_000)
}

const fn with_cheap_reads(price: Price, cache_read: u64) -> Price {
    Price { cache_read, ..price }
}

/// Prices by prefix of the model's name. Of two prefixes, the longer one must precede the shorter.
const TABLE: &[(&str, Price)] = &[
    ("claude-opus-5-5", with_cheap_reads(dollars(4, 20), 200_000)),
    ("claude-opus-5", dollars(5, 25)),
    ("claude-fable-5-2", with_cheap_reads(dollars(8, 40), 200_000)),
    ("claude-fable-5", dollars(10, 50)),
    ("claude-sonnet-5-5", with_cheap_reads(dollars(2, 10), 100_000)),
    ("claude-sonnet-5", dollars(2, 10)),
    ("claude-haiku-5", Price::from_base_prices(100_000, 500_000)),
    ("claude-opus-4-1", dollars(15, 75)),
    ("claude-opus-4-2025", dollars(15, 75)),
    ("claude-opus-4", dollars(5, 25)),
    ("claude-haiku-4", dollars(1, 5)),
    ("claude-3-5-haiku", Price::from_base_prices(800_000, 4_000_000)),
    ("claude-3-opus", dollars(15, 75)),
];

/// Price of Sonnet 4 as given by the seed, also used for unknown models.
const SONNET_4: Price = dollars(3, 15);

/// Prices of a run or of one process. The user's own override claude's, which override the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    own: BTreeMap<String, Price>,
    reported: BTreeMap<String, Price>,
}

impl Prices {
    /// Creates prices with the user's own, by prefix of the model's name.
    #[must_use]
    pub fn with_overrides(own: BTreeMap<String, Price>) -> Self {
        Prices { own, reported: BTreeMap::new() }
    }

    /// Records the price of a model that claude reported, which names only input and output.
    pub fn learn(&mut self, model: &str, price: Price) {
        let price = match table_price(model) {
            Some(known) if (known.input, known.output) == (price.input, price.output) => known,
            _ => price,
        };
        self.reported.insert(model.to_owned(), price);
    }

    /// Returns the price of a model.
    #[must_use]
    pub fn for_model(&self, model: &str) -> Price {
        longest_prefix(&self.own, model)
            .or_else(|| longest_prefix(&self.reported, model))
            .or_else(|| table_price(model))
            .unwrap_or(SONNET_4)
    }

    /// Returns the cost of these tokens in micro-dollars, rounded up.
    #[must_use]
    pub fn estimate_micros(&self, model: &str, tokens: &Tokens) -> u64 {
        let price = self.for_model(model);
        let mut sum: u128 = 0;
        for (tokens, price) in [
            (tokens.input, price.input),
            (tokens.output, price.output),
            (tokens.cache_creation, price.cache_write),
            (tokens.cache_read, price.cache_read),
        ] {
            sum = sum.saturating_add(u128::from(tokens) * u128::from(price));
        }
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// Returns the price of the longest prefix of a model's name.
fn longest_prefix(prices: &BTreeMap<String, Price>, model: &str) -> Option<Price> {
    // Of two matching prefixes, the longer one sorts later.
    prices.iter().rev().find(|(name, _)| model.starts_with(name.as_str())).map(|(_, price)| *price)
}

fn table_price(model: &str) -> Option<Price> {
    TABLE.iter().find(|(prefix, _)| model.starts_with(prefix)).map(|(_, price)| *price)
}

/// Parses the price in a model's description in the `initialize` response: "Opus 5.5 · … · $4/$20 per Mtok".
#[must_use]
pub fn parse_description(description: &str) -> Option<Price> {
    let (before, _) = description.split_once(" per Mtok")?;
    let prices = before.rsplit(['·', ' ']).next()?;
    let (input, output) = prices.split_once("/$")?;
    Some(Price::from_base_prices(micros(input.strip_prefix('$')?)?, micros(output)?))
}

/// Parses dollars such as "0.10" into micro-dollars.
fn micros(dollars: &str) -> Option<u64> {
    let dollars: f64 = dollars.parse().ok()?;
    if (0.0..1e6).contains(&dollars) { Some((dollars * 1e6).round() as u64) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sonnet_4_has_the_prices_of_the_seed() {
        let million = 1_000_000;
        let cost = |tokens: Tokens| Prices::default().estimate_micros("claude-sonnet-4-20250514", &tokens);
        assert_eq!(cost(Tokens { input: million, ..Tokens::default() }), 3_000_000);
        assert_eq!(cost(Tokens { output: million, ..Tokens::default() }), 15_000_000);
        assert_eq!(cost(Tokens { cache_read: million, ..Tokens::default() }), 300_000);
        assert_eq!(cost(Tokens { cache_creation: million, ..Tokens::default() }), 3_750_000);
        assert_eq!(cost(Tokens { input: 1, ..Tokens::default() }), 3);
    }

    #[test]
    fn longer_prefix_and_user_prices_take_precedence() {
        let mut prices = Prices::default();
        assert_eq!(prices.for_model("claude-opus-4-1-20250805").input, 15_000_000);
        assert_eq!(prices.for_model("claude-opus-4-20250514").input, 15_000_000);
        assert_eq!(prices.for_model("claude-opus-4-5-20251101").input, 5_000_000);
        assert_eq!(prices.for_model("claude-haiku-4-5").output, 5_000_000);
        prices.learn("claude-opus-5-5", dollars(7, 8));
        assert_eq!(prices.for_model("claude-opus-5-5").input, 7_000_000);
        let own = [("claude", dollars(1, 1)), ("claude-opus", dollars(2, 2))].map(|(n, p)| (n.to_owned(), p));
        prices.own = BTreeMap::from(own);
        assert_eq!(prices.for_model("claude-opus-5-5").input, 2_000_000);
        assert_eq!(prices.for_model("claude-sonnet-5-5").input, 1_000_000);
    }

    #[test]
    fn reported_price_keeps_known_cache_prices() {
        let mut prices = Prices::default();
        assert_eq!(prices.for_model("claude-opus-5-5").cache_read, 200_000);
        prices.learn("claude-opus-5-5", dollars(4, 20));
        assert_eq!(prices.for_model("claude-opus-5-5").cache_read, 200_000);
        prices.learn("claude-opus-5-5", dollars(6, 20));
        assert_eq!(prices.for_model("claude-opus-5-5").cache_read, 600_000);
    }

    #[test]
    fn prices_are_parsed_from_descriptions() {
        for (description, price) in [
            ("Opus 5.5 · Best for everyday, complex tasks · $4/$20 per Mtok", Some((4_000_000, 20_000_000))),
            ("Haiku 5.5 · $0.10/$0.50 per Mtok ($0.50/$2.50 for prompts over 100k)", Some((100_000, 500_000))),
            ("Use Opus 4.1 in plan mode, Sonnet 4 otherwise", None),
            ("$x/$y per Mtok", None),
            ("", None),
        ] {
            let found = parse_description(description).map(|p| (p.input, p.output));
            assert_eq!(found, price, "{description}");
        }
    }
}
