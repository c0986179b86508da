//! The newest output of an instance: the lines since the previous report, and its last lines for the summary. Memory is
//! bounded for any input. The caller decides when to report.

use std::collections::VecDeque;

use super::{MAX_NAME_COLUMNS, Style, beginning, counted};
use crate::base::text;
use crate::claude::protocol::ContentBlock;

/// Number of lines kept for the summary.
const LAST_LINES: usize = 5;

/// The newest output lines of one instance.
#[derive(Clone, Debug)]
pub struct OutputTail {
    max_lines: usize,
    max_line_columns: usize,
    /// The newest lines, cleaned; those already reported are kept only for the summary.
    lines: VecDeque<String>,
    /// Number of lines since the last report, kept or not.
    unreported: usize,
}

impl OutputTail {
    /// Creates a tail that shows at most `max_lines` per report (0: none), each truncated to `max_line_columns`.
    #[must_use]
    pub fn new(max_lines: usize, max_line_columns: usize) -> Self {
        OutputTail { max_lines, max_line_columns, lines: VecDeque::new(), unreported: 0 }
    }

    /// Appends a content block: a text or a tool use.
    pub fn push(&mut self, block: &ContentBlock) {
        match block {
            ContentBlock::Text(text) => self.push_text(text),
            ContentBlock::Tool { name, input_summary } if input_summary.trim().is_empty() => self.push_line(name),
            ContentBlock::Tool { name, input_summary } => {
                self.push_line(&format!("{name}: {}", beginning(input_summary, self.max_line_columns)))
            }
        }
    }

    /// Appends the lines of a text; empty ones are ignored.
    pub fn push_text(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        // Of a million lines, only those to be kept are cleaned.
        let skipped = lines.clone().count().saturating_sub(self.kept_lines());
        self.unreported += skipped;
        for line in lines.skip(skipped) {
            self.push_line(line);
        }
    }

    /// Returns the lines since the last call, as `[name] text`. If there are more than `max_lines`, the first line is
    /// the number of the others, unless only one line is allowed.
    #[must_use]
    pub fn take(&mut self, name: &str, style: Style) -> Vec<String> {
        let unreported = std::mem::take(&mut self.unreported);
        let has_note = unreported > self.max_lines && self.max_lines > 1;
        let shown = unreported.min(self.max_lines - usize::from(has_note)).min(self.lines.len());
        if shown == 0 {
            return Vec::new();
        }
        let name = style.sanitize(name, MAX_NAME_COLUMNS.min(self.max_line_columns / 2));
        let note = format!("{} {}", style.glyphs().ellipsis, counted(unreported - shown, "more line", "more lines"));
        let mut lines = Vec::new();
        let texts = self.lines.iter().skip(self.lines.len() - shown);
        for text in has_note.then_some(&note).into_iter().chain(texts) {
            lines.push(style.sanitize(&format!("[{name}] {text}"), self.max_line_columns));
        }
        lines
    }

    /// Returns the last lines, cleaned, oldest first, reported or not.
    #[must_use]
    pub fn last_words(&self) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(LAST_LINES)).cloned().collect()
    }

    fn push_line(&mut self, line: &str) {
        let cleaned = text::sanitize_line(beginning(line, self.max_line_columns));
        // One extra column lets `take` detect that it has to truncate.
        let kept = text::truncate(&cleaned, self.max_line_columns.saturating_add(1), "");
        if kept.is_empty() {
            return;
        }
        self.unreported += 1;
        self.lines.push_back(kept.into_owned());
        if self.lines.len() > self.kept_lines() {
            self.lines.pop_front();
        }
    }

    fn kept_lines(&self) -> usize {
        self.max_lines.max(LAST_LINES)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ASCII, UNICODE, hostile, style, without_colours};
    use super::*;
    use proptest::prelude::*;

    fn text_block(text: &str) -> ContentBlock {
        ContentBlock::Text(text.into())
    }

    fn tool(name: &str, input: &str) -> ContentBlock {
        ContentBlock::Tool { name: name.into(), input_summary: input.into() }
    }

    #[test]
    fn text_and_tool_uses_are_lines() {
        let mut tail = OutputTail::new(5, 500);
        tail.push(&text_block("Let me look.\n\n  \n\u{1b}[1mAt all\u{1b}[0m of it.\r\n"));
        tail.push(&tool("Bash", "cargo test\n  --all"));
        tail.push(&tool("Read", "src/main.rs"));
        tail.push(&tool("Stop", " "));
        let expected = [
            "[a] Let me look.",
            "[a] At all of it.",
            "[a] Bash: cargo test --all",
            "[a] Read: src/main.rs",
            "[a] Stop",
        ];
        assert_eq!(tail.take("a", UNICODE), expected);
        assert_eq!(tail.take("a", UNICODE), [""; 0]);
        assert_eq!(tail.last_words().last().map(String::as_str), Some("Stop"), "they remain as last output");
    }

    #[test]
    fn lines_above_the_maximum_are_counted() {
        let mut tail = OutputTail::new(2, 500);
        tail.push(&text_block("1\n2\n3"));
        assert_eq!(tail.take("a", UNICODE), ["[a] … 2 more lines", "[a] 3"]);
        tail.push(&text_block(&"x\n".repeat(12)));
        tail.push(&text_block("y\nz"));
        assert_eq!(tail.take("a", ASCII), ["[a] ... 13 more lines", "[a] z"]);
        tail.push(&text_block("4"));
        assert_eq!(tail.take("a", UNICODE), ["[a] 4"], "a line is reported once");
        assert_eq!(tail.last_words(), ["x", "x", "y", "z", "4"][..].to_vec());
    }

    #[test]
    fn maximum_of_zero_keeps_the_last_lines_only() {
        let mut tail = OutputTail::new(0, 500);
        tail.push(&text_block("1\n2"));
        assert_eq!(tail.take("a", UNICODE), [""; 0]);
        assert_eq!(tail.last_words(), ["1", "2"]);
    }

    #[test]
    fn lines_are_truncated_with_their_names() {
        let mut tail = OutputTail::new(5, 20);
        tail.push(&text_block("0123456789abcdefghij\n日本日本日本日本日本\nsixteen columns!"));
        let take = |tail: &OutputTail, style| tail.clone().take("a", style);
        assert_eq!(take(&tail, UNICODE), ["[a] 0123456789abcde…", "[a] 日本日本日本日…", "[a] sixteen columns!"]);
        assert_eq!(take(&tail, ASCII), ["[a] 0123456789abc...", "[a] ????????????...", "[a] sixteen columns!"]);
        assert_eq!(tail.take("a-very-long-name", UNICODE)[2], "[a-very-lo…] sixtee…");
    }

    #[test]
    fn memory_is_bounded() {
        let mut tail = OutputTail::new(5, 500);
        tail.push(&text_block(&"x".repeat(1 << 20)));
        tail.push(&text_block(&"\u{301}".repeat(1 << 19)));
        tail.push(&text_block(&" \n".repeat(1 << 18)));
        tail.push(&text_block(&"abc\n".repeat(1 << 18)));
        tail.push(&tool("Bash", &"y".repeat(1 << 20)));
        tail.push(&text_block(&"z".repeat(1 << 20)));
        let bytes: usize = tail.lines.iter().map(String::capacity).sum();
        assert!(tail.lines.len() == 5 && bytes < 10_000, "{bytes}");
        let lines = tail.take("a", UNICODE);
        assert_eq!(lines[0], format!("[a] … {} more lines", (1 << 18) + 3 - 4));
        assert!(lines[4].ends_with("zzz…") && text::width(&lines[4]) == 500);
    }

    proptest! {
        #![proptest_config(crate::base::cases::few())]

        #[test]
        fn lines_are_short_and_printable_for_any_text(
            texts in prop::collection::vec((hostile(), hostile()), 0..20), name in hostile(),
            max_lines in 0..8_usize, max_columns in 20..60_usize, style in style(),
        ) {
            let mut tail = OutputTail::new(max_lines, max_columns);
            for (text, input) in &texts {
                tail.push(&text_block(text));
                tail.push(&tool(text, input));
            }
            let lines = tail.take(&name, style);
            prop_assert!(lines.len() <= max_lines + 1);
            for line in lines {
                prop_assert!(text::width(&line) <= max_columns && !line.contains('\n'));
                prop_assert_eq!(without_colours(&line, Style { colour: false, ..style })?, line);
            }
        }
    }
}
