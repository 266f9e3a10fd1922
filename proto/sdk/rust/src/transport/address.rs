//! Where a server is, as a URL says it. No IO.

use super::TransportError;

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Tcp,
    Tls,
    Ws,
    Wss,
    Http,
    Https,
}

impl Scheme {
    const ALL: [(&str, Self); 6] = [
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("ws", Self::Ws),
        ("wss", Self::Wss),
        ("http", Self::Http),
        ("https", Self::Https),
    ];

    pub(crate) fn is_in_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Https)
    }

    pub(crate) fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 8002,
            Self::Tls => 8004,
            Self::Ws | Self::Http => 80,
            Self::Wss | Self::Https => 443,
        }
    }
}

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as they stand in the URL.
    pub(crate) authority: String,
    /// Path and query, at least "/".
    pub(crate) path: String,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, TransportError> {
        let broken = || TransportError::Address(url.chars().take(200).collect());
        let (scheme, rest) = url.split_once("://").ok_or_else(broken)?;
        let (_, scheme) = *Scheme::ALL.iter().find(|(name, _)| *name == scheme).ok_or_else(broken)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(broken)?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(scheme.default_port()), str::parse).map_err(|_| broken())?;
        let is_sound =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        if !is_sound(host) || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(broken());
        }
        Ok(Self { scheme, host: host.to_owned(), port, authority: authority.to_owned(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, scheme, host, port, path) in [
            ("tcp://chat.example.com", Scheme::Tcp, "chat.example.com", 8002, "/"),
            ("tls://127.0.0.1:1", Scheme::Tls, "127.0.0.1", 1, "/"),
            ("ws://[::1]:8003/ws", Scheme::Ws, "::1", 8003, "/ws"),
            ("wss://[::1]/ws?a=b#c", Scheme::Wss, "::1", 443, "/ws?a=b"),
            ("https://host?a", Scheme::Https, "host", 443, "/?a"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.scheme, &*address.host, address.port, &*address.path), (scheme, host, port, path));
        }
    }

    #[test]
    fn what_is_no_url_is_an_error() {
        for url in [
            "",
            "host",
            "ftp://host",
            "ws://",
            "ws://host:x",
            "ws://host:99999",
            "ws://a b/",
            "ws://host/\r\nX: y",
            "ws://u@host",
            "ws://[::1",
            "ws://[::1]x",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
