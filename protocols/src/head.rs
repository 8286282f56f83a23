//! `Head`: a request's or reply's start line and fields in one arena.
//!
//! A head is plain data without lifetimes: one `Vec` of bytes and ranges into it. A wire copies
//! the bytes of a received head into the arena once, whole, and points at its parts; edits append
//! to the arena and move ranges. Host, Content-Length and Transfer-Encoding are not among the
//! fields: the wire lifts them out into [`Head::authority`] and [`Head::length`] and writes them
//! back when framing.
//!
//! H1 Every range lies within the arena. H2 No stored byte can end a line or a head: what callers
//! hand in is made harmless while it is copied (see [`Head::push`]), what a wire hands in was
//! checked. H3 `clear` keeps the allocations unless they grew beyond what a head needs.
//!
//! Cost: look-up of a well-known name compares one byte a field; of another name, lengths and then
//! bytes. No allocation once recycled.

use crate::error::Fault;
use crate::name::Name;
use crate::path::{self, PathRule};

/// How long the message's body is, as its framing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Length {
    /// No body and no length field.
    Empty,
    /// Content-Length. For a reply without body (HEAD, 304) it is what the body would have had.
    Exact(u64),
    /// Known only at its end: chunked, or up to the connection's end.
    Unknown,
    /// An upgrade: after the heads, bytes both ways.
    Tunnel,
}

/// The protocol version of a received head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// A message of the Thrift family.
    Thrift,
}

/// A range of the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    at: u32,
    len: u32,
}

impl Span {
    pub(crate) fn new(at: usize, len: usize) -> Span {
        Span { at: at as u32, len: len as u32 }
    }
}

/// One field: where its name and value lie.
#[derive(Clone, Copy, Debug)]
struct Field {
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
    name: Name,
    form: Form,
}

/// How a field lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It reads `name: value CRLF` and can be written as it lies.
    Plain,
    /// As `Plain`, and came in HTTP/2 as one that must never be indexed (RFC 7541 §6.2.3).
    Secret,
    /// The space around the value is of another kind.
    Loose,
    /// Marked for removal.
    Dropped,
}

const _: () = assert!(size_of::<Field>() == 16, "four fields a cache line");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fields,
    Request,
    Reply,
}

/// A start line and its fields. See the module doc.
pub struct Head {
    arena: Vec<u8>,
    fields: Vec<Field>,
    /// Method or reason.
    word: Span,
    target: Span,
    /// Position of `?` in the target, or its length.
    query_at: u32,
    authority: Span,
    host: Span,
    length: Length,
    status: u16,
    kind: Kind,
    version: Version,
    https: bool,
}

/// Room for the head of a browser's request with its cookies.
const ARENA_BYTES_FIRST: usize = 1024;
/// Browsers send 12 to 20 fields, proxies add a few.
const FIELDS_FIRST: usize = 32;
/// An arena that grew beyond this is given back by `clear`: 64 recycled heads stay under 1 MiB.
const ARENA_BYTES_KEPT: usize = 8 * 1024;

impl core::fmt::Debug for Head {
    /// Start line and names. Values are left out: they may be credentials.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.kind {
            Kind::Request => {
                let (method, path) = (self.method().escape_ascii(), self.path().escape_ascii());
                write!(f, "{method} {path} @{}", self.authority().escape_ascii())?;
            }
            Kind::Reply => write!(f, "{}", self.status)?,
            Kind::Fields => {}
        }
        write!(f, " {:?}", self.length)?;
        self.fields().try_for_each(|(name, _)| write!(f, " {}", name.escape_ascii()))
    }
}

impl Default for Head {
    fn default() -> Self {
        Head::new()
    }
}

impl Head {
    /// An empty head with room for a usual one.
    pub fn new() -> Head {
        Head {
            arena: Vec::with_capacity(ARENA_BYTES_FIRST),
            fields: Vec::with_capacity(FIELDS_FIRST),
            word: Span::default(),
            target: Span::default(),
            query_at: 0,
            authority: Span::default(),
            host: Span::default(),
            length: Length::Empty,
            status: 0,
            kind: Kind::Fields,
            version: Version::Http11,
            https: false,
        }
    }

    /// Empties the head for its next use.
    pub fn clear(&mut self) {
        if self.arena.capacity() > ARENA_BYTES_KEPT {
            self.arena = Vec::with_capacity(ARENA_BYTES_FIRST);
        }
        self.arena.clear();
        self.fields.clear();
        self.word = Span::default();
        self.target = Span::default();
        self.query_at = 0;
        self.authority = Span::default();
        self.host = Span::default();
        self.length = Length::Empty;
        self.status = 0;
        self.kind = Kind::Fields;
        self.version = Version::Http11;
        self.https = false;
    }

    /// Makes this head equal to another one, reusing the allocations.
    pub fn copy_from(&mut self, other: &Head) {
        self.arena.clone_from(&other.arena);
        self.fields.clone_from(&other.fields);
        self.word = other.word;
        self.target = other.target;
        self.query_at = other.query_at;
        self.authority = other.authority;
        self.host = other.host;
        self.length = other.length;
        self.status = other.status;
        self.kind = other.kind;
        self.version = other.version;
        self.https = other.https;
    }

    /// Sets method and origin-form target; bytes that are illegal in them become `_` and `%XX`.
    pub fn set_request(&mut self, method: &[u8], target: &[u8]) {
        self.kind = Kind::Request;
        let at = self.arena.len();
        self.arena.extend(method.iter().map(|&b| if is_tchar(b) { b } else { b'_' }));
        self.word = Span::new(at, self.arena.len() - at);
        self.set_target(target);
    }

    /// Sets the target alone, as [`Head::set_request`].
    pub fn set_target(&mut self, target: &[u8]) {
        let at = self.arena.len();
        for &byte in target {
            if is_target_byte(byte) {
                self.arena.push(byte);
            } else {
                let hex = |digit: u8| if digit < 10 { b'0' + digit } else { b'A' + digit - 10 };
                self.arena.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
            }
        }
        self.point_target(Span::new(at, self.arena.len() - at));
    }

    /// Brings the target into normal form, before routing: what is matched is then what is
    /// forwarded. A target in normal form is read once; another is rewritten in the arena. An
    /// empty target, as of a reply, stays empty.
    ///
    /// # Errors
    ///
    /// As [`path::normalise`]; the target is then what it was.
    pub fn normalise_path(&mut self, rule: PathRule) -> Result<(), Fault> {
        let Span { at, len } = self.target;
        if len == 0 || path::is_settled(rule, self.target())? {
            return Ok(());
        }
        let (from, to) = (self.arena.len(), at as usize);
        self.arena.extend_from_within(to..to + len as usize);
        let rewritten = path::rewrite(rule, self.arena.get_mut(from..).unwrap_or_default());
        self.arena.truncate(from + rewritten.unwrap_or_default());
        self.point_target(Span::new(from, rewritten?));
        Ok(())
    }

    /// Sets status (100 to 999) and reason; control bytes in the reason become spaces.
    pub fn set_status(&mut self, status: u16, reason: &[u8]) {
        self.kind = Kind::Reply;
        self.status = status.clamp(100, 999);
        self.word = self.append_value(reason);
    }

    /// Whether this is a request's head.
    pub fn is_request(&self) -> bool {
        self.kind == Kind::Request
    }

    /// The method, as received. Empty in a reply.
    pub fn method(&self) -> &[u8] {
        if self.is_request() { self.span(self.word) } else { &[] }
    }

    /// The reason phrase of a reply.
    pub fn reason(&self) -> &[u8] {
        if self.kind == Kind::Reply { self.span(self.word) } else { &[] }
    }

    /// Path and query in origin form, as received or normalised; `*` for OPTIONS of the server
    /// itself.
    pub fn target(&self) -> &[u8] {
        self.span(self.target)
    }

    /// The target up to `?`.
    pub fn path(&self) -> &[u8] {
        self.target().get(..self.query_at as usize).unwrap_or_default()
    }

    /// The target after `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.target().get(self.query_at as usize + 1..)
    }

    /// `host[:port]` to be forwarded; empty if there is none.
    pub fn authority(&self) -> &[u8] {
        self.span(self.authority)
    }

    /// The authority in lower case without port and trailing dot. IPv6 keeps its brackets.
    pub fn host(&self) -> &[u8] {
        self.span(self.host)
    }

    /// Sets the authority, and the host from it; white space and control bytes are dropped.
    pub fn set_authority(&mut self, authority: &[u8]) {
        let at = self.arena.len();
        self.arena.extend(authority.iter().filter(|b| b.is_ascii_graphic()));
        self.point_authority(Span::new(at, self.arena.len() - at));
    }

    /// `http` or `https`: how the request reached this side, or what its target said.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Says that the request came over TLS.
    pub fn set_https(&mut self, https: bool) {
        self.https = https;
    }

    /// The status of a reply; 0 in a request.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The version this head was received in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Sets the version.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// How the body is delimited.
    pub fn length(&self) -> Length {
        self.length
    }

    /// Sets how the body is delimited; the wire writes the field for it.
    pub fn set_length(&mut self, length: Length) {
        self.length = length;
    }

    /// The value of the first field of that name, in any case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        match Name::find(name) {
            Name::Other => {
                self.fields().find_map(|(n, v)| n.eq_ignore_ascii_case(name).then_some(v))
            }
            known => self.known(known),
        }
    }

    /// The values of all fields of that name, in any case, in order.
    pub fn all(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        let known = Name::find(name);
        let same = move |f: &&Field| same_name(&self.arena, f, known, name);
        self.fields.iter().filter(same).map(|f| self.value_of(f))
    }

    /// The value of the first field of a well-known name: one byte compared a field.
    pub fn known(&self, name: Name) -> Option<&[u8]> {
        self.fields.iter().find(|f| f.name == name).map(|f| self.value_of(f))
    }

    /// The values of all fields of a well-known name, in order.
    pub fn values(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.fields.iter().filter(move |f| f.name == name).map(|f| self.value_of(f))
    }

    /// All fields in order: name in the case received, value without surrounding space.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|f| (self.name_of(f), self.value_of(f)))
    }

    /// All fields with their interned names.
    pub fn named(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.fields.iter().map(|f| (f.name, self.name_of(f), self.value_of(f)))
    }

    /// How many fields there are.
    pub fn count(&self) -> usize {
        self.fields.len()
    }

    /// Bytes that start line and fields take on the wire, framing fields and CRLFs aside.
    pub fn bytes_len(&self) -> usize {
        let line = (self.word.len + self.target.len + self.authority.len) as usize;
        let fields = self.fields.iter().map(|f| usize::from(f.name_len) + f.value_len as usize + 4);
        line + fields.sum::<usize>()
    }

    /// Bytes of heap this head holds.
    pub fn held_bytes(&self) -> usize {
        self.arena.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    /// Adds a field at the end. In the name bytes that are no `tchar` become `_`; in the value
    /// control bytes become spaces, so nothing added here can end a line. An empty name or one
    /// over 64 KiB adds nothing. Framing fields (Host, Content-Length, Transfer-Encoding) are
    /// kept for look-up but never written: set authority and length instead.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let Some(field) = self.append_field(name, value) else { return };
        self.fields.push(field);
    }

    /// Replaces the first field of that name and removes the others, or adds one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let Some(field) = self.append_field(name, value) else { return };
        let Head { arena, fields, .. } = self;
        let Some(first) = fields.iter().position(|f| same_name(arena, f, field.name, name)) else {
            fields.push(field);
            return;
        };
        let mut index = 0;
        fields.retain(|f| {
            index += 1;
            index <= first + 1 || !same_name(arena, f, field.name, name)
        });
        if let Some(slot) = fields.get_mut(first) {
            // What must never be indexed is not either once it reads otherwise.
            let form = if slot.form == Form::Secret { Form::Secret } else { field.form };
            *slot = Field { form, ..field };
        }
    }

    /// As [`Head::push`], of a well-known name: nothing is looked up. `Other` adds nothing.
    pub fn push_known(&mut self, name: Name, value: &[u8]) {
        let Some(field) = self.append_known(name, value) else { return };
        self.fields.push(field);
    }

    /// As [`Head::set`], of a well-known name.
    pub fn set_known(&mut self, name: Name, value: &[u8]) {
        let Some(field) = self.append_known(name, value) else { return };
        let mut others = self.fields.iter_mut().filter(|f| f.name == name);
        let Some(first) = others.next() else { return self.fields.push(field) };
        *first = field;
        if others.next().is_some() {
            self.fields.retain(|f| f.name != name || f.name_at == field.name_at);
        }
    }

    /// Removes all fields of that name; how many there were.
    pub fn remove(&mut self, name: &[u8]) -> usize {
        let known = Name::find(name);
        let Head { arena, fields, .. } = self;
        let before = fields.len();
        fields.retain(|f| !same_name(arena, f, known, name));
        before - fields.len()
    }

    /// Removes the fields that `keep` says no to, by interned name, name and value.
    pub fn retain(&mut self, mut keep: impl FnMut(Name, &[u8], &[u8]) -> bool) {
        let Head { arena, fields, .. } = self;
        fields.retain(|f| {
            let name = slice(arena, f.name_at, u32::from(f.name_len));
            keep(f.name, name, slice(arena, f.value_at, f.value_len))
        });
    }

    /// Removes what must not be forwarded (RFC 9110 §7.6.1): Connection and the fields it lists,
    /// Keep-Alive, Proxy-Connection, Transfer-Encoding, HTTP2-Settings, Proxy-Authenticate,
    /// Proxy-Authorization; Upgrade unless the length is `Tunnel`; TE unless a request accepts
    /// trailers, which is then all it says. Names that Connection must never remove are not removed
    /// ([`is_protected`]).
    pub fn remove_hop_by_hop(&mut self) {
        let tunnel = self.length == Length::Tunnel;
        let te = |(name, _, value)| name == Name::Te && accepts_trailers(value);
        let trailers = self.is_request() && self.named().any(te);
        self.mark_listed();
        self.fields.retain(|f| match f.name {
            _ if f.form == Form::Dropped => false,
            Name::Upgrade => tunnel,
            Name::ProxyAuthenticate | Name::ProxyAuthorization => false,
            name => !name.is_connection_level(),
        });
        if trailers {
            self.push(b"te", b"trailers");
        }
    }

    /// Marks the fields that Connection lists, except protected ones and those with a rule of
    /// their own.
    fn mark_listed(&mut self) {
        let Head { arena, fields, .. } = self;
        for index in 0..fields.len() {
            let Some(field) = fields.get(index).copied() else { break };
            if field.name != Name::Connection {
                continue;
            }
            for option in list(slice(arena, field.value_at, field.value_len)) {
                let known = Name::find(option);
                if matches!(known, Name::Upgrade | Name::Te) || is_protected(option) {
                    continue;
                }
                for other in fields.iter_mut() {
                    if same_name(arena, other, known, option) {
                        other.form = Form::Dropped;
                    }
                }
            }
        }
    }

    fn append_field(&mut self, name: &[u8], value: &[u8]) -> Option<Field> {
        if name.is_empty() || name.len() > usize::from(u16::MAX) {
            return None;
        }
        let at = self.arena.len();
        self.arena.extend(name.iter().map(|&b| if is_tchar(b) { b } else { b'_' }));
        self.arena.extend_from_slice(b": ");
        let value = self.append_value(value);
        self.arena.extend_from_slice(b"\r\n");
        Some(self.field_at(at, name.len() as u16, value))
    }

    fn append_known(&mut self, name: Name, value: &[u8]) -> Option<Field> {
        let text = name.text();
        if text.is_empty() {
            return None;
        }
        let name_at = self.arena.len() as u32;
        self.arena.extend_from_slice(text);
        self.arena.extend_from_slice(b": ");
        let value = self.append_value(value);
        self.arena.extend_from_slice(b"\r\n");
        let Span { at, len } = value;
        let name_len = text.len() as u16;
        Some(Field { name_at, value_at: at, value_len: len, name_len, name, form: Form::Plain })
    }

    fn append_value(&mut self, value: &[u8]) -> Span {
        let at = self.arena.len();
        self.arena.extend_from_slice(value);
        // In place and without a branch, so that many bytes are looked at at once.
        for byte in self.arena.get_mut(at..).unwrap_or_default() {
            *byte = if is_value_byte(*byte) { *byte } else { b' ' };
        }
        Span::new(at, value.len())
    }

    fn field_at(&self, name_at: usize, name_len: u16, value: Span) -> Field {
        let name_at = name_at as u32;
        let text = slice(&self.arena, name_at, u32::from(name_len));
        let colon = name_at + u32::from(name_len);
        let plain = value.at == colon + 2
            && slice(&self.arena, colon, 2) == b": "
            && slice(&self.arena, value.at + value.len, 2) == b"\r\n";
        Field {
            name_at,
            value_at: value.at,
            value_len: value.len,
            name_len,
            name: Name::find(text),
            form: if plain { Form::Plain } else { Form::Loose },
        }
    }

    fn span(&self, span: Span) -> &[u8] {
        slice(&self.arena, span.at, span.len)
    }

    fn name_of(&self, field: &Field) -> &[u8] {
        slice(&self.arena, field.name_at, u32::from(field.name_len))
    }

    fn value_of(&self, field: &Field) -> &[u8] {
        slice(&self.arena, field.value_at, field.value_len)
    }

    fn point_target(&mut self, target: Span) {
        self.target = target;
        let text = self.target();
        self.query_at = text.iter().position(|&b| b == b'?').unwrap_or(text.len()) as u32;
    }

    /// Sets authority and host; the host lies inside the authority unless it needs lower case.
    fn point_authority(&mut self, authority: Span) {
        self.authority = authority;
        let host = host_of(self.span(authority));
        let len = host.len();
        if !host.iter().any(u8::is_ascii_uppercase) {
            self.host = Span { at: authority.at, len: len as u32 };
            return;
        }
        let (at, from) = (self.arena.len(), authority.at as usize);
        self.arena.extend_from_within(from..from + len);
        if let Some(copy) = self.arena.get_mut(at..) {
            copy.make_ascii_lowercase();
        }
        self.host = Span::new(at, len);
    }
}

/// What a wire's parser does with a head: one copy of the received block, then ranges into it.
impl Head {
    /// Copies a received block; the positions given to the other `load_` calls are in it.
    pub(crate) fn load(&mut self, block: &[u8]) {
        self.clear();
        self.arena.extend_from_slice(block);
    }

    pub(crate) fn load_request(&mut self, method: Span, target: Span, version: Version) {
        self.kind = Kind::Request;
        self.word = method;
        self.version = version;
        self.point_target(target);
    }

    pub(crate) fn load_reply(&mut self, status: u16, reason: Span, version: Version) {
        self.kind = Kind::Reply;
        self.status = status;
        self.word = reason;
        self.version = version;
    }

    pub(crate) fn load_target(&mut self, target: Span) {
        self.point_target(target);
    }

    pub(crate) fn load_authority(&mut self, authority: Span) {
        self.point_authority(authority);
    }

    /// Adds a field that lies in the block and says which name it has.
    pub(crate) fn load_field(&mut self, name_at: usize, name_len: u16, value: Span) -> Name {
        let field = self.field_at(name_at, name_len, value);
        if !field.name.is_framing() {
            self.fields.push(field);
        }
        field.name
    }

    /// Appends bytes that were checked; they are a part of this head once something points there.
    pub(crate) fn load_part(&mut self, bytes: &[u8]) -> Span {
        let at = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span::new(at, bytes.len())
    }

    /// What [`Head::load_part`] appended.
    pub(crate) fn part(&self, part: Span) -> &[u8] {
        self.span(part)
    }

    /// Adds a field that is not in a block, its bytes checked and its name in lower case. `secret`
    /// is kept for the next hop, see [`Head::secrets`].
    pub(crate) fn load_pair(&mut self, name: Name, text: &[u8], value: &[u8], secret: bool) {
        let name_at = self.arena.len() as u32;
        self.arena.extend_from_slice(text);
        self.arena.extend_from_slice(b": ");
        let value = self.load_part(value);
        self.arena.extend_from_slice(b"\r\n");
        let form = if secret { Form::Secret } else { Form::Plain };
        let Span { at: value_at, len: value_len } = value;
        let name_len = text.len() as u16;
        self.fields.push(Field { name_at, value_at, value_len, name_len, name, form });
    }

    /// All fields with their interned names, and whether they must never be indexed.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (Name, &[u8], &[u8], bool)> {
        self.fields
            .iter()
            .map(|f| (f.name, self.name_of(f), self.value_of(f), f.form == Form::Secret))
    }

    /// Appends the fields for which `keep` is true as field lines. Neighbours that lie in the
    /// arena as they are to be written go out in one copy.
    pub(crate) fn write_fields(&self, out: &mut Vec<u8>, keep: impl Fn(Name, &[u8]) -> bool) {
        let (mut run_at, mut run_len) = (0, 0);
        for field in &self.fields {
            if !keep(field.name, self.value_of(field)) {
                continue;
            }
            if matches!(field.form, Form::Plain | Form::Secret) {
                let line_len = field.value_at + field.value_len + 2 - field.name_at;
                if run_at + run_len == field.name_at {
                    run_len += line_len;
                    continue;
                }
                out.extend_from_slice(slice(&self.arena, run_at, run_len));
                (run_at, run_len) = (field.name_at, line_len);
                continue;
            }
            out.extend_from_slice(slice(&self.arena, run_at, run_len));
            (run_at, run_len) = (0, 0);
            out.extend_from_slice(self.name_of(field));
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.value_of(field));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(slice(&self.arena, run_at, run_len));
    }
}

fn slice(arena: &[u8], at: u32, len: u32) -> &[u8] {
    let at = at as usize;
    debug_assert!(at + len as usize <= arena.len(), "H1");
    arena.get(at..at + len as usize).unwrap_or_default()
}

fn same_name(arena: &[u8], field: &Field, known: Name, text: &[u8]) -> bool {
    if known != Name::Other || field.name != Name::Other {
        return field.name == known;
    }
    slice(arena, field.name_at, u32::from(field.name_len)).eq_ignore_ascii_case(text)
}

/// The elements of a comma-separated list without surrounding white space; empty ones left out.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Without leading and trailing SP and HTAB.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn accepts_trailers(te: &[u8]) -> bool {
    list(te).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// The host of an authority: without port, without one trailing dot.
fn host_of(authority: &[u8]) -> &[u8] {
    if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|&b| b == b']').map_or(authority.len(), |at| at + 1);
        return authority.get(..end).unwrap_or_default();
    }
    let host = authority.split(|&b| b == b':').next().unwrap_or_default();
    host.strip_suffix(b".").unwrap_or(host)
}

/// Names that a Connection field must not be able to remove (protocols.md 5.2): framing and
/// routing, credentials, and what a gateway says about the client.
pub fn is_protected(name: &[u8]) -> bool {
    use Name::*;
    match Name::find(name) {
        Host | ContentLength | TransferEncoding | Authorization | Cookie | SetCookie => true,
        Forwarded | Via | XRealIp | XRequestId | Traceparent | Tracestate => true,
        _ => begins(name, b"x-forwarded-") || begins(name, CLIENT_CERTIFICATE),
    }
}

/// Fields with which a gateway tells whose certificate a client has shown.
const CLIENT_CERTIFICATE: &[u8] = b"x-client-cert-";

fn begins(name: &[u8], with: &[u8]) -> bool {
    name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// A byte of a token (RFC 9110 §5.6.2).
pub(crate) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A byte that a field value may hold (RFC 9110 §5.5): no control byte but HTAB.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// A byte that a request target may hold here: printable ASCII without `#`. RFC 3986 allows
/// fewer (no `"<>[]^{|}` or backslash), browsers and scripts send them; all of them are harmless
/// to framing and are forwarded as they came.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

#[cfg(test)]
mod tests;
