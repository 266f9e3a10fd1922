//! Readiness: a service is ready when each of its named parts is.
//!
//! Made where the service is started; clones go to whoever owns a part, on any thread. Always holds: a part is not ready until it said
//! so.

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

/// One of several that are the same part: the part is ready when any of them is.
#[derive(Debug)]
pub struct AnyPart {
    part: ReadyPart,
    index: usize,
    ready: Arc<Mutex<Vec<bool>>>,
}

impl AnyPart {
    /// Says whether this one is ready now.
    pub fn set(&self, ready: bool) {
        let mut all = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        all[self.index] = ready;
        self.part.set(all.contains(&true));
    }
}

impl ReadyPart {
    /// Divides the part among `count` that can each make it ready.
    pub fn any_of(self, count: usize) -> Vec<AnyPart> {
        let ready = Arc::new(Mutex::new(vec![false; count]));
        (0..count).map(|index| AnyPart { part: self.clone(), index, ready: ready.clone() }).collect()
    }

    /// Says whether the part is ready now.
    pub fn set(&self, ready: bool) {
        self.readiness.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name, ready);
        self.readiness.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_several_is_ready_while_any_of_them_is() {
        let readiness = Readiness::default();
        let parts = readiness.part("link").any_of(2);
        assert_eq!(readiness.missing(), ["link"]);
        parts.iter().for_each(|part| part.set(true));
        parts[0].set(false);
        assert!(readiness.missing().is_empty());
        parts[1].set(false);
        assert_eq!(readiness.missing(), ["link"]);
    }
}
