//! The send side's memory: a block of scratch bytes and pieces, and the queue of at most two.
//!
//! A socket's queue is what is *building* plus what is *in flight*. A send moves the whole block
//! into the op slot (I2) and building goes on in a spare one, so nothing the kernel may read is
//! ever appended to. Charges, not bytes, are counted against the cap: a piece that pins a page is
//! charged the page, a copied one its bytes, so a queue's memory is what its number says.
//! Cost: no allocation in steady state (blocks come from the shard's free list).

use std::ops::Range;

use bytes::Bytes;

use crate::buf::slice::Buf;

/// Something to send.
pub enum Piece {
    /// Received bytes, passed on without a copy.
    Buf(Buf),
    /// Shared bytes.
    Bytes(Bytes),
    /// Constant bytes.
    Static(&'static [u8]),
}

impl Piece {
    /// Bytes of the piece.
    pub fn len(&self) -> usize {
        match self {
            Piece::Buf(buf) => buf.len(),
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Static(bytes) => bytes.len(),
        }
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Piece::Buf(buf) => buf,
            Piece::Bytes(bytes) => bytes,
            Piece::Static(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Piece({} bytes)", self.len())
    }
}

/// The queue was full before the push; the piece comes back.
#[derive(Debug)]
pub struct Full(pub Piece);

/// Segments of one send: the kernel copies up to 8 iovecs without an allocation of its own, and
/// 64 x 64 KiB is more than any cap here.
pub(crate) const SEGMENTS_MAX: usize = 64;
/// Scratch kept by a block on the free list, in bytes.
const SCRATCH_KEPT_BYTES: usize = 8 * 1024;

/// One segment of a block.
enum Segment {
    Scratch(Range<u32>),
    Piece(Piece),
    Done,
}

/// A segment and what it counts against the cap.
struct Charged {
    segment: Segment,
    charge: u32,
}

/// Bytes on their way out, with everything the kernel reads while sending them.
#[derive(Default)]
pub(crate) struct SendBlock {
    scratch: Vec<u8>,
    segments: Vec<Charged>,
    /// First segment not wholly sent, and its bytes already sent.
    first: usize,
    skip: usize,
    /// Bytes left to send.
    len: usize,
    /// Sum of the charges of the segments left.
    charge: usize,
    /// Size of the heap copy that replaced pages (B4), kept until the block is cleared.
    copied: usize,
    window: Window,
}

/// The kernel's view of the next segments. Self-made pointers into the block and its pieces.
struct Window {
    iovecs: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Default for Window {
    fn default() -> Window {
        let header = libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: std::ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Window { iovecs: Vec::new(), header }
    }
}

impl std::fmt::Debug for SendBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendBlock({} bytes)", self.len)
    }
}

impl SendBlock {
    /// Bytes left to send.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the block counts against the socket's cap.
    pub(crate) fn charge(&self) -> usize {
        self.charge
    }

    /// Appends bytes written by `write` to the scratch.
    pub(crate) fn scratch<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.scratch.len();
        let result = write(&mut self.scratch);
        // A writer that removed bytes would cut segments that are already queued.
        assert!(self.scratch.len() >= start, "the scratch may only be appended to");
        self.add_scratch(start);
        result
    }

    /// Appends a copy of the bytes.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(bytes);
        self.add_scratch(start);
    }

    fn add_scratch(&mut self, start: usize) {
        let added = self.scratch.len() - start;
        if added == 0 {
            return;
        }
        self.len += added;
        self.charge += added;
        let (start, end) = (start as u32, self.scratch.len() as u32);
        if let Some(Charged { segment: Segment::Scratch(range), charge }) = self.segments.last_mut()
            && range.end == start
        {
            range.end = end;
            *charge += end - start;
            return;
        }
        self.segments.push(Charged { segment: Segment::Scratch(start..end), charge: end - start });
    }

    /// Appends a piece without copying it, charged by the page it keeps alive.
    pub(crate) fn push(&mut self, piece: Piece) {
        if piece.is_empty() {
            return;
        }
        let charge = match &piece {
            Piece::Buf(buf) if self.ends_in_page_of(buf) => 0,
            Piece::Buf(buf) => buf.capacity(),
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Static(_) => 0,
        };
        self.len += piece.len();
        self.charge += charge;
        self.segments.push(Charged { segment: Segment::Piece(piece), charge: charge as u32 });
    }

    /// True when a page is already charged: chunk framing may stand between two of its slices.
    fn ends_in_page_of(&self, buf: &Buf) -> bool {
        self.segments.iter().rev().take(4).any(|last| match &last.segment {
            Segment::Piece(Piece::Buf(earlier)) => earlier.same_page(buf),
            _ => false,
        })
    }

    /// The next segments, at most 64, in order: what a send op may take from.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let left = self.segments.iter().skip(self.first).take(SEGMENTS_MAX);
        left.enumerate().map(|(index, charged)| {
            let bytes = self.bytes(charged);
            if index == 0 { &bytes[self.skip..] } else { bytes }
        })
    }

    fn bytes<'a>(&'a self, charged: &'a Charged) -> &'a [u8] {
        match &charged.segment {
            Segment::Scratch(range) => &self.scratch[range.start as usize..range.end as usize],
            Segment::Piece(piece) => piece.as_slice(),
            Segment::Done => &[],
        }
    }

    /// The only segment left, when there is just one: a plain send is cheaper than a message.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        if self.segments.len() - self.first == 1 { self.slices().next() } else { None }
    }

    /// Points the message header at the next segments. Before every push of the block.
    pub(crate) fn prepare(&mut self) {
        let mut iovecs = std::mem::take(&mut self.window.iovecs);
        iovecs.clear();
        iovecs.extend(self.slices().map(|bytes| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        }));
        self.window.header.msg_iov = iovecs.as_mut_ptr();
        self.window.header.msg_iovlen = iovecs.len();
        self.window.iovecs = iovecs;
    }

    /// The prepared header, for the kernel.
    pub(crate) fn header(&self) -> *const libc::msghdr {
        &self.window.header
    }

    /// `count` bytes went out. Finished pieces are dropped here, except `Bytes`, whose drop may
    /// run foreign code: those go to `trash`, to be dropped without any borrow held.
    pub(crate) fn advance(&mut self, count: usize, trash: &mut Vec<Bytes>) {
        assert!(count <= self.len, "sent more than was queued");
        self.len -= count;
        let mut left = count;
        while let Some(charged) = self.segments.get(self.first) {
            let rest = self.bytes(charged).len() - self.skip;
            if left < rest {
                break;
            }
            left -= rest;
            self.finish_first(trash);
        }
        self.skip += left;
    }

    fn finish_first(&mut self, trash: &mut Vec<Bytes>) {
        let charged = &mut self.segments[self.first];
        self.charge -= charged.charge as usize;
        if let Segment::Piece(Piece::Bytes(bytes)) =
            std::mem::replace(&mut charged.segment, Segment::Done)
        {
            trash.push(bytes);
        }
        self.first += 1;
        self.skip = 0;
    }

    /// Replaces what is left by one heap copy, so that no page stays pinned (B4).
    pub(crate) fn copy_out(&mut self, trash: &mut Vec<Bytes>) {
        let rest = self.slices_all();
        self.clear(trash);
        self.copied = rest.len();
        self.scratch = rest;
        self.add_scratch(0);
    }

    /// Bytes of the heap copy that the block holds.
    pub(crate) fn copied(&self) -> usize {
        self.copied
    }

    fn slices_all(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(self.len);
        for (index, charged) in self.segments.iter().skip(self.first).enumerate() {
            let bytes = self.bytes(charged);
            rest.extend_from_slice(if index == 0 { &bytes[self.skip..] } else { bytes });
        }
        rest
    }

    /// Pages that the block keeps from the pool, in bytes.
    pub(crate) fn pinned_bytes(&self) -> usize {
        let pooled = |charged: &Charged| match &charged.segment {
            Segment::Piece(Piece::Buf(buf)) if buf.is_pooled() => charged.charge as usize,
            _ => 0,
        };
        self.segments.iter().skip(self.first).map(pooled).sum()
    }

    /// True while the block keeps a page from the pool.
    pub(crate) fn pins(&self) -> bool {
        self.pinned_bytes() > 0
    }

    /// Empties the block for reuse.
    pub(crate) fn clear(&mut self, trash: &mut Vec<Bytes>) {
        while self.first < self.segments.len() {
            self.finish_first(trash);
        }
        self.segments.clear();
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT_BYTES);
        self.segments.shrink_to(SEGMENTS_MAX);
        (self.first, self.skip, self.len, self.copied) = (0, 0, 0, 0);
        debug_assert_eq!(self.charge, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> SendBlock {
        let mut block = SendBlock::default();
        block.copy(b"head ");
        block.scratch(|bytes| bytes.extend_from_slice(b"more "));
        block.push(Piece::Static(b"static "));
        block.push(Piece::Bytes(Bytes::from_static(b"bytes")));
        block
    }

    fn text(block: &SendBlock) -> String {
        String::from_utf8(block.slices().flatten().copied().collect()).unwrap()
    }

    #[test]
    fn segments_keep_their_order_and_adjacent_scratch_is_one() {
        let block = block();
        assert_eq!(text(&block), "head more static bytes");
        assert_eq!(block.slices().count(), 3);
        assert_eq!(block.len(), 22);
    }

    #[test]
    fn any_split_of_the_bytes_leaves_the_rest() {
        for cut in 0..=22 {
            let (mut block, mut trash) = (block(), Vec::new());
            block.advance(cut, &mut trash);
            assert_eq!(text(&block), "head more static bytes"[cut..]);
            block.advance(22 - cut, &mut trash);
            assert!(block.is_empty());
            assert_eq!((block.charge(), trash.len()), (0, 1));
        }
    }

    #[test]
    fn the_prepared_header_names_the_window() {
        let mut block = SendBlock::default();
        for _ in 0..100 {
            block.push(Piece::Static(b"x"));
        }
        block.prepare();
        assert_eq!(block.window.header.msg_iovlen, SEGMENTS_MAX);
        block.advance(64, &mut Vec::new());
        block.prepare();
        assert_eq!(block.window.header.msg_iovlen, 36);
        assert!(block.single().is_none());
        block.advance(35, &mut Vec::new());
        assert_eq!(block.single(), Some(&b"x"[..]));
    }

    #[test]
    fn a_page_is_charged_once_and_copying_out_lets_it_go() {
        let (mut block, mut trash) = (SendBlock::default(), Vec::new());
        let page = Buf::copy_of(&[7; 1000]);
        block.push(Piece::Buf(page.slice(0..10)));
        block.copy(b"--");
        block.push(Piece::Buf(page.slice(10..20)));
        assert_eq!((block.len(), block.charge()), (22, 1002));
        block.advance(5, &mut trash);
        block.copy_out(&mut trash);
        assert_eq!((block.len(), block.charge(), block.slices().count()), (17, 17, 1));
        assert_eq!((block.pins(), block.copied()), (false, 17));
        block.clear(&mut trash);
        assert_eq!(block.copied(), 0);
    }
}
