//! B1 and B4 on the real kernel: readers that take nothing pin no pages, and few are lost for it.
//!
//! No sleeps and no time limits: each wait is for a state that the engine must reach.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use engine::{Address, Listener, Piece, Runtime, Shard, ShardConfig, Stream, bind};

const BULK_BUFS: u16 = 16;
const PAGE: usize = 65536;
/// What the engine takes for a stall.
const STALLED_FOR: Duration = Duration::from_millis(100);

fn config(stalled_bytes_max: usize) -> ShardConfig {
    ShardConfig {
        ring_entries: 256,
        cq_entries: 4096,
        bulk_bufs: BULK_BUFS,
        stalled_bytes_max,
        ..ShardConfig::default()
    }
}

fn block_on<F: Future>(config: &ShardConfig, main: impl FnOnce(Shard) -> F) -> F::Output {
    let runtime = Runtime::new(config).unwrap();
    let shard = runtime.shard();
    runtime.block_on(main(shard))
}

fn listen(shard: &Shard) -> Listener {
    let address: Address = "127.0.0.1:0".parse().unwrap();
    shard.listen(bind(&address, 1, 1024).unwrap().pop().unwrap()).unwrap()
}

async fn pair(shard: &Shard, listener: &Listener) -> (Stream, Stream) {
    let client = shard.connect(listener.address()).await.unwrap();
    (client, listener.accept().await.unwrap())
}

/// A moment of the shard's time: a look at what only the engine's timers bring about.
async fn moment(shard: &Shard) {
    shard.sleep_until(shard.now() + Duration::from_millis(5)).await;
}

/// A source that never ends, through a tunnel, to a reader that takes nothing.
struct Tunnel {
    _source: Rc<Stream>,
    outbound: Rc<Stream>,
    sink: Stream,
    /// What the tunnel's writer ended with.
    error: Rc<Cell<Option<i32>>>,
}

/// What the tunnels' sources send, by place.
fn byte(at: usize) -> u8 {
    (at / 251 % 256) as u8
}

async fn feed(source: Rc<Stream>) {
    let bytes: bytes::Bytes = (0..251 * 256).map(byte).collect::<Vec<u8>>().into();
    loop {
        if poll_fn(|cx| source.poll_room(cx)).await.is_err() {
            return;
        }
        source.push(Piece::Bytes(bytes.clone())).expect("there was room");
    }
}

/// Passes pages on, and takes none while there is no room for it.
async fn pass(inbound: Stream, outbound: Rc<Stream>, error: Rc<Cell<Option<i32>>>) {
    loop {
        if let Err(why) = poll_fn(|cx| outbound.poll_room(cx)).await {
            return error.set(why.raw_os_error());
        }
        let Ok(Some(buf)) = inbound.recv().await else {
            return;
        };
        outbound.push(Piece::Buf(buf)).expect("there was room");
    }
}

async fn tunnel(shard: &Shard, listener: &Listener) -> Tunnel {
    let (source, inbound) = pair(shard, listener).await;
    let (outbound, sink) = pair(shard, listener).await;
    inbound.bulk();
    let (source, outbound) = (Rc::new(source), Rc::new(outbound));
    let error = Rc::new(Cell::new(None));
    shard.spawn(feed(source.clone()));
    shard.spawn(pass(inbound, outbound.clone(), error.clone()));
    Tunnel { _source: source, outbound, sink, error }
}

/// One exchange of 8 KiB each way, received into bulk pages.
async fn exchange((client, server): &(Stream, Stream)) {
    for (from, to) in [(client, server), (server, client)] {
        from.push(Piece::Static(&[7; 8192])).unwrap();
        let mut got = 0;
        while got < 8192 {
            got += to.recv().await.unwrap().unwrap().len();
        }
    }
}

async fn bulk_pair(shard: &Shard, listener: &Listener) -> (Stream, Stream) {
    let ends = pair(shard, listener).await;
    ends.0.bulk();
    ends.1.bulk();
    ends
}

fn is_stuck(shard: &Shard, tunnel: &Tunnel) -> bool {
    let since = tunnel.outbound.send_stalled_since();
    let still = since.is_some_and(|since| shard.now().duration_since(since) > 3 * STALLED_FOR);
    tunnel.error.get().is_some() || still
}

/// Lets another pair exchange until all tunnels are stuck or shed.
async fn settle(shard: &Shard, tunnels: &[Tunnel], other: &(Stream, Stream), heap_max: usize) {
    while !tunnels.iter().all(|tunnel| is_stuck(shard, tunnel)) {
        exchange(other).await;
        moment(shard).await;
        let stalled_bytes = shard.stats().stalled_bytes;
        assert!(stalled_bytes <= heap_max as u64, "{stalled_bytes} of {heap_max} bytes");
    }
}

/// Reads 1 MiB and checks it.
async fn read_some(tunnel: &Tunnel) {
    let mut at = 0;
    while at < 1 << 20 {
        let buf = tunnel.sink.recv().await.unwrap().expect("the source never ends");
        for got in buf.iter() {
            assert_eq!(*got, byte(at), "at {at}");
            at += 1;
        }
    }
}

/// All pages and all heap are back.
async fn all_is_back(shard: &Shard, others: u64) {
    let back = || {
        let stats = shard.stats();
        let pages = stats.bufs_free == [1024, u64::from(BULK_BUFS)];
        pages && stats.stalled_bytes == 0 && stats.sockets == others
    };
    while !back() {
        moment(shard).await;
    }
}

#[test]
fn readers_that_take_nothing_are_kept_within_the_heap_budget() {
    const TUNNELS: usize = 3 * BULK_BUFS as usize / 2;
    const HEAP: usize = TUNNELS * (96 * 1024 + PAGE);
    block_on(&config(HEAP), |shard| async move {
        let listener = listen(&shard);
        let other = bulk_pair(&shard, &listener).await;
        let mut tunnels = Vec::new();
        for _ in 0..TUNNELS {
            tunnels.push(tunnel(&shard, &listener).await);
        }
        settle(&shard, &tunnels, &other, HEAP).await;
        let stats = shard.stats();
        assert_eq!(stats.buffer_pressure_closes, 0);
        assert!(stats.stalled_bytes > 0, "more sockets than pages, and nothing was copied");
        assert!(tunnels.iter().all(|tunnel| tunnel.error.get().is_none()));
        assert!(stats.held_bytes_max <= 256 * 1024, "{} bytes held", stats.held_bytes_max);
        // What was copied goes on where it stopped.
        for tunnel in &tunnels {
            read_some(tunnel).await;
        }
        drop(tunnels);
        all_is_back(&shard, 2).await;
    });
}

#[test]
fn above_the_budget_the_longest_stalled_go_first() {
    const HEAP: usize = 8 * PAGE;
    block_on(&config(HEAP), |shard| async move {
        let listener = listen(&shard);
        let other = bulk_pair(&shard, &listener).await;
        let mut tunnels = Vec::new();
        // One after the other, so that the order of the stalls is known. How many it takes depends
        // on the kernel: a send that is stuck in small pieces holds no page.
        while shard.stats().buffer_pressure_closes < 4 {
            tunnels.push(tunnel(&shard, &listener).await);
            settle(&shard, &tunnels, &other, HEAP).await;
        }
        let is_shed = |tunnel: &&Tunnel| tunnel.outbound.is_shed();
        let shed = tunnels.iter().filter(is_shed).count();
        assert_eq!(shed as u64, shard.stats().buffer_pressure_closes);
        for tunnel in &tunnels {
            let error = tunnel.outbound.is_shed().then_some(libc::ENOBUFS);
            assert_eq!(tunnel.error.get(), error);
        }
        // The one that stalled last is not the one that stalled longest.
        assert!(!tunnels.iter().next_back().is_some_and(|tunnel| tunnel.outbound.is_shed()));
        for tunnel in tunnels.iter().filter(|tunnel| !tunnel.outbound.is_shed()) {
            read_some(tunnel).await;
        }
        drop(tunnels);
        all_is_back(&shard, 2).await;
    });
}

#[test]
fn a_small_answer_waits_for_no_bulk_page() {
    block_on(&config(0), |shard| async move {
        // Before the first turn has shown them to the kernel.
        let pages: Vec<_> = std::iter::from_fn(|| shard.page()).collect();
        assert_eq!(pages.len(), usize::from(BULK_BUFS));
        let listener = listen(&shard);
        for stands_in_line in [false, true] {
            let (client, server) = pair(&shard, &listener).await;
            client.bulk();
            if stands_in_line {
                arm(&client).await;
            }
            for _ in 0..3 {
                client.push(Piece::Static(b"ask")).unwrap();
                assert_eq!(&server.recv().await.unwrap().unwrap()[..], b"ask");
                server.push(Piece::Static(b"answer")).unwrap();
                assert_eq!(&client.recv().await.unwrap().unwrap()[..], b"answer");
            }
        }
        assert_eq!(shard.stats().bufs_free[1], 0, "and all the time there was none");
        drop(pages);
        all_is_back(&shard, 0).await;
    });
}

/// Pairs of sockets that this process may have open, 5 000 at most.
fn pairs_allowed() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    (soft.saturating_sub(100) / 2).min(5000)
}

/// Asks for bytes before there are any, and does not come back for them.
async fn arm(stream: &Stream) {
    let asked = poll_fn(|cx| Poll::Ready(stream.poll_recv(cx)));
    assert!(asked.await.is_pending());
}

#[test]
fn drippers_hold_no_buffer() {
    block_on(&ShardConfig::default(), |shard| async move {
        let listener = listen(&shard);
        let mut drippers = Vec::new();
        for _ in 0..pairs_allowed() {
            drippers.push(pair(&shard, &listener).await);
        }
        for round in 1..=3 {
            for (client, server) in &drippers {
                arm(server).await;
                client.push(Piece::Static(b"x")).unwrap();
            }
            let held = |(_, server): &(Stream, Stream)| server.bytes_in() == round;
            while !drippers.iter().all(held) || shard.stats().bufs_free[0] < 1024 {
                moment(&shard).await;
            }
            let held: usize = drippers.iter().map(|(_, server)| server.held_bytes()).sum();
            assert_eq!(held, drippers.len(), "an unread byte takes a byte");
            for (_, server) in &drippers {
                assert_eq!(&server.recv().await.unwrap().unwrap()[..], b"x");
            }
        }
    });
}
