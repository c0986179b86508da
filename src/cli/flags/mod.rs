//! Command line: one table of flags, from which the parser, `--help` and the man page are generated.

mod environment;
pub mod error;
mod flag;
mod help;
mod man;
mod options;
mod parse;
mod table;
mod values;

pub use environment::ENVIRONMENT;
pub use error::UsageError;
pub use flag::{Flag, FlagKind, Section};
pub use help::help;
pub use man::man;
pub use options::{ConfigSource, LockPolicy, LogDir, Options, Query, expand_tilde};
pub use parse::{Request, parse};
pub use table::FLAGS;
