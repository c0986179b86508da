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

/// One turn's message.
#[must_use]
pub fn user(text: &str) -> Vec<u8> {
    line(&json!({"type": "user", "message": {"role": "user", "content": text}}))
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
