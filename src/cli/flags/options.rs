//! The options of a run, typed and complete: an option that was not given has its default. The config may override some
//! of them for single instances.

use crate::base::start_at::StartAt;
use crate::cli::examples::Example;
use crate::config::halt::Halt;
use crate::config::{BudgetConfig, InstanceConfig};
use crate::engine::usage_limit::{DEFAULT_MAX_WAIT, UsageLimitPolicy};
use crate::report::verbosity::{LogLevel, OnSuccess};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Source of the config. A command line with neither a config nor a command is an error that
    /// [`parse`](super::parse()) reports.
    pub config: Option<ConfigSource>,
    /// The single instance from the command line; without `command` and `prompt`, there is none.
    pub instance: InstanceConfig,
    /// Directory that the instances work in; `None` for the project that contains the current directory.
    pub workspace: Option<PathBuf>,
    /// Path of claude; `None` to find it by the environment.
    pub claude: Option<PathBuf>,
    /// Print the plan instead of running it.
    pub dry_run: bool,
    /// Start of the run, if it is delayed.
    pub start_at: Option<StartAt>,
    /// Minimum time between two launches.
    pub startup_delay: Duration,
    /// Maximum number of instances that run at a time; `None` for no limit.
    pub max_parallel: Option<usize>,
    /// Time limit of an instance without a timeout of its own; above zero.
    pub timeout: Duration,
    /// Time limit without output of an instance without an idle timeout of its own; above zero, `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// Time limit for claude's response to `initialize`; above zero.
    pub startup_timeout: Duration,
    /// Time from an interrupt to SIGTERM.
    pub grace: Duration,
    /// Effect of the account's usage limit on the run.
    pub on_limit: UsageLimitPolicy,
    /// Maximum wait for the reset of a usage limit.
    pub limit_wait_max: Duration,
    /// Number of failures that stops the run; `None` for no limit.
    pub halt: Option<Halt>,
    /// Limits set by the command line; they take precedence over the config's.
    pub budget: BudgetConfig,
    /// Time between two status reports; above zero.
    pub status_report_interval: Duration,
    /// Maximum number of output lines of each instance in a status report.
    pub max_console_lines: usize,
    /// Maximum columns of such a line; at least 20.
    pub max_line_length: usize,
    /// Amount of output.
    pub log_level: LogLevel,
    /// Output at the end of a run in which every instance has completed.
    pub on_success: OnSuccess,
    /// Directory of the run's files.
    pub logs: LogDir,
    /// Lock that prevents overlapping runs.
    pub lock: LockPolicy,
    /// Query that is answered instead of a run.
    pub query: Option<Query>,
}

/// A query that zen answers without a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The list of slash commands.
    Commands,
    /// The details of one slash command.
    Command(String),
    /// The list of example configs.
    Examples,
    /// One example config.
    Example(&'static Example),
    /// The prompt from which a model writes a config.
    PromptTemplate,
    /// The JSON Schema of a config.
    Schema,
}

/// Source of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// Directory of a run's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDir {
    /// A directory for each run in the user's state directory.
    Default,
    /// A directory for each run below this one.
    Path(PathBuf),
    /// No files are written.
    Disabled,
}

/// Lock that a run holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockPolicy {
    /// The lock of the config in the workspace, in the user's state directory; none if the config is not a file.
    PerConfig,
    /// This file.
    File(PathBuf),
    /// None: the run may overlap with any other.
    Disabled,
}

impl Options {
    /// Returns the single instance, if the command line has a command.
    #[must_use]
    pub fn single_instance(&self) -> Option<&InstanceConfig> {
        (self.instance.command.is_some() || self.instance.prompt.is_some()).then_some(&self.instance)
    }

    /// Replaces a leading tilde in each path by the home directory.
    #[must_use]
    pub(super) fn at_home(mut self, home: &Path) -> Self {
        let mut paths: Vec<&mut PathBuf> = self.workspace.iter_mut().chain(&mut self.claude).collect();
        if let Some(ConfigSource::File(path)) = &mut self.config {
            paths.push(path);
        }
        if let LogDir::Path(path) = &mut self.logs {
            paths.push(path);
        }
        if let LockPolicy::File(path) = &mut self.lock {
            paths.push(path);
        }
        for path in paths {
            *path = expand_tilde(path, home);
        }
        self
    }
}

/// Replaces a leading tilde. Most shells leave `--workspace=~/project` as it is, and cron the variables of a crontab.
#[must_use]
pub fn expand_tilde(path: &Path, home: &Path) -> PathBuf {
    match path.strip_prefix("~") {
        Ok(rest) => home.join(rest),
        Err(_) => path.to_owned(),
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            config: None,
            instance: InstanceConfig::default(),
            workspace: None,
            claude: None,
            dry_run: false,
            start_at: None,
            startup_delay: Duration::from_secs(5),
            max_parallel: None,
            timeout: Duration::from_secs(10_000),
            idle_timeout: None,
            startup_timeout: Duration::from_secs(120),
            grace: Duration::from_secs(5),
            on_limit: UsageLimitPolicy::default(),
            limit_wait_max: DEFAULT_MAX_WAIT,
            halt: None,
            budget: BudgetConfig::default(),
            status_report_interval: Duration::from_secs(5),
            max_console_lines: 5,
            max_line_length: 500,
            log_level: LogLevel::Concise,
            on_success: OnSuccess::default(),
            logs: LogDir::Default,
            lock: LockPolicy::PerConfig,
            query: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tilde_is_the_home_directory() {
        for (path, expected) in
            [("~/app", "/home/me/app"), ("~", "/home/me"), ("./~/app", "./~/app"), ("~you/app", "~you/app"), ("-", "-")]
        {
            assert_eq!(expand_tilde(Path::new(path), Path::new("/home/me")), Path::new(expected));
        }
    }
}
