//! The decisions of a run, without effects: which instance starts, what an attempt's output means, what an instance may spend,
//! how it ended. Time and events come in as arguments.

pub mod attempt;
pub mod budget;
pub mod exit_code;
pub mod outcome;
pub mod progress;
pub mod record;
pub mod retry;
pub mod run_clock;
pub mod schedule;
pub mod usage_limit;
