//! libFuzzer on the time that a run is to start at.

#![no_main]

mod targets {
    pub mod start_time;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::start_time::run(data));
