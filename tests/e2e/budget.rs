//! Budgets: the seed's chapter 4, and what its tests leave open, on the fake claude.

use serde_json::{Value, json};

use harness::{RunOutput, Sandbox, fixture, wait_until};

/// How the test plan says that a budget has failed.
pub fn is_far_over(used: u64, budget: u64) -> bool {
    used as f64 > budget as f64 * 1.1
}

pub fn budget_error(outcome: &RunOutput, name: &str) -> String {
    assert_eq!(outcome.status(name), "failed", "{}", outcome.dump());
    assert_eq!(outcome.instance(name)["reason"], "budget", "{}", outcome.dump());
    outcome.error(name).to_owned()
}

pub fn limit<'a>(outcome: &'a RunOutput, scope: &str) -> &'a Value {
    let limits = outcome.report["limits_used"].as_array().expect("limits");
    limits.iter().find(|limit| limit["scope"] == scope).expect("such a limit")
}

fn starts(sandbox: &Sandbox) -> usize {
    sandbox.claude_log().iter().filter(|line| line["event"] == "start").count()
}

#[test]
fn test_4_1_overall_budget_enforcement_block_mode() {
    let sandbox = Sandbox::new();
    sandbox.command("help", "[[usage in=5000 out=1000]] [[say Done.]]");
    let outcome = sandbox.run(&fixture("budget_block_test.json"), &["--startup-delay", "5"]).expect_code(3);
    assert_eq!(outcome.status("instance-1"), "completed", "{}", outcome.dump());
    assert_eq!(outcome.total_tokens("instance-1"), 6000);
    for line in [
        "🚫 BLOCK MODE: Budget exceeded for instance instance-2: Estimated 6000 tokens would exceed overall budget of \
         10000 (currently at 6000). Skipping.",
        "🚫 BLOCK MODE: Budget exceeded for instance instance-3: Overall budget exceeded. Skipping.",
    ] {
        assert!(outcome.stderr.lines().any(|l| l == line), "{line}\n{}", outcome.dump());
    }
    assert!(budget_error(&outcome, "instance-2").starts_with("Budget exceeded"));
    assert!(budget_error(&outcome, "instance-3").starts_with("Budget exceeded"));
    assert_eq!(starts(&sandbox), 1, "the blocked ones are never started");
    let refusals = outcome.report["refusals"].as_array().expect("refusals").clone();
    assert_eq!(refusals.len(), 2);
    assert_eq!(refusals[0]["instance"], "instance-2");
    let overall = json!({"scope": "overall", "name": null, "unit": "tokens", "limit": 10000, "used": 6000});
    assert_eq!(*limit(&outcome, "overall"), overall);
    assert!(!is_far_over(6000, 10000));
}

#[test]
fn test_4_2_per_command_budget_tracking() {
    let sandbox = Sandbox::new();
    sandbox.command("analyze-code", "[[usage in=3500 out=500]] [[say Done.]]");
    let outcome = sandbox.run(&fixture("per_command_budget.json"), &[]).expect_code(3);
    for name in ["analysis-1", "analysis-2"] {
        assert_eq!(outcome.status(name), "completed", "{}", outcome.dump());
        assert_eq!(outcome.total_tokens(name), 4000);
    }
    let error = budget_error(&outcome, "analysis-3");
    let expected = "Estimated 4000 tokens would exceed /analyze-code budget of 10000 (currently at ";
    assert!(error.contains(expected), "{error}");
    assert_eq!(limit(&outcome, "command")["used"], 8000);
    assert!(outcome.stdout.contains("Budget of /analyze-code: 8,000 / 10,000 tokens"), "{}", outcome.dump());
}

#[test]
fn test_4_3_cost_budget_vs_token_budget() {
    let sandbox = Sandbox::new();
    // By the prices of Sonnet 4, $3 and $15 a million: $3.45, and then $1.50.
    let costs = |usage: &str| format!("[[usage {usage}]] ");
    let script =
        costs("in=900000 out=50000") + &sandbox.gate("gate") + " " + &costs("in=400000 out=20000") + "[[say Done.]]";
    sandbox.command("help", &script);
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("cost_budget_test.json")).expect("a fixture"))
            .expect("JSON");
    config["defaults"] = json!({"model": "claude-sonnet-4-20250514"});
    let run = sandbox.start(&sandbox.config(&config.to_string()), &["--max-parallel", "1"]);
    wait_until("the first message to have ended", || sandbox.claude_log().iter().any(|line| line["event"] == "tool"));
    run.signal(nix::sys::signal::Signal::SIGUSR1);
    wait_until("the seed's words in a report", || run.stdout().contains("$3.45 / $5.00"));
    sandbox.open_gate("gate");
    let outcome = run.outcome().expect_code(3);
    assert_eq!(outcome.status("expensive-task-1"), "completed", "{}", outcome.dump());
    let error = budget_error(&outcome, "expensive-task-2");
    let expected = "Estimated $0.16 would exceed overall cost budget of $5.00 (currently at $4.95)";
    assert!(error.contains(expected), "{error}");
    assert_eq!(limit(&outcome, "overall")["unit"], "usd");
    assert_eq!(limit(&outcome, "overall")["used"], 4.95, "dollars are tracked, not tokens");
    assert_eq!(starts(&sandbox), 1);
}

#[test]
fn test_1_1_budget_is_enforced_in_a_run() {
    let sandbox = Sandbox::new();
    sandbox.command("analyze-code", "[[usage in=4000 out=500]] [[say Analyzed.]]");
    sandbox.command("generate", "[[usage in=9000 out=1000]] [[say Generated.]]");
    let outcome = sandbox.run(&fixture("valid_complex_config.json"), &[]).expect_code(0);
    assert!(outcome.stdout.contains("/ 50,000 tokens used"), "{}", outcome.dump());
    assert!(outcome.stdout.contains("Budget of /generate: 10,000 / 12,000 tokens"), "{}", outcome.dump());
}

/// Runs these seconds, which are more than zen takes to interrupt it on the busiest machine.
const SLOW: &str = "sleep 15";
const QUICK: &str = "true";

/// A message of this usage that leads to the next one by a tool, which runs this command.
fn round(usage: &str, command: &str) -> String {
    format!("[[usage {usage}]] [[tool Bash {}]] ", json!({ "command": command }))
}

/// Ten at once, each saying that it will use all there is, and using more.
#[test]
fn ten_parallel_instances_with_estimates_overshoot_by_at_most_one_message() {
    let sandbox = Sandbox::new();
    let prompt =
        format!("{} {}", round("in=5000 out=1000", QUICK).repeat(9), round("in=5000 out=1000", SLOW).repeat(3));
    let instances: Vec<Value> =
        (0..10).map(|i| json!({"name": format!("i{i}"), "prompt": prompt, "max_tokens_per_command": 58_000})).collect();
    let config = json!({"budget": {"overall_budget": 58_000}, "instances": instances});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &[]).expect_code(3);
    let used = limit(&outcome, "overall")["used"].as_u64().expect("tokens");
    assert!((58_000..58_000 + 6000).contains(&used), "{used}\n{}", outcome.dump());
    assert!(!is_far_over(used, 58_000), "{used}");
    assert_eq!(starts(&sandbox), 1, "the others wait, and are refused");
}

/// Ten at once that announce nothing: at most the messages under way go over.
#[test]
fn ten_parallel_instances_without_estimates_overshoot_by_open_messages() {
    let sandbox = Sandbox::new();
    let prompt = format!("{} {}", round("in=500 out=100", QUICK).repeat(9), round("in=500 out=100", SLOW).repeat(11));
    let instances: Vec<Value> = (0..10).map(|i| json!({"name": format!("i{i}"), "prompt": prompt})).collect();
    let config = json!({"budget": {"overall_budget": 57_000}, "instances": instances});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &[]).expect_code(3);
    let used = limit(&outcome, "overall")["used"].as_u64().expect("tokens");
    assert!((57_000..57_000 + 10 * 600).contains(&used), "{used}\n{}", outcome.dump());
    assert!(!is_far_over(used, 57_000), "{used}");
    let sum: u64 = (0..10).map(|i| outcome.total_tokens(&format!("i{i}"))).sum();
    assert_eq!(sum, used, "the books balance");
}

#[test]
fn instance_in_its_last_message_completes() {
    let sandbox = Sandbox::new();
    let glutton = "[[usage in=6000 out=10]] [[tool Bash {\"command\": \"sleep 300\"}]]";
    let config = json!({"budget": {"overall_budget": 6000}, "instances": [
        {"name": "last-message", "prompt": "[[usage in=100 out=50]] [[wait 5s]] [[say Done.]]"},
        {"name": "glutton", "prompt": format!("{} {glutton}", sandbox.gate("glutton")), "max_tokens_per_command": 5000},
    ]});
    let run = sandbox.start(&sandbox.config(&config.to_string()), &[]);
    let stream = sandbox.path("state/zen/latest/01-last-message/stream.jsonl");
    wait_until("the last message to be under way", || {
        std::fs::read_to_string(&stream).is_ok_and(|text| text.contains("message_start"))
    });
    sandbox.open_gate("glutton");
    let outcome = run.outcome().expect_code(3);
    assert_eq!(outcome.status("last-message"), "completed", "{}", outcome.dump());
    assert!(budget_error(&outcome, "glutton").contains("reached"), "{}", outcome.dump());
    assert!(outcome.total_tokens("glutton") >= 6010, "and what it cost is on the books");
}

#[test]
fn warn_mode_reports_each_limit_once_and_runs_all() {
    let sandbox = Sandbox::new();
    sandbox.command("help", "[[usage in=5000 out=1000]] [[say Done.]]");
    let arguments = ["--budget-enforcement-mode", "warn"];
    let outcome = sandbox.run(&fixture("budget_block_test.json"), &arguments).expect_code(0);
    for name in ["instance-1", "instance-2", "instance-3"] {
        assert_eq!(outcome.status(name), "completed", "{}", outcome.dump());
    }
    assert_eq!(outcome.stderr.matches("WARN MODE: Overall budget exceeded").count(), 1, "{}", outcome.dump());
    assert!(outcome.stdout.contains("over budget"), "{}", outcome.dump());
}

#[test]
fn flag_overrides_config_and_dry_run_shows_it() {
    let sandbox = Sandbox::new();
    let arguments = ["--dry-run", "--overall-token-budget", "6500", "--command-budget", "help=7000"];
    let outcome = sandbox.run(&fixture("budget_block_test.json"), &arguments).expect_code(0);
    for expected in
        ["6,500 tokens", "/help", "7,000 tokens", "--overall-token-budget", "overrides 10,000 in the config"]
    {
        assert!(outcome.stdout.contains(expected), "{expected}\n{}", outcome.dump());
    }
    sandbox.command("help", "[[usage in=400 out=50]]");
    let arguments = ["--overall-token-budget", "6100", "--max-parallel", "1"];
    let outcome = sandbox.run(&fixture("budget_block_test.json"), &arguments).expect_code(3);
    assert_eq!(outcome.status("instance-1"), "completed", "{}", outcome.dump());
    assert!(outcome.stderr.contains("overall budget of 6100 (currently at 450)"), "{}", outcome.dump());
}

#[test]
fn configured_prices_are_used() {
    let sandbox = Sandbox::new();
    let config = json!({
        "pricing": {"claude-sonnet-4": {"input": 1000, "output": 1000}},
        "budget": {"overall_cost_budget": 10},
        "instances": [{"name": "dear", "model": "claude-sonnet-4-20250514",
            "prompt": "[[usage in=20000 out=10]] [[tool Bash {\"command\": \"sleep 300\"}]]"}]});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &[]).expect_code(3);
    assert!(budget_error(&outcome, "dear").contains("Overall budget reached: $20.0"), "{}", outcome.dump());
}

#[test]
fn ignored_limit_is_reported() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"instances": [{"name": "a", "prompt": "x"}], "budget": {"overall_budget": 100, "budget_type": "cost"}}"#,
    );
    let outcome = sandbox.run(&config, &[]).expect_code(1);
    let expected = "budget: budget_type 'cost' ignores overall_budget, the only limit: ";
    assert!(outcome.stderr.contains(expected), "{}", outcome.dump());
    assert_eq!(starts(&sandbox), 0);
    let outcome = sandbox.run(&config, &["--overall-cost-budget", "5", "--command-budget", "/gone=5"]).expect_code(0);
    for expected in [
        "budget: budget_type 'cost' ignores overall_budget and command_budgets\n",
        "budget: no instance runs '/gone'\n",
    ] {
        assert!(outcome.stderr.contains(expected), "{}", outcome.dump());
    }
    let outcome = sandbox.run(&config, &["--overall-cost-budget", "5", "--quiet"]).expect_code(0);
    assert!(outcome.stderr.contains("ignores overall_budget"), "quiet as well: {}", outcome.dump());
    sandbox.run(&config, &["--budget-parameter-type", "mixed", "--overall-token-budget", "100000"]).expect_code(0);
}

/// Ten at once, each of one message of 12,700 tokens, of 50,000: without a learned estimate all ten run, 254 % of it.
#[test]
fn ten_parallel_instances_without_estimates_keep_the_limit() {
    let sandbox = Sandbox::new();
    let instances: Vec<Value> = (0..10)
        .map(|i| json!({"name": format!("i{i}"), "prompt": "[[usage in=12500 out=200]] [[say Done.]]"}))
        .collect();
    let config = json!({"budget": {"overall_budget": 50_000}, "instances": instances});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &[]).expect_code(3);
    assert_eq!(limit(&outcome, "overall")["used"], 38_100, "{}", outcome.dump());
    assert_eq!(starts(&sandbox), 3);
    // zen may read the start of the third message, with its input and one token of output, before its end.
    let errors = [38_100, 37_901].map(|used| {
        format!("Budget exceeded: Estimated 12700 tokens would exceed overall budget of 50000 (currently at {used})")
    });
    assert!(errors.iter().any(|error| *error == budget_error(&outcome, "i3")), "{}", outcome.dump());
}

/// Its requests fail, so no first message comes.
#[test]
fn wait_for_a_first_message_is_bounded() {
    let sandbox = Sandbox::new();
    let config = json!({"budget": {"overall_budget": 50_000}, "instances": [
        {"name": "silent", "prompt": "[[status 529 x100000]]"}, {"name": "beside", "prompt": "[[say Done.]]"},
    ]});
    let mut zen = sandbox.zen_on(&sandbox.config(&config.to_string()), &[]);
    let run = sandbox.started(zen.env("FAKE_CLAUDE_RETRY_MS", "600000"));
    wait_until("the end of the other", || run.has_ended("beside"));
    let report = run.report();
    assert_eq!(
        (&report["instances"][0]["status"], &report["instances"][1]["status"]),
        (&json!("running"), &json!("completed"))
    );
    run.signal(nix::sys::signal::Signal::SIGINT);
    let outcome = run.outcome().expect_code(130);
    let started = |name: &str| outcome.instance(name)["started_at"].as_str().unwrap_or_default().to_owned();
    assert!(started("silent") < started("beside"), "{}", outcome.dump());
}

#[test]
fn exceeded_budget_exits_with_3_even_if_all_completed() {
    let sandbox = Sandbox::new();
    sandbox.command("work", "[[usage in=5000 out=500]] [[say Done.]]");
    let config =
        json!({"budget": {"command_budgets": {"/work": 5000}}, "instances": [{"name": "a", "command": "/work"}]});
    let config = sandbox.config(&config.to_string());
    let outcome = sandbox.run(&config, &[]).expect_code(3);
    assert_eq!(outcome.status("a"), "completed", "{}", outcome.dump());
    let line = "Budget of /work: 5,500 of 5,000 tokens (over budget by 500)\n";
    assert!(outcome.stdout.contains(line), "{}", outcome.dump());
    assert!(
        outcome.stdout.ends_with("Exit code: 3 (no other failure, and a budget was exceeded or refused an instance)\n")
    );
    let outcome = sandbox.run(&config, &["--overall-token-budget", "5400"]).expect_code(3);
    assert!(outcome.stdout.contains("5,500 of 5,400 (over budget by 100)"), "{}", outcome.dump());
    sandbox.run(&config, &["--budget-enforcement-mode", "warn"]).expect_code(0);
}

#[test]
fn estimate_above_its_limit_is_a_config_error() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&fixture("budget_block_test.json"), &["--overall-token-budget", "5000"]).expect_code(1);
    let expected = "must be at most the overall budget, which is 5000 tokens, got 6000: the instance could never start";
    assert_eq!(outcome.stderr.matches(expected).count(), 2, "{}", outcome.dump());
    assert_eq!(starts(&sandbox), 0);
    let arguments = ["--overall-token-budget", "5000", "--budget-enforcement-mode", "warn", "--dry-run"];
    sandbox.run(&fixture("budget_block_test.json"), &arguments).expect_code(0);
}

/// Without the earlier run, the second instance would be launched once the first message of the first one is known.
#[test]
fn earlier_run_of_the_same_config_provides_the_estimate() {
    let sandbox = Sandbox::new();
    let prompt = format!("{} [[usage in=3900 out=100]] [[say Done.]]", round("in=3900 out=100", "sleep 0.3").repeat(2));
    let config = json!({"budget": {"overall_budget": 20_000}, "instances": [
        {"name": "a", "prompt": prompt}, {"name": "b", "prompt": prompt}]});
    let config = sandbox.config(&config.to_string());
    let overlap = |outcome: &RunOutput| {
        let at = |name: &str, field: &str| outcome.instance(name)[field].as_str().expect("a time").to_owned();
        at("b", "started_at") < at("a", "ended_at")
    };
    let first = sandbox.run(&config, &["--overall-token-budget", "100000"]).expect_code(0);
    assert!(overlap(&first), "{}", first.dump());
    assert_eq!(first.total_tokens("a"), 12_000);
    let second = sandbox.run(&config, &[]).expect_code(3);
    assert_eq!(second.status("a"), "completed", "{}", second.dump());
    assert!(!overlap(&second), "{}", second.dump());
}
