//! One test for each finding of the security audit: text, files and processes that cross a trust boundary.

mod results;
mod settings;
mod tools;
mod workspace;
