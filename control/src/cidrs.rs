//! `Cidrs`: the source addresses that are trusted for something, such as to name their client.
//!
//! Written as a list of `10.0.0.0/8`, `2001:db8::/32` or single addresses. Cost of a question: one
//! comparison a network; a list has a handful.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cidrs {
    networks: Vec<IpNet>,
}

impl Cidrs {
    /// Reads the texts; the error names the one that is no network.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Cidrs, String> {
        let networks: Result<Vec<IpNet>, String> = texts.into_iter().map(parse_one).collect();
        networks.map(|networks| Cidrs { networks })
    }

    /// Whether the address is in one of them; an IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

fn parse_one(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let single = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    let network = text.parse::<IpNet>().ok().or_else(single);
    let why = || format!("`{text}` is no network like 10.0.0.0/8 or 2001:db8::/32");
    let network = network.ok_or_else(why)?;
    if network.addr() != network.network() {
        return Err(format!("`{text}` has bits behind its mask: write {}", network.trunc()));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_single_addresses() {
        let cidrs = Cidrs::parse(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]).unwrap();
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8::5"] {
            assert!(cidrs.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.2", "2001:db9::1", "::1"] {
            assert!(!cidrs.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(Cidrs::parse([]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_network_is_named() {
        for bad in ["", "10.0.0.0/33", "10.0.0.1/8", "example.com", "10.0.0.0/8,"] {
            assert!(Cidrs::parse([bad]).unwrap_err().contains(bad), "{bad}");
        }
    }
}
