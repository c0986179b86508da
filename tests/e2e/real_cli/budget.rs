//! Budgets on the real claude: the seed's chapter 4 with usage scripted at the API, and how far beyond a limit its own log
//! can ever be.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Real, on_each_generation, on_the_newest, read_tool, total};
use crate::budget::{budget_error, is_far_over, limit};
use harness::loopback::Served;
use harness::{RunOutput, fixture, wait_until};

/// What the API has served of what instances asked. What the older claudes ask for themselves, a limit cannot hold back.
fn served(real: &Real) -> Vec<Served> {
    real.api.log().into_iter().filter(|served| !real.is_small_call(served)).collect()
}

fn served_tokens(real: &Real) -> u64 {
    served(real).iter().map(|served| total(served.announced)).sum()
}

/// How many instances have asked anything.
fn sessions(real: &Real) -> usize {
    let mut ids: Vec<_> = served(real).into_iter().map(|served| served.session_id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

fn used(outcome: &RunOutput, scope: &str) -> f64 {
    limit(outcome, scope)["used"].as_f64().expect("a number")
}

fn assert_never_started(outcome: &RunOutput, name: &str) {
    let instance = outcome.instance(name);
    assert_eq!((&instance["pid"], &instance["attempts"]), (&Value::Null, &json!(0)), "{}", outcome.dump());
}

/// What is over the limit is at most the messages that were under way when it was reached.
fn assert_over_by_at_most(real: &Real, outcome: &RunOutput, limit_tokens: u64, messages: u64) {
    let dump = real.dump(outcome);
    let over = served_tokens(real).saturating_sub(limit_tokens);
    assert!(over < messages * ROUND_TOKENS, "{over} over a limit of {limit_tokens}\n{dump}");
}

const ROUND_TOKENS: u64 = 600;

/// How long the API thinks before a message that zen is to prevent.
const THINKS: Duration = Duration::from_secs(20);

/// Messages that each lead to the next one.
fn rounds(real: &Real, count: usize) -> String {
    format!("[[usage in=500 out=100]] {} ", read_tool(real)).repeat(count)
}

/// A program that runs until it is ended.
fn hold_tool(real: &Real) -> String {
    real.script("hold.py", "import time\ntime.sleep(300)\n");
    "[[tool Bash {\"command\": \"python3 hold.py\"}]]".to_owned()
}

fn many(count: usize, instance: impl Fn(usize) -> Value, limit_tokens: u64) -> String {
    let instances: Vec<Value> = (0..count).map(instance).collect();
    json!({"budget": {"overall_budget": limit_tokens}, "instances": instances}).to_string()
}

#[test]
fn real_test_4_1_overall_budget_enforcement_block_mode() {
    on_each_generation(1, |real| {
        real.sandbox.command("help", "[[usage in=5000 out=1000]] [[say Done.]]");
        let outcome = real.run(&fixture("budget_block_test.json"), &["--max-parallel", "1"]).expect_code(3);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.status("instance-1"), "completed", "{dump}");
        real.assert_tokens(&outcome, "instance-1", 6000);
        // 6000, and what 2.0 has told of its own warm-ups by then.
        let at = outcome.total_tokens("instance-1");
        let skipped = format!(
            "🚫 BLOCK MODE: Budget exceeded for instance instance-2: Estimated 6000 tokens would exceed overall budget \
             of 10000 (currently at {at}). Skipping."
        );
        let last = "🚫 BLOCK MODE: Budget exceeded for instance instance-3: Overall budget exceeded. Skipping.";
        for line in [skipped.as_str(), last] {
            assert!(outcome.stderr.lines().any(|l| l == line), "{line}\n{dump}");
        }
        for name in ["instance-2", "instance-3"] {
            assert!(budget_error(&outcome, name).starts_with("Budget exceeded"), "{dump}");
            assert_never_started(&outcome, name);
        }
        assert_eq!((served(real).len(), served_tokens(real)), (1, 6000), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_test_4_2_per_command_budget_tracking() {
    on_each_generation(2, |real| {
        real.sandbox.command("analyze-code", "[[usage in=3500 out=500]] [[say Done.]]");
        let outcome = real.run(&fixture("per_command_budget.json"), &[]).expect_code(3);
        let dump = real.dump(&outcome);
        for name in ["analysis-1", "analysis-2"] {
            assert_eq!(outcome.status(name), "completed", "{dump}");
            real.assert_tokens(&outcome, name, 4000);
        }
        let error = budget_error(&outcome, "analysis-3");
        let expected = "Estimated 4000 tokens would exceed /analyze-code budget of 10000 (currently at ";
        assert!(error.contains(expected), "{dump}");
        assert_never_started(&outcome, "analysis-3");
        let sum = outcome.total_tokens("analysis-1") + outcome.total_tokens("analysis-2");
        assert_eq!(limit(&outcome, "command")["used"], sum, "{dump}");
        assert_eq!((served(real).len(), served_tokens(real)), (2, 8000), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

/// At the prices of Sonnet 4, five messages of 80,000 tokens of input and 30,000 of output are $3.45. (Longer ones are
/// compacted, or have other prices.) The second one begins within the budget, and its third message goes over it.
#[test]
fn real_test_4_3_cost_budget_vs_token_budget() {
    on_each_generation(1, |real| {
        real.api.think_beyond((5 + 3) * 110_000, THINKS);
        let outcome = run_test_4_3(real, "[[usage in=80000 out=30000]]").expect_code(3);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.status("expensive-task-1"), "completed", "{dump}");
        assert!(outcome.stdout.contains("$3.45 / $5.00"), "{dump}");
        budget_error(&outcome, "expensive-task-2");
        assert_eq!(limit(&outcome, "overall")["unit"], "usd");
        let begun = served(real).iter().filter(|served| total(served.announced) > 0).count();
        assert_eq!(begun, 5 + 3, "{dump}");
        // Warm-ups and the like cost less than a cent.
        assert!((5.52..5.53).contains(&used(&outcome, "overall")), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

/// Of $5.00 the first one leaves five cents.
#[test]
fn real_test_4_3_blocks_when_the_dollars_are_used() {
    on_the_newest(1, |real| {
        let outcome = run_test_4_3(real, "[[usage in=80000 out=50000]]").expect_code(3);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.status("expensive-task-1"), "completed", "{dump}");
        let line = "BLOCK MODE: Budget exceeded for instance expensive-task-2: Estimated $0.16 would exceed overall cost \
                    budget of $5.00 (currently at $4.95). Skipping.";
        assert!(outcome.stderr.contains(line), "{dump}");
        assert!(budget_error(&outcome, "expensive-task-2").starts_with("Budget exceeded"), "{dump}");
        assert_never_started(&outcome, "expensive-task-2");
        assert!(outcome.stdout.contains("$4.95 / $5.00"), "{dump}");
        assert_eq!(served(real).len(), 5, "{dump}");
    });
}

fn run_test_4_3(real: &Real, usage: &str) -> RunOutput {
    let messages = format!("{usage} {} ", read_tool(real)).repeat(4);
    real.sandbox.command("help", &format!("{messages} {usage} [[say Done.]]"));
    let text = std::fs::read_to_string(fixture("cost_budget_test.json")).expect("a fixture");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["defaults"] = json!({"model": "claude-sonnet-4-20250514"});
    let config = real.sandbox.config(&config.to_string());
    let outcome = real.run(&config, &["--max-parallel", "1", "--status-report-interval", "0.2"]);
    let is_sonnet_4 = |served: &Served| served.model == "claude-sonnet-4-20250514";
    assert!(served(real).iter().all(is_sonnet_4), "{}", real.dump(&outcome));
    outcome
}

/// Each says that it will use what there is, and would use more: one starts, and the others never do.
#[test]
fn real_ten_that_announce_the_limit_overshoot_by_one_message_at_most() {
    on_each_generation(1, |real| {
        real.api.think_beyond(6500, THINKS);
        let prompt = format!("[[usage in=5000 out=100]] {} {}", read_tool(real), rounds(real, 9));
        let instance = |i| json!({"name": format!("i{i}"), "prompt": prompt, "max_tokens_per_command": 6500});
        let outcome = real.run(&real.sandbox.config(&many(10, instance, 6500)), &[]).expect_code(3);
        let dump = real.dump(&outcome);
        assert_over_by_at_most(real, &outcome, 6500, 1);
        let names: Vec<String> = (0..10).map(|i| format!("i{i}")).collect();
        let started = names.iter().filter(|name| outcome.instance(name)["attempts"] != 0).count();
        assert_eq!((started, sessions(real)), (1, 1), "{dump}");
        for name in &names {
            budget_error(&outcome, name);
        }
        assert!(!is_far_over(served_tokens(real), 6500), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

/// Nobody announces anything: at most the messages under way go over, one of each instance.
#[test]
fn real_many_that_announce_nothing_overshoot_by_the_messages_under_way() {
    on_each_generation(4, |real| {
        let names = many_names(real);
        let (count, limit_tokens) = (names.len() as u64, names.len() as u64 * 6000);
        real.api.think_beyond(limit_tokens, THINKS);
        let first = format!("[[usage in=4000 out=100]] {} [[until all have used that]]", read_tool(real));
        let prompt = format!("{first} {}", rounds(real, 30));
        let instance = |i| json!({"name": format!("i{i}"), "prompt": prompt});
        let run = real.start(&real.sandbox.config(&many(names.len(), instance, limit_tokens)), &[]);
        wait_until("a message of each", || served_tokens(real) == count * 4100);
        real.api.open("all have used that");
        let outcome = run.outcome().expect_code(3);
        let dump = real.dump(&outcome);
        assert_over_by_at_most(real, &outcome, limit_tokens, count);
        assert_eq!(sessions(real), names.len(), "{dump}");
        for name in &names {
            assert!(budget_error(&outcome, name).contains("Overall budget reached"), "{dump}");
        }
        assert!(!is_far_over(served_tokens(real), limit_tokens), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

/// Ten on the newest generation. On the older ones, which take a second of CPU each to start, four.
fn many_names(real: &Real) -> Vec<String> {
    let count = if real.is_2_1() { 10 } else { 4 };
    (0..count).map(|i| format!("i{i}")).collect()
}

#[test]
fn real_instance_in_its_last_message_completes() {
    on_each_generation(2, |real| {
        let config = json!({"budget": {"overall_budget": 30_000}, "instances": [
            {"name": "last-message",
                "prompt": "[[usage in=100 out=50]] [[say Begun.]] [[until reached]] [[say Done.]]"},
            {"name": "glutton", "prompt": format!("[[usage in=10 out=31000]] [[until begun]] {}", hold_tool(real))},
        ]});
        let run = real.start(&real.sandbox.config(&config.to_string()), &[]);
        let stream = real.sandbox.path("state/zen/latest/01-last-message/stream.jsonl");
        let has_begun = |text: String| text.contains("content_block_stop");
        wait_until("its last message", || std::fs::read_to_string(&stream).is_ok_and(has_begun));
        real.api.open("begun");
        wait_until("the limit", || run.stderr().contains("Overall budget reached"));
        real.api.open("reached");
        let outcome = run.outcome().expect_code(3);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.status("last-message"), "completed", "{dump}");
        assert_eq!(outcome.instance("last-message")["result"], "Done.", "{dump}");
        assert!(budget_error(&outcome, "glutton").contains("Overall budget reached"), "{dump}");
        real.assert_tokens(&outcome, "last-message", 150);
        real.assert_books_balance(&outcome);
    });
}

/// The same where dollars count, and claude itself calls it an error that its answer has cost more.
#[test]
fn real_last_message_that_costs_more_than_is_left_completes() {
    on_each_generation(1, |real| {
        let config = json!({"budget": {"overall_cost_budget": 0.25}, "instances": [
            {"name": "a", "model": "claude-sonnet-4-20250514", "prompt": "[[usage in=100000 out=10]] [[say Done.]]"}]});
        let outcome = real.run(&real.sandbox.config(&config.to_string()), &[]).expect_code(3);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.status("a"), "completed", "{dump}");
        assert_eq!(outcome.instance("a")["result"], "Done.", "{dump}");
        assert!(outcome.stdout.contains(" of $0.25 (over budget by $0.05)"), "{dump}");
        assert!((0.30..0.31).contains(&used(&outcome, "overall")), "{dump}");
    });
}

/// The test plan's alert: one message that is larger than the limit is what nothing can hold back.
#[test]
fn real_alert_of_the_seed_takes_a_message_larger_than_the_limit() {
    on_each_generation(1, |real| {
        let prompt = format!("[[usage in=9000 out=2500]] {} {}", hold_tool(real), rounds(real, 9));
        let instance = |i| json!({"name": format!("i{i}"), "prompt": prompt, "max_tokens_per_command": 10_000});
        let outcome = real.run(&real.sandbox.config(&many(2, instance, 10_000)), &[]).expect_code(3);
        let dump = real.dump(&outcome);
        assert_eq!((served(real).len(), served_tokens(real)), (1, 11_500), "{dump}");
        assert!(is_far_over(served_tokens(real), 10_000));
        budget_error(&outcome, "i0");
        assert_never_started(&outcome, "i1");
        real.assert_books_balance(&outcome);
    });
}

/// zen takes a token here for almost nothing, and learns only from claude what it costs: claude's own fence holds.
#[test]
fn real_second_fence_is_claude_s_own() {
    on_each_generation(1, |real| {
        let messages = format!("[[usage in=120000 out=6000]] {} {}", read_tool(real), rounds(real, 3));
        let config = json!({
            "pricing": {"claude": {"input": 0.000_001, "output": 0.000_001}},
            "budget": {"overall_cost_budget": 0.4},
            "instances": [{"name": "a", "model": "claude-sonnet-4-20250514", "prompt": messages}]});
        let outcome = real.run(&real.sandbox.config(&config.to_string()), &[]);
        let dump = real.dump(&outcome);
        if real.is_1_0() {
            assert_eq!((outcome.status("a"), served(real).len()), ("completed", 5), "it has no such fence\n{dump}");
        } else {
            assert_eq!(served(real).len(), 1, "{dump}");
            assert!(budget_error(&outcome, "a").contains("error_max_budget_usd"), "{dump}");
        }
        assert!((0.45..0.47).contains(&used(&outcome, "overall")), "{dump}");
    });
}

/// After the first message is seen, each launch reserves as much as it took: 12,700 tokens each, of 50,000.
#[test]
fn real_ten_that_announce_nothing_stay_within_the_limit() {
    on_each_generation(4, |real| {
        let instance = |i| json!({"name": format!("i{i}"), "prompt": "[[usage in=12500 out=200]] [[say Done.]]"});
        let outcome = real.run(&real.sandbox.config(&many(10, instance, 50_000)), &[]).expect_code(3);
        let dump = real.dump(&outcome);
        assert_eq!((served(real).len(), served_tokens(real)), (3, 38_100), "{dump}");
        for i in 0..10 {
            let name = format!("i{i}");
            match i {
                0..3 => assert_eq!(outcome.status(&name), "completed", "{dump}"),
                _ => assert!(budget_error(&outcome, &name).starts_with("Budget exceeded"), "{dump}"),
            }
        }
        assert!(outcome.stderr.contains("Estimated 12700 tokens would exceed overall budget of 50000"), "{dump}");
        real.assert_books_balance(&outcome);
    });
}
