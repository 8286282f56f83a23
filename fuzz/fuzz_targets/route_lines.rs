//! Files of routes: any bytes are routes or faults with a place.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control::fuzz_route_lines(bytes));
