//! The characters that reports are drawn with: one set for Unicode screens and one for ASCII-only screens (cron,
//! LANG=C). The layout is the same in both.

use crate::engine::outcome::Status;

/// Status of an instance as shown by one glyph.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Pending,
    Running,
    Completed,
    Failed,
    Skipped,
}

impl Mark {
    pub(super) fn new(status: &Status) -> Self {
        match status {
            Status::Pending => Mark::Pending,
            Status::Running => Mark::Running,
            Status::Completed => Mark::Completed,
            Status::Failed(_) => Mark::Failed,
            Status::Skipped(_) => Mark::Skipped,
        }
    }

    /// Returns the parameter of the terminal's colour sequence: green, red, yellow or dim.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Mark::Completed => "32",
            Mark::Failed => "31",
            Mark::Running => "33",
            Mark::Pending | Mark::Skipped => "2",
        }
    }
}

/// One set of characters.
pub(super) struct Glyphs {
    pending: &'static str,
    running: &'static str,
    completed: &'static str,
    failed: &'static str,
    skipped: &'static str,
    /// Filled cell of a bar.
    pub(super) full: &'static str,
    /// Empty cell of a bar.
    pub(super) empty: &'static str,
    /// Corners of a box: top left, top right, bottom left, bottom right.
    pub(super) corners: [&'static str; 4],
    /// Top and bottom edge of a box.
    pub(super) horizontal: &'static str,
    /// Sides of a box.
    pub(super) vertical: &'static str,
    /// Prefix of a number that is a lower bound.
    pub(super) at_least: &'static str,
    /// Prefix of an estimated number.
    pub(super) estimate: &'static str,
    /// Mark of truncated text.
    pub(super) ellipsis: &'static str,
}

impl Glyphs {
    pub(super) fn glyph(&self, mark: Mark) -> &'static str {
        match mark {
            Mark::Pending => self.pending,
            Mark::Running => self.running,
            Mark::Completed => self.completed,
            Mark::Failed => self.failed,
            Mark::Skipped => self.skipped,
        }
    }
}

/// Glyphs for a Unicode screen.
pub(super) const UNICODE: Glyphs = Glyphs {
    pending: "⏸",
    running: "⏳",
    completed: "✓",
    failed: "✗",
    skipped: "⊘",
    full: "█",
    empty: "░",
    corners: ["╔", "╗", "╚", "╝"],
    horizontal: "═",
    vertical: "║",
    at_least: "≥",
    estimate: "~",
    ellipsis: "…",
};

/// Glyphs for an ASCII-only screen. One character is enough, because the status word follows each glyph.
pub(super) const ASCII: Glyphs = Glyphs {
    pending: ".",
    running: ">",
    completed: "+",
    failed: "x",
    skipped: "/",
    full: "#",
    empty: ".",
    corners: ["+", "+", "+", "+"],
    horizontal: "=",
    vertical: "|",
    at_least: ">=",
    estimate: "~",
    ellipsis: "...",
};
