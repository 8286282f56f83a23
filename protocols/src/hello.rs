//! The ClientHello of a TLS connection: which server a client asks for, and by which protocols.
//!
//! For connections that are passed on as they are: it is read, never answered. What it says is
//! not authenticated; it chooses a way, nothing else. A hello may be cut into records anywhere (RFC
//! 8446 section 5.1), and a post-quantum one has about 1.8 KiB, so that it seldom comes in one
//! piece.
//!
//! C1 Each byte is looked at once, however it is delivered. C2 Bytes that cannot begin a hello are
//! told from one as soon as they are there. C3 A reader holds at most [`HELLO_BYTES_MAX`].
//! C4 A length that does not add up is a fault: nothing is guessed from half of a hello.
//!
//! Cost: once a connection, one copy of the hello.

use crate::error::Fault;

/// Most bytes up to the end of a hello, record headers included.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;

/// What a hello says (RFC 8446 section 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The host that is asked for, in lower case (RFC 6066 section 3); `None` where none is.
    pub server_name: Option<String>,
    /// Protocols that are offered, the preferred one first (RFC 7301 section 3.1).
    pub alpn: Vec<Vec<u8>>,
}

/// Reads one hello, piece by piece.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// The header of a record of which not all is there.
    header: Vec<u8>,
    /// Bytes of the present record that are still to come.
    record_left: usize,
    /// The handshake message so far.
    message: Vec<u8>,
    /// Bytes taken in all.
    taken: usize,
}

const HEADER_BYTES: usize = 5;
/// Longest plaintext record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

impl HelloReader {
    /// Takes the next bytes; the hello once it is whole. What comes behind it is not looked at.
    ///
    /// # Errors
    ///
    /// `not_tls`, `bad_client_hello` and `client_hello_too_long`.
    pub fn read(&mut self, mut input: &[u8]) -> Result<Option<Hello>, Fault> {
        while !input.is_empty() {
            let taken = match self.record_left {
                0 => self.read_header(input)?,
                left => {
                    let (piece, _) = input.split_at(left.min(input.len()));
                    self.message.extend_from_slice(piece);
                    self.record_left -= piece.len();
                    piece.len()
                }
            };
            self.taken += taken;
            input = input.get(taken..).unwrap_or_default();
            if let Some(hello) = self.whole()? {
                return Ok(Some(hello));
            }
            if self.taken > HELLO_BYTES_MAX {
                return Err(Fault::ClientHelloTooLong);
            }
        }
        Ok(None)
    }

    /// Takes bytes of a record's header, and checks those that are there.
    fn read_header(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let missing = HEADER_BYTES - self.header.len();
        let (piece, _) = input.split_at(missing.min(input.len()));
        self.header.extend_from_slice(piece);
        let is_first = self.message.is_empty();
        let wrong = if is_first { Fault::NotTls } else { Fault::BadClientHello };
        let expected = [HANDSHAKE, 3];
        if self.header.iter().zip(expected).any(|(found, expected)| *found != expected) {
            return Err(wrong);
        }
        if let [_, _, _, high, low] = *self.header {
            let len = usize::from(u16::from_be_bytes([high, low]));
            if len == 0 || len > RECORD_BYTES_MAX {
                return Err(wrong);
            }
            self.record_left = len;
            self.header.clear();
        }
        Ok(piece.len())
    }

    fn whole(&self) -> Result<Option<Hello>, Fault> {
        match *self.message {
            [kind, ..] if kind != CLIENT_HELLO => Err(Fault::NotTls),
            [_, a, b, c, ref body @ ..] => {
                let len = u32::from_be_bytes([0, a, b, c]) as usize;
                if len > HELLO_BYTES_MAX {
                    return Err(Fault::ClientHelloTooLong);
                }
                let body = body.get(..len);
                body.map(|body| parse(body).ok_or(Fault::BadClientHello)).transpose()
            }
            _ => Ok(None),
        }
    }
}

/// A cursor over bytes that are all there.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    /// A vector whose length stands before it in two bytes.
    fn vector(&mut self) -> Option<Bytes<'a>> {
        let len = self.u16()?;
        self.take(usize::from(len)).map(Bytes)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse(body: &[u8]) -> Option<Hello> {
    let mut bytes = Bytes(body);
    let _version_and_random = bytes.take(2 + 32)?;
    let session = bytes.u8()?;
    if session > 32 {
        return None;
    }
    bytes.take(session)?;
    let suites = bytes.vector()?;
    if suites.is_empty() || suites.0.len() % 2 != 0 {
        return None;
    }
    let compressions = bytes.u8()?;
    bytes.take(compressions)?;
    let mut hello = Hello::default();
    if bytes.is_empty() {
        // TLS 1.2 without extensions.
        return Some(hello);
    }
    let mut extensions = bytes.vector()?;
    let (mut names, mut protocols) = (0, 0);
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector()?;
        match kind {
            SERVER_NAME => {
                names += 1;
                hello.server_name = server_name(content)?;
            }
            ALPN => {
                protocols += 1;
                hello.alpn = alpn(content)?;
            }
            _ => {}
        }
    }
    // Two of a kind: what one server reads is not what another one reads.
    (bytes.is_empty() && names <= 1 && protocols <= 1).then_some(hello)
}

/// The outer `None` is a fault; the inner one a list without a host name.
fn server_name(mut content: Bytes<'_>) -> Option<Option<String>> {
    let mut list = content.vector()?;
    let mut name = None;
    while !list.is_empty() {
        let kind = list.u8()?;
        let text = list.vector()?.0;
        if kind == 0 && name.replace(host(text)?).is_some() {
            return None;
        }
    }
    content.is_empty().then_some(name)
}

/// A host name in lower case: letters, digits, `-`, `_`, and dots between.
fn host(text: &[u8]) -> Option<String> {
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let labels = || text.split(|&byte| byte == b'.');
    let is_host = text.len() <= 253 && text.iter().all(known);
    let is_host = is_host && labels().all(|label| (1..=63).contains(&label.len()));
    let lower = || String::from_utf8(text.to_ascii_lowercase()).ok();
    is_host.then(lower).flatten()
}

fn alpn(mut content: Bytes<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = content.vector()?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let len = list.u8()?;
        let name = list.take(len).filter(|name| !name.is_empty())?;
        protocols.push(name.to_vec());
    }
    (content.is_empty() && !protocols.is_empty()).then_some(protocols)
}

/// For fuzzers: any bytes, whole and cut, come to the same.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_hello(bytes: &[u8]) {
    let whole = HelloReader::default().read(bytes);
    let cut = bytes.last().map_or(1, |last| usize::from(*last) + 1);
    let mut reader = HelloReader::default();
    let mut pieces = Ok(None);
    for piece in bytes.chunks(cut) {
        pieces = reader.read(piece);
        if pieces != Ok(None) {
            break;
        }
    }
    assert_eq!(whole, pieces);
    assert!(reader.message.len() <= HELLO_BYTES_MAX + bytes.len().min(RECORD_BYTES_MAX));
    if let Ok(Some(Hello { server_name: Some(name), .. })) = whole {
        assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sent by OpenSSL for `localhost` with `http/1.1` and `h2`, in this order.
    const CAPTURED: &str = include_str!("../testdata/tls_clienthello_alpn_h2_http11.hex");

    fn captured() -> Vec<u8> {
        let hex = CAPTURED.lines().filter(|line| !line.starts_with('#')).collect::<String>();
        let digits: Vec<u8> =
            hex.bytes().filter_map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        let entry = [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat();
        extension(0, &[&(entry.len() as u16).to_be_bytes()[..], &entry].concat())
    }

    /// A hello with these extensions, in records of at most `record` bytes.
    fn hello(extensions: &[Vec<u8>], record: usize) -> Vec<u8> {
        let extensions = extensions.concat();
        let mut body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let len = (body.len() as u32).to_be_bytes();
        let message = [&[1][..], &len[1..], &body].concat();
        let wrap =
            |piece: &[u8]| [&[22, 3, 1][..], &(piece.len() as u16).to_be_bytes(), piece].concat();
        message.chunks(record).flat_map(wrap).collect()
    }

    fn read(bytes: &[u8]) -> Result<Option<Hello>, Fault> {
        HelloReader::default().read(bytes)
    }

    #[test]
    fn a_captured_hello_is_read_however_it_is_cut() {
        let bytes = captured();
        let whole = read(&bytes).unwrap().unwrap();
        assert_eq!(whole.server_name.as_deref(), Some("localhost"));
        assert_eq!(whole.alpn, [b"http/1.1".to_vec(), b"h2".to_vec()]);
        for cut in 1..bytes.len() {
            let mut reader = HelloReader::default();
            assert_eq!(reader.read(&bytes[..cut]), Ok(None), "{cut}");
            assert_eq!(reader.read(&bytes[cut..]), Ok(Some(whole.clone())), "{cut}");
        }
    }

    #[test]
    fn records_may_be_cut_anywhere() {
        for record in [1, 2, 5, 100, 16_000] {
            let found = read(&hello(&[sni(b"A.Example.com")], record)).unwrap().unwrap();
            assert_eq!(found.server_name.as_deref(), Some("a.example.com"));
        }
    }

    #[test]
    fn what_a_name_may_be() {
        let long = [&b"a.".repeat(126)[..], b"a"].concat();
        for (name, is_good) in [
            (&b"localhost"[..], true),
            (b"_x.y-z.test", true),
            (b"127.0.0.1", true),
            (&long, true),
            (b"", false),
            (b"a.test.", false),
            (b"a..test", false),
            (b".test", false),
            (b"a b", false),
            (b"a\0.test", false),
            (&[b'a'; 64], false),
            (&b"a.".repeat(127), false),
            ("\u{e4}.test".as_bytes(), false),
        ] {
            assert_eq!(read(&hello(&[sni(name)], 999)).is_ok(), is_good, "{name:?}");
        }
        assert_eq!(read(&hello(&[], 999)).unwrap().unwrap(), Hello::default());
    }

    #[test]
    fn two_of_a_kind_are_refused() {
        for twice in [sni(b"a.test"), extension(16, &[0, 3, 2, b'h', b'2'])] {
            let bytes = hello(&[twice.clone(), twice], 999);
            assert_eq!(read(&bytes), Err(Fault::BadClientHello));
        }
    }

    #[test]
    fn what_is_no_hello_is_told_at_once() {
        for bytes in [&b"G"[..], b"\x16\x02", b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x00\x05\x02"]
        {
            assert_eq!(read(bytes), Err(Fault::NotTls), "{bytes:?}");
        }
        let too_long = b"\x16\x03\x01\x00\x05\x01\x01\x00\x01\x00";
        assert_eq!(read(too_long), Err(Fault::ClientHelloTooLong));
        let one_byte_records = b"\x16\x03\x01\x00\x01\x01".repeat(20_000);
        assert!(read(&one_byte_records).is_err());
        let mut endless = b"\x16\x03\x01\x00\x05\x01\x00\xff\xff\x03".to_vec();
        endless.extend(b"\x16\x03\x01\x00\x01\x03".repeat(11_000));
        assert_eq!(read(&endless), Err(Fault::ClientHelloTooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_hello(&bytes);
        }

        #[test]
        fn a_damaged_hello_is_read_or_refused(
            at in 0_usize..600,
            with in prop::collection::vec(any::<u8>(), 0..4),
            record in 1_usize..200,
        ) {
            let mut bytes = hello(&[sni(b"a.test"), extension(16, &[0, 3, 2, b'h', b'2'])], record);
            let at = at % bytes.len();
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with);
            fuzz_hello(&bytes);
        }
    }
}
