//! Where Redis is and how it is run, read from the URL in `shared_state.url`. Pure.

use std::{fmt, path::PathBuf};

use gim_config::endpoints::BARE_SIGNS;
use percent_encoding::percent_decode_str;

/// The forms of a URL, for messages.
const FORMS: &str =
    "must begin with redis://, redis+sentinel:// or redis+cluster://, or with rediss in place of redis for TLS";

/// Where Redis is, read from a URL: `redis://[USER:PASSWORD@]HOST:PORT,HOST:PORT[/PATH][?NAME=VALUE&NAME=VALUE]`. What it says is
/// percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisTarget {
    /// How it is run, and as what.
    pub way: RedisWay,
    /// One, or some of several of which one must answer.
    pub servers: Vec<(String, u16)>,
    /// Number of the database; 0 in a cluster.
    pub db: i64,
    /// Of Redis, the same on every node.
    pub credentials: Credentials,
    /// Nothing without TLS.
    pub tls: Option<TlsFiles>,
}

/// How Redis is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisWay {
    /// One server: `redis://HOST:PORT[/DB]`.
    Single,
    /// A master that others watch: `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE[/DB]`, with the addresses of the others.
    Sentinel {
        /// The name of the master that they watch.
        service: String,
        /// Of the Sentinels: `sentinel-user=` and `sentinel-password=`.
        credentials: Credentials,
    },
    /// Several that share the keys: `redis+cluster://HOST:PORT,HOST:PORT`.
    Cluster,
}

/// Who we are to a server; empty for nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password, which is never shown.
    pub password: String,
}

/// PEM files for TLS. Those that are empty are not used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// `ssl-ca=`: authorities that are trusted in place of those of the system.
    pub ca: PathBuf,
    /// `ssl-cert=`: a certificate of our own.
    pub certificate: PathBuf,
    /// `ssl-key=`: its key.
    pub key: PathBuf,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Without credentials, as messages may show it.
impl fmt::Display for RedisTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.iter().map(|(host, port)| format!("{host}:{port}"));
        formatter.write_str(&servers.collect::<Vec<_>>().join(","))
    }
}

impl RedisTarget {
    /// Reads a URL; the error is a sentence without the password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        let (protocol, way) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_tls = match protocol {
            "redis" => false,
            "rediss" => true,
            _ => return Err(FORMS.to_owned()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let credentials = Credentials { user: decoded(user)?, password: decoded(password)? };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut parameters = Parameters::parse(query)?;
        let (way, db, default_port) = match way {
            "" => (RedisWay::Single, path, 6379),
            "sentinel" => {
                let (service, db) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    return Err("must name the service after the sentinels".to_owned());
                }
                let credentials = std::mem::take(&mut parameters.sentinel);
                (RedisWay::Sentinel { service: decoded(service)?, credentials }, db, 26379)
            }
            "cluster" if matches!(path, "" | "0") => (RedisWay::Cluster, "", 6379),
            "cluster" => return Err("a cluster has no databases but 0".to_owned()),
            _ => return Err(FORMS.to_owned()),
        };
        let servers = addresses(hosts, default_port)?;
        if way == RedisWay::Single && servers.len() > 1 {
            return Err("names several servers: are they redis+cluster:// or redis+sentinel://?".to_owned());
        }
        let tls = parameters.tls_files(is_tls)?;
        if parameters.sentinel != Credentials::default() {
            return Err("names sentinel-user or sentinel-password without sentinels".to_owned());
        }
        let db = db.strip_suffix('/').unwrap_or(db);
        let db = if db.is_empty() { Ok(0) } else { db.parse::<u16>() }.map_err(|_| "the database must be a number")?;
        Ok(Self { way, servers, db: db.into(), credentials, tls })
    }
}

/// What stands after the `?`.
#[derive(Debug, Default)]
struct Parameters {
    sentinel: Credentials,
    tls: TlsFiles,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = decoded(value)?;
            match name {
                "sentinel-user" => parameters.sentinel.user = value,
                "sentinel-password" => parameters.sentinel.password = value,
                "ssl-ca" => parameters.tls.ca = value.into(),
                "ssl-cert" => parameters.tls.certificate = value.into(),
                "ssl-key" => parameters.tls.key = value.into(),
                _ if query.contains('@') => return Err(BARE_SIGNS.to_owned()),
                _ => {
                    let known = "sentinel-user, sentinel-password, ssl-ca, ssl-cert, ssl-key";
                    return Err(format!("there is no `{name}` (there are {known})"));
                }
            }
        }
        Ok(parameters)
    }

    fn tls_files(&self, is_tls: bool) -> Result<Option<TlsFiles>, String> {
        if !is_tls && self.tls != TlsFiles::default() {
            return Err("names files for TLS without TLS: write rediss in place of redis".to_owned());
        }
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            return Err("ssl-cert and ssl-key belong together".to_owned());
        }
        Ok(is_tls.then(|| self.tls.clone()))
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "holds what is not UTF-8")?;
    Ok(text.into_owned())
}

fn addresses(hosts: &str, default_port: u16) -> Result<Vec<(String, u16)>, String> {
    hosts.split(',').map(|host| address(host, default_port)).collect()
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn address(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("must name a host".to_owned());
    }
    let port = port.map_or(Ok(default_port), str::parse).map_err(|_| format!("{text}: its port is none"))?;
    Ok((decoded(host)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(way: RedisWay, servers: &[(&str, u16)]) -> RedisTarget {
        let servers = servers.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
        RedisTarget { way, servers, db: 0, credentials: Credentials::default(), tls: None }
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into() }
    }

    fn sentinel(service: &str, credentials: Credentials) -> RedisWay {
        RedisWay::Sentinel { service: service.into(), credentials }
    }

    #[test]
    fn the_url_says_how_redis_is_run() {
        let parse = |url| RedisTarget::parse(url).unwrap();
        assert_eq!(parse("redis://h:1/2"), RedisTarget { db: 2, ..target(RedisWay::Single, &[("h", 1)]) });
        assert_eq!(parse("redis://[::1]:7"), target(RedisWay::Single, &[("::1", 7)]));
        assert_eq!(parse("redis://[::1]/"), target(RedisWay::Single, &[("::1", 6379)]));
        let watched = target(sentinel("main", Credentials::default()), &[("a", 1), ("b", 26379)]);
        assert_eq!(parse("redis+sentinel://a:1,b/main"), watched);
        let watched = RedisTarget { db: 3, credentials: credentials("u", "p"), ..watched };
        assert_eq!(parse("redis+sentinel://u:p@a:1,b/main/3"), watched);
        assert_eq!(parse("redis+cluster://a,b:2"), target(RedisWay::Cluster, &[("a", 6379), ("b", 2)]));
    }

    #[test]
    fn what_credentials_hold_is_decoded_in_every_form() {
        let expected = credentials("a@b", "p@ss:w%rd/?");
        let (user, password) = ("a%40b", "p%40ss%3Aw%25rd%2F%3F");
        for form in ["redis://U:P@h/1", "redis+sentinel://U:P@h/main/1", "redis+cluster://U:P@h"] {
            for form in [form.to_owned(), form.replacen("redis", "rediss", 1)] {
                let read = RedisTarget::parse(&form.replace("U:P", &format!("{user}:{password}"))).unwrap();
                assert_eq!(read.credentials, expected, "{form}");
                assert_eq!(read.tls.is_some(), form.starts_with("rediss"), "{form}");
                assert!(!format!("{read:?} {read}").contains("p@ss"));
            }
        }
        assert_eq!(RedisTarget::parse("redis://:p@h").unwrap().credentials, credentials("", "p"));
        let url = "redis+sentinel://h/main?sentinel-user=s&sentinel-password=%26";
        assert_eq!(RedisTarget::parse(url).unwrap().way, sentinel("main", credentials("s", "&")));
    }

    #[test]
    fn files_for_tls_are_named_alike_in_every_form() {
        for form in ["rediss://h", "rediss+sentinel://h/main", "rediss+cluster://h"] {
            let url = format!("{form}?ssl-ca=/a%20ca.pem&ssl-cert=/c.pem&ssl-key=/k.pem");
            let expected = TlsFiles { ca: "/a ca.pem".into(), certificate: "/c.pem".into(), key: "/k.pem".into() };
            assert_eq!(RedisTarget::parse(&url).unwrap().tls, Some(expected));
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_sentence() {
        for (wrong, words) in [
            ("", FORMS),
            ("h:1", FORMS),
            ("http://h", FORMS),
            ("redis+other://h", FORMS),
            ("redis://", "must name a host"),
            ("redis://a,b", "names several servers"),
            ("redis://h:x", "its port is none"),
            ("redis://h/one", "the database must be a number"),
            ("redis+sentinel://a:1", "must name the service"),
            ("redis+cluster://", "must name a host"),
            ("redis+cluster://a/1", "a cluster has no databases but 0"),
            ("redis://h?ssl-ca=/ca.pem", "without TLS"),
            ("rediss://h?ssl-cert=/c.pem", "belong together"),
            ("redis://h?sentinel-user=u", "without sentinels"),
            ("redis://h?tls=1", "there is no `tls`"),
            ("redis://u:se?cret@h/1", BARE_SIGNS),
            ("redis://u:s@x?cret@h/1", BARE_SIGNS),
            ("redis://:%ff@h", "not UTF-8"),
        ] {
            let problem = RedisTarget::parse(wrong).unwrap_err();
            assert!(problem.contains(words) && !problem.contains("cret"), "{wrong}: {problem}");
        }
    }
}
