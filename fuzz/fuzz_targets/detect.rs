//! Which protocol a connection begins in.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::detect::fuzz_detect(data));
