//! The task that hands events out to the webhook: one call at a time, tried until it is taken, so that what comes after it waits.
//!
//! On threads that give way to what people wait for ([`gim_config::threads`]): where processors are short, events come later, and no send does.
//! Always holds: the walk is moved on after a call was answered with 2xx, or its body is in the dead-letter file on the disk; the
//! same call has the same `webhook-id` and body however often it is tried. Nobody waits for it, nor for anything that it holds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gim_config::{
    seldom::Seldom,
    threads::Threads,
    webhook::{Secret, Webhook},
};
use metrics::counter;
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    dead_letters::DeadLetters,
    told::{Teller, ToldEvent},
};
use crate::{
    domain::clock,
    metrics as names,
    settings::{EventSettings, LogicSettings},
    store::Store,
    walk::{PageLimits, Settled, Walk, WalkLost},
};

/// The name of the walk.
pub const WALK: &str = "events";

/// While it waits for the next try, it looks so often whether the walk is still to be held.
const WAIT_STEP: Duration = Duration::from_secs(1);

/// The task.
#[derive(Debug)]
pub struct EventOutlet {
    walk: Walk,
    teller: Teller,
    webhook: Webhook,
    dead_letters: DeadLetters,
    settings: EventSettings,
    failures: Seldom,
    threads: Threads,
}

/// A call of the webhook.
struct EventCall {
    id: String,
    count: u64,
    body: Bytes,
}

/// Where the settings say that events go.
///
/// # Errors
/// A sentence that names the key.
fn webhook(events: &EventSettings) -> Result<Option<Webhook>, String> {
    if !events.has_webhook() {
        return Ok(None);
    }
    let secret = Secret::new(&events.webhook_secret).map_err(|problem| format!("events.webhook_secret: {problem}"))?;
    let timeout = Duration::from_millis(events.webhook_timeout_ms);
    let webhook = Webhook::within(&events.webhook, secret, timeout, events.reach());
    Ok(Some(webhook.map_err(|problem| format!("events.webhook: {problem}"))?))
}

impl EventOutlet {
    /// Where it goes.
    pub fn webhook(&self) -> Webhook {
        self.webhook.clone()
    }

    /// As the settings say; none where they name no webhook.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn new(
        settings: &LogicSettings,
        store: &Store,
        settled: Settled,
        teller: &Teller,
        threads: &Threads,
    ) -> Result<Option<Self>, String> {
        let events = settings.events.clone();
        let Some(webhook) = webhook(&events)? else { return Ok(None) };
        let dead_letters = DeadLetters::new(settings.data_dir.clone(), events.dead_letter_bytes_max);
        dead_letters.check().map_err(|error| {
            let path = dead_letters.path().display();
            format!("data_dir: {path}, where events go that nobody takes, cannot be written: {error}")
        })?;
        Ok(Some(Self {
            walk: Walk::new(WALK, &store.aside().map_err(|error| error.to_string())?, settled),
            teller: teller.choosing(events.kinds.clone(), events.group_kinds.clone()),
            webhook,
            dead_letters,
            settings: events,
            failures: Seldom::default(),
            threads: threads.clone(),
        }))
    }

    /// Starts to hand out, on a task that ends after the sender says so or is gone.
    pub fn start(self) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel();
        let threads = self.threads.clone();
        (stop, threads.spawn(self.run(stopped)))
    }

    /// Hands out until it is asked to stop; then another node may go on at once.
    async fn run(mut self, stop: oneshot::Receiver<()>) {
        tokio::select! {
            () = self.hand_out() => {}
            _ = stop => {}
        }
        self.walk.leave().await;
    }

    async fn hand_out(&mut self) {
        let limits = PageLimits { events: self.settings.batch_events_max, bytes: self.settings.batch_bytes_max };
        loop {
            let page = self.walk.next(limits).await;
            let events: Vec<ToldEvent> = page.events.iter().filter_map(|event| self.teller.tell(event)).collect();
            if events.is_empty() {
                self.walk.pass(page.up_to);
                continue;
            }
            let (id, body) = ToldEvent::call("events", &events);
            let call = EventCall { id, count: events.len() as u64, body };
            // Where it is lost, whoever holds the walk goes on where it was.
            if self.deliver(&call).await.is_ok() && self.walk.move_on(page.up_to).await.is_err() {
                tracing::debug!(id = call.id, "these events are told once more");
            }
        }
    }

    /// Tries until the call is taken or given up.
    async fn deliver(&mut self, call: &EventCall) -> Result<(), WalkLost> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(self.settings.backoff_first_ms);
        let given_up_after = Duration::from_secs(self.settings.dead_letter_after_s);
        loop {
            self.walk.keep().await?;
            let error = match self.try_once(call).await {
                Ok(()) => {
                    counter!(names::EVENTS_DELIVERED).increment(call.count);
                    return Ok(());
                }
                Err(error) => error,
            };
            counter!(names::EVENT_CALLS_FAILED).increment(1);
            if let Some(left_out) = self.failures.due(Instant::now()) {
                tracing::warn!(error, events = call.count, left_out, "events were not taken and are told again");
            }
            if !given_up_after.is_zero() && began.elapsed() >= given_up_after && self.give_up(call, &error).await {
                return Ok(());
            }
            self.wait(pause).await?;
            pause = (pause * 2).min(Duration::from_millis(self.settings.backoff_max_ms));
        }
    }

    async fn try_once(&self, call: &EventCall) -> Result<(), String> {
        let place = self.webhook.place().map_err(|error| error.to_string())?;
        let called = self.threads.for_own(self.webhook.call(place, &call.id, call.body.clone()));
        called.await.map_err(|error| error.to_string())
    }

    /// Between half of a pause and all of it, so that nodes and services do not come back at once; longer while the walk is to stand still.
    async fn wait(&mut self, pause: Duration) -> Result<(), WalkLost> {
        let until = Instant::now() + pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() && !self.walk.is_paused() {
                return Ok(());
            }
            tokio::time::sleep(if left.is_zero() { WAIT_STEP } else { left.min(WAIT_STEP) }).await;
            self.walk.keep().await?;
        }
    }

    /// Whether the call is in the file.
    async fn give_up(&self, call: &EventCall, error: &str) -> bool {
        let body = String::from_utf8_lossy(&call.body);
        let failed_at = clock::rfc3339(clock::now_ms());
        let head = json!({ "webhook_id": call.id, "failed_at": failed_at, "error": error }).to_string();
        let line = format!("{},\"body\":{body}}}", head.trim_end_matches('}'));
        match self.dead_letters.add(line).await {
            Ok(()) => {
                counter!(names::EVENTS_DEAD_LETTERED).increment(call.count);
                let file = self.dead_letters.path().display();
                tracing::warn!(events = call.count, id = call.id, %file, "nobody took these events: they are in the dead-letter file");
                true
            }
            Err(error) => {
                tracing::error!(%error, events = call.count, "the dead-letter file takes nothing, so events are tried on");
                false
            }
        }
    }
}
