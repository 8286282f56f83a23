//! Reads one request head: httparse, and the few fields a server must act on.
//!
//! It keeps no header map: an echo is written as JSON while the fields are at hand, everything else
//! needs only the numbers in [`Request`].

use super::ask::{Ask, Kind};
use super::body::Body;
use super::reply;

/// Fields a head may have; one more is answered with 431.
const FIELDS_MAX: usize = 128;

/// What the mock knows of a request once its head is read.
pub(super) struct Request {
    /// Bytes of the head, the empty line included.
    pub(super) head_len: usize,
    pub(super) ask: Ask,
    pub(super) is_head: bool,
    /// HTTP/1.0: no chunks, and keep-alive only when both say so.
    pub(super) http10: bool,
    /// Whether the client lets the connection live on.
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) body: Body,
    /// The start of the JSON of an echo; the content type of a raw echo.
    pub(super) echo: Vec<u8>,
}

/// Reads a head from the start of `input`. `Ok(None)`: it is not complete yet.
///
/// # Errors
/// The status to refuse it with.
pub(super) fn request(input: &[u8], base: Ask) -> Result<Option<Request>, u16> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let head_len = match parsed.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let target = parsed.path.unwrap_or("/");
    let http10 = parsed.version == Some(0);
    let mut request = Request {
        head_len,
        ask: Ask::parse(base, target.as_bytes()),
        is_head: parsed.method == Some("HEAD"),
        http10,
        keep_alive: !http10,
        expects_continue: false,
        body: Body::none(),
        echo: Vec::new(),
    };
    for field in parsed.headers.iter() {
        request.note(field)?;
    }
    request.ask.until_close |= http10 && request.ask.chunk_bytes > 0;
    match request.ask.kind {
        Kind::Echo => reply::echo_start(&mut request.echo, &parsed),
        Kind::Raw | Kind::Duplex => request.echo.extend_from_slice(content_type(&parsed)),
        Kind::Fixed => {}
    }
    Ok(Some(request))
}

impl Request {
    fn note(&mut self, field: &httparse::Header<'_>) -> Result<(), u16> {
        // The lengths keep a look at most fields to one comparison.
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let text = std::str::from_utf8(field.value).map_err(|_| 400u16)?;
                self.body = Body::length(text.trim().parse().map_err(|_| 400u16)?);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                self.body = Body::chunked();
            }
            10 if field.name.eq_ignore_ascii_case("connection") => {
                if contains(field.value, b"close") {
                    self.keep_alive = false;
                } else if contains(field.value, b"keep-alive") {
                    self.keep_alive = true;
                }
            }
            6 if field.name.eq_ignore_ascii_case("expect") => {
                self.expects_continue = contains(field.value, b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }
}

fn contains(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

fn content_type<'a>(parsed: &httparse::Request<'_, 'a>) -> &'a [u8] {
    let found = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-type"));
    found.map_or(b"application/octet-stream", |field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Options;

    fn parse(input: &str) -> Result<Option<Request>, u16> {
        request(input.as_bytes(), Ask::of(&Options::default()))
    }

    fn whole(input: &str) -> Request {
        parse(input).ok().flatten().expect("a complete head")
    }

    #[test]
    fn a_partial_head_waits_and_a_broken_one_is_refused() {
        assert!(matches!(parse("GET / HT"), Ok(None)));
        assert_eq!(parse("GET / HTTP/9\r\n\r\n").err(), Some(400));
        assert_eq!(parse("GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n").err(), Some(400));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(parse(&many).err(), Some(431));
    }

    #[test]
    fn keep_alive_follows_the_version_and_the_field() {
        assert!(whole("GET / HTTP/1.1\r\n\r\n").keep_alive);
        assert!(!whole("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(!whole("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keep_alive);
        assert!(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    }

    #[test]
    fn the_fields_say_how_the_body_is_framed() {
        assert_eq!(whole("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").body.known_bytes(), 9);
        assert!(!whole("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").body.is_done());
        assert!(whole("HEAD / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n").expects_continue);
    }
}
