//! Types of field values, each with its parser from JSON and its shape for the schema.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::json::{Kind, Member, Node};
use super::value_error::{DEPENDENCY_FIELDS, ErrorList, ValueError};
use super::{DependencyCondition, DependencyConfig};
use crate::base::text::sanitize_line;

/// Bound on waits, timeouts and delays: one year.
const MAX_SECONDS: f64 = 365.0 * 86_400.0;
/// A quadrillion tokens: far above any use, and far below an overflow of sums.
const MAX_TOKENS: f64 = 1e15;
const MAX_DOLLARS: f64 = 1e9;
/// Bound on retries: after so many failures, another attempt does not help.
const MAX_RETRIES: u32 = 1000;

/// Parser of a value.
pub(super) type Read<T> = fn(Node) -> Result<T, ValueError>;

/// Type of values that are read into a `T`.
pub(super) struct Type<T: 'static> {
    /// Parses a value.
    pub(super) read: Read<T>,
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

fn string(node: Node) -> Result<String, ValueError> {
    let Some(text) = node.string() else { return Err(ValueError::wrong_type(node, "a string")) };
    if text.contains('\0') {
        return Err(ValueError::NulCharacter);
    }
    Ok(text.into_owned())
}

fn filled(node: Node) -> Result<String, ValueError> {
    let text = string(node)?;
    if text.trim().is_empty() {
        return Err(ValueError::Empty);
    }
    if sanitize_line(&text).is_empty() {
        return Err(ValueError::Invisible(text));
    }
    Ok(text)
}

fn boolean(node: Node) -> Result<bool, ValueError> {
    let Some(value) = node.boolean() else { return Err(ValueError::wrong_type(node, "true or false")) };
    Ok(value)
}

fn strings(node: Node, read: Read<String>) -> Result<Vec<String>, ValueError> {
    let Some(elements) = node.elements() else { return Err(ValueError::wrong_type(node, "an array of strings")) };
    let (mut strings, mut errors) = (Vec::with_capacity(elements.len()), ErrorList::default());
    for (i, element) in elements.into_iter().enumerate() {
        match read(element) {
            Ok(text) => strings.push(text),
            Err(error) => errors.push(error.in_element(i)),
        }
    }
    errors.into_result(strings)
}

pub(super) fn one_of(node: Node, allowed: &[&'static str]) -> Result<String, ValueError> {
    let word = string(node)?;
    if allowed.contains(&word.as_str()) { Ok(word) } else { Err(unknown_word(word, allowed)) }
}

pub(super) fn named<T: Copy, const N: usize>(node: Node, values: &[(&'static str, T); N]) -> Result<T, ValueError> {
    let word = string(node)?;
    for (name, value) in values {
        if *name == word {
            return Ok(*value);
        }
    }
    Err(unknown_word(word, &words(values)))
}

fn unknown_word(word: String, known: &[&'static str]) -> ValueError {
    ValueError::UnknownWord { word, known: known.to_vec() }
}

/// Parses a number above 0 and at most `max`, counted in `unit`.
fn positive(node: Node, max: f64, unit: &'static str) -> Result<f64, ValueError> {
    if node.kind() != Kind::Number {
        return Err(ValueError::NotPositive { unit, number: node.describe() });
    }
    match node.number() {
        Some(number) if number <= 0.0 => Err(ValueError::NotPositive { unit, number: node.describe() }),
        Some(number) if number <= max => Ok(number),
        // A number too large for a double is above every bound.
        _ => Err(ValueError::TooLarge { max: max as u64, unit, number: node.describe() }),
    }
}

fn seconds(node: Node) -> Result<Duration, ValueError> {
    // The event loop has a resolution of a millisecond; a shorter time would be rounded to zero.
    let seconds = positive(node, MAX_SECONDS, "seconds")?;
    Ok(Duration::from_secs_f64(seconds.max(0.001)))
}

fn tokens(node: Node) -> Result<u64, ValueError> {
    match positive(node, MAX_TOKENS, "tokens") {
        Ok(number) if number.fract() == 0.0 => Ok(number as u64),
        Ok(_) | Err(ValueError::NotPositive { .. }) => Err(ValueError::NotPositiveInteger(node.describe())),
        Err(error) => Err(error),
    }
}

fn count(node: Node, max: u32) -> Result<u32, ValueError> {
    match node.number() {
        Some(number) if number.fract() == 0.0 && (0.0..=f64::from(max)).contains(&number) => Ok(number as u32),
        _ => Err(ValueError::NotInRange { max, number: node.describe() }),
    }
}

/// Parses dollars as micro-dollars.
fn dollars(node: Node) -> Result<u64, ValueError> {
    let dollars = positive(node, MAX_DOLLARS, "dollars")?;
    Ok(((dollars * 1e6).round() as u64).max(1))
}

fn per_command(node: Node, read: Read<u64>) -> Result<BTreeMap<String, u64>, ValueError> {
    let Some(members) = node.members() else { return Err(ValueError::wrong_type(node, "an object of commands")) };
    let (mut limits, mut seen, mut errors) = (BTreeMap::new(), HashSet::new(), ErrorList::default());
    for Member { key, value } in members {
        if is_comment(&key) || value.kind() == Kind::Null {
            continue;
        }
        let limit = match budget_command(&key) {
            None => Err(ValueError::CommandName),
            Some(command) if !seen.insert(command.clone()) => Err(ValueError::DuplicateKey),
            Some(command) => read(value).map(|limit| (command, limit)),
        };
        match limit {
            Ok((command, limit)) => {
                limits.insert(command, limit);
            }
            Err(error) => errors.push(error.in_member(&key)),
        }
    }
    errors.into_result(limits)
}

/// Returns the form in which budgets store a command name, given with or without its slash.
pub fn budget_command(name: &str) -> Option<String> {
    let name = name.trim_start_matches(|c: char| c == '/' || c.is_whitespace()).trim_end();
    (!name.is_empty()).then(|| format!("/{name}"))
}

fn variables(node: Node) -> Result<BTreeMap<String, Option<String>>, ValueError> {
    let Some(members) = node.members() else { return Err(ValueError::wrong_type(node, "an object of strings")) };
    let (mut variables, mut errors) = (BTreeMap::new(), ErrorList::default());
    for Member { key, value } in members {
        if COMMENT_MARKS_OF_VARIABLES.iter().any(|mark| key.starts_with(mark)) {
            continue;
        }
        let variable = match value.kind() {
            _ if key.is_empty() || key.contains(['=', '\0']) => Err(ValueError::VariableName),
            _ if variables.contains_key(key.as_ref()) => Err(ValueError::DuplicateKey),
            Kind::Null => Ok(None),
            Kind::Number | Kind::Boolean => Ok(Some(value.text().to_owned())),
            _ => string(value).map(Some),
        };
        match variable {
            Ok(variable) => {
                variables.insert(key.into_owned(), variable);
            }
            Err(error) => errors.push(error.in_member(&key)),
        }
    }
    errors.into_result(variables)
}

fn dependencies(node: Node) -> Result<Vec<DependencyConfig>, ValueError> {
    let Some(elements) = node.elements() else { return Err(ValueError::wrong_type(node, "an array of names")) };
    let (mut dependencies, mut seen, mut errors) = (Vec::new(), HashSet::new(), ErrorList::default());
    for (i, element) in elements.into_iter().enumerate() {
        match dependency(element) {
            Ok(dependency) if seen.insert(dependency.name.clone()) => dependencies.push(dependency),
            Ok(dependency) => errors.push(ValueError::DuplicateEntry(dependency.name)),
            Err(error) => errors.push(error.in_element(i)),
        }
    }
    errors.into_result(dependencies)
}

/// Parses `"name"` or `{"name": "…", "when": "completed" | "done"}`.
fn dependency(node: Node) -> Result<DependencyConfig, ValueError> {
    let Some(members) = node.members() else {
        return Ok(DependencyConfig { name: filled(node)?, when: DependencyCondition::default() });
    };
    let (mut name, mut when) = (None, None);
    for Member { key, value } in members {
        if is_comment(&key) || value.kind() == Kind::Null {
            continue;
        }
        let is_duplicate = match key.as_ref() {
            "name" => name.replace(filled(value).map_err(|error| error.in_member(&key))?).is_some(),
            "when" => when.replace(named(value, &WHEN).map_err(|error| error.in_member(&key))?).is_some(),
            _ => return Err(ValueError::UnknownField(key.into_owned())),
        };
        if is_duplicate {
            return Err(ValueError::DuplicateKey.in_member(&key));
        }
    }
    let Some(name) = name else { return Err(ValueError::MissingField(DEPENDENCY_FIELDS[0])) };
    Ok(DependencyConfig { name, when: when.unwrap_or_default() })
}
