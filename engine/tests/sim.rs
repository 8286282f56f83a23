//! The engine alone on the simulated ring: an echo and a forwarder under seeded faults.
//!
//! Each seed runs one shard with small buffers against scripted far ends. What must hold: bytes
//! come back in order and unchanged; a clean end means that nothing is missing; at the end no
//! socket, op, task, buffer or descriptor is left; two runs of a seed are equal bit for bit.
//! `RINGWAY_SEED` replays one seed, `RINGWAY_SEEDS` sets how many.
#![cfg(feature = "sim")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use engine::sim::{Fault, Faults, Fired, Net, Peer, PeerListener, Rng};
use engine::{Address, Listener, Piece, Runtime, Shard, ShardConfig, Stream};

/// Tells the server's tasks to stop.
#[derive(Default)]
struct Stop {
    stopped: bool,
    wakers: Vec<Waker>,
}

type Stopper = Rc<RefCell<Stop>>;

fn stop(stopper: &Stopper) {
    stopper.borrow_mut().stopped = true;
    let wakers = std::mem::take(&mut stopper.borrow_mut().wakers);
    wakers.into_iter().for_each(Waker::wake);
}

/// The listening address, and the upstream that the forwarder connects to.
fn addresses() -> (Address, Address) {
    ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap())
}

/// Accepts until stopped and spawns a task for each connection.
async fn serve(shard: Shard, listener: Listener, stopper: Stopper, forward: bool) {
    let upstream = addresses().1;
    loop {
        let next = poll_fn(|cx| {
            if stopper.borrow().stopped {
                return Poll::Ready(None);
            }
            stopper.borrow_mut().wakers.push(cx.waker().clone());
            listener.poll_accept(cx).map(Some)
        });
        match next.await {
            None => break,
            Some(Err(_)) => {}
            Some(Ok(stream)) if forward => {
                shard.spawn(forward_to(shard.clone(), stream, upstream.clone()));
            }
            Some(Ok(stream)) => shard.spawn(echo(shard.clone(), stream)),
        }
    }
    // Connections that were queued when the listener closed are served too.
    for stream in listener.close().await {
        stream.abort();
    }
}

async fn echo(shard: Shard, stream: Stream) {
    if shard.random().is_multiple_of(4) {
        stream.heads();
    }
    if copy(&shard, &stream, &stream).await.is_ok() {
        stream.finish(shard.now() + Duration::from_secs(5));
    } else {
        stream.reset();
    }
}

async fn forward_to(shard: Shard, stream: Stream, upstream: Address) {
    let Ok(far) = timeout(&shard, 5, shard.connect(&upstream)).await else {
        stream.reset();
        return;
    };
    stream.bulk();
    let down = async {
        copy(&shard, &far, &stream).await?;
        stream.shut_write();
        stream.flushed().await
    };
    let up = async {
        copy(&shard, &stream, &far).await?;
        far.shut_write();
        far.flushed().await
    };
    if timeout(&shard, 60, both(up, down)).await.is_ok() {
        stream.finish(shard.now() + Duration::from_secs(1));
        far.finish(shard.now() + Duration::from_secs(1));
    } else {
        stream.reset();
        far.reset();
    }
}

/// Passes bytes on until FIN, never more than the other side takes.
async fn copy(shard: &Shard, from: &Stream, to: &Stream) -> io::Result<()> {
    while let Some(buf) = timeout(shard, 30, from.recv()).await? {
        let mut piece = Piece::Buf(buf);
        while let Err(full) = to.push(piece) {
            piece = full.0;
            timeout(shard, 30, poll_fn(|cx| to.poll_room(cx))).await?;
        }
        match shard.random() % 16 {
            0 => from.pause(),
            1 => from.bulk(),
            2 => from.heads(),
            3 => shard.yield_now().await,
            _ => {}
        }
    }
    timeout(shard, 30, to.flushed()).await
}

async fn timeout<T>(
    shard: &Shard,
    seconds: u64,
    what: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let timer = shard.timer();
    timer.set(Some(shard.now() + Duration::from_secs(seconds)));
    let mut what = pin!(what);
    poll_fn(|cx| match what.as_mut().poll(cx) {
        Poll::Pending => timer.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        done => done,
    })
    .await
}

/// Both to their end; the first failure ends the pair.
async fn both(
    one: impl Future<Output = io::Result<()>>,
    other: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut done = [false; 2];
    poll_fn(|cx| {
        if !done[0]
            && let Poll::Ready(result) = one.as_mut().poll(cx)
        {
            result?;
            done[0] = true;
        }
        if !done[1]
            && let Poll::Ready(result) = other.as_mut().poll(cx)
        {
            result?;
            done[1] = true;
        }
        if done == [true; 2] { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// A client: sends its bytes, checks that the same come back, then leaves in one of several ways.
struct Client {
    peer: Option<Peer>,
    rng: Rng,
    bytes: Vec<u8>,
    sent: usize,
    back: Vec<u8>,
    shut: bool,
    leaves_early: bool,
    started: Duration,
    whole: bool,
}

impl Client {
    fn new(net: &Net, seed: u64) -> Client {
        let mut rng = Rng::new(seed);
        let most = if rng.below(4) == 0 { 400_000 } else { 20_000 };
        let length = rng.size(most);
        let peer = net.connect(&addresses().0);
        if rng.below(4) == 0 {
            peer.set_window(rng.size(2_000));
        }
        Client {
            peer: Some(peer),
            bytes: (0..length).map(|_| rng.next() as u8).collect(),
            sent: 0,
            back: Vec::new(),
            shut: false,
            leaves_early: rng.below(8) == 0,
            started: net.elapsed(),
            whole: false,
            rng,
        }
    }

    fn step(&mut self, net: &Net) {
        let Some(peer) = &self.peer else { return };
        if peer.connected() == Some(true) {
            let most = (self.bytes.len() - self.sent).min(self.rng.size(70_000));
            self.sent += peer.write(&self.bytes[self.sent..self.sent + most]);
            if self.sent == self.bytes.len() && !self.shut {
                self.shut = true;
                peer.shut_write();
            }
        }
        let most = if self.rng.below(3) == 0 { self.rng.size(1_000) } else { usize::MAX };
        let seen = peer.read_up_to(&mut self.back, most);
        let from = self.back.len() - seen.bytes;
        let expected = self.bytes.get(from..self.back.len());
        assert!(expected == Some(&self.back[from..]), "other bytes came back, after {from}");
        if seen.eof && !seen.reset {
            // Without a free descriptor the engine accepts and closes at once, to refuse.
            let refused = self.back.is_empty() && net.fired().count(Fault::AcceptNoFiles) > 0;
            let whole = self.back.len() == self.bytes.len();
            assert!(whole || refused, "a clean end after {} bytes", self.back.len());
            self.whole = whole;
        }
        let weary = net.elapsed() - self.started > Duration::from_secs(100);
        let early = self.leaves_early && self.rng.below(50) == 0;
        if seen.eof || seen.reset || weary || early || peer.connected() == Some(false) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        if let Some(peer) = self.peer.take() {
            if self.rng.below(2) == 0 { peer.reset() } else { peer.close() }
        }
    }
}

/// The upstream behind the forwarder: an echo.
#[derive(Default)]
struct Echoes(Vec<(Peer, VecDeque<u8>, bool)>);

impl Echoes {
    fn step(&mut self, listener: &PeerListener) {
        while let Some(peer) = listener.accept() {
            self.0.push((peer, VecDeque::new(), false));
        }
        self.0.retain_mut(|(peer, held, fin)| {
            let mut got = Vec::new();
            let seen = peer.read(&mut got);
            held.extend(got);
            *fin |= seen.eof;
            let sent = peer.write(held.make_contiguous());
            held.drain(..sent);
            !(seen.reset || *fin && held.is_empty())
        });
    }
}

#[derive(Default)]
struct Report {
    hash: u64,
    fired: Fired,
    whole: usize,
    clients: usize,
}

fn config(rng: &mut Rng) -> ShardConfig {
    // A budget below the number of tasks would keep such a shard runnable for ever.
    let everything = rng.below(6) == 0;
    ShardConfig {
        ring_entries: 8 << rng.below(6),
        cq_entries: 4096,
        head_bufs: 8 << rng.below(5),
        bulk_bufs: 2 << rng.below(5),
        bulk_buf_bytes: 4096 << rng.below(5),
        out_bytes_max: 1024 << rng.below(8),
        inbox_bytes_max: 1024 << rng.below(7),
        poll_budget: if everything { 256 } else { 1 + rng.below(64) as u32 },
        poll_everything: everything,
        ..ShardConfig::default()
    }
}

/// Runs one seed to its end.
fn run(seed: u64) -> Report {
    let mut rng = Rng::new(seed);
    let quiet = seed.is_multiple_of(8);
    let faults = if quiet { Faults::none() } else { Faults::seeded(&mut rng) };
    let net = Net::new(seed, faults);
    let mut runtime = Runtime::simulated(&config(&mut rng), &net);
    let shard = runtime.shard();
    let (here, there) = addresses();
    let far_listener = net.listen(&there);
    let listener = shard.listen(net.bind(&here)).unwrap();
    let stopper = Stopper::default();
    let forward = rng.below(2) == 0;
    shard.spawn(serve(shard.clone(), listener, stopper.clone(), forward));

    let mut clients: Vec<Client> = Vec::new();
    let mut echoes = Echoes::default();
    let wanted = 12;
    for step in 0.. {
        assert!(step < 100_000, "no end in sight at {:?}: {:?}", net.elapsed(), shard.stats());
        if clients.len() < wanted && rng.below(5) == 0 {
            clients.push(Client::new(&net, rng.next()));
        }
        runtime.turn();
        runtime.audit();
        echoes.step(&far_listener);
        clients.iter_mut().for_each(|client| client.step(&net));
        if clients.len() == wanted && clients.iter().all(|client| client.peer.is_none()) {
            break;
        }
        if !net.pending() {
            net.alarm(Duration::from_millis(1 + rng.below(20)));
        }
    }
    let whole = clients.iter().filter(|client| client.whole).count();
    let expected = clients.iter().filter(|client| !client.leaves_early).count();
    assert!(!quiet || whole >= expected, "{whole} of {expected} echoes on a quiet network");
    wind_down(&net, &mut runtime, &stopper);
    drop(shard);
    let exit = runtime.shutdown();
    assert_eq!((exit.leaked_ops, exit.leaked_regions), (0, 0), "something was leaked");
    assert_eq!(net.descriptors(), 0, "descriptors are left open");
    Report { hash: net.trace_hash(), fired: net.fired(), whole, clients: clients.len() }
}

/// After everybody left: all that served them goes away by itself.
fn wind_down(net: &Net, runtime: &mut Runtime, stopper: &Stopper) {
    let shard = runtime.shard();
    stop(stopper);
    let end = net.elapsed() + Duration::from_secs(200);
    while shard.connection_count() > 0 || shard.stats().tasks > 0 {
        assert!(net.elapsed() < end, "left behind: {:?} {:?}", shard.connections(), shard.stats());
        if !net.pending() {
            net.alarm(Duration::from_millis(50));
        }
        runtime.turn();
        runtime.audit();
    }
    assert_eq!(shard.stats().sockets, 0, "{:?}", shard.stats());
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a seed is a number"))
}

#[test]
fn seeds_run_clean() {
    let seeds = match number("RINGWAY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGWAY_SEEDS").unwrap_or(150),
    };
    let count = seeds.end - seeds.start;
    let mut fired = Fired::default();
    let (mut whole, mut clients) = (0, 0);
    for seed in seeds {
        eprintln!("seed {seed}");
        let report = run(seed);
        fired.merge(&report.fired);
        whole += report.whole;
        clients += report.clients;
    }
    eprintln!("{whole} of {clients} echoes whole; faults fired:\n{fired}");
    if count >= 150 {
        assert_eq!(fired.missing(), Vec::<Fault>::new(), "faults that never fired");
    }
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in [3, 8, 21] {
        assert_eq!(run(seed).hash, run(seed).hash, "seed {seed}");
    }
}
