//! Pushes on their way out: looked at once more, claimed, handed to their senders, and what became of them.
//!
//! On the task of [`super`], but for the calls themselves, which have tasks of their own. Always holds: a push is claimed in the database
//! before its call is made, by whoever holds the walk; the claim is given up where the service said that it did not take it. So what is lost
//! with a process are the calls that were under way.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use gim_config::{seldom::Seldom, threads};
use gim_proto::business::OfflinePush;
use metrics::{counter, gauge, histogram};
use tokio::task::JoinSet;

use super::{
    badges::Badges,
    decision::Candidate,
    destinations::pause,
    facts::{FactReader, Standing},
    queue::PushBatch,
    senders::{Cause, Outcome, Senders},
};
use crate::{
    domain::{clock, push_device::PushDevice},
    metrics as names,
    settings::OfflinePushSettings,
    store::{PushClaims, PushTargets, StoreError, others, push_claims::PushClaim},
};

/// Until what could not be looked at, or claimed, is looked at again.
const POSTPONED: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(super) struct Handing {
    pub senders: Senders,
    claims: PushClaims,
    targets: PushTargets,
    calls: JoinSet<Called>,
    /// Rises when all is forgotten: calls of before are nothing to those after.
    epoch: u64,
    released: Vec<PushClaim>,
    unregistered: Vec<(PushDevice, i64)>,
    told: Seldom,
}

/// A call that ended.
struct Called {
    epoch: u64,
    lane: usize,
    batch: PushBatch,
    pushes: Vec<OfflinePush>,
    outcomes: Vec<Outcome>,
}

/// A batch that is about to be handed out.
struct Ready {
    lane: usize,
    batch: PushBatch,
    candidates: Vec<(Candidate, PushDevice)>,
}

/// The walk is held by another process.
#[derive(Debug)]
pub(super) struct Lost;

impl Handing {
    pub(super) fn new(senders: Senders, claims: PushClaims, targets: PushTargets) -> Self {
        Self {
            senders,
            claims,
            targets,
            calls: JoinSet::new(),
            epoch: 0,
            released: Vec::new(),
            unregistered: Vec::new(),
            told: Seldom::default(),
        }
    }

    /// Has a push wait for its turn.
    pub(super) fn put(&mut self, candidate: Candidate, push_id: &str) {
        if let Err(bound) = self.senders.put(candidate, push_id) {
            counter!(names::OFFLINE_PUSHES_DROPPED, "bound" => bound).increment(1);
        }
    }

    /// Hands out what may be: nothing where the database does not answer.
    pub(super) async fn hand_out(
        &mut self,
        holder: u64,
        facts: &Arc<FactReader>,
        badges: Option<&Badges>,
    ) -> Result<(), Lost> {
        self.forget_unregistered().await;
        let batches = self.senders.take(Instant::now());
        self.senders.lanes.iter().for_each(|lane| {
            gauge!(names::OFFLINE_PUSHES_QUEUED, "sender" => lane.sender.name()).set(lane.queue.len() as f64);
        });
        if batches.is_empty() && self.released.is_empty() {
            return Ok(());
        }
        let standing = match facts.standing(self.candidates(&batches)).await {
            Ok(standing) => standing,
            Err(error) => return self.postpone(batches, &error),
        };
        let mut ready: Vec<Ready> =
            batches.into_iter().filter_map(|(lane, batch)| self.looked_at(lane, batch, &standing)).collect();
        if let Some(badges) = badges {
            count_badges(&mut ready, badges).await;
        }
        let unclaimed = ready.iter().filter(|ready| !ready.batch.is_claimed);
        let claimed: Vec<PushClaim> =
            unclaimed.flat_map(|ready| ready.candidates.iter().map(|(candidate, _)| candidate.claim())).collect();
        if !claimed.is_empty() || !self.released.is_empty() {
            match self.change_claims(holder, claimed).await {
                Ok(true) => self.released.clear(),
                Ok(false) => return Err(Lost),
                Err(error) => {
                    let batches = ready.into_iter().map(|ready| (ready.lane, ready.batch)).collect();
                    return self.postpone(batches, &error);
                }
            }
        }
        ready.into_iter().for_each(|ready| self.call(ready));
        Ok(())
    }

    /// Claims these, and gives up what was released.
    async fn change_claims(&self, holder: u64, claimed: Vec<PushClaim>) -> Result<bool, StoreError> {
        let (claims, released) = (self.claims.clone(), self.released.clone());
        others::ask(async move { claims.change(holder, &claimed, &released).await }).await
    }

    fn candidates(&self, batches: &[(usize, PushBatch)]) -> Vec<Candidate> {
        let of_batch = |(lane, batch): &(usize, PushBatch)| {
            let queue = &self.senders.lanes[*lane].queue;
            batch.keys.iter().filter_map(move |key| queue.get(key).cloned()).collect::<Vec<_>>()
        };
        batches.iter().flat_map(of_batch).collect()
    }

    fn postpone(&mut self, batches: Vec<(usize, PushBatch)>, error: &StoreError) -> Result<(), Lost> {
        tracing::debug!(%error, calls = batches.len(), "pushes are handed out later");
        let due = Instant::now() + POSTPONED;
        for (lane, batch) in batches {
            let lane = &mut self.senders.lanes[lane];
            lane.give_back(&batch.place);
            lane.queue.try_again(batch, due);
        }
        Ok(())
    }

    /// A batch without those that are of no use any more; nothing where none is left.
    fn looked_at(&mut self, lane: usize, mut batch: PushBatch, standing: &Standing) -> Option<Ready> {
        let now = Instant::now();
        let (keys, mut kept, mut candidates) = (std::mem::take(&mut batch.keys), Vec::new(), Vec::new());
        for key in keys {
            let Some(candidate) = self.senders.lanes[lane].queue.get(&key).cloned() else { continue };
            if candidate.newest.expires <= now {
                self.count(lane, "late");
            } else if let Some((candidate, device)) = standing.of(&candidate) {
                let way = self.senders.way(&device.push_id);
                if way.is_some_and(|(number, place)| (number, &place) == (lane, &batch.place)) {
                    kept.push(key);
                    candidates.push((candidate, device));
                    continue;
                }
                self.senders.lanes[lane].queue.done(&key);
                self.put(candidate, &device.push_id);
                continue;
            } else {
                counter!(names::OFFLINE_PUSHES_SPARED, "why" => "changed").increment(1);
            }
            self.senders.lanes[lane].queue.done(&key);
        }
        if candidates.is_empty() {
            self.senders.lanes[lane].give_back(&batch.place);
            return None;
        }
        if kept.len() != batch.badges.len() {
            batch.badges.clear();
        }
        batch.keys = kept;
        Some(Ready { lane, batch, candidates })
    }

    fn call(&mut self, ready: Ready) {
        let Ready { lane, mut batch, candidates } = ready;
        batch.is_claimed = true;
        if batch.made_at_ms == 0 {
            batch.made_at_ms = clock::now_ms();
        }
        let badge = |place: usize| batch.badges.get(place).copied().unwrap_or(0);
        let with_badges = candidates.iter().enumerate();
        let pushes: Vec<OfflinePush> =
            with_badges.map(|(place, (candidate, device))| candidate.push(device, badge(place))).collect();
        let (epoch, sender) = (self.epoch, self.senders.lanes[lane].sender.clone());
        self.calls.spawn(async move {
            let called = AssertUnwindSafe(sender.hand_out(&pushes, batch.made_at_ms)).catch_unwind().await;
            let outcomes = called.unwrap_or_else(|_| vec![Outcome::Refused("the sender failed".into()); pushes.len()]);
            Called { epoch, lane, batch, pushes, outcomes }
        });
    }

    /// Whether calls are under way.
    pub(super) fn is_calling(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Waits until a call ends, and sees to what became of it and of all others that have; for ever where there is none.
    pub(super) async fn ended(&mut self) {
        match self.calls.join_next().await {
            Some(Ok(called)) => self.note(called),
            Some(Err(error)) => tracing::error!(%error, "a call of a sender failed"),
            None => std::future::pending().await,
        }
        while let Some(ended) = self.calls.try_join_next() {
            ended.into_iter().for_each(|called| self.note(called));
        }
    }

    fn note(&mut self, called: Called) {
        let Called { epoch, lane, mut batch, pushes, outcomes } = called;
        self.senders.lanes[lane].give_back(&batch.place);
        let keys = std::mem::take(&mut batch.keys);
        let badges = std::mem::take(&mut batch.badges);
        let (mut left, mut failure, mut worked) = (Vec::new(), None, false);
        for (index, ((key, push), outcome)) in keys.into_iter().zip(&pushes).zip(outcomes).enumerate() {
            if let Outcome::Later(cause, wait) = outcome {
                failure = Some((cause, wait));
                left.push((
                    PushClaim { message_id: push.message_id, user_id: key.0.0, device_id: key.0.1, peer: key.1 },
                    key,
                ));
                batch.badges.extend(badges.get(index));
                continue;
            }
            worked = true;
            self.see_to(lane, push, outcome);
            if epoch == self.epoch {
                self.senders.lanes[lane].queue.done(&key);
            }
        }
        let (now, of_lane) = (Instant::now(), &mut self.senders.lanes[lane]);
        match failure {
            _ if worked => of_lane.destinations.worked(&batch.place),
            Some((Cause::Device, wait)) => of_lane.destinations.failed_for_device(&batch.place, wait, now),
            Some((_, wait)) => of_lane.destinations.failed(&batch.place, wait, now),
            None => {}
        }
        let Some((cause, wait)) = failure.filter(|_| epoch == self.epoch) else { return };
        if let Some(untold) = self.told.due(now) {
            tracing::info!(sender = of_lane.sender.name(), untold, ?cause, "pushes are handed out again");
        }
        batch.keys = left.iter().map(|(_, key)| *key).collect();
        if cause != Cause::Unanswered {
            self.released.extend(left.iter().map(|(claim, _)| *claim));
            batch.is_claimed = false;
        }
        batch.attempts += 1;
        let due = now + pause(batch.attempts - 1, wait);
        of_lane.queue.try_again(batch, due);
    }

    fn see_to(&mut self, lane: usize, push: &OfflinePush, outcome: Outcome) {
        let result = match outcome {
            Outcome::Taken => "taken",
            Outcome::Unregistered(since_ms) => {
                let OfflinePush { user_id, device_id, device_type, push_id, .. } = push.clone();
                self.unregistered.push((PushDevice { user_id, device_id, device_type, push_id }, since_ms));
                "unregistered"
            }
            Outcome::Refused(problem) => {
                if let Some(untold) = self.told.due(Instant::now()) {
                    let sender = self.senders.lanes[lane].sender.name();
                    tracing::warn!(sender, untold, ?problem, "a push was refused");
                }
                "refused"
            }
            Outcome::NotWanted | Outcome::Later(..) => return self.count(lane, "unwanted"),
        };
        self.count(lane, result);
        let age_ms = (clock::now_ms() - push.stored_at_ms).max(0);
        histogram!(names::OFFLINE_PUSH_SECONDS).record(age_ms as f64 / 1000.0);
    }

    fn count(&self, lane: usize, result: &'static str) {
        let sender = self.senders.lanes[lane].sender.name();
        counter!(names::OFFLINE_PUSHES, "sender" => sender, "result" => result).increment(1);
    }

    async fn forget_unregistered(&mut self) {
        for (device, since_ms) in std::mem::take(&mut self.unregistered) {
            if device.push_id.is_empty() {
                continue;
            }
            let (targets, user_id) = (self.targets.clone(), device.user_id);
            match others::ask(async move { targets.forget(&device, since_ms).await }).await {
                Ok(true) => counter!(names::PUSH_IDS_FORGOTTEN).increment(1),
                Ok(false) => {}
                Err(error) => tracing::warn!(user_id, %error, "a push id that reaches nobody stays for now"),
            }
        }
    }

    /// Another process has the walk: nothing that waits is of use here.
    pub(super) fn forget(&mut self, settings: &OfflinePushSettings) {
        self.epoch += 1;
        self.released.clear();
        self.senders.forget(settings);
    }

    /// Waits for the calls that are under way, no longer than `patience`, and gives up the claims of what was not taken.
    pub(super) async fn finish(&mut self, holder: Option<u64>, patience: Duration) {
        let until = tokio::time::Instant::now() + patience;
        while self.is_calling() && tokio::time::timeout_at(until, self.ended()).await.is_ok() {}
        self.forget_unregistered().await;
        if let Some(holder) = holder.filter(|_| !self.released.is_empty())
            && let Err(error) = self.change_claims(holder, Vec::new()).await
        {
            tracing::warn!(%error, pushes = self.released.len(), "pushes that were not taken are lost");
        }
    }
}

/// Counts for each user once, where that was not done before.
async fn count_badges(ready: &mut [Ready], badges: &Badges) {
    let uncounted = |ready: &&mut Ready| ready.batch.badges.is_empty();
    let users = |ready: &Ready| ready.candidates.iter().map(|(candidate, _)| candidate.key.0.0).collect::<Vec<_>>();
    let user_ids: HashSet<u64> = ready.iter_mut().filter(uncounted).flat_map(|ready| users(ready)).collect();
    if user_ids.is_empty() {
        return;
    }
    let badges = badges.clone();
    let counted = threads::asked_of_others(async move { badges.count(user_ids).await }).await.unwrap_or_default();
    for ready in ready.iter_mut().filter(|ready| ready.batch.badges.is_empty()) {
        ready.batch.badges = users(ready).iter().map(|user_id| counted.get(user_id).copied().unwrap_or(0)).collect();
    }
}
