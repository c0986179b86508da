//! The text and JSON reports on a run: status report, final summary, dry-run plan, `report.json`, and the instances'
//! output between two status reports. All functions are pure: time and state are arguments, and the result is text.
//! Scheduling and output are up to the caller.

mod budget;
pub mod dry_run;
mod glyphs;
pub mod json;
pub mod notices;
pub mod output_tail;
#[cfg(test)]
mod samples;
pub mod stages;
pub mod status;
pub mod summary;
pub mod verbosity;

use crate::base::text;
use crate::claude::usage_meter::{Certainty, Usage};
use crate::engine::outcome::Status;
use crate::engine::record::InstanceRecord;
pub use crate::engine::snapshot::Snapshot;
use crate::plan::Instance;
use glyphs::{Glyphs, Mark};

/// Minimum number of columns inside the box of a title.
const BOX_COLUMNS: usize = 63;

/// Maximum number of columns of a name; a longer one is truncated.
const MAX_NAME_COLUMNS: usize = 40;

impl<'a> Snapshot<'a> {
    fn instances(&self) -> impl Iterator<Item = (&'a Instance, &'a InstanceRecord)> + use<'a> {
        self.plan.instances.iter().zip(self.records)
    }

    fn used(&self) -> Usage {
        let mut sum = Usage::default();
        for record in self.records {
            sum += record.used;
        }
        sum
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for record in self.records {
            counts.add(&record.status);
        }
        counts
    }
}

/// Numbers of instances by status.
#[derive(Default)]
struct Counts {
    pending: usize,
    running: usize,
    completed: usize,
    failed: usize,
    skipped: usize,
}

impl Counts {
    fn add(&mut self, status: &Status) {
        *match status {
            Status::Pending => &mut self.pending,
            Status::Running => &mut self.running,
            Status::Completed => &mut self.completed,
            Status::Failed(_) => &mut self.failed,
            Status::Skipped(_) => &mut self.skipped,
        } += 1;
    }

    fn all(&self) -> usize {
        self.pending + self.running + self.completed + self.failed + self.skipped
    }

    /// Returns the nonzero counts: `2 completed, 1 running`.
    fn words(&self) -> String {
        let counts = [
            (self.completed, "completed"),
            (self.running, "running"),
            (self.failed, "failed"),
            (self.skipped, "skipped"),
            (self.pending, "pending"),
        ];
        let mut words = Vec::new();
        for (count, word) in counts {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
        words.join(", ")
    }
}

/// Capabilities of the output device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// True if it displays Unicode, false if ASCII only.
    pub unicode: bool,
    /// True if it displays colours. Only the word of a status is coloured.
    pub colour: bool,
}

impl Style {
    fn glyphs(self) -> &'static Glyphs {
        if self.unicode { &glyphs::UNICODE } else { &glyphs::ASCII }
    }

    /// Returns untrusted text without control characters, on one line and in at most `max_columns`.
    #[must_use]
    pub fn sanitize(self, text: &str, max_columns: usize) -> String {
        let ellipsis = self.glyphs().ellipsis;
        let prefix = beginning(text, max_columns);
        let mut cleaned = text::sanitize_line(prefix);
        if prefix.len() < text.len() {
            cleaned += ellipsis;
        }
        let truncated = text::truncate(&cleaned, max_columns, ellipsis);
        if self.unicode { truncated.into_owned() } else { text::ascii(&truncated).into_owned() }
    }

    fn name(self, name: &str) -> String {
        self.sanitize(name, MAX_NAME_COLUMNS)
    }

    /// Returns the prefix of a number that has this certainty.
    fn certainty_prefix(self, certainty: Certainty) -> &'static str {
        match certainty {
            Certainty::Exact => "",
            Certainty::Estimate => self.glyphs().estimate,
            Certainty::AtLeast => self.glyphs().at_least,
        }
    }

    /// Returns the glyph of a status and its word, coloured if possible.
    fn status_label(self, mark: Mark, word: &str) -> String {
        let glyph = self.glyphs().glyph(mark);
        if !self.colour {
            return format!("{glyph} {word}");
        }
        format!("{glyph} \u{1b}[{}m{word}\u{1b}[0m", mark.colour())
    }

    /// Returns a bar of `cells`, of which `full` are filled.
    fn bar(self, full: usize, cells: usize) -> String {
        let Glyphs { full: full_cell, empty, .. } = self.glyphs();
        full_cell.repeat(full) + &empty.repeat(cells.saturating_sub(full))
    }

    /// Returns a title in a box, with its newlines.
    fn title(self, title: &str) -> String {
        self.title_within(title, None)
    }

    /// Returns a title in a box that fits a screen of `screen` columns, with its newlines.
    fn title_within(self, title: &str, screen: Option<usize>) -> String {
        let Glyphs { corners: [above_left, above_right, below_left, below_right], horizontal, vertical, .. } =
            self.glyphs();
        let max_columns = match screen {
            Some(screen) => screen.saturating_sub(2).max(4),
            None => usize::MAX,
        };
        let columns = BOX_COLUMNS.max(text::width(title) + 4).min(max_columns);
        let title = &text::truncate(title, columns - 2, self.glyphs().ellipsis);
        let edge = horizontal.repeat(columns);
        let title = text::pad(title, columns - 2);
        format!("{above_left}{edge}{above_right}\n{vertical}  {title}{vertical}\n{below_left}{edge}{below_right}\n")
    }
}

/// Returns the prefix of `text` that is enough to fill `max_columns`, so that a megabyte is not cleaned for one line.
/// The prefix has room for characters of no width (escape sequences, combining marks); only text made mostly of these
/// may fill fewer columns than it could.
fn beginning(text: &str, max_columns: usize) -> &str {
    let max_chars = max_columns.saturating_mul(10).saturating_add(256);
    if text.len() <= max_chars {
        return text;
    }
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Returns the number of filled cells for `part` of `whole`. A cell is filled only when all of it is done.
fn full_cells(part: u64, whole: u64, cells: usize) -> usize {
    if part >= whole {
        return cells;
    }
    (u128::from(part) * cells as u128 / u128::from(whole)) as usize
}

/// Returns a list item about an instance, with its newline.
fn list_item(name: &str, text: &str, max_columns: usize, style: Style) -> String {
    style.sanitize(&format!("- {}: {text}", style.name(name)), max_columns) + "\n"
}

/// Returns the description of the usage limit as a sentence with a capital letter.
fn usage_limit(description: &str) -> String {
    let rest = description.strip_prefix('u').unwrap_or(description);
    format!("U{rest}\n")
}

/// Returns `1 instance`, `3 instances`.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
