//! Scans claude's own files for permissions that they grant an instance in addition to its config. The rules themselves
//! are interpreted in [`claude::settings`](crate::claude::settings).

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::libc;

use crate::claude::command_catalog::CommandFile;
use crate::claude::{extra_args, settings};
use crate::plan::Instance;
use crate::preflight::command_scan;
use crate::system::error_text;
use crate::system::locate::user_config_dir;

/// The administrator's settings file, and the directory of further ones.
const MANAGED_SETTINGS: &str = "/etc/claude-code/managed-settings.json";
const MORE_MANAGED_SETTINGS: &str = "/etc/claude-code/managed-settings.d";

/// Names of the settings files in a `.claude` folder.
const SETTINGS: [&str; 2] = ["settings.json", "settings.local.json"];

/// Maximum size of a settings file; common ones have a few kilobytes.
const MAX_SETTINGS_BYTES: u64 = 1024 * 1024;

const MAX_MANAGED_FILES: usize = 100;

/// A permission that one of claude's files grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionRule {
    /// Path of the file.
    pub file: PathBuf,
    /// The rule, verbatim.
    pub rule: String,
}

/// Permissions that claude's files grant an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The granted permissions.
    pub grants: Vec<PermissionRule>,
    /// Files that cannot be interpreted, with the reason.
    pub problems: Vec<(PathBuf, String)>,
    /// Tools that the files deny as a whole.
    denied: Vec<String>,
    /// The reason why claude cannot use a file, if any.
    unusable: Option<String>,
}

/// Cache of claude's files: each is read once, because many instances share them.
#[derive(Debug, Default)]
pub struct Reader {
    settings: HashMap<PathBuf, Grants>,
    commands: HashMap<PathBuf, Vec<Rc<Command>>>,
}

/// The file of a command or a skill, and the name in its front matter.
#[derive(Debug)]
pub struct Command {
    file: CommandFile,
    declared_name: Option<String>,
}

impl Command {
    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Returns the text of the file, if it can be read.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.file.text.as_deref().ok()
    }
}

impl Reader {
    /// Returns the permissions granted by settings, and by the commands of an instance while they run.
    #[must_use]
    pub fn of_instance(&mut self, instance: &Instance) -> Grants {
        let mut found = Grants::default();
        for (file, is_managed) in settings_files(instance) {
            let of_file = self.of_file(file, is_managed);
            found.grants.extend(of_file.grants.iter().cloned());
            found.problems.extend(of_file.problems.iter().cloned());
        }
        for command in instance.turns.iter().filter_map(|turn| turn.command.as_deref()) {
            for file in self.commands_of(instance, command) {
                let rules = file.text().map(settings::of_front_matter).unwrap_or_default();
                found
                    .grants
                    .extend(rules.into_iter().map(|rule| PermissionRule { file: file.path().to_owned(), rule }));
            }
        }
        found
    }

    /// Returns the names of the tools that settings deny to an instance as a whole.
    #[must_use]
    pub fn denied_tools(&mut self, instance: &Instance) -> Vec<String> {
        let mut denied = Vec::new();
        for (file, is_managed) in settings_files(instance) {
            denied.extend_from_slice(&self.of_file(file, is_managed).denied);
        }
        for value in extra_args::settings_values(&instance.invocation.claude_args) {
            if value.trim_start().starts_with('{') {
                denied.extend(settings::denied_tools(value.as_bytes()));
            } else {
                denied.extend_from_slice(&self.of_file(instance.invocation.cwd.join(value), false).denied);
            }
        }
        denied
    }

    /// Returns the settings files of an instance that claude cannot use, with the reason: the user's, and those of its
    /// directory.
    #[must_use]
    pub fn unusable_settings(&mut self, instance: &Instance) -> Vec<(PathBuf, String)> {
        if extra_args::chooses_settings(&instance.invocation.claude_args) {
            return Vec::new();
        }
        let mut files: Vec<PathBuf> =
            user_config_dir(&instance.invocation.env).map(|f| f.join(SETTINGS[0])).into_iter().collect();
        let project = crate::system::locate::canonical(&instance.invocation.cwd).join(".claude");
        files.extend(SETTINGS.map(|name| project.join(name)));
        files.dedup();
        let with_reason = |file: PathBuf| Some((file.clone(), self.of_file(file, false).unusable.clone()?));
        files.into_iter().filter_map(with_reason).collect()
    }

    fn of_file(&mut self, file: PathBuf, is_managed: bool) -> &Grants {
        self.settings.entry(file).or_insert_with_key(|file| of_settings(file, is_managed))
    }

    /// Returns the files that may define a command of this name for an instance. Generations of claude differ in how
    /// the folder, and the `name` in the front matter, form the name of a command.
    #[must_use]
    pub fn commands_of(&mut self, instance: &Instance, name: &str) -> Vec<Rc<Command>> {
        let mut found = Vec::new();
        for folder in folders(instance) {
            let commands = self.commands.entry(folder).or_insert_with_key(|folder| commands_in(folder));
            let is_called = |command: &&Rc<Command>| {
                settings::is_called(&command.file.name, command.declared_name.as_deref(), name)
            };
            found.extend(commands.iter().filter(is_called).cloned());
        }
        found
    }
}

fn commands_in(folder: &Path) -> Vec<Rc<Command>> {
    let files = command_scan::of_folder(folder).into_iter();
    let declared_name = |file: &CommandFile| settings::declared_name(file.text.as_deref().ok()?);
    files.map(|file| Rc::new(Command { declared_name: declared_name(&file), file })).collect()
}

fn of_settings(file: &Path, is_managed: bool) -> Grants {
    let mut found = Grants::default();
    found.add_settings(file.to_owned(), is_managed);
    found
}

/// Returns the agents that an instance may use and that set a permission mode: file and mode of each.
#[must_use]
pub fn lenient_agents(instance: &Instance) -> Vec<PermissionRule> {
    let files = folders(instance).into_iter().flat_map(|folder| command_scan::agents(&folder));
    files
        .filter_map(|file| Some(PermissionRule { rule: settings::lenient_mode(&file.text.ok()?)?, file: file.path }))
        .collect()
}

impl Grants {
    fn add_settings(&mut self, file: PathBuf, is_managed: bool) {
        let bytes = match read_settings(&file) {
            Ok(None) => return,
            Ok(Some(bytes)) => bytes,
            Err(why) => {
                self.unusable = Some(format!("{why}: zen did not check it"));
                return self.problems.push((file, why));
            }
        };
        self.denied = settings::denied_tools(&bytes);
        self.unusable =
            settings::syntax_error(&bytes).map(|error| format!("is not valid JSON: {error}: claude ignores it"));
        if let Some(field) = settings::field_against_hooks(&bytes).filter(|_| is_managed) {
            let why = format!("sets {field}, which takes away the hook that enforces allowed_tools");
            self.problems.push((file.clone(), why));
        }
        match settings::allowed_rules(&bytes) {
            Ok(rules) => self.grants.extend(rules.into_iter().map(|rule| PermissionRule { file: file.clone(), rule })),
            Err(error) => self.problems.push((file, format!("cannot be parsed: {error}"))),
        }
    }
}

/// Reads a settings file, if there is one. It does not block on a pipe or a device, and limits the size.
fn read_settings(file: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = match options.open(file) {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {}", error_text(&error))),
    };
    let metadata = opened.metadata().map_err(|error| format!("cannot be read: {}", error_text(&error)))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = opened.take(MAX_SETTINGS_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {}", error_text(&error)))?;
    if bytes.len() as u64 > MAX_SETTINGS_BYTES {
        Err("is larger than 1 MiB".to_owned())
    } else {
        // claude itself creates empty settings files.
        Ok(Some(bytes).filter(|bytes| !bytes.iter().all(u8::is_ascii_whitespace)))
    }
}

/// Returns the settings files that may apply to an instance, and true with each of the administrator's.
fn settings_files(instance: &Instance) -> impl Iterator<Item = (PathBuf, bool)> {
    let files = folders(instance).into_iter().flat_map(|folder| SETTINGS.map(|name| (folder.join(name), false)));
    files.chain(managed_settings().into_iter().map(|file| (file, true)))
}

fn managed_settings() -> Vec<PathBuf> {
    let more = fs::read_dir(MORE_MANAGED_SETTINGS).into_iter().flatten().flatten().map(|entry| entry.path());
    let more = more.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    std::iter::once(PathBuf::from(MANAGED_SETTINGS)).chain(more.take(MAX_MANAGED_FILES)).collect()
}

/// Returns the `.claude` folders of the user, of the working directory, and of its ancestors.
fn folders(instance: &Instance) -> Vec<PathBuf> {
    let users = user_config_dir(&instance.invocation.env);
    // claude searches upwards from the real path, with links resolved.
    let cwd = crate::system::locate::canonical(&instance.invocation.cwd);
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
