//! The frame: a length of four bytes, itself not counted, before each message.

use crate::error::Fault;

/// Bytes of the length.
pub const LENGTH_BYTES: usize = 4;

/// The length at the start of `bytes`; `None` while it is not whole.
///
/// # Errors
///
/// `bad_thrift_frame` for an empty frame, `thrift_frame_too_large` for one over `bytes_max`: so
/// also for 2 GiB, and for what is no length, as the first bytes of an unframed message.
pub fn read(bytes: &[u8], bytes_max: u32) -> Result<Option<u32>, Fault> {
    match bytes.first_chunk().map(|length| u32::from_be_bytes(*length)) {
        None => Ok(None),
        Some(0) => Err(Fault::BadThriftFrame),
        Some(length) if length > bytes_max => Err(Fault::ThriftFrameTooLarge),
        Some(length) => Ok(Some(length)),
    }
}

/// Appends a length.
pub fn write(length: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&length.to_be_bytes());
}

/// Writes a length over four bytes that were left for it.
pub(super) fn patch(at: usize, length: u32, out: &mut [u8]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<LENGTH_BYTES>) {
        *place = length.to_be_bytes();
    }
}

/// Writes a number of two bytes over those that were left for it.
pub(super) fn patch_u16(at: usize, number: u16, out: &mut [u8]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *place = number.to_be_bytes();
    }
}
