//! Properties of HPACK: what is sent arrives, whatever was cut, changed or made up.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::error::Fault;
use crate::hpack::fuzz::fuzz_hpack;
use crate::hpack::table::Table;
use crate::hpack::{Decoder, Encoder};

/// A field: name, value, sensitive.
pub(super) type Sent = (Vec<u8>, Vec<u8>, bool);

/// What happens between two blocks.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Block(Vec<Sent>),
    /// The decoder's side allows another size, and the encoder's side acknowledges it.
    Resize(u32),
}

/// Names and values that recur, as on a real connection, and some that do not.
fn field() -> impl Strategy<Value = Sent> {
    let name = prop_oneof![
        6 => prop::sample::select(vec![
            ":method", ":path", ":status", ":authority", "cookie", "user-agent", "accept",
            "authorization", "date", "x-request-id", "x-tenant", "x-other", "te", "",
        ]).prop_map(|name| name.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ];
    let value = prop_oneof![
        6 => prop::sample::select(vec![
            "GET", "/", "/a?b", "200", "", "text/html", "a", "b", "c", "session=0123456789abcdef",
        ]).prop_map(|value| value.as_bytes().to_vec()),
        2 => "[ -~]{0,60}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..60),
        1 => (0usize..5000).prop_map(|len| vec![b'v'; len]),
    ];
    (name, value, prop::bool::weighted(0.1))
}

/// What a connection does.
pub(super) fn session() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![Just(0), Just(4096), 0u32..200, 0u32..10_000];
    let step = prop_oneof![
        4 => vec(field(), 1..12).prop_map(Step::Block),
        1 => size.prop_map(Step::Resize),
    ];
    vec(step, 1..30)
}

pub(super) fn encode(encoder: &mut Encoder, fields: &[Sent]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value, sensitive) in fields {
        encoder.encode(name, value, *sensitive, &mut out);
    }
    out
}

pub(super) fn decode(decoder: &mut Decoder, block: &[u8]) -> (Vec<Sent>, Result<(), Fault>) {
    let mut fields = Vec::new();
    let ended = decoder.decode(block, |field| {
        fields.push((field.name.to_vec(), field.value.to_vec(), field.sensitive));
        true
    });
    (fields, ended)
}

fn contents(table: &Table) -> Vec<(&[u8], &[u8])> {
    (0..).map_while(|index| table.field(index)).collect()
}

/// The blocks of a session, all encoded by one encoder of a peer that never changes its size.
fn blocks(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    let blocks = steps.iter().filter_map(|step| match step {
        Step::Block(fields) => Some(encode(&mut encoder, fields)),
        Step::Resize(_) => None,
    });
    blocks.collect()
}

/// Bytes with a few of them changed, removed or doubled.
fn mutate(bytes: &mut Vec<u8>, changes: &[(u16, u8, u8)]) {
    for &(at, kind, byte) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(at) % bytes.len();
        match kind % 3 {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
    }
}

proptest! {
    // A found case becomes a test of its own, not a seed that the next strategy cannot read.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives(steps in session()) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for step in steps {
            let sent = match step {
                Step::Block(fields) => fields,
                Step::Resize(bytes) => {
                    encoder.set_peer_max(bytes);
                    decoder.set_table_max(bytes);
                    continue;
                }
            };
            let (fields, ended) = decode(&mut decoder, &encode(&mut encoder, &sent));
            prop_assert_eq!(ended, Ok(()));
            prop_assert_eq!(fields.len(), sent.len());
            for (field, sent) in fields.iter().zip(&sent) {
                prop_assert_eq!((&field.0, &field.1), (&sent.0, &sent.1));
                // We may add the mark, and never lose it.
                prop_assert!(field.2 || !sent.2);
            }
            prop_assert_eq!(contents(encoder.table()), contents(decoder.table()));
            prop_assert_eq!(encoder.table().max(), decoder.table().max());
            prop_assert!(encoder.held_bytes() <= 6 * 1024);
        }
    }

    #[test]
    fn a_cut_block_decodes_to_its_first_fields(steps in session(), at: prop::sample::Index) {
        let (mut whole, mut cut) = (Decoder::new(4096), Decoder::new(4096));
        for block in blocks(&steps) {
            let (fields, ended) = decode(&mut whole, &block);
            prop_assert_eq!(ended, Ok(()));
            let at = at.index(block.len() + 1);
            let (first, ended) = decode(&mut cut, &block[..at]);
            prop_assert_eq!(&first[..], &fields[..first.len()]);
            prop_assert!(matches!(ended, Ok(()) | Err(Fault::HpackTruncated)));
            if first.len() < fields.len() || ended.is_err() {
                break;
            }
        }
    }

    #[test]
    fn who_stops_listening_keeps_the_table(steps in session(), wanted in 0usize..12) {
        let (mut whole, mut part) = (Decoder::new(4096), Decoder::new(4096));
        for block in blocks(&steps) {
            let (fields, _) = decode(&mut whole, &block);
            let mut heard = 0;
            let ended = part.decode(&block, |_| {
                heard += 1;
                heard < wanted
            });
            prop_assert_eq!((ended, heard), (Ok(()), wanted.max(1).min(fields.len())));
            prop_assert_eq!(contents(whole.table()), contents(part.table()));
        }
    }

    #[test]
    fn mutated_blocks_hold_the_invariants(
        steps in session(),
        changes in vec((any::<u16>(), any::<u8>(), any::<u8>()), 0..6),
    ) {
        let mut script = Vec::new();
        for block in blocks(&steps).iter().filter(|block| block.len() < 240) {
            script.push(block.len() as u8);
            script.extend(block);
        }
        fuzz_hpack(&script);
        mutate(&mut script, &changes);
        fuzz_hpack(&script);
    }

    #[test]
    fn any_bytes_hold_the_invariants(script in vec(any::<u8>(), 0..400)) {
        fuzz_hpack(&script);
    }
}
