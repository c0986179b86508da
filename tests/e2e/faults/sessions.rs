//! Sessions that are there already, are gone, or are wanted by two at once.

use serde_json::{Value, json};

use super::{bad, expect_completed, instance, run, with};
use harness::Sandbox;

#[test]
fn existing_session_is_continued() {
    for generation in ["1.0", "2.0", "2.1"] {
        let sandbox = Sandbox::new();
        let of_night = |prompt| {
            let instance = with(bad(prompt), "session_id", json!("night"));
            with(instance, "env", json!({ "FAKE_CLAUDE_GENERATION": generation }))
        };
        let first = run(&sandbox, &[of_night("[[say Noted.]] remember the lighthouse")], &[]).expect_code(0);
        let second = run(&sandbox, &[of_night("[[recall]]")], &[]).expect_code(0);
        for outcome in [&first, &second] {
            expect_completed(outcome, "bad");
            assert_eq!(outcome.total_tokens("bad"), 120, "{generation}: each run counts its own");
        }
        let recalled = second.instance("bad")["result"].as_str().unwrap_or("").to_owned();
        assert!(recalled.contains("remember the lighthouse"), "{generation}: {recalled}");
        assert_eq!(first.instance("bad")["session_id"], second.instance("bad")["session_id"], "{generation}");
        let last = sandbox.claude_events("start").into_iter().rfind(|e| e["env"]["ZEN_INSTANCE"] == "bad");
        let argv = last.expect("a start")["argv"].clone();
        assert!(argv.as_array().is_some_and(|argv| argv.contains(&json!("--resume"))), "{generation}: {argv}");
    }
}

#[test]
fn one_session_is_never_in_two_processes_at_once() {
    let sandbox = Sandbox::new();
    let same = |name: &str, prompt: &str| with(instance(name, prompt), "session_id", json!("shared"));
    let instances =
        [same("first", "[[wait 500ms]] [[say One.]]"), same("second", "[[wait 300ms]]"), same("third", "[[recall]]")];
    let outcome = run(&sandbox, &instances, &[]).expect_code(0);
    for name in ["first", "second", "third"] {
        expect_completed(&outcome, name);
    }
    let recalled = outcome.instance("third")["result"].as_str().unwrap_or("");
    assert!(recalled.contains("[[wait 500ms]]") && recalled.contains("[[wait 300ms]]"), "no turn is lost: {recalled}");
    let log = sandbox.claude_log();
    let of_session: Vec<&Value> = log
        .iter()
        .filter(|e| e["event"] == "start")
        .filter(|e| ["first", "second", "third"].iter().any(|name| e["env"]["ZEN_INSTANCE"] == *name))
        .collect();
    let ended_at = |pid: &Value| log.iter().position(|e| e["event"] == "end" && e["pid"] == *pid);
    for pair in of_session.windows(2) {
        let start = log.iter().position(|e| std::ptr::eq(e, pair[1]));
        assert!(ended_at(&pair[0]["pid"]) < start, "{pair:?}");
    }
}

/// What is cleared is a conversation less, on every generation, and the session goes on in the new one.
#[test]
fn cleared_session_continues_in_a_new_conversation() {
    for generation in ["1.0", "2.0", "2.1"] {
        let sandbox = Sandbox::new();
        let of_night = |prompt, pre_commands: &[&str]| {
            let instance = with(bad(prompt), "session_id", json!("night"));
            let instance = with(instance, "pre_commands", json!(pre_commands));
            with(instance, "env", json!({ "FAKE_CLAUDE_GENERATION": generation }))
        };
        let recalled = |instance| {
            let outcome = run(&sandbox, &[instance], &[]).expect_code(0);
            let bad = outcome.instance("bad").clone();
            assert_eq!(bad["turns"], bad["turns_done"], "{generation}\n{}", outcome.dump());
            assert_eq!(bad["attempts"], 1, "two processes are one attempt\n{}", outcome.dump());
            bad["result"].as_str().unwrap_or("").to_owned()
        };
        recalled(of_night("remember the lighthouse", &[]));
        let second = recalled(of_night("[[recall]]", &["/clear", "remember the harbour"]));
        assert!(second.contains("harbour") && !second.contains("lighthouse"), "{generation}: {second}");
        let third = recalled(of_night("[[recall]]", &["/compact"]));
        assert!(!third.contains("lighthouse"), "{generation}: {third}");
        let fourth = recalled(of_night("[[recall]]", &["remember the ferry", "/clear", "remember the bridge"]));
        assert!(fourth.contains("bridge") && !fourth.contains("ferry"), "{generation}: {fourth}");
        for alias in ["/reset", "/new"] {
            let cleared = recalled(of_night("[[recall]]", &["remember the ferry", alias, "remember the bridge"]));
            assert!(cleared.contains("bridge") && !cleared.contains("ferry"), "{generation}: {alias}: {cleared}");
        }
        let fifth = recalled(of_night("[[recall]]", &[]));
        assert!(fifth.contains("bridge") && !fifth.contains("ferry"), "{generation}: {fifth}");
    }
}

/// 2.0 leaves a session of a process that was told nothing: it can neither be begun nor gone on with.
#[test]
fn empty_session_is_skipped() {
    for generation in ["1.0", "2.0", "2.1"] {
        let sandbox = Sandbox::new();
        let of_night = |prompt| {
            let instance = with(bad(prompt), "session_id", json!("night"));
            with(instance, "env", json!({ "FAKE_CLAUDE_GENERATION": generation }))
        };
        let mut gone = of_night("x");
        gone["command"] = json!("/gone");
        run(&sandbox, &[gone], &[]).expect_code(2);
        run(&sandbox, &[of_night("remember the lighthouse")], &[]).expect_code(0);
        let outcome = run(&sandbox, &[of_night("[[recall]]")], &[]).expect_code(0);
        let recalled = outcome.instance("bad")["result"].as_str().unwrap_or("");
        assert!(recalled.contains("lighthouse"), "{generation}: {recalled}");
    }
}

/// A stop between two processes of one instance: no other one is started.
#[test]
fn a_pre_command_that_fails_ends_the_instance_before_the_conversation_is_cleared() {
    let sandbox = Sandbox::new();
    let instance = with(bad("[[say Done.]]"), "pre_commands", json!(["[[error It went wrong.]]", "/clear"]));
    let outcome = run(&sandbox, &[instance], &[]).expect_code(2);
    assert_eq!(outcome.instance("bad")["turns_done"], 0, "{}", outcome.dump());
    assert_eq!(outcome.instance("bad")["attempts"], 1, "{}", outcome.dump());
}
