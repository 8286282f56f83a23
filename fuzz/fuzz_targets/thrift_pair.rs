//! Two Thrift wires under a script of actions, or one of them under any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::thrift::fuzz_pair(data));
