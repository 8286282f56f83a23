//! The messages of `grpc.health.v1.Health`, as a server reads and writes them.
//!
//! A request names a service and a reply says how it is: one field each, so no schema is needed.
//! Other fields are skipped (Protocol Buffers, "Unknown Fields"). Not here: what is healthy.
//! A request is not copied; a list of services is one allocation, and one for each entry.

use crate::thrift::write_varint;

use super::{BadMessage, Code, Messages, Step};

/// How paths of the service's methods begin.
pub const PATH: &[u8] = b"/grpc.health.v1.Health/";
/// Bytes of a request's message: a name and what a later version may add.
pub const MESSAGE_BYTES_MAX: u32 = 4096;
/// Bytes of a request's body.
pub const BODY_BYTES_MAX: u64 = MESSAGE_BYTES_MAX as u64 + 5;

/// How a service is. The numbers are those of `ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Serving {
    /// It takes calls.
    Yes = 1,
    /// It takes none.
    No = 2,
    /// Nobody knows it; only `Watch` says so.
    Unknown = 3,
}

impl Serving {
    /// The body of a `HealthCheckResponse`, or one message of it.
    pub fn message(self) -> [u8; 7] {
        [0, 0, 0, 0, 2, STATUS_TAG, self as u8]
    }
}

/// Why a body is no `HealthCheckRequest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// No message, or more than one: UNIMPLEMENTED.
    Count,
    /// It is compressed: UNIMPLEMENTED.
    Compressed,
    /// It is no message.
    Message(BadMessage),
    /// Its fields cannot be read: INTERNAL.
    Fields,
}

impl BadRequest {
    /// What the call comes to.
    pub fn code(self) -> Code {
        match self {
            BadRequest::Count | BadRequest::Compressed => Code::Unimplemented,
            BadRequest::Message(bad) => bad.code(),
            BadRequest::Fields => Code::Internal,
        }
    }

    /// The word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            BadRequest::Count => "grpc_message_count",
            BadRequest::Compressed => "grpc_message_compressed",
            BadRequest::Message(bad) => bad.reason(),
            BadRequest::Fields => "grpc_message_fields",
        }
    }
}

/// The service that a whole request body asks for; empty for the server as such.
///
/// # Errors
///
/// What is wrong with it.
pub fn service_asked(body: &[u8]) -> Result<&str, BadRequest> {
    service(message(body)?).ok_or(BadRequest::Fields)
}

/// Whether a whole request body asks for a list: it has a message, whose fields all mean nothing.
///
/// # Errors
///
/// What is wrong with it.
pub fn list_asked(body: &[u8]) -> Result<(), BadRequest> {
    let mut rest = message(body)?;
    while !rest.is_empty() {
        tagged(&mut rest).ok_or(BadRequest::Fields)?;
    }
    Ok(())
}

/// The body of a `HealthListResponse`: each service and how it is.
pub fn list<'a>(services: impl Iterator<Item = (&'a str, Serving)>) -> Vec<u8> {
    let mut body = vec![0; 5];
    for (service, serving) in services {
        let mut entry = Vec::with_capacity(service.len() + 8);
        lengthy(KEY_TAG, service.as_bytes(), &mut entry);
        lengthy(VALUE_TAG, &[STATUS_TAG, serving as u8], &mut entry);
        lengthy(STATUSES_TAG, &entry, &mut body);
    }
    let len = (body.len() - 5) as u32;
    body.splice(1..5, len.to_be_bytes());
    body
}

/// Appends a field with a length.
fn lengthy(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    write_varint(value.len() as u32, out);
    out.extend_from_slice(value);
}

/// The one message of a body.
fn message(body: &[u8]) -> Result<&[u8], BadRequest> {
    let truncated = BadRequest::Message(BadMessage::Truncated);
    let begun = Messages::new(MESSAGE_BYTES_MAX).next(body).map_err(BadRequest::Message)?;
    let (used, Step::Begin { compressed, len }) = begun else {
        return Err(if body.is_empty() { BadRequest::Count } else { truncated });
    };
    if compressed {
        return Err(BadRequest::Compressed);
    }
    let rest = body.get(used..).unwrap_or_default();
    let (message, after) = rest.split_at_checked(len as usize).ok_or(truncated)?;
    if !after.is_empty() {
        return Err(BadRequest::Count);
    }
    Ok(message)
}

/// The tag of field 1 with a length: the service of a request.
const SERVICE_TAG: u64 = 1 << 3 | 2;
/// The map of a list: entries of a key and a value.
const STATUSES_TAG: u8 = 1 << 3 | 2;
const KEY_TAG: u8 = 1 << 3 | 2;
const VALUE_TAG: u8 = 2 << 3 | 2;
/// Field 1 as a number: how a service is.
const STATUS_TAG: u8 = 1 << 3;

fn service(mut message: &[u8]) -> Option<&str> {
    let mut service = "";
    while !message.is_empty() {
        let (tag, value) = tagged(&mut message)?;
        if tag == SERVICE_TAG {
            service = core::str::from_utf8(value).ok()?;
        }
    }
    Some(service)
}

/// Takes a field off: its tag, and its bytes where it has a length.
fn tagged<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let tag = varint(rest)?;
    if tag >> 3 == 0 || tag > u64::from(u32::MAX) {
        return None;
    }
    Some((tag, field(rest, tag & 7)?))
}

/// Takes a field of a wire type off; its bytes, where it has a length.
fn field<'a>(rest: &mut &'a [u8], wire_type: u64) -> Option<&'a [u8]> {
    let len = match wire_type {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(value)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(body: &[u8]) -> Result<&str, &'static str> {
        service_asked(body).map_err(BadRequest::reason)
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0, message.len() as u8], message].concat()
    }

    #[test]
    fn a_service_is_read_and_the_rest_skipped() {
        assert_eq!(service_asked(&framed(b"")), Ok(""));
        assert_eq!(service_asked(&framed(b"\x0a\x03a.B")), Ok("a.B"));
        let among = b"\x10\xff\x01\x0a\x01x\x19abcdefgh\x22\x02hi\x2dabcd\x0a\x03a.B\x08\x07";
        assert_eq!(service_asked(&framed(among)), Ok("a.B"), "the last one counts");
        assert_eq!(Serving::No.message(), *b"\0\0\0\0\x02\x08\x02");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let code = |body: &[u8]| service_asked(body).unwrap_err().code() as u8;
        for (body, reason, number) in [
            (&b""[..], "grpc_message_count", 12),
            (b"\0\0\0\0\0\0\0\0\0\0", "grpc_message_count", 12),
            (b"\x01\0\0\0\0", "grpc_message_compressed", 12),
            (b"\x02\0\0\0\0", "grpc_message_flag", 13),
            (b"\0\0\0\x10\x01", "grpc_message_too_large", 8),
            (b"\0\0\0", "grpc_message_truncated", 13),
            (b"\0\0\0\0\x02a", "grpc_message_truncated", 13),
        ] {
            assert_eq!(asked(body), Err(reason), "{}", body.escape_ascii());
            assert_eq!(code(body), number, "{reason}");
        }
        for fields in [
            &b"\x0a\x02a"[..],
            b"\x0a\x01\xff",
            b"\x0a",
            b"\x02\x01a",
            b"\x0b",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\xfa\xff\xff\xff\xff\x01\x00",
            b"\x0d\x01",
        ] {
            assert_eq!(asked(&framed(fields)), Err("grpc_message_fields"), "{fields:?}");
        }
    }

    #[test]
    fn a_list_is_asked_for_and_written() {
        for body in [&framed(b"")[..], &framed(b"\x0a\x01\xff\x10\x01")] {
            assert_eq!(list_asked(body), Ok(()), "{}", body.escape_ascii());
        }
        assert_eq!(list_asked(b""), Err(BadRequest::Count));
        assert_eq!(list_asked(&framed(b"\x0a\x02a")), Err(BadRequest::Fields));
        assert_eq!(list([].into_iter()), *b"\0\0\0\0\0");
        let two = [("", Serving::Yes), ("a.B", Serving::No)];
        let entries = b"\x0a\x06\x0a\0\x12\x02\x08\x01\x0a\x09\x0a\x03a.B\x12\x02\x08\x02";
        assert_eq!(list(two.into_iter()), framed(entries));
        let long = "x".repeat(300);
        let body = list([(&*long, Serving::Yes)].into_iter());
        assert_eq!(body.get(..11), Some(&b"\0\0\0\x01\x36\x0a\xb3\x02\x0a\xac\x02"[..]));
        assert_eq!(body.len(), 5 + 0x136);
    }

    #[test]
    fn a_request_of_grpcio_is_read() {
        let line = "0a11 72696e677761792e746573742e4563686f";
        let hex: Vec<u8> = line.bytes().filter(|byte| *byte != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16);
        let message: Vec<u8> = hex.chunks(2).map(|pair| byte(pair).unwrap()).collect();
        assert_eq!(service_asked(&framed(&message)), Ok("ringway.test.Echo"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(service) = service_asked(&framed(&message)) {
                prop_assert!(service.len() <= message.len());
            }
            let _ = service_asked(&message);
        }
    }
}
