//! Builds the plan of a config: resolves defaults, names, sessions, dependencies and placeholders, and collects all
//! problems with their positions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::suggest::closest_match;
use crate::base::text::sanitize_line;
use crate::claude::invocation::Invocation;
use crate::claude::pricing::Prices;
use crate::claude::session::Session;
use crate::claude::{session, slash_commands, tools};
use crate::config::diagnostic::{instance_label, push_bounded};
use crate::config::{BudgetConfig, Config, DependencyCondition, Diagnostic, InstanceConfig, Position, budget_command};
use crate::plan::dependencies::{cycle_problem, cycles, dependent_pairs};
use crate::plan::names::{NameIndex, names};
use crate::plan::problem::{PlanProblem, PlanWarning, ReferenceError};
use crate::plan::result_template::{self, Placeholder};
use crate::plan::{
    DEFAULT_BACKGROUND_WAIT, DEFAULT_PERMISSION_MODE, DEFAULT_RETRY_DELAY, Defaults, HostFiles, Instance,
    MAX_SUGGESTIONS, Plan, RetryPolicy, Turn, validate,
};

/// Builds the plan of a config.
///
/// # Errors
/// Returns all errors in the config, in the order of the file.
pub fn plan(
    config: Config,
    workspace: &Path,
    defaults: &Defaults,
    host: &dyn HostFiles,
) -> Result<Plan, Vec<Diagnostic<PlanProblem>>> {
    let names = names(&config.instances);
    let mut planner = Planner {
        config: &config,
        names: NameIndex::new(&names),
        workspace,
        defaults,
        host,
        session_homes: HashMap::new(),
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    let mut instances = Vec::with_capacity(names.len());
    for index in 0..names.len() {
        instances.push(planner.instance(index));
    }
    planner.resolve_placeholders(&mut instances);
    planner.check_cycles(&instances);
    let Planner { mut mistakes, mut warnings, .. } = planner;
    if !mistakes.is_empty() {
        Diagnostic::sort(&mut mistakes);
        return Err(mistakes);
    }
    warnings.extend(unused_budgets(&config.budget, &instances));
    Ok(Plan {
        instances,
        budget: config.budget,
        halt: config.halt,
        prices: Prices::with_overrides(config.pricing),
        warnings,
        notes: config.warnings,
    })
}

/// Builder of the instances of a plan, with the problems found so far.
struct Planner<'a> {
    config: &'a Config,
    names: NameIndex<'a>,
    workspace: &'a Path,
    defaults: &'a Defaults,
    host: &'a dyn HostFiles,
    /// First instance of each session, and its directory.
    session_homes: HashMap<&'a str, (usize, PathBuf)>,
    mistakes: Vec<Diagnostic<PlanProblem>>,
    warnings: Vec<PlanWarning>,
}

impl<'a> Planner<'a> {
    fn mistake(&mut self, index: usize, field: &str, problem: PlanProblem) {
        let position = self.config.instances[index].position_of(field);
        push_bounded(
            &mut self.mistakes,
            Diagnostic {
                position: position.unwrap_or(Position { line: 1, column: 1 }),
                subject: instance_label(index, Some(self.names.name(index))),
                field: field.into(),
                problem,
            },
        );
    }

    /// Plans an instance, without its placeholders, and checks it.
    fn instance(&mut self, index: usize) -> Instance {
        let entry = &self.config.instances[index];
        let depends_on = self.dependencies(index);
        let cwd = self.directory(index);
        let instance = Instance {
            name: self.names.name(index).to_owned(),
            description: entry.description.clone(),
            budget_command: entry.command.as_deref().and_then(first_word).and_then(budget_command),
            turns: self.turns(entry, &cwd),
            max_tokens: entry.max_tokens,
            timeout: entry.timeout.unwrap_or(self.defaults.timeout),
            idle_timeout: entry.idle_timeout.or(self.defaults.idle_timeout),
            startup_timeout: entry.startup_timeout.unwrap_or(self.defaults.startup_timeout),
            retries: RetryPolicy {
                max_retries: entry.retries.unwrap_or(0),
                initial_delay: entry.retry_delay.unwrap_or(DEFAULT_RETRY_DELAY),
            },
            depends_on,
            fail_on_denied: entry.fail_on_denied.unwrap_or(false),
            background: entry.background.unwrap_or_default(),
            background_wait: entry.background_wait.unwrap_or(DEFAULT_BACKGROUND_WAIT),
            fails_on_mcp: entry.fail_on_mcp.unwrap_or(false),
            invocation: invocation(entry, cwd),
        };
        self.warnings.extend(validate::tool_warnings(entry, &instance));
        for (field, problem) in validate::problems(&instance, &self.config.budget, self.host) {
            self.mistake(index, field, problem);
        }
        self.check_session_directory(index, entry, &instance.invocation.cwd);
        instance
    }

    fn dependencies(&mut self, index: usize) -> Vec<(usize, DependencyCondition)> {
        let config = self.config;
        let mut dependencies = Vec::new();
        for dependency in config.instances[index].depends_on.iter().flatten() {
            match self.names.find(&dependency.name) {
                Some(other) if other == index => {
                    self.mistake(index, "depends_on", PlanProblem::Dependency(ReferenceError::Itself));
                }
                Some(other) => dependencies.push((other, dependency.when)),
                None => {
                    let error = self.names.unknown(&dependency.name, index);
                    self.mistake(index, "depends_on", PlanProblem::Dependency(error));
                }
            }
        }
        dependencies
    }

    /// Returns the working directory of an instance.
    fn directory(&mut self, index: usize) -> PathBuf {
        let Some(cwd) = &self.config.instances[index].cwd else { return self.workspace.to_owned() };
        let cwd = self.workspace.join(cwd);
        if !self.host.is_directory(&cwd) {
            let path = sanitize_line(&cwd.to_string_lossy()).into_owned();
            self.mistake(index, "cwd", PlanProblem::Directory(path));
        }
        cwd
    }

    /// Checks that all instances of a session run in one directory.
    fn check_session_directory(&mut self, index: usize, entry: &'a InstanceConfig, cwd: &Path) {
        let Some(session) = &entry.session_id else { return };
        let (first, directory) = self.session_homes.entry(session).or_insert_with(|| (index, cwd.to_owned()));
        if directory != cwd {
            let first = self.names.name(*first).to_owned();
            self.mistake(index, "session_id", PlanProblem::SessionDirectory { first });
        }
    }

    /// Returns the messages of an instance, in order.
    fn turns(&self, entry: &InstanceConfig, cwd: &Path) -> Vec<Turn> {
        let mut turns = Vec::new();
        if entry.clear_history == Some(true) {
            turns.push(self.turn("/clear", cwd, entry.position_of("clear_history")));
        }
        if entry.compact_history == Some(true) {
            turns.push(self.turn("/compact", cwd, entry.position_of("compact_history")));
        }
        for text in entry.pre_commands.iter().flatten() {
            turns.push(self.turn(text, cwd, entry.position_of("pre_commands")));
        }
        match (&entry.command, &entry.prompt) {
            (Some(command), _) => turns.push(self.turn(command, cwd, entry.position_of("command"))),
            (None, Some(prompt)) => turns.push(Turn { text: prompt.clone(), ..Turn::default() }),
            (None, None) => {} // an error that the config reader has reported
        }
        turns
    }

    /// Returns a turn that may invoke a slash command.
    fn turn(&self, text: &str, cwd: &Path, position: Option<Position>) -> Turn {
        let text = slash_commands::trimmed(text);
        let mut turn = Turn { text: text.to_owned(), position, ..Turn::default() };
        if let Some(command) = slash_commands::parse_invocation(text) {
            turn.is_clear = self.is_clear(command, cwd);
            turn.may_be_path = self.host.exists(&Path::new("/").join(command));
            turn.command = Some(command.to_owned());
        }
        turn
    }

    fn is_clear(&self, command: &str, cwd: &Path) -> bool {
        match command {
            "clear" => true,
            // Aliases on 2.1; older generations have no such commands.
            "reset" | "new" => !self.host.has_command_file(cwd, command),
            _ => false,
        }
    }

    /// Resolves the placeholders of all turns.
    fn resolve_placeholders(&mut self, instances: &mut [Instance]) {
        let references = self.references(instances);
        let dependent = dependent_pairs(instances, references);
        for (index, instance) in instances.iter_mut().enumerate() {
            let last = instance.turns.len().saturating_sub(1);
            for (t, turn) in instance.turns.iter_mut().enumerate() {
                let found = self.placeholders(&turn.text, index, |other| dependent.contains(&(index, other)));
                match found {
                    Ok(placeholders) => turn.placeholders = placeholders,
                    Err(errors) => {
                        let field = field_of_turn(&self.config.instances[index], t == last);
                        for error in errors {
                            self.mistake(index, field, PlanProblem::Placeholder(error));
                        }
                    }
                }
            }
        }
    }

    /// Returns all pairs `(instance, other)` for which a placeholder of the instance names the other.
    fn references(&self, instances: &[Instance]) -> Vec<(usize, usize)> {
        let mut references = Vec::new();
        for (index, instance) in instances.iter().enumerate() {
            for turn in &instance.turns {
                // Errors in placeholders are reported when they are resolved.
                let _ = result_template::parse(&turn.text, |name| {
                    let other = self.names.find_trimmed(name).ok_or(ReferenceError::Itself)?;
                    references.push((index, other));
                    Ok(other)
                });
            }
        }
        references
    }

    /// Parses the placeholders of a message. Each must name a direct or indirect dependency of the instance, which has
    /// ended before it starts.
    fn placeholders(
        &mut self,
        text: &str,
        index: usize,
        is_dependency: impl Fn(usize) -> bool,
    ) -> Result<Vec<Placeholder>, Vec<result_template::PlaceholderError>> {
        result_template::parse(text, |name| match self.names.find_trimmed(name) {
            Some(other) if other == index => Err(ReferenceError::Itself),
            Some(other) if is_dependency(other) => Ok(other),
            Some(other) => Err(ReferenceError::NotADependency(self.names.name(other).to_owned())),
            None => Err(self.names.unknown(name, index)),
        })
    }

    fn check_cycles(&mut self, instances: &[Instance]) {
        for cycle in cycles(instances) {
            self.mistake(cycle[0], "depends_on", cycle_problem(&cycle, instances));
        }
    }
}

/// Returns the field of the config that has the text of a turn.
fn field_of_turn(entry: &InstanceConfig, is_last: bool) -> &'static str {
    match entry.command {
        _ if !is_last => "pre_commands",
        Some(_) => "command",
        None => "prompt",
    }
}

fn first_word(text: &str) -> Option<&str> {
    text.split_whitespace().next()
}

fn invocation(entry: &InstanceConfig, cwd: PathBuf) -> Invocation {
    let session = entry.session_id.as_ref().map(|name| {
        // claude keeps conversations by directory.
        let directory = cwd.components().collect::<PathBuf>();
        Session { name: name.clone(), uuid: session::uuid(name, &directory.to_string_lossy()) }
    });
    Invocation {
        session,
        allowed_tools: entry.allowed_tools.as_deref().map(tools::split_list),
        disallowed_tools: entry.disallowed_tools.as_deref().map(tools::split_list).unwrap_or_default(),
        denied_by_settings: Arc::default(),
        disables_shell_blocks: false,
        permission_mode: entry.permission_mode.clone().unwrap_or_else(|| DEFAULT_PERMISSION_MODE.into()),
        model: entry.model.clone(),
        env: entry.env.clone(),
        cwd,
        claude_args: entry.claude_args.clone().unwrap_or_default(),
    }
}

/// Warns about a budget for a command that no instance runs: probably a typo.
fn unused_budgets(budget: &BudgetConfig, instances: &[Instance]) -> Vec<PlanWarning> {
    let mut commands = std::collections::HashSet::new();
    for instance in instances {
        commands.extend(instance.budget_command.as_deref());
    }
    let mut warnings = Vec::new();
    for command in budget.limited_commands() {
        if commands.contains(command) {
            continue;
        }
        let suggestion =
            if warnings.len() < MAX_SUGGESTIONS { closest_match(command, commands.iter().copied()) } else { None };
        warnings
            .push(PlanWarning::UnusedBudget { command: command.to_owned(), suggestion: suggestion.map(str::to_owned) });
    }
    warnings
}
