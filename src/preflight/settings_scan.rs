//! Scans claude's own files for permissions that they grant an instance in addition to its config. The rules themselves
//! are interpreted in [`claude::settings`](crate::claude::settings).

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::libc;

use crate::claude::command_catalog::CommandFile;
use crate::claude::{extra_args, settings};
use crate::plan::Instance;
use crate::preflight::command_files::{Bound, Excess, Scan, Scanner};
use crate::system::error_text;
use crate::system::locate::{canonical, user_config_dir};

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
    pub problems: Vec<(PathBuf, SettingsError)>,
    /// Tools that the files deny as a whole.
    denied: Vec<String>,
    /// The reason why claude cannot use a file, if any.
    unusable: Option<UnusableSettings>,
}

/// Reason why zen cannot rely on a settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The system's error.
    Unreadable(String),
    /// A directory, a pipe or a device.
    NotRegular,
    /// Larger than any settings file.
    TooLarge,
    /// A text that zen cannot parse.
    Invalid(String),
    /// A field of the managed settings that disables hooks.
    DisablesHooks(&'static str),
    /// A bound of the scan for commands and agents.
    Exceeds(Bound),
}

impl From<std::io::Error> for SettingsError {
    fn from(error: std::io::Error) -> Self {
        SettingsError::Unreadable(error_text(&error))
    }
}

impl Display for SettingsError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            SettingsError::Unreadable(error) => write!(f, "cannot be read: {error}"),
            SettingsError::NotRegular => write!(f, "is not a regular file"),
            SettingsError::TooLarge => write!(f, "is larger than 1 MiB"),
            SettingsError::Invalid(error) => write!(f, "cannot be parsed: {error}"),
            SettingsError::DisablesHooks(field) => {
                write!(f, "sets {field}, which disables the hook that enforces allowed_tools")
            }
            SettingsError::Exceeds(bound) => write!(f, "{bound}"),
        }
    }
}

/// Reason why claude cannot use a settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnusableSettings {
    /// zen could not read it.
    Unchecked(SettingsError),
    /// It is not valid JSON.
    InvalidJson(String),
}

impl Display for UnusableSettings {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            UnusableSettings::Unchecked(error) => write!(f, "{error}: zen did not check it"),
            UnusableSettings::InvalidJson(error) => write!(f, "is not valid JSON: {error}: claude ignores it"),
        }
    }
}

/// Cache of claude's files: each is read once, because many instances share them.
#[derive(Debug, Default)]
pub struct Reader {
    settings: HashMap<PathBuf, Grants>,
    commands: HashMap<PathBuf, CommandFolder>,
    agents: HashMap<PathBuf, Grants>,
    scanner: Scanner,
}

/// Commands and skills of a `.claude` folder.
#[derive(Debug)]
struct CommandFolder {
    commands: Vec<Rc<Command>>,
    excesses: Vec<Excess>,
}

/// The file of a command or a skill, and the name in its front matter.
#[derive(Debug)]
pub struct Command {
    file: CommandFile,
    declared_name: Option<String>,
}

impl Command {
    fn new(file: CommandFile) -> Self {
        let declared_name = file.text.as_deref().ok().and_then(settings::declared_name);
        Command { file, declared_name }
    }

    fn is_called(&self, name: &str) -> bool {
        settings::is_called(&self.file.name, self.declared_name.as_deref(), name)
    }

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
        for (file, origin) in settings_files(instance) {
            let grants = self.of_file(file, origin);
            found.grants.extend_from_slice(&grants.grants);
            found.problems.extend_from_slice(&grants.problems);
        }
        for command in instance.turns.iter().filter_map(|turn| turn.command.as_deref()) {
            found.add_excesses(self.excesses_of(instance, command));
            for file in self.commands_of(instance, command) {
                let rules = file.text().map(settings::of_front_matter).unwrap_or_default();
                found.add_rules(file.path(), rules);
            }
        }
        found
    }

    /// Returns the names of the tools that settings deny to an instance as a whole.
    #[must_use]
    pub fn denied_tools(&mut self, instance: &Instance) -> Vec<String> {
        let mut denied = Vec::new();
        for (file, origin) in settings_files(instance) {
            denied.extend_from_slice(&self.of_file(file, origin).denied);
        }
        for value in extra_args::settings_values(&instance.invocation.claude_args) {
            if value.trim_start().starts_with('{') {
                denied.extend(settings::denied_tools(value.as_bytes()));
            } else {
                let file = instance.invocation.cwd.join(value);
                denied.extend_from_slice(&self.of_file(file, Origin::User).denied);
            }
        }
        denied
    }

    /// Returns the settings files of an instance that claude cannot use, with the reason: the user's, and those of its
    /// directory.
    #[must_use]
    pub fn unusable_settings(&mut self, instance: &Instance) -> Vec<(PathBuf, UnusableSettings)> {
        if extra_args::chooses_settings(&instance.invocation.claude_args) {
            return Vec::new();
        }
        let mut files = Vec::new();
        if let Some(folder) = user_config_dir(&instance.invocation.env) {
            files.push(folder.join(SETTINGS[0]));
        }
        let project = canonical(&instance.invocation.cwd).join(".claude");
        files.extend(SETTINGS.map(|name| project.join(name)));
        files.dedup();
        let mut unusable = Vec::new();
        for file in files {
            if let Some(reason) = self.of_file(file.clone(), Origin::User).unusable.clone() {
                unusable.push((file, reason));
            }
        }
        unusable
    }

    fn of_file(&mut self, file: PathBuf, origin: Origin) -> &Grants {
        self.settings.entry(file).or_insert_with_key(|file| of_settings(file, origin))
    }

    /// Returns the files that may define a command of this name for an instance. Generations of claude differ in how
    /// the folder, and the `name` in the front matter, form the name of a command.
    #[must_use]
    pub fn commands_of(&mut self, instance: &Instance, name: &str) -> Vec<Rc<Command>> {
        let mut found = Vec::new();
        for folder in folders(instance) {
            for command in &self.command_folder(folder).commands {
                if command.is_called(name) {
                    found.push(Rc::clone(command));
                }
            }
        }
        found
    }

    /// Returns the bounds beyond which there may be another file, or another part of a file, of this command.
    #[must_use]
    pub fn excesses_of(&mut self, instance: &Instance, name: &str) -> Vec<Excess> {
        let mut found = Vec::new();
        for folder in folders(instance) {
            let CommandFolder { commands, excesses } = self.command_folder(folder);
            for excess in excesses {
                let is_of_command = |command: &Rc<Command>| command.path() == excess.path && command.is_called(name);
                if excess.bound != Bound::FileBytes || commands.iter().any(is_of_command) {
                    found.push(excess.clone());
                }
            }
        }
        found
    }

    fn command_folder(&mut self, folder: PathBuf) -> &CommandFolder {
        let scanner = &mut self.scanner;
        self.commands.entry(folder).or_insert_with_key(|folder| {
            let Scan { files, excesses } = scanner.commands(folder);
            CommandFolder { commands: files.into_iter().map(Command::new).map(Rc::new).collect(), excesses }
        })
    }

    /// Returns the agents that an instance may use and that set a permission mode: file and mode of each.
    #[must_use]
    pub fn lenient_agents(&mut self, instance: &Instance) -> Grants {
        let mut found = Grants::default();
        for folder in folders(instance) {
            let scanner = &mut self.scanner;
            let agents = self.agents.entry(folder).or_insert_with_key(|folder| agents_in(folder, scanner));
            found.grants.extend_from_slice(&agents.grants);
            found.problems.extend_from_slice(&agents.problems);
        }
        found
    }
}

fn agents_in(folder: &Path, scanner: &mut Scanner) -> Grants {
    let Scan { files, excesses } = scanner.agents(folder);
    let mut agents = Grants::default();
    for file in files {
        if let Some(mode) = file.text.ok().as_deref().and_then(settings::lenient_mode) {
            agents.grants.push(PermissionRule { file: file.path, rule: mode });
        }
    }
    agents.add_excesses(excesses);
    agents
}

fn of_settings(file: &Path, origin: Origin) -> Grants {
    let mut found = Grants::default();
    found.add_settings(file, origin);
    found
}

impl Grants {
    fn add_settings(&mut self, file: &Path, origin: Origin) {
        let bytes = match read_settings(file) {
            Ok(None) => return,
            Ok(Some(bytes)) => bytes,
            Err(error) => {
                self.unusable = Some(UnusableSettings::Unchecked(error.clone()));
                return self.problems.push((file.to_owned(), error));
            }
        };
        self.denied = settings::denied_tools(&bytes);
        self.unusable = settings::syntax_error(&bytes).map(UnusableSettings::InvalidJson);
        if origin == Origin::Administrator
            && let Some(field) = settings::field_against_hooks(&bytes)
        {
            self.problems.push((file.to_owned(), SettingsError::DisablesHooks(field)));
        }
        match settings::allowed_rules(&bytes) {
            Ok(rules) => self.add_rules(file, rules),
            Err(error) => self.problems.push((file.to_owned(), SettingsError::Invalid(error.to_string()))),
        }
    }

    fn add_excesses(&mut self, excesses: Vec<Excess>) {
        for Excess { path, bound } in excesses {
            self.problems.push((path, SettingsError::Exceeds(bound)));
        }
    }

    fn add_rules(&mut self, file: &Path, rules: Vec<String>) {
        for rule in rules {
            self.grants.push(PermissionRule { file: file.to_owned(), rule });
        }
    }
}

/// Reads a settings file, if there is one. It does not block on a pipe or a device, and limits the size.
fn read_settings(file: &Path) -> Result<Option<Vec<u8>>, SettingsError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = match options.open(file) {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !opened.metadata()?.is_file() {
        return Err(SettingsError::NotRegular);
    }
    let mut bytes = Vec::new();
    opened.take(MAX_SETTINGS_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SETTINGS_BYTES {
        return Err(SettingsError::TooLarge);
    }
    // claude itself creates empty settings files.
    let is_empty = bytes.iter().all(u8::is_ascii_whitespace);
    Ok(if is_empty { None } else { Some(bytes) })
}

/// Author of a settings file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    User,
    Administrator,
}

/// Returns the settings files that may apply to an instance, with their authors.
fn settings_files(instance: &Instance) -> Vec<(PathBuf, Origin)> {
    let mut files = Vec::new();
    for folder in folders(instance) {
        files.extend(SETTINGS.map(|name| (folder.join(name), Origin::User)));
    }
    for file in managed_settings() {
        files.push((file, Origin::Administrator));
    }
    files
}

fn managed_settings() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(MANAGED_SETTINGS)];
    for entry in fs::read_dir(MORE_MANAGED_SETTINGS).into_iter().flatten().flatten() {
        let path = entry.path();
        if files.len() <= MAX_MANAGED_FILES && path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files
}

/// Returns the `.claude` folders of the user, of the working directory, and of its ancestors.
fn folders(instance: &Instance) -> Vec<PathBuf> {
    let mut folders = Vec::from_iter(user_config_dir(&instance.invocation.env));
    // claude searches upwards from the real path, with links resolved.
    for directory in canonical(&instance.invocation.cwd).ancestors() {
        folders.push(directory.join(".claude"));
    }
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
            ("pipe", Err(SettingsError::NotRegular)),
            ("zero", Err(SettingsError::NotRegular)),
            ("large", Err(SettingsError::TooLarge)),
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
