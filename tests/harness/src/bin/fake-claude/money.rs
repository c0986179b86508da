//! Tokens, list prices and the running totals of one process. Money is counted in whole nano-dollars, because a token
//! that is read from the cache costs less than a micro-dollar.

use harness::script;
use serde_json::{Value, json};
use std::ops::AddAssign;

/// Tokens of one message or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
}

impl From<script::Usage> for Tokens {
    fn from(usage: script::Usage) -> Tokens {
        Tokens {
            input: usage.input_tokens,
            output: usage.output_tokens,
            cache_read: usage.cache_read_tokens,
            cache_write_5m: usage.cache_write_5m_tokens,
            cache_write_1h: usage.cache_write_1h_tokens,
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Tokens) {
        self.input += more.input;
        self.output += more.output;
        self.cache_read += more.cache_read;
        self.cache_write_5m += more.cache_write_5m;
        self.cache_write_1h += more.cache_write_1h;
    }
}

impl Tokens {
    pub fn total(&self) -> u64 {
        self.input + self.output + self.cache_read + self.cache_write()
    }

    pub fn cache_write(&self) -> u64 {
        self.cache_write_5m + self.cache_write_1h
    }

    fn cost_nanos(&self, model: &str) -> u64 {
        let price = prices(model, self.input + self.cache_read + self.cache_write());
        self.input * price.input
            + self.output * price.output
            + self.cache_read * price.cache_read
            + self.cache_write_5m * price.cache_write_5m
            + self.cache_write_1h * price.cache_write_1h
    }

    /// Sets the counts in a `usage` object of the API's own (snake_case) form.
    pub fn write_api_usage(&self, usage: &mut Value) {
        usage["input_tokens"] = self.input.into();
        usage["output_tokens"] = self.output.into();
        usage["cache_read_input_tokens"] = self.cache_read.into();
        usage["cache_creation_input_tokens"] = self.cache_write().into();
        if usage.get("cache_creation").is_some_and(Value::is_object) || self.cache_write_1h > 0 {
            usage["cache_creation"]["ephemeral_5m_input_tokens"] = self.cache_write_5m.into();
            usage["cache_creation"]["ephemeral_1h_input_tokens"] = self.cache_write_1h.into();
        }
    }

    pub fn to_json(self) -> Value {
        json!({
            "input": self.input, "output": self.output, "cache_read": self.cache_read,
            "cache_write_5m": self.cache_write_5m, "cache_write_1h": self.cache_write_1h,
        })
    }

    pub fn from_json(value: &Value) -> Tokens {
        let count = |name: &str| value[name].as_u64().unwrap_or(0);
        Tokens {
            input: count("input"),
            output: count("output"),
            cache_read: count("cache_read"),
            cache_write_5m: count("cache_write_5m"),
            cache_write_1h: count("cache_write_1h"),
        }
    }
}

/// In nano-dollars a token, which is dollars per thousand million tokens.
struct Prices {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
}

/// The list prices that the CLIs name in their `models` and count with; unknown models cost what Sonnet 4 does.
fn prices(model: &str, prompt_tokens: u64) -> Prices {
    let (input, output, cache_read) = match model {
        name if name.contains("opus-5") => (4_000, 20_000, 200),
        name if name.contains("fable") => (8_000, 40_000, 200),
        name if name.contains("sonnet-5") => (2_000, 10_000, 100),
        name if name.contains("haiku-5") && prompt_tokens > 100_000 => (500, 2_500, 50),
        name if name.contains("haiku-5") => (100, 500, 10),
        name if name.contains("opus-4-5") => (5_000, 25_000, 500),
        name if name.contains("opus-4") => (15_000, 75_000, 1_500),
        name if name.contains("haiku-4") => (1_000, 5_000, 100),
        name if name.contains("3-5-haiku") => (800, 4_000, 80),
        _ => (3_000, 15_000, 300),
    };
    Prices { input, output, cache_read, cache_write_5m: input * 5 / 4, cache_write_1h: input * 2 }
}

/// Per model, in the order of first use.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    models: Vec<ModelTotal>,
}

#[derive(Debug, Clone, Default)]
struct ModelTotal {
    model: String,
    tokens: Tokens,
    /// Summed message by message, for the price may depend on a message's size.
    cost_nanos: u64,
}

impl Totals {
    pub fn add(&mut self, model: &str, tokens: Tokens) {
        self.add_priced(model, tokens, tokens.cost_nanos(model));
    }

    fn add_priced(&mut self, model: &str, tokens: Tokens, cost_nanos: u64) {
        let at = self.models.iter().position(|total| total.model == model).unwrap_or_else(|| {
            self.models.push(ModelTotal { model: model.to_owned(), ..ModelTotal::default() });
            self.models.len() - 1
        });
        self.models[at].tokens += tokens;
        self.models[at].cost_nanos += cost_nanos;
    }

    pub fn cost_nanos(&self) -> u64 {
        self.models.iter().map(|total| total.cost_nanos).sum()
    }

    pub fn cost_usd(&self) -> f64 {
        nanos_to_usd(self.cost_nanos())
    }

    /// A `modelUsage` object, with one recorded entry as the pattern of each.
    pub fn model_usage(&self, pattern: &Value) -> Value {
        let entry = |ModelTotal { model, tokens, cost_nanos }: &ModelTotal| {
            let mut entry = pattern.clone();
            entry["inputTokens"] = tokens.input.into();
            entry["outputTokens"] = tokens.output.into();
            entry["cacheReadInputTokens"] = tokens.cache_read.into();
            entry["cacheCreationInputTokens"] = tokens.cache_write().into();
            entry["costUSD"] = nanos_to_usd(*cost_nanos).into();
            for (name, count) in [
                ("cacheCreationEphemeral5mInputTokens", tokens.cache_write_5m),
                ("cacheCreationEphemeral1hInputTokens", tokens.cache_write_1h),
            ] {
                if entry.get(name).is_some() {
                    entry[name] = count.into();
                }
            }
            if entry.get("canonicalModel").is_some() {
                entry["canonicalModel"] = model.as_str().into();
            }
            (model.clone(), entry)
        };
        Value::Object(self.models.iter().map(entry).collect())
    }

    pub fn to_json(&self) -> Value {
        let entry = |total: &ModelTotal| json!([total.model, total.tokens.to_json(), total.cost_nanos]);
        Value::Array(self.models.iter().map(entry).collect())
    }

    pub fn from_json(value: &Value) -> Totals {
        let mut totals = Totals::default();
        for entry in value.as_array().into_iter().flatten() {
            let cost_nanos = entry[2].as_u64().unwrap_or(0);
            totals.add_priced(entry[0].as_str().unwrap_or_default(), Tokens::from_json(&entry[1]), cost_nanos);
        }
        totals
    }
}

fn nanos_to_usd(nanos: u64) -> f64 {
    // Exact for every sum below 9 million dollars.
    #[allow(clippy::cast_precision_loss)]
    let usd = nanos as f64 / 1e9;
    usd
}
