//! Routes: their limits, what they buffer, where a client may upgrade to, and their error pages.
//!
//! Not here: patterns, which the router's table checks. Reads the files that error pages name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use router::{ClusterId, ClusterProtocol, ErrorPageSpec, RouteSpec};

use super::Compile;
use crate::config::Item;
use crate::decode::Fault;
use crate::error::did_you_mean;
use crate::settings::Settings;
use crate::snapshot::{ErrorPage, ErrorPages, RoutePlan};
use crate::tree::{Place, shorten};

impl Compile<'_> {
    pub(super) fn routes(&mut self) -> Vec<RoutePlan> {
        let config = self.config;
        let names: BTreeMap<&str, u32> =
            config.clusters.iter().map(|item| item.name.as_str()).zip(0..).collect();
        let mut ids: BTreeMap<&str, Place> = BTreeMap::new();
        let mut plans = Vec::new();
        for (item, index) in config.routes.iter().zip(0..) {
            if !item.name.is_empty()
                && let Some(first) = ids.insert(&item.name, item.place(&["id"]))
            {
                let (id, line) = (shorten(&item.name), first.line);
                let message = format!("route id `{id}` is already used on line {line}");
                self.fault(item.place(&["id"]), message);
            }
            let Some(spec) = &item.spec else { continue };
            let cluster = names.get(spec.cluster.as_str()).copied();
            let named = !(item.healed && spec.cluster.is_empty());
            if cluster.is_none() && named {
                let message = format!("unknown cluster `{}`", shorten(&spec.cluster));
                let hint = did_you_mean(&spec.cluster, names.keys().copied());
                let place = item.place(&["cluster"]);
                self.faults.push(Fault { hint, ..Fault::new(place, message) });
            }
            if let Some(cluster) = cluster {
                let place = item.place(&["cluster"]);
                self.expect_protocol(place, cluster, ClusterProtocol::Http1);
            }
            let timeout = spec.timeout.map(|time| time.as_millis() as u64);
            self.range(item.place(&["timeout"]), "timeout", "request-timeout", timeout);
            let body = spec.body_bytes_max;
            self.range(item.place(&["body_bytes_max"]), "body_bytes_max", "body-bytes-max", body);
            for (key, bytes) in [("request", spec.buffer.request), ("reply", spec.buffer.reply)] {
                self.range(item.place(&["buffer", key]), key, "buffered-bytes", bytes);
            }
            self.upgrades(item, spec);
            let pages = self.error_pages(item, &spec.error_pages);
            plans.push(route(index, spec, (cluster, pages), &config.settings));
        }
        plans
    }

    /// `h2c` is not among them: what followed would be HTTP/2 past this gateway's rules.
    fn upgrades(&mut self, item: &Item<RouteSpec>, spec: &RouteSpec) {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/!#$%&'*^`|~".contains(&byte);
        for token in &spec.upgrade {
            let place = item.place(&["upgrade"]);
            if token.is_empty() || !token.bytes().all(known) {
                let message = format!("upgrade `{}` is no protocol name", shorten(token));
                self.fault(place, message);
            } else if token.eq_ignore_ascii_case("h2c") {
                self.fault(place, "upgrade `h2c` cannot be passed on".to_owned());
            }
        }
    }

    /// Pages by status. A file is read relative to the configuration's own folder.
    pub(super) fn error_pages<T>(&mut self, item: &Item<T>, specs: &[ErrorPageSpec]) -> ErrorPages {
        let place = item.place(&["error_pages"]);
        let mut pages = ErrorPages::default();
        for spec in specs {
            let page = match self.error_page(spec) {
                Ok(page) => Arc::new(page),
                Err(why) => {
                    self.fault(place, format!("error page: {why}"));
                    continue;
                }
            };
            if spec.status.is_empty() {
                self.fault(place, "error page: `status` is empty".to_owned());
            }
            for status in &spec.status {
                if !(400..=599).contains(status) {
                    let message = format!("error page: status {status} is not 400 to 599");
                    self.fault(place, message);
                } else if !pages.insert(*status, &page) {
                    self.fault(place, format!("error page: status {status} has two pages"));
                }
            }
        }
        pages
    }

    fn error_page(&self, spec: &ErrorPageSpec) -> Result<ErrorPage, String> {
        let body = match (&spec.file, &spec.body) {
            (Some(file), None) => {
                let folder = Path::new(&self.config.file).parent().unwrap_or(Path::new(""));
                let read = (self.resolve.read)(&folder.join(file));
                read.map_err(|error| format!("file `{}`: {error}", shorten(file)))?
            }
            (None, Some(body)) => body.clone().into_bytes(),
            _ => return Err("give it either `file` or `body`".to_owned()),
        };
        if body.len() > PAGE_BYTES_MAX {
            return Err(format!("{} bytes are more than {PAGE_BYTES_MAX}", body.len()));
        }
        let content_type = spec.content_type.as_deref().unwrap_or("text/html; charset=utf-8");
        let legal = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if content_type.is_empty() || !content_type.bytes().all(legal) {
            let shown = shorten(content_type);
            return Err(format!("content_type `{shown}` is no value of a field"));
        }
        Ok(ErrorPage { content_type: content_type.to_owned(), body })
    }
}

/// A page is queued whole for whoever asks: it fits the send queue of one connection.
const PAGE_BYTES_MAX: usize = 64 * 1024;

/// A route without a cluster is only made beside a fault; its plan is never used.
fn route(
    index: u32,
    spec: &RouteSpec,
    (cluster, error_pages): (Option<u32>, ErrorPages),
    settings: &Settings,
) -> RoutePlan {
    RoutePlan {
        id: spec.id.clone(),
        index,
        cluster: ClusterId(cluster.unwrap_or(0)),
        timeout: spec.timeout.or(settings.request_timeout()),
        body_bytes_max: spec.body_bytes_max.or(settings.body_bytes_max()),
        retry: spec.retry.unwrap_or(true),
        buffer_request_bytes_max: spec.buffer.request,
        buffer_reply_bytes_max: spec.buffer.reply,
        error_pages: Arc::new(error_pages),
        upgrade: spec.upgrade.iter().map(|token| token.to_ascii_lowercase()).collect(),
    }
}
