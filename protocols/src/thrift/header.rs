//! What THeader and TTHeader have in common: fixed fields, then blocks of keys and values.
//!
//! ```text
//! 0 length u32, itself not counted    8 sequence id u32
//! 4 magic u16                         12 size of the rest of the header u16, in words of 4 bytes
//! 6 flags u16                         14 protocol, transforms, blocks, padding; then the payload
//! ```
//!
//! A header is read where it lies: what is known of it afterwards are numbers and ranges, and its
//! keys are read again by whoever wants them.

use core::ops::Range;

use super::framed;
use crate::error::Fault;

/// Where the part of variable length begins.
pub(super) const FIXED_BYTES: usize = 14;

/// How large a frame and its header may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame.
    pub frame_bytes_max: u32,
    /// Bytes of a header.
    pub header_bytes_max: u32,
    /// Keys of a header.
    pub keys_max: u16,
}

/// A header, as it lies in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bit 0 in both headers: replies may come out of order.
    pub flags: u16,
    /// The sender's number of the call, if it keeps one here.
    pub seqid: u32,
    /// The protocol of the payload, in the header's own numbers.
    pub protocol: u8,
    /// The payload is compressed.
    pub is_zlib: bool,
    /// Where the blocks lie, padding included.
    pub blocks: Range<usize>,
    /// Bytes up to the payload.
    pub len: usize,
    /// Bytes of the payload; at least one.
    pub payload_len: u32,
}

/// How far a header could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has at least so many bytes.
    Need(usize),
    /// It is whole.
    Done(Header),
}

/// The fixed fields.
pub(super) struct Fixed {
    pub(super) flags: u16,
    pub(super) seqid: u32,
    /// Bytes up to the payload.
    pub(super) len: usize,
    /// Frames of streams have none.
    pub(super) payload_len: u32,
}

/// Reads the fixed fields and waits for the rest; `bad` is the fault of sizes that do not add up.
pub(super) fn read_fixed(
    bytes: &[u8],
    magic: u16,
    limits: &Limits,
    bad: Fault,
) -> Result<Result<Fixed, usize>, Fault> {
    let Some(length) = framed::read(bytes, limits.frame_bytes_max)? else {
        return Ok(Err(framed::LENGTH_BYTES));
    };
    let Some([_, _, _, _, m0, m1, f0, f1, s0, s1, s2, s3, w0, w1]) = bytes.first_chunk() else {
        return Ok(Err(FIXED_BYTES));
    };
    if u16::from_be_bytes([*m0, *m1]) != magic {
        return Err(bad);
    }
    let size = 4 * u32::from(u16::from_be_bytes([*w0, *w1]));
    if size > limits.header_bytes_max {
        return Err(Fault::HeadTooLarge);
    }
    let payload_len = length.checked_sub(10 + size).filter(|_| size > 0).ok_or(bad)?;
    let len = FIXED_BYTES + size as usize;
    if bytes.len() < len {
        return Ok(Err(len));
    }
    Ok(Ok(Fixed {
        flags: u16::from_be_bytes([*f0, *f1]),
        seqid: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
        len,
        payload_len,
    }))
}

/// Appends the fixed fields; length and size are left for [`finish`].
pub(super) fn write_fixed(magic: u16, flags: u16, seqid: u32, out: &mut Vec<u8>) {
    framed::write(0, out);
    out.extend_from_slice(&magic.to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&seqid.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
}

/// Pads the header that begins at `start` and fills in its sizes; false if it is too large for
/// them, or the frame for its length.
pub(super) fn finish(start: usize, payload_len: u32, out: &mut Vec<u8>) -> bool {
    let size = (out.len() - start - FIXED_BYTES).next_multiple_of(4);
    out.resize(start + FIXED_BYTES + size, 0);
    let (words, length) = (u16::try_from(size / 4), payload_len.checked_add(10 + size as u32));
    let (Ok(words), Some(length)) = (words, length) else { return false };
    framed::patch(start, length, out);
    framed::patch_u16(start + 12, words, out);
    true
}
