//! The business, as far as it wakes devices itself (`PushIntService/HandOut`).
//!
//! Always holds: one that does not offer that is asked once in [`RETRY_INTERVAL`] at most, with nothing to hand out; until it has said so,
//! nothing is looked at for it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gim_proto::business::OfflinePush;
use tonic::async_trait;

use super::{Cause, Outcome, PushSender};
use crate::clients::business::{Business, BusinessError, HandOutAnswer};

/// A business that is exchanged for one that wakes devices is noticed after so long.
const RETRY_INTERVAL: Duration = Duration::from_secs(600);

/// After it did not answer whether it wants any.
const SILENT_INTERVAL: Duration = Duration::from_secs(10);

/// Pushes of one call, and calls at the same time of one that wants them.
const BATCH_MAX: usize = 100;
const CALLS_MAX: usize = 4;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct BusinessSender {
    business: Arc<Business>,
    offer: Offer,
}

/// What is known of whether the business wants pushes.
#[derive(Debug, Default)]
pub(super) struct Offer(Mutex<Known>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    /// It is being asked for the first time, or after it wanted none.
    Asked,
    /// It did not answer, and is asked again then. It may want some.
    Silent(Instant),
    TakenUp,
    /// It wants none, and is asked again then.
    NotBefore(Instant),
}

impl Offer {
    /// Whether it wants some.
    pub(super) fn is_taken_up(&self) -> bool {
        self.known() == Known::TakenUp
    }

    /// Whether it may take some.
    pub(super) fn is_worth_a_try(&self) -> bool {
        matches!(self.known(), Known::TakenUp | Known::Silent(_))
    }

    /// Whether it is to be asked if it wants any; it counts as asked from then on.
    fn begin_to_ask(&self, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match *known {
            Known::Nothing => Known::Asked,
            Known::NotBefore(at) if now >= at => Known::Asked,
            Known::Silent(at) if now >= at => Known::Silent(now + SILENT_INTERVAL),
            _ => return false,
        };
        *known = next;
        true
    }

    fn known(&self) -> Known {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, known: Known) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

impl BusinessSender {
    pub(super) fn new(business: Arc<Business>) -> Self {
        Self { business, offer: Offer::default() }
    }

    pub(super) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Has it asked whether it wants any, where that is not known; on a task of its own.
    pub(super) fn ask(self: &Arc<Self>, now: Instant) {
        if self.offer.begin_to_ask(now) {
            let sender = self.clone();
            tokio::spawn(async move { sender.hand_over(&[]).await });
        }
    }

    /// Notes whether it wants any as well.
    async fn hand_over(&self, pushes: &[OfflinePush]) -> Result<HandOutAnswer, BusinessError> {
        let answer = self.business.hand_out(pushes).await;
        match &answer {
            Ok(HandOutAnswer::NotOffered) => {
                self.offer.note(Known::NotBefore(Instant::now() + RETRY_INTERVAL));
                tracing::info!("the business does not implement PushIntService/HandOut: it wakes nobody");
            }
            Err(BusinessError::Unanswered(_)) if self.offer.known() == Known::Asked => {
                self.offer.note(Known::Silent(Instant::now() + SILENT_INTERVAL));
            }
            Err(BusinessError::Unanswered(_)) => {}
            // One that refuses has it, too.
            Ok(HandOutAnswer::Taken(_)) | Err(_) => self.offer.note(Known::TakenUp),
        }
        answer
    }
}

#[async_trait]
impl PushSender for BusinessSender {
    fn name(&self) -> &'static str {
        "business"
    }

    fn limits(&self) -> (usize, usize) {
        (BATCH_MAX, if self.offer.is_taken_up() { CALLS_MAX } else { 1 })
    }

    async fn hand_out(&self, pushes: &[OfflinePush], _made_at_ms: i64) -> Vec<Outcome> {
        if !self.offer.is_worth_a_try() {
            return vec![Outcome::NotWanted; pushes.len()];
        }
        match self.hand_over(pushes).await {
            Ok(HandOutAnswer::Taken(unregistered_ids)) => {
                let unregistered: HashSet<String> = unregistered_ids.into_iter().collect();
                let outcome = |push: &OfflinePush| match unregistered.contains(&push.id) {
                    true => Outcome::Unregistered(i64::MAX),
                    false => Outcome::Taken,
                };
                pushes.iter().map(outcome).collect()
            }
            Ok(HandOutAnswer::NotOffered) => vec![Outcome::NotWanted; pushes.len()],
            Err(BusinessError::Unanswered(_)) => vec![Outcome::Later(Cause::Unanswered, None); pushes.len()],
            Err(error) => vec![Outcome::Refused(error.to_string()); pushes.len()],
        }
    }
}
