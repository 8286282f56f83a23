//! Scripted upstreams of Thrift, which answer in the dialect that they are asked in, as a call's
//! argument says. No call, and no oneway, reaches them twice.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use engine::Address;
use engine::sim::{Net, Peer, PeerListener, Rng};
use mock::thrift::{Encoding, Envelope, Head, Kind, Packet, Reader, write};

use super::http::hash;
use super::plan::{Conduct, Plan};
use super::thrift::{parts, string};

/// All upstreams of Thrift of a run.
pub(crate) struct UpstreamsThrift {
    net: Net,
    rng: Rng,
    listeners: Vec<PeerListener>,
    links: Vec<Link>,
    seen: BTreeMap<u64, u32>,
    /// Connections are not closed behind good replies, and oneways have none.
    quiet: bool,
    /// Complete calls seen.
    pub(crate) served: u64,
}

struct Link {
    peer: Option<Peer>,
    reader: Reader,
    input: Vec<u8>,
    output: VecDeque<u8>,
    jobs: VecDeque<Job>,
    /// How the connection ends once the output is sent.
    ending: Option<Ending>,
}

/// One call that is to be answered.
struct Job {
    plan: Plan,
    envelope: Envelope,
    encoding: Encoding,
    name: Vec<u8>,
    number: i32,
    upload_hash: u64,
    not_before: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Fin,
    Reset,
}

/// The type of an exception that an upstream answers with; the gateway's own are 1, 6 and 7.
pub(crate) const SERVERS_OWN: i32 = 1000;

impl UpstreamsThrift {
    /// Listens at these addresses.
    pub(crate) fn new(net: &Net, seed: u64, addresses: &[Address], quiet: bool) -> UpstreamsThrift {
        UpstreamsThrift {
            net: net.clone(),
            rng: Rng::new(seed ^ 0x7417),
            listeners: addresses.iter().map(|address| net.listen(address)).collect(),
            links: Vec::new(),
            seen: BTreeMap::new(),
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

    fn receive(&mut self, link: &mut Link) {
        let Some(peer) = &link.peer else { return };
        let end = peer.read(&mut link.input);
        let (input, mut at) = (std::mem::take(&mut link.input), 0);
        loop {
            let next = link.reader.next(&input[at..]);
            let next = next.unwrap_or_else(|broken| panic!("an upstream got nonsense: {broken:?}"));
            let Some(packet) = next else { break };
            self.take(link, &packet);
            at += packet.len;
        }
        link.input = input[at..].to_vec();
        if end.eof || end.reset {
            link.peer = None;
        }
    }

    fn take(&mut self, link: &mut Link, packet: &Packet<'_>) {
        let (line, upload) = parts(packet, 1);
        let plan = Plan::from_target(line).expect("a target of ours");
        let times = self.seen.entry(plan.id).or_default();
        *times += 1;
        assert!(*times == 1, "call {} was sent to an upstream {times} times", plan.id);
        self.served += 1;
        let Head { encoding, kind, name, number } = packet.head;
        let is_oneway = kind == Kind::Oneway;
        assert!(is_oneway || kind == Kind::Call, "an upstream was sent a {kind:?}");
        // Some servers answer a oneway; whose call is on the link by then pays for it.
        if is_oneway && (self.quiet || plan.conduct != Conduct::Early) {
            return;
        }
        let pause = Duration::from_micros(1 + self.rng.below(900_000));
        let is_slow = plan.conduct == Conduct::Slow;
        link.jobs.push_back(Job {
            plan,
            envelope: packet.envelope,
            encoding,
            name: name.to_vec(),
            number,
            upload_hash: hash(upload),
            not_before: if is_slow { self.net.elapsed() + pause } else { Duration::ZERO },
        });
    }

    /// Answers what is due: in order, but where a TTHeader lets replies overtake each other.
    fn answer(&mut self, link: &mut Link) {
        let mut at = 0;
        while link.ending.is_none()
            && let Some(job) = link.jobs.get(at)
        {
            let now = self.net.elapsed();
            let waits = job.not_before > now;
            if waits {
                self.net.alarm(job.not_before - now);
            }
            let overtakes = job.envelope.is_out_of_order();
            if waits || job.plan.conduct == Conduct::Silent {
                if !overtakes {
                    return;
                }
                at += 1;
                continue;
            }
            if let Some(job) = link.jobs.remove(at) {
                self.reply(link, &job);
            }
        }
    }

    fn reply(&mut self, link: &mut Link, job: &Job) {
        let closes = !self.quiet;
        let mut reply = job.reply();
        match job.plan.conduct {
            Conduct::DieMute => {
                link.ending = Some(Ending::Fin);
                return;
            }
            Conduct::DieFin | Conduct::DieReset => {
                reply.truncate(self.rng.below(reply.len() as u64) as usize);
                let is_fin = job.plan.conduct == Conduct::DieFin;
                link.ending = Some(if is_fin { Ending::Fin } else { Ending::Reset });
            }
            Conduct::Close | Conduct::Stale if closes => link.ending = Some(Ending::Fin),
            _ => {}
        }
        link.output.extend(reply);
    }
}

impl Job {
    /// The reply's bytes, with what the plan makes wrong in it.
    fn reply(&self) -> Vec<u8> {
        let line = format!("{} {:x}", self.plan.id, self.upload_hash);
        let (mut kind, mut number) = (Kind::Reply, self.number);
        let mut body = string(self.encoding, 0, &line, &self.plan.reply_body());
        match self.plan.conduct {
            Conduct::NoContent => {
                kind = Kind::Exception;
                body = exception(self.encoding);
            }
            // No call of this link has it.
            Conduct::NotModified => number = number.wrapping_add(1 << 20),
            _ => {}
        }
        let envelope = match self.envelope {
            Envelope::Theader { flags, .. } => Envelope::Theader { number: number as u32, flags },
            Envelope::Ttheader { protocol, is_framed, .. } => {
                Envelope::Ttheader { number: number as u32, protocol, is_framed }
            }
            bare => bare,
        };
        let head = Head { encoding: self.encoding, kind, name: &self.name, number };
        let mut out = Vec::new();
        write(&mut out, envelope, &[], &head, &[&body]);
        out
    }
}

/// A TApplicationException of a type that only servers use, without a text.
fn exception(encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Binary => [&[8, 0, 2], &SERVERS_OWN.to_be_bytes()[..], &[0]].concat(),
        // 2000, which is zigzag for 1000, seven bits a byte.
        Encoding::Compact => vec![0x25, 0xd0, 0x0f, 0],
    }
}

impl Link {
    fn new(peer: Peer) -> Link {
        Link {
            peer: Some(peer),
            reader: Reader::default(),
            input: Vec::new(),
            output: VecDeque::new(),
            jobs: VecDeque::new(),
            ending: None,
        }
    }

    fn write(&mut self) {
        let Some(peer) = &self.peer else { return };
        let sent = peer.write(self.output.make_contiguous());
        self.output.drain(..sent);
        if !self.output.is_empty() {
            return;
        }
        match self.ending {
            None => {}
            Some(Ending::Fin) => self.peer = None,
            Some(Ending::Reset) => {
                if let Some(peer) = self.peer.take() {
                    peer.reset();
                }
            }
        }
    }
}
