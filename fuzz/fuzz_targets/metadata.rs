//! What callers say of themselves: traces, baggage, B3, claims.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::metadata::fuzz_metadata(data));
