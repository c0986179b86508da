//! Mistakes of a command line and of the environment, and their wording.

use std::fmt::{self, Display, Formatter};

use crate::base::text::quote_input;
use crate::cli::examples::UnknownExample;

/// Problem with the value of an option, without the name of the option.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueError {
    /// An empty path, or a text that is only white space.
    Empty,
    /// A value of another form or size than the expected one.
    Unexpected {
        /// Form that the value must have.
        expected: Expected,
        /// The value, verbatim.
        value: String,
    },
    /// An invalid limit of a command.
    Limit {
        /// Name of the command, with its slash.
        command: String,
        /// Problem with the limit.
        error: Box<ValueError>,
    },
    /// An invalid start time.
    StartAt {
        /// The value, verbatim.
        value: String,
        /// Problem with the time.
        problem: String,
    },
    /// An invalid condition of `--halt`.
    Halt {
        /// The value, verbatim.
        value: String,
        /// Problem with the condition.
        problem: String,
    },
    /// The name of an example that does not exist.
    Example(UnknownExample),
}

/// Form that a value must have.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// UTF-8.
    Utf8,
    /// An integer.
    Integer,
    /// An integer within these bounds.
    Between(usize, usize),
    /// A number of seconds.
    Seconds,
    /// A number that is not negative.
    NotNegative,
    /// A number above zero.
    Positive,
    /// At most this number of seconds.
    AtMostSeconds(f64),
    /// A number of tokens, at most this many.
    Tokens(i128),
    /// A number of dollars, at most this many.
    Dollars(f64),
    /// A limit of a command.
    CommandLimit,
    /// One of these words.
    OneOf(Vec<&'static str>),
}

impl Display for ValueError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            ValueError::Empty => write!(f, "must not be empty"),
            ValueError::Unexpected { expected, value } => write!(f, "must be {expected}, got {}", quoted(value)),
            ValueError::Limit { command, error } => write!(f, "{}: {error}", quote_input(command)),
            ValueError::StartAt { value, problem } | ValueError::Halt { value, problem } => {
                write!(f, "{} {problem}", quoted(value))
            }
            ValueError::Example(error) => write!(f, "{error}"),
        }
    }
}

impl Display for Expected {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Expected::Utf8 => write!(f, "UTF-8"),
            Expected::Integer => write!(f, "an integer"),
            Expected::Between(min, max) => write!(f, "between {min} and {max}"),
            Expected::Seconds => write!(f, "a number of seconds"),
            Expected::NotNegative => write!(f, "0 or above"),
            Expected::Positive => write!(f, "above 0"),
            Expected::AtMostSeconds(max) => write!(f, "at most {max} seconds"),
            Expected::Tokens(max) => write!(f, "an integer number of tokens from 1 to {max}"),
            Expected::Dollars(max) => write!(f, "a number of dollars above 0 and at most {max}"),
            Expected::CommandLimit => write!(f, "of the form /NAME=LIMIT"),
            Expected::OneOf(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// A mistake on the command line or in the environment.
#[derive(Clone, Debug, PartialEq)]
pub enum UsageError {
    /// An option that does not exist.
    UnknownOption {
        /// The option as it was given.
        given: String,
        /// Long name of the option with the closest name.
        suggestion: Option<&'static str>,
    },
    /// A prefix of several options.
    AmbiguousOption {
        /// The option as it was given.
        given: String,
        /// Long names of the options.
        candidates: Vec<&'static str>,
    },
    /// A value of an option that takes none.
    UnexpectedValue {
        /// The option as it was given.
        option: String,
        /// The value.
        value: String,
    },
    /// An option without its value.
    MissingValue {
        /// Long name of the option.
        option: &'static str,
        /// Placeholder of the value.
        placeholder: &'static str,
    },
    /// An invalid value of an option.
    InvalidValue {
        /// Long name of the option.
        option: &'static str,
        /// Problem with the value.
        error: ValueError,
    },
    /// An invalid value of an environment variable.
    InvalidVariable {
        /// Name of the variable.
        name: &'static str,
        /// Problem with the value.
        error: ValueError,
    },
    /// An option of a command, without a command.
    RequiresCommand {
        /// Long name of the option.
        option: &'static str,
    },
    /// The path of a config, given as an argument.
    ConfigArgument(String),
    /// An argument after the command.
    SecondArgument(String),
    /// A single word that is no slash command: `zen help` must not start an agent that costs money.
    BareWord(String),
    /// An invalid command.
    InvalidCommand(ValueError),
    /// `--apex` of netra-zen.
    Apex,
    /// Neither a config nor a command.
    NothingToRun,
    /// Another error of the parser.
    Syntax(String),
}

impl Display for UsageError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        const USAGE: &str = "see zen --help";
        const USE_CONFIG: &str = "give a config with --config FILE";
        match self {
            UsageError::UnknownOption { given, suggestion: Some(name) } => {
                write!(f, "unknown option {}, did you mean '--{name}'?", quoted(given))
            }
            UsageError::UnknownOption { given, suggestion: None } => {
                write!(f, "unknown option {} ({USAGE})", quoted(given))
            }
            UsageError::AmbiguousOption { given, candidates } => {
                write!(f, "ambiguous option {}: could be --{}", quoted(given), candidates.join(" or --"))
            }
            UsageError::UnexpectedValue { option, value } => {
                write!(f, "{option} takes no value, got {}", quoted(value))
            }
            UsageError::MissingValue { option, placeholder } => write!(f, "--{option}: missing {placeholder}"),
            UsageError::InvalidValue { option, error } => write!(f, "--{option}: {error}"),
            UsageError::InvalidVariable { name, error } => write!(f, "{name}: {error}"),
            UsageError::RequiresCommand { option } => {
                write!(f, "--{option} requires a command on the command line: set it in the config instead")
            }
            UsageError::ConfigArgument(given) => write!(f, "unexpected argument {}: {USE_CONFIG}", quoted(given)),
            UsageError::SecondArgument(given) => write!(
                f,
                "unexpected argument {}: only one command is allowed: quote one of several words, such as \"/review src\"",
                quoted(given)
            ),
            UsageError::BareWord(given) => write!(
                f,
                "unexpected argument {}: give a slash command as \"/{}\", a prompt of several words in quotes, or a config \
                 with --config FILE ({USAGE})",
                quoted(given),
                quote_input(given.trim())
            ),
            UsageError::InvalidCommand(error) => write!(f, "command: {error}"),
            UsageError::Apex => write!(f, "--apex is not supported: zen has no part of that hosted agent of netra-zen"),
            UsageError::NothingToRun => {
                write!(f, "nothing to run: {USE_CONFIG}, or one command, such as \"/review src\" ({USAGE})")
            }
            UsageError::Syntax(problem) => write!(f, "{problem}"),
        }
    }
}

/// Quotes the user's input for a message: short, and without control characters.
fn quoted(value: &str) -> String {
    format!("'{}'", quote_input(value))
}
