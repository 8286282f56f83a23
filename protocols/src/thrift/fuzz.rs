//! Fuzz functions of the Thrift family: any bytes in, invariants asserted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fuzz function is meant to panic"
)]

use super::dialect::Encoding;
use super::exception;
use super::message::{self, Step};
use super::walk::Walk;
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
