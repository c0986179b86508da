//! Formats the text of `--help`, in lines of at most 80 columns, from the tables of flags, exit codes and environment
//! variables.

use super::{ENVIRONMENT, Flag, Section};
use crate::engine::exit_code;

const MAX_COLUMNS: usize = 80;
const FLAG_HELP_COLUMN: usize = 33;
const ENTRY_HELP_COLUMN: usize = 18;

/// Returns the text that `zen --help` prints.
#[must_use]
pub fn help() -> String {
    let mut text = format!(
        "zen {}\n{}\n\nUsage: zen --config FILE [OPTION]...\n       zen [OPTION]... COMMAND\n",
        env!("CARGO_PKG_VERSION"),
        wrapped(env!("CARGO_PKG_DESCRIPTION"), 0)
    );
    for section in Section::ALL {
        text += &format!("\n{}:\n", section.title());
        for flag in section.flags() {
            text += &entry(&synopsis(flag), &description(flag), FLAG_HELP_COLUMN);
        }
    }
    for (title, table) in [("Exit status", exit_code::TABLE), ("Environment", ENVIRONMENT)] {
        text += &format!("\n{title}:\n");
        for (name, meaning) in table {
            text += &entry(&format!("  {name}"), meaning, ENTRY_HELP_COLUMN);
        }
    }
    text
}

fn synopsis(flag: &Flag) -> String {
    let mut synopsis = match flag.short {
        Some(letter) => format!("  -{letter}, --{}", flag.long),
        None => format!("      --{}", flag.long),
    };
    if let Some(name) = flag.value_name() {
        synopsis += &format!(" {name}");
    }
    synopsis
}

fn description(flag: &Flag) -> String {
    match flag.default() {
        Some(default) => format!("{} (default: {default})", flag.help),
        None => flag.help.to_owned(),
    }
}

/// Returns a name and its meaning at `column`. A name that reaches into that column has a line of its own.
fn entry(name: &str, meaning: &str, column: usize) -> String {
    let meaning = wrapped(meaning, column);
    if name.len() + 2 <= column {
        format!("{name:column$}{meaning}\n")
    } else {
        format!("{name}\n{:column$}{meaning}\n", "")
    }
}

/// Wraps `text` into lines that begin at `column`, assuming that the first one is already there.
pub(super) fn wrapped(text: &str, column: usize) -> String {
    let mut lines = String::new();
    let mut end = column;
    for word in text.split(' ') {
        if end + 1 + word.len() > MAX_COLUMNS {
            lines += &format!("\n{:column$}", "");
            end = column;
        } else if end > column {
            lines.push(' ');
            end += 1;
        }
        lines += word;
        end += word.len();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::FLAGS;
    use super::*;
    use crate::base::golden::assert_golden;

    #[test]
    fn help_is_the_golden_one() {
        assert_golden("help.txt", &help());
    }

    #[test]
    fn each_line_fits() {
        for line in help().lines() {
            assert!(line.is_ascii() && line.len() <= MAX_COLUMNS && line.trim_end() == line, "{line:?}");
        }
    }

    #[test]
    fn each_flag_has_a_line_of_its_own() {
        let help = help();
        for flag in FLAGS {
            let lines = help.lines().filter(|line| line.trim_end().starts_with(&synopsis(flag))).count();
            assert_eq!(lines, 1, "--{}", flag.long);
        }
    }

    #[test]
    fn exit_codes_and_variables_are_listed() {
        let help = help();
        for (name, _) in exit_code::TABLE.iter().chain(ENVIRONMENT) {
            assert!(help.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name}");
        }
    }

    #[test]
    fn entries_are_aligned() {
        assert_eq!(entry("  -q", "say less", 8), "  -q    say less\n");
        assert_eq!(entry("  --quiet", "say less", 8), "  --quiet\n        say less\n");
        assert_eq!(entry("  -q", "word ".repeat(16).trim_end(), 8).lines().nth(1), Some("        word word"));
    }
}
