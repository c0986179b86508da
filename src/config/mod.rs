//! The config file: what a user may write, read into plain values, with every mistake told at once.
//!
//! [`Config::read`] takes the text and gives back either the config or the list of its mistakes, each with line, instance
//! and field. What a config *means* (defaults resolved, names and sessions made, dependencies checked) is the business
//! of [`crate::plan`]. Reads no file and knows no flag.

mod fields;
pub mod halt;
pub mod json;
mod reader;
mod schema;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::claude::pricing::Price;
use crate::config::halt::Halt;
pub use fields::Field;
pub use json::{Position, SyntaxError};
pub use schema::schema;
pub use values::{Shape, budget_command};

use reader::Reader;

/// The largest config that is read, in bytes. A plan of a hundred thousand instances fits.
pub const MAX_CONFIG_BYTES: u64 = 32 * 1024 * 1024;

/// More mistakes than anybody reads: those that come after them are not kept.
pub const MAX_MISTAKES: usize = 10_000;

/// More instances than anybody starts, and few enough for any memory.
const MAX_INSTANCES: usize = 100_000;

/// A config as its author wrote it, `defaults` already merged into each instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The entries of `instances`, in order.
    pub instances: Vec<InstanceConfig>,
    /// The `defaults` section.
    pub defaults: InstanceConfig,
    /// The `budget` section.
    pub budget: BudgetConfig,
    /// The `pricing` section: prices by the beginning of a model's name.
    pub pricing: BTreeMap<String, Price>,
    /// `halt`: how many failures stop the run.
    pub halt: Option<Halt>,
    /// Things that are allowed and yet worth a word, each a whole sentence with its place.
    pub warnings: Vec<String>,
}

/// One entry of `instances`. What is `None` was not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceConfig {
    /// Where the entry stands in the file.
    pub position: Option<Position>,
    /// Where the values of its own fields stand.
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
    /// `env`, added to zen's own environment; `None` takes a variable away
    pub env: BTreeMap<String, Option<String>>,
    /// `cwd`, relative to the workspace
    pub cwd: Option<String>,
    /// `claude_args`
    pub claude_args: Option<Vec<String>>,
}

impl InstanceConfig {
    /// Where the value of a field stands; that of the entry where the field comes from the defaults.
    #[must_use]
    pub fn position_of(&self, field: &str) -> Option<Position> {
        self.places.iter().find(|(name, _)| *name == field).map(|(_, place)| *place).or(self.position)
    }
}

/// One entry of `depends_on`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyConfig {
    /// The instance that comes first.
    pub name: String,
    /// What it must have come to.
    pub when: DependencyCondition,
}

/// What an instance that others depend on must have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DependencyCondition {
    /// It has completed.
    #[default]
    Completed,
    /// It has ended, however.
    Ended,
}

/// The `budget` section. What is `None` was not given; the per-command maps are keyed as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BudgetConfig {
    /// `overall_budget`, in tokens
    pub overall_tokens: Option<u64>,
    /// `overall_cost_budget`, in micro-dollars
    pub overall_micros: Option<u64>,
    /// `command_budgets`, in tokens
    pub command_tokens: BTreeMap<String, u64>,
    /// `command_cost_budgets`, in micro-dollars
    pub command_micros: BTreeMap<String, u64>,
    /// `budget_type`
    pub budget_type: Option<BudgetType>,
    /// `enforcement_mode`
    pub enforcement: Option<Enforcement>,
    /// `disable_visuals`
    pub disable_visuals: Option<bool>,
    /// `token_basis`
    pub token_basis: Option<TokenBasis>,
}

/// An entry of `pricing`, in micro-dollars per million tokens.
#[derive(Default)]
struct PriceConfig {
    input: Option<u64>,
    output: Option<u64>,
    cache_write: Option<u64>,
    cache_read: Option<u64>,
}

impl BudgetConfig {
    /// The limits that are set and do not count, because `budget_type` leaves out their kind, by their fields; and those
    /// that count.
    #[must_use]
    pub fn limits_that_do_not_count(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let of_tokens =
            [("overall_budget", self.overall_tokens.is_some()), ("command_budgets", !self.command_tokens.is_empty())];
        let of_dollars = [
            ("overall_cost_budget", self.overall_micros.is_some()),
            ("command_cost_budgets", !self.command_micros.is_empty()),
        ];
        let set = |limits: [(&'static str, bool); 2]| -> Vec<&'static str> {
            limits.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect()
        };
        let (of_tokens, of_dollars) = (set(of_tokens), set(of_dollars));
        match self.budget_type {
            Some(BudgetType::Tokens) => (of_dollars, of_tokens),
            Some(BudgetType::Cost) => (of_tokens, of_dollars),
            Some(BudgetType::Mixed) | None => (Vec::new(), [of_tokens, of_dollars].concat()),
        }
    }

    /// Whether there is a limit in dollars that stops instances of this command.
    #[must_use]
    pub fn blocks_dollars_of(&self, command: Option<&str>) -> bool {
        let is_limited = |command| self.command_micros.contains_key(command);
        self.blocks_dollars() && (self.overall_micros.is_some() || command.is_some_and(is_limited))
    }

    /// Whether there is a limit in dollars that stops anybody.
    #[must_use]
    pub fn blocks_dollars(&self) -> bool {
        let is_set = self.overall_micros.is_some() || !self.command_micros.is_empty();
        let counts = self.budget_type != Some(BudgetType::Tokens);
        is_set && counts && self.enforcement.unwrap_or_default() == Enforcement::Block
    }

    /// The commands that have a limit, of tokens or of dollars.
    #[must_use]
    pub fn limited_commands(&self) -> BTreeSet<&str> {
        let mut commands = BTreeSet::new();
        commands.extend(self.command_tokens.keys().chain(self.command_micros.keys()).map(String::as_str));
        commands
    }

    /// These limits, where `stronger` (the command line) does not say otherwise.
    #[must_use]
    pub fn merged_with(mut self, stronger: &BudgetConfig) -> Self {
        self.command_tokens.extend(stronger.command_tokens.clone());
        self.command_micros.extend(stronger.command_micros.clone());
        BudgetConfig {
            overall_tokens: stronger.overall_tokens.or(self.overall_tokens),
            overall_micros: stronger.overall_micros.or(self.overall_micros),
            budget_type: stronger.budget_type.or(self.budget_type),
            enforcement: stronger.enforcement.or(self.enforcement),
            disable_visuals: stronger.disable_visuals.or(self.disable_visuals),
            token_basis: stronger.token_basis.or(self.token_basis),
            ..self
        }
    }
}

/// The treatment of commands that still run in the background when the last turn has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    /// Wait for them, and for the turn that claude takes when they have ended.
    #[default]
    Wait,
    /// Stop them; the instance has completed.
    Stop,
    /// Stop them; the instance has failed.
    Fail,
}

/// Which limits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetType {
    /// Those in tokens.
    Tokens,
    /// Those in dollars.
    Cost,
    /// Both.
    Mixed,
}

impl BudgetType {
    /// The config's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            BudgetType::Tokens => "tokens",
            BudgetType::Cost => "cost",
            BudgetType::Mixed => "mixed",
        }
    }
}

impl Enforcement {
    /// The config's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Enforcement::Block => "block",
            Enforcement::Warn => "warn",
        }
    }
}

/// What happens at a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// What would go over it is not started, what reaches it is stopped.
    #[default]
    Block,
    /// It is said, and everything goes on.
    Warn,
}

/// Which tokens count against a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenBasis {
    /// Input, output, cache creation and cache reads.
    #[default]
    Total,
    /// All but cache reads.
    Uncached,
}

/// The permission modes that some generation of claude takes.
pub const PERMISSION_MODES: &[&str] =
    &["default", "acceptEdits", "bypassPermissions", "plan", "dontAsk", "delegate", "auto", "manual"];

/// What `output_format` may say. zen reads claude's stream itself either way.
pub const OUTPUT_FORMATS: &[&str] = &["stream-json", "json", "text"];

/// One mistake in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it stands.
    pub position: Position,
    /// The instance it is in, as a user would name it; empty outside of instances.
    pub instance: String,
    /// The field it is about; empty where it is about the whole.
    pub field: String,
    /// What is wrong and, where there is one, the way out.
    pub message: String,
}

impl Diagnostic {
    /// Puts them in the order of the file.
    pub fn sort(mistakes: &mut [Diagnostic]) {
        mistakes.sort_by_key(|mistake| mistake.position);
    }
}

impl fmt::Display for Diagnostic {
    /// `line 12, column 7: instance 'reporter': timeout: must be …`
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.position.line, self.position.column)?;
        for part in [&self.instance, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// Why a config cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// It is no JSON.
    Syntax(SyntaxError),
    /// It is JSON, and wrong; in the order of the file.
    Invalid(Vec<Diagnostic>),
}

/// The fields that an instance may have.
pub fn instance_fields() -> impl Iterator<Item = &'static Field> {
    fields::INSTANCE.iter().map(|row| &row.field)
}

/// The fields that `budget` may have.
pub fn budget_fields() -> impl Iterator<Item = &'static Field> {
    fields::BUDGET.iter().map(|row| &row.field)
}

impl Config {
    /// This config with one instance in place of its own: what `instance` does not say is as in `defaults`.
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

    /// Reads a config's text.
    ///
    /// # Errors
    /// The syntax error, or all the mistakes there are.
    pub fn read(text: &str) -> Result<Config, ConfigError> {
        match Config::read_with_diagnostics(text).map_err(ConfigError::Syntax)? {
            (config, mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(ConfigError::Invalid(mistakes)),
        }
    }

    /// Reads a config's text as far as it can be read, for whoever looks for mistakes of other kinds in it as well.
    ///
    /// # Errors
    /// The syntax error.
    pub fn read_with_diagnostics(text: &str) -> Result<(Config, Vec<Diagnostic>), SyntaxError> {
        // Editors on some systems put a byte order mark before the text, which JSON does not know.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = json::Document::parse(text)?;
        let mut reader = Reader::new(document);
        let config = reader.config();
        Ok(reader.finish(config))
    }
}
