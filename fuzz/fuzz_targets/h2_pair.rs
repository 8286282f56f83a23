//! Two HTTP/2 wires under a script of actions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::h2::fuzz_pair(data));
