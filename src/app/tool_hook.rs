//! The PreToolUse hook that claude runs for each tool call: reads the call on standard input, prints the decision.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::claude::tool_policy::Directories;
use crate::claude::tool_policy::hook::{DECIDED, HookProgram, answer};

/// Maximum size of a call. A larger one is truncated, so that it is invalid JSON and is denied.
const MAX_CALL_BYTES: u64 = 64 * 1024 * 1024;

/// Returns the program of this process, as claude must invoke it.
#[must_use]
pub fn program() -> HookProgram {
    let file = std::env::current_exe().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    HookProgram { running: format!("/proc/{}/exe", std::process::id()), file }
}

/// Answers one tool call. The arguments are the directory of the instance and its `allowed_tools`, as JSON.
#[must_use]
pub fn run(arguments: &[OsString]) -> u8 {
    let mut call = Vec::new();
    let read = io::stdin().lock().take(MAX_CALL_BYTES).read_to_end(&mut call);
    let [directory, rules] = arguments else { return 1 };
    let allowed: Option<Vec<String>> = rules.to_str().and_then(|rules| serde_json::from_str(rules).ok());
    let cwd = serde_json::from_slice::<Value>(&call).ok().and_then(|call| call["cwd"].as_str().map(PathBuf::from));
    let directory = PathBuf::from(directory);
    let directories = OnDisk { cwd: cwd.unwrap_or_else(|| directory.clone()), directory };
    let printed = io::stdout().lock().write_all(answer(&call, allowed.as_deref(), &directories).as_bytes());
    if read.is_ok() && printed.is_ok() { DECIDED } else { 1 }
}

struct OnDisk {
    directory: PathBuf,
    cwd: PathBuf,
}

impl Directories for OnDisk {
    fn resolved(&self, path: &str) -> Option<String> {
        let path = if path == "." { self.directory.clone() } else { self.cwd.join(path) };
        resolved(&normalized(&path))?.to_str().map(str::to_owned)
    }

    fn home(&self) -> Option<String> {
        std::env::var("HOME").ok().filter(|home| !home.is_empty())
    }
}

/// Returns the path without `.` and `..`, resolved textually as claude's own tools do.
fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// Returns the path with the links of its existing part resolved; `None` if a link is dangling.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(whole) = path.canonicalize() {
        return Some(whole);
    }
    if path.symlink_metadata().is_ok() {
        return None;
    }
    Some(resolved(path.parent()?)?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn path_is_resolved_as_far_as_it_exists() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(place.join("w/src")).expect("a directory");
        symlink(place.join("elsewhere"), place.join("w/dangling")).expect("a link");
        symlink(&place, place.join("w/up")).expect("a link");
        let directories = OnDisk { directory: place.join("w"), cwd: place.join("w/src") };
        let at = |path: &str| place.join(path).to_str().map(str::to_owned);
        for (path, expected) in [
            (".", at("w")),
            ("new", at("w/src/new")),
            ("a/b/c", at("w/src/a/b/c")),
            ("../new", at("w/new")),
            ("../up/new", at("new")),
            ("../dangling", None),
            ("../dangling/x", None),
        ] {
            assert_eq!(directories.resolved(path), expected, "{path}");
        }
    }
}
