//! The first bytes of a connection behind a proxy.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::proxy_header::fuzz_proxy(data));
