//! libFuzzer on the time that a run is to start at.

#![no_main]

#[path = "targets/start_time.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
