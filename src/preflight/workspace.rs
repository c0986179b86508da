//! Resolves the workspace: the given directory, else the root of the project that contains the current directory.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::text;
use crate::system::error_text;
use crate::system::locate::canonical;

/// Entries that mark the root of a project.
const MARKS: &[&str] = &[".git", ".claude"];

/// A remark on how the workspace was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// The workspace is above the current directory.
    Above {
        /// Root of the project.
        root: PathBuf,
        /// Entry that marks the root.
        mark: &'static str,
    },
    /// A project above the current directory was ignored because it is not the user's own. Printed by a quiet run, too.
    Foreign {
        /// Root of the project.
        root: PathBuf,
        /// Entry that marks the root.
        mark: &'static str,
        /// Reason why another user may control it.
        distrust: Distrust,
    },
}

impl Display for Remark {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Remark::Above { root, mark } => write!(
                f,
                "the workspace is {}, which contains {mark}: give another with --workspace DIR",
                display_path(root)
            ),
            Remark::Foreign { root, mark, distrust } => write!(
                f,
                "{} is ignored: {distrust}: the workspace is the current directory; to work there all the same, give \
                 --workspace {}",
                display_path(&root.join(mark)),
                display_path(root)
            ),
        }
    }
}

/// Reason why another user may control a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Its owner and mode cannot be read.
    Unreadable(PathBuf),
    /// Another user owns it.
    ForeignOwner(PathBuf),
    /// Other users can write to it.
    Writable(PathBuf),
}

impl Display for Distrust {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Distrust::Unreadable(path) => write!(f, "{} cannot be read", display_path(path)),
            Distrust::ForeignOwner(path) => write!(f, "{} belongs to another user", display_path(path)),
            Distrust::Writable(path) => write!(f, "other users can write to {}", display_path(path)),
        }
    }
}

/// Returns the absolute path of the workspace, and a remark on how it was found.
#[must_use]
pub fn resolve(given: Option<&Path>) -> (PathBuf, Option<Remark>) {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| canonical(Path::new(&home)));
    let current = canonical(Path::new("."));
    if let Some(given) = given {
        return (canonical(given), None);
    }
    match project_of(&current, home.as_deref(), |path| path.symlink_metadata().is_ok(), distrust) {
        Some(Project::Own(root, mark)) if root != current => {
            (root.to_owned(), Some(Remark::Above { root: root.to_owned(), mark }))
        }
        Some(Project::Foreign(root, mark, distrust)) => {
            let remark = Remark::Foreign { root: root.to_owned(), mark, distrust };
            (current, Some(remark))
        }
        _ => (current, None),
    }
}

/// A directory that looks like the root of a project, and the entry that marks it.
#[derive(Debug, PartialEq, Eq)]
enum Project<'a> {
    Own(&'a Path, &'static str),
    /// Another user controls it, for this reason.
    Foreign(&'a Path, &'static str, Distrust),
}

/// Returns the nearest directory from `start` upwards that holds a mark. `home`, its ancestors and the root of the file
/// system are excluded: `~/.claude`, and `/.claude` of a user without a home, hold claude's own settings.
///
/// claude runs the hooks and the servers that a project's settings define. `start` was chosen by the user; a directory
/// above it only counts if no other user controls it or its marks (compare git's CVE-2022-24765).
fn project_of<'a>(
    start: &'a Path,
    home: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
    distrust: impl Fn(&Path) -> Option<Distrust>,
) -> Option<Project<'a>> {
    for directory in start.ancestors() {
        if Some(directory) == home || directory.parent().is_none() {
            return None;
        }
        let Some(mark) = MARKS.iter().find(|mark| exists(&directory.join(mark))) else { continue };
        if directory == start {
            return Some(Project::Own(directory, mark));
        }
        // claude reads the settings, whichever of the two marks the directory has.
        let mut paths = vec![directory.to_owned()];
        paths.extend(MARKS.iter().map(|mark| directory.join(mark)).filter(|path| exists(path)));
        return Some(match paths.iter().find_map(|path| distrust(path)) {
            None => Project::Own(directory, mark),
            Some(distrust) => Project::Foreign(directory, mark, distrust),
        });
    }
    None
}

/// Returns the reason why another user may control this path.
fn distrust(path: &Path) -> Option<Distrust> {
    let user = nix::unistd::geteuid().as_raw();
    // Checks a link itself, and its target.
    for metadata in [path.symlink_metadata(), path.metadata()] {
        let Ok(metadata) = metadata else { return Some(Distrust::Unreadable(path.to_owned())) };
        let (owner, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
        if owner != user && owner != 0 {
            return Some(Distrust::ForeignOwner(path.to_owned()));
        }
        let is_writable = is_writable_by_others(user, group, mode);
        if is_writable && !metadata.file_type().is_symlink() {
            return Some(Distrust::Writable(path.to_owned()));
        }
    }
    None
}

/// The directory of runs, and the reason why another user could replace the files in it.
#[derive(Debug)]
pub struct ForeignLogDirectory(Distrust);

impl Display for ForeignLogDirectory {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "log directory: {}: the run's files could be replaced: give another with --log-dir DIR", self.0)
    }
}

/// Returns the warning about a directory of runs in which another user could replace files.
///
/// As with a workspace that the user names, the choice is the user's.
pub(crate) fn foreign_log_directory(directory: &Path) -> Option<ForeignLogDirectory> {
    const STICKY: u32 = 0o1000;
    let distrust = distrust(directory)?;
    let is_sticky = directory.metadata().is_ok_and(|metadata| metadata.mode() & STICKY != 0);
    // In a sticky directory, only its owner can replace the entries of others.
    let is_protected = is_sticky && matches!(distrust, Distrust::Writable(_));
    (!is_protected).then_some(ForeignLogDirectory(distrust))
}

/// True if users other than `user` and root can write. A private group, which by the convention of most distributions
/// has the number of its only user, is not another user. The sticky bit does not prevent others from adding files.
fn is_writable_by_others(user: u32, group: u32, mode: u32) -> bool {
    let is_private_group = user != 0 && group == user;
    mode & 0o002 != 0 || (mode & 0o020 != 0 && !is_private_group)
}

/// Reason why instances cannot work in a directory.
#[derive(Debug)]
pub struct WorkspaceError {
    path: PathBuf,
    problem: WorkspaceProblem,
}

#[derive(Debug)]
enum WorkspaceProblem {
    /// The current directory was removed: a path relative to it has no absolute form.
    Removed,
    Missing,
    Unreadable(io::Error),
    NotADirectory,
    NotSearchable,
}

impl Display for WorkspaceError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if matches!(self.problem, WorkspaceProblem::Removed) {
            return write!(f, "the current directory was removed: change to another one");
        }
        write!(f, "workspace {} ", display_path(&self.path))?;
        match &self.problem {
            WorkspaceProblem::Missing | WorkspaceProblem::Removed => write!(f, "does not exist"),
            WorkspaceProblem::Unreadable(error) => write!(f, "cannot be read: {}", error_text(error)),
            WorkspaceProblem::NotADirectory => write!(f, "is not a directory"),
            WorkspaceProblem::NotSearchable => write!(f, "cannot be entered: permission denied"),
        }?;
        write!(f, ": give another with --workspace DIR")
    }
}

/// Returns the reason why instances cannot work there.
pub(crate) fn validate(workspace: &Path) -> Option<WorkspaceError> {
    let problem = match workspace.metadata() {
        _ if !workspace.is_absolute() => WorkspaceProblem::Removed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => WorkspaceProblem::Missing,
        Err(error) => WorkspaceProblem::Unreadable(error),
        Ok(metadata) if !metadata.is_dir() => WorkspaceProblem::NotADirectory,
        Ok(_) => match std::fs::read_dir(workspace) {
            Err(error) => WorkspaceProblem::Unreadable(error),
            Ok(_) if !can_enter(workspace) => WorkspaceProblem::NotSearchable,
            Ok(_) => return None,
        },
    };
    Some(WorkspaceError { path: workspace.to_owned(), problem })
}

pub(crate) fn can_enter(directory: &Path) -> bool {
    nix::unistd::access(directory, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Returns a path as messages print it.
pub(crate) fn display_path(path: &Path) -> String {
    text::sanitize_line(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(start: &str, home: Option<&str>, marks: &[&str]) -> Option<(String, &'static str)> {
        let exists = |path: &Path| marks.iter().any(|mark| path == Path::new(mark));
        match project_of(Path::new(start), home.map(Path::new), exists, |_| None)? {
            Project::Own(root, mark) => Some((root.display().to_string(), mark)),
            Project::Foreign(..) => panic!("nothing is distrusted"),
        }
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

    #[test]
    fn project_of_another_user_ends_the_search() {
        let marks = ["/srv/.git", "/srv/shared/.claude", "/srv/shared/.git"];
        let exists = |path: &Path| marks.iter().any(|mark| path == Path::new(mark));
        let foreign = |distrusted: &'static str| {
            let distrust =
                |path: &Path| (path == Path::new(distrusted)).then(|| Distrust::ForeignOwner(path.to_owned()));
            project_of(Path::new("/srv/shared/job"), None, exists, distrust)
                .map(|project| matches!(project, Project::Foreign(root, ..) if root == Path::new("/srv/shared")))
        };
        for distrusted in ["/srv/shared", "/srv/shared/.claude", "/srv/shared/.git"] {
            assert_eq!(foreign(distrusted), Some(true), "{distrusted}");
        }
        assert_eq!(foreign("/srv"), Some(false), "nothing above the project matters");
        let own = project_of(Path::new("/srv/shared"), None, exists, |path| Some(Distrust::Writable(path.to_owned())));
        assert_eq!(own, Some(Project::Own(Path::new("/srv/shared"), ".git")), "the user chose the current directory");
    }

    #[test]
    fn group_may_write_only_if_it_is_private() {
        for (user, group, mode, expected) in [
            (1000, 1000, 0o755, false),
            (1000, 1000, 0o775, false),
            (1000, 100, 0o775, true),
            (1000, 100, 0o755, false),
            (1000, 1000, 0o777, true),
            (1000, 1000, 0o1777, true),
            (0, 0, 0o775, true),
            (0, 0, 0o755, false),
        ] {
            assert_eq!(is_writable_by_others(user, group, mode), expected, "{user} {group} {mode:o}");
        }
    }
}
