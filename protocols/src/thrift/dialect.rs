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
