//! What an instance has told of itself, in the words of its reports. Knows no process, and not who listens.

use crate::claude::events::{Denial, Retry};

/// What an attempt has told of itself.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The session that claude gave it.
    pub session_id: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// The text of the last result.
    pub result: Option<String>,
    /// How many turns have ended well.
    pub turns_done: usize,
    /// What was answered to each of these, of a long answer the beginning; nothing where the conversation was cleared.
    pub answers: Vec<String>,
    /// Tools that were refused.
    pub denials: Vec<Denial>,
    /// MCP servers that claude reported as failed, each once.
    pub mcp_failed: Vec<String>,
    /// Background work that zen waits for, by command.
    pub awaited: Vec<String>,
    /// Background work that was stopped, by command.
    pub background_stopped: Vec<String>,
    /// The retry it waits for.
    pub retry: Option<Retry>,
    /// How many requests were retried.
    pub retries: u64,
    /// Lines that were no event.
    pub garbage_lines: u64,
    /// Lines over the bound.
    pub long_lines: u64,
    /// When the usage limit ends, in seconds since 1970.
    pub limit_resets_at: Option<u64>,
}
