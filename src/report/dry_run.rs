//! The plan as `--dry-run` prints it: the turns of each instance, its command line, and the limits. Environment
//! variables are listed by name, never by value, because values may be secrets.

use std::path::Path;
use std::time::Duration;

use super::{Style, budget, counted};
use crate::base::text;
use crate::claude::permissions;
use crate::config::{BudgetConfig, DependencyCondition};
use crate::plan::RetryPolicy;
use crate::plan::{Instance, Plan, Turn};

const MAX_LINE_COLUMNS: usize = 160;
const MAX_PATH_COLUMNS: usize = 4096;

/// Run that a dry run describes.
#[derive(Clone, Copy, Debug)]
pub struct PlannedRun<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Path of the workspace.
    pub workspace: &'a Path,
    /// Arguments that each instance would be spawned with, program first, in the plan's order.
    pub command_lines: &'a [Vec<String>],
    /// Names and values that apply to the whole run.
    pub settings: &'a [(&'a str, String)],
}

/// Returns the text of the plan, with its last newline.
#[must_use]
pub fn plan(run: &PlannedRun, style: Style) -> String {
    let instances = &run.plan.instances;
    let mut lines = vec![format!("{} configured", counted(instances.len(), "instance", "instances"))];
    for (index, instance) in instances.iter().enumerate() {
        lines.push(String::new());
        lines.push(heading(instance, style));
        for line in details(run, instance, style) {
            lines.push(format!("  {line}"));
        }
        if let Some(words) = run.command_lines.get(index) {
            lines.push(format!("  $ {}", command_line(words, style)));
        }
    }
    lines.push(String::new());
    lines.extend(budget_lines(&run.plan.budget, style));
    if !run.settings.is_empty() {
        lines.push(String::new());
    }
    for (name, value) in run.settings {
        lines.push(format!("{name}: {}", style.sanitize(value, MAX_PATH_COLUMNS)));
    }
    lines.join("\n") + "\n"
}

fn heading(instance: &Instance, style: Style) -> String {
    let name = style.name(&instance.name);
    let Some(description) = &instance.description else { return name };
    style.sanitize(&format!("{name}: {}", style.sanitize(description, MAX_LINE_COLUMNS)), MAX_LINE_COLUMNS)
}

/// Returns the plan of an instance, one line for each detail.
fn details(run: &PlannedRun, instance: &Instance, style: Style) -> Vec<String> {
    let invocation = &instance.invocation;
    let mut details = Details { lines: Vec::new(), style };
    for turn in &instance.turns {
        details.lines.push(turn_line(turn, style));
    }
    match &invocation.session {
        Some(session) => {
            let name = style.sanitize(&session.name, MAX_LINE_COLUMNS);
            details.lines.push(format!("session {name} ({})", session.uuid));
        }
        None => details.add("session", "new"),
    }
    match invocation.allowed_tools.as_deref() {
        None => details.add("tools", "all"),
        Some([]) => details.add("tools", "none"),
        Some(tools) => details.add("tools", &format!("only {}", tools.join(", "))),
    }
    details.add_list("denied tools", &invocation.disallowed_tools);
    let overridden = if permissions::is_mode_overridden(invocation) { "; other tools are denied" } else { "" };
    details.add("permission mode", &format!("{}{overridden}", invocation.permission_mode));
    if let Some(model) = &invocation.model {
        details.add("model", model);
    }
    details.add("timeout", &exact_seconds(instance.timeout));
    if let Some(idle_timeout) = instance.idle_timeout {
        details.add("idle timeout", &exact_seconds(idle_timeout));
    }
    let RetryPolicy { max_retries, initial_delay } = instance.retries;
    if max_retries > 0 {
        details.add("retries", &format!("{max_retries}, the first after {}", exact_seconds(initial_delay)));
    }
    if let Some(max_tokens) = instance.max_tokens {
        details.add("max tokens", &text::thousands(max_tokens));
    }
    details.add_list("depends on", &dependencies(run.plan, instance));
    if invocation.cwd != run.workspace {
        details.lines.push(format!("cwd {}", style.sanitize(&invocation.cwd.to_string_lossy(), MAX_PATH_COLUMNS)));
    }
    let (set, unset): (Vec<_>, Vec<_>) = invocation.env.iter().partition(|(_, value)| value.is_some());
    details.add_list("env", &names(&set));
    details.add_list("unset env", &names(&unset));
    details.lines
}

/// Lines about one instance.
struct Details {
    lines: Vec<String>,
    style: Style,
}

impl Details {
    fn add(&mut self, name: &str, value: &str) {
        self.lines.push(format!("{name} {}", self.style.sanitize(value, MAX_LINE_COLUMNS)));
    }

    /// Adds a list, unless it is empty.
    fn add_list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.add(name, &values.join(", "));
        }
    }
}

/// Returns the names of these environment variables.
fn names(variables: &[(&String, &Option<String>)]) -> Vec<String> {
    variables.iter().map(|(name, _)| name.to_string()).collect()
}

/// Returns a turn with its kind: `/usr/bin/env` is text.
fn turn_line(turn: &Turn, style: Style) -> String {
    let kind = if turn.command.is_some() { "command" } else { "text" };
    format!("{kind} {}", style.sanitize(&turn.text, MAX_LINE_COLUMNS))
}

fn dependencies(plan: &Plan, instance: &Instance) -> Vec<String> {
    let mut dependencies = Vec::new();
    for &(other, condition) in &instance.depends_on {
        let name = &plan.instances[other].name;
        dependencies.push(match condition {
            DependencyCondition::Completed => name.clone(),
            DependencyCondition::Ended => format!("{name} (even if it fails)"),
        });
    }
    dependencies
}

/// Returns the seconds as the user wrote them, with the fraction.
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
    let mode = budget.enforcement.unwrap_or_default().word();
    let kind = budget::effective_type(budget).word();
    let basis = match budget.token_basis {
        Some(basis) => format!("; basis {}", budget::basis_word(basis)),
        None => String::new(),
    };
    let mut lines = vec![format!("Budget: {overall}; mode {mode}; type {kind}{basis}")];
    for command in budget.limited_commands() {
        let tokens = budget.command_tokens.get(command).copied();
        let micros = budget.command_micros.get(command).copied();
        lines.push(format!("  {}: {}", style.sanitize(command, MAX_LINE_COLUMNS), limits(tokens, micros)));
    }
    lines
}

/// Returns the limits that are set: `50,000 tokens, $5.00`.
fn limits(tokens: Option<u64>, micros: Option<u64>) -> String {
    match (tokens, micros) {
        (Some(tokens), Some(micros)) => format!("{} tokens, {}", text::thousands(tokens), text::dollars(micros)),
        (Some(tokens), None) => format!("{} tokens", text::thousands(tokens)),
        (None, Some(micros)) => text::dollars(micros),
        (None, None) => String::new(),
    }
}

/// Returns the arguments quoted for a shell.
fn command_line(words: &[String], style: Style) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word, style)).collect();
    quoted.join(" ")
}

fn quoted(word: &str, style: Style) -> String {
    let needs_quotes = |c: char| !c.is_ascii_alphanumeric() && !"@%_+=:,./-".contains(c);
    let is_printable = text::sanitize_line(word) == word && (style.unicode || word.is_ascii());
    if !word.is_empty() && !word.contains(needs_quotes) {
        word.to_owned()
    } else if is_printable {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        format!("$'{}'", escaped(word))
    }
}

/// Escapes all but printable ASCII for `$'…'`, so that the shell restores every byte.
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

#[cfg(test)]
mod tests {
    use super::super::samples::{ASCII, Cases, UNICODE, hostile, planned, style, without_colours};
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    const CONFIG_OF_THE_SEED: &str = r#"{
        "instances": [
            {"name": "analyzer-1", "command": "/analyze-code", "description": "Analyzes codebase structure",
             "permission_mode": "bypassPermissions", "output_format": "stream-json", "max_tokens_per_command": 5000,
             "session_id": "analysis-session-1", "clear_history": false, "compact_history": true,
             "allowed_tools": ["Read", "Grep", "Glob", "Task"],
             "pre_commands": ["/clear", "Set context: Code analysis mode"]},
            {"name": "analyzer-2", "prompt": "What are the security vulnerabilities in this codebase?",
             "description": "Security vulnerability assessment", "permission_mode": "bypassPermissions",
             "output_format": "stream-json", "max_tokens_per_command": 8000, "session_id": "security-session-1"},
            {"name": "reporter", "command": "/generate comprehensive report; Include findings from both analyzers",
             "max_tokens_per_command": 12000, "session_id": "reporting-session"}],
        "budget": {"overall_budget": 50000, "command_budgets": {"/analyze-code": 5000, "/generate": 12000},
            "command_cost_budgets": {"/analyze-code": 0.50}, "budget_type": "mixed", "enforcement_mode": "block",
            "disable_visuals": false}}"#;

    fn text(plan: &Plan, command_lines: &[Vec<String>], style: Style) -> String {
        let settings = &[("startup delay", "5s".into())];
        super::plan(&PlannedRun { plan, workspace: Path::new("/w"), command_lines, settings }, style)
    }

    #[test]
    fn plans_equal_the_golden_file() {
        let mut cases = Cases::default();
        let command_lines = [["claude", "--print"].map(String::from).to_vec()];
        let plan = planned(CONFIG_OF_THE_SEED);
        assert_eq!(text(&plan, &command_lines, ASCII), text(&plan, &command_lines, UNICODE));
        cases.add("test 1.1 of the seed", &text(&plan, &command_lines, UNICODE));
        let plan = planned(
            r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x", "model": "opus",
                "depends_on": ["a"], "cwd": "sub", "env": {"API_KEY": "s3cret", "HOME": null}, "idle_timeout": 1.5, "retries": 2,
                "allowed_tools": [], "disallowed_tools": ["Write", "Bash(rm *)"]},
                {"name": "c", "command": "x", "depends_on": [{"name": "a", "when": "done"}, "b"]}]}"#,
        );
        let all_fields = text(&plan, &[], UNICODE);
        assert!(!all_fields.contains("s3cret"));
        cases.add("all fields", &all_fields);
        for budget in [
            r#"{"overall_cost_budget": 5, "enforcement_mode": "warn"}"#,
            r#"{"overall_budget": 9, "overall_cost_budget": 0.5, "token_basis": "uncached"}"#,
            r#"{"command_budgets": {"/help": 7000}}"#,
            "{}",
        ] {
            let config = format!(r#"{{"budget": {budget}, "instances": [{{"command": "/help"}}]}}"#);
            let lines = budget_lines(&planned(&config).budget, UNICODE);
            cases.add(&format!("budget {budget}"), &(lines.join("\n") + "\n"));
        }
        cases.assert("dry_run.txt");
    }

    #[test]
    fn words_are_quoted_if_necessary() {
        let line = |word: &str, style| command_line(&["claude".into(), word.into()], style);
        assert_eq!(line("--model=opus", UNICODE), "claude --model=opus");
        assert_eq!(line("", UNICODE), "claude ''");
        assert_eq!(line("it's $HOME", UNICODE), r"claude 'it'\''s $HOME'");
        assert_eq!(line("日", UNICODE), "claude '日'");
        assert_eq!(line("日", ASCII), r"claude $'\346\227\245'");
        assert_eq!(line("\u{1b}[2J'\n", UNICODE), r"claude $'\033[2J\'\n'");
    }

    #[test]
    fn bash_parses_each_quoted_word_to_the_original() {
        for style in [UNICODE, ASCII] {
            for word in ["a b", "it's", "\u{1b}[31mx\n\ty\\'", "日7\u{9b}0", "double  space", "$(x) `y` \"z\""] {
                let script = format!("printf %s {}", quoted(word, style));
                let Ok(output) = Command::new("bash").args(["-c", &script]).output() else { return };
                assert_eq!(String::from_utf8_lossy(&output.stdout), word, "{script}");
            }
        }
    }

    proptest! {
        #![proptest_config(crate::base::cases::few())]

        #[test]
        fn plan_is_printable_for_any_text(texts in prop::collection::vec(hostile(), 8), style in style()) {
            let mut plan = planned(CONFIG_OF_THE_SEED);
            let [name, description, turn, tool, model, variable, command, word] = &texts[..] else { return Ok(()) };
            let instance = &mut plan.instances[0];
            instance.name.clone_from(name);
            instance.description = Some(description.repeat(30));
            instance.turns[0].text = turn.repeat(50);
            instance.invocation.allowed_tools = Some(vec![tool.clone()]);
            instance.invocation.model = Some(model.clone());
            instance.invocation.env.insert(variable.clone(), None);
            instance.depends_on = vec![(0, DependencyCondition::Ended)];
            plan.budget.command_tokens.insert(command.clone(), 1);
            let text = text(&plan, &[vec![word.clone()]], style);
            let plain = without_colours(&text, Style { colour: false, ..style })?;
            prop_assert_eq!(&plain, &text);
        }
    }
}
