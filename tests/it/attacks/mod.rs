//! One test for each finding of the security audit: text, files, processes and signals that cross a trust boundary.

mod descriptors;
mod escapes;
mod lost_signals;
mod results;
mod settings;
mod terminal;
mod tools;
mod workspace;
