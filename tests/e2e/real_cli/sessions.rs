//! Conversations on the real claude: a second run goes on where the first one ended, and what is cleared is gone.

use std::process::Stdio;

use serde_json::json;

use super::{Real, on_each_generation, on_the_newest, tokens_of};
use harness::{MAX_WAIT, RunOutput, wait_until};

fn run_in_session(real: &Real, pre_commands: &[&str], prompt: &str) -> RunOutput {
    let instance = json!({"name": "a", "pre_commands": pre_commands, "prompt": prompt, "session_id": "diary"});
    let config = real.sandbox.config(&json!({"instances": [instance]}).to_string());
    real.run(&config, &[]).expect_code(0)
}

#[test]
fn real_next_run_continues_a_named_session() {
    on_each_generation(1, |real| {
        let first = run_in_session(real, &[], "The word is heliotrope. [[usage in=900 out=90]] [[say Noted.]]");
        real.assert_books_balance(&first);
        let served_before = real.api.log().len();
        let second =
            run_in_session(real, &["Ready? [[say Yes.]]"], "What was it? [[usage in=1000 out=10]] [[say That.]]");
        let dump = real.dump(&second);
        let (a, conversation) = (second.instance("a"), real.conversation());
        assert_eq!(a["session_id"], first.instance("a")["session_id"], "{dump}");
        assert_eq!(a["result"], "That.", "{dump}");
        let last = conversation.last().expect("a request");
        assert_eq!(last.session_id.as_deref(), a["session_id"].as_str(), "{dump}");
        let texts = last.conversation_texts.join("\n");
        for expected in ["heliotrope", "Noted.", "Ready?", "Yes.", "What was it?"] {
            assert!(texts.contains(expected), "{expected}\n{texts}");
        }
        // What the session had cost before is not this run's.
        real.assert_books_balance_since(&second, served_before);
        assert!(tokens_of(a).input_tokens >= 1000, "{dump}");
    });
}

/// Runs an instance named `a` with these fields, and gives all that its last request said.
fn told_to_the_model(real: &Real, fields: &serde_json::Value) -> (RunOutput, String) {
    let before = real.api.log().len();
    let (outcome, told) = told_to_the_model_without_books(real, fields);
    real.assert_books_balance_since(&outcome, before);
    (outcome, told)
}

fn told_to_the_model_without_books(real: &Real, fields: &serde_json::Value) -> (RunOutput, String) {
    let mut instance = fields.clone();
    instance["name"] = json!("a");
    let config = real.sandbox.config(&json!({"instances": [instance]}).to_string());
    let outcome = real.run(&config, &[]).expect_code(0);
    let last = real.conversation().pop().expect("a request");
    (outcome, last.conversation_texts.join("\n"))
}

#[test]
fn real_cleared_session_starts_without_history() {
    on_each_generation(1, |real| {
        let session = "3F2504E0-4F89-41D3-9A0C-0305E82C3301";
        told_to_the_model(real, &json!({"prompt": "Heliotrope. [[say One.]]", "session_id": session}));
        let (_, cleared) = told_to_the_model(
            real,
            &json!({"prompt": "Mauve. [[say Two.]]", "session_id": session, "clear_history": true, "compact_history": true}),
        );
        assert!(cleared.contains("Mauve") && !cleared.contains("Heliotrope"), "{cleared}");
        let (outcome, next) =
            told_to_the_model(real, &json!({"prompt": "Teal. [[say Three.]]", "session_id": session}));
        let dump = real.dump(&outcome);
        assert!(next.contains("Mauve") && next.contains("Teal"), "{next}\n{dump}");
        assert!(!next.contains("Heliotrope"), "{next}\n{dump}");
    });
}

#[test]
fn real_clear_in_the_middle_ends_one_conversation_and_begins_the_next() {
    on_each_generation(1, |real| {
        for session in [json!(null), json!("diary")] {
            let pre_commands =
                ["Heliotrope. [[usage in=500 out=50]] [[say One.]]", "/clear", "Mauve. [[say Two.]]", "/compact"];
            // 1.0 and 2.0 date the end of a compaction 0.1 s late, and go on from what is dated last: no API answers that fast.
            let prompt = "Teal. [[wait 300ms]] [[say Three.]]";
            let fields = json!({"pre_commands": pre_commands, "prompt": prompt, "session_id": session});
            let (outcome, told) = told_to_the_model(real, &fields);
            let dump = real.dump(&outcome);
            assert!(told.contains("A summary.") && told.contains("Teal"), "{told}\n{dump}");
            assert!(!told.contains("Heliotrope"), "{told}\n{dump}");
            let a = outcome.instance("a");
            assert_eq!((&a["turns_done"], &a["attempts"]), (&json!(5), &json!(1)), "{dump}");
            assert!(tokens_of(a).input_tokens >= 500 + 3 * 100, "both processes' are on the books\n{dump}");
        }
        let (outcome, told) =
            told_to_the_model(real, &json!({"prompt": "Ochre. [[say Four.]]", "session_id": "diary"}));
        let dump = real.dump(&outcome);
        assert!(told.contains("Ochre") && told.contains("Teal") && !told.contains("Heliotrope"), "{told}\n{dump}");
    });
}

/// 2.0 leaves a file of a session that nothing was said in, and can then neither begin nor resume it.
#[test]
fn real_empty_session_can_be_continued() {
    on_each_generation(1, |real| {
        let config = json!({"instances": [{"name": "a", "command": "/gone", "session_id": "diary"}]}).to_string();
        real.run(&real.sandbox.config(&config), &[]).expect_code(2);
        let before = real.api.log().len();
        let fields = json!({"prompt": "Heliotrope. [[say One.]]", "session_id": "diary"});
        let (outcome, _) = told_to_the_model_without_books(real, &fields);
        match real.conversation().len() {
            1 => real.assert_books_balance_since(&outcome, before),
            // On a busy machine 2.0 asks the model before it finds that it has no such session, and ends without the answer.
            _ => assert_eq!(outcome.instance("a")["tokens_certainty"], "at_least", "{}", real.dump(&outcome)),
        }
        let (outcome, told) = told_to_the_model(real, &json!({"prompt": "Mauve. [[say Two.]]", "session_id": "diary"}));
        assert!(told.contains("Heliotrope") && told.contains("Mauve"), "{told}\n{}", real.dump(&outcome));
    });
}

#[test]
fn real_nothing_to_compact_is_no_failure() {
    on_each_generation(1, |real| {
        let fields = json!({"prompt": "Teal. [[say One.]]", "compact_history": true, "pre_commands": ["/compact"]});
        let (outcome, _) = told_to_the_model(real, &fields);
        assert_eq!(outcome.instance("a")["turns_done"], 3, "{}", real.dump(&outcome));
    });
}

/// Two runs of different configs at once: claude would lose what is said in one of them.
#[test]
fn real_two_runs_in_one_session_lose_nothing() {
    on_each_generation(2, |real| {
        let config = |name: &str, instance: serde_json::Value| {
            let file = real.sandbox.path(name);
            std::fs::write(&file, json!({ "instances": [instance] }).to_string()).expect("a config");
            file
        };
        let of = |name: &str, prompt: &str| json!({"name": name, "prompt": prompt, "session_id": "diary"});
        let first = config("first.json", of("a", "Heliotrope. [[until both]] [[say One.]]"));
        let second = config("second.json", of("b", "Mauve. [[say Two.]]"));
        let arguments =
            ["--config", first.to_str().expect("UTF-8"), "--workspace", "workspace", "--no-logs", "--quiet"];
        let mut first = real.zen(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("zen starts");
        assert!(real.api.wait_for_arrivals(1, MAX_WAIT), "the first one is in the session");
        let second = real.start(&second, &[]);
        wait_until("the second one to wait", || {
            second.stderr().contains("b waits: session diary is in use by another")
        });
        real.api.open("both");
        assert!(first.wait().expect("it ends").success());
        let outcome = second.outcome().expect_code(0);
        assert_eq!(outcome.instance("b")["result"], "Two.", "{}", real.dump(&outcome));
        let (outcome, told) =
            told_to_the_model(real, &json!({"prompt": "Teal. [[say Three.]]", "session_id": "diary"}));
        let dump = real.dump(&outcome);
        for word in ["Heliotrope", "One.", "Mauve", "Two."] {
            assert!(told.contains(word), "{word} is lost\n{told}\n{dump}");
        }
    });
}

/// On 2.1 these are `/clear`, which leaves the session; to 1.0 and 2.0 they are unknown.
#[test]
fn real_aliases_of_clear_stay_in_the_session() {
    on_each_generation(1, |real| {
        let pre_commands = ["Heliotrope. [[say One.]]", "/reset", "Mauve. [[say Two.]]"];
        let fields = json!({"pre_commands": pre_commands, "prompt": "Teal. [[say Three.]]", "session_id": "diary"});
        let (outcome, told) = told_to_the_model(real, &fields);
        let dump = real.dump(&outcome);
        assert!(told.contains("Mauve") && !told.contains("Heliotrope"), "{told}\n{dump}");
        assert_eq!(outcome.instance("a")["session_kept"], true, "{dump}");
        let (_, told) = told_to_the_model(real, &json!({"prompt": "Ochre. [[say Four.]]", "session_id": "diary"}));
        assert!(told.contains("Teal") && told.contains("Ochre") && !told.contains("Heliotrope"), "{told}");
    });
}

#[test]
fn real_session_that_is_not_kept_is_reported() {
    // 1.0 and 2.0 end with an error of their own.
    on_the_newest(1, |real| {
        let projects = real.sandbox.path("home/.claude/projects");
        std::fs::remove_dir_all(&projects).expect("a directory");
        std::fs::write(&projects, "").expect("a file");
        let of = |name: &str| json!({"name": name, "prompt": "Mauve. [[say One.]]", "session_id": "diary"});
        let run = |instances: serde_json::Value| {
            let config = real.sandbox.config(&json!({ "instances": instances }).to_string());
            real.run(&config, &[])
        };
        let outcome = run(json!([of("a")])).expect_code(0);
        assert_eq!(outcome.instance("a")["session_kept"], false, "{}", real.dump(&outcome));
        let outcome = run(json!([of("a"), of("b")])).expect_code(2);
        let error = outcome.error("a");
        assert!(error.contains("has not saved the conversation of session diary"), "{}", real.dump(&outcome));
    });
}
