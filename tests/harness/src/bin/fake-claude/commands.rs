//! Slash commands of the project and of the user: found, listed and expanded as the real ones do it.

use crate::generation::Generation;
use serde_json::{Value, json};
use std::path::Path;

#[derive(Debug)]
pub struct Command {
    /// Without the slash; folders are joined by colons.
    pub name: String,
    description: String,
    argument_hint: String,
    pub model: Option<String>,
    body: String,
}

/// In the order of their precedence: where two have one name, the first is run.
pub fn find(generation: Generation) -> Vec<Command> {
    let mut commands = Vec::new();
    if let Some(home) = std::env::var_os("HOME") {
        read_folder(generation, &Path::new(&home).join(".claude/commands"), "", "user", &mut commands);
    }
    let cwd = std::env::current_dir().unwrap_or_default();
    // A workspace that is the home itself has its commands once.
    let project = cwd.join(".claude/commands");
    if std::env::var_os("HOME").is_none_or(|home| Path::new(&home).join(".claude/commands") != project) {
        read_folder(generation, &project, "", "project", &mut commands);
    }
    if generation == Generation::V2_1 {
        // The newest lists each name once, in alphabetical order; the sort keeps the user's before the project's.
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        commands.dedup_by(|later, earlier| later.name == earlier.name);
    }
    commands
}

fn read_folder(generation: Generation, folder: &Path, prefix: &str, origin: &str, commands: &mut Vec<Command>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let folder_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            read_folder(generation, &path, &format!("{prefix}{folder_name}:"), origin, commands);
        } else if path.extension().is_some_and(|extension| extension == "md")
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            commands.push(parse(generation, &format!("{prefix}{stem}"), &text, origin));
        }
    }
}

fn parse(generation: Generation, name: &str, text: &str, origin: &str) -> Command {
    let (front, body) = split_front_matter(text);
    let field = |wanted: &str| {
        let lines = front.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(name, _)| name.trim() == wanted)
            .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
            .find(|value| !value.is_empty())
    };
    let first_line = || {
        let mut lines = body.lines().map(|line| line.trim().trim_start_matches('#').trim_start());
        lines.find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    };
    let mut argument_hint = field("argument-hint").unwrap_or_default();
    if generation == Generation::V2_1 {
        // It reads `[what]` as a YAML list.
        argument_hint = argument_hint.trim_matches(['[', ']']).to_owned();
    }
    Command {
        name: name.to_owned(),
        description: format!("{} ({origin})", field("description").unwrap_or_else(first_line)),
        argument_hint,
        model: field("model"),
        body: body.to_owned(),
    }
}

fn split_front_matter(text: &str) -> (&str, &str) {
    let Some(rest) = text.strip_prefix("---\n") else {
        return ("", text);
    };
    match rest.find("\n---") {
        Some(end) => {
            let after = &rest[end + 4..];
            (&rest[..end], after.split_once('\n').map_or("", |(_, body)| body))
        }
        None if rest.starts_with("---\n") => ("", &rest[4..]),
        None => ("", text),
    }
}

impl Command {
    /// As `initialize` lists it.
    pub fn to_json(&self) -> Value {
        json!({ "name": self.name, "description": self.description, "argumentHint": self.argument_hint })
    }

    /// The text that goes to the model.
    pub fn expand(&self, generation: Generation, arguments: &str) -> String {
        let mut text = self.body.replace("$ARGUMENTS", arguments);
        let mut used = text != self.body;
        if generation.replaces_numbered_arguments() {
            for (at, word) in arguments.split_whitespace().enumerate().take(10) {
                let with_word = text.replace(&format!("${at}"), word);
                used |= with_word != text;
                text = with_word;
            }
        }
        if !used && !arguments.is_empty() {
            text = format!("{text}\n\nARGUMENTS: {arguments}");
        }
        text
    }
}

/// `/name rest` → name and rest. Text that begins with a slash but cannot be a command's name is none; nor is what has a
/// blank before it (measured on all generations).
pub fn split_command(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('/')?;
    let (name, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'));
    is_name.then(|| (name, arguments.trim()))
}
