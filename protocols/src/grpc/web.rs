//! gRPC-Web: calls of browsers, which see no trailers and, in the text form, no bytes.
//!
//! A body is the messages of gRPC, in the text form as base64; a reply's trailers follow its
//! messages as one more, whose flag is 0x80. Base64 comes in pieces that are padded each for
//! itself, so groups of four are what is decoded, wherever the input was cut; what is encoded is
//! padded at the end of each message, so that none waits for the next one. Source:
//! PROTOCOL-WEB.md of gRPC.
//!
//! W1 A body that is no sequence of whole messages never ends well: trailers behind half a message
//! would be read as a part of it. Cost: binary bodies are looked at, not copied; the text form
//! copies each byte once. Holds less than a group and the prefix of a message.

use super::base64::{Decoder, Encoder};
use super::{BadMessage, Code, Messages, Step, is_content_type};
use crate::head::{Head, Length};
use crate::transform::{Changed, Transform};

/// What a content type of gRPC-Web says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType<'a> {
    /// The body is base64.
    pub text: bool,
    /// `+format` and parameters.
    pub format: &'a [u8],
}

impl<'a> ContentType<'a> {
    /// `application/grpc-web` or `application/grpc-web-text`, alone or with more.
    pub fn parse(value: &'a [u8]) -> Option<ContentType<'a>> {
        let after = strip(value, b"application/grpc-web")?;
        let (text, format) = strip(after, b"-text").map_or((false, after), |after| (true, after));
        let ends = matches!(format.first(), None | Some(b'+' | b';' | b' '));
        ends.then_some(ContentType { text, format })
    }

    /// The same format as gRPC's own content type.
    pub fn as_grpc(&self) -> Vec<u8> {
        [b"application/grpc", self.format].concat()
    }
}

/// A value without a prefix in any case.
fn strip<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The content type of a reply, whose gRPC content type is given.
pub fn reply_content_type(grpc: &[u8], text: bool) -> Vec<u8> {
    let format = strip(grpc, b"application/grpc").unwrap_or_default();
    let base: &[u8] = if text { b"application/grpc-web-text" } else { b"application/grpc-web" };
    [base, format].concat()
}

/// Why a body is none of gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// A byte that is not of base64, padding where none can be, or an unfinished group.
    Base64,
    /// It is no sequence of messages.
    Message(BadMessage),
}

impl BadBody {
    /// What the call comes to.
    pub fn code(self) -> Code {
        match self {
            BadBody::Base64 => Code::Internal,
            BadBody::Message(bad) => bad.code(),
        }
    }

    /// The word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            BadBody::Base64 => "grpc_web_base64",
            BadBody::Message(bad) => bad.reason(),
        }
    }
}

/// One direction of a call of gRPC-Web.
#[derive(Debug)]
pub struct GrpcWeb {
    coding: Coding,
    messages: Messages,
    is_reply: bool,
}

#[derive(Debug)]
enum Coding {
    /// Binary.
    None,
    Decode(Decoder),
    Encode(Encoder),
}

impl GrpcWeb {
    /// The request of a client, whose messages may have so many bytes each.
    pub fn request(text: bool, message_bytes_max: u32) -> Transform {
        let coding = if text { Coding::Decode(Decoder::default()) } else { Coding::None };
        let messages = Messages::new(message_bytes_max);
        Transform::GrpcWeb(GrpcWeb { coding, messages, is_reply: false })
    }

    /// The reply of a server.
    pub fn reply(text: bool) -> Transform {
        let coding = if text { Coding::Encode(Encoder::default()) } else { Coding::None };
        let messages = Messages::new(u32::MAX);
        Transform::GrpcWeb(GrpcWeb { coding, messages, is_reply: true })
    }

    /// Makes a head one of gRPC, or of gRPC-Web.
    pub(crate) fn head(&mut self, head: &mut Head, end: bool) {
        let content_type = head.field(b"content-type").unwrap_or_default();
        if self.is_reply {
            if is_content_type(content_type) {
                let text = matches!(self.coding, Coding::Encode(_));
                let content_type = reply_content_type(content_type, text);
                head.set(b"content-type", &content_type);
            }
        } else if let Some(web) = ContentType::parse(content_type) {
            let content_type = web.as_grpc();
            head.set(b"content-type", &content_type);
            head.set(b"te", b"trailers");
            head.remove(b"x-grpc-web");
            if head.field(ACCEPT_ENCODING).is_none() {
                head.push(ACCEPT_ENCODING, b"identity");
            }
        }
        if !end {
            head.set_length(Length::Unknown);
        }
    }

    pub(crate) fn data(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Changed, BadBody> {
        let GrpcWeb { coding, messages, .. } = self;
        match coding {
            Coding::None => scan(messages, input, |_, _| {})?,
            Coding::Decode(decoder) => {
                let from = out.len();
                // What came before a bad byte is judged first, as it is where it came alone.
                let decoded = decoder.decode(input, out);
                scan(messages, out.get(from..).unwrap_or_default(), |_, _| {})?;
                decoded.ok_or(BadBody::Base64)?;
            }
            Coding::Encode(encoder) => scan(messages, input, |bytes, ends| {
                encoder.encode(bytes, out);
                if ends {
                    encoder.pad(out);
                }
            })?,
        }
        let is_same = matches!(self.coding, Coding::None);
        Ok(if is_same { Changed::Nothing } else { Changed::Written })
    }

    pub(crate) fn end(
        &mut self,
        trailers: Option<&Head>,
        out: &mut Vec<u8>,
    ) -> Result<(), BadBody> {
        if let Coding::Decode(decoder) = &self.coding
            && decoder.is_open()
        {
            return Err(BadBody::Base64);
        }
        self.messages.finish().map_err(BadBody::Message)?;
        let Some(trailers) = trailers.filter(|_| self.is_reply) else { return Ok(()) };
        let frame = frame(trailers);
        if let Coding::Encode(encoder) = &mut self.coding {
            encoder.encode(&frame, out);
            encoder.pad(out);
        } else {
            out.extend_from_slice(&frame);
        }
        Ok(())
    }
}

/// Walks over the next bytes of messages; `each` is told which bytes, and whether a message ends
/// behind them.
fn scan(
    messages: &mut Messages,
    mut input: &[u8],
    mut each: impl FnMut(&[u8], bool),
) -> Result<(), BadBody> {
    loop {
        let (used, step) = messages.next(input).map_err(BadBody::Message)?;
        let (bytes, rest) = input.split_at(used.min(input.len()));
        each(bytes, step == Step::End);
        input = rest;
        if step == Step::More {
            return Ok(());
        }
    }
}

/// Trailers as a message: flag, length, and a line for each field.
fn frame(trailers: &Head) -> Vec<u8> {
    let mut out = vec![TRAILERS_FLAG, 0, 0, 0, 0];
    for (name, value) in trailers.fields() {
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        out.push(b':');
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    let len = (out.len() - PREFIX_LEN) as u32;
    if let Some(place) = out.get_mut(1..PREFIX_LEN) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    out
}

/// Flag of the message that is trailers.
const TRAILERS_FLAG: u8 = 0x80;
const PREFIX_LEN: usize = 5;
const ACCEPT_ENCODING: &[u8] = b"grpc-accept-encoding";

/// Any body, as the request of a client in the text form: how it is cut changes nothing, and what
/// it comes to returns from the text form of a reply. The first byte says how it is cut.
#[cfg(any(test, feature = "fuzz"))]
#[allow(clippy::panic, reason = "a fuzz function is meant to panic")]
pub fn fuzz_grpc_web(data: &[u8]) {
    let Some((&cut, body)) = data.split_first() else { return };
    let step = usize::from(cut) + 1;
    let request = |body: &[u8], step| put_through(GrpcWeb::request(true, u32::MAX), body, step);
    let decoded = request(body, body.len().max(1));
    assert_eq!(request(body, step), decoded, "cut every {step} bytes");
    let Ok(messages) = decoded else { return };
    let encoded = put_through(GrpcWeb::reply(true), &messages, step);
    let encoded = encoded.unwrap_or_else(|bad| panic!("a reply of whole messages: {bad:?}"));
    assert_eq!(request(&encoded, step), Ok(messages), "it did not return");
}

/// What becomes of a body that comes in pieces of `step` bytes.
#[cfg(any(test, feature = "fuzz"))]
fn put_through(mut transform: Transform, body: &[u8], step: usize) -> Result<Vec<u8>, BadBody> {
    let mut all = Vec::new();
    for piece in body.chunks(step) {
        let before = all.len();
        match transform.data(piece, &mut all)? {
            Changed::Nothing => all.extend_from_slice(piece),
            Changed::Written => assert!(all.len() - before <= 8 * piece.len(), "it is bounded"),
        }
    }
    transform.end(None, &mut all)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{Peer, every_cut, line};
    use crate::{Role, WireSpec};
    use proptest::prelude::*;

    macro_rules! vector {
        ($name:literal) => {
            bytes(include_str!(concat!("../../testdata/grpc_web/", $name, ".hex")))
        };
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let lines = hex.lines().filter(|line| !line.starts_with('#'));
        let digits: Vec<u8> = lines.flat_map(str::bytes).collect();
        let number = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        digits.chunks(2).map(|pair| number(pair[0]) << 4 | number(pair[1])).collect()
    }

    /// A message of the vectors.
    const HI: &[u8] = b"\0\0\0\0\x06\x0a\x02hi\x10\x29";
    const HI_REPLY: &[u8] = b"\0\0\0\0\x06\x0a\x02hi\x10\x2a";

    /// What a whole direction comes to.
    fn run(
        mut transform: Transform,
        pieces: &[&[u8]],
        trailers: Option<&Head>,
    ) -> Result<Vec<u8>, BadBody> {
        let mut all = Vec::new();
        for piece in pieces {
            if transform.data(piece, &mut all)? == Changed::Nothing {
                all.extend_from_slice(piece);
            }
        }
        transform.end(trailers, &mut all)?;
        Ok(all)
    }

    fn request(text: bool, body: &[u8]) -> Result<Vec<u8>, BadBody> {
        every_cut(body, |pieces| run(GrpcWeb::request(text, 300), pieces, None))
    }

    fn reply(text: bool, body: &[u8], trailers: &[(&str, &str)]) -> Result<Vec<u8>, BadBody> {
        let mut head = Head::new();
        trailers.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
        every_cut(body, |pieces| run(GrpcWeb::reply(text), pieces, Some(&head)))
    }

    /// The body of a reply over HTTP/1.1.
    fn body_of(reply: &[u8]) -> Vec<u8> {
        let mut peer = Peer::asked("POST", WireSpec::default());
        peer.feed(reply);
        assert!(peer.messages[0].whole);
        peer.messages.remove(0).body
    }

    /// The body of a request over HTTP/1.1.
    fn body_asked(request: &[u8]) -> Vec<u8> {
        let mut peer = Peer::new(Role::Server, WireSpec::default());
        peer.feed(request);
        peer.messages.remove(0).body
    }

    #[test]
    fn content_types() {
        let parse = |value: &'static str| ContentType::parse(value.as_bytes());
        let of = |text, format: &'static str| Some(ContentType { text, format: format.as_bytes() });
        assert_eq!(parse("application/grpc-web"), of(false, ""));
        assert_eq!(parse("Application/gRPC-Web+proto;a=b"), of(false, "+proto;a=b"));
        assert_eq!(parse("application/grpc-web-text"), of(true, ""));
        assert_eq!(parse("application/grpc-web-TEXT+json"), of(true, "+json"));
        for other in ["application/grpc", "application/grpc-webx", "application/grpc-web-texts", ""]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse("application/grpc-web-text+x").unwrap().as_grpc(), b"application/grpc+x");
        assert_eq!(reply_content_type(b"application/grpc+x", true), b"application/grpc-web-text+x");
        assert_eq!(reply_content_type(b"", false), b"application/grpc-web");
    }

    #[test]
    fn requests_of_the_vectors() {
        assert_eq!(request(false, &vector!("request_binary")).as_deref(), Ok(HI));
        assert_eq!(
            request(false, &body_asked(&vector!("tonic_binary_request"))).as_deref(),
            Ok(HI)
        );
        for text in [vector!("tonic_text_request"), vector!("tonic_text_noaccept_request")] {
            assert_eq!(request(true, &body_asked(&text)).as_deref(), Ok(HI));
        }
    }

    #[test]
    fn replies_of_the_vectors() {
        let both = [("grpc-status", "0"), ("grpc-message", "")];
        assert_eq!(reply(false, HI_REPLY, &both), Ok(vector!("response_binary")));
        assert_eq!(reply(true, HI_REPLY, &both), Ok(vector!("response_text")));
        let status = [("Grpc-Status", "0")];
        let tonic = |text, bytes: Vec<u8>| {
            assert_eq!(reply(text, HI_REPLY, &status), Ok(body_of(&bytes)));
        };
        tonic(false, vector!("tonic_binary_response"));
        tonic(true, vector!("tonic_text_response"));
        tonic(false, vector!("tonic_text_noaccept_response"));
        assert_eq!(body_of(&vector!("tonic_error_response")), b"", "a status in the head alone");
    }

    #[test]
    fn padding_may_stand_between_pieces() {
        let pieces = b"AAAAAA==AQ==YQ==AAAAAAA=";
        assert_eq!(request(true, pieces).as_deref(), Ok(&b"\0\0\0\0\x01a\0\0\0\0\0"[..]));
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for bad in ["A===", "====", "AA=A", "AAA", "A", "AAAAAAA", "AB==", "AAB=", "AA A", "AA-_"] {
            assert_eq!(request(true, bad.as_bytes()), Err(BadBody::Base64), "{bad}");
        }
        assert_eq!(request(true, b"AAAAAAA=\n"), Err(BadBody::Base64));
        assert_eq!(
            (BadBody::Base64.code(), BadBody::Base64.reason()),
            (Code::Internal, "grpc_web_base64")
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let bad = |bad| Err(BadBody::Message(bad));
        for flag in [2, 0x80, 0x81] {
            assert_eq!(request(false, &[flag, 0, 0, 0, 0]), bad(BadMessage::Flag));
            assert_eq!(reply(true, &[flag, 0, 0, 0, 0], &[]), bad(BadMessage::Flag));
        }
        assert_eq!(request(false, b"\0\0\0\x01\x2d"), bad(BadMessage::TooLong));
        assert_eq!(request(true, b"AAAAAS0="), bad(BadMessage::TooLong));
        assert_eq!(request(false, &HI[..10]), bad(BadMessage::Truncated));
        assert_eq!(request(true, b"AAAA"), bad(BadMessage::Truncated));
        let status = [("grpc-status", "0")];
        for text in [false, true] {
            assert_eq!(reply(text, &HI[..8], &status), bad(BadMessage::Truncated), "W1");
        }
    }

    #[test]
    fn each_message_is_there_to_its_end_before_the_next_one_comes() {
        let mut transform = GrpcWeb::reply(true);
        for (piece, want) in
            [(HI_REPLY, "AAAAAAYKAmhpECo="), (&HI[..4], "AAAA"), (&HI[4..], "AAYKAmhpECk=")]
        {
            let mut out = Vec::new();
            transform.data(piece, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn heads_both_ways() {
        let mut head = Head::new();
        head.set_request(b"POST", b"/a.B/C");
        head.set_length(Length::Exact(16));
        head.push(b"content-type", b"application/grpc-web-text+proto");
        head.push(b"x-grpc-web", b"1");
        GrpcWeb::request(true, 9).head(&mut head, false);
        assert_eq!(head.length(), Length::Unknown);
        let fields = "content-type: application/grpc+proto | te: trailers | \
                      grpc-accept-encoding: identity";
        assert!(line(&head).ends_with(fields), "{}", line(&head));
        let mut head = Head::new();
        head.set_status(200, b"");
        head.push(b"content-type", b"application/grpc+proto");
        GrpcWeb::reply(true).head(&mut head, true);
        assert_eq!(line(&head), "200  | content-type: application/grpc-web-text+proto");
        assert_eq!(head.length(), Length::Empty);
    }

    proptest! {
        #[test]
        fn any_bytes_hold_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            fuzz_grpc_web(&bytes);
        }

        #[test]
        fn messages_return(
            cut: u8,
            sizes in prop::collection::vec(0usize..40, 0..6),
        ) {
            let messages: Vec<u8> = sizes
                .iter()
                .flat_map(|&len| [vec![0, 0, 0, 0, len as u8], vec![cut; len]].concat())
                .collect();
            let encoded = put_through(GrpcWeb::reply(true), &messages, messages.len().max(1));
            fuzz_grpc_web(&[&[cut], &encoded.unwrap()[..]].concat());
        }
    }
}
