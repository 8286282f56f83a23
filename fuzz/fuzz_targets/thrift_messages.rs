//! Beginnings, structs and exceptions of Thrift messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::thrift::fuzz_messages(data));
