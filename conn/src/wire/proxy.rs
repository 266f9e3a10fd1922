//! The header of PROXY protocol v2, with which a load balancer tells who the client is.

use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header, ParseError};

/// Longest header that is read; beyond the addresses it may carry what the proxy knows of the client's TLS.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// What the front of the input is.
#[derive(Debug, PartialEq, Eq)]
pub enum Proxied {
    /// It may be a header; more has to come.
    NeedMore,
    /// No header: the connection begins here.
    Absent,
    /// A header of `consumed` bytes; no client where the proxy speaks for itself, as in a health check.
    Header {
        /// Its length.
        consumed: usize,
        /// Who connected to the proxy.
        client: Option<SocketAddr>,
    },
    /// It begins as a header, and is none.
    Bad,
}

/// Looks at the front of what a proxy sends.
pub fn read(input: &[u8]) -> Proxied {
    match Header::try_from(input) {
        Ok(header) => {
            let client = match (header.command, header.addresses) {
                (Command::Proxy, Addresses::IPv4(addresses)) => {
                    Some((addresses.source_address, addresses.source_port).into())
                }
                (Command::Proxy, Addresses::IPv6(addresses)) => {
                    Some((addresses.source_address, addresses.source_port).into())
                }
                _ => None,
            };
            Proxied::Header { consumed: header.header.len(), client }
        }
        Err(ParseError::Prefix) => Proxied::Absent,
        Err(ParseError::Incomplete(_) | ParseError::Partial(..)) if input.len() < HEADER_BYTES_MAX => Proxied::NeedMore,
        Err(_) => Proxied::Bad,
    }
}

#[cfg(test)]
mod tests {
    use ppp::v2::{Builder, Protocol, Type, Version};
    use proptest::prelude::*;

    use super::*;

    fn header(command: Command) -> Vec<u8> {
        let client: SocketAddr = "203.0.113.9:4711".parse().unwrap();
        let server: SocketAddr = "192.0.2.1:443".parse().unwrap();
        Builder::with_addresses(Version::Two | command, Protocol::Stream, (client, server))
            .write_tlv(Type::NoOp, b"more")
            .unwrap()
            .build()
            .unwrap()
    }

    #[test]
    fn a_header_cut_anywhere_waits_and_then_names_the_client() {
        let bytes = header(Command::Proxy);
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Proxied::NeedMore, "cut at {cut}");
        }
        let client = Some("203.0.113.9:4711".parse().unwrap());
        let expected = Proxied::Header { consumed: bytes.len(), client };
        assert_eq!(read(&bytes), expected);
        assert_eq!(read(&[&bytes[..], b"\x02\x10\x01"].concat()), expected);
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        let bytes = header(Command::Local);
        assert_eq!(read(&bytes), Proxied::Header { consumed: bytes.len(), client: None });
    }

    #[test]
    fn what_begins_otherwise_is_no_header_and_a_wrong_one_is_bad() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Proxied::Absent);
        assert_eq!(read(&[0x16, 3, 1]), Proxied::Absent);
        let mut bytes = header(Command::Proxy);
        bytes[12] = 0x31;
        assert_eq!(read(&bytes), Proxied::Bad);
        let mut endless = header(Command::Proxy)[..16].to_vec();
        endless[14..16].copy_from_slice(&[0xff, 0xff]);
        endless.resize(HEADER_BYTES_MAX, 0);
        assert_eq!(read(&endless), Proxied::Bad);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            read(&bytes);
            read(&[&header(Command::Proxy)[..12], &bytes].concat());
        }
    }
}
