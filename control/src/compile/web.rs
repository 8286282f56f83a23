//! gRPC-Web on a route: pages, fields and the size of a message.
//!
//! Messages are those of gRPC, so the cluster must be asked in HTTP/2.

use router::{ClusterProtocol, RouteSpec};

use super::facts::Facts;
use crate::config::Item;
use crate::decode::Fault;
use crate::snapshot::GrpcWebPlan;
use crate::tree::shorten;

/// What every page may send.
const SENT: &str = "content-type,x-grpc-web,x-user-agent,grpc-timeout";
/// What every page may read.
const READ: &str = "grpc-status,grpc-message,grpc-status-details-bin";
/// What servers of gRPC take where nothing else is said.
const MESSAGE_BYTES_DEFAULT: u32 = 4 * 1024 * 1024;

impl Facts {
    /// What a route says of gRPC-Web, if it does.
    pub(super) fn grpc_web(
        &self,
        item: &Item<RouteSpec>,
        spec: &RouteSpec,
        cluster: Option<u32>,
        faults: &mut Vec<Fault>,
    ) -> Option<GrpcWebPlan> {
        let web = spec.grpc_web.as_ref()?;
        let place = |key| item.place(&["grpc_web", key]);
        let expected = &[ClusterProtocol::Http2];
        let wrong = |at| self.expect_protocol(item.place(&["grpc_web"]), at, expected);
        faults.extend(cluster.and_then(wrong));
        let any_origin = web.allow_origins.iter().any(|origin| origin == "*");
        if any_origin && web.allow_origins.len() > 1 {
            let message = "`*` is every origin: it stands alone";
            faults.push(Fault::new(place("allow_origins"), message));
        }
        let wrong = web.allow_origins.iter().filter(|origin| *origin != "*" && !is_origin(origin));
        faults.extend(wrong.map(|origin| {
            let message = format!("`{}` is no origin like https://example.com", shorten(origin));
            Fault::new(place("allow_origins"), message)
        }));
        if web.allow_credentials && (any_origin || web.allow_origins.is_empty()) {
            let message = "`allow_credentials` is for pages of origins that `allow_origins` names";
            faults.push(Fault::new(place("allow_credentials"), message));
        }
        for (key, names) in
            [("allow_headers", &web.allow_headers), ("expose_headers", &web.expose_headers)]
        {
            let wrong = names.iter().filter(|name| !is_field_name(name));
            faults.extend(wrong.map(|name| {
                let message = format!("`{}` is no name of a field", shorten(name));
                Fault::new(place(key), message)
            }));
        }
        let bytes_max = web.message_bytes_max.unwrap_or(MESSAGE_BYTES_DEFAULT.into());
        let message_bytes_max = u32::try_from(bytes_max).ok().filter(|bytes| *bytes > 0);
        if message_bytes_max.is_none() {
            let message = format!("a message has 1 to {} bytes", u32::MAX);
            faults.push(Fault::new(place("message_bytes_max"), message));
        }
        Some(GrpcWebPlan {
            any_origin,
            allow_origins: web.allow_origins.clone(),
            allow_credentials: web.allow_credentials,
            allow_headers: joined(SENT, &web.allow_headers),
            expose_headers: joined(READ, &web.expose_headers),
            message_bytes_max: message_bytes_max.unwrap_or(MESSAGE_BYTES_DEFAULT),
        })
    }
}

/// `scheme://host` or `scheme://host:port`, as a browser writes it: compared byte by byte.
fn is_origin(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let outside = ['/', '?', '#', '@', ',', '*'];
    !scheme.is_empty() && !host.is_empty() && !host.contains(outside) && text.bytes().all(legal)
}

fn is_field_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+!#$%&'*^`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(known)
}

fn joined(first: &str, names: &[String]) -> String {
    let names = names.iter().map(|name| name.to_ascii_lowercase());
    std::iter::once(first.to_owned()).chain(names).collect::<Vec<_>>().join(",")
}
