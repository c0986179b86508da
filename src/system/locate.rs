//! Locates the claude executable and claude's files on disk.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::{AccessFlags, access};

/// Paths used by claude's installers, relative to the home directory: the native one, and the older local one of npm.
const INSTALLED: [&str; 2] = [".local/bin/claude", ".claude/local/claude"];

/// Resolves the path of an executable. A name without a slash is searched in PATH.
///
/// # Errors
/// Returns the problem with the name or the file.
pub fn program(given: &Path, path: Option<&OsStr>) -> Result<PathBuf, &'static str> {
    if given.as_os_str().as_bytes().contains(&b'/') {
        return executable_problem(given).map_or_else(|| Ok(absolute(given)), Err);
    }
    let directories = path.into_iter().flat_map(std::env::split_paths);
    let mut files = directories.map(|directory| directory.join(given));
    files.find(|file| executable_problem(file).is_none()).map(|file| absolute(&file)).ok_or("is not in PATH")
}

/// Searches `claude` in PATH, then in the installers' directories, which cron's PATH does not contain.
#[must_use]
pub fn claude(path: Option<&OsStr>, home: Option<&Path>) -> Option<PathBuf> {
    let in_path = program(Path::new("claude"), path).ok();
    let installed = || INSTALLED.iter().map(|file| home.map(|home| home.join(file)));
    in_path
        .or_else(|| installed().flatten().find(|file| executable_problem(file).is_none()).map(|file| absolute(&file)))
}

/// Returns the ids of the conversations found on disk.
///
/// They are only a hint, because the file layout is internal to claude: its own answer takes precedence.
#[must_use]
pub fn conversation_ids(env: &BTreeMap<String, Option<String>>) -> HashSet<String> {
    let folder = user_config_dir(env);
    let projects = folder.and_then(|folder| std::fs::read_dir(folder.join("projects")).ok());
    let projects = projects.into_iter().flatten().flatten();
    let files = projects.flat_map(|project| std::fs::read_dir(project.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned())).collect()
}

/// State of a conversation's file; a change shows that claude has written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationState {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// Returns the state of a conversation's file; `None` if there is none.
#[must_use]
pub fn conversation(env: &BTreeMap<String, Option<String>>, uuid: &str) -> Option<ConversationState> {
    let projects = std::fs::read_dir(user_config_dir(env)?.join("projects")).ok()?;
    let name = format!("{uuid}.jsonl");
    let metadata = projects.flatten().find_map(|project| project.path().join(&name).metadata().ok())?;
    Some(ConversationState { bytes: metadata.len(), modified: metadata.modified().ok() })
}

/// Returns claude's configuration directory of the user: `CLAUDE_CONFIG_DIR`, or `~/.claude`.
///
/// The variables in `env` override zen's own; `None` unsets one.
#[must_use]
pub fn user_config_dir(env: &BTreeMap<String, Option<String>>) -> Option<PathBuf> {
    let variable = |name: &str| {
        let value = env.get(name).map_or_else(|| std::env::var_os(name), |own| own.as_ref().map(OsString::from));
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    variable("CLAUDE_CONFIG_DIR").or_else(|| Some(variable("HOME")?.join(".claude")))
}

/// Returns the reason why a file is not executable, if it is not.
fn executable_problem(file: &Path) -> Option<&'static str> {
    match file.metadata() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some("is in a directory that cannot be entered"),
        Err(_) => Some("does not exist"),
        Ok(metadata) if metadata.is_dir() => Some("is a directory"),
        Ok(metadata) if !metadata.is_file() => Some("is not a file"),
        Ok(_) => access(file, AccessFlags::X_OK).is_err().then_some("is not executable"),
    }
}

/// Returns the absolute path, with symbolic links resolved if the file exists.
///
/// One workspace thus has one set of sessions.
#[must_use]
pub fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Returns the absolute path, because instances run in other directories than zen.
///
/// Keeps symbolic links: claude uses them to find its installation.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
