//! Heads and trailers, parsed: httparse under a strict layer.
//!
//! The scan has found the section's end before anything here runs, so every section is parsed
//! once and whole. httparse finds the lines and refuses most of what is illegal; this layer adds
//! what httparse tolerates (raw bytes in targets, unknown methods' targets), everything that
//! takes more than one line to see (`fields.rs`), and names what was wrong (`diagnose`).
//!
//! Cost: the block is copied into the head's arena once; nothing else of it is copied, but for a
//! host with capital letters.

use core::mem::MaybeUninit;

use httparse::{Header, ParserConfig};

use super::fields::{Facts, Fields, is_disguised};
use super::target::{self, Target};
use crate::error::Fault;
use crate::head::{Head, Length, Span, Version, is_tchar, is_value_byte};
use crate::name::Name;
use crate::spec::WireSpec;
use crate::wire::Role;

/// What the request was that a reply answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The method was HEAD.
    pub(super) head: bool,
    /// It asked for an upgrade.
    pub(super) tunnel: bool,
}

/// 8 KiB on the stack: its users are not inlined, so that no other decode has it in its frame.
type Table<'a> = [MaybeUninit<Header<'a>>; WireSpec::FIELDS_CAP];

/// Reads a request's head.
#[inline(never)]
pub(super) fn request(block: &[u8], spec: &WireSpec, head: &mut Head) -> Result<Facts, Fault> {
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; WireSpec::FIELDS_CAP];
    let table = table.get_mut(..spec.fields_limit()).unwrap_or_default();
    let mut line = httparse::Request::new(&mut []);
    let status = ParserConfig::default()
        .parse_request_with_uninit_headers(&mut line, block, table)
        .map_err(|error| diagnose(error, block, Role::Server))?;
    let (Some(method), Some(text), Some(minor)) = (line.method, line.path, line.version) else {
        return Err(Fault::BadRequestLine);
    };
    if status != httparse::Status::Complete(block.len()) {
        return Err(Fault::BadRequestLine);
    }
    let (method, text) = (method.as_bytes(), text.as_bytes());
    if method == b"CONNECT" {
        return Err(Fault::ConnectRefused);
    }
    if text.len() > spec.target_bytes_max as usize {
        return Err(Fault::TargetTooLong);
    }
    let target = target::parse(method, text)?;
    head.load(block);
    head.load_request(span(block, method), span(block, text), version(minor));
    let mut fields = Fields::new(Role::Server, minor);
    load(block, line.headers, head, &mut fields)?;
    let facts = fields.request(spec, method == b"HEAD")?;
    point(block, method, target, &fields, head)?;
    head.set_length(facts.length);
    if facts.ignored_expectation {
        head.remove(b"expect");
    }
    Ok(facts)
}

/// Sets target and authority; an absolute target's authority overrides Host (RFC 9112 §3.2.2).
fn point(
    block: &[u8],
    method: &[u8],
    target: Target<'_>,
    fields: &Fields<'_>,
    head: &mut Head,
) -> Result<(), Fault> {
    match target {
        Target::Origin(_) => {
            let host = fields.authority()?;
            head.load_authority(span(block, host));
        }
        Target::Absolute { authority, rest, https } => {
            fields.check_host()?;
            head.load_authority(span(block, authority));
            head.set_https(https);
            match rest.first() {
                Some(b'/') => head.load_target(span(block, rest)),
                // RFC 9112 §3.2.4: the last proxy turns this into the server-wide form.
                None if method == b"OPTIONS" => head.set_target(b"*"),
                None => head.set_target(b"/"),
                Some(_) => head.set_target(&[b"/", rest].concat()),
            }
        }
    }
    Ok(())
}

/// Reads a reply's head.
#[inline(never)]
pub(super) fn reply(
    block: &[u8],
    spec: &WireSpec,
    asked: Asked,
    head: &mut Head,
) -> Result<Facts, Fault> {
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; WireSpec::FIELDS_CAP];
    let table = table.get_mut(..spec.fields_limit()).unwrap_or_default();
    let mut line = httparse::Response::new(&mut []);
    let status = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut line, block, table)
        .map_err(|error| diagnose(error, block, Role::Client))?;
    let (Some(code), Some(minor)) = (line.code, line.version) else {
        return Err(Fault::BadStatusLine);
    };
    if status != httparse::Status::Complete(block.len()) || code < 100 {
        return Err(Fault::BadStatusLine);
    }
    let reason = match line.reason {
        Some(reason) if !reason.is_empty() => reason.as_bytes(),
        _ => reason_of(block),
    };
    head.load(block);
    head.load_reply(code, span(block, reason), version(minor));
    let mut fields = Fields::new(Role::Client, minor);
    load(block, line.headers, head, &mut fields)?;
    let facts = fields.reply(spec, code, asked)?;
    head.set_length(facts.length);
    Ok(facts)
}

/// The reason phrase of a valid status line. httparse checks one that has obs-text, which RFC 9112
/// §4 allows, but gives it as empty.
fn reason_of(block: &[u8]) -> &[u8] {
    let line = block.split(|&byte| byte == b'\r').next().unwrap_or_default();
    // Behind `HTTP/1.1 200 `.
    line.get(13..).unwrap_or_default()
}

/// Reads a trailer section; fields that may not stand there are dropped (RFC 9110 §6.5.1).
pub(super) fn trailers(block: &[u8], spec: &WireSpec, head: &mut Head) -> Result<(), Fault> {
    let mut table = [httparse::EMPTY_HEADER; WireSpec::TRAILER_FIELDS_CAP];
    let table = table.get_mut(..spec.trailer_fields_limit()).unwrap_or_default();
    let headers = match httparse::parse_headers(block, table) {
        Ok(httparse::Status::Complete((len, headers))) if len == block.len() => headers,
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::TrailerTooLarge),
        _ => return Err(Fault::BadTrailer),
    };
    head.load(block);
    for header in headers {
        let (name_at, name, value) = place(block, header)?;
        if !forbidden_in_trailers(header.name.as_bytes()) {
            head.load_field(name_at, name, value);
        }
    }
    head.set_length(Length::Empty);
    Ok(())
}

fn load<'a>(
    block: &[u8],
    headers: &[Header<'a>],
    head: &mut Head,
    fields: &mut Fields<'a>,
) -> Result<(), Fault> {
    for header in headers {
        let (name_at, name_len, value) = place(block, header)?;
        let name = head.load_field(name_at, name_len, value);
        if name == Name::Other {
            fields.see_other(header.name.as_bytes())?;
        }
        fields.see(name, header.value)?;
    }
    Ok(())
}

/// Where a field lies in the block.
fn place(block: &[u8], header: &Header<'_>) -> Result<(usize, u16, Span), Fault> {
    let name = header.name.as_bytes();
    let name_len = u16::try_from(name.len()).map_err(|_| Fault::FieldTooLong)?;
    Ok((offset(block, name), name_len, span(block, header.value)))
}

/// Position of a part of the block in it.
fn offset(block: &[u8], part: &[u8]) -> usize {
    let at = (part.as_ptr() as usize).wrapping_sub(block.as_ptr() as usize);
    debug_assert!(at + part.len() <= block.len(), "a parser returns parts of its input");
    at
}

/// The range of a part of the block; of an empty one, which may lie anywhere, an empty range.
fn span(block: &[u8], part: &[u8]) -> Span {
    if part.is_empty() { Span::default() } else { Span::new(offset(block, part), part.len()) }
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

/// Framing, routing, authentication, request modifiers and content description: a trailer must
/// not change how the head was already acted on.
pub(crate) fn forbidden_in_trailers(name: &[u8]) -> bool {
    use Name::*;
    let known = Name::find(name);
    if known.is_framing() || known.is_connection_level() || crate::head::is_protected(name) {
        return true;
    }
    if is_disguised(name) {
        return true;
    }
    let listed = matches!(
        known,
        Upgrade
            | Trailer
            | ProxyAuthenticate
            | ProxyAuthorization
            | WwwAuthenticate
            | Expect
            | MaxForwards
            | CacheControl
            | Range
            | AcceptRanges
            | Age
            | Date
            | Location
            | RetryAfter
            | Vary
    );
    let starts = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    listed || starts(b"content-") || starts(b"if-")
}

/// Names what httparse refused. Cold: it reads the block again, line by line.
#[cold]
fn diagnose(error: httparse::Error, block: &[u8], role: Role) -> Fault {
    if error == httparse::Error::TooManyHeaders {
        return Fault::TooManyFields;
    }
    let mut lines =
        block.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let start = if role == Role::Server { request_line(first) } else { status_line(first) };
    if let Some(fault) = start {
        return fault;
    }
    let unknown = if role == Role::Server { Fault::BadRequestLine } else { Fault::BadStatusLine };
    lines.take_while(|line| !line.is_empty()).find_map(field_line).unwrap_or(unknown)
}

fn request_line(line: &[u8]) -> Option<Fault> {
    if line.contains(&b'\r') {
        return Some(Fault::BareCr);
    }
    let mut words = line.split(|&b| b == b' ');
    let (method, target, version) = (words.next()?, words.next(), words.next());
    if method.is_empty() || !method.iter().all(|&b| is_tchar(b)) {
        return Some(Fault::BadMethod);
    }
    let (Some(target), Some(version), None) = (target, version, words.next()) else {
        return Some(Fault::BadRequestLine);
    };
    if target.is_empty() {
        return Some(Fault::BadRequestLine);
    }
    if !target.iter().all(|&b| crate::head::is_target_byte(b)) {
        return Some(Fault::BadTarget);
    }
    bad_version(version, Fault::BadRequestLine)
}

fn status_line(line: &[u8]) -> Option<Fault> {
    if line.contains(&b'\r') {
        return Some(Fault::BareCr);
    }
    let (version, rest) = line.split_at_checked(8).unwrap_or((line, b""));
    let version = bad_version(version, Fault::BadStatusLine);
    let digits = rest.get(1..4).is_some_and(|code| code.iter().all(u8::is_ascii_digit));
    let spaced = rest.first() == Some(&b' ') && matches!(rest.get(4), None | Some(b' '));
    let reason = rest.get(4..).unwrap_or_default().iter().all(|&b| is_value_byte(b));
    version.or((!digits || !spaced || !reason).then_some(Fault::BadStatusLine))
}

/// `HTTP/` DIGIT `.` DIGIT of another version is 505, anything else `otherwise`.
fn bad_version(version: &[u8], otherwise: Fault) -> Option<Fault> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(Fault::BadVersion)
        }
        _ => Some(otherwise),
    }
}

fn field_line(line: &[u8]) -> Option<Fault> {
    if line.contains(&b'\r') {
        return Some(Fault::BareCr);
    }
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Some(Fault::ObsFold);
    }
    let colon = line.iter().position(|&b| b == b':');
    let (name, value) = line.split_at_checked(colon.unwrap_or(line.len())).unwrap_or((line, b""));
    if colon.is_none() || name.is_empty() || !name.iter().all(|&b| is_tchar(b)) {
        return Some(Fault::BadFieldName);
    }
    let legal = value.iter().all(|&b| is_value_byte(b));
    (!legal).then_some(Fault::BadFieldValue)
}
