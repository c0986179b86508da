//! What the API refuses: for a while, for good, and until the plan's limit is reset.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Real, on_each_generation, on_the_newest};
use harness::{MAX_WAIT, wait_until};

/// The older generations try again as well, and say nothing of it.
#[test]
fn real_overloaded_api_is_asked_again() {
    on_each_generation(1, |real| {
        let prompt = "Try. [[status 529 x2]] [[usage in=200 out=20]] [[say Made it.]]";
        let run = real.start(&real.sandbox.prompts(&[prompt]), &["--status-report-interval", "0.2"]);
        if real.is_2_1() {
            wait_until("a report of the retry", || run.stdout().contains("retry"));
        }
        let outcome = run.outcome().expect_code(0);
        let dump = real.dump(&outcome);
        let a = outcome.instance("a");
        assert_eq!(a["result"], "Made it.", "{dump}");
        assert_eq!(a["retries"], json!(if real.is_2_1() { 2 } else { 0 }), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_refused_login_fails_at_once() {
    on_the_newest(1, |real| {
        let outcome = real.run_prompt("Try. [[status 401 x1000]]").expect_code(2);
        let dump = real.dump(&outcome);
        assert!(outcome.took < Duration::from_secs(90), "it took {:?}\n{dump}", outcome.took);
        assert_eq!(outcome.instance("a")["reason"], "account", "{dump}");
        assert!(outcome.error("a").starts_with("Authentication failed"), "{dump}");
        assert!(outcome.error("a").contains("ANTHROPIC_API_KEY"), "says what to do\n{dump}");
    });
}

/// An answer of the API to a subscription's login: the plan is used up until `reset` (see `header_value` of the loopback API).
fn used_up(reset: &str) -> String {
    let headers = [
        ("status", "rejected".to_owned()),
        ("reset", reset.to_owned()),
        ("representative-claim", "five_hour".to_owned()),
        ("5h-utilization", "1.0".to_owned()),
        ("5h-reset", reset.to_owned()),
        ("5h-status", "rejected".to_owned()),
    ];
    let headers = headers.map(|(name, value)| format!("[[header anthropic-ratelimit-unified-{name}: {value}]]"));
    format!("Go on. [[status 429 x1000]] {}", headers.join(" "))
}

/// A config of these instances, all with such a login.
fn with_login(real: &Real, instances: Value) -> PathBuf {
    let env = json!({"ANTHROPIC_API_KEY": null, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-anything"});
    real.sandbox.config(&json!({ "defaults": {"env": env}, "instances": instances }).to_string())
}

#[test]
fn real_usage_limit_means_try_later() {
    on_the_newest(1, |real| {
        // A reset that is more than eight days ahead would not be believed.
        let reset = zen::run::epoch_ms() / 1000 + 3 * 24 * 3600;
        let instances = json!([
            {"name": "a", "prompt": used_up(&reset.to_string()), "retries": 3}, {"name": "b", "prompt": "Never asked."},
        ]);
        let outcome = real.run(&with_login(real, instances), &["--max-parallel", "1"]).expect_code(75);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.reason("a"), "limit", "{dump}");
        assert!(outcome.error("a").contains("limit"), "{dump}");
        assert_eq!(outcome.instance("a")["attempts"], 1, "{dump}");
        assert_eq!((outcome.reason("b"), &outcome.instance("b")["attempts"]), ("limit", &json!(0)), "{dump}");
        let expected = zen::base::timestamp::rfc3339_utc(reset * 1000);
        assert_eq!(outcome.report["usage_limit"]["resets_at"], expected, "{dump}");
        assert!(outcome.stderr.starts_with("zen: usage limit until "), "{dump}");
        assert!(real.conversation().iter().all(|served| served.has_authorization && !served.has_api_key));
    });
}

#[test]
fn real_usage_limit_is_waited_for() {
    on_the_newest(1, |real| {
        // 2.1.332 sends no `rate_limit_event` if the reset is in the past, so that zen waits the longest pause.
        real.sandbox.command("work", &used_up("now+5"));
        let instances = json!([{"name": "a", "command": "/work"}, {"name": "b", "prompt": "Then. [[say After it.]]"}]);
        let run = real.start(&with_login(real, instances), &["--max-parallel", "1", "--on-limit", "wait"]);
        wait_until("word of the wait", || run.stderr().contains("; again in "));
        real.sandbox.command("work", "[[say Made it.]]");
        // zen waits until a minute after the reset.
        let outcome = run.outcome_within(2 * MAX_WAIT).expect_code(0);
        let dump = real.dump(&outcome);
        let a = outcome.instance("a");
        let failed = a["failed_attempts"].as_array().expect("attempts");
        assert_eq!((&a["result"], &failed[0]["reason"]), (&json!("Made it."), &json!("limit")), "{dump}");
        assert_eq!(a["attempts"], failed.len() + 1, "{dump}");
        assert_eq!(outcome.instance("b")["result"], "After it.", "{dump}");
        assert!(outcome.took >= Duration::from_secs(60), "{dump}");
        real.assert_books_balance(&outcome);
    });
}
