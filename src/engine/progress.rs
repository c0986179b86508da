//! What an instance has told of itself, in the words of its reports. Knows no process, and not who listens.

use crate::claude::protocol::{Denial, Retry};
use crate::plan::result_template::MAX_RESULT_BYTES;

/// How many refused tools are kept one by one.
const MAX_DENIALS: usize = 100;

/// What an attempt has told of itself.
#[derive(Clone, Debug, Default)]
pub struct AttemptProgress {
    /// The session that claude gave it.
    pub session_id: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// The permission mode that claude reports; if it was ever not the one that it was given, that one.
    pub permission_mode: Option<String>,
    /// The permission mode that claude was given, if it reports another.
    pub mode_instead_of: Option<String>,
    /// The text of the last result.
    pub result: Option<String>,
    /// How many turns have ended well.
    pub turns_done: usize,
    /// What was answered to each of these, of a long answer the beginning; nothing where the conversation was cleared.
    pub answers: Vec<String>,
    /// Tools that were refused, the first hundred.
    pub denials: Vec<Denial>,
    /// How many more were refused.
    pub more_denials: u64,
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
    pub invalid_lines: u64,
    /// Lines over the bound.
    pub oversized_lines: u64,
    /// When the usage limit ends, in seconds since 1970.
    pub limit_resets_at: Option<u64>,
}

impl AttemptProgress {
    /// Adds a tool that was refused.
    pub fn deny(&mut self, denial: Denial) {
        if self.denials.len() < MAX_DENIALS {
            self.denials.push(denial);
        } else {
            self.more_denials = self.more_denials.saturating_add(1);
        }
    }

    /// Returns what the record of an instance keeps: of a long result the beginning, which is as much as a message of
    /// another instance can insert. result.txt has the whole.
    #[must_use]
    pub fn for_record(&self) -> AttemptProgress {
        AttemptProgress {
            session_id: self.session_id.clone(),
            model: self.model.clone(),
            permission_mode: self.permission_mode.clone(),
            mode_instead_of: self.mode_instead_of.clone(),
            result: self.result.as_deref().map(beginning),
            answers: self.answers.clone(),
            denials: self.denials.clone(),
            mcp_failed: self.mcp_failed.clone(),
            awaited: self.awaited.clone(),
            background_stopped: self.background_stopped.clone(),
            retry: self.retry.clone(),
            ..*self
        }
    }
}

/// Returns a result that is no longer than [`MAX_RESULT_BYTES`]; of a longer one the beginning, with a last line that says
/// how much is left out.
fn beginning(result: &str) -> String {
    const LAST_LINE_BYTES: usize = 64;
    if result.len() <= MAX_RESULT_BYTES {
        return result.to_owned();
    }
    let end = (0..=MAX_RESULT_BYTES - LAST_LINE_BYTES).rev().find(|&end| result.is_char_boundary(end)).unwrap_or(0);
    format!("{}\n[{} bytes more, left out]", &result[..end], result.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keeps_the_beginning_of_a_long_result() {
        let whole = "x".repeat(MAX_RESULT_BYTES);
        let told = |result: &str| {
            AttemptProgress { result: Some(result.to_owned()), ..AttemptProgress::default() }.for_record().result
        };
        assert_eq!(told(&whole).as_deref(), Some(whole.as_str()));
        let cut = told(&"\u{e9}".repeat(2_000_000)).expect("a result");
        assert!(cut.len() <= MAX_RESULT_BYTES, "{}", cut.len());
        assert!(cut.ends_with("\u{e9}\n[3900064 bytes more, left out]"), "{}", &cut[cut.len() - 50..]);
    }

    #[test]
    fn a_hundred_denials_are_kept_and_the_others_counted() {
        let mut told = AttemptProgress::default();
        (0..250).for_each(|i| told.deny(Denial { tool: format!("T{i}"), input_summary: String::new() }));
        assert_eq!((told.denials.len(), told.more_denials), (MAX_DENIALS, 150));
    }
}
