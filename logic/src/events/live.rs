//! What happens and is not stored: who comes and goes, who is refused, which devices are new. Told at most once.
//!
//! Any task. Always holds: whoever tells it never waits, and where nobody wants it, it costs a look. Each way out has a bounded queue, and
//! what finds it full is dropped and counted.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use gim_config::{seldom::Seldom, webhook::Webhook};
use gim_proto::{ResultCode, logic::Device};
use metrics::counter;
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
};

use super::told::ToldEvent;
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
    webhook: Option<WebhookQueue>,
    streams: broadcast::Sender<Arc<ToldEvent>>,
}

#[derive(Debug)]
struct WebhookQueue {
    kinds: BTreeSet<EventKind>,
    queue: mpsc::Sender<Arc<ToldEvent>>,
}

/// What goes to the webhook.
#[derive(Debug)]
pub struct LiveOutlet {
    webhook: Webhook,
    queue: mpsc::Receiver<Arc<ToldEvent>>,
    batch_max: usize,
    failures: Seldom,
}

impl LiveEvents {
    /// To streams, and to a webhook if there is one.
    pub fn new(settings: &EventSettings, ids: Arc<MessageIds>, webhook: Option<Webhook>) -> (Self, Option<LiveOutlet>) {
        let kinds: BTreeSet<EventKind> = settings.kinds.iter().copied().filter(|kind| !kind.is_stored()).collect();
        let (sender, queue) = mpsc::channel(settings.live_queue_max);
        let outlet = webhook.filter(|_| !kinds.is_empty()).map(|webhook| LiveOutlet {
            webhook,
            queue,
            batch_max: settings.batch_events_max as usize,
            failures: Seldom::default(),
        });
        let webhook = outlet.is_some().then_some(WebhookQueue { kinds, queue: sender });
        let streams = broadcast::Sender::new(settings.live_queue_max);
        (Self(Arc::new(Ways { ids, webhook, streams })), outlet)
    }

    /// For a stream.
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<ToldEvent>> {
        self.0.streams.subscribe()
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
        let webhook = self.0.webhook.as_ref().filter(|webhook| webhook.kinds.contains(&kind));
        if webhook.is_none() && self.0.streams.receiver_count() == 0 {
            return;
        }
        let event = Arc::new(ToldEvent { id: self.0.ids.next_id(), kind, data: data() });
        if webhook.is_some_and(|webhook| webhook.queue.try_send(event.clone()).is_err()) {
            dropped("webhook", 1);
        }
        // It fails where nobody listens any more.
        let _count = self.0.streams.send(event);
    }
}

/// Notes what was not told.
pub(super) fn dropped(way: &'static str, count: u64) {
    counter!(names::LIVE_EVENTS_DROPPED, "way" => way).increment(count);
}

impl LiveOutlet {
    /// Starts to hand out what comes, a call at a time, on a task that ends with what waits when the sender says so or is gone.
    pub fn start(self) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel();
        (stop, tokio::spawn(self.run(stopped)))
    }

    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut events = Vec::new();
        loop {
            let received = tokio::select! {
                biased;
                received = self.queue.recv_many(&mut events, self.batch_max) => received,
                _ = &mut stop, if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            let count = events.len() as u64;
            match self.call(&events).await {
                Ok(()) => counter!(names::EVENTS_DELIVERED).increment(count),
                Err(error) => {
                    dropped("webhook", count);
                    if let Some(left_out) = self.failures.due(Instant::now()) {
                        tracing::warn!(error, count, left_out, "events that are told once were not taken");
                    }
                }
            }
            events.clear();
        }
    }

    async fn call(&self, events: &[Arc<ToldEvent>]) -> Result<(), String> {
        let place = self.webhook.place().map_err(|error| error.to_string())?;
        let (id, body) = ToldEvent::call("live", events.iter().map(AsRef::as_ref));
        self.webhook.call(place, &id, body).await.map_err(|error| error.to_string())
    }
}
