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
    let mut rest = text;
    let mut line = || {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let is_last = rest.is_empty();
        rest = after;
        (!is_last).then_some((line.trim_end(), after))
    };
    if line().is_none_or(|(first, _)| first != "---") {
        return (Vec::new(), text);
    }
    let mut lines = Vec::new();
    while let Some((line, after)) = line() {
        if line == "---" {
            return (fields(&lines), after);
        }
        lines.push(line);
    }
    (Vec::new(), text)
}

/// A field and its continuation lines.
struct Field<'a> {
    key: &'a str,
    value: &'a str,
    more: Vec<&'a str>,
}

fn fields(lines: &[&str]) -> Vec<(String, String)> {
    let mut fields: Vec<Field> = Vec::new();
    for line in lines.iter().filter(|line| !line.trim_start().starts_with('#')) {
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
    (begins_a_field && (value.is_empty() || value.starts_with([' ', '\t']))).then_some((key.trim_end(), value.trim()))
}

impl Field<'_> {
    fn text(&self) -> String {
        let is_block = is_block_mark(self.value);
        let is_list = self.value.is_empty() && self.more.iter().all(|line| element(line).is_some());
        if is_list {
            let elements: Vec<String> = self.more.iter().filter_map(|line| element(line)).map(unquoted).collect();
            return elements.join(", ");
        }
        let value = if is_block { "" } else { self.value };
        let lines: Vec<&str> =
            std::iter::once(value).chain(self.more.iter().copied()).filter(|l| !l.is_empty()).collect();
        let text = lines.join(" ");
        match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(elements) if !is_block => {
                elements.split(',').map(|element| unquoted(element.trim())).collect::<Vec<_>>().join(", ")
            }
            _ if is_block => text,
            _ => unquoted(&text),
        }
    }
}

/// Returns true for the mark of a YAML block, such as `|` or `>-`. 1.0 and 2.0 use the mark itself as the text.
#[must_use]
pub fn is_block_mark(value: &str) -> bool {
    value.strip_prefix(['|', '>']).is_some_and(|rest| rest.chars().all(|c| c == '-' || c == '+' || c.is_ascii_digit()))
}

fn element(line: &str) -> Option<&str> {
    if line == "-" { Some("") } else { line.strip_prefix("- ").map(str::trim) }
}

fn unquoted(text: &str) -> String {
    let between = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    match (between('"'), between('\'')) {
        (Some(inner), _) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        (_, Some(inner)) => inner.replace("''", "'"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields_of(front: &str) -> Vec<(String, String)> {
        split(&format!("---\n{front}\n---\nbody\n")).0
    }

    #[test]
    fn a_field_is_a_key_and_a_value_on_one_line() {
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
    fn what_comes_after_it_is_the_body() {
        assert_eq!(split("---\na: b\n---\n\nThe body\n").1, "\nThe body\n");
        assert_eq!(split("\u{feff}---\r\na: b\r\n---\r\nThe body").1, "The body");
        assert_eq!(split("---\na: b\n---").1, "");
        for all_body in ["", "The body", "The body\n---\na: b\n---\n", "---\na: b\n", "--- \u{a0}x\n---\n"] {
            assert_eq!(split(all_body), (Vec::new(), all_body));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(---\n)?([ -]{0,2}[a-z\"'\\[\\]|>#:é-]{0,6}:? ?[^\n]{0,5}\n){0,6}(---\n)?.{0,9}") {
            let (fields, body) = split(&text);
            prop_assert!(text.ends_with(body));
            prop_assert!(fields.iter().all(|(key, value)| !key.is_empty() && !key.contains('\n') && !value.contains('\n')));
        }
    }
}
