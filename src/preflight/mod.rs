//! Before the launch: reads the config, looks at the workspace, finds claude, and makes the plan. Everything that is wrong
//! is told at once, and nothing has been started when this is done.

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
use crate::claude::permissions;
use crate::claude::settings::{RuleOverlap, argument_with_effect, effect, is_understood};
use crate::cli::flags::{ConfigSource, LockPolicy, LogDir, Options, expand_tilde};
use crate::config::{
    BudgetConfig, BudgetType, Config, ConfigError, Diagnostic, MAX_CONFIG_BYTES, MAX_MISTAKES, Position,
};
use crate::plan::{Defaults, HostFiles, Instance, Plan, plan};
use crate::preflight::probe::{MissingCommand, Unchecked};
use crate::preflight::settings_scan::{PermissionRule, Reader};
use crate::preflight::workspace::Remark;
use crate::system::locate::canonical;
use crate::system::{error_text, locate};

/// claude answers in half a second, and a machine may be busy.
const HELP_LIMIT: Duration = Duration::from_secs(30);

/// All that a run needs to know, found good.
#[derive(Debug)]
pub struct PreparedRun {
    /// The plan.
    pub plan: Plan,
    /// The hash of the config's bytes, if there is a config. A dry run needs none.
    pub config_sha256: Option<String>,
    /// Where instances work; absolute.
    pub workspace: PathBuf,
    /// The claude program. Missing only in a dry run.
    pub claude: Option<PathBuf>,
    /// What it can do.
    pub abilities: Capabilities,
    /// Which limits are the command line's, and what of the config they beat.
    pub overrides: Vec<String>,
    /// What is probably a mistake, and no reason not to start: somebody relies on what will not hold.
    pub warnings: Vec<String>,
    /// What else is worth a word.
    pub notes: Vec<String>,
    /// The problems of this machine for which a run would fail: reported by a dry run after its plan, else empty.
    pub problems: Vec<String>,
}

/// Reads, finds and plans. In a dry run, problems of the machine do not prevent the plan from being shown.
///
/// # Errors
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
    // Nothing is started, not even to be asked what it can, where it is clear already that nothing will be.
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

/// Returns the commands that a dry run finds missing, as mistakes of the config, and what it could not check.
fn commands_problem(config_name: &str, plan: &Plan, claude: &Path) -> Vec<String> {
    let findings = probe::missing_commands(&plan.instances, claude, probe::DRY_RUN_LIMIT);
    let mistake = |missing: &MissingCommand| {
        let instance = &plan.instances[missing.instance];
        let is_last = missing.turn + 1 == instance.turns.len();
        Diagnostic {
            position: instance.turns[missing.turn].position.unwrap_or(Position { line: 1, column: 1 }),
            instance: format!("instance '{}'", text::quote_input(&instance.name)),
            field: if is_last { "command" } else { "pre_commands" }.to_owned(),
            message: missing.error.clone(),
        }
    };
    let mut found: Vec<Diagnostic> = findings.missing.iter().take(MAX_MISTAKES).map(mistake).collect();
    Diagnostic::sort(&mut found);
    let mut problems: Vec<String> =
        Some(found).filter(|f| !f.is_empty()).iter().map(|f| mistakes(config_name, f)).collect();
    problems.extend(findings.unchecked.iter().map(|unchecked| unchecked_commands(&plan.instances, unchecked)));
    problems
}

/// Returns the message for instances whose slash commands could not be checked.
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

/// What to say of limits that are set and hold nobody back. With no other ones that is a problem: somebody relies on them.
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

/// Where the command line beats the config's budget.
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

/// Where the directories of runs stand, by the option or by the user's state home; `None`: no files are to be written.
#[must_use]
pub fn log_base(logs: &LogDir, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    match logs {
        LogDir::Disabled => None,
        LogDir::Path(directory) => Some(canonical(directory)),
        LogDir::Default => state_directory(variable),
    }
}

/// zen's part of the user's state home, if there is one.
fn state_directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG rules: a relative path there is to be ignored.
    let given = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")))?;
    Some(state.join("zen"))
}

/// Where the locks are that nobody has named, if anything says where.
#[must_use]
pub fn locks_directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    Some(state_directory(variable)?.join("locks"))
}

/// The lock that a run has to hold, if it has to hold one.
#[derive(Debug, PartialEq, Eq)]
pub enum LockTarget {
    /// This file, which the user has named.
    File(PathBuf),
    /// The lock of the config in the workspace: a directory, and a name in it. A run goes on where it cannot be had.
    PerConfig(PathBuf, String),
    /// The same, and nothing says where it would be.
    Disabled,
}

/// Where the lock of a run is.
#[must_use]
pub fn lock_place(
    options: &Options,
    workspace: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<LockTarget> {
    match (&options.lock, &options.config) {
        (LockPolicy::File(path), _) => Some(LockTarget::File(path.clone())),
        // Two commands that share the budget of a config are not one run of it.
        (LockPolicy::PerConfig, Some(ConfigSource::File(config))) if options.single_instance().is_none() => {
            let Some(directory) = locks_directory(variable) else { return Some(LockTarget::Disabled) };
            let both = [canonical(config).as_os_str().as_bytes(), workspace.as_os_str().as_bytes()].join(&0);
            let name = format!("{}.lock", &sha256::hex(&sha256::sha256(&both))[..32]);
            Some(LockTarget::PerConfig(directory, name))
        }
        (LockPolicy::PerConfig | LockPolicy::Disabled, _) => None,
    }
}

/// Finds the claude program: the one that is named, else the one that is installed.
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

/// What claude can do, asked only where the plan depends on it: it takes claude half a second to answer.
fn abilities(plan: &Plan, claude: Option<&Path>) -> Result<Capabilities, String> {
    match claude {
        Some(claude) if requires_capabilities(plan) => query::help_text(claude, HELP_LIMIT)
            .map(|help| Capabilities::of_help(&help))
            .map_err(|why| format!("what claude can do is not known: {} --help failed: {why}", shown(claude))),
        _ => Ok(Capabilities::newest()),
    }
}

/// What this claude cannot enforce, each a message.
fn tools_problems(instances: &[Instance], abilities: Capabilities) -> Vec<String> {
    let of_instance = |instance: &Instance| {
        let name = text::sanitize_line(&instance.name).into_owned();
        let problem = move |(field, what)| format!("instance '{name}': {field}: {what}");
        permissions::unsupported_rules(&instance.invocation, abilities).into_iter().map(problem)
    };
    instances.iter().flat_map(of_instance).take(MAX_MISTAKES).collect()
}

/// Returns the instances that `allowed_tools` restrict, with their names as messages show them.
fn restricted(instances: &mut [Instance]) -> impl Iterator<Item = (String, Vec<String>, &mut Instance)> {
    let restricted =
        instances.iter_mut().filter_map(|instance| Some((instance.invocation.allowed_tools.clone()?, instance)));
    restricted.map(|(allowed, instance)| (text::sanitize_line(&instance.name).into_owned(), allowed, instance))
}

/// Reads which tools the settings files deny, so that a denied use can be told from one of a tool that does not exist.
fn read_denied_tools(instances: &mut [Instance], reader: &mut Reader) {
    let mut denied: Arc<[String]> = Arc::default();
    for instance in instances {
        let of_instance = reader.denied_tools(instance);
        // Most instances share their settings.
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

/// Refuses what claude's own files would allow beyond an instance's `allowed_tools`. What cannot be refused by itself, or is
/// not understood, is a message.
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

/// Keeps commands and skills from running what Bash may not: claude does not ask its hooks about their !`...`. 2.1 can be told
/// to run none; an older one is a message.
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
        // One without a file is claude's own, unless its name is a plugin's.
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

/// Returns the mistakes and the warnings about results in the arguments of commands that let the shell run them.
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

/// Agents that this claude would let do more than an instance's `allowed_tools`, each a message.
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

/// claude itself would refuse, once for each instance and after the start.
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

/// The plan of a config's text, or of the one command with what the config says beside its instances, and where the command
/// line beats it; or all that is wrong with it: what it says, and what that means here.
fn build_plan(
    text: Option<&str>,
    options: &Options,
    workspace: &Path,
    defaults: &Defaults,
) -> Result<(Plan, Vec<String>), ConfigError> {
    let (mut config, mut mistakes) =
        text.map(Config::read_with_diagnostics).transpose().map_err(ConfigError::Syntax)?.unwrap_or_default();
    let overrides = overrides(&config.budget, &options.budget);
    config.budget = config.budget.merged_with(&options.budget);
    let one_command = options.single_instance();
    if let Some(command) = one_command {
        config = config.with_single_instance(command);
        // A config for budgets alone has none.
        mistakes.retain(|mistake| mistake.field != "instances");
    }
    match plan(config, workspace, defaults, &Machine) {
        // That the config has budgets for other commands too is no slip of the pen.
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

/// The config's text, or why it cannot be had.
fn read_config(source: &ConfigSource) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One more than is taken tells that it goes on.
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

fn config_problem(name: &str, error: ConfigError) -> String {
    match error {
        ConfigError::Syntax(error) => {
            let (line, column) = (error.position.line, error.position.column);
            let excerpt = error.excerpt.replace('\n', "\n    ");
            format!("{name}: JSON parsing error at line {line}, column {column}: {}\n    {excerpt}", error.message)
        }
        ConfigError::Invalid(found) => mistakes(name, &found),
    }
}

fn mistakes(name: &str, found: &[Diagnostic]) -> String {
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

/// A path as a message shows it.
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

/// Returns true if the plan needs something that not every generation of claude can do.
fn requires_capabilities(plan: &Plan) -> bool {
    let mut invocations = plan.instances.iter().map(|instance| &instance.invocation);
    plan.budget.blocks_dollars() || invocations.any(permissions::requires_capabilities)
}
