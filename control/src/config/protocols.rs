//! `protocols` at the top level: a listener for each protocol that is enabled, at its usual port.
//!
//! The short form for a gateway with a port for each protocol. It says nothing of clusters and
//! routes, which come from another file or from `--upstream`. What it makes are items like those of
//! `listeners`, with the places of what was typed, so that nothing behind this module knows of it.

use std::rc::Rc;

use serde::Deserialize;

use super::{Config, Item, ListenerSpec, ListenerThriftSpec, Protocols, expect_map};
use crate::decode::{Fault, unknown_key};
use crate::tree::{Key, Node, Value};

/// One protocol as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProtocolSpec {
    /// True by default.
    #[serde(default)]
    enable: Option<bool>,
    /// Its connections begin with TLS, with the pair of `--tls-cert` and `--tls-key`.
    #[serde(default)]
    tls: Option<bool>,
    /// Bytes of a request body.
    #[serde(default, deserialize_with = "router::deserialize_bytes")]
    max_body_size: Option<u64>,
    /// The only one that callers of Thrift may have.
    #[serde(default)]
    transport: Option<String>,
}

/// What a protocol comes to where nothing else is said.
struct Usual {
    name: &'static str,
    address: &'static str,
    speaks: &'static [&'static str],
}

const USUAL: [Usual; 3] = [
    Usual { name: "http", address: "0.0.0.0:8080", speaks: &["http1", "http2"] },
    Usual { name: "grpc", address: "0.0.0.0:9090", speaks: &["http2"] },
    Usual { name: "thrift", address: "0.0.0.0:7070", speaks: &["thrift"] },
];

impl Config {
    pub(super) fn read_protocols(&mut self, node: &Node, faults: &mut Vec<Fault>) {
        if !expect_map(node, faults) {
            self.broken = true;
            return;
        }
        for (key, node) in node.entries() {
            let usual = USUAL.iter().find(|usual| usual.name == &*key.text);
            let Some(usual) = usual else {
                self.broken = true;
                faults.push(unknown_key(key.place, &key.text, &USUAL.map(|usual| usual.name)));
                continue;
            };
            let item = Item::read(usual.name, key.place, node, faults);
            match &item.spec {
                None => self.broken = true,
                Some(spec) => self.listeners.extend(listener(usual, spec, &item, faults)),
            }
        }
    }
}

/// `None` where it is not enabled.
fn listener(
    usual: &Usual,
    spec: &ProtocolSpec,
    item: &Item<ProtocolSpec>,
    faults: &mut Vec<Fault>,
) -> Option<Item<ListenerSpec>> {
    if spec.transport.is_some() && usual.name != "thrift" {
        let message = format!("`transport` is for `thrift`, not for `{}`", usual.name);
        faults.push(Fault::new(item.place(&["transport"]), message));
    }
    let speaks = usual.speaks.iter().map(|name| (*name).to_owned());
    let transport = spec.transport.clone();
    let listener = ListenerSpec {
        name: Some(usual.name.to_owned()),
        address: usual.address.to_owned(),
        protocols: Some(Protocols::Many(speaks.collect())),
        body_bytes_max: spec.max_body_size,
        thrift: transport.map(|name| ListenerThriftSpec { transport: Some(name) }),
        wants_tls: Some(spec.tls.unwrap_or(false)),
        ..ListenerSpec::default()
    };
    spec.enable.unwrap_or(true).then(|| Item {
        spec: Some(listener),
        healed: item.healed,
        name: item.name.clone(),
        place: item.place,
        node: item.node.as_ref().map(renamed),
    })
}

/// The node with the keys that listeners have, each at the place of the one that was typed.
fn renamed(node: &Node) -> Node {
    let rename = |(key, node): &(Key, Node)| match &*key.text {
        "max_body_size" => (renamed_key(key, "body_bytes_max"), node.clone()),
        "transport" => {
            let inner = vec![(key.clone(), node.clone())];
            let value = Value::Map(Rc::new(inner));
            (renamed_key(key, "thrift"), Node { place: node.place, value })
        }
        _ => (key.clone(), node.clone()),
    };
    let entries = node.entries().iter().map(rename).collect();
    Node { place: node.place, value: Value::Map(Rc::new(entries)) }
}

fn renamed_key(key: &Key, name: &str) -> Key {
    Key { place: key.place, text: Rc::from(name) }
}
