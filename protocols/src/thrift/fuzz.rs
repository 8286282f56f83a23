//! Fuzz functions of the Thrift family: any bytes in, invariants asserted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fuzz function is meant to panic"
)]

use super::dialect::Encoding;
use super::header::{self, Limits};
use super::message::{self, Step};
use super::walk::Walk;
use super::{exception, theader, ttheader};
use crate::error::Fault;

/// A message in an encoding that the first byte chooses, cut as its second byte says.
pub fn fuzz_messages(data: &[u8]) {
    let [mode, step, bytes @ ..] = data else { return };
    let encoding = match mode % 3 {
        0 => Encoding::Binary,
        1 => Encoding::LaxBinary,
        _ => Encoding::Compact,
    };
    check_beginning(encoding, bytes);
    let whole = walk(encoding, &[bytes]);
    let pieces: Vec<_> = bytes.chunks(1 + usize::from(*step)).collect();
    assert_eq!(walk(encoding, &pieces), whole, "pieces of {}", 1 + usize::from(*step));
    if let Some(found) = exception::read(encoding, bytes) {
        let mut written = Vec::new();
        exception::write(encoding, found.code, found.text, &mut written);
        assert_eq!(exception::read(encoding, &written), Some(found));
    }
}

fn check_beginning(encoding: Encoding, bytes: &[u8]) {
    let mut need = 0;
    for len in 0..=bytes.len().min(message::NAME_BYTES_MAX + 20) {
        match message::read(encoding, &bytes[..len]) {
            Ok(Step::Need(more)) => {
                assert!(more > len && more >= need, "{more} at {len}");
                need = more;
            }
            Ok(Step::Done(head)) => {
                assert_eq!(head.len, len.max(need), "more than was asked for");
                let mut written = Vec::new();
                message::write(encoding, head.kind, &bytes[head.name], head.seqid, &mut written);
                let again = message::read(encoding, &written).unwrap();
                assert!(matches!(again, Step::Done(again) if again.seqid == head.seqid));
                return;
            }
            Err(_) => return,
        }
    }
}

fn walk(encoding: Encoding, pieces: &[&[u8]]) -> Result<Option<usize>, Fault> {
    let mut walk = Walk::new(16);
    walk.begin(encoding, 4096, Fault::ThriftFrameTooLarge);
    let mut used = 0;
    for piece in pieces {
        let walked = walk.feed(piece)?;
        used += walked.used;
        assert!(walked.used <= piece.len() && used as u64 + walk.left() == 4096);
        assert!(walk.held_bytes() <= 64 * 16 * 2);
        if walked.done {
            return Ok(Some(used));
        }
        assert_eq!(walked.used, piece.len(), "nothing is left over");
    }
    Ok(None)
}

/// A THeader or a TTHeader; what was read of it can be written again and then reads the same.
pub fn fuzz_headers(data: &[u8]) {
    let [mode, bytes @ ..] = data else { return };
    let limits = Limits { frame_bytes_max: 4096, header_bytes_max: 2048, keys_max: 20 };
    if mode & 1 == 0 {
        let Ok(header::Step::Done(head)) = theader::read(bytes, &limits) else { return };
        let mut out = Vec::new();
        let mut writer = theader::Writer::new(head.flags, head.seqid, 0, head.is_zlib, &mut out);
        theader::pairs(&bytes[head.blocks]).for_each(|pair| writer.push(pair.unwrap()));
        assert!(writer.finish(head.payload_len));
        let payload = bytes.get(head.len..).unwrap_or_default();
        if let Ok(plain) = theader::inflate(payload, 10_000) {
            assert!(plain.len() <= 10_000);
        }
    } else {
        let Ok(header::Step::Done(head)) = ttheader::read(bytes, &limits) else { return };
        let mut out = Vec::new();
        let mut writer = ttheader::Writer::new(head.flags, head.seqid, head.protocol, &mut out);
        ttheader::pairs(&bytes[head.blocks]).for_each(|pair| writer.push(pair.unwrap()));
        assert!(writer.finish(head.payload_len));
        let header::Step::Done(again) = ttheader::read(&out, &limits).unwrap() else { panic!() };
        assert_eq!((again.seqid, again.payload_len), (head.seqid, head.payload_len));
    }
}
