//! A request target, normalised.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::path::fuzz_path(data));
