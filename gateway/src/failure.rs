//! What went wrong with one exchange, and the one table that says what follows.
//!
//! A [`Failure`] is a plain value on four axes: whose side, at which stage, the cause, and whether
//! anything had reached the upstream. Three questions are answered here and nowhere else: what the
//! client sees, whether another try is allowed, and which word the log and the counters use. A
//! client that goes away is not an error of ours; it is counted apart and answered with nothing.

use std::borrow::Cow;

use control::ErrorPage;
use protocols::grpc::health::BadRequest;
use protocols::grpc::web::BadBody;
use protocols::{Fault, Head, Length};

use crate::tls::TlsFault;

/// Who the failure is down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Downstream,
    Ringway,
    Upstream,
}

/// How far the exchange had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Route,
    Connect,
    SendHead,
    ReplyHead,
    ReplyBody,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The `grpc-timeout` of a call is none, or comes twice.
    BadGrpcTimeout,
    /// The body of a call of gRPC-Web is none.
    BadGrpcWeb(BadBody),
    /// A call of the gateway's health service asks for nothing that it can answer.
    BadHealthRequest(BadRequest),
    /// Max-Forwards is no number, or comes twice.
    BadMaxForwards,
    /// The path cannot be brought into one form under the listener's rule.
    BadPath(Fault),
    /// More body than the route takes.
    BodyTooLarge,
    /// More bodies wait in buffers than the shard may hold.
    BufferBudget,
    /// The client took nothing while receive buffers were short and the heap for it was used up.
    BufferPressure,
    /// The client closed or reset before its reply was complete.
    ClientGone,
    /// The client broke the protocol in its body.
    ClientFault(Fault),
    ConnectRefused,
    ConnectTimeout,
    /// The cluster reads another encoding of Thrift than the call's.
    EncodingMismatch,
    FirstByteTimeout,
    /// A list of more services than the health service tells in one message.
    HealthListTooLong,
    /// Every link of the endpoint is busy and none came free in time.
    LinksExhausted,
    /// The request was here before, more often than a chain of gateways is long.
    LoopDetected,
    /// No endpoint of the cluster may be used.
    NoEndpoint,
    NoRoute,
    /// A page of another origin than those that the route names asked whether it may call.
    OriginRefused,
    /// The exchange was dropped by a panic.
    Panic,
    /// A route leads a call of Thrift to a cluster of HTTP, or the other way round.
    ProtocolMismatch,
    RequestTimeout,
    /// The shard is stopping and its drain deadline passed.
    Stopping,
    /// A TRACE was to be answered here.
    TraceRefused,
    /// Nothing moved in a tunnel for too long.
    TunnelIdle,
    /// The upstream sent nothing in the middle of its reply.
    UpstreamIdle,
    /// The upstream closed, reset or broke the protocol.
    UpstreamFault(Fault),
    /// There is no TLS with the upstream.
    UpstreamTls(TlsFault),
    /// The client took nothing of its reply for too long.
    WriteStalled,
}

impl Cause {
    /// Nobody is there to be told.
    pub(crate) fn leaves_nobody(self) -> bool {
        matches!(self, Cause::BufferPressure | Cause::ClientGone | Cause::Stopping)
    }
}

/// One exchange's failure. Plain data, 16 bytes at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) cause: Cause,
    /// Whether the attempt used a link that had served before: such a link may have been closed
    /// by its server while the request was on its way.
    pub(crate) reused: bool,
    /// Whether any byte of the attempt may have reached the upstream.
    pub(crate) sent: bool,
    /// The upstream says that it did nothing with the request.
    pub(crate) unprocessed: bool,
}

const _: () = assert!(size_of::<Failure>() <= 16);

impl Failure {
    pub(crate) fn new(stage: Stage, cause: Cause) -> Failure {
        Failure { stage, cause, reused: false, sent: stage > Stage::Connect, unprocessed: false }
    }

    pub(crate) fn side(&self) -> Side {
        match self.cause {
            Cause::BadPath(_) | Cause::BadMaxForwards | Cause::BodyTooLarge => Side::Downstream,
            Cause::BadGrpcTimeout | Cause::BadGrpcWeb(_) => Side::Downstream,
            Cause::BadHealthRequest(_) | Cause::OriginRefused => Side::Downstream,
            Cause::LoopDetected | Cause::TraceRefused => Side::Downstream,
            Cause::ClientGone | Cause::ClientFault(_) | Cause::WriteStalled => Side::Downstream,
            Cause::BufferBudget | Cause::BufferPressure | Cause::LinksExhausted => Side::Ringway,
            Cause::HealthListTooLong | Cause::NoEndpoint | Cause::NoRoute => Side::Ringway,
            Cause::EncodingMismatch | Cause::ProtocolMismatch => Side::Ringway,
            Cause::Panic | Cause::RequestTimeout | Cause::Stopping => Side::Ringway,
            Cause::TunnelIdle => Side::Ringway,
            Cause::ConnectRefused | Cause::ConnectTimeout | Cause::FirstByteTimeout => {
                Side::Upstream
            }
            Cause::UpstreamTls(_) | Cause::UpstreamIdle | Cause::UpstreamFault(_) => Side::Upstream,
        }
    }

    /// The status of the local reply, or of the log line where no reply can be sent.
    pub(crate) fn status(&self) -> u16 {
        match self.cause {
            Cause::BadGrpcTimeout | Cause::BadGrpcWeb(_) => 400,
            Cause::BadHealthRequest(_) | Cause::BadMaxForwards => 400,
            Cause::BodyTooLarge => 413,
            // The status that nginx made customary for "the client closed the request".
            Cause::ClientGone => 499,
            Cause::BadPath(fault) | Cause::ClientFault(fault) => fault.status(),
            Cause::LoopDetected => 508,
            Cause::NoRoute => 404,
            Cause::OriginRefused => 403,
            Cause::TraceRefused => 405,
            Cause::EncodingMismatch | Cause::ProtocolMismatch => 501,
            Cause::BufferBudget | Cause::BufferPressure | Cause::LinksExhausted => 503,
            Cause::HealthListTooLong | Cause::NoEndpoint | Cause::Stopping => 503,
            Cause::ConnectRefused | Cause::UpstreamFault(_) => 502,
            Cause::UpstreamTls(TlsFault::Timeout) => 504,
            Cause::UpstreamTls(_) => 502,
            Cause::ConnectTimeout | Cause::FirstByteTimeout | Cause::RequestTimeout => 504,
            Cause::UpstreamIdle | Cause::TunnelIdle => 504,
            Cause::WriteStalled => 408,
            Cause::Panic => 500,
        }
    }

    /// The reason word: stable, in snake_case, for the log, the counters and the local reply.
    pub(crate) fn reason(&self) -> &'static str {
        match self.cause {
            Cause::BadGrpcTimeout => "bad_grpc_timeout",
            Cause::BadGrpcWeb(bad) => bad.reason(),
            Cause::BadHealthRequest(bad) => bad.reason(),
            Cause::BadMaxForwards => "bad_max_forwards",
            Cause::BodyTooLarge => "body_too_large",
            Cause::BufferBudget => "buffer_budget",
            Cause::BufferPressure => "buffer_pressure",
            Cause::ClientGone => "client_gone",
            Cause::BadPath(fault) | Cause::ClientFault(fault) => fault.reason(),
            Cause::ConnectRefused => "upstream_connect_failed",
            Cause::ConnectTimeout => "upstream_connect_timeout",
            Cause::EncodingMismatch => "thrift_protocol_mismatch",
            Cause::FirstByteTimeout => "upstream_first_byte_timeout",
            Cause::HealthListTooLong => "grpc_health_list_too_long",
            Cause::LinksExhausted => "upstream_links_exhausted",
            Cause::LoopDetected => "loop_detected",
            Cause::NoEndpoint => "no_endpoint",
            Cause::NoRoute => "no_route",
            Cause::OriginRefused => "origin_refused",
            Cause::Panic => "panic",
            Cause::ProtocolMismatch => "protocol_mismatch",
            Cause::RequestTimeout => "request_timeout",
            Cause::Stopping => "stopping",
            Cause::TraceRefused => "trace_refused",
            Cause::TunnelIdle => "tunnel_idle",
            Cause::UpstreamIdle => "upstream_idle_timeout",
            Cause::UpstreamFault(fault) => upstream_word(fault, self.stage),
            Cause::UpstreamTls(fault) => fault.upstream_word(),
            Cause::WriteStalled => "write_stalled",
        }
    }

    /// Whether one more try on a fresh link is allowed: nothing of a reply was seen, and either
    /// nothing can have been processed, or the request is safe to repeat and the link may simply
    /// have been stale (RFC 9110 section 9.2.2; RFC 9112 section 9.3.1).
    pub(crate) fn may_retry(&self, idempotent: bool) -> bool {
        match self.cause {
            Cause::ConnectRefused => true,
            // Nothing was said yet, and another endpoint may have a better certificate.
            Cause::UpstreamTls(fault) => fault != TlsFault::Timeout,
            Cause::UpstreamFault(fault) => {
                // Half a head, or a 1xx, is an answer begun: it may have been passed on.
                let closed = is_close(fault) && fault != Fault::HeadTruncated;
                let silent = self.stage < Stage::ReplyBody && (self.unprocessed || closed);
                let unseen = !self.sent || self.unprocessed;
                silent && (unseen || (self.reused && idempotent))
            }
            _ => false,
        }
    }
}

/// Whether the fault is the peer's closing rather than something wrong that it sent.
fn is_close(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::ClosedBeforeReply | Fault::HeadTruncated | Fault::BodyTruncated | Fault::Cancelled
    )
}

fn upstream_word(fault: Fault, stage: Stage) -> &'static str {
    match (is_close(fault), stage) {
        (false, _) if matches!(fault, Fault::PeerRefusedStream | Fault::GoneAway) => {
            "upstream_refused_stream"
        }
        (false, _) => "upstream_protocol_error",
        (true, Stage::ReplyBody) => "upstream_reset_in_reply",
        (true, _) => "upstream_reset_before_head",
    }
}

/// A local reply: the head and its body, the route's page for the status or else
/// `STATUS reason_word` as plain text.
pub(crate) fn reply<'a>(
    failure: &Failure,
    page: Option<&'a ErrorPage>,
    request_id: &[u8],
    head: &mut Head,
) -> Cow<'a, [u8]> {
    let status = failure.status();
    let (content_type, body) = match page {
        Some(page) => (page.content_type.as_str(), Cow::Borrowed(page.body.as_slice())),
        None => {
            let words = format!("{status} {}\n", failure.reason());
            ("text/plain; charset=utf-8", Cow::Owned(words.into_bytes()))
        }
    };
    head.clear();
    head.set_status(status, phrase(status).as_bytes());
    head.push(b"content-type", content_type.as_bytes());
    if !request_id.is_empty() {
        head.push(b"x-request-id", request_id);
    }
    head.set_length(Length::Exact(body.len() as u64));
    body
}

/// The reason phrases of the statuses that ringway itself sends (RFC 9110 section 15).
fn phrase(status: u16) -> &'static str {
    match status {
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        508 => "Loop Detected",
        _ => "Bad Request",
    }
}

/// Methods whose repetition has no further effect (RFC 9110 section 9.2.2).
pub(crate) fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(stage: Stage, sent: bool) -> Failure {
        Failure {
            stage,
            cause: Cause::UpstreamFault(Fault::ClosedBeforeReply),
            reused: true,
            sent,
            unprocessed: false,
        }
    }

    #[test]
    fn a_stale_link_is_retried_only_when_that_is_safe() {
        assert!(stale(Stage::ReplyHead, true).may_retry(true));
        assert!(!stale(Stage::ReplyHead, true).may_retry(false), "a POST may have been done");
        assert!(stale(Stage::SendHead, false).may_retry(false), "nothing was sent");
        assert!(!stale(Stage::ReplyBody, true).may_retry(true), "a reply head went out");
        let cause = Cause::UpstreamFault(Fault::HeadTruncated);
        let begun = Failure { cause, ..stale(Stage::ReplyHead, true) };
        assert!(!begun.may_retry(true), "an answer had begun");
        let fresh = Failure { reused: false, ..stale(Stage::ReplyHead, true) };
        assert!(!fresh.may_retry(true), "a fresh link that closes is the server's answer");
    }

    #[test]
    fn a_client_that_leaves_is_not_ours() {
        let failure = Failure::new(Stage::ReplyHead, Cause::ClientGone);
        assert_eq!((failure.side(), failure.status()), (Side::Downstream, 499));
        assert!(!failure.may_retry(true));
    }

    #[test]
    fn the_local_reply_names_its_reason() {
        let mut head = Head::new();
        let failure = Failure::new(Stage::Route, Cause::NoRoute);
        let body = reply(&failure, None, b"id-1", &mut head);
        assert_eq!(&*body, b"404 no_route\n");
        assert_eq!((head.status(), head.length()), (404, Length::Exact(13)));
        assert_eq!(head.field(b"x-request-id"), Some(&b"id-1"[..]));
        let page = ErrorPage { content_type: "text/html".to_owned(), body: b"<p>".to_vec() };
        assert_eq!(&*reply(&failure, Some(&page), b"", &mut head), b"<p>");
        assert_eq!(head.field(b"content-type"), Some(&b"text/html"[..]));
        assert_eq!(head.length(), Length::Exact(3));
    }
}
