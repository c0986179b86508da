//! End-to-end tests: each runs the zen program in a sandbox of its own, on the fake claude, or on the real one in `real_cli`.
//! Pure code is tested beside its source.

mod attacks;
mod background;
mod budget;
mod cli;
mod config;
mod config_lock;
mod contract;
mod docs;
mod environment;
mod exit_codes;
mod faults;
mod long_names;
mod mcp;
mod queries;
mod real_cli;
mod reports;
mod run_dir;
mod schedule;
mod sessions;
mod signals;
mod slash_commands;
mod soak;
mod tools;
mod usage_limit;
mod verdicts;
