//! The dialect of a cluster that speaks Thrift.

use router::ThriftTransport;
use router::{ClusterProtocol, ClusterSpec, ThriftDialect, ThriftProtocol, ThriftSpec};

use super::Compile;
use crate::config::Item;
use crate::decode::Fault;
use crate::error::did_you_mean;
use crate::tree::shorten;

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
        self.unknown(item, "transport", transport, &["framed", "buffered", "theader", "ttheader"]);
        self.unknown(item, "protocol", protocol, &["binary", "compact"]);
    }

    fn unknown(
        &mut self,
        item: &Item<ClusterSpec>,
        key: &str,
        name: Option<&str>,
        known: &[&'static str],
    ) {
        let Some(name) = name else { return };
        let place = item.place(&["thrift", key]);
        let message = format!("unknown thrift {key} `{}`", shorten(name));
        let hint = did_you_mean(name, known.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("possible here: {}", known.join(", ")));
        self.faults.push(Fault { hint: Some(hint), ..Fault::new(place, message) });
    }
}
