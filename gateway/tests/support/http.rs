//! A small HTTP/1.1 reader, written apart from `protocols` so that both cannot share a mistake.
//!
//! It reads messages that the gateway wrote, strictly: anything it does not expect is an error,
//! which a test turns into a failure. It keeps whole bodies; test sizes only.

use std::fmt::Write as _;

/// A head and, when it is complete, its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Request or status line.
    pub(crate) start: String,
    /// Fields in order, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// Body bytes so far, without framing.
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The status of a reply; zero for nonsense.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or("")
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Exact(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailers,
    UntilClose,
    Complete,
}

/// How the body of the next message is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Requests: no length means no body.
    Requests,
    /// Replies to anything but HEAD: no length means until the close.
    Replies,
    /// The next reply answers HEAD: no body whatever its head says.
    ReplyToHead,
}

/// Reads one message after the other from a connection's bytes.
#[derive(Debug)]
pub(crate) struct Reader {
    input: Vec<u8>,
    state: State,
    message: Message,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { input: Vec::new(), state: State::Head, message: Message::default() }
    }
}

impl Reader {
    /// Where received bytes are appended.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// The message being read, once its head is complete.
    pub(crate) fn partial(&self) -> Option<&Message> {
        (self.state != State::Head).then_some(&self.message)
    }

    /// The next complete message. `eof`: no more bytes will come, and the end was clean.
    pub(crate) fn next(&mut self, side: Side, eof: bool) -> Result<Option<Message>, String> {
        while self.state != State::Complete {
            if !self.step(side, eof)? {
                return Ok(None);
            }
        }
        self.state = State::Head;
        Ok(Some(std::mem::take(&mut self.message)))
    }

    /// Gets on by one state; false when more bytes are needed.
    fn step(&mut self, side: Side, eof: bool) -> Result<bool, String> {
        match self.state {
            State::Head => return self.head(side),
            State::Exact(left) => {
                let count = self.body(left);
                self.state =
                    if count == left { State::Complete } else { State::Exact(left - count) };
                return Ok(count > 0 || left == 0);
            }
            State::ChunkSize => return self.chunk_size(),
            State::Chunk(left) => {
                let count = self.body(left);
                self.state =
                    if count == left { State::ChunkEnd } else { State::Chunk(left - count) };
                return Ok(count > 0);
            }
            State::ChunkEnd => match self.line()? {
                None => return Ok(false),
                Some(line) if line.is_empty() => self.state = State::ChunkSize,
                Some(line) => return Err(format!("after a chunk: {line:?}")),
            },
            State::Trailers => match self.line()? {
                None => return Ok(false),
                Some(line) if line.is_empty() => self.state = State::Complete,
                Some(_) => {}
            },
            State::UntilClose => {
                self.body(usize::MAX);
                if !eof {
                    return Ok(false);
                }
                self.state = State::Complete;
            }
            State::Complete => {}
        }
        Ok(true)
    }

    fn body(&mut self, max: usize) -> usize {
        let count = max.min(self.input.len());
        self.message.body.extend(self.input.drain(..count));
        count
    }

    fn line(&mut self) -> Result<Option<String>, String> {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return if self.input.len() > 16_384 {
                Err("a line without end".into())
            } else {
                Ok(None)
            };
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err("a bare LF".into()) };
        String::from_utf8(line.to_vec()).map(Some).map_err(|_| "a line is not text".into())
    }

    fn chunk_size(&mut self) -> Result<bool, String> {
        let Some(line) = self.line()? else { return Ok(false) };
        let size = usize::from_str_radix(&line, 16).map_err(|_| format!("chunk size {line:?}"))?;
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(true)
    }

    fn head(&mut self, side: Side) -> Result<bool, String> {
        if !self.input.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(false);
        }
        let mut message = Message { start: self.line()?.unwrap_or_default(), ..Message::default() };
        while let Some(line) = self.line()?.filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                return Err(format!("field line {line:?}"));
            };
            message.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        self.state = length(&message, side)?;
        self.message = message;
        Ok(true)
    }
}

/// How the body of this message is framed.
fn length(message: &Message, side: Side) -> Result<State, String> {
    let chunked = message.field("transfer-encoding").is_some_and(|value| value == "chunked");
    let exact = match message.field("content-length").map(str::parse::<usize>) {
        None => None,
        Some(Ok(count)) => Some(count),
        Some(Err(_)) => return Err("content-length".into()),
    };
    if chunked && exact.is_some() {
        return Err("both content-length and chunked".into());
    }
    if side != Side::Requests {
        let status = message.status();
        if !(100..600).contains(&status) {
            return Err(format!("status line {:?}", message.start));
        }
        if side == Side::ReplyToHead || status < 200 || status == 204 || status == 304 {
            return Ok(State::Complete);
        }
    }
    Ok(match (chunked, exact, side) {
        (true, ..) => State::ChunkSize,
        (false, Some(0), _) | (false, None, Side::Requests) => State::Complete,
        (false, Some(count), _) => State::Exact(count),
        (false, None, _) => State::UntilClose,
    })
}

/// The bytes that belong to a number: equal numbers give equal bytes.
pub(crate) fn pattern(id: u64, len: usize) -> Vec<u8> {
    let mut word = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A hash of a body, sent back by the origin.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Frames a body as chunks of the given sizes in turn.
pub(crate) fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for part in body.chunks(chunk.max(1)) {
        let mut size = String::new();
        // Writing to a String cannot fail.
        let _ = write!(size, "{:x}\r\n", part.len());
        framed.extend_from_slice(size.as_bytes());
        framed.extend_from_slice(part);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}
