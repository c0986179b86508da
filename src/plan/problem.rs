//! Problems of a config that planning finds, and their wording.

use std::fmt;

use crate::base::text::quote_input;
use crate::claude::extra_args::ArgumentError;
use crate::claude::slash_commands::CommandNotFound;
use crate::claude::tool_lint::{ToolError, ToolWarning};
use crate::config::ConfigProblem;
use crate::plan::result_template::PlaceholderError;

/// Number of names in the message about a cycle; the others are left out.
pub(super) const MAX_CYCLE_NAMES: usize = 10;

/// Problem of a config that makes a plan impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanProblem {
    /// A problem that the text of the config alone shows.
    Config(ConfigProblem),
    /// A name in `depends_on` that is no possible dependency.
    Dependency(ReferenceError),
    /// A placeholder that cannot be replaced by a result.
    Placeholder(PlaceholderError),
    /// Instances that wait for each other.
    Cycle {
        /// Names of the instances, in the order of waiting.
        names: Vec<String>,
        /// True if some wait only because of their session.
        is_by_session: bool,
    },
    /// A directory that does not exist or cannot be entered.
    Directory(String),
    /// A session that an earlier instance uses in another directory.
    SessionDirectory {
        /// Name of the earlier instance.
        first: String,
    },
    /// A tool or a pattern that claude or zen does not accept.
    Tool(ToolError),
    /// An element of `claude_args` that does not work with zen.
    Argument(ArgumentError),
    /// An estimate above a limit that covers the instance.
    EstimateAboveLimit {
        /// The limit.
        limit: LimitName,
        /// Tokens of the limit.
        max: u64,
        /// Tokens of the estimate.
        estimate: u64,
    },
    /// A string that is too long for an argument or a variable of a process.
    TooLong,
    /// A `/clear` as the last turn.
    NothingAfterClear,
    /// A slash command that claude does not have.
    MissingCommand(CommandNotFound),
}

/// Name of a token limit in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitName {
    /// `overall_budget`
    Overall,
    /// The entry of `command_budgets` for this command.
    Command(String),
}

/// Name of an instance that cannot be referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// The instance itself.
    Itself,
    /// An instance that this one does not depend on.
    NotADependency(String),
    /// A name that no instance has.
    UnknownInstance {
        /// Name, as written.
        name: String,
        /// Similar name.
        suggestion: Option<String>,
    },
}

impl From<ConfigProblem> for PlanProblem {
    fn from(problem: ConfigProblem) -> Self {
        PlanProblem::Config(problem)
    }
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            PlanProblem::Config(problem) => write!(f, "{problem}"),
            PlanProblem::Dependency(error) => write!(f, "{error}"),
            PlanProblem::Placeholder(error) => write!(f, "{error}"),
            PlanProblem::Cycle { names, is_by_session } => {
                f.write_str("dependency cycle: ")?;
                for name in names.iter().take(MAX_CYCLE_NAMES) {
                    write!(f, "{} -> ", quote_input(name))?;
                }
                if names.len() > MAX_CYCLE_NAMES {
                    f.write_str("... -> ")?;
                }
                f.write_str(&quote_input(names.first().map_or("", String::as_str)))?;
                if *is_by_session {
                    f.write_str(" (instances of one session run in the config's order)")
                } else {
                    Ok(())
                }
            }
            PlanProblem::Directory(path) => write!(f, "not an accessible directory: {path}"),
            PlanProblem::SessionDirectory { first } => write!(
                f,
                "instance '{}' uses it in another directory, and claude keeps conversations by directory: \
                 use another name",
                quote_input(first)
            ),
            PlanProblem::Tool(error) => write!(f, "{error}"),
            PlanProblem::Argument(error) => write!(f, "{error}"),
            PlanProblem::EstimateAboveLimit { limit, max, estimate } => write!(
                f,
                "must be at most {limit}, which is {max} tokens, got {estimate}: the instance could never start"
            ),
            PlanProblem::TooLong => f.write_str("must be shorter than 128 KiB, the limit of a process argument"),
            PlanProblem::NothingAfterClear => f.write_str(
                "'/clear' leaves nothing to run: set another command, and put '/clear' into pre_commands or set \
                 \"clear_history\": true",
            ),
            PlanProblem::MissingCommand(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            LimitName::Overall => f.write_str("the overall budget"),
            LimitName::Command(command) => write!(f, "the budget of {}", quote_input(command)),
        }
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ReferenceError::Itself => f.write_str("must not be the instance itself"),
            ReferenceError::NotADependency(name) => {
                write!(f, "not a dependency: add '{}' to depends_on", quote_input(name))
            }
            ReferenceError::UnknownInstance { name, suggestion } => {
                write!(f, "unknown instance '{}'", quote_input(name))?;
                write_suggestion(f, suggestion.as_deref())
            }
        }
    }
}

/// Warning about a setting that is probably a typo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanWarning {
    /// A tool of an instance.
    Tool {
        /// Line of the field.
        line: usize,
        /// Name of the instance.
        instance: String,
        /// Field of the tool.
        field: &'static str,
        /// Warning about the tool.
        warning: ToolWarning,
    },
    /// A budget for a command that no instance runs.
    UnusedBudget {
        /// Command of the budget.
        command: String,
        /// Similar command that an instance runs.
        suggestion: Option<String>,
    },
}

impl fmt::Display for PlanWarning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            PlanWarning::Tool { line, instance, field, warning } => {
                write!(f, "line {line}: instance '{}': {field}: {warning}", quote_input(instance))
            }
            PlanWarning::UnusedBudget { command, suggestion } => {
                write!(f, "budget: no instance runs '{}'", quote_input(command))?;
                write_suggestion(f, suggestion.as_deref())
            }
        }
    }
}

fn write_suggestion(f: &mut fmt::Formatter, suggestion: Option<&str>) -> fmt::Result {
    match suggestion {
        Some(name) => write!(f, ", did you mean '{}'?", quote_input(name)),
        None => Ok(()),
    }
}
