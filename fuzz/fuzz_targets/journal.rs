//! The journal of route changes: any bytes are whole entries, a torn commit, or a fault.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control::journal::fuzz_journal(bytes));
