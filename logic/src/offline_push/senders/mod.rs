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
mod web_push;
mod webhook;

use std::{path::Path, sync::Arc, time::Duration};

use gim_proto::business::OfflinePush;
use tonic::async_trait;

use super::queue::SenderQueue;
use crate::{
    clients::business::Business, domain::push_device::PushService, settings::OfflinePushSettings, store::PushTargets,
};

pub(super) use self::business::Offer;
use self::{
    apns::ApnsSender, business::BusinessSender, fcm::FcmSender, log::LogSender, web_push::WebPushSender,
    webhook::WebhookSender,
};

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The service has it.
    Taken,
    /// The service knows nobody under this push id.
    Unregistered,
    /// Nobody wakes anybody.
    NotWanted,
    /// It is to be handed out again, not before this time has passed where the service says one.
    Later(Option<Duration>),
    /// It is of no use to try again.
    Refused(String),
}

/// Hands pushes to one service.
#[async_trait]
pub(super) trait PushSender: std::fmt::Debug + Send + Sync + 'static {
    /// As metrics and the log call it.
    fn name(&self) -> &'static str;

    /// Pushes that are handed over at once.
    fn batch_max(&self) -> usize;

    /// Hands pushes over; says of each what became of it.
    async fn hand_out(&self, pushes: &[OfflinePush]) -> Vec<Outcome>;
}

/// All of them, each behind its queue.
#[derive(Debug, Default)]
pub(super) struct Senders {
    by_service: Vec<(PushService, SenderQueue)>,
    for_others: Option<SenderQueue>,
    /// Where `for_others` is the business: whether it wants any.
    offer: Option<Offer>,
}

impl Senders {
    /// As the settings say.
    pub(super) fn start(
        settings: &OfflinePushSettings,
        business: Arc<Business>,
        targets: &PushTargets,
    ) -> Result<Self, String> {
        let start = |sender: Arc<dyn PushSender>| SenderQueue::start(sender, settings.queue_max, targets.clone());
        let mut senders = Self::default();
        let is_set = |file: &Path| !file.as_os_str().is_empty();
        if is_set(&settings.fcm_account_file) {
            senders.by_service.push((PushService::Fcm, start(Arc::new(FcmSender::new(settings)?))));
        }
        if is_set(&settings.apns_key_file) {
            senders.by_service.push((PushService::Apns, start(Arc::new(ApnsSender::new(settings)?))));
        }
        if is_set(&settings.web_push_key_file) {
            senders.by_service.push((PushService::WebPush, start(Arc::new(WebPushSender::new(settings)?))));
        }
        if !settings.webhook.is_empty() {
            senders.for_others = Some(start(Arc::new(WebhookSender::new(settings)?)));
        } else if settings.log {
            senders.for_others = Some(start(Arc::new(LogSender)));
        } else if settings.business && business.is_there() {
            let sender = BusinessSender::new(business);
            senders.offer = Some(sender.offer());
            senders.for_others = Some(start(Arc::new(sender)));
        }
        Ok(senders)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_service.is_empty() && self.for_others.is_none()
    }

    /// Whether anybody may want what is stored now.
    pub(super) fn want_any(&self) -> bool {
        !self.by_service.is_empty() || self.wake_users()
    }

    /// Whether devices of everybody are to be looked up: a business that was never asked may want none, and costs little until then.
    pub(super) fn want_devices(&self) -> bool {
        !self.by_service.is_empty() || self.offer.as_ref().map_or(self.for_others.is_some(), Offer::is_taken_up)
    }

    /// Whether users are woken of whom no push id is known.
    pub(super) fn wake_users(&self) -> bool {
        self.for_others.is_some() && self.offer.as_ref().is_none_or(Offer::is_worth_a_try)
    }

    /// Hands a push to the one that it is for; false where there is none.
    pub(super) fn put(&self, push: OfflinePush) -> bool {
        let of_service = if push.push_id.is_empty() {
            None
        } else {
            let (service, _) = PushService::of(&push.push_id);
            self.by_service.iter().find_map(|(other, queue)| (*other == service).then_some(queue))
        };
        let queue = of_service.or(self.for_others.as_ref().filter(|_| self.wake_users()));
        queue.is_some_and(|queue| {
            queue.put(push);
            true
        })
    }

    /// Hands out what waits, within a time.
    pub(super) async fn stop(self, patience: Duration) {
        let queues = self.by_service.into_iter().map(|(_, queue)| queue).chain(self.for_others);
        let stops = queues.map(|queue| queue.stop(patience));
        futures_util::future::join_all(stops).await;
    }
}
