//! Plan of a run: a validated config with all defaults, names, sessions and dependencies resolved. Pure: facts about
//! the machine come in through [`HostFiles`].

mod build;
mod dependencies;
mod instance_id;
mod names;
pub mod problem;
pub mod result_template;
pub mod stages;
mod validate;

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::claude::invocation::{Invocation, Restrictions};
use crate::claude::pricing::Prices;
use crate::claude::slash_commands;
use crate::config::halt::Halt;
use crate::config::{Background, BudgetConfig, DependencyCondition, Position};
use crate::plan::problem::PlanWarning;
use crate::plan::result_template::Placeholder;
pub use build::plan;
pub use dependencies::waits_for;
pub use instance_id::InstanceId;
pub use problem::PlanProblem;

/// Defaults of instances, for fields that the config leaves out.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Time limit of an attempt.
    pub timeout: Duration,
    /// Time limit without output; `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// Time limit for the response to `initialize`.
    pub startup_timeout: Duration,
}

/// Queries about the machine's files, needed for planning.
pub trait HostFiles {
    /// Returns true if a file or directory exists at this absolute path.
    fn exists(&self, path: &Path) -> bool;
    /// Returns true if the path is a directory that can be entered.
    fn is_directory(&self, path: &Path) -> bool;
    /// Returns true if a file of this directory, or of the user, defines this slash command.
    fn has_command_file(&self, directory: &Path, name: &str) -> bool;
}

/// Plan of a run, ready to execute.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Instances in config order, which is their priority.
    pub instances: Vec<Instance>,
    /// Limits of the run.
    pub budget: BudgetConfig,
    /// Number of failures that stop the run.
    pub halt: Option<Halt>,
    /// Token prices, used until claude reports the cost.
    pub prices: Prices,
    /// Warnings about restrictions that probably have no effect: a budget or a tool with a likely typo.
    pub warnings: Vec<PlanWarning>,
    /// Notes about valid but questionable settings.
    pub notes: Vec<String>,
}

/// Instance of a plan.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Unique name.
    pub name: String,
    /// Description from the config.
    pub description: Option<String>,
    /// Command name that command budgets match: the first word of its command.
    pub budget_command: Option<String>,
    /// Messages in order: the pre-commands, then the command.
    pub turns: Vec<Turn>,
    /// Estimate from the config of the tokens that it will use.
    pub max_tokens: Option<u64>,
    /// Time limit of an attempt.
    pub timeout: Duration,
    /// Time limit without output.
    pub idle_timeout: Option<Duration>,
    /// Time limit from the start of claude to its response to `initialize`.
    pub startup_timeout: Duration,
    /// Retry policy after a failure.
    pub retries: RetryPolicy,
    /// Dependencies, by index, each with the condition that it must meet.
    pub depends_on: Vec<(usize, DependencyCondition)>,
    /// True if the instance fails when a tool is denied.
    pub fail_on_denied: bool,
    /// Treatment of commands that run in the background after the last turn.
    pub background: Background,
    /// Time limit of the wait for background commands.
    pub background_wait: Duration,
    /// True if the instance fails when claude cannot start or reach an MCP server.
    pub fails_on_mcp: bool,
    /// Invocation of claude.
    pub invocation: Invocation,
}

/// Message to an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Text of the message, as in the config.
    pub text: String,
    /// Slash command that it invokes, without the slash.
    pub command: Option<String>,
    /// True if the command's name is also a path (`/tmp is full`). If claude has no such command, the error mentions
    /// it.
    pub may_be_path: bool,
    /// True if it invokes `/clear`, or an alias that is no command of the user's own.
    pub is_clear: bool,
    /// Position of its text in the config.
    pub position: Option<Position>,
    /// Placeholders in the text for results of other instances, which have ended before it is sent.
    pub placeholders: Vec<Placeholder>,
}

/// Turns of an instance that belong to one conversation, and are run by one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationSegment {
    /// Range of its turns.
    pub turns: Range<usize>,
    /// True if the earlier conversation is cleared before.
    pub starts_fresh: bool,
}

impl Turn {
    /// Returns the command to check before the run. `/help`, `/clear` and `/compact` always work and are not checked.
    #[must_use]
    pub fn command_to_check(&self) -> Option<&str> {
        let name = self.command.as_deref()?;
        if self.is_clear || slash_commands::always_works(name) { None } else { Some(name) }
    }

    /// Returns true if the turn clears the conversation. zen does this itself: older generations have no such command,
    /// and 2.1 leaves the session when it receives it.
    #[must_use]
    pub fn clears(&self) -> bool {
        self.is_clear
    }
}

impl Instance {
    /// Returns the indices of the instances that it depends on.
    pub fn dependencies(&self) -> impl Iterator<Item = usize> {
        self.depends_on.iter().map(|&(other, _)| other)
    }

    /// Returns true if its conversation is cleared before its first turn.
    #[must_use]
    pub fn starts_cleared(&self) -> bool {
        self.segments().first().is_some_and(|first| first.starts_fresh)
    }

    /// Returns its turns, split where the conversation is cleared, without the clearing turns.
    #[must_use]
    pub fn segments(&self) -> Vec<ConversationSegment> {
        let mut segments: Vec<ConversationSegment> = Vec::new();
        let mut is_cleared = false;
        for (i, turn) in self.turns.iter().enumerate() {
            match segments.last_mut() {
                _ if turn.clears() => is_cleared = true,
                Some(segment) if !is_cleared => segment.turns.end = i + 1,
                _ => segments
                    .push(ConversationSegment { turns: i..i + 1, starts_fresh: std::mem::take(&mut is_cleared) }),
            }
        }
        segments
    }
}

impl Plan {
    /// Returns the plan with the restrictions that claude's own files require, one entry for each instance.
    #[must_use]
    pub fn with_restrictions(self, restrictions: Vec<Restrictions>) -> Plan {
        let mut instances = Vec::with_capacity(self.instances.len());
        for (instance, restrictions) in self.instances.into_iter().zip(restrictions) {
            let invocation = instance.invocation.with_restrictions(restrictions);
            instances.push(Instance { invocation, ..instance });
        }
        Plan { instances, ..self }
    }
}

/// Default delay before the first retry.
pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Number and delay of the retries of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum number of attempts after the first one.
    pub max_retries: u32,
    /// Delay before the first retry; it doubles each time.
    pub initial_delay: Duration,
}

/// Default mode of the original program. It asks no permission questions, which no user could answer.
const DEFAULT_PERMISSION_MODE: &str = "bypassPermissions";

/// Default time limit of the wait for background commands.
pub const DEFAULT_BACKGROUND_WAIT: Duration = Duration::from_secs(600);

/// Bound on the number of suggestions for mistyped names; each compares the name with all others.
const MAX_SUGGESTIONS: usize = 50;

/// Returns the plan of a valid config in the workspace `/w`, for tests. On its machine no command is a path, and every
/// directory exists.
#[cfg(test)]
pub(crate) fn planned(config: &str) -> Plan {
    struct Machine;
    impl HostFiles for Machine {
        fn exists(&self, _: &Path) -> bool {
            false
        }
        fn is_directory(&self, _: &Path) -> bool {
            true
        }
        fn has_command_file(&self, _: &Path, _: &str) -> bool {
            false
        }
    }
    let config = crate::config::Config::read(config).expect("a config");
    let defaults = Defaults {
        timeout: Duration::from_secs(10_000),
        idle_timeout: None,
        startup_timeout: Duration::from_secs(120),
    };
    plan(config, Path::new("/w"), &defaults, &Machine).expect("a plan")
}

#[cfg(test)]
mod tests;
