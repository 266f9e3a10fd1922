//! How a start waits for a server that is away, as a database or Redis may be. Owned by the task that starts, on Tokio.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// It is tried again after a pause that grows from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How often that is said.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// The pauses between tries, of which some are told to the log.
#[derive(Debug)]
pub struct Patience {
    server: &'static str,
    pause: Duration,
    said: Option<Instant>,
}

impl Patience {
    /// With `server`, as "the database".
    pub fn with(server: &'static str) -> Self {
        Self { server, pause: PAUSES.0, said: None }
    }

    /// Waits until it is time for the next try.
    pub async fn wait(&mut self, error: &impl Display) {
        if self.said.is_none_or(|at| at.elapsed() >= SAY_INTERVAL) {
            tracing::warn!(%error, "waiting for {}", self.server);
            self.said = Some(Instant::now());
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}
