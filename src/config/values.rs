//! Types of field values, each with its parser from JSON and its shape for the schema.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::json::{Kind, Node};
use super::{DependencyCondition, DependencyConfig};
use crate::base::suggest::closest_match;
use crate::base::text::{quote_input, sanitize_line, thousands};

/// Bound on waits, timeouts and delays: one year.
const MAX_SECONDS: f64 = 365.0 * 86_400.0;
/// A quadrillion tokens: far above any use, and far below an overflow of sums.
const MAX_TOKENS: f64 = 1e15;
const MAX_DOLLARS: f64 = 1e9;
/// Bound on retries: after so many failures, another attempt does not help.
const MAX_RETRIES: u32 = 1000;

/// Type of values that are read into a `T`.
pub(super) struct Type<T: 'static> {
    /// Parses a value, or returns the error message.
    pub(super) read: fn(Node) -> Result<T, String>,
    /// Shape of the values.
    pub(super) shape: Shape,
}

/// Shape of a value, as described by a schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// A string.
    String,
    /// A string that is not only white space.
    NonEmptyString,
    /// `true` or `false`.
    Boolean,
    /// One of these strings.
    Enum(&'static [&'static str]),
    /// An array of strings that are not only white space.
    NonEmptyStrings,
    /// An array of strings.
    Strings,
    /// A number above 0.
    Number {
        /// Unit of the number.
        unit: &'static str,
        /// Largest value allowed.
        max: f64,
        /// True if it must be an integer.
        is_whole: bool,
    },
    /// An integer, 0 or above.
    UnsignedInt {
        /// Largest value allowed.
        max: u32,
    },
    /// An object with such a value for each command.
    PerCommand(&'static Shape),
    /// An object of environment variables.
    EnvVars,
    /// An array of names, or of objects with a `name` and a `when`, which is one of these words.
    Dependencies(&'static [&'static str]),
}

pub(super) const TEXT: Type<String> = Type { read: string, shape: Shape::String };
pub(super) const FILLED: Type<String> = Type { read: filled, shape: Shape::NonEmptyString };
pub(super) const BOOLEAN: Type<bool> = Type { read: boolean, shape: Shape::Boolean };
pub(super) const TEXTS: Type<Vec<String>> = Type { read: |node| strings(node, filled), shape: Shape::NonEmptyStrings };
pub(super) const ARGUMENTS: Type<Vec<String>> = Type { read: |node| strings(node, string), shape: Shape::Strings };

pub(super) const SECONDS: Type<Duration> =
    Type { read: seconds, shape: Shape::Number { unit: "seconds", max: MAX_SECONDS, is_whole: false } };
pub(super) const TOKENS: Type<u64> =
    Type { read: tokens, shape: Shape::Number { unit: "tokens", max: MAX_TOKENS, is_whole: true } };
pub(super) const RETRIES: Type<u32> =
    Type { read: |node| count(node, MAX_RETRIES), shape: Shape::UnsignedInt { max: MAX_RETRIES } };
/// Read as micro-dollars.
pub(super) const DOLLARS: Type<u64> =
    Type { read: dollars, shape: Shape::Number { unit: "dollars", max: MAX_DOLLARS, is_whole: false } };

pub(super) const TOKENS_PER_COMMAND: Type<BTreeMap<String, u64>> =
    Type { read: |node| per_command(node, tokens), shape: Shape::PerCommand(&TOKENS.shape) };
pub(super) const DOLLARS_PER_COMMAND: Type<BTreeMap<String, u64>> =
    Type { read: |node| per_command(node, dollars), shape: Shape::PerCommand(&DOLLARS.shape) };

pub(super) const VARIABLES: Type<BTreeMap<String, Option<String>>> = Type { read: variables, shape: Shape::EnvVars };

const WHEN: [(&str, DependencyCondition); 2] =
    [("completed", DependencyCondition::Completed), ("done", DependencyCondition::Ended)];
pub(super) const DEPENDENCIES: Type<Vec<DependencyConfig>> =
    Type { read: dependencies, shape: Shape::Dependencies(&words(&WHEN)) };

/// Returns the words of a table of words and their meanings.
pub(super) const fn words<T, const N: usize>(meanings: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut i = 0;
    while i < N {
        words[i] = meanings[i].0;
        i += 1;
    }
    words
}

/// Prefixes of keys that are comments.
pub(super) const COMMENT_MARKS: [&str; 3] = ["//", "_", "$"];
/// Prefixes of comments among the environment variables: only those that cannot begin a variable's name.
pub(super) const COMMENT_MARKS_OF_VARIABLES: [&str; 2] = ["//", "$"];

pub(super) fn is_comment(key: &str) -> bool {
    COMMENT_MARKS.iter().any(|mark| key.starts_with(mark))
}

fn string(node: Node) -> Result<String, String> {
    let text = node.string().ok_or_else(|| format!("must be a string, and is {}", node.kind()))?;
    if text.contains('\0') {
        return Err("has a NUL character, which no process can be given".into());
    }
    Ok(text.into_owned())
}

fn filled(node: Node) -> Result<String, String> {
    let text = string(node)?;
    if text.trim().is_empty() {
        return Err("is empty".into());
    }
    if sanitize_line(&text).is_empty() {
        return Err(format!("shows as nothing: '{}'", quote_input(&text)));
    }
    Ok(text)
}

fn boolean(node: Node) -> Result<bool, String> {
    node.boolean().ok_or_else(|| format!("must be true or false, and is {}", node.kind()))
}

fn strings(node: Node, read: fn(Node) -> Result<String, String>) -> Result<Vec<String>, String> {
    let elements = node.elements().ok_or_else(|| format!("must be an array of strings, and is {}", node.kind()))?;
    let read = |(i, element)| read(element).map_err(|what| format!("element {} {what}", i + 1));
    all(elements.into_iter().enumerate().map(read))
}

/// Collects the values, or the messages of all errors.
fn all<T, C: Default + Extend<T>>(read: impl Iterator<Item = Result<T, String>>) -> Result<C, String> {
    const MAX_SHOWN: usize = 5;
    let (mut shown, mut more) = (Vec::new(), 0);
    let read = read.filter_map(|outcome| match outcome {
        Ok(value) => Some(value),
        Err(what) if shown.len() < MAX_SHOWN => {
            shown.push(what);
            None
        }
        Err(_) => {
            more += 1;
            None
        }
    });
    let mut values = C::default();
    values.extend(read);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    if shown.is_empty() { Ok(values) } else { Err(shown.join("; ")) }
}

pub(super) fn one_of(node: Node, allowed: &[&str]) -> Result<String, String> {
    let text = string(node)?;
    if allowed.contains(&text.as_str()) {
        return Ok(text);
    }
    let typed = quote_input(&text);
    Err(match closest_match(&text, allowed.iter().copied()) {
        Some(name) => format!("'{typed}' is not known, did you mean '{name}'?"),
        None => format!("'{typed}' is not known; known are: {}", allowed.join(", ")),
    })
}

pub(super) fn named<T: Copy>(node: Node, values: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let text = one_of(node, &names)?;
    values.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| "is not known".into())
}

/// Parses a number above 0 and at most `max`, counted in `unit`.
fn positive(node: Node, max: f64, unit: &str) -> Result<f64, String> {
    if node.kind() != Kind::Number {
        return Err(format!("must be a number of {unit}, and is {}", node.kind()));
    }
    // A number too large for a double is above every bound.
    let number = node.number().filter(|&number| number > 0.0 && number <= max);
    number.ok_or_else(|| {
        format!("must be above 0 and at most {} {unit}, and is {}", thousands(max as u64), quote_input(node.text()))
    })
}

fn seconds(node: Node) -> Result<Duration, String> {
    // The event loop has a resolution of a millisecond; a shorter time would be rounded to zero.
    positive(node, MAX_SECONDS, "seconds").map(|s| Duration::from_secs_f64(s.max(0.001)))
}

fn tokens(node: Node) -> Result<u64, String> {
    let number = positive(node, MAX_TOKENS, "tokens")?;
    if number.fract() != 0.0 {
        return Err(format!("must be a whole number of tokens, and is {}", quote_input(node.text())));
    }
    Ok(number as u64)
}

fn count(node: Node, max: u32) -> Result<u32, String> {
    if node.kind() != Kind::Number {
        return Err(format!("must be a number, and is {}", node.kind()));
    }
    let number = node.number().filter(|number| number.fract() == 0.0 && (0.0..=f64::from(max)).contains(number));
    number.map(|number| number as u32).ok_or_else(|| {
        format!("must be a whole number from 0 to {}, and is {}", thousands(max.into()), quote_input(node.text()))
    })
}

/// Parses dollars as micro-dollars.
fn dollars(node: Node) -> Result<u64, String> {
    positive(node, MAX_DOLLARS, "dollars").map(|d| ((d * 1e6).round() as u64).max(1))
}

fn per_command(node: Node, read: fn(Node) -> Result<u64, String>) -> Result<BTreeMap<String, u64>, String> {
    let members = node.members().ok_or_else(|| format!("must be an object of commands, and is {}", node.kind()))?;
    let given = members.into_iter().filter(|m| !is_comment(&m.key) && m.value.kind() != Kind::Null);
    let mut seen = HashSet::new();
    all(given.map(|member| {
        let told = |what: &str| format!("'{}' {what}", quote_input(&member.key));
        let command = budget_command(&member.key).ok_or_else(|| told("names no command"))?;
        if !seen.insert(command.clone()) {
            return Err(told("stands here twice"));
        }
        let limit = read(member.value).map_err(|what| told(&what))?;
        Ok((command, limit))
    }))
}

/// Returns the form in which budgets store a command name, given with or without its slash.
pub fn budget_command(name: &str) -> Option<String> {
    let name = name.trim_start_matches(|c: char| c == '/' || c.is_whitespace()).trim_end();
    (!name.is_empty()).then(|| format!("/{name}"))
}

fn variables(node: Node) -> Result<BTreeMap<String, Option<String>>, String> {
    let members = node.members().ok_or_else(|| format!("must be an object of strings, and is {}", node.kind()))?;
    let is_comment = |key: &str| COMMENT_MARKS_OF_VARIABLES.iter().any(|mark| key.starts_with(mark));
    let given = members.into_iter().filter(|m| !is_comment(&m.key));
    let mut seen = HashSet::new();
    all(given.map(|member| {
        let name = member.key.into_owned();
        let told = |what: &str| format!("'{}' {what}", quote_input(&name));
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(told("cannot be the name of a variable"));
        }
        if !seen.insert(name.clone()) {
            return Err(told("stands here twice"));
        }
        let value = match member.value.kind() {
            Kind::Null => None,
            Kind::Number | Kind::Boolean => Some(member.value.text().to_owned()),
            _ => Some(string(member.value).map_err(|what| told(&what))?),
        };
        Ok((name, value))
    }))
}

fn dependencies(node: Node) -> Result<Vec<DependencyConfig>, String> {
    let elements = node.elements().ok_or_else(|| format!("must be an array of names, and is {}", node.kind()))?;
    let mut seen = HashSet::new();
    all(elements.into_iter().enumerate().map(|(i, element)| {
        let dependency = dependency(element).map_err(|what| format!("element {} {what}", i + 1))?;
        if seen.insert(dependency.name.clone()) {
            Ok(dependency)
        } else {
            Err(format!("'{}' stands here twice", quote_input(&dependency.name)))
        }
    }))
}

/// Parses `"name"` or `{"name": "…", "when": "completed" | "done"}`.
fn dependency(node: Node) -> Result<DependencyConfig, String> {
    let Some(members) = node.members() else {
        return Ok(DependencyConfig { name: filled(node)?, when: DependencyCondition::default() });
    };
    let (mut name, mut when) = (None, None);
    for member in members.into_iter().filter(|m| !is_comment(&m.key) && m.value.kind() != Kind::Null) {
        let is_second = match member.key.as_ref() {
            "name" => name.replace(filled(member.value).map_err(|what| format!("name {what}"))?).is_some(),
            "when" => when.replace(named(member.value, &WHEN).map_err(|what| format!("when {what}"))?).is_some(),
            other => return Err(format!("has an unknown field '{}'; known are: name, when", quote_input(other))),
        };
        if is_second {
            return Err(format!("has a second '{}'", member.key));
        }
    }
    Ok(DependencyConfig { name: name.ok_or("has no 'name'")?, when: when.unwrap_or_default() })
}
