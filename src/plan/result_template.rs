//! Placeholders `{{result:NAME}}` in messages: parsing and substitution. They are parsed once, in the text of the
//! config; inserted results are never parsed again.
//!
//! Pure: the instances and their results are passed in as arguments.

use std::ops::Range;

use crate::base::suggest::closest_match;
use crate::base::text::quote_input;

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

/// Parses the placeholders of a message. `find` looks up an instance by its name.
///
/// # Errors
/// Returns the errors in all placeholders.
pub fn parse(text: &str, mut find: impl FnMut(&str) -> Result<usize, String>) -> Result<Vec<Placeholder>, Vec<String>> {
    let (mut insertions, mut wrong) = (Vec::new(), Vec::new());
    let end_of_command = end_of_command_name(text);
    let mut from = 0;
    while let Some(start) = text[from..].find("{{").map(|at| from + at) {
        from = start + 1;
        let Some(head) = head(&text[start..]) else {
            if let Some((misspelled, name)) = misspelled(&text[start..], &mut find) {
                from = start + misspelled.len();
                wrong.push(format!("'{}' must be written {OPEN}{name}{CLOSE}", quote_input(misspelled)));
            }
            continue;
        };
        let name_start = start + head.len();
        let line = name_candidate(&text[name_start..]);
        let Some(name) = line.find(CLOSE).map(|end| &line[..end]) else {
            wrong.push(format!("'{}' has no '{CLOSE}' behind it", quote_input(&text[start..name_start + line.len()])));
            continue;
        };
        let at = start..name_start + name.len() + CLOSE.len();
        let whole = quote_input(&text[at.clone()]);
        from = at.end;
        if head != OPEN {
            wrong.push(format!("'{whole}' must be written {OPEN}{}{CLOSE}", quote_input(name.trim())));
        } else if name.trim().is_empty() {
            wrong.push(format!("'{whole}' names no instance"));
        } else if start < end_of_command {
            wrong.push(format!("'{whole}' stands in the name of the command, which is the config's own to say"));
        } else {
            match find(name) {
                Ok(of) => insertions.push(Placeholder { range: at, instance: of }),
                Err(what) => wrong.push(format!("'{whole}': {what}")),
            }
        }
    }
    if wrong.is_empty() { Ok(insertions) } else { Err(wrong) }
}

/// Returns the beginning of a placeholder, up to its colon, in any spelling.
fn head(text: &str) -> Option<&str> {
    let inner = text[2..].trim_start_matches(' ');
    let word = inner.get(..6).filter(|word| word.eq_ignore_ascii_case("result"))?;
    let behind = inner[word.len()..].trim_start_matches(' ').strip_prefix(':')?;
    Some(&text[..text.len() - behind.len()])
}

/// Returns a probable misspelling of a placeholder, such as `{{results:a}}`, `{{result}}` or `{{result a}}`, and the
/// name in it. Other templates are plain text: `{{ name }}`, `{{ result.total }}`.
fn misspelled<'a>(text: &'a str, find: &mut impl FnMut(&str) -> Result<usize, String>) -> Option<(&'a str, String)> {
    let line = name_candidate(text);
    let end = line.find(CLOSE)?;
    let inner = line[2..end].trim();
    let word_end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(inner.len());
    let (word, rest) = inner.split_at(word_end);
    let rest = rest.trim_start();
    if closest_match(word, ["result", "results"]).is_none_or(|near| near.len().abs_diff(word.len()) > 2) {
        return None;
    }
    let name = rest.trim_start_matches([':', '=', '.', '(', ' ']).trim_end_matches(')').trim();
    let is_meant = rest.is_empty() || rest.starts_with(':') || (!name.is_empty() && find(name).is_ok());
    let name = if name.is_empty() { "NAME".to_owned() } else { quote_input(name) };
    is_meant.then(|| (&text[..end + CLOSE.len()], name))
}

/// Returns the part of a text that can be a name: the rest of its line, within a bound.
fn name_candidate(text: &str) -> &str {
    const MAX_NAME_BYTES: usize = 4096;
    let end = (0..=text.len().min(MAX_NAME_BYTES)).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].lines().next().unwrap_or("")
}

/// Returns the end of the command name in a text; 0 if it invokes no command.
fn end_of_command_name(text: &str) -> usize {
    let called = text.trim_start();
    let name = called.split(char::is_whitespace).next().filter(|name| name.starts_with('/'));
    name.map_or(0, |name| text.len() - called.len() + name.len())
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
pub fn filled<'a>(text: &str, insertions: &[Placeholder], told: impl Fn(usize) -> (&'a str, &'a str)) -> String {
    let target = if calls_a_command(text) { Target::Arguments } else { Target::Prompt };
    let mut filled = String::with_capacity(text.len());
    let mut from = 0;
    for Placeholder { range: at, instance: of } in insertions {
        filled += &text[from..at.start];
        from = at.end;
        let (_, result) = told(*of);
        let kept = beginning(result);
        push_inert(&mut filled, kept, target);
        if kept.len() < result.len() {
            filled += &format!("\n[{} bytes more, left out]", result.len() - kept.len());
        }
        // The text of the config follows: the two must not form a reference or a shell block.
        if let Some(next) = text[at.end..].chars().next().filter(|_| !result.is_empty()) {
            separate(&mut filled, next, target);
        }
    }
    filled += &text[from..];
    match insertions.first() {
        Some(first) if calls_a_command(&filled) && !calls_a_command(text) => {
            format!("Result of {}:\n{filled}", told(first.instance).0)
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
    before.is_none_or(|before| !before.is_ascii_alphanumeric() && !matches!(before, '_' | '.' | '-' | '+'))
}

/// Truncates a result to the bound, at a character boundary.
fn beginning(result: &str) -> &str {
    if result.len() <= MAX_RESULT_BYTES {
        return result;
    }
    let end = (0..=MAX_RESULT_BYTES).rev().find(|&end| result.is_char_boundary(end));
    &result[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 3] = ["a", "b c", "}"];

    fn find(name: &str) -> Result<usize, String> {
        NAMES.iter().position(|known| *known == name).ok_or_else(|| "not known".to_owned())
    }

    fn fill(text: &str, results: [&str; 3]) -> String {
        let insertions = parse(text, find).expect(text);
        filled(text, &insertions, |of| (NAMES[of], results[of]))
    }

    #[test]
    fn a_result_comes_into_its_place() {
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

    #[test]
    fn what_is_wrong_is_told_all_at_once() {
        let wrong =
            parse("{{result:}} {{result:c}} {{ Result : a}} {{result: }} {{{result:a}} {{result:a\n}}", |name| {
                find(name)
            });
        assert_eq!(
            wrong.expect_err("mistakes"),
            [
                "'{{result:}}' names no instance",
                "'{{result:c}}': not known",
                "'{{ Result : a}}' must be written {{result:a}}",
                "'{{result: }}' names no instance",
                "'{{result:a' has no '}}' behind it",
            ]
        );
    }

    #[test]
    fn misspelled_placeholders_are_mistakes_with_the_right_spelling() {
        for (text, expected) in [
            ("x {{results:a}}", "'{{results:a}}' must be written {{result:a}}"),
            ("{{ results: b c }}", "'{{ results: b c }}' must be written {{result:b c}}"),
            ("{{reslut:a}}", "'{{reslut:a}}' must be written {{result:a}}"),
            ("{{result}}", "'{{result}}' must be written {{result:NAME}}"),
            ("{{ Results }}", "'{{ Results }}' must be written {{result:NAME}}"),
            ("{{result a}}", "'{{result a}}' must be written {{result:a}}"),
            ("{{result.a}}", "'{{result.a}}' must be written {{result:a}}"),
            ("{{ result:a }}", "'{{ result:a }}' must be written {{result:a}}"),
        ] {
            assert_eq!(parse(text, find), Err(vec![expected.to_owned()]), "{text}");
        }
    }

    #[test]
    fn no_result_names_a_command() {
        for text in ["/{{result:a}}", "/review-{{result:a}} x", " /{{result:a}}"] {
            let wrong = parse(text, find).expect_err(text);
            assert!(wrong[0].contains("stands in the name of the command"), "{wrong:?}");
        }
        assert_eq!(fill("{{result:a}} x", ["/compact", "", ""]), "Result of a:\n/compact x");
        assert_eq!(fill("\n{{result:b c}}{{result:a}}", [" /compact", "", ""]), "Result of b c:\n\n /compact");
        assert_eq!(fill("{{result:a}}compact", ["/", "", ""]), "Result of a:\n/compact");
        assert_eq!(fill("{{result:a}}/compact", ["", "", ""]), "Result of a:\n/compact");
        assert_eq!(fill("Do {{result:a}}", ["/compact", "", ""]), "Do /compact");
    }

    #[test]
    fn no_result_runs_anything_in_the_arguments_of_a_command() {
        assert_eq!(fill("/x {{result:a}}", ["see !`date`", "", ""]), "/x see ! `date`");
        assert_eq!(fill("/x {{result:a}}", ["```!\ndate\n```", "", ""]), "/x ``` !\ndate\n```");
        assert_eq!(fill("/x {{result:a}}{{result:b c}}", ["!", "`date`", ""]), "/x ! `date`");
        assert_eq!(fill("/x !{{result:a}}", ["`date`", "", ""]), "/x ! `date`");
        assert_eq!(fill("/x {{result:a}}`date`", ["!", "", ""]), "/x ! `date`");
        assert_eq!(fill("/x !`date` {{result:a}}", ["y", "", ""]), "/x !`date` y", "the author's own stays");
        assert_eq!(fill("See {{result:a}}", ["!`date`", "", ""]), "See !`date`", "text is text");
    }

    #[test]
    fn at_sign_of_result_refers_to_no_file() {
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
    fn a_long_result_is_cut_in_whole_characters_and_says_so() {
        let long = "é".repeat(MAX_RESULT_BYTES);
        let filled = fill("{{result:a}}.", [&long, "", ""]);
        assert!(filled.ends_with(&format!("é\n[{MAX_RESULT_BYTES} bytes more, left out].")), "{}", filled.len());
        let whole = "x".repeat(MAX_RESULT_BYTES);
        assert_eq!(fill("{{result:a}}", [&whole, "", ""]), whole);
    }

    proptest! {
        #[test]
        fn what_was_said_is_never_a_template_or_a_command(text in "[/ {}\\n:a-c]{0,12}", result in "\\PC{0,9}") {
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
