//! The row type of the table of flags, and the sections in which flags are listed.

use super::error::ValueError;
use super::{FLAGS, Options, Request};
use std::ffi::OsStr;

/// One flag: names, kind and description.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Long name, without the two dashes.
    pub long: &'static str,
    /// One-letter name, if there is one.
    pub short: Option<char>,
    /// Section of `--help` and of the man page.
    pub section: Section,
    /// Kind of the flag, and its effect on the options.
    pub kind: FlagKind,
    /// One line for `--help`.
    pub help: &'static str,
    /// One paragraph for the man page; text between backticks is bold there.
    pub details: &'static str,
}

/// Kind and effect of a flag.
#[derive(Clone, Copy, Debug)]
pub enum FlagKind {
    /// A flag without a value.
    Switch(fn(&mut Options)),
    /// A flag with a value.
    Value {
        /// Placeholder of the value in `--help`.
        name: &'static str,
        /// Default value; `None` if its absence has another meaning.
        default: Option<&'static str>,
        /// Sets the option from the value, or returns the problem with the value.
        set: fn(&mut Options, &OsStr) -> Result<(), ValueError>,
    },
    /// A request for something other than a run.
    Special(fn() -> Request),
}

/// A group of flags in `--help` and in the man page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Input: the config, the workspace and the claude executable.
    Work,
    /// Options of a command on the command line; an error without one.
    Command,
    /// Start, parallelism and time limits of instances.
    Pace,
    /// Limits on tokens and cost.
    Budget,
    /// Output on the terminal.
    Report,
    /// Files of the run.
    Files,
    /// Queries answered without a run.
    Answers,
    /// Information about zen itself.
    Information,
}

impl Section {
    /// All sections, in the order in which they are listed.
    pub const ALL: [Section; 8] = [
        Section::Work,
        Section::Command,
        Section::Pace,
        Section::Budget,
        Section::Report,
        Section::Files,
        Section::Answers,
        Section::Information,
    ];

    /// Returns the heading of the section.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Section::Work => "Input",
            Section::Command => "Command",
            Section::Pace => "Scheduling and time limits",
            Section::Budget => "Budget",
            Section::Report => "Report",
            Section::Files => "Files",
            Section::Answers => "Answers without a run",
            Section::Information => "Information",
        }
    }

    /// Returns the flags of the section, in the order of the table.
    pub fn flags(self) -> impl Iterator<Item = &'static Flag> {
        FLAGS.iter().filter(move |flag| flag.section == self)
    }
}

impl Flag {
    /// True if the flag takes a value.
    #[must_use]
    pub fn takes_value(&self) -> bool {
        self.value_name().is_some()
    }

    /// Returns the placeholder of the flag's value, if it takes one.
    #[must_use]
    pub fn value_name(&self) -> Option<&'static str> {
        match self.kind {
            FlagKind::Value { name, .. } => Some(name),
            FlagKind::Switch(_) | FlagKind::Special(_) => None,
        }
    }

    /// Returns the default value, if there is one.
    #[must_use]
    pub fn default(&self) -> Option<&'static str> {
        match self.kind {
            FlagKind::Value { default, .. } => default,
            FlagKind::Switch(_) | FlagKind::Special(_) => None,
        }
    }
}
