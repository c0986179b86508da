//! What the API refuses: for a while, for good, and until the plan's limit is reset.

use std::time::Duration;

use serde_json::json;

use super::{on_each_generation, on_the_newest};
use crate::support::wait_until;

/// The older generations try again as well, and say nothing of it.
#[test]
fn real_overloaded_api_is_asked_again() {
    on_each_generation(1, |real| {
        let prompt = "Try. [[status 529 x2]] [[usage in=200 out=20]] [[say Made it.]]";
        let run = real.start(&real.place.prompts(&[prompt]), &["--status-report-interval", "0.2"]);
        if real.is_2_1() {
            wait_until("a report of the retry", || run.stdout().contains("retry"));
        }
        let outcome = run.outcome().expect_code(0);
        let everything = real.everything(&outcome);
        let a = outcome.instance("a");
        assert_eq!(a["result"], "Made it.", "{everything}");
        assert_eq!(a["retries"], json!(if real.is_2_1() { 2 } else { 0 }), "{everything}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_refused_login_fails_at_once() {
    on_the_newest(1, |real| {
        let outcome = real.run_prompt("Try. [[status 401 x1000]]").expect_code(2);
        let everything = real.everything(&outcome);
        assert!(outcome.took < Duration::from_secs(20), "it took {:?}\n{everything}", outcome.took);
        assert_eq!(outcome.instance("a")["reason"], "error", "{everything}");
        assert!(outcome.error("a").starts_with("Authentication failed"), "{everything}");
        assert!(outcome.error("a").contains("ANTHROPIC_API_KEY"), "says what to do\n{everything}");
    });
}

#[test]
fn real_usage_limit_means_try_later() {
    on_the_newest(1, |real| {
        let reset = 1_900_000_000_u64;
        let headers = [
            ("status", "rejected".to_owned()),
            ("reset", reset.to_string()),
            ("representative-claim", "five_hour".to_owned()),
            ("5h-utilization", "1.0".to_owned()),
            ("5h-reset", reset.to_string()),
            ("5h-status", "rejected".to_owned()),
        ];
        let headers = headers.map(|(name, value)| format!("[[header anthropic-ratelimit-unified-{name}: {value}]]"));
        let instance = json!({
            "name": "a",
            "prompt": format!("Go on. [[status 429 x1000]] {}", headers.join(" ")),
            "env": {"ANTHROPIC_API_KEY": null, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-anything"},
        });
        let config = real.place.config(&json!({"instances": [instance]}).to_string());
        let outcome = real.run(&config, &[]).expect_code(75);
        let everything = real.everything(&outcome);
        assert_eq!(outcome.instance("a")["reason"], "limit", "{everything}");
        assert!(outcome.error("a").contains("limit"), "{everything}");
        assert!(real.conversation().iter().all(|served| served.has_authorization && !served.has_api_key));
    });
}
