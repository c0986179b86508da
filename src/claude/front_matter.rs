//! Parser for front matter: the YAML between two lines of dashes at the head of a command's or skill's file.
//!
//! Supports the subset that such files use: `key: value`, quotes, lists and text blocks. Any other text is kept
//! unchanged. No key has a meaning here.

/// Splits a text into the fields of its front matter, in order, each value on one line, and the body.
///
/// A text without front matter is all body.
#[must_use]
pub fn split(text: &str) -> (Vec<(String, String)>, &str) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some((first, mut rest)) = next_line(text) else { return (Vec::new(), text) };
    if first != "---" {
        return (Vec::new(), text);
    }
    let mut lines = Vec::new();
    while let Some((line, after)) = next_line(rest) {
        if line == "---" {
            return (fields(&lines), after);
        }
        lines.push(line);
        rest = after;
    }
    (Vec::new(), text)
}

/// Returns the first field of this key.
#[must_use]
pub fn field(text: &str, key: &str) -> Option<String> {
    let (fields, _) = split(text);
    fields.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// Splits off the first line, without its white space at the end.
fn next_line(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    Some((line.trim_end(), after))
}

/// A field and its continuation lines.
struct Field<'a> {
    key: &'a str,
    value: &'a str,
    more: Vec<&'a str>,
}

fn fields(lines: &[&str]) -> Vec<(String, String)> {
    let mut fields: Vec<Field> = Vec::new();
    for line in lines {
        if line.trim_start().starts_with('#') {
            continue;
        }
        match (key_and_value(line), fields.last_mut()) {
            (Some((key, value)), _) => fields.push(Field { key, value, more: Vec::new() }),
            (None, Some(field)) if !line.trim().is_empty() => field.more.push(line.trim()),
            (None, _) => {}
        }
    }
    fields.into_iter().map(|field| (field.key.to_owned(), field.text())).collect()
}

/// Splits a line into key and value. A continuation of the previous field is indented, or a list element.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let begins_a_field = !key.is_empty() && !key.starts_with([' ', '\t', '-']) && !key.contains(['"', '\'', '{', '[']);
    if !begins_a_field || !(value.is_empty() || value.starts_with([' ', '\t'])) {
        return None;
    }
    Some((key.trim_end(), value.trim()))
}

impl Field<'_> {
    /// Returns the value on one line.
    fn text(&self) -> String {
        if self.value.is_empty()
            && let Some(elements) = self.elements()
        {
            return elements.join(", ");
        }
        let is_block = is_block_mark(self.value);
        let mut lines = self.more.clone();
        if !is_block && !self.value.is_empty() {
            lines.insert(0, self.value);
        }
        let text = lines.join(" ");
        if is_block {
            return text;
        }
        match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(list) => list.split(',').map(str::trim).map(unquoted).collect::<Vec<_>>().join(", "),
            None => unquoted(&text),
        }
    }

    /// Returns the elements, if all lines after the first are elements of a list.
    fn elements(&self) -> Option<Vec<String>> {
        let mut elements = Vec::with_capacity(self.more.len());
        for line in &self.more {
            elements.push(unquoted(element(line)?));
        }
        Some(elements)
    }
}

/// Returns true for the mark of a YAML block, such as `|` or `>-`. 1.0 and 2.0 use the mark itself as the text.
#[must_use]
pub fn is_block_mark(value: &str) -> bool {
    let Some(indicators) = value.strip_prefix(['|', '>']) else { return false };
    indicators.bytes().all(|byte| matches!(byte, b'-' | b'+' | b'0'..=b'9'))
}

fn element(line: &str) -> Option<&str> {
    if line == "-" { Some("") } else { line.strip_prefix("- ").map(str::trim) }
}

fn unquoted(text: &str) -> String {
    if let Some(inner) = between(text, '"') {
        inner.replace("\\\"", "\"").replace("\\\\", "\\")
    } else if let Some(inner) = between(text, '\'') {
        inner.replace("''", "'")
    } else {
        text.to_owned()
    }
}

fn between(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote)?.strip_suffix(quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields_of(front: &str) -> Vec<(String, String)> {
        split(&format!("---\n{front}\n---\nbody\n")).0
    }

    #[test]
    fn fields_are_parsed() {
        for (front, key, value) in [
            ("description: Analyze the code", "description", "Analyze the code"),
            ("description:Analyze", "", ""),
            ("description: \"Quoted: \\\"so\\\"\"", "description", "Quoted: \"so\""),
            ("description: 'it''s'", "description", "it's"),
            ("description: see http://x/y: there", "description", "see http://x/y: there"),
            ("allowed-tools: Bash(git add:*), Read", "allowed-tools", "Bash(git add:*), Read"),
            ("allowed-tools: [\"Read\", Grep]", "allowed-tools", "Read, Grep"),
            ("allowed-tools:\n  - Read\n  - Bash(git *)", "allowed-tools", "Read, Bash(git *)"),
            ("allowed-tools:\n- Read\n- \"Grep\"", "allowed-tools", "Read, Grep"),
            ("description: |\n  One line\n\n  and another", "description", "One line and another"),
            ("description: >-\n  One line\n  and: another", "description", "One line and: another"),
            ("description: It goes\n  on", "description", "It goes on"),
            ("# why\ndescription: x", "description", "x"),
            ("model:", "model", ""),
        ] {
            let expected: Vec<_> =
                Some((key.to_owned(), value.to_owned())).filter(|(key, _)| !key.is_empty()).into_iter().collect();
            assert_eq!(fields_of(front), expected, "{front:?}");
        }
        let two = fields_of("description: x\r\nmodel: opus\r");
        assert_eq!(two, [("description".into(), "x".into()), ("model".into(), "opus".into())]);
    }

    #[test]
    fn rest_is_the_body() {
        assert_eq!(split("---\na: b\n---\n\nThe body\n").1, "\nThe body\n");
        assert_eq!(split("\u{feff}---\r\na: b\r\n---\r\nThe body").1, "The body");
        assert_eq!(split("---\na: b\n---").1, "");
        for all_body in ["", "The body", "The body\n---\na: b\n---\n", "---\na: b\n", "--- \u{a0}x\n---\n"] {
            assert_eq!(split(all_body), (Vec::new(), all_body));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(---\n)?([ -]{0,2}[a-z\"'\\[\\]|>#:é-]{0,6}:? ?[^\n]{0,5}\n){0,6}(---\n)?.{0,9}") {
            let (fields, body) = split(&text);
            prop_assert!(text.ends_with(body));
            prop_assert!(fields.iter().all(|(key, value)| !key.is_empty() && !key.contains('\n') && !value.contains('\n')));
        }
    }
}
