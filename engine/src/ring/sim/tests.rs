//! The simulator's own tests: each rule of the kernel that it must obey, one by one.

use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::buf::out::{Piece, SendBlock};
use crate::ring::{Backend, Ring};

struct Bench {
    net: Net,
    ring: Ring,
    pool: Rc<Pool>,
    address: Address,
    listener: RawFd,
}

fn bench(faults: Faults) -> Bench {
    let config = ShardConfig { head_bufs: 16, bulk_bufs: 4, ..ShardConfig::default() };
    let pool = Pool::new(&config, 16).unwrap();
    let net = Net::new(1, faults);
    let ring = SimRing::new(&net, &config, &pool);
    let address: Address = "10.0.0.1:80".parse().unwrap();
    let listener = net.listen_fd(&address);
    Bench { ring: Ring::over(Backend::Sim(Box::new(ring))), net, pool, address, listener }
}

impl Bench {
    fn push(&mut self, user_data: u64, request: Request<'_>) {
        self.ring.push(user_data, request).unwrap();
    }

    /// Enters until nothing more happens within a second, and returns all completions.
    fn run(&mut self) -> Vec<Cqe> {
        let mut cqes = Vec::new();
        let end = self.net.now() + Duration::from_secs(1);
        while self.net.now() < end {
            self.ring.enter(Wait::Until(Some(end))).unwrap();
            self.ring.reap(&mut cqes);
        }
        cqes
    }

    fn show(&mut self, group: Group, count: usize) {
        self.pool.armed(group, 16);
        for _ in 0..count {
            let bid = self.pool.next_visible(group).unwrap();
            self.ring.provide(group, bid);
        }
        self.ring.publish();
    }

    /// A connected pair: the shard's descriptor and the far end.
    fn pair(&mut self) -> (RawFd, Peer) {
        self.push(1, Request::Accept { fd: self.listener });
        let peer = self.net.connect(&self.address);
        let accepted = self.run();
        assert_eq!(peer.connected(), Some(true));
        assert!(accepted[0].more && accepted[0].result >= world::FD_FIRST);
        self.push(2, Request::Cancel { target: 1 });
        self.run();
        (accepted[0].result, peer)
    }

    fn recv(&mut self, user_data: u64, fd: RawFd) {
        self.push(user_data, Request::RecvMulti { fd, group: Group::Head });
    }
}

fn block(bytes: &'static [u8]) -> SendBlock {
    let mut block = SendBlock::default();
    block.push(Piece::Static(bytes));
    block
}

#[test]
fn a_multishot_receive_takes_all_visible_buffers_and_enobufs_eats_nothing() {
    let mut bench = bench(Faults::none());
    let (fd, peer) = bench.pair();
    bench.show(Group::Head, 2);
    let sent = vec![7u8; 10_000];
    assert_eq!(peer.write(&sent), sent.len());
    bench.run();
    bench.recv(5, fd);
    let cqes = bench.run();
    let results: Vec<i32> = cqes.iter().map(|cqe| cqe.result).collect();
    assert_eq!(results, [4096, 4096, -libc::ENOBUFS]);
    assert!(!cqes[2].more && cqes[2].buffer.is_none());
    bench.show(Group::Head, 1);
    bench.recv(6, fd);
    assert_eq!(bench.run()[0].result, 10_000 - 8192);
}

#[test]
fn close_neither_cancels_nor_sends_fin_while_an_op_holds_the_socket() {
    let mut bench = bench(Faults::none());
    let (fd, peer) = bench.pair();
    bench.recv(5, fd);
    bench.push(6, Request::Close { fd });
    let cqes = bench.run();
    assert_eq!(cqes.len(), 1, "only the close has completed: {cqes:?}");
    assert_eq!(peer.read(&mut Vec::new()), Seen::default());
    bench.push(7, Request::Cancel { target: 5 });
    assert_eq!(bench.run().len(), 2);
    assert!(peer.read(&mut Vec::new()).eof);
}

#[test]
fn queued_data_comes_before_the_reset() {
    let mut bench = bench(Faults::none());
    let (fd, peer) = bench.pair();
    peer.write(b"last words");
    peer.reset();
    bench.run();
    bench.show(Group::Head, 2);
    bench.recv(5, fd);
    let results: Vec<i32> = bench.run().iter().map(|cqe| cqe.result).collect();
    assert_eq!(results, [10, -libc::ECONNRESET]);
}

#[test]
fn a_pending_error_is_reported_once_to_whoever_asks_first() {
    let mut bench = bench(Faults::none());
    let (fd, peer) = bench.pair();
    peer.reset();
    bench.run();
    let words = block(b"to nobody");
    bench.push(5, Request::Send { fd, block: &words });
    assert_eq!(bench.run()[0].result, -libc::ECONNRESET);
    bench.recv(6, fd);
    assert_eq!(bench.run()[0].result, 0);
}

#[test]
fn a_full_socket_blocks_the_send_and_a_cancel_reports_what_was_taken() {
    let mut faults = Faults::none();
    faults.send_buffer_bytes = 1_000;
    let mut bench = bench(faults);
    let (fd, peer) = bench.pair();
    let words = block(&[9u8; 5_000]);
    let mut taken = 0;
    // Short or kept until there is room: both are legal, and chance decides.
    for user_data in 10..20 {
        bench.push(user_data, Request::Send { fd, block: &words });
        bench.run();
        bench.push(user_data + 100, Request::Cancel { target: user_data });
        let own = |cqe: &Cqe| cqe.user_data == user_data;
        taken += bench.run().iter().find(|cqe| own(cqe)).map_or(0, |cqe| cqe.result.max(0));
        peer.read(&mut Vec::new());
    }
    assert!(taken > 0 && bench.net.fired().count(Fault::CancelledSend) > 0);
}

#[test]
fn a_cancel_may_complete_before_or_after_its_target() {
    for (rate, first_is_cancel) in [(1_000_000, true), (0, false)] {
        let mut bench = bench(Faults::none().with(Fault::CancelFirst, rate));
        let (fd, _peer) = bench.pair();
        bench.recv(5, fd);
        bench.push(6, Request::Cancel { target: 5 });
        let cqes = bench.run();
        assert_eq!(cqes[0].user_data == 6, first_is_cancel);
        assert!(cqes.iter().any(|cqe| cqe.result == -libc::ECANCELED && !cqe.more));
        bench.push(7, Request::Cancel { target: 5 });
        assert_eq!(bench.run()[0].result, -libc::ENOENT);
    }
}

#[test]
fn a_cancelled_receive_may_end_with_data() {
    let mut bench = bench(Faults::none().with(Fault::FinalData, 1_000_000));
    let (fd, peer) = bench.pair();
    bench.show(Group::Head, 2);
    bench.recv(5, fd);
    bench.ring.enter(Wait::No).unwrap();
    peer.write(b"just in time");
    bench.push(6, Request::Cancel { target: 5 });
    let cqes = bench.run();
    let last = cqes.iter().find(|cqe| cqe.user_data == 5).unwrap();
    assert!(last.result > 0 && !last.more && last.buffer.is_some());
}

#[test]
fn connects_are_answered_refused_or_left_alone() {
    let mut bench = bench(Faults::none());
    let far: Address = "10.0.0.2:80".parse().unwrap();
    let raw = crate::net::address::RawAddress::new(&far);
    let fd = bench.ring.socket(Family::Inet4).unwrap();
    bench.push(1, Request::Connect { fd, address: &raw });
    assert_eq!(bench.run()[0].result, -libc::ECONNREFUSED);

    let listener = bench.net.listen(&far);
    let fd = bench.ring.socket(Family::Inet4).unwrap();
    bench.push(2, Request::Connect { fd, address: &raw });
    assert_eq!(bench.run()[0].result, 0);
    assert!(listener.accept().is_some());
    assert_eq!(bench.ring.peer_address(fd).unwrap(), far);

    bench.net.set_faults(Faults::none().with(Fault::ConnectSilent, 1_000_000));
    let fd = bench.ring.socket(Family::Inet4).unwrap();
    bench.push(3, Request::Connect { fd, address: &raw });
    assert!(bench.run().is_empty());
}

#[test]
fn hang_up_is_seen_by_poll_and_half_closed_connections_still_send() {
    let mut bench = bench(Faults::none());
    let (fd, peer) = bench.pair();
    bench.push(5, Request::PollHup { fd });
    assert!(bench.run().is_empty());
    peer.shut_write();
    let mask = bench.run()[0].result;
    assert_eq!(mask, i32::from(libc::POLLRDHUP));
    let words = block(b"still here");
    bench.push(6, Request::Send { fd, block: &words });
    bench.run();
    let mut got = Vec::new();
    peer.read(&mut got);
    assert_eq!(got, b"still here");
}

#[test]
fn equal_seeds_give_equal_traces() {
    let trace = || {
        let faults = Faults::none().with(Fault::DelayedCqe, 300_000);
        let mut bench = bench(faults.with(Fault::ReorderedCqe, 300_000));
        bench.show(Group::Head, 8);
        bench.push(1, Request::Accept { fd: bench.listener });
        let peers: Vec<Peer> = (0..8).map(|_| bench.net.connect(&bench.address)).collect();
        bench.run();
        let sent: usize = peers.iter().map(|peer| peer.write(b"hello")).sum();
        assert!(sent > 0);
        bench.run();
        bench.net.trace_hash()
    };
    assert_eq!(trace(), trace());
}
