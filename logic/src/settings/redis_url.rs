//! Where Redis is and how it is run, read from the URL in `shared_state.url`. Pure.

use std::fmt;

use redis::Client;

/// Where Redis is, read from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisTarget {
    /// `redis://[USER:PASSWORD@]HOST:PORT[/DB]`.
    Single(String),
    /// `redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[/DB]`; the credentials are those of Redis.
    Sentinel {
        /// Sentinels, of which one must answer.
        sentinels: Vec<(String, u16)>,
        /// The name of the master that they watch.
        service: String,
        /// Number of the database.
        db: i64,
        /// Of Redis.
        credentials: Credentials,
    },
    /// `redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT`.
    Cluster {
        /// Some of the nodes, of which one must answer.
        nodes: Vec<(String, u16)>,
        /// The same on every node.
        credentials: Credentials,
    },
}

/// Who we are to Redis; empty for nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password, which is never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl RedisTarget {
    /// Reads a URL; the error is a sentence without the password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or("must begin with redis://, redis+sentinel:// or redis+cluster://")?;
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                (Credentials { user: user.to_owned(), password: password.to_owned() }, rest)
            }
            None => (Credentials::default(), rest),
        };
        let mut path = rest.split('/');
        let hosts = path.next().unwrap_or_default();
        match scheme {
            "redis" => {
                Client::open(url).map_err(|error| format!("is no URL of Redis: {}", error.category()))?;
                Ok(Self::Single(url.to_owned()))
            }
            "redis+sentinel" => {
                let service = path.next().filter(|service| !service.is_empty());
                let service = service.ok_or("must name the service after the sentinels")?.to_owned();
                let db = path.next().map_or(Ok(0), str::parse).map_err(|_| "the database must be a number")?;
                Ok(Self::Sentinel { sentinels: addresses(hosts, 26379)?, service, db, credentials })
            }
            "redis+cluster" => Ok(Self::Cluster { nodes: addresses(hosts, 6379)?, credentials }),
            "rediss" => Err("TLS to Redis is not built in".into()),
            _ => Err(format!("has the unknown scheme {scheme}")),
        }
    }
}

fn addresses(hosts: &str, default_port: u16) -> Result<Vec<(String, u16)>, String> {
    let address = |host: &str| match host.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => {
            port.parse().map(|port| (host.to_owned(), port)).map_err(|_| format!("{host}: {port} is no port"))
        }
        None if !host.is_empty() => Ok((host.to_owned(), default_port)),
        _ => Err("must name a host".to_owned()),
    };
    hosts.split(',').map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_how_redis_is_run() {
        assert_eq!(RedisTarget::parse("redis://h:1/2"), Ok(RedisTarget::Single("redis://h:1/2".into())));
        let credentials = Credentials { user: "u".into(), password: "p".into() };
        let sentinel = RedisTarget::parse("redis+sentinel://u:p@a:1,b/main/3").unwrap();
        let sentinels = vec![("a".to_owned(), 1), ("b".to_owned(), 26379)];
        let expected =
            RedisTarget::Sentinel { sentinels, service: "main".into(), db: 3, credentials: credentials.clone() };
        assert_eq!(sentinel, expected);
        let nodes = vec![("a".to_owned(), 6379), ("b".to_owned(), 2)];
        assert_eq!(RedisTarget::parse("redis+cluster://u:p@a,b:2"), Ok(RedisTarget::Cluster { nodes, credentials }));
        for wrong in
            ["", "h:1", "http://h", "redis+sentinel://a:1", "redis+cluster://", "redis+cluster://a:x", "rediss://h"]
        {
            assert!(RedisTarget::parse(wrong).is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", RedisTarget::parse("redis+cluster://u:secret@a").unwrap()).contains("secret"));
    }
}
