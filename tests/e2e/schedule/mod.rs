//! When instances start: after their dependencies, again after a failure, at a given time.

mod dependencies;
mod retries;
mod start_at;
