//! The contract with the user: the test plan of the seed, and the configs of netra-zen.

mod netra_compat;
pub mod seed;
