//! Everything that is known about claude: how it is called, what is said to it, what it answers, what it costs, and how
//! its generations differ. A new release of it is one visit here.
//!
//! All of it is pure: text and bytes in, values out. Who runs claude and when is the business of the rest.

pub mod abilities;
pub mod command_line;
pub mod commands;
pub mod control;
pub mod environment;
pub mod events;
pub mod extra_args;
pub mod front_matter;
pub mod grants;
pub mod json;
pub mod listing;
pub mod permissions;
pub mod prices;
pub mod session;
pub mod tokens;
pub mod tool_policy;
pub mod tools;
pub mod usage;
pub mod verdict;
pub mod withheld;
