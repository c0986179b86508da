//! Slash commands of a workspace: the commands that claude lists, joined with the files that define them, or, without
//! claude, the files alone. Reads no files and runs no process; [`text`] formats the result.

pub mod text;

use std::collections::HashSet;
use std::path::PathBuf;

use crate::base::suggest::nearest_few;
use crate::claude::front_matter;
use crate::claude::slash_commands::{CommandNotFound, CommandSource, ListedCommand, NotFoundHint, UNLISTED};

/// Source of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file of the workspace.
    Project,
    /// A file of the user.
    User,
    /// A skill of the workspace.
    ProjectSkill,
    /// A skill of the user.
    UserSkill,
    /// Plugin of this name.
    Plugin(String),
    /// Built into claude.
    BuiltIn,
}

/// A file that defines a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandFile {
    /// Name of the command according to the path: `folder:name`, or a skill's folder.
    pub name: String,
    /// Source of the file.
    pub origin: Origin,
    /// Path of the file.
    pub path: PathBuf,
    /// Text that was read, or the error.
    pub text: Result<String, String>,
}

/// A slash command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Name without the slash.
    pub name: String,
    /// Source of the command.
    pub origin: Origin,
    /// Description of the command.
    pub description: String,
    /// Placeholder of the arguments.
    pub argument_hint: String,
    /// Aliases of the command.
    pub aliases: Vec<String>,
    /// File of the command, if known, followed by the files of the same name that it overrides.
    pub files: Vec<CommandFile>,
}

/// List of all commands, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandCatalog {
    commands: Vec<Command>,
}

impl CommandFile {
    /// Returns the front matter and the body; both are empty if the file could not be read.
    #[must_use]
    pub fn parts(&self) -> (Vec<(String, String)>, &str) {
        front_matter::split(self.text.as_deref().unwrap_or_default())
    }

    /// Returns the command's name: a skill may declare its own, a command may not.
    fn called(&self) -> String {
        if matches!(self.origin, Origin::ProjectSkill | Origin::UserSkill)
            && let Some(name) = self.field("name")
            && !name.is_empty()
        {
            return name;
        }
        self.name.clone()
    }

    fn field(&self, key: &str) -> Option<String> {
        front_matter::field(self.text.as_deref().unwrap_or_default(), key)
    }

    /// Returns the description of the front matter or else the first line of the body, as claude does.
    fn description(&self) -> String {
        if let Some(description) = self.field("description") {
            return description;
        }
        let (_, body) = self.parts();
        for line in body.lines() {
            let line = line.trim_start_matches('#').trim();
            if !line.is_empty() {
                return line.to_owned();
            }
        }
        String::new()
    }
}

impl CommandCatalog {
    /// Joins claude's list, if available, with files in order of precedence.
    #[must_use]
    pub fn new(listed: Option<Vec<ListedCommand>>, files: Vec<CommandFile>) -> Self {
        let mut files_by_name: Vec<(String, CommandFile)> = Vec::with_capacity(files.len());
        for file in files {
            files_by_name.push((file.called(), file));
        }
        let mut listed = match listed {
            Some(listed) => listed,
            None => files_by_name.iter().map(|(name, file)| from_file(name, file)).collect(),
        };
        for (name, description) in UNLISTED {
            let (name, description) = ((*name).to_owned(), (*description).to_owned());
            listed.push(ListedCommand { name, description, ..ListedCommand::default() });
        }
        let mut commands = Vec::new();
        let mut names = HashSet::new();
        for command in listed {
            // Of two commands with one name, claude runs the first in its list.
            if names.insert(command.name.clone()) {
                let files = files_of(&command.name, &files_by_name);
                commands.push(joined(command, files));
            }
        }
        commands.sort_by_cached_key(|command| (command.name.to_lowercase(), command.name.clone()));
        CommandCatalog { commands }
    }

    /// Returns the commands, sorted by name.
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Returns the command that `/name arguments` calls. The slash and the arguments are optional.
    ///
    /// # Errors
    /// Returns an error with similar names if there is no such command.
    pub fn find(&self, called: &str) -> Result<&Command, CommandNotFound> {
        let name = called.split_whitespace().next().unwrap_or_default().trim_start_matches('/');
        if let Some(command) = self.commands.iter().find(|command| command.name == name) {
            return Ok(command);
        }
        for command in &self.commands {
            if command.aliases.iter().any(|alias| alias == name) {
                return Ok(command);
            }
        }
        Err(self.not_found(name))
    }

    fn not_found(&self, name: &str) -> CommandNotFound {
        const MAX_NAMES: usize = 3;
        let mut known: Vec<&str> = Vec::new();
        for command in &self.commands {
            known.push(&command.name);
            known.extend(command.aliases.iter().map(String::as_str));
        }
        // A folder is easily forgotten, and the edit distance does not find it.
        let (mut similar, others): (Vec<&str>, Vec<&str>) =
            known.into_iter().partition(|known| known.rsplit(':').next() == Some(name));
        similar.extend(nearest_few(name, others, MAX_NAMES));
        similar.truncate(MAX_NAMES);
        let hint = if similar.is_empty() {
            NotFoundHint::List
        } else {
            NotFoundHint::Similar(similar.into_iter().map(text::shown).collect())
        };
        CommandNotFound { name: text::shown(name), hint }
    }
}

fn files_of(name: &str, files: &[(String, CommandFile)]) -> Vec<CommandFile> {
    files.iter().filter(|(other, _)| other == name).map(|(_, file)| file.clone()).collect()
}

fn from_file(name: &str, file: &CommandFile) -> ListedCommand {
    ListedCommand {
        name: name.to_owned(),
        description: file.description(),
        argument_hint: file.field("argument-hint").unwrap_or_default(),
        aliases: Vec::new(),
        source: CommandSource::Project,
    }
}

fn joined(listed: ListedCommand, files: Vec<CommandFile>) -> Command {
    let (origin, files) = match (listed.source, files.first()) {
        (CommandSource::Claude, _) => (Origin::BuiltIn, Vec::new()),
        (CommandSource::Plugin(plugin), _) => (Origin::Plugin(plugin), Vec::new()),
        (CommandSource::Project | CommandSource::User, Some(file)) => (file.origin.clone(), files),
        (CommandSource::Project, None) => (Origin::Project, files),
        (CommandSource::User, None) => (Origin::User, files),
    };
    let description = match files.first() {
        Some(file) if front_matter::is_block_mark(&listed.description) => file.description(),
        _ => listed.description,
    };
    let ListedCommand { name, argument_hint, aliases, .. } = listed;
    Command { name, origin, description, argument_hint, aliases, files }
}

#[cfg(test)]
mod tests;
