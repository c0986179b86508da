//! `FAKE_CLAUDE_LOG=FILE`: one JSON line for each start, message served and end, so that a test can compare what zen
//! counted with what was really served.

use serde_json::{Value, json};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Environment variables of interest to tests; nothing else of the environment is logged.
const SHOWN: [&str; 18] = [
    "ZEN_RUN",
    "ZEN_INSTANCE",
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SSE_PORT",
    "CLAUDE_CONFIG_DIR",
    "HOME",
    "PWD",
    "PATH",
    "IS_SANDBOX",
    "ANTHROPIC_MODEL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "DISABLE_AUTOUPDATER",
    "OTEL_RESOURCE_ATTRIBUTES",
    "FAKE_CLAUDE_GENERATION",
    "FAKE_CLAUDE_AT_START",
    "FAKE_CLAUDE_INITIALIZE",
];

/// Appends one event; `fields` is an object. Without `FAKE_CLAUDE_LOG` nothing happens.
pub fn event(name: &str, fields: Value) {
    let Some(path) = std::env::var_os("FAKE_CLAUDE_LOG") else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = json!({ "event": name, "pid": std::process::id(), "time_ms": now.as_millis() as u64 });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    let mut text = line.to_string();
    text.push('\n');
    // One write with O_APPEND: lines of parallel processes do not mix.
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(text.as_bytes());
    }
}

pub fn start() {
    let argv: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let cwd = std::env::current_dir().unwrap_or_default();
    let env: serde_json::Map<String, Value> = SHOWN
        .iter()
        .filter_map(|&name| Some((name.to_owned(), std::env::var_os(name)?.to_string_lossy().into())))
        .collect();
    let fields = json!({
        "ppid": std::os::unix::process::parent_id(),
        "pgid": nix::unistd::getpgrp().as_raw(),
        "argv": argv,
        "cwd": cwd.to_string_lossy(),
        "env": env,
    });
    event("start", fields);
}
