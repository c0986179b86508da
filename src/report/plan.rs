//! The plan as `--dry-run` prints it: what each instance would be told, how it would be started, and the limits. Names
//! the variables of an environment and never their values, which may be secrets.

use std::path::Path;
use std::time::Duration;

use super::{Style, budget, counted};
use crate::config::{BudgetConfig, When};
use crate::plan::{Instance, Plan, Turn};
use crate::text;

const MAX_LINE_COLUMNS: usize = 160;
const MAX_PATH_COLUMNS: usize = 4096;

/// The text, with its last newline.
///
/// `command_lines` are the arguments that each instance would be started with, program first, in the plan's order;
/// `settings` are names and values of what holds for the whole run.
#[must_use]
pub fn plan(
    plan: &Plan,
    workspace: &Path,
    command_lines: &[Vec<String>],
    settings: &[(&str, String)],
    style: Style,
) -> String {
    let mut lines = vec![format!("{} configured", counted(plan.instances.len(), "instance", "instances"))];
    for (i, instance) in plan.instances.iter().enumerate() {
        lines.push(String::new());
        lines.push(heading(instance, style));
        lines.extend(details(plan, instance, workspace, style).iter().map(|line| format!("  {line}")));
        lines.extend(command_lines.get(i).map(|words| format!("  $ {}", command_line(words, style))));
    }
    lines.push(String::new());
    lines.extend(budget_lines(&plan.budget, style));
    if !settings.is_empty() {
        lines.push(String::new());
        lines.extend(settings.iter().map(|(name, value)| format!("{name}: {}", style.shown(value, MAX_PATH_COLUMNS))));
    }
    lines.join("\n") + "\n"
}

fn heading(instance: &Instance, style: Style) -> String {
    let name = style.name(&instance.name);
    match &instance.description {
        Some(description) => {
            style.shown(&format!("{name}: {}", style.shown(description, MAX_LINE_COLUMNS)), MAX_LINE_COLUMNS)
        }
        None => name,
    }
}

/// What is planned for an instance, a line each.
fn details(plan: &Plan, instance: &Instance, workspace: &Path, style: Style) -> Vec<String> {
    let shown = |what: &str, text: &str| format!("{what} {}", style.shown(text, MAX_LINE_COLUMNS));
    let list = |what: &str, words: &[String]| shown(what, &words.join(", "));
    let (set, unset): (Vec<_>, Vec<_>) = instance.env.iter().partition(|(_, value)| value.is_some());
    let names = |variables: Vec<(&String, &Option<String>)>| -> Vec<String> {
        variables.into_iter().map(|(name, _)| name.clone()).collect()
    };
    let (set, unset) = (names(set), names(unset));

    let mut lines: Vec<String> = instance.turns.iter().map(|turn| turn_line(turn, style)).collect();
    lines.push(match &instance.session {
        Some(session) => format!("{} ({})", shown("session", &session.name), session.uuid),
        None => "session of its own".into(),
    });
    lines.push(match instance.allowed_tools.as_deref() {
        None => "tools all".into(),
        Some([]) => "tools none".into(),
        Some(tools) => list("tools only", tools),
    });
    if !instance.disallowed_tools.is_empty() {
        lines.push(list("tools refused", &instance.disallowed_tools));
    }
    lines.push(shown("permission mode", &instance.permission_mode));
    lines.extend(instance.model.iter().map(|model| shown("model", model)));
    lines.push(format!("timeout {}", exact_seconds(instance.timeout)));
    lines.extend(instance.idle_timeout.map(|idle| format!("idle timeout {}", exact_seconds(idle))));
    lines.extend(instance.max_tokens.map(|tokens| format!("max tokens {}", text::thousands(tokens))));
    if !instance.after.is_empty() {
        lines.push(list("depends on", &dependencies(plan, instance)));
    }
    if instance.cwd != workspace {
        lines.push(format!("cwd {}", style.shown(&instance.cwd.to_string_lossy(), MAX_PATH_COLUMNS)));
    }
    for (what, names) in [("env", &set), ("env without", &unset)] {
        if !names.is_empty() {
            lines.push(list(what, names));
        }
    }
    lines
}

/// A message, and whether it will be taken for a command: `/tmp is full` is none.
fn turn_line(turn: &Turn, style: Style) -> String {
    let kind = if turn.command.is_some() { "command" } else { "text" };
    format!("{kind} {}", style.shown(&turn.text, MAX_LINE_COLUMNS))
}

fn dependencies(plan: &Plan, instance: &Instance) -> Vec<String> {
    let named = instance.after.iter().map(|&(other, when)| {
        let name = &plan.instances[other].name;
        match when {
            When::Completed => name.clone(),
            When::Done => format!("{name} (done, however)"),
        }
    });
    named.collect()
}

/// As the user wrote it, to the fraction.
fn exact_seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

fn budget_lines(budget: &BudgetConfig, style: Style) -> Vec<String> {
    if !budget::has_limits(budget) {
        return vec!["Budget: no budget".into()];
    }
    let overall = match limits(budget.overall_tokens, budget.overall_micros) {
        none if none.is_empty() => "no overall limit".into(),
        limits => format!("overall {limits}"),
    };
    let mode = budget::enforcement_word(budget.enforcement.unwrap_or_default());
    let kind = budget::type_word(budget::effective_type(budget));
    let basis = budget.token_basis.map(|basis| format!("; basis {}", budget::basis_word(basis))).unwrap_or_default();
    let mut lines = vec![format!("Budget: {overall}; mode {mode}; type {kind}{basis}")];
    for (command, tokens, micros) in command_limits(budget) {
        lines.push(format!("  {}: {}", style.shown(command, MAX_LINE_COLUMNS), limits(tokens, micros)));
    }
    lines
}

/// The commands that have a limit, each once, in order.
fn command_limits(budget: &BudgetConfig) -> Vec<(&str, Option<u64>, Option<u64>)> {
    let mut commands: Vec<&String> = budget.command_tokens.keys().chain(budget.command_micros.keys()).collect();
    commands.sort();
    commands.dedup();
    let limits =
        |command: &String| (budget.command_tokens.get(command).copied(), budget.command_micros.get(command).copied());
    commands
        .into_iter()
        .map(|command| {
            let (tokens, micros) = limits(command);
            (command.as_str(), tokens, micros)
        })
        .collect()
}

/// `50,000 tokens, $5.00`, or as much of it as is limited.
fn limits(tokens: Option<u64>, micros: Option<u64>) -> String {
    let tokens = tokens.map(|tokens| format!("{} tokens", text::thousands(tokens)));
    tokens.into_iter().chain(micros.map(text::dollars)).collect::<Vec<_>>().join(", ")
}

/// The words as a shell would take them.
fn command_line(words: &[String], style: Style) -> String {
    words.iter().map(|word| quoted(word, style)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str, style: Style) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%_+=:,./-".contains(c);
    let is_harmless = text::clean(word) == word && (style.unicode || word.is_ascii());
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else if is_harmless {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        format!("$'{}'", escaped(word))
    }
}

/// Nothing but printable ASCII is left, and still the shell sees each byte.
fn escaped(word: &str) -> String {
    let mut escaped = String::new();
    for byte in word.bytes() {
        match byte {
            b'\\' | b'\'' => escaped.extend(['\\', char::from(byte)]),
            b' '..=b'~' => escaped.push(char::from(byte)),
            b'\n' => escaped.push_str("\\n"),
            b'\t' => escaped.push_str("\\t"),
            _ => escaped += &format!("\\{byte:03o}"),
        }
    }
    escaped
}
