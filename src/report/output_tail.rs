//! The newest output of an instance: the lines since the previous report, and its last lines for the summary. Memory is
//! bounded for any input. The caller decides when to report.

use std::collections::VecDeque;

use super::{MAX_NAME_COLUMNS, Style, beginning, counted};
use crate::base::text;
use crate::claude::protocol::ContentBlock;

/// Number of lines kept for the summary.
const LAST_WORDS: usize = 5;

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
    pub fn push(&mut self, said: &ContentBlock) {
        match said {
            ContentBlock::Text(text) => self.push_text(text),
            ContentBlock::Tool { name, input_summary: on } if on.trim().is_empty() => self.push_line(name),
            ContentBlock::Tool { name, input_summary: on } => {
                self.push_line(&format!("{name}: {}", beginning(on, self.max_line_columns)))
            }
        }
    }

    /// Appends the lines of a text; empty ones are ignored.
    pub fn push_text(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        // Of a million lines, only those to be kept are cleaned.
        let passed_over = lines.clone().count().saturating_sub(self.kept_lines());
        self.unreported += passed_over;
        for line in lines.skip(passed_over) {
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
        let more = has_note.then(|| {
            let count = counted(unreported - shown, "more line", "more lines");
            format!("{} {count}", style.glyphs().ellipsis)
        });
        let lines = self.lines.iter().skip(self.lines.len() - shown);
        let texts = more.iter().chain(lines);
        texts.map(|text| style.sanitize(&format!("[{name}] {text}"), self.max_line_columns)).collect()
    }

    /// Returns the last lines, cleaned, oldest first, reported or not.
    #[must_use]
    pub fn last_words(&self) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(LAST_WORDS)).cloned().collect()
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
        self.max_lines.max(LAST_WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ASCII, UNICODE, hostile, style, without_colours};
    use super::*;
    use proptest::prelude::*;

    fn said(text: &str) -> ContentBlock {
        ContentBlock::Text(text.into())
    }

    fn tool(name: &str, on: &str) -> ContentBlock {
        ContentBlock::Tool { name: name.into(), input_summary: on.into() }
    }

    #[test]
    fn text_and_tools_are_told_in_words_line_by_line() {
        let mut recent = OutputTail::new(5, 500);
        recent.push(&said("Let me look.\n\n  \n\u{1b}[1mAt all\u{1b}[0m of it.\r\n"));
        recent.push(&tool("Bash", "cargo test\n  --all"));
        recent.push(&tool("Read", "src/main.rs"));
        recent.push(&tool("Stop", " "));
        let expected = [
            "[a] Let me look.",
            "[a] At all of it.",
            "[a] Bash: cargo test --all",
            "[a] Read: src/main.rs",
            "[a] Stop",
        ];
        assert_eq!(recent.take("a", UNICODE), expected);
        assert_eq!(recent.take("a", UNICODE), [""; 0]);
        assert_eq!(recent.last_words().last().map(String::as_str), Some("Stop"), "the last words stay");
    }

    #[test]
    fn what_is_more_is_told_as_a_number() {
        let mut recent = OutputTail::new(2, 500);
        recent.push(&said("1\n2\n3"));
        assert_eq!(recent.take("a", UNICODE), ["[a] … 2 more lines", "[a] 3"]);
        recent.push(&said(&"x\n".repeat(12)));
        recent.push(&said("y\nz"));
        assert_eq!(recent.take("a", ASCII), ["[a] ... 13 more lines", "[a] z"]);
        recent.push(&said("4"));
        assert_eq!(recent.take("a", UNICODE), ["[a] 4"], "what a report has shown is not shown again");
        assert_eq!(recent.last_words(), ["x", "x", "y", "z", "4"][..].to_vec());
    }

    #[test]
    fn none_shows_none_and_keeps_the_last_words() {
        let mut recent = OutputTail::new(0, 500);
        recent.push(&said("1\n2"));
        assert_eq!(recent.take("a", UNICODE), [""; 0]);
        assert_eq!(recent.last_words(), ["1", "2"]);
    }

    #[test]
    fn lines_are_cut_with_their_names() {
        let mut recent = OutputTail::new(5, 20);
        recent.push(&said("0123456789abcdefghij\n日本日本日本日本日本\nsixteen columns!"));
        let take = |recent: &OutputTail, style| recent.clone().take("a", style);
        assert_eq!(take(&recent, UNICODE), ["[a] 0123456789abcde…", "[a] 日本日本日本日…", "[a] sixteen columns!"]);
        assert_eq!(take(&recent, ASCII), ["[a] 0123456789abc...", "[a] ????????????...", "[a] sixteen columns!"]);
        assert_eq!(recent.take("a-very-long-name", UNICODE)[2], "[a-very-lo…] sixtee…");
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut recent = OutputTail::new(5, 500);
        recent.push(&said(&"x".repeat(4 << 20)));
        recent.push(&said(&"\u{301}".repeat(2 << 20)));
        recent.push(&said(&" \n".repeat(1 << 20)));
        recent.push(&said(&"abc\n".repeat(1 << 20)));
        recent.push(&tool("Bash", &"y".repeat(4 << 20)));
        recent.push(&said(&"z".repeat(4 << 20)));
        let bytes: usize = recent.lines.iter().map(String::capacity).sum();
        assert!(recent.lines.len() == 5 && bytes < 10_000, "{bytes}");
        let lines = recent.take("a", UNICODE);
        assert_eq!(lines[0], format!("[a] … {} more lines", (1 << 20) + 3 - 4));
        assert!(lines[4].ends_with("zzz…") && text::width(&lines[4]) == 500);
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_it_may_or_harms_the_screen(
            texts in prop::collection::vec((hostile(), hostile()), 0..20), name in hostile(),
            max_lines in 0..8_usize, max_columns in 20..60_usize, style in style(),
        ) {
            let mut recent = OutputTail::new(max_lines, max_columns);
            for (text, on) in &texts {
                recent.push(&said(text));
                recent.push(&tool(text, on));
            }
            let lines = recent.take(&name, style);
            prop_assert!(lines.len() <= max_lines + 1);
            for line in lines {
                prop_assert!(text::width(&line) <= max_columns && !line.contains('\n'));
                prop_assert_eq!(without_colours(&line, Style { colour: false, ..style }), Ok(line));
            }
        }
    }
}
