//! Finds the files that define slash commands: `commands/**/*.md` and `skills/*/SKILL.md` of the workspace and the
//! user. The cost is bounded for link cycles, pipes, huge files and huge folders. The files are not parsed here.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::claude::command_catalog::{CommandFile, Origin};
use crate::system::error_text;
use crate::system::locate::user_config_dir;

const MAX_FOLDERS_DEEP: usize = 8;

/// Maximum number of folders read below one: with links among folders, a few of them have very many paths.
const MAX_FOLDERS: usize = 5_000;

const MAX_FILES: usize = 5_000;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Returns the files of a workspace and of the user (`CLAUDE_CONFIG_DIR` or `~/.claude`), in order of precedence.
#[must_use]
pub fn find(workspace: &Path) -> Vec<CommandFile> {
    let project = workspace.join(".claude");
    // If the workspace is the home directory, its files are listed once.
    let user = user_config_dir(&BTreeMap::new()).filter(|user| !is_same(user, &project));
    let mut files = Vec::new();
    for (folder, origin) in [(user.as_deref(), Origin::UserSkill), (Some(&project), Origin::ProjectSkill)] {
        folder.into_iter().for_each(|folder| skills(&folder.join("skills"), &origin, &mut files));
    }
    for (folder, origin) in [(user.as_deref(), Origin::User), (Some(&project), Origin::Project)] {
        folder.into_iter().for_each(|folder| commands(&folder.join("commands"), &origin, &mut files));
    }
    files
}

/// Returns the files of commands and skills below a `.claude` folder.
pub(super) fn of_folder(folder: &Path) -> Vec<CommandFile> {
    let mut files = Vec::new();
    skills(&folder.join("skills"), &Origin::ProjectSkill, &mut files);
    commands(&folder.join("commands"), &Origin::Project, &mut files);
    files
}

/// Returns the files that define agents below a `.claude` folder.
pub(super) fn agents(folder: &Path) -> Vec<CommandFile> {
    let mut files = Vec::new();
    commands(&folder.join("agents"), &Origin::Project, &mut files);
    files
}

fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

fn skills(folder: &Path, origin: &Origin, files: &mut Vec<CommandFile>) {
    for path in entries(folder) {
        let file = path.join("SKILL.md");
        if file.is_file() {
            add(&file, name_of(&path), origin, files);
        }
    }
}

/// A folder to read, and the prefix of its commands' names.
struct Folder {
    path: PathBuf,
    prefix: String,
    /// Device and inode of each folder from the first one down to this one.
    ancestry: Vec<(u64, u64)>,
}

impl Folder {
    /// Returns a folder within this one; `None` if it is too deep, or if a link leads back to one of its ancestors.
    fn child(&self, path: PathBuf) -> Option<Folder> {
        let identity = identity(&path)?;
        if self.ancestry.len() > MAX_FOLDERS_DEEP || self.ancestry.contains(&identity) {
            return None;
        }
        let ancestry = self.ancestry.iter().copied().chain([identity]).collect();
        Some(Folder { prefix: format!("{}{}:", self.prefix, name_of(&path)), path, ancestry })
    }
}

/// Appends the commands below a folder in breadth-first order.
fn commands(folder: &Path, origin: &Origin, files: &mut Vec<CommandFile>) {
    let Some(identity) = identity(folder) else { return };
    let first = Folder { path: folder.to_owned(), prefix: String::new(), ancestry: vec![identity] };
    let (mut queue, mut queued) = (VecDeque::from([first]), 1);
    while let Some(folder) = queue.pop_front() {
        for path in entries(&folder.path) {
            if path.is_dir() {
                if queued < MAX_FOLDERS
                    && let Some(child) = folder.child(path)
                {
                    queue.push_back(child);
                    queued += 1;
                }
            } else if path.extension().is_some_and(|extension| extension == "md") && path.is_file() {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                add(&path, format!("{}{name}", folder.prefix), origin, files);
            }
        }
    }
}

/// Returns the device and inode of a folder, with links resolved.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn add(path: &Path, name: String, origin: &Origin, files: &mut Vec<CommandFile>) {
    if files.len() < MAX_FILES {
        files.push(CommandFile { name, origin: origin.clone(), path: path.to_owned(), text: text_of(path) });
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error_text(&error))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the entries sorted by name; none if the folder cannot be read, as claude does.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.take(MAX_FILES).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    fn commands_in(folder: &Path) -> Vec<CommandFile> {
        let mut files = Vec::new();
        let started = Instant::now();
        commands(folder, &Origin::Project, &mut files);
        assert!(started.elapsed() < Duration::from_secs(60));
        files
    }

    #[test]
    fn links_that_go_round_and_pipes_end_in_time() {
        let folder = tempfile::tempdir().expect("a directory");
        for i in 0..100 {
            symlink(".", folder.path().join(format!("link{i}"))).expect("a link");
        }
        fs::create_dir(folder.path().join("nested")).expect("a directory");
        symlink(folder.path(), folder.path().join("nested/up")).expect("a link");
        nix::unistd::mkfifo(&folder.path().join("pipe.md"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        fs::write(folder.path().join("nested/small.md"), "x").expect("a file");
        fs::write(folder.path().join("big.md"), "x".repeat(1_000_000)).expect("a file");
        let files = commands_in(folder.path());
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["big", "nested:small"]);
        assert!(files[0].text.as_ref().is_ok_and(|text| text.len() == MAX_FILE_BYTES as usize));
    }

    /// No link forms a cycle, but there are more paths than can be walked.
    #[test]
    fn links_among_folders_end_in_time() {
        let folder = tempfile::tempdir().expect("a directory");
        let names: Vec<String> = (0..30).map(|i| format!("folder{i}")).collect();
        for name in &names {
            fs::create_dir(folder.path().join(name)).expect("a directory");
            for other in names.iter().filter(|other| *other != name) {
                symlink(folder.path().join(other), folder.path().join(name).join(other)).expect("a link");
            }
        }
        fs::write(folder.path().join("near.md"), "x").expect("a file");
        fs::write(folder.path().join("folder29/far.md"), "x").expect("a file");
        let files = commands_in(folder.path());
        assert_eq!(files[0].name, "near");
        assert!(files.iter().any(|file| file.name == "folder29:far"));
        assert!(files.len() <= MAX_FILES);
    }
}
