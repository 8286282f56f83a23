//! Configuration files: any bytes give a snapshot or errors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control::fuzz_config(bytes));
