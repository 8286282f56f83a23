//! The requirements of RFC 9112, and those of RFC 9110 on intermediaries, through the real binary:
//! request bytes in, forwarded bytes and reply bytes out.
//!
//! One module a section, one test a requirement that a gateway can break; each test says the
//! requirement in its doc. `docs/rfc9112.md` lists all requirements with their tests, and
//! `cargo xtask tidy` keeps the two together. `support/talk.rs` explains how a test reads.
#![forbid(unsafe_code)]

mod support;

mod rfc {
    mod rfc9110_10_context;
    mod rfc9110_15_status;
    mod rfc9110_5_fields;
    mod rfc9110_6_message;
    mod rfc9110_7_routing;
    mod rfc9110_8_representation;
    mod rfc9110_9_methods;
    mod rfc9112_10_enclosing;
    mod rfc9112_2_message;
    mod rfc9112_3_request_line;
    mod rfc9112_4_status_line;
    mod rfc9112_5_fields;
    mod rfc9112_6_body_length;
    mod rfc9112_7_transfer_codings;
    mod rfc9112_8_incomplete;
    mod rfc9112_9_connections;
}
