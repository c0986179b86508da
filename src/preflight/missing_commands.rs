//! Queries claude for its slash commands before the first launch, so that a missing command is not found hours later.
//! One query for each distinct directory, environment and list of arguments; a query costs no tokens.
//!
//! Several queries run at a time, within one time limit. Instances without an answer are checked when they start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::text;
use crate::claude::invocation::Invocation;
use crate::claude::protocol::{initialize_response, request};
use crate::claude::slash_commands::{CommandNotFound, Commands};
use crate::claude::{argv, slash_commands};
use crate::plan::Instance;
use crate::preflight::query::{self, ProbeCommand, QueryError};

/// Time limit of all queries before a run. A query takes one second on an idle machine, ten on a busy one.
pub const RUN_LIMIT: Duration = Duration::from_secs(20);

/// Time limit of all queries of a dry run.
pub const DRY_RUN_LIMIT: Duration = Duration::from_secs(120);

/// Time limit of one query.
const QUERY_LIMIT: Duration = Duration::from_secs(30);

/// Maximum number of queries at a time: each claude takes 300 MB of memory and a second of processor time.
const MAX_PARALLEL: usize = 4;

/// A slash command that claude does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingCommand {
    /// Index of the instance.
    pub instance: usize,
    /// Index of the turn.
    pub turn: usize,
    /// The error, with the closest name.
    pub error: CommandNotFound,
}

/// Instances for which claude did not list its commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// Indices of the instances.
    pub instances: Vec<usize>,
    /// The reason.
    pub error: QueryError,
}

impl Unchecked {
    /// Returns the message about these instances.
    #[must_use]
    pub fn describe(&self, instances: &[Instance]) -> String {
        let first = self.instances.first().map_or("", |&index| instances[index].name.as_str());
        let others = match self.instances.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let (first, error) = (text::sanitize_line(first), self.error.to_string());
        let error = text::sanitize_line(&error);
        format!("instance '{first}'{others}: slash commands not checked: claude did not list them: {error}")
    }
}

/// The result of all queries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The missing commands, in the order of the config.
    pub missing: Vec<MissingCommand>,
    /// The instances that could not be checked.
    pub unchecked: Vec<Unchecked>,
}

impl Findings {
    /// Returns the first error of each instance.
    #[must_use]
    pub fn errors(&self) -> Vec<(usize, String)> {
        let mut errors: Vec<(usize, String)> = Vec::new();
        for MissingCommand { instance, error, .. } in &self.missing {
            if errors.last().is_none_or(|(last, _)| last != instance) {
                errors.push((*instance, error.to_string()));
            }
        }
        errors
    }
}

/// Instances that share one list of commands, and the arguments of the query for it.
struct Group<'a> {
    instances: Vec<usize>,
    cwd: &'a Path,
    env: &'a BTreeMap<String, Option<String>>,
    arguments: Vec<String>,
}

/// Returns the slash commands of these instances that claude does not have. If they only use commands that always
/// exist, claude is not queried.
#[must_use]
pub fn missing_commands(instances: &[Instance], claude: &Path, limit: Duration) -> Findings {
    let groups = groups(instances);
    let answers = query_all(&groups, claude, limit);
    let mut findings = Findings::default();
    for (group, answer) in groups.iter().zip(answers) {
        match answer {
            Ok(commands) => {
                for &index in &group.instances {
                    findings.missing.extend(missing_of(index, &instances[index], &commands));
                }
            }
            Err(error) => findings.unchecked.push(Unchecked { instances: group.instances.clone(), error }),
        }
    }
    findings.missing.sort_by_key(|missing| (missing.instance, missing.turn));
    findings
}

fn missing_of(index: usize, instance: &Instance, commands: &Commands) -> Vec<MissingCommand> {
    let mut missing = Vec::new();
    for (i, turn) in instance.turns.iter().enumerate() {
        let Some(name) = turn.command_to_check() else { continue };
        if !commands.contains(name) {
            let error = commands.not_found(name, turn.may_be_path);
            missing.push(MissingCommand { instance: index, turn: i, error });
        }
    }
    missing
}

/// Returns the groups of the instances that use commands that may be missing.
fn groups(instances: &[Instance]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known = BTreeMap::new();
    for (index, instance) in instances.iter().enumerate() {
        let mut commands = instance.turns.iter().filter_map(|turn| turn.command_to_check()).peekable();
        if commands.peek().is_none() {
            continue;
        }
        let needs_servers = commands.any(slash_commands::is_of_server);
        let Invocation { cwd, env, claude_args, .. } = &instance.invocation;
        let group = *known.entry((cwd, env, claude_args, needs_servers)).or_insert(groups.len());
        if group == groups.len() {
            let arguments = argv::arguments_to_probe(claude_args, needs_servers);
            groups.push(Group { instances: Vec::new(), cwd, env, arguments });
        }
        groups[group].instances.push(index);
    }
    groups
}

type Answer = Result<Commands, QueryError>;

/// Runs the query of each group, a few at a time, until the limit has passed.
fn query_all(groups: &[Group], claude: &Path, limit: Duration) -> Vec<Answer> {
    let give_up = Instant::now() + limit;
    let answers: Vec<Answer> = groups.iter().map(|_| Err(QueryError::NoTimeLeft(limit))).collect();
    let answers = Mutex::new(answers);
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = groups.get(index) else { return };
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let answer = query_one(group, claude, left.min(QUERY_LIMIT));
            answers.lock().unwrap_or_else(PoisonError::into_inner)[index] = answer;
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.clamp(1, MAX_PARALLEL).min(groups.len());
    thread::scope(|scope| {
        for _ in 1..workers {
            // If no further thread can be created, fewer queries run at a time.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    answers.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn query_one(group: &Group, claude: &Path, limit: Duration) -> Answer {
    let command = ProbeCommand { claude, arguments: &group.arguments, cwd: group.cwd, env: group.env, limit };
    let commands = query::query(&command, &request::initialize(), initialize_response)?;
    commands.map_err(|error| QueryError::Rejected(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::planned;

    #[test]
    fn each_directory_environment_and_list_of_arguments_has_one_query() {
        let plan = planned(
            r#"{"instances": [
                {"name": "a", "command": "/review"}, {"name": "b", "command": "/help"}, {"name": "c", "prompt": "/x"},
                {"name": "d", "command": "text", "pre_commands": ["/lint", "/clear"]},
                {"name": "e", "command": "/review", "cwd": "sub"}, {"name": "f", "command": "/review", "env": {"A": "1"}},
                {"name": "g", "command": "/review", "claude_args": ["--effort", "low"]},
                {"name": "h", "command": "/mcp__server__prompt"}, {"name": "i", "command": "/usr/bin/env is there"},
                {"name": "j", "command": "/compact", "clear_history": true, "compact_history": true}]}"#,
        );
        let groups = groups(&plan.instances);
        let members: Vec<&[usize]> = groups.iter().map(|group| &group.instances[..]).collect();
        assert_eq!(members, [&[0, 3][..], &[4], &[5], &[6], &[7]]);
        assert_eq!(groups[3].arguments[groups[3].arguments.len() - 2..], ["--effort", "low"]);
        let leaves_servers_out =
            |group: &Group| group.arguments.iter().any(|argument| argument == "--strict-mcp-config");
        let expected = [true, true, true, true, false];
        assert_eq!(groups.iter().map(leaves_servers_out).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn all_missing_commands_of_an_instance_are_found_and_the_first_is_its_error() {
        let plan =
            planned(r#"{"instances": [{"command": "/reviw", "pre_commands": ["/clear", "/x", "/help", "/review"]}]}"#);
        let commands = Commands::new(vec!["review".to_owned()]);
        let missing = missing_of(0, &plan.instances[0], &commands);
        let errors: Vec<(usize, String)> =
            missing.iter().map(|missing| (missing.turn, missing.error.to_string())).collect();
        let expected = [(1, "Command not found: /x"), (4, "Command not found: /reviw (did you mean /review?)")];
        assert_eq!(errors, expected.map(|(turn, error)| (turn, error.to_owned())));
        let findings = Findings { missing, unchecked: Vec::new() };
        assert_eq!(findings.errors(), [(0, "Command not found: /x".to_owned())]);
    }

    #[test]
    fn without_time_left_no_claude_is_queried() {
        let plan = planned(r#"{"instances": [{"command": "/review"}, {"command": "/help"}]}"#);
        let findings = missing_commands(&plan.instances, Path::new("/bin/false"), Duration::ZERO);
        let error = QueryError::NoTimeLeft(Duration::ZERO);
        assert_eq!(findings.unchecked, [Unchecked { instances: vec![0], error }]);
        assert!(findings.missing.is_empty());
    }
}
