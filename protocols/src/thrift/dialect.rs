//! How a connection of the Thrift family speaks: what is around a message, and how it is written.

/// What delimits the messages of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A length of four bytes before each message.
    Framed,
    /// Nothing: a message ends where its struct does.
    Unframed,
    /// Apache's and Facebook's header, with keys and transforms.
    THeader,
    /// CloudWeGo's header, with keys that are numbers or text.
    TtHeader,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Binary, strict: a message begins with its version.
    Binary,
    /// Binary as it was before there were versions. Replies to it are strict.
    LaxBinary,
    /// Compact.
    Compact,
}

impl Encoding {
    /// What a head says its payload to be. Two wires can be joined only where they agree on it: the
    /// payload passes as it is.
    pub fn content_type(self) -> &'static [u8] {
        match self {
            Encoding::Binary | Encoding::LaxBinary => b"application/vnd.apache.thrift.binary",
            Encoding::Compact => b"application/vnd.apache.thrift.compact",
        }
    }
}

/// Everything that a connection does not change after its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// What delimits messages.
    pub transport: Transport,
    /// How they are written.
    pub encoding: Encoding,
    /// Behind a TTHeader a frame stands around the message as well.
    pub is_framed_inside: bool,
}

impl Dialect {
    /// A dialect without a frame in its header's payload.
    pub const fn new(transport: Transport, encoding: Encoding) -> Dialect {
        Dialect { transport, encoding, is_framed_inside: false }
    }

    /// TTHeader with a frame inside, as Kitex and volo speak it.
    pub const TTHEADER_FRAMED: Dialect = Dialect {
        transport: Transport::TtHeader,
        encoding: Encoding::Binary,
        is_framed_inside: true,
    };

    /// Whether messages have a length before them.
    pub fn has_length(self) -> bool {
        self.transport != Transport::Unframed
    }

    /// How this side writes: nobody answers without a version.
    pub(super) fn written(self, is_server: bool) -> Encoding {
        match self.encoding {
            Encoding::LaxBinary if is_server => Encoding::Binary,
            encoding => encoding,
        }
    }
}
