//! TTHeader: CloudWeGo's header. Keys are numbers or text, and lengths have two bytes.
//!
//! ```text
//! 14 protocol u8    15 number of transforms u8    then blocks, until the header is used up:
//! 00                                       padding, one byte
//! 01 u16 n, n x { u16 len, key, u16 len, value }   text
//! 10 u16 n, n x { u16 key, u16 len, value }        numbers
//! 11 u16 len, token                        what allows the call
//! ```
//!
//! The protocol is advice: senders write 0 whatever follows. So it only has to be a known one, and
//! the payload is looked at instead. Frames of streams are refused; no sender has transforms.

use super::framed;
use super::header::{self, FIXED_BYTES, Header, Limits, Step};
use crate::error::Fault;

/// Bytes 4 and 5 of a frame.
pub const MAGIC: u16 = 0x1000;
/// Replies may come out of order.
pub const FLAG_OUT_OF_ORDER: u16 = 1;
const FLAG_STREAMING: u16 = 2;
/// Binary, both compacts, Kitex protobuf, and the two of streams.
const PROTOCOLS: [u8; 6] = [0, 2, 3, 4, 0x10, 0x11];

const PADDING: u8 = 0;
const TEXTS: u8 = 1;
const NUMBERS: u8 = 0x10;
const TOKEN: u8 = 0x11;

/// Keys that have numbers, as far as they mean something here.
pub mod key {
    /// `framed` or `unframed`: how the payload is delimited.
    pub const TRANSPORT_TYPE: u16 = 1;
    /// The service that is asked, as service discovery knows it.
    pub const TO_SERVICE: u16 = 6;
    /// The method; the message's own name is what counts.
    pub const TO_METHOD: u16 = 9;
    /// How long the caller waits, in milliseconds.
    pub const RPC_TIMEOUT: u16 = 12;
    /// How long the caller waits for bytes, in milliseconds.
    pub const READ_TIMEOUT: u16 = 13;
    /// How long the caller waited for its connection, in milliseconds.
    pub const CONNECT_TIMEOUT: u16 = 17;
    /// The message's type again, in one of two forms.
    pub const MSG_TYPE: u16 = 22;
}

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair<'a> {
    /// A key of text.
    Text(&'a [u8], &'a [u8]),
    /// A key that is a number.
    Number(u16, &'a [u8]),
    /// The token that has no key.
    Token(&'a [u8]),
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
///
/// `bad_ttheader`, `ttheader_streaming`, `unknown_payload_protocol`, `unknown_transform`,
/// `head_too_large`, `too_many_fields`, and those of the frame.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Step, Fault> {
    let fixed = match header::read_fixed(bytes, MAGIC, limits, Fault::BadTtheader)? {
        Ok(fixed) => fixed,
        Err(need) => return Ok(Step::Need(need)),
    };
    if fixed.flags & FLAG_STREAMING != 0 {
        return Err(Fault::TtheaderStreaming);
    }
    if fixed.payload_len == 0 {
        return Err(Fault::BadThriftFrame);
    }
    let [protocol, transforms] = match bytes.get(FIXED_BYTES..).and_then(<[u8]>::first_chunk) {
        Some(two) => *two,
        _ => return Err(Fault::BadTtheader),
    };
    if !PROTOCOLS.contains(&protocol) {
        return Err(Fault::UnknownPayloadProtocol);
    }
    if transforms > 0 {
        return Err(Fault::UnknownTransform);
    }
    let blocks = FIXED_BYTES + 2..fixed.len;
    let mut keys = 0;
    for pair in pairs(bytes.get(blocks.clone()).unwrap_or_default()) {
        pair?;
        keys += 1;
        if keys > u32::from(limits.keys_max) {
            return Err(Fault::TooManyFields);
        }
    }
    let header::Fixed { flags, seqid, len, payload_len, .. } = fixed;
    Ok(Step::Done(Header { flags, seqid, protocol, is_zlib: false, blocks, len, payload_len }))
}

/// The pairs of these blocks; an error is the last item.
pub fn pairs(blocks: &[u8]) -> Pairs<'_> {
    Pairs { rest: blocks, block: PADDING, left: 0 }
}

/// See [`pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
    /// The block that is being read.
    block: u8,
    /// Pairs of it that are still to come.
    left: u16,
}

impl<'a> Pairs<'a> {
    fn number(&mut self) -> Option<u16> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        let (text, rest) = self.rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some(text)
    }

    fn pair(&mut self) -> Option<Pair<'a>> {
        self.left -= 1;
        Some(match self.block {
            TEXTS => Pair::Text(self.text()?, self.text()?),
            NUMBERS => Pair::Number(self.number()?, self.text()?),
            _ => Pair::Token(self.text()?),
        })
    }

    /// Begins the next block; true at the end.
    fn begin(&mut self) -> Option<bool> {
        let Some((&block, rest)) = self.rest.split_first() else { return Some(true) };
        (self.block, self.rest) = (block, rest);
        self.left = match block {
            PADDING => 0,
            TEXTS | NUMBERS => self.number()?,
            TOKEN => 1,
            _ => return None,
        };
        Some(false)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left == 0 {
            match self.begin() {
                Some(true) => return None,
                Some(false) => {}
                None => {
                    (self.rest, self.left) = (&[], 0);
                    return Some(Err(Fault::BadTtheader));
                }
            }
        }
        let pair = self.pair();
        if pair.is_none() {
            (self.rest, self.left) = (&[], 0);
        }
        Some(pair.ok_or(Fault::BadTtheader))
    }
}

/// Appends a header, pair by pair. Pairs of one kind that follow each other share a block.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    block: u8,
    /// Where the count of the present block stands, and what it is.
    count_at: usize,
    count: u16,
    too_large: bool,
}

impl<'a> Writer<'a> {
    /// Begins a header.
    pub fn new(flags: u16, seqid: u32, protocol: u8, out: &'a mut Vec<u8>) -> Writer<'a> {
        let start = out.len();
        header::write_fixed(MAGIC, flags, seqid, out);
        out.extend_from_slice(&[protocol, 0]);
        Writer { out, start, block: PADDING, count_at: 0, count: 0, too_large: false }
    }

    /// Appends a pair.
    pub fn push(&mut self, pair: Pair<'_>) {
        let block = match pair {
            Pair::Text(..) => TEXTS,
            Pair::Number(..) => NUMBERS,
            Pair::Token(_) => TOKEN,
        };
        self.begin(block);
        match pair {
            Pair::Text(key, value) => {
                self.text(key);
                self.text(value);
            }
            Pair::Number(key, value) => {
                self.out.extend_from_slice(&key.to_be_bytes());
                self.text(value);
            }
            Pair::Token(value) => self.text(value),
        }
    }

    fn begin(&mut self, block: u8) {
        if block == TOKEN || block != self.block {
            self.out.push(block);
            (self.block, self.count, self.count_at) = (block, 0, self.out.len());
            if block != TOKEN {
                self.out.extend_from_slice(&[0, 0]);
            }
        }
        if block != TOKEN {
            self.too_large |= self.count == u16::MAX;
            self.count = self.count.saturating_add(1);
            framed::patch_u16(self.count_at, self.count, self.out);
        }
    }

    fn text(&mut self, text: &[u8]) {
        let Ok(len) = u16::try_from(text.len()) else {
            self.too_large = true;
            return;
        };
        self.out.extend_from_slice(&len.to_be_bytes());
        self.out.extend_from_slice(text);
    }

    /// Ends the header before a payload of so many bytes. False if a size does not fit into its
    /// field; nothing was appended then.
    #[must_use]
    pub fn finish(self, payload_len: u32) -> bool {
        let Writer { out, start, too_large, .. } = self;
        let fits = !too_large && header::finish(start, payload_len, out);
        if !fits {
            out.truncate(start);
        }
        fits
    }
}
