//! Scripted upstreams: listeners on the simulated network whose connections behave as each
//! request's target says. They hold the gateway to its word: a POST reaches them at most once,
//! requests are well-formed, and the next one comes only after the reply to the last.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Address;
use engine::sim::{Net, Peer, PeerListener, Rng};

use super::http::{Message, Reader, Side, chunked, hash};
use super::plan::{Conduct, Plan};

/// What a connection does next.
#[derive(Debug)]
enum Act {
    Write(Vec<u8>),
    WaitUntil(Duration),
    Close,
    Reset,
    Mute,
}

struct Link {
    peer: Option<Peer>,
    reader: Reader,
    acts: std::collections::VecDeque<Act>,
    /// The reply to the request being read has begun already.
    answered_early: bool,
    mute: bool,
    eof: bool,
    /// Everything that comes is echoed; the plan's reply is the last word.
    tunnel: Option<Plan>,
    /// The head of the request being read was counted.
    counted: bool,
}

/// All upstreams of a run.
pub(crate) struct Origins {
    net: Net,
    rng: Rng,
    listeners: Vec<PeerListener>,
    links: Vec<Link>,
    /// How often each POST's head was seen.
    posts: BTreeMap<u64, u32>,
    /// Complete requests seen.
    pub(crate) served: u64,
    /// Connections accepted.
    pub(crate) accepted: u64,
}

impl Origins {
    /// Listens at these addresses.
    pub(crate) fn new(net: &Net, seed: u64, addresses: &[Address]) -> Origins {
        Origins {
            net: net.clone(),
            rng: Rng::new(seed ^ 0x0417),
            listeners: addresses.iter().map(|address| net.listen(address)).collect(),
            links: Vec::new(),
            posts: BTreeMap::new(),
            served: 0,
            accepted: 0,
        }
    }

    /// Lets every connection get on.
    pub(crate) fn step(&mut self) {
        for listener in &self.listeners {
            while let Some(peer) = listener.accept() {
                self.accepted += 1;
                self.links.push(Link::new(peer));
            }
        }
        let now = self.net.elapsed();
        for link in &mut self.links {
            link.receive(now, &mut self.rng, &mut self.posts, &mut self.served);
            link.act(&self.net, now);
        }
        self.links.retain(|link| link.peer.is_some());
    }

    /// Closes everything: listeners and connections.
    pub(crate) fn leave(&mut self) {
        self.listeners.clear();
        self.links.clear();
    }
}

impl Link {
    fn new(peer: Peer) -> Link {
        Link {
            peer: Some(peer),
            reader: Reader::default(),
            acts: std::collections::VecDeque::new(),
            answered_early: false,
            mute: false,
            eof: false,
            tunnel: None,
            counted: false,
        }
    }

    fn receive(
        &mut self,
        now: Duration,
        rng: &mut Rng,
        posts: &mut BTreeMap<u64, u32>,
        served: &mut u64,
    ) {
        let Some(peer) = &self.peer else { return };
        let seen = peer.read(self.reader.input());
        if seen.reset {
            self.peer = None;
            return;
        }
        self.eof |= seen.eof;
        while self.peer.is_some() && !self.mute && self.tunnel.is_none() {
            let next = self.reader.next(Side::Requests, false);
            let next = next.unwrap_or_else(|error| panic!("origin got a bad request: {error}"));
            self.count(posts, next.as_ref());
            match next {
                Some(request) => {
                    *served += 1;
                    self.counted = false;
                    self.answer(&request, now, rng);
                }
                None => {
                    self.answer_early(now, rng);
                    break;
                }
            }
        }
        if let Some(plan) = self.tunnel {
            self.echo(plan);
        } else if self.eof && self.acts.is_empty() {
            self.peer = None;
        }
    }

    fn echo(&mut self, plan: Plan) {
        let bytes = std::mem::take(self.reader.input());
        if !bytes.is_empty() {
            self.write(bytes);
        }
        if self.eof {
            self.write(plan.reply_body());
            self.acts.push_back(Act::Close);
            // The end is seen again with each read.
            self.tunnel = None;
        }
    }

    /// Counts a POST when its head is seen: a second time would be a replay.
    fn count(&mut self, posts: &mut BTreeMap<u64, u32>, complete: Option<&Message>) {
        let Some(head) = complete.or(self.reader.partial()) else { return };
        if self.counted {
            return;
        }
        self.counted = true;
        let owing = self.acts.iter().any(|act| matches!(act, Act::Write(_)));
        assert!(!owing, "a request before the last one's reply: {}", head.start);
        if head.method() != "POST" {
            return;
        }
        let plan = Plan::from_target(head.target()).expect("a target of ours");
        let times = posts.entry(plan.id).or_default();
        *times += 1;
        assert!(*times == 1, "POST {} was sent to an upstream {times} times", plan.id);
    }

    fn answer_early(&mut self, now: Duration, rng: &mut Rng) {
        let Some(head) = self.reader.partial().cloned() else { return };
        let plan = Plan::from_target(head.target()).expect("a target of ours");
        if plan.conduct == Conduct::Early && !self.answered_early {
            self.answered_early = true;
            self.reply(&head, plan, None, now, rng);
        }
    }

    fn answer(&mut self, request: &Message, now: Duration, rng: &mut Rng) {
        if std::mem::take(&mut self.answered_early) {
            return;
        }
        let plan = Plan::from_target(request.target()).expect("a target of ours");
        self.reply(request, plan, Some(hash(&request.body)), now, rng);
    }

    fn reply(
        &mut self,
        request: &Message,
        plan: Plan,
        upload_hash: Option<u64>,
        now: Duration,
        rng: &mut Rng,
    ) {
        let body = if request.method() == "HEAD" { Vec::new() } else { plan.reply_body() };
        let common = match upload_hash {
            Some(hash) => format!("x-echo-id: {}\r\nx-upload-hash: {hash:x}\r\n", plan.id),
            None => format!("x-echo-id: {}\r\n", plan.id),
        };
        let exact = format!("content-length: {}\r\n", plan.reply_bytes);
        let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\n{common}{fields}\r\n").into_bytes();
        let whole = |fields: &str| [ok(fields), body.clone()].concat();
        let cut = |bytes: Vec<u8>, rng: &mut Rng| {
            let head = bytes.len() - body.len();
            let keep = head + rng.below(body.len() as u64) as usize;
            bytes[..keep.min(bytes.len())].to_vec()
        };
        match plan.conduct {
            Conduct::Tunnel if request.field("upgrade").is_some() => self.switch(request, plan),
            Conduct::Exact | Conduct::Early | Conduct::Tunnel => self.write(whole(&exact)),
            Conduct::Slow => {
                let pause = Duration::from_micros(1 + rng.below(900_000));
                self.acts.push_back(Act::WaitUntil(now + pause));
                self.write(whole(&exact));
            }
            Conduct::Chunked => {
                let head = ok("transfer-encoding: chunked\r\n");
                let size = rng.size(20_000);
                let bodiless = request.method() == "HEAD";
                let framed = if bodiless { Vec::new() } else { chunked(&body, size) };
                self.write([head, framed].concat());
            }
            Conduct::UntilClose => {
                self.write(whole("connection: close\r\n"));
                self.acts.push_back(Act::Close);
            }
            Conduct::NoContent => {
                self.write(format!("HTTP/1.1 204 No Content\r\n{common}\r\n").into_bytes());
            }
            Conduct::NotModified => {
                self.write(format!("HTTP/1.1 304 Not Modified\r\n{common}\r\n").into_bytes());
            }
            Conduct::Interim => {
                self.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec());
                self.write(whole(&exact));
            }
            Conduct::Close => {
                self.write(whole(&format!("{exact}connection: close\r\n")));
                self.acts.push_back(Act::Close);
            }
            Conduct::Stale => {
                self.write(whole(&exact));
                let pause = Duration::from_micros(rng.below(3_000));
                self.acts.push_back(Act::WaitUntil(now + pause));
                self.acts.push_back(Act::Close);
            }
            Conduct::DieFin | Conduct::DieReset => {
                self.write(cut(whole(&exact), rng));
                let fin = matches!(plan.conduct, Conduct::DieFin);
                self.acts.push_back(if fin { Act::Close } else { Act::Reset });
            }
            Conduct::DieMute => self.acts.push_back(Act::Close),
            Conduct::Silent => self.acts.push_back(Act::Mute),
            Conduct::Panic => panic!("request {} was to panic in the gateway", plan.id),
        }
    }

    fn switch(&mut self, request: &Message, plan: Plan) {
        assert_eq!(request.field("upgrade"), Some("sim"));
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n";
        self.write(format!("{switch}upgrade: sim\r\n\r\n").into_bytes());
        self.tunnel = Some(plan);
    }

    fn write(&mut self, bytes: Vec<u8>) {
        self.acts.push_back(Act::Write(bytes));
    }

    fn act(&mut self, net: &Net, now: Duration) {
        while let (Some(peer), Some(act)) = (&self.peer, self.acts.front_mut()) {
            match act {
                Act::Write(bytes) => {
                    let sent = peer.write(bytes);
                    bytes.drain(..sent);
                    if !bytes.is_empty() {
                        return;
                    }
                }
                Act::WaitUntil(at) if now < *at => {
                    net.alarm(*at - now);
                    return;
                }
                Act::WaitUntil(_) => {}
                Act::Mute => {
                    self.mute = true;
                    return;
                }
                Act::Close => self.peer = None,
                Act::Reset => {
                    if let Some(peer) = self.peer.take() {
                        peer.reset();
                    }
                }
            }
            self.acts.pop_front();
        }
    }
}
