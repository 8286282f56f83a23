//! One shard with its clients and its upstream, all on one simulated network without faults.
//!
//! The far ends know just one kind of request and of reply, and compare ends instead of parsing:
//! they are to cost little.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use control::Snapshot;
use engine::sim::{Faults, Net, Peer, PeerListener};
use engine::{Address, MailSender, Runtime, ShardConfig};
use gateway::{Seat, ToShard};
use observe::{Recorder, Registry};

/// Keep-alive connections that ask at a time.
const CLIENTS: usize = 16;
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const STATUS: &[u8] = b"HTTP/1.1 200 ";

pub(crate) struct Stage {
    net: Net,
    runtime: Runtime,
    /// Without it the shard would think that its control thread is gone.
    _mailbox: MailSender<ToShard>,
    upstream: PeerListener,
    links: Vec<End>,
    clients: Vec<End>,
}

/// A connection's far end and what it was sent and did not take yet.
struct End {
    peer: Peer,
    input: Vec<u8>,
}

impl End {
    fn new(peer: Peer) -> End {
        End { peer, input: Vec::new() }
    }

    /// Takes what has come; false when the gateway has ended the connection.
    fn receive(&mut self) -> bool {
        let seen = self.peer.read(&mut self.input);
        !seen.eof && !seen.reset
    }

    fn say(&self, bytes: &[u8]) {
        assert_eq!(self.peer.write(bytes), bytes.len(), "a socket buffer is full");
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.input).into_owned()
    }
}

impl Stage {
    pub(crate) fn new(seed: u64, snapshot: &Arc<Snapshot>) -> Stage {
        let net = Net::new(seed, Faults::none());
        let runtime = Runtime::simulated(&ShardConfig::default(), &net);
        let metrics = Registry::new(1, "bench", UNIX_EPOCH).shard(0);
        let (mailbox, receiver) = engine::mailbox(16);
        let address: Address = "10.0.0.1:80".parse().expect("an address");
        let seat = Seat {
            snapshot: Arc::clone(snapshot),
            caps: Arc::new(gateway::Caps::new(CLIENTS, [seed, seed])),
            listeners: vec![net.bind(&address)],
            mailbox: receiver,
            metrics: Arc::clone(&metrics),
            recorder: Recorder::off(metrics),
        };
        let shard = runtime.shard();
        let served = shard.clone();
        shard.spawn(async move {
            gateway::serve(served, seat).await;
        });
        let upstream = net.listen(&"10.0.1.1:80".parse().expect("an address"));
        let clients = (0..CLIENTS).map(|_| End::new(net.connect(&address))).collect();
        let mut stage =
            Stage { net, runtime, _mailbox: mailbox, upstream, links: Vec::new(), clients };
        while !stage.clients.iter().all(|client| client.peer.connected() == Some(true)) {
            stage.turn();
        }
        stage
    }

    /// Every request, each answered by the upstream with 200.
    pub(crate) fn exchange_all(&mut self, requests: &[Vec<u8>]) {
        let mut requests = requests.iter();
        let mut waiting = 0;
        for (client, request) in self.clients.iter().zip(&mut requests) {
            client.say(request);
            waiting += 1;
        }
        while waiting > 0 {
            self.turn();
            self.answer();
            for client in &mut self.clients {
                assert!(client.receive(), "the gateway ended a connection: {}", client.text());
                if !client.input.ends_with(b"hello") {
                    continue;
                }
                assert!(client.input.starts_with(STATUS), "{}", client.text());
                client.input.clear();
                match requests.next() {
                    Some(request) => client.say(request),
                    None => waiting -= 1,
                }
            }
        }
    }

    fn turn(&mut self) {
        self.runtime.turn();
        if !self.net.pending() {
            self.net.alarm(Duration::from_millis(100));
        }
    }

    fn answer(&mut self) {
        while let Some(peer) = self.upstream.accept() {
            self.links.push(End::new(peer));
        }
        // A link that was idle for long is closed by the gateway.
        self.links.retain_mut(End::receive);
        for link in &mut self.links {
            if link.input.ends_with(b"\r\n\r\n") {
                link.input.clear();
                link.say(REPLY);
            }
        }
    }
}
