//! What systemd is told by a unit of `Type=notify`: that the service has started, reads its settings again, stops; and, where the unit
//! has a watchdog, that it still lives. Without `NOTIFY_SOCKET` in the environment nobody is told anything.
//!
//! Owned by [`crate::service`]. The sign of life is a task of the runtime like any other: where no task gets a turn, none is given.

use std::{
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, net},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

/// Who started this process and wants to know how it is.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<net::UnixDatagram>,
    /// How often it wants a sign of life.
    watchdog_interval: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names, if it names one.
    pub fn from_environment() -> Self {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        // Another process may be meant, as where a shell started us.
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let timeout_us = number("WATCHDOG_USEC").filter(|timeout| is_for_us && *timeout > 0);
        match connect(&address) {
            Ok(socket) => Self { socket: Some(socket), watchdog_interval: timeout_us.map(interval) },
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET is of no use: systemd is told nothing");
                Self::default()
            }
        }
    }

    /// It does its work, as `summary` says.
    pub fn started(&self, summary: &str) {
        self.tell(&format!("READY=1\nSTATUS={summary}"));
    }

    /// It reads again what may change; [`Supervisor::started`] follows.
    pub fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    /// It was asked to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Gives signs of life until the task is aborted; `None` where nobody waits for them.
    pub fn watchdog(&self) -> Option<JoinHandle<()>> {
        let interval = self.watchdog_interval?;
        let twin = Self { socket: self.socket.as_ref()?.try_clone().ok(), watchdog_interval: None };
        Some(tokio::spawn(async move {
            let mut turns = tokio::time::interval(interval);
            loop {
                turns.tick().await;
                twin.tell("WATCHDOG=1");
            }
        }))
    }

    /// A supervisor that does not listen must not hold the service up.
    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, "systemd was not told: {state}");
        }
    }
}

/// Half of the time after which it would be ended.
fn interval(timeout_us: u64) -> Duration {
    Duration::from_micros(timeout_us.div_ceil(2))
}

/// A name that begins with `@` is one without a file.
fn connect(address: &OsStr) -> std::io::Result<net::UnixDatagram> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => net::SocketAddr::from_abstract_name(name)?,
        None => net::SocketAddr::from_pathname(address)?,
    };
    let socket = net::UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(systemd: &net::UnixDatagram) -> String {
        let mut state = [0; 256];
        let length = systemd.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..length]).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn systemd_hears_of_the_start_the_stop_and_that_the_service_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = net::UnixDatagram::bind(&path).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let socket = Some(connect(path.as_os_str()).unwrap());
        let supervisor = Supervisor { socket, watchdog_interval: Some(interval(2_000)) };
        supervisor.started("clients on 127.0.0.1:8002");
        assert_eq!(heard(&systemd), "READY=1\nSTATUS=clients on 127.0.0.1:8002");
        let watchdog = supervisor.watchdog().unwrap();
        assert_eq!([heard(&systemd), heard(&systemd)], ["WATCHDOG=1", "WATCHDOG=1"]);
        watchdog.abort();
        supervisor.stopping();
        while heard(&systemd) != "STOPPING=1\nSTATUS=stopping" {}
    }

    #[test]
    fn a_name_without_a_file_is_reached_too_and_nobody_else_is_told() {
        let name = format!("gim-supervisor-{}", std::process::id());
        let systemd = net::SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = net::UnixDatagram::bind_addr(&systemd).unwrap();
        let socket = Some(connect(OsStr::new(&format!("@{name}"))).unwrap());
        Supervisor { socket, watchdog_interval: None }.reloading();
        assert_eq!(heard(&systemd), "RELOADING=1");
        Supervisor::default().started("nobody hears it");
    }
}
