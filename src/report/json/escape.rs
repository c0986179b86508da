//! Escapes characters in JSON strings that a terminal would interpret or hide, so that `cat report.json` shows the
//! whole text. JSON itself requires this of quotes, backslashes and C0 controls only. The decoded text stays the same.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::base::text::is_invisible;

/// Returns `value` as indented JSON, with its strings safe for a terminal.
pub(super) fn to_pretty_string(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let formatter = SafeFormatter(PrettyFormatter::new());
    // Plain data under plain names, written to memory: serializing it cannot fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut json, formatter));
    String::from_utf8(json).unwrap_or_default()
}

/// True for DEL, C1 controls, line and paragraph separators, and invisible characters: bidi controls, tags, joiners.
fn must_be_escaped(c: char) -> bool {
    !c.is_ascii_graphic() && c != ' ' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_invisible(c))
}

/// A formatter of indented JSON that writes unsafe characters as `\uXXXX`.
struct SafeFormatter(PrettyFormatter<'static>);

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, unsafe_char)) = rest.char_indices().find(|&(_, c)| must_be_escaped(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in unsafe_char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + unsafe_char.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn controls_bidi_separators_and_tags_are_escaped() {
        let hostile = "a\u{9b}31m\u{7f}\u{85}\u{202e}\u{2066}\u{2028}\u{2029}\u{e0041}\u{1b}é日🎉\"\\";
        let expected = r#""a\u009b31m\u007f\u0085\u202e\u2066\u2028\u2029\udb40\udc41\u001bé日🎉\"\\""#;
        assert_eq!(to_pretty_string(&hostile), expected);
    }

    proptest! {
        #[test]
        fn escaped_json_is_safe_and_decodes_to_the_same(key: String, text: String, c: char, numbers: Vec<i64>) {
            let value = BTreeMap::from([(key.clone(), vec![format!("{text}{c}{key}")]), (text.clone(), Vec::new())]);
            let value = (value, numbers);
            let json = to_pretty_string(&value);
            prop_assert!(!json.chars().any(|c| c != '\n' && must_be_escaped(c)), "{:?}", json);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&json).ok(), serde_json::to_value(&value).ok());
            let is_ordinary = !json.contains("\\u");
            prop_assert!(!is_ordinary || Some(json) == serde_json::to_string_pretty(&value).ok());
        }

        /// Independent of the code's own predicate.
        #[test]
        fn no_dangerous_range_is_raw(c in prop_oneof![
            proptest::char::range('\u{7f}', '\u{9f}'), proptest::char::range('\u{202a}', '\u{202e}'),
            proptest::char::range('\u{2066}', '\u{2069}'), proptest::char::range('\u{2028}', '\u{2029}'),
            proptest::char::range('\u{200e}', '\u{200f}'), proptest::char::range('\u{e0000}', '\u{e007f}'),
            Just('\u{61c}'),
        ]) {
            prop_assert!(to_pretty_string(&c).is_ascii());
        }
    }
}
