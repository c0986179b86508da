//! libFuzzer on what claude prints.

#![no_main]

#[path = "targets/stream.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
