//! Token and cost counts of one claude process: live estimates, replaced by claude's own numbers at each result.
//!
//! Live counts cover only the messages of the main conversation. `modelUsage` of a result covers everything and is
//! cumulative over the process. If the process is killed before a result, its live counts are kept as *at least*.

use std::collections::BTreeMap;

use super::tokens::Tokens;
use crate::claude::pricing::{Price, Prices};
pub use crate::claude::usage::{Certainty, ModelUsage, Usage};

/// Numbers of a result, by model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportedUsage {
    /// Usage since the last result (2.1). Exact, also in a resumed session.
    Delta(BTreeMap<String, ModelUsage>),
    /// Usage since the process started (1.0 and 2.0).
    Cumulative {
        /// Usage by model.
        models: BTreeMap<String, ModelUsage>,
        /// Tokens of the turn's main conversation that `models` includes, if the result reports them.
        main: Option<Tokens>,
    },
    /// No model: nothing was used, or claude does not report it.
    Absent,
}

/// Messages that a result reports the tokens of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Those of the main conversation.
    Main,
    /// All, also those of subagents.
    All,
}

/// Maximum number of live messages. Older ones no longer change and are kept as a sum, because a turn may have any
/// number.
const MAX_LIVE: usize = 64;

/// Model of the messages that claude writes itself.
const SYNTHETIC_MODEL: &str = "<synthetic>";

/// Maximum number of models counted separately. A process uses two or three.
const MAX_MODELS: usize = 100;
const OTHER_MODELS: &str = "other";

/// Counter of the usage of one claude process.
#[derive(Clone, Debug, Default)]
pub struct UsageMeter {
    /// Prices for usage that claude has not yet reported.
    prices: Prices,
    /// Sum of the usage settled by earlier results.
    settled: ModelUsage,
    /// Last `Cumulative` numbers since the start of the process or of its conversation.
    cumulative: BTreeMap<String, ModelUsage>,
    /// Latest messages since the last result, each with its id.
    live: Vec<LiveMessage>,
    /// Sums of the messages evicted from `live`, of the main conversation and of subagents.
    past_main: ModelUsage,
    past_subagents: ModelUsage,
    /// Index in `live` of the message being streamed, because deltas carry no id.
    streamed: usize,
    /// Usage counted live and missing from a result: a lower bound.
    left_out: ModelUsage,
    /// First message of the main conversation, and whether it may still grow.
    first: Option<ModelUsage>,
    is_first_open: bool,
    /// True if the message being streamed has not reported its final count.
    has_open_message: bool,
    /// True if a message was cut off by a result or by the end of the process: the rest of its usage is unknown.
    was_cut_off: bool,
    /// True if claude makes calls of its own and reports only those that finish before a result.
    hides_calls: bool,
}

#[derive(Clone, Debug)]
struct LiveMessage {
    id: String,
    model: String,
    tokens: Tokens,
    /// Estimated cost by the price table, in micro-dollars.
    estimate_micros: u64,
    of_subagent: bool,
}

impl LiveMessage {
    /// Raises the token counts. A kind that is not reported keeps its count.
    fn grow(&mut self, tokens: Tokens, prices: &Prices) {
        self.tokens = self.tokens.by_kind(tokens, u64::max);
        self.estimate_micros = prices.estimate_micros(&self.model, &self.tokens);
    }
}

impl UsageMeter {
    /// Returns an empty meter with the same prices, for another process of the same instance.
    #[must_use]
    pub fn for_next_process(&self) -> Self {
        UsageMeter::new(self.prices.clone())
    }

    /// Returns an empty meter that estimates with these prices.
    #[must_use]
    pub fn new(prices: Prices) -> Self {
        UsageMeter { prices, ..UsageMeter::default() }
    }

    /// Records the price of a model that claude reported.
    pub fn set_price(&mut self, model: &str, price: Price) {
        self.prices.learn(model, price);
    }

    /// Applies what the response to `initialize` reports about usage and prices.
    pub fn configure(&mut self, reports_usage: bool, prices: Vec<(String, Price)>) {
        if !reports_usage {
            self.mark_hidden_calls();
        }
        for (model, price) in prices {
            self.set_price(&model, price);
        }
    }

    /// Marks this claude as one that does not report all its calls.
    ///
    /// 2.0 warms up subagents in every process; 1.0 and 2.0 find titles and file names with a small model. Calls that
    /// are not finished when a result arrives are never reported.
    pub fn mark_hidden_calls(&mut self) {
        self.hides_calls = true;
    }

    /// Counts a message that began, or a further content block of it with the same id and the same input counts.
    ///
    /// Ignores a message that claude wrote itself (an error instead of an answer, or the notice that `max_tokens` or a
    /// refusal cut one): it was not served and costs nothing. It can arrive before the last delta of the message that
    /// it refers to.
    pub fn message(&mut self, id: &str, model: &str, tokens: Tokens, of_subagent: bool) {
        if model == SYNTHETIC_MODEL {
            return;
        }
        let known = self.live.iter().rposition(|message| message.id == id);
        let index = match known {
            Some(index) => {
                // The output count of a block event is a placeholder; the count of a delta is higher.
                self.live[index].grow(tokens, &self.prices);
                index
            }
            None => {
                self.evict_oldest();
                let estimate_micros = self.prices.estimate_micros(model, &tokens);
                self.live.push(LiveMessage {
                    id: id.into(),
                    model: model.into(),
                    tokens,
                    estimate_micros,
                    of_subagent,
                });
                self.live.len() - 1
            }
        };
        // Subagents do not stream.
        if !of_subagent {
            self.is_first_open = self.first.is_none() || (self.is_first_open && index == self.streamed);
            self.streamed = index;
            self.update_first();
        }
    }

    fn update_first(&mut self) {
        if self.is_first_open
            && let Some(message) = self.live.get(self.streamed)
        {
            self.first = Some(ModelUsage { tokens: message.tokens, micros: message.estimate_micros });
        }
    }

    /// Returns the first message of the main conversation, with its latest counts.
    #[must_use]
    pub fn first_message(&self) -> Option<ModelUsage> {
        self.first
    }

    /// Moves the oldest message into a sum, except the message being streamed, which still receives deltas.
    fn evict_oldest(&mut self) {
        if self.live.len() < MAX_LIVE {
            return;
        }
        let oldest = usize::from(self.streamed == 0);
        let message = self.live.remove(oldest);
        self.streamed -= usize::from(self.streamed > oldest);
        let past = if message.of_subagent { &mut self.past_subagents } else { &mut self.past_main };
        past.add(message.tokens, message.estimate_micros);
    }

    /// Marks the last message as being streamed: its final count is still to come.
    ///
    /// If the message before it has no final count, it was cut off: 2.1.332 repeats the request after a reset
    /// connection and guesses the output of the first message.
    pub fn stream_begins(&mut self) {
        self.was_cut_off |= std::mem::replace(&mut self.has_open_message, true);
    }

    /// Marks the current message as ended.
    pub fn stream_ended(&mut self) {
        self.has_open_message = false;
    }

    /// Records that a message was cut off, possibly before it was seen: a request just sent is not visible here.
    pub fn mark_truncated(&mut self) {
        self.was_cut_off = true;
    }

    /// Updates the counts of the message being streamed. A kind that is not reported keeps its count.
    pub fn update_streaming(&mut self, tokens: Tokens) {
        if let Some(message) = self.live.get_mut(self.streamed) {
            message.grow(tokens, &self.prices);
        }
        self.update_first();
    }

    /// Replaces the live counts by the numbers of a result.
    pub fn settle(&mut self, settlement: ReportedUsage) {
        match settlement {
            ReportedUsage::Delta(_) => self.hides_calls = false,
            // An empty one proves nothing: 2.1 sends one if it has not found the session.
            ReportedUsage::Cumulative { ref models, .. } if !models.is_empty() => self.hides_calls = true,
            ReportedUsage::Cumulative { .. } | ReportedUsage::Absent => {}
        }
        let (grown, main) = match settlement {
            ReportedUsage::Delta(models) => (models, None),
            ReportedUsage::Cumulative { models, main } => (self.delta_since_last(models), main),
            // Keep the live counts.
            ReportedUsage::Absent => return,
        };
        let mut reported = Tokens::default();
        for usage in grown.values() {
            reported += usage.tokens;
            self.settled.add(usage.tokens, usage.micros);
        }
        match main {
            Some(main) => self.record_unreported(main, Scope::Main),
            None => self.record_unreported(reported, Scope::All),
        }
        self.was_cut_off |= std::mem::take(&mut self.has_open_message);
        self.live.clear();
        self.is_first_open = false;
        (self.past_main, self.past_subagents) = (ModelUsage::default(), ModelUsage::default());
    }

    /// Returns the usage since the last result. A turn without a model call names no model and subtracts nothing.
    fn delta_since_last(&mut self, models: BTreeMap<String, ModelUsage>) -> BTreeMap<String, ModelUsage> {
        let mut grown = BTreeMap::new();
        for (model, now) in self.merge_excess_models(models) {
            let before = self.cumulative.insert(model.clone(), now).unwrap_or_default();
            let micros = now.micros.saturating_sub(before.micros);
            grown.insert(model, ModelUsage { tokens: now.tokens - before.tokens, micros });
        }
        grown
    }

    /// Merges new models over the limit into one entry, `OTHER_MODELS`. Known models keep their own.
    fn merge_excess_models(&self, models: BTreeMap<String, ModelUsage>) -> BTreeMap<String, ModelUsage> {
        let mut room = MAX_MODELS.saturating_sub(self.cumulative.len());
        let mut kept: BTreeMap<String, ModelUsage> = BTreeMap::new();
        for (model, now) in models {
            let is_known = self.cumulative.contains_key(&model);
            let name = if is_known || room > 0 { model } else { OTHER_MODELS.to_owned() };
            room -= usize::from(!is_known && room > 0);
            kept.entry(name).or_default().add(now.tokens, now.micros);
        }
        kept
    }

    /// Records usage that was counted live but is missing from a result.
    ///
    /// The numbers of 1.0 and 2.0 omit an interrupted message, and one that followed a retry. Both were served.
    fn record_unreported(&mut self, reported: Tokens, scope: Scope) {
        let mut counted = self.past_main.tokens;
        if scope == Scope::All {
            counted += self.past_subagents.tokens;
        }
        let mut last_model = None;
        for message in &self.live {
            if scope == Scope::All || !message.of_subagent {
                counted += message.tokens;
                last_model = Some(&message.model);
            }
        }
        let missing = counted - reported;
        if let (1.., Some(model)) = (missing.total(), last_model) {
            let micros = self.prices.estimate_micros(model, &missing);
            self.left_out.add(missing, micros);
        }
    }

    /// Resets the cumulative numbers: claude counts from 0 again after `/clear`.
    pub fn conversation_reset(&mut self) {
        self.cumulative.clear();
    }

    /// Records the end of the process: no more numbers follow.
    pub fn process_ended(&mut self) {
        self.was_cut_off |= !self.live.is_empty();
    }

    /// Returns the usage so far.
    #[must_use]
    pub fn used(&self) -> Usage {
        let mut sum = self.settled;
        for part in [self.past_main, self.past_subagents, self.left_out] {
            sum.add(part.tokens, part.micros);
        }
        for message in &self.live {
            sum.add(message.tokens, message.estimate_micros);
        }
        let mut used = Usage { tokens: sum.tokens, micros: sum.micros, ..Usage::default() };
        if !self.live.is_empty() {
            used.micros_certainty = Certainty::Estimate;
        }
        if self.was_cut_off || self.hides_calls || self.left_out != ModelUsage::default() {
            used.tokens_certainty = Certainty::AtLeast;
            used.micros_certainty = Certainty::AtLeast;
        }
        used
    }
}

#[cfg(test)]
mod tests;
