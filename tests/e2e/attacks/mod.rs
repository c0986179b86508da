//! One test for each finding of the security audit: text, files, processes and signals that cross a trust boundary.

mod bounds;
mod crowded;
mod descriptors;
mod escapes;
mod forged_output;
mod inherited;
mod linked;
mod lost_signals;
mod managed;
mod results;
mod settings;
mod terminal;
mod tools;
mod workspace;
