//! Preparation of a run: reads the config, resolves the workspace, finds claude and builds the plan. It reports all
//! problems at once, and starts no instance.

pub mod command_scan;
pub mod earlier_runs;
pub mod probe;
pub mod query;
pub mod settings_scan;
pub mod workspace;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{sha256, text};
use crate::claude::capabilities::Capabilities;
use crate::claude::environment::is_sandbox;
use crate::claude::permissions::{self, UnsupportedRule};
use crate::claude::settings::{RuleOverlap, argument_with_effect, effect, is_understood};
use crate::cli::flags::{ConfigSource, LockPolicy, LogDir, Options, expand_tilde};
use crate::config::diagnostic::instance_label;
use crate::config::{
    BudgetConfig, BudgetType, Config, ConfigError, Diagnostic, MAX_CONFIG_BYTES, MAX_MISTAKES, Position,
};
use crate::plan::{Defaults, HostFiles, Instance, Plan, PlanProblem, plan};
use crate::preflight::probe::{MissingCommand, Unchecked};
use crate::preflight::settings_scan::{PermissionRule, Reader};
use crate::preflight::workspace::Remark;
use crate::system::locate::canonical;
use crate::system::{error_text, locate};

/// Time limit of `claude --help`. It takes half a second on an idle machine.
const HELP_LIMIT: Duration = Duration::from_secs(30);

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
    pub overrides: Vec<String>,
    /// Probable mistakes that do not prevent the start, such as settings without effect.
    pub warnings: Vec<String>,
    /// Less important remarks.
    pub notes: Vec<String>,
    /// Problems of this machine that would make a run fail. A dry run reports them after its plan; else empty.
    pub problems: Vec<String>,
}

/// Reads the config, finds claude and builds the plan. In a dry run, problems of the machine do not hide the plan.
///
/// # Errors
///
/// All problems, each a message of one or more lines.
pub fn prepare(options: &Options) -> Result<PreparedRun, Vec<String>> {
    let mut problems = Vec::new();
    let mut lacking = Vec::new();
    let (workspace, found) = workspace::resolve(options.workspace.as_deref());
    problems.extend(workspace::validate(&workspace));
    let claude = find_claude(options).map_err(|problem| lacking.push(problem)).ok();
    let config_name = match &options.config {
        Some(ConfigSource::File(path)) => shown(path),
        Some(ConfigSource::Stdin) => "standard input".to_owned(),
        None => "the command".to_owned(),
    };
    let defaults = Defaults {
        timeout: options.timeout,
        idle_timeout: options.idle_timeout,
        startup_timeout: options.startup_timeout,
    };
    let text = options.config.as_ref().map(read_config).transpose().map_err(|problem| vec![problem]);
    let planned = text.and_then(|text| {
        let (plan, overrides) = build_plan(text.as_deref(), options, &workspace, &defaults)
            .map_err(|error| vec![config_problem(&config_name, error)])?;
        let of_a_run = text.filter(|_| !options.dry_run);
        Ok((plan, overrides, of_a_run.map(|text| sha256::hex(&sha256::sha256(text.as_bytes())))))
    });
    let (mut plan, overrides, config_sha256) = match planned {
        Ok(planned) => planned,
        Err(more) => {
            problems.extend(more);
            problems.extend(lacking);
            return Err(problems);
        }
    };
    // If there are problems already, claude is not spawned, not even for its capabilities.
    let asked = claude.as_deref().filter(|_| problems.is_empty());
    let abilities = abilities(&plan, asked).unwrap_or_else(|problem| {
        problems.push(problem);
        Capabilities::newest()
    });
    let mut warnings: Vec<String> = plan.warnings.iter().map(|warning| format!("{config_name}: {warning}")).collect();
    match ignored_limits(&plan.budget) {
        Ok(warning) => warnings.extend(warning),
        Err(problem) => problems.push(problem),
    }
    problems.extend(tools_problems(&plan.instances, abilities));
    let mut reader = Reader::default();
    read_denied_tools(&mut plan.instances, &mut reader);
    warnings.extend(settings_warnings(&plan.instances, &mut reader));
    problems.extend(refuse_grants(&mut plan.instances, &mut reader));
    problems.extend(close_shell_blocks(&mut plan.instances, abilities, &mut reader));
    let (effects, unknown) = results_in_arguments(&plan.instances, &mut reader);
    problems.extend(effects);
    warnings.extend(unknown);
    problems.extend(agents_problems(&plan.instances, abilities));
    lacking.extend(root_permission_error(&plan.instances, abilities));
    if options.dry_run {
        lacking.extend(asked.into_iter().flat_map(|claude| commands_problem(&config_name, &plan, claude)));
    } else {
        problems.append(&mut lacking);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut notes: Vec<String> = plan.notes.iter().map(|note| format!("{config_name}: {note}")).collect();
    match found {
        Some(Remark::Above(note)) => notes.push(note),
        Some(Remark::Foreign(warning)) => warnings.push(warning),
        None => {}
    }
    Ok(PreparedRun { plan, config_sha256, workspace, claude, abilities, overrides, warnings, notes, problems: lacking })
}

/// Returns the missing commands that a dry run finds, as mistakes of the config, and those it could not check.
fn commands_problem(config_name: &str, plan: &Plan, claude: &Path) -> Vec<String> {
    let findings = probe::missing_commands(&plan.instances, claude, probe::DRY_RUN_LIMIT);
    let mistake = |missing: &MissingCommand| {
        let instance = &plan.instances[missing.instance];
        let is_last = missing.turn + 1 == instance.turns.len();
        Diagnostic {
            position: instance.turns[missing.turn].position.unwrap_or(Position { line: 1, column: 1 }),
            subject: instance_label(missing.instance, Some(&instance.name)),
            field: if is_last { "command" } else { "pre_commands" }.to_owned(),
            problem: PlanProblem::MissingCommand(missing.error.clone()),
        }
    };
    let mut found: Vec<Diagnostic<PlanProblem>> = findings.missing.iter().take(MAX_MISTAKES).map(mistake).collect();
    Diagnostic::sort(&mut found);
    let mut problems: Vec<String> =
        Some(found).filter(|f| !f.is_empty()).iter().map(|f| mistakes(config_name, f)).collect();
    problems.extend(findings.unchecked.iter().map(|unchecked| unchecked_commands(&plan.instances, unchecked)));
    problems
}

/// Returns the message about instances whose slash commands could not be checked.
#[must_use]
pub fn unchecked_commands(instances: &[Instance], unchecked: &Unchecked) -> String {
    let first = unchecked.instances.first().map_or("", |&index| instances[index].name.as_str());
    let others = match unchecked.instances.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let why = text::sanitize_line(&unchecked.why);
    format!(
        "instance '{}'{others}: slash commands not checked: claude did not list them: {why}",
        text::sanitize_line(first)
    )
}

/// Returns the warning about limits that are set but not in effect. If no limit is in effect, that is an error, because
/// the user relies on one.
fn ignored_limits(budget: &BudgetConfig) -> Result<Option<String>, String> {
    let word = budget.budget_type.map_or("", BudgetType::word);
    match budget.limits_that_do_not_count() {
        (fields, _) if fields.is_empty() => Ok(None),
        (fields, counting) if counting.is_empty() => Err(format!(
            "budget: no limit counts: the type of the budget is '{word}', which leaves out {}: make it 'mixed', or set a \
             limit that counts",
            fields.join(" and ")
        )),
        (fields, _) => {
            Ok(Some(format!("budget: the type of the budget is '{word}', which leaves out {}", fields.join(" and "))))
        }
    }
}

/// Returns a line for each setting of the command line that overrides the config's budget.
fn overrides(config: &BudgetConfig, flags: &BudgetConfig) -> Vec<String> {
    let mut overrides = Vec::new();
    let mut beats = |flag: &str, was: Option<String>| {
        let was = was.map_or_else(String::new, |was| format!(", where the config says {was}"));
        overrides.push(format!("by --{flag}{was}"));
    };
    if flags.overall_tokens.is_some() {
        beats("overall-token-budget", config.overall_tokens.map(text::thousands));
    }
    if flags.overall_micros.is_some() {
        beats("overall-cost-budget", config.overall_micros.map(text::dollars));
    }
    for command in flags.command_tokens.keys() {
        beats(&format!("command-budget {command}"), config.command_tokens.get(command).copied().map(text::thousands));
    }
    for command in flags.command_micros.keys() {
        beats(
            &format!("command-cost-budget {command}"),
            config.command_micros.get(command).copied().map(text::dollars),
        );
    }
    if flags.enforcement.is_some() {
        beats("budget-enforcement-mode", config.enforcement.map(|mode| mode.word().to_owned()));
    }
    if flags.budget_type.is_some() {
        beats("budget-parameter-type", config.budget_type.map(|kind| kind.word().to_owned()));
    }
    overrides
}

/// Returns the parent directory of run directories, from the option or the user's state home; `None` disables files.
#[must_use]
pub fn log_base(logs: &LogDir, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    match logs {
        LogDir::Disabled => None,
        LogDir::Path(directory) => Some(canonical(directory)),
        LogDir::Default => state_directory(variable),
    }
}

/// Returns the directory of zen in the user's state home, if there is one.
fn state_directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG specification requires that a relative path is ignored.
    let given = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")))?;
    Some(state.join("zen"))
}

/// Returns the directory of the locks without a path of their own, if the environment defines it.
#[must_use]
pub fn locks_directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    Some(state_directory(variable)?.join("locks"))
}

/// The lock that a run must hold.
#[derive(Debug, PartialEq, Eq)]
pub enum LockTarget {
    /// A file named by the user.
    File(PathBuf),
    /// The lock of the config in the workspace: its directory and file name. If it cannot be taken, the run continues
    /// without it.
    PerConfig(PathBuf, String),
    /// A lock of the config, but the environment defines no directory for it.
    Disabled,
}

/// Returns the lock that a run must hold, if any.
#[must_use]
pub fn lock_place(
    options: &Options,
    workspace: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<LockTarget> {
    match (&options.lock, &options.config) {
        (LockPolicy::File(path), _) => Some(LockTarget::File(path.clone())),
        // Two single commands that share the budget of a config are not two runs of it.
        (LockPolicy::PerConfig, Some(ConfigSource::File(config))) if options.single_instance().is_none() => {
            let Some(directory) = locks_directory(variable) else { return Some(LockTarget::Disabled) };
            let both = [canonical(config).as_os_str().as_bytes(), workspace.as_os_str().as_bytes()].join(&0);
            let name = format!("{}.lock", &sha256::hex(&sha256::sha256(&both))[..32]);
            Some(LockTarget::PerConfig(directory, name))
        }
        (LockPolicy::PerConfig | LockPolicy::Disabled, _) => None,
    }
}

/// Returns the claude executable: the given one, else the installed one.
pub(crate) fn find_claude(options: &Options) -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (path, home) = (std::env::var_os("PATH"), variable("HOME"));
    let in_environment = match (variable("ZEN_CLAUDE"), &home) {
        (Some(claude), Some(home)) => Some(expand_tilde(&claude, home)),
        (claude, _) => claude,
    };
    let (given, by) = match (&options.claude, &in_environment) {
        (Some(given), _) => (given.as_path(), "--claude"),
        (None, Some(given)) => (given.as_path(), "ZEN_CLAUDE"),
        (None, None) => return locate::claude(path.as_deref(), home.as_deref()).ok_or_else(|| NO_CLAUDE.to_owned()),
    };
    locate::program(given, path.as_deref()).map_err(|why| {
        let given = shown(given);
        format!("Claude CLI not found: {given}, given by {by}, {why}: give the path of the claude program there")
    })
}

const NO_CLAUDE: &str = "Claude CLI not found in PATH or ~/.local/bin: install it with 'npm install -g \
                         @anthropic-ai/claude-code', or give its path with --claude PATH or ZEN_CLAUDE";

/// Returns the capabilities of claude. It is queried only if the plan depends on them, because that takes half a
/// second.
fn abilities(plan: &Plan, claude: Option<&Path>) -> Result<Capabilities, String> {
    match claude {
        Some(claude) if requires_capabilities(plan) => query::help_text(claude, HELP_LIMIT)
            .map(|help| Capabilities::of_help(&help))
            .map_err(|why| format!("what claude can do is not known: {} --help failed: {why}", shown(claude))),
        _ => Ok(Capabilities::newest()),
    }
}

/// Returns a message for each permission that this claude cannot enforce.
fn tools_problems(instances: &[Instance], abilities: Capabilities) -> Vec<String> {
    let of_instance = |instance: &Instance| {
        let name = text::sanitize_line(&instance.name).into_owned();
        let problem =
            move |unsupported: UnsupportedRule| format!("instance '{name}': {}: {unsupported}", unsupported.field());
        permissions::unsupported_rules(&instance.invocation, abilities).into_iter().map(problem)
    };
    instances.iter().flat_map(of_instance).take(MAX_MISTAKES).collect()
}

/// Returns the instances restricted by `allowed_tools`, each with its printable name and the allowed tools.
fn restricted(instances: &mut [Instance]) -> impl Iterator<Item = (String, Vec<String>, &mut Instance)> {
    let restricted =
        instances.iter_mut().filter_map(|instance| Some((instance.invocation.allowed_tools.clone()?, instance)));
    restricted.map(|(allowed, instance)| (text::sanitize_line(&instance.name).into_owned(), allowed, instance))
}

/// Reads the tools that the settings files deny, to distinguish a denied use from one of a tool that does not exist.
fn read_denied_tools(instances: &mut [Instance], reader: &mut Reader) {
    let mut denied: Arc<[String]> = Arc::default();
    for instance in instances {
        let of_instance = reader.denied_tools(instance);
        // Most instances share their settings, and so the list.
        if *denied != *of_instance {
            denied = of_instance.into();
        }
        instance.invocation.denied_by_settings = Arc::clone(&denied);
    }
}

/// Returns a warning for each settings file that claude cannot use.
fn settings_warnings(instances: &[Instance], reader: &mut Reader) -> Vec<String> {
    let mut seen = HashSet::new();
    let files = instances.iter().flat_map(|instance| reader.unusable_settings(instance));
    let files = files.filter(|(file, _)| seen.insert(file.clone()));
    files.take(MAX_MISTAKES).map(|(file, why)| format!("{} {}", shown(&file), text::sanitize_line(&why))).collect()
}

/// Denies the permissions in claude's own files that exceed an instance's `allowed_tools`. If one cannot be denied by
/// itself, or a file cannot be parsed, returns a message.
fn refuse_grants(instances: &mut [Instance], reader: &mut Reader) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, allowed, instance) in restricted(instances) {
        let found = reader.of_instance(instance);
        for PermissionRule { file, rule } in found.grants {
            match effect(&allowed, &rule) {
                RuleOverlap::Covered => {}
                RuleOverlap::Deniable if instance.invocation.disallowed_tools.contains(&rule) => {}
                RuleOverlap::Deniable => instance.invocation.disallowed_tools.push(rule),
                RuleOverlap::Conflicting => problems.push(format!(
                    "instance '{name}': allowed_tools: {} allows '{}', which is more and cannot be shut out: take it out \
                     there, or allow it here",
                    shown(&file),
                    text::sanitize_line(&rule)
                )),
            }
        }
        let not_understood = found.problems.into_iter();
        problems.extend(not_understood.map(|(file, why)| {
            format!(
                "instance '{name}': allowed_tools: {} {}: correct it, or move it away",
                shown(&file),
                text::sanitize_line(&why)
            )
        }));
        problems.truncate(MAX_MISTAKES);
    }
    problems
}

/// Prevents commands and skills from running shell blocks that Bash may not run: claude calls no hook for a !`...`.
/// Version 2.1 can disable all of them; for an older one, returns a message.
fn close_shell_blocks(instances: &mut [Instance], abilities: Capabilities, reader: &mut Reader) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, allowed, instance) in restricted(instances).filter(|(_, allowed, _)| permissions::restrict_bash(allowed))
    {
        let names = instance.turns.iter().filter_map(|turn| turn.command.as_deref());
        let open = names
            .map(|name| (name, reader.commands_of(instance, name)))
            .find(|(_, files)| files.is_empty() || files.iter().any(|file| !file.text().is_some_and(is_understood)));
        if abilities.wildcards {
            instance.invocation.disables_shell_blocks = open.is_some() || permissions::call_commands(&allowed);
            continue;
        }
        let way_out = "allow Bash as a whole or not at all, or install claude 2.1";
        if permissions::call_commands(&allowed) {
            problems.push(format!(
                "instance '{name}': allowed_tools: this claude lets a skill or command run what its own file allows: {way_out}"
            ));
        }
        // A command without a file is built into claude, unless its name is that of a plugin.
        if let Some((command, _)) = open.filter(|(name, files)| !files.is_empty() || name.contains(':')) {
            problems.push(format!(
                "instance '{name}': allowed_tools: what the file of /{} allows is not understood: {way_out}",
                text::sanitize_line(command)
            ));
        }
        problems.truncate(MAX_MISTAKES);
    }
    problems
}

/// Returns errors and warnings about results in the arguments of commands that pass them to the shell.
fn results_in_arguments(instances: &[Instance], reader: &mut Reader) -> (Vec<String>, Vec<String>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for instance in instances {
        for turn in instance.turns.iter().filter(|turn| !turn.placeholders.is_empty()) {
            let Some(command) = &turn.command else { continue };
            let (name, called) = (text::sanitize_line(&instance.name), text::sanitize_line(command));
            let files = reader.commands_of(instance, command);
            let effect = files.iter().find_map(|file| Some((file, argument_with_effect(file.text()?)?)));
            if let Some((file, place)) = effect.filter(|_| problems.len() < MAX_MISTAKES) {
                problems.push(format!(
                    "instance '{name}': {} has '{}': a result in the arguments of /{called} would be run by the shell or name a \
                     file: give it to a prompt",
                    shown(file.path()),
                    text::quote_input(place)
                ));
            }
            if files.is_empty() && warnings.len() < MAX_MISTAKES {
                warnings.push(format!(
                    "instance '{name}': the file of /{called} is not found: if it has $ARGUMENTS in !`...`, the shell runs the \
                     result in its arguments"
                ));
            }
        }
    }
    (problems, warnings)
}

/// Returns a message for each agent that this claude would allow more than an instance's `allowed_tools`.
fn agents_problems(instances: &[Instance], abilities: Capabilities) -> Vec<String> {
    let yielding =
        instances.iter().filter(|instance| permissions::agents_can_override_mode(&instance.invocation, abilities));
    let of_instance = |instance: &Instance| {
        let name = text::sanitize_line(&instance.name).into_owned();
        settings_scan::lenient_agents(instance).into_iter().map(move |PermissionRule { file, rule }| {
            format!(
                "instance '{name}': allowed_tools: {} has permissionMode {rule}, in which this claude does not hold an agent \
                 to them: take it out there, do not allow Task here, or install claude 2.1",
                shown(&file)
            )
        })
    };
    yielding.flat_map(of_instance).take(MAX_MISTAKES).collect()
}

/// Returns the error about instances that would run as root with `bypassPermissions`. claude itself rejects these too,
/// but once for each instance, and only after the start.
fn root_permission_error(instances: &[Instance], abilities: Capabilities) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let refused: Vec<&str> = instances
        .iter()
        .filter(|instance| {
            permissions::mode(&instance.invocation, abilities) == "bypassPermissions" && !runs_in_sandbox(instance)
        })
        .map(|instance| instance.name.as_str())
        .collect();
    let first = text::sanitize_line(refused.first()?);
    let whose = match refused.len() {
        1 => format!("instance '{first}'"),
        count => format!("{count} instances, '{first}' the first,"),
    };
    Some(format!(
        "{whose} would run with permission_mode bypassPermissions as root, which claude refuses: run zen as another \
         user, set \"permission_mode\": \"default\", or, in a container that may be broken, set IS_SANDBOX=1"
    ))
}

fn runs_in_sandbox(instance: &Instance) -> bool {
    is_sandbox(|name| match instance.invocation.env.get(name) {
        Some(own) => own.clone(),
        None => std::env::var(name).ok(),
    })
}

/// Builds the plan from a config's text, or from the single command with the rest of the config; flags of the command
/// line take precedence. Otherwise returns all problems, of the config and of the plan.
fn build_plan(
    text: Option<&str>,
    options: &Options,
    workspace: &Path,
    defaults: &Defaults,
) -> Result<(Plan, Vec<String>), ConfigError<PlanProblem>> {
    let (mut config, found) =
        text.map(Config::read_with_diagnostics).transpose().map_err(ConfigError::Syntax)?.unwrap_or_default();
    let mut mistakes: Vec<Diagnostic<PlanProblem>> = found.into_iter().map(Diagnostic::into_problem).collect();
    let overrides = overrides(&config.budget, &options.budget);
    config.budget = config.budget.merged_with(&options.budget);
    let one_command = options.single_instance();
    if let Some(command) = one_command {
        config = config.with_single_instance(command);
        // A config that only defines budgets has no instances.
        mistakes.retain(|mistake| mistake.field != "instances");
    }
    match plan(config, workspace, defaults, &Machine) {
        // Budgets of other commands in the config are no mistakes here.
        Ok(plan) if mistakes.is_empty() && one_command.is_some() => {
            return Ok((Plan { warnings: Vec::new(), notes: Vec::new(), ..plan }, overrides));
        }
        Ok(plan) if mistakes.is_empty() => return Ok((plan, overrides)),
        Ok(_) => {}
        Err(more) => mistakes.extend(more),
    }
    Diagnostic::sort(&mut mistakes);
    Err(ConfigError::Invalid(mistakes))
}

/// Returns the config's text, or the reason why it cannot be read.
fn read_config(source: &ConfigSource) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than the maximum reveals a config that is too large.
    let limit = MAX_CONFIG_BYTES + 1;
    let (name, read) = match source {
        ConfigSource::Stdin => ("standard input".to_owned(), io::stdin().lock().take(limit).read_to_end(&mut bytes)),
        ConfigSource::File(path) => {
            let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
            (shown(path), read)
        }
    };
    read.map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => format!("{name} is a directory: give the config's file with --config FILE"),
        _ => format!("{name} cannot be read: {}", error_text(&error)),
    })?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(format!("{name} is no config: it is larger than {} MB", MAX_CONFIG_BYTES / 1024 / 1024));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(format!("{name} is UTF-16: save it as UTF-8"));
    }
    if bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).iter().all(u8::is_ascii_whitespace) {
        return Err(format!("{name} is empty: a config is an object with a list of \"instances\""));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&b| b == b'\n').count() + 1;
        format!("{name} is not UTF-8: line {line} has a byte that is part of no character, save it as UTF-8")
    })
}

fn config_problem(name: &str, error: ConfigError<PlanProblem>) -> String {
    match error {
        ConfigError::Syntax(error) => {
            let (line, column) = (error.position.line, error.position.column);
            let excerpt = error.excerpt.replace('\n', "\n    ");
            format!("{name}: JSON parsing error at line {line}, column {column}: {error}\n    {excerpt}")
        }
        ConfigError::Invalid(found) => mistakes(name, &found),
    }
}

fn mistakes(name: &str, found: &[Diagnostic<PlanProblem>]) -> String {
    const MAX_SHOWN: usize = 50;
    let count = match found.len() {
        1 => "1 mistake".to_owned(),
        count if count >= MAX_MISTAKES => format!("{MAX_MISTAKES} mistakes or more"),
        count => format!("{count} mistakes"),
    };
    let mut message = format!("{name}: {count}, nothing was started:");
    for mistake in found.iter().take(MAX_SHOWN) {
        message += &format!("\n  {mistake}");
    }
    match found.len() {
        ..=MAX_SHOWN => {}
        MAX_MISTAKES.. => message += "\n  and many more",
        count => message += &format!("\n  and {} more", count - MAX_SHOWN),
    }
    message
}

/// Returns a path as messages print it.
fn shown(path: &Path) -> String {
    workspace::display_path(path)
}

struct Machine;

impl HostFiles for Machine {
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir() && workspace::can_enter(path)
    }

    fn has_command_file(&self, directory: &Path, name: &str) -> bool {
        command_scan::find(directory).iter().any(|file| file.name == name)
    }
}

/// True if the plan needs a capability that not every generation of claude has.
fn requires_capabilities(plan: &Plan) -> bool {
    let mut invocations = plan.instances.iter().map(|instance| &instance.invocation);
    plan.budget.blocks_dollars() || invocations.any(permissions::requires_capabilities)
}
