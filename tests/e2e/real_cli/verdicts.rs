//! Verdicts on the real claude: turns that never reached the model, stops, known causes, refused accounts.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Real, on_each_generation, on_the_newest};
use harness::{RunOutput, wait_until};

fn run(real: &Real, instances: Value) -> RunOutput {
    real.run(&real.sandbox.config(&json!({ "instances": instances }).to_string()), &["--max-parallel", "2"])
}

fn assert_failed(real: &Real, outcome: &RunOutput, name: &str, error: &str) {
    let dump = real.dump(outcome);
    assert_eq!((outcome.status(name), outcome.reason(name)), ("failed", "error"), "{name}\n{dump}");
    let error = if real.is_2_1() { error } else { "claude ended the turn without a request to the model" };
    assert!(outcome.error(name).starts_with(error), "{name}: {}\n{dump}", outcome.error(name));
}

/// All generations call these a success of 0 tokens.
#[test]
fn real_command_whose_shell_line_fails_or_is_refused() {
    on_each_generation(2, |real| {
        real.sandbox.command("bad", "---\nallowed-tools: Bash\n---\nRun !`exit 3` now.\n");
        real.sandbox.command("date", "Today is !`date`.\n");
        let instances = json!([
            {"name": "bad", "command": "/bad"},
            {"name": "date", "command": "/date", "disallowed_tools": ["Bash"]},
            {"name": "help", "command": "/help"},
            {"name": "compact", "command": "/compact"},
            {"name": "after", "prompt": "x", "depends_on": ["bad"]},
        ]);
        let outcome = run(real, instances).expect_code(2);
        assert_failed(real, &outcome, "bad", "Shell command failed for pattern \"!`exit 3`\":");
        assert_failed(real, &outcome, "date", "Shell command permission check failed for pattern");
        for (name, status) in [("help", "completed"), ("compact", "completed"), ("after", "skipped")] {
            assert_eq!(outcome.status(name), status, "{name}\n{}", real.dump(&outcome));
        }
        if real.is_2_1() {
            let denials = &outcome.instance("date")["permission_denials"];
            assert_eq!(denials, &json!([{"tool": "Bash", "input": "date"}]), "{}", real.dump(&outcome));
        }
        assert!(real.conversation().is_empty(), "{}", real.dump(&outcome));
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_prompt_that_a_hook_blocks() {
    on_each_generation(1, |real| {
        let hook = json!({"type": "command", "command": "echo not tonight >&2; exit 2"});
        let settings = json!({"hooks": {"UserPromptSubmit": [{"hooks": [hook]}]}});
        fs::write(real.sandbox.workspace().join(".claude/settings.json"), settings.to_string()).expect("settings");
        let outcome = run(real, json!([{"name": "a", "prompt": "x"}])).expect_code(2);
        assert_failed(real, &outcome, "a", "UserPromptSubmit operation blocked by hook:");
        assert!(!outcome.error("a").contains("Original prompt"), "{}", outcome.error("a"));
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_ctrl_c_while_a_shell_line_of_a_command_runs() {
    on_each_generation(1, |real| {
        real.sandbox.command(
            "slow",
            "---\nallowed-tools: Bash\n---\nRun !`touch begun; python3 -c \"import time; time.sleep(300)\"`.\n",
        );
        let instances = json!([{"name": "a", "command": "/slow"}, {"name": "b", "prompt": "x", "depends_on": ["a"]}]);
        let config = real.sandbox.config(&json!({ "instances": instances }).to_string());
        let run = real.start(&config, &[]);
        wait_until("the shell line", || real.sandbox.workspace().join("begun").exists());
        run.signal(Signal::SIGINT);
        let outcome = run.outcome().expect_code(130);
        let dump = real.dump(&outcome);
        assert_eq!((outcome.status("a"), outcome.reason("a")), ("failed", "interrupted"), "{dump}");
        assert_ne!(outcome.status("b"), "completed", "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_few_refused_logins_are_survived() {
    on_each_generation(1, |real| {
        let outcome = real.run_prompt("Try. [[status 401 x1]] [[say Made it.]]").expect_code(0);
        assert_eq!(outcome.instance("a")["result"], "Made it.", "{}", real.dump(&outcome));
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_permanent_errors_and_a_refused_account() {
    on_each_generation(1, |real| {
        let instance =
            |name: &str, prompt: &str| json!({"name": name, "prompt": prompt, "retries": 2, "retry_delay": 0.1});
        let instances = json!([
            instance("invalid", "Try. [[status 400 x1000]]"),
            instance("account", "Try. [[status 403 x1000]]"),
            instance("after", "Never asked."),
        ]);
        let config = real.sandbox.config(&json!({ "instances": instances }).to_string());
        let outcome = real.run(&config, &["--max-parallel", "1"]).expect_code(2);
        let dump = real.dump(&outcome);
        for (name, reason, attempts) in [("invalid", "error", 1), ("account", "account", 1), ("after", "account", 0)] {
            let attempted = &outcome.instance(name)["attempts"];
            assert_eq!((outcome.reason(name), attempted), (reason, &json!(attempts)), "{name}\n{dump}");
        }
        real.assert_books_balance(&outcome);
    });
}

/// The older generations announce no retry.
#[test]
fn real_timeout_names_the_known_cause() {
    on_the_newest(1, |real| {
        for seconds in super::PATIENCES {
            let instance = json!({"name": "a", "prompt": "Try. [[status 529 x1000]]", "timeout": seconds});
            let outcome = run(real, json!([instance])).expect_code(4);
            let cause = "s, while claude was retrying the API (attempt ";
            if outcome.error("a").contains(cause) && outcome.error("a").ends_with(" of 10: HTTP 529 overloaded)") {
                return;
            }
        }
        panic!("no timeout named the retry");
    });
}
