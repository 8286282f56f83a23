//! The simulator held to the kernel: one seeded script runs on both.
//!
//! The script is what a shard does to its sockets (receive in both modes, pause, send, finish,
//! abort, connect, give up connecting) and what far ends do to it (write, read, leave). On both
//! backends the rules of `ring/rules.rs` hold, the same bytes arrive with the same ends, and
//! buffers and ops are conserved. Every completion shape that the kernel shows must be one that
//! the simulator can produce; the reverse is not asked, since the simulator also does what this
//! kernel happens not to.
#![cfg(feature = "sim")]
#![expect(clippy::disallowed_types, reason = "the far ends of the kernel's half are plain sockets")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use engine::sim::{Fault, Faults, Net, Peer, PeerListener, Rng, Shape};
use engine::{Address, Listener, Piece, Runtime, Shard, ShardConfig, Stream};

/// What one connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// The far end sends, the shard sends it back, both end cleanly.
    Echo,
    /// The same while the shard switches receive modes all the time.
    Switching,
    /// The far end sends and leaves; the shard counts.
    Upload,
    /// The shard sends and finishes.
    Download,
    /// The shard aborts in the middle.
    Abort,
    /// The far end leaves with bytes unread, which resets the connection.
    FarReset,
    /// The same while the shard is sending as much as it can.
    BusyReset,
    /// The shard waits without receiving; the far end leaves.
    HangUp,
    /// As `Echo`, on a connection that the shard opens.
    Out,
    /// The shard connects where nobody listens.
    Refused,
    /// The shard connects and changes its mind.
    GiveUp,
}

const ACTS: [Act; 11] = [
    Act::Echo,
    Act::Switching,
    Act::Upload,
    Act::Download,
    Act::Abort,
    Act::FarReset,
    Act::BusyReset,
    Act::HangUp,
    Act::Out,
    Act::Refused,
    Act::GiveUp,
];

/// What the shard's side of a connection saw: bytes, their sum, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Seen {
    bytes: usize,
    sum: u64,
    end: &'static str,
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        for byte in bytes {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
        }
    }
}

/// A far end on either backend.
enum Far {
    Kernel(TcpStream),
    Sim(Peer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Fin,
    Reset,
}

impl Far {
    fn ready(&self) -> bool {
        match self {
            Far::Kernel(_) => true,
            Far::Sim(peer) => peer.connected() == Some(true),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        match self {
            Far::Kernel(socket) => socket.write(bytes).unwrap_or(0),
            Far::Sim(peer) => peer.write(bytes),
        }
    }

    fn read(&mut self, into: &mut Vec<u8>) -> End {
        match self {
            Far::Kernel(socket) => match socket.read_to_end(into) {
                Ok(_) => End::Fin,
                Err(error) if error.kind() == ErrorKind::WouldBlock => End::Open,
                Err(_) => End::Reset,
            },
            Far::Sim(peer) => match peer.read(into) {
                seen if seen.reset => End::Reset,
                seen if seen.eof => End::Fin,
                _ => End::Open,
            },
        }
    }

    fn unread(&self) -> bool {
        match self {
            Far::Kernel(socket) => socket.peek(&mut [0]).is_ok_and(|count| count > 0),
            Far::Sim(peer) => peer.unread() > 0,
        }
    }

    fn shut(&mut self) {
        match self {
            // It may have been reset meanwhile, which ends the writing too.
            Far::Kernel(socket) => drop(socket.shutdown(Shutdown::Write)),
            Far::Sim(peer) => peer.shut_write(),
        }
    }
}

enum FarListener {
    Kernel(TcpListener),
    Sim(PeerListener),
}

impl FarListener {
    fn accept(&self) -> Option<Far> {
        match self {
            FarListener::Kernel(listener) => {
                let (socket, _) = listener.accept().ok()?;
                socket.set_nonblocking(true).unwrap();
                Some(Far::Kernel(socket))
            }
            FarListener::Sim(listener) => listener.accept().map(Far::Sim),
        }
    }
}

/// The far side's part of one connection.
struct Part {
    act: Act,
    far: Option<Far>,
    bytes: Vec<u8>,
    sent: usize,
    back: Vec<u8>,
    shut: bool,
    end: Option<End>,
}

impl Part {
    fn step(&mut self, rng: &mut Rng) {
        let Some(far) = &mut self.far else { return };
        if !far.ready() {
            return;
        }
        let most = (self.bytes.len() - self.sent).min(rng.size(30_000));
        self.sent += far.write(&self.bytes[self.sent..self.sent + most]);
        if matches!(self.act, Act::FarReset | Act::BusyReset) {
            if far.unread() {
                self.close(End::Open);
            }
            return;
        }
        if self.sent == self.bytes.len() && !self.shut && self.act != Act::Abort {
            self.shut = true;
            far.shut();
        }
        match far.read(&mut self.back) {
            End::Open => {}
            end => self.close(end),
        }
    }

    fn close(&mut self, end: End) {
        self.end = Some(end);
        self.far = None;
    }
}

/// A script: acts with their bytes, the same on both backends.
fn script(seed: u64) -> Vec<(Act, Vec<u8>)> {
    let mut rng = Rng::new(seed);
    let mut parts: Vec<(Act, Vec<u8>)> = Vec::new();
    for round in 0..16 {
        let act = ACTS[if round < ACTS.len() { round } else { rng.below(11) as usize }];
        let length = match act {
            Act::HangUp | Act::Refused | Act::GiveUp | Act::Download => 0,
            Act::Abort => 50_000 + rng.size(100_000),
            _ => rng.size(150_000),
        };
        parts.push((act, (0..length).map(|_| rng.next() as u8).collect()));
    }
    parts
}

/// Shared by the shard's tasks and the driver.
struct Stage {
    results: RefCell<Vec<(usize, Seen)>>,
    left: Cell<usize>,
}

async fn play(shard: Shard, stream: Stream, act: Act, stage: Rc<Stage>, index: usize) {
    let seen = match act {
        Act::Echo | Act::Out => echo(&shard, stream, false).await,
        Act::Switching => echo(&shard, stream, true).await,
        Act::Upload => upload(&shard, stream).await,
        Act::Download => download(&shard, stream, index).await,
        Act::Abort => abort(stream).await,
        Act::FarReset => far_reset(stream).await,
        Act::BusyReset => busy_reset(stream).await,
        _ => hang_up(stream).await,
    };
    stage.results.borrow_mut().push((index, seen));
    stage.left.set(stage.left.get() - 1);
}

async fn push(stream: &Stream, mut piece: Piece) -> io::Result<()> {
    while let Err(full) = stream.push(piece) {
        piece = full.0;
        poll_fn(|cx| stream.poll_room(cx)).await?;
    }
    Ok(())
}

async fn echo(shard: &Shard, stream: Stream, switching: bool) -> Seen {
    let mut seen = Seen::default();
    let mut round = 0;
    loop {
        match stream.recv().await {
            Ok(Some(buf)) => {
                seen.take(&buf);
                if push(&stream, Piece::Buf(buf)).await.is_err() {
                    seen.end = "failed";
                    break;
                }
            }
            Ok(None) => {
                seen.end = "fin";
                break;
            }
            Err(_) => {
                seen.end = "failed";
                break;
            }
        }
        round += 1;
        match round % 4 {
            0 if switching => stream.heads(),
            1 if switching => stream.bulk(),
            2 if switching => stream.pause(),
            _ => {}
        }
    }
    stream.finish(shard.now() + Duration::from_secs(20));
    seen
}

async fn upload(shard: &Shard, stream: Stream) -> Seen {
    let mut seen = Seen::default();
    stream.bulk();
    while let Ok(Some(buf)) = stream.recv().await {
        seen.take(&buf);
    }
    seen.end = "fin";
    stream.finish(shard.now() + Duration::from_secs(20));
    seen
}

/// Bytes that the shard sends in a download.
fn download_bytes(index: usize) -> Vec<u8> {
    let mut rng = Rng::new(index as u64 + 77);
    (0..200_000).map(|_| rng.next() as u8).collect()
}

async fn download(shard: &Shard, stream: Stream, index: usize) -> Seen {
    let bytes = download_bytes(index);
    let mut seen = Seen { end: "sent", ..Seen::default() };
    for part in bytes.chunks(7_000) {
        stream.scratch(|out| out.extend_from_slice(b""));
        if push(&stream, Piece::Bytes(part.to_vec().into())).await.is_err() {
            seen.end = "failed";
        }
    }
    stream.finish(shard.now() + Duration::from_secs(20));
    seen
}

async fn abort(stream: Stream) -> Seen {
    // Whatever has come by now is dropped with the socket.
    let _ = stream.recv().await;
    stream.abort();
    Seen { end: "aborted", ..Seen::default() }
}

async fn far_reset(stream: Stream) -> Seen {
    let sent = push(&stream, Piece::Static(b"not to be read")).await;
    let mut end = if sent.is_ok() { "fin" } else { "reset" };
    loop {
        match stream.recv().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => {
                end = "reset";
                break;
            }
        }
    }
    stream.reset();
    Seen { end, ..Seen::default() }
}

/// Whether the send or the receive is told of the reset, the receive must not end cleanly.
async fn busy_reset(stream: Stream) -> Seen {
    let part = bytes::Bytes::from(vec![7; 50_000]);
    let end = poll_fn(|cx| {
        while let Poll::Ready(Ok(())) = stream.poll_room(cx) {
            if stream.push(Piece::Bytes(part.clone())).is_err() {
                break;
            }
        }
        loop {
            match stream.poll_recv(cx) {
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(Ok(None)) => return Poll::Ready("fin"),
                Poll::Ready(Err(_)) => return Poll::Ready("reset"),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    let end = end.await;
    stream.reset();
    Seen { end, ..Seen::default() }
}

async fn hang_up(stream: Stream) -> Seen {
    stream.pause();
    poll_fn(|cx| stream.poll_hangup(cx)).await;
    stream.abort();
    Seen { end: "hung up", ..Seen::default() }
}

async fn connect(shard: Shard, act: Act, to: Address, stage: Rc<Stage>, index: usize) {
    if act == Act::GiveUp {
        let mut connecting = Box::pin(shard.connect(&to));
        // One poll starts it; whether it is done at once does not matter.
        poll_fn(|cx| {
            let _ = connecting.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
        shard.yield_now().await;
        drop(connecting);
    } else if let Ok(stream) = shard.connect(&to).await {
        assert_eq!(act, Act::Out, "somebody listens at {to}");
        return play(shard, stream, act, stage, index).await;
    }
    stage.results.borrow_mut().push((index, Seen { end: "no connection", ..Seen::default() }));
    stage.left.set(stage.left.get() - 1);
}

/// Keeps the kernel's waits short: the far ends share this thread.
async fn tick(shard: Shard, stage: Rc<Stage>) {
    while stage.left.get() > 0 {
        shard.sleep_until(shard.now() + Duration::from_millis(1)).await;
    }
}

/// What a run showed.
struct Outcome {
    results: Vec<(usize, Seen)>,
    far: Vec<(Act, usize, Option<End>)>,
    shapes: BTreeSet<Shape>,
}

/// The backend's half of a run.
struct Place {
    runtime: Runtime,
    listener: Listener,
    connect: Box<dyn Fn() -> Far>,
    far_listener: FarListener,
    far: Address,
    nowhere: Address,
    net: Option<Net>,
}

fn config() -> ShardConfig {
    ShardConfig { head_bufs: 32, bulk_bufs: 8, ring_entries: 64, ..ShardConfig::default() }
}

fn kernel() -> Place {
    let runtime = Runtime::new(&config()).expect("io_uring");
    let address: Address = "127.0.0.1:0".parse().unwrap();
    let bound = engine::bind(&address, 1, 64).unwrap().remove(0);
    let here = bound.address().to_string();
    let listener = runtime.shard().listen(bound).unwrap();
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    far.set_nonblocking(true).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    Place {
        runtime,
        listener,
        far: text(&far).parse().unwrap(),
        nowhere: text(&closed).parse().unwrap(),
        far_listener: FarListener::Kernel(far),
        connect: Box::new(move || {
            let socket = TcpStream::connect(&here).unwrap();
            socket.set_nonblocking(true).unwrap();
            Far::Kernel(socket)
        }),
        net: None,
    }
}

fn simulated(seed: u64, faults: Faults) -> Place {
    let net = Net::new(seed, faults);
    let runtime = Runtime::simulated(&config(), &net);
    let (here, far): (Address, Address) =
        ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
    let listener = runtime.shard().listen(net.bind(&here)).unwrap();
    let far_listener = FarListener::Sim(net.listen(&far));
    let handle = net.clone();
    Place {
        runtime,
        listener,
        connect: Box::new(move || Far::Sim(handle.connect(&here))),
        far_listener,
        far,
        nowhere: "10.0.0.3:80".parse().unwrap(),
        net: Some(net),
    }
}

async fn accept_each(shard: Shard, listener: Listener, acts: Vec<(usize, Act)>, stage: Rc<Stage>) {
    for (index, act) in acts {
        // The simulator's accept faults end an accept; the connection comes with a later one.
        let stream = loop {
            if let Ok(stream) = listener.accept().await {
                break stream;
            }
        };
        shard.spawn(play(shard.clone(), stream, act, stage.clone(), index));
    }
    for stream in listener.close().await {
        stream.abort();
    }
}

fn outbound(act: Act) -> bool {
    matches!(act, Act::Out | Act::Refused | Act::GiveUp)
}

/// Runs the script, one connection after the other so that accepts and far ends pair up.
fn run(place: Place, seed: u64) -> Outcome {
    let Place { mut runtime, listener, connect: dial, far_listener, far, nowhere, net } = place;
    let script = script(seed);
    let shard = runtime.shard();
    let stage = Rc::new(Stage { results: RefCell::default(), left: Cell::new(script.len()) });
    let inbound = script.iter().enumerate().filter(|(_, (act, _))| !outbound(*act));
    let acts = inbound.map(|(index, (act, _))| (index, *act)).collect();
    shard.spawn(accept_each(shard.clone(), listener, acts, stage.clone()));
    shard.spawn(tick(shard.clone(), stage.clone()));
    let mut rng = Rng::new(seed ^ 0xfa);
    let mut done: Vec<(Act, usize, Option<End>)> = Vec::new();
    for (index, (act, bytes)) in script.iter().enumerate() {
        let (act, expected) = (*act, stage.left.get() - 1);
        let mut part = Part {
            act,
            far: (!outbound(act)).then(&dial),
            bytes: bytes.clone(),
            sent: 0,
            back: Vec::new(),
            shut: false,
            end: None,
        };
        if outbound(act) {
            let to = if act == Act::Refused { &nowhere } else { &far };
            shard.spawn(connect(shard.clone(), act, to.clone(), stage.clone(), index));
        }
        let mut steps = 0;
        while stage.left.get() > expected || part.far.is_some() {
            steps += 1;
            assert!(steps < 200_000, "{act:?} hangs: {:?}", shard.stats());
            runtime.turn();
            runtime.audit();
            if let Some(accepted) = far_listener.accept()
                && act == Act::Out
            {
                part.far = Some(accepted);
            }
            part.step(&mut rng);
            if let Some(net) = &net
                && !net.pending()
            {
                net.alarm(Duration::from_millis(1));
            }
        }
        check_bytes(&part, index);
        done.push((act, part.back.len(), part.end));
    }
    let shapes = settle(runtime, shard);
    let mut results = stage.results.take();
    results.sort_by_key(|(index, _)| *index);
    Outcome { results, far: done, shapes }
}

fn check_bytes(part: &Part, index: usize) {
    match part.act {
        Act::Echo | Act::Switching | Act::Out => {
            assert!(part.back == part.bytes, "{:?}: {} bytes back", part.act, part.back.len());
        }
        Act::Download => assert!(part.back == download_bytes(index), "download"),
        _ => {}
    }
}

/// Lets the last sockets close and ends the shard in good order.
fn settle(mut runtime: Runtime, shard: Shard) -> BTreeSet<Shape> {
    let end = shard.now() + Duration::from_secs(30);
    let ticking = Rc::new(Stage { results: RefCell::default(), left: Cell::new(1) });
    shard.spawn(tick(shard.clone(), ticking.clone()));
    // The ticking task is the last one, and ends the kernel's waits until then.
    while shard.stats().sockets > 0 || shard.stats().tasks > ticking.left.get() as u64 {
        assert!(shard.now() < end, "left: {:?} {:?}", shard.stats(), shard.connections());
        runtime.turn();
        runtime.audit();
    }
    ticking.left.set(0);
    while shard.stats().tasks > 0 {
        runtime.turn();
    }
    let shapes = runtime.shapes();
    drop(shard);
    let exit = runtime.shutdown();
    assert_eq!((exit.leaked_ops, exit.leaked_regions), (0, 0));
    shapes
}

#[test]
fn the_kernel_and_the_simulator_tell_the_same_story() {
    for seed in 0..6 {
        let (on_kernel, on_sim) = (run(kernel(), seed), run(simulated(seed, Faults::none()), seed));
        assert_eq!(on_kernel.results, on_sim.results, "what the shard saw, seed {seed}");
        for (real, made) in on_kernel.far.iter().zip(&on_sim.far) {
            // An abort reaches the far end as FIN or RST, whichever way the unread bytes lay.
            let free = matches!(real.0, Act::Abort | Act::GiveUp);
            assert!(free || real == made, "what far ends saw: {real:?}, simulated {made:?}");
        }
    }
}

#[test]
fn every_completion_shape_of_the_kernel_can_be_simulated() {
    let mut real = BTreeSet::new();
    for seed in 10..16 {
        real.extend(run(kernel(), seed).shapes);
    }
    let mut made = BTreeSet::new();
    for seed in 10..40 {
        // Nothing lethal, so that the same script runs to its end.
        let faults = Faults::none()
            .with(Fault::ShortRecv, 200_000)
            .with(Fault::ShortSend, 200_000)
            .with(Fault::DelayedCqe, 200_000)
            .with(Fault::ReorderedCqe, 200_000)
            .with(Fault::NoBuffers, 20_000)
            .with(Fault::CancelFirst, 500_000)
            .with(Fault::CancelAlready, 100_000)
            .with(Fault::FinalData, 300_000)
            .with(Fault::MultishotEnd, 50_000)
            .with(Fault::SqFull, 50_000)
            .with(Fault::PartialSubmit, 50_000)
            .with(Fault::EnterInterrupted, 50_000)
            .with(Fault::Cap, 500_000);
        made.extend(run(simulated(seed, faults), seed).shapes);
    }
    let missing: Vec<&Shape> = real.difference(&made).collect();
    assert!(missing.is_empty(), "the kernel does what the simulator cannot: {missing:#?}");
    assert!(real.len() > 10, "the script is too tame: {real:#?}");
}
