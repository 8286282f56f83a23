//! HPACK against two implementations that share nothing with ours: `loona-hpack`, and blocks that
//! Python's `hpack` 4.2.0 wrote (`testdata/hpack_sessions.txt`).

use proptest::collection::vec;
use proptest::prelude::*;

use crate::error::Fault;
use crate::hpack::encode::{Prefix, write_integer};
use crate::hpack::properties::{Sent, Step, decode, encode, session};
use crate::hpack::{Decoder, Encoder, huffman};

type Pair = (Vec<u8>, Vec<u8>);

fn without_marks(fields: Vec<Sent>) -> Vec<Pair> {
    fields.into_iter().map(|(name, value, _)| (name, value)).collect()
}

/// A representation, whether or not it makes sense where it stands.
#[derive(Clone, Debug)]
enum Piece {
    Indexed(u32),
    /// Pattern and bits of the prefix, name or index, value.
    Literal(Prefix, Result<Text, u32>, Text),
    Resize(u32),
    Raw(u8),
}

/// A string, and whether it is compressed.
type Text = (Vec<u8>, bool);

fn text() -> impl Strategy<Value = Text> {
    let bytes = prop_oneof![4 => vec(any::<u8>(), 0..12), 1 => vec(Just(b'x'), 0..300)];
    (bytes, any::<bool>())
}

fn index() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1u32..70, 1 => 0u32..300]
}

fn piece() -> impl Strategy<Value = Piece> {
    let prefixes = [(0x40, 6), (0x40, 6), (0, 4), (0x10, 4)];
    let prefix = prop::sample::select(prefixes.to_vec());
    let prefix = prefix.prop_map(|(pattern, bits)| Prefix { pattern, bits });
    let name = prop_oneof![2 => text().prop_map(Ok), 1 => index().prop_map(Err)];
    prop_oneof![
        6 => index().prop_map(Piece::Indexed),
        12 => (prefix, name, text()).prop_map(|(p, name, value)| Piece::Literal(p, name, value)),
        1 => (0u32..600).prop_map(Piece::Resize),
        1 => any::<u8>().prop_map(Piece::Raw),
    ]
}

fn write_text((bytes, is_compressed): &Text, out: &mut Vec<u8>) {
    let len = if *is_compressed { huffman::encoded_len(bytes) } else { bytes.len() };
    let pattern = if *is_compressed { 0x80 } else { 0 };
    write_integer(Prefix { pattern, bits: 7 }, len as u32, out);
    match is_compressed {
        true => huffman::encode(bytes, out),
        false => out.extend(bytes),
    }
}

fn write(piece: &Piece, out: &mut Vec<u8>) {
    match piece {
        Piece::Indexed(index) => write_integer(Prefix { pattern: 0x80, bits: 7 }, *index, out),
        Piece::Literal(prefix, name, value) => {
            write_integer(*prefix, *name.as_ref().err().unwrap_or(&0), out);
            name.iter().for_each(|name| write_text(name, out));
            write_text(value, out);
        }
        Piece::Resize(bytes) => write_integer(Prefix { pattern: 0x20, bits: 5 }, *bytes, out),
        Piece::Raw(byte) => out.push(*byte),
    }
}

/// Both decoders, block after block until one refuses: the other one must refuse it as well.
fn compare(blocks: &[Vec<u8>], table_bytes_max: u32) -> Result<(), TestCaseError> {
    let (mut ours, mut peer) = (Decoder::new(table_bytes_max), loona_hpack::Decoder::new());
    peer.set_max_table_size(table_bytes_max as usize);
    peer.set_max_allowed_table_size(table_bytes_max as usize);
    for block in blocks {
        let (fields, ended) = decode(&mut ours, block);
        let theirs = peer.decode(block);
        // The peer takes size updates anywhere but at the end, we at the beginning (§4.2).
        let is_update = theirs == Err(loona_hpack::decoder::DecoderError::SizeUpdateAtEnd);
        if is_update || ended == Err(Fault::BadTableSize) {
            return Ok(());
        }
        let expected = ended.map(|()| without_marks(fields));
        prop_assert_eq!(expected.ok(), theirs.ok());
        if ended.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A block that was written by another implementation.
struct Recorded {
    /// What the decoder allowed before it.
    table_bytes_max: u32,
    block: Vec<u8>,
    fields: Vec<Sent>,
}

fn recorded_sessions() -> Vec<Vec<Recorded>> {
    let text = include_str!("../../testdata/hpack_sessions.txt");
    let mut sessions: Vec<Vec<Recorded>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["session"] => sessions.push(Vec::new()),
            ["block", size, block] => sessions.last_mut().unwrap().push(Recorded {
                table_bytes_max: size.parse().unwrap(),
                block: hex(block),
                fields: Vec::new(),
            }),
            [kind, name, value] => {
                let block = sessions.last_mut().and_then(|session| session.last_mut()).unwrap();
                block.fields.push((hex(name), hex(value), kind == "sensitive"));
            }
            _ => panic!("{line}"),
        }
    }
    sessions
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[test]
fn recorded_blocks_decode() {
    let sessions = recorded_sessions();
    assert!(sessions.len() >= 8);
    for session in sessions {
        let (mut decoder, mut allowed) = (Decoder::new(4096), 4096);
        for Recorded { table_bytes_max, block, fields } in session {
            if table_bytes_max != allowed {
                decoder.set_table_max(table_bytes_max);
                allowed = table_bytes_max;
            }
            assert_eq!(decode(&mut decoder, &block), (fields, Ok(())));
        }
    }
}

#[test]
fn the_peer_decodes_each_of_our_codes() {
    for symbol in 0..=u8::MAX {
        let mut block = literal_of(symbol);
        let fields = loona_hpack::Decoder::new().decode(&block).unwrap();
        assert_eq!(fields, [(b"a".to_vec(), vec![symbol; 3])]);
        block.truncate(block.len() - 1);
        assert!(loona_hpack::Decoder::new().decode(&block).is_err());
    }
}

/// A literal whose value is three times the same symbol, compressed.
fn literal_of(symbol: u8) -> Vec<u8> {
    let mut block = b"\0\x01a".to_vec();
    write_text(&(vec![symbol; 3], true), &mut block);
    block
}

proptest! {
    // The peer makes its tables anew for each string.
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_peer_decodes_what_we_encode(steps in session()) {
        let (mut encoder, mut peer) = (Encoder::new(), loona_hpack::Decoder::new());
        for step in steps {
            match step {
                Step::Resize(bytes) => encoder.set_peer_max(bytes),
                Step::Block(fields) => {
                    let block = encode(&mut encoder, &fields);
                    prop_assert_eq!(peer.decode(&block).unwrap(), without_marks(fields));
                }
            }
        }
    }

    #[test]
    fn we_decode_what_the_peer_encodes(steps in session()) {
        let (mut decoder, mut peer) = (Decoder::new(4096), loona_hpack::Encoder::new());
        for step in steps {
            let Step::Block(fields) = step else { continue };
            let block = peer.encode(fields.iter().map(|(name, value, _)| (&name[..], &value[..])));
            let (decoded, ended) = decode(&mut decoder, &block);
            prop_assert_eq!(ended, Ok(()));
            prop_assert_eq!(without_marks(decoded), without_marks(fields));
        }
    }

    #[test]
    fn both_agree_on_made_up_blocks(
        blocks in vec(vec(piece(), 0..12), 1..8),
        table_bytes_max in prop_oneof![Just(4096u32), 0u32..500],
    ) {
        let bytes = |pieces: &Vec<Piece>| {
            let mut block = Vec::new();
            pieces.iter().for_each(|piece| write(piece, &mut block));
            block
        };
        compare(&blocks.iter().map(bytes).collect::<Vec<_>>(), table_bytes_max)?;
    }

    #[test]
    fn both_agree_on_any_bytes(blocks in vec(vec(any::<u8>(), 0..30), 1..6)) {
        compare(&blocks, 4096)?;
    }
}
