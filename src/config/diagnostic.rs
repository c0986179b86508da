//! Errors in a config, each with its position in the file. The wording of all of them is here and in
//! [`super::value_error`].

use std::fmt;

use crate::base::suggest::closest_match;
use crate::base::text::{quote_input, thousands};
use crate::config::fields::{BUDGET, FieldSpec, INSTANCE, NOT_IN_DEFAULTS, PRICE, SECTIONS};
use crate::config::json::{Position, SyntaxError};
use crate::config::value_error::ValueError;
use crate::config::{MAX_INSTANCES, MAX_MISTAKES};

/// Error in a config. `P` is the type of the problem: that of this layer, or one of a later check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic<P = ConfigProblem> {
    /// Position in the file.
    pub position: Position,
    /// Instance or section, as in messages; empty at the top level.
    pub subject: String,
    /// Field that is wrong; empty if the error is not about one field.
    pub field: String,
    /// Problem, with a hint if there is one.
    pub problem: P,
}

impl<P> Diagnostic<P> {
    /// Sorts errors in the order of the file.
    pub fn sort(mistakes: &mut [Diagnostic<P>]) {
        mistakes.sort_by_key(|mistake| mistake.position);
    }

    /// Converts the problem to that of a later check.
    #[must_use]
    pub fn into_problem<Q: From<P>>(self) -> Diagnostic<Q> {
        let Diagnostic { position, subject, field, problem } = self;
        Diagnostic { position, subject, field, problem: problem.into() }
    }
}

impl<P: fmt::Display> fmt::Display for Diagnostic<P> {
    /// Formats `line 12, column 7: instance 'reporter': timeout: must be …`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.position.line, self.position.column)?;
        for part in [&self.subject, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        write!(f, "{}", self.problem)
    }
}

/// Error that makes a config unusable.
#[derive(Debug, PartialEq, Eq)]
pub enum ConfigError<P = ConfigProblem> {
    /// Invalid JSON.
    Syntax(SyntaxError),
    /// Errors in valid JSON, in the order of the file.
    Invalid(Vec<Diagnostic<P>>),
}

/// Problem of a config that its text alone shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigProblem {
    /// A value that its field does not allow.
    Value(ValueError),
    /// A field that appears twice.
    DuplicateKey,
    /// A key that is no field of any section.
    UnknownField {
        /// Key, as written.
        key: String,
        /// Section that it is in.
        section: Section,
    },
    /// A field of another section.
    MisplacedField(FieldHome),
    /// Required fields that are missing.
    MissingFields(Vec<&'static str>),
    /// No list of instances.
    MissingInstances,
    /// An empty list of instances.
    NoInstances,
    /// More instances than allowed.
    TooManyInstances(usize),
    /// An instance with neither a command nor a prompt.
    NoCommand,
    /// A name that another instance has.
    DuplicateName {
        /// Index of the other instance.
        first: usize,
        /// True if the names are equal, and do not only look equal.
        is_equal: bool,
    },
}

impl From<ValueError> for ConfigProblem {
    fn from(error: ValueError) -> Self {
        ConfigProblem::Value(error)
    }
}

/// Section of a config that has a fixed set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The whole config.
    Config,
    /// An entry of `instances`.
    Instance,
    /// `defaults`
    Defaults,
    /// `budget`
    Budget,
    /// An entry of `pricing`.
    Price,
}

impl Section {
    /// Returns the names of the fields.
    #[must_use]
    pub fn fields(self) -> Vec<&'static str> {
        match self {
            Section::Config => SECTIONS.iter().map(|(name, _)| *name).collect(),
            Section::Instance => names(INSTANCE),
            Section::Defaults => {
                let mut names = names(INSTANCE);
                names.retain(|name| !NOT_IN_DEFAULTS.contains(name));
                names
            }
            Section::Budget => names(BUDGET),
            Section::Price => names(PRICE),
        }
    }
}

fn names<T>(table: &[FieldSpec<T>]) -> Vec<&'static str> {
    table.iter().map(FieldSpec::name).collect()
}

/// Section that a misplaced field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldHome {
    /// `budget`
    Budget,
    /// Each instance, and not `defaults`.
    EachInstance,
    /// An instance, or `defaults`.
    InstanceOrDefaults,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ConfigProblem::Value(error) => write!(f, "{error}"),
            ConfigProblem::DuplicateKey => f.write_str("duplicate key"),
            ConfigProblem::UnknownField { key, section } => {
                let known = section.fields();
                match closest_match(key, known.iter().copied()) {
                    Some(name) => write!(f, "unknown field, did you mean '{name}'?"),
                    None => write!(f, "unknown field: must be one of {}", known.join(", ")),
                }
            }
            ConfigProblem::MisplacedField(home) => write!(f, "misplaced field: {home}"),
            ConfigProblem::MissingFields(names) => {
                let plural = if names.len() > 1 { "s" } else { "" };
                write!(f, "missing field{plural} '{}'", names.join("' and '"))
            }
            ConfigProblem::MissingInstances => f.write_str("missing field: a config needs a list of instances"),
            ConfigProblem::NoInstances => f.write_str("must not be empty: there is no instance to run"),
            ConfigProblem::TooManyInstances(count) => {
                let (max, count) = (thousands(MAX_INSTANCES as u64), thousands(*count as u64));
                write!(f, "must be at most {max} instances, got {count}")
            }
            ConfigProblem::NoCommand => f.write_str("Either 'command' or 'prompt' must be provided"),
            ConfigProblem::DuplicateName { first, is_equal: true } => {
                write!(f, "must be unique: instances[{first}] has the same name")
            }
            ConfigProblem::DuplicateName { first, is_equal: false } => {
                write!(f, "must be unique: looks like the name of instances[{first}]")
            }
        }
    }
}

impl fmt::Display for FieldHome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            FieldHome::Budget => "move it to 'budget'",
            FieldHome::EachInstance => "set it for each instance",
            FieldHome::InstanceOrDefaults => "move it to an instance or to 'defaults'",
        })
    }
}

/// Returns the label of an instance in messages.
#[must_use]
pub fn instance_label(index: usize, name: Option<&str>) -> String {
    match name {
        Some(name) if !name.is_empty() => format!("instance '{}'", quote_input(name)),
        _ => format!("instances[{index}]"),
    }
}

/// Adds an error to a list of at most [`MAX_MISTAKES`].
pub fn push_bounded<T>(mistakes: &mut Vec<T>, mistake: T) {
    if mistakes.len() < MAX_MISTAKES {
        mistakes.push(mistake);
    }
}
