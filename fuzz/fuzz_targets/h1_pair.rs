//! Two wires under a script of actions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::h1::fuzz_pair(data));
