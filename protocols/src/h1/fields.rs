//! What the fields of a head mean for the connection: framing, persistence, Host.
//!
//! The smuggling rules live here, in one place (RFC 9112 §6.3, protocols.md 5.1): whatever two
//! parsers could read as different lengths is refused, never repaired. A value is looked at once,
//! while the head is loaded.

use super::parse::Asked;
use super::target::is_authority;
use crate::error::Fault;
use crate::head::{Length, is_protected, is_tchar, list, trim};
use crate::name::Name;
use crate::spec::WireSpec;
use crate::wire::Role;

/// What follows a head on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// So many bytes, more than 0.
    Exact(u64),
    /// Chunks.
    Chunked,
    /// Everything up to the connection's end.
    Close,
    /// A 101, or a request for one.
    Tunnel,
}

/// What a wire must know of a head it read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// For `Head::length`.
    pub(super) length: Length,
    /// What comes next.
    pub(super) body: Body,
    /// The connection may serve another message after this one.
    pub(super) keep: bool,
    /// The message is HTTP/1.0.
    pub(super) http10: bool,
    /// The method is HEAD.
    pub(super) is_head: bool,
    /// The client waits for a 100.
    pub(super) expects: bool,
    /// An expectation in HTTP/1.0 or without content, which must not be forwarded
    /// (RFC 9110 §10.1.1).
    pub(super) ignored_expectation: bool,
    /// Connection lists names of fields, which may also stand in the trailer section.
    pub(super) lists_fields: bool,
    /// Keep-Alive's `timeout`, in seconds.
    pub(super) timeout_secs: Option<u16>,
}

/// More options than this in Connection fields is an attack on whoever removes what they list.
const CONNECTION_OPTIONS_MAX: u8 = 32;

/// The transfer codings seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    /// `chunked`, alone and last.
    Chunked,
    /// Others only.
    Other,
    /// Others, then `chunked`.
    OtherChunked,
}

/// Collects what the fields of one head say.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    role: Role,
    http10: bool,
    hosts: u8,
    host: &'a [u8],
    length: Option<u64>,
    coding: Coding,
    options: u8,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    lists_fields: bool,
    upgrade: bool,
    expects: bool,
    timeout_secs: Option<u16>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(role: Role, minor: u8) -> Fields<'a> {
        Fields {
            role,
            http10: minor == 0,
            hosts: 0,
            host: b"",
            length: None,
            coding: Coding::None,
            options: 0,
            close: false,
            keep_alive: false,
            upgrade_option: false,
            lists_fields: false,
            upgrade: false,
            expects: false,
            timeout_secs: None,
        }
    }

    /// Looks at a name that is not well known.
    #[inline]
    pub(super) fn see_other(&self, name: &[u8]) -> Result<(), Fault> {
        let disguised = self.role == Role::Server && is_disguised(name);
        if disguised { Err(Fault::BadFieldName) } else { Ok(()) }
    }

    /// Takes note of one field.
    #[inline]
    pub(super) fn see(&mut self, name: Name, value: &'a [u8]) -> Result<(), Fault> {
        match name {
            Name::Host => {
                self.hosts = self.hosts.saturating_add(1);
                self.host = value;
            }
            Name::ContentLength => self.content_length(value)?,
            Name::TransferEncoding => self.transfer_encoding(value)?,
            Name::Connection => self.connection(value)?,
            Name::Upgrade => self.upgrade(value),
            Name::Expect if self.role == Role::Server => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Fault::BadExpectation);
                }
                self.expects = true;
            }
            Name::KeepAlive => self.timeout_secs = timeout(value).or(self.timeout_secs),
            _ => {}
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() || value.contains(&b',') {
            return Err(Fault::DuplicateContentLength);
        }
        self.length = Some(decimal(value).ok_or(Fault::BadContentLength)?);
        Ok(())
    }

    /// Elements are compared whole: `xchunked`, `chunked;q=1` and a vertical tab before the word
    /// are other codings, or no tokens at all.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        for coding in value.split(|&b| b == b',').map(trim) {
            if coding.is_empty() || !coding.iter().all(|&b| is_tchar(b)) {
                return Err(Fault::BadTransferEncoding);
            }
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = match (self.coding, chunked) {
                (Coding::None, true) => Coding::Chunked,
                (Coding::Other, true) => Coding::OtherChunked,
                (Coding::None | Coding::Other, false) => Coding::Other,
                // Nothing may follow `chunked`.
                _ => return Err(Fault::BadTransferEncoding),
            };
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Fault> {
        for option in list(value) {
            self.options = self.options.saturating_add(1);
            if self.options > CONNECTION_OPTIONS_MAX {
                return Err(Fault::BadConnection);
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_option = true;
            } else if self.role == Role::Server && is_protected(option) {
                return Err(Fault::BadConnection);
            } else {
                self.lists_fields |= !option.eq_ignore_ascii_case(b"te");
            }
        }
        Ok(())
    }

    /// `h2c` is never forwarded: an upstream that took it would speak past this gateway.
    fn upgrade(&mut self, value: &[u8]) {
        let h2c = list(value).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
        self.upgrade = !h2c && list(value).next().is_some();
    }

    /// RFC 9112 §9.3.
    fn keep(&self) -> bool {
        !self.close && (!self.http10 || self.keep_alive)
    }

    /// Transfer-Encoding against Content-Length and version; whether the body is chunked.
    fn chunked(&self) -> Result<bool, Fault> {
        if self.coding == Coding::None {
            return Ok(false);
        }
        if self.length.is_some() {
            return Err(Fault::LengthConflict);
        }
        if self.http10 {
            return Err(Fault::TransferEncodingInHttp10);
        }
        match self.coding {
            Coding::Chunked => Ok(true),
            Coding::OtherChunked => Err(Fault::UnknownCoding),
            Coding::None | Coding::Other => Err(Fault::BadTransferEncoding),
        }
    }

    /// The verdict on a request.
    pub(super) fn request(&self, spec: &WireSpec, is_head: bool) -> Result<Facts, Fault> {
        let (mut length, mut body) = match (self.chunked()?, self.length) {
            (true, _) => (Length::Unknown, Body::Chunked),
            (false, Some(0)) => (Length::Exact(0), Body::None),
            (false, Some(len)) => (Length::Exact(len), Body::Exact(check_body(len, spec)?)),
            (false, None) => (Length::Empty, Body::None),
        };
        // RFC 9110 §7.8: not from HTTP/1.0; a body would leave two readings of what follows it.
        if self.upgrade && self.upgrade_option && !self.http10 && body == Body::None {
            (length, body) = (Length::Tunnel, Body::Tunnel);
        }
        Ok(Facts {
            length,
            body,
            keep: self.keep(),
            http10: self.http10,
            is_head,
            expects: self.expects && !self.http10 && body != Body::None,
            ignored_expectation: self.expects && (self.http10 || body == Body::None),
            lists_fields: self.lists_fields,
            timeout_secs: None,
        })
    }

    /// The verdict on a reply (RFC 9112 §6.3, in its order).
    pub(super) fn reply(&self, spec: &WireSpec, code: u16, asked: Asked) -> Result<Facts, Fault> {
        let chunked = self.chunked()?;
        let informative = match (chunked, self.length) {
            (true, _) => Length::Unknown,
            (false, Some(len)) => Length::Exact(len),
            (false, None) if code == 304 => Length::Empty,
            (false, None) => Length::Unknown,
        };
        let (length, body) = match code {
            101 if asked.tunnel => (Length::Tunnel, Body::Tunnel),
            101 => return Err(Fault::UnexpectedUpgrade),
            100..=199 | 204 => (Length::Empty, Body::None),
            304 => (informative, Body::None),
            _ if asked.head => (informative, Body::None),
            _ => match informative {
                Length::Exact(0) => (informative, Body::None),
                Length::Exact(len) => (informative, Body::Exact(check_body(len, spec)?)),
                _ if chunked => (informative, Body::Chunked),
                _ => (informative, Body::Close),
            },
        };
        Ok(Facts {
            length,
            body,
            keep: self.keep() && body != Body::Close,
            http10: self.http10,
            is_head: false,
            expects: false,
            ignored_expectation: false,
            lists_fields: self.lists_fields,
            timeout_secs: self.timeout_secs,
        })
    }

    /// Host as the authority of an origin-form request: exactly one, and valid; HTTP/1.0 may have
    /// none (RFC 9112 §3.2).
    pub(super) fn authority(&self) -> Result<&'a [u8], Fault> {
        match self.hosts {
            0 if self.http10 => Ok(b""),
            0 => Err(Fault::MissingHost),
            1 if is_authority(self.host) => Ok(self.host),
            1 => Err(Fault::BadHost),
            _ => Err(Fault::DuplicateHost),
        }
    }

    /// Host beside an absolute target: overridden, but still one and valid, or empty.
    pub(super) fn check_host(&self) -> Result<(), Fault> {
        if self.hosts == 1 && self.host.is_empty() { Ok(()) } else { self.authority().map(drop) }
    }
}

/// Whether a name would be one that the gateway answers for if its `_` were `-`. Servers that hand
/// fields to programs as variables (RFC 3875 §4.1.18) make one name of both, so that
/// `X_Forwarded_For` would speak for the gateway and `Transfer_Encoding` for the framing.
pub(crate) fn is_disguised(name: &[u8]) -> bool {
    // Longer than the longest such name, and than the start that X-Forwarded names share.
    let mut plain = [0; 32];
    if !name.contains(&b'_') {
        return false;
    }
    for (to, &from) in plain.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    let plain = plain.get(..name.len()).unwrap_or(&plain);
    let known = Name::find(plain);
    is_protected(plain) || known.is_framing() || known.is_connection_level()
}

fn check_body(len: u64, spec: &WireSpec) -> Result<u64, Fault> {
    if spec.body_bytes_max.is_some_and(|max| len > max) {
        Err(Fault::BodyTooLarge)
    } else {
        Ok(len)
    }
}

/// 1*DIGIT up to 2^63 - 1, nothing else.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    // 2^63 - 1 has 19 digits, which cannot overflow a u64; leading zeros are digits too.
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().fold(0u64, |number, &d| number * 10 + u64::from(d - b'0'));
    (number <= i64::MAX as u64).then_some(number)
}

/// Keep-Alive: `timeout=N`.
fn timeout(value: &[u8]) -> Option<u16> {
    list(value).find_map(|parameter| {
        let secs = parameter.strip_prefix(b"timeout=")?;
        decimal(secs).map(|secs| u16::try_from(secs).unwrap_or(u16::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"9223372036854775807"), Some(i64::MAX as u64));
        for bad in ["", "+1", "-1", " 1", "1 ", "0x1", "1,1", "1.0", "9223372036854775808", "1e3"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(decimal(&[b'9'; 20]), None);
        assert_eq!(decimal(&[b'9'; 19]), None);
    }

    #[test]
    fn disguises() {
        for name in ["Transfer_Encoding", "content_Length", "X_Forwarded_For", "x-real_ip"] {
            assert!(is_disguised(name.as_bytes()), "{name}");
        }
        let long = format!("X_Forwarded_{}", "a".repeat(100));
        assert!(is_disguised(long.as_bytes()));
        for name in ["Transfer-Encoding", "X_Private", "_", "", "hosts_", "Content_Type"] {
            assert!(!is_disguised(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn keep_alive_timeouts() {
        assert_eq!(timeout(b"timeout=5, max=100"), Some(5));
        assert_eq!(timeout(b"max=1, timeout=99999999999"), Some(u16::MAX));
        assert_eq!(timeout(b"timeout=x"), None);
        assert_eq!(timeout(b"max=1"), None);
    }
}
