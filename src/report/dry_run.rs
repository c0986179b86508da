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

/// Returns the text of the plan, with its last newline.
///
/// `command_lines` are the arguments that each instance would be spawned with, program first, in the plan's order;
/// `settings` are names and values that apply to the whole run.
#[must_use]
pub fn plan(
    plan: &Plan,
    workspace: &Path,
    mut command_lines: impl Iterator<Item = Vec<String>>,
    settings: &[(&str, String)],
    style: Style,
) -> String {
    let mut lines = vec![format!("{} configured", counted(plan.instances.len(), "instance", "instances"))];
    for instance in &plan.instances {
        lines.push(String::new());
        lines.push(heading(instance, style));
        lines.extend(details(plan, instance, workspace, style).iter().map(|line| format!("  {line}")));
        lines.extend(command_lines.next().map(|words| format!("  $ {}", command_line(&words, style))));
    }
    lines.push(String::new());
    lines.extend(budget_lines(&plan.budget, style));
    if !settings.is_empty() {
        lines.push(String::new());
        lines.extend(
            settings.iter().map(|(name, value)| format!("{name}: {}", style.sanitize(value, MAX_PATH_COLUMNS))),
        );
    }
    lines.join("\n") + "\n"
}

fn heading(instance: &Instance, style: Style) -> String {
    let name = style.name(&instance.name);
    match &instance.description {
        Some(description) => {
            style.sanitize(&format!("{name}: {}", style.sanitize(description, MAX_LINE_COLUMNS)), MAX_LINE_COLUMNS)
        }
        None => name,
    }
}

/// Returns the plan of an instance, one line for each detail.
fn details(plan: &Plan, instance: &Instance, workspace: &Path, style: Style) -> Vec<String> {
    let shown = |what: &str, text: &str| format!("{what} {}", style.sanitize(text, MAX_LINE_COLUMNS));
    let list = |what: &str, words: &[String]| shown(what, &words.join(", "));
    let (set, unset): (Vec<_>, Vec<_>) = instance.invocation.env.iter().partition(|(_, value)| value.is_some());
    let names = |variables: Vec<(&String, &Option<String>)>| -> Vec<String> {
        variables.into_iter().map(|(name, _)| name.clone()).collect()
    };
    let (set, unset) = (names(set), names(unset));

    let mut lines: Vec<String> = instance.turns.iter().map(|turn| turn_line(turn, style)).collect();
    lines.push(match &instance.invocation.session {
        Some(session) => format!("{} ({})", shown("session", &session.name), session.uuid),
        None => "session of its own".into(),
    });
    lines.push(match instance.invocation.allowed_tools.as_deref() {
        None => "tools all".into(),
        Some([]) => "tools none".into(),
        Some(tools) => list("tools only", tools),
    });
    if !instance.invocation.disallowed_tools.is_empty() {
        lines.push(list("tools refused", &instance.invocation.disallowed_tools));
    }
    let all_the_same = if permissions::is_mode_overridden(&instance.invocation) {
        "; tools that are not listed are refused all the same"
    } else {
        ""
    };
    lines.push(shown("permission mode", &instance.invocation.permission_mode) + all_the_same);
    lines.extend(instance.invocation.model.iter().map(|model| shown("model", model)));
    lines.push(format!("timeout {}", exact_seconds(instance.timeout)));
    lines.extend(instance.idle_timeout.map(|idle| format!("idle timeout {}", exact_seconds(idle))));
    if instance.retries.max_retries > 0 {
        let RetryPolicy { max_retries: count, initial_delay: first_delay } = instance.retries;
        lines.push(format!("retries {count}, the first after {}", exact_seconds(first_delay)));
    }
    lines.extend(instance.max_tokens.map(|tokens| format!("max tokens {}", text::thousands(tokens))));
    if !instance.depends_on.is_empty() {
        lines.push(list("depends on", &dependencies(plan, instance)));
    }
    if instance.invocation.cwd != workspace {
        lines.push(format!("cwd {}", style.sanitize(&instance.invocation.cwd.to_string_lossy(), MAX_PATH_COLUMNS)));
    }
    for (what, names) in [("env", &set), ("env without", &unset)] {
        if !names.is_empty() {
            lines.push(list(what, names));
        }
    }
    lines
}

/// Returns a turn with its kind: `/usr/bin/env` is text.
fn turn_line(turn: &Turn, style: Style) -> String {
    let kind = if turn.command.is_some() { "command" } else { "text" };
    format!("{kind} {}", style.sanitize(&turn.text, MAX_LINE_COLUMNS))
}

fn dependencies(plan: &Plan, instance: &Instance) -> Vec<String> {
    let named = instance.depends_on.iter().map(|&(other, when)| {
        let name = &plan.instances[other].name;
        match when {
            DependencyCondition::Completed => name.clone(),
            DependencyCondition::Ended => format!("{name} (even if it fails)"),
        }
    });
    named.collect()
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
    let basis = budget.token_basis.map(|basis| format!("; basis {}", budget::basis_word(basis))).unwrap_or_default();
    let mut lines = vec![format!("Budget: {overall}; mode {mode}; type {kind}{basis}")];
    for (command, tokens, micros) in command_limits(budget) {
        lines.push(format!("  {}: {}", style.sanitize(command, MAX_LINE_COLUMNS), limits(tokens, micros)));
    }
    lines
}

/// Returns the commands that have a limit, each once, in order.
fn command_limits(budget: &BudgetConfig) -> Vec<(&str, Option<u64>, Option<u64>)> {
    let limits =
        |command: &str| (budget.command_tokens.get(command).copied(), budget.command_micros.get(command).copied());
    let commands = budget.limited_commands().into_iter();
    commands
        .map(|command| {
            let (tokens, micros) = limits(command);
            (command, tokens, micros)
        })
        .collect()
}

/// Returns the limits that are set: `50,000 tokens, $5.00`.
fn limits(tokens: Option<u64>, micros: Option<u64>) -> String {
    let tokens = tokens.map(|tokens| format!("{} tokens", text::thousands(tokens)));
    tokens.into_iter().chain(micros.map(text::dollars)).collect::<Vec<_>>().join(", ")
}

/// Returns the arguments quoted for a shell.
fn command_line(words: &[String], style: Style) -> String {
    words.iter().map(|word| quoted(word, style)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str, style: Style) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%_+=:,./-".contains(c);
    let is_harmless = text::sanitize_line(word) == word && (style.unicode || word.is_ascii());
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else if is_harmless {
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
    use super::super::samples::{ASCII, UNICODE, hostile, planned, style, without_colours};
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

    fn told(plan: &Plan, command_lines: &[Vec<String>], style: Style) -> String {
        super::plan(plan, Path::new("/w"), command_lines.iter().cloned(), &[("startup delay", "5s".into())], style)
    }

    #[test]
    fn test_1_1_the_seed_s_config_is_shown_whole() {
        let plan = planned(CONFIG_OF_THE_SEED);
        let uuids: Vec<&str> =
            plan.instances.iter().filter_map(|i| Some(i.invocation.session.as_ref()?.uuid.as_str())).collect();
        let command_lines = [["claude", "--print"].map(String::from).to_vec()];
        let expected = format!(
            "\
3 instances configured

analyzer-1: Analyzes codebase structure
  command /compact
  command /clear
  text Set context: Code analysis mode
  command /analyze-code
  session analysis-session-1 ({})
  tools only Read, Grep, Glob, Task
  permission mode bypassPermissions; tools that are not listed are refused all the same
  timeout 10000s
  max tokens 5,000
  $ claude --print

analyzer-2: Security vulnerability assessment
  text What are the security vulnerabilities in this codebase?
  session security-session-1 ({})
  tools all
  permission mode bypassPermissions
  timeout 10000s
  max tokens 8,000

reporter
  command /generate comprehensive report; Include findings from both analyzers
  session reporting-session ({})
  tools all
  permission mode bypassPermissions
  timeout 10000s
  max tokens 12,000

Budget: overall 50,000 tokens; mode block; type mixed
  /analyze-code: 5,000 tokens, $0.50
  /generate: 12,000 tokens

startup delay: 5s
",
            uuids[0], uuids[1], uuids[2]
        );
        assert_eq!(told(&plan, &command_lines, UNICODE), expected);
        assert_eq!(told(&plan, &command_lines, ASCII), expected);
    }

    #[test]
    fn everything_that_is_set_is_shown_but_no_secret() {
        let plan = planned(
            r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x", "model": "opus",
                "depends_on": ["a"], "cwd": "sub", "env": {"API_KEY": "s3cret", "HOME": null}, "idle_timeout": 1.5, "retries": 2,
                "allowed_tools": [], "disallowed_tools": ["Write", "Bash(rm *)"]},
                {"name": "c", "command": "x", "depends_on": [{"name": "a", "when": "done"}, "b"]}]}"#,
        );
        let told = told(&plan, &[], UNICODE);
        assert!(
            told.contains(
                "
b
  text x
  session of its own
  tools none
  tools refused Write, Bash(rm *)
  permission mode bypassPermissions; tools that are not listed are refused all the same
  model opus
  timeout 10000s
  idle timeout 1.5s
  retries 2, the first after 5s
  depends on a
  cwd /w/sub
  env API_KEY
  env without HOME
"
            ),
            "{told}"
        );
        assert!(told.contains("\n  depends on a (even if it fails), b\n"));
        assert!(told.contains("\nBudget: no budget\n"));
        assert!(!told.contains("s3cret"));
    }

    #[test]
    fn budgets_of_every_kind_are_shown() {
        let lines = |budget: &str| {
            let config = format!(r#"{{"budget": {budget}, "instances": [{{"command": "/help"}}]}}"#);
            budget_lines(&planned(&config).budget, UNICODE)
        };
        assert_eq!(
            lines(r#"{"overall_cost_budget": 5, "enforcement_mode": "warn"}"#),
            ["Budget: overall $5.00; mode warn; type cost"]
        );
        assert_eq!(
            lines(r#"{"overall_budget": 9, "overall_cost_budget": 0.5, "token_basis": "uncached"}"#),
            ["Budget: overall 9 tokens, $0.50; mode block; type mixed; basis uncached"]
        );
        assert_eq!(
            lines(r#"{"command_budgets": {"/help": 7000}}"#),
            ["Budget: no overall limit; mode block; type tokens", "  /help: 7,000 tokens"]
        );
        assert_eq!(lines("{}"), ["Budget: no budget"]);
    }

    #[test]
    fn words_are_quoted_where_they_must_be() {
        let line = |word: &str, style| command_line(&["claude".into(), word.into()], style);
        assert_eq!(line("--model=opus", UNICODE), "claude --model=opus");
        assert_eq!(line("", UNICODE), "claude ''");
        assert_eq!(line("it's $HOME", UNICODE), r"claude 'it'\''s $HOME'");
        assert_eq!(line("日", UNICODE), "claude '日'");
        assert_eq!(line("日", ASCII), r"claude $'\346\227\245'");
        assert_eq!(line("\u{1b}[2J'\n", UNICODE), r"claude $'\033[2J\'\n'");
    }

    #[test]
    fn bash_reads_each_word_as_it_was() {
        for style in [UNICODE, ASCII] {
            for word in ["a b", "it's", "\u{1b}[31mx\n\ty\\'", "日7\u{9b}0", "double  space", "$(x) `y` \"z\""] {
                let script = format!("printf %s {}", quoted(word, style));
                let Ok(output) = Command::new("bash").args(["-c", &script]).output() else { return };
                assert_eq!(String::from_utf8_lossy(&output.stdout), word, "{script}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_hostile_reaches_the_screen(texts in prop::collection::vec(hostile(), 8), style in style()) {
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
            let told = told(&plan, &[vec![word.clone()]], style);
            let plain = without_colours(&told, Style { colour: false, ..style }).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&plain, &told);
        }
    }
}
