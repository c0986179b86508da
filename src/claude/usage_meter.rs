//! Token and cost counts of one claude process: live estimates, replaced by claude's own numbers at each result.
//!
//! Live counts cover only the messages of the main conversation. `modelUsage` of a result covers everything and is
//! cumulative over the process. If the process is killed before a result, its live counts are kept as *at least*.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::tokens::Tokens;
use crate::claude::pricing::{Price, Prices};

/// Certainty of a number. A sum has the later of the two variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Reported by claude.
    #[default]
    Exact,
    /// Estimated from the price table.
    Estimate,
    /// Lower bound: the process ended before it reported, or this generation does not report everything.
    AtLeast,
}

impl Certainty {
    /// Returns the value in `report.json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Certainty::Exact => "exact",
            Certainty::Estimate => "estimate",
            Certainty::AtLeast => "at_least",
        }
    }
}

/// Tokens and cost, with the certainty of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens by kind.
    pub tokens: Tokens,
    /// Certainty of the tokens; never an estimate.
    pub tokens_certainty: Certainty,
    /// Cost in micro-dollars.
    pub micros: u64,
    /// Certainty of the cost.
    pub micros_certainty: Certainty,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.tokens += other.tokens;
        self.tokens_certainty = self.tokens_certainty.max(other.tokens_certainty);
        self.micros = self.micros.saturating_add(other.micros);
        self.micros_certainty = self.micros_certainty.max(other.micros_certainty);
    }
}

/// Tokens and cost that claude reports for one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Tokens by kind.
    pub tokens: Tokens,
    /// Cost in micro-dollars.
    pub micros: u64,
}

impl ModelUsage {
    /// Adds tokens and cost.
    pub fn add(&mut self, tokens: Tokens, micros: u64) {
        self.tokens += tokens;
        self.micros = self.micros.saturating_add(micros);
    }
}

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
        let index = match self.live.iter().rposition(|m| m.id == id) {
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
        if let Some(message) = self.live.get(self.streamed).filter(|_| self.is_first_open) {
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
        past.tokens += message.tokens;
        past.micros = past.micros.saturating_add(message.estimate_micros);
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
        match main {
            Some(main) => self.record_unreported(main, self.past_main.tokens, |message| !message.of_subagent),
            None => {
                let reported = grown.values().fold(Tokens::default(), |sum, model| sum + model.tokens);
                let past = self.past_main.tokens + self.past_subagents.tokens;
                self.record_unreported(reported, past, |_| true);
            }
        }
        self.was_cut_off |= std::mem::take(&mut self.has_open_message);
        grown.values().for_each(|more| self.settled.add(more.tokens, more.micros));
        self.live.clear();
        self.is_first_open = false;
        (self.past_main, self.past_subagents) = (ModelUsage::default(), ModelUsage::default());
    }

    /// Returns the usage since the last result. A turn without a model call names no model and subtracts nothing.
    fn delta_since_last(&mut self, models: BTreeMap<String, ModelUsage>) -> BTreeMap<String, ModelUsage> {
        let mut grown = BTreeMap::new();
        for (model, now) in self.of_bounded_count(models) {
            let before = self.cumulative.insert(model.clone(), now).unwrap_or_default();
            let micros = now.micros.saturating_sub(before.micros);
            grown.insert(model, ModelUsage { tokens: now.tokens - before.tokens, micros });
        }
        grown
    }

    /// Merges new models over the limit into one entry, `OTHER_MODELS`. Known models keep their own.
    fn of_bounded_count(&self, models: BTreeMap<String, ModelUsage>) -> BTreeMap<String, ModelUsage> {
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
    fn record_unreported(&mut self, reported: Tokens, past: Tokens, is_reported: impl Fn(&LiveMessage) -> bool) {
        let seen: Vec<&LiveMessage> = self.live.iter().filter(|message| is_reported(message)).collect();
        let left_out = seen.iter().fold(past, |sum, message| sum + message.tokens) - reported;
        if let (1.., Some(last)) = (left_out.total(), seen.last()) {
            self.left_out.tokens += left_out;
            let micros = self.prices.estimate_micros(&last.model, &left_out);
            self.left_out.micros = self.left_out.micros.saturating_add(micros);
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
        let mut used = Usage::default();
        used.tokens += self.settled.tokens;
        used.micros = used.micros.saturating_add(self.settled.micros);
        for message in &self.live {
            used.tokens += message.tokens;
            used.micros = used.micros.saturating_add(message.estimate_micros);
            used.micros_certainty = Certainty::Estimate;
        }
        for sum in [self.past_main, self.past_subagents, self.left_out] {
            used.tokens += sum.tokens;
            used.micros = used.micros.saturating_add(sum.micros);
        }
        if self.was_cut_off || self.hides_calls || self.left_out != ModelUsage::default() {
            used.tokens_certainty = Certainty::AtLeast;
            used.micros_certainty = Certainty::AtLeast;
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SONNET: &str = "claude-sonnet-4-20250514";

    fn tokens(input: u64, output: u64) -> Tokens {
        Tokens { input, output, ..Tokens::default() }
    }

    fn models(input: u64, output: u64, micros: u64) -> BTreeMap<String, ModelUsage> {
        BTreeMap::from([(SONNET.to_owned(), ModelUsage { tokens: tokens(input, output), micros })])
    }

    fn cumulative(input: u64, output: u64, micros: u64) -> ReportedUsage {
        ReportedUsage::Cumulative { models: models(input, output, micros), main: None }
    }

    /// No process uses this much, but such a report must neither cause a panic nor reset the counts to 0.
    #[test]
    fn numbers_beyond_reason_stop_at_the_largest() {
        let all = Tokens { input: u64::MAX, output: u64::MAX, cache_creation: u64::MAX, cache_read: u64::MAX };
        let mut meter = UsageMeter::default();
        meter.set_price(SONNET, Price::from_base_prices(u64::MAX, u64::MAX));
        for id in ["m1", "m2", "m3"] {
            meter.message(id, SONNET, all, false);
            assert_eq!((meter.used().tokens, meter.used().micros), (all, u64::MAX));
            meter.settle(ReportedUsage::Cumulative { models: models(1, 1, 1), main: Some(Tokens::default()) });
            assert_eq!((meter.used().tokens.total(), meter.used().micros), (u64::MAX, u64::MAX));
        }
    }

    #[test]
    fn a_message_counts_once_however_often_it_comes() {
        let mut meter = UsageMeter::default();
        meter.message("m1", SONNET, tokens(100, 1), false);
        meter.message("m1", SONNET, tokens(100, 1), false);
        meter.update_streaming(tokens(0, 40));
        meter.message("m1", SONNET, tokens(100, 1), false);
        assert_eq!(meter.used().tokens, tokens(100, 40));
        assert_eq!(meter.used().tokens_certainty, Certainty::Exact);
        assert_eq!(meter.used().micros, 900);
        assert_eq!(meter.used().micros_certainty, Certainty::Estimate);
    }

    /// Measured on 2.1, 2.0 and 1.0: the delta with the final counts follows the notice that the message was cut.
    #[test]
    fn delta_after_a_synthetic_message_belongs_to_the_message_before() {
        let mut meter = UsageMeter::default();
        meter.message("m1", SONNET, tokens(5_500, 1), false);
        meter.stream_begins();
        meter.message("uuid", SYNTHETIC_MODEL, Tokens::default(), false);
        meter.update_streaming(tokens(5_500, 50));
        meter.stream_ended();
        assert_eq!(meter.used().tokens, tokens(5_500, 50));
        assert_eq!(meter.first_message().map(|first| first.tokens), Some(tokens(5_500, 50)));
        meter.settle(ReportedUsage::Delta(models(5_500, 50, 1)));
        assert_eq!((meter.used().tokens, meter.used().tokens_certainty), (tokens(5_500, 50), Certainty::Exact));
    }

    #[test]
    fn the_first_message_grows_until_the_second_begins() {
        let mut meter = UsageMeter::default();
        meter.message("sub", SONNET, tokens(9_000, 1), true);
        assert_eq!(meter.first_message(), None, "a subagent's is none");
        meter.message("m1", SONNET, tokens(100, 1), false);
        meter.update_streaming(tokens(0, 40));
        meter.message("m1", SONNET, tokens(100, 1), false);
        assert_eq!(meter.first_message(), Some(ModelUsage { tokens: tokens(100, 40), micros: 900 }));
        meter.message("m2", SONNET, tokens(700, 1), false);
        meter.update_streaming(tokens(0, 70));
        meter.settle(cumulative(900, 200, 1));
        meter.message("m3", SONNET, tokens(800, 1), false);
        assert_eq!(meter.first_message().map(|first| first.tokens), Some(tokens(100, 40)));
    }

    #[test]
    fn a_result_settles_what_was_counted_live() {
        let mut meter = UsageMeter::default();
        meter.message("m1", SONNET, tokens(100, 40), false);
        meter.settle(cumulative(150, 60, 1_350));
        assert_eq!((meter.used().tokens, meter.used().micros), (tokens(150, 60), 1_350));
        meter.message("m2", SONNET, tokens(10, 1), false);
        meter.settle(cumulative(160, 65, 1_455));
        assert_eq!(meter.used().tokens, tokens(160, 65));
        assert_eq!(meter.used().micros, 1_455);
    }

    #[test]
    fn a_turn_of_any_length_is_counted_whole_in_bounded_memory() {
        let mut meter = UsageMeter::default();
        let count = 10 * MAX_LIVE as u64;
        for i in 0..count {
            meter.message(&format!("main-{i}"), SONNET, tokens(100, 1), false);
            meter.message(&format!("sub-{i}"), SONNET, tokens(10, 1), true);
            meter.update_streaming(Tokens { output: 40, ..Tokens::default() });
            assert!(meter.live.len() <= MAX_LIVE);
        }
        let seen = tokens(110 * count, 41 * count);
        assert_eq!(meter.used().tokens, seen);
        assert_eq!(meter.used().micros, count * (300 + 600 + 30 + 15));
        // The result omits 100 tokens of the main conversation's usage.
        let main = Some(tokens(100 * count - 100, 40 * count));
        meter.settle(ReportedUsage::Cumulative { models: models(110 * count - 100, 41 * count, 7), main });
        assert_eq!(meter.used().tokens, seen);
        meter.message("next", SONNET, tokens(5, 5), false);
        assert_eq!(meter.used().tokens, seen + tokens(5, 5));
    }

    #[test]
    fn a_turn_that_no_model_answered_takes_nothing_back() {
        let mut meter = UsageMeter::default();
        meter.settle(cumulative(100, 10, 450));
        meter.settle(ReportedUsage::Cumulative { models: BTreeMap::new(), main: Some(Tokens::default()) });
        meter.settle(cumulative(120, 15, 585));
        assert_eq!((meter.used().tokens, meter.used().micros), (tokens(120, 15), 585));
    }

    #[test]
    fn what_others_used_does_not_hide_a_message_that_is_left_out() {
        let mut meter = UsageMeter::default();
        meter.message("m1", SONNET, tokens(100, 40), false);
        let main = Some(Tokens::default());
        meter.settle(ReportedUsage::Cumulative { models: models(300, 60, 1_800), main });
        assert_eq!((meter.used().tokens, meter.used().micros), (tokens(400, 100), 1_800 + 900));
        assert_eq!(meter.used().tokens_certainty, Certainty::AtLeast);
    }

    #[test]
    fn a_message_that_a_repeated_request_follows_was_cut_off() {
        let mut meter = UsageMeter::default();
        for id in ["m1", "m2"] {
            meter.message(id, "opus", tokens(100, 1), false);
            meter.stream_begins();
        }
        meter.update_streaming(tokens(100, 20));
        meter.stream_ended();
        meter.settle(ReportedUsage::Delta(models(200, 25, 0)));
        assert_eq!((meter.used().tokens, meter.used().tokens_certainty), (tokens(200, 25), Certainty::AtLeast));
    }

    #[test]
    fn a_message_that_a_result_cut_off_is_at_least_what_is_reported_it() {
        let mut meter = UsageMeter::default();
        meter.message("m1", SONNET, tokens(100, 1), false);
        meter.stream_begins();
        meter.settle(ReportedUsage::Delta(models(100, 5, 375)));
        assert_eq!((meter.used().tokens, meter.used().tokens_certainty), (tokens(100, 5), Certainty::AtLeast));
    }

    #[test]
    fn any_number_of_models_is_counted_whole_in_bounded_memory() {
        let mut meter = UsageMeter::default();
        let names: Vec<String> = (0..40_000).map(|i| format!("model-{i}")).collect();
        for round in 1..=3_u64 {
            let of_each = ModelUsage { tokens: tokens(10 * round, round), micros: round };
            let models = names.iter().map(|name| (name.clone(), of_each)).collect();
            meter.settle(ReportedUsage::Cumulative { models, main: Some(Tokens::default()) });
            assert!(meter.cumulative.len() <= MAX_MODELS + 1);
            let used = meter.used();
            assert_eq!((used.tokens, used.micros), (tokens(400_000 * round, 40_000 * round), 40_000 * round));
        }
    }

    #[test]
    fn a_cleared_conversation_starts_claude_s_sum_again_and_not_ours() {
        let mut meter = UsageMeter::default();
        meter.settle(cumulative(100, 10, 450));
        meter.conversation_reset();
        meter.settle(cumulative(20, 5, 135));
        assert_eq!(meter.used().tokens, tokens(120, 15));
        assert_eq!(meter.used().micros, 585);
    }

    #[test]
    fn an_increment_is_exact_in_a_resumed_session() {
        let mut meter = UsageMeter::default();
        meter.settle(ReportedUsage::Delta(models(5, 5, 90)));
        meter.settle(ReportedUsage::Delta(models(7, 7, 126)));
        assert_eq!(meter.used().tokens, tokens(12, 12));
    }

    #[test]
    fn only_who_tells_of_each_call_is_taken_for_exact() {
        let certainty = |meter: &UsageMeter| (meter.used().tokens_certainty, meter.used().micros_certainty);
        let mut meter = UsageMeter::default();
        meter.mark_hidden_calls();
        assert_eq!(certainty(&meter), (Certainty::AtLeast, Certainty::AtLeast));
        meter.settle(ReportedUsage::Delta(models(5, 5, 90)));
        assert_eq!(certainty(&meter), (Certainty::Exact, Certainty::Exact));
        meter.settle(cumulative(5, 5, 90));
        assert_eq!(certainty(&meter), (Certainty::AtLeast, Certainty::AtLeast));
    }

    #[test]
    fn what_a_killed_process_had_begun_is_at_least_that() {
        let mut meter = UsageMeter::default();
        meter.settle(cumulative(100, 10, 450));
        meter.message("m2", SONNET, tokens(30, 1), false);
        meter.process_ended();
        let used = meter.used();
        assert_eq!((used.tokens, used.tokens_certainty), (tokens(130, 11), Certainty::AtLeast));
        assert_eq!(used.micros_certainty, Certainty::AtLeast);
    }

    #[test]
    fn what_a_result_leaves_out_of_an_interrupted_message_stays_on_the_books() {
        let mut meter = UsageMeter::default();
        meter.message("m1", SONNET, tokens(100, 1), false);
        meter.settle(ReportedUsage::Cumulative { models: BTreeMap::new(), main: None });
        assert_eq!((meter.used().tokens, meter.used().tokens_certainty), (tokens(100, 1), Certainty::AtLeast));
        meter.settle(cumulative(10, 10, 180));
        assert_eq!(meter.used().tokens, tokens(110, 11));
        assert_eq!(meter.used().micros, 315 + 180);
    }

    #[test]
    fn a_result_that_names_no_model_takes_nothing_back() {
        let mut meter = UsageMeter::default();
        meter.message("m1", SONNET, tokens(100, 40), false);
        meter.settle(ReportedUsage::Absent);
        assert_eq!(meter.used().tokens, tokens(100, 40));
    }
}
