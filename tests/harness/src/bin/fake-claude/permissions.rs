//! Which tool calls are let through: `--tools`, `--disallowedTools`, permission mode, `--allowedTools` and the rules of
//! `--settings`, in that order.

use crate::generation::Generation;
use crate::options::Options;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

pub struct Permissions {
    generation: Generation,
    pub mode: String,
    /// `None`: all tools exist.
    tools: Option<Vec<String>>,
    allow: Vec<String>,
    deny: Vec<String>,
}

pub enum Decision {
    Allowed,
    /// There is no such tool in this session; the text is the tool's answer.
    Missing(String),
    /// A rule denies this file; 2.0 does not list that in `permission_denials`.
    DeniedFile,
    /// Refused, and listed in `permission_denials`; the text is the tool's answer.
    Denied(String),
}

/// Tools that need no asking, because they change nothing outside the conversation.
const HARMLESS: [&str; 12] = [
    "Read",
    "Grep",
    "Glob",
    "LS",
    "Task",
    "Agent",
    "TodoWrite",
    "TaskOutput",
    "BashOutput",
    "ExitPlanMode",
    "ToolSearch",
    "ListAgents",
];
const EDITS: [&str; 4] = ["Write", "Edit", "MultiEdit", "NotebookEdit"];
/// Commands that the real ones run unasked, as long as nothing is redirected or chained.
const HARMLESS_COMMANDS: [&str; 10] = ["ls", "cat", "pwd", "echo", "head", "tail", "wc", "grep", "which", "stat"];

/// Other tools that there are.
const OTHERS: [&str; 5] = ["Bash", "KillShell", "SlashCommand", "WebFetch", "WebSearch"];

fn is_known(tool: &str) -> bool {
    HARMLESS.contains(&tool) || EDITS.contains(&tool) || OTHERS.contains(&tool)
}

impl Permissions {
    pub fn new(generation: Generation, options: &Options) -> Permissions {
        let settings = options.settings.as_deref().map(read_settings).unwrap_or_default();
        let rules = |name: &str| texts(&settings["permissions"][name]);
        let files: Vec<Value> = settings_files().into_iter().filter_map(|file| parsed_settings(&file)).collect();
        let denied_by_files = files.iter().flat_map(|settings| texts(&settings["permissions"]["deny"]));
        let forbids_bypass = |settings: &Value| settings["permissions"]["disableBypassPermissionsMode"] == "disable";
        let mut mode = options.mode().to_owned();
        if generation >= Generation::V2_0 && mode == "bypassPermissions" && files.iter().any(forbids_bypass) {
            "default".clone_into(&mut mode);
        }
        if options.permission_mode.is_none()
            && !options.skip_permissions
            && let Some(default) = settings["permissions"]["defaultMode"].as_str()
        {
            default.clone_into(&mut mode);
        }
        Permissions {
            generation,
            mode,
            tools: options.tools.clone().filter(|_| generation >= Generation::V2_0),
            allow: [options.allowed_tools.clone(), rules("allow")].concat(),
            deny: [options.disallowed_tools.clone(), rules("deny"), denied_by_files.collect()].concat(),
        }
    }

    /// Whether the tool is among those of this session, as `init` lists them.
    pub fn offers(&self, tool: &str) -> bool {
        let named = |tools: &Vec<String>| tools.iter().any(|name| name == tool || name == alias(tool));
        self.tools.as_ref().is_none_or(named) && !self.deny.iter().any(|rule| rule == tool)
    }

    pub fn decide(&self, tool: &str, input: &Map<String, Value>) -> Decision {
        if !self.offers(tool) {
            let more = match self.generation {
                Generation::V2_1 if is_known(tool) => {
                    format!(". {tool} is disabled for this session, in subagents as well as here.")
                }
                _ => String::new(),
            };
            return Decision::Missing(format!("No such tool available: {tool}{more}"));
        }
        let matches = |rules: &[String]| rules.iter().any(|rule| self.rule_matches(rule, tool, input));
        let redirection = redirection(tool, input);
        let writes_what_is_denied = redirection
            .as_ref()
            .is_some_and(|(_, file)| self.deny.iter().any(|rule| self.rule_matches(rule, "Edit", file)));
        if self.generation == Generation::V2_0
            && tool != "Bash"
            && input.contains_key("file_path")
            && matches(&self.deny)
        {
            return Decision::DeniedFile;
        }
        if matches(&self.deny) || writes_what_is_denied {
            let with = input.get("command").and_then(Value::as_str).map(|command| format!(" with command {command}"));
            return Decision::Denied(format!("Permission to use {tool}{} has been denied.", with.unwrap_or_default()));
        }
        let is_edit = EDITS.contains(&tool);
        let passes = match self.mode.as_str() {
            "bypassPermissions" => true,
            "acceptEdits" if is_edit => true,
            "plan" if is_edit && self.generation == Generation::V2_1 => false,
            _ => match redirection {
                Some((input, file)) if !self.allow.iter().any(|rule| rule == tool) => {
                    let is_checked = self.generation != Generation::V2_0;
                    !is_checked && is_in_workspace(&file) && (is_harmless(tool, &input) || self.allows(tool, &input))
                }
                _ => is_harmless(tool, input) || matches(&self.allow),
            },
        };
        if passes {
            return Decision::Allowed;
        }
        Decision::Denied(match (self.mode.as_str(), input.get("file_path").and_then(Value::as_str)) {
            ("dontAsk", _) if self.generation == Generation::V2_0 => {
                format!("Permission to use {tool} has been auto-denied in dontAsk mode.")
            }
            ("dontAsk", _) => {
                format!("Permission to use {tool} has been denied because Claude Code is running in don't ask mode.")
            }
            ("plan", Some(path)) if self.generation == Generation::V2_1 => {
                format!("Cannot write to {path} while in plan mode.")
            }
            (_, Some(path)) if is_edit => {
                format!("Claude requested permissions to write to {path}, but you haven't granted it yet.")
            }
            _ => format!("Claude requested permissions to use {tool}, but you haven't granted it yet."),
        })
    }

    fn allows(&self, tool: &str, input: &Map<String, Value>) -> bool {
        self.allow.iter().any(|rule| self.rule_matches(rule, tool, input))
    }

    /// `Bash`, `Bash(git *)`, `Bash(git:*)`, `Bash(git status)`, `Edit(docs/**)`, `mcp__server`.
    fn rule_matches(&self, rule: &str, tool: &str, input: &Map<String, Value>) -> bool {
        let Some((name, pattern)) = rule.split_once('(') else {
            return rule == tool || rule == alias(tool) || tool.strip_prefix(rule).is_some_and(|t| t.starts_with("__"));
        };
        let pattern = pattern.strip_suffix(')').unwrap_or(pattern);
        // Patterns for files are those of `Edit` and `Read`, whatever the tool; with another name they are for nobody.
        let is_for_it = match tool {
            _ if EDITS.contains(&tool) => name == "Edit",
            "Grep" | "Glob" | "LS" => name == "Read",
            _ => name == tool,
        };
        if !is_for_it {
            return false;
        }
        let subject =
            ["command", "file_path", "path", "url", "pattern"].iter().find_map(|field| input.get(*field)?.as_str());
        let Some(subject) = subject else { return false };
        if tool != "Bash" {
            let cwd = std::env::current_dir().unwrap_or_default();
            let relative = Path::new(subject).strip_prefix(&cwd).map_or(subject.into(), |path| path.to_string_lossy());
            let absolute = pattern.strip_prefix('/').filter(|rest| rest.starts_with('/'));
            return wildcard(absolute.unwrap_or(pattern), subject)
                || wildcard(pattern.trim_start_matches("./"), &relative);
        }
        // A chain passes only where every part of it does.
        let parts = subject.split(['\n', ';', '|', '&']).map(str::trim).filter(|part| !part.is_empty());
        let has_wildcards = self.generation == Generation::V2_1;
        let matches_one = |part: &str| {
            let prefix = pattern.strip_suffix(":*").or_else(|| pattern.strip_suffix(" *").filter(|_| has_wildcards));
            match prefix {
                Some(prefix) if !prefix.contains('*') => part == prefix || part.starts_with(&format!("{prefix} ")),
                _ if has_wildcards => wildcard(pattern, part),
                _ => pattern == part,
            }
        };
        let mut parts = parts.peekable();
        parts.peek().is_some() && parts.all(matches_one)
    }
}

/// A command that ends with a redirection: without it, and the file that it writes to.
fn redirection(tool: &str, input: &Map<String, Value>) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let (command, file) = input.get("command").filter(|_| tool == "Bash")?.as_str()?.rsplit_once('>')?;
    let of = |field: &str, text: &str| Map::from_iter([(field.to_owned(), Value::from(text.trim()))]);
    let file = std::env::current_dir().unwrap_or_default().join(file.trim());
    Some((of("command", command), of("file_path", &file.to_string_lossy())))
}

fn alias(tool: &str) -> &str {
    match tool {
        "Task" => "Agent",
        "Agent" => "Task",
        other => other,
    }
}

fn is_harmless(tool: &str, input: &Map<String, Value>) -> bool {
    if HARMLESS.contains(&tool) {
        return is_in_workspace(input);
    }
    let command = input.get("command").and_then(Value::as_str).unwrap_or_default();
    let first = command.split_whitespace().next().unwrap_or_default();
    tool == "Bash" && HARMLESS_COMMANDS.contains(&first) && !command.contains(['>', '|', ';', '&', '$', '`', '\n'])
}

/// Reading elsewhere needs asking.
fn is_in_workspace(input: &Map<String, Value>) -> bool {
    let path = input.get("file_path").or_else(|| input.get("path")).and_then(Value::as_str);
    let cwd = std::env::current_dir().unwrap_or_default();
    path.is_none_or(|path| cwd.join(Path::new(path)).starts_with(&cwd))
}

/// `*` and `**` stand for any text.
fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            let after = after.trim_start_matches('*');
            text.strip_prefix(before).is_some_and(|rest| {
                (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| wildcard(after, &rest[at..]))
            })
        }
    }
}

/// The user's settings, and those of the workspace.
fn settings_files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let users = variable("CLAUDE_CONFIG_DIR").or_else(|| Some(variable("HOME")?.join(".claude")));
    let users = users.into_iter().map(|folder| folder.join("settings.json"));
    users.chain([".claude/settings.json", ".claude/settings.local.json"].map(PathBuf::from)).collect()
}

/// A file that is not JSON is ignored without a word.
fn parsed_settings(file: &Path) -> Option<Value> {
    let is_file = std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file());
    serde_json::from_str(&is_file.then(|| std::fs::read_to_string(file).ok()).flatten()?).ok()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn read_settings(file_or_json: &str) -> Value {
    let text = if file_or_json.trim_start().starts_with('{') {
        file_or_json.to_owned()
    } else {
        std::fs::read_to_string(file_or_json)
            .unwrap_or_else(|_| crate::fail(&format!("Error: Settings file not found: {file_or_json}")))
    };
    serde_json::from_str(&text).unwrap_or_else(|_| crate::fail("Error: Invalid JSON provided to --settings"))
}
