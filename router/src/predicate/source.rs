//! `source: [10.0.0.0/8]`: the address of the client, as far as it can be believed.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::bytes::Reader;

/// Networks in a record: for each its family and prefix length in one byte each, and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Networks<'a> {
    bytes: &'a [u8],
}

/// Networks in one rule.
pub(crate) const NETWORKS_MAX: usize = 255;

/// One network, as typed: `10.0.0.0/8`, or an address alone. The error follows it in a message.
pub(crate) fn read(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse().map(|address: IpAddr| IpNet::from(address));
    let network: IpNet = text
        .parse()
        .or_else(|_| address())
        .map_err(|_| "is neither a network like 10.0.0.0/8 nor an address")?;
    if network.trunc() == network { Ok(network) } else { Err("has bits set behind its prefix") }
}

/// Networks as they stand in a record.
pub(crate) fn encode(networks: &[IpNet]) -> Vec<u8> {
    let mut out = Vec::new();
    for network in networks {
        let address = network.addr();
        out.extend([if address.is_ipv4() { 4 } else { 6 }, network.prefix_len()]);
        match address {
            IpAddr::V4(address) => out.extend(address.octets()),
            IpAddr::V6(address) => out.extend(address.octets()),
        }
    }
    out
}

impl<'a> Networks<'a> {
    /// What [`encode`] made.
    pub(crate) fn of(bytes: &'a [u8]) -> Networks<'a> {
        Networks { bytes }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = IpNet> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            let (family, len) = (reader.u8()?, reader.u8()?);
            let address = match family {
                4 => IpAddr::from(reader.array::<4>()?),
                _ => IpAddr::from(reader.array::<16>()?),
            };
            IpNet::new(address, len).ok()
        })
    }

    /// False for a peer that has no address. An IPv4 address in IPv6's clothes is IPv4.
    pub(crate) fn hold(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else {
            return false;
        };
        self.iter().any(|network| network.contains(&peer))
    }
}
