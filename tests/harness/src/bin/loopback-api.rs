//! The loopback API as a program, for shell scripts and for runs in a network namespace of their own.
//!
//!     loopback-api [--log FILE]
//!
//! The first line of its output is its base URL. It serves until its standard input ends or it is killed.

use harness::loopback::LoopbackApi;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let api = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => LoopbackApi::start(),
        ["--log", file] => LoopbackApi::start_logging_to(Path::new(file)),
        _ => {
            eprintln!("usage: loopback-api [--log FILE]");
            return ExitCode::FAILURE;
        }
    };
    let mut stdout = io::stdout();
    let told = writeln!(stdout, "{}", api.base_url()).and_then(|()| stdout.flush());
    let ended = told.and_then(|()| io::copy(&mut io::stdin(), &mut io::sink()));
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
