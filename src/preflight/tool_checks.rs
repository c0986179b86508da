//! Checks that `allowed_tools` of each instance can be enforced by this claude, with these settings, commands and agents.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::text;
use crate::claude::capabilities::Capabilities;
use crate::claude::environment::is_sandbox;
use crate::claude::invocation::Restrictions;
use crate::claude::permissions::{self, UnsupportedRule};
use crate::claude::settings::{RuleOverlap, argument_with_effect, effect, is_understood};
use crate::config::MAX_MISTAKES;
use crate::plan::Instance;
use crate::preflight::command_files::Excess;
use crate::preflight::settings_scan::{Command, PermissionRule, Reader, SettingsError, UnusableSettings};
use crate::preflight::workspace::display_path;

/// Reason why the tools of an instance are not what its config allows.
#[derive(Debug, PartialEq, Eq)]
pub enum ToolError {
    /// A rule that this claude does not support.
    Unsupported(UnsupportedRule),
    /// A rule in a file of claude that allows more, and that cannot be denied by itself.
    WiderRule(PermissionRule),
    /// A file of claude that cannot be read or parsed.
    Settings(PathBuf, SettingsError),
    /// Skills and commands that this claude lets run shell commands of their own.
    CallableCommands,
    /// A command with a file that zen cannot parse, and with shell commands that this claude would run.
    ObscureCommand(String),
    /// An agent with a permission mode that this claude does not restrict.
    LenientAgent(PermissionRule),
    /// A result in the arguments of a command that passes them to the shell, or to a file name.
    ResultInShell {
        /// File of the command.
        file: PathBuf,
        /// The place in the file, verbatim.
        place: String,
        /// Name of the command.
        command: String,
    },
    /// A result in the arguments of a command. Its file may be beyond a bound of the scan.
    ResultInUncheckedCommand {
        /// The bound.
        excess: Excess,
        /// Name of the command.
        command: String,
    },
    /// A result in the arguments of a command without a known file. Only a warning.
    ResultInUnknownCommand(String),
}

impl Display for ToolError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        const ALLOWED_TOOLS: &str = "allowed_tools";
        const WITHOUT_PATTERN: &str = "allow Bash as a whole or not at all, or install claude 2.1";
        match self {
            ToolError::Unsupported(rule) => write!(f, "{}: {rule}", rule.field()),
            ToolError::WiderRule(PermissionRule { file, rule }) => write!(
                f,
                "{ALLOWED_TOOLS}: {} allows '{}', which is more and cannot be denied by itself: remove it there, or allow it \
                 here",
                display_path(file),
                text::sanitize_line(rule)
            ),
            ToolError::Settings(file, error) => {
                write!(f, "{ALLOWED_TOOLS}: {} {error}: correct it, or move it away", display_path(file))
            }
            ToolError::CallableCommands => write!(
                f,
                "{ALLOWED_TOOLS}: this claude lets a skill or command run what its own file allows: {WITHOUT_PATTERN}"
            ),
            ToolError::ObscureCommand(command) => write!(
                f,
                "{ALLOWED_TOOLS}: cannot determine what the file of /{} allows: {WITHOUT_PATTERN}",
                text::sanitize_line(command)
            ),
            ToolError::LenientAgent(PermissionRule { file, rule }) => write!(
                f,
                "{ALLOWED_TOOLS}: {} has permissionMode {rule}, in which this claude does not enforce them for an agent: \
                 remove it there, do not allow Task here, or install claude 2.1",
                display_path(file)
            ),
            ToolError::ResultInShell { file, place, command } => write!(
                f,
                "{} has '{}': a result in the arguments of /{} would be run by the shell or name a file: use it in a prompt",
                display_path(file),
                text::quote_input(place),
                text::sanitize_line(command)
            ),
            ToolError::ResultInUncheckedCommand { excess: Excess { path, bound }, command } => write!(
                f,
                "{} {bound}: a result in the arguments of /{} might be run by the shell: move files away, or use it in a prompt",
                display_path(path),
                text::sanitize_line(command)
            ),
            ToolError::ResultInUnknownCommand(command) => write!(
                f,
                "the file of /{} is not found: if it has $ARGUMENTS in !`...`, the shell runs the result in its arguments",
                text::sanitize_line(command)
            ),
        }
    }
}

/// An error, and the name of the instance that it is about.
#[derive(Debug, PartialEq, Eq)]
pub struct InstanceError {
    instance: String,
    error: ToolError,
}

impl InstanceError {
    fn new(instance: &Instance, error: ToolError) -> Self {
        InstanceError { instance: instance.name.clone(), error }
    }
}

impl Display for InstanceError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "instance '{}': {}", text::sanitize_line(&self.instance), self.error)
    }
}

/// Returns an error for each permission that this claude cannot enforce.
pub(super) fn unsupported_rules(instances: &[Instance], abilities: Capabilities) -> Vec<InstanceError> {
    let mut errors = Vec::new();
    for instance in instances {
        for rule in permissions::unsupported_rules(&instance.invocation, abilities) {
            errors.push(InstanceError::new(instance, ToolError::Unsupported(rule)));
        }
        errors.truncate(MAX_MISTAKES);
    }
    errors
}

/// Returns the restrictions of each instance by the tools that the settings files deny, to distinguish a denied use from
/// one of a tool that does not exist.
pub(super) fn restrictions_by_settings(instances: &[Instance], reader: &mut Reader) -> Vec<Restrictions> {
    let mut denied: Arc<[String]> = Arc::default();
    let mut restrictions = Vec::with_capacity(instances.len());
    for instance in instances {
        let tools = reader.denied_tools(instance);
        // Most instances share their settings, and so the list.
        if *denied != *tools {
            denied = tools.into();
        }
        restrictions.push(Restrictions { denied_by_settings: Arc::clone(&denied), ..Restrictions::default() });
    }
    restrictions
}

/// A settings file that claude cannot use.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingsWarning(PathBuf, UnusableSettings);

impl Display for SettingsWarning {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} {}", display_path(&self.0), text::sanitize_line(&self.1.to_string()))
    }
}

/// Returns a warning for each settings file that claude cannot use.
pub(super) fn unusable_settings(instances: &[Instance], reader: &mut Reader) -> Vec<SettingsWarning> {
    let mut warnings = Vec::new();
    let mut seen = HashSet::new();
    for instance in instances {
        for (file, reason) in reader.unusable_settings(instance) {
            if warnings.len() < MAX_MISTAKES && seen.insert(file.clone()) {
                warnings.push(SettingsWarning(file, reason));
            }
        }
    }
    warnings
}

/// Denies the permissions in claude's own files that exceed an instance's `allowed_tools`. If one cannot be denied by
/// itself, or a file cannot be parsed, returns an error.
pub(super) fn deny_wider_rules(
    instances: &[Instance],
    restrictions: &mut [Restrictions],
    reader: &mut Reader,
) -> Vec<InstanceError> {
    let mut errors = Vec::new();
    for (instance, restrictions) in instances.iter().zip(restrictions) {
        let Some(allowed) = &instance.invocation.allowed_tools else { continue };
        let grants = reader.of_instance(instance);
        for found in grants.grants {
            match effect(allowed, &found.rule) {
                RuleOverlap::Covered => {}
                RuleOverlap::Deniable if instance.invocation.disallowed_tools.contains(&found.rule) => {}
                RuleOverlap::Deniable if restrictions.denied_rules.contains(&found.rule) => {}
                RuleOverlap::Deniable => restrictions.denied_rules.push(found.rule),
                RuleOverlap::Conflicting => errors.push(InstanceError::new(instance, ToolError::WiderRule(found))),
            }
        }
        for (file, error) in grants.problems {
            errors.push(InstanceError::new(instance, ToolError::Settings(file, error)));
        }
        errors.truncate(MAX_MISTAKES);
    }
    errors
}

/// Prevents commands and skills from running shell blocks that Bash may not run: claude calls no hook for a !`...`.
/// Version 2.1 can disable all of them; for an older one, returns an error.
pub(super) fn disable_shell_blocks(
    instances: &[Instance],
    restrictions: &mut [Restrictions],
    abilities: Capabilities,
    reader: &mut Reader,
) -> Vec<InstanceError> {
    let mut errors = Vec::new();
    for (instance, restrictions) in instances.iter().zip(restrictions) {
        let Some(allowed) = &instance.invocation.allowed_tools else { continue };
        if !permissions::restrict_bash(allowed) {
            continue;
        }
        let obscure = obscure_command(instance, reader);
        let calls_commands = permissions::call_commands(allowed);
        if abilities.wildcards {
            restrictions.disables_shell_blocks = obscure.is_some() || calls_commands;
            continue;
        }
        if calls_commands {
            errors.push(InstanceError::new(instance, ToolError::CallableCommands));
        }
        // A command without a file is built into claude, unless its name is that of a plugin.
        if let Some(ObscureCommand { name, has_file }) = obscure
            && (has_file || name.contains(':'))
        {
            errors.push(InstanceError::new(instance, ToolError::ObscureCommand(name)));
        }
        errors.truncate(MAX_MISTAKES);
    }
    errors
}

/// A command that may run shell commands, because it has no known file or one that zen does not understand.
struct ObscureCommand {
    name: String,
    has_file: bool,
}

/// Returns the first such command of an instance.
fn obscure_command(instance: &Instance, reader: &mut Reader) -> Option<ObscureCommand> {
    for name in instance.turns.iter().filter_map(|turn| turn.command.as_deref()) {
        let files = reader.commands_of(instance, name);
        if files.is_empty() || !files.iter().all(|file| has_understood_text(file)) {
            return Some(ObscureCommand { name: name.to_owned(), has_file: !files.is_empty() });
        }
    }
    None
}

fn has_understood_text(file: &Command) -> bool {
    file.text().is_some_and(is_understood)
}

/// Errors and warnings about results in the arguments of commands.
#[derive(Default)]
pub(super) struct ResultFindings {
    pub(super) errors: Vec<InstanceError>,
    pub(super) warnings: Vec<InstanceError>,
}

/// Finds results in the arguments of commands that pass them to the shell.
pub(super) fn results_in_arguments(instances: &[Instance], reader: &mut Reader) -> ResultFindings {
    let mut findings = ResultFindings::default();
    for instance in instances {
        for turn in instance.turns.iter().filter(|turn| !turn.placeholders.is_empty()) {
            let Some(command) = &turn.command else { continue };
            let files = reader.commands_of(instance, command);
            if let Some((file, place)) = files.iter().find_map(|file| place_with_effect(file)) {
                let error = ToolError::ResultInShell { file: file.to_owned(), place, command: command.clone() };
                findings.errors.push(InstanceError::new(instance, error));
            } else if let Some(excess) = reader.excesses_of(instance, command).into_iter().next() {
                let error = ToolError::ResultInUncheckedCommand { excess, command: command.clone() };
                findings.errors.push(InstanceError::new(instance, error));
            } else if files.is_empty() {
                let warning = ToolError::ResultInUnknownCommand(command.clone());
                findings.warnings.push(InstanceError::new(instance, warning));
            }
        }
        findings.errors.truncate(MAX_MISTAKES);
        findings.warnings.truncate(MAX_MISTAKES);
    }
    findings
}

/// Returns the path of a command's file, and the place in it that passes arguments to the shell or to a file name.
fn place_with_effect(file: &Command) -> Option<(&Path, String)> {
    Some((file.path(), argument_with_effect(file.text()?)?.to_owned()))
}

/// Returns an error for each agent that this claude would allow more than an instance's `allowed_tools`, and for each
/// bound beyond which there may be more agents.
pub(super) fn lenient_agents(
    instances: &[Instance],
    abilities: Capabilities,
    reader: &mut Reader,
) -> Vec<InstanceError> {
    let mut errors = Vec::new();
    for instance in instances {
        if !permissions::agents_can_override_mode(&instance.invocation, abilities) {
            continue;
        }
        let agents = reader.lenient_agents(instance);
        for agent in agents.grants {
            errors.push(InstanceError::new(instance, ToolError::LenientAgent(agent)));
        }
        for (path, error) in agents.problems {
            errors.push(InstanceError::new(instance, ToolError::Settings(path, error)));
        }
        errors.truncate(MAX_MISTAKES);
    }
    errors
}

/// Instances that would run as root with `bypassPermissions`. claude itself rejects these too, but once for each
/// instance, and only after the start.
#[derive(Debug, PartialEq, Eq)]
pub struct RootError {
    first: String,
    count: usize,
}

impl Display for RootError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "instance '{}'", text::sanitize_line(&self.first))?;
        if self.count > 1 {
            write!(f, " and {} more", self.count - 1)?;
        }
        write!(
            f,
            ": claude refuses permission_mode bypassPermissions as root: run zen as another user, set \"permission_mode\": \
             \"default\", or, in a disposable container, set IS_SANDBOX=1"
        )
    }
}

/// Returns the error about instances that would run as root with `bypassPermissions`.
pub(super) fn root_error(instances: &[Instance], abilities: Capabilities) -> Option<RootError> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let mut refused = instances.iter().filter(|instance| {
        permissions::mode(&instance.invocation, abilities) == "bypassPermissions" && !runs_in_sandbox(instance)
    });
    let first = refused.next()?.name.clone();
    Some(RootError { first, count: 1 + refused.count() })
}

fn runs_in_sandbox(instance: &Instance) -> bool {
    is_sandbox(|name| match instance.invocation.env.get(name) {
        Some(own) => own.clone(),
        None => std::env::var(name).ok(),
    })
}
