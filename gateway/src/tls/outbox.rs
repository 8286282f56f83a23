//! Plaintext on its way out: pieces in order, until they are sealed.

use std::collections::VecDeque;

use engine::Piece;

use super::shared::Shared;

/// Plaintext that waits to be sealed. Empty it holds nothing.
#[derive(Default)]
pub(super) struct Outbox {
    parts: VecDeque<Part>,
    /// Bytes of the first part that are done with.
    skip: usize,
    len: usize,
}

enum Part {
    /// What wires wrote, in a buffer of the shard's.
    Block(Vec<u8>),
    Piece(Piece),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Part::Block(block) => block,
            Part::Piece(Piece::Buf(buf)) => buf,
            Part::Piece(Piece::Bytes(bytes)) => bytes,
            Part::Piece(Piece::Static(bytes)) => bytes,
        }
    }
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.parts.push_back(Part::Piece(piece));
        }
    }

    /// The buffer that more may be written to. It must come back by [`Outbox::give_back`].
    pub(super) fn lend(&mut self, shared: &Shared) -> Vec<u8> {
        match self.parts.back_mut() {
            Some(Part::Block(block)) => std::mem::take(block),
            _ => {
                self.parts.push_back(Part::Block(Vec::new()));
                shared.take()
            }
        }
    }

    /// Takes back what [`Outbox::lend`] gave, which was `before` long then.
    pub(super) fn give_back(&mut self, block: Vec<u8>, before: usize, shared: &Shared) {
        debug_assert!(block.len() >= before, "it may only be appended to");
        self.len += block.len().saturating_sub(before);
        if block.is_empty() {
            self.parts.pop_back();
            return shared.give(block);
        }
        if let Some(last) = self.parts.back_mut() {
            *last = Part::Block(block);
        }
    }

    /// The next bytes to seal as one record: of the first part alone where that is long enough or
    /// the only one, else gathered in `scratch`.
    pub(super) fn record<'a>(&'a self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(first) = self.parts.front().map(|part| rest(part, self.skip)) else {
            return &[];
        };
        if first.len() >= RECORD_BYTES_MAX || first.len() == self.len {
            return first.get(..RECORD_BYTES_MAX).unwrap_or(first);
        }
        scratch.clear();
        let mut skip = self.skip;
        for part in &self.parts {
            let bytes = rest(part, std::mem::take(&mut skip));
            let room = RECORD_BYTES_MAX - scratch.len();
            scratch.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            if scratch.len() == RECORD_BYTES_MAX {
                break;
            }
        }
        scratch
    }

    /// The next `count` bytes are done with.
    pub(super) fn advance(&mut self, mut count: usize, shared: &Shared) {
        self.len = self.len.saturating_sub(count);
        while let Some(part) = self.parts.front() {
            let left = rest(part, self.skip).len();
            if count < left {
                self.skip += count;
                return;
            }
            count -= left;
            self.skip = 0;
            if let Some(Part::Block(block)) = self.parts.pop_front() {
                shared.give(block);
            }
        }
        self.parts = VecDeque::new();
    }

    pub(super) fn clear(&mut self, shared: &Shared) {
        self.advance(self.len, shared);
    }
}

fn rest(part: &Part, skip: usize) -> &[u8] {
    part.bytes().get(skip..).unwrap_or_default()
}

/// Longest content of a record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use engine::Buf;
    use proptest::prelude::*;

    use super::*;

    fn write(outbox: &mut Outbox, bytes: &[u8], shared: &Shared) {
        let mut block = outbox.lend(shared);
        let before = block.len();
        block.extend_from_slice(bytes);
        outbox.give_back(block, before, shared);
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            parts in prop::collection::vec((any::<bool>(), 0_usize..40_000), 0..12),
            interleave in any::<bool>(),
        ) {
            let (mut outbox, shared) = (Outbox::default(), Shared::new());
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            let mut scratch = Vec::new();
            let mut seal = |outbox: &mut Outbox, found: &mut Vec<u8>| {
                let record = outbox.record(&mut scratch);
                let len = record.len();
                assert!(len > 0 && len <= RECORD_BYTES_MAX);
                assert!(len == RECORD_BYTES_MAX || len == outbox.len(), "records are filled");
                found.extend_from_slice(record);
                outbox.advance(len, &shared);
            };
            for (index, (is_piece, len)) in parts.into_iter().enumerate() {
                let bytes = vec![index as u8; len];
                expected.extend_from_slice(&bytes);
                match is_piece {
                    true => outbox.push(Piece::Buf(Buf::copy_of(&bytes))),
                    false => write(&mut outbox, &bytes, &shared),
                }
                if interleave && !outbox.is_empty() {
                    seal(&mut outbox, &mut found);
                }
            }
            while !outbox.is_empty() {
                seal(&mut outbox, &mut found);
            }
            prop_assert!(found == expected);
            prop_assert_eq!(outbox.parts.capacity(), 0, "empty it holds nothing");
        }
    }
}
