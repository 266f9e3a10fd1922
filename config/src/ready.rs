//! Readiness: a service is ready when each of its named parts is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// What `/readyz` answers from. Clones share their parts.
#[derive(Debug, Clone)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, bool>>>,
    changed: watch::Sender<()>,
}

/// One part of a service, not ready until it says so.
#[derive(Debug, Clone)]
pub struct ReadyPart {
    name: &'static str,
    readiness: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { parts: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl Readiness {
    /// Adds a part that has to become ready.
    pub fn part(&self, name: &'static str) -> ReadyPart {
        let part = ReadyPart { name, readiness: self.clone() };
        part.set(false);
        part
    }

    /// The parts that are not ready; empty means ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, ready)| !**ready).map(|(name, _)| *name).collect()
    }

    /// Waits until every part is ready.
    pub async fn wait(&self) {
        let mut changes = self.changed.subscribe();
        while !self.missing().is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl ReadyPart {
    /// Says whether the part is ready now.
    pub fn set(&self, ready: bool) {
        self.readiness.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name, ready);
        self.readiness.changed.send_replace(());
    }
}
