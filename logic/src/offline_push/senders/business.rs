//! The business, as far as it wakes devices itself (`PushIntService/HandOut`).
//!
//! Always holds: one that does not offer that is asked once in [`RETRY_INTERVAL`] at most.

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

/// Pushes of one call, and calls at the same time of one that wants them.
const BATCH_MAX: usize = 100;
const CALLS_MAX: usize = 4;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct BusinessSender {
    business: Arc<Business>,
    offer: Offer,
}

/// What is known of whether the business wants pushes. Clones are one.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Offer(Arc<Mutex<Known>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    TakenUp,
    NotBefore(Instant),
}

impl Offer {
    /// Whether it took some.
    pub(in super::super) fn is_taken_up(&self) -> bool {
        self.known() == Known::TakenUp
    }

    /// Whether it may take some.
    pub(in super::super) fn is_worth_a_try(&self) -> bool {
        !matches!(self.known(), Known::NotBefore(retry_at) if Instant::now() < retry_at)
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

    pub(super) fn offer(&self) -> Offer {
        self.offer.clone()
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
        match self.business.hand_out(pushes).await {
            Ok(HandOutAnswer::Taken(unregistered_ids)) => {
                self.offer.note(Known::TakenUp);
                let unregistered: HashSet<String> = unregistered_ids.into_iter().collect();
                let outcome = |push: &OfflinePush| match unregistered.contains(&push.id) {
                    true => Outcome::Unregistered(i64::MAX),
                    false => Outcome::Taken,
                };
                pushes.iter().map(outcome).collect()
            }
            Ok(HandOutAnswer::NotOffered) => {
                self.offer.note(Known::NotBefore(Instant::now() + RETRY_INTERVAL));
                tracing::info!("the business does not implement PushIntService/HandOut: nobody is woken");
                vec![Outcome::NotWanted; pushes.len()]
            }
            Err(BusinessError::Unanswered(_)) => vec![Outcome::Later(Cause::Unanswered, None); pushes.len()],
            Err(error) => vec![Outcome::Refused(error.to_string()); pushes.len()],
        }
    }
}
