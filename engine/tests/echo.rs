//! The engine on the real kernel: a server and clients on one runtime, and what may go wrong.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::{
    Address, Buf, ExitReport, Listener, Piece, Runtime, Shard, ShardConfig, Stream, bind, mailbox,
    start_shard,
};

fn config() -> ShardConfig {
    ShardConfig { ring_entries: 256, cq_entries: 4096, ..ShardConfig::default() }
}

/// Runs `main` to its end and checks that nothing was left behind.
fn run<F: Future>(config: &ShardConfig, main: impl FnOnce(Shard) -> F) -> F::Output {
    let mut runtime = Runtime::new(config).unwrap();
    let shard = runtime.shard();
    let mut main = Box::pin(main(shard));
    let mut cx = Context::from_waker(Waker::noop());
    let output = loop {
        // A spurious poll every turn: all futures of the engine must tolerate it. With nothing
        // woken the turn itself waits in the ring.
        if let Poll::Ready(output) = main.as_mut().poll(&mut cx) {
            break output;
        }
        runtime.turn();
    };
    drop(main);
    assert_eq!(runtime.shutdown(), ExitReport::default());
    output
}

fn block_on<F: Future>(config: &ShardConfig, main: impl FnOnce(Shard) -> F) -> F::Output {
    let runtime = Runtime::new(config).unwrap();
    let shard = runtime.shard();
    runtime.block_on(main(shard))
}

fn listen(shard: &Shard) -> Listener {
    let mut bound = bind(&"127.0.0.1:0".parse().unwrap(), 1, 1024).unwrap();
    shard.listen(bound.pop().unwrap()).unwrap()
}

async fn pair(shard: &Shard, listener: &Listener) -> (Stream, Stream) {
    let client = shard.connect(listener.address()).await.unwrap();
    (client, listener.accept().await.unwrap())
}

/// Queues a piece, waiting for room first.
async fn push(stream: &Stream, piece: Piece) -> std::io::Result<()> {
    poll_fn(|cx| stream.poll_room(cx)).await?;
    stream.push(piece).expect("there was room");
    Ok(())
}

/// Sends back what comes until FIN.
async fn echo(stream: Stream) {
    while let Ok(Some(buf)) = stream.recv().await {
        if push(&stream, Piece::Buf(buf)).await.is_err() {
            return;
        }
    }
    stream.shut_write();
    let _ = stream.flushed().await;
}

async fn read_to_end(stream: &Stream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(buf) = stream.recv().await? {
        all.extend_from_slice(&buf);
    }
    Ok(all)
}

async fn serve(shard: Shard, listener: Rc<Listener>) {
    while let Ok(stream) = listener.accept().await {
        shard.spawn(echo(stream));
    }
}

/// Polls two futures until both are done.
async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(move |cx| {
        if a.is_none()
            && let Poll::Ready(value) = first.as_mut().poll(cx)
        {
            a = Some(value);
        }
        if b.is_none()
            && let Poll::Ready(value) = second.as_mut().poll(cx)
        {
            b = Some(value);
        }
        match (a.take(), b.take()) {
            (Some(one), Some(two)) => Poll::Ready((one, two)),
            (one, two) => {
                (a, b) = (one, two);
                Poll::Pending
            }
        }
    })
    .await
}

async fn round_trips(shard: Shard) {
    let listener = Rc::new(listen(&shard));
    shard.spawn(serve(shard.clone(), listener.clone()));
    let client = shard.connect(listener.address()).await.unwrap();
    for round in 0..100_u8 {
        client.scratch(|bytes| bytes.extend_from_slice(&[round; 100]));
        let mut back = Vec::new();
        while back.len() < 100 {
            back.extend_from_slice(&client.recv().await.unwrap().unwrap());
        }
        assert_eq!(back, [round; 100]);
    }
    assert_eq!((client.bytes_in(), client.bytes_out()), (10_000, 10_000));
    let table = shard.connections();
    assert_eq!(table.len(), 2);
    assert!(table.iter().any(|row| row.outbound && row.bytes_in == 10_000));
}

#[test]
fn small_messages_go_round() {
    block_on(&config(), round_trips);
}

#[test]
fn every_future_tolerates_spurious_polls() {
    let config = ShardConfig { poll_everything: true, ..config() };
    block_on(&config, round_trips);
    block_on(&config, ten_mebibytes);
    run(&config, round_trips);
}

async fn ten_mebibytes(shard: Shard) {
    const LEN: usize = 10 << 20;
    let listener = Rc::new(listen(&shard));
    shard.spawn(serve(shard.clone(), listener.clone()));
    let client = shard.connect(listener.address()).await.unwrap();
    let pattern: Vec<u8> = (0..LEN).map(|at| (at / 251 % 256) as u8).collect();
    let bytes = bytes::Bytes::from(pattern.clone());
    let send = async {
        for at in (0..LEN).step_by(40_000) {
            let piece = bytes.slice(at..LEN.min(at + 40_000));
            push(&client, Piece::Bytes(piece)).await.unwrap();
        }
        client.shut_write();
    };
    let ((), back) = both(send, read_to_end(&client)).await;
    assert!(back.unwrap() == pattern, "10 MiB come back as they were");
}

#[test]
fn ten_mebibytes_go_both_ways_at_once() {
    block_on(&config(), ten_mebibytes);
}

#[test]
fn tiny_rings_and_few_buffers_lose_nothing() {
    let config = ShardConfig {
        ring_entries: 4,
        cq_entries: 16,
        head_bufs: 8,
        bulk_bufs: 4,
        ..ShardConfig::default()
    };
    block_on(&config, ten_mebibytes);
    block_on(&config, round_trips);
}

#[test]
fn the_next_turn_comes_after_a_look_at_the_ring() {
    let runtime = Runtime::new(&config()).unwrap();
    let shard = runtime.shard();
    let turns = Rc::new(RefCell::new(Vec::new()));
    let (seen, task) = (turns.clone(), shard.clone());
    runtime.block_on(async move {
        shard.spawn(async move {
            for _ in 0..4 {
                seen.borrow_mut().push(task.stats().turns);
                task.next_turn().await;
            }
        });
        while turns.borrow().len() < 4 {
            shard.yield_now().await;
        }
        assert!(turns.borrow().windows(2).all(|pair| pair[0] < pair[1]), "{turns:?}");
    });
}

#[test]
fn a_half_closed_stream_still_receives() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        client.push(Piece::Static(b"question")).unwrap();
        client.shut_write();
        assert_eq!(read_to_end(&server).await.unwrap(), b"question");
        poll_fn(|cx| server.poll_hangup(cx)).await;
        server.push(Piece::Static(b"answer")).unwrap();
        server.finish(shard.now() + Duration::from_secs(5));
        assert_eq!(read_to_end(&client).await.unwrap(), b"answer");
        assert!(server.recv().await.is_err(), "the handle is inert");
    });
}

#[test]
fn finish_delivers_the_last_words_though_input_is_unread() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        client.push(Piece::Bytes(vec![1; 90_000].into())).unwrap();
        server.recv().await.unwrap();
        server.push(Piece::Static(b"413 too large")).unwrap();
        server.finish(shard.now() + Duration::from_secs(5));
        assert_eq!(read_to_end(&client).await.unwrap(), b"413 too large");
        drop(client);
        while shard.connection_count() > 0 {
            shard.sleep_until(shard.now() + Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn dropping_a_stream_cancels_its_receive_and_closes() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(client.poll_recv(&mut cx).is_pending());
        shard.yield_now().await;
        drop(client);
        assert!(server.recv().await.unwrap().is_none());
        server.reset();
        while shard.connection_count() > 0 {
            shard.sleep_until(shard.now() + Duration::from_millis(1)).await;
        }
        assert_eq!(shard.stats().stale_cqes, 0);
    });
}

#[test]
fn a_reset_is_seen_by_readers_writers_and_hangup() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        server.pause();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(server.poll_hangup(&mut cx).is_pending());
        client.reset();
        poll_fn(|cx| server.poll_hangup(cx)).await;
        assert!(server.recv().await.is_err());
        server.push(Piece::Static(b"lost")).unwrap();
    });
}

#[test]
fn bytes_put_back_come_again_in_order() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        client.push(Piece::Static(b"abcdef")).unwrap();
        let buf = server.recv().await.unwrap().unwrap();
        server.put_back(buf.slice(3..6));
        server.put_back(buf.slice(0..3));
        drop(buf);
        // B1: what nobody takes is on the heap two turns later, and its page is back.
        for _ in 0..3 {
            shard.yield_now().await;
        }
        assert_eq!(shard.stats().bufs_free[0], u64::from(config().head_bufs));
        assert_eq!(&server.recv().await.unwrap().unwrap()[..], b"abcdef");
    });
}

#[test]
fn switching_to_bulk_and_back_keeps_the_order() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        let mut expected = Vec::new();
        let mut got = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        for round in 0..200_u32 {
            if round % 3 == 0 {
                server.bulk()
            } else {
                server.heads()
            }
            // Arm in this mode, so that the next switch has something to cancel.
            while let Poll::Ready(Ok(Some(buf))) = server.poll_recv(&mut cx) {
                got.extend_from_slice(&buf);
            }
            let bytes = vec![round as u8; 700 + round as usize * 13];
            expected.extend_from_slice(&bytes);
            push(&client, Piece::Bytes(bytes.into())).await.unwrap();
            if round % 5 == 0 {
                shard.yield_now().await;
            }
        }
        client.shut_write();
        got.extend(read_to_end(&server).await.unwrap());
        assert!(got == expected);
    });
}

#[test]
fn a_slow_reader_stops_the_writer_at_the_cap() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        let mut pushed = 0;
        loop {
            let piece = Piece::Bytes(vec![7; 32 * 1024].into());
            if server.push(piece).is_err() {
                // Full in this turn; stalled for good once the kernel takes no more either.
                for _ in 0..4 {
                    shard.yield_now().await;
                }
                if server.room() == 0 {
                    break;
                }
                continue;
            }
            pushed += 32 * 1024;
        }
        assert!(server.send_stalled_since().is_some());
        assert!(server.queued() <= 128 * 1024);
        assert_eq!(server.held_bytes(), server.queued());
        let mut got = 0;
        while got < pushed {
            got += client.recv().await.unwrap().unwrap().len();
        }
        server.flushed().await.unwrap();
        assert_eq!((server.queued(), server.room()), (0, 96 * 1024));
    });
}

#[test]
fn a_closing_listener_resets_nobody() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let address = listener.address().clone();
        let connects: Vec<_> = (0..20).map(|_| shard.connect(&address)).collect();
        let mut clients = Vec::new();
        for connect in connects {
            clients.push(connect.await.unwrap());
        }
        let rest = listener.close().await;
        assert_eq!(rest.len(), 20);
        for (client, server) in clients.iter().zip(&rest) {
            server.push(Piece::Static(b"served")).unwrap();
            assert!(client.bytes_in() == 0);
        }
        for client in &clients {
            assert_eq!(&client.recv().await.unwrap().unwrap()[..], b"served");
        }
        assert!(shard.connect(&address).await.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_dropped_connect_and_a_refused_one_leave_nothing() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let address = listener.address().clone();
        drop(shard.connect(&address));
        drop(listener);
        shard.sleep_until(shard.now() + Duration::from_millis(10)).await;
        let error = shard.connect(&address).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        while shard.connection_count() > 0 {
            shard.sleep_until(shard.now() + Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn unix_sockets_work_too() {
    let path = std::env::temp_dir().join(format!("ringway-echo-{}.sock", std::process::id()));
    let address = Address::Unix(path.clone());
    block_on(&config(), |shard| async move {
        let bound = bind(&address, 1, 16).unwrap().pop().unwrap();
        let listener = shard.listen(bound).unwrap();
        let (client, server) = pair(&shard, &listener).await;
        client.push(Piece::Static(b"over a path")).unwrap();
        assert_eq!(&server.recv().await.unwrap().unwrap()[..], b"over a path");
        assert_eq!(client.peer(), address);
        assert_eq!(server.peer(), Address::Unix("".into()));
    });
    std::fs::remove_file(path).unwrap();
}

#[test]
fn another_thread_wakes_a_waiting_shard() {
    let (sender, receiver) = mailbox::<u64>(4);
    let thread = start_shard(config(), move |_| async move {
        let mut sum = 0;
        while let Some(number) = receiver.recv().await {
            sum += number;
        }
        assert_eq!(sum, (0..10_000).sum());
    })
    .unwrap();
    thread.ready().unwrap();
    for number in 0..10_000 {
        while sender.try_send(number).is_err() {
            std::thread::yield_now();
        }
    }
    drop(sender);
    assert_eq!(thread.join().unwrap(), ExitReport::default());
}

#[test]
fn five_hundred_ready_sockets_share_few_buffers_fairly() {
    const SOCKETS: usize = 512;
    const BUFFERS: u16 = 32;
    raise_descriptors();
    let config = ShardConfig { head_bufs: BUFFERS, ..config() };
    block_on(&config, |shard| async move {
        let listener = Rc::new(listen(&shard));
        let mut pairs = Vec::new();
        for _ in 0..SOCKETS {
            pairs.push(pair(&shard, &listener).await);
        }
        let mut cx = Context::from_waker(Waker::noop());
        for (_, server) in &pairs {
            assert!(server.poll_recv(&mut cx).is_pending());
        }
        shard.yield_now().await;
        for (client, _) in &pairs {
            client.push(Piece::Static(b"all at once")).unwrap();
        }
        let served = Rc::new(Cell::new(0));
        let (clients, servers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        for server in servers {
            let served = served.clone();
            shard.spawn(async move {
                assert_eq!(&server.recv().await.unwrap().unwrap()[..], b"all at once");
                served.set(served.get() + 1);
            });
        }
        while served.get() < SOCKETS {
            shard.sleep_until(shard.now() + Duration::from_millis(1)).await;
        }
        drop(clients);
        let enobufs = shard.stats().enobufs;
        assert!(enobufs <= SOCKETS as u64 + u64::from(BUFFERS), "{enobufs} ENOBUFS");
        assert_eq!(shard.stats().panics, 0);
    });
}

#[test]
fn a_panic_costs_its_own_task_only() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        shard.spawn(async move {
            server.recv().await.unwrap();
            panic!("expected by the test");
        });
        client.push(Piece::Static(b"boom")).unwrap();
        // The panicking task owned the server side, which is aborted with it.
        assert!(!matches!(client.recv().await, Ok(Some(_))));
        assert_eq!(shard.stats().panics, 1);
    });
}

#[test]
fn a_descriptor_is_given_away_only_when_nothing_is_queued() {
    use std::io::{Read, Write};
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(server.poll_recv(&mut cx).is_pending());
        shard.yield_now().await;
        client.push(Piece::Static(b"unread")).unwrap();
        client.flushed().await.unwrap();
        let Err(server) = server.into_fd().await else { panic!("bytes were waiting") };
        assert_eq!(&server.recv().await.unwrap().unwrap()[..], b"unread");
        let Ok(fd) = server.into_fd().await else { panic!("nothing was queued") };
        #[expect(clippy::disallowed_types, reason = "the far end of the test, outside the ring")]
        let mut plain = std::net::TcpStream::from(fd);
        plain.set_nonblocking(false).unwrap();
        plain.write_all(b"from outside").unwrap();
        assert_eq!(&client.recv().await.unwrap().unwrap()[..], b"from outside");
        client.push(Piece::Static(b"to outside")).unwrap();
        client.flushed().await.unwrap();
        let mut bytes = [0; 10];
        plain.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"to outside");
    });
}

#[test]
fn the_end_reaps_everything_in_flight() {
    let mut runtime = Runtime::new(&config()).unwrap();
    let shard = runtime.shard();
    let kept: Rc<RefCell<Vec<Stream>>> = Rc::default();
    let streams = kept.clone();
    let handle = shard.clone();
    shard.spawn(async move {
        let listener = listen(&handle);
        for _ in 0..10 {
            let (client, server) = pair(&handle, &listener).await;
            // A receive in flight on one side, a send that cannot finish on the other.
            let mut cx = Context::from_waker(Waker::noop());
            assert!(server.poll_recv(&mut cx).is_pending());
            while server.bytes_out() == 0 || server.room() > 0 {
                let _ = server.push(Piece::Bytes(vec![1; 64 * 1024].into()));
                if server.room() == 0 {
                    // Time for the kernel to take what it can.
                    handle.sleep_until(handle.now() + Duration::from_millis(1)).await;
                }
            }
            streams.borrow_mut().extend([client, server]);
        }
        // Runnable for ever, so that no turn waits while the test looks at the streams.
        loop {
            handle.yield_now().await;
        }
    });
    while kept.borrow().len() < 20 {
        runtime.turn();
    }
    // Ten receives and at least one send: the kernel may have taken more of the others since.
    assert!(shard.stats().ops_in_flight > 10, "{:?}", shard.stats());
    assert_eq!(runtime.shutdown(), ExitReport::default());
    // Handles outlive the runtime and are inert.
    let stream = kept.borrow_mut().pop().unwrap();
    assert_eq!(stream.queued(), 0);
    assert!(stream.push(Piece::Static(b"nowhere")).is_ok());
    shard.spawn(async {});
    assert!(shard.connections().is_empty());
}

#[test]
fn a_view_that_outlives_the_shard_is_reported_and_stays_readable() {
    let mut runtime = Runtime::new(&config()).unwrap();
    let shard = runtime.shard();
    let kept: Rc<RefCell<Option<Buf>>> = Rc::default();
    let slot = kept.clone();
    shard.clone().spawn(async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        client.push(Piece::Static(b"kept")).unwrap();
        let buf = server.recv().await.unwrap().unwrap();
        *slot.borrow_mut() = Some(buf);
    });
    while kept.borrow().is_none() {
        runtime.turn();
    }
    assert_eq!(runtime.shutdown(), ExitReport { leaked_regions: 1, leaked_ops: 0 });
    assert_eq!(&kept.borrow().as_ref().unwrap()[..], b"kept");
}

#[test]
fn a_failed_send_leaves_the_peers_last_words_readable() {
    block_on(&config(), |shard| async move {
        let listener = listen(&shard);
        let (client, server) = pair(&shard, &listener).await;
        server.push(Piece::Static(b"413 and good bye")).unwrap();
        server.flushed().await.unwrap();
        // Unread input makes this close an RST, after the words above.
        client.push(Piece::Static(b"body")).unwrap();
        client.flushed().await.unwrap();
        drop(server);
        let failed = loop {
            client.push(Piece::Static(b"more body")).unwrap();
            if let Err(error) = client.flushed().await {
                break error;
            }
        };
        assert_ne!(failed.raw_os_error(), None);
        let words = client.recv().await;
        // The kernel may drop them with the RST; what it kept must come before the error.
        if let Ok(Some(words)) = words {
            assert_eq!(&words[..], b"413 and good bye");
        }
        poll_fn(|cx| client.poll_hangup(cx)).await;
    });
}

#[test]
fn a_deadline_set_after_the_poll_wakes_the_task() {
    block_on(&config(), |shard| async move {
        let timer = Rc::new(shard.timer());
        let (setter, handle) = (timer.clone(), shard.clone());
        shard.spawn(async move {
            handle.yield_now().await;
            setter.set(Some(handle.now() + Duration::from_millis(5)));
        });
        poll_fn(|cx| timer.poll_expired(cx)).await;
    });
}

#[test]
fn timers_fire_in_order_and_move() {
    block_on(&config(), |shard| async move {
        let start = shard.now();
        let timer = shard.timer();
        timer.set(Some(start + Duration::from_secs(3600)));
        timer.set(Some(start + Duration::from_millis(20)));
        poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(shard.now() >= start + Duration::from_millis(20));
        poll_fn(|cx| timer.poll_expired(cx)).await;
        timer.set(None);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(timer.poll_expired(&mut cx).is_pending());
    });
}

fn raise_descriptors() {
    assert!(engine::probe::raise_nofile().unwrap() >= 2048);
}
