//! The characters that reports are drawn with, once for screens that have Unicode and once for those that have ASCII
//! only (cron, LANG=C). The layout is the same in both. Knows nothing of what is drawn.

use crate::outcome::Status;

/// One set of characters.
pub(super) struct Glyphs {
    pending: &'static str,
    running: &'static str,
    completed: &'static str,
    failed: &'static str,
    skipped: &'static str,
    /// A cell of a bar that is full.
    pub(super) full: &'static str,
    /// A cell of a bar that is not.
    pub(super) empty: &'static str,
    /// The corners of a box: above left and right, below left and right.
    pub(super) corners: [&'static str; 4],
    /// The upper and the lower edge of a box.
    pub(super) horizontal: &'static str,
    /// The sides of a box.
    pub(super) vertical: &'static str,
    /// Before a number that may be larger.
    pub(super) at_least: &'static str,
    /// Before a number that is reckoned.
    pub(super) estimate: &'static str,
    /// Where something was cut off.
    pub(super) ellipsis: &'static str,
}

impl Glyphs {
    /// The sign of a status.
    pub(super) fn of(&self, status: &Status) -> &'static str {
        match status {
            Status::Pending => self.pending,
            Status::Running => self.running,
            Status::Completed => self.completed,
            Status::Failed(_) => self.failed,
            Status::Skipped(_) => self.skipped,
        }
    }
}

/// For a screen that has Unicode.
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

/// For a screen that has ASCII only. The word stands beside each sign, so one character is enough.
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
