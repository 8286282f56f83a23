//! What an exchange does for gRPC calls beside carrying them: deadlines and local answers.
//!
//! A call is a request whose content type is gRPC's, over either version of HTTP. Its
//! `grpc-timeout` counts from when the head was received, ends the exchange like the route's own
//! timeout, whichever is sooner, and goes on with what is left of it. Where the gateway answers by
//! itself, it does so in gRPC's terms: status 200 and how the call ended, in the head alone
//! ("Trailers-Only"), or in trailers once a reply has begun.
//! (PROTOCOL-HTTP2.md of gRPC, "Requests" and "Responses"; doc/statuscodes.md.)

use std::time::{Duration, Instant};

use protocols::Head;
use protocols::grpc::health::BadRequest;
use protocols::grpc::{self, Code};

use crate::failure::{Cause, Failure, Stage};

/// When a call that began then has to be over, if its caller says. Not for other requests.
///
/// # Errors
/// A `grpc-timeout` that is none, or more than one.
pub(crate) fn deadline(request: &Head, began: Instant) -> Result<Option<Instant>, Failure> {
    let bad = Failure::new(Stage::Route, Cause::BadGrpcTimeout);
    let mut values = request.all(TIMEOUT);
    let Some(value) = values.next() else { return Ok(None) };
    let timeout = grpc::parse_timeout(value).map_err(|_| bad)?;
    if values.next().is_some() {
        return Err(bad);
    }
    if timeout == Duration::ZERO {
        return Err(Failure::new(Stage::Route, Cause::RequestTimeout));
    }
    Ok(began.checked_add(timeout))
}

/// Says how much time is left of a call, where the caller said how much there is.
pub(crate) fn shrink(request: &mut Head, left: Option<Duration>) {
    let Some(left) = left else { return };
    if request.field(TIMEOUT).is_some() {
        let mut value = Vec::with_capacity(9);
        grpc::write_timeout(left, &mut value);
        request.set(TIMEOUT, &value);
    }
}

/// What a call comes to that the gateway could not carry to its end.
pub(crate) fn code(failure: &Failure) -> Code {
    match failure.cause {
        Cause::RequestTimeout | Cause::FirstByteTimeout | Cause::UpstreamIdle => {
            Code::DeadlineExceeded
        }
        Cause::ClientGone | Cause::WriteStalled => Code::Cancelled,
        Cause::NoRoute | Cause::ProtocolMismatch => Code::Unimplemented,
        Cause::BodyTooLarge | Cause::HealthListTooLong => Code::ResourceExhausted,
        Cause::BadGrpcTimeout => Code::Internal,
        Cause::BadGrpcWeb(bad) => bad.code(),
        Cause::BadHealthRequest(bad) => bad.code(),
        Cause::UpstreamFault(fault) => Code::from_fault(fault),
        _ if failure.status() == 503 || failure.status() == 504 => Code::Unavailable,
        _ => Code::from_http(failure.status()),
    }
}

/// Makes `head` the whole answer to a call: to be sent without a body.
pub(crate) fn reply(failure: &Failure, request: &Head, head: &mut Head) {
    let content_type = request.field(b"content-type").unwrap_or_default();
    grpc::trailers_only(head, content_type, code(failure), failure.reason().as_bytes());
    if failure.cause == Cause::BadHealthRequest(BadRequest::Compressed) {
        head.push(b"grpc-accept-encoding", b"identity");
    }
}

/// Makes `head` the trailers that end a call whose reply had begun.
pub(crate) fn trailers(failure: &Failure, head: &mut Head) {
    head.clear();
    grpc::push_status(head, code(failure), failure.reason().as_bytes());
}

const TIMEOUT: &[u8] = b"grpc-timeout";

#[cfg(test)]
mod tests {
    use super::*;

    fn call(timeouts: &[&[u8]]) -> Head {
        let mut head = Head::new();
        head.set_request(b"POST", b"/a.B/C");
        head.push(b"content-type", b"application/grpc+proto");
        timeouts.iter().for_each(|timeout| head.push(TIMEOUT, timeout));
        head
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn a_deadline_counts_from_the_start_of_the_call() {
        let began = Instant::now();
        let after = |timeouts: &[&[u8]]| deadline(&call(timeouts), began).map_err(|f| f.reason());
        assert_eq!(after(&[]), Ok(None));
        assert_eq!(after(&[b"300m"]), Ok(Some(began + Duration::from_millis(300))));
        assert_eq!(after(&[b"0S"]), Err("request_timeout"));
        assert_eq!(after(&[b"3"]), Err("bad_grpc_timeout"));
        assert_eq!(after(&[b"3S", b"4S"]), Err("bad_grpc_timeout"));
    }

    #[test]
    fn what_is_left_goes_on() {
        let mut head = call(&[b"3S"]);
        shrink(&mut head, Some(Duration::from_millis(250)));
        assert_eq!(head.field(TIMEOUT), Some(&b"250000u"[..]));
        let mut head = call(&[]);
        shrink(&mut head, Some(Duration::from_millis(250)));
        assert_eq!(head.field(TIMEOUT), None, "the route's timeout is nobody's to know");
    }

    #[test]
    fn failures_have_codes() {
        let of = |cause| code(&Failure::new(Stage::Route, cause)).text();
        assert_eq!(of(Cause::NoRoute), "12");
        assert_eq!(of(Cause::RequestTimeout), "4");
        assert_eq!(of(Cause::NoEndpoint), "14");
        assert_eq!(of(Cause::ConnectRefused), "14");
        assert_eq!(of(Cause::ConnectTimeout), "14");
        assert_eq!(of(Cause::BodyTooLarge), "8");
        assert_eq!(of(Cause::HealthListTooLong), "8");
        assert_eq!(of(Cause::BadGrpcTimeout), "13");
        assert_eq!(of(Cause::ClientGone), "1");
        assert_eq!(of(Cause::Stopping), "14");
    }
}
