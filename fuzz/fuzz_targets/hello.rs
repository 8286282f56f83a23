//! The first bytes of a TLS connection that is passed on.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::hello::fuzz_hello(data));
