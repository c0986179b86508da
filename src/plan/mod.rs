//! Plan of a run: a validated config with all defaults, names, sessions and dependencies resolved. Pure: facts about
//! the machine come in through [`HostFiles`].

mod dependencies;
pub mod result_template;
pub mod stages;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::suggest::closest_match;
use crate::base::text::quote_input;
use crate::claude::invocation::Invocation;
use crate::claude::pricing::Prices;
use crate::claude::session::Session;
use crate::claude::{extra_args, session, slash_commands, tools};
use crate::config::halt::Halt;
use crate::config::{
    Background, BudgetConfig, BudgetType, Config, DependencyCondition, Diagnostic, Enforcement, InstanceConfig,
    MAX_MISTAKES, Position, budget_command,
};
use crate::plan::result_template::Placeholder;
pub use dependencies::waits_for;
use dependencies::{cycle_message, cycles, dependent_pairs};

/// Defaults of instances, for fields that the config leaves out.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Time limit of an attempt.
    pub timeout: Duration,
    /// Time limit without output; `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// Time limit for the response to `initialize`.
    pub startup_timeout: Duration,
}

/// Queries about the machine's files, needed for planning.
pub trait HostFiles {
    /// Returns true if a file or directory exists at this absolute path.
    fn exists(&self, path: &Path) -> bool;
    /// Returns true if the path is a directory that can be entered.
    fn is_directory(&self, path: &Path) -> bool;
    /// Returns true if a file of this directory, or of the user, defines this slash command.
    fn has_command_file(&self, directory: &Path, name: &str) -> bool;
}

/// Plan of a run, ready to execute.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Instances in config order, which is their priority.
    pub instances: Vec<Instance>,
    /// Limits of the run.
    pub budget: BudgetConfig,
    /// Number of failures that stop the run.
    pub halt: Option<Halt>,
    /// Token prices, used until claude reports the cost.
    pub prices: Prices,
    /// Warnings about restrictions that probably have no effect: a budget or a tool with a likely typo.
    pub warnings: Vec<String>,
    /// Notes about valid but questionable settings.
    pub notes: Vec<String>,
}

/// Instance of a plan.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Unique name.
    pub name: String,
    /// Description from the config.
    pub description: Option<String>,
    /// Command name that command budgets match: the first word of its command.
    pub budget_command: Option<String>,
    /// Messages in order: the pre-commands, then the command.
    pub turns: Vec<Turn>,
    /// Estimate from the config of the tokens that it will use.
    pub max_tokens: Option<u64>,
    /// Time limit of an attempt.
    pub timeout: Duration,
    /// Time limit without output.
    pub idle_timeout: Option<Duration>,
    /// Time limit from the start of claude to its response to `initialize`.
    pub startup_timeout: Duration,
    /// Retry policy after a failure.
    pub retries: RetryPolicy,
    /// Dependencies, by index, each with the condition that it must meet.
    pub depends_on: Vec<(usize, DependencyCondition)>,
    /// True if the instance fails when a tool is denied.
    pub fail_on_denied: bool,
    /// Treatment of commands that run in the background after the last turn.
    pub background: Background,
    /// Time limit of the wait for background commands.
    pub background_wait: Duration,
    /// True if the instance fails when claude cannot start or reach an MCP server.
    pub fails_on_mcp: bool,
    /// Invocation of claude.
    pub invocation: Invocation,
}

/// Message to an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Text of the message, as in the config.
    pub text: String,
    /// Slash command that it invokes, without the slash.
    pub command: Option<String>,
    /// True if the command's name is also a path (`/tmp is full`). If claude has no such command, the error mentions
    /// it.
    pub may_be_path: bool,
    /// True if it invokes `/clear`, or an alias that is no command of the user's own.
    pub is_clear: bool,
    /// Position of its text in the config.
    pub position: Option<Position>,
    /// Placeholders in the text for results of other instances, which have ended before it is sent.
    pub placeholders: Vec<Placeholder>,
}

/// Turns of an instance that belong to one conversation, and are run by one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationSegment {
    /// Range of its turns.
    pub turns: Range<usize>,
    /// True if the earlier conversation is cleared before.
    pub starts_fresh: bool,
}

impl Turn {
    /// Returns the command to check before the run. `/help`, `/clear` and `/compact` always work and are not checked.
    #[must_use]
    pub fn command_to_check(&self) -> Option<&str> {
        self.command.as_deref().filter(|name| !self.is_clear && !slash_commands::always_works(name))
    }

    /// Returns true if the turn clears the conversation. zen does this itself: older generations have no such command,
    /// and 2.1 leaves the session when it receives it.
    #[must_use]
    pub fn clears(&self) -> bool {
        self.is_clear
    }
}

impl Instance {
    /// Returns true if its conversation is cleared before its first turn.
    #[must_use]
    pub fn starts_cleared(&self) -> bool {
        self.segments().first().is_some_and(|leg| leg.starts_fresh)
    }

    /// Returns its turns, split where the conversation is cleared, without the clearing turns.
    #[must_use]
    pub fn segments(&self) -> Vec<ConversationSegment> {
        let mut legs: Vec<ConversationSegment> = Vec::new();
        let mut is_cleared = false;
        for (i, turn) in self.turns.iter().enumerate() {
            match legs.last_mut() {
                _ if turn.clears() => is_cleared = true,
                Some(leg) if !is_cleared => leg.turns.end = i + 1,
                _ => legs.push(ConversationSegment { turns: i..i + 1, starts_fresh: std::mem::take(&mut is_cleared) }),
            }
        }
        legs
    }
}

/// Default delay before the first retry.
pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Number and delay of the retries of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum number of attempts after the first one.
    pub max_retries: u32,
    /// Delay before the first retry; it doubles each time.
    pub initial_delay: Duration,
}

/// Default mode of the original program. It asks no permission questions, which no user could answer.
const DEFAULT_PERMISSION_MODE: &str = "bypassPermissions";

/// Default time limit of the wait for background commands.
pub const DEFAULT_BACKGROUND_WAIT: Duration = Duration::from_secs(600);

/// Bound on the number of suggestions for mistyped names; each compares the name with all others.
const MAX_SUGGESTIONS: usize = 50;

/// Builds the plan of a config.
///
/// # Errors
/// Returns all errors in the config, in the order of the file.
pub fn plan(
    config: Config,
    workspace: &Path,
    defaults: &Defaults,
    surroundings: &dyn HostFiles,
) -> Result<Plan, Vec<Diagnostic>> {
    let names = names(&config.instances);
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    let mut instances = Vec::with_capacity(names.len());
    let mut homes: HashMap<&str, (usize, PathBuf)> = HashMap::new();
    let mut known = NameIndex { all: &names, by_name: HashMap::new(), suggestions_left: MAX_SUGGESTIONS };
    // If two instances have one name, which is an error, it refers to the first.
    known.by_name.extend(names.iter().enumerate().rev().map(|(i, name)| (name.as_str(), i)));
    let mistake_of = |i: usize, field: &str, what: String| Diagnostic {
        position: config.instances[i].position_of(field).unwrap_or(Position { line: 1, column: 1 }),
        instance: format!("instance '{}'", quote_input(&names[i])),
        field: field.into(),
        message: what,
    };
    for (i, entry) in config.instances.iter().enumerate() {
        let mut mistake = |field: &str, what: String| {
            if mistakes.len() < MAX_MISTAKES {
                mistakes.push(mistake_of(i, field, what));
            }
        };
        let depends_on = dependencies(entry, i, &mut known, &mut |what| mistake("depends_on", what));
        let cwd = entry.cwd.as_ref().map_or_else(|| workspace.to_owned(), |cwd| workspace.join(cwd));
        if entry.cwd.is_some() && !surroundings.is_directory(&cwd) {
            let path = cwd.to_string_lossy();
            mistake("cwd", format!("{} is no directory that can be entered", crate::base::text::sanitize_line(&path)));
        }
        let instance = Instance { name: names[i].clone(), depends_on, ..instance(entry, cwd, defaults, surroundings) };
        warnings.extend(tool_warnings(entry, &instance));
        for (field, what) in instance_problems(&instance, &config.budget, surroundings) {
            mistake(field, what);
        }
        if let Some(session) = &entry.session_id {
            let (first, where_first) = homes.entry(session).or_insert((i, instance.invocation.cwd.clone()));
            if *where_first != instance.invocation.cwd {
                let first = quote_input(&names[*first]);
                mistake(
                    "session_id",
                    format!(
                        "is that of '{first}', which runs in another directory: claude keeps \
                    conversations by directory, so give it another name"
                    ),
                );
            }
        }
        instances.push(instance);
    }
    let wrong_placeholders = resolve_placeholders(&mut instances, &config.instances, &mut known);
    let left = MAX_MISTAKES.saturating_sub(mistakes.len());
    mistakes.extend(wrong_placeholders.into_iter().take(left).map(|(i, field, what)| mistake_of(i, field, what)));
    let rings = cycles(&instances);
    mistakes.extend(
        rings.iter().take(MAX_MISTAKES).map(|ring| mistake_of(ring[0], "depends_on", cycle_message(ring, &instances))),
    );
    if !mistakes.is_empty() {
        Diagnostic::sort(&mut mistakes);
        return Err(mistakes);
    }
    warnings.extend(budgets_of_nobody(&config.budget, &instances));
    Ok(Plan {
        instances,
        budget: config.budget,
        halt: config.halt,
        prices: Prices::with_overrides(config.pricing),
        warnings,
        notes: config.warnings,
    })
}

/// Returns the instance of a config entry with all defaults filled in, but without its name and dependencies.
fn instance(entry: &InstanceConfig, cwd: PathBuf, defaults: &Defaults, host: &dyn HostFiles) -> Instance {
    // claude keeps conversations by directory.
    let directory = cwd.components().collect::<PathBuf>().to_string_lossy().into_owned();
    let open_session = |name: &String| Session { name: name.clone(), uuid: session::uuid(name, &directory) };
    Instance {
        name: String::new(),
        description: entry.description.clone(),
        budget_command: entry.command.as_ref().and_then(|c| budget_command(c.split_whitespace().next()?)),
        turns: turns(entry, &cwd, host),
        max_tokens: entry.max_tokens,
        timeout: entry.timeout.unwrap_or(defaults.timeout),
        idle_timeout: entry.idle_timeout.or(defaults.idle_timeout),
        startup_timeout: entry.startup_timeout.unwrap_or(defaults.startup_timeout),
        retries: RetryPolicy {
            max_retries: entry.retries.unwrap_or(0),
            initial_delay: entry.retry_delay.unwrap_or(DEFAULT_RETRY_DELAY),
        },
        depends_on: Vec::new(),
        fail_on_denied: entry.fail_on_denied.unwrap_or(false),
        background: entry.background.unwrap_or_default(),
        background_wait: entry.background_wait.unwrap_or(DEFAULT_BACKGROUND_WAIT),
        fails_on_mcp: entry.fail_on_mcp.unwrap_or(false),
        invocation: Invocation {
            session: entry.session_id.as_ref().map(open_session),
            allowed_tools: entry.allowed_tools.as_deref().map(tools::split_list),
            disallowed_tools: entry.disallowed_tools.as_deref().map(tools::split_list).unwrap_or_default(),
            denied_by_settings: Arc::default(),
            disables_shell_blocks: false,
            permission_mode: entry.permission_mode.clone().unwrap_or_else(|| DEFAULT_PERMISSION_MODE.into()),
            model: entry.model.clone(),
            env: entry.env.clone(),
            cwd,
            claude_args: entry.claude_args.clone().unwrap_or_default(),
        },
    }
}

/// Returns warnings about tools that are probably typos or too broad.
fn tool_warnings(entry: &InstanceConfig, instance: &Instance) -> Vec<String> {
    let Invocation { allowed_tools, disallowed_tools, .. } = &instance.invocation;
    let allowed = allowed_tools.as_deref().unwrap_or_default();
    let allowed_set: HashSet<&String> = allowed.iter().collect();
    let allowed_doubt = |tool: &String| tools::typo_suggestion(tool).or_else(|| tools::runs_any_program(tool));
    let disallowed_doubt = |tool: &String| {
        if allowed_set.contains(tool) {
            return Some(format!("'{}' is in allowed_tools too: it is refused", quote_input(tool)));
        }
        tools::typo_suggestion(tool)
    };
    let warning = |field: &str, what: String| {
        let line = entry.position_of(field).map_or(1, |position| position.line);
        format!("line {line}: instance '{}': {field}: {what}", quote_input(&instance.name))
    };
    let allowed = allowed.iter().filter_map(allowed_doubt).take(MAX_SUGGESTIONS);
    let disallowed = disallowed_tools.iter().filter_map(disallowed_doubt).take(MAX_SUGGESTIONS);
    let allowed = allowed.map(|what| warning("allowed_tools", what));
    allowed.chain(disallowed.map(|what| warning("disallowed_tools", what))).collect()
}

/// Returns the problems of one instance, each with its field.
fn instance_problems(instance: &Instance, budget: &BudgetConfig, host: &dyn HostFiles) -> Vec<(&'static str, String)> {
    let Invocation { allowed_tools, disallowed_tools, .. } = &instance.invocation;
    let mut problems = Vec::new();
    for (field, tools) in [("allowed_tools", allowed_tools.as_ref()), ("disallowed_tools", Some(disallowed_tools))] {
        let tools = tools.into_iter().flatten();
        problems.extend(tools.filter_map(|tool| tools::syntax_error(tool)).map(|what| (field, what)));
    }
    let allowed = allowed_tools.iter().flatten();
    problems.extend(allowed.filter_map(|tool| tools::unenforceable(tool)).map(|what| ("allowed_tools", what)));
    let limits_dollars = budget.blocks_dollars_of(instance.budget_command.as_deref());
    let of_arguments = extra_args::problems(&instance.invocation, limits_dollars, &|path| host.exists(path));
    problems.extend(of_arguments.into_iter().map(|what| ("claude_args", what)));
    problems.extend(estimate_above_a_limit(instance, budget).map(|what| ("max_tokens_per_command", what)));
    let too_long = "is longer than the 128 KiB that a process can be given at once";
    problems.extend(too_long_for_a_process(instance).map(|field| (field, too_long.to_owned())));
    if instance.turns.last().is_some_and(Turn::clears) {
        let hint = "give it a command, and put '/clear' into pre_commands or set \"clear_history\": true";
        problems.push(("command", format!("'/clear' leaves nothing to be done: {hint}")));
    }
    problems
}

/// Resolves the placeholders of all turns, and returns the errors in them: instance, field and message.
fn resolve_placeholders(
    instances: &mut [Instance],
    entries: &[InstanceConfig],
    known: &mut NameIndex,
) -> Vec<(usize, &'static str, String)> {
    let asked = asked_results(instances, known);
    let dependent = dependent_pairs(instances, asked);
    let mut mistakes = Vec::new();
    for (i, instance) in instances.iter_mut().enumerate() {
        let last = instance.turns.len().saturating_sub(1);
        for (t, turn) in instance.turns.iter_mut().enumerate() {
            let needs = |other| dependent.contains(&(i, other));
            let field = match entries[i].command {
                _ if t < last => "pre_commands",
                Some(_) => "command",
                None => "prompt",
            };
            match results(i, &turn.text, needs, known) {
                Ok(found) => turn.placeholders = found,
                Err(wrong) => mistakes.extend(wrong.into_iter().take(MAX_MISTAKES).map(|what| (i, field, what))),
            }
        }
    }
    mistakes
}

/// Checks an instance's estimate against the limits that cover it. If it is larger, the instance could never start, and
/// the overall budget would deny all later instances too.
fn estimate_above_a_limit(instance: &Instance, budget: &BudgetConfig) -> Option<String> {
    let is_enforced = budget.enforcement.unwrap_or_default() == Enforcement::Block;
    let counts_tokens = budget.budget_type != Some(BudgetType::Cost);
    let estimate = instance.max_tokens.filter(|_| is_enforced && counts_tokens)?;
    let overall = budget.overall_tokens.map(|cap| ("the overall budget".to_owned(), cap));
    let command = instance.budget_command.as_ref();
    let of_command = command
        .and_then(|name| Some((format!("the budget of {}", quote_input(name)), *budget.command_tokens.get(name)?)));
    let (limit, cap) = overall.into_iter().chain(of_command).find(|&(_, cap)| estimate > cap)?;
    Some(format!("must be at most {limit}, which is {cap} tokens, got {estimate}: in block mode it could never start"))
}

/// Returns the fields with a string too long for an argument or a variable (execve(2), MAX_ARG_STRLEN). Messages may
/// have any length, since they are sent over stdin.
fn too_long_for_a_process(instance: &Instance) -> impl Iterator<Item = &'static str> {
    /// Linux's limit, minus the bytes that zen adds: the name of a variable, the commas of a list.
    const MAX_BYTES: usize = 128 * 1024 - 100;
    let list_bytes = |list: &[String]| list.iter().map(|item| item.len() + 1).sum::<usize>();
    let longest_variable =
        instance.invocation.env.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
    [
        ("name", instance.name.len()),
        ("model", instance.invocation.model.as_ref().map_or(0, String::len)),
        ("env", longest_variable.max().unwrap_or(0)),
        ("claude_args", instance.invocation.claude_args.iter().map(String::len).max().unwrap_or(0)),
        ("allowed_tools", instance.invocation.allowed_tools.as_deref().map_or(0, list_bytes)),
        ("disallowed_tools", list_bytes(&instance.invocation.disallowed_tools)),
    ]
    .into_iter()
    .filter(|(_, bytes)| *bytes > MAX_BYTES)
    .map(|(field, _)| field)
}

/// Returns the messages of an instance, in order.
fn turns(entry: &InstanceConfig, cwd: &Path, surroundings: &dyn HostFiles) -> Vec<Turn> {
    let is_clear = |name: &str| match name {
        "clear" => true,
        // Aliases on 2.1; older generations have no such commands.
        "reset" | "new" => !surroundings.has_command_file(cwd, name),
        _ => false,
    };
    let of_command = |field: &str, text: &str| {
        let text = slash_commands::trimmed(text);
        let command = slash_commands::parse_invocation(text);
        Turn {
            text: text.to_owned(),
            is_clear: command.is_some_and(is_clear),
            command: command.map(str::to_owned),
            may_be_path: command.is_some_and(|name| surroundings.exists(&Path::new("/").join(name))),
            position: entry.position_of(field),
            placeholders: Vec::new(),
        }
    };
    let mut turns = Vec::new();
    if entry.clear_history == Some(true) {
        turns.push(of_command("clear_history", "/clear"));
    }
    if entry.compact_history == Some(true) {
        turns.push(of_command("compact_history", "/compact"));
    }
    turns.extend(entry.pre_commands.iter().flatten().map(|text| of_command("pre_commands", text)));
    match (&entry.command, &entry.prompt) {
        (Some(command), _) => turns.push(of_command("command", command)),
        (None, Some(prompt)) => turns.push(Turn { text: prompt.clone(), ..Turn::default() }),
        (None, None) => {} // an error that the config reader has reported
    }
    turns
}

/// Returns unique names for all instances; a missing name is derived from the command.
fn names(entries: &[InstanceConfig]) -> Vec<String> {
    const MADE_CHARS: usize = 30;
    let mut taken: HashSet<String> = entries.iter().filter_map(|e| e.name.clone()).collect();
    let mut next_numbers: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.name.clone().unwrap_or_else(|| {
            let text = entry.command.as_ref().or(entry.prompt.as_ref()).map_or("instance", String::as_str);
            let text = crate::base::text::sanitize_line(text).into_owned();
            let base = match text.strip_prefix('/').and_then(|t| t.split_whitespace().next()) {
                Some(command) => format!("/{command}"),
                None if text.chars().count() > MADE_CHARS => text.chars().take(MADE_CHARS).collect::<String>() + "...",
                None => text,
            };
            let mut name = base.clone();
            while !taken.insert(name.clone()) {
                let number = next_numbers.entry(base.clone()).or_insert(2);
                name = format!("{base}-{number}");
                *number += 1;
            }
            name
        });
        names.push(name);
    }
    names
}

/// Index of the names of all instances.
struct NameIndex<'a> {
    all: &'a [String],
    by_name: HashMap<&'a str, usize>,
    suggestions_left: usize,
}

impl NameIndex<'_> {
    /// Returns the instance that a placeholder names; blanks around the name are allowed.
    fn in_placeholder(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).or_else(|| self.by_name.get(name.trim())).copied()
    }

    /// Returns the message about an unknown name in instance number `index`.
    fn unknown(&mut self, name: &str, index: usize) -> String {
        let has_suggestion = self.suggestions_left > 0;
        self.suggestions_left = self.suggestions_left.saturating_sub(1);
        let all = self.all.iter().map(String::as_str).filter(|other| *other != self.all[index]);
        let near = has_suggestion.then(|| closest_match(name, all)).flatten();
        let hint = near.map_or_else(String::new, |near| format!(", did you mean '{}'?", quote_input(near)));
        format!("there is no instance '{}'{hint}", quote_input(name))
    }
}

fn dependencies(
    entry: &InstanceConfig,
    index: usize,
    known: &mut NameIndex,
    mistake: &mut dyn FnMut(String),
) -> Vec<(usize, DependencyCondition)> {
    let mut after = Vec::new();
    for dependency in entry.depends_on.iter().flatten() {
        match known.by_name.get(dependency.name.as_str()) {
            Some(&other) if other == index => mistake("is the instance itself".into()),
            Some(&other) => after.push((other, dependency.when)),
            None => mistake(known.unknown(&dependency.name, index)),
        }
    }
    after
}

/// Returns all pairs `(instance, other)` for which a placeholder of the instance names the other.
fn asked_results(instances: &[Instance], known: &NameIndex) -> Vec<(usize, usize)> {
    let mut asked = Vec::new();
    for (i, instance) in instances.iter().enumerate() {
        for turn in &instance.turns {
            // Errors in placeholders are reported when they are resolved.
            let _ = result_template::parse(&turn.text, |name| {
                let other = known.in_placeholder(name).ok_or_else(String::new)?;
                asked.push((i, other));
                Ok(other)
            });
        }
    }
    asked
}

/// Parses the placeholders of a message. Each must name a direct or indirect dependency of the instance, which has
/// ended before it starts.
fn results(
    index: usize,
    text: &str,
    needs: impl Fn(usize) -> bool,
    known: &mut NameIndex,
) -> Result<Vec<Placeholder>, Vec<String>> {
    result_template::parse(text, |name| match known.in_placeholder(name) {
        Some(other) if other == index => Err("it is the instance itself".into()),
        Some(other) if needs(other) => Ok(other),
        Some(other) => {
            let name = quote_input(&known.all[other]);
            Err(format!("it does not depend on '{name}': name that in its 'depends_on'"))
        }
        None => Err(known.unknown(name, index)),
    })
}

/// Warns about a budget for a command that no instance runs: probably a typo.
fn budgets_of_nobody(budget: &BudgetConfig, instances: &[Instance]) -> Vec<String> {
    let run: HashSet<&str> = instances.iter().filter_map(|instance| instance.budget_command.as_deref()).collect();
    let of_nobody = budget.limited_commands().into_iter().filter(|command| !run.contains(command));
    let warning = |(i, command): (usize, &str)| {
        let near = (i < MAX_SUGGESTIONS).then(|| closest_match(command, run.iter().copied())).flatten();
        let hint = near.map_or_else(String::new, |near| format!(", did you mean '{}'?", quote_input(near)));
        format!("budget: no instance runs '{}'{hint}", quote_input(command))
    };
    of_nobody.enumerate().map(warning).collect()
}

/// Returns the plan of a valid config in the workspace `/w`, for tests. On its machine no command is a path, and every
/// directory exists.
#[cfg(test)]
pub(crate) fn planned(config: &str) -> Plan {
    struct Machine;
    impl HostFiles for Machine {
        fn exists(&self, _: &Path) -> bool {
            false
        }
        fn is_directory(&self, _: &Path) -> bool {
            true
        }
        fn has_command_file(&self, _: &Path, _: &str) -> bool {
            false
        }
    }
    let config = Config::read(config).expect("a config");
    let defaults = Defaults {
        timeout: Duration::from_secs(10_000),
        idle_timeout: None,
        startup_timeout: Duration::from_secs(120),
    };
    plan(config, Path::new("/w"), &defaults, &Machine).expect("a plan")
}

#[cfg(test)]
mod tests;
