//! Who wakes devices: a sender for each service that does, and which of them has to do with which device.
//!
//! Always holds: a push goes to one sender at most. What a device's push id looks like decides
//! ([`PushService`](crate::domain::push_device::PushService)); where the settings have nothing for that service, or there is no push id, it goes
//! to the webhook, else into the log, else to the business.

mod apns;
mod business;
mod each;
mod fcm;
mod log;
mod signing;
#[cfg(test)]
mod tests;
mod web_push;
mod webhook;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gim_proto::business::OfflinePush;
use metrics::counter;
use tonic::async_trait;

use super::{
    decision::Candidate,
    destinations::{Destination, Destinations},
    queue::{PushBatch, PushQueue},
};
use crate::{
    clients::business::Business, domain::push_device::PushService, metrics as names, settings::OfflinePushSettings,
};

use self::{
    apns::ApnsSender,
    business::{BusinessSender, Offer},
    fcm::FcmSender,
    log::LogSender,
    web_push::WebPushSender,
    webhook::WebhookSender,
};

/// What becomes of pushes, as metrics say it.
const RESULTS: [&str; 5] = ["taken", "unregistered", "refused", "unwanted", "late"];

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The service has it.
    Taken,
    /// The service knows nobody under this push id, since a time that it says (Unix milliseconds, `i64::MAX` for now).
    Unregistered(i64),
    /// Nobody wakes anybody.
    NotWanted,
    /// It is to be handed out again, not before this time has passed where the service says one.
    Later(Cause, Option<Duration>),
    /// It is of no use to try again.
    Refused(String),
}

/// Why a push is to be handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The service takes no more for this device now.
    Device,
    /// The service takes nothing now, or cannot be reached.
    Service,
    /// It may have it, and did not say so.
    Unanswered,
}

/// See [`super::web_push_key`].
pub(super) fn web_push_key(settings: &OfflinePushSettings) -> Result<Bytes, String> {
    if settings.web_push_key_file.as_os_str().is_empty() {
        return Ok(Bytes::new());
    }
    web_push::key(settings).map(|key| Bytes::copy_from_slice(key.public()))
}

/// Hands pushes to one service.
#[async_trait]
pub(super) trait PushSender: std::fmt::Debug + Send + Sync + 'static {
    /// As metrics and the log call it.
    fn name(&self) -> &'static str;

    /// Pushes of one call, and calls at the same time.
    fn limits(&self) -> (usize, usize);

    /// Where a push id is called.
    fn place(&self, _push_id: &str) -> Destination {
        "".into()
    }

    /// Hands pushes over, which it did first at a time; says of each what became of it.
    async fn hand_out(&self, pushes: &[OfflinePush], made_at_ms: i64) -> Vec<Outcome>;
}

/// A sender, and what waits for it.
#[derive(Debug)]
pub(super) struct SenderLane {
    pub sender: Arc<dyn PushSender>,
    pub queue: PushQueue,
    pub destinations: Destinations,
    pub calls: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Senders {
    pub lanes: Vec<SenderLane>,
    by_service: Vec<(PushService, usize)>,
    for_others: Option<usize>,
    /// Where `for_others` is the business.
    business: Option<Arc<BusinessSender>>,
}

impl Senders {
    /// As the settings say.
    pub(super) fn new(settings: &OfflinePushSettings, business: Arc<Business>) -> Result<Self, String> {
        let mut senders = Self::default();
        let is_set = |file: &Path| !file.as_os_str().is_empty();
        if is_set(&settings.fcm_account_file) {
            senders.add(settings, Some(PushService::Fcm), Arc::new(FcmSender::new(settings)?));
        }
        if is_set(&settings.apns_key_file) {
            senders.add(settings, Some(PushService::Apns), Arc::new(ApnsSender::new(settings)?));
        }
        if is_set(&settings.web_push_key_file) {
            senders.add(settings, Some(PushService::WebPush), Arc::new(WebPushSender::new(settings)?));
        }
        if !settings.webhook.is_empty() {
            senders.add(settings, None, Arc::new(WebhookSender::new(settings)?));
        } else if settings.log {
            senders.add(settings, None, Arc::new(LogSender));
        } else if settings.business && business.is_there() {
            let sender = Arc::new(BusinessSender::new(business));
            senders.business = Some(sender.clone());
            senders.add(settings, None, sender);
        }
        Ok(senders)
    }

    fn add(&mut self, settings: &OfflinePushSettings, service: Option<PushService>, sender: Arc<dyn PushSender>) {
        let number = self.lanes.len();
        match service {
            Some(service) => self.by_service.push((service, number)),
            None => self.for_others = Some(number),
        }
        // Of a count that is born with its first failure, no rate shows that one.
        for result in RESULTS {
            counter!(names::OFFLINE_PUSHES, "sender" => sender.name(), "result" => result).increment(0);
        }
        let (_, calls_max) = sender.limits();
        // One maker of browsers of several takes no more than its part.
        let of_place = if service == Some(PushService::WebPush) { calls_max / 4 } else { calls_max };
        let (queue, destinations) = (PushQueue::new(settings.queue_max), Destinations::new(of_place));
        self.lanes.push(SenderLane { sender, queue, destinations, calls: 0 });
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Has the business asked whether it wants any, where that is to be found out.
    pub(super) fn ask_business(&self, now: Instant) {
        if let Some(business) = &self.business {
            business.ask(now);
        }
    }

    /// Whether anybody may want what is stored now.
    pub(super) fn want_any(&self) -> bool {
        !self.by_service.is_empty() || self.wake_users()
    }

    /// Whether devices of everybody are to be looked up: a business that did not answer yet may want none, and costs little until then.
    pub(super) fn want_devices(&self) -> bool {
        !self.by_service.is_empty() || self.for_others.is_some() && self.offer().is_none_or(Offer::is_taken_up)
    }

    /// Whether users are woken of whom no push id is known.
    pub(super) fn wake_users(&self) -> bool {
        self.for_others.is_some() && self.offer().is_none_or(Offer::is_worth_a_try)
    }

    fn offer(&self) -> Option<&Offer> {
        self.business.as_ref().map(|business| business.offer())
    }

    /// Which one a push id is for, and where it is called; nothing where there is none.
    pub(super) fn way(&self, push_id: &str) -> Option<(usize, Destination)> {
        let of_service = if push_id.is_empty() {
            None
        } else {
            let (service, _) = PushService::of(push_id);
            self.by_service.iter().find_map(|(other, number)| (*other == service).then_some(*number))
        };
        let number = of_service.or(self.for_others.filter(|_| self.wake_users()))?;
        Some((number, self.lanes[number].sender.place(push_id)))
    }

    /// Has a push wait for the one that it is for; says what there was no place in.
    pub(super) fn put(&mut self, candidate: Candidate, push_id: &str) -> Result<(), &'static str> {
        let (number, place) = self.way(push_id).ok_or("sender")?;
        if self.lanes[number].queue.put(candidate, place) { Ok(()) } else { Err("queue") }
    }

    /// What may be handed out now, with the number of the sender.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(usize, PushBatch)> {
        let take = |(number, lane): (usize, &mut SenderLane)| {
            let (batch_max, calls_max) = lane.sender.limits();
            let free = calls_max.saturating_sub(lane.calls);
            let batches = lane.queue.take(now, (free, batch_max), &mut lane.destinations);
            lane.calls += batches.len();
            batches.into_iter().map(move |batch| (number, batch)).collect::<Vec<_>>()
        };
        self.lanes.iter_mut().enumerate().flat_map(take).collect()
    }

    /// The first message that anything waits about.
    pub(super) fn first_id(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|lane| lane.queue.first_id()).min()
    }

    /// Forgets all that waits.
    pub(super) fn forget(&mut self, settings: &OfflinePushSettings) {
        self.lanes.iter_mut().for_each(|lane| lane.queue = PushQueue::new(settings.queue_max));
    }
}

impl SenderLane {
    /// A call ended, or was not made.
    pub(super) fn give_back(&mut self, place: &Destination) {
        self.calls = self.calls.saturating_sub(1);
        self.destinations.give_back(place);
    }
}
