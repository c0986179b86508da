//! Where instances work: the directory that was named, else the root of the project that zen was started in. Knows what
//! makes a project, and nothing of plans.

use std::io;
use std::path::{Path, PathBuf};

use crate::edge::reason;
use crate::text;

/// What a project's root holds.
const MARKS: &[&str] = &[".git", ".claude"];

/// The workspace, absolute, and what is to be said of how it was found.
#[must_use]
pub fn of(given: Option<&Path>) -> (PathBuf, Option<String>) {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| absolute(Path::new(&home)));
    let current = absolute(Path::new("."));
    match given {
        Some(given) => (absolute(given), None),
        None => match project_of(&current, home.as_deref(), |path| path.exists()) {
            Some((root, mark)) if root != current => {
                let note =
                    format!("the workspace is {}, which holds {mark}: give another with --workspace DIR", shown(root));
                (root.to_owned(), Some(note))
            }
            _ => (current, None),
        },
    }
}

/// The nearest directory from `start` upwards that holds a mark, and the mark. Nothing from `home` upwards counts, nor the
/// root of the file system: claude's own settings are in `~/.claude`, whoever the user is, and in `/.claude` where nobody
/// has a home, and no project.
fn project_of<'a>(
    start: &'a Path,
    home: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
) -> Option<(&'a Path, &'static str)> {
    let below_home = start.ancestors().take_while(|directory| Some(*directory) != home && directory.parent().is_some());
    below_home.into_iter().find_map(|directory| {
        let mark = MARKS.iter().find(|mark| exists(&directory.join(mark)))?;
        Some((directory, *mark))
    })
}

/// The path as it is reached from anywhere.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    // Without the links resolved where that is possible: the same workspace is to have the same sessions.
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Why nobody can work there.
pub(crate) fn problem(workspace: &Path) -> Option<String> {
    let path = shown(workspace);
    let what = match workspace.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {}", reason(&error)),
        Ok(metadata) if !metadata.is_dir() => "is not a directory".to_owned(),
        Ok(_) => match (std::fs::read_dir(workspace), can_enter(workspace)) {
            (Err(error), _) => format!("cannot be read: {}", reason(&error)),
            (Ok(_), false) => "cannot be entered: permission denied".to_owned(),
            (Ok(_), true) => return None,
        },
    };
    Some(format!("workspace {path} {what}: give another with --workspace DIR"))
}

pub(crate) fn can_enter(directory: &Path) -> bool {
    nix::unistd::access(directory, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// A path as a message shows it.
pub(crate) fn shown(path: &Path) -> String {
    text::clean(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(start: &str, home: Option<&str>, marks: &[&str]) -> Option<(String, &'static str)> {
        let exists = |path: &Path| marks.iter().any(|mark| path == Path::new(mark));
        let (root, mark) = project_of(Path::new(start), home.map(Path::new), exists)?;
        Some((root.display().to_string(), mark))
    }

    #[test]
    fn the_nearest_mark_counts() {
        let marks = ["/srv/app/.git", "/srv/app/lib/.claude", "/srv/.git"];
        assert_eq!(project("/srv/app", None, &marks), Some(("/srv/app".into(), ".git")));
        assert_eq!(project("/srv/app/src/deep", None, &marks), Some(("/srv/app".into(), ".git")));
        assert_eq!(project("/srv/app/lib/x", None, &marks), Some(("/srv/app/lib".into(), ".claude")));
        assert_eq!(project("/var/tmp", None, &marks), None);
    }

    #[test]
    fn home_is_no_project() {
        let marks = ["/home/me/.claude", "/home/me/.git", "/home/.git", "/.claude", "/home/me/app/.git"];
        for start in ["/home/me", "/home/me/data", "/home/me/data/deep"] {
            assert_eq!(project(start, Some("/home/me"), &marks), None, "{start}");
        }
        assert_eq!(project("/home/me/app/src", Some("/home/me"), &marks), Some(("/home/me/app".into(), ".git")));
        for home in [None, Some("/home/me"), Some("/")] {
            assert_eq!(project("/srv", home, &marks), None, "the root is none either");
        }
    }
}
