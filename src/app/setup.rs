//! Resources that a run holds: its lock, the locks of its sessions, and the directory of its files.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};

use crate::base::text;
use crate::cli::flags::{LockPolicy, LogDir, Options};
use crate::engine::exit_code::ExitCode;
use crate::plan::Plan;
use crate::preflight::state_dir::{LockTarget, lock_target, locks_directory, log_base};
use crate::system::error_text;
use crate::system::file_lock::{Holder, Lock, LockError, LockProblem, RecordedHolder};
use crate::system::run_dir::RunDirectory;
use crate::system::session_locks::SessionLocks;

/// Reason why a run does not start.
#[derive(Debug)]
pub enum SetupError {
    /// Another run holds the lock.
    LockHeld {
        /// Path of the lock file; `None` for the lock of the config.
        path: Option<PathBuf>,
        /// The other run.
        holder: RecordedHolder,
    },
    /// The lock file that the user named cannot be used.
    LockFile {
        /// Path of the lock file.
        path: PathBuf,
        /// Problem with the file.
        problem: LockProblem,
    },
    /// The directory that the user named cannot be used.
    LogDirectory(DirectoryError),
    /// No signal handler can be installed.
    Signals(io::Error),
}

impl SetupError {
    /// Returns the exit code of zen.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            SetupError::LockHeld { .. } => ExitCode::TempFail,
            SetupError::LockFile { .. } | SetupError::LogDirectory(_) | SetupError::Signals(_) => ExitCode::NotLaunched,
        }
    }
}

impl Display for SetupError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            SetupError::LockHeld { path, holder } => {
                let lock = path.as_deref().map_or_else(|| "of this config".to_owned(), printable);
                let holder = holder.to_string();
                write!(
                    f,
                    "another run holds the lock {lock}: {}: nothing was launched: try again when it has ended, or use \
                     --no-lock to run concurrently",
                    text::sanitize_line(&holder)
                )
            }
            SetupError::LockFile { path, problem } => {
                write!(f, "lock {}: {problem}: give another with --lock FILE", printable(path))
            }
            SetupError::LogDirectory(error) => write!(f, "{error}: give another with --log-dir DIR"),
            SetupError::Signals(error) => write!(f, "cannot install signal handlers: {}", error_text(error)),
        }
    }
}

/// Reason why a run has no directory for its files.
#[derive(Debug)]
pub enum DirectoryError {
    /// The environment defines none.
    NoStateHome,
    /// It cannot be created.
    Create(io::Error),
}

impl Display for DirectoryError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "no directory for the run's files: ")?;
        match self {
            DirectoryError::NoStateHome => Unlocked::NoStateHome.fmt(f),
            DirectoryError::Create(error) => f.write_str(&text::sanitize_line(&error_text(error))),
        }
    }
}

/// Reason why a run continues without a lock.
#[derive(Debug)]
pub enum Unlocked {
    /// The environment defines no directory for it.
    NoStateHome,
    /// The file cannot be used.
    File(LockProblem),
}

impl Display for Unlocked {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Unlocked::NoStateHome => write!(f, "neither XDG_STATE_HOME nor HOME is an absolute path"),
            Unlocked::File(problem) => write!(f, "{problem}"),
        }
    }
}

fn printable(path: &Path) -> String {
    text::sanitize_line(&path.to_string_lossy()).into_owned()
}

/// Outcome of taking the lock of a run.
pub(super) enum RunLock {
    /// The run needs no lock.
    NotNeeded,
    /// The run holds it.
    Held(Lock),
    /// The run continues without it.
    Unavailable(Unlocked),
}

/// Takes the lock of the run, if it must hold one.
pub(super) fn take_lock(options: &Options, workspace: &Path, holder: Holder) -> Result<RunLock, SetupError> {
    let (taken, path) = match lock_target(options, workspace) {
        None => return Ok(RunLock::NotNeeded),
        Some(LockTarget::Disabled) => return Ok(RunLock::Unavailable(Unlocked::NoStateHome)),
        Some(LockTarget::File(path)) => (Lock::take(&path, holder), Some(path)),
        Some(LockTarget::PerConfig(directory, name)) => (Lock::take_in(&directory, &name, holder), None),
    };
    match (taken, path) {
        (Ok(lock), _) => Ok(RunLock::Held(lock)),
        (Err(LockError::Held(holder)), path) => Err(SetupError::LockHeld { path, holder }),
        // If the user named a file, a run without that lock would not be the requested one.
        (Err(LockError::Unusable(problem)), Some(path)) => Err(SetupError::LockFile { path, problem }),
        (Err(LockError::Unusable(problem)), None) => Ok(RunLock::Unavailable(Unlocked::File(problem))),
    }
}

/// Checks the log and lock paths now, so that a delayed run does not fail only after the wait.
pub(super) fn check_paths(options: &Options) -> Result<(), SetupError> {
    if let (LogDir::Path(_), Some(base)) = (&options.logs, log_base(&options.logs)) {
        RunDirectory::check(&base).map_err(|error| SetupError::LogDirectory(DirectoryError::Create(error)))?;
    }
    if let LockPolicy::File(path) = &options.lock {
        Lock::check(path).map_err(|problem| SetupError::LockFile { path: path.clone(), problem })?;
    }
    Ok(())
}

/// Opens the directory of session locks, if an instance has a session.
pub(super) fn session_locks(plan: &Plan) -> Result<Option<SessionLocks>, Unlocked> {
    if plan.instances.iter().all(|instance| instance.invocation.session.is_none()) {
        return Ok(None);
    }
    let directory = locks_directory().ok_or(Unlocked::NoStateHome)?;
    SessionLocks::open(&directory).map(Some).map_err(Unlocked::File)
}

/// Creates the directory of the run's files, if it must have one.
pub(super) fn run_directory(logs: &LogDir, run: &str) -> Result<Option<RunDirectory>, DirectoryError> {
    if *logs == LogDir::Disabled {
        return Ok(None);
    }
    let base = log_base(logs).ok_or(DirectoryError::NoStateHome)?;
    RunDirectory::create(&base, run).map(Some).map_err(DirectoryError::Create)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::golden::assert_golden;

    #[test]
    fn messages_about_resources() {
        let io = || io::Error::from_raw_os_error(13);
        let problems = [
            LockProblem::SymbolicLink,
            LockProblem::NotRegular,
            LockProblem::ForeignContent,
            LockProblem::Unsupported,
            LockProblem::System("Permission denied".into()),
        ];
        let mut errors: Vec<SetupError> = Vec::new();
        for problem in problems {
            errors.push(SetupError::LockFile { path: "my.lock".into(), problem });
        }
        for path in [None, Some("my.lock".into())] {
            for is_dead in [false, true] {
                let line = "pid 7, run r, since noon".to_owned();
                let holder = RecordedHolder { line, is_dead };
                errors.push(SetupError::LockHeld { path: path.clone(), holder });
            }
        }
        errors.push(SetupError::LogDirectory(DirectoryError::Create(io())));
        errors.push(SetupError::Signals(io()));
        let mut text = String::new();
        for error in errors {
            text += &format!("{error}\n");
        }
        text += &format!("{}\n{}\n", DirectoryError::NoStateHome, Unlocked::NoStateHome);
        assert_golden("setup_messages.txt", &text);
    }
}
