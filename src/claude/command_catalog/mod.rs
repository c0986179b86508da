//! Slash commands of a workspace: the commands that claude lists, joined with the files that define them, or, without
//! claude, the files alone. Reads no files and runs no process; [`text`] formats the result.

pub mod text;

use std::path::PathBuf;

use crate::base::suggest::nearest_few;
use crate::claude::front_matter;
use crate::claude::protocol::initialize::{CommandSource, ListedCommand};
use crate::claude::slash_commands::UNLISTED;

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
        let is_skill = matches!(self.origin, Origin::ProjectSkill | Origin::UserSkill);
        let own = || self.parts().0.into_iter().find(|(key, _)| key == "name").map(|(_, name)| name);
        is_skill.then(own).flatten().filter(|name| !name.is_empty()).unwrap_or_else(|| self.name.clone())
    }

    fn field(&self, key: &str) -> Option<String> {
        self.parts().0.into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// Returns the description of the front matter or else the first line of the body, as claude does.
    fn description(&self) -> String {
        let first_line =
            || self.parts().1.lines().map(|line| line.trim_start_matches('#').trim()).find(|l| !l.is_empty());
        self.field("description").or_else(|| first_line().map(str::to_owned)).unwrap_or_default()
    }
}

impl CommandCatalog {
    /// Joins claude's list, if available, with files in order of precedence.
    #[must_use]
    pub fn new(listed: Option<Vec<ListedCommand>>, files: Vec<CommandFile>) -> Self {
        let named: Vec<(String, CommandFile)> = files.into_iter().map(|file| (file.called(), file)).collect();
        let of_name = |name: &str| -> Vec<CommandFile> {
            named.iter().filter(|(n, _)| n == name).map(|(_, file)| file.clone()).collect()
        };
        let mut commands = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let listed = match listed {
            Some(listed) => listed,
            None => named.iter().map(|(name, file)| of_file(name, file)).collect(),
        };
        for command in listed {
            // Of two commands with one name, claude runs the first in its list.
            if !names.contains(&command.name) {
                names.push(command.name.clone());
                let files = of_name(&command.name);
                commands.push(joined(command, files));
            }
        }
        for (name, description) in UNLISTED.iter().filter(|(name, _)| !names.iter().any(|n| n == name)) {
            let listed =
                ListedCommand { name: (*name).into(), description: (*description).into(), ..ListedCommand::default() };
            commands.push(joined(listed, Vec::new()));
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
    /// The message for an unknown command, with similar names.
    pub fn find(&self, called: &str) -> Result<&Command, String> {
        let name = called.split_whitespace().next().unwrap_or_default().trim_start_matches('/');
        let has_name = |command: &&Command| command.name == name || command.aliases.iter().any(|alias| alias == name);
        let exact = self.commands.iter().find(|command| command.name == name);
        exact.or_else(|| self.commands.iter().find(has_name)).ok_or_else(|| self.not_found(name))
    }

    fn not_found(&self, name: &str) -> String {
        const MAX_NAMES: usize = 3;
        let known =
            || self.commands.iter().flat_map(|c| std::iter::once(&c.name).chain(&c.aliases)).map(String::as_str);
        // A folder is easily forgotten, and the edit distance does not find it.
        let mut meant: Vec<&str> = known().filter(|known| known.rsplit(':').next() == Some(name)).collect();
        let near = nearest_few(name, known(), MAX_NAMES);
        meant.extend(near.into_iter().filter(|near| near.rsplit(':').next() != Some(name)));
        let meant: Vec<String> = meant.iter().take(MAX_NAMES).map(|name| format!("/{}", text::shown(name))).collect();
        let name = text::shown(name);
        match meant.as_slice() {
            [] => format!("Command not found: /{name} (zen --list-commands shows what there is)"),
            [one] => format!("Command not found: /{name} (did you mean {one}?)"),
            [some @ .., last] => format!("Command not found: /{name} (did you mean {} or {last}?)", some.join(", ")),
        }
    }
}

fn of_file(name: &str, file: &CommandFile) -> ListedCommand {
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
