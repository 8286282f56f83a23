//! Messages as other implementations wrote them, broken ones, and any.

use proptest::prelude::*;

use super::dialect::Encoding;
use super::exception::{self, Code};
use super::message::{self, Beginning, Kind, Step};
use super::vectors::files;
use super::walk::Walk;
use crate::error::Fault;
use crate::pair::every_cut;

/// Far more than any message here.
const ROOM: u64 = 1 << 20;

/// Walks over a struct that comes in these pieces: bytes used, or the fault.
fn walk(encoding: Encoding, pieces: &[&[u8]], bytes_max: u64) -> Result<Option<usize>, Fault> {
    let mut walk = Walk::new(64);
    walk.begin(encoding, bytes_max, Fault::ThriftStructTruncated);
    let mut used = 0;
    for piece in pieces {
        let walked = walk.feed(piece)?;
        used += walked.used;
        if walked.done {
            return Ok(Some(used));
        }
        assert_eq!(walked.used, piece.len());
    }
    Ok(None)
}

/// What a walk over these bytes comes to, whatever the cuts.
fn walked(encoding: Encoding, bytes: &[u8]) -> Result<Option<usize>, Fault> {
    every_cut(bytes, |pieces| walk(encoding, pieces, ROOM))
}

fn beginning(encoding: Encoding, bytes: &[u8]) -> Beginning {
    // No answer changes with more bytes, and what is needed is not more than there will be.
    let Ok(Step::Done(done)) = message::read(encoding, bytes) else { panic!("no message") };
    for len in 0..bytes.len() {
        match message::read(encoding, &bytes[..len]).unwrap() {
            Step::Need(need) => assert!(len < need && need <= done.len),
            Step::Done(other) => assert_eq!(other, done),
        }
    }
    done
}

/// Reads the messages that lie behind each other, writes their beginnings anew.
fn check_messages(name: &str, encoding: Encoding, mut bytes: &[u8]) -> Vec<(Kind, String, i32)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let head = beginning(encoding, bytes);
        let method = &bytes[head.name.clone()];
        let used = walked(encoding, &bytes[head.len..]).unwrap().expect(name);
        let mut written = Vec::new();
        let again = if head.lax { Encoding::LaxBinary } else { Encoding::Binary };
        let again = if encoding == Encoding::Compact { encoding } else { again };
        message::write(again, head.kind, method, head.seqid, &mut written);
        assert_eq!(written, bytes[..head.len], "{name}");
        assert_eq!(message::written_len(again, method, head.seqid), head.len, "{name}");
        if head.kind == Kind::Exception {
            check_exception(name, encoding, &bytes[head.len..head.len + used]);
        }
        found.push((head.kind, String::from_utf8(method.into()).unwrap(), head.seqid));
        bytes = &bytes[head.len + used..];
    }
    found
}

fn check_exception(name: &str, encoding: Encoding, bytes: &[u8]) {
    let found = exception::read(encoding, bytes).expect(name);
    assert!(!found.text.is_empty() && (1..=7).contains(&found.code.0), "{name} {found:?}");
    let mut written = Vec::new();
    exception::write(encoding, found.code, found.text, &mut written);
    assert_eq!(written, bytes, "{name}");
    assert_eq!(exception::written_len(encoding, found.code, found.text), bytes.len());
}

fn unframed(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut plain) = (bytes, Vec::new());
    while let Some((len, more)) = rest.split_first_chunk() {
        let (frame, more) = more.split_at(u32::from_be_bytes(*len) as usize);
        plain.extend_from_slice(frame);
        rest = more;
    }
    plain
}

#[test]
fn messages_of_others_are_read_to_their_end_and_written_alike() {
    const PLAIN: &[(&str, bool, Encoding)] = &[
        ("py_buffered", false, Encoding::Binary),
        ("py_buf_lax", false, Encoding::LaxBinary),
        ("py_bufcompact", false, Encoding::Compact),
        ("thriftpy2_buffered", false, Encoding::Binary),
        ("node_buffered", false, Encoding::Binary),
        ("volo_buffered", false, Encoding::Binary),
        ("py_framed_lax", true, Encoding::LaxBinary),
        ("py_framed_call", true, Encoding::Binary),
        ("py_framed_reply", true, Encoding::Binary),
        ("py_framed_oneway", true, Encoding::Binary),
        ("py_mux", true, Encoding::Binary),
        ("py_compact", true, Encoding::Compact),
        ("thriftpy2_framed", true, Encoding::Binary),
        ("thriftpy2_compact", true, Encoding::Compact),
        ("node_framed", true, Encoding::Binary),
        ("volo_framed", true, Encoding::Binary),
        ("volo_compact", true, Encoding::Compact),
    ];
    let mut count = 0;
    for &(prefix, is_framed, encoding) in PLAIN {
        for (name, bytes) in files(prefix) {
            let bytes = if is_framed { unframed(&bytes) } else { bytes };
            count += check_messages(&name, encoding, &bytes).len();
        }
    }
    assert_eq!(count, 71);
}

#[test]
fn what_a_message_says() {
    let said = |prefix: &str, encoding| {
        let (name, bytes) = files(prefix).pop().unwrap();
        check_messages(&name, encoding, &bytes)
    };
    let call = |kind, name: &str, seqid| (kind, name.to_string(), seqid);
    let found = said("node_buffered_session_c2s", Encoding::Binary);
    assert_eq!(found[0], call(Kind::Call, "echo", 1));
    let found = said("py_buffered_oneway", Encoding::Binary);
    assert_eq!(found, [call(Kind::Oneway, "fire", 0), call(Kind::Call, "ping", 0)]);
    let (_, mux) = files("py_mux_call").pop().unwrap();
    let head = beginning(Encoding::Binary, &mux[4..]);
    let name = &mux[4..][head.name];
    assert_eq!(message::split_name(name), (Some(&b"Echo"[..]), &b"echo"[..]));
}

#[test]
fn exceptions_say_what_went_wrong() {
    let (_, bytes) = files("py_buffered_reply_unknown_method").pop().unwrap();
    let head = beginning(Encoding::Binary, &bytes);
    let found = exception::read(Encoding::Binary, &bytes[head.len..]).unwrap();
    assert_eq!((found.code, found.text), (Code::UNKNOWN_METHOD, &b"Unknown function nosuch"[..]));
    assert_eq!(exception::read(Encoding::Binary, &bytes[head.len..bytes.len() - 1]), None);
    // The fields with numbers in their long form, and an exception that says nothing.
    let long = b"\x08\x02\x02hi\x05\x04\x0c\0";
    let found = exception::read(Encoding::Compact, long).unwrap();
    assert_eq!((found.code, found.text), (Code(6), &b"hi"[..]));
    assert_eq!(exception::read(Encoding::Compact, b"\0").unwrap().code, Code(0));
    assert_eq!(exception::read(Encoding::Binary, b"\x0c\0\x01\0\0"), None);
}

#[test]
fn beginnings_that_are_refused() {
    let fault = |encoding, bytes: &[u8]| {
        let mut seen = None;
        for len in 0..=bytes.len() {
            let read = message::read(encoding, &bytes[..len]);
            assert!(seen.is_none() || read == Err(seen.unwrap()), "a verdict changed");
            seen = read.err().or(seen);
        }
        seen.map(Fault::reason)
    };
    let (binary, lax, compact) = (Encoding::Binary, Encoding::LaxBinary, Encoding::Compact);
    let message = Some("bad_thrift_message");
    let name = Some("bad_thrift_name");
    assert_eq!(fault(binary, b"\x80\x02\0\x01"), message);
    assert_eq!(fault(binary, b"\x80\x01\0\x05"), message);
    assert_eq!(fault(binary, b"\x80\x01\0\0"), message);
    assert_eq!(fault(binary, b"\0\0\0\x04echo\x01"), message, "no version, and not lax");
    assert_eq!(fault(lax, b"\0\0\0\x04echo\x05\0\0\0\0"), message);
    assert_eq!(fault(binary, b"\x80\x01\0\x01\xff\xff\xff\xff"), name, "negative");
    assert_eq!(fault(binary, b"\x80\x01\0\x01\x7f\xff\xff\xff"), name, "2 GiB");
    assert_eq!(fault(binary, b"\x80\x01\0\x01\0\0\x01\x01"), name, "257 bytes");
    assert_eq!(fault(binary, b"\x80\x01\0\x01\0\0\0\0\0\0\0\0"), name, "none");
    assert_eq!(fault(binary, b"\x80\x01\0\x01\0\0\0\x02a/\0\0\0\0"), name);
    assert_eq!(fault(binary, b"\x80\x01\0\x01\0\0\0\x02..\0\0\0\0"), name);
    assert_eq!(fault(binary, b"\x80\x01\0\x01\0\0\0\x02:a\0\0\0\0"), name);
    assert_eq!(fault(binary, b"\x80\x01\0\x01\0\0\0\x05a:b:c\0\0\0\0"), name);
    assert_eq!(fault(binary, b"\x80\x01\0\x03\0\0\0\0\0\0\0\0"), None, "some exceptions have none");
    assert_eq!(fault(compact, b"\x82\x22"), message, "version 2");
    assert_eq!(fault(compact, b"\x82\xa1"), message, "type 5");
    assert_eq!(fault(compact, b"\x80\x01\0\x01"), message, "binary");
    assert_eq!(fault(compact, b"\x82\x21\xff\xff\xff\xff\x1f"), message, "33 bits");
    assert_eq!(fault(compact, b"\x82\x21\xff\xff\xff\xff\xff\x0f"), message, "6 bytes");
    assert_eq!(fault(compact, b"\x82\x21\0\xff\xff\xff\xff\x0f"), name);
}

#[test]
fn a_negative_seqid_of_compact_has_five_bytes() {
    let mut out = Vec::new();
    message::write(Encoding::Compact, Kind::Call, b"a", -1, &mut out);
    assert_eq!(out, b"\x82\x21\xff\xff\xff\xff\x0f\x01a");
    assert_eq!(beginning(Encoding::Compact, &out).seqid, -1);
}

#[test]
fn structs_that_are_refused() {
    let fault = |encoding, bytes: &[u8]| walked(encoding, bytes).err().map(Fault::reason);
    let (binary, compact) = (Encoding::Binary, Encoding::Compact);
    let (bad, over) = (Some("bad_thrift_struct"), Some("thrift_struct_truncated"));
    assert_eq!(fault(binary, b"\x01\0\x01"), bad, "a type that there is not");
    assert_eq!(fault(compact, b"\x1e"), bad);
    assert_eq!(fault(compact, b"\x10"), bad, "STOP with a number");
    assert_eq!(fault(binary, b"\x0b\0\x01\xff\xff\xff\xff"), bad, "a negative length");
    assert_eq!(fault(binary, b"\x0b\0\x01\x7f\xff\xff\xff"), over, "2 GiB of text");
    assert_eq!(fault(binary, b"\x0f\0\x01\x0b\x80\0\0\0"), bad, "a negative count");
    assert_eq!(fault(binary, b"\x0f\0\x01\x0b\x7f\xff\xff\xff"), over);
    assert_eq!(fault(binary, b"\x0f\0\x01\x02\x7f\xff\xff\xff"), over, "2^31-1 bools");
    assert_eq!(fault(binary, b"\x0f\0\x01\x0c\x7f\xff\xff\xff"), over, "2^31-1 structs");
    assert_eq!(fault(binary, b"\x0f\0\x01\0\0\0\0\x01"), bad, "a list of STOP");
    assert_eq!(fault(binary, b"\x0d\0\x01\x0b\x0c\x7f\xff\xff\xff"), over);
    assert_eq!(fault(binary, b"\x0d\0\x01\x0b\x09\0\0\0\x01"), bad);
    assert_eq!(fault(compact, b"\x18\xff\xff\xff\xff\x0f"), bad, "-1");
    assert_eq!(fault(compact, b"\x18\xff\xff\xff\xff\x07"), over, "2 GiB of text");
    assert_eq!(fault(compact, b"\x18\xff\xff\xff\xff\xff"), bad, "6 bytes");
    assert_eq!(fault(compact, b"\x15\xff\xff\xff\xff\xff"), bad, "an i32 of 6 bytes");
    assert_eq!(fault(compact, b"\x16\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), bad);
    assert_eq!(fault(compact, b"\x19\xf8\xff\xff\xff\xff\x07"), over, "2^31-1 texts");
    assert_eq!(fault(compact, b"\x1b\xff\xff\xff\xff\x07\x88"), over);
}

#[test]
fn structs_that_look_odd_but_are_whole() {
    let whole = |encoding, bytes: &[u8]| {
        assert_eq!(walked(encoding, bytes), Ok(Some(bytes.len())), "{}", bytes.escape_ascii());
    };
    whole(Encoding::Binary, b"\0");
    whole(Encoding::Binary, b"\x0d\0\x01\0\0\0\0\0\0\0");
    whole(Encoding::Binary, b"\x0f\0\x01\x0c\0\0\0\x03\0\0\0\0");
    whole(Encoding::Binary, b"\x10\0\x010123456789abcdef\0");
    whole(Encoding::Compact, b"\x1b\0\0");
    whole(Encoding::Compact, b"\x11\x12\x19\x21\x01\x02\x0c\xd0\x86\x03\0\0");
    whole(Encoding::Compact, b"\x1b\x02\x81\x01a\x01\x01b\x02\0");
    assert_eq!(walked(Encoding::Binary, b"\0garbage"), Ok(Some(1)));
}

#[test]
fn depth_has_a_bound_and_no_recursion() {
    let nested = |encoding, depth: usize| match encoding {
        Encoding::Compact => [b"\x1c".repeat(depth), vec![0; depth + 1]].concat(),
        _ => [b"\x0c\0\x01".repeat(depth), vec![0; depth + 1]].concat(),
    };
    for encoding in [Encoding::Binary, Encoding::Compact] {
        let run = |depth| walk(encoding, &[&nested(encoding, depth)], ROOM);
        assert!(matches!(run(63), Ok(Some(_))));
        assert_eq!(run(64), Err(Fault::ThriftTooDeep));
        assert_eq!(run(100_000), Err(Fault::ThriftTooDeep));
    }
    let lists = [&b"\x0f\0\x01"[..], &b"\x0f\0\0\0\x01".repeat(100)].concat();
    assert_eq!(walk(Encoding::Binary, &[&lists], ROOM), Err(Fault::ThriftTooDeep));
}

#[test]
fn a_struct_ends_within_its_bytes() {
    let text = b"\x0b\0\x01\0\0\0\x05hello\0";
    assert_eq!(walk(Encoding::Binary, &[text], 13), Ok(Some(13)));
    assert_eq!(walk(Encoding::Binary, &[text], 12), Err(Fault::ThriftStructTruncated));
    assert_eq!(walk(Encoding::Binary, &[text], 11), Err(Fault::ThriftStructTruncated));
    assert_eq!(walk(Encoding::Binary, &[], 13), Ok(None));
}

#[derive(Clone, Debug)]
enum Value {
    Number(u8, i64),
    Text(Vec<u8>),
    Struct(Vec<Value>),
    List(Vec<Value>),
    Map(Vec<(Vec<u8>, i64)>),
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop::collection::vec(any::<u8>(), 0..20);
    let leaf = prop_oneof![
        (prop_oneof![Just(3u8), Just(6), Just(8), Just(10)], any::<i64>())
            .prop_map(|(kind, number)| Value::Number(kind, number)),
        text.clone().prop_map(Value::Text),
        prop::collection::vec((text, any::<i64>()), 0..4).prop_map(Value::Map),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Struct),
            (inner, 0..20usize).prop_map(|(value, count)| Value::List(vec![value; count])),
        ]
    })
}

impl Value {
    fn kind(&self, compact: bool) -> u8 {
        match self {
            Value::Number(kind, _) if compact => [3, 0, 0, 4, 0, 5, 0, 6][*kind as usize - 3],
            Value::Number(kind, _) => *kind,
            Value::Text(_) => {
                if compact {
                    8
                } else {
                    11
                }
            }
            Value::Struct(_) => 12,
            Value::List(_) => {
                if compact {
                    9
                } else {
                    15
                }
            }
            Value::Map(_) => {
                if compact {
                    11
                } else {
                    13
                }
            }
        }
    }

    fn write(&self, compact: bool, out: &mut Vec<u8>) {
        match self {
            Value::Number(3, number) => out.push(*number as u8),
            Value::Number(kind, number) if compact => {
                let number = number >> (64 - [16, 0, 32, 0, 64][*kind as usize - 6]);
                varint(((number << 1) ^ (number >> 63)) as u64, out);
            }
            Value::Number(kind, number) => {
                out.extend_from_slice(&number.to_be_bytes()[..[2, 0, 4, 0, 8][*kind as usize - 6]]);
            }
            Value::Text(text) => {
                size(text.len(), compact, out);
                out.extend_from_slice(text);
            }
            Value::Struct(fields) => write_struct(fields, compact, out),
            Value::List(items) => {
                let kind = items.first().map_or(3, |item| item.kind(compact));
                match items.len() {
                    len if compact && len < 15 => out.push((len as u8) << 4 | kind),
                    len if compact => {
                        out.push(0xf0 | kind);
                        size(len, true, out);
                    }
                    len => {
                        out.push(kind);
                        size(len, false, out);
                    }
                }
                items.iter().for_each(|item| item.write(compact, out));
            }
            Value::Map(pairs) => {
                match compact {
                    true if pairs.is_empty() => out.push(0),
                    true => {
                        size(pairs.len(), true, out);
                        out.push(0x86);
                    }
                    false => {
                        out.extend_from_slice(&[11, 10]);
                        size(pairs.len(), false, out);
                    }
                }
                for (key, number) in pairs {
                    Value::Text(key.clone()).write(compact, out);
                    Value::Number(10, *number).write(compact, out);
                }
            }
        }
    }
}

fn write_struct(fields: &[Value], compact: bool, out: &mut Vec<u8>) {
    for (index, field) in fields.iter().enumerate() {
        let kind = field.kind(compact);
        match compact {
            // Every third number in its long form.
            true if index % 3 == 2 => out.extend_from_slice(&[kind, 2 * index as u8]),
            true => out.push(0x10 | kind),
            false => out.extend_from_slice(&[kind, 0, index as u8]),
        }
        field.write(compact, out);
    }
    out.push(0);
}

fn size(len: usize, compact: bool, out: &mut Vec<u8>) {
    if compact {
        varint(len as u64, out);
    } else {
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        super::fuzz_messages(&data);
    }

    #[test]
    fn any_struct_is_walked_to_its_end(
        fields in prop::collection::vec(value(), 0..6),
        compact: bool,
        cut in 0..64usize,
    ) {
        let mut bytes = Vec::new();
        write_struct(&fields, compact, &mut bytes);
        let len = bytes.len();
        bytes.extend_from_slice(b"behind");
        let encoding = if compact { Encoding::Compact } else { Encoding::Binary };
        prop_assert_eq!(walk(encoding, &[&bytes], len as u64), Ok(Some(len)));
        let (left, right) = bytes.split_at(cut.min(len));
        prop_assert_eq!(walk(encoding, &[left, right], ROOM), Ok(Some(len)));
        let pieces: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(walk(encoding, &pieces, ROOM), Ok(Some(len)));
        prop_assert_eq!(walk(encoding, &[&bytes[..len - 1]], ROOM), Ok(None));
    }
}
