//! Standard output and standard error, while no run is in progress.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::base::text;
use crate::engine::exit_code::ExitCode;
use crate::report::Style;
use crate::system::error_text;
use crate::system::output::Output;

/// Returns the capabilities of standard output: under cron the locale is not UTF-8, and a pipe has no colours.
pub(super) fn style(stdout: &Output) -> Style {
    let is_dumb = variable("TERM").is_none_or(|term| term == "dumb");
    Style { unicode: is_utf8(), colour: stdout.is_terminal() && variable("NO_COLOR").is_none() && !is_dumb }
}

fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Returns the value of an environment variable that is not empty.
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Prints the answer to a query. EPIPE is not an error: the reader has read enough.
pub(super) fn answer(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            refuse(&[format!("standard output: {}", error_text(&error))])
        }
        _ => ExitCode::Completed,
    }
}

/// Prints the reasons why nothing was launched, and returns the exit code.
pub(super) fn refuse(problems: &[impl Display]) -> ExitCode {
    print_messages(problems);
    ExitCode::NotLaunched
}

/// Prints messages to standard error with a blocking write.
pub(super) fn print_messages(lines: &[impl Display]) {
    let _ = io::stderr().lock().write_all(messages(lines).as_bytes());
}

/// Returns the messages as lines of standard error, in the character set of the locale.
pub(super) fn messages(lines: &[impl Display]) -> String {
    let mut text = String::new();
    for line in lines {
        text += &format!("zen: {}\n", text::strip_controls(&line.to_string()));
    }
    printable(text)
}

/// Converts text to the character set of the locale.
pub(super) fn printable(text: String) -> String {
    if is_utf8() { text } else { text::ascii(&text).into_owned() }
}
