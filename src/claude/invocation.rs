//! Invocation of claude for one instance: the part of the plan that decides its arguments and environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::claude::session::Session;

/// Restrictions that claude's own files require in addition to those of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Rules to deny, because a file of claude allows more than the instance may use.
    pub denied_rules: Vec<String>,
    /// Names of whole tools that the settings files deny.
    pub denied_by_settings: Arc<[String]>,
    /// True if claude (2.1) must not run the !`...` of commands and skills, which bypass its hooks.
    pub disables_shell_blocks: bool,
}

/// Options of claude for one instance. [`crate::claude::argv`] converts them to arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Named session, if any.
    pub session: Option<Session>,
    /// Allowed tools; `None`: all.
    pub allowed_tools: Option<Vec<String>>,
    /// Denied tools.
    pub disallowed_tools: Vec<String>,
    /// Names of whole tools that the settings files deny. claude reads these files itself.
    pub denied_by_settings: Arc<[String]>,
    /// True if claude (2.1) must not run the !`...` of commands and skills, which bypass its hooks.
    pub disables_shell_blocks: bool,
    /// Value of claude's `--permission-mode`, as written in the config.
    pub permission_mode: String,
    /// Value of claude's `--model`.
    pub model: Option<String>,
    /// Variables added to its environment, or removed from it (`None`).
    pub env: BTreeMap<String, Option<String>>,
    /// Working directory; absolute.
    pub cwd: PathBuf,
    /// Further arguments of claude.
    pub claude_args: Vec<String>,
}

impl Invocation {
    /// Returns the invocation with these restrictions.
    #[must_use]
    pub fn with_restrictions(mut self, restrictions: Restrictions) -> Self {
        let Restrictions { denied_rules, denied_by_settings, disables_shell_blocks } = restrictions;
        self.disallowed_tools.extend(denied_rules);
        Invocation { denied_by_settings, disables_shell_blocks, ..self }
    }
}
