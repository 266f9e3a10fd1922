//! What happens and is not stored: who comes and goes, who is refused, which devices are new. Told at most once.
//!
//! Any task. Always holds: whoever tells it never waits, and where nobody wants it, it costs a look. Each who is told has a bounded queue
//! ([`live_queue`](super::live_queue)), and what finds no place there is dropped and counted.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use gim_config::{seldom::Seldom, threads::Threads, webhook::Webhook};
use gim_proto::{ResultCode, logic::Device};
use metrics::counter;
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    live_queue::{LiveReceiver, LiveSender, Put, live_queue},
    told::ToldEvent,
};
use crate::{
    domain::{caller::Caller, message_id::MessageIds, route::Route},
    metrics as names,
    settings::{EventKind, EventSettings},
};

/// Tells it. Clones are the same.
#[derive(Debug, Clone)]
pub struct LiveEvents(Arc<Ways>);

#[derive(Debug)]
struct Ways {
    ids: Arc<MessageIds>,
    each_max: usize,
    webhook: Option<LiveSender>,
    streams: RwLock<Vec<LiveSender>>,
    /// How many there are of them, so that nothing is locked where there is none.
    streams_count: AtomicUsize,
}

/// What goes to the webhook.
#[derive(Debug)]
pub struct LiveOutlet {
    webhook: Webhook,
    queue: LiveReceiver,
    batch_max: usize,
    failures: Seldom,
}

impl LiveEvents {
    /// To streams, and to a webhook if there is one.
    pub fn new(settings: &EventSettings, ids: Arc<MessageIds>, webhook: Option<Webhook>) -> (Self, Option<LiveOutlet>) {
        let kinds: BTreeSet<EventKind> = settings.kinds.iter().copied().filter(|kind| !kind.is_stored()).collect();
        let (sender, queue) = live_queue(&kinds, settings.live_queue_max);
        let outlet = webhook.filter(|_| !kinds.is_empty()).map(|webhook| LiveOutlet {
            webhook,
            queue,
            batch_max: settings.batch_events_max as usize,
            failures: Seldom::default(),
        });
        let ways = Ways {
            ids,
            each_max: settings.live_queue_max,
            webhook: outlet.is_some().then_some(sender),
            streams: RwLock::default(),
            streams_count: AtomicUsize::new(0),
        };
        if outlet.is_some() {
            kinds.iter().for_each(|&kind| dropped("webhook", kind, 0));
        }
        (Self(Arc::new(ways)), outlet)
    }

    /// For a stream, of these kinds.
    pub(super) fn listen(&self, kinds: &BTreeSet<EventKind>) -> LiveReceiver {
        let (sender, receiver) = live_queue(kinds, self.0.each_max);
        kinds.iter().for_each(|&kind| dropped("stream", kind, 0));
        let mut streams = self.0.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| !stream.is_gone());
        streams.push(sender);
        self.0.streams_count.store(streams.len(), Relaxed);
        receiver
    }

    /// A device of a user is connected.
    pub fn online(&self, route: &Route) {
        self.tell(EventKind::UserOnline, || {
            json!({
                "user_id": route.user_id.to_string(), "device_id": route.device_id.to_string(),
                "device_type": route.device_type, "node": route.node.name,
            })
        });
    }

    /// It is no longer.
    pub fn offline(&self, route: &Route) {
        self.tell(EventKind::UserOffline, || {
            json!({
                "user_id": route.user_id.to_string(), "device_id": route.device_id.to_string(),
                "node": route.node.name,
            })
        });
    }

    /// Somebody who says to be this caller is not let in.
    pub fn refused(&self, caller: Caller, code: ResultCode) {
        self.tell(EventKind::SignInRefused, || {
            json!({
                "user_id": caller.user_id.to_string(), "device_id": caller.device_id.to_string(),
                "code": code.number(), "reason": code.text(),
            })
        });
    }

    /// A device got an id; `owner` is 0 where nobody has signed in on it.
    pub fn registered(&self, owner: u64, device: &Device) {
        self.tell(EventKind::DeviceRegistered, || {
            let mut data = json!({
                "device_id": device.id.to_string(), "device_type": device.r#type, "brand": device.brand, "model": device.model,
            });
            if owner != 0 {
                data["user_id"] = owner.to_string().into();
            }
            data
        });
    }

    fn tell(&self, kind: EventKind, data: impl FnOnce() -> Value) {
        let webhook = self.0.webhook.as_ref().filter(|webhook| webhook.wants(kind));
        if webhook.is_none() && self.0.streams_count.load(Relaxed) == 0 {
            return;
        }
        let streams = self.0.streams.read().unwrap_or_else(PoisonError::into_inner);
        let wanting = || streams.iter().filter(|stream| stream.wants(kind));
        if webhook.is_none() && wanting().next().is_none() {
            return;
        }
        let event = Arc::new(ToldEvent { id: self.0.ids.next_id(), kind, data: data().to_string() });
        if webhook.is_some_and(|webhook| webhook.put(event.clone()) != Put::Done) {
            dropped("webhook", kind, 1);
        }
        for stream in wanting() {
            // Whoever has gone misses nothing.
            if stream.put(event.clone()) == Put::Full {
                dropped("stream", kind, 1);
            }
        }
    }
}

/// Notes what was not told; nothing at first, as of a count that is born with the first one no rate shows that.
fn dropped(way: &'static str, kind: EventKind, count: u64) {
    counter!(names::LIVE_EVENTS_DROPPED, "way" => way, "kind" => kind.name()).increment(count);
}

impl LiveOutlet {
    /// Starts to hand out what comes, a call at a time, on a task that ends with what waits when the sender says so or is gone.
    pub fn start(self, threads: &Threads) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel();
        let own = threads.clone();
        (stop, threads.spawn(async move { own.for_own(self.run(stopped)).await }))
    }

    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            let events = tokio::select! {
                biased;
                events = self.queue.recv_many(self.batch_max) => events,
                _ = &mut stop, if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            };
            if events.is_empty() {
                return;
            }
            let count = events.len() as u64;
            match self.call(&events).await {
                Ok(()) => counter!(names::EVENTS_DELIVERED).increment(count),
                Err(error) => {
                    events.iter().for_each(|event| dropped("webhook", event.kind, 1));
                    if let Some(left_out) = self.failures.due(Instant::now()) {
                        tracing::warn!(error, count, left_out, "events that are told once were not taken");
                    }
                }
            }
        }
    }

    async fn call(&self, events: &[Arc<ToldEvent>]) -> Result<(), String> {
        let place = self.webhook.place().map_err(|error| error.to_string())?;
        let (id, body) = ToldEvent::call("live", events);
        self.webhook.call(place, &id, body).await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_a_stream_may_miss_is_counted_before_it_misses_anything() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let ids = Arc::new(MessageIds::new(1, 0));
        let (events, _) = LiveEvents::new(&EventSettings::default(), ids, None);
        metrics::with_local_recorder(&recorder, || drop(events.listen(&BTreeSet::from([EventKind::UserOnline]))));
        let page = recorder.handle().render();
        let series = "logic_live_events_dropped_total{way=\"stream\",kind=\"user.online\"} 0\n";
        assert!(page.contains(series) && !page.contains("user.offline"), "{page}");
    }
}
