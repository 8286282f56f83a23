//! gRPC over HTTP/2: what a gateway must know of a call without knowing its messages.
//!
//! Deadlines (`grpc-timeout`), statuses (`grpc-status`, `grpc-message`) and their counterparts in
//! HTTP and in RST_STREAM codes, the five bytes before each message, and the reply that is only a
//! status. Sources: gRPC over HTTP2 (PROTOCOL-HTTP2.md) and the HTTP to gRPC status mapping of the
//! gRPC project, by section name where one is cited.
//!
//! Nothing here is a wire: gRPC is HTTP/2 with rules for some fields. Payload is never copied; no
//! function allocates but those that write into a `Head`.

pub(crate) mod base64;
pub mod health;
pub mod web;

use core::time::Duration;

use crate::error::Fault;
use crate::head::{Head, Length, trim};
use crate::name::Name;

/// A status of a call. The numbers are those of `grpc-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The caller gave it up.
    Cancelled = 1,
    /// Anything else.
    Unknown = 2,
    /// The arguments can never work.
    InvalidArgument = 3,
    /// The deadline passed.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be made exists.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// A quota, a limit, a size.
    ResourceExhausted = 8,
    /// The system's state does not allow it.
    FailedPrecondition = 9,
    /// A conflict; to be retried from further up.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// No such method.
    Unimplemented = 12,
    /// An invariant broke.
    Internal = 13,
    /// Not now; to be retried.
    Unavailable = 14,
    /// Data are lost.
    DataLoss = 15,
    /// Nobody knows who is calling.
    Unauthenticated = 16,
}

const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

impl Code {
    /// The code with this number.
    pub fn from_number(number: u8) -> Option<Code> {
        CODES.get(usize::from(number)).copied()
    }

    /// A `grpc-status` value: decimal without leading zeros. A number that has no name is
    /// `Unknown`, as clients take it; `None` is for what is no number.
    pub fn parse(value: &[u8]) -> Option<Code> {
        let digits = match value {
            [b'0'] => return Some(Code::Ok),
            [b'1'..=b'9', ..] if value.iter().all(u8::is_ascii_digit) => value,
            _ => return None,
        };
        let number = digits
            .iter()
            .fold(0u32, |number, &d| number.saturating_mul(10).saturating_add(u32::from(d - b'0')));
        Some(u8::try_from(number).ok().and_then(Code::from_number).unwrap_or(Code::Unknown))
    }

    /// The value of `grpc-status`.
    pub fn text(self) -> &'static str {
        const TEXTS: [&str; 17] = [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
            "16",
        ];
        TEXTS.get(self as usize).copied().unwrap_or("2")
    }

    /// What a caller makes of an HTTP status where no `grpc-status` came.
    pub fn from_http(status: u16) -> Code {
        match status {
            400 | 431 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// The HTTP status for a caller that speaks no gRPC, as `google.rpc.Code` names them.
    pub fn to_http(self) -> u16 {
        match self {
            Code::Ok => 200,
            Code::Cancelled => 499,
            Code::Unknown | Code::Internal | Code::DataLoss => 500,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
            Code::DeadlineExceeded => 504,
            Code::NotFound => 404,
            Code::AlreadyExists | Code::Aborted => 409,
            Code::PermissionDenied => 403,
            Code::ResourceExhausted => 429,
            Code::Unimplemented => 501,
            Code::Unavailable => 503,
            Code::Unauthenticated => 401,
        }
    }

    /// What a call comes to that ended by RST_STREAM with this code ("Errors").
    pub fn from_reset(code: u32) -> Code {
        match code {
            0x7 => Code::Unavailable,
            0x8 => Code::Cancelled,
            0xb => Code::ResourceExhausted,
            0xc => Code::PermissionDenied,
            0x0..=0x4 | 0x6 | 0x9 | 0xa => Code::Internal,
            _ => Code::Unknown,
        }
    }

    /// The same, by the fault that a wire made of it. A stream that a GOAWAY left out was not
    /// looked at; a connection that broke is as good as unavailable.
    pub fn from_fault(fault: Fault) -> Code {
        match fault {
            Fault::PeerRefusedStream | Fault::GoneAway | Fault::ClosedBeforeReply => {
                Code::Unavailable
            }
            Fault::PeerCancel | Fault::Cancelled => Code::Cancelled,
            Fault::PeerEnhanceYourCalm => Code::ResourceExhausted,
            Fault::PeerInadequateSecurity => Code::PermissionDenied,
            Fault::PeerStreamClosed | Fault::PeerHttp11Required => Code::Unknown,
            Fault::BodyTruncated | Fault::PingTimeout => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

/// The content type of gRPC without a format.
pub const CONTENT_TYPE: &[u8] = b"application/grpc";

/// Whether a request is a call of gRPC, by its content type.
pub fn is_call(request: &Head) -> bool {
    request.known(Name::ContentType).is_some_and(is_content_type)
}

/// Whether a content type is gRPC's: `application/grpc`, alone or with `+format` or parameters.
pub fn is_content_type(value: &[u8]) -> bool {
    let Some((start, rest)) = value.split_at_checked(CONTENT_TYPE.len()) else { return false };
    start.eq_ignore_ascii_case(CONTENT_TYPE)
        && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// A `grpc-timeout` is none: more than 8 digits, no digit, no unit, or anything else in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTimeout;

impl core::fmt::Display for BadTimeout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed grpc-timeout")
    }
}

impl core::error::Error for BadTimeout {}

/// Digits of a `grpc-timeout`.
const TIMEOUT_DIGITS_MAX: usize = 8;
/// The largest number that they can say.
const TIMEOUT_MAX: u128 = 99_999_999;

/// A `grpc-timeout` value: 1 to 8 digits and a unit of `HMSmun`. Zero has passed already.
///
/// # Errors
///
/// [`BadTimeout`] for anything else; space around the value is not part of it.
pub fn parse_timeout(value: &[u8]) -> Result<Duration, BadTimeout> {
    let (unit, digits) = trim(value).split_last().ok_or(BadTimeout)?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX {
        return Err(BadTimeout);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadTimeout);
    }
    let number = digits.iter().fold(0u64, |number, &d| number * 10 + u64::from(d - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(BadTimeout),
    }
}

/// A `grpc-timeout` of at most this time, in the finest unit that fits 8 digits. It is rounded
/// down, so that no hop adds time, and never says 0: a nanosecond is the least.
pub fn write_timeout(timeout: Duration, out: &mut Vec<u8>) {
    use std::io::Write;
    let nanos = timeout.as_nanos().max(1);
    let units = [
        (b'n', 1),
        (b'u', 1_000),
        (b'm', 1_000_000),
        (b'S', 1_000_000_000),
        (b'M', 60_000_000_000),
        (b'H', 3_600_000_000_000),
    ];
    let fits = units.into_iter().map(|(unit, of)| (unit, nanos / of));
    let (unit, number) =
        fits.into_iter().find(|(_, number)| *number <= TIMEOUT_MAX).unwrap_or((b'H', TIMEOUT_MAX));
    // A Vec takes every write.
    let _written = write!(out, "{number}");
    out.push(unit);
}

/// A message as `grpc-message` has it: bytes outside of printable ASCII, and `%`, become `%XX`.
pub fn encode_message(message: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in message {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// The message that a `grpc-message` stands for. It never fails: what is no escape stays.
pub fn decode_message(mut value: &[u8], out: &mut Vec<u8>) {
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    while let Some((&byte, rest)) = value.split_first() {
        value = rest;
        if let (b'%', [a, b, after @ ..]) = (byte, rest)
            && let (Some(high), Some(low)) = (hex(*a), hex(*b))
        {
            out.push(high << 4 | low);
            value = after;
        } else {
            out.push(byte);
        }
    }
}

/// What `grpc-status` and `grpc-message` of a head or trailers say: the code, and the message as it
/// is encoded. `None` without a status; one that is no number is `Unknown`.
pub fn status_of(head: &Head) -> Option<(Code, &[u8])> {
    let code = Code::parse(head.field(b"grpc-status")?).unwrap_or(Code::Unknown);
    Some((code, head.field(b"grpc-message").unwrap_or_default()))
}

/// The number that `grpc-status` says, also one that has no name; UNKNOWN's for what is no number.
/// `None` without a status.
pub fn status_number(head: &Head) -> Option<u32> {
    let value = head.field(b"grpc-status")?;
    let number = core::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    Some(number.filter(|_| Code::parse(value).is_some()).unwrap_or(Code::Unknown as u32))
}

/// Adds `grpc-status`, and `grpc-message` if there is one.
pub fn push_status(head: &mut Head, code: Code, message: &[u8]) {
    head.push(b"grpc-status", code.text().as_bytes());
    if !message.is_empty() {
        let mut encoded = Vec::with_capacity(message.len());
        encode_message(message, &mut encoded);
        head.push(b"grpc-message", &encoded);
    }
}

/// Makes `head` a whole reply that says only how the call ended ("Trailers-Only"): to be sent with
/// `end`. `content_type` is the request's, which names the format.
pub fn trailers_only(head: &mut Head, content_type: &[u8], code: Code, message: &[u8]) {
    head.clear();
    head.set_status(200, b"");
    head.set_length(Length::Empty);
    let known = is_content_type(content_type);
    head.push(b"content-type", if known { content_type } else { b"application/grpc" });
    push_status(head, code, message);
}

/// Why a body is no sequence of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessage {
    /// The flag is neither 0 nor 1: INTERNAL.
    Flag,
    /// Longer than allowed: RESOURCE_EXHAUSTED.
    TooLong,
    /// The body ended within a message: INTERNAL.
    Truncated,
}

impl BadMessage {
    /// What the call comes to.
    pub fn code(self) -> Code {
        match self {
            BadMessage::TooLong => Code::ResourceExhausted,
            BadMessage::Flag | BadMessage::Truncated => Code::Internal,
        }
    }

    /// The word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            BadMessage::Flag => "grpc_message_flag",
            BadMessage::TooLong => "grpc_message_too_large",
            BadMessage::Truncated => "grpc_message_truncated",
        }
    }
}

/// Bytes before each message: flag and length.
const PREFIX_LEN: u8 = 5;

/// A step of [`Messages::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message begins.
    Begin {
        /// It is compressed.
        compressed: bool,
        /// Its bytes.
        len: u32,
    },
    /// So many bytes of the message follow in the input.
    Payload(usize),
    /// The message is whole.
    End,
    /// More input is needed.
    More,
}

/// Finds the messages of a body, however it is cut: messages and DATA frames have no relation
/// ("Length-Prefixed-Message"). Holds five bytes of prefix and no payload.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    message_bytes_max: u32,
    prefix: [u8; 5],
    prefix_len: u8,
    left: u32,
    count: u64,
}

impl Messages {
    /// A body whose messages may have so many bytes each.
    pub fn new(message_bytes_max: u32) -> Messages {
        Messages { message_bytes_max, prefix: [0; 5], prefix_len: 0, left: 0, count: 0 }
    }

    /// How many messages were whole.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Looks at the next bytes: what they are, and how many of them that was. The bytes of
    /// `Payload` are among those used.
    ///
    /// # Errors
    ///
    /// `Flag` and `TooLong`; the body makes no sense from there on.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Step), BadMessage> {
        if self.prefix_len == PREFIX_LEN {
            return Ok(self.payload(input.len()));
        }
        let mut used = 0;
        let places = self.prefix.iter_mut().skip(usize::from(self.prefix_len));
        for (place, &byte) in places.zip(input) {
            *place = byte;
            used += 1;
        }
        self.prefix_len += used as u8;
        if self.prefix_len < PREFIX_LEN {
            return Ok((used, Step::More));
        }
        let [flag, a, b, c, d] = self.prefix;
        let len = u32::from_be_bytes([a, b, c, d]);
        if flag > 1 {
            return Err(BadMessage::Flag);
        }
        if len > self.message_bytes_max {
            return Err(BadMessage::TooLong);
        }
        self.left = len;
        Ok((used, Step::Begin { compressed: flag == 1, len }))
    }

    fn payload(&mut self, len: usize) -> (usize, Step) {
        if self.left == 0 {
            self.prefix_len = 0;
            self.count += 1;
            return (0, Step::End);
        }
        let used = len.min(self.left as usize);
        self.left -= used as u32;
        (used, if used == 0 { Step::More } else { Step::Payload(used) })
    }

    /// The body ended.
    ///
    /// # Errors
    ///
    /// `Truncated` within a message.
    pub fn finish(&self) -> Result<(), BadMessage> {
        let whole = self.prefix_len == 0 || (self.prefix_len == PREFIX_LEN && self.left == 0);
        if whole { Ok(()) } else { Err(BadMessage::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{every_cut, line};
    use proptest::prelude::*;

    #[test]
    fn timeouts_of_the_table() {
        let mut count = 0;
        for line in include_str!("../testdata/grpc_timeout_cases.tsv").lines().skip(1) {
            let (value, want) = line.split_once('\t').unwrap();
            let got = parse_timeout(value.as_bytes());
            let number = |text: &str| text.split(' ').next().unwrap().parse::<f64>();
            match want {
                "expired at once" => assert!(got.unwrap() <= Duration::from_nanos(1), "{value}"),
                "expired" => assert_eq!(got, Ok(Duration::ZERO), "{value}"),
                "strip OWS per header rules, then 1 s" => {
                    assert_eq!(got, Ok(Duration::from_secs(1)));
                }
                _ if want.starts_with("invalid") => assert_eq!(got, Err(BadTimeout), "{value}"),
                _ => {
                    let want = Duration::from_secs_f64(number(want).unwrap());
                    assert_eq!(got, Ok(want), "{value}");
                }
            }
            count += 1;
        }
        assert_eq!(count, 16);
    }

    #[test]
    fn timeouts_are_written_rounded_down() {
        for (nanos, want) in [
            (0u128, "1n"),
            (1, "1n"),
            (99_999_999, "99999999n"),
            (100_000_000, "100000u"),
            (1_999_999_999, "1999999u"),
            (99_999_999_999, "99999999u"),
            (100_000_000_000, "100000m"),
            (99_999_999_999_999, "99999999m"),
            (100_000_000_000_000, "100000S"),
        ] {
            let mut out = Vec::new();
            write_timeout(Duration::from_nanos(nanos as u64), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        let mut out = Vec::new();
        write_timeout(Duration::MAX, &mut out);
        assert_eq!(out, b"99999999H");
    }

    #[test]
    fn codes_are_numbers() {
        for number in 0..=16 {
            let code = Code::from_number(number).unwrap();
            assert_eq!((code as u8, code.text()), (number, number.to_string().as_str()));
            assert_eq!(Code::parse(code.text().as_bytes()), Some(code));
        }
        assert_eq!(Code::from_number(17), None);
        for unknown in ["17", "255", "256", "99999999999999999999"] {
            assert_eq!(Code::parse(unknown.as_bytes()), Some(Code::Unknown));
        }
        for bad in ["", "00", "05", "-1", "+1", " 1", "1 ", "x", "1.0"] {
            assert_eq!(Code::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn statuses_of_http() {
        for (status, number) in [
            (200, 2),
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (431, 13),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
        ] {
            assert_eq!(Code::from_http(status) as u8, number, "{status}");
        }
        let to: Vec<_> = CODES.iter().map(|code| code.to_http()).collect();
        let want =
            [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        assert_eq!(to, want);
    }

    #[test]
    fn resets_and_faults() {
        for (code, fault, number) in [
            (0, Fault::PeerNoError, 13),
            (1, Fault::PeerProtocolError, 13),
            (2, Fault::PeerInternalError, 13),
            (3, Fault::PeerFlowControlError, 13),
            (4, Fault::PeerSettingsTimeout, 13),
            (5, Fault::PeerStreamClosed, 2),
            (6, Fault::PeerFrameSizeError, 13),
            (7, Fault::PeerRefusedStream, 14),
            (8, Fault::PeerCancel, 1),
            (9, Fault::PeerCompressionError, 13),
            (10, Fault::PeerConnectError, 13),
            (11, Fault::PeerEnhanceYourCalm, 8),
            (12, Fault::PeerInadequateSecurity, 7),
            (13, Fault::PeerHttp11Required, 2),
        ] {
            assert_eq!(Code::from_reset(code) as u8, number, "{code}");
            assert_eq!(Code::from_fault(fault) as u8, number, "{code}");
        }
        assert_eq!(Code::from_reset(14), Code::Unknown);
        assert_eq!(Code::from_fault(Fault::GoneAway), Code::Unavailable);
    }

    #[test]
    fn content_types() {
        for good in ["application/grpc", "Application/GRPC+proto", "application/grpc;x=y"] {
            assert!(is_content_type(good.as_bytes()), "{good}");
        }
        for bad in ["", "application/grp", "application/grpc-web", "application/grpcx", "text/x"] {
            assert!(!is_content_type(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn messages_of_peers() {
        let decoded = |text: &str| {
            let mut out = Vec::new();
            decode_message(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        // grpc-core leaves spaces, tonic does not.
        assert_eq!(decoded("n%C3%A3o 100%25 found%0A"), "n\u{e3}o 100% found\n");
        assert_eq!(decoded("n%C3%A3o%20100%25%20found"), "n\u{e3}o 100% found");
        assert_eq!(decoded("%"), "%");
        assert_eq!(decoded("%4 %zz %4"), "%4 %zz %4");
        let mut out = Vec::new();
        encode_message("n\u{e3}o 100% found\n".as_bytes(), &mut out);
        assert_eq!(out, b"n%C3%A3o 100%25 found%0A");
    }

    #[test]
    fn a_reply_that_is_only_a_status() {
        let mut head = Head::new();
        trailers_only(&mut head, b"application/grpc+proto", Code::Unavailable, b"no \xff%");
        let want = "200  | content-type: application/grpc+proto | grpc-status: 14 | \
                    grpc-message: no %FF%25";
        assert_eq!(line(&head), want);
        assert_eq!(status_of(&head), Some((Code::Unavailable, &b"no %FF%25"[..])));
        trailers_only(&mut head, b"text/html", Code::Ok, b"");
        assert_eq!(line(&head), "200  | content-type: application/grpc | grpc-status: 0");
        assert_eq!((status_of(&Head::new()), status_number(&Head::new())), (None, None));
    }

    #[test]
    fn numbers_of_statuses() {
        for (value, number) in [("0", 0), ("16", 16), ("17", 17), ("4294967295", u32::MAX)] {
            let mut head = Head::new();
            head.push(b"grpc-status", value.as_bytes());
            assert_eq!(status_number(&head), Some(number), "{value}");
        }
        for value in ["", "05", "+5", "-1", "4294967296", "five"] {
            let mut head = Head::new();
            head.push(b"grpc-status", value.as_bytes());
            assert_eq!(status_number(&head), Some(2), "{value}");
        }
    }

    /// What a body comes to: its messages as text, compressed ones marked, and how it ends.
    fn messages(pieces: &[&[u8]]) -> (String, Result<(), BadMessage>) {
        let (mut scanner, mut found) = (Messages::new(300), String::new());
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, step) = match scanner.next(rest) {
                    Ok(step) => step,
                    Err(error) => return (found, Err(error)),
                };
                match step {
                    Step::Begin { compressed, len } => {
                        found += &format!("{len}{} ", if compressed { "!" } else { "" });
                    }
                    Step::Payload(len) => found += &rest[..len].escape_ascii().to_string(),
                    Step::End => found += "; ",
                    Step::More => break,
                }
                rest = &rest[used..];
            }
        }
        assert_eq!(scanner.count() as usize, found.matches(';').count());
        (found, scanner.finish())
    }

    #[test]
    fn messages_are_found_in_every_cut() {
        let body = b"\0\0\0\0\x02hi\x01\0\0\0\0\0\0\0\0\x03abc";
        assert_eq!(every_cut(body, messages), ("2 hi; 0! ; 3 abc; ".into(), Ok(())));
        let short = &body[..body.len() - 1];
        let got = every_cut(short, messages);
        assert_eq!(got, ("2 hi; 0! ; 3 ab".into(), Err(BadMessage::Truncated)));
        assert_eq!(messages(&[b"\0\0\0"]).1, Err(BadMessage::Truncated));
        assert_eq!(messages(&[]), (String::new(), Ok(())));
        assert_eq!(messages(&[b"\x02\0\0\0\0"]).1, Err(BadMessage::Flag));
        assert_eq!(messages(&[b"\0\0\0\x01\x2d"]).1, Err(BadMessage::TooLong));
        assert_eq!(BadMessage::TooLong.code(), Code::ResourceExhausted);
        assert_eq!(BadMessage::Flag.code(), Code::Internal);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(message: Vec<u8>) {
            let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
            encode_message(&message, &mut encoded);
            prop_assert!(encoded.iter().all(|byte| (0x20..=0x7e).contains(byte)));
            decode_message(&encoded, &mut decoded);
            prop_assert_eq!(decoded, message);
        }

        #[test]
        fn what_is_written_is_read_and_no_longer(nanos: u64) {
            let (timeout, mut text) = (Duration::from_nanos(nanos), Vec::new());
            write_timeout(timeout, &mut text);
            prop_assert!(text.len() <= 9);
            let read = parse_timeout(&text).unwrap();
            prop_assert!(read > Duration::ZERO && read <= timeout.max(Duration::from_nanos(1)));
            prop_assert!(read >= timeout / 2, "no more is lost than the last digit");
        }
    }
}
