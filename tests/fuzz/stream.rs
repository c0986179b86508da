//! libFuzzer on what claude prints.

#![no_main]

mod targets {
    pub mod stream;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::stream::run(data));
