//! Handles that outlive their sockets: what has ended is never taken for what has its slot now
//! (I4).
//!
//! A server finishes every connection at once and keeps the handles. While later connections are
//! served from the same slots, old handles are used and dropped at random. No fault is injected, so
//! every client must get its whole greeting and a clean end.
#![cfg(feature = "sim")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use engine::sim::{Faults, Net, Peer, Rng};
use engine::{Address, Listener, Piece, Runtime, Shard, ShardConfig, Stream};

const GREETING: [u8; 6_000] = [b'g'; 6_000];
const CLIENTS: usize = 200;

type Kept = Rc<RefCell<Vec<Stream>>>;

async fn serve(shard: Shard, listener: Listener, kept: Kept) {
    while let Ok(stream) = listener.accept().await {
        assert!(stream.push(Piece::Static(&GREETING)).is_ok(), "a new stream has room");
        stream.finish(shard.now() + Duration::from_secs(60));
        kept.borrow_mut().push(stream);
    }
}

/// Does something to a handle whose socket is ending or gone.
fn misuse(stream: &Stream, rng: &mut Rng) {
    match rng.below(5) {
        0 => stream.abort(),
        1 => stream.reset(),
        2 => stream.shut_write(),
        3 => drop(stream.push(Piece::Static(b"not yours"))),
        _ => stream.pause(),
    }
}

/// True once the greeting and a clean end were read.
fn is_served(peer: &Peer, read: &mut Vec<u8>) -> bool {
    let seen = peer.read_up_to(read, 1_000);
    assert!(!seen.reset, "reset after {} bytes", read.len());
    assert!(GREETING.starts_with(read), "bytes of somebody else");
    if seen.eof {
        assert_eq!(read.len(), GREETING.len(), "a clean end too early");
    }
    seen.eof
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let net = Net::new(seed, Faults::none());
    let mut runtime = Runtime::simulated(&ShardConfig::default(), &net);
    let shard = runtime.shard();
    let here: Address = "10.0.0.1:80".parse().unwrap();
    let listener = shard.listen(net.bind(&here)).unwrap();
    let kept = Kept::default();
    shard.spawn(serve(shard.clone(), listener, kept.clone()));
    let mut clients: Vec<(Peer, Vec<u8>)> = Vec::new();
    let (mut begun, mut served) = (0, 0);
    while served < CLIENTS {
        assert!(net.elapsed() < Duration::from_secs(3_600), "{served} served");
        if begun < CLIENTS && clients.len() < 8 {
            let peer = net.connect(&here);
            peer.set_window(2_000);
            clients.push((peer, Vec::new()));
            begun += 1;
        }
        runtime.turn();
        runtime.audit();
        let before = clients.len();
        clients.retain_mut(|(peer, read)| !is_served(peer, read));
        served += before - clients.len();
        old_handles(&kept, clients.len(), &mut rng);
        if !net.pending() {
            net.alarm(Duration::from_millis(10));
        }
    }
}

/// Uses and drops handles, oldest first; the newest may belong to connections that are still open.
fn old_handles(kept: &Kept, open: usize, rng: &mut Rng) {
    let mut kept = kept.borrow_mut();
    let old = kept.len().saturating_sub(open + 8);
    for stream in &kept[..old] {
        if rng.below(4) == 0 {
            misuse(stream, rng);
        }
    }
    if old > 4 {
        kept.remove(rng.below(old as u64) as usize);
    }
}

#[test]
fn old_handles_touch_nobody() {
    for seed in 0..20 {
        run(seed);
    }
}
