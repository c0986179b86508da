//! Domain-independent helpers: text, time, hashes, lines. Imports no other layer.

pub mod lines;
pub mod sha256;
pub mod start_at;
pub mod suggest;
pub mod text;
pub mod timestamp;
