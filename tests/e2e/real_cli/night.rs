//! One night of many instances against an API that fails in every way: each instance has the verdict that it earned, and
//! the books are the API's log.

use serde_json::{Value, json};

use super::{Real, on_the_newest};
use harness::{MAX_WAIT, RunOutput};

/// The verdict that an instance must have: the exit of its work, and words of its error.
struct Row {
    name: &'static str,
    fields: Value,
    status: &'static str,
    reason: &'static str,
    /// Part of the error, or of the result if it completed.
    words: &'static str,
}

fn row(name: &'static str, fields: Value, status: &'static str, reason: &'static str, words: &'static str) -> Row {
    Row { name, fields, status, reason, words }
}

fn completes(name: &'static str, prompt: &str, words: &'static str) -> Row {
    row(name, json!({ "prompt": prompt }), "completed", "", words)
}

/// A folder whose settings block each prompt.
fn hooked(real: &Real) -> String {
    let folder = real.sandbox.path("hooked");
    std::fs::create_dir_all(folder.join(".claude")).expect("a directory");
    let hook = json!({"type": "command", "command": "echo not tonight >&2; exit 2"});
    let settings = json!({"hooks": {"UserPromptSubmit": [{"hooks": [hook]}]}});
    std::fs::write(folder.join(".claude/settings.json"), settings.to_string()).expect("a file");
    folder.to_str().expect("a path in UTF-8").to_owned()
}

fn rows(real: &Real) -> Vec<Row> {
    real.sandbox.command("fails", "The state is: !`exit 3`\n\nGo on.");
    let background = json!({"command": "sleep 3", "run_in_background": true, "description": "x"});
    let denied = json!({"command": "touch made-by-night", "description": "x"});
    let wake_up = json!({"delaySeconds": 60, "reason": "x", "prompt": "Look again."});
    vec![
        completes("good", "Go. [[say All good.]]", "All good."),
        completes(
            "tool",
            "Go. [[tool Bash {\"command\": \"echo hi\", \"description\": \"x\"}]] [[say Ran it.]]",
            "Ran it.",
        ),
        completes("overloaded", "Go. [[status 529 x2]] [[say After 529.]]", "After 529."),
        completes("broken-server", "Go. [[status 500 x2]] [[say After 500.]]", "After 500."),
        completes("throttled", "Go. [[status 429 x2]] [[header retry-after: 1]] [[say After 429.]]", "After 429."),
        row("refused", json!({"prompt": "Go. [[status 400 x1000]]", "retries": 2}), "failed", "error", "400"),
        row("unknown", json!({"command": "/no-such-command"}), "failed", "command not found", "/no-such-command"),
        row(
            "denied",
            json!({
                "prompt": format!("Go. [[tool Bash {denied}]] [[say Could not.]]"),
                "allowed_tools": ["Read"], "fail_on_denied": true,
            }),
            "failed",
            "error",
            "Permission denied: Bash",
        ),
        completes(
            "background",
            &format!("Go. [[tool Bash {background}]] [[say It runs.]] [[next]] [[say It ended.]]"),
            "It ended.",
        ),
        // A wake-up that is waited for takes a minute or two: `real_wakeup_is_waited_for` does that.
        row(
            "wake-up",
            json!({
                "prompt": format!("Go. [[tool ScheduleWakeup {wake_up}]] [[say Later.]] [[next]] [[say Looked.]]"),
                "background": "stop",
            }),
            "completed",
            "",
            "Later.",
        ),
        completes("reset", "Go. [[status reset]] [[say After a reset.]]", "After a reset."),
        completes("garbled", "Go. [[status garbled]] [[say After noise.]]", "After noise."),
        row("hooked", json!({"prompt": "Never asked.", "cwd": hooked(real)}), "failed", "error", "not tonight"),
        row("bash-fails", json!({"command": "/fails"}), "failed", "error", "Shell command failed"),
        row("empty", json!({"prompt": "Go. [[say ]]"}), "completed", "", ""),
        completes("last", "Go. [[say Good night.]]", "Good night."),
    ]
}

#[test]
fn real_night_has_right_verdicts() {
    on_the_newest(4, |real| {
        let rows = rows(real);
        let instances: Vec<Value> = rows
            .iter()
            .map(|row| {
                let mut instance = row.fields.clone();
                instance["name"] = json!(row.name);
                instance
            })
            .collect();
        let config = real.sandbox.config(&json!({ "instances": instances }).to_string());
        let run = real.start(&config, &["--max-parallel", "4"]);
        let outcome = run.outcome_within(2 * MAX_WAIT).expect_code(2);
        let wrong: Vec<String> = rows.iter().filter_map(|row| wrong(row, &outcome)).collect();
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), real.dump(&outcome));
        // claude 2.1.332 itself sends the same request six times.
        assert_eq!(outcome.instance("refused")["attempts"], 1, "{}", real.dump(&outcome));
        let stopped = &outcome.instance("wake-up")["background_stopped"];
        assert_eq!(stopped, &json!(["wake-up: Look again."]), "{}", real.dump(&outcome));
        for name in ["reset", "garbled"] {
            let certainty = &outcome.instance(name)["tokens_certainty"];
            assert_eq!(certainty, "at_least", "{name}\n{}", real.dump(&outcome));
        }
        assert!(!real.sandbox.workspace().join("made-by-night").exists());
        real.assert_books_balance(&outcome);
    });
}

/// Returns in words how an instance's verdict differs from the right one.
fn wrong(row: &Row, outcome: &RunOutput) -> Option<String> {
    let instance = outcome.instance(row.name);
    let (status, reason) = (outcome.status(row.name), outcome.reason(row.name));
    let text = if status == "completed" { instance["result"].as_str().unwrap_or("") } else { outcome.error(row.name) };
    let is_right = (status, reason) == (row.status, row.reason) && text.contains(row.words);
    (!is_right).then(|| format!("{}: {status} {reason} {text:?}", row.name))
}
