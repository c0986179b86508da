//! Config file: parses the text into plain values and reports all errors at once.
//!
//! [`Config::read`] takes the text and returns the config, or a list of errors, each with its line, instance and field.
//! Defaults, names, sessions and dependencies are resolved later, by [`crate::plan`].

pub mod budget;
pub mod diagnostic;
mod fields;
pub mod halt;
pub mod json;
mod reader;
mod schema;
pub mod value_error;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::claude::pricing::Price;
use crate::config::halt::Halt;
pub use budget::{BudgetConfig, BudgetType, Enforcement, TokenBasis};
pub use diagnostic::{ConfigError, ConfigProblem, Diagnostic};
pub use fields::Field;
use fields::FieldSpec;
pub use json::{Position, SyntaxError};
pub use schema::schema;
pub use values::{Shape, budget_command};

use reader::Reader;

/// Bound on the size of a config, in bytes. A plan of a hundred thousand instances fits.
pub const MAX_CONFIG_BYTES: u64 = 32 * 1024 * 1024;

/// Bound on the errors that are kept.
pub const MAX_MISTAKES: usize = 10_000;

/// Bound on the number of instances, which keeps memory use small.
const MAX_INSTANCES: usize = 100_000;

/// Config as written, with `defaults` merged into each instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Entries of `instances`, in order.
    pub instances: Vec<InstanceConfig>,
    /// The `defaults` section.
    pub defaults: InstanceConfig,
    /// The `budget` section.
    pub budget: BudgetConfig,
    /// The `pricing` section: prices by prefix of a model's name.
    pub pricing: BTreeMap<String, Price>,
    /// `halt`: number of failures that stop the run.
    pub halt: Option<Halt>,
    /// Warnings about valid but questionable settings, each with its position.
    pub warnings: Vec<String>,
}

/// Entry of `instances`; `None` for fields that are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceConfig {
    /// Position of the entry in the file.
    pub position: Option<Position>,
    /// Positions of the values of its own fields.
    pub places: Vec<(&'static str, Position)>,
    /// `name`
    pub name: Option<String>,
    /// `command`: a slash command, or text
    pub command: Option<String>,
    /// `prompt`: always text
    pub prompt: Option<String>,
    /// `description`
    pub description: Option<String>,
    /// `permission_mode`, one of [`PERMISSION_MODES`]
    pub permission_mode: Option<String>,
    /// `output_format`, one of [`OUTPUT_FORMATS`]
    pub output_format: Option<String>,
    /// `max_tokens_per_command`, in tokens
    pub max_tokens: Option<u64>,
    /// `session_id`
    pub session_id: Option<String>,
    /// `clear_history`
    pub clear_history: Option<bool>,
    /// `compact_history`
    pub compact_history: Option<bool>,
    /// `allowed_tools`; an empty list allows none
    pub allowed_tools: Option<Vec<String>>,
    /// `disallowed_tools`
    pub disallowed_tools: Option<Vec<String>>,
    /// `fail_on_denied`
    pub fail_on_denied: Option<bool>,
    /// `fail_on_mcp`
    pub fail_on_mcp: Option<bool>,
    /// `background`
    pub background: Option<Background>,
    /// `background_wait`
    pub background_wait: Option<Duration>,
    /// `pre_commands`
    pub pre_commands: Option<Vec<String>>,
    /// `timeout`
    pub timeout: Option<Duration>,
    /// `idle_timeout`
    pub idle_timeout: Option<Duration>,
    /// `startup_timeout`
    pub startup_timeout: Option<Duration>,
    /// `retries`
    pub retries: Option<u32>,
    /// `retry_delay`
    pub retry_delay: Option<Duration>,
    /// `depends_on`
    pub depends_on: Option<Vec<DependencyConfig>>,
    /// `model`
    pub model: Option<String>,
    /// `env`, added to zen's own environment; `None` removes a variable
    pub env: BTreeMap<String, Option<String>>,
    /// `cwd`, relative to the workspace
    pub cwd: Option<String>,
    /// `claude_args`
    pub claude_args: Option<Vec<String>>,
}

impl InstanceConfig {
    /// Returns the position of a field's value, or of the entry if the value is a default.
    #[must_use]
    pub fn position_of(&self, field: &str) -> Option<Position> {
        match self.places.iter().find(|(name, _)| *name == field) {
            Some((_, position)) => Some(*position),
            None => self.position,
        }
    }
}

/// Entry of `depends_on`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyConfig {
    /// Name of the instance that must end first.
    pub name: String,
    /// Condition on its outcome.
    pub when: DependencyCondition,
}

/// Condition on the outcome of a dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DependencyCondition {
    /// It has completed.
    #[default]
    Completed,
    /// It has ended, with any outcome.
    Ended,
}

/// Entry of `pricing`, in micro-dollars per million tokens.
#[derive(Default)]
struct PriceConfig {
    input: Option<u64>,
    output: Option<u64>,
    cache_write: Option<u64>,
    cache_read: Option<u64>,
}

/// Treatment of commands that still run in the background when the last turn has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    /// Wait for them, and for the turn that claude begins when they have ended.
    #[default]
    Wait,
    /// Stop them; the instance has completed.
    Stop,
    /// Stop them; the instance has failed.
    Fail,
}

/// Permission modes that some generation of claude accepts.
pub const PERMISSION_MODES: &[&str] =
    &["default", "acceptEdits", "bypassPermissions", "plan", "dontAsk", "delegate", "auto", "manual"];

/// Values of `output_format`. zen reads claude's stream with any of them.
pub const OUTPUT_FORMATS: &[&str] = &["stream-json", "json", "text"];

/// Returns the fields of an instance.
pub fn instance_fields() -> impl Iterator<Item = &'static Field> {
    fields::INSTANCE.iter().map(FieldSpec::field)
}

/// Returns the fields of `budget`.
pub fn budget_fields() -> impl Iterator<Item = &'static Field> {
    fields::BUDGET.iter().map(FieldSpec::field)
}

impl Config {
    /// Replaces the instances by one; its missing fields are taken from `defaults`.
    #[must_use]
    pub fn with_single_instance(self, instance: &InstanceConfig) -> Config {
        let InstanceConfig { name, description, command, prompt, .. } = instance.clone();
        let defaults = self.defaults.clone();
        let instance = InstanceConfig {
            name,
            description,
            command,
            prompt,
            output_format: instance.output_format.clone().or(defaults.output_format),
            session_id: instance.session_id.clone().or(defaults.session_id),
            clear_history: instance.clear_history.or(defaults.clear_history),
            compact_history: instance.compact_history.or(defaults.compact_history),
            ..self.defaults.clone()
        };
        Config { instances: vec![instance], warnings: Vec::new(), ..self }
    }

    /// Parses the text of a config.
    ///
    /// # Errors
    /// Returns the syntax error, or all other errors.
    pub fn read(text: &str) -> Result<Config, ConfigError> {
        match Config::read_with_diagnostics(text).map_err(ConfigError::Syntax)? {
            (config, mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(ConfigError::Invalid(mistakes)),
        }
    }

    /// Parses as much of a config as possible, for callers that check it for further errors.
    ///
    /// # Errors
    /// Returns the syntax error.
    pub fn read_with_diagnostics(text: &str) -> Result<(Config, Vec<Diagnostic>), SyntaxError> {
        // Some editors write a byte order mark before the text, which is not valid JSON.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = json::Document::parse(text)?;
        let mut reader = Reader::new(document);
        let config = reader.config();
        Ok(reader.finish(config))
    }
}
