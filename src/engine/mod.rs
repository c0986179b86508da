//! Decisions of a run, free of side effects: scheduling, the state of an attempt, budgets, outcomes.
//! The time and all events are passed in as arguments.

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
