//! Finds the files that define slash commands: `commands/**/*.md` and `skills/*/SKILL.md` of the workspace and the
//! user. The cost is bounded for link cycles, pipes, huge files and huge folders, and everything beyond a bound is
//! reported. The files are not parsed here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::claude::command_catalog::{CommandFile, Origin};
use crate::system::error_text;
use crate::system::locate::user_config_dir;

const MAX_FOLDERS_DEEP: usize = 8;

/// Maximum number of folders read below one: with links among folders, a few of them have very many paths.
const MAX_FOLDERS: usize = 5_000;

const MAX_FILES: usize = 5_000;
const MAX_ENTRIES: usize = 50_000;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Maximum number of bytes read from all files; common ones have a few kilobytes each.
const MAX_TOTAL_BYTES: u64 = 16 * 1024 * 1024;

/// Bound of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Depth of a folder.
    Depth,
    /// Number of folders.
    Folders,
    /// Number of entries in all folders.
    Entries,
    /// Number of files.
    Files,
    /// Size of a file.
    FileBytes,
    /// Size of all files.
    TotalBytes,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Depth => write!(f, "is nested more than {MAX_FOLDERS_DEEP} folders deep"),
            Bound::Folders => write!(f, "has more than {MAX_FOLDERS} folders"),
            Bound::Entries => write!(f, "has more than {MAX_ENTRIES} entries"),
            Bound::Files => write!(f, "has more than {MAX_FILES} files"),
            Bound::FileBytes => write!(f, "is larger than {} KiB", MAX_FILE_BYTES / 1024),
            Bound::TotalBytes => write!(f, "brings the files to more than {} MiB", MAX_TOTAL_BYTES / 1024 / 1024),
        }?;
        f.write_str(", and zen reads no more")
    }
}

/// Excess of a file or folder over a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Path of the file or folder.
    pub path: PathBuf,
    /// Bound that it exceeds.
    pub bound: Bound,
}

/// Files that were found, and what exceeds the bounds.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files in order of precedence. The text of a file beyond a bound is cut off, or an error.
    pub files: Vec<CommandFile>,
    /// Each large file, and the first excess over each other bound.
    pub excesses: Vec<Excess>,
}

/// Reads the folders of one run or query, up to a total number of bytes.
#[derive(Debug, Default)]
pub struct Scanner {
    bytes: u64,
}

/// Returns the files of a workspace and of the user (`CLAUDE_CONFIG_DIR` or `~/.claude`), in order of precedence.
#[must_use]
pub fn find(workspace: &Path) -> Scan {
    let project = workspace.join(".claude");
    // If the workspace is the home directory, its files are listed once.
    let user = user_config_dir(&BTreeMap::new()).filter(|user| !is_same(user, &project));
    let mut scanner = Scanner::default();
    let mut scan = Scan::default();
    for (folder, origin) in [(user.as_deref(), Origin::UserSkill), (Some(&project), Origin::ProjectSkill)] {
        folder.into_iter().for_each(|folder| scan.add_skills(&folder.join("skills"), &origin, &mut scanner));
    }
    for (folder, origin) in [(user.as_deref(), Origin::User), (Some(&project), Origin::Project)] {
        folder.into_iter().for_each(|folder| scan.add_commands(&folder.join("commands"), &origin, &mut scanner));
    }
    scan
}

impl Scanner {
    /// Returns the files of commands and skills below a `.claude` folder.
    pub(super) fn commands(&mut self, folder: &Path) -> Scan {
        let mut scan = Scan::default();
        scan.add_skills(&folder.join("skills"), &Origin::ProjectSkill, self);
        scan.add_commands(&folder.join("commands"), &Origin::Project, self);
        scan
    }

    /// Returns the files that define agents below a `.claude` folder.
    pub(super) fn agents(&mut self, folder: &Path) -> Scan {
        let mut scan = Scan::default();
        scan.add_commands(&folder.join("agents"), &Origin::Project, self);
        scan
    }

    /// Reads a file up to the bounds. Also returns the bound that it exceeds, if any.
    fn read(&mut self, path: &Path) -> (Result<String, String>, Option<Bound>) {
        if self.bytes >= MAX_TOTAL_BYTES {
            return (Err(format!("{}", Bound::TotalBytes)), Some(Bound::TotalBytes));
        }
        match read_at_most(path, MAX_FILE_BYTES + 1) {
            Ok(mut bytes) => {
                self.bytes += bytes.len() as u64;
                let bound = (bytes.len() as u64 > MAX_FILE_BYTES).then_some(Bound::FileBytes);
                bytes.truncate(MAX_FILE_BYTES as usize);
                (Ok(String::from_utf8_lossy(&bytes).into_owned()), bound)
            }
            Err(error) => (Err(error_text(&error)), None),
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
    /// Returns a folder within this one; `None` if a link leads back to one of its ancestors.
    fn child(&self, path: PathBuf) -> Option<Folder> {
        let identity = identity(&path).filter(|identity| !self.ancestry.contains(identity))?;
        let ancestry = self.ancestry.iter().copied().chain([identity]).collect();
        Some(Folder { prefix: format!("{}{}:", self.prefix, name_of(&path)), path, ancestry })
    }

    fn is_too_deep(&self) -> bool {
        self.ancestry.len() > MAX_FOLDERS_DEEP + 1
    }
}

impl Scan {
    fn add_skills(&mut self, folder: &Path, origin: &Origin, scanner: &mut Scanner) {
        for path in self.entries(folder, &mut 0) {
            let file = path.join("SKILL.md");
            if file.is_file() {
                self.add_file(&file, name_of(&path), origin, scanner);
            }
        }
    }

    /// Adds the commands below a folder in breadth-first order.
    fn add_commands(&mut self, folder: &Path, origin: &Origin, scanner: &mut Scanner) {
        let Some(identity) = identity(folder) else { return };
        let first = Folder { path: folder.to_owned(), prefix: String::new(), ancestry: vec![identity] };
        let (mut queue, mut queued, mut entries) = (VecDeque::from([first]), 1, 0);
        while let Some(folder) = queue.pop_front() {
            for path in self.entries(&folder.path, &mut entries) {
                if path.is_dir() {
                    let Some(child) = folder.child(path) else { continue };
                    if child.is_too_deep() {
                        self.exceed(&child.path, Bound::Depth);
                    } else if queued == MAX_FOLDERS {
                        self.exceed(&child.path, Bound::Folders);
                    } else {
                        queue.push_back(child);
                        queued += 1;
                    }
                } else if path.extension().is_some_and(|extension| extension == "md") && path.is_file() {
                    let name = path.file_stem().unwrap_or_default().to_string_lossy();
                    self.add_file(&path, format!("{}{name}", folder.prefix), origin, scanner);
                }
            }
        }
    }

    fn add_file(&mut self, path: &Path, name: String, origin: &Origin, scanner: &mut Scanner) {
        if self.files.len() == MAX_FILES {
            return self.exceed(path, Bound::Files);
        }
        let (text, bound) = scanner.read(path);
        self.files.push(CommandFile { name, origin: origin.clone(), path: path.to_owned(), text });
        if let Some(bound) = bound {
            self.exceed(path, bound);
        }
    }

    /// Returns the entries sorted by name; none if the folder cannot be read, as claude does. Adds their number to `seen`.
    fn entries(&mut self, folder: &Path, seen: &mut usize) -> Vec<PathBuf> {
        let left = MAX_ENTRIES - *seen;
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.take(left + 1).map(|entry| entry.path()).collect();
        if paths.len() > left {
            paths.pop();
            self.exceed(folder, Bound::Entries);
        }
        *seen += paths.len();
        paths.sort();
        paths
    }

    /// Records an excess: for a folder or a file in it, that of the folder.
    fn exceed(&mut self, path: &Path, bound: Bound) {
        let is_new = !self.excesses.iter().any(|excess| excess.bound == bound);
        let path = match bound {
            Bound::Depth | Bound::Entries | Bound::FileBytes => path,
            Bound::Folders | Bound::Files | Bound::TotalBytes => path.parent().unwrap_or(path),
        };
        if is_new || bound == Bound::FileBytes {
            self.excesses.push(Excess { path: path.to_owned(), bound });
        }
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// Returns the device and inode of a folder, with links resolved.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn read_at_most(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    fn commands_in(folder: &Path) -> Scan {
        let mut scan = Scan::default();
        let started = Instant::now();
        scan.add_commands(folder, &Origin::Project, &mut Scanner::default());
        assert!(started.elapsed() < Duration::from_secs(60));
        scan
    }

    fn bounds(scan: &Scan) -> Vec<Bound> {
        scan.excesses.iter().map(|excess| excess.bound).collect()
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
        let scan = commands_in(folder.path());
        let names: Vec<&str> = scan.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["big", "nested:small"]);
        assert!(scan.files[0].text.as_ref().is_ok_and(|text| text.len() == MAX_FILE_BYTES as usize));
        let excess = Excess { path: folder.path().join("big.md"), bound: Bound::FileBytes };
        assert_eq!(scan.excesses, [excess]);
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
        let scan = commands_in(folder.path());
        assert_eq!(scan.files[0].name, "near");
        assert!(scan.files.iter().any(|file| file.name == "folder29:far"));
        assert!(scan.files.len() <= MAX_FILES);
        assert!(bounds(&scan).contains(&Bound::Folders), "{:?}", bounds(&scan));
    }

    #[test]
    fn depth_and_number_of_files_are_bounded() {
        let folder = tempfile::tempdir().expect("a directory");
        let deepest = (0..MAX_FOLDERS_DEEP).fold(folder.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deepest).expect("directories");
        fs::write(deepest.join("in.md"), "x").expect("a file");
        assert!(commands_in(folder.path()).excesses.is_empty());
        fs::create_dir(deepest.join("d")).expect("a directory");
        fs::write(deepest.join("d/beyond.md"), "x").expect("a file");
        let scan = commands_in(folder.path());
        assert_eq!(
            (scan.files.len(), scan.excesses),
            (1, vec![Excess { path: deepest.join("d"), bound: Bound::Depth }])
        );

        let folder = tempfile::tempdir().expect("a directory");
        for i in 0..=MAX_FILES {
            fs::write(folder.path().join(format!("{i}.md")), "x").expect("a file");
        }
        let scan = commands_in(folder.path());
        let excess = Excess { path: folder.path().to_owned(), bound: Bound::Files };
        assert_eq!((scan.files.len(), scan.excesses), (MAX_FILES, vec![excess]));
    }

    /// Many links to one file made zen hold more than a gigabyte.
    #[test]
    fn total_size_of_many_links_to_one_file_is_bounded() {
        let folder = tempfile::tempdir().expect("a directory");
        fs::write(folder.path().join("one.md"), "x".repeat(MAX_FILE_BYTES as usize)).expect("a file");
        for i in 0..1_000 {
            symlink("one.md", folder.path().join(format!("link{i}.md"))).expect("a link");
        }
        let scan = commands_in(folder.path());
        let held: usize = scan.files.iter().filter_map(|file| Some(file.text.as_ref().ok()?.len())).sum();
        assert_eq!((scan.files.len(), held as u64), (1_001, MAX_TOTAL_BYTES));
        assert_eq!(scan.excesses, [Excess { path: folder.path().to_owned(), bound: Bound::TotalBytes }]);
        assert!(scan.files.last().is_some_and(|file| file.text.is_err()));
    }
}
