//! A body of gRPC-Web in the text form, and its way back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::grpc::web::fuzz_grpc_web(data));
