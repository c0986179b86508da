//! What the command line asks of a run, typed and complete: what was not given has its default. Knows nothing of how
//! the flags are spelled, and nothing of the config, which may say otherwise for single instances.

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
    /// Where the config is read from. A command line with neither this nor a command is a mistake that
    /// [`parse`](super::parse()) reports.
    pub config: Option<ConfigSource>,
    /// What the command line says of its one command; without `command` and `prompt`, it has none.
    pub instance: InstanceConfig,
    /// The directory that the instances work in; none for the project that zen was started in.
    pub workspace: Option<PathBuf>,
    /// The claude program, if the environment is not to choose it.
    pub claude: Option<PathBuf>,
    /// Print the plan instead of running it.
    pub dry_run: bool,
    /// When the run is to start, if not at once.
    pub start_at: Option<StartAt>,
    /// The least time between one launch and the next.
    pub startup_delay: Duration,
    /// How many instances may run at a time; none for all.
    pub max_parallel: Option<usize>,
    /// How long an instance may run that has no timeout of its own; above zero.
    pub timeout: Duration,
    /// How long an instance may be silent that has no idle timeout of its own; above zero, none for ever.
    pub idle_timeout: Option<Duration>,
    /// How long claude may take to answer `initialize`; above zero.
    pub startup_timeout: Duration,
    /// The time from an interrupt to SIGTERM.
    pub grace: Duration,
    /// What a usage limit of the account does to the run.
    pub on_limit: UsageLimitPolicy,
    /// The longest wait for the reset of a usage limit.
    pub limit_wait_max: Duration,
    /// How many failures stop the run; none: no number does.
    pub halt: Option<Halt>,
    /// The limits that the command line sets; they beat the config's.
    pub budget: BudgetConfig,
    /// The time between two status reports; above zero.
    pub status_report_interval: Duration,
    /// Lines shown of each instance between two reports.
    pub max_console_lines: usize,
    /// Columns after which such a line is cut; at least 20.
    pub max_line_length: usize,
    /// How much is printed.
    pub log_level: LogLevel,
    /// What is printed at the end of a run in which every instance has completed.
    pub on_success: OnSuccess,
    /// Where the run's files go.
    pub logs: LogDir,
    /// What keeps it from overlapping with another run.
    pub lock: LockPolicy,
    /// What is to be answered instead of a run.
    pub question: Option<Query>,
}

/// Something that is asked of zen, and takes no run to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Which slash commands there are.
    Commands,
    /// What this slash command is.
    Command(String),
    /// Which configs there are to start from.
    Examples,
    /// One of them.
    Example(&'static Example),
    /// What to paste into a model so that it writes a config.
    PromptTemplate,
    /// The JSON Schema of a config.
    Schema,
}

/// Where a config is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// Where a run's files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDir {
    /// To a directory of their own in the user's state directory.
    Default,
    /// To this directory.
    Path(PathBuf),
    /// Nowhere: none are written.
    Disabled,
}

/// Which lock a run holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockPolicy {
    /// That of its config in its workspace, in the user's state directory; none where the config is no file.
    PerConfig,
    /// This file.
    File(PathBuf),
    /// None: it may overlap with any other.
    Disabled,
}

impl Options {
    /// The one instance to run, where the command line has a command.
    #[must_use]
    pub fn single_instance(&self) -> Option<&InstanceConfig> {
        (self.instance.command.is_some() || self.instance.prompt.is_some()).then_some(&self.instance)
    }

    /// With the home directory in place of a tilde at the beginning of a path.
    #[must_use]
    pub(super) fn at_home(mut self, home: &Path) -> Self {
        let config = match &mut self.config {
            Some(ConfigSource::File(path)) => Some(path),
            _ => None,
        };
        let logs = match &mut self.logs {
            LogDir::Path(path) => Some(path),
            _ => None,
        };
        let lock = match &mut self.lock {
            LockPolicy::File(path) => Some(path),
            _ => None,
        };
        for path in [config, self.workspace.as_mut(), self.claude.as_mut(), logs, lock].into_iter().flatten() {
            *path = expand_tilde(path, home);
        }
        self
    }
}

/// `--workspace=~/project` comes as it stands from most shells, and so do the variables of a crontab.
#[must_use]
pub fn expand_tilde(path: &Path, home: &Path) -> PathBuf {
    path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| home.join(rest))
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
            question: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_home() {
        for (path, expected) in
            [("~/app", "/home/me/app"), ("~", "/home/me"), ("./~/app", "./~/app"), ("~you/app", "~you/app"), ("-", "-")]
        {
            assert_eq!(expand_tilde(Path::new(path), Path::new("/home/me")), Path::new(expected));
        }
    }
}
