//! Reads numbers and byte strings from the front of what has come so far.
//!
//! It copies nothing and keeps no place: who finds too little begins again where it was sure.

/// Why a reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More bytes must come.
    More,
    /// No bytes can mend it.
    Broken(Broken),
}

/// Bytes that are no Thrift: what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// `bytes[at..]` is to be read.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let taken = self.rest().get(..len).ok_or(Stop::More)?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (taken, _) = self.rest().split_first_chunk::<N>().ok_or(Stop::More)?;
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stop> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number of seven bits a byte, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u64, Stop> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Broken("a number of more than ten bytes").into())
    }

    /// A length: of four bytes in Binary, else a varint.
    pub(super) fn length(&mut self, is_binary: bool) -> Result<usize, Stop> {
        let length = if is_binary { u64::from(self.u32()?) } else { self.varint()? };
        match i32::try_from(length) {
            Ok(length) => Ok(length as usize),
            Err(_) => Err(Broken("a length below 0").into()),
        }
    }
}

/// Writes what [`Cursor::varint`] reads.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_as_they_are_written() {
        for value in [0, 1, 127, 128, 300, u32::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut cursor = Cursor::new(&out, 0);
            assert_eq!((cursor.varint(), cursor.at), (Ok(u64::from(value)), out.len()));
            assert_eq!(Cursor::new(&out[..out.len() - 1], 0).varint(), Err(Stop::More));
        }
        assert!(matches!(Cursor::new(&[0x80; 11], 0).varint(), Err(Stop::Broken(_))));
    }
}
