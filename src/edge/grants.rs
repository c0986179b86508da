//! Looks into claude's own files for what they allow an instance, beside its config. What the rules mean is known elsewhere.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

use super::command_files;
use super::find::users_folder;
use super::reason;
use crate::catalogue::CommandFile;
use crate::claude::grants;
use crate::plan::Instance;

/// The administrator's settings, and the directory of more of them.
const MANAGED_SETTINGS: &str = "/etc/claude-code/managed-settings.json";
const MORE_MANAGED_SETTINGS: &str = "/etc/claude-code/managed-settings.d";

/// Settings are a few kilobytes.
const MAX_SETTINGS_BYTES: u64 = 1024 * 1024;

const MAX_MANAGED_FILES: usize = 100;

/// What a file of claude's allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The file.
    pub file: PathBuf,
    /// The rule, as it stands there.
    pub rule: String,
}

/// What claude's files allow an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// What they allow.
    pub grants: Vec<Grant>,
    /// The files that are not understood, and why.
    pub problems: Vec<(PathBuf, String)>,
}

/// Returns what settings allow in general, and what the commands that an instance calls allow while they run.
#[must_use]
pub fn of_instance(instance: &Instance) -> Grants {
    let folders = folders(instance);
    let mut found = Grants::default();
    for file in folders.iter().flat_map(|folder| ["settings.json", "settings.local.json"].map(|name| folder.join(name)))
    {
        found.add_settings(file, false);
    }
    for file in managed_settings() {
        found.add_settings(file, true);
    }
    for turn in &instance.turns {
        for file in files_of_command(&folders, turn.command.as_deref()) {
            let rules = file.text.as_ref().map(|text| grants::of_front_matter(text)).unwrap_or_default();
            found.grants.extend(rules.into_iter().map(|rule| Grant { file: file.path.clone(), rule }));
        }
    }
    found
}

/// Returns the files that may be the command that this turn of an instance calls.
#[must_use]
pub fn command_files_of(instance: &Instance, command: &str) -> Vec<CommandFile> {
    files_of_command(&folders(instance), Some(command))
}

/// The agents that an instance may use and that run in a mode of their own: each one's file and mode.
#[must_use]
pub fn lenient_agents(instance: &Instance) -> Vec<Grant> {
    let files = folders(instance).into_iter().flat_map(|folder| command_files::agents(&folder));
    files.filter_map(|file| Some(Grant { rule: grants::lenient_mode(&file.text.ok()?)?, file: file.path })).collect()
}

impl Grants {
    fn add_settings(&mut self, file: PathBuf, is_managed: bool) {
        let bytes = match read_settings(&file) {
            Ok(None) => return,
            Ok(Some(bytes)) => bytes,
            Err(why) => return self.problems.push((file, why)),
        };
        if let Some(field) = grants::field_against_hooks(&bytes).filter(|_| is_managed) {
            let why = format!("sets {field}, which takes away the hook that enforces allowed_tools");
            self.problems.push((file.clone(), why));
        }
        match grants::of_settings(&bytes) {
            Ok(rules) => self.grants.extend(rules.into_iter().map(|rule| Grant { file: file.clone(), rule })),
            Err(why) => self.problems.push((file, why)),
        }
    }
}

/// Reads a file of settings, if there is one. A pipe or a device there costs neither time nor memory.
fn read_settings(file: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = match options.open(file) {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {}", reason(&error))),
    };
    let metadata = opened.metadata().map_err(|error| format!("cannot be read: {}", reason(&error)))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = opened.take(MAX_SETTINGS_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {}", reason(&error)))?;
    match bytes.len() as u64 > MAX_SETTINGS_BYTES {
        true => Err("is larger than 1 MiB".to_owned()),
        // claude makes empty files of settings itself.
        false => Ok(Some(bytes).filter(|bytes| !bytes.iter().all(u8::is_ascii_whitespace))),
    }
}

fn managed_settings() -> Vec<PathBuf> {
    let more = fs::read_dir(MORE_MANAGED_SETTINGS).into_iter().flatten().flatten().map(|entry| entry.path());
    let more = more.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    std::iter::once(PathBuf::from(MANAGED_SETTINGS)).chain(more.take(MAX_MANAGED_FILES)).collect()
}

/// Generations differ in how a folder, and the `name` in the front matter, make the name of a command.
fn files_of_command(folders: &[PathBuf], command: Option<&str>) -> Vec<CommandFile> {
    let Some(command) = command else { return Vec::new() };
    let files = folders.iter().flat_map(|folder| command_files::of_folder(folder));
    files.filter(|file| grants::is_called(&file.name, file.text.as_deref().unwrap_or_default(), command)).collect()
}

/// claude's folders: the user's, and those of the directory that it runs in and of the ones above it.
fn folders(instance: &Instance) -> Vec<PathBuf> {
    let users = users_folder(&instance.env);
    // claude goes up from where it really is, and not by the path of a link.
    let cwd = crate::workspace::absolute(&instance.cwd);
    let of_projects = cwd.ancestors().map(|directory: &Path| directory.join(".claude"));
    let mut folders: Vec<PathBuf> = users.into_iter().chain(of_projects).collect();
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn settings_without_end_are_not_read() {
        let place = tempfile::tempdir().expect("a directory");
        let file = |name: &str| place.path().join(name);
        nix::unistd::mkfifo(&file("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        symlink("/dev/zero", file("zero")).expect("a link");
        symlink("/nowhere", file("dangling")).expect("a link");
        fs::write(file("large"), vec![b' '; MAX_SETTINGS_BYTES as usize + 1]).expect("a file");
        fs::write(file("empty"), " \n").expect("a file");
        fs::write(file("good"), "{}").expect("a file");
        for (name, expected) in [
            ("pipe", Err("is not a regular file".to_owned())),
            ("zero", Err("is not a regular file".to_owned())),
            ("large", Err("is larger than 1 MiB".to_owned())),
            ("dangling", Ok(None)),
            ("missing", Ok(None)),
            ("good/missing", Ok(None)),
            ("empty", Ok(None)),
            ("good", Ok(Some(b"{}".to_vec()))),
        ] {
            assert_eq!(read_settings(&file(name)), expected, "{name}");
        }
    }
}
