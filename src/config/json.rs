//! JSON values with their positions in the text. serde_json checks the syntax; this module adds line and column of keys
//! and values, so that later errors can name them. Objects are opened one level at a time, so that deeply nested input
//! uses no stack, and duplicate keys stay visible.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::text::{character_width, find_lone_surrogate, floor_char_boundary, is_invisible, truncate};

/// Position in a text: line and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

/// Syntax error in a JSON text.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Position at which the parser stopped.
    pub position: Position,
    /// Problem at the position.
    pub problem: SyntaxProblem,
    /// Common mistake that it looks like.
    pub hint: Option<SyntaxHint>,
    /// Line with a caret under the position, ready to print.
    pub excerpt: String,
}

/// Problem of a text that is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyntaxProblem {
    /// Any problem that no other variant describes, in the words of serde_json.
    Parser(String),
    /// An end of the text where a value is expected.
    MissingValue,
    /// An end of the text inside of this part.
    UnexpectedEnd(String),
    /// An escape of one half of a character.
    LoneSurrogate(String),
}

/// Common mistake in handwritten JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxHint {
    /// A comment.
    Comment,
    /// A line break or a tab in a string.
    LineBreak,
    /// A string in single quotes.
    SingleQuote,
    /// A comma after the last element.
    TrailingComma,
}

/// JSON text with valid syntax.
#[derive(Clone, Copy)]
pub struct Document<'a> {
    text: &'a str,
    root: &'a RawValue,
}

/// Value in a [`Document`].
#[derive(Clone, Copy)]
pub struct Node<'a> {
    raw: &'a RawValue,
}

/// Member of an object: `"key": value`.
pub struct Member<'a> {
    /// Key, unescaped.
    pub key: Cow<'a, str>,
    /// Value of the key.
    pub value: Node<'a>,
}

/// Kind of a JSON value, with the name used in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// a number
    Number,
    /// a string
    String,
    /// an array
    Array,
    /// an object
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        })
    }
}

impl<'a> Document<'a> {
    /// Checks the syntax of the whole text.
    ///
    /// # Errors
    /// Returns the first syntax error, with its position and line.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let root = match serde_json::from_str::<&RawValue>(text) {
            Ok(root) => root,
            Err(error) => return Err(SyntaxError::from_parser(text, &error)),
        };
        match find_lone_surrogate(text) {
            None => Ok(Document { text, root }),
            Some(offset) => Err(SyntaxError::lone_surrogate(text, offset)),
        }
    }

    /// Returns the outermost value.
    #[must_use]
    pub fn root(&self) -> Node<'a> {
        Node { raw: self.root }
    }

    /// Returns the byte offset of a value. Values borrow from the text, so this is a subtraction.
    #[must_use]
    pub fn offset(&self, node: Node) -> usize {
        node.raw.get().as_ptr() as usize - self.text.as_ptr() as usize
    }

    /// Returns the position of a byte offset.
    #[must_use]
    pub fn place(&self, offset: usize) -> Position {
        self.place_after(0, Position { line: 1, column: 1 }, offset)
    }

    /// Returns the position of a byte offset, counted from an earlier one with a known position.
    #[must_use]
    pub fn place_after(&self, earlier: usize, earlier_place: Position, offset: usize) -> Position {
        let between = &self.text[earlier..offset];
        match between.rfind('\n') {
            None => Position { column: earlier_place.column + between.chars().count(), ..earlier_place },
            Some(newline) => Position {
                line: earlier_place.line + between.bytes().filter(|&b| b == b'\n').count(),
                column: between[newline + 1..].chars().count() + 1,
            },
        }
    }
}

impl<'a> Node<'a> {
    /// Returns the kind of the value, by its first character.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.raw.get().as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Returns the JSON text of the value.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.raw.get()
    }

    /// Describes the value for a message: a number as written, any other value by its type.
    #[must_use]
    pub fn describe(self) -> String {
        match self.kind() {
            Kind::Number => self.text().to_owned(),
            kind => kind.to_string(),
        }
    }

    /// Returns the unescaped string, if the value is one.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        #[derive(serde::Deserialize)]
        struct Borrowed<'b>(#[serde(borrow)] Cow<'b, str>);
        if self.kind() != Kind::String {
            return None;
        }
        let Borrowed(text) = serde_json::from_str(self.raw.get()).ok()?;
        Some(text)
    }

    /// Returns the boolean, if the value is one.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        serde_json::from_str(self.raw.get()).ok()
    }

    /// Returns the number, if the value is one that fits a double.
    #[must_use]
    pub fn number(self) -> Option<f64> {
        match self.kind() {
            Kind::Number => serde_json::from_str(self.raw.get()).ok(),
            _ => None,
        }
    }

    /// Returns the members in the order of the text, including duplicates, if the value is an object.
    #[must_use]
    pub fn members(self) -> Option<Vec<Member<'a>>> {
        serde_json::Deserializer::from_str(self.raw.get()).deserialize_map(Members).ok()
    }

    /// Returns the elements, if the value is an array.
    #[must_use]
    pub fn elements(self) -> Option<Vec<Node<'a>>> {
        serde_json::Deserializer::from_str(self.raw.get()).deserialize_seq(Elements).ok()
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(serde::Deserialize)]
        struct Key<'b>(#[serde(borrow)] Cow<'b, str>);
        let mut members = Vec::new();
        while let Some((key, raw)) = map.next_entry::<Key, &RawValue>()? {
            members.push(Member { key: key.0, value: Node { raw } });
        }
        Ok(members)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<Node<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            elements.push(Node { raw });
        }
        Ok(elements)
    }
}

impl SyntaxError {
    fn from_parser(text: &str, error: &serde_json::Error) -> Self {
        let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let line = text[before..].lines().next().unwrap_or("");
        // serde_json counts columns in bytes and gives the last byte consumed: 0 is the newline before the line.
        let offset = before + floor_char_boundary(line, error.column().saturating_sub(1));
        let message = error.to_string();
        // zen prints the position itself, so " at line 3 column 5" is removed.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        let problem = match message.strip_prefix("EOF while parsing ") {
            Some("a value") => SyntaxProblem::MissingValue,
            Some(part) => SyntaxProblem::UnexpectedEnd(part.to_owned()),
            None => SyntaxProblem::Parser(message.to_owned()),
        };
        SyntaxError { hint: SyntaxHint::at(text, offset), ..SyntaxError::at(text, offset, problem) }
    }

    fn lone_surrogate(text: &str, offset: usize) -> Self {
        let escape = text[offset..].get(..6).unwrap_or_default();
        SyntaxError::at(text, offset, SyntaxProblem::LoneSurrogate(escape.to_owned()))
    }

    fn at(text: &str, offset: usize, problem: SyntaxProblem) -> Self {
        let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[..offset].bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = text[start..offset].chars().count() + 1;
        let shown = text[start..].lines().next().unwrap_or("");
        SyntaxError { position: Position { line, column }, problem, hint: None, excerpt: excerpt(shown, column) }
    }
}

impl SyntaxHint {
    /// Recognizes a common mistake in handwritten JSON.
    fn at(text: &str, offset: usize) -> Option<SyntaxHint> {
        match &text.as_bytes()[offset..] {
            [b'/', b'/' | b'*', ..] => Some(SyntaxHint::Comment),
            [0..=0x1f, ..] if !text[..offset].trim_end().ends_with([',', '{', '[', ':']) => Some(SyntaxHint::LineBreak),
            [b'\'', ..] => Some(SyntaxHint::SingleQuote),
            [b'}' | b']', ..] if text[..offset].trim_end().ends_with(',') => Some(SyntaxHint::TrailingComma),
            _ => None,
        }
    }
}

impl fmt::Display for SyntaxError {
    /// Formats the problem and the hint, without the position and the excerpt.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.problem)?;
        match self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SyntaxProblem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            SyntaxProblem::Parser(message) => f.write_str(message),
            SyntaxProblem::MissingValue => f.write_str("unexpected end of file: expected a value"),
            SyntaxProblem::UnexpectedEnd(part) => write!(f, "unexpected end of file in {part}"),
            SyntaxProblem::LoneSurrogate(escape) => {
                write!(f, "lone surrogate {escape}: write both halves of the character")
            }
        }
    }
}

impl fmt::Display for SyntaxHint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            SyntaxHint::Comment => "JSON has no comments: use a key that begins with \"//\"",
            SyntaxHint::LineBreak => "write a line break in a string as \\n, a tab as \\t",
            SyntaxHint::SingleQuote => "JSON strings need double quotes",
            SyntaxHint::TrailingComma => "remove the comma after the last element",
        })
    }
}

/// Returns the line, or the part of a long line around the column, with a caret under the column.
fn excerpt(line: &str, column: usize) -> String {
    const COLUMNS_BEFORE: usize = 50;
    const COLUMNS_SHOWN: usize = 76;
    let before: Vec<char> = line.chars().take(column - 1).map(blank_if_invisible).collect();
    let (mut start, mut columns_before) = (before.len(), 0);
    while start > 0 && columns_before + character_width(before[start - 1]) <= COLUMNS_BEFORE {
        start -= 1;
        columns_before += character_width(before[start]);
    }
    let mut shown: String = before[start..].iter().collect();
    // A character takes at most two columns.
    shown.extend(line.chars().skip(column - 1).take(COLUMNS_SHOWN).map(blank_if_invisible));
    format!("{}\n{}^", truncate(&shown, COLUMNS_SHOWN, ""), " ".repeat(columns_before))
}

/// Replaces a character that would break the line or the layout.
fn blank_if_invisible(character: char) -> char {
    let is_blank = character.is_control() || character.is_whitespace() || is_invisible(character);
    if is_blank { ' ' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> SyntaxError {
        Document::parse(text).err().expect("the text must not parse")
    }

    #[test]
    fn a_syntax_error_has_its_line_column_and_a_caret() {
        let error = error("{\n  \"instances\": [\n    {\"name\": \"a\"}\n    {\"name\": \"b\"}\n  ]\n}");
        assert_eq!(error.position, Position { line: 4, column: 5 });
        assert_eq!(error.problem, SyntaxProblem::Parser("expected `,` or `]`".to_owned()));
        assert_eq!(error.excerpt, "    {\"name\": \"b\"}\n    ^");
    }

    #[test]
    fn columns_count_characters_and_the_caret_counts_terminal_columns() {
        let error = error("{\"名前\": \"x\" \"y\"}");
        assert_eq!(error.position, Position { line: 1, column: 12 });
        assert_eq!(error.excerpt, "{\"名前\": \"x\" \"y\"}\n             ^");
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let error = error(&format!("[{}x]", "1,".repeat(100_000)));
        assert_eq!(error.position.column, 200_002);
        assert!(error.excerpt.len() < 200, "{}", error.excerpt);
        let (line, caret) = error.excerpt.split_once('\n').expect("two lines");
        assert_eq!(line.chars().nth(caret.len() - 1), Some('x'));
    }

    #[test]
    fn the_caret_of_a_wide_line_stays_on_the_screen() {
        let error = error(&format!("[\"{}\" x]", "日".repeat(80)));
        assert_eq!(error.position.column, 85);
        let (line, caret) = error.excerpt.split_once('\n').expect("two lines");
        assert!(caret.len() <= 51 && crate::base::text::width(line) <= 76, "{}", error.excerpt);
        assert!(line.ends_with("日\" x]"));
    }

    #[test]
    fn lone_surrogate_has_its_position() {
        for (text, column) in [
            (r#"{"a": "x\ud800y"}"#, 9),
            (r#"{"\udc00": 1}"#, 3),
            (r#"["\ud83d\ud83d\ude00"]"#, 3),
            (r#"["\\\ud83d"]"#, 5),
        ] {
            let error = error(text);
            assert_eq!((error.position.line, error.position.column), (1, column), "{text}");
            assert!(matches!(error.problem, SyntaxProblem::LoneSurrogate(_)), "{text}");
        }
        for text in [r#"["\ud83d\ude00"]"#, r#"["\\ud800"]"#, r#"["\u00e9\n"]"#] {
            assert!(Document::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn usual_mistakes_get_a_hint() {
        assert_eq!(error("{'a': 1}").hint, Some(SyntaxHint::SingleQuote));
        assert_eq!(error("{\"a\": 1} // b").hint, Some(SyntaxHint::Comment));
        for text in ["[1, 2,]", "[\n  1,\n]", "{\"a\": 1,\r\n\t}"] {
            assert_eq!(error(text).hint, Some(SyntaxHint::TrailingComma), "{text}");
        }
    }

    #[test]
    fn error_of_an_unclosed_text_is_on_its_last_line() {
        assert_eq!(error("{\"a\": [1, 2").position.line, 1);
        assert_eq!(error("{\n\"a\": [\n").position.line, 3);
        assert_eq!(error("").position, Position { line: 1, column: 1 });
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let document = Document::parse(&deep).expect("it is valid JSON");
        assert_eq!(document.root().elements().map(|e| e.len()), Some(1));
    }

    #[test]
    fn members_keep_order_duplicates_and_positions() {
        let text = "{\"a\": 1,\n  \"b\\u0041\": [true, null],\n  \"a\": \"x\\n\"}";
        let document = Document::parse(text).expect("valid");
        let members = document.root().members().expect("an object");
        let keys: Vec<&str> = members.iter().map(|m| m.key.as_ref()).collect();
        assert_eq!(keys, ["a", "bA", "a"]);
        assert_eq!(document.place(document.offset(members[1].value)), Position { line: 2, column: 14 });
        assert_eq!(members[2].value.string().as_deref(), Some("x\n"));
        assert_eq!(members[1].value.elements().expect("an array")[0].boolean(), Some(true));
        assert_eq!(members[0].value.kind(), Kind::Number);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Document::parse(&text);
        }

        #[test]
        fn no_mangled_json_panics(cut in 0_usize..120, junk in "[\\PC\n]{0,3}") {
            let text = "{\"instances\": [{\"name\": \"é名\", \"command\": \"/help\"}],\n \"budget\": {\"overall_budget\": 1e9}}";
            let cut = floor_char_boundary(text, cut);
            let _ = Document::parse(&format!("{}{junk}{}", &text[..cut], &text[cut..]));
        }
    }
}
