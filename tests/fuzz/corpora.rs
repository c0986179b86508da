//! The fuzz targets on their corpora: the initial inputs, and those that once caused a crash. `make fuzz` searches for more.

mod targets {
    pub mod config;
    pub mod start_time;
    pub mod stream;
}

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde_json::{Value, json};

use harness::fixture;
use targets::{config, start_time, stream};

/// The files of these directories of the fixtures, those of directories below included.
fn files(directories: &[&str]) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = directories.iter().map(|name| fixture(name)).collect();
    let mut files = Vec::new();
    while let Some(path) = left.pop() {
        match path.is_dir() {
            true => left.extend(fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path())),
            false => files.push(path),
        }
    }
    files
}

fn run_through(target: fn(&[u8]), directories: &[&str]) {
    let files = files(directories);
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let data = fs::read(&file).expect("a file");
        // Whole, and cut off where a reader may have come to.
        for length in [data.len(), data.len() * 2 / 3, data.len() / 3] {
            let outcome = catch_unwind(AssertUnwindSafe(|| target(&data[..length])));
            assert!(outcome.is_ok(), "the first {length} bytes of {}", file.display());
        }
    }
}

#[test]
fn config_corpus_causes_no_panic() {
    run_through(config::run, &["fuzz/config", "missing_fields", "malformed_json"]);
}

#[test]
fn start_time_corpus_causes_no_panic() {
    run_through(start_time::run, &["fuzz/start_time"]);
}

#[test]
fn stream_corpus_causes_no_panic() {
    run_through(stream::run, &["fuzz/stream", "recorded"]);
}

/// Each kind of event that the real ones have printed, with each of its fields missing, or of another kind.
#[test]
fn stream_with_any_field_missing_or_wrong_causes_no_panic() {
    let mut kinds = HashSet::new();
    let mut changed = 0;
    for file in files(&["recorded"]).iter().filter(|file| file.extension().is_some_and(|e| e == "jsonl")) {
        let generation = file.parent().and_then(|parent| parent.file_name()).map(|name| name.to_owned());
        for line in fs::read_to_string(file).expect("UTF-8").lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let kind = [&event["type"], &event["subtype"], &event["event"]["type"]].map(Value::to_string);
            if !kinds.insert((generation.clone(), kind)) {
                continue;
            }
            for (index, pointer) in pointers(&event).into_iter().enumerate() {
                let wrong = [json!({}), json!("x"), json!([[]]), json!(-1), json!(1e300)];
                for event in [&Value::Null, &wrong[index % wrong.len()]].map(|value| with(&event, &pointer, value)) {
                    // Before it claude was asked, and after it the turns go on.
                    let text = format!("{ANSWER}\n{event}\n{event}\n{GOOD_RESULT}\n{GOOD_RESULT}\n{GOOD_RESULT}\n");
                    let outcome = catch_unwind(AssertUnwindSafe(|| stream::run(text.as_bytes())));
                    assert!(outcome.is_ok(), "{pointer}: {event}");
                    changed += 1;
                }
            }
        }
    }
    assert!(kinds.len() > 30 && changed > 1000, "{} kinds, changed {changed} times", kinds.len());
}

const ANSWER: &str = r#"{"type":"control_response","response":{"subtype":"success","request_id":"zen-initialize"}}"#;
const GOOD_RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"Done."}"#;

/// Every place in this value but the whole.
fn pointers(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.replace('/', "~1"), value)).collect(),
        // The elements of a list are all of one kind.
        Value::Array(elements) => elements.iter().take(1).map(|value| ("0".to_owned(), value)).collect(),
        _ => Vec::new(),
    };
    let of_child = |(name, child): (String, &Value)| {
        let below = pointers(child).into_iter().map(|pointer| format!("/{name}{pointer}")).collect::<Vec<_>>();
        std::iter::once(format!("/{name}")).chain(below)
    };
    children.into_iter().flat_map(of_child).collect()
}

/// This event with another value there; null takes the field away.
fn with(event: &Value, pointer: &str, value: &Value) -> Value {
    let mut event = event.clone();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    match (event.pointer_mut(parent), value) {
        (Some(Value::Object(fields)), Value::Null) => {
            fields.remove(&name.replace("~1", "/"));
        }
        (Some(parent), value) => parent.pointer_mut(&format!("/{name}")).into_iter().for_each(|at| *at = value.clone()),
        (None, _) => {}
    }
    event
}
