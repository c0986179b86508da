//! The program: `main`, and one module for each kind of request.

mod console;
mod dry_run;
pub mod queries;
mod run;
pub mod setup;
pub mod tool_hook;

use std::process::ExitCode as ProcessExitCode;

use crate::claude::tool_policy::hook::MODE;
use crate::cli::flags::{self, Request};

/// Parses the command line, runs what it requests, and returns the exit code.
#[must_use]
pub fn main() -> ProcessExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == MODE) {
        return ProcessExitCode::from(tool_hook::run(&words.collect::<Vec<_>>()));
    }
    let code = match flags::parse(std::env::args_os().skip(1), |name| std::env::var_os(name)) {
        Ok(Request::Help) => console::answer(&flags::help()),
        Ok(Request::Version) => console::answer(&format!("zen {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Request::Query(query, options)) => match queries::answer(&query, &options) {
            Ok(found) => {
                console::print_messages(&found.notes);
                console::answer(&console::printable(found.text))
            }
            Err(problems) => console::refuse(&problems),
        },
        Ok(Request::Run(options)) => run::run(&options),
        Err(errors) => console::refuse(&errors),
    };
    ProcessExitCode::from(code.number())
}
