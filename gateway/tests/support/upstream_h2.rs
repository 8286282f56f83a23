//! Scripted upstreams of HTTP/2: many requests at a time on one connection, each answered as its
//! target says. A POST reaches them at most once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Address;
use engine::sim::{Net, Peer, PeerListener, Rng};
use protocols::{AnyWire, Cx, Event, Fault, Head, Length, Role, StreamId, Wire, WireSpec};

use super::http::hash;
use super::plan::{Conduct, Plan};

/// All upstreams of HTTP/2 of a run.
pub(crate) struct UpstreamsH2 {
    net: Net,
    rng: Rng,
    listeners: Vec<PeerListener>,
    links: Vec<Link>,
    posts: BTreeMap<u64, u32>,
    epoch: Instant,
    /// Nobody else's streams are broken.
    quiet: bool,
    /// Complete requests seen.
    pub(crate) served: u64,
}

struct Link {
    peer: Option<Peer>,
    wire: AnyWire,
    #[expect(clippy::vec_box, reason = "that is the free list of a wire's context")]
    heads: Vec<Box<Head>>,
    input: Vec<u8>,
    output: VecDeque<u8>,
    jobs: BTreeMap<StreamId, Job>,
    /// GOAWAY was sent: the connection ends with its last stream.
    last: bool,
}

/// One request.
struct Job {
    plan: Plan,
    is_head: bool,
    upload: Vec<u8>,
    /// The whole request is here.
    ended: bool,
    not_before: Duration,
    reply: Reply,
}

enum Reply {
    NotBegun,
    /// What is left to send, and how it ends.
    Body(VecDeque<u8>, Ending),
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    Reset,
    /// The connection is cut.
    Cut,
}

/// Few, so that the gateway needs more than one link.
const STREAMS_MAX: u32 = 4;

impl UpstreamsH2 {
    /// Listens at these addresses.
    pub(crate) fn new(net: &Net, seed: u64, addresses: &[Address], quiet: bool) -> UpstreamsH2 {
        #[expect(clippy::disallowed_methods, reason = "any moment will do for the clock's zero")]
        let epoch = Instant::now();
        UpstreamsH2 {
            net: net.clone(),
            rng: Rng::new(seed ^ 0x2417),
            listeners: addresses.iter().map(|address| net.listen(address)).collect(),
            links: Vec::new(),
            posts: BTreeMap::new(),
            epoch,
            quiet,
            served: 0,
        }
    }

    /// Lets every connection get on.
    pub(crate) fn step(&mut self) {
        for listener in &self.listeners {
            while let Some(peer) = listener.accept() {
                self.links.push(Link::new(peer));
            }
        }
        let mut links = std::mem::take(&mut self.links);
        for link in &mut links {
            self.receive(link);
            self.answer(link);
            link.write();
        }
        links.retain(|link| link.peer.is_some());
        self.links = links;
    }

    /// Closes everything: listeners and connections.
    pub(crate) fn leave(&mut self) {
        self.listeners.clear();
        self.links.clear();
    }

    fn now(&self) -> Instant {
        self.epoch + self.net.elapsed()
    }

    fn receive(&mut self, link: &mut Link) {
        let Some(peer) = &link.peer else { return };
        let seen = peer.read(&mut link.input);
        loop {
            let input = std::mem::take(&mut link.input);
            let decoded = link.with(self.now(), |wire, cx| wire.decode(&input, cx));
            let decoded =
                decoded.unwrap_or_else(|error| panic!("an upstream was sent nonsense: {error:?}"));
            link.input = input.get(decoded.used..).unwrap_or_default().to_vec();
            let Some(event) = decoded.event else { break };
            self.take(link, event, &input);
        }
        if seen.eof || seen.reset {
            link.peer = None;
        }
    }

    fn take(&mut self, link: &mut Link, event: Event, input: &[u8]) {
        match event {
            Event::Head { stream, head, end } => {
                let target = String::from_utf8_lossy(head.target()).into_owned();
                let plan = Plan::from_target(&target).expect("a target of ours");
                if head.method() == b"POST" {
                    let times = self.posts.entry(plan.id).or_default();
                    *times += 1;
                    assert!(*times == 1, "POST {} was sent to an upstream {times} times", plan.id);
                }
                link.jobs.insert(stream, Job::new(plan, head.method() == b"HEAD"));
                link.heads.push(head);
                self.ended(link, stream, end);
            }
            Event::Data { stream, at, charge, end } => {
                let bytes = input.get(at).unwrap_or_default();
                self.body(link, stream, bytes, charge, end);
            }
            Event::Copied { stream, bytes, charge, end } => {
                self.body(link, stream, &bytes, charge, end);
            }
            Event::Trailers { stream, head } => {
                link.heads.push(head);
                self.ended(link, stream, true);
            }
            Event::Reset { stream, .. } => link.release(stream),
            Event::Refused { fault, .. } => {
                assert_eq!(
                    fault,
                    Fault::StreamRefused,
                    "of what was sent before our SETTINGS came"
                );
            }
            Event::Closing | Event::Writable { .. } => {}
        }
    }

    fn body(&mut self, link: &mut Link, stream: StreamId, bytes: &[u8], charge: u32, end: bool) {
        let Some(job) = link.jobs.get_mut(&stream) else { return };
        job.upload.extend_from_slice(bytes);
        link.with(self.now(), |wire, cx| wire.credit(stream, charge, cx));
        self.ended(link, stream, end);
    }

    fn ended(&mut self, link: &mut Link, stream: StreamId, end: bool) {
        let Some(job) = link.jobs.get_mut(&stream).filter(|_| end) else { return };
        job.ended = true;
        self.served += 1;
        if job.plan.conduct == Conduct::Slow {
            let pause = Duration::from_micros(1 + self.rng.below(900_000));
            job.not_before = self.net.elapsed() + pause;
        }
    }

    /// Begins the replies that are due, and sends what the windows allow.
    fn answer(&mut self, link: &mut Link) {
        let streams: Vec<StreamId> = link.jobs.keys().copied().collect();
        for stream in streams {
            let Some(job) = link.jobs.get(&stream) else { continue };
            let is_due = job.ended || job.plan.conduct == Conduct::Early;
            let now = self.net.elapsed();
            if is_due && job.not_before > now {
                self.net.alarm(job.not_before - now);
            } else if is_due && matches!(job.reply, Reply::NotBegun) {
                self.begin(link, stream);
            }
            self.send(link, stream);
        }
        if link.last && link.jobs.is_empty() && link.output.is_empty() {
            link.peer = None;
        }
    }

    fn begin(&mut self, link: &mut Link, stream: StreamId) {
        let Some(job) = link.jobs.get_mut(&stream) else { return };
        let (plan, now) = (job.plan, self.epoch + self.net.elapsed());
        let cut = if !self.quiet && self.rng.below(3) == 0 { Ending::Cut } else { Ending::Reset };
        let mut body = if job.is_head { Vec::new() } else { plan.reply_body() };
        let ending = match plan.conduct {
            Conduct::Silent => return,
            Conduct::DieMute => {
                job.reply = Reply::Body(VecDeque::new(), cut);
                return;
            }
            // A reply to HEAD is whole with its head, for a client of HTTP/1.
            Conduct::DieFin | Conduct::DieReset if !job.is_head => {
                body.truncate(self.rng.below(body.len().max(1) as u64) as usize);
                cut
            }
            _ => Ending::Whole,
        };
        let head = job.head();
        let bodiless = job.is_head || matches!(head.status(), 204 | 304);
        let end = ending == Ending::Whole && (bodiless || body.is_empty());
        job.reply = match end {
            true => Reply::Over,
            false => Reply::Body(body.into(), ending),
        };
        if plan.conduct == Conduct::Interim {
            let mut early = Head::new();
            early.set_status(103, b"");
            // A stream that was broken off says so by an event.
            let _ = link.with(now, |wire, cx| wire.head(stream, &early, false, cx));
        }
        let _ = link.with(now, |wire, cx| wire.head(stream, &head, end, cx));
        if matches!(plan.conduct, Conduct::Stale | Conduct::Close) && !link.last {
            link.last = true;
            link.with(now, |wire, cx| wire.drain(true, cx));
        }
    }

    fn send(&mut self, link: &mut Link, stream: StreamId) {
        let now = self.epoch + self.net.elapsed();
        while link.wire.ready(stream) {
            let Some(job) = link.jobs.get_mut(&stream) else { return };
            let Reply::Body(left, ending) = &mut job.reply else { break };
            let (len, ending) = (left.len().min(self.rng.size(20_000)), *ending);
            let mut left = std::mem::take(left);
            if left.is_empty() && ending != Ending::Whole {
                link.break_off(stream, ending, now);
                return;
            }
            let end = len == left.len() && ending == Ending::Whole;
            let framing = link.with(now, |wire, cx| wire.data(stream, len, end, cx));
            let Ok(framing) = framing else { return };
            link.output.extend(left.drain(..framing.take));
            link.output.extend(framing.suffix);
            let Some(job) = link.jobs.get_mut(&stream) else { return };
            let is_over = end && framing.take == len;
            job.reply = if is_over { Reply::Over } else { Reply::Body(left, ending) };
            if framing.take == 0 {
                break;
            }
        }
        let is_over = |job: &Job| job.ended && matches!(job.reply, Reply::Over);
        if link.jobs.get(&stream).is_some_and(is_over) {
            link.release(stream);
        }
    }
}

impl Job {
    fn new(plan: Plan, is_head: bool) -> Job {
        Job {
            plan,
            is_head,
            upload: Vec::new(),
            ended: false,
            not_before: Duration::ZERO,
            reply: Reply::NotBegun,
        }
    }

    /// The reply's head.
    fn head(&self) -> Head {
        let mut head = Head::new();
        let status = match self.plan.conduct {
            Conduct::NoContent => 204,
            Conduct::NotModified => 304,
            _ => 200,
        };
        head.set_status(status, b"");
        head.push(b"x-echo-id", self.plan.id.to_string().as_bytes());
        if self.ended {
            head.push(b"x-upload-hash", format!("{:x}", hash(&self.upload)).as_bytes());
        }
        if matches!(self.plan.conduct, Conduct::Chunked | Conduct::UntilClose) {
            head.set_length(Length::Unknown);
        } else if status == 200 {
            head.push(b"content-length", self.plan.reply_bytes.to_string().as_bytes());
            head.set_length(Length::Exact(self.plan.reply_bytes as u64));
        }
        head
    }
}

impl Link {
    fn new(peer: Peer) -> Link {
        let spec = WireSpec { h2_streams_max: STREAMS_MAX, ..WireSpec::default() };
        Link {
            peer: Some(peer),
            wire: AnyWire::h2(Role::Server, &Arc::new(spec)),
            heads: Vec::new(),
            input: Vec::new(),
            output: VecDeque::new(),
            jobs: BTreeMap::new(),
            last: false,
        }
    }

    /// Calls the wire; what it writes is sent later.
    fn with<R>(&mut self, now: Instant, call: impl FnOnce(&mut AnyWire, &mut Cx<'_>) -> R) -> R {
        let mut out = Vec::new();
        let mut cx = Cx { now, out: &mut out, heads: &mut self.heads };
        let result = call(&mut self.wire, &mut cx);
        self.output.extend(out);
        result
    }

    fn release(&mut self, stream: StreamId) {
        if self.jobs.remove(&stream).is_some() {
            self.wire.release(stream);
        }
    }

    fn break_off(&mut self, stream: StreamId, ending: Ending, now: Instant) {
        if ending == Ending::Cut {
            self.peer = None;
            return;
        }
        self.with(now, |wire, cx| wire.reset(stream, Fault::Cancelled, cx));
        self.release(stream);
    }

    fn write(&mut self) {
        let Some(peer) = &self.peer else { return };
        let sent = peer.write(self.output.make_contiguous());
        self.output.drain(..sent);
    }
}
