//! The PROXY protocol, versions 1 and 2, in and out: who a connection came from, told by the
//! proxy in front of us (haproxy.org, `proxy-protocol.txt`, 2020).
//!
//! The header is the first thing on a connection, before TLS. This reads and writes it and judges
//! nothing: whether a listener expects one, which sources may send one and how long to wait for it
//! (`proxy_header_missing`, `proxy_header_timeout`) is the caller's affair. A header is never
//! looked for where none was configured: anybody could send one.
//!
//! H1 [`parse`] keeps nothing: the caller calls it with all bytes so far until it says something
//! other than [`Parsed::More`], and a longer input never changes what was said. H2 What is not a
//! header is told from one at its first differing byte. H3 A header is at most [`BYTES_MAX`] long;
//! a longer one is refused when its length is known. H4 Nothing in a header is skipped over as
//! unknown if it could be told to be wrong: lengths that do not add up, a second TLV of a kind, a
//! checksum that differs.
//!
//! Cost: once a connection; no allocation.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};

use crate::error::Fault;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not to be told yet: more bytes are needed.
    More,
    /// No PROXY header.
    Absent,
    /// A whole header of `used` bytes. The addresses are there both or not at all: a header may
    /// say that it knows none (v1 UNKNOWN, v2 LOCAL and UNSPEC), or name Unix sockets or
    /// datagrams; the socket's own addresses then hold.
    Done {
        /// Bytes of the header.
        used: usize,
        /// Who connected to the proxy.
        source: Option<SocketAddr>,
        /// Where it connected to.
        destination: Option<SocketAddr>,
    },
}

/// The longest header that is taken: the 536 bytes that every TCP path carries in one segment,
/// and 4 KiB of TLVs.
pub const BYTES_MAX: usize = 536 + 4096;

/// The longest v1 line, CRLF included: the specification's worst case.
const LINE_BYTES_MAX: usize = 107;
const LINE_MARK: &[u8] = b"PROXY ";
const BLOCK_MARK: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Mark, version and command, family, length.
const BLOCK_HEAD_BYTES: usize = 16;

/// Reads the header at the start of `input`.
///
/// # Errors
///
/// `bad_proxy_header` and `proxy_header_too_long`; neither is answered, the connection is closed.
pub fn parse(input: &[u8]) -> Result<Parsed, Fault> {
    if input.starts_with(LINE_MARK) {
        return parse_line(input);
    }
    if input.starts_with(BLOCK_MARK) {
        return parse_block(input);
    }
    let begun = LINE_MARK.starts_with(input) || BLOCK_MARK.starts_with(input);
    Ok(if begun { Parsed::More } else { Parsed::Absent })
}

fn parse_line(input: &[u8]) -> Result<Parsed, Fault> {
    // The CR stands at the last byte but one, at the latest.
    let room = input.get(..LINE_BYTES_MAX - 1).unwrap_or(input);
    let Some(end) = room.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
        let full = room.len() == LINE_BYTES_MAX - 1;
        return if full { Err(Fault::ProxyHeaderTooLong) } else { Ok(Parsed::More) };
    };
    match input.get(end..end + 2) {
        Some(b"\r\n") => {}
        None if input.get(end) == Some(&b'\r') => return Ok(Parsed::More),
        _ => return Err(Fault::BadProxyHeader),
    }
    let line = input.get(LINE_MARK.len()..end).unwrap_or_default();
    let used = end + 2;
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Parsed::Done { used, source: None, destination: None });
    }
    let (source, destination) = line_addresses(line).ok_or(Fault::BadProxyHeader)?;
    Ok(Parsed::Done { used, source: Some(source), destination: Some(destination) })
}

/// `TCP4|TCP6 source destination source-port destination-port`, one space each.
fn line_addresses(line: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = core::str::from_utf8(line).ok()?.split(' ');
    let address = match words.next()? {
        "TCP4" => |word: &str| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word: &str| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (address(words.next()?)?, address(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    let whole = words.next().is_none();
    whole.then(|| (SocketAddr::new(source, from), SocketAddr::new(destination, to)))
}

/// Decimal without sign or leading zero.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn parse_block(input: &[u8]) -> Result<Parsed, Fault> {
    let Some(&command) = input.get(12) else { return Ok(Parsed::More) };
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault::BadProxyHeader),
    };
    let Some(&family) = input.get(13) else { return Ok(Parsed::More) };
    // What a LOCAL header says beside its length is to be ignored, the family included.
    let room = if local { 0 } else { address_bytes(family)? };
    let Some(&[high, low]) = input.get(14..BLOCK_HEAD_BYTES) else { return Ok(Parsed::More) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let used = BLOCK_HEAD_BYTES + len;
    if len < room {
        return Err(Fault::BadProxyHeader);
    }
    if used > BYTES_MAX {
        return Err(Fault::ProxyHeaderTooLong);
    }
    let Some(block) = input.get(..used) else { return Ok(Parsed::More) };
    // Of UNSPEC nobody knows how long its addresses are, so nothing behind them can be read.
    if room > 0 {
        check_tlvs(block, BLOCK_HEAD_BYTES + room)?;
    }
    let body = block.get(BLOCK_HEAD_BYTES..).unwrap_or_default();
    let addresses = match (local, family) {
        (false, 0x11) => inet(body),
        (false, 0x21) => inet6(body),
        _ => None,
    };
    let (source, destination) = addresses.unzip();
    Ok(Parsed::Done { used, source, destination })
}

/// How many bytes the addresses of a family take; the lower half of the byte is the transport.
fn address_bytes(family: u8) -> Result<usize, Fault> {
    match (family >> 4, family & 15) {
        (_, 3..) => Err(Fault::BadProxyHeader),
        (0, _) => Ok(0),
        (1, _) => Ok(12),
        (2, _) => Ok(36),
        (3, _) => Ok(216),
        _ => Err(Fault::BadProxyHeader),
    }
}

fn inet(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (from, to) = ports(rest)?;
    Some((SocketAddr::new((*source).into(), from), SocketAddr::new((*destination).into(), to)))
}

fn inet6(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (from, to) = ports(rest)?;
    Some((SocketAddr::new((*source).into(), from), SocketAddr::new((*destination).into(), to)))
}

fn ports(rest: &[u8]) -> Option<(u16, u16)> {
    let (from, rest) = rest.split_first_chunk()?;
    let to = rest.first_chunk()?;
    Some((u16::from_be_bytes(*from), u16::from_be_bytes(*to)))
}

const TLV_CRC32C: u8 = 0x03;
const TLV_NOOP: u8 = 0x04;
const TLV_UNIQUE_ID: u8 = 0x05;
const TLV_SSL: u8 = 0x20;

/// The TLVs from `at` on fill the block exactly; none but padding comes twice.
fn check_tlvs(block: &[u8], mut at: usize) -> Result<(), Fault> {
    let mut seen = [false; 256];
    while let Some(rest) = block.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(&[kind, high, low]) = rest.first_chunk() else {
            return Err(Fault::BadProxyHeader);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(3..3 + len).ok_or(Fault::BadProxyHeader)?;
        let slot = seen.get_mut(usize::from(kind));
        let again = slot.is_some_and(|seen| core::mem::replace(seen, true));
        let sound = match kind {
            TLV_CRC32C => value == checksum(block, at + 3).to_be_bytes(),
            TLV_UNIQUE_ID => len <= 128,
            TLV_SSL => len >= 5,
            _ => true,
        };
        if !sound || (again && kind != TLV_NOOP) {
            return Err(Fault::BadProxyHeader);
        }
        at += 3 + len;
    }
    Ok(())
}

static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// CRC-32C of the block with the four bytes at `at` taken as zero.
fn checksum(block: &[u8], at: usize) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(block.get(..at).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(block.get(at + 4..).unwrap_or_default());
    digest.finalize()
}

/// Appends a v1 line; `UNKNOWN` when an address is absent or the families differ. IPv4 addresses
/// in IPv6 clothes (`::ffff:0:0/96`) are written as what they are.
pub fn write_v1(source: Option<SocketAddr>, destination: Option<SocketAddr>, out: &mut Vec<u8>) {
    let Some((source, destination)) = pair(source, destination) else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    // Writing to a Vec cannot fail.
    let _ = write!(out, "PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip());
}

/// Appends a v2 header without TLVs; `LOCAL` when an address is absent or the families differ.
/// IPv4 addresses as in [`write_v1`].
pub fn write_v2(source: Option<SocketAddr>, destination: Option<SocketAddr>, out: &mut Vec<u8>) {
    out.extend_from_slice(BLOCK_MARK);
    let Some((source, destination)) = pair(source, destination) else {
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return;
    };
    out.extend_from_slice(if source.is_ipv4() {
        &[0x21, 0x11, 0, 12]
    } else {
        &[0x21, 0x21, 0, 36]
    });
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

/// Both addresses, if they are there and of one family.
fn pair(
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
) -> Option<(SocketAddr, SocketAddr)> {
    let (source, destination) = (canonical(source?), canonical(destination?));
    (source.is_ipv4() == destination.is_ipv4()).then_some((source, destination))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The first bytes of a connection: cuts change nothing, and what was read can be written.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_proxy(data: &[u8]) {
    let whole = parse(data);
    for (end, _) in data.iter().enumerate().take(300) {
        let (part, _) = data.split_at(end);
        let said = parse(part);
        assert!(said == Ok(Parsed::More) || said == whole, "H1: cut at {end}");
    }
    let Ok(Parsed::Done { used, source, destination }) = whole else { return };
    assert!(used <= data.len() && used <= BYTES_MAX, "H3: {used} bytes");
    assert_eq!(parse(data.split_at(used).0), whole, "H1: it looked beyond its end");
    assert_eq!(source.is_some(), destination.is_some());
    let kept = pair(source, destination).unzip();
    for write in [write_v1, write_v2] {
        let mut out = Vec::new();
        write(source, destination, &mut out);
        let read = Parsed::Done { used: out.len(), source: kept.0, destination: kept.1 };
        assert_eq!(parse(&out), Ok(read), "what was written");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pair::every_cut;

    const VECTORS: [&str; 5] = [
        include_str!("../testdata/proxy_v1_tcp4.hex"),
        include_str!("../testdata/proxy_v1_unknown.hex"),
        include_str!("../testdata/proxy_v2_local.hex"),
        include_str!("../testdata/proxy_v2_tcp4.hex"),
        include_str!("../testdata/proxy_v2_tcp6_alpn_authority_crc32c.hex"),
    ];

    /// The bytes of a vector: hex lines, `#` before remarks.
    fn bytes(vector: &str) -> Vec<u8> {
        let lines = vector.lines().filter(|line| !line.starts_with('#'));
        let digits: Vec<u8> = lines.flat_map(|line| line.trim().bytes()).collect();
        let text = |pair: &[u8]| String::from_utf8(pair.to_vec()).unwrap();
        digits.chunks(2).map(|pair| u8::from_str_radix(&text(pair), 16).unwrap()).collect()
    }

    /// The outcome when `input` comes in pieces and more follows it.
    fn outcome(input: &[u8]) -> Result<Parsed, Fault> {
        every_cut(input, |pieces| {
            let mut held = Vec::new();
            for piece in pieces {
                held.extend_from_slice(piece);
                let said = parse(&held);
                if said != Ok(Parsed::More) {
                    return said;
                }
            }
            parse(&held)
        })
    }

    fn done(used: usize, addresses: Option<(&str, &str)>) -> Result<Parsed, Fault> {
        let (source, destination) =
            addresses.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap())).unzip();
        Ok(Parsed::Done { used, source, destination })
    }

    /// A v2 block with that command, family and body.
    fn block(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [BLOCK_MARK, &[command, family], &len, body].concat()
    }

    /// A TCP4 block with these TLVs.
    fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
        block(0x21, 0x11, &[&[1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2], tlvs].concat())
    }

    #[test]
    fn vectors() {
        let tcp4 = Some(("192.168.0.1:56324", "192.168.0.11:443"));
        let wanted = [tcp4, None, None, tcp4, Some(("[::1]:1234", "[::2]:443"))];
        for (vector, want) in VECTORS.iter().zip(wanted) {
            let input = bytes(vector);
            assert_eq!(outcome(&input), done(input.len(), want), "{vector}");
            let more = [&input, b"GET / HTTP/1.1\r\n".as_slice()].concat();
            assert_eq!(outcome(&more), done(input.len(), want), "{vector}");
        }
    }

    #[test]
    fn a_flipped_bit_fails_the_checksum() {
        let input = bytes(VECTORS[4]);
        for at in BLOCK_HEAD_BYTES..input.len() {
            let mut input = input.clone();
            input[at] ^= 1;
            assert_eq!(parse(&input), Err(Fault::BadProxyHeader), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_header_shows_at_its_first_differing_byte() {
        for (input, at) in [
            (&b"GET / HTTP/1.1"[..], 1),
            (b"POST / HTTP/1.1", 2),
            (b"PRI * HTTP/2.0", 3),
            (b"PROPFIND / HTTP/1.1", 4),
            (b"PROXYTCP4", 6),
            (b"proxy TCP4", 1),
            (b"\x16\x03\x01", 1),
            (b"\r\nGET", 3),
            (b"\r\n\r\n\0\r\nQUIT\r", 12),
        ] {
            assert_eq!(parse(&input[..at - 1]), Ok(Parsed::More), "{}", input.escape_ascii());
            assert_eq!(parse(&input[..at]), Ok(Parsed::Absent), "{}", input.escape_ascii());
            assert_eq!(parse(input), Ok(Parsed::Absent), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn lines_taken() {
        let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("TCP6 {long} {long} 65535 65535");
        let address = format!("[{long}]:65535");
        let unknown = format!("UNKNOWN {}", "x".repeat(107 - 16));
        for (line, want) in [
            ("TCP4 1.2.3.4 255.255.255.255 0 65535", Some(("1.2.3.4:0", "255.255.255.255:65535"))),
            (
                "TCP6 2001:DB8::1 ::ffff:1.2.3.4 1 2",
                Some(("[2001:db8::1]:1", "[::ffff:1.2.3.4]:2")),
            ),
            (&line, Some((&address, &address))),
            ("UNKNOWN", None),
            ("UNKNOWN ff:ff \0 whatever", None),
            (&unknown, None),
        ] {
            let input = format!("PROXY {line}\r\n");
            assert_eq!(outcome(input.as_bytes()), done(input.len(), want), "{line}");
        }
    }

    #[test]
    fn lines_refused() {
        for line in [
            "TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "TCP4 1.2.3.4 1.2.3.4 1 2\rx",
            "TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
            "TCP4 1.2.3.4 1.2.3.256 1 2\r\n",
            "TCP4 1.2.3 1.2.3.4 1 2\r\n",
            "TCP4 ::1 ::2 1 2\r\n",
            "TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            "TCP4 1.2.3.4 1.2.3.4  2\r\n",
            "TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
            "TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "TCP6 [::1] [::2] 1 2\r\n",
            "TCP6 fe80::1%1 ::2 1 2\r\n",
            "UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "UNKNOWNS\r\n",
            "unknown\r\n",
            "\r\n",
            " TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "/ HTTP/1.1\r\n",
        ] {
            let input = format!("PROXY {line}");
            assert_eq!(outcome(input.as_bytes()), Err(Fault::BadProxyHeader), "{line}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
        assert_eq!(outcome(long.as_bytes()), Err(Fault::ProxyHeaderTooLong));
        assert_eq!(parse(&long.as_bytes()[..105]), Ok(Parsed::More));
        assert_eq!(parse(&long.as_bytes()[..106]), Err(Fault::ProxyHeaderTooLong));
    }

    #[test]
    fn blocks_that_name_no_addresses() {
        for input in [
            block(0x20, 0, b""),
            // LOCAL: the rest is skipped, whatever it is.
            block(0x20, 0xff, b"junk"),
            block(0x20, 0x11, &[1; 12]),
            block(0x21, 0x00, b""),
            block(0x21, 0x00, b"junk"),
            block(0x21, 0x12, &[1; 12]),
            block(0x21, 0x10, &[1; 12]),
            block(0x21, 0x31, &[b'a'; 216]),
        ] {
            assert_eq!(outcome(&input), done(input.len(), None), "{input:?}");
        }
    }

    #[test]
    fn blocks_refused() {
        for input in [
            block(0x11, 0x11, &[1; 12]),
            block(0x31, 0x11, &[1; 12]),
            block(0x22, 0x11, &[1; 12]),
            block(0x21, 0x13, &[1; 12]),
            block(0x21, 0x41, &[1; 216]),
            block(0x21, 0x11, &[1; 11]),
            block(0x21, 0x21, &[1; 35]),
            block(0x21, 0x31, &[1; 215]),
        ] {
            assert_eq!(outcome(&input), Err(Fault::BadProxyHeader), "{input:?}");
        }
    }

    #[test]
    fn blocks_at_the_limit() {
        let room = BYTES_MAX - BLOCK_HEAD_BYTES - 12;
        let tlv = |len: usize| {
            let value = len - 3;
            [&[TLV_NOOP, (value >> 8) as u8, value as u8], vec![0; value].as_slice()].concat()
        };
        let input = with_tlvs(&tlv(room));
        let addresses = Some(("1.2.3.4:1", "5.6.7.8:2"));
        assert_eq!(parse(&input), done(BYTES_MAX, addresses));
        let long = with_tlvs(&tlv(room + 1));
        assert_eq!(parse(&long), Err(Fault::ProxyHeaderTooLong));
        // Refused by its length, before it has come.
        assert_eq!(parse(&long[..BLOCK_HEAD_BYTES]), Err(Fault::ProxyHeaderTooLong));
        assert_eq!(parse(&block(0x20, 0, &[0; 65_535])), Err(Fault::ProxyHeaderTooLong));
    }

    #[test]
    fn tlvs() {
        let addresses = Some(("1.2.3.4:1", "5.6.7.8:2"));
        for good in [
            &b"\x01\0\x02h2"[..],
            b"\x04\0\0\x04\0\x01x",
            b"\xe0\0\0\xe1\0\0",
            b"\x20\0\x05\0\0\0\0\0",
        ] {
            let input = with_tlvs(good);
            assert_eq!(outcome(&input), done(input.len(), addresses), "{good:?}");
        }
        for bad in [
            &b"\x01"[..],
            b"\x01\0",
            b"\x01\0\x02h",
            b"\x01\xff\xffh2",
            b"\x01\0\x02h2\x01\0\x02h2",
            b"\xe0\0\0\xe0\0\0",
            b"\x03\0\0",
            b"\x03\0\x03\0\0\0",
            b"\x03\0\x04\0\0\0\0",
            b"\x20\0\x04\0\0\0\0",
            &[&b"\x05\0\x81"[..], &[0; 129]].concat(),
        ] {
            assert_eq!(outcome(&with_tlvs(bad)), Err(Fault::BadProxyHeader), "{bad:?}");
        }
    }

    #[test]
    fn what_is_written() {
        let address = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let (four, six) = (address("192.168.0.1:56324"), address("[::1]:1234"));
        let text = |source, destination| {
            let mut out = Vec::new();
            write_v1(source, destination, &mut out);
            String::from_utf8(out).unwrap()
        };
        let bytes_of = |source, destination| {
            let mut out = Vec::new();
            write_v2(source, destination, &mut out);
            out
        };
        let to = address("192.168.0.11:443");
        assert_eq!(text(four, to).as_bytes(), bytes(VECTORS[0]));
        assert_eq!(bytes_of(four, to), bytes(VECTORS[3]));
        assert_eq!(text(address("[::ffff:192.168.0.1]:56324"), to).as_bytes(), bytes(VECTORS[0]));
        assert_eq!(text(six, six), "PROXY TCP6 ::1 ::1 1234 1234\r\n");
        for (source, destination) in [(None, to), (four, None), (None, None), (four, six)] {
            assert_eq!(text(source, destination).as_bytes(), bytes(VECTORS[1]));
            assert_eq!(bytes_of(source, destination), bytes(VECTORS[2]));
        }
    }

    fn addresses() -> impl Strategy<Value = Option<SocketAddr>> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            any::<[u8; 4]>().prop_map(|four| Ipv4Addr::from(four).to_ipv6_mapped().into()),
        ];
        prop::option::weighted(0.9, (address, any::<u16>()).prop_map(SocketAddr::from))
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_written_is_read(source in addresses(), destination in addresses()) {
            for write in [write_v1, write_v2] {
                let mut out = Vec::new();
                write(source, destination, &mut out);
                let (source, destination) = pair(source, destination).unzip();
                let want = Parsed::Done { used: out.len(), source, destination };
                prop_assert_eq!(outcome(&out), Ok(want));
                fuzz_proxy(&out);
            }
        }

        #[test]
        fn mutated_headers_hold_the_invariants(
            which in 0usize..5,
            at: prop::sample::Index,
            byte: u8,
            more in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut input = bytes(VECTORS[which]);
            let at = at.index(input.len());
            input[at] = byte;
            fuzz_proxy(&input);
            input.extend_from_slice(&more);
            fuzz_proxy(&input);
        }

        #[test]
        fn blocks_of_any_bytes_hold_the_invariants(
            command in 0x1f_u8..0x23,
            family: u8,
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            fuzz_proxy(&block(command, family, &body));
            fuzz_proxy(&with_tlvs(&body));
        }
    }
}
