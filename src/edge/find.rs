//! Finds the claude program, and what it keeps on disk.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Finds the program that `given` names, or else `claude` on this PATH. A name without a slash is looked for on the PATH.
///
/// # Errors
/// What is wrong with the name that was given, or with what stands there.
pub fn claude(given: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, &'static str> {
    let name = given.unwrap_or(Path::new("claude"));
    if name.as_os_str().as_bytes().contains(&b'/') {
        return no_program(name).map_or_else(|| Ok(absolute(name)), Err);
    }
    let directories = path.into_iter().flat_map(std::env::split_paths);
    let mut files = directories.map(|directory| directory.join(name));
    files.find(|file| no_program(file).is_none()).map(|file| absolute(&file)).ok_or("is not in PATH")
}

/// The ids of the conversations that claude seems to have. It is a hint only, for how it keeps them is its own affair: when
/// it says otherwise, it is right.
#[must_use]
pub fn conversations(env: &BTreeMap<String, Option<String>>) -> HashSet<String> {
    let folder = users_folder(env);
    let projects = folder.and_then(|folder| std::fs::read_dir(folder.join("projects")).ok());
    let projects = projects.into_iter().flatten().flatten();
    let files = projects.flat_map(|project| std::fs::read_dir(project.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned())).collect()
}

/// claude's folder for the user, where these variables are set beside zen's own, or (`None`) taken away:
/// `CLAUDE_CONFIG_DIR`, or `~/.claude`.
pub(super) fn users_folder(env: &BTreeMap<String, Option<String>>) -> Option<PathBuf> {
    let variable = |name: &str| {
        let value = env.get(name).map_or_else(|| std::env::var_os(name), |own| own.as_ref().map(OsString::from));
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    variable("CLAUDE_CONFIG_DIR").or_else(|| Some(variable("HOME")?.join(".claude")))
}

/// Why this is no program that can be run, if it is none.
fn no_program(file: &Path) -> Option<&'static str> {
    match file.metadata() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some("is in a directory that cannot be entered"),
        Err(_) => Some("does not exist"),
        Ok(metadata) if metadata.is_dir() => Some("is a directory"),
        Ok(metadata) if !metadata.is_file() => Some("is not a file"),
        Ok(_) => access(file, AccessFlags::X_OK).is_err().then_some("is not executable"),
    }
}

/// Instances run elsewhere than zen, so a relative path must not stay one. Links are kept: claude finds itself by them.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
