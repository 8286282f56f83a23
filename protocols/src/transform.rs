//! `Transform`: a change of a message on its way, bytes in and bytes out.
//!
//! It changes a head, then the body as it comes, in pieces of any size, then the end. Like a wire
//! it owns no socket and no buffer, and holds a few bytes at most: what it makes of a piece is
//! bounded by a constant times the piece. One belongs to one direction of one try of an exchange;
//! what an error leaves of it must not be used. A change of another kind is one more variant.

use crate::grpc::web::{BadBody, GrpcWeb};
use crate::head::Head;

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It goes on as it is: nothing was written.
    Nothing,
    /// What was written goes on in its place; it may be nothing.
    Written,
}

/// A change of one direction of an exchange.
#[derive(Debug)]
pub enum Transform {
    /// gRPC-Web, to or from gRPC.
    GrpcWeb(GrpcWeb),
}

impl Transform {
    /// Changes the head; `end` if nothing follows it.
    pub fn head(&mut self, head: &mut Head, end: bool) {
        match self {
            Transform::GrpcWeb(web) => web.head(head, end),
        }
    }

    /// Changes a piece of the body. At most eight bytes are written for each of the input's.
    ///
    /// # Errors
    ///
    /// The body cannot be changed; nothing that was written for this piece may go on.
    pub fn data(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Changed, BadBody> {
        match self {
            Transform::GrpcWeb(web) => web.data(input, out),
        }
    }

    /// The message ends. What was written is its last piece; trailers do not go on.
    ///
    /// # Errors
    ///
    /// The body ended too early.
    pub fn end(&mut self, trailers: Option<&Head>, out: &mut Vec<u8>) -> Result<(), BadBody> {
        match self {
            Transform::GrpcWeb(web) => web.end(trailers, out),
        }
    }
}
