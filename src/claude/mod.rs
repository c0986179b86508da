//! Everything that is known about claude: how it is called, what is said to it, what it answers, what it costs, and how
//! its generations differ. A new release of it is one visit here.
//!
//! All of it is pure: text and bytes in, values out. Who runs claude and when is the business of the rest.

pub mod argv;
pub mod capabilities;
pub mod command_catalog;
pub mod environment;
pub mod extra_args;
pub mod front_matter;
pub mod invocation;
pub mod json;
pub mod permissions;
pub mod pricing;
pub mod protocol;
pub mod session;
pub mod settings;
pub mod slash_commands;
pub mod tokens;
pub mod tool_denials;
pub mod tool_policy;
pub mod tools;
pub mod turn_outcome;
pub mod usage_meter;
