//! `http://HOST:PORT/PATH`: where load goes.
//!
//! It is not a general URL: no user, no fragment, no https. Names are resolved once, before the
//! load.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result};

/// A target of load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// The Host field.
    pub(crate) host: String,
    /// Path and query, starting with `/`.
    pub(crate) path: String,
}

impl Url {
    /// Reads and resolves `text`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("http://").context("the URL must start with http://")?;
        let split = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(split);
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {host:?}"))?
            .next()
            .with_context(|| format!("{host:?} has no address"))?;
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { address, host: host.to_owned(), path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_host_port_and_path() {
        let url = Url::parse("http://127.0.0.1:81/a?b=1").unwrap();
        assert_eq!(url.address.to_string(), "127.0.0.1:81");
        assert_eq!((url.host.as_str(), url.path.as_str()), ("127.0.0.1:81", "/a?b=1"));
        assert_eq!(Url::parse("http://[::1]").unwrap().address.to_string(), "[::1]:80");
        assert_eq!(Url::parse("http://127.0.0.1").unwrap().path, "/");
    }

    #[test]
    fn other_schemes_and_empty_hosts_are_refused() {
        assert!(Url::parse("https://127.0.0.1/").is_err());
        assert!(Url::parse("http:///").is_err());
    }
}
