//! What a flag is: a row of the table, and the section that it is listed in. Knows no single flag.

use super::{FLAGS, Options, Request};
use std::ffi::OsStr;

/// One flag: how it is spelled, what it does, and how it is explained.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name, without the two dashes.
    pub long: &'static str,
    /// Its one-letter name, if it has one.
    pub short: Option<char>,
    /// Where `--help` and the man page list it.
    pub section: Section,
    /// What it does to the options.
    pub effect: FlagKind,
    /// One line, for `--help`.
    pub help: &'static str,
    /// One paragraph, for the man page; what stands between backticks is bold there.
    pub details: &'static str,
}

/// What a flag does.
#[derive(Clone, Copy, Debug)]
pub enum FlagKind {
    /// It takes no value.
    Switch(fn(&mut Options)),
    /// It takes a value.
    Value {
        /// What stands for the value in `--help`.
        name: &'static str,
        /// The value that counts where the flag is not given; none where its absence means something else.
        default: Option<&'static str>,
        /// Puts the value into the options, or says what is wrong with it.
        set: fn(&mut Options, &OsStr) -> Result<(), String>,
    },
    /// It asks for something else than a run.
    Special(fn() -> Request),
}

/// A group of flags in `--help` and in the man page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What is to be run, where and by which program.
    Work,
    /// What else is to be said of a command that stands on the command line; means nothing without one.
    Command,
    /// When instances start, how many at a time, and when they are stopped.
    Pace,
    /// What may be used.
    Budget,
    /// What is printed.
    Report,
    /// What is kept on disk.
    Files,
    /// What is answered without a run.
    Answers,
    /// Questions to zen itself.
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

    /// The section's heading.
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

    /// The section's flags, in the order of the table.
    pub fn flags(self) -> impl Iterator<Item = &'static Flag> {
        FLAGS.iter().filter(move |flag| flag.section == self)
    }
}

impl Flag {
    /// Whether a value belongs to it.
    #[must_use]
    pub fn takes_value(&self) -> bool {
        self.value_name().is_some()
    }

    /// What stands for the flag's value, if it takes one.
    #[must_use]
    pub fn value_name(&self) -> Option<&'static str> {
        match self.effect {
            FlagKind::Value { name, .. } => Some(name),
            FlagKind::Switch(_) | FlagKind::Special(_) => None,
        }
    }

    /// The value that counts where the flag is not given.
    #[must_use]
    pub fn default(&self) -> Option<&'static str> {
        match self.effect {
            FlagKind::Value { default, .. } => default,
            FlagKind::Switch(_) | FlagKind::Special(_) => None,
        }
    }
}
