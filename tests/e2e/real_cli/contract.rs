//! The user's own test plan on the real claude.

use serde_json::{Value, json};

use super::{Real, on_each_generation, tokens_of};
use crate::contract::seed::{
    CONTEXT, PRE_COMMANDS, TOOL_RESTRICTIONS, assert_pre_commands_in_order, assert_stages_of_the_mixed_workflow,
    reports, seconds_into_run, write_to,
};
use harness::{RunOutput, fixture, wait_for, wait_until};
use nix::sys::signal::Signal;

/// A command of the project takes the place of claude's own `/help`, which costs nothing.
const HELP: &str = "[[usage in=1500 out=500]] [[say Here is what I can do.]]";
const HELP_TOKENS: u64 = 2000;

/// Says who asks, and waits until the test has seen all of them wait.
const WAIT_AT_GATE: &str = "
import os, time
name = os.environ['ZEN_INSTANCE']
open('at-gate.' + name, 'w').close()
while not os.path.exists('gate-is-open'):
    time.sleep(0.02)
print('asked by', name)
";

#[test]
fn real_test_1_1_valid_complex_configuration() {
    on_each_generation(1, |real| {
        real.sandbox.command("analyze-code", "x").command("generate", "x");
        let outcome = real.run(&fixture("valid_complex_config.json"), &["--dry-run"]).expect_code(0);
        let restriction = if real.is_1_0() {
            "--allowedTools=Read,Grep,Glob,Task --disallowedTools=Bash,BashOutput,Edit,ExitPlanMode,"
        } else {
            "--tools=Read,Grep,Glob,Task --allowedTools=Read,Grep,Glob,Task"
        };
        let dump = real.dump(&outcome);
        for expected in ["3 instances configured", restriction, "--session-id ", "50,000", "12,000", "$0.50", "/clear"]
        {
            assert!(outcome.stdout.contains(expected), "{expected}\n{dump}");
        }
        assert!(real.api.log().is_empty(), "a dry run starts nothing\n{dump}");
    });
}

#[test]
fn real_test_2_1_sequential_dependency_chain() {
    on_each_generation(2, |real| {
        real.sandbox.command("help", HELP);
        let arguments = ["--startup-delay", "1", "--status-report-interval", "0.2", "--max-console-lines", "20"];
        let outcome = real.run(&fixture("sequential_workflow.json"), &arguments).expect_code(0);
        let dump = real.dump(&outcome);
        let names = ["data-collector", "statistical-analyzer", "insight-reporter", "visualization-specialist"];
        for (i, name) in names.into_iter().enumerate() {
            let (start, due) = (seconds_into_run(&outcome, name), i as f64);
            assert!((due - 0.01..due + 8.0).contains(&start), "{name} started at {start}, not at {due}\n{dump}");
            assert_eq!(outcome.status(name), "completed", "{dump}");
            assert_eq!(outcome.instance(name)["result"], "Here is what I can do.");
            real.assert_tokens(&outcome, name, HELP_TOKENS);
        }
        let of_last = outcome.stdout.lines().filter(|line| line.starts_with("visualization-specialist"));
        let words = ["pending", "running", "completed"];
        let mut seen: Vec<&str> = of_last.filter_map(|line| words.into_iter().find(|w| line.contains(w))).collect();
        seen.dedup();
        assert_eq!(seen, words, "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_test_2_2_parallel_independent_instances() {
    on_each_generation(5, |real| {
        let command = json!({"command": "python3 gate.py"});
        real.script("gate.py", WAIT_AT_GATE);
        real.sandbox.command("help", &format!("[[usage in=900 out=100]] [[tool Bash {command}]] {HELP}"));
        let arguments = ["--startup-delay", "0.5", "--log-level", "detailed", "--status-report-interval", "600"];
        let run = real.start(&fixture("parallel_workflow.json"), &arguments);
        let names: Vec<String> = wait_for("five instances", || {
            let report = run.report();
            let names = report["instances"].as_array()?.iter().filter_map(|i| i["name"].as_str().map(str::to_owned));
            Some(names.collect()).filter(|names: &Vec<_>| names.len() == 5)
        });
        let at_gate = |name: &String| real.sandbox.workspace().join(format!("at-gate.{name}")).exists();
        wait_until("all five at the gate", || names.iter().all(at_gate));
        run.signal(Signal::SIGUSR1);
        let report = wait_for("a report", || reports(&run.stdout()).into_iter().find(|r| r.contains("Overall:")));
        let mut pids: Vec<&str> = report
            .lines()
            .filter(|line| line.contains("running"))
            .filter_map(|line| line.split('|').nth(2).map(str::trim))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 5, "five processes\n{report}");
        std::fs::write(real.sandbox.workspace().join("gate-is-open"), "").expect("a file");
        let outcome = run.outcome().expect_code(0);
        for name in &names {
            real.assert_tokens(&outcome, name, 1000 + HELP_TOKENS);
        }
        assert_eq!(different(&outcome, "session_id"), 5, "each has a session of its own");
        assert_eq!(different(&outcome, "directory"), 5, "each has files of its own");
        assert_nobody_heard_another(real, &outcome, &names);
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_test_2_3_mixed_sequential_and_parallel() {
    on_each_generation(2, |real| {
        let command = json!({"command": "python3 gate.py"});
        real.script("gate.py", WAIT_AT_GATE);
        real.sandbox.command("help", &format!("[[usage in=900 out=100]] [[tool Bash {command}]] {HELP}"));
        let arguments = ["--startup-delay", "0.5", "--status-report-interval", "600"];
        let run = real.start(&fixture("mixed_workflow.json"), &arguments);
        let at_gate = |name: &str| real.sandbox.workspace().join(format!("at-gate.{name}")).exists();
        wait_until("both of stage 1 at the gate", || at_gate("unit-tests") && at_gate("integration-tests"));
        run.signal(Signal::SIGUSR1);
        let report = wait_for("a report", || reports(&run.stdout()).into_iter().find(|r| r.contains("Overall:")));
        for expected in ["Stage 1 of 2: 2 running\n", "Stage 2 of 2: 2 instances waiting for stage 1\n"] {
            assert!(report.contains(expected), "{expected}\n{report}");
        }
        assert!(!at_gate("failure-analyzer") && !at_gate("coverage-analyst"), "{report}");
        std::fs::write(real.sandbox.workspace().join("gate-is-open"), "").expect("a file");
        let outcome = run.outcome().expect_code(0);
        assert_stages_of_the_mixed_workflow(&outcome, 0.5);
        real.assert_books_balance(&outcome);
    });
}

fn different(outcome: &RunOutput, field: &str) -> usize {
    let mut values: Vec<String> = instances(outcome).iter().map(|i| i[field].to_string()).collect();
    values.sort_unstable();
    values.dedup();
    values.len()
}

fn instances(outcome: &RunOutput) -> &[Value] {
    outcome.report["instances"].as_array().expect("instances")
}

/// What each told the API of itself stands in its own conversation and in no other.
fn assert_nobody_heard_another(real: &Real, outcome: &RunOutput, names: &[String]) {
    for instance in instances(outcome) {
        let own = instance["name"].as_str().expect("a name");
        let conversation = real.conversation();
        let requests =
            conversation.iter().filter(|served| served.session_id.as_deref() == instance["session_id"].as_str());
        let texts: Vec<&String> = requests.flat_map(|served| &served.conversation_texts).collect();
        let is_heard = |name: &String| texts.iter().any(|text| text.contains(&format!("asked by {name}")));
        let heard: Vec<&String> = names.iter().filter(|name| is_heard(name)).collect();
        assert_eq!(heard, [own], "{}", real.dump(outcome));
    }
}

/// With claude's own `/help`.
#[test]
fn real_test_3_2_status_after_failures() {
    on_each_generation(3, |real| {
        let outcome = real.run(&fixture("failure_scenario.json"), &[]).expect_code(2);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.status("successful-instance"), "completed", "{dump}");
        assert_eq!(outcome.status("failing-instance"), "failed", "{dump}");
        assert_eq!(outcome.status("another-success"), "completed", "{dump}");
        assert_eq!(outcome.instance("failing-instance")["reason"], "command not found");
        for expected in [
            "Orchestration Complete - Results",
            "✓ Successful: 2/3 instances",
            "✗ Failed: 1/3 instances",
            "Failed Instances:\n- failing-instance: Command not found: /this-command-does-not-exist",
        ] {
            assert!(outcome.stdout.contains(expected), "{expected}\n{dump}");
        }
        assert!(real.conversation().is_empty(), "nobody had anything to ask\n{dump}");
    });
}

#[test]
fn real_test_3_3_status_with_timeout() {
    on_each_generation(3, |real| {
        real.sandbox.command("help", HELP);
        let text = std::fs::read_to_string(fixture("timeout_test.json")).expect("a fixture");
        let config = real.sandbox.config(&text.replace("\"timeout\": 10", "\"timeout\": 4"));
        let outcome = real.run(&config, &["--startup-delay", "0.5"]).expect_code(4);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.status("long-running"), "failed", "{dump}");
        assert_eq!(outcome.error("long-running"), "Timeout after 4s");
        assert_eq!(outcome.instance("long-running")["reason"], "timeout");
        let ran = outcome.instance("long-running")["duration_seconds"].as_f64().expect("a time");
        assert!((4.0..24.0).contains(&ran), "it ran for {ran} s\n{dump}");
        for name in ["quick-before", "quick-after"] {
            assert_eq!(outcome.status(name), "completed", "{dump}");
            real.assert_tokens(&outcome, name, HELP_TOKENS);
        }
    });
}

#[test]
fn real_test_5_1_single_instance_failure_in_multi_agent_workflow() {
    on_each_generation(3, |real| {
        real.sandbox.command("help", HELP);
        let outcome = real.run(&fixture("partial_failure.json"), &["--startup-delay", "0.3"]).expect_code(2);
        let dump = real.dump(&outcome);
        let good = ["step-1-success", "step-2-success", "step-4-success", "step-5-success"];
        for name in good {
            assert_eq!(outcome.status(name), "completed", "{dump}");
            real.assert_tokens(&outcome, name, HELP_TOKENS);
        }
        assert_eq!(outcome.status("step-3-FAILURE"), "failed", "{dump}");
        assert_eq!(outcome.error("step-3-FAILURE"), "Command not found: /nonexistent-slash-command");
        assert_eq!(
            tokens_of(outcome.instance("step-3-FAILURE")),
            tokens_of(&json!({"tokens":
            {"input": 0, "output": 0, "cache_creation": 0, "cache_read": 0}}))
        );
        let log = real.api.log();
        let asked = log.iter().filter(|served| !real.is_small_call(served));
        assert_eq!(asked.count(), good.len(), "nobody asked for the one that failed\n{dump}");
        let is_mentioned = |text: &String| text.contains("nonexistent-slash-command");
        assert!(!log.iter().flat_map(|served| &served.conversation_texts).any(is_mentioned), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_test_6_1_session_management_across_instances() {
    on_each_generation(1, |real| {
        real.sandbox.command("help", "Help: [[say Here is what I can do.]]");
        let outcome = real.run(&fixture("session_sharing.json"), &[]).expect_code(0);
        let dump = real.dump(&outcome);
        let conversation = real.conversation();
        assert_eq!(conversation.len(), 2, "{dump}");
        let texts = &conversation[1].conversation_texts;
        assert!(texts.iter().any(|text| text.contains("Here is what I can do.")), "{texts:?}\n{dump}");
        let ids = ["context-setter", "context-user"].map(|name| outcome.instance(name)["session_id"].clone());
        assert_eq!(ids[0], ids[1], "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_test_6_2_pre_commands_execution() {
    on_each_generation(1, |real| {
        real.sandbox.command("analyze-code", "Analyze. [[say The code is sound.]]");
        let outcome = real.run(&real.sandbox.config(PRE_COMMANDS), &["--log-level", "detailed"]).expect_code(0);
        let dump = real.dump(&outcome);
        let conversation = real.conversation();
        assert_eq!(conversation.len(), 2, "{dump}");
        assert!(conversation[0].last_user_text.contains(CONTEXT), "{dump}");
        assert!(conversation[1].conversation_texts.iter().any(|text| text.contains(CONTEXT)), "{dump}");
        assert!(conversation[1].last_user_text.contains("Analyze."), "{dump}");
        assert_pre_commands_in_order(&outcome);
        assert_eq!(outcome.instance("analyzer")["result"], "The code is sound.", "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_test_6_3_tool_restrictions() {
    on_each_generation(1, |real| {
        let file = real.sandbox.workspace().join("new.txt");
        real.sandbox.command("help", &write_to(&file));
        let outcome = real.run(&real.sandbox.config(TOOL_RESTRICTIONS), &[]).expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.instance("restricted-agent")["result"], "I could not.", "{dump}");
        assert!(!file.exists(), "{dump}");
    });
}
