//! Finds the claude program, and queries its capabilities if the plan depends on them.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::claude::capabilities::Capabilities;
use crate::claude::permissions;
use crate::cli::flags::{Options, expand_tilde};
use crate::plan::Plan;
use crate::preflight::query::{self, QueryError};
use crate::preflight::workspace::display_path;
use crate::system::locate;

/// Time limit of `claude --help`. It takes half a second on an idle machine.
const HELP_LIMIT: Duration = Duration::from_secs(30);

/// Reason why claude cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum ClaudeError {
    /// It is not installed where it is searched.
    NotInstalled,
    /// The given path is not that of a program.
    NotExecutable {
        /// The path, as given.
        path: PathBuf,
        /// The option or variable that gave it.
        source: &'static str,
        /// Problem with the file.
        problem: &'static str,
    },
    /// Its help text could not be read.
    UnknownCapabilities {
        /// Path of the program.
        claude: PathBuf,
        /// Reason why there is no help text.
        error: QueryError,
    },
}

impl Display for ClaudeError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            ClaudeError::NotInstalled => write!(
                f,
                "Claude CLI not found in PATH or ~/.local/bin: install it with 'npm install -g \
                 @anthropic-ai/claude-code', or give its path with --claude PATH or ZEN_CLAUDE"
            ),
            ClaudeError::NotExecutable { path, source, problem } => write!(
                f,
                "Claude CLI not found: {source}: {} {problem}: give the path of the claude program",
                display_path(path)
            ),
            ClaudeError::UnknownCapabilities { claude, error } => {
                write!(f, "cannot read the capabilities of claude: {} --help: {error}", display_path(claude))
            }
        }
    }
}

/// Returns the claude executable: the given one, else the installed one.
///
/// # Errors
/// The reason why there is none.
pub fn find_claude(options: &Options) -> Result<PathBuf, ClaudeError> {
    let (search_path, home) = (std::env::var_os("PATH"), path_variable("HOME"));
    let (path, source) = match (&options.claude, path_variable("ZEN_CLAUDE")) {
        (Some(path), _) => (path.clone(), "--claude"),
        (None, Some(path)) => (home.as_deref().map_or(path.clone(), |home| expand_tilde(&path, home)), "ZEN_CLAUDE"),
        (None, None) => {
            return locate::claude(search_path.as_deref(), home.as_deref()).ok_or(ClaudeError::NotInstalled);
        }
    };
    locate::program(&path, search_path.as_deref()).map_err(|problem| ClaudeError::NotExecutable {
        path,
        source,
        problem,
    })
}

fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns the capabilities of claude. It is queried only if the plan depends on them, because that takes half a
/// second.
pub(super) fn capabilities(plan: &Plan, claude: Option<&Path>) -> Result<Capabilities, ClaudeError> {
    let Some(claude) = claude else { return Ok(Capabilities::newest()) };
    if !requires_capabilities(plan) {
        return Ok(Capabilities::newest());
    }
    match query::help_text(claude, HELP_LIMIT) {
        Ok(help) => Ok(Capabilities::of_help(&help)),
        Err(error) => Err(ClaudeError::UnknownCapabilities { claude: claude.to_owned(), error }),
    }
}

/// True if the plan needs a capability that not every generation of claude has.
fn requires_capabilities(plan: &Plan) -> bool {
    let mut invocations = plan.instances.iter().map(|instance| &instance.invocation);
    plan.budget.blocks_dollars() || invocations.any(permissions::requires_capabilities)
}
