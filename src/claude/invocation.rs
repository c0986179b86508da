//! The call of claude for one instance: the part of a planned instance that decides claude's arguments and environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::claude::session::Session;

/// The options of claude for one instance. [`crate::claude::argv`] makes arguments of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Its session, if it has a named one.
    pub session: Option<Session>,
    /// The only tools it can use; `None`: all.
    pub allowed_tools: Option<Vec<String>>,
    /// Tools it cannot use.
    pub disallowed_tools: Vec<String>,
    /// Whole tools that the settings files deny, by name. claude reads these files itself.
    pub denied_by_settings: Arc<[String]>,
    /// True if claude (2.1) must not run the !`...` of commands and skills, of which its hooks are not asked.
    pub disables_shell_blocks: bool,
    /// The config's word for claude's `--permission-mode`.
    pub permission_mode: String,
    /// claude's `--model`.
    pub model: Option<String>,
    /// Variables added to (or, `None`, taken from) its environment.
    pub env: BTreeMap<String, Option<String>>,
    /// Where it runs; absolute.
    pub cwd: PathBuf,
    /// More arguments for claude.
    pub claude_args: Vec<String>,
}
