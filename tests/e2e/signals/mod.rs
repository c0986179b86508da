//! Signals to zen itself: each one that stops a run, once and twice, at each stage of it; those that zen is to leave
//! alone; SIGKILL; and readers of its output that go away or do not read.

mod killed;
mod not_stopping;
mod readers;
mod stages;
mod suspended;

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use harness::{Sandbox, is_alive};

const STOPPING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// One message of 1,000 tokens, and then a tool that runs for minutes in a session of its own.
const SPENDS: &str =
    "[[usage in=900 out=100]] [[say Begun.]] [[tool Bash {\"command\": \"sleep 300 & sleep 300\"}]] [[say Done.]]";

/// A config of these instances.
fn config(sandbox: &Sandbox, instances: &[Value]) -> PathBuf {
    sandbox.config(&json!({ "instances": instances }).to_string())
}

fn instance(name: &str, prompt: &str) -> Value {
    json!({ "name": name, "prompt": prompt })
}

/// An instance on a fake claude with this environment.
fn with_env(mut instance: Value, env: Value) -> Value {
    instance["env"] = env;
    instance
}

/// Whether the fake claude has logged this so often.
fn has_logged(sandbox: &Sandbox, kind: &str, count: usize) -> bool {
    sandbox.claude_events(kind).len() == count
}

/// The processes in the log of the fake claudes that live: claudes, tools, and what escaped.
fn alive(sandbox: &Sandbox) -> Vec<i32> {
    let names = ["pid", "tool_pid", "child_pid"];
    let log = sandbox.claude_log();
    let pids = log.iter().flat_map(|event| names.map(|name| event[name].as_i64())).flatten();
    let mut pids: Vec<i32> = pids.filter_map(|pid| i32::try_from(pid).ok()).filter(|&pid| is_alive(pid)).collect();
    pids.dedup();
    pids
}
