//! How a message body is framed: its length, chunks, or the end of the connection.
//!
//! Reads requests here and replies in the load generator. It is lenient about chunk extensions and
//! trailers, which it skips; it keeps nothing of the payload. Cost: framing bytes one at a time,
//! payload by range.

use std::ops::Range;

/// The bytes are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What [`Body::step`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes of the input are payload.
    Payload(Range<usize>),
    /// The input is used up and the body goes on.
    More,
    /// The body has ended; input from here on belongs to the next message.
    End,
}

/// The framing of one message body, and how far it has been read.
#[derive(Clone, Debug)]
pub struct Body(State);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Size { value: u64, digits: u8 },
    Extension(u64),
    Data(u64),
    DataEnd,
    TrailerStart,
    TrailerLine,
    Done,
}

impl Body {
    /// No body at all.
    pub fn none() -> Self {
        Self(State::Done)
    }

    /// `content-length: bytes`.
    pub fn length(bytes: u64) -> Self {
        Self(if bytes == 0 { State::Done } else { State::Length(bytes) })
    }

    /// `transfer-encoding: chunked`.
    pub fn chunked() -> Self {
        Self(State::Size { value: 0, digits: 0 })
    }

    /// Ends with the connection.
    pub fn until_close() -> Self {
        Self(State::UntilClose)
    }

    /// Whether nothing of it is missing.
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Whether the end of the connection is a proper end of it.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.0, State::Done | State::UntilClose)
    }

    /// Bytes that are known to follow; 0 when unknown.
    pub fn known_bytes(&self) -> u64 {
        match self.0 {
            State::Length(left) | State::Data(left) => left,
            _ => 0,
        }
    }

    /// Reads `input` from `*at` on and moves `*at` behind what it used.
    ///
    /// # Errors
    /// The chunk framing is broken.
    pub fn step(&mut self, input: &[u8], at: &mut usize) -> Result<Step, Malformed> {
        loop {
            if self.0 == State::Done {
                return Ok(Step::End);
            }
            let rest = input.get(*at..).unwrap_or_default();
            let Some(&byte) = rest.first() else { return Ok(Step::More) };
            if let Some(used) = self.payload(rest.len()) {
                *at += used;
                return Ok(Step::Payload(*at - used..*at));
            }
            *at += 1;
            self.0 = self.frame(byte)?;
        }
    }

    /// Takes up to `available` payload bytes; `None` between chunks.
    fn payload(&mut self, available: usize) -> Option<usize> {
        let (left, after) = match self.0 {
            State::Length(left) => (left, State::Done),
            State::Data(left) => (left, State::DataEnd),
            State::UntilClose => return Some(available),
            _ => return None,
        };
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let rest = left - used as u64;
        self.0 = match self.0 {
            _ if rest == 0 => after,
            State::Length(_) => State::Length(rest),
            _ => State::Data(rest),
        };
        Some(used)
    }

    /// One byte of chunk framing. A lone CR is skipped wherever a line may end.
    fn frame(&self, byte: u8) -> Result<State, Malformed> {
        match (&self.0, byte) {
            (State::Size { value, digits }, _) => size(*value, *digits, byte),
            (State::Extension(value), b'\n') => Ok(after_size(*value)),
            (State::Extension(value), _) => Ok(State::Extension(*value)),
            (State::DataEnd, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size { value: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::TrailerStart),
            (State::TrailerStart, b'\n') => Ok(State::Done),
            (State::TrailerStart, _) => Ok(State::TrailerLine),
            (State::TrailerLine, b'\n') => Ok(State::TrailerStart),
            (State::TrailerLine, _) => Ok(State::TrailerLine),
            _ => Err(Malformed),
        }
    }
}

fn size(value: u64, digits: u8, byte: u8) -> Result<State, Malformed> {
    if let Some(digit) = (byte as char).to_digit(16) {
        // 15 hex digits are 2^60: more than any body, and no overflow.
        let digits = if digits < 15 { digits + 1 } else { return Err(Malformed) };
        return Ok(State::Size { value: value << 4 | u64::from(digit), digits });
    }
    match byte {
        _ if digits == 0 => Err(Malformed),
        b'\n' => Ok(after_size(value)),
        b'\r' | b';' | b' ' | b'\t' => Ok(State::Extension(value)),
        _ => Err(Malformed),
    }
}

fn after_size(value: u64) -> State {
    if value == 0 { State::TrailerStart } else { State::Data(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        body: &mut Body,
        input: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<(Step, usize), Malformed> {
        let mut at = 0;
        loop {
            match body.step(input, &mut at)? {
                Step::Payload(range) => payload.extend_from_slice(&input[range]),
                end => return Ok((end, at)),
            }
        }
    }

    #[test]
    fn a_length_ends_where_the_next_message_starts() {
        let mut payload = Vec::new();
        let read = read(&mut Body::length(5), b"helloGET", &mut payload);
        assert_eq!(read, Ok((Step::End, 5)));
        assert_eq!(payload, b"hello");
    }

    #[test]
    fn chunks_cut_at_every_byte_read_the_same() {
        let input = b"5;ext=\"a\"\r\nhello\r\n1\r\n!\r\n00\r\nTrailer: x\r\n\r\nGET";
        for cut in 0..input.len() - 3 {
            let (mut body, mut payload) = (Body::chunked(), Vec::new());
            assert_eq!(read(&mut body, &input[..cut], &mut payload), Ok((Step::More, cut)));
            let rest = &input[cut..];
            assert_eq!(read(&mut body, rest, &mut payload), Ok((Step::End, rest.len() - 3)));
            assert_eq!(payload, b"hello!");
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for input in [&b"\r\n"[..], b"g\r\n", b"1\r\nab\r\n", b"1000000000000000\r\n", b"-1\r\n"] {
            let read = read(&mut Body::chunked(), input, &mut Vec::new());
            assert_eq!(read, Err(Malformed), "{input:?}");
        }
    }

    #[test]
    fn a_body_until_close_takes_everything() {
        let mut payload = Vec::new();
        let mut body = Body::until_close();
        assert_eq!(read(&mut body, b"abc", &mut payload), Ok((Step::More, 3)));
        assert!(body.ends_with_connection() && !body.is_done());
    }
}
