//! The amount that a run prints.

/// How much is printed, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Errors and the final summary.
    Silent,
    /// The reports and what the instances do, too.
    Concise,
    /// Everything.
    Detailed,
}

/// What is printed at the end if every instance has completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSuccess {
    /// The final reports of the log level.
    #[default]
    Report,
    /// Nothing.
    Silent,
}

impl OnSuccess {
    /// The command line's words for them.
    pub const WORDS: [(&str, OnSuccess); 2] = [("report", OnSuccess::Report), ("silent", OnSuccess::Silent)];
}
