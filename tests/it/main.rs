//! zen's suite of whole runs: the zen program itself, on the stand-in for claude or on the real one, in a place of its
//! own. The pure parts are tested beside their code.

#[path = "../loopback_api.rs"]
mod loopback_api;
mod support;

mod answers;
mod attacks;
mod background;
mod before_launch;
mod budgets;
mod child_environment;
mod command_line;
mod demo_and_docs;
mod exit_codes;
mod faults;
mod fuzz_corpora;
mod limits;
mod long_names;
mod mcp;
mod missing_commands;
mod netra;
mod output;
mod overlap;
mod real;
mod retries;
mod run_files;
mod seed;
mod shared_sessions;
mod signals;
mod soak;
mod stages;
mod start_at;
mod tools;
mod verdicts;
