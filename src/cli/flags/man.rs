//! Manual page `zen.1`, in roff, generated from the template `man.txt` and from the tables of flags, fields, exit codes
//! and environment variables.
//!
//! The template has sections (`# TITLE`) of blocks separated by empty lines: paragraphs, items (`- TERM`, then indented
//! text), examples (indented by four spaces) and names of generated blocks in braces. Text between backticks is printed
//! in bold. The page is checked in as `man/zen.1`, and a test compares the two.

use super::help::wrapped;
use super::{ENVIRONMENT, Flag, Section};
use crate::config::{self, Field};
use crate::engine::exit_code;

/// Date of the last change of the text.
const DATE: &str = "2026-11-25";

const TEMPLATE: &str = include_str!("man.txt");

const SYNOPSIS: &str =
    "\\fBzen \\-\\-config\\fR \\fIFILE\\fR [\\fIOPTION\\fR]...\n.br\n\\fBzen\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR\n";

/// Returns the manual page `zen(1)` in roff.
#[must_use]
pub fn man() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH ZEN 1 {DATE} \"zen {version}\" \"User Commands\"\n");
    let mut is_first = true;
    for block in TEMPLATE.trim_end().split("\n\n") {
        if let Some(title) = block.strip_prefix("# ") {
            page += &format!(".SH {title}\n");
            is_first = true;
            continue;
        }
        page += &match block.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => generated(name),
            None => text_block(block, is_first),
        };
        is_first = false;
    }
    page
}

/// Returns a generated block of the template.
fn generated(name: &str) -> String {
    match name {
        "synopsis" => SYNOPSIS.to_owned(),
        "options" => options(),
        "instance fields" => fields(config::instance_fields()),
        "budget fields" => fields(config::budget_fields()),
        "exit codes" => items(exit_code::TABLE),
        "environment" => items(ENVIRONMENT),
        _ => String::new(),
    }
}

/// Formats an item, an example or a paragraph of the template. `is_first` is true for the first block of a section.
fn text_block(block: &str, is_first: bool) -> String {
    if block.starts_with("    ") {
        return example(block);
    }
    if let Some(item) = block.strip_prefix("- ") {
        let (term, text) = item.split_once('\n').unwrap_or((item, ""));
        return items(&[(term, &joined(text))]);
    }
    let text = roff(&joined(block));
    if is_first { text } else { format!(".PP\n{text}") }
}

/// Joins the lines of a block by spaces.
fn joined(block: &str) -> String {
    block.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn fields(fields: impl Iterator<Item = &'static Field>) -> String {
    let mut text = String::new();
    for field in fields {
        text += &items(&[(field.name, field.about)]);
    }
    text
}

fn options() -> String {
    let mut body = String::new();
    for section in Section::ALL {
        body += &format!(".SS {}\n", section.title());
        for flag in section.flags() {
            body += &item(&synopsis(flag), &description(flag));
        }
    }
    body
}

fn items(table: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (term, text) in table {
        body += &item(&format!("\\fB{}\\fR", escaped(term)), text);
    }
    body
}

/// Formats a tagged paragraph. `term` is already in roff, `text` is not.
fn item(term: &str, text: &str) -> String {
    format!(".TP\n{term}\n{}", roff(text))
}

/// Formats an example with its lines indented by four spaces.
fn example(block: &str) -> String {
    let mut lines = String::new();
    for line in block.lines() {
        lines += &text_line(&escaped(line.strip_prefix("    ").unwrap_or(line)));
    }
    format!(".PP\n.RS 4\n.EX\n{lines}.EE\n.RE\n")
}

fn synopsis(flag: &Flag) -> String {
    let mut synopsis = match flag.short {
        Some(letter) => format!("\\fB\\-{letter}\\fR, "),
        None => String::new(),
    };
    synopsis += &format!("\\fB\\-\\-{}\\fR", escaped(flag.long));
    if let Some(name) = flag.value_name() {
        synopsis += &format!(" \\fI{name}\\fR");
    }
    synopsis
}

fn description(flag: &Flag) -> String {
    match flag.default() {
        Some(default) => format!("{} Default: `{default}`", flag.details),
        None => flag.details.to_owned(),
    }
}

/// Formats text in roff, with each sentence on lines of its own and text between backticks in bold.
fn roff(text: &str) -> String {
    let mut lines = String::new();
    for sentence in sentences(text) {
        lines.extend(wrapped(&emphasized(sentence.trim_end()), 0).lines().map(text_line));
    }
    lines
}

/// Splits text into sentences. A full stop between backticks does not end a sentence.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    for part in text.split_inclusive(". ") {
        match sentences.last_mut() {
            Some(open) if open.matches('`').count() % 2 == 1 => open.push_str(part),
            _ => sentences.push(part.to_owned()),
        }
    }
    sentences
}

fn emphasized(text: &str) -> String {
    let mut emphasized = String::new();
    for (i, part) in text.split('`').enumerate() {
        let is_bold = i % 2 == 1;
        emphasized += &if is_bold { format!("\\fB{}\\fR", escaped(part)) } else { escaped(part) };
    }
    emphasized
}

/// Formats a text line. A leading dot is escaped, so that the line is not a roff request.
fn text_line(line: &str) -> String {
    if line.starts_with('.') { format!("\\&{line}\n") } else { format!("{line}\n") }
}

/// Escapes backslashes, and the characters that roff would print as typographic ones, such as dashes and apostrophes.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' => escaped += "\\e",
            '-' => escaped += "\\-",
            '~' => escaped += "\\(ti",
            '^' => escaped += "\\(ha",
            '\'' => escaped += "\\(aq",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::FLAGS;
    use super::*;

    #[test]
    fn man_page_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/zen.1");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path, man()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), man(), "run the tests with UPDATE_EXPECTED=1");
    }

    #[test]
    fn each_generated_block_has_text() {
        for block in TEMPLATE.split("\n\n") {
            if let Some(name) = block.strip_prefix('{') {
                assert_ne!(generated(name.trim_end().trim_end_matches('}')), "", "{block}");
            }
        }
    }

    #[test]
    fn full_stop_in_code_ends_no_sentence() {
        assert_eq!(
            roff("A reader (`zen ... | head`) goes. It stops."),
            "A reader (\\fBzen ... | head\\fR) goes.\nIt stops.\n"
        );
    }

    #[test]
    fn each_flag_has_an_item() {
        let page = man();
        for flag in FLAGS {
            assert_eq!(page.matches(&format!(".TP\n{}\n", synopsis(flag))).count(), 1, "--{}", flag.long);
        }
    }

    #[test]
    fn exit_codes_and_variables_have_items() {
        let page = man();
        for (name, _) in exit_code::TABLE.iter().chain(ENVIRONMENT) {
            assert!(page.contains(&format!(".TP\n\\fB{}\\fR\n", escaped(name))), "{name}");
        }
    }

    #[test]
    fn backticks_are_paired() {
        assert!(!man().contains('`'));
        for flag in FLAGS {
            assert!(flag.details.matches('`').count().is_multiple_of(2), "--{}", flag.long);
        }
    }

    #[test]
    fn text_is_never_a_request_or_an_escape() {
        assert_eq!(roff(".SH"), "\\&.SH\n");
        assert_eq!(roff("'a"), "\\(aqa\n");
        assert_eq!(example(".a\n\\b"), ".PP\n.RS 4\n.EX\n\\&.a\n\\eb\n.EE\n.RE\n");
    }

    #[test]
    fn each_sentence_begins_a_line() {
        assert_eq!(roff("Give `--grace`. Then wait."), "Give \\fB\\-\\-grace\\fR.\nThen wait.\n");
        assert!(man().lines().all(|line| line.is_ascii() && line.len() <= 80));
    }
}
