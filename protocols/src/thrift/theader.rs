//! THeader: the header of Apache Thrift and fbthrift. Keys are text, lengths of variable size.
//!
//! ```text
//! 14 protocol, number of transforms, transforms; then blocks:
//! 0    padding: nothing follows
//! 1    n, n x { len, key, len, value }
//! 2    the same, and the pairs hold for later messages as well
//! any other: nothing follows that could be read
//! ```
//!
//! Peers pad with 0 to 3 zeros, or with 1 to 4. Of the transforms zlib is undone when read, in at
//! most as many bytes as a frame may have. Nothing is written with a transform: peers that send one
//! take messages without, and what a wire sends is not its to look at.

use flate2::{Decompress, FlushDecompress, Status};

use super::compact;
use super::header::{self, FIXED_BYTES, Header, Limits, Step};
use crate::error::Fault;

/// Bytes 4 and 5 of a frame.
pub const MAGIC: u16 = 0x0fff;
/// Replies may come out of order.
pub const FLAG_OUT_OF_ORDER: u16 = 1;
/// The numbers of the protocols that are spoken here.
pub const PROTOCOL_BINARY: u8 = 0;
/// See [`PROTOCOL_BINARY`].
pub const PROTOCOL_COMPACT: u8 = 2;

const TRANSFORM_NONE: u32 = 0;
const TRANSFORM_ZLIB: u32 = 1;
/// A sender lists each transform once; there are six.
const TRANSFORMS_MAX: u32 = 8;
const PAIRS: u32 = 1;
const PAIRS_PERSISTENT: u32 = 2;
/// Pairs of a block that is written: its count then has one byte.
const BLOCK_PAIRS_MAX: u8 = 127;

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The key, in the case it came in.
    pub key: &'a [u8],
    /// The value: any bytes.
    pub value: &'a [u8],
    /// It holds for later messages of the connection as well.
    pub is_persistent: bool,
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
///
/// `bad_theader`, `unknown_payload_protocol`, `unknown_transform`, `head_too_large`,
/// `too_many_fields`, and those of the frame.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Step, Fault> {
    let fixed = match header::read_fixed(bytes, MAGIC, limits, Fault::BadTheader)? {
        Ok(fixed) => fixed,
        Err(need) => return Ok(Step::Need(need)),
    };
    if fixed.payload_len == 0 {
        return Err(Fault::BadThriftFrame);
    }
    let mut cursor = Cursor(bytes.get(FIXED_BYTES..fixed.len).unwrap_or_default());
    let protocol = cursor.number().ok_or(Fault::BadTheader)?;
    let protocol = match u8::try_from(protocol) {
        Ok(known @ (PROTOCOL_BINARY | PROTOCOL_COMPACT)) => known,
        _ => return Err(Fault::UnknownPayloadProtocol),
    };
    let is_zlib = read_transforms(&mut cursor)?;
    let blocks = fixed.len - cursor.0.len()..fixed.len;
    let mut keys = 0;
    for pair in pairs(cursor.0) {
        pair?;
        keys += 1;
        if keys > u32::from(limits.keys_max) {
            return Err(Fault::TooManyFields);
        }
    }
    let header::Fixed { flags, seqid, len, payload_len, .. } = fixed;
    Ok(Step::Done(Header { flags, seqid, protocol, is_zlib, blocks, len, payload_len }))
}

fn read_transforms(cursor: &mut Cursor<'_>) -> Result<bool, Fault> {
    let count = cursor.number().ok_or(Fault::BadTheader)?;
    if count > TRANSFORMS_MAX {
        return Err(Fault::UnknownTransform);
    }
    let mut is_zlib = false;
    for _ in 0..count {
        match cursor.number().ok_or(Fault::BadTheader)? {
            TRANSFORM_NONE => {}
            TRANSFORM_ZLIB if !is_zlib => is_zlib = true,
            _ => return Err(Fault::UnknownTransform),
        }
    }
    Ok(is_zlib)
}

/// What is still to be read of a header.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, len) = compact::varint(self.0)??;
        self.0 = self.0.get(len..)?;
        Some(number)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        let (text, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(text)
    }
}

/// The pairs of these blocks; an error is the last item.
pub fn pairs(blocks: &[u8]) -> Pairs<'_> {
    Pairs { cursor: Cursor(blocks), is_persistent: false, left: 0 }
}

/// See [`pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    cursor: Cursor<'a>,
    is_persistent: bool,
    left: u32,
}

impl<'a> Pairs<'a> {
    fn pair(&mut self) -> Option<Pair<'a>> {
        self.left -= 1;
        let (key, value) = (self.cursor.text()?, self.cursor.text()?);
        Some(Pair { key, value, is_persistent: self.is_persistent })
    }

    /// Begins the next block; true if there is none.
    fn begin(&mut self) -> Option<bool> {
        if self.cursor.0.is_empty() {
            return Some(true);
        }
        let block = self.cursor.number()?;
        if !matches!(block, PAIRS | PAIRS_PERSISTENT) {
            return Some(true);
        }
        self.is_persistent = block == PAIRS_PERSISTENT;
        self.left = self.cursor.number()?;
        Some(false)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut pair = None;
        while self.left == 0 {
            match self.begin() {
                Some(true) => {
                    self.cursor.0 = &[];
                    return None;
                }
                Some(false) => {}
                None => break,
            }
        }
        if self.left > 0 {
            pair = self.pair();
        }
        if pair.is_none() {
            (self.cursor.0, self.left) = (&[], 0);
        }
        Some(pair.ok_or(Fault::BadTheader))
    }
}

/// Appends a header, pair by pair.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// The block that pairs are appended to; 0 for none.
    block: u32,
    count_at: usize,
    count: u8,
}

impl<'a> Writer<'a> {
    /// Begins a header; `is_zlib` says that the payload is compressed.
    pub fn new(
        flags: u16,
        seqid: u32,
        protocol: u8,
        is_zlib: bool,
        out: &'a mut Vec<u8>,
    ) -> Writer<'a> {
        let start = out.len();
        header::write_fixed(MAGIC, flags, seqid, out);
        out.extend_from_slice(&[protocol, u8::from(is_zlib)]);
        if is_zlib {
            out.push(TRANSFORM_ZLIB as u8);
        }
        Writer { out, start, block: 0, count_at: 0, count: 0 }
    }

    /// Appends a pair.
    pub fn push(&mut self, pair: Pair<'_>) {
        let block = if pair.is_persistent { PAIRS_PERSISTENT } else { PAIRS };
        if block != self.block || self.count == BLOCK_PAIRS_MAX {
            self.out.extend_from_slice(&[block as u8, 0]);
            (self.block, self.count, self.count_at) = (block, 0, self.out.len() - 1);
        }
        self.count += 1;
        if let Some(place) = self.out.get_mut(self.count_at) {
            *place = self.count;
        }
        for text in [pair.key, pair.value] {
            compact::write_varint(text.len() as u32, self.out);
            self.out.extend_from_slice(text);
        }
    }

    /// Ends the header before a payload of so many bytes. False if a size does not fit into its
    /// field; nothing was appended then.
    #[must_use]
    pub fn finish(self, payload_len: u32) -> bool {
        let Writer { out, start, .. } = self;
        let fits = header::finish(start, payload_len, out);
        if !fits {
            out.truncate(start);
        }
        fits
    }
}

/// Undoes zlib.
///
/// # Errors
///
/// `bad_zlib`, also for bytes behind the stream's end, and `inflated_too_large` for more than
/// `bytes_max`, of which never more than that is made.
// Inlined, the 50 KiB of its window would lie in the frame of each decode.
#[inline(never)]
pub fn inflate(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut inflater = Decompress::new(true);
    let mut out = Vec::with_capacity(bytes_max.min(4 * packed.len()));
    loop {
        let used = usize::try_from(inflater.total_in()).unwrap_or(usize::MAX);
        let rest = packed.get(used..).unwrap_or_default();
        let before = out.len();
        let status = inflater.decompress_vec(rest, &mut out, FlushDecompress::None);
        if out.len() > bytes_max {
            return Err(Fault::InflatedTooLarge);
        }
        match status {
            Ok(Status::StreamEnd) if inflater.total_in() == packed.len() as u64 => return Ok(out),
            Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => {
                grow(&mut out, bytes_max);
            }
            Ok(Status::Ok) if out.len() > before => {}
            _ => return Err(Fault::BadZlib),
        }
    }
}

/// Makes room for as much again, up to one byte more than is allowed, which tells.
fn grow(out: &mut Vec<u8>, bytes_max: usize) {
    let room = out.len().max(256).min((bytes_max + 1).saturating_sub(out.len()));
    out.reserve_exact(room.max(1));
}
