//! A whole gateway in this process: what `run` and `demo` start, reload and stop.
//!
//! Order of start: everything that may be refused by the machine comes before the first shard
//! (locked memory, addresses, log files, admin socket), so a refusal leaves nothing behind. A
//! listener accepts only once every shard has its ring. All methods run on the control thread.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use control::admin::{Admin, AdminAddress, AdminState};
use control::certs::CertificateWatch;
use control::{Change, Publisher, Refusal, RouteStore, Settings, Snapshot, Sources, random_seed};
use engine::{Address, BoundListener, Liveness, ShardConfig};
use gateway::{Caps, Gateway, ShardStart, Start, StartError};
use observe::{AccessLog, ErrorLog, Format, Gauge, Level, Recorder, Registry, Target};
use router::{Cluster, RouteId};

use crate::args;
use crate::check;
use crate::descriptors::Descriptors;
use crate::failure::Failure;
use crate::group::Group;
use crate::memory::{self, MemoryWatch};
use crate::output;
use crate::run::Event;
use crate::stall::StallDetector;
use crate::status::Status;
use crate::version::VERSION;

/// A running gateway with its logs, admin server and detector.
pub(crate) struct Service {
    /// Behind a mutex because admin pages ask it too; nothing holds it longer than a shard takes
    /// to answer, one second at most.
    gateway: Arc<Mutex<Gateway>>,
    snapshot: Arc<Snapshot>,
    store: RouteStore,
    publisher: Publisher,
    certificates: CertificateWatch,
    registry: Arc<Registry>,
    caps: Arc<Caps>,
    access_log: Option<AccessLog>,
    errors: ErrorLog,
    status: Status,
    admin: Option<Admin>,
    stalls: Option<StallDetector>,
    memory: Option<MemoryWatch>,
    addresses: Vec<Address>,
    ring: String,
    nofile: u64,
}

impl Service {
    /// Starts everything for `snapshot`.
    ///
    /// # Errors
    /// What the machine refuses (3), an address that cannot be bound (4), a log that cannot be
    /// opened (1), a thread that cannot be had (70).
    pub(crate) fn start(
        snapshot: Snapshot,
        store: RouteStore,
        events: SyncSender<Event>,
    ) -> Result<Service, Failure> {
        let errors = error_log(&snapshot.settings);
        for warning in snapshot.warnings.iter() {
            errors.write(Level::Warn, "config", warning.clone());
        }
        let nofile = raise_descriptor_limit(&errors);
        // Where huge pages are on for all, the heap gets them. One of them is zeroed within one
        // fault, and where the host of a virtual machine has no memory behind it yet, that took
        // 4.4 ms. The routing table asks for its own, which are written before a shard reads them.
        if !snapshot.settings.huge_pages() {
            // A kernel without them has nothing to switch off.
            let _ = engine::huge_pages_where_advised_only();
        }
        let started = Service::start_parts((Arc::new(snapshot), store), events, nofile, &errors);
        // What was noted on the way stands before the start lines, or before the failure.
        errors.flush();
        started
    }

    fn start_parts(
        (snapshot, store): (Arc<Snapshot>, RouteStore),
        events: SyncSender<Event>,
        nofile: u64,
        errors: &ErrorLog,
    ) -> Result<Service, Failure> {
        let settings = &snapshot.settings;
        let configs = shard_configs(settings, errors)?;
        let (listeners, addresses) = bind(&snapshot, configs.len())?;
        let registry = Arc::new(Registry::new(configs.len(), VERSION, SystemTime::now()));
        let (recorders, access_log) = open_access_log(settings, &registry, errors)?;
        let status = Status::new(&snapshot);
        let admin = serve_admin(settings, status.pages(&registry, errors, events), errors)?;
        name_routes(access_log.as_ref(), &snapshot);
        in_force(&registry, &snapshot);
        let parts = configs.into_iter().zip(listeners).zip(recorders).enumerate();
        let shards = parts.map(|(index, ((config, listeners), recorder))| ShardStart {
            config,
            listeners,
            metrics: registry.shard(index),
            recorder,
        });
        let caps = Arc::new(Caps::new(snapshot.listeners.len(), [random_seed(), random_seed()]));
        set_caps(&caps, &snapshot, &Descriptors::new(nofile, registry.shards().len(), &snapshot));
        let start = Start {
            snapshot: Arc::clone(&snapshot),
            shards: shards.collect(),
            caps: Arc::clone(&caps),
        };
        let seat = Arc::new(OnceLock::new());
        let mut publisher = publisher(&seat);
        // Before there is anybody to tell: from now on the publisher outlives every holder.
        publisher.publish(&snapshot);
        let gateway = Gateway::start(start).map_err(start_failure)?;
        let stalls =
            StallDetector::start(gateway.progress(), Arc::clone(&registry), errors.clone()).ok();
        let ring = gateway.features().map(ToString::to_string).unwrap_or_default();
        let gateway = Arc::new(Mutex::new(gateway));
        seat.get_or_init(|| Arc::downgrade(&gateway));
        status.ready(&gateway, ring.clone());
        let mut service = Service {
            gateway,
            snapshot,
            store,
            publisher,
            certificates: CertificateWatch::default(),
            registry,
            caps,
            access_log,
            errors: errors.clone(),
            status,
            admin,
            stalls,
            memory: None,
            addresses,
            ring,
            nofile,
        };
        service.watch_memory();
        Ok(service)
    }

    /// Where each listener of the snapshot is bound, ports resolved.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the admin server is, if there is one.
    pub(crate) fn admin(&self) -> Option<&AdminAddress> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The error log.
    pub(crate) fn errors(&self) -> &ErrorLog {
        &self.errors
    }

    /// Tells the operator what has started, on standard error: plain lines, or as part of the log
    /// where that is JSON.
    pub(crate) fn announce(&self) {
        let is_json = self.snapshot.settings.log_format() == "json";
        for line in self.start_lines() {
            if is_json {
                self.errors.write(Level::Info, "ringway", line);
            } else {
                output::note(&line);
            }
        }
        self.errors.flush();
    }

    fn start_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (plan, address) in self.snapshot.listeners.iter().zip(&self.addresses) {
            lines.push(format!("listening on {address} ({})", plan.name));
        }
        let max_conns = self.snapshot.settings.max_conns();
        lines.push(self.descriptors(&self.snapshot).describe(max_conns));
        lines.push(format!("ring: {}", self.ring));
        match self.admin() {
            Some(address) => lines.push(format!("admin on {address}")),
            None => lines.push("admin off".into()),
        }
        let (generation, hash) = (self.snapshot.generation, self.snapshot.hash);
        let shards = self.registry.shards().len();
        lines.push(format!("ready, {shards} shards, generation {generation}, hash {hash:016x}"));
        lines
    }

    /// Loads the configuration anew. A bad one changes nothing; the answer says why.
    pub(crate) fn reload(&mut self, sources: &Sources) -> Result<u64, String> {
        match self.store.reload(&self.snapshot, sources) {
            Ok(next) => Ok(self.adopt(next)),
            Err(faults) => {
                let why = check::describe(&faults);
                let process = self.registry.process();
                process.reloads_failed.fetch_add(1, Relaxed);
                process.last_reload_successful.store(0, Relaxed);
                self.status.refused(&why);
                Err(why)
            }
        }
    }

    fn adopt(&mut self, next: Snapshot) -> u64 {
        for warning in next.warnings.iter() {
            self.errors.write(Level::Warn, "config", warning.clone());
        }
        let next = Arc::new(next);
        set_caps(&self.caps, &next, &self.descriptors(&next));
        name_routes(self.access_log.as_ref(), &next);
        self.publisher.publish(&next);
        self.snapshot = next;
        self.watch_memory();
        self.registry.process().reloads_ok.fetch_add(1, Relaxed);
        in_force(&self.registry, &self.snapshot);
        self.status.reloaded(&self.snapshot);
        self.snapshot.generation
    }

    /// Makes changes of routes, each group as a whole or not at all, publishes what they come to,
    /// and answers those who asked for them.
    pub(crate) fn change(&mut self, groups: Vec<Group>, running: bool) {
        if groups.is_empty() {
            return;
        }
        if !running {
            return groups.into_iter().for_each(|group| group.answer(Err(Refusal::Stopping)));
        }
        let asked: Vec<&[Change]> = groups.iter().map(|group| &*group.changes).collect();
        let outcomes = self.store.change(&asked, Instant::now());
        if outcomes.iter().any(Result::is_ok) {
            self.publish_routes();
        }
        let generation = self.snapshot.generation;
        for (group, outcome) in groups.into_iter().zip(outcomes) {
            group.answer(outcome.map(|()| generation));
        }
    }

    fn publish_routes(&mut self) {
        let next = Arc::new(Snapshot {
            generation: self.snapshot.generation + 1,
            routes: Arc::clone(self.store.routes()),
            ..Snapshot::clone(&self.snapshot)
        });
        name_routes(self.access_log.as_ref(), &next);
        self.publisher.publish(&next);
        self.registry.process().generation.store(next.generation, Relaxed);
        self.status.changed(&next);
        self.snapshot = next;
    }

    fn descriptors(&self, snapshot: &Snapshot) -> Descriptors {
        Descriptors::new(self.nofile, self.registry.shards().len(), snapshot)
    }

    /// Sees that memory is watched for the limit of the snapshot in force.
    fn watch_memory(&mut self) {
        let limit = self.snapshot.settings.mem_limit();
        if self.memory.as_ref().map(MemoryWatch::limit_bytes) == limit {
            return;
        }
        // The old one ends first: its end takes the shedding back.
        self.memory = None;
        let Some(limit) = limit else { return };
        let least = memory::least_bytes(self.registry.shards().len(), &self.snapshot.settings);
        if limit < least {
            let text = format!(
                "mem-limit {} MiB may be too little: buffers and rings alone take up \
                                to {} MiB",
                limit >> 20,
                least >> 20
            );
            self.errors.write(Level::Warn, "memory", text);
        }
        let (caps, registry) = (Arc::clone(&self.caps), Arc::clone(&self.registry));
        match MemoryWatch::start(limit, caps, registry, self.errors.clone()) {
            Ok(watch) => self.memory = Some(watch),
            Err(error) => {
                let text = format!("mem-limit has no effect, no thread can be had: {error}");
                self.errors.write(Level::Error, "memory", text);
            }
        }
    }

    /// Takes new certificates where their files have changed; bad ones leave the old in force.
    fn renew_certificates(&mut self) {
        let renewed = self.certificates.look(&self.snapshot, Instant::now());
        let process = self.registry.process();
        let say = |level, text| self.errors.write(level, "certificates", text);
        renewed.warnings.into_iter().for_each(|text| say(Level::Warn, text));
        for text in renewed.refused {
            process.certificates_refused.fetch_add(1, Relaxed);
            say(Level::Error, text);
        }
        let Some(next) = renewed.snapshot.map(Arc::new) else { return };
        for text in renewed.taken {
            process.certificates_renewed.fetch_add(1, Relaxed);
            say(Level::Info, text);
        }
        self.publisher.publish(&next);
        self.registry.process().generation.store(next.generation, Relaxed);
        self.status.changed(&next);
        self.snapshot = next;
    }

    /// Frees snapshots that no shard uses any more, sees to the journal, and looks at the files of
    /// certificates; to be called now and then.
    pub(crate) fn tidy(&mut self) {
        self.renew_certificates();
        self.publisher.retire();
        self.publisher.catch_up();
        let mut warnings = Vec::new();
        self.store.tend(&mut warnings);
        for warning in warnings {
            self.errors.write(Level::Warn, "route_journal", warning);
        }
    }

    /// Opens the access log anew.
    pub(crate) fn reopen_logs(&self) -> std::io::Result<()> {
        self.access_log.as_ref().map_or(Ok(()), AccessLog::reopen)
    }

    /// `/readyz` turns 503, and so does what health services say; connections are still accepted.
    pub(crate) fn unready(&self) {
        self.status.draining();
        lock(&self.gateway).leave();
    }

    /// Stops accepting and ends when everything in progress is done, or at the deadline.
    pub(crate) fn drain(&self, deadline: Option<Instant>) {
        self.status.draining();
        lock(&self.gateway).drain(deadline);
    }

    /// Ends every shard now.
    pub(crate) fn stop(&self) {
        self.status.draining();
        lock(&self.gateway).stop();
    }

    /// Panics caught in all shards so far.
    pub(crate) fn panics(&self) -> u64 {
        self.registry.level(Gauge::Panics)
    }

    /// Whether every shard has ended.
    pub(crate) fn is_finished(&self) -> bool {
        lock(&self.gateway).is_finished()
    }

    /// Waits for the shards' end, writes out the logs, and gives the number of connections that
    /// were cut.
    pub(crate) fn join(self) -> u64 {
        let Service { mut gateway, access_log, errors, admin, stalls, memory, publisher, .. } =
            self;
        drop((stalls, memory, publisher));
        // An admin page holds the gateway for a moment while it asks for connections.
        let cut = loop {
            match Arc::try_unwrap(gateway) {
                Ok(gateway) => {
                    break gateway.into_inner().unwrap_or_else(PoisonError::into_inner).join();
                }
                Err(shared) => gateway = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        drop(admin);
        if let Some(log) = access_log {
            log.stop();
        }
        errors.flush();
        cut
    }
}

/// The gateway, also after a panic of another holder: its methods leave nothing half done.
pub(crate) fn lock(gateway: &Mutex<Gateway>) -> MutexGuard<'_, Gateway> {
    gateway.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error log that the settings ask for.
fn error_log(settings: &Settings) -> ErrorLog {
    // `control` has checked both words.
    let format = Format::parse(settings.log_format()).unwrap_or(Format::Text);
    ErrorLog::start(format, Level::parse(settings.log_level()).unwrap_or(Level::Info))
}

/// One descriptor a connection and one a link: the soft limit of 1024 is never what is wanted.
/// Returns what counts now.
fn raise_descriptor_limit(errors: &ErrorLog) -> u64 {
    engine::probe::raise_nofile().unwrap_or_else(|error| {
        let text = format!("cannot raise the soft limit of open files: {error}");
        errors.write(Level::Warn, "start", text);
        engine::probe::nofile_soft().unwrap_or(u64::MAX)
    })
}

/// How many shards the settings ask for on these cores.
pub(crate) fn shard_count(settings: &Settings, cores: &[usize]) -> usize {
    settings.shards().map_or(cores.len(), |shards| shards as usize).max(1)
}

fn shard_configs(settings: &Settings, errors: &ErrorLog) -> Result<Vec<ShardConfig>, Failure> {
    let cores = settings.cpus().map_or_else(engine::cores, <[usize]>::to_vec);
    let count = shard_count(settings, &cores);
    let wanted = shard_config(settings);
    let plan = engine::plan_memory(count, &wanted)
        .map_err(|error| Failure::Environment(error.to_string()))?;
    for note in plan.notes() {
        errors.write(Level::Warn, "memlock", note.clone());
    }
    let configs = (0..count).map(|index| ShardConfig {
        id: u16::try_from(index).unwrap_or(u16::MAX),
        // More shards than cores is a choice of the operator's: then none is pinned.
        cpu: cores.get(index).copied().filter(|_| count <= cores.len()),
        ..plan.config().clone()
    });
    Ok(configs.collect())
}

fn shard_config(settings: &Settings) -> ShardConfig {
    ShardConfig {
        ring_entries: settings.ring_entries(),
        cq_entries: settings.cq_entries(),
        head_bufs: settings.bufs(),
        head_buf_bytes: settings.buf_bytes(),
        bulk_bufs: settings.bulk_bufs(),
        bulk_buf_bytes: settings.bulk_buf_bytes(),
        out_bytes_max: settings.send_queue_bytes(),
        inbox_bytes_max: settings.inbox_bytes(),
        stalled_bytes_max: settings.stalled_bytes(),
        poll_budget: settings.poll_budget(),
        seed: settings.seed().unwrap_or_else(random_seed),
        huge_pages: settings.huge_pages(),
        fixed_buffers: settings.fixed_buffers(),
        liveness: liveness(settings),
        ..ShardConfig::default()
    }
}

fn liveness(settings: &Settings) -> Liveness {
    Liveness { keepalive_idle: settings.tcp_keepalive(), user_timeout: settings.tcp_user_timeout() }
}

/// Every listener's sockets by shard, and where they are.
fn bind(
    snapshot: &Snapshot,
    shards: usize,
) -> Result<(Vec<Vec<BoundListener>>, Vec<Address>), Failure> {
    let settings = &snapshot.settings;
    let mut by_shard: Vec<Vec<BoundListener>> = (0..shards).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for plan in snapshot.listeners.iter() {
        let failure = |why: String| Failure::Bind(format!("listener {}: {why}", plan.name));
        let address: Address =
            plan.address.parse().map_err(|_| failure(format!("bad address {}", plan.address)))?;
        let bound = engine::bind_with(&address, shards, settings.backlog(), &liveness(settings))
            .map_err(|error| failure(error.to_string()))?;
        addresses.extend(bound.first().map(|socket| socket.address().clone()));
        for (socket, shard) in bound.into_iter().zip(&mut by_shard) {
            shard.push(socket);
        }
    }
    Ok((by_shard, addresses))
}

fn open_access_log(
    settings: &Settings,
    registry: &Arc<Registry>,
    errors: &ErrorLog,
) -> Result<(Vec<Recorder>, Option<AccessLog>), Failure> {
    let target = Target::parse(settings.access_log());
    let metrics = registry.shards().iter().map(Arc::clone);
    if target == Target::Off {
        return Ok((metrics.map(Recorder::off).collect(), None));
    }
    let (recorders, feeds) = metrics.map(Recorder::on).unzip();
    let log = AccessLog::start(target, feeds, errors.clone()).map_err(|error| {
        Failure::Refused(format!("cannot open the access log {}: {error}", settings.access_log()))
    })?;
    Ok((recorders, Some(log)))
}

/// Starts the admin server. The default socket is a convenience: where it cannot be had the
/// gateway starts without; an address that was asked for must work.
fn serve_admin(
    settings: &Settings,
    pages: AdminState,
    errors: &ErrorLog,
) -> Result<Option<Admin>, Failure> {
    let asked = settings.admin();
    let address = args::resolve_admin(asked).map_err(Failure::Refused)?;
    if address == AdminAddress::Off {
        return Ok(None);
    }
    match Admin::serve(&address, Arc::new(pages)) {
        Ok(admin) => Ok(Some(admin)),
        Err(error) if asked == "auto" => {
            let text = format!("no admin server on {address}: {error}; give --admin to choose");
            errors.write(Level::Warn, "admin", text);
            Ok(None)
        }
        Err(error) => Err(Failure::Bind(format!("admin {address}: {error}"))),
    }
}

/// What shards share about connections, as far as a control thread sets it.
fn set_caps(caps: &Caps, snapshot: &Snapshot, descriptors: &Descriptors) {
    let settings = &snapshot.settings;
    caps.set_descriptors_max(descriptors.conns_max());
    // Without it everything works, with pauses when the table grows under load.
    let _ = descriptors.grow_table(settings.max_conns());
    if settings.max_conns_per_source().is_some() {
        caps.count_sources(settings.max_conns());
    }
}

fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Setup(_) => Failure::Environment(error.to_string()),
        StartError::Thread(_) => Failure::Internal(error.to_string()),
    }
}

fn publisher(seat: &Arc<OnceLock<Weak<Mutex<Gateway>>>>) -> Publisher {
    let seat = Arc::clone(seat);
    Publisher::new(vec![Box::new(move |snapshot| {
        let gateway = seat.get().and_then(Weak::upgrade);
        gateway.is_none_or(|gateway| lock(&gateway).publish(&snapshot))
    })])
}

fn name_routes(log: Option<&AccessLog>, snapshot: &Snapshot) {
    if let Some(log) = log {
        let routes = snapshot.routes.names().clone();
        let clusters = Arc::clone(&snapshot.clusters);
        log.names(snapshot.loaded, Box::new(Called { routes, clusters }));
    }
}

/// What routes and clusters are called in the access log.
struct Called {
    routes: control::Names,
    clusters: Arc<[Arc<Cluster>]>,
}

impl observe::Names for Called {
    fn route(&self, index: u32) -> Option<&str> {
        self.routes.get(RouteId(index))
    }

    fn cluster(&self, index: u32) -> Option<&str> {
        self.clusters.get(index as usize).map(|cluster| cluster.name.as_str())
    }
}

fn in_force(registry: &Registry, snapshot: &Snapshot) {
    let process = registry.process();
    process.generation.store(snapshot.generation, Relaxed);
    process.last_reload_successful.store(1, Relaxed);
    let now = observe::export::prometheus::unix_seconds(SystemTime::now());
    process.last_reload_success_seconds.store(now, Relaxed);
}
