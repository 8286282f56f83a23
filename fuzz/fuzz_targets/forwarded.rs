//! Lists of proxies: X-Forwarded-For and Forwarded.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::forwarded::fuzz_forwarded(data));
