//! Preparation of a run: reads the config, resolves the workspace, finds claude and builds the plan. It reports all
//! problems at once, and starts no instance.

pub mod claude_program;
pub mod command_files;
pub mod earlier_runs;
pub mod load_config;
pub mod missing_commands;
pub mod query;
pub mod settings_scan;
pub mod state_dir;
pub mod tool_checks;
pub mod workspace;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::base::sha256;
use crate::claude::capabilities::Capabilities;
use crate::claude::invocation::Restrictions;
use crate::cli::flags::Options;
use crate::config::diagnostic::instance_label;
use crate::config::{Diagnostic, MAX_MISTAKES, Position};
use crate::plan::{Instance, Plan, PlanProblem};
use crate::preflight::load_config::{Mistakes, Override};
use crate::preflight::missing_commands::MissingCommand;
use crate::preflight::settings_scan::Reader;
use crate::preflight::workspace::Remark;

/// A validated run, ready to start.
#[derive(Debug)]
pub struct PreparedRun {
    /// The plan.
    pub plan: Plan,
    /// SHA-256 of the config's bytes, if there is a config; not computed for a dry run.
    pub config_sha256: Option<String>,
    /// Absolute path of the workspace.
    pub workspace: PathBuf,
    /// Path of the claude executable; `None` only in a dry run.
    pub claude: Option<PathBuf>,
    /// Capabilities of this claude.
    pub abilities: Capabilities,
    /// Limits set on the command line, with the values of the config that they override.
    pub overrides: Vec<Override>,
    /// Probable mistakes that do not prevent the start, such as settings without effect.
    pub warnings: Vec<String>,
    /// Less important remarks.
    pub notes: Vec<String>,
    /// Problems of this machine that would make a run fail. A dry run reports them after its plan; else empty.
    pub problems: Vec<String>,
}

/// Messages that the preparation collects.
#[derive(Default)]
struct Messages {
    /// Problems of the config and the command line.
    problems: Vec<String>,
    /// Problems of this machine, which do not hide the plan in a dry run.
    machine_problems: Vec<String>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

fn add<E: Display>(messages: &mut Vec<String>, errors: impl IntoIterator<Item = E>) {
    for error in errors {
        messages.push(error.to_string());
    }
}

/// Reads the config, finds claude and builds the plan. In a dry run, problems of the machine do not hide the plan.
///
/// # Errors
///
/// All problems, each a message of one or more lines.
pub fn prepare(options: &Options) -> Result<PreparedRun, Vec<String>> {
    let mut messages = Messages::default();
    let (workspace, remark) = workspace::resolve(options.workspace.as_deref());
    add(&mut messages.problems, workspace::validate(&workspace));
    let claude = match claude_program::find_claude(options) {
        Ok(claude) => Some(claude),
        Err(error) => {
            messages.machine_problems.push(error.to_string());
            None
        }
    };
    let config_name = load_config::config_name(options.config.as_ref());
    let loaded = load(options, &workspace);
    let Loaded { plan, overrides, config_sha256 } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            messages.problems.push(format!("{config_name}: {error}"));
            messages.problems.extend(messages.machine_problems);
            return Err(messages.problems);
        }
    };
    // If there are problems already, claude is not spawned, not even for its capabilities.
    let usable_claude = if messages.problems.is_empty() { claude.as_deref() } else { None };
    let abilities = claude_program::capabilities(&plan, usable_claude).unwrap_or_else(|error| {
        messages.problems.push(error.to_string());
        Capabilities::newest()
    });
    for warning in &plan.warnings {
        messages.warnings.push(format!("{config_name}: {warning}"));
    }
    for note in &plan.notes {
        messages.notes.push(format!("{config_name}: {note}"));
    }
    let restrictions = check_plan(&plan, abilities, &mut messages);
    if options.dry_run {
        if let Some(claude) = usable_claude {
            messages.machine_problems.extend(commands_problems(&config_name, &plan, claude));
        }
    } else {
        messages.problems.append(&mut messages.machine_problems);
    }
    if !messages.problems.is_empty() {
        return Err(messages.problems);
    }
    match remark {
        Some(remark @ Remark::Above { .. }) => messages.notes.push(remark.to_string()),
        Some(remark @ Remark::Foreign { .. }) => messages.warnings.push(remark.to_string()),
        None => {}
    }
    let Messages { machine_problems: problems, warnings, notes, .. } = messages;
    let plan = plan.with_restrictions(restrictions);
    Ok(PreparedRun { plan, config_sha256, workspace, claude, abilities, overrides, warnings, notes, problems })
}

/// A plan, and the facts about its config.
struct Loaded {
    plan: Plan,
    overrides: Vec<Override>,
    config_sha256: Option<String>,
}

fn load(options: &Options, workspace: &Path) -> Result<Loaded, load_config::LoadError> {
    let text = options.config.as_ref().map(load_config::read).transpose()?;
    let (plan, overrides) = load_config::build_plan(text.as_deref(), options, workspace)?;
    let config_sha256 = match text {
        Some(text) if !options.dry_run => Some(sha256::hex(&sha256::sha256(text.as_bytes()))),
        _ => None,
    };
    Ok(Loaded { plan, overrides, config_sha256 })
}

/// Checks that the plan can be enforced. Returns the restrictions of its instances, where claude's own files would allow
/// more.
fn check_plan(plan: &Plan, abilities: Capabilities, messages: &mut Messages) -> Vec<Restrictions> {
    let Messages { problems, machine_problems, warnings, .. } = messages;
    match load_config::ignored_limits(&plan.budget) {
        Some(ignored) if ignored.has_effective_limit => warnings.push(ignored.to_string()),
        Some(ignored) => problems.push(ignored.to_string()),
        None => {}
    }
    let instances = &plan.instances;
    let mut reader = Reader::default();
    add(problems, tool_checks::unsupported_rules(instances, abilities));
    let mut restrictions = tool_checks::restrictions_by_settings(instances, &mut reader);
    add(warnings, tool_checks::unusable_settings(instances, &mut reader));
    add(problems, tool_checks::deny_wider_rules(instances, &mut restrictions, &mut reader));
    add(problems, tool_checks::disable_shell_blocks(instances, &mut restrictions, abilities, &mut reader));
    let results = tool_checks::results_in_arguments(instances, &mut reader);
    add(problems, results.errors);
    add(warnings, results.warnings);
    add(problems, tool_checks::lenient_agents(instances, abilities, &mut reader));
    add(machine_problems, tool_checks::root_error(instances, abilities));
    restrictions
}

/// Returns the missing commands that a dry run finds, as mistakes of the config, and those it could not check.
fn commands_problems(config_name: &str, plan: &Plan, claude: &Path) -> Vec<String> {
    let findings = missing_commands::missing_commands(&plan.instances, claude, missing_commands::DRY_RUN_LIMIT);
    let mut missing = Vec::new();
    for command in findings.missing.iter().take(MAX_MISTAKES) {
        missing.push(diagnostic(command, &plan.instances[command.instance]));
    }
    Diagnostic::sort(&mut missing);
    let mut problems = Vec::new();
    if !missing.is_empty() {
        problems.push(format!("{config_name}: {}", Mistakes(&missing)));
    }
    for unchecked in &findings.unchecked {
        problems.push(unchecked.describe(&plan.instances));
    }
    problems
}

/// Returns a missing command as a mistake at its position in the config.
fn diagnostic(missing: &MissingCommand, instance: &Instance) -> Diagnostic<PlanProblem> {
    let is_last = missing.turn + 1 == instance.turns.len();
    Diagnostic {
        position: instance.turns[missing.turn].position.unwrap_or(Position { line: 1, column: 1 }),
        subject: instance_label(missing.instance, Some(&instance.name)),
        field: if is_last { "command" } else { "pre_commands" }.to_owned(),
        problem: PlanProblem::MissingCommand(missing.error.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::claude_program::ClaudeError;
    use super::load_config::LoadError;
    use super::missing_commands::Unchecked;
    use super::query::QueryError;
    use super::settings_scan::{PermissionRule, SettingsError, UnusableSettings};
    use super::tool_checks::ToolError;
    use super::workspace::{Distrust, Remark};
    use super::*;
    use crate::base::golden::assert_golden;
    use crate::claude::permissions::UnsupportedRule;
    use crate::plan::planned;

    fn section<E: Display>(text: &mut String, title: &str, errors: impl IntoIterator<Item = E>) {
        *text += &format!("# {title}\n");
        for error in errors {
            *text += &format!("{error}\n");
        }
        text.push('\n');
    }

    #[test]
    fn messages_about_claude_and_the_config() {
        let mut text = String::new();
        let queries = [
            QueryError::Spawn("No such file or directory".into()),
            QueryError::Timeout(Duration::from_secs(30)),
            QueryError::Exited("env: node: No such file".into()),
            QueryError::NoTimeLeft(Duration::from_secs(20)),
        ];
        section(&mut text, "queries", &queries);
        let [_, timeout, ..] = queries;
        section(
            &mut text,
            "claude",
            [
                ClaudeError::NotInstalled,
                ClaudeError::NotExecutable { path: "./gone".into(), source: "--claude", problem: "does not exist" },
                ClaudeError::UnknownCapabilities { claude: "/bin/claude".into(), error: timeout.clone() },
            ],
        );
        let plan = planned(r#"{"instances": [{"name": "a", "prompt": "x"}, {"name": "b", "prompt": "x"}]}"#);
        let unchecked = Unchecked { instances: vec![0, 1], error: timeout };
        section(&mut text, "slash commands", [unchecked.describe(&plan.instances)]);
        section(
            &mut text,
            "config",
            [
                LoadError::IsDirectory,
                LoadError::Unreadable(io::Error::from_raw_os_error(13)),
                LoadError::TooLarge,
                LoadError::Utf16,
                LoadError::Empty,
                LoadError::NotUtf8(2),
            ],
        );
        assert_golden("preflight_messages.txt", &text);
    }

    #[test]
    fn messages_about_tools_and_the_workspace() {
        let mut text = String::new();
        let rule = |rule: &str| PermissionRule { file: "/w/.claude/settings.json".into(), rule: rule.into() };
        let settings = [
            SettingsError::Unreadable("Permission denied".into()),
            SettingsError::NotRegular,
            SettingsError::TooLarge,
            SettingsError::DisablesHooks("disableAllHooks"),
        ];
        let mut tools = vec![
            ToolError::Unsupported(UnsupportedRule::WritesByCommand),
            ToolError::WiderRule(rule("Bash(git *)")),
            ToolError::CallableCommands,
            ToolError::ObscureCommand("review".into()),
            ToolError::LenientAgent(rule("acceptEdits")),
            ToolError::ResultInShell {
                file: "/w/.claude/commands/ask.md".into(),
                place: "!`echo $ARGUMENTS`".into(),
                command: "ask".into(),
            },
            ToolError::ResultInUnknownCommand("ask".into()),
        ];
        for error in &settings {
            tools.push(ToolError::Settings("/w/.claude/settings.json".into(), error.clone()));
        }
        section(&mut text, "tools", tools);
        let [error, ..] = settings;
        let unusable = [UnusableSettings::Unchecked(error), UnusableSettings::InvalidJson("EOF".into())];
        section(&mut text, "settings that claude cannot use", unusable);
        let foreign = |distrust| Remark::Foreign { root: "/srv".into(), mark: ".git", distrust };
        section(
            &mut text,
            "workspace",
            [
                Remark::Above { root: "/srv/app".into(), mark: ".git" },
                foreign(Distrust::Unreadable("/srv".into())),
                foreign(Distrust::ForeignOwner("/srv/.git".into())),
                foreign(Distrust::Writable("/srv".into())),
            ],
        );
        section(&mut text, "workspace that cannot be used", workspace::validate(Path::new("/dev/null")));
        section(&mut text, "workspace that is missing", workspace::validate(Path::new("/nowhere")));
        assert_golden("tool_messages.txt", &text);
    }
}
