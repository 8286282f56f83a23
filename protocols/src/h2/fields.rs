//! Received fields into a `Head`: what HTTP/2 lets a message say (RFC 9113 §8).
//!
//! Fields come one by one out of HPACK and go into the head's arena at once. Everything that one
//! field can show is judged when it comes, the rest in `finish`. What is refused here is what
//! HTTP/1 would refuse too, so that no message changes its meaning on its way to an HTTP/1
//! upstream: names are tokens, values have no control bytes, targets, authorities and lengths are
//! those of `h1`. The first fault is kept and all later fields are decoded for HPACK's sake only,
//! but for the content type of a request, by which its refusal is counted.
//!
//! Cost: one pass over name and value, one copy; cookies in pieces (§8.2.3) are joined in a scratch
//! first, a second copy. Memory is bounded by `head_bytes_max`, which counts as
//! SETTINGS_MAX_HEADER_LIST_SIZE does: 32 bytes a field more than its bytes.

use crate::error::Fault;
use crate::grpc;
use crate::h1::{Target, decimal, forbidden_in_trailers, is_authority, is_disguised, parse_target};
use crate::head::{Head, Length, Span, Version, is_tchar, is_value_byte};
use crate::name::Name;
use crate::spec::WireSpec;

/// What a field block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Request,
    /// Whether the request it answers was HEAD.
    Reply {
        is_head: bool,
    },
    Trailers,
}

/// What the wire must know of a head it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Bytes of content that must follow; `u64::MAX` if that is not known.
    pub(super) content: u64,
    /// The method is HEAD.
    pub(super) is_head: bool,
    /// Another head follows.
    pub(super) is_interim: bool,
}

/// RFC 9113 §6.5.2: what a field counts for beside its bytes.
const FIELD_OVERHEAD: usize = 32;
pub(super) const CONTENT_TYPE: &[u8] = b"content-type";
/// A scratch for cookies that is kept: most jars are smaller.
const CRUMBS_BYTES_KEPT: usize = 1024;

/// Pseudo-header fields, one bit each.
const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const AUTHORITY: u8 = 4;
const PATH: u8 = 8;
const STATUS: u8 = 16;

/// Collects one field block.
pub(super) struct Builder<'a> {
    head: &'a mut Head,
    crumbs: &'a mut Vec<u8>,
    spec: &'a WireSpec,
    section: Section,
    fault: Option<Fault>,
    list_bytes: usize,
    count: usize,
    /// The pseudo-header fields that came, and whether a field came after them.
    pseudo: u8,
    regular: bool,
    method: Span,
    path: Span,
    authority: Span,
    host: Option<Span>,
    length: Option<u64>,
    status: u16,
    https: bool,
    has_cookie: bool,
    cookie_is_secret: bool,
    expects: bool,
}

impl<'a> Builder<'a> {
    /// `crumbs` is an empty scratch.
    pub(super) fn new(
        section: Section,
        spec: &'a WireSpec,
        head: &'a mut Head,
        crumbs: &'a mut Vec<u8>,
    ) -> Builder<'a> {
        Builder {
            head,
            crumbs,
            spec,
            section,
            fault: None,
            list_bytes: 0,
            count: 0,
            pseudo: 0,
            regular: false,
            method: Span::default(),
            path: Span::default(),
            authority: Span::default(),
            host: None,
            length: None,
            status: 0,
            https: false,
            has_cookie: false,
            cookie_is_secret: false,
            expects: false,
        }
    }

    /// Takes the next field. False once there is no point in going on.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8], secret: bool) -> bool {
        if self.fault.is_some() {
            return self.is_request() && self.pass(name, value);
        }
        self.fault = self.take(name, value, secret).err();
        self.fault.is_none() || self.is_request()
    }

    /// Of a request that is refused anyway it is still told whether it is a call of gRPC.
    fn pass(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name != CONTENT_TYPE {
            return true;
        }
        if grpc::is_content_type(value) {
            self.head.load_pair(Name::ContentType, name, grpc::CONTENT_TYPE, false);
        }
        false
    }

    fn is_request(&self) -> bool {
        self.section == Section::Request
    }

    fn take(&mut self, name: &[u8], value: &[u8], secret: bool) -> Result<(), Fault> {
        self.measure(name, value)?;
        check_value(value)?;
        match name.split_first() {
            Some((b':', pseudo)) => self.pseudo(pseudo, value),
            Some(_) => {
                self.regular = true;
                self.regular(name, value, secret)
            }
            None => Err(Fault::BadFieldName),
        }
    }

    fn measure(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        let len = name.len() + value.len();
        self.list_bytes += len + FIELD_OVERHEAD;
        let trailers = self.section == Section::Trailers;
        let (bytes_max, fault) = if trailers {
            (self.spec.trailer_bytes_max, Fault::TrailerTooLarge)
        } else {
            (self.spec.head_bytes_max, Fault::HeadTooLarge)
        };
        if self.list_bytes > bytes_max as usize {
            return Err(fault);
        }
        if name == b":path" && value.len() > self.spec.target_bytes_max as usize {
            return Err(Fault::TargetTooLong);
        }
        if len > self.spec.line_bytes_max as usize || name.len() > usize::from(u16::MAX) {
            return Err(Fault::FieldTooLong);
        }
        Ok(())
    }

    /// RFC 9113 §8.3.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        let request = self.is_request();
        let bit = match name {
            b"method" if request => METHOD,
            b"scheme" if request => SCHEME,
            b"authority" if request => AUTHORITY,
            b"path" if request => PATH,
            b"status" if matches!(self.section, Section::Reply { .. }) => STATUS,
            _ => return Err(Fault::BadPseudoField),
        };
        if self.pseudo & bit != 0 {
            return Err(Fault::DuplicatePseudoField);
        }
        if self.regular {
            return Err(Fault::BadPseudoField);
        }
        self.pseudo |= bit;
        match bit {
            METHOD if value.is_empty() || !value.iter().all(|&b| is_tchar(b)) => {
                return Err(Fault::BadMethod);
            }
            METHOD => self.method = self.head.load_part(value),
            SCHEME => self.https = is_https(value)?,
            AUTHORITY if !is_authority(value) => return Err(Fault::BadHost),
            AUTHORITY => self.authority = self.head.load_part(value),
            PATH => self.path = self.head.load_part(value),
            _ => self.status = status(value)?,
        }
        Ok(())
    }

    fn regular(&mut self, text: &[u8], value: &[u8], secret: bool) -> Result<(), Fault> {
        if !text.iter().all(|&b| is_tchar(b) && !b.is_ascii_uppercase()) {
            return Err(Fault::BadFieldName);
        }
        let name = Name::find(text);
        self.see(name, text, value)?;
        if self.section == Section::Trailers {
            if forbidden_in_trailers(text) {
                return Ok(());
            }
        } else if name.is_framing() {
            return Ok(());
        } else if name == Name::Cookie && self.is_request() {
            return self.crumb(value, secret);
        }
        self.counted()?;
        self.head.load_pair(name, text, value, secret);
        Ok(())
    }

    /// One more field that is kept. The pieces of a cookie count as one, as they do in HTTP/1.
    fn counted(&mut self) -> Result<(), Fault> {
        self.count += 1;
        let (max, fault) = if self.section == Section::Trailers {
            (self.spec.trailer_fields_limit(), Fault::TrailerTooLarge)
        } else {
            (self.spec.fields_limit(), Fault::TooManyFields)
        };
        if self.count > max { Err(fault) } else { Ok(()) }
    }

    /// Takes note of what one field means for the message.
    fn see(&mut self, name: Name, text: &[u8], value: &[u8]) -> Result<(), Fault> {
        use Name::*;
        match name {
            Connection | KeepAlive | ProxyConnection | TransferEncoding | Upgrade => {
                return Err(Fault::ConnectionField);
            }
            // RFC 9113 §8.2.2: in a request, and to say this.
            Te if self.is_request() && value.eq_ignore_ascii_case(b"trailers") => {}
            Te => return Err(Fault::ConnectionField),
            Other if self.is_request() && is_disguised(text) => return Err(Fault::BadFieldName),
            _ if self.section == Section::Trailers => {}
            Host if self.host.is_some() => return Err(Fault::DuplicateHost),
            Host => self.host = Some(self.head.load_part(value)),
            ContentLength if self.length.is_some() || value.contains(&b',') => {
                return Err(Fault::DuplicateContentLength);
            }
            ContentLength => self.length = Some(decimal(value).ok_or(Fault::BadContentLength)?),
            Expect if self.is_request() => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Fault::BadExpectation);
                }
                self.expects = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9113 §8.2.3.
    fn crumb(&mut self, value: &[u8], secret: bool) -> Result<(), Fault> {
        if self.has_cookie {
            self.crumbs.extend_from_slice(b"; ");
        } else {
            self.has_cookie = true;
            self.counted()?;
        }
        self.crumbs.extend_from_slice(value);
        self.cookie_is_secret |= secret;
        let too_long = self.crumbs.len() + b"cookie".len() > self.spec.line_bytes_max as usize;
        if too_long { Err(Fault::FieldTooLong) } else { Ok(()) }
    }

    /// All fields came; `end` if nothing follows them. The head is complete.
    pub(super) fn finish(mut self, end: bool) -> Result<Facts, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.has_cookie {
            let secret = self.cookie_is_secret;
            self.head.load_pair(Name::Cookie, Name::Cookie.text(), self.crumbs, secret);
        }
        self.head.set_version(Version::Http2);
        match self.section {
            Section::Request => self.request(end),
            Section::Reply { is_head } => self.reply(is_head, end),
            Section::Trailers => Ok(Facts { content: 0, is_head: false, is_interim: false }),
        }
    }

    fn request(&mut self, end: bool) -> Result<Facts, Fault> {
        self.head.load_request(self.method, self.path, Version::Http2);
        if self.head.method() == b"CONNECT" {
            return Err(Fault::ConnectRefused);
        }
        let needed = METHOD | SCHEME | PATH;
        if self.pseudo & needed != needed {
            return Err(Fault::MissingPseudoField);
        }
        match parse_target(self.head.method(), self.head.target())? {
            Target::Origin(_) => {}
            // RFC 9113 §8.3.1: path and query, never a whole URI.
            Target::Absolute { .. } => return Err(Fault::BadTarget),
        }
        self.request_authority()?;
        self.head.set_https(self.https);
        let (length, content) = self.content(end)?;
        self.head.set_length(length);
        if self.expects && content == 0 {
            // RFC 9110 §10.1.1: not without content.
            self.head.remove(b"expect");
        }
        Ok(Facts { content, is_head: self.head.method() == b"HEAD", is_interim: false })
    }

    /// RFC 9113 §8.3.1: Host may stand beside `:authority` if it says the same, or in its place.
    fn request_authority(&mut self) -> Result<(), Fault> {
        let has_authority = self.pseudo & AUTHORITY != 0;
        let Some(host) = self.host else {
            if !has_authority {
                return Err(Fault::MissingHost);
            }
            self.head.load_authority(self.authority);
            return Ok(());
        };
        let host_text = self.head.part(host);
        if !is_authority(host_text) {
            return Err(Fault::BadHost);
        }
        let port: &[u8] = if self.https { b":443" } else { b":80" };
        let authority = self.head.part(self.authority);
        let (one, two) = (without(host_text, port), without(authority, port));
        if has_authority && !one.eq_ignore_ascii_case(two) {
            return Err(Fault::DuplicateHost);
        }
        self.head.load_authority(if has_authority { self.authority } else { host });
        Ok(())
    }

    fn reply(&mut self, is_head: bool, end: bool) -> Result<Facts, Fault> {
        if self.pseudo & STATUS == 0 {
            return Err(Fault::MissingPseudoField);
        }
        self.head.load_reply(self.status, Span::default(), Version::Http2);
        if self.status < 200 {
            // RFC 9113 §8.1: an interim head ends no stream.
            let interim = Facts { content: u64::MAX, is_head: false, is_interim: true };
            return if end { Err(Fault::UnexpectedFrame) } else { Ok(interim) };
        }
        let (length, content) = match self.status {
            204 => (Length::Empty, 0),
            304 => (self.length.map_or(Length::Empty, Length::Exact), 0),
            _ if is_head => (self.length.map_or(Length::Empty, Length::Exact), 0),
            _ => self.content(end)?,
        };
        self.head.set_length(length);
        Ok(Facts { content, is_head: false, is_interim: false })
    }

    /// How long the message is, and how much content must come.
    fn content(&self, end: bool) -> Result<(Length, u64), Fault> {
        let max = self.spec.body_bytes_max.unwrap_or(u64::MAX);
        match (end, self.length) {
            (true, None) => Ok((Length::Empty, 0)),
            (true, Some(0)) => Ok((Length::Exact(0), 0)),
            (true, Some(_)) => Err(Fault::ContentLengthMismatch),
            (false, Some(len)) if len > max => Err(Fault::BodyTooLarge),
            (false, Some(len)) => Ok((Length::Exact(len), len)),
            (false, None) => Ok((Length::Unknown, u64::MAX)),
        }
    }
}

fn without<'a>(authority: &'a [u8], port: &[u8]) -> &'a [u8] {
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Gives a scratch that was used back empty, and small.
pub(super) fn recycle(mut crumbs: Vec<u8>) -> Vec<u8> {
    if crumbs.capacity() > CRUMBS_BYTES_KEPT {
        return Vec::new();
    }
    crumbs.clear();
    crumbs
}

/// RFC 9113 §8.2.1, and no control bytes at all (RFC 9110 §5.5).
fn check_value(value: &[u8]) -> Result<(), Fault> {
    let padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    // No early exit: this way the loop is done in vectors.
    let legal = value.iter().fold(true, |legal, &b| legal & is_value_byte(b));
    if !legal || padded(value.first()) || padded(value.last()) {
        return Err(Fault::BadFieldValue);
    }
    Ok(())
}

fn is_https(scheme: &[u8]) -> Result<bool, Fault> {
    if scheme.eq_ignore_ascii_case(b"https") {
        return Ok(true);
    }
    if scheme.eq_ignore_ascii_case(b"http") { Ok(false) } else { Err(Fault::BadTarget) }
}

/// Three digits from 100 on. HTTP/2 has no 101 (RFC 9113 §8.6).
fn status(value: &[u8]) -> Result<u16, Fault> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
            let status = value.iter().fold(0, |status, &d| status * 10 + u16::from(d - b'0'));
            if status == 101 { Err(Fault::BadStatus) } else { Ok(status) }
        }
        _ => Err(Fault::BadStatus),
    }
}
