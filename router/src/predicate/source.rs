//! `source: [10.0.0.0/8]`: the address of the client, as far as it can be believed.

use std::net::IpAddr;

use crate::bytes::Reader;

/// Networks in a record: for each its family and prefix length in one byte each, and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Networks<'a> {
    bytes: &'a [u8],
}

/// Networks in one rule.
pub(crate) const NETWORKS_MAX: usize = 255;

/// One network, as typed: `10.0.0.0/8`, or an address alone. The error follows it in a message.
pub(crate) fn read(text: &str) -> Result<(IpAddr, u8), &'static str> {
    const WHY: &str = "is neither a network like 10.0.0.0/8 nor an address";
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| WHY)?;
    let len_max = if address.is_ipv4() { 32 } else { 128 };
    let len: u8 = len.map_or(Ok(len_max), str::parse).map_err(|_| WHY)?;
    if len > len_max {
        return Err(WHY);
    }
    if bits(address, len) != bits(address, len_max) {
        return Err("has bits set behind its prefix");
    }
    Ok((address, len))
}

/// The first `len` bits of an address, the others 0.
fn bits(address: IpAddr, len: u8) -> u128 {
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let behind = width - u32::from(len).min(width);
    bits.checked_shr(behind).and_then(|bits| bits.checked_shl(behind)).unwrap_or(0)
}

/// Networks as they stand in a record.
pub(crate) fn encode(networks: &[(IpAddr, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (address, len) in networks {
        out.extend([if address.is_ipv4() { 4 } else { 6 }, *len]);
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            let (family, len) = (reader.u8()?, reader.u8()?);
            let address = match family {
                4 => IpAddr::from(reader.array::<4>()?),
                _ => IpAddr::from(reader.array::<16>()?),
            };
            Some((address, len))
        })
    }

    /// False for a peer that has no address. An IPv4 address in IPv6's clothes is IPv4.
    pub(crate) fn hold(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else {
            return false;
        };
        let takes = |(network, len): (IpAddr, u8)| {
            network.is_ipv4() == peer.is_ipv4() && bits(peer, len) == bits(network, len)
        };
        self.iter().any(takes)
    }
}
