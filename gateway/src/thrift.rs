//! What an exchange does for Thrift calls beside carrying them.
//!
//! A call is a request of a Thrift connection. Its payload passes as it is, so that the upstream
//! has to read the encoding that it came in; what delimits messages may differ between the two
//! sides. A server gives replies in the order of its calls where its dialect has no other way:
//! a reply, also one of the gateway's own, waits for its turn.
//!
//! On a link that calls share a message is written whole and read whole, one after the other. So
//! that no caller holds up those of others, its call goes out once all of it is here, and its reply
//! is taken off the link as it comes, to the heap where the caller has no room for it
//! (`Plan::measured_bytes_max`, `Relay::take_head`).

use std::future::poll_fn;
use std::task::Poll;

use observe::Protocol;
use protocols::Head;
use protocols::thrift::{Dialect, Encoding, Transport};
use router::{ThriftDialect, ThriftProtocol, ThriftTransport};

use crate::conn::Conn;
use crate::end::End;
use crate::failure::{Cause, Failure, Stage};
use crate::track::Track;

/// How the payload of a call is written: `None` for requests of other protocols.
pub(crate) fn encoding_of(down: &End, request: &Head) -> Option<Encoding> {
    if !down.conn().is_thrift() {
        return None;
    }
    let content_type = request.field(b"content-type")?;
    [Encoding::Binary, Encoding::Compact].into_iter().find(|one| one.content_type() == content_type)
}

/// The method that the table is asked with. `CALL` and `ONEWAY` are those of calls there: a request
/// of HTTP that has one of them is of no method that a rule can name.
pub(crate) fn routed_method<'a>(conn: &Conn, method: &'a [u8]) -> &'a [u8] {
    match method {
        b"CALL" | b"ONEWAY" if !conn.is_thrift() => b"",
        method => method,
    }
}

/// An encoding by its name in configuration.
pub(crate) fn encoding(protocol: ThriftProtocol) -> Encoding {
    match protocol {
        ThriftProtocol::Binary => Encoding::Binary,
        ThriftProtocol::Compact => Encoding::Compact,
    }
}

/// How a link speaks for a call in that encoding.
pub(crate) fn dialect(thrift: ThriftDialect, encoding: Encoding) -> Dialect {
    let transport = match thrift.transport {
        ThriftTransport::Framed => Transport::Framed,
        ThriftTransport::Buffered => Transport::Unframed,
        ThriftTransport::THeader => Transport::THeader,
        ThriftTransport::TtHeader => Transport::TtHeader,
    };
    let is_framed_inside = transport == Transport::TtHeader;
    Dialect { is_framed_inside, ..Dialect::new(transport, encoding) }
}

/// What counters and the log call a connection of that transport.
pub(crate) fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Framed => Protocol::ThriftFramed,
        Transport::Unframed => Protocol::ThriftBuffered,
        Transport::THeader => Protocol::ThriftTheader,
        Transport::TtHeader => Protocol::ThriftTtheader,
    }
}

/// Ready when a reply may be written: older calls of the connection have theirs. Each of them has
/// its own deadlines.
pub(crate) async fn turn(down: &End) {
    poll_fn(|cx| match down.poll_gone(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => down.poll_turn(cx),
    })
    .await;
}

/// Ready when a call may be written to a link that others write to as well. A message that is being
/// written is all here, so that only the upstream holds it up; its exchange has the deadlines. The
/// end goes through it: the future that asks need not keep it meanwhile.
pub(crate) async fn link_turn(up: End) -> Result<End, Failure> {
    if !up.conn().is_serial() {
        return Ok(up);
    }
    let broken = |fault| {
        let failure = Failure::new(Stage::SendHead, Cause::UpstreamFault(fault));
        Failure { unprocessed: true, ..failure }
    };
    poll_fn(|cx| match up.poll_gone(cx) {
        Poll::Ready(fault) => Poll::Ready(Err(broken(fault))),
        Poll::Pending => up.poll_turn(cx).map(Ok),
    })
    .await?;
    Ok(up)
}

/// Answers a call that the gateway could not carry to its end: the wire makes a
/// TApplicationException of it, and nothing for a oneway.
pub(crate) fn answer(track: &Track, down: &End, failure: &Failure) {
    let mut head = track.state.take_head();
    head.set_status(failure.status(), failure.reason().as_bytes());
    // A caller that left meanwhile needs no answer.
    let _ = down.send_head(&head, true);
    track.state.give_head(head);
}
