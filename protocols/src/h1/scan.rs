//! Where a section of lines ends: the search that runs once over every byte of a head.
//!
//! A section is a head or a trailer section: lines that end in CRLF, up to an empty one. The scan
//! finds that end, refuses bare LF and enforces the byte limits; it does not look inside lines.
//! It carries its position, so a section that comes a byte at a time costs the same as one that
//! comes at once, and reports the same fault at the same byte however it was cut.
//!
//! Cost: eight bytes a step; nothing is written.

use crate::error::Fault;
use crate::head::is_tchar;
use crate::spec::WireSpec;
use crate::wire::Role;

/// What may be where in a section, and what it is called when it is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    bytes_max: usize,
    line_bytes_max: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Reply,
    Trailers,
}

impl Rules {
    /// The head that a wire in this role receives.
    pub(super) fn head(role: Role, spec: &WireSpec) -> Rules {
        Rules {
            bytes_max: spec.head_bytes_max as usize,
            line_bytes_max: spec.line_bytes_max as usize,
            kind: if role == Role::Server { Kind::Request } else { Kind::Reply },
        }
    }

    /// A trailer section.
    pub(super) fn trailers(spec: &WireSpec) -> Rules {
        Rules {
            bytes_max: spec.trailer_bytes_max as usize,
            line_bytes_max: spec.line_bytes_max as usize,
            kind: Kind::Trailers,
        }
    }

    fn line_too_long(self, first: bool) -> Fault {
        match self.kind {
            Kind::Request if first => Fault::TargetTooLong,
            Kind::Trailers => Fault::TrailerTooLarge,
            _ => Fault::FieldTooLong,
        }
    }

    fn too_large(self) -> Fault {
        if self.kind == Kind::Trailers { Fault::TrailerTooLarge } else { Fault::HeadTooLarge }
    }

    /// The first byte tells at once that this is another protocol. `fresh`: no empty line yet.
    fn check_first(self, byte: u8, fresh: bool) -> Result<(), Fault> {
        match self.kind {
            Kind::Request if is_tchar(byte) || (fresh && byte == b'\r') => Ok(()),
            Kind::Request if byte == b'\n' => Err(Fault::BareLf),
            Kind::Request => Err(Fault::BadRequestLine),
            Kind::Reply if byte != b'H' => Err(Fault::BadStatusLine),
            _ => Ok(()),
        }
    }
}

/// How far a section has been searched. Positions count from the section's first byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Searched up to here.
    at: usize,
    /// The current line began here.
    line_at: usize,
    /// The section proper begins here: 2 after an empty line before a request.
    start: usize,
}

impl Scan {
    /// Where the section proper begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Searches on in `bytes`, which are all bytes of the section so far; the position after its
    /// last CRLF, once there.
    pub(super) fn advance(&mut self, bytes: &[u8], rules: Rules) -> Result<Option<usize>, Fault> {
        let window = bytes.get(..rules.bytes_max).unwrap_or(bytes);
        self.check_first(window, rules)?;
        while let Some(found) = window.get(self.at..).and_then(find_lf) {
            let lf = self.at + found;
            let line = window.get(self.line_at..lf).unwrap_or_default();
            if line.len() > rules.line_bytes_max + 1 {
                return Err(rules.line_too_long(self.line_at == self.start));
            }
            let Some(line) = line.strip_suffix(b"\r") else { return Err(Fault::BareLf) };
            let first = self.line_at == self.start;
            self.at = lf + 1;
            self.line_at = self.at;
            if !line.is_empty() {
                continue;
            }
            if !first || rules.kind == Kind::Trailers {
                return Ok(Some(self.at));
            }
            // RFC 9112 §2.2: one empty line before a request is skipped. A second one, or one
            // before a reply, was refused by its first byte.
            self.start = self.at;
            self.check_first(window, rules)?;
        }
        self.at = window.len();
        if self.at - self.line_at > rules.line_bytes_max + 1 {
            return Err(rules.line_too_long(self.line_at == self.start));
        }
        if window.len() >= rules.bytes_max { Err(rules.too_large()) } else { Ok(None) }
    }

    fn check_first(&self, window: &[u8], rules: Rules) -> Result<(), Fault> {
        match window.get(self.start) {
            Some(&byte) if self.at == self.start => rules.check_first(byte, self.start == 0),
            _ => Ok(()),
        }
    }
}

/// Position of the first LF. Eight bytes a step: in `word ^ LF..LF` the LF bytes are zero, and
/// the lowest byte whose high bit is set in `(x - 01..01) & !x & 80..80` is the first zero.
fn find_lf(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let x = u64::from_le_bytes(*word) ^ (ONES * b'\n' as u64);
        let zeros = x.wrapping_sub(ONES) & !x & (ONES << 7);
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&b| b == b'\n').map(|at| words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans at once and byte by byte; both must agree.
    fn scan(text: &[u8], rules: Rules) -> Result<Option<(usize, usize)>, Fault> {
        let mut whole = Scan::default();
        let at_once = whole.advance(text, rules).map(|end| end.map(|end| (whole.start(), end)));
        let mut slow = Scan::default();
        let mut result = Ok(None);
        for len in 1..=text.len() {
            result = slow.advance(&text[..len], rules).map(|e| e.map(|end| (slow.start(), end)));
            if result != Ok(None) {
                break;
            }
        }
        assert_eq!(at_once, result, "{:?}", String::from_utf8_lossy(text));
        at_once
    }

    fn rules(role: Role) -> Rules {
        let spec = WireSpec { head_bytes_max: 64, line_bytes_max: 20, ..WireSpec::default() };
        Rules::head(role, &spec)
    }

    #[test]
    fn ends_are_found() {
        let server = rules(Role::Server);
        assert_eq!(scan(b"GET /\r\n\r\nrest", server), Ok(Some((0, 9))));
        assert_eq!(scan(b"\r\nGET /\r\na: b\r\n\r\n", server), Ok(Some((2, 17))));
        assert_eq!(scan(b"GET /\r\na: b\r\n", server), Ok(None));
        assert_eq!(scan(b"", server), Ok(None));
        let trailers = Rules::trailers(&WireSpec::default());
        assert_eq!(scan(b"\r\nGET", trailers), Ok(Some((0, 2))));
        assert_eq!(scan(b"a: b\r\n\r\n", trailers), Ok(Some((0, 8))));
    }

    #[test]
    fn faults_do_not_depend_on_cuts() {
        let (server, client) = (rules(Role::Server), rules(Role::Client));
        let lines =
            b"GET /\r\n1234567890\r\n1234567890\r\n1234567890\r\n1234567890\r\n1234567890\r\n";
        for (text, rules, fault) in [
            (&b"GET /\n\n"[..], server, Fault::BareLf),
            (b"\n", server, Fault::BareLf),
            (b"\r\n\r\n", server, Fault::BadRequestLine),
            (b"\x16\x03\x01", server, Fault::BadRequestLine),
            (b"GET /aaaaaaaaaaaaaaaaaaaaaaaaa", server, Fault::TargetTooLong),
            (b"\r\nGET /aaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n", server, Fault::TargetTooLong),
            (b"GET /\r\naaaaaaaaaaaaaaaaaaaaaaaaa\n", server, Fault::FieldTooLong),
            (lines, server, Fault::HeadTooLarge),
            (b"X", client, Fault::BadStatusLine),
            (b"\r\nHTTP", client, Fault::BadStatusLine),
        ] {
            assert_eq!(scan(text, rules), Err(fault), "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_line_may_fill_its_limit() {
        let line = b"GET /bbbbbbbbbbbbbbb\r\n\r\n";
        assert_eq!(line.len(), 24);
        assert_eq!(scan(line, rules(Role::Server)), Ok(Some((0, 24))));
    }

    #[test]
    fn find_lf_equals_the_plain_search() {
        for len in 0..40 {
            for at in 0..=len {
                let mut bytes = vec![0x8a; len];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = b'\n';
                }
                bytes.iter_mut().skip(at + 1).for_each(|b| *b = 0x0b);
                let plain = bytes.iter().position(|&b| b == b'\n');
                assert_eq!(find_lf(&bytes), plain);
            }
        }
    }
}
