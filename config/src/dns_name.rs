//! Entries among addresses that name a service whose every address is a node, as in `dns+http://logic:8010`.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::listen::Endpoint;

/// What such an entry begins with.
const DNS_PREFIX: &str = "dns+";

/// A name whose addresses are nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    /// `http` or `https`.
    scheme: String,
    /// What is looked up.
    pub host: String,
    /// Where each of its addresses listens.
    pub port: u16,
}

impl DnsName {
    /// The name that an entry means; none where it means a node.
    pub fn of(entry: &Endpoint) -> Option<Result<Self, String>> {
        let text = entry.to_string();
        let rest = text.strip_prefix(DNS_PREFIX)?;
        let problem = || format!("`{text}` needs the form dns+http://NAME:PORT or dns+https://NAME:PORT");
        let parse = || {
            let (scheme, address) = rest.split_once("://")?;
            let (host, port) = address.rsplit_once(':')?;
            let port = port.parse().ok()?;
            let is_known = matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', ':']);
            is_known.then(|| Self { scheme: scheme.to_owned(), host: host.to_owned(), port })
        };
        Some(parse().ok_or_else(problem))
    }

    /// Refuses an entry that means nothing.
    pub fn check(entry: &Endpoint) -> Result<(), String> {
        Self::of(entry).map_or_else(|| entry.check_service(), |name| name.map(drop))
    }

    /// The node at one of its addresses.
    pub fn node_at(&self, address: SocketAddr) -> Endpoint {
        Endpoint::new(&format!("{}://{address}", self.scheme))
    }
}

/// A node may have an address of each family: where there are some of IPv4, only these count. Of more than `addresses_max` the lowest
/// count, so that the same answer in another order means the same nodes.
pub fn nodes_at(found: impl IntoIterator<Item = SocketAddr>, addresses_max: usize) -> BTreeSet<SocketAddr> {
    let mut found: BTreeSet<SocketAddr> = found.into_iter().collect();
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    found.into_iter().take(addresses_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_counts_and_the_order_of_an_answer_does_not() {
        let found = ["[::1]:1", "10.0.0.3:1", "10.0.0.1:1", "10.0.0.2:1"].map(|text| text.parse().unwrap());
        let nodes = nodes_at(found, 2);
        assert_eq!(nodes, nodes_at(found.into_iter().rev(), 2));
        assert_eq!(nodes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(nodes_at([found[0]], 2).len(), 1);
    }

    #[test]
    fn a_name_says_how_its_nodes_are_called() {
        let name = |text: &str| DnsName::of(&Endpoint::new(text));
        assert_eq!(name("http://logic:8010"), None);
        let parsed = name("dns+https://logic.gim:8010").unwrap().unwrap();
        let address = "10.0.0.7:8010".parse().unwrap();
        assert_eq!(parsed.node_at(address).to_string(), "https://10.0.0.7:8010");
        for wrong in ["dns+logic:8010", "dns+ftp://logic:8010", "dns+http://:8010", "dns+http://a/b:1"] {
            assert!(name(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
