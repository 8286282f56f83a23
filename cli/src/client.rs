//! A small blocking HTTP/1.1 client for the admin server and the demo.
//!
//! It is not a general client: no redirects, TLS only as the demo lays it, and it trusts the other
//! side to be ringway. Answers are read under a timeout; bodies of known length, chunked, or to the
//! end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::ArgMatches;
use control::admin::AdminAddress;

use crate::args;
use crate::failure::Failure;

/// For one read or write.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More than any page or demo answer.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Start line and fields as received.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The first field of that name, which is given in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Fetches an admin page.
pub(crate) fn admin_page(admin: &AdminAddress, path: &str) -> io::Result<Reply> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    match admin {
        AdminAddress::Unix(socket) => {
            let peer = UnixStream::connect(socket)?;
            peer.set_read_timeout(Some(TIMEOUT))?;
            peer.set_write_timeout(Some(TIMEOUT))?;
            Client::over(peer).send(request.as_bytes())
        }
        AdminAddress::Tcp(address) => Client::connect(*address)?.send(request.as_bytes()),
        AdminAddress::Off => Err(io::Error::new(ErrorKind::InvalidInput, "admin is off")),
    }
}

/// The text of a page of the running ringway.
pub(crate) fn live_page(matches: &ArgMatches, path: &str) -> Result<String, Failure> {
    let admin = args::admin_address(matches)?;
    let reply = admin_page(&admin, path).map_err(|error| {
        Failure::Refused(format!("no ringway answers on {admin}: {error}; is it running?"))
    })?;
    match reply.status {
        200 => Ok(reply.text()),
        _ => Err(Failure::Refused(reply.text().trim_end().to_owned())),
    }
}

/// One connection, usable for request after request.
pub(crate) struct Client<S> {
    peer: S,
    /// Bytes received beyond the last answer.
    kept: Vec<u8>,
}

/// Connects over TCP.
pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let peer = TcpStream::connect_timeout(&to, TIMEOUT)?;
    peer.set_nodelay(true)?;
    peer.set_read_timeout(Some(TIMEOUT))?;
    peer.set_write_timeout(Some(TIMEOUT))?;
    Ok(peer)
}

impl Client<TcpStream> {
    /// Connects over TCP.
    pub(crate) fn connect(to: SocketAddr) -> io::Result<Client<TcpStream>> {
        connect(to).map(Client::over)
    }
}

impl<S: Read + Write> Client<S> {
    /// Speaks over a connection that is there.
    pub(crate) fn over(peer: S) -> Client<S> {
        Client { peer, kept: Vec::new() }
    }

    /// Sends one request and reads its answer.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.peer.write_all(request)?;
        let head_len = loop {
            if let Some(at) = find(&self.kept, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.kept.drain(..head_len).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status.ok_or_else(|| invalid("the answer has no status"))?;
        let mut reply = Reply { status, head, body: Vec::new() };
        reply.body = self.body(&reply)?;
        Ok(reply)
    }

    fn body(&mut self, reply: &Reply) -> io::Result<Vec<u8>> {
        if let Some(length) = reply.field("content-length") {
            let length = length.parse().map_err(|_| invalid("bad content-length"))?;
            return self.exactly(length);
        }
        if reply.field("transfer-encoding").is_some() {
            return self.chunked();
        }
        while self.kept.len() < REPLY_BYTES_MAX {
            match self.more() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.kept))
    }

    fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16);
            let size = size.map_err(|_| invalid("bad chunk size"))?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&self.exactly(size)?);
            self.line()?;
        }
        while !self.line()?.is_empty() {}
        Ok(body)
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = find(&self.kept, b"\r\n") {
                break at;
            }
            self.more()?;
        };
        let line: Vec<u8> = self.kept.drain(..end + 2).collect();
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > REPLY_BYTES_MAX {
            return Err(invalid("the answer is too long"));
        }
        while self.kept.len() < length {
            self.more()?;
        }
        Ok(self.kept.drain(..length).collect())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let received = self.peer.read(&mut buffer)?;
        if received == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.kept.extend_from_slice(&buffer[..received]);
        Ok(())
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers to read; what is written goes nowhere.
    struct Canned(&'static [u8]);

    impl Read for Canned {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let taken = self.0.len().min(buf.len()).min(3);
            buf[..taken].copy_from_slice(&self.0[..taken]);
            self.0 = &self.0[taken..];
            Ok(taken)
        }
    }

    impl Write for Canned {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn client(answers: &'static [u8]) -> Client<Canned> {
        Client { peer: Canned(answers), kept: Vec::new() }
    }

    #[test]
    fn answers_one_after_the_other() {
        let mut client = client(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
              HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
              HTTP/1.1 200 OK\r\n\r\nto the end",
        );
        let replies: Vec<_> = (0..3).map(|_| client.send(b"").unwrap()).collect();
        assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200, 404, 200]);
        let bodies: Vec<_> = replies.iter().map(Reply::text).collect();
        assert_eq!(bodies, ["hello", "abc", "to the end"]);
        assert_eq!(replies[0].field("content-length"), Some("5"));
    }

    #[test]
    fn a_cut_or_senseless_answer_is_an_error() {
        for answers in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"[..],
            b"HTTP/1.1 200",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert!(client(answers).send(b"").is_err());
        }
    }
}
