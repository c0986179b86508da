//! zen runs many headless Claude Code instances from a JSON config and says truthfully what became of each.
//!
//! The data's way: [`config`] (the file) → [`plan`] (all resolved) → [`schedule`] (who starts when) → [`attempt`] (one
//! process as a state machine, fed by [`lines`] and [`claude`]'s events) → [`record`] (what is known) → [`report`].
//! These are pure. [`edge`] alone touches the system, and [`run`] joins the two in one loop.

#![warn(missing_docs)]

pub mod answer;
pub mod attempt;
pub mod calendar;
pub mod catalogue;
pub mod claude;
pub mod config;
pub mod edge;
pub mod examples;
pub mod exit;
pub mod flags;
pub mod halt;
pub mod ledger;
pub mod lines;
pub mod nearest;
pub mod outcome;
pub mod plan;
pub mod prepare;
pub mod probe;
pub mod prompt_template;
pub mod record;
pub mod report;
pub mod retries;
pub mod run;
pub mod run_clock;
pub mod schedule;
pub mod sha256;
pub mod stages;
pub mod start_at;
pub mod template;
pub mod text;
pub mod told;
pub mod usage_limit;
pub mod workspace;
