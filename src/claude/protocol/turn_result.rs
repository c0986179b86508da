//! Decoder of the result of a turn, with the usage that claude reports in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::event::{Denial, Event, TurnResult};
use super::value::{MAX_WORD_BYTES, array, bounded, count, input_summary, micros, text, tokens, word};
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::{ModelUsage, ReportedUsage};

/// Decodes a line of type `result`.
pub(super) fn decode(line: &Value) -> Event {
    let (mut permission_denials, mut denied_ids) = (Vec::new(), Vec::new());
    for denial in array(&line["permission_denials"]) {
        let tool = word(&denial["tool_name"]).unwrap_or_default();
        permission_denials.push(Denial { tool, input_summary: input_summary(&denial["tool_input"]) });
        denied_ids.push(word(&denial["tool_use_id"]).unwrap_or_default());
    }
    Event::Result(Box::new(TurnResult {
        subtype: word(&line["subtype"]).unwrap_or_default(),
        // If the field is missing, assume an error.
        is_error: line["is_error"].as_bool().unwrap_or(true),
        text: text(&line["result"]).unwrap_or_default(),
        errors: array(&line["errors"]).iter().filter_map(text).collect(),
        is_unsolicited: line["origin"].is_object(),
        session_id: word(&line["session_id"]),
        terminal_reason: word(&line["terminal_reason"]),
        stop_reason: word(&line["stop_reason"]),
        safety_stops: count(&line["safety_stops"]),
        stopped_by_permission_check: line["stopped_by_permission_check"] == true,
        interrupted_by_shutdown: line["interrupted_by_shutdown"] == true,
        used_model: used_model(line),
        api_error_status: line["api_error_status"].as_u64(),
        api_error: word(&line["api_error"]),
        settlement: reported_usage(line),
        permission_denials,
        denied_ids,
    }))
}

/// Returns true if the numbers of a result show a model call in its turn.
///
/// In the older generations `modelUsage` also grows by calls of claude's own, so `usage` decides. 2.1 counts each turn
/// separately; a turn blocked by a `UserPromptSubmit` hook that used a model has 0 turns and is no local command
/// (measured on 2.1.332).
fn used_model(line: &Value) -> bool {
    match line["model_usage_since_last_result"].as_object() {
        Some(models) => !models.is_empty() && (count(&line["num_turns"]) > 0 || line["local_command"].is_string()),
        None => tokens(&line["usage"]).total() > 0,
    }
}

fn reported_usage(line: &Value) -> ReportedUsage {
    if let Some(models) = line["model_usage_since_last_result"].as_object() {
        return ReportedUsage::Delta(by_model(models));
    }
    match line["modelUsage"].as_object() {
        Some(models) => ReportedUsage::Cumulative { models: by_model(models), main: main_tokens(line) },
        None => ReportedUsage::Absent,
    }
}

/// Returns the turn's own tokens. A turn that exceeded its dollar limit does not report them.
fn main_tokens(line: &Value) -> Option<Tokens> {
    let is_reported = line["usage"].is_object() && line["subtype"] != "error_max_budget_usd";
    is_reported.then(|| tokens(&line["usage"]))
}

fn by_model(models: &Map<String, Value>) -> BTreeMap<String, ModelUsage> {
    let mut usage: BTreeMap<String, ModelUsage> = BTreeMap::new();
    for (model, reported) in models {
        let tokens = Tokens {
            input: count(&reported["inputTokens"]),
            output: count(&reported["outputTokens"]),
            cache_creation: count(&reported["cacheCreationInputTokens"]),
            cache_read: count(&reported["cacheReadInputTokens"]),
        };
        let model = bounded(model.clone(), MAX_WORD_BYTES);
        usage.entry(model).or_default().add(tokens, micros(&reported["costUSD"]));
    }
    usage
}
