//! Readiness: a service is ready when each of its named parts is.
//!
//! Made where the service is started; clones go to whoever owns a part, on any thread. Always holds: a part is not ready until it said
//! so, and a service that stops is not ready any more, whatever its parts say.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

/// What `/readyz` answers from. Clones share their parts.
#[derive(Debug, Clone)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, PartState>>>,
    changed: watch::Sender<()>,
    stops: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum PartState {
    Ready,
    Missing {
        /// Why, where that is more than that it is away.
        problem: Option<String>,
    },
}

/// One part of a service, not ready until it says so.
#[derive(Debug, Clone)]
pub struct ReadyPart {
    name: &'static str,
    readiness: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { parts: Arc::default(), changed: watch::Sender::new(()), stops: Arc::default() }
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
        self.parts().iter().filter(|(_, state)| !state.is_ready()).map(|(name, _)| *name).collect()
    }

    /// The same with what is known of why.
    pub fn problems(&self) -> Vec<String> {
        let told = |(name, state): (&&str, &PartState)| match state {
            PartState::Ready => None,
            PartState::Missing { problem: None } => Some((*name).to_owned()),
            PartState::Missing { problem: Some(problem) } => Some(format!("{name} ({problem})")),
        };
        self.parts().iter().filter_map(told).collect()
    }

    /// Says that the service begins to stop: it takes nobody new from here on.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// Whether it stops.
    pub fn stops(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
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

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, PartState>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartState {
    fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
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
        self.put(if ready { PartState::Ready } else { PartState::Missing { problem: None } });
    }

    /// Says that it is not ready, and why.
    pub fn fail(&self, problem: String) {
        self.put(PartState::Missing { problem: Some(problem) });
    }

    /// Why it is not ready, if it is not.
    pub fn problem(&self) -> Option<String> {
        match self.readiness.parts().get(self.name) {
            Some(PartState::Missing { problem }) => Some(problem.clone().unwrap_or_default()),
            _ => None,
        }
    }

    fn put(&self, state: PartState) {
        self.readiness.parts().insert(self.name, state);
        self.readiness.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_why_it_is_not_ready_where_it_knows() {
        let readiness = Readiness::default();
        let (database, other) = (readiness.part("database"), readiness.part("companions"));
        other.fail("another Redis".into());
        assert_eq!(readiness.problems(), ["companions (another Redis)", "database"]);
        assert_eq!((database.problem().as_deref(), other.problem().as_deref()), (Some(""), Some("another Redis")));
        [database, other.clone()].iter().for_each(|part| part.set(true));
        assert!(readiness.problems().is_empty() && other.problem().is_none());
    }

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
