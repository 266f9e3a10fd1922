//! What is told at most once, on its way to one who is told. Any task.
//!
//! Always holds: so many events of each kind wait at most, whatever comes of the others: strangers, who cause some kinds, cannot push out
//! what users do. Those that wait come in the order in which they were put in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, UnboundedReceiver, UnboundedSender, error::TryRecvError},
};

use super::told::ToldEvent;
use crate::settings::EventKind;

/// Every one that waits has a place of its kind, by which they are bounded.
type Waiting = (Arc<ToldEvent>, OwnedSemaphorePermit);

/// The end where events are put in.
#[derive(Debug)]
pub struct LiveSender {
    places: BTreeMap<EventKind, Arc<Semaphore>>,
    queue: UnboundedSender<Waiting>,
}

/// The end where they are taken out.
#[derive(Debug)]
pub struct LiveReceiver(UnboundedReceiver<Waiting>);

/// What became of one that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is told, or was of a kind that is not wanted here.
    Done,
    /// Too many of its kind wait.
    Full,
    /// Nobody takes them any more.
    Gone,
}

/// A queue of these kinds, with so many places for each.
pub fn live_queue(kinds: &BTreeSet<EventKind>, each_max: usize) -> (LiveSender, LiveReceiver) {
    let (queue, receiver) = mpsc::unbounded_channel();
    let places = kinds.iter().map(|&kind| (kind, Arc::new(Semaphore::new(each_max)))).collect();
    (LiveSender { places, queue }, LiveReceiver(receiver))
}

impl LiveSender {
    /// Whether events of this kind are wanted.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.places.contains_key(&kind)
    }

    /// Whether nobody takes them any more.
    pub fn is_gone(&self) -> bool {
        self.queue.is_closed()
    }

    /// Puts one in, and never waits.
    pub fn put(&self, event: Arc<ToldEvent>) -> Put {
        let Some(places) = self.places.get(&event.kind) else { return Put::Done };
        let Ok(place) = places.clone().try_acquire_owned() else {
            return if self.is_gone() { Put::Gone } else { Put::Full };
        };
        match self.queue.send((event, place)) {
            Ok(()) => Put::Done,
            Err(_) => Put::Gone,
        }
    }
}

impl LiveReceiver {
    /// The next one, once there is one; none where no more come.
    pub async fn recv(&mut self) -> Option<Arc<ToldEvent>> {
        self.0.recv().await.map(|(event, _place)| event)
    }

    /// The next one, if there is one.
    pub fn try_recv(&mut self) -> Result<Arc<ToldEvent>, TryRecvError> {
        self.0.try_recv().map(|(event, _place)| event)
    }

    /// Those that wait, so many at most, once there is one; none where no more come.
    pub async fn recv_many(&mut self, count_max: usize) -> Vec<Arc<ToldEvent>> {
        let mut waiting = Vec::new();
        self.0.recv_many(&mut waiting, count_max).await;
        waiting.into_iter().map(|(event, _place)| event).collect()
    }

    /// No more are put in; those that wait can be taken out.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, id: u64) -> Arc<ToldEvent> {
        Arc::new(ToldEvent { id, kind, data: String::new() })
    }

    #[tokio::test]
    async fn one_kind_that_is_full_leaves_the_others_their_places_and_their_order() {
        let kinds = BTreeSet::from([EventKind::SignInRefused, EventKind::UserOffline]);
        let (sender, mut receiver) = live_queue(&kinds, 2);
        let put = |kind, id| sender.put(event(kind, id));
        let refused = [1, 2, 3, 4].map(|id| put(EventKind::SignInRefused, id));
        assert_eq!(refused, [Put::Done, Put::Done, Put::Full, Put::Full]);
        assert_eq!([5, 6, 7].map(|id| put(EventKind::UserOffline, id)), [Put::Done, Put::Done, Put::Full]);
        assert_eq!(put(EventKind::UserOnline, 8), Put::Done, "nobody wants it");
        let ids = |events: Vec<Arc<ToldEvent>>| events.iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!(ids(receiver.recv_many(3).await), [1, 2, 5]);
        assert_eq!(put(EventKind::SignInRefused, 9), Put::Done, "there is room again");
        assert_eq!((receiver.try_recv().unwrap().id, receiver.recv().await.unwrap().id), (6, 9));
        assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Empty);
        drop(receiver);
        assert_eq!((put(EventKind::UserOffline, 10), sender.is_gone()), (Put::Gone, true));
    }
}
