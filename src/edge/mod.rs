//! The thin edge: the only part that touches processes, pipes, signals, /proc, files and the terminal. It decides nothing;
//! each room does one kind of thing when it is told to.

pub mod descendants;
pub mod files;
pub mod find;
pub mod guard;
pub mod output;
pub mod process;
pub mod signals;
