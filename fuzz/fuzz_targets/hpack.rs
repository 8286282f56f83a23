//! Blocks and table sizes of an HPACK decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::hpack::fuzz_hpack(data));
