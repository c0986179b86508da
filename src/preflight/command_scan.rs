//! Finds the files that make slash commands: `commands/**/*.md` and `skills/*/SKILL.md`, the workspace's and the user's.
//! Links that go round, pipes, huge files and huge folders cost a bounded time. Knows nothing of what the files say.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::claude::command_catalog::{CommandFile, Origin};
use crate::system::error_text;
use crate::system::locate::user_config_dir;

const MAX_FOLDERS_DEEP: usize = 8;
const MAX_FILES: usize = 5_000;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The files of a workspace and of the user, whose folder is `CLAUDE_CONFIG_DIR` or `~/.claude`, in the order of their
/// precedence.
#[must_use]
pub fn find(workspace: &Path) -> Vec<CommandFile> {
    let project = workspace.join(".claude");
    // A workspace that is the home itself has its files once.
    let user = user_config_dir(&BTreeMap::new()).filter(|user| !is_same(user, &project));
    let mut files = Vec::new();
    for (folder, origin) in [(user.as_deref(), Origin::UserSkill), (Some(&project), Origin::ProjectSkill)] {
        folder.into_iter().for_each(|folder| skills(&folder.join("skills"), &origin, &mut files));
    }
    for (folder, origin) in [(user.as_deref(), Origin::User), (Some(&project), Origin::Project)] {
        folder.into_iter().for_each(|folder| commands(&folder.join("commands"), "", &origin, 0, &mut files));
    }
    files
}

/// The files of commands and skills below this folder of claude's.
pub(super) fn of_folder(folder: &Path) -> Vec<CommandFile> {
    let mut files = Vec::new();
    skills(&folder.join("skills"), &Origin::ProjectSkill, &mut files);
    commands(&folder.join("commands"), "", &Origin::Project, 0, &mut files);
    files
}

/// The files that describe agents, below this folder of claude's.
pub(super) fn agents(folder: &Path) -> Vec<CommandFile> {
    let mut files = Vec::new();
    commands(&folder.join("agents"), "", &Origin::Project, 0, &mut files);
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

fn commands(folder: &Path, prefix: &str, origin: &Origin, depth: usize, files: &mut Vec<CommandFile>) {
    for path in entries(folder) {
        if path.is_dir() && depth < MAX_FOLDERS_DEEP {
            commands(&path, &format!("{prefix}{}:", name_of(&path)), origin, depth + 1, files);
        } else if path.extension().is_some_and(|extension| extension == "md") && path.is_file() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            add(&path, format!("{prefix}{name}"), origin, files);
        }
    }
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

/// In the order of their names; none where it cannot be read, as for claude.
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

    #[test]
    fn links_that_go_round_and_pipes_end_in_time() {
        let workspace = tempfile::tempdir().expect("a directory");
        let commands = workspace.path().join(".claude/commands");
        fs::create_dir_all(&commands).expect("a directory");
        for link in ["a", "b", "c"] {
            symlink(".", commands.join(link)).expect("a link");
        }
        nix::unistd::mkfifo(&commands.join("pipe.md"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        fs::write(commands.join("big.md"), "x".repeat(1_000_000)).expect("a file");
        let started = Instant::now();
        let mut files = Vec::new();
        super::commands(&commands, "", &Origin::Project, 0, &mut files);
        assert!(started.elapsed() < Duration::from_secs(60));
        assert_eq!(files.len(), MAX_FILES);
        assert!(files.iter().all(|file| file.text.as_ref().is_ok_and(|text| text.len() == MAX_FILE_BYTES as usize)));
    }
}
