//! Batches of route changes: any bytes take whole or not at all.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control::fuzz_route_changes(bytes));
