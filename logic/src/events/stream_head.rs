//! Where the streams of this node are to look: one task asks the database whether anything happened, for all of them.
//!
//! On Tokio, as long as a stream is open. Always holds: what is noted in the database was passed by this node before, and ids that are made
//! after all nodes were away come after it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::{
    domain::stored_event::WalkPart,
    store::{Store, StoreError, StoredEvents, Walks},
    walk::{LookFailures, Settled},
};

/// Between two looks for what happened.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Other nodes tell how far their ids are settled as long as they hear so often that somebody asks.
const NOTE_INTERVAL: Duration = Duration::from_secs(2);

/// What is known of what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamHead {
    /// There may be something before this id.
    pub found_before: u64,
    /// And nothing more before this one.
    pub seen_before: u64,
    /// Up to here it is noted that ids are settled.
    pub noted_id: u64,
}

/// The task.
#[derive(Debug)]
pub(super) struct StreamHeads {
    head: Arc<watch::Sender<StreamHead>>,
    opened: Arc<Notify>,
    settled: Settled,
    events: StoredEvents,
    walks: Walks,
    noted_at: Option<Instant>,
    failures: LookFailures,
}

impl StreamHeads {
    /// Tells `head`; a stream that was opened wakes it.
    pub(super) fn new(
        store: &Store,
        settled: Settled,
        head: Arc<watch::Sender<StreamHead>>,
        opened: Arc<Notify>,
    ) -> Self {
        let (events, walks) = (store.stored_events.clone(), store.walks.clone());
        Self { head, opened, settled, events, walks, noted_at: None, failures: LookFailures::default() }
    }

    /// Goes on until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            if self.head.receiver_count() == 0 {
                self.opened.notified().await;
                self.noted_at = None;
            }
            if let Err(error) = self.look().await {
                self.failures.warn(&error);
            }
            tokio::select! {
                () = sleep(LOOK_INTERVAL) => {}
                () = self.opened.notified() => self.noted_at = None,
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let StreamHead { seen_before, noted_id, .. } = *self.head.borrow();
        let settled = self.settled.get();
        if settled > seen_before {
            let part = WalkPart {
                after_id: seen_before.saturating_sub(1),
                before_id: settled,
                events_max: 1,
                bytes_max: usize::MAX,
            };
            let has_any = seen_before == 0 || self.events.has_any(part).await?;
            self.head.send_modify(|head| {
                head.seen_before = settled;
                head.found_before = if has_any { settled } else { head.found_before };
            });
        }
        if self.noted_at.is_none_or(|noted_at| noted_at.elapsed() >= NOTE_INTERVAL) {
            let settled_id = self.head.borrow().seen_before.saturating_sub(1);
            self.settled.need();
            self.walks.show_streams(settled_id).await?;
            self.noted_at = Some(Instant::now());
            self.head.send_modify(|head| head.noted_id = settled_id.max(noted_id));
        }
        Ok(())
    }
}
