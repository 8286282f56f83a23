//! One request, end to end: the trunk that joins ring, wires, routes and records on every shard.
//!
//! Read in this order to know ringway: `listen.rs` (a connection arrives), `conn/` (its bytes
//! become events), `exchange.rs` (a request's life), `attempt.rs` (which endpoint, once more?),
//! `upstream.rs` (its link), `relay.rs` (both bodies), `health.rs` (what is answered here), `tls/`
//! and `transport.rs` (what their bytes go through), `failure.rs` (what may go wrong and what the
//! client sees), `grpc.rs` and `thrift.rs` (what calls ask for beside that), `shard/` (what a
//! shard owns), `caps.rs` and `sources.rs` (what shards share of connections). This file starts
//! shards and talks to them.
//!
//! Two sides meet here and nowhere else: control threads hold a [`Gateway`], shards run [`serve`].
//! Between them are mailboxes; no shard waits for a control thread or for another shard.
#![forbid(unsafe_code)]

mod attempt;
mod caps;
mod collect;
mod conn;
mod date;
mod end;
mod exchange;
mod failure;
mod forwarded;
mod gauges;
mod greet;
mod grpc;
mod health;
mod hops;
mod listen;
mod metadata;
mod relay;
mod shard;
mod slot;
mod sniff;
mod sources;
mod stash;
mod thrift;
mod tls;
mod track;
mod transport;
mod upstream;
mod web;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use control::Snapshot;
use engine::{
    BoundListener, ConnectionInfo, Features, MailReceiver, MailSender, Progress, SetupError, Shard,
    ShardConfig, ShardThread, Timer,
};
use observe::{Recorder, ShardMetrics};

use crate::hops::Via;
use crate::shard::{Options, State};

pub use crate::caps::Caps;
pub use crate::exchange::{PROTOCOL_HTTP1, PROTOCOL_TCP, PROTOCOL_THRIFT, STATE_BUSY, STATE_IDLE};

/// What a control thread may tell a shard.
pub enum ToShard {
    /// Follow this snapshot from the next request on.
    Adopt(Arc<Snapshot>),
    /// Say that this is about to end; connections are still accepted.
    Leave,
    /// Stop accepting, finish what is in progress, cut what remains at the deadline.
    Drain {
        /// When patience ends; `None` waits for the last connection.
        deadline: Option<Instant>,
    },
    /// End now: connections are cut.
    Stop,
    /// Send the connection table to this closure.
    Connections(ConnectionsReply),
}

/// Takes one shard's connection table. Called on the shard, so it only hands the table on.
pub type ConnectionsReply = Box<dyn FnOnce(u16, Vec<ConnectionInfo>) + Send>;

/// What one shard is given at its start.
pub struct Seat {
    /// The configuration to begin with.
    pub snapshot: Arc<Snapshot>,
    /// This shard's sockets, in the order of `snapshot.listeners`.
    pub listeners: Vec<BoundListener>,
    /// Where control threads leave their messages.
    pub mailbox: MailReceiver<ToShard>,
    /// This shard's counters.
    pub metrics: Arc<ShardMetrics>,
    /// Where records of requests go.
    pub recorder: Recorder,
    /// Caps on connections that hold for the whole process.
    pub caps: Arc<Caps>,
}

/// Runs one shard to its end: the whole life of the gateway on this thread. Returns the number of
/// connections that were cut because the drain deadline passed or a stop was asked for.
pub async fn serve(shard: Shard, seat: Seat) -> u64 {
    let Seat { snapshot, listeners, mailbox, metrics, recorder, caps } = seat;
    let state = State::new(shard.clone(), &snapshot, metrics, recorder, caps);
    for (index, socket) in listeners.into_iter().enumerate() {
        match shard.listen(socket) {
            Ok(listener) => shard.spawn(listen::run(state.clone(), listener, index as u32)),
            // A bound, listening socket of our own cannot be refused by the ring.
            Err(error) => panic!("listener {index}: {error}"),
        }
    }
    let mut main = Main { timer: shard.timer(), state, mailbox, drain: None };
    let cut = poll_fn(|cx| main.poll(cx)).await;
    main.leave().await;
    cut
}

/// The shard's own task: messages, housekeeping, and the end.
struct Main {
    state: Rc<State>,
    mailbox: MailReceiver<ToShard>,
    timer: Timer,
    drain: Option<Option<Instant>>,
}

impl Main {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        while let Poll::Ready(Some(message)) = self.mailbox.poll_recv(cx) {
            if self.handle(message) {
                return Poll::Ready(self.cut());
            }
        }
        if let Some(deadline) = self.drain
            && let Poll::Ready(clean) = shard::poll_drained(&self.state, deadline, cx)
        {
            return Poll::Ready(if clean { 0 } else { self.cut() });
        }
        self.housekeep(cx);
        Poll::Pending
    }

    /// Acts on a message. True when the shard is to end now.
    fn handle(&mut self, message: ToShard) -> bool {
        match message {
            ToShard::Adopt(snapshot) => self.state.adopt(&snapshot),
            ToShard::Leave => self.state.leave(),
            ToShard::Drain { deadline } => self.begin_drain(deadline),
            ToShard::Stop => return true,
            ToShard::Connections(reply) => {
                reply(self.state.shard.id(), self.state.shard.connections());
            }
        }
        false
    }

    fn begin_drain(&mut self, deadline: Option<Instant>) {
        self.drain = Some(deadline);
        self.state.stop.set();
        self.state.leave();
        for conn in self.state.all_conns() {
            conn.drain(true);
        }
    }

    fn cut(&self) -> u64 {
        self.state.stop.set();
        self.state.cutting.set(true);
        let conns = self.state.all_conns();
        for conn in &conns {
            conn.abort();
        }
        conns.len() as u64
    }

    fn housekeep(&mut self, cx: &mut Context<'_>) {
        while self.timer.deadline().is_none() || self.timer.poll_expired(cx).is_ready() {
            self.state.publish();
            listen::shed_idle(&self.state);
            let drain = self.drain.flatten();
            let next = self.state.shard.now() + HOUSEKEEPING_INTERVAL;
            self.timer.set(Some(drain.map_or(next, |deadline| deadline.min(next))));
            if drain.is_some_and(|deadline| self.state.shard.now() >= deadline) {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }

    /// Lets the pumps of cut connections and of pooled links come to their end.
    async fn leave(&mut self) {
        self.state.retire_links();
        for _ in 0..LEAVING_TURNS {
            self.state.shard.yield_now().await;
        }
        self.state.publish();
    }
}

/// How often a shard publishes its gauges.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);
/// Turns that a leaving shard gives its tasks to notice; the engine drops what is left.
const LEAVING_TURNS: u32 = 4;

/// What starts a gateway.
pub struct Start {
    /// The configuration to begin with.
    pub snapshot: Arc<Snapshot>,
    /// One entry a shard; its length is the number of shards.
    pub shards: Vec<ShardStart>,
    /// Caps on connections that hold for the whole process.
    pub caps: Arc<Caps>,
}

/// What one shard needs.
pub struct ShardStart {
    /// Sizes and pinning.
    pub config: ShardConfig,
    /// This shard's sockets, in the order of `snapshot.listeners`.
    pub listeners: Vec<BoundListener>,
    /// This shard's counters.
    pub metrics: Arc<ShardMetrics>,
    /// Where this shard's records go.
    pub recorder: Recorder,
}

/// Why a gateway did not start. Shards that had started are stopped.
#[derive(Debug)]
pub enum StartError {
    /// A shard's ring or buffers could not be set up.
    Setup(SetupError),
    /// A thread could not be made.
    Thread(std::io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Setup(error) => error.fmt(f),
            StartError::Thread(error) => write!(f, "starting a shard's thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The running shards, as a control thread holds them.
pub struct Gateway {
    shards: Vec<Running>,
    cut: Arc<AtomicU64>,
}

struct Running {
    thread: ShardThread,
    mailbox: MailSender<ToShard>,
    features: Features,
}

impl Gateway {
    /// Starts every shard and waits until each has its ring.
    pub fn start(start: Start) -> Result<Gateway, StartError> {
        let mut gateway = Gateway { shards: Vec::new(), cut: Arc::new(AtomicU64::new(0)) };
        for shard in start.shards {
            let running = gateway.start_one(&start.snapshot, shard, &start.caps);
            match running {
                Ok(running) => gateway.shards.push(running),
                Err(error) => {
                    gateway.stop();
                    gateway.join();
                    return Err(error);
                }
            }
        }
        Ok(gateway)
    }

    fn start_one(
        &self,
        snapshot: &Arc<Snapshot>,
        start: ShardStart,
        caps: &Arc<Caps>,
    ) -> Result<Running, StartError> {
        let (mailbox, receiver) = engine::mailbox(MAILBOX_MESSAGES);
        let seat = Seat {
            snapshot: snapshot.clone(),
            listeners: start.listeners,
            mailbox: receiver,
            metrics: start.metrics,
            recorder: start.recorder,
            caps: caps.clone(),
        };
        let cut = self.cut.clone();
        let main = move |shard: Shard| async move {
            let count = serve(shard, seat).await;
            cut.fetch_add(count, Ordering::Relaxed);
        };
        let thread = engine::start_shard(start.config, main).map_err(StartError::Thread)?;
        let features = thread.ready().map_err(StartError::Setup)?;
        Ok(Running { thread, mailbox, features })
    }

    /// What the first shard's ring has active.
    pub fn features(&self) -> Option<&Features> {
        self.shards.first().map(|shard| &shard.features)
    }

    /// Gives every shard a snapshot. False if a shard's mailbox was full: it keeps its old one.
    pub fn publish(&self, snapshot: &Arc<Snapshot>) -> bool {
        self.tell(|| ToShard::Adopt(snapshot.clone()))
    }

    /// Tells who watches that this is about to end; connections are still accepted.
    pub fn leave(&self) {
        self.tell(|| ToShard::Leave);
    }

    /// Stops accepting everywhere and ends when everything in progress is done.
    pub fn drain(&self, deadline: Option<Instant>) {
        self.tell(|| ToShard::Drain { deadline });
    }

    /// Ends every shard now.
    pub fn stop(&self) {
        self.tell(|| ToShard::Stop);
    }

    fn tell(&self, message: impl Fn() -> ToShard) -> bool {
        // Every shard is told, whatever another's mailbox says.
        let refused = self.shards.iter().filter(|shard| shard.mailbox.try_send(message()).is_err());
        refused.count() == 0
    }

    /// Whether every shard's thread has ended.
    pub fn is_finished(&self) -> bool {
        self.shards.iter().all(|shard| shard.thread.is_finished())
    }

    /// Waits for every shard's end. Returns the number of connections that were cut.
    pub fn join(self) -> u64 {
        for shard in self.shards {
            // A shard that panicked outside a task has said so; the others end in order.
            let _ = shard.thread.join();
        }
        self.cut.load(Ordering::Relaxed)
    }

    /// Every shard's connection table, by shard; a shard that does not answer in time is left out.
    pub fn connections(&self, timeout: Duration) -> Vec<(u16, Vec<ConnectionInfo>)> {
        let (sender, receiver) = mpsc::sync_channel(self.shards.len().max(1));
        let asked = self.shards.iter().filter(|shard| {
            let sender = sender.clone();
            let reply: ConnectionsReply = Box::new(move |id, table| {
                // A scraper that gave up has dropped its receiver.
                let _ = sender.try_send((id, table));
            });
            shard.mailbox.try_send(ToShard::Connections(reply)).is_ok()
        });
        let asked = asked.count();
        let mut tables: Vec<_> =
            (0..asked).map_while(|_| receiver.recv_timeout(timeout).ok()).collect();
        tables.sort_by_key(|(id, _)| *id);
        tables
    }

    /// Each shard's progress word, for the stall detector.
    pub fn progress(&self) -> Vec<Arc<Progress>> {
        self.shards.iter().map(|shard| shard.thread.progress()).collect()
    }
}

/// Messages a shard may have waiting: reloads and scrapes come a few a second at most.
const MAILBOX_MESSAGES: usize = 64;

/// What the data path reads of a snapshot's settings, looked up once.
fn options(snapshot: &Snapshot) -> Options {
    let settings = &snapshot.settings;
    Options {
        buffered_bytes_max: settings.buffered_bytes(),
        conns_max: settings.max_conns(),
        conns_max_per_source: settings.max_conns_per_source(),
        forwarded: settings.forwarded(),
        forwarded_standard: settings.forwarded_standard(),
        via: Via::new(settings.via()),
        via_replies: settings.via_replies(),
        date: settings.date(),
        trusted_hops: settings.trusted_hops(),
        request_id: settings.request_id(),
        tls_handshake_timeout: settings.tls_handshake_timeout(),
        tunnel_idle_timeout: settings.tunnel_idle_timeout(),
        write_stall_timeout: settings.write_stall_timeout(),
    }
}
