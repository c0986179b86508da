//! What the fuzzers begin with, and what they have found: every file of it goes through their targets in each run of the
//! suite. `make fuzz` lets them look for more.

#[path = "../fuzz/targets/config.rs"]
mod config;
#[path = "../fuzz/targets/start_time.rs"]
mod start_time;
#[path = "../fuzz/targets/stream.rs"]
mod stream;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::support::fixture;

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
fn of_the_config() {
    run_through(config::run, &["fuzz/config", "invalid", "malformed"]);
}

#[test]
fn of_the_start_time() {
    run_through(start_time::run, &["fuzz/start_time"]);
}

#[test]
fn of_the_stream() {
    run_through(stream::run, &["fuzz/stream", "recorded"]);
}
