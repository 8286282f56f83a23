//! The chunked coding, received: a state machine over framing bytes only.
//!
//! It never touches payload: [`Chunked::frame`] eats size lines, extensions and CRLFs and stops
//! where payload begins; the wire takes the payload as a range of its input. Extensions are
//! counted and dropped. The trailer section is not read here.
//!
//! Grammar, narrower than RFC 9112 §7.1: a size is 1 to 16 hex digits, at once followed by CRLF or
//! `;`; an extension holds HTAB and bytes from 0x20 but DEL; CRLF is CR and LF. The machine:
//!
//! ```text
//! Size --;--> Extension --CR--> SizeLf --LF--> Payload --n bytes--> EndCr --CR--> EndLf --LF--+
//!   ^ \---------------CR---------^        \--LF, size 0--> Last                              |
//!   +-----------------------------------------------------------------------------------------+
//! ```

use crate::error::Fault;
use crate::head::is_value_byte;
use crate::spec::WireSpec;

/// Where in a chunked body the wire is. 24 bytes, copied to look ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    /// The size read so far, then the payload left of this chunk.
    left: u64,
    /// Payload announced so far, this chunk included.
    total: u64,
    ext_bytes: u16,
    ext_body_bytes: u16,
    digits: u8,
    state: State,
}

const _: () = assert!(size_of::<Chunked>() <= 24, "part of an idle wire's 128 bytes");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Payload,
    EndCr,
    EndLf,
    Last,
}

/// Where the framing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// All input is eaten, the framing goes on.
    More,
    /// `left` bytes of payload come next.
    Payload { left: u64 },
    /// The last chunk's line is complete: the trailer section comes next.
    Last,
}

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked {
            left: 0,
            total: 0,
            ext_bytes: 0,
            ext_body_bytes: 0,
            digits: 0,
            state: State::Size,
        }
    }

    /// Eats framing; how many bytes, and what comes after them.
    pub(super) fn frame(&mut self, input: &[u8], spec: &WireSpec) -> Result<(usize, Stop), Fault> {
        let mut used = 0;
        for &byte in input {
            match self.state {
                State::Payload => return Ok((used, Stop::Payload { left: self.left })),
                State::Last => return Ok((used, Stop::Last)),
                _ => self.step(byte, spec)?,
            }
            used += 1;
        }
        let stop = match self.state {
            State::Payload => Stop::Payload { left: self.left },
            State::Last => Stop::Last,
            _ => Stop::More,
        };
        Ok((used, stop))
    }

    /// `len` bytes of payload were taken; at most what is left.
    pub(super) fn take(&mut self, len: u64) {
        debug_assert!(self.state == State::Payload && len <= self.left);
        self.left = self.left.saturating_sub(len);
        if self.left == 0 {
            self.state = State::EndCr;
        }
    }

    fn step(&mut self, byte: u8, spec: &WireSpec) -> Result<(), Fault> {
        match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => self.state = State::SizeLf,
            (State::Size, b';') if self.digits > 0 => {
                self.state = State::Extension;
                return self.extension(spec);
            }
            (State::Size, _) => self.digit(byte)?,
            (State::Extension, b'\r') => self.state = State::SizeLf,
            (State::Extension, _) if is_value_byte(byte) => return self.extension(spec),
            (State::Extension, _) => return Err(Fault::BadChunkExtension),
            (State::SizeLf, b'\n') => return self.sized(spec),
            (State::SizeLf, _) => return Err(Fault::BareCr),
            (State::EndCr, b'\r') => self.state = State::EndLf,
            (State::EndLf, b'\n') => {
                self.digits = 0;
                self.ext_bytes = 0;
                self.state = State::Size;
            }
            _ => return Err(Fault::BadChunkEnd),
        }
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Fault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(Fault::BadChunkSize),
        };
        if self.digits == 16 {
            return Err(Fault::BadChunkSize);
        }
        self.digits += 1;
        self.left = (self.left << 4) | u64::from(digit);
        Ok(())
    }

    /// One more byte of extension.
    fn extension(&mut self, spec: &WireSpec) -> Result<(), Fault> {
        self.ext_bytes = self.ext_bytes.saturating_add(1);
        self.ext_body_bytes = self.ext_body_bytes.saturating_add(1);
        let over = self.ext_bytes > spec.chunk_ext_bytes_max
            || self.ext_body_bytes > spec.chunk_ext_body_bytes_max;
        if over { Err(Fault::BadChunkExtension) } else { Ok(()) }
    }

    /// The size line is complete.
    fn sized(&mut self, spec: &WireSpec) -> Result<(), Fault> {
        if self.left > i64::MAX as u64 {
            return Err(Fault::BadChunkSize);
        }
        // Cannot wrap: the total was at most 2^63 - 1 before, checked here.
        self.total += self.left;
        let body_bytes_max = spec.body_bytes_max.unwrap_or(u64::MAX).min(i64::MAX as u64);
        if self.total > body_bytes_max {
            return Err(Fault::BodyTooLarge);
        }
        self.state = if self.left == 0 { State::Last } else { State::Payload };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload and bytes eaten up to the last chunk's line, delivering `step` bytes at a time.
    fn read(input: &[u8], step: usize, spec: &WireSpec) -> Result<(Vec<u8>, Option<usize>), Fault> {
        let (mut chunked, mut payload, mut used) = (Chunked::new(), Vec::new(), 0);
        for piece in input.chunks(step) {
            let mut at = 0;
            loop {
                let (eaten, stop) = chunked.frame(&piece[at..], spec)?;
                at += eaten;
                match stop {
                    Stop::More => break,
                    Stop::Last => return Ok((payload, Some(used + at))),
                    Stop::Payload { left } => {
                        let len = (piece.len() - at).min(left as usize);
                        if len == 0 {
                            break;
                        }
                        payload.extend_from_slice(&piece[at..at + len]);
                        chunked.take(len as u64);
                        at += len;
                    }
                }
            }
            used += piece.len();
        }
        Ok((payload, None))
    }

    fn every_cut(input: &[u8], spec: &WireSpec) -> Result<(Vec<u8>, Option<usize>), Fault> {
        let whole = read(input, input.len().max(1), spec);
        for step in 1..input.len() {
            assert_eq!(read(input, step, spec), whole, "{step} of {input:?}");
        }
        whole
    }

    #[test]
    fn chunks_are_joined() {
        let spec = WireSpec::default();
        let body = b"5\r\nhello\r\n0000A;a=\"b\"\t; c\r\n0123456789\r\n0\r\n";
        assert_eq!(every_cut(body, &spec), Ok((b"hello0123456789".to_vec(), Some(body.len()))));
        assert_eq!(every_cut(b"0;x\r\n\r\n", &spec), Ok((vec![], Some(5))));
        assert_eq!(every_cut(b"3\r\nab", &spec), Ok((b"ab".to_vec(), None)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let spec = WireSpec { body_bytes_max: Some(20), ..WireSpec::default() };
        let long = [b"1;".as_slice(), &[b'x'; 300]].concat();
        for (body, fault) in [
            (&b"\r\n"[..], Fault::BadChunkSize),
            (b";a\r\n", Fault::BadChunkSize),
            (b" 1\r\n", Fault::BadChunkSize),
            (b"1 \r\n", Fault::BadChunkSize),
            (b"1 ;a\r\n", Fault::BadChunkSize),
            (b"0x1\r\n", Fault::BadChunkSize),
            (b"-1\r\n", Fault::BadChunkSize),
            (b"+1\r\n", Fault::BadChunkSize),
            (b"1_0\r\n", Fault::BadChunkSize),
            (b"1\n", Fault::BadChunkSize),
            (b"1\ra", Fault::BareCr),
            (b"1\r\r\n", Fault::BareCr),
            (b"00000000000000001\r\n", Fault::BadChunkSize),
            (b"ffffffffffffffff\r\n", Fault::BadChunkSize),
            (b"8000000000000000\r\n", Fault::BadChunkSize),
            (b"7fffffffffffffff\r\n", Fault::BodyTooLarge),
            (b"15\r\n", Fault::BodyTooLarge),
            (b"A\r\n0123456789\r\nB\r\n", Fault::BodyTooLarge),
            (b"1;a\nb", Fault::BadChunkExtension),
            (b"1;a\0b", Fault::BadChunkExtension),
            (b"1;a\x7fb", Fault::BadChunkExtension),
            (b"1;a\rb", Fault::BareCr),
            (&long, Fault::BadChunkExtension),
            (b"1\r\nab\r\n", Fault::BadChunkEnd),
            (b"1\r\na\n", Fault::BadChunkEnd),
            (b"1\r\na\rb", Fault::BadChunkEnd),
        ] {
            assert_eq!(every_cut(body, &spec), Err(fault), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn the_sum_of_sizes_cannot_wrap() {
        let mut chunked = Chunked::new();
        chunked.total = i64::MAX as u64;
        let spec = WireSpec::default();
        assert_eq!(chunked.frame(b"7fffffffffffffff\r\n", &spec), Err(Fault::BodyTooLarge));
    }

    #[test]
    fn extensions_have_a_limit_in_all() {
        let spec = WireSpec { chunk_ext_body_bytes_max: 5, ..WireSpec::default() };
        assert!(every_cut(b"1;ab\r\nx\r\n1;\r\nx\r\n1;\r\nx\r\n", &spec).is_ok());
        let over = every_cut(b"1;ab\r\nx\r\n1;\r\nx\r\n1;a\r\nx\r\n", &spec);
        assert_eq!(over, Err(Fault::BadChunkExtension));
    }
}
