//! What Thrift's clients and upstreams of the simulator say to each other, on the packets of
//! `mock`, which share nothing with the gateway's wire.
//!
//! A call's argument is a string, the target of its plan with its upload behind it; a result is
//! one, the id and the hash of what came, with the reply's body behind it.

use mock::thrift::{Encoding, Envelope, OUT_OF_ORDER, Packet};

use super::plan::Plan;

/// How a client or a cluster speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// What delimits messages.
    pub(crate) envelope: Envelope,
    /// How they are written.
    pub(crate) encoding: Encoding,
}

impl Dialect {
    /// One of them.
    pub(crate) fn draw(number: u64) -> Dialect {
        let envelopes = [
            Envelope::Framed,
            Envelope::Unframed,
            Envelope::Theader { number: 0, flags: 0 },
            Envelope::Theader { number: 0, flags: OUT_OF_ORDER },
            Envelope::Ttheader { number: 0, protocol: 0, is_framed: true },
            Envelope::Ttheader { number: 0, protocol: 0, is_framed: false },
        ];
        let encoding = if number.is_multiple_of(2) { Encoding::Binary } else { Encoding::Compact };
        Dialect { envelope: envelopes[(number / 2 % 6) as usize], encoding }
    }

    /// The header with a call's number in it.
    pub(crate) fn numbered(self, all: i32) -> Envelope {
        let number = all as u32;
        match self.envelope {
            Envelope::Theader { flags, .. } => Envelope::Theader { number, flags },
            Envelope::Ttheader { protocol, is_framed, .. } => {
                Envelope::Ttheader { number, protocol, is_framed }
            }
            bare => bare,
        }
    }

    /// Replies can only be told apart by the order that they come in.
    pub(crate) fn is_ordered(self) -> bool {
        !self.envelope.is_out_of_order()
    }
}

/// Where a plan's call is routed to, by its method.
pub(crate) fn method(plan: &Plan) -> &'static str {
    match (plan.cluster, plan.id % 4) {
        (2, _) => "nobody",
        (_, 0) => "framed",
        (_, 1) => "buffered",
        (_, 2) => "theader",
        _ => "ttheader",
    }
}

/// The struct whose one field is a string of two parts.
pub(crate) fn string(encoding: Encoding, id: u8, line: &str, bytes: &[u8]) -> Vec<u8> {
    let len = (line.len() + 1 + bytes.len()) as u32;
    let mut out = match (encoding, id) {
        (Encoding::Binary, _) => vec![11, 0, id],
        (Encoding::Compact, 0) => vec![8, 0],
        (Encoding::Compact, _) => vec![id << 4 | 8],
    };
    match encoding {
        Encoding::Binary => out.extend(len.to_be_bytes()),
        Encoding::Compact => {
            let mut left = len;
            while left >= 0x80 {
                out.push(left as u8 | 0x80);
                left >>= 7;
            }
            out.push(left as u8);
        }
    }
    out.extend(line.as_bytes());
    out.push(b'\n');
    out.extend(bytes);
    out.push(0);
    out
}

/// The two parts of such a struct.
pub(crate) fn parts<'a>(packet: &Packet<'a>, id: u8) -> (&'a str, &'a [u8]) {
    let encoding = packet.head.encoding;
    let prefix = match (encoding, id) {
        (Encoding::Binary, _) => 3 + 4,
        (Encoding::Compact, _) => {
            let begin = if id == 0 { 2 } else { 1 };
            let rest = &packet.body[begin..];
            begin + 1 + rest.iter().position(|byte| byte & 0x80 == 0).expect("a length")
        }
    };
    let (line, bytes) = packet.body[prefix..packet.body.len() - 1]
        .split_at(packet.body[prefix..].iter().position(|&byte| byte == b'\n').expect("a line"));
    let line = std::str::from_utf8(line).expect("a line of text");
    assert_eq!(packet.body, string(encoding, id, line, &bytes[1..]), "another struct");
    (line, &bytes[1..])
}
