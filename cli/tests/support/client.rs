//! A client on a plain socket: what is sent is given byte by byte, what comes back is checked.
//!
//! It reads replies strictly: a body shorter than its length, or chunks without an end, are errors,
//! so a cut reply cannot pass for a whole one.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketType};

/// Ends a test that would hang; no test depends on its length.
const HANG_LIMIT: Duration = Duration::from_secs(60);

/// One connection to the gateway.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A complete reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) version: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The values of all fields of a name, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let found = self.fields.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the gateway accepts"))
    }

    /// Connects from an address of this machine's other than the usual.
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let domain = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = net::socket(domain, SocketType::STREAM, None).expect("a socket");
        net::bind(&socket, &SocketAddr::new(source, 0)).expect("an address of this machine");
        net::connect(&socket, &address).expect("the gateway accepts");
        Self::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANG_LIMIT)).expect("a read limit");
        stream.set_write_timeout(Some(HANG_LIMIT)).expect("a write limit");
        stream.set_nodelay(true).expect("nodelay");
        Self { stream, unread: Vec::new() }
    }

    /// Sends all of it; a gateway that has closed already is not an error here.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// A second handle of the socket, for a thread that writes while this one reads.
    pub(crate) fn writer(&self) -> impl Write + Send + use<> {
        self.stream.try_clone().expect("a second handle of the socket")
    }

    /// The client's own end.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket")
    }

    pub(crate) fn shut_write(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// A request without a body, and its reply.
    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.reply().unwrap_or_else(|error| panic!("GET {target}: {error}"))
    }

    /// The next final reply; informational ones before it are skipped.
    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        self.next_final(false)
    }

    /// The next final reply, to a HEAD request.
    pub(crate) fn reply_to_head(&mut self) -> io::Result<Reply> {
        self.next_final(true)
    }

    fn next_final(&mut self, is_to_head: bool) -> io::Result<Reply> {
        loop {
            let reply = self.next(is_to_head)?;
            if reply.status >= 200 {
                return Ok(reply);
            }
        }
    }

    /// The next reply, informational or final.
    pub(crate) fn next(&mut self, is_to_head: bool) -> io::Result<Reply> {
        let mut reply = self.head()?;
        let has_no_body = is_to_head || reply.status < 200 || matches!(reply.status, 204 | 304);
        if has_no_body {
            return Ok(reply);
        }
        reply.body = match (reply.field("transfer-encoding"), reply.field("content-length")) {
            (Some("chunked"), None) => self.chunks()?,
            (None, Some(length)) => self.exactly(length.parse().map_err(io::Error::other)?)?,
            (None, None) => self.rest()?,
            _ => return Err(io::Error::other("a reply with two framings")),
        };
        Ok(reply)
    }

    /// The next reply's head; its body stays unread.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        parse_head(&String::from_utf8_lossy(&head))
            .ok_or_else(|| io::Error::other("a malformed reply head"))
    }

    /// Exactly `length` bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.fill()?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// Reads up to the close; a reset is an error.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// True when nothing more comes and the gateway has closed, by FIN or RST.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.rest() {
            Ok(rest) => rest.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size)?);
            if !self.line()?.is_empty() {
                return Err(io::Error::other("a chunk longer than its size"));
            }
        }
        while !self.line()?.is_empty() {}
        Ok(body)
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = self.unread.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            self.fill()?;
        };
        let line: Vec<u8> = self.unread.drain(..end + 2).take(end).collect();
        String::from_utf8(line).map_err(io::Error::other)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = vec![0; 64 * 1024];
        let length = self.stream.read(&mut piece)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&piece[..length]);
        Ok(())
    }
}

fn parse_head(text: &str) -> Option<Reply> {
    let mut lines = text.trim_end().split("\r\n");
    let (version, rest) = lines.next()?.split_once(' ')?;
    let status = rest.split(' ').next()?.parse().ok()?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Reply { status, version: version.to_owned(), fields, body: Vec::new() })
}
