//! The command line: flags, the examples that it prints, and the prompt from which a model writes a config. Pure.

pub mod config_prompt;
pub mod examples;
pub mod flags;
