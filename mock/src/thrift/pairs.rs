//! The headers that THeader and TTHeader have beside a message: keys of text, or numbers, and
//! their values.
//!
//! Blocks are kept as they came and looked through when somebody asks.

use super::cursor::{Broken, Cursor, Stop, put_varint};

/// Blocks of TTHeader.
const PADDING: u8 = 0;
const STRINGS: u8 = 1;
const NUMBERS: u8 = 0x10;
const TOKEN: u8 = 0x11;

/// The value of `key` among the blocks of a TTHeader; the last one counts.
pub(super) fn in_ttheader<'a>(blocks: &'a [u8], key: &[u8]) -> Result<Option<&'a [u8]>, Stop> {
    let (mut input, mut found) = (Cursor::new(blocks, 0), None);
    while !input.rest().is_empty() {
        match input.u8()? {
            PADDING => {}
            STRINGS => {
                for _ in 0..input.u16()? {
                    let (name, value) = (sized(&mut input)?, sized(&mut input)?);
                    found = if name == key { Some(value) } else { found };
                }
            }
            NUMBERS => {
                for _ in 0..input.u16()? {
                    input.u16()?;
                    sized(&mut input)?;
                }
            }
            TOKEN => drop(sized(&mut input)?),
            _ => return Err(Broken("a block that TTHeader does not have").into()),
        }
    }
    Ok(found)
}

fn sized<'a>(input: &mut Cursor<'a>) -> Result<&'a [u8], Stop> {
    let len = input.u16()?;
    input.take(len.into())
}

/// The value of `key` among the blocks of a THeader; the last one counts.
pub(super) fn in_theader<'a>(blocks: &'a [u8], key: &[u8]) -> Result<Option<&'a [u8]>, Stop> {
    let (mut input, mut found) = (Cursor::new(blocks, 0), None);
    // Pairs, and those that persist; anything else, such as padding, ends the header.
    while !input.rest().is_empty() && matches!(input.varint()?, 1 | 2) {
        for _ in 0..input.varint()? {
            let len = input.length(false)?;
            let name = input.take(len)?;
            let len = input.length(false)?;
            let value = input.take(len)?;
            found = if name == key { Some(value) } else { found };
        }
    }
    Ok(found)
}

/// The blocks of a TTHeader with these numbered and named values, each shorter than 64 KiB.
pub fn ttheader_blocks(numbers: &[(u16, &str)], strings: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let sized = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    if !numbers.is_empty() {
        out.push(NUMBERS);
        out.extend_from_slice(&(numbers.len() as u16).to_be_bytes());
    }
    for (key, value) in numbers {
        out.extend_from_slice(&key.to_be_bytes());
        sized(&mut out, value);
    }
    if !strings.is_empty() {
        out.push(STRINGS);
        out.extend_from_slice(&(strings.len() as u16).to_be_bytes());
    }
    for (key, value) in strings {
        sized(&mut out, key);
        sized(&mut out, value);
    }
    out
}

/// The block of a THeader with these pairs.
pub fn theader_blocks(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    if pairs.is_empty() {
        return out;
    }
    out.push(1);
    put_varint(&mut out, pairs.len() as u32);
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        put_varint(&mut out, text.len() as u32);
        out.extend_from_slice(text.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_among_others() {
        let mut blocks = ttheader_blocks(&[(9, "echo"), (6, "mock")], &[("a", "1"), ("b", "22")]);
        blocks.extend_from_slice(b"\x11\0\x03tok\0\0\x01\0\x01\0\x01a\0\x013\0");
        assert_eq!(in_ttheader(&blocks, b"b"), Ok(Some(&b"22"[..])));
        assert_eq!(in_ttheader(&blocks, b"a"), Ok(Some(&b"3"[..])));
        assert_eq!(in_ttheader(&blocks, b"echo"), Ok(None));
        let mut blocks = theader_blocks(&[("a", "1"), ("b", "22")]);
        blocks.extend_from_slice(b"\x02\x01\x01a\x013\0\x01");
        assert_eq!(in_theader(&blocks, b"b"), Ok(Some(&b"22"[..])));
        assert_eq!(in_theader(&blocks, b"a"), Ok(Some(&b"3"[..])));
        assert_eq!(in_theader(&theader_blocks(&[]), b"a"), Ok(None));
    }

    #[test]
    fn blocks_that_are_cut_or_unknown_are_errors() {
        let blocks = ttheader_blocks(&[(9, "echo")], &[("a", "1")]);
        assert!(in_ttheader(&blocks[..blocks.len() - 1], b"a").is_err());
        assert!(in_ttheader(&[0x12], b"a").is_err());
        let blocks = theader_blocks(&[("a", "1")]);
        assert!(in_theader(&blocks[..blocks.len() - 1], b"a").is_err());
    }
}
