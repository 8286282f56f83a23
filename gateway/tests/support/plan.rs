//! What one exchange is to be: chosen by the client from its seed, told to the origin in the
//! target, so that the origin needs no memory and both ends know what the other expects.

use engine::sim::Rng;
use protocols::Head;

/// How the client frames its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST with content-length.
    Exact,
    /// POST with chunks.
    Chunked,
}

/// What the origin does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// 200 with content-length.
    Exact,
    /// 200 in chunks.
    Chunked,
    /// 200 until the connection closes.
    UntilClose,
    /// 204.
    NoContent,
    /// 304.
    NotModified,
    /// 103, then 200 with content-length.
    Interim,
    /// 200 with content-length and `connection: close`.
    Close,
    /// A good reply, then the connection is closed without a word.
    Stale,
    /// A good reply after a while.
    Slow,
    /// A good reply before the request's body was read.
    Early,
    /// FIN in the middle of the reply's body.
    DieFin,
    /// RST in the middle of the reply's body.
    DieReset,
    /// A close without any reply.
    DieMute,
    /// Nothing, for ever.
    Silent,
    /// 101 where an upgrade is asked for: it echoes, and after the client's FIN says its reply.
    Tunnel,
    /// The exchange panics in the gateway, before any origin hears of it.
    Panic,
}

impl Conduct {
    const ALL: [(Conduct, char, u64); 16] = [
        (Conduct::Exact, 'e', 40),
        (Conduct::Chunked, 'c', 25),
        (Conduct::UntilClose, 'u', 4),
        (Conduct::NoContent, 'n', 3),
        (Conduct::NotModified, 'm', 3),
        (Conduct::Interim, 'i', 3),
        (Conduct::Close, 'k', 4),
        (Conduct::Stale, 's', 5),
        (Conduct::Slow, 'w', 4),
        (Conduct::Early, 'y', 3),
        (Conduct::DieFin, 'f', 2),
        (Conduct::DieReset, 'r', 2),
        (Conduct::DieMute, 'd', 2),
        (Conduct::Silent, 'l', 1),
        (Conduct::Tunnel, 't', 6),
        (Conduct::Panic, 'p', 1),
    ];

    /// True when the client may expect the origin's reply, whole.
    pub(crate) fn is_good(self) -> bool {
        use Conduct::{DieFin, DieMute, DieReset, Panic, Silent};
        !matches!(self, DieFin | DieReset | DieMute | Silent | Panic)
    }
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Unique in the run.
    pub(crate) id: u64,
    /// Request framing.
    pub(crate) upload: Upload,
    /// Bytes of the request's body.
    pub(crate) upload_bytes: usize,
    /// The origin's conduct.
    pub(crate) conduct: Conduct,
    /// Bytes of the reply's body.
    pub(crate) reply_bytes: usize,
    /// The cluster that serves it: 0 to 3, of which 2 refuses every connect and 3 speaks HTTP/2.
    pub(crate) cluster: u8,
}

impl Plan {
    /// Draws an exchange.
    pub(crate) fn draw(id: u64, rng: &mut Rng) -> Plan {
        let conduct = draw_conduct(rng);
        let upload = match rng.below(10) {
            _ if conduct == Conduct::Tunnel => Upload::Get,
            0..=4 => Upload::Get,
            5 => Upload::Head,
            6..=7 => Upload::Exact,
            _ => Upload::Chunked,
        };
        let upload_bytes = match upload {
            // What a client says in a tunnel is no body of its request.
            Upload::Get if conduct == Conduct::Tunnel => bytes(rng, 150_000, 3_000),
            Upload::Get | Upload::Head => 0,
            Upload::Exact | Upload::Chunked => bytes(rng, 150_000, 3_000),
        };
        let reply_bytes = bytes(rng, 300_000, 4_000);
        let cluster = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 2][rng.below(16) as usize];
        Plan { id, upload, upload_bytes, conduct, reply_bytes, cluster }
    }

    /// The plan that a target tells, without the request's side of it.
    pub(crate) fn from_target(target: &str) -> Option<Plan> {
        let mut parts = target.strip_prefix('/')?.split(['/', '?']);
        let cluster = parts.next()?.strip_prefix('c')?.parse().ok()?;
        let id = parts.next()?.parse().ok()?;
        let mut words = parts.next()?.split('&');
        let reply_bytes = words.next()?.parse().ok()?;
        let letter = words.next()?.chars().next()?;
        let conduct = Conduct::ALL.iter().find(|row| row.1 == letter)?.0;
        Some(Plan { id, upload: Upload::Get, upload_bytes: 0, conduct, reply_bytes, cluster })
    }

    /// What tells the origin of it.
    pub(crate) fn target(&self) -> String {
        let letter = Conduct::ALL.iter().find(|row| row.0 == self.conduct).map_or('e', |row| row.1);
        format!("/c{}/{}?{}&{}", self.cluster, self.id, self.reply_bytes, letter)
    }

    /// The request's bytes. `version` is 0 or 1; `close` asks for the connection's end.
    pub(crate) fn request(&self, version: u8, close: bool, chunk: usize) -> Vec<u8> {
        let method = match self.upload {
            Upload::Get => "GET",
            Upload::Head => "HEAD",
            Upload::Exact | Upload::Chunked => "POST",
        };
        let mut head = format!("{method} {} HTTP/1.{version}\r\nhost: sim.test\r\n", self.target());
        if self.conduct == Conduct::Tunnel {
            head.push_str("connection: upgrade\r\nupgrade: sim\r\n");
        } else if close {
            head.push_str("connection: close\r\n");
        }
        if self.conduct == Conduct::Panic {
            head.push_str("x-ringway-panic: 1\r\n");
        }
        let body = self.upload();
        match self.upload {
            Upload::Get | Upload::Head => head.push_str("\r\n"),
            Upload::Exact => head.push_str(&format!("content-length: {}\r\n\r\n", body.len())),
            Upload::Chunked => head.push_str("transfer-encoding: chunked\r\n\r\n"),
        }
        let mut bytes = head.into_bytes();
        match self.upload {
            Upload::Chunked => bytes.extend(super::http::chunked(&body, chunk)),
            Upload::Exact => bytes.extend(body),
            Upload::Get | Upload::Head => {}
        }
        bytes
    }

    /// The request's head as HTTP/2 sends it.
    pub(crate) fn head(&self) -> Head {
        let method: &[u8] = match self.upload {
            Upload::Get => b"GET",
            Upload::Head => b"HEAD",
            Upload::Exact | Upload::Chunked => b"POST",
        };
        let mut head = Head::new();
        head.set_request(method, self.target().as_bytes());
        head.set_authority(b"sim.test");
        if self.upload == Upload::Exact {
            head.push(b"content-length", self.upload_bytes.to_string().as_bytes());
        }
        if self.conduct == Conduct::Panic {
            head.push(b"x-ringway-panic", b"1");
        }
        head
    }

    /// What the client says: its request's body, or its part of a tunnel.
    pub(crate) fn upload(&self) -> Vec<u8> {
        super::http::pattern(self.id ^ UPLOAD, self.upload_bytes)
    }

    /// Hash of the request's body.
    pub(crate) fn upload_hash(&self) -> u64 {
        let body = if self.conduct == Conduct::Tunnel { Vec::new() } else { self.upload() };
        super::http::hash(&body)
    }

    /// The reply's body.
    pub(crate) fn reply_body(&self) -> Vec<u8> {
        super::http::pattern(self.id, self.reply_bytes)
    }
}

/// A size, now and then a large one.
fn bytes(rng: &mut Rng, large: usize, usual: usize) -> usize {
    let most = if rng.below(8) == 0 { large } else { usual };
    rng.size(most)
}

/// Sets a request's pattern apart from its reply's.
const UPLOAD: u64 = 0x5555_0000_0000_5555;

fn draw_conduct(rng: &mut Rng) -> Conduct {
    let total: u64 = Conduct::ALL.iter().map(|row| row.2).sum();
    let mut ticket = rng.below(total);
    for (conduct, _, weight) in Conduct::ALL {
        if ticket < weight {
            return conduct;
        }
        ticket -= weight;
    }
    Conduct::Exact
}
