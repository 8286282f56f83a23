//! Base64 (RFC 4648 §4) in pieces: what a body of gRPC-Web in the text form and a value of binary
//! metadata are written in.
//!
//! A group of four digits that has padding ends a piece, and another may follow. Bits that padding
//! leaves over must be zero, so that each sequence of bytes has one form. Cost: bytes are copied
//! once, into what the caller gives.

/// Base64 to bytes, group by group (RFC 4648 section 4).
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The digits of a group that is not whole, six bits each.
    bits: u32,
    len: u8,
    padding: u8,
}

impl Decoder {
    /// Appends what the input comes to; `None` for what is no base64, where what came before it is
    /// there.
    pub(crate) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Option<()> {
        out.reserve(input.len() / 4 * 3 + 3);
        input.iter().try_for_each(|&byte| self.push(byte, out))
    }

    /// Whether a group has begun that is not whole.
    pub(crate) fn is_open(&self) -> bool {
        self.len > 0
    }

    fn push(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<()> {
        if byte == b'=' {
            self.padding += 1;
            self.bits <<= 6;
        } else if self.padding > 0 {
            return None;
        } else {
            self.bits = self.bits << 6 | u32::from(digit(byte)?);
        }
        self.len += 1;
        if self.len == 4 {
            let group = core::mem::take(self);
            group.write(out)?;
        }
        Some(())
    }

    /// Writes a whole group. Bits that padding leaves over are zero.
    fn write(self, out: &mut Vec<u8>) -> Option<()> {
        let [_, bytes @ ..] = self.bits.to_be_bytes();
        let len = 3usize.checked_sub(usize::from(self.padding))?;
        let (written, left) = bytes.split_at_checked(len)?;
        if len == 0 || left.iter().any(|&byte| byte != 0) {
            return None;
        }
        out.extend_from_slice(written);
        Some(())
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Bytes to base64.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// Bytes that are no group yet.
    bits: u32,
    len: u8,
}

impl Encoder {
    /// Appends the digits of whole groups.
    pub(crate) fn encode(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.reserve(bytes.len() / 3 * 4 + 4);
        for &byte in bytes {
            self.bits = self.bits << 8 | u32::from(byte);
            self.len += 1;
            if self.len == 3 {
                self.write(4, out);
            }
        }
    }

    /// Ends a piece.
    pub(crate) fn pad(&mut self, out: &mut Vec<u8>) {
        let len = self.len;
        if len == 0 {
            return;
        }
        self.bits <<= 8 * (3 - u32::from(len));
        self.write(usize::from(len) + 1, out);
        out.extend((len..3).map(|_| b'='));
    }

    /// Writes the first digits of a group.
    fn write(&mut self, digits: usize, out: &mut Vec<u8>) {
        let Encoder { bits, .. } = core::mem::take(self);
        let all = [18, 12, 6, 0].map(|shift| DIGITS.get((bits >> shift & 63) as usize));
        out.extend(all.into_iter().take(digits).flatten());
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
