//! The plan: a config with every default resolved and every name, session and dependency settled, so that what runs it
//! has nothing left to decide or to doubt. Pure: what must be known of the machine comes in as [`Surroundings`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::claude::prices::Prices;
use crate::claude::{commands, session, tools};
use crate::config::{BudgetConfig, Config, InstanceConfig, MAX_MISTAKES, Mistake, Place, When};
use crate::nearest::nearest;
use crate::retries::{self, Retries};
use crate::template::{self, Insertion};

/// What instances get that do not say otherwise.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// How long an instance may run.
    pub timeout: Duration,
    /// How long an instance may say nothing; `None`: as long as it likes.
    pub idle_timeout: Option<Duration>,
}

/// What planning must know of the machine.
pub trait Surroundings {
    /// Whether something stands at this absolute path: `/tmp` in a command is a path, not a command.
    fn exists(&self, path: &Path) -> bool;
    /// Whether this is a directory that can be entered.
    fn is_directory(&self, path: &Path) -> bool;
}

/// A plan, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The instances in the order of the config, which is their priority.
    pub instances: Vec<Instance>,
    /// The limits.
    pub budget: BudgetConfig,
    /// What tokens cost, until claude says so.
    pub prices: Prices,
    /// What is allowed and yet worth a word.
    pub warnings: Vec<String>,
}

/// One instance of a plan.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its name; unique.
    pub name: String,
    /// What its author says of it.
    pub description: Option<String>,
    /// The first word of its command, by which the budgets of commands know it.
    pub budget_command: Option<String>,
    /// What it is told, in order: the pre-commands, and last the command.
    pub turns: Vec<Turn>,
    /// Its own estimate of the tokens that it will use.
    pub max_tokens: Option<u64>,
    /// How long it may run.
    pub timeout: Duration,
    /// How long it may say nothing.
    pub idle_timeout: Option<Duration>,
    /// How often it is tried again when it has failed.
    pub retries: Retries,
    /// The instances that must have ended before it starts, by index.
    pub after: Vec<(usize, When)>,
    /// Its session, if it has a named one.
    pub session: Option<Session>,
    /// The only tools it can use; `None`: all.
    pub allowed_tools: Option<Vec<String>>,
    /// Tools it cannot use.
    pub disallowed_tools: Vec<String>,
    /// Whether it has failed when a tool was refused to it.
    pub fails_on_denied: bool,
    /// The config's word for claude's `--permission-mode`.
    pub permission_mode: String,
    /// claude's `--model`.
    pub model: Option<String>,
    /// Variables added to (or, `None`, taken from) its environment.
    pub env: BTreeMap<String, Option<String>>,
    /// Where it runs; absolute.
    pub cwd: PathBuf,
    /// More arguments for claude.
    pub claude_args: Vec<String>,
}

/// One message to an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What is sent, as the config has it.
    pub text: String,
    /// The slash command that it calls, without the slash, if it calls one.
    pub command: Option<String>,
    /// Where in the text the results of others come in; these have ended when it is sent.
    pub results: Vec<Insertion>,
}

/// Turns of an instance in one conversation: what a process of it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Which of its turns.
    pub turns: Range<usize>,
    /// Whether what was said before is cleared.
    pub is_cleared: bool,
}

impl Turn {
    /// Whether it clears what was said before. That is zen's own affair: the older generations have no such command, and
    /// 2.1 leaves the session when it is given.
    #[must_use]
    pub fn clears(&self) -> bool {
        self.command.as_deref() == Some("clear")
    }
}

impl Instance {
    /// Its turns, parted where the conversation is cleared; without those that do that.
    #[must_use]
    pub fn legs(&self) -> Vec<Leg> {
        let mut legs: Vec<Leg> = Vec::new();
        let mut is_cleared = false;
        for (i, turn) in self.turns.iter().enumerate() {
            match legs.last_mut() {
                _ if turn.clears() => is_cleared = true,
                Some(leg) if !is_cleared => leg.turns.end = i + 1,
                _ => legs.push(Leg { turns: i..i + 1, is_cleared: std::mem::take(&mut is_cleared) }),
            }
        }
        legs
    }
}

/// A conversation with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The name in the config.
    pub name: String,
    /// What claude is told.
    pub uuid: String,
}

/// Where the original started everybody, so that nobody waits for an answer that nobody gives.
const DEFAULT_PERMISSION_MODE: &str = "bypassPermissions";

/// So many mistyped names are told the nearest one; each is compared with all that there are.
const MAX_SUGGESTIONS: usize = 50;

/// A longer ring is not told whole.
const MAX_RING_NAMES: usize = 10;

/// Makes the plan of a config.
///
/// # Errors
/// All the mistakes that a config's author must mend, in the order of the file.
pub fn plan(
    config: Config,
    workspace: &Path,
    defaults: &Defaults,
    surroundings: &dyn Surroundings,
) -> Result<Plan, Vec<Mistake>> {
    let names = names(&config.instances);
    let mut mistakes = Vec::new();
    let mut instances = Vec::with_capacity(names.len());
    let mut homes: HashMap<&str, (usize, PathBuf)> = HashMap::new();
    let mut known = Names { all: &names, by_name: HashMap::new(), suggestions_left: MAX_SUGGESTIONS };
    // Of two with one name, which is a mistake, the first has it.
    known.by_name.extend(names.iter().enumerate().rev().map(|(i, name)| (name.as_str(), i)));
    let mistake_of = |i: usize, field: &str, what: String| Mistake {
        place: config.instances[i].place.unwrap_or(Place { line: 1, column: 1 }),
        instance: format!("instance '{}'", printable(&names[i])),
        field: field.into(),
        what,
    };
    for (i, entry) in config.instances.iter().enumerate() {
        let mut mistake = |field: &str, what: String| {
            if mistakes.len() < MAX_MISTAKES {
                mistakes.push(mistake_of(i, field, what));
            }
        };
        let after = dependencies(entry, i, &mut known, &mut |what| mistake("depends_on", what));
        let cwd = entry.cwd.as_ref().map_or_else(|| workspace.to_owned(), |cwd| workspace.join(cwd));
        if entry.cwd.is_some() && !surroundings.is_directory(&cwd) {
            let path = cwd.to_string_lossy();
            mistake("cwd", format!("{} is no directory that can be entered", crate::text::clean(&path)));
        }
        // claude keeps conversations by directory.
        let directory = cwd.components().collect::<PathBuf>().to_string_lossy().into_owned();
        let instance = Instance {
            name: names[i].clone(),
            description: entry.description.clone(),
            budget_command: entry.command.as_ref().and_then(|c| c.split_whitespace().next()).map(str::to_owned),
            turns: turns(entry, surroundings),
            max_tokens: entry.max_tokens,
            timeout: entry.timeout.unwrap_or(defaults.timeout),
            idle_timeout: entry.idle_timeout.or(defaults.idle_timeout),
            retries: Retries {
                count: entry.retries.unwrap_or(0),
                first_delay: entry.retry_delay.unwrap_or(retries::DEFAULT_FIRST_DELAY),
            },
            after,
            session: entry
                .session_id
                .as_ref()
                .map(|name| Session { name: name.clone(), uuid: session::uuid(name, &directory) }),
            allowed_tools: entry.allowed_tools.clone(),
            disallowed_tools: entry.disallowed_tools.clone().unwrap_or_default(),
            fails_on_denied: entry.fail_on_denied.unwrap_or(false),
            permission_mode: entry.permission_mode.clone().unwrap_or_else(|| DEFAULT_PERMISSION_MODE.into()),
            model: entry.model.clone(),
            env: entry.env.clone(),
            cwd,
            claude_args: entry.claude_args.clone().unwrap_or_default(),
        };
        if let Some(what) = tools::unenforceable(instance.allowed_tools.as_deref().unwrap_or_default()) {
            mistake("allowed_tools", what);
        }
        if instance.turns.last().is_some_and(Turn::clears) {
            let way_out = "give it a command, and put '/clear' into pre_commands or set \"clear_history\": true";
            mistake("command", format!("'/clear' leaves nothing to be done: {way_out}"));
        }
        if let Some(session) = &entry.session_id {
            let (first, where_first) = homes.entry(session).or_insert((i, instance.cwd.clone()));
            if *where_first != instance.cwd {
                let first = printable(&names[*first]);
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
    for i in 0..instances.len() {
        for t in 0..instances[i].turns.len() {
            match results(&instances, i, &instances[i].turns[t].text, &mut known) {
                Ok(found) => instances[i].turns[t].results = found,
                Err(wrong) => {
                    let is_last = t + 1 == instances[i].turns.len();
                    let field = match config.instances[i].command {
                        _ if !is_last => "pre_commands",
                        Some(_) => "command",
                        None => "prompt",
                    };
                    let left = MAX_MISTAKES.saturating_sub(mistakes.len());
                    mistakes.extend(wrong.into_iter().take(left).map(|what| mistake_of(i, field, what)));
                }
            }
        }
    }
    let rings = rings(&instances);
    mistakes.extend(
        rings
            .iter()
            .take(MAX_MISTAKES)
            .map(|ring| mistake_of(ring[0], "depends_on", waits_for_itself(ring, &instances))),
    );
    if !mistakes.is_empty() {
        mistakes.sort_by_key(|m| m.place);
        return Err(mistakes);
    }
    let mut warnings = config.warnings;
    warnings.extend(budgets_of_nobody(&config.budget, &instances));
    Ok(Plan { instances, budget: config.budget, prices: Prices::with_own(config.pricing), warnings })
}

/// The messages of an instance, in order.
fn turns(entry: &InstanceConfig, surroundings: &dyn Surroundings) -> Vec<Turn> {
    let of_command = |text: &str| Turn {
        text: text.to_owned(),
        command: commands::called_by(text, |path| surroundings.exists(Path::new(path))).map(str::to_owned),
        results: Vec::new(),
    };
    let mut turns = Vec::new();
    if entry.clear_history == Some(true) {
        turns.push(of_command("/clear"));
    }
    if entry.compact_history == Some(true) {
        turns.push(of_command("/compact"));
    }
    turns.extend(entry.pre_commands.iter().flatten().map(|text| of_command(text)));
    match (&entry.command, &entry.prompt) {
        (Some(command), _) => turns.push(of_command(command)),
        (None, Some(prompt)) => turns.push(Turn { text: prompt.clone(), ..Turn::default() }),
        (None, None) => {} // a mistake, told by the config's own reading
    }
    turns
}

/// The names, made from the command where there is none; unique in any case.
fn names(entries: &[InstanceConfig]) -> Vec<String> {
    const MADE_CHARS: usize = 30;
    let mut taken: HashSet<String> = entries.iter().filter_map(|e| e.name.clone()).collect();
    let mut next_numbers: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.name.clone().unwrap_or_else(|| {
            let text = entry.command.as_ref().or(entry.prompt.as_ref()).map_or("instance", String::as_str);
            let text = crate::text::clean(text).into_owned();
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

/// The names of all instances.
struct Names<'a> {
    all: &'a [String],
    by_name: HashMap<&'a str, usize>,
    suggestions_left: usize,
}

impl Names<'_> {
    fn unknown(&mut self, name: &str) -> String {
        let has_suggestion = self.suggestions_left > 0;
        self.suggestions_left = self.suggestions_left.saturating_sub(1);
        let all = self.all.iter().map(String::as_str);
        let near = has_suggestion.then(|| nearest(name, all)).flatten();
        let hint = near.map_or_else(String::new, |near| format!(", did you mean '{}'?", printable(near)));
        format!("there is no instance '{}'{hint}", printable(name))
    }
}

fn dependencies(
    entry: &InstanceConfig,
    index: usize,
    known: &mut Names,
    mistake: &mut dyn FnMut(String),
) -> Vec<(usize, When)> {
    let mut after = Vec::new();
    for dependency in entry.depends_on.iter().flatten() {
        match known.by_name.get(dependency.name.as_str()) {
            Some(&other) if other == index => mistake("is the instance itself".into()),
            Some(&other) => after.push((other, dependency.when)),
            None => mistake(known.unknown(&dependency.name)),
        }
    }
    after
}

/// Whose results come into a message of an instance: of those that have ended before it starts, because it depends on
/// them or on one that does.
fn results(instances: &[Instance], index: usize, text: &str, known: &mut Names) -> Result<Vec<Insertion>, Vec<String>> {
    template::insertions(text, |name| match known.by_name.get(name).or_else(|| known.by_name.get(name.trim())) {
        Some(&other) if other == index => Err("it is the instance itself".into()),
        Some(&other) if depends_on(instances, index, other) => Ok(other),
        Some(&other) => {
            let name = printable(&known.all[other]);
            Err(format!("it does not depend on '{name}': name that in its 'depends_on'"))
        }
        None => Err(known.unknown(name)),
    })
}

/// Whether an instance depends on another, be it through others.
fn depends_on(instances: &[Instance], index: usize, wanted: usize) -> bool {
    let mut seen = HashSet::from([index]);
    let mut ahead = vec![index];
    while let Some(i) = ahead.pop() {
        for &(other, _) in &instances[i].after {
            if other == wanted {
                return true;
            }
            if seen.insert(other) {
                ahead.push(other);
            }
        }
    }
    false
}

/// A budget for a command that nobody runs may be a slip of the pen, and then holds nobody back.
fn budgets_of_nobody(budget: &BudgetConfig, instances: &[Instance]) -> Vec<String> {
    let run: HashSet<&str> = instances.iter().filter_map(|instance| instance.budget_command.as_deref()).collect();
    let budgets = budget.command_tokens.keys().chain(budget.command_micros.keys());
    let of_nobody = budgets.filter(|command| !run.contains(command.as_str()));
    let warning = |command: &String| match nearest(command, run.iter().copied()) {
        Some(near) => format!("budget: no instance runs '{command}', did you mean '{near}'?"),
        None => format!("budget: no instance runs '{command}'"),
    };
    of_nobody.map(warning).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// A name as a message shows it.
fn printable(name: &str) -> String {
    const MAX_COLUMNS: usize = 60;
    crate::text::cut(&crate::text::clean(name), MAX_COLUMNS, "...").into_owned()
}

fn waits_for_itself(ring: &[usize], instances: &[Instance]) -> String {
    let name = |&i: &usize| printable(&instances[i].name);
    let mut names: Vec<String> = ring.iter().take(MAX_RING_NAMES).map(name).collect();
    if ring.len() > MAX_RING_NAMES {
        names.push("...".into());
    }
    names.push(name(&ring[0]));
    let depends = |(&i, next): (&usize, &usize)| instances[i].after.iter().any(|(other, _)| other == next);
    let by_session = !ring.iter().zip(ring.iter().cycle().skip(1)).all(depends);
    let why = if by_session { " (those of one session run in the config's order)" } else { "" };
    format!("waits for itself: {}{why}", names.join(" -> "))
}

/// Instances that wait for each other in a ring, each such ring. Instances with one session wait too, each for the one
/// before it in the config.
fn rings(instances: &[Instance]) -> Vec<Vec<usize>> {
    let waits_for = waits_for(instances);
    // Takes away, again and again, whoever waits for nobody that is left; what stays are rings and those behind them.
    let mut open: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    let mut followers = vec![Vec::new(); instances.len()];
    for (i, others) in waits_for.iter().enumerate() {
        for &other in others {
            followers[other].push(i);
        }
    }
    let mut rings = Vec::new();
    let mut free: Vec<usize> = (0..instances.len()).filter(|&i| open[i] == 0).collect();
    let mut first_left = 0;
    loop {
        while let Some(i) = free.pop() {
            for &follower in &followers[i] {
                if open[follower] == 0 {
                    continue; // of a ring that is told already
                }
                open[follower] -= 1;
                if open[follower] == 0 {
                    free.push(follower);
                }
            }
        }
        let Some(left) = (first_left..instances.len()).find(|&i| open[i] > 0) else { return rings };
        first_left = left;
        let ring = ring_ahead(left, &waits_for, &open);
        // Those behind it wait for others than themselves.
        for &i in &ring {
            open[i] = 0;
        }
        free.extend(&ring);
        rings.push(ring);
    }
}

/// The ring that is come to from `start` by going on to one that is waited for and that is left too.
fn ring_ahead(start: usize, waits_for: &[Vec<usize>], open: &[usize]) -> Vec<usize> {
    let mut path = Vec::new();
    let mut position = HashMap::new();
    let mut at = start;
    while !position.contains_key(&at) {
        position.insert(at, path.len());
        path.push(at);
        at = waits_for[at].iter().copied().find(|&other| open[other] > 0).unwrap_or(at);
    }
    path.split_off(position[&at])
}

/// Whom each instance waits for: those it depends on, and the one before it in its session.
#[must_use]
pub fn waits_for(instances: &[Instance]) -> Vec<Vec<usize>> {
    let mut last_of_session: HashMap<&str, usize> = HashMap::new();
    let mut waits_for = Vec::with_capacity(instances.len());
    for (i, instance) in instances.iter().enumerate() {
        let mut others: Vec<usize> = instance.after.iter().map(|&(other, _)| other).collect();
        if let Some(session) = &instance.session
            && let Some(before) = last_of_session.insert(&session.uuid, i)
            && !others.contains(&before)
        {
            others.push(before);
        }
        waits_for.push(others);
    }
    waits_for
}

/// The plan of a good config in the workspace `/w`, for tests of what plans are for. On its machine no command is a path,
/// and every directory is there.
#[cfg(test)]
pub(crate) fn planned(config: &str) -> Plan {
    struct Machine;
    impl Surroundings for Machine {
        fn exists(&self, _: &Path) -> bool {
            false
        }
        fn is_directory(&self, _: &Path) -> bool {
            true
        }
    }
    let config = Config::read(config).expect("a config");
    let defaults = Defaults { timeout: Duration::from_secs(10_000), idle_timeout: None };
    plan(config, Path::new("/w"), &defaults, &Machine).expect("a plan")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine;

    impl Surroundings for Machine {
        fn exists(&self, path: &Path) -> bool {
            path == Path::new("/tmp")
        }
        fn is_directory(&self, path: &Path) -> bool {
            path == Path::new("/w/sub")
        }
    }

    fn planned(text: &str) -> Result<Plan, Vec<Mistake>> {
        let config = Config::read(text).expect("the config's own reading finds nothing");
        let defaults = Defaults { timeout: Duration::from_secs(10), idle_timeout: None };
        plan(config, Path::new("/w"), &defaults, &Machine)
    }

    fn names_of(text: &str) -> Vec<String> {
        planned(text).expect("a plan").instances.into_iter().map(|i| i.name).collect()
    }

    #[test]
    fn a_missing_name_is_made_from_the_command() {
        let names = names_of(
            r#"{"instances": [{"command": "/help me"}, {"command": "/help"}, {"name": "/help-2", "command": "x"},
                {"prompt": "What are the security vulnerabilities?"}, {"prompt": "a\nb"}]}"#,
        );
        assert_eq!(names, ["/help", "/help-3", "/help-2", "What are the security vulnerab...", "a b"]);
    }

    #[test]
    fn turns_are_the_pre_commands_and_then_the_command() {
        let plan = planned(
            r#"{"instances": [{"command": "/analyze src", "prompt": "not used", "compact_history": true,
                "pre_commands": ["/clear", "Set context"]}, {"prompt": "/help"}, {"command": "/tmp is full"}]}"#,
        )
        .expect("a plan");
        let told: Vec<_> = plan.instances[0].turns.iter().map(|t| (t.text.as_str(), t.command.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("/compact", Some("compact")),
                ("/clear", Some("clear")),
                ("Set context", None),
                ("/analyze src", Some("analyze"))
            ]
        );
        assert_eq!(plan.instances[1].turns[0].command, None, "a prompt is text");
        assert_eq!(plan.instances[2].turns[0].command, None, "a path is text");
        assert_eq!(plan.warnings.len(), 1);
    }

    #[test]
    fn unknown_dependencies_directories_and_rings_are_told_together() {
        let mistakes = planned(
            r#"{"instances": [
                {"name": "a", "command": "x", "depends_on": ["b"]},
                {"name": "b", "command": "x", "depends_on": ["c", "collectr"]},
                {"name": "c", "command": "x", "depends_on": [{"name": "a", "when": "done"}]},
                {"name": "collector", "command": "x", "depends_on": ["collector"], "cwd": "gone"},
                {"name": "fine", "command": "x", "cwd": "sub", "depends_on": ["c"]}]}"#,
        )
        .expect_err("mistakes");
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 2, column 17: instance 'a': depends_on: waits for itself: a -> b -> c -> a",
                "line 3, column 17: instance 'b': depends_on: there is no instance 'collectr', did you mean 'collector'?",
                "line 5, column 17: instance 'collector': depends_on: is the instance itself",
                "line 5, column 17: instance 'collector': cwd: /w/gone is no directory that can be entered",
            ]
        );
    }

    #[test]
    fn results_are_of_those_that_have_ended_before() {
        let plan = planned(
            r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x", "depends_on": ["a"]},
                {"name": "c", "command": "/review {{result:b}} {{result: a }}", "depends_on": ["b"],
                 "pre_commands": ["Read {{result:a}}"]}]}"#,
        )
        .expect("a plan");
        let turns = &plan.instances[2].turns;
        assert_eq!(turns[0].results, [Insertion { at: 5..17, of: 0 }]);
        assert_eq!(turns[1].results, [Insertion { at: 8..20, of: 1 }, Insertion { at: 21..35, of: 0 }]);
        assert_eq!(turns[1].command.as_deref(), Some("review"));
        let mistakes = planned(
            r#"{"instances": [{"name": "collector", "command": "x"},
                {"name": "b", "prompt": "{{result:colector}} {{result:}}", "command": null, "depends_on": ["collector"]},
                {"name": "c", "command": "{{result:b}}{{result:c}}", "pre_commands": ["/{{result:b}}"]}]}"#,
        );
        let told: Vec<String> = mistakes.expect_err("mistakes").iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 2, column 17: instance 'b': prompt: '{{result:colector}}': there is no instance 'colector', did you mean 'collector'?",
                "line 2, column 17: instance 'b': prompt: '{{result:}}' names no instance",
                "line 3, column 17: instance 'c': pre_commands: '{{result:b}}' stands in the name of the command, which is the config's own to say",
                "line 3, column 17: instance 'c': command: '{{result:b}}': it does not depend on 'b': name that in its 'depends_on'",
                "line 3, column 17: instance 'c': command: '{{result:c}}': it is the instance itself",
            ]
        );
    }

    #[test]
    fn turns_are_parted_where_the_conversation_is_cleared() {
        let legs = |fields: &str| {
            let plan = planned(&format!(r#"{{"instances": [{{"command": "x"{fields}}}]}}"#)).expect("a plan");
            plan.instances[0].legs().into_iter().map(|leg| (leg.turns, leg.is_cleared)).collect::<Vec<_>>()
        };
        for (fields, expected) in [
            ("", vec![(0..1, false)]),
            (r#", "pre_commands": ["a", "/compact"]"#, vec![(0..3, false)]),
            (r#", "pre_commands": ["/clear"]"#, vec![(1..2, true)]),
            (r#", "clear_history": true, "compact_history": true"#, vec![(1..3, true)]),
            (r#", "clear_history": true, "pre_commands": ["/clear", "a"]"#, vec![(2..4, true)]),
            (r#", "pre_commands": ["a", "/clear", "/clear now", "b"]"#, vec![(0..1, false), (3..5, true)]),
        ] {
            assert_eq!(legs(fields), expected, "{fields}");
        }
    }

    #[test]
    fn a_session_is_of_one_directory_and_has_something_to_do() {
        let mistakes = planned(
            r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"}, {"command": "/clear"},
                {"name": "b", "command": "x", "session_id": "s", "cwd": "sub"}]}"#,
        );
        let told: Vec<String> = mistakes.expect_err("mistakes").iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("'/clear' leaves nothing to be done"), "{told:?}");
        assert!(told[1].contains("session_id: is that of 'a', which runs in another directory"), "{told:?}");
    }

    #[test]
    fn one_session_is_one_queue_and_can_close_a_ring() {
        let plan = planned(
            r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"}, {"name": "b", "command": "x"},
                {"name": "c", "command": "x", "session_id": "s"}]}"#,
        )
        .expect("a plan");
        assert_eq!(waits_for(&plan.instances), [vec![], vec![], vec![0]]);
        let ring = planned(
            r#"{"instances": [{"name": "a", "command": "x", "session_id": "s", "depends_on": ["b"]},
                {"name": "b", "command": "x", "session_id": "s"}]}"#,
        );
        assert!(ring.expect_err("a ring")[0].what.contains("a -> b -> a"));
    }
}
