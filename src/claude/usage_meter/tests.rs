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
fn huge_numbers_saturate() {
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
fn repeated_message_is_counted_once() {
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
fn first_message_grows_until_the_second() {
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
fn result_replaces_live_counts() {
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
fn long_turn_is_counted_in_bounded_memory() {
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
fn turn_without_a_model_subtracts_nothing() {
    let mut meter = UsageMeter::default();
    meter.settle(cumulative(100, 10, 450));
    meter.settle(ReportedUsage::Cumulative { models: BTreeMap::new(), main: Some(Tokens::default()) });
    meter.settle(cumulative(120, 15, 585));
    assert_eq!((meter.used().tokens, meter.used().micros), (tokens(120, 15), 585));
}

#[test]
fn unreported_message_is_counted_beside_other_usage() {
    let mut meter = UsageMeter::default();
    meter.message("m1", SONNET, tokens(100, 40), false);
    let main = Some(Tokens::default());
    meter.settle(ReportedUsage::Cumulative { models: models(300, 60, 1_800), main });
    assert_eq!((meter.used().tokens, meter.used().micros), (tokens(400, 100), 1_800 + 900));
    assert_eq!(meter.used().tokens_certainty, Certainty::AtLeast);
}

#[test]
fn message_before_a_repeated_request_was_cut_off() {
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
fn message_cut_off_by_a_result_is_a_lower_bound() {
    let mut meter = UsageMeter::default();
    meter.message("m1", SONNET, tokens(100, 1), false);
    meter.stream_begins();
    meter.settle(ReportedUsage::Delta(models(100, 5, 375)));
    assert_eq!((meter.used().tokens, meter.used().tokens_certainty), (tokens(100, 5), Certainty::AtLeast));
}

#[test]
fn many_models_are_counted_in_bounded_memory() {
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
fn cleared_conversation_keeps_the_earlier_usage() {
    let mut meter = UsageMeter::default();
    meter.settle(cumulative(100, 10, 450));
    meter.conversation_reset();
    meter.settle(cumulative(20, 5, 135));
    assert_eq!(meter.used().tokens, tokens(120, 15));
    assert_eq!(meter.used().micros, 585);
}

#[test]
fn delta_is_exact_in_a_resumed_session() {
    let mut meter = UsageMeter::default();
    meter.settle(ReportedUsage::Delta(models(5, 5, 90)));
    meter.settle(ReportedUsage::Delta(models(7, 7, 126)));
    assert_eq!(meter.used().tokens, tokens(12, 12));
}

#[test]
fn only_deltas_are_exact() {
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
fn killed_process_leaves_a_lower_bound() {
    let mut meter = UsageMeter::default();
    meter.settle(cumulative(100, 10, 450));
    meter.message("m2", SONNET, tokens(30, 1), false);
    meter.process_ended();
    let used = meter.used();
    assert_eq!((used.tokens, used.tokens_certainty), (tokens(130, 11), Certainty::AtLeast));
    assert_eq!(used.micros_certainty, Certainty::AtLeast);
}

#[test]
fn unreported_part_of_an_interrupted_message_is_kept() {
    let mut meter = UsageMeter::default();
    meter.message("m1", SONNET, tokens(100, 1), false);
    meter.settle(ReportedUsage::Cumulative { models: BTreeMap::new(), main: None });
    assert_eq!((meter.used().tokens, meter.used().tokens_certainty), (tokens(100, 1), Certainty::AtLeast));
    meter.settle(cumulative(10, 10, 180));
    assert_eq!(meter.used().tokens, tokens(110, 11));
    assert_eq!(meter.used().micros, 315 + 180);
}

#[test]
fn result_without_models_subtracts_nothing() {
    let mut meter = UsageMeter::default();
    meter.message("m1", SONNET, tokens(100, 40), false);
    meter.settle(ReportedUsage::Absent);
    assert_eq!(meter.used().tokens, tokens(100, 40));
}
