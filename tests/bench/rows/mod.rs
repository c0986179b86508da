//! The rows of the table, one function each.

pub mod growth;
pub mod idle;
pub mod instances;
pub mod latency;
pub mod memory;
pub mod reading;
pub mod start;
