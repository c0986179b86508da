//! Errors of single values of a config, and their wording.

use std::fmt;

use crate::base::suggest::closest_match;
use crate::base::text::{quote_input, thousands};
use crate::config::halt;
use crate::config::json::{Kind, Node};

/// Value that its field does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// A value of another type.
    WrongType {
        /// Description of the right type, with its article.
        expected: &'static str,
        /// Type of the value.
        actual: Kind,
    },
    /// A string with a NUL character, which no process argument can contain.
    NulCharacter,
    /// A blank string.
    Empty,
    /// A string of invisible characters only.
    Invisible(String),
    /// A string that is none of the allowed ones.
    UnknownWord {
        /// The string.
        word: String,
        /// The allowed strings.
        known: Vec<&'static str>,
    },
    /// A number that must be above 0.
    NotPositive {
        /// Unit of the number.
        unit: &'static str,
        /// Number, as written.
        number: String,
    },
    /// A number that must be an integer above 0.
    NotPositiveInteger(String),
    /// A number above the maximum.
    TooLarge {
        /// Maximum.
        max: u64,
        /// Unit of the number.
        unit: &'static str,
        /// Number, as written.
        number: String,
    },
    /// A number that must be an integer from 0 to a maximum.
    NotInRange {
        /// Maximum.
        max: u32,
        /// Number, as written.
        number: String,
    },
    /// A condition that is not in the form of `--halt`.
    Halt(halt::HaltError),
    /// A name that no command can have.
    CommandName,
    /// A name that no environment variable can have.
    VariableName,
    /// A key that appears twice in an object.
    DuplicateKey,
    /// An instance that appears twice in a list.
    DuplicateEntry(String),
    /// An unknown key of an entry of `depends_on`.
    UnknownField(String),
    /// A missing key of an entry of `depends_on`.
    MissingField(&'static str),
    /// An error in an element of an array.
    Element {
        /// Number of the element, from 1.
        number: usize,
        /// The error.
        error: Box<ValueError>,
    },
    /// An error in a member of an object.
    Member {
        /// Key, as written.
        key: String,
        /// The error.
        error: Box<ValueError>,
    },
    /// Several errors in one array or object.
    Several {
        /// First errors.
        errors: Vec<ValueError>,
        /// Number of further errors.
        more: usize,
    },
}

/// Keys of an entry of `depends_on`.
pub(super) const DEPENDENCY_FIELDS: [&str; 2] = ["name", "when"];

impl ValueError {
    /// Returns the error about a value that is not of the expected type.
    pub(super) fn wrong_type(node: Node, expected: &'static str) -> Self {
        ValueError::WrongType { expected, actual: node.kind() }
    }

    /// Adds the number of the element, counted from 0 here.
    pub(super) fn in_element(self, index: usize) -> Self {
        ValueError::Element { number: index + 1, error: Box::new(self) }
    }

    /// Adds the key of the member.
    pub(super) fn in_member(self, key: &str) -> Self {
        ValueError::Member { key: key.to_owned(), error: Box::new(self) }
    }
}

/// Collector of the errors in one array or object.
#[derive(Default)]
pub(super) struct ErrorList {
    errors: Vec<ValueError>,
    more: usize,
}

impl ErrorList {
    pub(super) fn push(&mut self, error: ValueError) {
        const MAX_KEPT: usize = 5;
        if self.errors.len() < MAX_KEPT {
            self.errors.push(error);
        } else {
            self.more += 1;
        }
    }

    /// Returns the value if there are no errors.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, ValueError> {
        match self.errors.len() {
            0 => Ok(value),
            1 => Err(self.errors.remove(0)),
            _ => Err(ValueError::Several { errors: self.errors, more: self.more }),
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ValueError::WrongType { expected, actual } => write!(f, "must be {expected}, got {actual}"),
            ValueError::NulCharacter => f.write_str("must not contain a NUL character"),
            ValueError::Empty => f.write_str("must not be empty"),
            ValueError::Invisible(text) => write!(f, "has no visible character: '{}'", quote_input(text)),
            ValueError::UnknownWord { word, known } => {
                write!(f, "unknown value '{}'", quote_input(word))?;
                match closest_match(word, known.iter().copied()) {
                    Some(name) => write!(f, ", did you mean '{name}'?"),
                    None => write!(f, ": must be one of {}", known.join(", ")),
                }
            }
            ValueError::NotPositive { unit, number } => {
                write!(f, "must be a positive number of {unit}, got {}", quote_input(number))
            }
            ValueError::NotPositiveInteger(number) => {
                write!(f, "must be a positive integer, got {}", quote_input(number))
            }
            ValueError::TooLarge { max, unit, number } => {
                write!(f, "must be at most {} {unit}, got {}", thousands(*max), quote_input(number))
            }
            ValueError::NotInRange { max, number } => {
                write!(f, "must be an integer from 0 to {}, got {}", thousands((*max).into()), quote_input(number))
            }
            ValueError::Halt(error) => write!(f, "{error}"),
            ValueError::CommandName => f.write_str("not a command name"),
            ValueError::VariableName => f.write_str("not a valid variable name"),
            ValueError::DuplicateKey => f.write_str("duplicate key"),
            ValueError::DuplicateEntry(name) => write!(f, "duplicate entry '{}'", quote_input(name)),
            ValueError::UnknownField(key) => {
                write!(f, "unknown field '{}': must be one of {}", quote_input(key), DEPENDENCY_FIELDS.join(", "))
            }
            ValueError::MissingField(key) => write!(f, "missing field '{key}'"),
            ValueError::Element { number, error } => write!(f, "element {number}: {error}"),
            ValueError::Member { key, error } => write!(f, "'{}': {error}", quote_input(key)),
            ValueError::Several { errors, more } => {
                for (i, error) in errors.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "; " };
                    write!(f, "{separator}{error}")?;
                }
                if *more > 0 { write!(f, "; and {more} more") } else { Ok(()) }
            }
        }
    }
}
