//! A conversation through the real binary, written as bytes: what the client sends, what the origin
//! is forwarded, what it answers, what the client gets.
//!
//! Every step is exact: one byte more, less or other fails the test where the step stands. A
//! conversation ends with [`Talk::goes_on`] or [`Talk::closed`], which send one more request and so
//! prove that nothing else reached the origin and that the gateway serves the next one.
//!
//! The gateway is started without fields of its own ([`Setup::bare`]), so that what is forwarded
//! can be written down; [`Talk::keeping`] leaves one of them as it is by default.

use std::io::Write;

use super::{Client, Gateway, Recorder, Reply, Setup};

/// A gateway, its client and its origin.
pub(crate) struct Talk {
    pub(crate) gateway: Gateway,
    pub(crate) origin: Recorder,
    client: Client,
}

impl Talk {
    /// Everything by default.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With flags and their values.
    pub(crate) fn with(flags: &[(&str, &str)]) -> Self {
        Self::keeping("", flags)
    }

    /// As `with`, but for one of the gateway's own fields.
    pub(crate) fn keeping(own: &str, flags: &[(&str, &str)]) -> Self {
        let origin = Recorder::start();
        let mut setup = Setup::upstream(origin.address).bare(own);
        for (name, value) in flags {
            setup = setup.flag(name, value);
        }
        let gateway = setup.start();
        let client = gateway.client();
        Self { gateway, origin, client }
    }

    /// The client sends.
    pub(crate) fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.client.send(bytes);
        self
    }

    /// A request that differs from a plain GET by its field lines, each ended with CR LF.
    pub(crate) fn get(&mut self, lines: &str) -> &mut Self {
        self.client(format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n"))
    }

    /// The client ends its side.
    pub(crate) fn client_finishes(&mut self) -> &mut Self {
        self.client.shut_write();
        self
    }

    /// A new client connection takes the place of the old one.
    pub(crate) fn next_client(&mut self) -> &mut Self {
        self.client = self.gateway.client();
        self
    }

    /// Exactly this reaches the origin next.
    #[track_caller]
    pub(crate) fn forwarded(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let origin = &mut self.origin;
        expect("the origin", bytes.as_ref(), || origin.byte());
        self
    }

    /// [`Talk::get`] reaches the origin with these lines.
    #[track_caller]
    pub(crate) fn forwarded_get(&mut self, lines: &str) -> &mut Self {
        self.forwarded(format!("GET / HTTP/1.1\r\nhost: test\r\n{lines}\r\n"))
    }

    /// The origin sends.
    pub(crate) fn origin(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.origin.send(bytes.as_ref());
        self
    }

    /// The origin ends its side of the link.
    pub(crate) fn origin_finishes(&mut self) -> &mut Self {
        self.origin.finish();
        self
    }

    /// The gateway closes the link, and has sent nothing more on it.
    #[track_caller]
    pub(crate) fn link_closed(&mut self) -> &mut Self {
        let more = self.origin.until_closed();
        assert!(more.is_empty(), "more was forwarded: {}", shown(&more));
        self
    }

    /// Exactly this reaches the client next.
    #[track_caller]
    pub(crate) fn reply(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let client = &mut self.client;
        expect("the client", bytes.as_ref(), || client.exactly(1).ok().map(|bytes| bytes[0]));
        self
    }

    /// The origin answers with an empty 204, which reaches the client.
    #[track_caller]
    pub(crate) fn answered(&mut self) -> &mut Self {
        self.origin("HTTP/1.1 204 No Content\r\n\r\n").reply("HTTP/1.1 204 No Content\r\n\r\n")
    }

    /// The next final reply that reaches the client, whatever it is.
    #[track_caller]
    pub(crate) fn any_reply(&mut self) -> Reply {
        self.client.reply().expect("a reply")
    }

    /// The gateway answers by itself: a body of status and reason word.
    #[track_caller]
    pub(crate) fn local_reply(&mut self, status: u16, reason: &str) -> &mut Self {
        let reply = self.client.reply().unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(reply.text(), format!("{status} {reason}\n"));
        assert_eq!(reply.status, status);
        self
    }

    /// The gateway answers by itself, closes, and nothing of this reached the origin.
    #[track_caller]
    pub(crate) fn refused(&mut self, status: u16, reason: &str) -> &mut Self {
        self.local_reply(status, reason).closed()
    }

    /// The gateway answers by itself, whatever the word, and closes. `case` names the request.
    #[track_caller]
    pub(crate) fn refused_somehow(&mut self, case: impl std::fmt::Debug) -> &mut Self {
        let reply = self.client.reply().unwrap_or_else(|error| panic!("{case:?}: {error}"));
        assert!((400..=505).contains(&reply.status), "{case:?}: {}", reply.status);
        assert!(self.is_closed(), "{case:?}: the client got more, or no end");
        self
    }

    /// A second handle of the client's socket, for a thread that writes while the test reads.
    pub(crate) fn writer(&self) -> impl Write + Send + use<> {
        self.client.writer()
    }

    /// Whether the client's connection is over and nothing came before its end.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.client.is_closed()
    }

    /// The client's connection is over and nothing came before its end. The next client is served,
    /// and its request is the next thing that the origin gets.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> &mut Self {
        assert!(self.is_closed(), "the client got more, or no end");
        self.next_client().goes_on()
    }

    /// The origin's reply is refused: the client gets a 502, the link is closed, the client's
    /// connection goes on.
    #[track_caller]
    pub(crate) fn reply_refused(&mut self) -> &mut Self {
        self.local_reply(502, "upstream_protocol_error").link_closed().goes_on()
    }

    /// The client's connection serves one more request, which is the next thing that the origin
    /// gets.
    #[track_caller]
    pub(crate) fn goes_on(&mut self) -> &mut Self {
        self.client("GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
        self.forwarded("GET /next HTTP/1.1\r\nhost: test\r\n\r\n").answered()
    }
}

/// Reads exactly `wanted`; shows what came instead up to the first other byte.
#[track_caller]
fn expect(who: &str, wanted: &[u8], mut byte: impl FnMut() -> Option<u8>) {
    let mut got = Vec::new();
    for (at, want) in wanted.iter().enumerate() {
        let next = byte();
        got.extend(next);
        if next == Some(*want) {
            continue;
        }
        let end = if next.is_none() { " and then its end" } else { "" };
        let (wanted, got) = (shown(wanted), shown(&got));
        panic!("{who} got at byte {at}\n{got}{end}\ninstead of\n{wanted}");
    }
}

/// Bytes as text, a line feed ending a line.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\\n\n")
}
