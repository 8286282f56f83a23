//! A shard: the handle that its tasks use, and the thread that runs it.
//!
//! The thread is named, pinned when a core is given, and has all signals blocked: they belong to
//! the control thread. The ring is set up on it, because only the thread that made a
//! SINGLE_ISSUER ring may use it.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::buf::slice::Fill;
use crate::config::{Features, SetupError, ShardConfig};
use crate::core::Core;
use crate::net::address::Address;
use crate::net::bind::BoundListener;
use crate::net::connect::Connect;
use crate::net::listener::Listener;
use crate::net::slot::Flag;
use crate::progress::Progress;
use crate::ring::Group;
use crate::runtime::Runtime;
use crate::stats::{ConnectionInfo, ExitReport, Stats};
use crate::sys;
use crate::task::{NextTurn, Yield};
use crate::timer::Timer;

/// The handle of a shard, for its own tasks.
#[derive(Clone)]
pub struct Shard {
    core: Rc<Core>,
}

impl Shard {
    pub(crate) fn new(core: &Rc<Core>) -> Shard {
        Shard { core: Rc::clone(core) }
    }

    /// The number given in the configuration.
    pub fn id(&self) -> u16 {
        self.core.config.id
    }

    /// Monotonic time of this turn.
    pub fn now(&self) -> Instant {
        self.core.now.get()
    }

    /// Wall time of this turn, read at most once in it.
    pub fn wall(&self) -> SystemTime {
        if let Some(wall) = self.core.wall.get() {
            return wall;
        }
        let wall = self.core.io(|io| io.ring.wall()).unwrap_or(SystemTime::UNIX_EPOCH);
        self.core.wall.set(Some(wall));
        wall
    }

    /// Seeded randomness: for jitter, ids and table seeds, not for secrets.
    pub fn random(&self) -> u64 {
        self.core.io(|io| io.ring.random()).unwrap_or(0)
    }

    /// Starts a task. After the runtime's end the future is dropped at once.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        if self.core.io(|io| io.leaving).unwrap_or(true) {
            return;
        }
        self.core.tasks.spawn(Box::pin(future));
    }

    /// Lets other tasks run first.
    pub fn yield_now(&self) -> impl Future<Output = ()> + use<> {
        Yield { yielded: false }
    }

    /// Goes on in the next turn: what the ring has for other tasks comes first, however many of
    /// them are runnable.
    pub fn next_turn(&self) -> impl Future<Output = ()> + use<> {
        NextTurn { core: Rc::clone(&self.core), asked: false }
    }

    /// Ready at the given time, at most one tick (about 4 ms) later.
    pub fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + use<> {
        let timer = self.timer();
        timer.set(Some(at));
        async move { std::future::poll_fn(|cx| timer.poll_expired(cx)).await }
    }

    /// A deadline without a value yet.
    pub fn timer(&self) -> Timer {
        Timer::new(&self.core)
    }

    /// Connects; dropping the future cancels the attempt.
    pub fn connect(&self, to: &Address) -> Connect {
        Connect::new(&self.core, to)
    }

    /// Accepts from a listening socket on this shard.
    pub fn listen(&self, socket: BoundListener) -> io::Result<Listener> {
        Listener::new(&self.core, socket)
    }

    /// A free bulk page for the caller's own filling; None when there is none. Goes back when it
    /// and all views of it are dropped, which must be soon (I6).
    pub fn page(&self) -> Option<Fill> {
        self.core.io(|io| Fill::take(&io.pool, Group::Bulk)).flatten()
    }

    /// The connection table, in slot order.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.core
            .io(|io| {
                let start = io.start;
                let row = |socket: &crate::net::slot::Socket| ConnectionInfo {
                    peer: socket.peer.address(),
                    protocol: socket.protocol,
                    state: socket.state,
                    route: socket.route,
                    bytes_in: socket.bytes_in,
                    bytes_out: socket.bytes_out,
                    opened: start + Duration::from_millis(u64::from(socket.opened_ms)),
                    outbound: socket.is(Flag::OUTBOUND),
                    held_bytes: socket.held_bytes(),
                };
                io.sockets.iter().map(|(_, socket)| row(socket)).collect()
            })
            .unwrap_or_default()
    }

    /// Sockets of this shard, closing ones included.
    pub fn connection_count(&self) -> usize {
        self.core.io(|io| io.sockets.len()).unwrap_or(0)
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let stats = self.core.io(|io| Stats {
            turns: io.turn,
            enters: io.stats.enters + io.ops.forced_enters,
            sqes: io.ops.sqes,
            bufs_free: Group::ALL.map(|group| io.pool.available(group) as u64),
            ops_in_flight: io.ops.in_flight() as u64,
            sockets: io.sockets.len() as u64,
            ..io.stats
        });
        let tasks = self.core.tasks.len() as u64;
        let (panics, polls) = (self.core.tasks.panics(), self.core.tasks.polls());
        Stats { tasks, panics, polls, ..stats.unwrap_or_default() }
    }

    /// Checks what must hold between turns: pages conserved, caps kept. For the simulator.
    #[cfg(feature = "sim")]
    pub fn check(&self) -> Result<(), String> {
        self.core.io(|io| io.check()).unwrap_or(Ok(()))
    }
}

/// The cores this process may run on.
pub fn cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// A shard's thread.
pub struct ShardThread {
    ready: Receiver<Result<Features, SetupError>>,
    thread: JoinHandle<ExitReport>,
    progress: Arc<Progress>,
}

impl ShardThread {
    /// Waits for the set-up's end. Call it once; a thread that died says so as an error.
    pub fn ready(&self) -> Result<Features, SetupError> {
        self.ready.recv().unwrap_or_else(|_| {
            Err(SetupError::Io {
                doing: "starting a shard",
                source: io::Error::other("its thread has ended"),
            })
        })
    }

    /// The shard's main future is done, or its set-up has failed.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread's end; Err carries a panic.
    pub fn join(self) -> std::thread::Result<ExitReport> {
        self.thread.join()
    }

    /// For the stall detector.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

/// Starts a shard on a thread of its own. `main` makes the shard's main future there; when that
/// is done, the shard ends.
pub fn start_shard<F, Fut>(config: ShardConfig, main: F) -> io::Result<ShardThread>
where
    F: FnOnce(Shard) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let progress = Progress::new();
    let (report, ready) = sync_channel(1);
    let seen = Arc::clone(&progress);
    let name = format!("shard-{}", config.id);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut runtime = match set_up(&config, seen) {
            Ok(runtime) => runtime,
            Err(error) => {
                // Nobody may be waiting any more; then there is nobody to tell.
                let _ = report.send(Err(error));
                return ExitReport::default();
            }
        };
        let _ = report.send(Ok(runtime.features().clone()));
        let main = main(runtime.shard());
        runtime.run(main);
        runtime.shutdown()
    })?;
    Ok(ShardThread { ready, thread, progress })
}

fn set_up(config: &ShardConfig, progress: Arc<Progress>) -> Result<Runtime, SetupError> {
    sys::block_signals().map_err(SetupError::io("blocking signals"))?;
    if let Some(cpu) = config.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        let source = io::Error::last_os_error();
        return Err(SetupError::Io { doing: "pinning a shard to its core", source });
    }
    Runtime::with_progress(config, progress)
}
