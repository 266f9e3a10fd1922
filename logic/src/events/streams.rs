//! Streams of events: backends that follow what happens by gRPC, each from a place of its own.
//!
//! Any task. Always holds: there are at most `events.streams_max`, and nobody else waits for any of them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use gim_proto::{
    ResultCode, check,
    logic::{GroupKind, SubscribeEventsRequest, subscribe_events_request::From},
};
use metrics::gauge;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    live::LiveEvents,
    stream::{BATCHES_MAX, Beginning, EventStream, StreamItem},
    stream_head::{StreamHead, StreamHeads},
    told::Teller,
};
use crate::{
    domain::{clock, message_id, refusal::Refusal},
    metrics as names,
    settings::{EventGroups, EventKind, EventSettings},
    store::Store,
    walk::{LookFailures, PageLimits, Settled},
};

/// A cursor may lie so far ahead of the clock of this node.
const AHEAD_MAX_MS: i64 = 3_600_000;

/// See the module's documentation.
#[derive(Debug)]
pub struct EventStreams {
    settings: EventSettings,
    store: Store,
    settled: Settled,
    teller: Teller,
    live_events: LiveEvents,
    places: Arc<Semaphore>,
    head: Arc<watch::Sender<StreamHead>>,
    opened: Arc<Notify>,
    heads: Option<JoinHandle<()>>,
    /// Cancelled where that task ends, however it does.
    heads_ended: CancellationToken,
    streams: TaskTracker,
    stopping: CancellationToken,
    failures: LookFailures,
}

impl EventStreams {
    /// As the settings say; where they allow none, each is refused.
    pub fn start(
        settings: &EventSettings,
        store: &Store,
        settled: Settled,
        teller: Teller,
        live_events: LiveEvents,
    ) -> Self {
        let (head, opened) = (Arc::new(watch::Sender::default()), Arc::new(Notify::new()));
        let heads = StreamHeads::new(store, settled.clone(), head.clone(), opened.clone());
        let heads_ended = CancellationToken::new();
        let guard = heads_ended.clone();
        let run = async move {
            let _guard = guard.drop_guard();
            heads.run().await;
        };
        Self {
            settings: settings.clone(),
            store: store.clone(),
            settled,
            teller,
            live_events,
            places: Arc::new(Semaphore::new(settings.streams_max)),
            head,
            opened,
            heads: (settings.streams_max > 0).then(|| tokio::spawn(run)),
            heads_ended,
            streams: TaskTracker::new(),
            stopping: CancellationToken::new(),
            failures: LookFailures::default(),
        }
    }

    /// Returns where the task has ended that looks whether anything happened.
    pub async fn failed(&self) {
        self.heads_ended.cancelled().await;
    }

    /// Where what is not stored is told.
    pub fn live_events(&self) -> LiveEvents {
        self.live_events.clone()
    }

    /// Opens a stream; what comes of it is read there.
    ///
    /// # Errors
    /// Where the request makes no sense, or there are too many.
    pub fn subscribe(&self, request: &SubscribeEventsRequest) -> Result<mpsc::Receiver<StreamItem>, Refusal> {
        let beginning = self.beginning(request)?;
        let kinds = kinds(&request.types)?;
        let live_kinds: BTreeSet<EventKind> = kinds.iter().copied().filter(|kind| !kind.is_stored()).collect();
        let teller = self.teller.choosing(kinds, group_kinds(&request.group_kinds)?);
        let place = self.place()?;
        let (batches, receiver) = mpsc::channel(BATCHES_MAX);
        let stream = EventStream {
            events: self.store.stored_events.clone(),
            teller,
            head: self.head.subscribe(),
            live: (!live_kinds.is_empty()).then(|| self.live_events.listen(&live_kinds)),
            limits: PageLimits { events: self.settings.batch_events_max, bytes: self.settings.batch_bytes_max },
            patience: Duration::from_millis(self.settings.stream_patience_ms),
            batches,
            failures: self.failures.clone(),
        };
        self.opened.notify_one();
        let stopped = self.stopping.clone().cancelled_owned();
        self.streams.spawn(async move {
            stream.run(beginning, stopped).await;
            drop(place);
        });
        Ok(receiver)
    }

    /// Ends all of them, and says so to their subscribers.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.streams.close();
        self.streams.wait().await;
        self.heads.iter().for_each(JoinHandle::abort);
    }

    fn place(&self) -> Result<OpenStream, Refusal> {
        let streams_max = self.settings.streams_max;
        if streams_max == 0 {
            return Err(Refusal::new(ResultCode::NotAllowed, "events.streams_max of this logic node is 0"));
        }
        let Ok(permit) = self.places.clone().try_acquire_owned() else {
            let reason = format!("{streams_max} streams of events are open (events.streams_max)");
            return Err(Refusal::new(ResultCode::TooManyRequests, reason));
        };
        gauge!(names::EVENT_STREAMS).increment(1);
        Ok(OpenStream(permit))
    }

    fn beginning(&self, request: &SubscribeEventsRequest) -> Result<Beginning, Refusal> {
        let latest_ms = clock::now_ms().max(message_id::time_ms(self.settled.get())).saturating_add(AHEAD_MAX_MS);
        match request.from {
            None => Ok(Beginning::Now(message_id::least_at(clock::now_ms()))),
            Some(From::Cursor(cursor)) => {
                check::id("cursor", cursor)?;
                if message_id::time_ms(cursor) > latest_ms {
                    return Err(check::invalid("cursor", "is of a time that is yet to come").into());
                }
                Ok(Beginning::After(cursor))
            }
            Some(From::TimeMs(time_ms)) => {
                if !(0..=latest_ms).contains(&time_ms) {
                    return Err(check::invalid("time_ms", "must be a Unix time in milliseconds that has come").into());
                }
                Ok(Beginning::After(message_id::least_at(time_ms).saturating_sub(1).max(1)))
            }
        }
    }
}

impl Drop for EventStreams {
    fn drop(&mut self) {
        self.heads.iter().for_each(JoinHandle::abort);
        self.stopping.cancel();
    }
}

/// One of the streams that may be open.
struct OpenStream(#[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit);

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!(names::EVENT_STREAMS).decrement(1);
    }
}

fn kinds(types: &[String]) -> Result<Vec<EventKind>, Refusal> {
    if types.is_empty() {
        return Ok(EventKind::STORED.to_vec());
    }
    let kind = |name: &String| EventKind::all().find(|kind| kind.name() == *name);
    let known =
        types.iter().map(|name| kind(name).ok_or_else(|| check::invalid("types", format!("there is no `{name}`"))));
    Ok(known.collect::<Result<_, _>>()?)
}

fn group_kinds(kinds: &[i32]) -> Result<Vec<EventGroups>, Refusal> {
    if kinds.is_empty() {
        return Ok(EventGroups::ALL.to_vec());
    }
    let known = kinds.iter().map(|&number| match GroupKind::try_from(number) {
        Ok(GroupKind::GkNormal) => Ok(EventGroups::Normal),
        Ok(GroupKind::GkLarge) => Ok(EventGroups::Large),
        Err(_) => Err(check::invalid("group_kinds", format!("there is no {number}"))),
    });
    Ok(known.collect::<Result<_, _>>()?)
}
