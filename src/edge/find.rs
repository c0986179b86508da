//! Finds the claude program, and asks it what it can.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Finds the program that `given` names, or else `claude` on this PATH. A name without a slash is looked for on the PATH.
#[must_use]
pub fn claude(given: Option<&Path>, path: Option<&OsStr>) -> Option<PathBuf> {
    let name = given.unwrap_or(Path::new("claude"));
    if name.as_os_str().as_bytes().contains(&b'/') {
        return is_program(name).then(|| absolute(name));
    }
    let directories = std::env::split_paths(path?);
    directories.map(|directory| directory.join(name)).find(|file| is_program(file)).map(|file| absolute(&file))
}

/// What `claude --help` says, or what went wrong.
///
/// # Errors
/// The system's, if it cannot be started.
pub fn help_of(claude: &Path) -> std::io::Result<String> {
    let output = Command::new(claude).arg("--help").stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether claude seems to have a session of this id. It is a hint only, for how it keeps them is its own affair: when
/// it says otherwise, it is right.
#[must_use]
pub fn has_transcript(uuid: &str, env: &BTreeMap<String, Option<String>>) -> bool {
    let variable = |name: &str| match env.get(name) {
        Some(own) => own.as_ref().map(PathBuf::from),
        None => std::env::var_os(name).map(PathBuf::from),
    };
    let home = variable("CLAUDE_CONFIG_DIR").or_else(|| Some(variable("HOME")?.join(".claude")));
    let Some(projects) = home.and_then(|home| std::fs::read_dir(home.join("projects")).ok()) else { return false };
    projects.flatten().any(|project| project.path().join(format!("{uuid}.jsonl")).exists())
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Instances run elsewhere than zen, so a relative path must not stay one. Links are kept: claude finds itself by them.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
