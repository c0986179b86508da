//! Placeholders `{{result:NAME}}` in messages: parsing and substitution. They are parsed once, in the text of the
//! config; inserted results are never parsed again.
//!
//! Pure: the instances and their results are passed in as arguments.

use std::fmt;
use std::ops::Range;

use crate::base::suggest::closest_match;
use crate::base::text::{floor_char_boundary, quote_input};
use crate::plan::problem::ReferenceError;

/// Bound on an inserted result; longer ones are truncated. A model's context holds about this much beside the work
/// itself.
pub const MAX_RESULT_BYTES: usize = 100_000;

const OPEN: &str = "{{result:";
const CLOSE: &str = "}}";

/// Placeholder in a message, for the result of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// Byte range of the placeholder in the message.
    pub range: Range<usize>,
    /// Index of the instance.
    pub instance: usize,
}

/// Placeholder that cannot be replaced. `text` is the placeholder, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceholderError {
    /// Another spelling.
    Misspelled {
        /// Text in the message.
        text: String,
        /// Name of the instance, as written.
        name: String,
    },
    /// No closing braces.
    Unclosed {
        /// Text in the message.
        text: String,
    },
    /// No name.
    Unnamed {
        /// Text in the message.
        text: String,
    },
    /// A placeholder in the name of a slash command.
    InCommandName {
        /// Text in the message.
        text: String,
    },
    /// A name that the instance cannot refer to.
    Reference {
        /// Text in the message.
        text: String,
        /// The error in the name.
        error: ReferenceError,
    },
}

impl fmt::Display for PlaceholderError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            PlaceholderError::Misspelled { text, name } => {
                write!(f, "'{}' must be written {OPEN}{}{CLOSE}", quote_input(text), quote_input(name))
            }
            PlaceholderError::Unclosed { text } => write!(f, "'{}' has no closing '{CLOSE}'", quote_input(text)),
            PlaceholderError::Unnamed { text } => write!(f, "'{}' names no instance", quote_input(text)),
            PlaceholderError::InCommandName { text } => {
                write!(f, "'{}' must not be part of the command's name", quote_input(text))
            }
            PlaceholderError::Reference { text, error } => write!(f, "'{}': {error}", quote_input(text)),
        }
    }
}

/// Parses the placeholders of a message. `find` looks up an instance by its name.
///
/// # Errors
/// Returns the errors in all placeholders.
pub fn parse(
    text: &str,
    mut find: impl FnMut(&str) -> Result<usize, ReferenceError>,
) -> Result<Vec<Placeholder>, Vec<PlaceholderError>> {
    let (mut placeholders, mut errors) = (Vec::new(), Vec::new());
    let end_of_command = end_of_command_name(text);
    let mut from = 0;
    while let Some(at) = text[from..].find("{{") {
        let start = from + at;
        from = start + 1;
        let Some(head) = head(&text[start..]) else {
            if let Some((misspelled, name)) = misspelled(&text[start..], &mut find) {
                from = start + misspelled.len();
                errors.push(PlaceholderError::Misspelled { text: misspelled.to_owned(), name: name.to_owned() });
            }
            continue;
        };
        let name_start = start + head.len();
        let line = name_candidate(&text[name_start..]);
        let Some((name, _)) = line.split_once(CLOSE) else {
            errors.push(PlaceholderError::Unclosed { text: text[start..name_start + line.len()].to_owned() });
            continue;
        };
        let range = start..name_start + name.len() + CLOSE.len();
        let text = text[range.clone()].to_owned();
        from = range.end;
        if head != OPEN {
            errors.push(PlaceholderError::Misspelled { text, name: name.trim().to_owned() });
        } else if name.trim().is_empty() {
            errors.push(PlaceholderError::Unnamed { text });
        } else if start < end_of_command {
            errors.push(PlaceholderError::InCommandName { text });
        } else {
            match find(name) {
                Ok(instance) => placeholders.push(Placeholder { range, instance }),
                Err(error) => errors.push(PlaceholderError::Reference { text, error }),
            }
        }
    }
    if errors.is_empty() { Ok(placeholders) } else { Err(errors) }
}

/// Returns the beginning of a placeholder, up to its colon, in any spelling.
fn head(text: &str) -> Option<&str> {
    let inner = text[2..].trim_start_matches(' ');
    let word = inner.get(..6)?;
    if !word.eq_ignore_ascii_case("result") {
        return None;
    }
    let behind = inner[word.len()..].trim_start_matches(' ').strip_prefix(':')?;
    Some(&text[..text.len() - behind.len()])
}

/// Returns a probable misspelling of a placeholder, such as `{{results:a}}`, `{{result}}` or `{{result a}}`, and the
/// name in it. Other templates are plain text: `{{ name }}`, `{{ result.total }}`.
fn misspelled<'a>(
    text: &'a str,
    find: &mut impl FnMut(&str) -> Result<usize, ReferenceError>,
) -> Option<(&'a str, &'a str)> {
    let line = name_candidate(text);
    let end = line.find(CLOSE)?;
    let inner = line[2..end].trim();
    let word_end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(inner.len());
    let (word, rest) = inner.split_at(word_end);
    let rest = rest.trim_start();
    let similar = closest_match(word, ["result", "results"])?;
    if similar.len().abs_diff(word.len()) > 2 {
        return None;
    }
    let name = rest.trim_start_matches([':', '=', '.', '(', ' ']).trim_end_matches(')').trim();
    let is_placeholder = rest.is_empty() || rest.starts_with(':') || (!name.is_empty() && find(name).is_ok());
    if !is_placeholder {
        return None;
    }
    Some((&text[..end + CLOSE.len()], if name.is_empty() { "NAME" } else { name }))
}

/// Returns the part of a text that can be a name: the rest of its line, within a bound.
fn name_candidate(text: &str) -> &str {
    const MAX_NAME_BYTES: usize = 4096;
    text[..floor_char_boundary(text, MAX_NAME_BYTES)].lines().next().unwrap_or("")
}

/// Returns the end of the command name in a text; 0 if it invokes no command.
fn end_of_command_name(text: &str) -> usize {
    let called = text.trim_start();
    match called.split(char::is_whitespace).next() {
        Some(name) if name.starts_with('/') => text.len() - called.len() + name.len(),
        _ => 0,
    }
}

/// Substitutes the results in a message. The callback returns an instance's name and its result, which may be empty.
///
/// Text from one instance must not control another:
///
/// - A prompt stays a prompt. If it would begin with a slash, the name of the instance precedes it.
/// - claude replaces `@path` by the content of the file, without a tool or a permission, and 1.0 and 2.0 treat
///   `@agent-NAME` as an instruction: a space follows an `@` of a result wherever it could begin such a reference.
/// - 1.0 and 2.0 run !`...` in the arguments of a command: a space separates the two characters.
#[must_use]
pub fn filled<'a>(text: &str, placeholders: &[Placeholder], result_of: impl Fn(usize) -> (&'a str, &'a str)) -> String {
    let target = if calls_a_command(text) { Target::Arguments } else { Target::Prompt };
    let mut filled = String::with_capacity(text.len());
    let mut from = 0;
    for Placeholder { range, instance } in placeholders {
        filled += &text[from..range.start];
        from = range.end;
        let (_, result) = result_of(*instance);
        let kept = beginning(result);
        push_inert(&mut filled, kept, target);
        if kept.len() < result.len() {
            filled += &format!("\n[{} bytes more, left out]", result.len() - kept.len());
        }
        // The text of the config follows: the two must not form a reference or a shell block.
        if let Some(next) = text[range.end..].chars().next()
            && !result.is_empty()
        {
            separate(&mut filled, next, target);
        }
    }
    filled += &text[from..];
    match placeholders.first() {
        Some(first) if calls_a_command(&filled) && !calls_a_command(text) => {
            format!("Result of {}:\n{filled}", result_of(first.instance).0)
        }
        _ => filled,
    }
}

fn calls_a_command(text: &str) -> bool {
    text.trim_start().starts_with('/')
}

/// The part of a message that a result is inserted into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Prompt,
    Arguments,
}

/// Appends a result, with a space between any two characters that would have an effect on claude.
fn push_inert(filled: &mut String, result: &str, target: Target) {
    for next in result.chars() {
        separate(filled, next, target);
        filled.push(next);
    }
}

/// Appends a space if the next character would have an effect together with the text before it.
fn separate(filled: &mut String, next: char, target: Target) {
    let mut before = filled.chars().rev();
    let (last, second_last) = (before.next(), before.next());
    let is_effective = match (last, next) {
        (Some('!'), '`') | (Some('`'), '!') => target == Target::Arguments,
        (Some('@'), next) => !matches!(next, ' ' | '\n' | '\t' | '\r') && begins_a_reference(second_last),
        _ => false,
    };
    if is_effective {
        filled.push(' ');
    }
}

/// Returns true if an `@` after this character may begin a reference to a file or an agent.
///
/// Measured: at the start, after white space (in JavaScript that includes U+FEFF), and on 2.1.332 after U+3001, U+3002,
/// U+FF01 and U+FF1F. claude splits the arguments of a command at quotes and backslashes too. The list differs by
/// generation, so that only what can end the local part of an e-mail address is excluded.
fn begins_a_reference(before: Option<char>) -> bool {
    let Some(before) = before else { return true };
    !before.is_ascii_alphanumeric() && !matches!(before, '_' | '.' | '-' | '+')
}

/// Truncates a result to the bound, at a character boundary.
fn beginning(result: &str) -> &str {
    &result[..floor_char_boundary(result, MAX_RESULT_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 3] = ["a", "b c", "}"];

    fn find(name: &str) -> Result<usize, ReferenceError> {
        NAMES.iter().position(|known| *known == name).ok_or(ReferenceError::Itself)
    }

    fn fill(text: &str, results: [&str; 3]) -> String {
        let insertions = parse(text, find).expect(text);
        filled(text, &insertions, |of| (NAMES[of], results[of]))
    }

    #[test]
    fn result_replaces_its_placeholder() {
        assert_eq!(fill("x {{result:a}} y {{result:b c}}{{result:a}}", ["1", "2", ""]), "x 1 y 21");
        assert_eq!(fill("/review {{result:a}}", ["/compact", "", ""]), "/review /compact");
        assert_eq!(fill("{{result:a}}", ["", "", ""]), "");
        for text in
            ["{{ name }}", "{{ result.total }}", "{{", "{{é", "{{{", "{{resulé:", "${{ x.y }}", "{{re}}", "{{ res }}"]
        {
            assert_eq!(parse(text, find), Ok(Vec::new()), "{text}");
            assert_eq!(fill(text, ["1", "2", "3"]), text);
        }
    }

    fn misspelled(text: &str, name: &str) -> PlaceholderError {
        PlaceholderError::Misspelled { text: text.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn all_errors_are_returned_at_once() {
        let text = "{{result:}} {{result:c}} {{ Result : a}} {{result: }} {{{result:a}} {{result:a\n}}";
        let owned = str::to_owned;
        assert_eq!(
            parse(text, find).expect_err("errors"),
            [
                PlaceholderError::Unnamed { text: owned("{{result:}}") },
                PlaceholderError::Reference { text: owned("{{result:c}}"), error: ReferenceError::Itself },
                misspelled("{{ Result : a}}", "a"),
                PlaceholderError::Unnamed { text: owned("{{result: }}") },
                PlaceholderError::Unclosed { text: owned("{{result:a") },
            ]
        );
    }

    #[test]
    fn misspelled_placeholder_is_an_error_with_the_right_spelling() {
        for (text, expected, name) in [
            ("x {{results:a}}", "{{results:a}}", "a"),
            ("{{ results: b c }}", "{{ results: b c }}", "b c"),
            ("{{reslut:a}}", "{{reslut:a}}", "a"),
            ("{{result}}", "{{result}}", "NAME"),
            ("{{ Results }}", "{{ Results }}", "NAME"),
            ("{{result a}}", "{{result a}}", "a"),
            ("{{result.a}}", "{{result.a}}", "a"),
            ("{{ result:a }}", "{{ result:a }}", "a"),
        ] {
            assert_eq!(parse(text, find), Err(vec![misspelled(expected, name)]), "{text}");
        }
    }

    #[test]
    fn result_never_becomes_a_command() {
        for text in ["/{{result:a}}", "/review-{{result:a}} x", " /{{result:a}}"] {
            let errors = parse(text, find).expect_err(text);
            assert!(matches!(errors[0], PlaceholderError::InCommandName { .. }), "{errors:?}");
        }
        assert_eq!(fill("{{result:a}} x", ["/compact", "", ""]), "Result of a:\n/compact x");
        assert_eq!(fill("\n{{result:b c}}{{result:a}}", [" /compact", "", ""]), "Result of b c:\n\n /compact");
        assert_eq!(fill("{{result:a}}compact", ["/", "", ""]), "Result of a:\n/compact");
        assert_eq!(fill("{{result:a}}/compact", ["", "", ""]), "Result of a:\n/compact");
        assert_eq!(fill("Do {{result:a}}", ["/compact", "", ""]), "Do /compact");
    }

    #[test]
    fn result_in_arguments_runs_no_shell_block() {
        assert_eq!(fill("/x {{result:a}}", ["see !`date`", "", ""]), "/x see ! `date`");
        assert_eq!(fill("/x {{result:a}}", ["```!\ndate\n```", "", ""]), "/x ``` !\ndate\n```");
        assert_eq!(fill("/x {{result:a}}{{result:b c}}", ["!", "`date`", ""]), "/x ! `date`");
        assert_eq!(fill("/x !{{result:a}}", ["`date`", "", ""]), "/x ! `date`");
        assert_eq!(fill("/x {{result:a}}`date`", ["!", "", ""]), "/x ! `date`");
        assert_eq!(fill("/x !`date` {{result:a}}", ["y", "", ""]), "/x !`date` y", "the author's own stays");
        assert_eq!(fill("See {{result:a}}", ["!`date`", "", ""]), "See !`date`", "text is text");
    }

    #[test]
    fn at_sign_of_a_result_names_no_file() {
        for (text, result, expected) in [
            ("See {{result:a}}", "@/etc/passwd", "See @ /etc/passwd"),
            ("{{result:a}}", "@/etc/passwd", "@ /etc/passwd"),
            ("See {{result:a}}", "x @\"/a b\"", "See x @ \"/a b\""),
            ("See {{result:a}}", "x\n@agent-b y", "See x\n@ agent-b y"),
            ("See {{result:a}}", "x\u{feff}@/y", "See x\u{feff}@ /y"),
            ("See {{result:a}}", "me@example.org (@x)", "See me@example.org (@ x)"),
            ("See {{result:a}}", "x\u{3002}@/y\u{3001}@/y", "See x\u{3002}@ /y\u{3001}@ /y"),
            ("See {{result:a}}", "x\u{ff1f}@/y\u{ff01}@/y", "See x\u{ff1f}@ /y\u{ff01}@ /y"),
            ("See @{{result:a}}", "/etc/passwd", "See @ /etc/passwd"),
            ("See {{result:a}}/etc/passwd", "@", "See @ /etc/passwd"),
            ("See {{result:a}}{{result:b c}}", "@", "See @ second"),
            ("See @notes.md {{result:a}}", "x", "See @notes.md x"),
            ("See @{{result:a}}notes.md", "", "See @notes.md"),
            ("/x {{result:a}}", "@/etc/passwd", "/x @ /etc/passwd"),
            ("/x {{result:a}}", "\"@/etc/passwd\" \\@/y a@b.c", "/x \"@ /etc/passwd\" \\@ /y a@b.c"),
            ("/x \"{{result:a}}\"", "@/etc/passwd", "/x \"@ /etc/passwd\""),
        ] {
            assert_eq!(fill(text, [result, "second", ""]), expected, "{text:?} {result:?}");
        }
    }

    #[test]
    fn long_result_is_truncated_with_a_note() {
        let long = "é".repeat(MAX_RESULT_BYTES);
        let filled = fill("{{result:a}}.", [&long, "", ""]);
        assert!(filled.ends_with(&format!("é\n[{MAX_RESULT_BYTES} bytes more, left out].")), "{}", filled.len());
        let whole = "x".repeat(MAX_RESULT_BYTES);
        assert_eq!(fill("{{result:a}}", [&whole, "", ""]), whole);
    }

    proptest! {
        #[test]
        fn result_is_never_a_template_or_a_command(text in "[/ {}\\n:a-c]{0,12}", result in "\\PC{0,9}") {
            for result in [result.as_str(), "{{result:b c}}", "/compact", "}}"] {
                let whole = format!("{text}{{{{result:a}}}}{text}");
                let Ok(found) = parse(&whole, find) else { continue };
                let filled = filled(&whole, &found, |of| (NAMES[of], if of == 0 { result } else { "SECOND" }));
                let without_spaces = |text: &str| text.replace(' ', "");
                prop_assert!(without_spaces(&filled).contains(&without_spaces(result)), "{filled}");
                prop_assert!(!filled.contains("SECOND"), "{filled}");
                let is_command = filled.trim_start().starts_with('/');
                prop_assert!(!is_command || text.trim_start().starts_with('/'), "{filled}");
            }
        }

        /// Checks with the delimiters of claude 2.1.332, which are JavaScript's `\s` and four of Chinese and Japanese.
        #[test]
        fn result_forms_no_reference_and_no_shell_block(
            before in "(/x )?[a@!`\" \\n]{0,3}",
            result in "[ab@!`\"'/\\\\ \\n\\t\u{a0}\u{feff}\u{2028}\u{3001}\u{3002}\u{ff01}\u{ff1f}$]{0,12}",
            after in "[a@!`/\" ]{0,3}",
        ) {
            let text = format!("{before}{{{{result:a}}}}{after}");
            let Ok(found) = parse(&text, find) else { return Ok(()) };
            let filled = filled(&text, &found, |_| ("a", result.as_str()));
            let is_space = |c: char| c.is_whitespace() || c == '\u{feff}';
            let is_delimiter = |c: char| is_space(c) || ['\u{3001}', '\u{3002}', '\u{ff01}', '\u{ff1f}'].contains(&c);
            let references = |text: &str| -> usize {
                let chars: Vec<char> = text.chars().collect();
                let is_reference = |&i: &usize| {
                    chars[i] == '@'
                        && (i == 0 || is_delimiter(chars[i - 1]))
                        && chars.get(i + 1).is_some_and(|&next| !is_space(next))
                };
                (0..chars.len()).filter(is_reference).count()
            };
            // At most as many as the config's own text has before and after the result.
            let joined = format!("{before}{after}");
            let own = |count: &dyn Fn(&str) -> usize| match result.as_str() {
                "" => count(&joined),
                _ => count(&before) + count(&after),
            };
            prop_assert!(references(&filled) <= own(&references), "{filled:?}");
            if before.starts_with('/') {
                let blocks = |text: &str| text.matches("!`").count() + text.matches("`!").count();
                prop_assert_eq!(blocks(&filled), own(&blocks), "{:?}", filled);
            }
        }

        #[test]
        fn no_text_panics(text in "(\\{\\{| |result|:|\\}\\}|/|é|\\n){0,12}") {
            if let Ok(found) = parse(&text, find) {
                let _ = filled(&text, &found, |of| (NAMES[of], "/x"));
            }
        }
    }
}
