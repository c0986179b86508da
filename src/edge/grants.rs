//! Looks into claude's own files for what they allow an instance, beside its config. What the rules mean is known elsewhere.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use super::command_files;
use super::find::users_folder;
use crate::claude::grants;
use crate::plan::Instance;

/// The administrator's settings.
const MANAGED_SETTINGS: &str = "/etc/claude-code/managed-settings.json";

/// What a file of claude's allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The file.
    pub file: PathBuf,
    /// The rule, as it stands there.
    pub rule: String,
}

/// What settings allow in general, and the commands that an instance calls while they run.
#[must_use]
pub fn of_instance(instance: &Instance) -> Vec<Grant> {
    let folders = folders(instance);
    let settings =
        folders.iter().flat_map(|folder| ["settings.json", "settings.local.json"].map(|name| folder.join(name)));
    let settings = settings.chain([PathBuf::from(MANAGED_SETTINGS)]).flat_map(|file| read(file, grants::of_settings));
    let names = instance.turns.iter().filter_map(|turn| turn.command.as_deref());
    let names: Vec<String> = names.map(|name| name.replace(':', "/")).collect();
    let commands = folders.iter().flat_map(|folder| {
        let files = names.iter().flat_map(|name| [format!("commands/{name}.md"), format!("skills/{name}/SKILL.md")]);
        files.map(|file| folder.join(file))
    });
    settings.chain(commands.flat_map(|file| read(file, grants::of_front_matter))).collect()
}

/// The agents that an instance may use and that run in a mode of their own: each one's file and mode.
#[must_use]
pub fn lenient_agents(instance: &Instance) -> Vec<Grant> {
    let files = folders(instance).into_iter().flat_map(|folder| command_files::agents(&folder));
    files.filter_map(|file| Some(Grant { rule: grants::lenient_mode(&file.text.ok()?)?, file: file.path })).collect()
}

fn read(file: PathBuf, rules: fn(&str) -> Vec<String>) -> Vec<Grant> {
    let rules = read_to_string(&file).map(|text| rules(&text)).unwrap_or_default();
    rules.into_iter().map(|rule| Grant { file: file.clone(), rule }).collect()
}

/// claude's folders: the user's, and those of the directory that it runs in and of the ones above it.
fn folders(instance: &Instance) -> Vec<PathBuf> {
    let users = users_folder(&instance.env);
    let of_projects = instance.cwd.ancestors().map(|directory: &Path| directory.join(".claude"));
    let mut folders: Vec<PathBuf> = users.into_iter().chain(of_projects).collect();
    folders.dedup();
    folders
}
