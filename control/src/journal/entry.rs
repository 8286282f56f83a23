//! One entry, one line: `CRC MARK NUMBER BLANK JSON LF`.
//!
//! The CRC-32 is of everything between it and the LF, in 8 hex digits. The mark is a blank for the
//! first entry of a commit and a plus for the others, so that a reader knows what one torn write
//! can have touched. Entries are numbered from 1, so that one that was taken out is missed. The
//! JSON is an array of `{"put":"id","route":{…}}`, `{"delete":"id"}` and
//! `{"delete":"id","declared":true}`. An LF cannot stand inside.
//!
//! A base begins with its head, a line of the same form: the number is that of the last entry that
//! went into the base, and the JSON is `{"entries":N}`, how many lines follow.

use std::borrow::Cow;
use std::io::{self, Write as _};

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest line, its LF included: a group of 400 000 routes of 150 bytes.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// The CRC of gzip and Ethernet, by tables of 16 KiB.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
const CRC_DIGITS: usize = 8;
const FIRST: u8 = b' ';
const FURTHER: u8 = b'+';

/// A change, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The route is set: in its place if the id exists, else behind all others.
    Put {
        /// The route's id.
        id: &'a str,
        /// One JSON object.
        route: &'a str,
    },
    /// The route is removed.
    Delete {
        /// The route's id.
        id: &'a str,
        /// The configuration files declare this id, so that the delete must be kept to hide it.
        declared: bool,
    },
}

impl<'a> Change<'a> {
    /// The id that is changed.
    pub fn id(&self) -> &'a str {
        match self {
            Change::Put { id, .. } | Change::Delete { id, .. } => id,
        }
    }
}

/// A change as it is written. Which fields belong together is for `change` to check.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    put: Option<Id<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    route: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    delete: Option<Id<'a>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    declared: bool,
}

/// Borrowed unless it has escapes, which serde does for a `Cow` in a struct but not in an `Option`.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
struct Id<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Written<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Written<'a>, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    pub(super) fn change(&self) -> Result<Change<'_>, String> {
        match (&self.put, self.route, &self.delete) {
            (Some(id), Some(route), None) if !self.declared && is_object(route) => {
                Ok(Change::Put { id: &id.0, route: route.get() })
            }
            (None, None, Some(id)) => Ok(Change::Delete { id: &id.0, declared: self.declared }),
            _ => Err("neither a put of an object nor a delete".to_owned()),
        }
    }

    fn of(change: &Change<'a>) -> io::Result<Written<'a>> {
        let id = |id: &'a str| Some(Id(Cow::Borrowed(id)));
        Ok(match *change {
            Change::Put { id: of, route } => {
                Written { put: id(of), route: Some(object(route)?), ..Written::default() }
            }
            Change::Delete { id: of, declared } => {
                Written { delete: id(of), declared, ..Written::default() }
            }
        })
    }
}

fn is_object(route: &RawValue) -> bool {
    route.get().starts_with('{')
}

fn object(route: &str) -> io::Result<&RawValue> {
    let raw: &RawValue = serde_json::from_str(route).map_err(|error| invalid(error.to_string()))?;
    if is_object(raw) { Ok(raw) } else { Err(invalid("not a JSON object".to_owned())) }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// What a base begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// Lines behind it.
    pub(super) entries: u64,
}

/// Appends `changes` as entry `number`. `is_first` says that a commit begins with it. After an
/// error `out` is as before.
pub(super) fn encode(
    out: &mut Vec<u8>,
    is_first: bool,
    number: u64,
    changes: &[Change<'_>],
) -> io::Result<()> {
    let changes = changes.iter().map(Written::of).collect::<io::Result<Vec<_>>>()?;
    encode_json(out, is_first, number, &changes)
}

/// Appends the head of a base that entries up to `last` went into.
pub(super) fn encode_head(out: &mut Vec<u8>, last: u64, head: Head) -> io::Result<()> {
    encode_json(out, true, last, &head)
}

fn encode_json(
    out: &mut Vec<u8>,
    is_first: bool,
    number: u64,
    json: &impl Serialize,
) -> io::Result<()> {
    let start = out.len();
    let written = write_line(out, is_first, number, json);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_line(
    out: &mut Vec<u8>,
    is_first: bool,
    number: u64,
    json: &impl Serialize,
) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[b'0'; CRC_DIGITS]);
    out.push(if is_first { FIRST } else { FURTHER });
    write!(out, "{number} ")?;
    serde_json::to_writer(&mut *out, json)?;
    if out.len() - start >= LINE_BYTES_MAX {
        return Err(invalid("more than 64 MiB in one entry".to_owned()));
    }
    let (digits, rest) = out[start..].split_at_mut(CRC_DIGITS);
    // Strings of JSON have no raw line breaks: any that are here stand between tokens.
    rest.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    digits.copy_from_slice(&checksum(rest));
    out.push(b'\n');
    Ok(())
}

fn checksum(bytes: &[u8]) -> [u8; CRC_DIGITS] {
    let mut digits = [0; CRC_DIGITS];
    // INVARIANT: a u32 has at most 8 hex digits.
    write!(&mut digits[..], "{:08x}", CRC.checksum(bytes)).expect("room for a u32");
    digits
}

/// A line with a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sound<'a> {
    pub(super) is_first: bool,
    pub(super) number: u64,
    pub(super) json: &'a [u8],
}

/// The line without its frame, if it is whole: LF, checksum, mark and number are right.
pub(super) fn unseal(line: &[u8]) -> Option<Sound<'_>> {
    let (digits, rest) = line.strip_suffix(b"\n")?.split_at_checked(CRC_DIGITS)?;
    let (mark, text) = rest.split_first()?;
    let is_right = matches!(*mark, FIRST | FURTHER) && checksum(rest) == digits;
    let blank = text.iter().position(|byte| !byte.is_ascii_digit()).filter(|_| is_right)?;
    let (number, json) = (&text[..blank], text[blank..].strip_prefix(b" ")?);
    let number = str::from_utf8(number).ok()?.parse().ok()?;
    Some(Sound { is_first: *mark == FIRST, number, json })
}

/// The texts of an entry's changes, in order; each is a part of `json`.
pub(super) fn texts(json: &[u8]) -> Result<Vec<&str>, String> {
    let raw: Vec<&RawValue> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    Ok(raw.into_iter().map(RawValue::get).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Change<'_> = Change::Put { id: "a\"b", route: r#"{"x": [1]}"# };
    const DELETE: Change<'_> = Change::Delete { id: "c", declared: true };

    fn line(changes: &[Change<'_>]) -> String {
        let mut out = Vec::new();
        encode(&mut out, true, 17, changes).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn read(text: &str) -> Result<String, String> {
        Written::parse(text)?.change().map(|change| format!("{change:?}"))
    }

    #[test]
    fn a_line_is_stable() {
        let changes = [PUT, DELETE, Change::Delete { id: "", declared: false }];
        let json = r#"[{"put":"a\"b","route":{"x": [1]}},{"delete":"c","declared":true},"#;
        assert_eq!(line(&changes), format!("7816c687 17 {json}{{\"delete\":\"\"}}]\n"));
        let mut head = Vec::new();
        encode_head(&mut head, 12, Head { entries: 3 }).unwrap();
        assert_eq!(str::from_utf8(&head), Ok("14a491e2 12 {\"entries\":3}\n"));
    }

    #[test]
    fn a_number_is_digits_and_a_blank() {
        for text in ["", " ", "1", "+1 []", "-1 []", " 1 []", "x []", "18446744073709551616 []"] {
            let rest = format!(" {text}");
            let digits = checksum(rest.as_bytes());
            let line = [&digits[..], rest.as_bytes(), b"\n"].concat();
            assert_eq!(unseal(&line), None, "{text}");
        }
        let sound = Sound { is_first: true, number: 17, json: b"[]" };
        assert_eq!(unseal(line(&[]).as_bytes()), Some(sound));
    }

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(checksum(b"123456789"), *b"cbf43926");
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let whole = line(&[PUT, DELETE]).into_bytes();
        assert!(unseal(&whole).is_some());
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x20;
            assert_eq!(unseal(&broken), None, "byte {at}");
            assert_eq!(unseal(&whole[..at]), None, "the first {at} bytes");
        }
    }

    #[test]
    fn line_breaks_of_a_route_become_blanks() {
        let text = line(&[Change::Put { id: "a\nb", route: "{\n\"x\":\n1}" }]);
        assert_eq!(&text[12..], "[{\"put\":\"a\\nb\",\"route\":{ \"x\": 1}}]\n");
    }

    #[test]
    fn what_is_no_object_is_refused_and_leaves_nothing() {
        let mut out = Vec::from(*b"before");
        for route in ["", "1", "[]", "{", "{}{}", "{}},{\"delete\":\"x\"", "{\"a\":\"\n\"}"] {
            let changes = [DELETE, Change::Put { id: "a", route }];
            let error = encode(&mut out, false, 1, &changes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{route}");
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn an_entry_has_a_bound() {
        let frame = line(&[Change::Put { id: "", route: "{}" }]).len();
        let route = format!("{{{}}}", " ".repeat(LINE_BYTES_MAX - frame));
        let mut out = Vec::new();
        encode(&mut out, true, 17, &[Change::Put { id: "", route: &route }]).unwrap();
        assert_eq!(out.len(), LINE_BYTES_MAX);
        let error = encode(&mut out, true, 17, &[Change::Put { id: "x", route: &route }]);
        assert_eq!(error.unwrap_err().to_string(), "more than 64 MiB in one entry");
    }

    #[test]
    fn other_shapes_are_faults() {
        for text in [
            "{}",
            r#"{"put":"a"}"#,
            r#"{"put":"a","route":1}"#,
            r#"{"put":"a","route":{},"delete":"a"}"#,
            r#"{"put":"a","route":{},"declared":true}"#,
            r#"{"delete":"a","route":{}}"#,
            r#"{"delete":"a","more":1}"#,
            r#"{"delete":"a","delete":"b"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(
            read(r#"{"route":{},"put":"\u0061"}"#).unwrap(),
            r#"Put { id: "a", route: "{}" }"#
        );
    }
}
