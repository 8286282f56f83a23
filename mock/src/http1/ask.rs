//! What one request asks the mock to do: read from its path and query.
//!
//! It is not a URL parser: keys and values are taken literally, unknown keys are ignored, and a
//! number that cannot be read counts as absent.

use std::time::Duration;

use super::Options;

/// What the body of a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`super::body_byte`] repeated to the wanted length.
    Fixed,
    /// The request as JSON: method, target, version, fields, body.
    Echo,
    /// The request's body, with its content type.
    Raw,
    /// The request's body, chunked, each piece sent when it arrives.
    Duplex,
}

/// The orders of one request. The doc of each field names its query key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Chosen by path: `/echo`, `/raw`, `/duplex`, else [`Options::kind`].
    pub kind: Kind,
    /// `status=`: the status of the reply, 100-999.
    pub status: u16,
    /// `bytes=`: length of a fixed body.
    pub bytes: u64,
    /// `delay_ms=`: pause before the reply.
    pub delay: Duration,
    /// `chunked=1`, with `chunk_bytes=` (default 16384): the chunk size, 0 when not chunked.
    pub chunk_bytes: u64,
    /// `drip_bytes=` (default 1) a write, with `drip_ms=` between two writes; 0 when not dripping.
    pub drip_bytes: u64,
    /// `drip_ms=`.
    pub drip_pause: Duration,
    /// `abort_after=`: closes after this many body bytes, whatever was announced.
    pub abort_after: Option<u64>,
    /// `close=1`: says `connection: close` and closes after the reply.
    pub close: bool,
    /// `until_close=1`: no length and no chunks; the close ends the body.
    pub until_close: bool,
    /// `hints=1`: a 103 reply before the real one.
    pub hints: bool,
    /// `early=1`: replies as soon as the head is read, and reads the body afterwards.
    pub early: bool,
    /// `silent=1`: reads the request and never answers it.
    pub silent: bool,
}

impl Ask {
    /// What `options` say when a request asks for nothing.
    pub fn of(options: &Options) -> Self {
        Self {
            kind: options.kind,
            status: 200,
            bytes: options.body_bytes,
            delay: options.delay,
            chunk_bytes: 0,
            drip_bytes: 0,
            drip_pause: Duration::ZERO,
            abort_after: None,
            close: false,
            until_close: false,
            hints: false,
            early: false,
            silent: false,
        }
    }

    /// The orders in a request target, over `base`.
    pub fn parse(base: Self, target: &[u8]) -> Self {
        let mut ask = base;
        let split = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
        let (path, query) = target.split_at(split);
        ask.kind = match path {
            b"/echo" => Kind::Echo,
            b"/raw" => Kind::Raw,
            b"/duplex" => Kind::Duplex,
            _ => base.kind,
        };
        for pair in query.get(1..).unwrap_or_default().split(|&byte| byte == b'&') {
            ask.apply(pair);
        }
        ask
    }

    fn apply(&mut self, pair: &[u8]) {
        let Ok(pair) = std::str::from_utf8(pair) else { return };
        let Some((key, value)) = pair.split_once('=') else { return };
        let Ok(number) = value.parse::<u64>() else { return };
        let yes = number != 0;
        match key {
            "status" if (100..1000).contains(&number) => self.status = number as u16,
            "bytes" => self.bytes = number,
            "delay_ms" => self.delay = Duration::from_millis(number),
            "chunked" => self.chunk_bytes = if yes { self.chunk_bytes.max(16384) } else { 0 },
            "chunk_bytes" => self.chunk_bytes = number,
            "drip_bytes" => self.drip_bytes = number,
            "drip_ms" => {
                self.drip_bytes = self.drip_bytes.max(1);
                self.drip_pause = Duration::from_millis(number);
            }
            "abort_after" => self.abort_after = Some(number),
            "close" => self.close = yes,
            "until_close" => self.until_close = yes,
            "hints" => self.hints = yes,
            "early" => self.early = yes,
            "silent" => self.silent = yes,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str) -> Ask {
        Ask::parse(Ask::of(&Options::default()), target.as_bytes())
    }

    #[test]
    fn a_plain_target_asks_for_nothing() {
        assert_eq!(parse("/any/path?x=y&z"), Ask::of(&Options::default()));
    }

    #[test]
    fn every_key_is_read() {
        let ask = parse(
            "/echo?status=503&bytes=7&delay_ms=2&chunk_bytes=3&drip_ms=5&abort_after=4&close=1\
             &until_close=1&hints=1&early=1&silent=1",
        );
        assert_eq!(ask.kind, Kind::Echo);
        assert_eq!((ask.status, ask.bytes, ask.chunk_bytes, ask.drip_bytes), (503, 7, 3, 1));
        assert_eq!((ask.delay.as_millis(), ask.drip_pause.as_millis()), (2, 5));
        assert_eq!(ask.abort_after, Some(4));
        assert!(ask.close && ask.until_close && ask.hints && ask.early && ask.silent);
    }

    #[test]
    fn a_value_that_is_no_number_counts_as_absent() {
        assert_eq!(parse("/?status=abc&bytes=-1&status=99"), Ask::of(&Options::default()));
    }
}
