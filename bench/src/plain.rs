//! One request over a plain blocking std socket, for connections that are then left alone.
//!
//! Idle and slow clients need no runtime: what is measured is the other side.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::url::Url;

/// The bytes of a GET.
pub(crate) fn get(url: &Url) -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url.path, url.host).into_bytes()
}

/// Sends a GET and reads the whole reply, which must have a content length.
pub(crate) fn exchange<S: Read + Write>(mut stream: S, request: &[u8]) -> io::Result<u16> {
    stream.write_all(request)?;
    let mut reader = BufReader::with_capacity(4096, stream);
    let (mut status, mut length) = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if status.is_none() {
            status = line.get(9..12).and_then(|digits| digits.parse().ok());
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let length = length.ok_or_else(|| io::Error::other("the reply has no content-length"))?;
    io::copy(&mut reader.take(length), &mut io::sink())?;
    status.ok_or_else(|| io::Error::other("the reply has no status"))
}

/// Whether the other side has neither closed the connection nor sent anything.
pub(crate) fn is_idle(stream: &TcpStream) -> bool {
    let quiet = stream.set_nonblocking(true).is_ok()
        && matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    quiet && stream.set_nonblocking(false).is_ok()
}
