//! RFC 9113 §7: error codes.

use super::super::testing::*;
use crate::{Fault, StreamId, Wire, WireSpec};

#[test]
fn every_code_has_its_word() {
    for (code, word) in [
        (0, "no_error"),
        (1, "protocol_error"),
        (2, "internal_error"),
        (3, "flow_control_error"),
        (4, "settings_timeout"),
        (5, "stream_closed"),
        (6, "frame_size_error"),
        (7, "refused_stream"),
        (8, "cancel"),
        (9, "compression_error"),
        (10, "connect_error"),
        (11, "enhance_your_calm"),
        (12, "inadequate_security"),
        (13, "http_1_1_required"),
    ] {
        let said = server_says(&[headers(1, POST, false), rst(1, code)].concat()).0;
        assert_eq!(said.lines().last(), Some(format!("0 reset peer_{word}").as_str()));
    }
}

#[test]
fn an_unknown_code_is_like_internal_error() {
    for code in [14, 0xff, u32::MAX] {
        let said = server_says(&[headers(1, POST, false), rst(1, code)].concat()).0;
        assert_eq!(said.lines().last(), Some("0 reset peer_internal_error"));
        assert_eq!(server_says(&go_away(0, code)).0, "closing");
    }
}

#[test]
fn what_this_side_breaks_off_is_not_the_peers_error() {
    for (fault, code) in [
        (Fault::Cancelled, 8),
        (Fault::BodyTruncated, 2),
        (Fault::BadTarget, 2),
        (Fault::StreamRefused, 7),
        (Fault::GlitchFlood, 11),
    ] {
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&headers(1, POST, false));
        peer.with(|wire, cx| wire.reset(StreamId(0), fault, cx));
        assert_eq!(peer.wrote(), format!("RST_STREAM 1 {code}"));
    }
}
