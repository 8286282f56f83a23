//! An origin that does nothing by itself: a test reads what the gateway forwarded, byte by byte and
//! link by link, and says what is answered.
//!
//! Threads only pass on what the sockets bring; every decision is the test's, so a conversation is
//! the same whatever the timing. Nothing that arrives is lost: bytes that a test does not expect
//! are found in front of the next ones that it does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Ends a test that would hang; no test depends on its length.
const HANG_LIMIT: Duration = Duration::from_secs(60);

/// What happened on a link, by the link's number.
enum Heard {
    Opened(TcpStream),
    Bytes(usize, Vec<u8>),
    Closed(usize),
}

/// One connection that the gateway made.
struct Link {
    stream: TcpStream,
    unread: Vec<u8>,
    closed: bool,
}

/// The origin and what it has heard so far.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    heard: Receiver<Heard>,
    links: Vec<Link>,
    /// The link that was read from last.
    current: usize,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (sender, heard) = sync_channel(1024);
        thread::spawn(move || accept(&listener, &sender));
        Self { address, heard, links: Vec::new(), current: 0 }
    }

    /// How many links the gateway has made, as far as the test has read.
    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    /// The next byte of any link; None when the current one was closed and no other has bytes.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        loop {
            let found = self.links.iter().position(|link| !link.unread.is_empty());
            if let Some(index) = found {
                self.current = index;
                return Some(self.links[index].unread.remove(0));
            }
            if !self.hear() {
                return None;
            }
        }
    }

    /// Sends on the link that was read from last; a gateway that has closed it is no error here.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.links[self.current].stream.write_all(bytes);
    }

    /// A second handle of the current link, for a thread that writes.
    pub(crate) fn writer(&self) -> impl Write + Send + use<> {
        self.links[self.current].stream.try_clone().expect("a second handle of the link")
    }

    /// Sends the last bytes of the current link: a FIN follows them.
    pub(crate) fn finish(&mut self) {
        let _ = self.links[self.current].stream.shutdown(Shutdown::Write);
    }

    /// Waits until the gateway has closed the current link; gives what else it had sent.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        while !self.links[self.current].closed {
            assert!(self.hear(), "the link was not closed");
        }
        std::mem::take(&mut self.links[self.current].unread)
    }

    /// Waits for one more event; false when none came within the limit.
    fn hear(&mut self) -> bool {
        match self.heard.recv_timeout(HANG_LIMIT) {
            Ok(Heard::Opened(stream)) => {
                self.links.push(Link { stream, unread: Vec::new(), closed: false });
            }
            Ok(Heard::Bytes(link, bytes)) => self.links[link].unread.extend(bytes),
            Ok(Heard::Closed(link)) => self.links[link].closed = true,
            Err(_) => return false,
        }
        true
    }
}

fn accept(listener: &TcpListener, sender: &SyncSender<Heard>) {
    for (number, stream) in listener.incoming().flatten().enumerate() {
        let Ok(writer) = stream.try_clone() else { return };
        let _ = writer.set_nodelay(true);
        if sender.send(Heard::Opened(writer)).is_err() {
            return;
        }
        let sender = sender.clone();
        thread::spawn(move || read(number, stream, &sender));
    }
}

fn read(number: usize, mut stream: TcpStream, sender: &SyncSender<Heard>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length) = stream.read(&mut piece) {
        if length == 0 {
            break;
        }
        if sender.send(Heard::Bytes(number, piece[..length].to_vec())).is_err() {
            return;
        }
    }
    let _ = sender.send(Heard::Closed(number));
}
