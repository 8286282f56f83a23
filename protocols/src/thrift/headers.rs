//! Frames and headers as other implementations wrote them, broken ones, and any.

use proptest::prelude::*;

use super::header::{Header, Limits, Step};
use super::vectors::files;
use super::{framed, theader, ttheader};
use crate::error::Fault;

const LIMITS: Limits =
    Limits { frame_bytes_max: 16 << 20, header_bytes_max: 64 << 10, keys_max: 128 };

type Read = fn(&[u8], &Limits) -> Result<Step, Fault>;

/// Reads a header; no prefix of it says anything else, and none is asked for too much.
fn header(read: Read, bytes: &[u8]) -> Header {
    let Ok(Step::Done(done)) = read(bytes, &LIMITS) else { panic!("no header") };
    let mut need = 0;
    for len in 0..done.len {
        let Ok(Step::Need(more)) = read(&bytes[..len], &LIMITS) else { panic!("early at {len}") };
        assert!(more > len && more >= need && more <= done.len);
        need = more;
    }
    assert_eq!(read(&bytes[..done.len], &LIMITS), Ok(Step::Done(done.clone())));
    done
}

/// The faults that a header comes to, one byte after the other.
fn fault(read: Read, bytes: &[u8]) -> Option<&'static str> {
    let mut seen = None;
    for len in 0..=bytes.len() {
        let read = read(&bytes[..len], &LIMITS);
        assert!(seen.is_none() || read == Err(seen.unwrap()), "a verdict changed");
        seen = read.err().or(seen);
    }
    seen.map(Fault::reason)
}

/// Every frame of a file, in order.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some(len) = framed::read(bytes, LIMITS.frame_bytes_max).unwrap() {
        let (frame, rest) = bytes.split_at(framed::LENGTH_BYTES + len as usize);
        frames.push(frame);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    frames
}

#[test]
fn ttheaders_of_others_are_read_and_written_alike() {
    let mut count = 0;
    for (name, bytes) in files("volo_ttheader").into_iter().chain(files("ttheader_")) {
        if name == "ttheader_streaming_meta_frame" {
            assert_eq!(fault(ttheader::read, &bytes), Some("ttheader_streaming"));
            continue;
        }
        for frame in frames(&bytes) {
            let head = header(ttheader::read, frame);
            let mut out = Vec::new();
            let mut writer = ttheader::Writer::new(head.flags, head.seqid, head.protocol, &mut out);
            let pairs = ttheader::pairs(&frame[head.blocks.clone()]);
            pairs.for_each(|pair| writer.push(pair.unwrap()));
            assert!(writer.finish(head.payload_len));
            out.extend_from_slice(&frame[head.len..]);
            assert_eq!(out.escape_ascii().to_string(), frame.escape_ascii().to_string(), "{name}");
            count += 1;
        }
    }
    assert_eq!(count, 25);
}

#[test]
fn theaders_of_others_are_read_and_written_alike() {
    let mut count = 0;
    for (name, bytes) in files("py_header").into_iter().chain(files("node_header")) {
        for frame in frames(&bytes) {
            let head = header(theader::read, frame);
            let mut out = Vec::new();
            let (flags, seqid, protocol) = (head.flags, head.seqid, head.protocol);
            let mut writer = theader::Writer::new(flags, seqid, protocol, head.is_zlib, &mut out);
            let pairs = theader::pairs(&frame[head.blocks.clone()]);
            pairs.for_each(|pair| writer.push(pair.unwrap()));
            assert!(writer.finish(head.payload_len));
            out.extend_from_slice(&frame[head.len..]);
            assert_eq!(out.escape_ascii().to_string(), frame.escape_ascii().to_string(), "{name}");
            assert_eq!(name.contains("zlib_call"), head.is_zlib, "{name}");
            if head.is_zlib {
                let plain = theader::inflate(&frame[head.len..], 1 << 16).unwrap();
                assert!(plain.windows(64).any(|text| text == [b'z'; 64]), "{name}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 21);
}

#[test]
fn what_a_ttheader_says() {
    let (_, bytes) = files("ttheader_acl_token").pop().unwrap();
    let head = header(ttheader::read, &bytes);
    let pairs: Vec<_> = ttheader::pairs(&bytes[head.blocks]).map(Result::unwrap).collect();
    let service = ttheader::Pair::Number(ttheader::key::TO_SERVICE, b"echo-svc");
    assert_eq!(pairs, [ttheader::Pair::Token(b"tok"), service]);
    assert_eq!((head.seqid, head.payload_len), (7, 45));
}

#[test]
fn frames_that_are_refused() {
    let read = |bytes: &[u8]| framed::read(bytes, 1000).map_err(Fault::reason);
    assert_eq!(read(b"\0\0\0"), Ok(None));
    assert_eq!(read(b"\0\0\x03\xe8"), Ok(Some(1000)));
    assert_eq!(read(b"\0\0\x03\xe9"), Err("thrift_frame_too_large"));
    assert_eq!(read(b"\x7f\xff\xff\xff"), Err("thrift_frame_too_large"));
    assert_eq!(read(b"\x80\x01\0\x03"), Err("thrift_frame_too_large"), "no frame at all");
    assert_eq!(read(b"\0\0\0\0"), Err("bad_thrift_frame"));
}

/// A frame with these bytes behind the fixed fields.
fn frame(magic: u16, flags: u16, size: u16, rest: &[u8]) -> Vec<u8> {
    let length = (10 + rest.len() as u32).to_be_bytes();
    let fixed = [magic.to_be_bytes(), flags.to_be_bytes(), [0, 0], [0, 9], size.to_be_bytes()];
    [&length[..], fixed.as_flattened(), rest].concat()
}

#[test]
fn ttheaders_that_are_refused() {
    let fault = |flags, size, rest: &[u8]| {
        fault(ttheader::read, &frame(ttheader::MAGIC, flags, size, rest))
    };
    let bad = Some("bad_ttheader");
    assert_eq!(fault(0, 1, b"\0\0\0\0p"), None);
    assert_eq!(fault(0, 0, b"\0\0\0\0p"), bad, "no header");
    assert_eq!(fault(0, 2, b"\0\0\0\0p"), bad, "larger than its frame");
    assert_eq!(fault(0, 0xffff, b"\0\0\0\0p"), Some("head_too_large"));
    assert_eq!(fault(0, 1, b"\0\0\0\0"), Some("bad_thrift_frame"), "no payload");
    assert_eq!(fault(2, 1, b"\0\0\0\0p"), Some("ttheader_streaming"));
    assert_eq!(fault(0, 1, b"\x05\0\0\0p"), Some("unknown_payload_protocol"));
    assert_eq!(fault(0, 1, b"\0\x01\x01\0p"), Some("unknown_transform"));
    assert_eq!(fault(0, 1, b"\0\0\x02\0p"), bad, "an unknown block");
    assert_eq!(fault(0, 1, b"\0\0\x01\0p"), bad, "a block without its count");
    assert_eq!(fault(0, 2, b"\0\0\x01\0\x01\0\x09ap"), bad, "a key beyond the header");
    assert_eq!(fault(0, 2, b"\0\0\x01\xff\xff\0\0\0p"), bad, "more keys than there are");
    assert_eq!(fault(0, 2, b"\0\0\x11\xff\xff\0\0\0p"), bad);
    let keys = |count: u16| {
        let pairs = [0u8; 4].repeat(count.into());
        let pad = vec![0; 3 - (usize::from(count) * 4 + 5 + 3) % 4];
        [b"\0\0\x01", &count.to_be_bytes()[..], &pairs, &pad, b"p"].concat()
    };
    assert_eq!(fault(0, 130, &keys(128)), None);
    assert_eq!(fault(0, 131, &keys(129)), Some("too_many_fields"));
}

#[test]
fn theaders_that_are_refused() {
    let fault = |size, rest: &[u8]| fault(theader::read, &frame(theader::MAGIC, 0, size, rest));
    let bad = Some("bad_theader");
    assert_eq!(fault(1, b"\0\0\0\0p"), None);
    assert_eq!(fault(1, b"\x02\x02\0\x01p"), None);
    assert_eq!(fault(1, b"\0\0\x0b\xffp"), None, "nothing can be read behind an unknown block");
    assert_eq!(fault(0, b"\0\0\0\0p"), bad);
    assert_eq!(fault(2, b"\0\0\0\0p"), bad);
    assert_eq!(fault(1, b"\0\0\0\0"), Some("bad_thrift_frame"));
    assert_eq!(fault(1, b"\x01\0\0\0p"), Some("unknown_payload_protocol"), "JSON");
    assert_eq!(fault(1, b"\xff\xff\xff\xffp"), bad, "a number without end");
    assert_eq!(fault(1, b"\0\x01\x03\0p"), Some("unknown_transform"), "snappy");
    assert_eq!(fault(1, b"\0\x02\x01\x01p"), Some("unknown_transform"), "zlib twice");
    assert_eq!(fault(1, b"\0\x7f\0\0p"), Some("unknown_transform"));
    assert_eq!(fault(1, b"\0\x03\0\0p"), bad, "a transform beyond the header");
    assert_eq!(fault(1, b"\0\0\x01\x01p"), bad, "a pair beyond the header");
    assert_eq!(fault(2, b"\0\0\x01\x01\x01a\x7fbp"), bad);
    assert_eq!(fault(2, b"\0\0\x01\xff\xff\xff\xff\x0fp"), bad);
    let many = [&b"\0\0\x01\x81\x01"[..], &[0; 258], b"\0p"].concat();
    assert_eq!(fault(66, &many), Some("too_many_fields"));
}

#[test]
fn a_header_that_does_not_fit_is_not_written() {
    let (large, mut out) = (vec![b'a'; 65_536], b"before".to_vec());
    let mut writer = ttheader::Writer::new(0, 1, 0, &mut out);
    writer.push(ttheader::Pair::Text(b"k", &large));
    assert!(!writer.finish(1));
    let mut writer = theader::Writer::new(0, 1, 0, false, &mut out);
    for _ in 0..4 {
        writer.push(theader::Pair { key: b"k", value: &large, is_persistent: false });
    }
    assert!(!writer.finish(1));
    assert!(!ttheader::Writer::new(0, 1, 0, &mut out).finish(u32::MAX));
    assert_eq!(out, b"before");
}

pub(super) fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(plain.len() + 1000);
    let mut deflater = flate2::Compress::new(flate2::Compression::best(), true);
    deflater.compress_vec(plain, &mut packed, flate2::FlushCompress::Finish).unwrap();
    packed
}

#[test]
fn zlib_is_undone_within_its_bound() {
    let bomb = deflate(&vec![0; 1 << 20]);
    assert!(bomb.len() < 2000);
    assert_eq!(theader::inflate(&bomb, 1 << 20).unwrap().len(), 1 << 20);
    for bytes_max in [0, 1, 1000, (1 << 20) - 1] {
        assert_eq!(theader::inflate(&bomb, bytes_max), Err(Fault::InflatedTooLarge));
    }
    let packed = deflate(b"hello");
    assert_eq!(theader::inflate(&packed, 5), Ok(b"hello".to_vec()));
    for len in 0..packed.len() {
        assert_eq!(theader::inflate(&packed[..len], 100), Err(Fault::BadZlib));
    }
    assert_eq!(theader::inflate(&[&packed[..], b"x"].concat(), 100), Err(Fault::BadZlib));
    assert_eq!(theader::inflate(b"no zlib", 100), Err(Fault::BadZlib));
    let mut wrong = packed;
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(theader::inflate(&wrong, 100), Err(Fault::BadZlib), "its checksum");
}

proptest! {
    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        super::fuzz_headers(&data);
    }

    #[test]
    fn any_pairs(
        pairs in prop::collection::vec(
            (any::<Option<u16>>(), any::<Vec<u8>>(), any::<bool>()),
            0..20,
        ),
        payload_len in 1..1000u32,
    ) {
        let mut out = Vec::new();
        let mut writer = ttheader::Writer::new(1, 2, 0, &mut out);
        let tt = |(number, text, token): &(Option<u16>, Vec<u8>, bool)| -> (u16, Vec<u8>, bool) {
            (number.unwrap_or(0), text.clone(), *token)
        };
        let all: Vec<_> = pairs.iter().map(tt).collect();
        let all: Vec<_> = all.iter().map(|(number, text, token)| match (token, number) {
            (true, _) => ttheader::Pair::Token(text),
            (false, 0) => ttheader::Pair::Text(text, b"value"),
            (false, number) => ttheader::Pair::Number(*number, text),
        }).collect();
        all.iter().for_each(|pair| writer.push(*pair));
        prop_assert!(writer.finish(payload_len));
        let head = header(ttheader::read, &out);
        prop_assert_eq!(head.payload_len, payload_len);
        let found: Vec<_> = ttheader::pairs(&out[head.blocks]).map(Result::unwrap).collect();
        prop_assert_eq!(found, all);

        let mut out = Vec::new();
        let mut writer = theader::Writer::new(1, 2, 0, false, &mut out);
        let all: Vec<_> = pairs.iter().map(|(_, text, is_persistent)| {
            theader::Pair { key: b"key", value: text, is_persistent: *is_persistent }
        }).collect();
        all.iter().for_each(|pair| writer.push(*pair));
        prop_assert!(writer.finish(payload_len));
        let head = header(theader::read, &out);
        let found: Vec<_> = theader::pairs(&out[head.blocks]).map(Result::unwrap).collect();
        prop_assert_eq!(found, all);
    }
}
