//! Formats slash commands: one line each, or one in full. Foreign text is sanitized, so that it can neither move the
//! cursor nor break a line.

use super::{Command, CommandCatalog, Origin};
use crate::base::text::{end_of_chars, pad, sanitize_line, truncate, width};

/// Maximum width of the name column. A longer name shifts only its own line.
const MAX_NAME_COLUMNS: usize = 32;

/// Maximum length of a text; longer than any real description.
const MAX_CHARS: usize = 4_000;

const MAX_PREVIEW_LINES: usize = 20;
const MAX_INDENT_COLUMNS: usize = 24;

/// Formats one line for each command: name, source, description. Truncates lines to the columns of the screen, if
/// given.
#[must_use]
pub fn list(catalogue: &CommandCatalog, columns: Option<usize>) -> String {
    let rows: Vec<[String; 3]> = catalogue.commands().iter().map(row).collect();
    let (mut name_columns, mut origin_columns) = (0, 0);
    for [name, origin, _] in &rows {
        name_columns = name_columns.max(width(name));
        origin_columns = origin_columns.max(width(origin));
    }
    name_columns = name_columns.min(MAX_NAME_COLUMNS);
    let mut text = String::new();
    for [name, origin, description] in &rows {
        let line = format!("{}  {}  {description}", pad(name, name_columns), pad(origin, origin_columns));
        text += &fitted(&line, columns);
    }
    text
}

fn row(command: &Command) -> [String; 3] {
    [format!("/{}", shown(&command.name)), shown(&origin(&command.origin)), shown(&command.description)]
}

/// Formats a command in full: source, front matter, and the beginning of the body.
#[must_use]
pub fn inspection(command: &Command, columns: Option<usize>) -> String {
    let facts = facts(command);
    let key_columns = facts.iter().map(|(key, _)| width(key)).max().unwrap_or(0).min(MAX_NAME_COLUMNS);
    let mut text = fitted(&format!("/{}", shown(&command.name)), columns);
    for (key, value) in &facts {
        text += &fitted(&format!("  {}  {value}", pad(key, key_columns)), columns);
    }
    if let Some(file) = command.files.first() {
        text.push('\n');
        text += &match &file.text {
            Ok(_) => preview(file.parts().1, columns),
            Err(error) => fitted(&format!("  (cannot be read: {})", shown(error)), columns),
        };
    }
    text
}

/// Returns the properties of a command, sanitized: source, files, description, and further fields of its front matter.
fn facts(command: &Command) -> Vec<(String, String)> {
    let mut facts = vec![("from".to_owned(), origin(&command.origin))];
    for (i, file) in command.files.iter().enumerate() {
        let key = if i == 0 { "file" } else { "instead of" };
        facts.push((key.to_owned(), file.path.to_string_lossy().into_owned()));
    }
    let front_matter = command.files.first().map(|file| file.parts().0).unwrap_or_default();
    let aliases: Vec<String> = command.aliases.iter().map(|alias| format!("/{alias}")).collect();
    for (key, value) in [
        ("description", command.description.clone()),
        ("argument-hint", command.argument_hint.clone()),
        ("aliases", aliases.join(", ")),
    ] {
        if !value.is_empty() && !front_matter.iter().any(|(other, _)| other == key) {
            facts.push((key.to_owned(), value));
        }
    }
    facts.extend(front_matter);
    facts.iter().map(|(key, value)| (shown(key), shown(value))).collect()
}

/// Formats the first lines of a text, with their indentation.
fn preview(body: &str, columns: Option<usize>) -> String {
    let lines: Vec<&str> = body.trim().lines().collect();
    let mut text = String::new();
    for line in lines.iter().take(MAX_PREVIEW_LINES) {
        let indent = (line.len() - line.trim_start().len()).min(MAX_INDENT_COLUMNS);
        text += &fitted(&format!("  {:indent$}{}", "", shown(line)), columns);
    }
    if lines.is_empty() {
        text += "  (no text)\n";
    }
    if lines.len() > MAX_PREVIEW_LINES {
        text += &format!("  ... and {} more lines\n", lines.len() - MAX_PREVIEW_LINES);
    }
    text
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Project => "project".to_owned(),
        Origin::User => "user".to_owned(),
        Origin::ProjectSkill => "project skill".to_owned(),
        Origin::UserSkill => "user skill".to_owned(),
        Origin::Plugin(plugin) => format!("plugin {plugin}"),
        Origin::BuiltIn => "built-in".to_owned(),
    }
}

fn fitted(line: &str, columns: Option<usize>) -> String {
    let line = line.trim_end();
    match columns {
        Some(columns) => format!("{}\n", truncate(line, columns, "...")),
        None => format!("{line}\n"),
    }
}

/// Sanitizes foreign text to one line of bounded length.
pub(super) fn shown(text: &str) -> String {
    let end = end_of_chars(text, MAX_CHARS);
    let ellipsis = if end < text.len() { "..." } else { "" };
    format!("{}{ellipsis}", sanitize_line(&text[..end]))
}
