//! Reads the config and builds the plan from it and the command line.

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::base::text;
use crate::cli::flags::{ConfigSource, Options};
use crate::config::{BudgetConfig, BudgetType, Config, ConfigError, Diagnostic, MAX_CONFIG_BYTES, MAX_MISTAKES};
use crate::plan::{Defaults, HostFiles, Plan, PlanProblem, plan};
use crate::preflight::command_files;
use crate::preflight::workspace::{self, display_path};
use crate::system::error_text;

/// Problem with a config, without its name.
#[derive(Debug)]
pub enum LoadError {
    /// The path is a directory.
    IsDirectory,
    /// The system's error.
    Unreadable(io::Error),
    /// The file is larger than any config.
    TooLarge,
    /// The file is UTF-16.
    Utf16,
    /// The file has only white space.
    Empty,
    /// The file is not UTF-8; the line of the first invalid byte.
    NotUtf8(usize),
    /// The text is no config, or the config has no valid plan.
    Config(ConfigError<PlanProblem>),
}

impl Display for LoadError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            LoadError::IsDirectory => write!(f, "is a directory: give the file of the config with --config FILE"),
            LoadError::Unreadable(error) => write!(f, "cannot be read: {}", error_text(error)),
            LoadError::TooLarge => write!(f, "larger than {} MB: not a config", MAX_CONFIG_BYTES / 1024 / 1024),
            LoadError::Utf16 => write!(f, "encoded in UTF-16: save it as UTF-8"),
            LoadError::Empty => write!(f, "empty: a config is an object with a list of \"instances\""),
            LoadError::NotUtf8(line) => write!(f, "invalid UTF-8 in line {line}: save it as UTF-8"),
            LoadError::Config(ConfigError::Syntax(error)) => {
                let (line, column) = (error.position.line, error.position.column);
                let excerpt = error.excerpt.replace('\n', "\n    ");
                write!(f, "JSON parsing error at line {line}, column {column}: {error}\n    {excerpt}")
            }
            LoadError::Config(ConfigError::Invalid(diagnostics)) => Mistakes(diagnostics).fmt(f),
        }
    }
}

/// List of the mistakes in a config.
pub(super) struct Mistakes<'a>(pub(super) &'a [Diagnostic<PlanProblem>]);

impl Display for Mistakes<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        const MAX_SHOWN: usize = 50;
        match self.0.len() {
            1 => write!(f, "1 mistake")?,
            MAX_MISTAKES.. => write!(f, "{MAX_MISTAKES} mistakes or more")?,
            count => write!(f, "{count} mistakes")?,
        }
        write!(f, ", nothing was launched:")?;
        for mistake in self.0.iter().take(MAX_SHOWN) {
            write!(f, "\n  {mistake}")?;
        }
        match self.0.len() {
            ..=MAX_SHOWN => Ok(()),
            MAX_MISTAKES.. => write!(f, "\n  and many more"),
            count => write!(f, "\n  and {} more", count - MAX_SHOWN),
        }
    }
}

/// Returns the name of the config in messages.
pub(super) fn config_name(source: Option<&ConfigSource>) -> String {
    match source {
        Some(ConfigSource::File(path)) => display_path(path),
        Some(ConfigSource::Stdin) => "standard input".to_owned(),
        None => "the command".to_owned(),
    }
}

/// Reads the text of a config.
pub(super) fn read(source: &ConfigSource) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    // One byte more than the maximum reveals a config that is too large.
    let limit = MAX_CONFIG_BYTES + 1;
    let read = match source {
        ConfigSource::Stdin => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        ConfigSource::File(path) => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    match read {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Err(LoadError::IsDirectory),
        Err(error) => return Err(LoadError::Unreadable(error)),
        Ok(_) => {}
    }
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(LoadError::TooLarge);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(LoadError::Utf16);
    }
    if bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).iter().all(u8::is_ascii_whitespace) {
        return Err(LoadError::Empty);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        LoadError::NotUtf8(valid.iter().filter(|&&byte| byte == b'\n').count() + 1)
    })
}

/// Builds the plan from a config's text, or from the single command with the rest of the config; flags of the command
/// line take precedence. Also returns the settings of the config that they override.
pub(super) fn build_plan(
    text: Option<&str>,
    options: &Options,
    workspace: &Path,
) -> Result<(Plan, Vec<Override>), LoadError> {
    let (mut config, diagnostics) = match text.map(Config::read_with_diagnostics) {
        Some(Ok(read)) => read,
        Some(Err(error)) => return Err(LoadError::Config(ConfigError::Syntax(error))),
        None => Default::default(),
    };
    let mut mistakes: Vec<Diagnostic<PlanProblem>> = diagnostics.into_iter().map(Diagnostic::into_problem).collect();
    let overrides = overrides(&config.budget, &options.budget);
    config.budget = config.budget.merged_with(&options.budget);
    let single_instance = options.single_instance();
    if let Some(instance) = single_instance {
        config = config.with_single_instance(instance);
        // A config that only defines budgets has no instances.
        mistakes.retain(|mistake| mistake.field != "instances");
    }
    let defaults = Defaults {
        timeout: options.timeout,
        idle_timeout: options.idle_timeout,
        startup_timeout: options.startup_timeout,
    };
    match plan(config, workspace, &defaults, &Machine) {
        // Budgets of other commands in the config are no mistakes here.
        Ok(plan) if mistakes.is_empty() && single_instance.is_some() => {
            return Ok((Plan { warnings: Vec::new(), notes: Vec::new(), ..plan }, overrides));
        }
        Ok(plan) if mistakes.is_empty() => return Ok((plan, overrides)),
        Ok(_) => {}
        Err(more) => mistakes.extend(more),
    }
    Diagnostic::sort(&mut mistakes);
    Err(LoadError::Config(ConfigError::Invalid(mistakes)))
}

/// A setting of the command line that overrides one of the config's budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The flag, with the command that it applies to.
    flag: String,
    /// The value in the config, if there is one.
    config_value: Option<String>,
}

impl Display for Override {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "by --{}", self.flag)?;
        match &self.config_value {
            Some(value) => write!(f, ", overrides {value} in the config"),
            None => Ok(()),
        }
    }
}

/// Returns the settings of the command line that override the config's budget.
fn overrides(config: &BudgetConfig, flags: &BudgetConfig) -> Vec<Override> {
    let mut overrides = Vec::new();
    let mut add = |flag: String, config_value| overrides.push(Override { flag, config_value });
    if flags.overall_tokens.is_some() {
        add("overall-token-budget".to_owned(), config.overall_tokens.map(text::thousands));
    }
    if flags.overall_micros.is_some() {
        add("overall-cost-budget".to_owned(), config.overall_micros.map(text::dollars));
    }
    for command in flags.command_tokens.keys() {
        let config_value = config.command_tokens.get(command).copied().map(text::thousands);
        add(format!("command-budget {command}"), config_value);
    }
    for command in flags.command_micros.keys() {
        let config_value = config.command_micros.get(command).copied().map(text::dollars);
        add(format!("command-cost-budget {command}"), config_value);
    }
    if flags.enforcement.is_some() {
        add("budget-enforcement-mode".to_owned(), config.enforcement.map(|mode| mode.word().to_owned()));
    }
    if flags.budget_type.is_some() {
        add("budget-parameter-type".to_owned(), config.budget_type.map(|kind| kind.word().to_owned()));
    }
    overrides
}

/// Limits that are set, but that the type of the budget excludes.
#[derive(Debug, PartialEq, Eq)]
pub struct IgnoredLimits {
    fields: Vec<&'static str>,
    budget_type: &'static str,
    /// True if some other limit is in effect. If none is, that is an error, because the user relies on one.
    pub(super) has_effective_limit: bool,
}

impl Display for IgnoredLimits {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let fields = self.fields.join(" and ");
        write!(f, "budget: budget_type '{}' ignores {fields}", self.budget_type)?;
        if self.has_effective_limit { Ok(()) } else { write!(f, ", the only limit: set 'mixed', or another limit") }
    }
}

/// Returns the limits that are set but not in effect, if there are any.
pub(super) fn ignored_limits(budget: &BudgetConfig) -> Option<IgnoredLimits> {
    let (fields, effective) = budget.limits_that_do_not_count();
    if fields.is_empty() {
        return None;
    }
    let budget_type = budget.budget_type.map_or("", BudgetType::word);
    Some(IgnoredLimits { fields, budget_type, has_effective_limit: !effective.is_empty() })
}

struct Machine;

impl HostFiles for Machine {
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir() && workspace::can_enter(path)
    }

    fn has_command_file(&self, directory: &Path, name: &str) -> bool {
        command_files::find(directory).files.iter().any(|file| file.name == name)
    }
}
