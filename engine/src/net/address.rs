//! Addresses of sockets: what users write, what logs show, and the kernel's byte form.
//!
//! Not a resolver: names are resolved elsewhere, before an address reaches the engine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::ring::Family;

/// Where a socket listens or connects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix stream socket; an empty path is an unnamed peer, a leading `@` the abstract space.
    Unix(PathBuf),
}

impl Address {
    /// The IP of a TCP address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Inet(socket) => Some(socket.ip()),
            Address::Unix(_) => None,
        }
    }

    pub(crate) fn family(&self) -> Family {
        match self {
            Address::Inet(SocketAddr::V4(_)) => Family::Inet4,
            Address::Inet(SocketAddr::V6(_)) => Family::Inet6,
            Address::Unix(_) => Family::Unix,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(socket) => socket.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The text is neither `IP:PORT` nor `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError;

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected IP:PORT, [IPv6]:PORT or unix:/path (at most 107 bytes)")
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = !path.is_empty() && path.len() < UNIX_PATH_BYTES && !path.contains('\0');
            return if fits { Ok(Address::Unix(path.into())) } else { Err(AddressError) };
        }
        text.parse().map(Address::Inet).map_err(|_| AddressError)
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Address {
        Address::Inet(socket)
    }
}

/// `sun_path` of Linux.
const UNIX_PATH_BYTES: usize = 108;

/// A socket address in the kernel's form, built without casts from plain bytes.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub(crate) struct RawAddress {
    bytes: [u8; 128],
    len: u32,
}

impl RawAddress {
    pub(crate) fn empty() -> RawAddress {
        RawAddress { bytes: [0; 128], len: 0 }
    }

    pub(crate) fn new(address: &Address) -> RawAddress {
        let mut raw = RawAddress::empty();
        match address {
            Address::Inet(SocketAddr::V4(v4)) => {
                raw.put(&(libc::AF_INET as u16).to_ne_bytes());
                raw.put(&v4.port().to_be_bytes());
                raw.put(&v4.ip().octets());
                raw.put(&[0; 8]);
            }
            Address::Inet(SocketAddr::V6(v6)) => {
                raw.put(&(libc::AF_INET6 as u16).to_ne_bytes());
                raw.put(&v6.port().to_be_bytes());
                raw.put(&v6.flowinfo().to_be_bytes());
                raw.put(&v6.ip().octets());
                raw.put(&v6.scope_id().to_ne_bytes());
            }
            Address::Unix(path) => {
                raw.put(&(libc::AF_UNIX as u16).to_ne_bytes());
                raw.put_path(path);
            }
        }
        raw
    }

    fn put_path(&mut self, path: &Path) {
        let bytes = path.as_os_str().as_bytes();
        let bytes = &bytes[..bytes.len().min(UNIX_PATH_BYTES - 1)];
        match bytes.split_first() {
            Some((b'@', name)) => {
                self.put(&[0]);
                self.put(name);
            }
            Some(_) => {
                self.put(bytes);
                self.put(&[0]);
            }
            None => {}
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let at = self.len as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u32;
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        self.bytes.as_mut_ptr().cast()
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) const CAPACITY: u32 = 128;

    /// After the kernel wrote the bytes; longer than the capacity means it was cut.
    pub(crate) fn set_len(&mut self, len: u32) {
        self.len = len.min(Self::CAPACITY);
    }

    /// Back to the readable form; None for a family we never ask for.
    pub(crate) fn address(&self) -> Option<Address> {
        let family = u16::from_ne_bytes(self.array(0)?);
        match i32::from(family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(self.array::<4>(4)?);
                Some(Address::Inet((ip, u16::from_be_bytes(self.array(2)?)).into()))
            }
            libc::AF_INET6 => {
                let port = u16::from_be_bytes(self.array(2)?);
                let flow = u32::from_be_bytes(self.array(4)?);
                let ip = Ipv6Addr::from(self.array::<16>(8)?);
                let scope = u32::from_ne_bytes(self.array(24)?);
                Some(Address::Inet(SocketAddrV6::new(ip, port, flow, scope).into()))
            }
            libc::AF_UNIX => Some(Address::Unix(self.path())),
            _ => None,
        }
    }

    fn path(&self) -> PathBuf {
        let bytes = self.bytes.get(2..self.len as usize).unwrap_or(&[]);
        match bytes.split_first() {
            Some((0, name)) if !name.is_empty() => {
                PathBuf::from(format!("@{}", String::from_utf8_lossy(name)))
            }
            _ => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                PathBuf::from(std::ffi::OsStr::from_bytes(&bytes[..end]))
            }
        }
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let end = at + N;
        if end > self.len as usize {
            return None;
        }
        self.bytes.get(at..end)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_kernel_form_round_trip() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/tmp/x.sock", "unix:@abstract"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(RawAddress::new(&address).address(), Some(address));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "localhost", "unix:", "1.2.3.4", "1.2.3.4:70000"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(200)).parse::<Address>().is_err());
    }

    #[test]
    fn an_unnamed_unix_peer_has_an_empty_path() {
        let mut raw = RawAddress::new(&Address::Unix("x".into()));
        raw.set_len(2);
        assert_eq!(raw.address(), Some(Address::Unix(PathBuf::new())));
    }
}
