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
    }
}

impl Compile<'_> {
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
