//! Bytes to an HTTP/2 wire, in either role.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::h2::fuzz_frames(data));
