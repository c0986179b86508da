//! What an instance said of late: the last lines since the report before, and its last words. Bounded memory, whatever
//! comes. Knows neither what an instance is nor when a report is due.

use std::collections::VecDeque;

use super::{MAX_NAME_COLUMNS, Style, beginning, counted};
use crate::claude::events::Said;
use crate::text;

/// How many lines last words are.
const LAST_WORDS: usize = 5;

/// The recent lines of one instance.
#[derive(Clone, Debug)]
pub struct Recent {
    max_lines: usize,
    max_line_columns: usize,
    /// The newest lines, cleaned; those of before the last report are kept as last words only.
    lines: VecDeque<String>,
    /// How many came since the last report, kept or not.
    unreported: usize,
}

impl Recent {
    /// Shows at most `max_lines` per report (0: none), each in at most `max_line_columns`.
    #[must_use]
    pub fn new(max_lines: usize, max_line_columns: usize) -> Self {
        Recent { max_lines, max_line_columns, lines: VecDeque::new(), unreported: 0 }
    }

    /// It said this, or used this tool.
    pub fn push(&mut self, said: &Said) {
        match said {
            Said::Text(text) => self.push_text(text),
            Said::Tool { name, on } if on.trim().is_empty() => self.push_line(name),
            Said::Tool { name, on } => self.push_line(&format!("{name}: {}", beginning(on, self.max_line_columns))),
        }
    }

    /// It wrote this: lines, of which empty ones do not count.
    pub fn push_text(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        // Of a million lines only those are looked at that will be kept.
        let passed_over = lines.clone().count().saturating_sub(self.kept_lines());
        self.unreported += passed_over;
        for line in lines.skip(passed_over) {
            self.push_line(line);
        }
    }

    /// The lines since the last call, as `[name] text`; where more came than are shown, that many are told first. That
    /// takes the place of a line, unless there is but one.
    #[must_use]
    pub fn take(&mut self, name: &str, style: Style) -> Vec<String> {
        let unreported = std::mem::take(&mut self.unreported);
        let has_note = unreported > self.max_lines && self.max_lines > 1;
        let shown = unreported.min(self.max_lines - usize::from(has_note)).min(self.lines.len());
        if shown == 0 {
            return Vec::new();
        }
        let name = style.shown(name, MAX_NAME_COLUMNS.min(self.max_line_columns / 2));
        let more = has_note.then(|| {
            let count = counted(unreported - shown, "more line", "more lines");
            format!("{} {count}", style.glyphs().ellipsis)
        });
        let lines = self.lines.iter().skip(self.lines.len() - shown);
        let texts = more.iter().chain(lines);
        texts.map(|text| style.shown(&format!("[{name}] {text}"), self.max_line_columns)).collect()
    }

    /// The last lines, cleaned, oldest first; whether or not a report has shown them.
    #[must_use]
    pub fn last_words(&self) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(LAST_WORDS)).cloned().collect()
    }

    fn push_line(&mut self, line: &str) {
        let cleaned = text::clean(beginning(line, self.max_line_columns));
        // One column too many lets `take` see that it has to cut.
        let kept = text::cut(&cleaned, self.max_line_columns.saturating_add(1), "");
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
