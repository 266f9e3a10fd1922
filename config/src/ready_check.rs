//! `--check-ready`: asks the admin listener of the service that runs with the same settings. For supervisors that probe by a command,
//! as containers do, whose images have no other program. Runs instead of the service, without a runtime, and ends within seconds.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::listen::{Endpoint, ListenError};

/// How long connecting may take, and each read and write.
const PATIENCE: Duration = Duration::from_secs(2);

/// More of an answer is not read.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Why the service is not ready, as far as it can be told.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// There is nobody to ask.
    #[error("--check-ready asks the admin listener, and admin.listen is empty")]
    NoListener,
    /// The address is none.
    #[error(transparent)]
    Address(#[from] ListenError),
    /// The service does not run, or stands still.
    #[error("nobody answers on {address}: {source}")]
    NoAnswer {
        /// Of the admin listener.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It says itself what it waits for.
    #[error("not ready: {0}")]
    Waiting(String),
}

/// Asks whether the service behind an admin listener is ready.
pub fn ask(listener: &Endpoint) -> Result<(), NotReady> {
    if listener.is_off() {
        return Err(NotReady::NoListener);
    }
    let address = reachable(listener.socket_address()?);
    let answer = answer(address).map_err(|source| NotReady::NoAnswer { address, source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" { Ok(()) } else { Err(NotReady::Waiting(format!("{status} {}", body.trim()))) }
}

/// A listener on all addresses is asked on loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn answer(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Readiness,
        admin::{self, AdminSettings},
    };

    async fn asked(listener: Endpoint) -> Result<(), String> {
        tokio::task::spawn_blocking(move || ask(&listener)).await.unwrap().map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_service_says_whether_it_is_ready_and_what_it_waits_for() {
        let readiness = Readiness::default();
        let part = readiness.part("database");
        let settings = AdminSettings { listen: Endpoint::new("0.0.0.0:0") };
        let running = admin::start(&settings, &[], readiness).await.unwrap();
        let listener = Endpoint::from(running.address().unwrap());
        assert_eq!(asked(listener.clone()).await.unwrap_err(), "not ready: 503 waiting for: database");
        part.set(true);
        asked(listener.clone()).await.unwrap();
        running.stop().await;
        assert!(asked(listener).await.unwrap_err().starts_with("nobody answers on 127.0.0.1:"));
        assert!(asked(Endpoint::default()).await.unwrap_err().contains("admin.listen is empty"));
    }
}
