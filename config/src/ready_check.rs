//! `--check-ready`: asks the admin listener of the service that runs with the same settings. For supervisors that probe by a command,
//! as containers do, whose images have no other program. Runs instead of the service, without a runtime, and ends within seconds.

use std::{io, net::SocketAddr};

use crate::{
    admin_page,
    listen::{Endpoint, ListenError},
};

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
    let address = admin_page::reachable(listener.socket_address()?);
    let (status, said) =
        admin_page::get(address, "/readyz").map_err(|source| NotReady::NoAnswer { address, source })?;
    if status == 200 { Ok(()) } else { Err(NotReady::Waiting(format!("{status} {}", said.trim()))) }
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
        let settings = AdminSettings { listen: Endpoint::new("0.0.0.0:0"), ..AdminSettings::default() };
        let running = admin::start(&settings, &[], readiness).await.unwrap();
        let listener = Endpoint::from(running.address().unwrap());
        assert_eq!(asked(listener.clone()).await.unwrap_err(), "not ready: 503 waiting for: database");
        part.set(true);
        asked(listener.clone()).await.unwrap();
        running.tell_that_it_stops();
        assert_eq!(asked(listener.clone()).await.unwrap_err(), "not ready: 503 stopping");
        running.stop().await;
        assert!(asked(listener).await.unwrap_err().starts_with("nobody answers on 127.0.0.1:"));
        assert!(asked(Endpoint::default()).await.unwrap_err().contains("admin.listen is empty"));
    }
}
