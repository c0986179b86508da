//! Commands that run in the background when the last turn has ended, and wake-ups.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use harness::{RunOutput, Sandbox, wait_until};

/// A use of Bash that goes on in the background until the gate is opened.
fn command(sandbox: &Sandbox, gate: &str) -> String {
    format!("while [ ! -e {} ]; do sleep 0.02; done", sandbox.path(gate).display())
}

fn in_background(command: &str) -> String {
    format!("[[tool Bash {}]]", json!({"command": command, "run_in_background": true}))
}

/// An instance whose turn ends while its command runs; what it says when that has ended is its result.
fn config(sandbox: &Sandbox, fields: &Value) -> std::path::PathBuf {
    let script =
        format!("{} [[say Started.]] [[next]] [[say It has ended.]]", in_background(&command(sandbox, "gate")));
    let mut instance = json!({"name": "build", "prompt": script});
    for (name, value) in fields.as_object().expect("fields") {
        instance[name] = value.clone();
    }
    sandbox.config(&json!({ "instances": [instance] }).to_string())
}

fn assert_stopped(outcome: &RunOutput, status: &str, command: &str) {
    let dump = outcome.dump();
    assert_eq!(outcome.instance("build")["background_stopped"], json!([command]), "{dump}");
    let line = format!("\n- build: {status}, 1 background command was stopped: {command}\n");
    assert!(outcome.stdout.contains(&line), "{line}\n{dump}");
}

#[test]
fn background_command_is_waited_for_and_its_turn_is_the_result() {
    let sandbox = Sandbox::new();
    let run = sandbox.start(&config(&sandbox, &json!({})), &["--status-report-interval", "0.1"]);
    wait_until("the report to say what it waits for", || {
        run.stdout().contains("\n  build: waits for 1 background command: while [")
    });
    assert!(!run.has_ended("build"));
    sandbox.open_gate("gate");
    let outcome = run.outcome().expect_code(0);
    let build = outcome.instance("build");
    assert_eq!(
        (&build["result"], &build["background_stopped"]),
        (&json!("It has ended."), &json!([])),
        "{}",
        outcome.dump()
    );
}

#[test]
fn background_command_that_outlasts_the_wait_is_stopped_and_listed() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&config(&sandbox, &json!({"background_wait": 0.3})), &[]).expect_code(0);
    assert_stopped(&outcome, "completed", &command(&sandbox, "gate"));
    assert_eq!(outcome.instance("build")["result"], "Started.");
    assert_eq!(sandbox.claude_events("stop_task").len(), 1, "claude is asked to stop it");
}

#[test]
fn background_stop_completes_and_fail_fails() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&config(&sandbox, &json!({"background": "stop"})), &[]).expect_code(0);
    assert_stopped(&outcome, "completed", &command(&sandbox, "gate"));
    let outcome = sandbox.run(&config(&sandbox, &json!({"background": "fail"})), &[]).expect_code(2);
    assert_stopped(&outcome, "failed", &command(&sandbox, "gate"));
    let dump = outcome.dump();
    assert_eq!(outcome.reason("build"), "unfinished", "{dump}");
    assert!(outcome.error("build").starts_with("Unfinished: still running in the background: while ["), "{dump}");
}

#[test]
fn timeout_and_signal_while_waiting_fail_and_list_the_command() {
    let sandbox = Sandbox::new();
    let run = sandbox.start(&config(&sandbox, &json!({"timeout": 600})), &["--status-report-interval", "0.1"]);
    wait_until("it to wait", || run.stdout().contains("waits for 1 background command"));
    run.signal(Signal::SIGINT);
    let outcome = run.outcome().expect_code(130);
    assert_eq!(outcome.reason("build"), "interrupted", "{}", outcome.dump());
    assert_stopped(&outcome, "failed", &command(&sandbox, "gate"));
    let outcome = sandbox.run(&config(&sandbox, &json!({"timeout": 3})), &[]).expect_code(4);
    assert_stopped(&outcome, "failed", &command(&sandbox, "gate"));
}

#[test]
fn command_that_claude_moves_to_the_background_and_monitor_are_waited_for() {
    for tool in ["Bash", "Monitor"] {
        let sandbox = Sandbox::new();
        let input = json!({"command": command(&sandbox, "gate"), "description": "Watch"});
        let script = format!("[[tool {tool} {input}]] [[say Started.]] [[next]] [[say It has ended.]]");
        let instance = json!({"name": "build", "prompt": script, "env": {"BASH_DEFAULT_TIMEOUT_MS": "100"}});
        let config = sandbox.config(&json!({ "instances": [instance] }).to_string());
        let run = sandbox.start(&config, &["--status-report-interval", "0.1"]);
        wait_until("it to wait", || run.stdout().contains("waits for 1 background command: while ["));
        sandbox.open_gate("gate");
        let outcome = run.outcome().expect_code(0);
        assert_eq!(outcome.instance("build")["result"], "It has ended.", "{tool}\n{}", outcome.dump());
    }
}

#[test]
fn wakeup_is_waited_for_or_dropped() {
    let sandbox = Sandbox::new();
    let input = json!({"delaySeconds": 60, "prompt": "Look again", "reason": "a build"});
    let script = format!("[[tool ScheduleWakeup {input}]] [[say Scheduled.]] [[next]] [[say Woken.]]");
    // One that is to be dropped comes so late that a busy machine cannot let it come first.
    for (background, wakeup_ms, result) in [("wait", "100", "Woken."), ("stop", "60000", "Scheduled.")] {
        let env = json!({"FAKE_CLAUDE_WAKEUP_MS": wakeup_ms});
        let instance = json!({"name": "build", "prompt": script, "background": background, "env": env});
        let config = sandbox.config(&json!({ "instances": [instance] }).to_string());
        let outcome = sandbox.run(&config, &[]).expect_code(0);
        assert_eq!(outcome.instance("build")["result"], result, "{}", outcome.dump());
        assert!(outcome.took < Duration::from_secs(60));
        if background == "stop" {
            assert_stopped(&outcome, "completed", "wake-up: Look again");
        }
    }
}

#[test]
fn cron_jobs_are_refused() {
    let sandbox = Sandbox::new();
    let script = format!("[[tool CronCreate {}]] [[say Done.]]", json!({"cron": "0 0 * * *", "prompt": "hi"}));
    let outcome = sandbox.run(&sandbox.prompts(&[&script]), &[]).expect_code(0);
    let denials = &outcome.instance("a")["permission_denials"];
    assert_eq!(denials, &json!([{"tool": "CronCreate", "input": "hi"}]), "{}", outcome.dump());
}

#[test]
fn older_generations_stop_background_commands_and_list_them() {
    for generation in ["2.0", "1.0"] {
        let sandbox = Sandbox::new();
        let env = json!({"FAKE_CLAUDE_GENERATION": generation});
        let outcome = sandbox.run(&config(&sandbox, &json!({ "env": env })), &[]).expect_code(0);
        assert_stopped(&outcome, "completed", &command(&sandbox, "gate"));
        let fields = json!({"env": env, "background": "fail"});
        let outcome = sandbox.run(&config(&sandbox, &fields), &[]).expect_code(2);
        assert_eq!(outcome.reason("build"), "unfinished", "{}", outcome.dump());
    }
}

#[test]
fn retry_after_unfinished_continues_the_conversation() {
    for session in [Value::Null, json!("diary")] {
        let sandbox = Sandbox::new();
        let fields = json!({
            "background": "fail", "retries": 1, "retry_delay": 0.01, "pre_commands": ["remember the ferry"],
            "session_id": session,
        });
        let outcome = sandbox.run(&config(&sandbox, &fields), &[]).expect_code(0);
        let dump = outcome.dump();
        let build = outcome.instance("build");
        assert_eq!((&build["attempts"], &build["turns_done"]), (&json!(2), &json!(2)), "{dump}");
        assert_eq!(build["failed_attempts"][0]["reason"], "unfinished", "{dump}");
        let turns = sandbox.claude_events("turn");
        let last = turns.last().expect("a turn");
        assert_eq!((turns.len(), &last["text"]), (3, &json!("Continue from where you left off.")), "{dump}");
        assert_eq!(last["session_id"], turns[0]["session_id"], "{dump}");
    }
}

/// Without the conversation the model would be asked to continue nothing, and would call that done.
#[test]
fn retry_after_unfinished_starts_again_if_the_conversation_is_gone() {
    let sandbox = Sandbox::new();
    let script = format!("{} [[say Started.]]", in_background("sleep 60"));
    let instance = json!({
        "name": "build", "prompt": script, "background": "fail", "retries": 2, "retry_delay": 0.01,
        "claude_args": ["--no-session-persistence"],
    });
    let outcome = sandbox.run(&sandbox.config(&json!({ "instances": [instance] }).to_string()), &[]).expect_code(2);
    let dump = outcome.dump();
    let failed = &outcome.instance("build")["failed_attempts"];
    assert_eq!((&failed[0]["reason"], &failed[1]["reason"]), (&json!("unfinished"), &json!("error")), "{dump}");
    assert!(failed[1]["error"].as_str().is_some_and(|error| error.contains("No conversation found")), "{dump}");
    assert_eq!(outcome.reason("build"), "unfinished", "{dump}");
}
