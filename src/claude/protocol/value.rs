//! Fields of a decoded line, with bounds on the length of words.

use serde_json::Value;

use crate::base::text::floor_char_boundary;
use crate::claude::tokens::Tokens;

/// Maximum length of a name, an id or a keyword, in bytes. claude sends far shorter ones, but a broken or hostile child
/// may send megabytes in each.
pub(super) const MAX_WORD_BYTES: usize = 256;

/// Maximum length of a tool's input summary, in bytes.
const MAX_SUMMARY_BYTES: usize = 1_000;

/// Truncates a string to at most `max_bytes`, at a character boundary.
pub(super) fn bounded(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(floor_char_boundary(&text, max_bytes));
        text.shrink_to_fit();
    }
    text
}

/// Returns the elements of an array; none if the value is not an array.
pub(super) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Returns a name, an id or a keyword, truncated to `MAX_WORD_BYTES`.
pub(super) fn word(value: &Value) -> Option<String> {
    Some(bounded(text(value)?, MAX_WORD_BYTES))
}

pub(super) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Converts dollars, which claude sends as a double, to micro-dollars.
pub(super) fn micros(dollars: &Value) -> u64 {
    (dollars.as_f64().unwrap_or(0.0).max(0.0) * 1e6).round() as u64
}

pub(super) fn tokens(usage: &Value) -> Tokens {
    Tokens {
        input: count(&usage["input_tokens"]),
        output: count(&usage["output_tokens"]),
        cache_creation: count(&usage["cache_creation_input_tokens"]),
        cache_read: count(&usage["cache_read_input_tokens"]),
    }
}

/// Returns the most informative value of a tool's input, truncated.
pub(super) fn input_summary(input: &Value) -> String {
    const INFORMATIVE: &[&str] =
        &["command", "file_path", "notebook_path", "path", "pattern", "url", "query", "description", "prompt", "skill"];
    for key in INFORMATIVE {
        if let Some(value) = text(&input[*key]) {
            return bounded(value, MAX_SUMMARY_BYTES);
        }
    }
    let first = input.as_object().and_then(|fields| fields.values().find_map(text));
    bounded(first.unwrap_or_default(), MAX_SUMMARY_BYTES)
}
