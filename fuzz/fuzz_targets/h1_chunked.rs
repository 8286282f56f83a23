//! A chunked request body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::h1::fuzz_chunked(data));
