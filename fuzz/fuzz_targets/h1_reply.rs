//! A reply from an upstream.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::h1::fuzz_reply(data));
