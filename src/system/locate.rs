//! Finds the claude program, and what it keeps on disk.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::{AccessFlags, access};

/// Where claude's installers put the program, below the home directory: the native one, and the older local one of npm.
const INSTALLED: [&str; 2] = [".local/bin/claude", ".claude/local/claude"];

/// Finds the program that `given` names. A name without a slash is looked up in PATH.
///
/// # Errors
/// What is wrong with the name, or with the file that it names.
pub fn program(given: &Path, path: Option<&OsStr>) -> Result<PathBuf, &'static str> {
    if given.as_os_str().as_bytes().contains(&b'/') {
        return executable_problem(given).map_or_else(|| Ok(absolute(given)), Err);
    }
    let directories = path.into_iter().flat_map(std::env::split_paths);
    let mut files = directories.map(|directory| directory.join(given));
    files.find(|file| executable_problem(file).is_none()).map(|file| absolute(&file)).ok_or("is not in PATH")
}

/// Finds `claude` in PATH, or else where its installers put it: cron's PATH does not have that directory.
#[must_use]
pub fn claude(path: Option<&OsStr>, home: Option<&Path>) -> Option<PathBuf> {
    let in_path = program(Path::new("claude"), path).ok();
    let installed = || INSTALLED.iter().map(|file| home.map(|home| home.join(file)));
    in_path
        .or_else(|| installed().flatten().find(|file| executable_problem(file).is_none()).map(|file| absolute(&file)))
}

/// The ids of the conversations that claude seems to have. It is a hint only, for how it keeps them is its own affair: when
/// it says otherwise, it is right.
#[must_use]
pub fn conversation_ids(env: &BTreeMap<String, Option<String>>) -> HashSet<String> {
    let folder = user_config_dir(env);
    let projects = folder.and_then(|folder| std::fs::read_dir(folder.join("projects")).ok());
    let projects = projects.into_iter().flatten().flatten();
    let files = projects.flat_map(|project| std::fs::read_dir(project.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned())).collect()
}

/// The state of a conversation's file, by which it is seen that claude has written to it.
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

/// claude's folder for the user, where these variables are set beside zen's own, or (`None`) taken away:
/// `CLAUDE_CONFIG_DIR`, or `~/.claude`.
#[must_use]
pub fn user_config_dir(env: &BTreeMap<String, Option<String>>) -> Option<PathBuf> {
    let variable = |name: &str| {
        let value = env.get(name).map_or_else(|| std::env::var_os(name), |own| own.as_ref().map(OsString::from));
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    variable("CLAUDE_CONFIG_DIR").or_else(|| Some(variable("HOME")?.join(".claude")))
}

/// Why this is no program that can be run, if it is none.
fn executable_problem(file: &Path) -> Option<&'static str> {
    match file.metadata() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some("is in a directory that cannot be entered"),
        Err(_) => Some("does not exist"),
        Ok(metadata) if metadata.is_dir() => Some("is a directory"),
        Ok(metadata) if !metadata.is_file() => Some("is not a file"),
        Ok(_) => access(file, AccessFlags::X_OK).is_err().then_some("is not executable"),
    }
}

/// Returns the absolute path with all links resolved if the file exists, so that one workspace has one set of sessions.
#[must_use]
pub fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Instances run elsewhere than zen, so a relative path must not stay one. Links are kept: claude finds itself by them.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
