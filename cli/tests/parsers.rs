//! Situations that the test suites of two widely used parsers, llhttp and picohttpparser, look at,
//! through the real binary: what comes in, and what must leave on the other side.
//!
//! The suites were read for their situations; the bytes, the expectations and the sections are
//! ours. Where those parsers take a message that this gateway refuses, or the reverse, the line
//! says which section of which RFC lets it.
//!
//! Most of their cases are situations that other tests show already, and are not repeated here:
//!
//! - plain messages, empty values, white space around values, obs-text, odd but legal names:
//!   `rfc/rfc9110_5_fields.rs`, `rfc/rfc9112_2_message.rs`
//! - any byte in a method, target, host, name, value or chunk's framing: `abuse/every_byte.rs`,
//!   `abuse/chunks.rs`
//! - bare CR, bare LF, an empty line before a message, folds, a space before a colon:
//!   `rfc/rfc9112_2_message.rs`, `rfc/rfc9112_5_fields.rs`
//! - HTTP/0.9, 2.0 and other versions, or none: `rfc/rfc9110_6_message.rs`,
//!   `rfc/rfc9112_3_request_line.rs`
//! - targets in all four forms, user information, CONNECT in HTTP/1.1:
//!   `rfc/rfc9112_3_request_line.rs`, `rfc/rfc9110_9_methods.rs`
//! - Content-Length with zeros, signs or white space, too large, empty, twice, as a list:
//!   `rfc/rfc9110_8_representation.rs`, `rfc/rfc9112_6_body_length.rs`
//! - Transfer-Encoding unknown, twice, not last, beside a length, in disguise:
//!   `rfc/rfc9112_6_body_length.rs`, `abuse/smuggling.rs`
//! - chunks, trailers and plain extensions, with their limits and overhead:
//!   `rfc/rfc9112_7_transfer_codings.rs`, `abuse/chunks.rs`, `abuse/bombs.rs`
//! - plain `keep-alive` and `close`, pipelined requests without content:
//!   `rfc/rfc9112_9_connections.rs`
//! - 1xx, 204, 304 and HEAD with framing fields, a reply up to the end of its link:
//!   `rfc/rfc9110_15_status.rs`, `rfc/rfc9112_6_body_length.rs`
//! - an end inside of a head, a body or a chunk: `rfc/rfc9112_8_incomplete.rs`
//! - a reply that comes a byte at a time (their pauses and partial inputs; requests are here):
//!   `abuse/upstreams.rs`, and the properties of `protocols/h1` for every cut
//!
//! Their flags that loosen the rules have no counterpart: what only such a flag would let in is
//! refused. Limits of four fields or of one buffer are theirs alone.
#![forbid(unsafe_code)]

mod support;

mod parsers {
    mod chunks;
    mod connections;
    mod replies;
    mod request_heads;
    mod upgrades;
}

use support::Talk;

/// What must become of a message.
enum Must {
    /// It leaves like this, and the connection goes on.
    Become(&'static str),
    /// It is answered with this status and reason word, nothing leaves, the connection ends.
    Refuse(u16, &'static str),
}

/// One line of a table: the situation, the section that decides it, the bytes that come in.
struct Line(&'static str, &'static str, &'static str, Must);

/// Goes through requests that have no content, each on a connection of its own.
fn each_request(lines: &[Line]) {
    let mut talk = Talk::start();
    for Line(what, section, request, must) in lines {
        // Shown with the failure of the line that fails.
        println!("{what} ({section})");
        talk.client(request);
        match must {
            Must::Become(forwarded) => _ = talk.forwarded(forwarded).answered().goes_on(),
            Must::Refuse(status, reason) => _ = talk.refused(*status, reason),
        }
        talk.next_client();
    }
}
