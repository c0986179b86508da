//! Sessions that are there already, are gone, or are wanted by two at once.

use serde_json::{Value, json};

use super::{bad, expect_completed, instance, run, with};
use crate::support::Place;

#[test]
fn a_session_that_is_there_is_gone_on_with() {
    for generation in ["1.0", "2.0", "2.1"] {
        let place = Place::new();
        let of_night = |prompt| {
            let instance = with(bad(prompt), "session_id", json!("night"));
            with(instance, "env", json!({ "STAND_IN_GENERATION": generation }))
        };
        let first = run(&place, &[of_night("[[say Noted.]] remember the lighthouse")], &[]).expect_code(0);
        let second = run(&place, &[of_night("[[recall]]")], &[]).expect_code(0);
        for outcome in [&first, &second] {
            expect_completed(outcome, "bad");
            assert_eq!(outcome.total_tokens("bad"), 120, "{generation}: each run counts its own");
        }
        let recalled = second.instance("bad")["result"].as_str().unwrap_or("").to_owned();
        assert!(recalled.contains("remember the lighthouse"), "{generation}: {recalled}");
        assert_eq!(first.instance("bad")["session_id"], second.instance("bad")["session_id"], "{generation}");
        let last = place.stand_in_events("start").into_iter().rfind(|e| e["env"]["ZEN_INSTANCE"] == "bad");
        let argv = last.expect("a start")["argv"].clone();
        assert!(argv.as_array().is_some_and(|argv| argv.contains(&json!("--resume"))), "{generation}: {argv}");
    }
}

#[test]
fn one_session_is_never_in_two_processes_at_once() {
    let place = Place::new();
    let same = |name: &str, prompt: &str| with(instance(name, prompt), "session_id", json!("shared"));
    let instances =
        [same("first", "[[wait 500ms]] [[say One.]]"), same("second", "[[wait 300ms]]"), same("third", "[[recall]]")];
    let outcome = run(&place, &instances, &[]).expect_code(0);
    for name in ["first", "second", "third"] {
        expect_completed(&outcome, name);
    }
    let recalled = outcome.instance("third")["result"].as_str().unwrap_or("");
    assert!(recalled.contains("[[wait 500ms]]") && recalled.contains("[[wait 300ms]]"), "no turn is lost: {recalled}");
    let log = place.stand_in_log();
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
