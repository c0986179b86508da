//! Formats slash commands: one line each, or one in full. Foreign text is sanitized, so that it can neither move the
//! cursor nor break a line.

use super::{Command, CommandCatalog, Origin};
use crate::base::text::{pad, sanitize_line, truncate, width};

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
    let widest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let (names, origins) = (widest(0).min(MAX_NAME_COLUMNS), widest(1));
    let line = |[name, origin, description]: &[String; 3]| {
        fitted(&format!("{}  {}  {description}", pad(name, names), pad(origin, origins)), columns)
    };
    rows.iter().map(line).collect()
}

fn row(command: &Command) -> [String; 3] {
    [format!("/{}", shown(&command.name)), shown(&origin(&command.origin)), shown(&command.description)]
}

/// Formats a command in full: source, front matter, and the beginning of the body.
#[must_use]
pub fn inspection(command: &Command, columns: Option<usize>) -> String {
    let file = command.files.first();
    let mut facts = vec![("from".to_owned(), origin(&command.origin))];
    facts.extend(file.map(|file| ("file".to_owned(), file.path.to_string_lossy().into_owned())));
    let beaten = command.files.iter().skip(1).map(|file| file.path.to_string_lossy().into_owned());
    facts.extend(beaten.map(|path| ("instead of".to_owned(), path)));
    let front = file.map(|file| file.parts().0).unwrap_or_default();
    let mut is_said = |key: &str, value: String| {
        if !value.is_empty() && !front.iter().any(|(k, _)| k == key) {
            facts.push((key.to_owned(), value));
        }
    };
    is_said("description", command.description.clone());
    is_said("argument-hint", command.argument_hint.clone());
    is_said("aliases", command.aliases.iter().map(|alias| format!("/{alias}")).collect::<Vec<_>>().join(", "));
    facts.extend(front);
    let facts: Vec<(String, String)> = facts.iter().map(|(key, value)| (shown(key), shown(value))).collect();
    let keys = facts.iter().map(|(key, _)| width(key)).max().unwrap_or(0).min(MAX_NAME_COLUMNS);
    let mut text = fitted(&format!("/{}", shown(&command.name)), columns);
    for (key, value) in &facts {
        text += &fitted(&format!("  {}  {value}", pad(key, keys)), columns);
    }
    match file.map(|file| (&file.text, file.parts().1)) {
        Some((Ok(_), body)) => text + "\n" + &preview(body, columns),
        Some((Err(why), _)) => text + "\n" + &fitted(&format!("  (it cannot be read: {})", shown(why)), columns),
        None => text,
    }
}

/// Formats the first lines of a text, with their indentation.
fn preview(body: &str, columns: Option<usize>) -> String {
    let lines: Vec<&str> = body.trim().lines().collect();
    let line = |line: &&str| {
        let indent = (line.len() - line.trim_start().len()).min(MAX_INDENT_COLUMNS);
        fitted(&format!("  {:indent$}{}", "", shown(line)), columns)
    };
    let mut text: String = lines.iter().take(MAX_PREVIEW_LINES).map(line).collect();
    if lines.is_empty() {
        text += "  (it has no text)\n";
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
    format!("{}\n", columns.map_or(line.into(), |columns| truncate(line, columns, "...")))
}

/// Sanitizes foreign text to one line of bounded length.
pub(super) fn shown(text: &str) -> String {
    let end = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(end, _)| end);
    let ellipsis = if end < text.len() { "..." } else { "" };
    format!("{}{ellipsis}", sanitize_line(&text[..end]))
}
