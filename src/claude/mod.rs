//! Interface to claude: its arguments, protocol, results, prices, and the differences between its generations. A new
//! release of claude requires changes only here.
//!
//! All of it is pure: text and bytes in, values out. Other layers run the processes.

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
pub mod tool_lint;
pub mod tool_policy;
pub mod tools;
pub mod turn_outcome;
pub mod usage;
pub mod usage_meter;
