//! The characters that reports are drawn with, once for screens that have Unicode and once for those that have ASCII
//! only (cron, LANG=C). The layout is the same in both. Knows nothing of what is drawn.

use crate::engine::outcome::Status;

/// What is told of an instance by one sign.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Pending,
    Running,
    Completed,
    Failed,
    Skipped,
}

impl Mark {
    pub(super) fn of(status: &Status) -> Self {
        match status {
            Status::Pending => Mark::Pending,
            Status::Running => Mark::Running,
            Status::Completed => Mark::Completed,
            Status::Failed(_) => Mark::Failed,
            Status::Skipped(_) => Mark::Skipped,
        }
    }

    /// The parameter of the terminal's colour sequence: green, red, yellow, dim.
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
    pub(super) fn of(&self, mark: Mark) -> &'static str {
        match mark {
            Mark::Pending => self.pending,
            Mark::Running => self.running,
            Mark::Completed => self.completed,
            Mark::Failed => self.failed,
            Mark::Skipped => self.skipped,
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
