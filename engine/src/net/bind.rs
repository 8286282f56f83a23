//! Listening sockets, bound on the main thread before any shard starts.
//!
//! With SO_REUSEPORT a second process of the same user binds a busy port without an error, so a
//! probe without it comes first: EADDRINUSE there means that somebody else listens. The first
//! socket resolves port 0, the others bind the port it got, and all listen before one is used.
//! A Unix socket cannot be shared by SO_REUSEPORT: its shards accept from duplicates of one.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use super::address::{Address, RawAddress};
use crate::config::Liveness;
use crate::sys;

/// A socket that is bound and listens; moves to the shard that will accept from it.
#[derive(Debug)]
pub struct BoundListener {
    socket: Descriptor,
    address: Address,
}

#[derive(Debug)]
enum Descriptor {
    Real(OwnedFd),
    #[cfg(feature = "sim")]
    Simulated(RawFd),
}

impl BoundListener {
    /// Adopts an inherited listening socket, for instance of systemd or of an older process.
    pub fn from_fd(socket: OwnedFd) -> io::Result<BoundListener> {
        let unknown = || io::Error::from(io::ErrorKind::Unsupported);
        let address = sys::socket_name(socket.as_raw_fd())?.address().ok_or_else(unknown)?;
        Ok(BoundListener { socket: Descriptor::Real(socket), address })
    }

    /// A listening descriptor of the simulated network.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(fd: RawFd, address: Address) -> BoundListener {
        BoundListener { socket: Descriptor::Simulated(fd), address }
    }

    /// Where it listens; a port of 0 was replaced by the real one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn into_parts(self) -> (RawFd, Address) {
        let fd = match self.socket {
            Descriptor::Real(fd) => fd.into_raw_fd(),
            #[cfg(feature = "sim")]
            Descriptor::Simulated(fd) => fd,
        };
        (fd, self.address)
    }
}

/// A listener could not be set up.
#[derive(Debug)]
pub struct BindError {
    /// The address as asked for.
    pub address: Address,
    /// What was being done.
    pub doing: &'static str,
    /// How it failed.
    pub source: io::Error,
}

impl BindError {
    /// Somebody else has the address.
    pub fn in_use(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EADDRINUSE)
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.address, self.doing, self.source)
    }
}

impl std::error::Error for BindError {}

/// Binds one listening socket a shard. `backlog` is the kernel's queue of each.
///
/// A busy address is tried again for half a second: when a process dies, the kernel takes its ring
/// apart a little later, and until then the accept in flight keeps the old socket listening.
pub fn bind(
    address: &Address,
    shards: usize,
    backlog: u32,
) -> Result<Vec<BoundListener>, BindError> {
    bind_with(address, shards, backlog, &Liveness::default())
}

/// As [`bind`], with sockets that notice dead peers. It is set before they listen: every accepted
/// connection inherits it. Unix sockets are left alone, their peers cannot vanish.
pub fn bind_with(
    address: &Address,
    shards: usize,
    backlog: u32,
    liveness: &Liveness,
) -> Result<Vec<BoundListener>, BindError> {
    let mut tries = 0;
    loop {
        let bound = match address {
            Address::Inet(_) => bind_inet(address, shards, backlog, liveness),
            Address::Unix(path) => bind_unix(address, path, shards, backlog),
        };
        match bound {
            Err(error) if error.in_use() && tries < BUSY_TRIES => {
                tries += 1;
                std::thread::park_timeout(BUSY_PAUSE);
            }
            other => return other,
        }
    }
}

/// 25 x 20 ms.
const BUSY_TRIES: u32 = 25;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

fn failed(address: &Address, doing: &'static str) -> impl Fn(io::Error) -> BindError {
    let address = address.clone();
    move |source| BindError { address: address.clone(), doing, source }
}

fn bind_inet(
    address: &Address,
    shards: usize,
    backlog: u32,
    liveness: &Liveness,
) -> Result<Vec<BoundListener>, BindError> {
    // The probe fails where another process listens, with or without SO_REUSEPORT of its own. It
    // never listens itself and is closed at once.
    drop(bound(address, false).map_err(failed(address, "bind"))?);
    let first = bound(address, true).map_err(failed(address, "bind"))?;
    let name = sys::socket_name(first.as_raw_fd()).map_err(failed(address, "getsockname"))?;
    let address = name.address().unwrap_or_else(|| address.clone());
    let mut sockets = vec![first];
    while sockets.len() < shards.max(1) {
        sockets.push(bound(&address, true).map_err(failed(&address, "bind"))?);
    }
    for socket in &sockets {
        sys::set_liveness(socket.as_raw_fd(), liveness).map_err(failed(&address, "setsockopt"))?;
        sys::listen(socket.as_raw_fd(), backlog).map_err(failed(&address, "listen"))?;
    }
    let listener =
        |socket| BoundListener { socket: Descriptor::Real(socket), address: address.clone() };
    Ok(sockets.into_iter().map(listener).collect())
}

fn bound(address: &Address, shared: bool) -> io::Result<OwnedFd> {
    let socket = sys::socket(address.family())?;
    let fd = socket.as_raw_fd();
    // Connections in TIME_WAIT must not keep a restart from binding.
    sys::set_flag(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if shared {
        sys::set_flag(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if address.ip().is_some_and(|ip| ip.is_ipv6()) {
        sys::set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    sys::bind(fd, &RawAddress::new(address))?;
    Ok(socket)
}

fn bind_unix(
    address: &Address,
    path: &Path,
    shards: usize,
    backlog: u32,
) -> Result<Vec<BoundListener>, BindError> {
    let first = sys::socket(address.family()).map_err(failed(address, "socket"))?;
    remove_stale(address, path).map_err(failed(address, "bind"))?;
    let raw = RawAddress::new(address);
    sys::bind(first.as_raw_fd(), &raw).map_err(failed(address, "bind"))?;
    sys::listen(first.as_raw_fd(), backlog).map_err(failed(address, "listen"))?;
    let mut sockets = Vec::new();
    for _ in 1..shards {
        sockets.push(first.try_clone().map_err(failed(address, "dup"))?);
    }
    sockets.push(first);
    let listener =
        |socket| BoundListener { socket: Descriptor::Real(socket), address: address.clone() };
    Ok(sockets.into_iter().map(listener).collect())
}

/// A socket file that nobody listens on any more is removed; a live one is "in use".
fn remove_stale(address: &Address, path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    let probe = sys::socket(address.family())?;
    match sys::connect(probe.as_raw_fd(), &RawAddress::new(address)) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_is_resolved_once_and_shared() {
        let listeners = bind(&"127.0.0.1:0".parse().unwrap(), 3, 16).unwrap();
        assert_eq!(listeners.len(), 3);
        assert_ne!(listeners[0].address().to_string(), "127.0.0.1:0");
        assert!(listeners.iter().all(|other| other.address() == listeners[0].address()));
    }

    #[test]
    fn a_busy_port_is_an_error_though_reuseport_would_allow_it() {
        let listeners = bind(&"127.0.0.1:0".parse().unwrap(), 1, 16).unwrap();
        let error = bind(listeners[0].address(), 1, 16).unwrap_err();
        assert!(error.in_use(), "{error}");
    }

    #[test]
    fn accepted_sockets_inherit_what_watches_their_peer() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let liveness = Liveness { keepalive_idle: seconds(15), user_timeout: seconds(30) };
        let bound = bind_with(&"127.0.0.1:0".parse().unwrap(), 1, 16, &liveness).unwrap();
        let address = bound[0].address().clone();
        let client = sys::socket(address.family()).unwrap();
        // It does not block: the handshake may be over or under way when it returns.
        let _ = sys::connect(client.as_raw_fd(), &RawAddress::new(&address));
        let listener = match &bound[0].socket {
            Descriptor::Real(fd) => fd.as_raw_fd(),
            #[cfg(feature = "sim")]
            Descriptor::Simulated(fd) => *fd,
        };
        let accepted = loop {
            match sys::accept(listener).unwrap() {
                Some(fd) => break sys::own(fd),
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(sys::liveness(accepted.as_raw_fd()), [1, 15, 5, 3, 30_000]);
        assert_eq!(sys::liveness(client.as_raw_fd())[0], 0, "the client's own is untouched");
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("ringway-bind-{}.sock", std::process::id()));
        let address = Address::Unix(path.clone());
        let listeners = bind(&address, 2, 16).unwrap();
        assert!(bind(&address, 1, 16).unwrap_err().in_use());
        drop(listeners);
        drop(bind(&address, 1, 16).unwrap());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_inherited_socket_says_where_it_listens() {
        let listeners = bind(&"[::1]:0".parse().unwrap(), 1, 16);
        // Containers without IPv6 exist; there is nothing to test there.
        let Ok(mut listeners) = listeners else { return };
        let expected = listeners[0].address().clone();
        let Some(BoundListener { socket: Descriptor::Real(fd), .. }) = listeners.pop() else {
            panic!("a real socket was bound")
        };
        assert_eq!(BoundListener::from_fd(fd).unwrap().address(), &expected);
    }
}
