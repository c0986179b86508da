//! Verbosity of a run.

/// Amount of output, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Errors and the final summary.
    Silent,
    /// Also reports, and the instances' output.
    Concise,
    /// Everything.
    Detailed,
}

/// Output at the end of a run in which every instance has completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSuccess {
    /// The final reports of the log level.
    #[default]
    Report,
    /// Nothing.
    Silent,
}

impl OnSuccess {
    /// The words of the command line for the variants.
    pub const WORDS: [(&str, OnSuccess); 2] = [("report", OnSuccess::Report), ("silent", OnSuccess::Silent)];
}
