//! What a route does: its cluster, its limits, what it buffers, where a client may upgrade to.
//!
//! Not here: patterns, which the router's table checks.

use std::sync::Arc;
use std::time::Duration;

use router::{ClusterId, ClusterProtocol, MatchSpec, RouteSpec};

use super::facts::{Facts, range};
use crate::config::Item;
use crate::decode::Fault;
use crate::snapshot::RoutePlan;
use crate::tree::shorten;

/// Longest name of a route in bytes.
const NAME_BYTES_MAX: usize = 255;

impl Facts {
    /// The plan of a route. One with faults is never used.
    pub(crate) fn plan(
        &self,
        item: &Item<RouteSpec>,
        spec: &RouteSpec,
        faults: &mut Vec<Fault>,
    ) -> RoutePlan {
        check_name(item, faults);
        let place = item.place(&["cluster"]);
        let cluster = self.cluster(&spec.cluster);
        let named = !(item.healed && spec.cluster.is_empty());
        if cluster.is_none() && named {
            faults.push(self.unknown_cluster(place, &spec.cluster));
        }
        let expected = speakers(&spec.r#match);
        faults.extend(cluster.and_then(|at| self.expect_protocol(place, at, expected)));
        check_limits(item, spec, faults);
        check_upgrades(item, spec, faults);
        let grpc_web = self.grpc_web(item, spec, cluster, faults).map(Arc::new);
        let pages = self.error_pages(item.place(&["error_pages"]), &spec.error_pages, faults);
        RoutePlan {
            // A route without a cluster is only made beside a fault.
            cluster: ClusterId(cluster.unwrap_or(0)),
            timeout: spec.timeout.or(self.settings.request_timeout()),
            body_bytes_max: spec.body_bytes_max,
            retry: spec.retry.unwrap_or(true),
            buffer_request_bytes_max: spec.buffer.request,
            buffer_reply_bytes_max: spec.buffer.reply,
            error_pages: Arc::new(pages),
            upgrade: spec.upgrade.iter().map(|token| token.to_ascii_lowercase()).collect(),
            grpc_web,
        }
    }
}

/// What the cluster of a route may speak. Where the match names a protocol that is known; a route
/// that takes everything leads to whom it was made for.
fn speakers(matched: &MatchSpec) -> &'static [ClusterProtocol] {
    let all = &[ClusterProtocol::Http1, ClusterProtocol::Http2, ClusterProtocol::Thrift];
    match matched {
        MatchSpec { thrift: Some(_), .. } => &all[2..],
        MatchSpec { grpc: Some(_), .. } => &all[..2],
        _ => all,
    }
}

fn check_name(item: &Item<RouteSpec>, faults: &mut Vec<Fault>) {
    let place = item.place(&["id"]);
    if item.name.is_empty() && !item.healed {
        faults.push(Fault::new(place, "`id` is empty"));
    } else if item.name.len() > NAME_BYTES_MAX {
        let message = format!("`id` is longer than {NAME_BYTES_MAX} bytes");
        faults.push(Fault::new(place, message));
    }
}

fn check_limits(item: &Item<RouteSpec>, spec: &RouteSpec, faults: &mut Vec<Fault>) {
    let timeout = spec.timeout.map(|time: Duration| time.as_millis() as u64);
    for (path, setting, value) in [
        (&["timeout"][..], "request-timeout", timeout),
        (&["body_bytes_max"], "body-bytes-max", spec.body_bytes_max),
        (&["buffer", "request"], "buffered-bytes", spec.buffer.request),
        (&["buffer", "reply"], "buffered-bytes", spec.buffer.reply),
    ] {
        let key = path[path.len() - 1];
        faults.extend(range(item.place(path), key, setting, value));
    }
}

/// `h2c` is not among them: what followed would be HTTP/2 past this gateway's rules.
fn check_upgrades(item: &Item<RouteSpec>, spec: &RouteSpec, faults: &mut Vec<Fault>) {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/!#$%&'*^`|~".contains(&byte);
    for token in &spec.upgrade {
        let place = item.place(&["upgrade"]);
        if token.is_empty() || !token.bytes().all(known) {
            let message = format!("upgrade `{}` is no protocol name", shorten(token));
            faults.push(Fault::new(place, message));
        } else if token.eq_ignore_ascii_case("h2c") {
            faults.push(Fault::new(place, "upgrade `h2c` cannot be passed on"));
        }
    }
}
