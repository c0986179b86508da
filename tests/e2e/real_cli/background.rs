//! Work that outlives the last turn, on the real claude.

use serde_json::{Value, json};

use super::{Real, on_each_generation, on_the_newest};
use harness::{MAX_WAIT, RunOutput};

/// Both versions of 2.1: only they report what runs in the background.
fn on_2_1(test: impl Fn(&Real) + Sync) {
    on_each_generation(1, |real| {
        if real.is_2_1() {
            test(real);
        }
    });
}

fn run(real: &Real, tool: &str, input: &Value, fields: &Value) -> RunOutput {
    let script = format!("Go. [[tool {tool} {input}]] [[say Started.]] [[next]] [[say It has ended.]]");
    let mut instance = json!({"name": "build", "prompt": script});
    for (name, value) in fields.as_object().expect("fields") {
        instance[name] = value.clone();
    }
    real.run(&real.sandbox.config(&json!({ "instances": [instance] }).to_string()), &[])
}

fn assert_stopped(real: &Real, outcome: &RunOutput, command: &str) {
    let dump = real.dump(outcome);
    assert_eq!(outcome.instance("build")["background_stopped"], json!([command]), "{dump}");
    let line = format!(", 1 background command was stopped: {command}\n");
    assert!(outcome.stdout.contains(&line), "{dump}");
}

#[test]
fn real_background_command_is_waited_for() {
    on_2_1(|real| {
        let input = json!({"command": "sleep 2; echo hi > done.txt", "run_in_background": true});
        let outcome = run(real, "Bash", &input, &json!({})).expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.instance("build")["result"], "It has ended.", "{dump}");
        assert!(real.sandbox.workspace().join("done.txt").exists(), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_command_that_passes_its_timeout_and_monitor_are_waited_for() {
    on_2_1(|real| {
        let command = "python3 -c 'import time; time.sleep(4)'; echo hi > done.txt";
        let fields = json!({"env": {"BASH_DEFAULT_TIMEOUT_MS": "1000"}});
        for (tool, input) in [
            ("Bash", json!({ "command": command })),
            ("Monitor", json!({"command": command, "description": "Watch", "timeout_ms": 60_000})),
        ] {
            let outcome = run(real, tool, &input, &fields).expect_code(0);
            let dump = real.dump(&outcome);
            assert_eq!(outcome.instance("build")["result"], "It has ended.", "{tool}\n{dump}");
            let done = real.sandbox.workspace().join("done.txt");
            std::fs::remove_file(done).unwrap_or_else(|_| panic!("{tool} did not end\n{dump}"));
        }
    });
}

#[test]
fn real_background_command_is_stopped_and_listed() {
    on_2_1(|real| {
        let input = json!({"command": "sleep 600; echo hi", "run_in_background": true});
        let outcome = run(real, "Bash", &input, &json!({"background_wait": 1})).expect_code(0);
        assert_stopped(real, &outcome, "sleep 600; echo hi");
        let outcome = run(real, "Bash", &input, &json!({"background": "stop"})).expect_code(0);
        assert_stopped(real, &outcome, "sleep 600; echo hi");
        real.assert_tokens(&outcome, "build", 240);
        let outcome = run(real, "Bash", &input, &json!({"background": "fail"})).expect_code(2);
        assert_eq!(outcome.reason("build"), "unfinished", "{}", real.dump(&outcome));
        assert_stopped(real, &outcome, "sleep 600; echo hi");
    });
}

#[test]
fn real_wakeup_is_background_work_and_cron_is_refused() {
    on_2_1(|real| {
        let input = json!({"delaySeconds": 60, "prompt": "Look again", "reason": "a build"});
        let outcome = run(real, "ScheduleWakeup", &input, &json!({"background": "stop"})).expect_code(0);
        assert_stopped(real, &outcome, "wake-up: Look again");
        let input = json!({"cron": "0 0 * * *", "prompt": "hi", "recurring": true});
        let outcome = run(real, "CronCreate", &input, &json!({})).expect_code(0);
        let denials = &outcome.instance("build")["permission_denials"];
        assert_eq!(denials, &json!([{"tool": "CronCreate", "input": "hi"}]), "{}", real.dump(&outcome));
    });
}

/// The shortest delay that claude accepts is a minute, and it wakes up at a whole minute: this takes up to two.
#[test]
fn real_wakeup_is_waited_for() {
    on_the_newest(1, |real| {
        let input = json!({"delaySeconds": 60, "prompt": "Look again.", "reason": "a build"});
        let prompt = format!("Go. [[tool ScheduleWakeup {input}]] [[say Later.]] [[next]] [[say Looked.]]");
        let outcome = real.start(&real.sandbox.prompts(&[&prompt]), &[]).outcome_within(3 * MAX_WAIT).expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.instance("a")["result"], "Looked.", "{dump}");
        assert!(real.conversation().iter().any(|served| served.last_user_text.contains("Look again.")), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_older_generations_stop_background_commands_and_list_them() {
    on_each_generation(1, |real| {
        if real.is_2_1() {
            return;
        }
        let input = json!({"command": "sleep 600; echo hi", "run_in_background": true});
        let outcome = run(real, "Bash", &input, &json!({})).expect_code(0);
        assert_stopped(real, &outcome, "sleep 600; echo hi");
        let outcome = run(real, "Bash", &input, &json!({"background": "fail"})).expect_code(2);
        assert_eq!(outcome.reason("build"), "unfinished", "{}", real.dump(&outcome));
    });
}

#[test]
fn real_retry_after_unfinished_continues_the_conversation() {
    on_2_1(|real| {
        let input = json!({"command": "sleep 600; echo hi", "run_in_background": true});
        let fields = json!({"background": "fail", "retries": 1, "retry_delay": 0.1});
        let outcome = run(real, "Bash", &input, &fields).expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.instance("build")["result"], "It has ended.", "{dump}");
        let last = real.conversation().pop().expect("a request").conversation_texts.join("\n");
        assert!(last.contains("Started.") && last.contains("Continue from where you left off."), "{last}");
        real.assert_books_balance(&outcome);
    });
}
