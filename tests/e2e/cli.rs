//! The command line beyond `--config`: one command without a config, variables of the environment, the workspace that is
//! found, and scripts that were written for netra-zen 1.4.2.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use harness::{RunOutput, Sandbox};

/// zen with these arguments in this place's workspace.
fn zen(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.zen(&["--workspace", "workspace"]);
    command.args(arguments);
    command
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> RunOutput {
    sandbox.started(&mut zen(sandbox, arguments)).outcome()
}

#[test]
fn one_command_runs_like_a_config_with_one_instance() {
    let sandbox = Sandbox::new();
    sandbox.command("analyze-code", "[[usage in=900 out=100]] [[say Analyzed $ARGUMENTS.]]");
    let arguments = ["/analyze-code src lib", "--instance-name", "nightly", "--instance-description", "All of it"];
    let outcome = run(&sandbox, &arguments).expect_code(0);
    let instance = outcome.instance("nightly");
    assert_eq!(instance["status"], "completed", "{}", outcome.dump());
    assert_eq!(instance["result"], "Analyzed src lib.", "{}", outcome.dump());
    assert_eq!(outcome.total_tokens("nightly"), 1000);
    assert_eq!((&outcome.report["config"], &outcome.report["config_sha256"]), (&Value::Null, &Value::Null));
    assert!(outcome.stdout.contains("Logs: "), "{}", outcome.dump());
    assert_eq!(outcome.stderr, "");
}

#[test]
fn one_command_exits_with_its_verdict() {
    let sandbox = Sandbox::new();
    sandbox.command("slow", "[[wait 60s]]");
    let outcome = run(&sandbox, &["/no-such-command"]).expect_code(2);
    assert_eq!(outcome.error("/no-such-command"), "Command not found: /no-such-command");
    run(&sandbox, &["/slow", "--timeout", "0.5", "--grace", "0"]).expect_code(4);
    run(&sandbox, &["/slow", "--overall-token-budget", "10"]).expect_code(3);
    run(&sandbox, &["/slow", "--dry-run"]).expect_code(0);
}

#[test]
fn command_without_a_slash_is_a_prompt() {
    let sandbox = Sandbox::new();
    let outcome = run(&sandbox, &["[[say Nothing.]] What is new?"]).expect_code(0);
    assert_eq!(outcome.report["instances"][0]["result"], "Nothing.", "{}", outcome.dump());
    let outcome = run(&sandbox, &["/usr/bin is full [[say It is.]]"]).expect_code(0);
    assert_eq!(outcome.report["instances"][0]["result"], "It is.", "a path is text: {}", outcome.dump());
}

#[test]
fn one_command_continues_compacts_and_clears_its_session() {
    let sandbox = Sandbox::new();
    let recalled = |arguments: &[&str]| {
        let mut all = vec!["--session-id", "night"];
        all.extend(arguments);
        let outcome = run(&sandbox, &all).expect_code(0);
        outcome.report["instances"][0]["result"].as_str().unwrap_or("").to_owned()
    };
    recalled(&["[[say Noted.]] remember the lighthouse"]);
    assert!(recalled(&["[[recall]] again"]).contains("lighthouse"));
    let afresh = recalled(&["[[recall]] afresh", "--clear-history"]);
    assert!(!afresh.contains("lighthouse"), "{afresh}");
    let outcome = run(&sandbox, &["say x", "--session-id=night", "--clear-history", "--compact-history", "--dry-run"]);
    let plan = outcome.expect_code(0).stdout;
    let position = |what: &str| plan.find(what).unwrap_or_else(|| panic!("no {what}\n{plan}"));
    assert!(position("/clear") < position("/compact"), "{plan}");
}

#[test]
fn config_beside_one_command_gives_limits_prices_and_defaults() {
    let sandbox = Sandbox::new();
    sandbox.command("help", "[[usage in=900 out=100]] [[say Done.]]");
    let config = json!({
        "budget": {"overall_budget": 5000, "command_budgets": {"/other": 10}},
        "defaults": {"model": "opus", "max_tokens_per_command": 6000},
        "instances": [{"name": "other", "command": "/other"}]
    });
    let file = sandbox.config(&config.to_string());
    let file = file.to_str().expect("UTF-8");
    let outcome = run(&sandbox, &["/help", "--config", file]).expect_code(1);
    let expected = "must be at most the overall budget, which is 5000 tokens, got 6000";
    assert!(outcome.stderr.contains(expected), "{}", outcome.dump());
    let outcome = run(&sandbox, &["/help", "--config", file, "--overall-token-budget", "7000"]).expect_code(0);
    assert_eq!(outcome.report["instances"].as_array().map(Vec::len), Some(1), "{}", outcome.dump());
    assert_eq!(outcome.report["config"], file);
    assert!(!outcome.stderr.contains("no instance runs"), "{}", outcome.dump());
    let argv = sandbox.claude_events("start").pop().expect("a start")["argv"].to_string();
    assert!(argv.contains(r#""--model","opus""#), "{argv}\n{}", outcome.dump());
}

#[test]
fn config_beside_one_command_needs_no_instances() {
    let sandbox = Sandbox::new();
    let with = |config: &str| {
        let file = sandbox.config(config);
        run(&sandbox, &["[[say Done.]]", "--config", file.to_str().expect("UTF-8")])
    };
    with(r#"{"budget": {"overall_budget": 5000}}"#).expect_code(0);
    with(r#"{"instances": []}"#).expect_code(0);
    for (config, expected) in [
        (r#"{"budget": {"overal_budget": 5000}}"#, "did you mean 'overall_budget'?"),
        (r#"{"instances": [{"name": "a", "comand": "/help"}]}"#, "did you mean 'command'?"),
        ("{", "JSON parsing error"),
    ] {
        let outcome = with(config).expect_code(1);
        assert!(outcome.stderr.contains(expected), "{}", outcome.dump());
    }
    let outcome = run(&sandbox, &["[[say Done.]]", "--config", "gone.json"]).expect_code(1);
    assert!(outcome.stderr.contains("gone.json: cannot be read"), "{}", outcome.dump());
}

#[test]
fn flags_override_environment_variables() {
    let sandbox = Sandbox::new();
    sandbox.prompts(&["[[say Done.]]"]);
    fs::create_dir(sandbox.path("elsewhere")).expect("a directory");
    let run = |arguments: &[&str]| {
        let mut command = sandbox.zen(arguments);
        command.envs([("ZEN_CONFIG", "config.json"), ("ZEN_WORKSPACE", "workspace"), ("ZEN_DEBUG", "1")]);
        sandbox.started(&mut command).outcome().expect_code(0)
    };
    let named = |directory: &str| sandbox.path(directory).canonicalize().expect("it is there").display().to_string();
    let outcome = run(&[]);
    assert_eq!(outcome.status("a"), "completed", "{}", outcome.dump());
    assert_eq!(outcome.report["workspace"], named("workspace"));
    assert!(outcome.stderr.contains("started, pid"), "detailed\n{}", outcome.dump());
    let outcome = run(&["--workspace", "elsewhere", "--quiet", "[[say Something else.]]"]);
    assert_eq!(outcome.report["workspace"], named("elsewhere"));
    assert_eq!(outcome.report["instances"][0]["result"], "Something else.", "{}", outcome.dump());
    assert_eq!(outcome.stderr, "");
}

#[test]
fn the_workspace_is_the_root_of_the_project() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say Done.]]"]);
    for directory in ["home/.claude", "home/.git", "home/data/deep", "home/app/.git", "home/app/src/deep"] {
        fs::create_dir_all(sandbox.path(directory)).expect("a directory");
    }
    for (from, workspace) in [
        ("home/app/src/deep", "home/app"),
        ("home/app", "home/app"),
        ("workspace/.claude/commands", "workspace"),
        ("home/data/deep", "home/data/deep"),
        ("home", "home"),
    ] {
        let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8")]);
        let outcome = sandbox.started(command.current_dir(sandbox.path(from))).outcome().expect_code(0);
        let workspace_path = sandbox.path(workspace).canonicalize().expect("it is there").display().to_string();
        assert_eq!(outcome.report["workspace"], workspace_path, "{from}\n{}", outcome.dump());
        let is_said = outcome.stderr.contains(&format!("zen: the workspace is {workspace_path}, which contains ."));
        assert_eq!(is_said, from != workspace, "{}", outcome.dump());
    }
}

/// Its whole argument table, with values that its scripts may have; those that ask something come last.
const NETRA_ZEN: &[&[&str]] = &[
    &["--workspace", "workspace"],
    &["--workspace=~/../workspace"],
    &["--dry-run"],
    &["--output-format", "json"],
    &["--output-format=stream-json"],
    &["--timeout", "600"],
    &["--max-console-lines", "10"],
    &["--quiet"],
    &["--log-level", "detailed"],
    &["--verbose"],
    &["--startup-delay", "0.5"],
    &["--max-line-length", "800"],
    &["--status-report-interval", "30"],
    &["--overall-token-budget", "50000"],
    &["--command-budget", "/help=5000"],
    &["--command-budget=help=5000", "--command-budget", "/x=5"],
    &["--budget-enforcement-mode", "warn"],
    &["--disable-budget-visuals"],
    &["--overall-cost-budget", "10.50"],
    &["--command-cost-budget", "/help=5.0"],
    &["--budget-parameter-type", "mixed"],
    &["--start-at", "2h"],
    &["--budget-enf", "block", "--max-console", "3"],
];

const NETRA_ZEN_ASKS: &[&[&str]] = &[
    &["--help"],
    &["-h"],
    &["--list-commands"],
    &["--inspect-command", "/analyze-code"],
    &["--list-examples"],
    &["--generate-example", "data_analysis"],
    &["--generate-example=code_review"],
    &["--show-prompt-template"],
];

/// Those of it that say something of a command.
const NETRA_ZEN_WITH_A_COMMAND: &[&[&str]] = &[
    &["--instance-name", "n"],
    &["--instance-description", "d"],
    &["--session-id", "550e8400-e29b-41d4-a716-446655440000"],
    &["--clear-history"],
    &["--compact-history"],
];

#[test]
fn each_flag_of_netra_zen_is_accepted() {
    let accepts = |arguments: &[&str]| {
        let parsed = zen::cli::flags::parse(arguments.iter().map(OsString::from), |_| None);
        assert!(parsed.is_ok(), "{arguments:?}: {parsed:?}");
    };
    for flags in NETRA_ZEN {
        accepts(&[&["--config", "plan.json"], *flags].concat());
    }
    for flags in NETRA_ZEN.iter().chain(NETRA_ZEN_WITH_A_COMMAND) {
        accepts(&[&["/analyze-code"], *flags].concat());
        accepts(&[*flags, &["/analyze-code", "--config=plan.json"]].concat());
    }
    NETRA_ZEN_ASKS.iter().for_each(|flags| accepts(flags));
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say Done.]]"]);
    let mut all = vec!["--start-at=0.1s", "--config", config.to_str().expect("UTF-8")];
    all.extend(NETRA_ZEN.iter().copied().flatten().filter(|flag| !["--dry-run", "--start-at", "2h"].contains(flag)));
    sandbox.started(&mut sandbox.zen(&all)).outcome().expect_code(0);
}

#[test]
fn apex_is_rejected() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.started(&mut sandbox.zen(&["--apex", "--message", "hello"])).outcome().expect_code(1);
    assert!(outcome.stderr.starts_with("zen: --apex is not supported: ") && outcome.stderr.lines().count() == 1);
}
