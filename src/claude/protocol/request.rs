//! Messages that zen writes to claude's standard input: one JSON object per line.

use serde_json::json;

/// Id of the `initialize` request, which its response repeats.
pub const INITIALIZE_ID: &str = "zen-initialize";

/// Requests the slash commands of the session, before any token is used.
#[must_use]
pub fn initialize() -> Vec<u8> {
    line(&json!({"type": "control_request", "request_id": INITIALIZE_ID, "request": {"subtype": "initialize"}}))
}

/// Interrupts the current turn and its tools. Its result still arrives, with the cost.
#[must_use]
pub fn interrupt() -> Vec<u8> {
    line(&json!({"type": "control_request", "request_id": "zen-interrupt", "request": {"subtype": "interrupt"}}))
}

/// Stops a background command (2.1). No turn follows, unlike after a command that ends by itself.
#[must_use]
pub fn stop_task(task_id: &str) -> Vec<u8> {
    let request = json!({"subtype": "stop_task", "task_id": task_id});
    line(&json!({"type": "control_request", "request_id": format!("zen-stop-{task_id}"), "request": request}))
}

/// Sends the message of a turn unchanged: a slash command or text.
#[must_use]
pub fn user(message: &str) -> Vec<u8> {
    line(&json!({"type": "user", "message": {"role": "user", "content": message}}))
}

/// Sends the message of a turn that must not call a command.
///
/// Every generation parses a message that begins with a slash as a command, and one with a blank before it as text.
#[must_use]
pub fn text(message: &str) -> Vec<u8> {
    if message.starts_with('/') { user(&format!(" {message}")) } else { user(message) }
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
