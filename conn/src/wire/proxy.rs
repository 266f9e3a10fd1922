//! The header of the PROXY protocol, with which a load balancer tells who the client is: a line of text in version 1, as nginx
//! sends it, or bytes in version 2. Also which proxies the log named because they say something else.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use ppp::{v1, v2};

/// Longest header of version 2 that is read; beyond the addresses it may carry what the proxy knows of the client's TLS.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// Longest line of version 1, its end included.
pub const LINE_BYTES_MAX: usize = 107;

const LINE_END: &[u8] = b"\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
const LINE_STARTS: [&[u8]; 4] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r\n"];

/// Of so many proxies it is known that the log named them; about those beyond nothing is said.
const NAMED_MAX: usize = 64;

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

/// What is wrong with what a listed proxy sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// A header that is none, or what no client of ours would begin with.
    Broken,
    /// Nothing about the client.
    Silent,
}

/// The proxies that the log named, each once for each problem, whichever reactor serves it.
#[derive(Debug)]
pub struct NamedProxies([AtomicU64; NAMED_MAX]);

/// Looks at the front of what a proxy sends.
pub fn read(input: &[u8]) -> Proxied {
    match v2::Header::try_from(input) {
        Ok(header) => Proxied::Header { consumed: header.header.len(), client: client_of(&header) },
        Err(v2::ParseError::Prefix) => read_line(input),
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) if input.len() < HEADER_BYTES_MAX => {
            Proxied::NeedMore
        }
        Err(_) => Proxied::Bad,
    }
}

fn client_of(header: &v2::Header<'_>) -> Option<SocketAddr> {
    match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => {
            Some((addresses.source_address, addresses.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => {
            Some((addresses.source_address, addresses.source_port).into())
        }
        _ => None,
    }
}

/// Looks for a header of version 1.
fn read_line(input: &[u8]) -> Proxied {
    let agrees = |start: &&[u8]| input.iter().zip(*start).all(|(byte, wanted)| byte == wanted);
    if !LINE_STARTS.iter().any(agrees) {
        return if input.starts_with(b"PROXY ") { Proxied::Bad } else { Proxied::Absent };
    }
    let front = &input[..input.len().min(LINE_BYTES_MAX)];
    let Some(end) = front.windows(LINE_END.len()).position(|bytes| bytes == LINE_END) else {
        return if input.len() < LINE_BYTES_MAX { Proxied::NeedMore } else { Proxied::Bad };
    };
    let consumed = end + LINE_END.len();
    // Whatever the proxy adds to it is to be passed over.
    if front.starts_with(UNKNOWN) {
        return Proxied::Header { consumed, client: None };
    }
    let Ok(header) = v1::Header::try_from(&front[..consumed]) else { return Proxied::Bad };
    let client = match header.addresses {
        v1::Addresses::Tcp4(addresses) => Some((addresses.source_address, addresses.source_port).into()),
        v1::Addresses::Tcp6(addresses) => Some((addresses.source_address, addresses.source_port).into()),
        v1::Addresses::Unknown => None,
    };
    Proxied::Header { consumed, client }
}

impl Default for NamedProxies {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; NAMED_MAX])
    }
}

impl NamedProxies {
    /// Whether the log has to name this proxy.
    pub fn is_news(&self, proxy: IpAddr, problem: Problem) -> bool {
        let mut hasher = DefaultHasher::new();
        (proxy.to_canonical(), problem).hash(&mut hasher);
        let mark = hasher.finish().max(1);
        for place in &self.0 {
            match place.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) if other == mark => return false,
                Err(_) => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use ppp::v2::{Builder, Command, Protocol, Type, Version};
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
        assert_eq!(read(b"PUT / HTTP/1.1\r\n"), Proxied::Absent);
        let mut bytes = header(Command::Proxy);
        bytes[12] = 0x31;
        assert_eq!(read(&bytes), Proxied::Bad);
        let mut endless = header(Command::Proxy)[..16].to_vec();
        endless[14..16].copy_from_slice(&[0xff, 0xff]);
        endless.resize(HEADER_BYTES_MAX, 0);
        assert_eq!(read(&endless), Proxied::Bad);
    }

    const LINES: [(&str, Option<&str>); 6] = [
        ("PROXY TCP4 203.0.113.9 192.0.2.1 47110 8002\r\n", Some("203.0.113.9:47110")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 0 8002\r\n", Some("[2001:db8::1]:0")),
        ("PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", Some("[::ffff:203.0.113.9]:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN a b c d e f g\r\n", None),
    ];

    #[test]
    fn a_line_cut_anywhere_waits_and_then_names_the_client() {
        for (line, client) in LINES {
            for cut in 0..line.len() {
                assert_eq!(read(&line.as_bytes()[..cut]), Proxied::NeedMore, "{line} cut at {cut}");
            }
            let expected = Proxied::Header { consumed: line.len(), client: client.map(|text| text.parse().unwrap()) };
            for rest in ["", "\r\n", "\x02\x10\x01", "GET /ws HTTP/1.1\r\n"] {
                assert_eq!(read([line, rest].concat().as_bytes()), expected, "{line} and {rest:?}");
            }
        }
    }

    #[test]
    fn a_line_has_107_bytes_at_most() {
        let line = |blanks: usize| format!("PROXY UNKNOWN{}\r\n", " ".repeat(blanks));
        let longest = line(LINE_BYTES_MAX - 15);
        assert_eq!(read(longest.as_bytes()), Proxied::Header { consumed: LINE_BYTES_MAX, client: None });
        assert_eq!(read(line(LINE_BYTES_MAX - 14).as_bytes()), Proxied::Bad);
        assert_eq!(read(&longest.as_bytes()[..LINE_BYTES_MAX - 1]), Proxied::NeedMore);
    }

    #[test]
    fn a_wrong_line_is_bad_as_soon_as_it_shows() {
        for line in [
            "PROXY TCP5",
            "PROXY  TCP4",
            "PROXY tcp4 ",
            "PROXY \r",
            "PROXY UNKNOWNX",
            "PROXY TCP4 203.0.113.9 192.0.2.1 47110\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 47110 65536\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 47110 8002 1\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 047 8002\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 203.0.113.9 192.0.2.1 1 2\r\n",
            "PROXY TCP4 203.0.113.ü 192.0.2.1 1 2\r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Proxied::Bad, "{line}");
        }
    }

    #[test]
    fn a_proxy_is_news_once_for_each_problem() {
        let named = NamedProxies::default();
        let news = |address: &str, problem| named.is_news(address.parse().unwrap(), problem);
        assert!(news("10.0.0.7", Problem::Broken) && news("10.0.0.7", Problem::Silent) && news("::1", Problem::Broken));
        assert!(!news("10.0.0.7", Problem::Broken) && !news("::ffff:10.0.0.7", Problem::Silent));
        let more = (0..NAMED_MAX as u32).filter(|n| named.is_news(IpAddr::V4((*n).into()), Problem::Broken)).count();
        assert_eq!(more, NAMED_MAX - 3, "those beyond the bound are not kept");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            read(&bytes);
            read(&[&header(Command::Proxy)[..12], &bytes].concat());
            for (line, _) in LINES {
                read(&[&line.as_bytes()[..11], &bytes].concat());
            }
        }
    }
}
