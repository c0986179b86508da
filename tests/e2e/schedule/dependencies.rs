//! Dependencies: who is started, who is skipped and because of whom, and the results that go from one to the next.

use serde_json::{Value, json};

use harness::Sandbox;
use std::time::Duration;

/// What the fake claude was told, in order.
fn told(sandbox: &Sandbox) -> Vec<String> {
    let text = |turn: &Value| turn["text"].as_str().expect("a text").to_owned();
    sandbox.claude_events("turn").iter().map(text).collect()
}

#[test]
fn failure_skips_dependents_and_names_the_cause() {
    let sandbox = Sandbox::new();
    let config = json!({"instances": [
        {"name": "a", "prompt": "[[error it broke]]"},
        {"name": "b", "prompt": "x", "depends_on": ["a"]},
        {"name": "c", "prompt": "x", "depends_on": ["b"]},
        {"name": "any", "prompt": "[[say all the same]]", "depends_on": [{"name": "c", "when": "done"}]},
        {"name": "other", "prompt": "[[say beside it]]"},
    ]});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &[]).expect_code(2);
    assert_eq!(outcome.error("b"), "depends on a, which failed");
    assert_eq!(outcome.error("c"), "depends on b, which was skipped because a failed");
    assert_eq!(outcome.instance("c")["skipped_due_to"], "b");
    for (name, status) in [("b", "skipped"), ("c", "skipped"), ("any", "completed"), ("other", "completed")] {
        assert_eq!(outcome.status(name), status, "{}", outcome.dump());
    }
    for line in [
        "zen: stage 1 of 4 ended after ",
        "zen: stage 2 of 4 ended after ",
        "zen: stage 4 of 4 ended after ",
        ": 1 completed, 1 failed",
        ": 1 skipped",
    ] {
        assert!(outcome.stderr.contains(line), "{line}\n{}", outcome.dump());
    }
    assert!(outcome.stdout.contains("Skipped Instances:\n- b: depends on a, which failed\n"));
}

#[test]
fn result_is_passed_to_dependents() {
    let sandbox = Sandbox::new();
    sandbox.command("sum", "$ARGUMENTS [[say summed]]");
    let config = json!({"instances": [
        {"name": "numbers", "prompt": "[[say {{result:sum}} 1 2 3]]".replace("{{result:sum}}", "(result)")},
        {"name": "silent", "prompt": "[[exit 3]]"},
        {"name": "sum", "command": "/sum {{result:numbers}}", "depends_on": ["numbers"],
         "pre_commands": ["Read <{{result:numbers}}> [[say read]]"]},
        {"name": "last", "prompt": "<{{result:silent}}{{result:numbers}}{{result:sum}}>",
         "depends_on": ["sum", {"name": "silent", "when": "done"}]},
    ]});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &["--max-parallel", "1"]).expect_code(2);
    let told = told(&sandbox);
    assert_eq!(
        told[2..],
        ["Read <(result) 1 2 3> [[say read]]", "/sum (result) 1 2 3", "<(result) 1 2 3summed>"],
        "{}",
        outcome.dump()
    );
    assert_eq!(outcome.instance("sum")["result"], "summed");
}

#[test]
fn result_is_neither_a_command_nor_a_template() {
    let sandbox = Sandbox::new();
    let config = json!({"instances": [
        {"name": "a", "prompt": "[[say /compact {{resul]]".replace("{{resul", "now")},
        {"name": "b", "prompt": "[[say {{result:a}}]]", "depends_on": ["a"]},
        {"name": "c", "prompt": "{{result:a}}", "depends_on": ["b"]},
    ]});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &[]).expect_code(0);
    assert_eq!(told(&sandbox)[1..], ["[[say /compact now]]", "Result of a:\n/compact now"], "{}", outcome.dump());
    let wrong = json!({"instances": [
        {"name": "a", "prompt": "x"},
        {"name": "b", "command": "/{{result:a}}", "depends_on": ["a"]},
        {"name": "c", "command": "{{result:A}} {{result:}}"},
    ]});
    let outcome = sandbox.run(&sandbox.config(&wrong.to_string()), &[]).expect_code(1);
    for expected in [
        "3 mistakes, nothing was launched",
        "instance 'b': command: '{{result:a}}' must not be part of the command's name",
        "instance 'c': command: '{{result:A}}': unknown instance 'A', did you mean 'a'?",
        "instance 'c': command: '{{result:}}' names no instance",
    ] {
        assert!(outcome.stderr.contains(expected), "{expected}\n{}", outcome.dump());
    }
}

#[test]
fn a_dry_run_shows_the_placeholder() {
    let sandbox = Sandbox::new();
    let config = json!({"instances": [
        {"name": "a", "prompt": "x"}, {"name": "b", "prompt": "Sum up {{result:a}}.", "depends_on": ["a"]},
    ]});
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &["--dry-run"]).expect_code(0);
    assert!(outcome.stdout.contains("text Sum up {{result:a}}.\n"), "{}", outcome.dump());
}

/// One first, one last, 198 in layers of eleven between them, each depending on three of the layer before.
#[test]
fn diamond_of_200_instances_ends_as_its_graph_requires() {
    const LAYER: usize = 11;
    let layer_of = |i: usize| i.div_ceil(LAYER);
    let in_layer = |layer: usize, at: usize| if layer == 0 { 0 } else { 1 + (layer - 1) * LAYER + at % LAYER };
    let fails = |i: usize| i % 17 == 11;
    let after = |i: usize| -> Vec<(usize, bool)> {
        match layer_of(i) {
            0 => Vec::new(),
            layer if i == 199 => (0..LAYER).map(|at| (in_layer(layer - 1, at), true)).collect(),
            1 => vec![(0, false)],
            layer => (0..3).map(|k| (in_layer(layer - 1, i * 7 + k * 4), (i + k).is_multiple_of(2))).collect(),
        }
    };
    let mut expected = vec![""; 200];
    for i in 0..200 {
        let is_met = after(i).iter().all(|&(other, when_done)| when_done || expected[other] == "completed");
        expected[i] = if !is_met {
            "skipped"
        } else if fails(i) {
            "failed"
        } else {
            "completed"
        };
    }
    for status in ["completed", "failed", "skipped"] {
        let count = expected.iter().filter(|expected| **expected == status).count();
        assert!(count >= 3, "{count} {status}: this diamond shows nothing");
    }
    let instance = |i: usize| {
        let prompt = if fails(i) { "[[error it broke]]".to_owned() } else { format!("[[say {i}]]") };
        let after: Vec<Value> = after(i)
            .iter()
            .map(|(other, when_done)| json!({"name": format!("i{other}"), "when": if *when_done { "done" } else { "completed" }}))
            .collect();
        json!({"name": format!("i{i}"), "prompt": prompt, "depends_on": after})
    };
    let instances: Vec<Value> = (0..200).map(instance).collect();
    let sandbox = Sandbox::new();
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let run = sandbox.start(&config, &["--max-parallel", "8"]);
    let outcome = run.outcome_within(Duration::from_secs(300)).expect_code(2);
    for (i, expected) in expected.iter().enumerate() {
        assert_eq!(outcome.status(&format!("i{i}")), *expected, "i{i}\n{}", outcome.dump());
    }
    let starts = expected.iter().filter(|expected| **expected != "skipped").count();
    assert_eq!(sandbox.claude_events("start").len(), starts);
    assert!(outcome.stdout.contains("Stages:\n- 1 of 20: 1 completed ("), "{}", outcome.dump());
}
