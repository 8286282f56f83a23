//! The dialect of a cluster that speaks Thrift, and what a listener takes of it.

use router::{
    ClusterProtocol, ClusterSpec, ThriftDialect, ThriftProtocol, ThriftSpec, ThriftTransport,
};

use super::Compile;
use crate::config::{Item, ListenerSpec};
use crate::decode::Fault;
use crate::error::did_you_mean;
use crate::snapshot::Speaks;
use crate::tree::{Place, shorten};

const TRANSPORTS: &[&str] = &["framed", "buffered", "theader", "ttheader"];
const PROTOCOLS: &[&str] = &["binary", "compact"];

/// What is typed, and the default where it is nothing that there is.
pub(super) fn dialect(spec: &ThriftSpec) -> ThriftDialect {
    ThriftDialect {
        transport: spec.transport.as_deref().and_then(ThriftTransport::find).unwrap_or_default(),
        protocol: spec.protocol.as_deref().and_then(ThriftProtocol::find),
        calls_max: spec.calls_max.and_then(calls).unwrap_or(ThriftDialect::default().calls_max),
    }
}

/// How many calls a connection may have at a time, if it is as many as that. Who looks for one
/// among them looks at all, so that they are not without end.
fn calls(count: u32) -> Option<u16> {
    u16::try_from(count).ok().filter(|count| (1..=CALLS_CAP).contains(count))
}

/// The most calls at a time that a cluster's connection may have.
const CALLS_CAP: u16 = 1000;

impl Compile<'_> {
    pub(super) fn trusts_metadata(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
        speaks: Speaks,
    ) -> bool {
        if spec.trust_metadata.is_some() && speaks == Speaks::Tcp {
            let message = "`trust_metadata` is for listeners that take requests";
            self.fault(item.place(&["trust_metadata"]), message.to_owned());
        }
        spec.trust_metadata.unwrap_or(false)
    }

    pub(super) fn check_thrift(
        &mut self,
        item: &Item<ClusterSpec>,
        spec: &ThriftSpec,
        protocol: ClusterProtocol,
    ) {
        if protocol != ClusterProtocol::Thrift {
            let message = format!(
                "`thrift` is for clusters with protocol thrift: this one has {}",
                protocol.as_str()
            );
            self.fault(item.place(&["thrift"]), message);
        }
        let transport = spec.transport.as_deref();
        let protocol = spec.protocol.as_deref();
        let transport = transport.filter(|name| ThriftTransport::find(name).is_none());
        let protocol = protocol.filter(|name| ThriftProtocol::find(name).is_none());
        self.unknown(item.place(&["thrift", "transport"]), "transport", transport, TRANSPORTS);
        self.unknown(item.place(&["thrift", "protocol"]), "protocol", protocol, PROTOCOLS);
        self.check_calls(item, spec);
    }

    fn check_calls(&mut self, item: &Item<ClusterSpec>, spec: &ThriftSpec) {
        let place = item.place(&["thrift", "calls_max"]);
        let has_header = item.spec.as_ref().is_some_and(|spec| spec.proxy_protocol.is_some());
        match spec.calls_max {
            Some(count) if calls(count).is_none() => {
                self.fault(place, format!("calls_max is {count}: give 1 to {CALLS_CAP}"));
            }
            Some(2..) if has_header => {
                let why = "calls_max is of no use with proxy_protocol: a connection that begins \
                           with a client's address serves one call";
                self.fault(place, why.to_owned());
            }
            _ => {}
        }
    }

    /// The only transport that callers of a listener may have, if there is one.
    pub(super) fn taken_transport(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
        speaks: Speaks,
    ) -> Option<ThriftTransport> {
        let thrift = spec.thrift.as_ref()?;
        if !matches!(speaks, Speaks::Thrift { .. }) {
            let message = "`thrift` is for listeners whose `protocols` name it";
            self.fault(item.place(&["thrift"]), message.to_owned());
        }
        let name = thrift.transport.as_deref()?;
        let found = ThriftTransport::find(name);
        let unknown = found.is_none().then_some(name);
        self.unknown(item.place(&["thrift", "transport"]), "transport", unknown, TRANSPORTS);
        found
    }

    fn unknown(&mut self, place: Place, key: &str, name: Option<&str>, known: &[&'static str]) {
        let Some(name) = name else { return };
        let message = format!("unknown thrift {key} `{}`", shorten(name));
        let hint = did_you_mean(name, known.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("possible here: {}", known.join(", ")));
        self.faults.push(Fault { hint: Some(hint), ..Fault::new(place, message) });
    }
}
