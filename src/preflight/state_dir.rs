//! Places of a run's files and locks: the user's state directory, or the paths of the command line.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::sha256;
use crate::cli::flags::{ConfigSource, LockPolicy, LogDir, Options};
use crate::system::locate::canonical;

/// Returns the parent directory of run directories, from the option or the user's state home; `None` disables files.
#[must_use]
pub fn log_base(logs: &LogDir) -> Option<PathBuf> {
    match logs {
        LogDir::Disabled => None,
        LogDir::Path(directory) => Some(canonical(directory)),
        LogDir::Default => state_directory(),
    }
}

/// Returns the directory of the locks without a path of their own, if the environment defines it.
#[must_use]
pub fn locks_directory() -> Option<PathBuf> {
    Some(state_directory()?.join("locks"))
}

/// Returns the directory of zen in the user's state home, if there is one.
fn state_directory() -> Option<PathBuf> {
    let state = match absolute_variable("XDG_STATE_HOME") {
        Some(state) => state,
        None => absolute_variable("HOME")?.join(".local/state"),
    };
    Some(state.join("zen"))
}

/// Returns the path in a variable. The XDG specification requires that a relative path is ignored.
fn absolute_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The lock that a run must hold.
#[derive(Debug, PartialEq, Eq)]
pub enum LockTarget {
    /// A file named by the user.
    File(PathBuf),
    /// The lock of the config in the workspace: its directory and file name. If it cannot be taken, the run continues
    /// without it.
    PerConfig(PathBuf, String),
    /// A lock of the config, but the environment defines no directory for it.
    Disabled,
}

/// Returns the lock that a run must hold, if any.
#[must_use]
pub fn lock_target(options: &Options, workspace: &Path) -> Option<LockTarget> {
    match (&options.lock, &options.config) {
        (LockPolicy::File(path), _) => Some(LockTarget::File(path.clone())),
        // Two single commands that share the budget of a config are not two runs of it.
        (LockPolicy::PerConfig, Some(ConfigSource::File(config))) if options.single_instance().is_none() => {
            let Some(directory) = locks_directory() else { return Some(LockTarget::Disabled) };
            Some(LockTarget::PerConfig(directory, lock_name(config, workspace)))
        }
        (LockPolicy::PerConfig | LockPolicy::Disabled, _) => None,
    }
}

/// Returns the file name of the lock of this config in this workspace.
fn lock_name(config: &Path, workspace: &Path) -> String {
    let both = [canonical(config).as_os_str().as_bytes(), workspace.as_os_str().as_bytes()].join(&0);
    format!("{}.lock", &sha256::hex(&sha256::sha256(&both))[..32])
}
