//! The tests of the user's own test plan (the seed), each under its number, on the fake claude. Their configs are the
//! plan's own, and where it gives words, those words are looked for.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use harness::{Sandbox, fixture, wait_until};

/// `/help` costs nothing in claude; the plan's numbers need one that does.
const HELP: &str = "[[usage in=1500 out=500]] [[say Here is what I can do.]]";

#[test]
fn test_1_1_valid_complex_configuration() {
    let sandbox = Sandbox::new();
    sandbox.command("analyze-code", "x").command("generate", "x");
    let outcome = sandbox.run(&fixture("valid_complex_config.json"), &["--dry-run"]).expect_code(0);
    for expected in [
        "3 instances configured",
        "50,000",             // overall
        "12,000",             // /generate
        "$0.50",              // /analyze-code
        "mixed",              // which limits count
        "block",              // what happens at them
        "analysis-session-1", // sessions
        "security-session-1",
        "reporting-session",
        "Read, Grep, Glob, Task", // tool restrictions
        "/clear",                 // pre-commands
        "Set context: Code analysis mode",
        "/analyze-code",
        "What are the security vulnerabilities in this codebase?",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected}\n{}", outcome.dump());
    }
    assert!(sandbox.claude_log().is_empty(), "a dry run starts nothing");
    // In a workspace without the commands, the plan is shown all the same.
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&fixture("valid_complex_config.json"), &["--dry-run"]).expect_code(1);
    assert!(outcome.stdout.contains("3 instances configured") && outcome.stdout.contains("50,000"));
    for expected in ["instance 'analyzer-1': command: Command not found: /analyze-code", "Command not found: /generate"]
    {
        assert!(outcome.stderr.contains(expected), "{}", outcome.dump());
    }
}

#[test]
fn test_1_2_malformed_json() {
    let sandbox = Sandbox::new();
    for (config, line, column) in
        [("missing_comma.json", 4, 5), ("unclosed_bracket.json", 4, 3), ("invalid_quotes.json", 3, 6)]
    {
        let outcome = sandbox.run(&fixture("malformed_json").join(config), &[]).expect_code(1);
        let expected = format!("JSON parsing error at line {line}, column {column}");
        assert!(outcome.stderr.contains(&expected), "{expected}\n{}", outcome.dump());
        let caret = outcome.stderr.lines().any(|l| l.trim() == "^");
        assert!(caret, "{}", outcome.dump());
        assert!(sandbox.claude_log().is_empty(), "nothing is launched");
    }
}

#[test]
fn test_1_3_missing_required_fields() {
    let sandbox = Sandbox::new();
    for (config, expected) in [
        ("no_instances.json", &["instances: missing"][..]),
        ("no_command_or_prompt.json", &["broken-instance", "command", "Either 'command' or 'prompt' must be provided"]),
        ("empty_commands.json", &["empty-cmd", "Either 'command' or 'prompt' must be provided"]),
    ] {
        let outcome = sandbox.run(&fixture("missing_fields").join(config), &[]).expect_code(1);
        for expected in expected {
            assert!(outcome.stderr.contains(expected), "{expected}\n{}", outcome.dump());
        }
        assert!(sandbox.claude_log().is_empty(), "nothing is launched");
    }
}

#[test]
fn test_2_1_sequential_dependency_chain() {
    let sandbox = Sandbox::new();
    sandbox.command("help", &format!("{HELP} [[wait 4s]]"));
    let arguments = ["--startup-delay", "5.0", "--status-report-interval", "3", "--max-console-lines", "20"];
    let outcome = sandbox.run(&fixture("sequential_workflow.json"), &arguments).expect_code(0);
    let names = ["data-collector", "statistical-analyzer", "insight-reporter", "visualization-specialist"];
    let starts: Vec<f64> = names.iter().map(|name| seconds_into_run(&outcome, name)).collect();
    for (i, start) in starts.iter().enumerate() {
        let due = 5.0 * i as f64;
        assert!(*start >= due - 0.01 && *start < due + 4.0, "instance {i} started at {start}, not at {due}");
    }
    for name in names {
        assert_eq!(outcome.status(name), "completed", "{}", outcome.dump());
        assert_eq!(outcome.total_tokens(name), 2000);
    }
    // The progression of one that starts late, in the order of the reports.
    let words: Vec<&str> = ["pending", "running", "completed"].into_iter().collect();
    let of_last = outcome.stdout.lines().filter(|line| line.starts_with("visualization-specialist"));
    let mut seen: Vec<&str> = of_last.filter_map(|line| words.iter().copied().find(|w| line.contains(w))).collect();
    seen.dedup();
    assert_eq!(seen, words, "{}", outcome.dump());
    assert!(outcome.stdout.contains("Total Tokens: 8,000"), "{}", outcome.dump());
    assert!(outcome.stdout.contains("4/4 instances"), "{}", outcome.dump());
}

#[test]
fn test_2_2_parallel_independent_instances() {
    let sandbox = Sandbox::new();
    sandbox.command("help", &format!("{} {HELP}", sandbox.gate("seen")));
    let run = sandbox.start(
        &fixture("parallel_workflow.json"),
        &["--startup-delay", "0.5", "--log-level", "detailed", "--status-report-interval", "1"],
    );
    wait_until("a report with five running at once", || {
        reports(&run.stdout()).iter().any(|report| report.matches("running").count() == 5)
    });
    let five = run.stdout();
    let five = reports(&five).into_iter().find(|r| r.matches("running").count() == 5).expect("it was there");
    let mut pids: Vec<&str> =
        five.lines().filter(|l| l.contains("running")).filter_map(|l| l.split('|').nth(2)).map(str::trim).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 5, "five processes\n{five}");
    sandbox.open_gate("seen");
    let outcome = run.outcome().expect_code(0);
    let instances = outcome.report["instances"].as_array().expect("instances").clone();
    let of_each = |what: &str| {
        let mut values: Vec<String> = instances.iter().map(|i| i[what].to_string()).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    assert_eq!(of_each("session_id").len(), 5, "each has a session of its own");
    assert_eq!(of_each("directory").len(), 5, "each has files of its own");
    let sum: u64 = instances.iter().map(|i| i["tokens"]["total"].as_u64().expect("a count")).sum();
    assert_eq!(outcome.report["totals"]["tokens"]["total"].as_u64(), Some(sum));
    assert_eq!(sum, 5 * (120 + 2000));
    for instance in &instances {
        let start = seconds_into_run(&outcome, instance["name"].as_str().expect("a name"));
        assert!(start < 20.0, "all are launched in 2.5 s, give or take what a busy machine takes: {start}");
    }
}

#[test]
fn test_2_3_mixed_sequential_and_parallel() {
    let sandbox = Sandbox::new();
    sandbox.command("help", &format!("{} {HELP}", sandbox.gate("go-on")));
    // No report is due, so that none can wake up who should have been started.
    let arguments = ["--startup-delay", "0.5", "--status-report-interval", "600"];
    let run = sandbox.start(&fixture("mixed_workflow.json"), &arguments);
    wait_until("two in their tools", || sandbox.claude_events("tool").len() == 2);
    run.signal(nix::sys::signal::Signal::SIGUSR1);
    wait_until("a report", || run.stdout().contains("Overall:"));
    let first = run.stdout();
    for expected in ["Stage 1 of 2: 2 running\n", "Stage 2 of 2: 2 instances waiting for stage 1\n"] {
        assert!(first.contains(expected), "{expected}\n{first}");
    }
    assert_eq!((first.matches("running").count(), first.matches("pending").count()), (3, 2), "{first}");
    sandbox.open_gate("go-on");
    let outcome = run.outcome().expect_code(0);
    assert_stages_of_the_mixed_workflow(&outcome, 0.5);
}

/// Stage 1 has run side by side and is at its end when stage 2 begins, at once.
pub fn assert_stages_of_the_mixed_workflow(outcome: &harness::RunOutput, startup_delay: f64) {
    let ended = |name: &str| seconds_into_run(outcome, name) + outcome.ran(name).as_secs_f64();
    let stage_1_ended = ended("unit-tests").max(ended("integration-tests"));
    for (name, stage) in [("unit-tests", 1), ("integration-tests", 1), ("failure-analyzer", 2), ("coverage-analyst", 2)]
    {
        assert_eq!(outcome.status(name), "completed", "{}", outcome.dump());
        assert_eq!(outcome.instance(name)["stage"], stage);
        let started = seconds_into_run(outcome, name);
        assert_eq!(started >= stage_1_ended - 0.01, stage == 2, "{name} started at {started}, not at {stage_1_ended}");
    }
    let waited = seconds_into_run(outcome, "failure-analyzer") - stage_1_ended;
    assert!(waited < 6.0, "stage 2 begins at once, and not after {waited} s");
    let apart = seconds_into_run(outcome, "coverage-analyst") - seconds_into_run(outcome, "failure-analyzer");
    assert!(apart >= startup_delay - 0.01, "launches stay {startup_delay} s apart: {apart}");
    let (first, second) = (&outcome.report["stages"][0], &outcome.report["stages"][1]);
    assert_eq!((&first["completed"], &second["completed"]), (&2.into(), &2.into()));
    let transitions: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("zen: stage ")).collect();
    assert_eq!(transitions.len(), 2, "{}", outcome.dump());
    assert!(transitions[0].starts_with("zen: stage 1 of 2 ended after ") && transitions[0].ends_with(": 2 completed"));
    assert!(outcome.stdout.contains("\nStages:\n- 1 of 2: 2 completed ("), "{}", outcome.dump());
}

#[test]
fn test_3_1_real_time_status_updates() {
    let sandbox = Sandbox::new();
    let arguments = ["--status-report-interval", "5", "--max-console-lines", "30"];
    let outcome = sandbox.run(&fixture("long_running_workflow.json"), &arguments).expect_code(0);
    let reports = reports(&outcome.stdout);
    let elapsed: Vec<u64> = reports
        .iter()
        .map(|r| r.split("(").nth(1).and_then(|t| t.split('s').next()).and_then(|t| t.parse().ok()).expect("seconds"))
        .collect();
    assert!(elapsed.len() >= 3, "{}", outcome.dump());
    for (i, elapsed) in elapsed.iter().enumerate().take(elapsed.len() - 1) {
        let due = 5 * (i as u64 + 1);
        assert!(elapsed.abs_diff(due) <= 2, "report {i} came at {elapsed} s and not at {due} s");
    }
    for expected in ["Name ", "| Status ", "| PID ", "| Tokens ", "| Time ", "| Progress"] {
        assert!(reports[0].contains(expected), "{expected}\n{}", outcome.dump());
    }
    let tokens_of_analyzer: Vec<u64> = reports
        .iter()
        .filter_map(|r| r.lines().find(|l| l.starts_with("analyzer")))
        .filter_map(|l| l.split('|').nth(3)?.trim().replace(',', "").parse().ok())
        .collect();
    assert!(tokens_of_analyzer.is_sorted(), "{tokens_of_analyzer:?}");
    assert!(tokens_of_analyzer.first() < tokens_of_analyzer.last(), "{tokens_of_analyzer:?}");
    let last = reports.last().expect("reports");
    assert!(last.contains("Overall: 6,300 / 15,000 tokens used (42.0%)"), "{last}");
    assert!(last.contains("Budget: ") && last.contains(" / $5.00"), "{last}");
}

#[test]
fn test_3_2_status_after_failures() {
    let sandbox = Sandbox::new();
    sandbox.command("help", HELP);
    let outcome = sandbox.run(&fixture("failure_scenario.json"), &[]).expect_code(2);
    assert_eq!(outcome.status("successful-instance"), "completed");
    assert_eq!(outcome.status("failing-instance"), "failed");
    assert_eq!(outcome.status("another-success"), "completed");
    assert_eq!(outcome.instance("failing-instance")["reason"], "command not found");
    for expected in [
        "Orchestration Complete - Results",
        "✓ Successful: 2/3 instances",
        "✗ Failed: 1/3 instances",
        "Failed Instances:\n- failing-instance: Command not found: /this-command-does-not-exist",
        "Total Tokens: 4,000",
        "Total Cost: $",
        "Total Time: ",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected}\n{}", outcome.dump());
    }
}

#[test]
fn test_3_3_status_with_timeout() {
    let sandbox = Sandbox::new();
    sandbox.command("help", HELP);
    let outcome = sandbox.run(&fixture("timeout_test.json"), &["--startup-delay", "2.0"]).expect_code(4);
    assert_eq!(outcome.status("long-running"), "failed");
    assert_eq!(outcome.error("long-running"), "Timeout after 10s");
    assert_eq!(outcome.instance("long-running")["reason"], "timeout");
    let ran = outcome.instance("long-running")["duration_seconds"].as_f64().expect("a time");
    assert!((10.0..25.0).contains(&ran), "it ran for {ran} s");
    assert_eq!(outcome.status("quick-before"), "completed");
    assert_eq!(outcome.status("quick-after"), "completed");
}

#[test]
fn test_5_1_single_instance_failure_in_multi_agent_workflow() {
    let sandbox = Sandbox::new();
    sandbox.command("help", HELP);
    let outcome = sandbox.run(&fixture("partial_failure.json"), &[]).expect_code(2);
    for name in ["step-1-success", "step-2-success", "step-4-success", "step-5-success"] {
        assert_eq!(outcome.status(name), "completed", "{}", outcome.dump());
        assert_eq!(outcome.total_tokens(name), 2000);
    }
    assert_eq!(outcome.status("step-3-FAILURE"), "failed");
    assert_eq!(outcome.error("step-3-FAILURE"), "Command not found: /nonexistent-slash-command");
    assert_eq!(outcome.total_tokens("step-3-FAILURE"), 0);
    assert!(outcome.stdout.contains("Total Tokens: 8,000"), "{}", outcome.dump());
}

#[test]
fn test_5_2_workspace_permission_issues() {
    let sandbox = Sandbox::new();
    let (unreadable, file) = (sandbox.path("unreadable"), sandbox.path("not_a_dir"));
    std::fs::create_dir(&unreadable).expect("a directory");
    std::fs::set_permissions(&unreadable, std::fs::Permissions::from_mode(0o0)).expect("permissions");
    std::fs::write(&file, "").expect("a file");
    let config = fixture("failure_scenario.json");
    for (workspace, expected) in [
        ("/nonexistent/path", "/nonexistent/path does not exist"),
        ("unreadable", "cannot be read"),
        ("not_a_dir", "is not a directory"),
    ] {
        // To root everything is readable.
        if workspace == "unreadable" && nix::unistd::geteuid().is_root() {
            continue;
        }
        let outcome = sandbox.run(&config, &["--workspace", workspace]).expect_code(1);
        assert!(outcome.stderr.contains(expected), "{expected}\n{}", outcome.dump());
    }
    assert!(sandbox.claude_log().is_empty(), "nothing is launched");
}

/// The same as any other user, where the tests run as root.
#[test]
fn test_5_2_unreadable_workspace_as_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return; // the test above has shown it
    }
    let sandbox = Sandbox::new();
    let unreadable = sandbox.path("unreadable");
    std::fs::create_dir(&unreadable).expect("a directory");
    std::fs::set_permissions(&unreadable, std::fs::Permissions::from_mode(0o0)).expect("permissions");
    let config = sandbox.config(&std::fs::read_to_string(fixture("failure_scenario.json")).expect("a fixture"));
    std::fs::set_permissions(sandbox.path(""), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let zen = sandbox.path("zen");
    harness::copy_program(harness::zen_binary(), &zen);
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&zen).args(["--config"]).arg(&config);
    command.args(["--no-logs", "--workspace"]).arg(&unreadable).env("ZEN_CLAUDE", "/bin/true");
    let outcome = sandbox.started(&mut command).outcome().expect_code(1);
    assert!(outcome.stderr.contains("unreadable cannot be read"), "{}", outcome.dump());
}

#[test]
fn test_5_3_claude_cli_not_found() {
    let sandbox = Sandbox::new();
    let config = fixture("failure_scenario.json");
    let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8")]);
    command.env_remove("ZEN_CLAUDE").env("PATH", "/nowhere"); // here claude may be installed
    let outcome = sandbox.started(&mut command).outcome().expect_code(1);
    assert!(outcome.stderr.contains("Claude CLI not found in PATH"), "{}", outcome.dump());
    assert!(outcome.stderr.contains("npm install -g @anthropic-ai/claude-code"), "{}", outcome.dump());
    assert!(outcome.took < Duration::from_secs(20));
}

/// "Instances share session context."
#[test]
fn test_6_1_session_management_across_instances() {
    on_generations(|sandbox, run| {
        sandbox.command("help", "[[recall]]");
        let text = std::fs::read_to_string(fixture("session_sharing.json")).expect("a fixture");
        let outcome = run(&text).expect_code(0);
        let recalled = outcome.instance("context-user")["result"].as_str().unwrap_or("").to_owned();
        assert_eq!(recalled.matches("[[recall]]").count(), 2, "both instances' messages\n{}", outcome.dump());
        let ids = ["context-setter", "context-user"].map(|name| outcome.instance(name)["session_id"].clone());
        assert_eq!(ids[0], ids[1], "{}", outcome.dump());
    });
}

/// "Pre-commands execute before main command."
#[test]
fn test_6_2_pre_commands_execution() {
    on_generations(|sandbox, run| {
        sandbox.command("analyze-code", "[[recall]]");
        let outcome = run(PRE_COMMANDS).expect_code(0);
        let dump = outcome.dump();
        let turns: Vec<_> = sandbox.claude_events("turn").into_iter().map(|turn| turn["text"].clone()).collect();
        assert_eq!(turns, [CONTEXT, "/analyze-code"], "{dump}");
        assert_pre_commands_in_order(&outcome);
        let recalled = outcome.instance("analyzer")["result"].as_str().unwrap_or("");
        assert!(recalled.contains(CONTEXT), "{dump}");
    });
}

/// "Attempt to use disallowed tool (e.g., Write), verify rejection."
#[test]
fn test_6_3_tool_restrictions() {
    on_generations(|sandbox, run| {
        sandbox.command("help", &write_to(&sandbox.workspace().join("new.txt")));
        let outcome = run(TOOL_RESTRICTIONS).expect_code(0);
        assert_eq!(outcome.instance("restricted-agent")["result"], "I could not.", "{}", outcome.dump());
        assert!(!sandbox.workspace().join("new.txt").exists(), "{}", outcome.dump());
    });
}

/// Test 6.2's configuration.
pub const PRE_COMMANDS: &str = r#"{
  "instances": [
    {
      "name": "analyzer",
      "command": "/analyze-code",
      "pre_commands": [
        "/clear",
        "Set context: I am analyzing a Python codebase for security issues"
      ],
      "max_tokens_per_command": 5000
    }
  ]
}"#;

pub const CONTEXT: &str = "Set context: I am analyzing a Python codebase for security issues";

/// Test 6.3's configuration.
pub const TOOL_RESTRICTIONS: &str = r#"{
  "instances": [
    {
      "name": "restricted-agent",
      "command": "/help",
      "allowed_tools": ["Read", "Grep"],
      "max_tokens_per_command": 3000
    }
  ]
}"#;

/// A body for the command of test 6.3, in which the model tries to write.
pub fn write_to(file: &std::path::Path) -> String {
    format!("[[tool Write {}]] [[say I could not.]]", serde_json::json!({"file_path": file, "content": "x"}))
}

/// "Check command execution order in logs": in those that stay, and in those on the screen.
pub fn assert_pre_commands_in_order(outcome: &harness::RunOutput) {
    let dump = outcome.dump();
    let answers = outcome.instance("analyzer")["answers"].as_array().expect("a list");
    let turns: Vec<_> = answers.iter().map(|answer| answer["turn"].clone()).collect();
    assert_eq!(turns, ["/clear", CONTEXT, "/analyze-code"], "{dump}");
    let at = |what: &str| outcome.stderr.find(what).unwrap_or_else(|| panic!("{what}\n{dump}"));
    assert!(at(&format!("turn 2 of 3: {CONTEXT} -> ")) < at("turn 3 of 3: /analyze-code -> "), "{dump}");
}

/// Runs a test with each generation of the fake claude, in a place of its own.
fn on_generations(test: impl Fn(&Sandbox, &dyn Fn(&str) -> harness::RunOutput)) {
    for generation in ["2.1", "2.0", "1.0"] {
        let sandbox = Sandbox::new();
        test(&sandbox, &|config| {
            let config = sandbox.config(config);
            let mut command = sandbox.zen_on(&config, &["--log-level", "detailed"]);
            sandbox.started(command.env("FAKE_CLAUDE_GENERATION", generation)).outcome()
        });
    }
}

/// The status reports of a run's output, each from its title on.
pub fn reports(stdout: &str) -> Vec<String> {
    stdout.split("ZEN Orchestrator - Instance Status ").skip(1).map(str::to_owned).collect()
}

pub fn seconds_into_run(outcome: &harness::RunOutput, name: &str) -> f64 {
    let into_day = |time: &serde_json::Value| {
        let time = time.as_str().and_then(|t| t.split('T').nth(1)).expect("a time").trim_end_matches('Z');
        time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
    };
    let seconds = into_day(&outcome.instance(name)["started_at"]) - into_day(&outcome.report["started_at"]);
    if seconds < 0.0 { seconds + 86_400.0 } else { seconds } // over midnight
}
