//! What is said to claude over its standard input: one JSON object a line.

use serde_json::json;

/// The id of the `initialize` request, by which its answer is known.
pub const INITIALIZE_ID: &str = "zen-initialize";

/// Asks for the session's slash commands, before any token is spent.
#[must_use]
pub fn initialize() -> Vec<u8> {
    line(&json!({"type": "control_request", "request_id": INITIALIZE_ID, "request": {"subtype": "initialize"}}))
}

/// Ends the turn under way, its tools too; its result, with what it cost, still comes.
#[must_use]
pub fn interrupt() -> Vec<u8> {
    line(&json!({"type": "control_request", "request_id": "zen-interrupt", "request": {"subtype": "interrupt"}}))
}

/// Ends a background command (2.1). No turn follows, as one does when a command ends by itself.
#[must_use]
pub fn stop_task(task_id: &str) -> Vec<u8> {
    let request = json!({"subtype": "stop_task", "task_id": task_id});
    line(&json!({"type": "control_request", "request_id": format!("zen-stop-{task_id}"), "request": request}))
}

/// One turn's message, as it stands: a call of a slash command, or text.
#[must_use]
pub fn user(message: &str) -> Vec<u8> {
    line(&json!({"type": "user", "message": {"role": "user", "content": message}}))
}

/// The message of a turn that calls no command. Every generation takes what begins with a slash for one, and what has a
/// blank before it for text.
#[must_use]
pub fn text(message: &str) -> Vec<u8> {
    if message.starts_with('/') { user(&format!(" {message}")) } else { user(message) }
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
