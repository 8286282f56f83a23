//! Messages with what delimits them: nothing, a frame, a THeader or a TTHeader.
//!
//! Bytes in, messages out; no sockets. Each message is told by itself, so that a peer may change
//! how it speaks. Transforms of a THeader are not undone: such a message is broken.

use super::cursor::{Broken, Cursor, Stop};
use super::message::{Encoding, Head, Kind};
use super::pairs;
use super::walk::{self, Fields, Walk};

/// A longer message, or frame, is broken.
pub const PACKET_BYTES_MAX: usize = 16 << 20;

/// What delimits a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Its own end.
    Unframed,
    /// Its length before it.
    Framed,
    /// Apache's header.
    Theader {
        /// Repeated by the reply.
        number: u32,
        /// Bit 0: replies may come in any order.
        flags: u16,
    },
    /// CloudWeGo's header.
    Ttheader {
        /// Repeated by the reply.
        number: u32,
        /// The protocol's number, which says nothing of the message.
        protocol: u8,
        /// Whether a frame is inside the header.
        is_framed: bool,
    },
}

/// THeader's flag for replies in any order.
pub const OUT_OF_ORDER: u16 = 1;

const THEADER: u16 = 0x0fff;
const TTHEADER: u16 = 0x1000;
/// TTHeader's flags: frames of a stream, which are no messages.
const STREAMING: u16 = 2;

impl Envelope {
    /// Whether replies may come in another order than their calls.
    pub fn is_out_of_order(self) -> bool {
        match self {
            Self::Unframed | Self::Framed => false,
            Self::Theader { flags, .. } => flags & OUT_OF_ORDER != 0,
            Self::Ttheader { .. } => true,
        }
    }
}

/// A message as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What delimited it.
    pub envelope: Envelope,
    /// The blocks of its header, where it has one.
    pub blocks: &'a [u8],
    /// What stands before its struct.
    pub head: Head<'a>,
    /// Its struct.
    pub body: &'a [u8],
    /// Bytes that it took in all.
    pub len: usize,
}

impl<'a> Packet<'a> {
    /// The value of a key of text in its header; `None` where it has neither.
    ///
    /// # Errors
    /// The header is broken.
    pub fn pair(&self, key: &str) -> Result<Option<&'a [u8]>, Broken> {
        let found = match self.envelope {
            Envelope::Unframed | Envelope::Framed => return Ok(None),
            Envelope::Theader { .. } => pairs::in_theader(self.blocks, key.as_bytes()),
            Envelope::Ttheader { .. } => pairs::in_ttheader(self.blocks, key.as_bytes()),
        };
        found.map_err(cut)
    }

    /// What a message that answers says.
    ///
    /// # Errors
    /// It is none, or its struct is broken.
    pub fn outcome(&self) -> Result<Outcome, Broken> {
        let mut fields = Fields::new(self.head.encoding, self.body);
        match self.head.kind {
            Kind::Call | Kind::Oneway => Err(Broken("a call where a reply is due")),
            Kind::Reply => match fields.next()? {
                Some(field) if field.id != 0 => Ok(Outcome::Declared(field.id)),
                _ => Ok(Outcome::Success),
            },
            Kind::Exception => {
                let mut kind = 0;
                while let Some(field) = fields.next()? {
                    kind =
                        if field.id == 2 { number(self.head.encoding, field.value)? } else { kind };
                }
                Ok(Outcome::Exception(kind))
            }
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a result, or with none where the method has none.
    Success,
    /// With an exception that the method declares, by the number of its field.
    Declared(i16),
    /// With a TApplicationException of a type.
    Exception(i32),
}

/// A field's number of 32 bits.
fn number(encoding: Encoding, value: &[u8]) -> Result<i32, Broken> {
    let mut input = Cursor::new(value, 0);
    let number = match encoding {
        Encoding::Binary => input.u32().map(|number| number as i32),
        Encoding::Compact => input.varint().map(walk::unzigzag),
    };
    number.map_err(cut)
}

/// Within a frame all bytes are there.
fn cut(stop: Stop) -> Broken {
    match stop {
        Stop::More => Broken("a frame that is too short for what it holds"),
        Stop::Broken(broken) => broken,
    }
}

/// Cuts packets from the front of what a connection received.
#[derive(Default)]
pub struct Reader {
    /// Through the struct of a message without a frame, as far as it has come.
    walk: Option<Walk>,
}

impl Reader {
    /// The packet that begins `input`; `None` while it is not whole. `input` begins at the same
    /// byte until one is returned, and `len` further then.
    ///
    /// # Errors
    /// The bytes are no packet; nothing that follows can be read.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Option<Packet<'a>>, Broken> {
        let read = match input.first() {
            None => return Ok(None),
            Some(0x80..) => self.unframed(input),
            Some(_) => framed(input),
        };
        match read {
            Ok(packet) => Ok(Some(packet)),
            Err(Stop::More) if input.len() > PACKET_BYTES_MAX + 4 => Err(LONG),
            Err(Stop::More) => Ok(None),
            Err(Stop::Broken(broken)) => Err(broken),
        }
    }

    fn unframed<'a>(&mut self, input: &'a [u8]) -> Result<Packet<'a>, Stop> {
        let mut cursor = Cursor::new(input, 0);
        let head = Head::read(&mut cursor)?;
        let start = cursor.at;
        let walk = self.walk.get_or_insert_with(|| Walk::of_struct(head.encoding, start));
        let len = walk.run(input)?.ok_or(Stop::More)?;
        self.walk = None;
        let body = &input[start..len];
        Ok(Packet { envelope: Envelope::Unframed, blocks: &[], head, body, len })
    }
}

const LONG: Broken = Broken("longer than 16 MiB");

/// A packet whose first four bytes are its length.
fn framed(input: &[u8]) -> Result<Packet<'_>, Stop> {
    let mut cursor = Cursor::new(input, 0);
    let length = cursor.u32()? as usize;
    if length > PACKET_BYTES_MAX {
        return Err(LONG.into());
    }
    let inner = cursor.take(length)?;
    let len = cursor.at;
    let mut cursor = Cursor::new(inner, 0);
    let packet = match cursor.u16().map_err(cut)? {
        THEADER => theader(&mut cursor).map_err(cut)?,
        TTHEADER => ttheader(&mut cursor).map_err(cut)?,
        _ => bare(Envelope::Framed, &[], inner)?,
    };
    Ok(Packet { len, ..packet })
}

/// The message that is all of `bytes`.
fn bare<'a>(envelope: Envelope, blocks: &'a [u8], bytes: &'a [u8]) -> Result<Packet<'a>, Broken> {
    let mut cursor = Cursor::new(bytes, 0);
    let head = Head::read(&mut cursor).map_err(cut)?;
    let body = cursor.rest();
    match Walk::of_struct(head.encoding, 0).run(body)? {
        Some(end) if end == body.len() => Ok(Packet { envelope, blocks, head, body, len: 0 }),
        Some(_) => Err(Broken("bytes behind a struct")),
        None => Err(cut(Stop::More)),
    }
}

/// Flags, number and header behind the magic; what follows is the payload.
fn header<'a>(cursor: &mut Cursor<'a>) -> Result<(u16, u32, Cursor<'a>), Stop> {
    let (flags, number, words) = (cursor.u16()?, cursor.u32()?, cursor.u16()?);
    let header = cursor.take(4 * usize::from(words))?;
    Ok((flags, number, Cursor::new(header, 0)))
}

fn theader<'a>(cursor: &mut Cursor<'a>) -> Result<Packet<'a>, Stop> {
    let (flags, number, mut header) = header(cursor)?;
    let (_protocol, transforms) = (header.varint()?, header.varint()?);
    if transforms > 0 {
        return Err(Broken("a THeader with transforms").into());
    }
    let blocks = header.rest();
    pairs::in_theader(blocks, b"")?;
    let envelope = Envelope::Theader { number, flags };
    Ok(bare(envelope, blocks, cursor.rest())?)
}

fn ttheader<'a>(cursor: &mut Cursor<'a>) -> Result<Packet<'a>, Stop> {
    let (flags, number, mut header) = header(cursor)?;
    let (protocol, transforms) = (header.u8()?, header.u8()?);
    if flags & STREAMING != 0 || transforms > 0 {
        return Err(Broken("a TTHeader of a stream, or with transforms").into());
    }
    let blocks = header.rest();
    pairs::in_ttheader(blocks, b"")?;
    let payload = cursor.rest();
    let is_framed = payload.first().is_some_and(|&first| first < 0x80);
    let envelope = Envelope::Ttheader { number, protocol, is_framed };
    if !is_framed {
        return Ok(bare(envelope, blocks, payload)?);
    }
    let mut inner = Cursor::new(payload, 0);
    if inner.u32()? as usize != payload.len() - 4 {
        return Err(Broken("a frame within a TTHeader that is not all of it").into());
    }
    Ok(bare(envelope, blocks, inner.rest())?)
}

/// Writes a message whose struct is `body`, in pieces. `blocks`, 256 KiB at most, go into its
/// header, if it has one.
pub fn write(
    out: &mut Vec<u8>,
    envelope: Envelope,
    blocks: &[u8],
    head: &Head<'_>,
    body: &[&[u8]],
) {
    let start = out.len();
    match envelope {
        Envelope::Unframed => {}
        Envelope::Framed => open_frame(out),
        Envelope::Theader { number, flags } => {
            open_frame(out);
            let protocol = if head.encoding == Encoding::Binary { 0 } else { 2 };
            put_header(out, [THEADER, flags], number, [protocol, 0], blocks);
        }
        Envelope::Ttheader { number, protocol, .. } => {
            open_frame(out);
            put_header(out, [TTHEADER, 0], number, [protocol, 0], blocks);
        }
    }
    let inner = out.len();
    let has_inner = matches!(envelope, Envelope::Ttheader { is_framed: true, .. });
    if has_inner {
        open_frame(out);
    }
    head.write(out);
    body.iter().for_each(|piece| out.extend_from_slice(piece));
    if has_inner {
        close_frame(out, inner);
    }
    if envelope != Envelope::Unframed {
        close_frame(out, start);
    }
}

/// Leaves room for a length.
fn open_frame(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

/// Fills in the length that was left out at `start`.
fn close_frame(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// What both headers have: the magic and flags, the number, the protocol and no transforms, blocks.
fn put_header(out: &mut Vec<u8>, words: [u16; 2], number: u32, first: [u8; 2], blocks: &[u8]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
    out.extend_from_slice(&number.to_be_bytes());
    let length = (first.len() + blocks.len()).next_multiple_of(4);
    out.extend_from_slice(&((length / 4) as u16).to_be_bytes());
    let end = out.len() + length;
    out.extend_from_slice(&first);
    out.extend_from_slice(blocks);
    out.resize(end, 0);
}
