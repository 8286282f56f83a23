//! One load connection of Thrift, and the calls that share it.
//!
//! It keeps no reply; what it understands is which call a reply answers, by its number, and whether
//! it is a result or an exception. Framed calls are written before those in front of them are
//! answered, as with a TTHeader; only the server decides whether replies may overtake each other.
//! Two tasks a connection: one sends what all calls have queued, in one write, one receives.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use anyhow::{Result, ensure};
use mock::http1::body_byte;
use mock::thrift::{Envelope, Head, Kind, Outcome, Packet, Reader, ttheader_blocks, write};
use monoio::buf::IoBufMut as _;
use monoio::io::{
    AsyncReadRent as _, AsyncWriteRentExt as _, OwnedReadHalf, OwnedWriteHalf, Splitable as _,
};
use monoio::net::TcpStream;

use crate::client::{Fault, Reply};
use crate::plan::{Dialect, Plan};
use crate::shared::{Closed, Shared};
use crate::tally::OTHER_EXCEPTION;

const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;

/// A call that is sent again and again, each time with another number.
#[derive(Clone)]
pub(crate) struct Call {
    dialect: Dialect,
    /// As it is written: with its service in front, where a header has no place for one.
    name: Vec<u8>,
    /// What replies are to it: without a service.
    method: Vec<u8>,
    blocks: Vec<u8>,
    body: Vec<u8>,
}

impl Call {
    /// One for each path of a plan: `/method` or `/Service/method`.
    ///
    /// # Errors
    /// A path is none, or a header would be too long.
    pub(crate) fn all(plan: &Plan, dialect: Dialect) -> Result<Vec<Self>> {
        plan.paths.iter().map(|path| Self::of(plan, dialect, path)).collect()
    }

    fn of(plan: &Plan, dialect: Dialect, path: &str) -> Result<Self> {
        let (service, method) = path
            .trim_start_matches('/')
            .rsplit_once('/')
            .map_or((None, path.trim_start_matches('/')), |(service, method)| {
                (Some(service), method)
            });
        let length = service.map_or(0, str::len) + method.len();
        ensure!(!method.is_empty() && length < 256, "{path:?} is no /method or /Service/method");
        let name = match service {
            Some(service) if !dialect.is_ttheader => format!("{service}:{method}"),
            _ => method.to_owned(),
        };
        let fields: usize = plan.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        ensure!(fields < 32 << 10, "more metadata than 32 KiB");
        Ok(Self {
            dialect,
            name: name.into_bytes(),
            method: method.as_bytes().to_vec(),
            blocks: blocks(plan, service, method),
            body: arguments(dialect, plan.body_bytes),
        })
    }

    fn write(&self, out: &mut Vec<u8>, number: i32) {
        let envelope = match self.dialect.is_ttheader {
            true => Envelope::Ttheader { number: number as u32, protocol: 0, is_framed: true },
            false => Envelope::Framed,
        };
        let encoding = self.dialect.encoding;
        let head = Head { encoding, kind: Kind::Call, name: &self.name, number };
        write(out, envelope, &self.blocks, &head, &[&self.body]);
    }
}

/// What a TTHeader says: where the call goes by number 6 (the service) and 9 (the method).
fn blocks(plan: &Plan, service: Option<&str>, method: &str) -> Vec<u8> {
    let numbers = service.map(|service| (6, service)).into_iter().chain([(9, method)]);
    let strings: Vec<(&str, &str)> =
        plan.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    ttheader_blocks(&numbers.collect::<Vec<_>>(), &strings)
}

/// A struct whose field 1 is so many bytes of a pattern.
fn arguments(dialect: Dialect, bytes: u64) -> Vec<u8> {
    let mut out = dialect.string_field(bytes);
    out.extend((0..bytes).map(body_byte));
    out.push(0);
    out
}

/// A connection, opened when it is needed.
pub(crate) struct Calls {
    address: SocketAddr,
    link: Rc<Shared<Rc<Link>>>,
}

/// What the calls of a connection share with its two tasks.
#[derive(Default)]
struct Link {
    out: RefCell<Vec<u8>>,
    sender: Cell<Option<Waker>>,
    waiting: RefCell<HashMap<i32, Seat>>,
    /// The last call's.
    number: Cell<i32>,
    ended: Cell<Option<Fault>>,
}

/// A call that waits.
struct Seat {
    call: Rc<Call>,
    waker: Option<Waker>,
    done: Option<Result<Reply, Fault>>,
}

impl Calls {
    /// Nothing is opened yet.
    pub(crate) fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Self { address, link: Shared::new() })
    }

    /// How often it was opened.
    pub(crate) fn opened(&self) -> u64 {
        self.link.opened()
    }

    /// Opens it, if need be. Where that fails each call fails by itself.
    pub(crate) async fn connect(&self) {
        drop(self.connected().await);
    }

    /// Sends a call and waits for its reply.
    pub(crate) async fn ask(&self, call: &Rc<Call>) -> Result<Reply, Fault> {
        let link = self.connected().await?;
        if let Some(fault) = link.ended.get() {
            return Err(fault);
        }
        let waiting = Waiting { number: link.send(call), link };
        poll_fn(|cx| waiting.poll(cx.waker())).await
    }

    async fn connected(&self) -> Result<Rc<Link>, Fault> {
        self.link.connected(async |closed| open(self.address, closed).await).await
    }
}

async fn open(address: SocketAddr, closed: Closed<Rc<Link>>) -> Result<Rc<Link>, Fault> {
    let stream = TcpStream::connect_addr(address).await.map_err(|_| Fault::Connect)?;
    stream.set_nodelay(true).map_err(|_| Fault::Connect)?;
    let (read, write) = stream.into_split();
    let link = Rc::new(Link::default());
    monoio::spawn(send(write, Rc::clone(&link)));
    let received = Rc::clone(&link);
    monoio::spawn(async move {
        let fault = receive(read, &received).await;
        // The next call opens another one, and only then do those that waited learn of it.
        drop(closed);
        received.end(fault);
    });
    Ok(link)
}

/// Takes its call's place from the table when it is given up.
struct Waiting {
    link: Rc<Link>,
    number: i32,
}

impl Waiting {
    fn poll(&self, waker: &Waker) -> Poll<Result<Reply, Fault>> {
        let mut waiting = self.link.waiting.borrow_mut();
        // INVARIANT: only this takes it out.
        let seat = waiting.get_mut(&self.number).expect("a seat");
        if let Some(done) = seat.done.take() {
            return Poll::Ready(done);
        }
        seat.waker = Some(waker.clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.link.waiting.borrow_mut().remove(&self.number);
    }
}

impl Link {
    /// Queues a call; its number.
    fn send(&self, call: &Rc<Call>) -> i32 {
        // Around at the highest, as clients do; 0 has a meaning of its own to some servers.
        let number = self.number.get() % i32::MAX + 1;
        self.number.set(number);
        call.write(&mut self.out.borrow_mut(), number);
        let seat = Seat { call: Rc::clone(call), waker: None, done: None };
        self.waiting.borrow_mut().insert(number, seat);
        wake(self.sender.take());
        number
    }

    /// Gives a reply to its call. The reply to one that was given up is nobody's.
    fn take(&self, packet: &Packet<'_>) -> Result<(), Fault> {
        let number = packet.head.number;
        if let Envelope::Ttheader { number: outer, .. } = packet.envelope
            && outer != number as u32
        {
            return Err(Fault::Malformed);
        }
        let mut waiting = self.waiting.borrow_mut();
        let Some(seat) = waiting.get_mut(&number).filter(|seat| seat.done.is_none()) else {
            let was_asked = (1..=self.number.get()).contains(&number);
            return if was_asked { Ok(()) } else { Err(Fault::Malformed) };
        };
        seat.done = Some(Ok(reply(&seat.call, packet)?));
        wake(seat.waker.take());
        Ok(())
    }

    /// Fails all calls that wait.
    fn end(&self, fault: Fault) {
        self.ended.set(Some(fault));
        wake(self.sender.take());
        for seat in self.waiting.borrow_mut().values_mut() {
            seat.done.get_or_insert(Err(fault));
            wake(seat.waker.take());
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What a packet says to its call; one in another dialect or of another name is no reply to it.
fn reply(call: &Call, packet: &Packet<'_>) -> Result<Reply, Fault> {
    let fits = packet.head.encoding == call.dialect.encoding
        && matches!(packet.envelope, Envelope::Ttheader { .. }) == call.dialect.is_ttheader
        && packet.envelope != Envelope::Unframed
        && (packet.head.name == call.method || packet.head.name == call.name);
    if !fits {
        return Err(Fault::Malformed);
    }
    let exception = match packet.outcome().map_err(|_| Fault::Malformed)? {
        Outcome::Success => None,
        Outcome::Declared(_) => Some(OTHER_EXCEPTION),
        Outcome::Exception(kind) => Some(usize::try_from(kind).unwrap_or(OTHER_EXCEPTION)),
    };
    Ok(Reply { exception, bytes: packet.len as u64, ..Reply::of_call() })
}

/// Sends what is queued until the connection ends.
async fn send(mut half: OwnedWriteHalf<TcpStream>, link: Rc<Link>) {
    let mut spare = Vec::new();
    loop {
        let queued = poll_fn(|cx| {
            if link.ended.get().is_some() {
                return Poll::Ready(None);
            }
            if link.out.borrow().is_empty() {
                link.sender.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(Some(link.out.replace(mem::take(&mut spare))))
        });
        let Some(bytes) = queued.await else { return };
        let (sent, mut bytes) = half.write_all(bytes).await;
        if sent.is_err() {
            // The one who receives tells the calls.
            return;
        }
        bytes.clear();
        spare = bytes;
    }
}

/// Receives until the connection ends; why it did.
async fn receive(mut half: OwnedReadHalf<TcpStream>, link: &Link) -> Fault {
    let (mut reader, mut input) = (Reader::default(), Vec::new());
    loop {
        let mut at = 0;
        loop {
            match reader.next(&input[at..]) {
                Err(_) => return Fault::Malformed,
                Ok(None) => break,
                Ok(Some(packet)) => {
                    at += packet.len;
                    if let Err(fault) = link.take(&packet) {
                        return fault;
                    }
                }
            }
        }
        input.drain(..at);
        let read: io::Result<usize>;
        (read, input) = fill(&mut half, input).await;
        match read {
            Ok(0) => return Fault::Closed,
            Ok(_) => {}
            Err(_) => return Fault::Reset,
        }
    }
}

async fn fill(
    half: &mut OwnedReadHalf<TcpStream>,
    mut input: Vec<u8>,
) -> (io::Result<usize>, Vec<u8>) {
    input.reserve(input.len().clamp(READ_BYTES_MIN, READ_BYTES_MAX));
    let (start, end) = (input.len(), input.capacity());
    let (read, slice) = half.read(input.slice_mut(start..end)).await;
    (read, slice.into_inner())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mock::thrift::{Encoding, Options, Running, start};

    use super::*;
    use crate::load;
    use crate::plan::{Wire, example};
    use crate::tally::Tally;

    const FRAMED: Dialect = Dialect { is_ttheader: false, encoding: Encoding::Binary };
    const TTHEADER: Dialect = Dialect { is_ttheader: true, encoding: Encoding::Binary };

    fn mock() -> Running {
        start(Options::default()).expect("a mock on a free port")
    }

    fn plan(mock: &Running, dialect: Dialect, path: &str) -> Plan {
        let wire = Wire::Thrift(dialect);
        let plan = Plan { wire, streams: 5, connections: 3, ..example(mock.address) };
        Plan { paths: vec![path.into()], requests_max: 300, body_bytes: 50, ..plan }
    }

    fn offer(plan: Plan) -> Tally {
        load::run(plan, &[]).expect("a run").tally
    }

    #[test]
    fn calls_share_the_connections_and_are_counted_once() {
        let mock = mock();
        let compact = Dialect { encoding: Encoding::Compact, ..TTHEADER };
        for (threads, dialect, path) in [
            (1, FRAMED, "/echo"),
            (2, FRAMED, "/Echo/echo"),
            (1, TTHEADER, "/a"),
            (2, compact, "/a/b"),
        ] {
            let before = (mock.requests(), mock.connections());
            let tally = offer(Plan { threads, ..plan(&mock, dialect, path) });
            assert_eq!((tally.completed, tally.errors(), tally.connects), (300, 0, 3));
            assert_eq!((mock.requests() - before.0, mock.connections() - before.1), (300, 3));
            assert!(tally.bytes_in > 300 * 50);
        }
    }

    #[test]
    fn an_open_loop_counts_from_the_intended_start() {
        let delay = Duration::from_millis(20);
        let mock = start(Options { delay, ..Options::default() }).expect("a mock");
        for dialect in [FRAMED, TTHEADER] {
            let plan = plan(&mock, dialect, "/echo");
            let one = Plan { rate: 1000, streams: 1, connections: 1, requests_max: 10, ..plan };
            let tally = offer(one.clone());
            // The tenth was meant to start after 9 ms and could not before 9 replies of 20 ms.
            assert!(tally.latency.max_us() >= 190_000.0);
            assert_eq!((tally.latency.count(), tally.completed), (10, 10));
            // Side by side only where replies need not be in order.
            let tally = offer(Plan { streams: 10, ..one });
            assert!(dialect.is_ttheader || tally.service.max_us() >= 190_000.0);
            assert_eq!(tally.completed, 10);
        }
    }

    #[test]
    fn failed_calls_are_told_apart() {
        let mock = mock();
        let tally = offer(plan(&mock, FRAMED, "/fail"));
        assert_eq!((tally.errors(), tally.exceptions[6]), (300, 300));
        let ordered = |name: &str, value: &str| {
            let fields = vec![(name.to_owned(), value.to_owned())];
            Plan { fields, ..plan(&mock, TTHEADER, "/echo") }
        };
        let tally = offer(ordered("mock-exception", "1"));
        assert_eq!((tally.errors(), tally.exceptions[1]), (300, 300));
        let tally = offer(ordered("mock-exception", "1000"));
        assert_eq!(tally.exceptions[OTHER_EXCEPTION], 300);
        let late = Plan { requests_max: 4, ..ordered("mock-delay-ms", "3000000") };
        let tally = offer(Plan { timeout: Duration::from_millis(50), ..late });
        assert_eq!((tally.faults, tally.connects), ([0, 0, 0, 4, 0], 3));
        let plan = Plan { requests_max: 4, ..plan(&mock, FRAMED, "/echo") };
        mock.stop();
        assert_eq!(offer(plan).faults, [4, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_reply_is_malformed_or_closed() {
        let http = mock::http1::start(mock::http1::Options::default()).expect("a mock");
        let plan = Plan { wire: Wire::Thrift(FRAMED), requests_max: 5, ..example(http.address) };
        let plan = Plan { paths: vec!["/echo".into()], connections: 1, ..plan };
        let tally = offer(plan);
        assert_eq!((tally.completed, tally.errors()), (0, 5));
        assert_eq!(
            tally.faults[Fault::Malformed as usize] + tally.faults[Fault::Closed as usize],
            5
        );
    }

    #[test]
    fn nonsense_is_refused_before_the_load() {
        let mock = mock();
        let long = format!("/{}", "a".repeat(300));
        for path in ["/", "/Service/", long.as_str()] {
            assert!(load::run(plan(&mock, FRAMED, path), &[]).is_err(), "{path}");
        }
    }
}
