//! Progress of an attempt, as collected from claude's events.

use crate::claude::protocol::{Denial, Retry};
use crate::plan::result_template::MAX_RESULT_BYTES;

/// Number of denials that are kept one by one.
const MAX_DENIALS: usize = 100;

/// Progress that an attempt has reported so far.
#[derive(Clone, Debug, Default)]
pub struct AttemptProgress {
    /// Session that claude assigned.
    pub session_id: Option<String>,
    /// Model that answers.
    pub model: Option<String>,
    /// Permission mode that claude reports. A mode that differs from the given one is kept.
    pub permission_mode: Option<String>,
    /// Permission mode that claude was given, if it reports another one.
    pub mode_instead_of: Option<String>,
    /// Text of the last result.
    pub result: Option<String>,
    /// Number of turns that succeeded.
    pub turns_done: usize,
    /// Answer to each of these turns. Long answers are truncated; a turn that clears the conversation has an empty one.
    pub answers: Vec<String>,
    /// Denied tools: the first hundred.
    pub denials: Vec<Denial>,
    /// Number of further denials.
    pub more_denials: u64,
    /// MCP servers that claude reported as failed, without duplicates.
    pub mcp_failed: Vec<String>,
    /// Background work that zen waits for, by command.
    pub awaited: Vec<String>,
    /// Background work that was stopped, by command.
    pub background_stopped: Vec<String>,
    /// API retry that is pending.
    pub retry: Option<Retry>,
    /// Number of API requests that were retried.
    pub retries: u64,
    /// Number of lines that are not valid events.
    pub invalid_lines: u64,
    /// Number of lines over the size limit.
    pub oversized_lines: u64,
    /// End of the usage limit, in seconds since 1970.
    pub limit_resets_at: Option<u64>,
}

impl AttemptProgress {
    /// Adds a denied tool.
    pub fn deny(&mut self, denial: Denial) {
        if self.denials.len() < MAX_DENIALS {
            self.denials.push(denial);
        } else {
            self.more_denials = self.more_denials.saturating_add(1);
        }
    }
}

/// Truncates a result to [`MAX_RESULT_BYTES`]. A last line then gives the number of bytes left out.
pub(super) fn beginning(result: &str) -> String {
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
    fn beginning_of_a_long_result_is_kept() {
        let whole = "x".repeat(MAX_RESULT_BYTES);
        assert_eq!(beginning(&whole), whole);
        let cut = beginning(&"\u{e9}".repeat(2_000_000));
        assert!(cut.len() <= MAX_RESULT_BYTES, "{}", cut.len());
        assert!(cut.ends_with("\u{e9}\n[3900064 bytes more, left out]"), "{}", &cut[cut.len() - 50..]);
    }

    #[test]
    fn first_hundred_denials_are_kept_and_the_rest_counted() {
        let mut progress = AttemptProgress::default();
        (0..250).for_each(|i| progress.deny(Denial { tool: format!("T{i}"), input_summary: String::new() }));
        assert_eq!((progress.denials.len(), progress.more_denials), (MAX_DENIALS, 150));
    }
}
