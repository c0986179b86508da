//! libFuzzer on the config.

#![no_main]

mod targets {
    pub mod config;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::config::run(data));
