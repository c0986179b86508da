//! Names of instances: defaults for missing ones, and lookup with suggestions.

use std::collections::{HashMap, HashSet};

use crate::base::suggest::closest_match;
use crate::base::text::sanitize_line;
use crate::config::InstanceConfig;
use crate::plan::MAX_SUGGESTIONS;
use crate::plan::problem::ReferenceError;

/// Maximum length of a name made from a prompt, in characters.
const MAX_DERIVED_CHARS: usize = 30;

/// Returns unique names for all instances; a missing name is derived from the command.
pub(super) fn names(entries: &[InstanceConfig]) -> Vec<String> {
    let mut taken: HashSet<String> = entries.iter().filter_map(|entry| entry.name.clone()).collect();
    let mut next_numbers: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = match &entry.name {
            Some(name) => name.clone(),
            None => unique(derived_name(entry), &mut taken, &mut next_numbers),
        };
        names.push(name);
    }
    names
}

/// Returns a name for an instance without one: its command, or the beginning of its prompt.
fn derived_name(entry: &InstanceConfig) -> String {
    let text = entry.command.as_ref().or(entry.prompt.as_ref()).map_or("instance", String::as_str);
    let text = sanitize_line(text);
    if let Some(rest) = text.strip_prefix('/')
        && let Some(command) = rest.split_whitespace().next()
    {
        return format!("/{command}");
    }
    match text.char_indices().nth(MAX_DERIVED_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

/// Adds a number to a name that is taken.
fn unique(base: String, taken: &mut HashSet<String>, next_numbers: &mut HashMap<String, usize>) -> String {
    let mut name = base.clone();
    while !taken.insert(name.clone()) {
        let number = next_numbers.entry(base.clone()).or_insert(2);
        name = format!("{base}-{number}");
        *number += 1;
    }
    name
}

/// Index of the names of all instances.
pub(super) struct NameIndex<'a> {
    names: &'a [String],
    by_name: HashMap<&'a str, usize>,
    suggestions_left: usize,
}

impl<'a> NameIndex<'a> {
    pub(super) fn new(names: &'a [String]) -> Self {
        let mut by_name = HashMap::with_capacity(names.len());
        // If two instances have one name, which is an error, it refers to the first.
        for (i, name) in names.iter().enumerate().rev() {
            by_name.insert(name.as_str(), i);
        }
        NameIndex { names, by_name, suggestions_left: MAX_SUGGESTIONS }
    }

    /// Returns the name of an instance.
    pub(super) fn name(&self, index: usize) -> &'a str {
        &self.names[index]
    }

    /// Returns the instance with exactly this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Returns the instance that a placeholder names; blanks around the name are allowed.
    pub(super) fn find_trimmed(&self, name: &str) -> Option<usize> {
        self.find(name).or_else(|| self.find(name.trim()))
    }

    /// Returns the error about an unknown name in instance number `index`.
    pub(super) fn unknown(&mut self, name: &str, index: usize) -> ReferenceError {
        let mut suggestion = None;
        if self.suggestions_left > 0 {
            self.suggestions_left -= 1;
            let others = self.names.iter().map(String::as_str).filter(|other| *other != self.names[index]);
            suggestion = closest_match(name, others).map(str::to_owned);
        }
        ReferenceError::UnknownInstance { name: name.to_owned(), suggestion }
    }
}
