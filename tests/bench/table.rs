//! The table: ratios first, the aim beside the figure, and for every miss its reason.

use std::fmt::Write;

/// All that was measured.
#[derive(Default)]
pub struct Table {
    lines: Vec<Line>,
}

/// One comparison.
pub struct Line {
    /// What was done.
    pub what: String,
    /// zen against the other, or the figure that has an aim.
    pub ratio: String,
    /// What it should be, if the issue says so, and whether it is.
    pub aim: Option<(&'static str, bool)>,
    /// What zen took.
    pub zen: String,
    /// Who was measured beside it, and what that took.
    pub other: String,
    /// CPU time and peak memory of zen alone.
    pub alone: String,
    /// Why, where the figure does not explain itself.
    pub note: &'static str,
}

impl Table {
    pub fn add(&mut self, line: Line) {
        eprintln!("    {}: {}, zen {}, {}", line.what, line.ratio, line.zen, line.other);
        self.lines.push(line);
    }

    /// The table in Markdown, and below it what it needs to be read.
    pub fn text(&self) -> String {
        let mut text = String::from(HEAD);
        let mut notes: Vec<&str> = Vec::new();
        for line in &self.lines {
            let aim = line
                .aim
                .map_or_else(String::new, |(aim, met)| format!("{aim}: {}", if met { "met" } else { "**missed**" }));
            let mut what = line.what.clone();
            if !line.note.is_empty() {
                let number = notes.iter().position(|note| *note == line.note).unwrap_or_else(|| {
                    notes.push(line.note);
                    notes.len() - 1
                });
                let _ = write!(what, " [{}]", number + 1);
            }
            let Line { ratio, zen, other, alone, .. } = line;
            let _ = writeln!(text, "| {what} | {ratio} | {aim} | {zen} | {other} | {alone} |");
        }
        text.push('\n');
        for (number, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "{}. {note}", number + 1);
        }
        text + FOOT
    }
}

const HEAD: &str = "\
| what | ratio | aim | zen | beside it | zen alone: CPU, peak memory |
| --- | --- | --- | --- | --- | --- |
";

const FOOT: &str = "
Medians of several runs; those that are compared are run in turn. A ratio is zen's figure by the other's. CPU time and
peak memory are zen's own: its process clock, read when it has ended and is not reaped yet, and VmHWM, looked at every
5 ms while it lives; neither counts a child, as `time` and `getrusage` would. The same program, this harness, is the
child of all that start children.
";
