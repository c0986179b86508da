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
        return match executable_problem(given) {
            Some(problem) => Err(problem),
            None => Ok(absolute(given)),
        };
    }
    for directory in path.into_iter().flat_map(std::env::split_paths) {
        let file = directory.join(given);
        if executable_problem(&file).is_none() {
            return Ok(absolute(&file));
        }
    }
    Err("is not in PATH")
}

/// Searches `claude` in PATH, then in the installers' directories, which cron's PATH does not contain.
#[must_use]
pub fn claude(path: Option<&OsStr>, home: Option<&Path>) -> Option<PathBuf> {
    if let Ok(found) = program(Path::new("claude"), path) {
        return Some(found);
    }
    for installed in INSTALLED {
        let file = home?.join(installed);
        if executable_problem(&file).is_none() {
            return Some(absolute(&file));
        }
    }
    None
}

/// Returns the ids of the conversations found on disk.
///
/// They are only a hint, because the file layout is internal to claude: its own answer takes precedence.
#[must_use]
pub fn conversation_ids(env: &BTreeMap<String, Option<String>>) -> HashSet<String> {
    let mut ids = HashSet::new();
    for project in projects(env) {
        for file in entries(&project) {
            let name = file.file_name().and_then(OsStr::to_str);
            if let Some(id) = name.and_then(|name| name.strip_suffix(".jsonl")) {
                ids.insert(id.to_owned());
            }
        }
    }
    ids
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
    let name = format!("{uuid}.jsonl");
    for project in projects(env) {
        if let Ok(metadata) = project.join(&name).metadata() {
            return Some(ConversationState { bytes: metadata.len(), modified: metadata.modified().ok() });
        }
    }
    None
}

/// Returns the directories in which claude keeps the conversations of projects.
fn projects(env: &BTreeMap<String, Option<String>>) -> Vec<PathBuf> {
    user_config_dir(env).map_or_else(Vec::new, |folder| entries(&folder.join("projects")))
}

/// Returns the paths of a directory's entries; none if it cannot be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Returns claude's configuration directory of the user: `CLAUDE_CONFIG_DIR`, or `~/.claude`.
///
/// The variables in `env` override zen's own; `None` unsets one.
#[must_use]
pub fn user_config_dir(env: &BTreeMap<String, Option<String>>) -> Option<PathBuf> {
    match path_variable(env, "CLAUDE_CONFIG_DIR") {
        Some(directory) => Some(directory),
        None => Some(path_variable(env, "HOME")?.join(".claude")),
    }
}

fn path_variable(env: &BTreeMap<String, Option<String>>, name: &str) -> Option<PathBuf> {
    let value = match env.get(name) {
        Some(own) => own.as_ref().map(OsString::from),
        None => std::env::var_os(name),
    };
    value.filter(|value| !value.is_empty()).map(PathBuf::from)
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
    match path.canonicalize() {
        Ok(path) => path,
        Err(_) => absolute(path),
    }
}

/// Returns the absolute path, because instances run in other directories than zen.
///
/// Keeps symbolic links: claude uses them to find its installation.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
