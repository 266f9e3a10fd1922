//! One stream of events: the task that reads what happened for one subscriber, from wherever he is to wherever the others are.
//!
//! On Tokio. Always holds: nothing is read before the subscriber has taken what was read before it; a cursor is told after all that is stored
//! up to it; and where retention was faster, that is said.

use std::time::{Duration, Instant};

use gim_proto::{
    ResultCode,
    logic::{Event, EventBatch},
};
use metrics::counter;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until, timeout},
};

use super::{live_queue::LiveReceiver, stream_head::StreamHead, told::Teller};
use crate::{
    domain::{
        refusal::Refusal,
        stored_event::{EventPage, WalkPart},
    },
    metrics as names,
    store::StoredEvents,
    walk::{LookFailures, PageLimits},
};

/// After so long without an event the cursor is told alone.
const CURSOR_INTERVAL: Duration = Duration::from_secs(10);

/// Between two tries where the database does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What is told in one batch, in JSON: clients of gRPC take 4 MiB.
const BATCH_DATA_BYTES_MAX: usize = 2 << 20;

/// Batches, and one place that is kept for why there are no more.
pub(super) const BATCHES_MAX: usize = 2;

/// What goes to a subscriber.
pub(super) type StreamItem = Result<EventBatch, Refusal>;

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// After an id.
    After(u64),
    /// With what is stored when ids from this one on are made.
    Now(u64),
}

/// The task.
#[derive(Debug)]
pub(super) struct EventStream {
    pub events: StoredEvents,
    pub teller: Teller,
    pub head: watch::Receiver<StreamHead>,
    /// What is not stored, if anything of it is wanted.
    pub live: Option<LiveReceiver>,
    pub limits: PageLimits,
    /// For so long a batch may wait to be taken.
    pub patience: Duration,
    pub batches: mpsc::Sender<StreamItem>,
    pub failures: LookFailures,
}

/// How far a stream is.
#[derive(Debug)]
struct StreamPlace {
    /// Everything up to here was read.
    after_id: u64,
    /// Up to here a subscriber may be told that he has everything.
    cursor: u64,
    told_at: Instant,
}

/// Why a stream ends.
#[derive(Debug)]
enum StreamEnd {
    /// The subscriber went.
    Left,
    /// He is told why.
    Told(Refusal),
}

impl From<Refusal> for StreamEnd {
    fn from(refusal: Refusal) -> Self {
        Self::Told(refusal)
    }
}

impl EventStream {
    /// Goes on until the subscriber goes, or is too slow, or `stopped` is over.
    pub(super) async fn run(mut self, beginning: Beginning, stopped: impl Future<Output = ()>) {
        let Ok(end_place) = self.batches.clone().reserve_owned().await else { return };
        let subscriber = self.batches.clone();
        let end = tokio::select! {
            end = self.follow(beginning) => end,
            () = subscriber.closed() => StreamEnd::Left,
            () = stopped => {
                let reason = "this logic node stops: go on from the last cursor";
                StreamEnd::Told(Refusal::new(ResultCode::TryAgainLater, reason))
            }
        };
        if let StreamEnd::Told(refusal) = end {
            end_place.send(Err(refusal));
        }
    }

    async fn follow(&mut self, beginning: Beginning) -> StreamEnd {
        let ended: Result<(), StreamEnd> = async {
            let mut place = self.begin(beginning).await?;
            loop {
                self.step(&mut place).await?;
            }
        }
        .await;
        ended.err().unwrap_or(StreamEnd::Left)
    }

    /// The first cursor is told at once: whoever is cut off before the first event goes on from it.
    async fn begin(&mut self, beginning: Beginning) -> Result<StreamPlace, StreamEnd> {
        let cursor = match beginning {
            Beginning::After(cursor) => cursor,
            Beginning::Now(next_id) => {
                let is_noted = |head: &StreamHead| head.noted_id > 0 && head.noted_id + 1 >= next_id;
                let head = self.head.wait_for(is_noted).await.map_err(|_| StreamEnd::Left)?;
                head.noted_id
            }
        };
        let mut place = StreamPlace { after_id: cursor, cursor, told_at: Instant::now() };
        self.send(&mut place, Vec::new()).await?;
        Ok(place)
    }

    /// Reads on, or waits until there is something.
    async fn step(&mut self, place: &mut StreamPlace) -> Result<(), StreamEnd> {
        let live_events = self.waiting_live();
        if !live_events.is_empty() {
            // What is stored is read all the same, however much of this there is.
            self.send(place, live_events).await?;
        }
        let head = *self.head.borrow_and_update();
        if place.after_id + 1 < head.found_before {
            let part = WalkPart {
                after_id: place.after_id,
                before_id: head.found_before,
                events_max: self.limits.events,
                bytes_max: self.limits.bytes,
            };
            let page = self.page(part).await?;
            return self.send_page(place, &page).await;
        } else {
            place.after_id = place.after_id.max(head.seen_before.saturating_sub(1));
            place.cursor = place.cursor.max(head.noted_id);
        }
        if place.told_at.elapsed() >= CURSOR_INTERVAL {
            return self.send(place, Vec::new()).await;
        }
        if place.after_id + 1 >= head.found_before {
            tokio::select! {
                changed = self.head.changed() => changed.map_err(|_| StreamEnd::Left)?,
                () = sleep_until((place.told_at + CURSOR_INTERVAL).into()) => {}
                event = next_live(&mut self.live) => self.send(place, vec![event]).await?,
            }
        }
        Ok(())
    }

    /// Sends what is told of a page, in batches that every client of gRPC takes.
    async fn send_page(&self, place: &mut StreamPlace, page: &EventPage) -> Result<(), StreamEnd> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for stored in &page.events {
            if let Some(told) = self.teller.tell(stored) {
                let event = told.to_wire();
                bytes += event.data.len();
                if bytes > BATCH_DATA_BYTES_MAX && !batch.is_empty() {
                    bytes = event.data.len();
                    self.send(place, std::mem::take(&mut batch)).await?;
                }
                batch.push(event);
            }
            place.cursor = stored.id();
        }
        place.after_id = page.up_to;
        if batch.is_empty() { Ok(()) } else { self.send(place, batch).await }
    }

    /// What is not stored and waits, as much as a batch may have.
    fn waiting_live(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(live) = &mut self.live else { return events };
        while events.len() < self.limits.events as usize
            && let Ok(event) = live.try_recv()
        {
            events.push(event.to_wire());
        }
        events
    }

    async fn send(&self, place: &mut StreamPlace, events: Vec<Event>) -> Result<(), StreamEnd> {
        counter!(names::EVENTS_STREAMED).increment(events.len() as u64);
        let batch = EventBatch { cursor: place.cursor, events };
        match timeout(self.patience, self.batches.send(Ok(batch))).await {
            Ok(Ok(())) => {
                place.told_at = Instant::now();
                Ok(())
            }
            Ok(Err(_)) => Err(StreamEnd::Left),
            Err(_) => {
                counter!(names::EVENT_STREAMS_TOO_SLOW).increment(1);
                let reason = "events were not taken for events.stream_patience_ms: go on from the last cursor";
                Err(Refusal::new(ResultCode::TooManyRequests, reason).into())
            }
        }
    }

    /// Asks the database until it answers.
    async fn page(&self, part: WalkPart) -> Result<EventPage, Refusal> {
        loop {
            match self.events.page_and_deleted(part).await {
                Ok((page, oldest_cursor)) if part.after_id >= oldest_cursor => return Ok(page),
                Ok((_, oldest_cursor)) => return Err(Refusal::BehindOldest { oldest_cursor }),
                Err(error) => {
                    self.failures.warn(&error);
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}

/// The next one of what is not stored.
async fn next_live(live: &mut Option<LiveReceiver>) -> Event {
    if let Some(receiver) = live
        && let Some(event) = receiver.recv().await
    {
        return event.to_wire();
    }
    std::future::pending().await
}
