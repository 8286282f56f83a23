//! Routing rules and a request, against a search of all rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| router::fuzz_table(data));
