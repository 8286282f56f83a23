//! THeader and TTHeader.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::thrift::fuzz_headers(data));
