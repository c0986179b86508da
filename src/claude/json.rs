//! Lenient JSON parser: accepts what claude's parser accepts and serde's does not.

use std::borrow::Cow;

use serde_json::Value;

use crate::base::text::find_lone_surrogate;

/// Parses JSON that may have a byte-order mark, invalid UTF-8 or lone surrogates.
///
/// # Errors
/// An error of serde for everything else that it rejects: nesting deeper than 128, numbers out of range, and
/// invalid JSON.
pub fn parse_lenient(bytes: &[u8]) -> serde_json::Result<Value> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) => serde_json::from_str(&replace_lone_surrogates(&String::from_utf8_lossy(bytes))),
    }
}

/// Replaces each lone surrogate by U+FFFD.
pub(super) fn replace_lone_surrogates(text: &str) -> Cow<'_, str> {
    const REPLACEMENT: &str = "\\ufffd";
    let mut text = Cow::Borrowed(text);
    let mut from = 0;
    while let Some(offset) = find_lone_surrogate(&text[from..]) {
        let start = from + offset;
        from = start + REPLACEMENT.len();
        text.to_mut().replace_range(start..from, REPLACEMENT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_claude_accepts_is_parsed() {
        let expected = serde_json::json!({"a": 1});
        for bytes in [&b"{\"a\": 1}"[..], b"\xef\xbb\xbf{\"a\": 1}"] {
            assert_eq!(parse_lenient(bytes).expect("JSON"), expected);
        }
        for bytes in [&b"{\"a\": \"\\ud83d\"}"[..], b"{\"a\": \"\xff\"}", b"\xef\xbb\xbf{\"a\": \"\xff\\ud83d\"}"] {
            assert!(parse_lenient(bytes).expect("JSON")["a"].as_str().is_some_and(|a| a.contains('\u{fffd}')));
        }
        for bytes in [&b"{"[..], b"{\"a\": 1,}", b"// x\n{}", b"{\"a\": 1e999}"] {
            assert!(parse_lenient(bytes).is_err());
        }
    }
}
