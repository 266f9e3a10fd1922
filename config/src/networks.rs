//! Networks in settings (`10.0.0.0/8`, `::1`), for those whose word about a client's address counts.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Several networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(Vec<Network>);

/// The text is no network.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no network: it needs the form 10.0.0.0/8, or that of an address")]
pub struct NetworkError(String);

/// Who an address counts for: itself or, with IPv6, its network of 64 bits, of which one client has all addresses.
pub fn holder_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let (own, other, bits) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()) << 96, u128::from(other.to_bits()) << 96, 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let differing = own ^ other;
        self.prefix_bits.min(bits) == 0 || differing.leading_zeros() >= u32::from(self.prefix_bits)
    }
}

impl Networks {
    /// These.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// Whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client behind proxies of these networks, from the lines of `X-Forwarded-For`: the last address that is none of
    /// theirs, as whatever stands before it was the client's own word.
    pub fn client_of<'a>(&self, lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<IpAddr> {
        let mut client = None;
        for name in lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            let address = address_of(str::from_utf8(name.trim_ascii()).ok()?)?;
            client = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        client
    }
}

/// Some proxies add a port, or brackets.
fn address_of(name: &str) -> Option<IpAddr> {
    let socket = || name.parse().ok().map(|address: SocketAddr| address.ip());
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.parse().ok().or_else(socket).map(|address: IpAddr| address.to_canonical())
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let fail = || NetworkError(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| fail())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(bits), |text| text.parse().map_err(|_| fail()))?;
        if prefix_bits > bits { Err(fail()) } else { Ok(Self { address, prefix_bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_bits)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn an_address_is_in_a_network_that_begins_like_it() {
        let known = networks(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
        for inside in ["10.255.0.1", "192.0.2.7", "2001:db8:ffff::1", "::1", "::ffff:10.1.1.1"] {
            assert!(known.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::2"] {
            assert!(!known.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(networks(&["0.0.0.0/0"]).contains("8.8.8.8".parse().unwrap()));
        assert!(!networks(&["0.0.0.0/0"]).contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "host", "10.0.0.0/x"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        let known = networks(&["10.0.0.0/8"]);
        let client = |lines: &[&str]| {
            known.client_of(lines.iter().map(|line| line.as_bytes())).map(|address| address.to_string())
        };
        assert_eq!(client(&["1.1.1.1, 203.0.113.9, 10.0.0.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["1.1.1.1", "203.0.113.9:4711"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["10.0.0.2, 10.0.0.1"]).as_deref(), Some("10.0.0.2"));
        assert_eq!(client(&["\u{fc}, 2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        for v6 in ["[2001:db8::1]", "[2001:db8::1]:4711"] {
            assert_eq!(client(&[v6]).as_deref(), Some("2001:db8::1"));
        }
        assert_eq!(client(&["203.0.113.9, unknown"]), None);
        assert_eq!(client(&[]), None);
    }
}
