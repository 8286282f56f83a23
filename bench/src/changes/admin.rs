//! One request to the admin socket. The server closes the connection behind its answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Longer than the gateway's own patience.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

pub(super) fn connect(admin: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(admin)
        .with_context(|| format!("cannot connect to {}", admin.display()))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Sends a request about the route `id` and reads the answer to its end.
///
/// # Errors
/// No whole answer came: whether a change took effect is unknown.
pub(super) fn ask(mut stream: UnixStream, method: &str, id: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    let head = format!("{method} /routes/{id} HTTP/1.1\r\nHost: admin\r\n");
    let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    parse(&reply).context("no whole answer")
}

fn parse(reply: &str) -> Option<Answer> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = lengths.next()?.ok()?;
    (body.len() == length).then(|| Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_answer_is_none() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let answer = parse(whole).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        assert!((0..whole.len()).all(|len| parse(&whole[..len]).is_none()));
    }
}
