//! Where the admin server listens, and the sockets behind it.
//!
//! D1 of [`super`] is kept here: loopback or a unix socket of mode 0600. A path that is not a
//! socket is never removed.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the admin server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A loopback address.
    Tcp(SocketAddr),
    /// Nowhere.
    Off,
}

impl AdminAddress {
    /// Reads what an operator types: `off`, `127.0.0.1:PORT`, `[::1]:PORT`, a path or `unix:PATH`.
    ///
    /// # Errors
    /// An address that is not loopback, or neither address nor path; says what to type instead.
    pub fn parse(text: &str) -> Result<AdminAddress, String> {
        if text == "off" {
            return Ok(AdminAddress::Off);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.ip().is_loopback() {
                return Ok(AdminAddress::Tcp(address));
            }
            return Err(format!(
                "admin address {address} is not loopback: anyone who reaches it could read the \
                 configuration; use 127.0.0.1:{} or a unix socket",
                address.port()
            ));
        }
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(AdminAddress::Unix(path.into())),
            None if text.contains('/') => Ok(AdminAddress::Unix(text.into())),
            _ => Err(format!("admin address {text:?} is neither off, IP:PORT nor a path")),
        }
    }

    /// The unix socket used when nothing is said: `$XDG_RUNTIME_DIR/ringway/admin.sock` for a
    /// user, `/run/ringway/admin.sock` for root or where there is no such folder.
    pub fn default_for(is_root: bool, runtime_dir: Option<&str>) -> AdminAddress {
        let base = match runtime_dir {
            Some(dir) if !is_root && !dir.is_empty() => dir,
            _ => "/run",
        };
        AdminAddress::Unix(Path::new(base).join("ringway/admin.sock"))
    }

    pub(super) fn remove_socket(&self) {
        if let AdminAddress::Unix(path) = self {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            AdminAddress::Tcp(address) => address.fmt(f),
            AdminAddress::Off => f.write_str("off"),
        }
    }
}

pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Socket {
    pub(super) fn bind(listen: &AdminAddress) -> io::Result<(Socket, AdminAddress)> {
        match listen {
            AdminAddress::Unix(path) => {
                let socket = bind_unix(path)?;
                Ok((Socket::Unix(socket), listen.clone()))
            }
            AdminAddress::Tcp(address) if address.ip().is_loopback() => {
                let socket = TcpListener::bind(address)?;
                let bound = AdminAddress::Tcp(socket.local_addr()?);
                Ok((Socket::Tcp(socket), bound))
            }
            AdminAddress::Tcp(_) | AdminAddress::Off => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on"))
            }
        }
    }

    pub(super) fn accept(&self) -> io::Result<Peer> {
        match self {
            Socket::Unix(socket) => socket.accept().map(|(peer, _)| Peer::Unix(peer)),
            Socket::Tcp(socket) => socket.accept().map(|(peer, _)| Peer::Tcp(peer)),
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
        }
        fs::remove_file(path)?;
    }
    // Bound under a name of its own and moved into place with its mode set: at no moment can
    // another user connect.
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(name);
    let socket = UnixListener::bind(&fresh)?;
    let placed = fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::hard_link(&fresh, path));
    let removed = fs::remove_file(&fresh);
    placed.and(removed).map(|()| socket)
}

/// An accepted connection.
pub(super) enum Peer {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Peer {
    /// Whether it came over the unix socket, whose mode says who may.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Peer::Unix(_))
    }

    /// Sets how long one read or write may take; zero is not allowed.
    pub(super) fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Peer::Unix(peer) => {
                peer.set_read_timeout(Some(timeout)).and(peer.set_write_timeout(Some(timeout)))
            }
            Peer::Tcp(peer) => {
                peer.set_read_timeout(Some(timeout)).and(peer.set_write_timeout(Some(timeout)))
            }
        }
    }

    pub(super) fn shut_write(&self) -> io::Result<()> {
        match self {
            Peer::Unix(peer) => peer.shutdown(std::net::Shutdown::Write),
            Peer::Tcp(peer) => peer.shutdown(std::net::Shutdown::Write),
        }
    }
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Peer::Unix(peer) => peer.read(buf),
            Peer::Tcp(peer) => peer.read(buf),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Peer::Unix(peer) => peer.write(buf),
            Peer::Tcp(peer) => peer.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a blocked accept return, by connecting.
pub(super) struct Wake(AdminAddress);

impl Wake {
    pub(super) fn new(bound: &AdminAddress) -> Wake {
        Wake(bound.clone())
    }

    /// Whether the accept was reached: a unix socket may have been removed behind our back.
    pub(super) fn ring(&self) -> bool {
        match &self.0 {
            AdminAddress::Unix(path) => UnixStream::connect(path).is_ok(),
            AdminAddress::Tcp(address) => TcpStream::connect(address).is_ok(),
            AdminAddress::Off => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_typed() {
        let parse = AdminAddress::parse;
        assert_eq!(parse("unix:/run/a.sock"), Ok(AdminAddress::Unix("/run/a.sock".into())));
        assert_eq!(parse("./a.sock"), Ok(AdminAddress::Unix("./a.sock".into())));
        assert_eq!(parse("off"), Ok(AdminAddress::Off));
        assert!(matches!(parse("127.0.0.1:9"), Ok(AdminAddress::Tcp(_))));
        assert!(matches!(parse("[::1]:9"), Ok(AdminAddress::Tcp(_))));
        assert!(parse("0.0.0.0:9").unwrap_err().contains("127.0.0.1:9"));
        assert!(parse("10.0.0.1:9").is_err() && parse("unix:").is_err() && parse("x").is_err());
    }

    #[test]
    fn default_by_user() {
        let socket = |is_root, dir| AdminAddress::default_for(is_root, dir).to_string();
        assert_eq!(socket(false, Some("/run/user/7")), "unix:/run/user/7/ringway/admin.sock");
        assert_eq!(socket(true, Some("/run/user/0")), "unix:/run/ringway/admin.sock");
        assert_eq!(socket(false, None), "unix:/run/ringway/admin.sock");
    }

    #[test]
    fn a_wildcard_address_is_refused_by_bind_too() {
        let wildcard = AdminAddress::Tcp("0.0.0.0:0".parse().unwrap());
        assert!(Socket::bind(&wildcard).is_err());
    }
}
