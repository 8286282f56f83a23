//! What the admin server tells of this process, and who updates it.
//!
//! One value behind a mutex on the control side; shards never see it. The gateway is held weakly,
//! so that an admin connection cannot keep it from being joined.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use control::Snapshot;
use control::admin::{AdminState, Content, Readiness};
use engine::ConnectionInfo;
use gateway::Gateway;
use observe::{ErrorLog, Registry};
use router::RouteId;
use serde_json::json;

use crate::certs;
use crate::check;
use crate::explain;
use crate::group;
use crate::routes;
use crate::run::Event;
use crate::serve::lock;
use crate::version::{self, VERSION};

/// How long a page waits for a shard to tell its connections.
const SHARD_ANSWERS: Duration = Duration::from_secs(1);

/// What is known of this process; clones share it.
#[derive(Clone)]
pub(crate) struct Status(Arc<Mutex<Facts>>);

struct Facts {
    readiness: Readiness,
    snapshot: Arc<Snapshot>,
    reloads: u64,
    reload_error: Option<String>,
    gateway: Weak<Mutex<Gateway>>,
    ring: String,
}

impl Status {
    pub(crate) fn new(snapshot: &Arc<Snapshot>) -> Status {
        Status(Arc::new(Mutex::new(Facts {
            readiness: Readiness::Starting,
            snapshot: Arc::clone(snapshot),
            reloads: 0,
            reload_error: None,
            gateway: Weak::new(),
            ring: String::new(),
        })))
    }

    /// The shards are up.
    pub(crate) fn ready(&self, gateway: &Arc<Mutex<Gateway>>, ring: String) {
        let mut facts = self.facts();
        (facts.gateway, facts.ring) = (Arc::downgrade(gateway), ring);
        facts.readiness = Readiness::Ready;
    }

    /// The way out has begun.
    pub(crate) fn draining(&self) {
        self.facts().readiness = Readiness::Draining;
    }

    /// A reload took effect.
    pub(crate) fn reloaded(&self, snapshot: &Arc<Snapshot>) {
        let mut facts = self.facts();
        facts.snapshot = Arc::clone(snapshot);
        facts.reloads += 1;
        facts.reload_error = None;
    }

    /// Routes or certificates were changed.
    pub(crate) fn changed(&self, snapshot: &Arc<Snapshot>) {
        self.facts().snapshot = Arc::clone(snapshot);
    }

    /// A reload was refused.
    pub(crate) fn refused(&self, why: &str) {
        let mut facts = self.facts();
        facts.reloads += 1;
        facts.reload_error = Some(why.to_owned());
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.facts().snapshot)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // Every change is a plain assignment: what a panic leaves behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The admin server's pages.
    pub(crate) fn pages(
        &self,
        registry: &Arc<Registry>,
        errors: &ErrorLog,
        control: SyncSender<Event>,
    ) -> AdminState {
        let (readiness, version) = (self.clone(), self.clone());
        let (config, connections) = (self.clone(), self.clone());
        let (list, one, explain) = (self.clone(), self.clone(), self.clone());
        let metrics = self.clone();
        let (registry, errors) = (Arc::clone(registry), errors.clone());
        AdminState {
            readiness: Box::new(move || readiness.facts().readiness),
            version: Content::new(move |out| out.push_str(&version.version())),
            config: Content::new(move |out| {
                out.push_str(&check::effective(&config.snapshot()));
            }),
            routes: Box::new(move |filter| routes::page(&list.snapshot(), filter)),
            route: Box::new(move |id| routes::one(&one.snapshot(), id)),
            explain: Box::new(move |asked| explain::page(&explain.snapshot(), asked)),
            change: Box::new(move |changes| group::ask(&control, changes)),
            connections: Content::new(move |out| out.push_str(&connections.connections())),
            metrics: Content::new(move |out| {
                let dropped = &registry.process().error_log_dropped;
                dropped.store(errors.dropped(), std::sync::atomic::Ordering::Relaxed);
                registry.render_prometheus(out);
                certs::metrics(&metrics.snapshot(), out);
            }),
        }
    }

    fn version(&self) -> String {
        let facts = self.facts();
        let page = json!({
            "name": "ringway",
            "version": VERSION,
            "pid": std::process::id(),
            "generation": facts.snapshot.generation,
            "hash": format!("{:016x}", facts.snapshot.hash),
            "reloads": facts.reloads,
            "reload_error": facts.reload_error,
            "kernel": version::kernel(),
            "ring": facts.ring,
        });
        format!("{page}\n")
    }

    fn connections(&self) -> String {
        let (gateway, snapshot) = {
            let facts = self.facts();
            (facts.gateway.upgrade(), Arc::clone(&facts.snapshot))
        };
        let tables =
            gateway.map(|gateway| lock(&gateway).connections(SHARD_ANSWERS)).unwrap_or_default();
        let now = Instant::now();
        let rows = tables.iter().flat_map(|(shard, table)| {
            table.iter().map(|connection| row(*shard, connection, &snapshot, now))
        });
        format!("{}\n", serde_json::Value::from_iter(rows))
    }
}

fn row(shard: u16, info: &ConnectionInfo, snapshot: &Snapshot, now: Instant) -> serde_json::Value {
    let route = snapshot.routes.name(RouteId(info.route));
    json!({
        "shard": shard,
        "side": if info.outbound { "up" } else { "down" },
        "peer": info.peer.to_string(),
        "protocol": match info.protocol {
            gateway::PROTOCOL_HTTP1 => Some("http1"),
            gateway::PROTOCOL_TCP => Some("tcp"),
            gateway::PROTOCOL_THRIFT => Some("thrift"),
            _ => None,
        },
        "state": if info.state == gateway::STATE_BUSY { "busy" } else { "idle" },
        "route": route,
        "bytes_in": info.bytes_in,
        "bytes_out": info.bytes_out,
        "age_ms": u64::try_from(now.saturating_duration_since(info.opened).as_millis()).ok(),
        "held_bytes": info.held_bytes,
    })
}
