//! Offline push: what was stored for people who are away is handed out, once, to whoever wakes their devices.
//!
//! ```text
//!  fan-out ── tap ──▶ gathered for a moment ──▶ decision ──┬──▶ senders: FCM, APNs, Web Push, webhook, log, business
//!                                                 ▲        └──▶ waiting: connected, and not acknowledged yet
//!                                     facts ──────┘                 └── away after all? ──▶ senders
//! ```
//! A logic node cares for what it stored itself, so no two nodes have to agree on who hands a message out, and nothing is read again to
//! find out what was stored. One task gathers and decides ([`decision`], with [`facts`] and [`badges`]), and one for each sender hands
//! over ([`queue`], [`senders`]).
//!
//! Always holds: a message is looked at once, after it was stored, and no send waits for that; everything is bounded and counted. A
//! process that is killed takes with it what it had not handed out: pushes, never messages.

mod badges;
mod decision;
mod facts;
mod queue;
mod senders;
mod waiting;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use tokio::{sync::mpsc, task::JoinHandle};

use self::{
    badges::Badges,
    decision::{Candidate, Facts, coalesced, decide},
    facts::FactReader,
    senders::Senders,
    waiting::{Due, Waiting},
};
use crate::{
    clients::business::Business,
    delivery::stored_tap::{StoredTap, TapValve},
    domain::{clock, conversation::Peer, message::Delivery},
    error::Error,
    metrics as names,
    settings::OfflinePushSettings,
    shared_state::SharedState,
    store::Store,
    usecase::UseCases,
};

/// Batches of the inbox writer on their way here.
const TAP_BATCHES_MAX: usize = 1_024;

/// Messages that are gathered, or kept while nothing can be read about their receivers.
const MESSAGES_MAX: usize = 50_000;

/// Receivers who are looked up together; one message may have more.
const RECEIVERS_MAX: usize = 2_000;

/// Messages that are older are looked at no more.
const AGE_MAX_MS: i64 = 10 * 60 * 1000;

/// Devices that are looked at again at once, after they were waited for.
const DUE_MAX: usize = 4_096;

/// How often it is looked whether a business that wakes nobody wants to by now.
const SHUT_INTERVAL: Duration = Duration::from_secs(5);

/// Until devices are looked at again about which nothing could be read.
const POSTPONED: Duration = Duration::from_secs(1);

/// What it is made of.
#[derive(Debug)]
pub struct PushParts {
    /// Devices, and what holds pushes back.
    pub store: Store,
    /// Who is connected.
    pub shared: Arc<dyn SharedState>,
    /// What may wake devices itself.
    pub business: Arc<Business>,
}

/// What will run once everything it looks at is there.
#[derive(Debug)]
pub struct PreparedPushes {
    settings: OfflinePushSettings,
    senders: Senders,
    facts: FactReader,
    stored: mpsc::Receiver<Vec<Delivery>>,
    valve: TapValve,
}

/// The running task.
#[derive(Debug)]
pub struct OfflinePushes(JoinHandle<()>);

/// Where what is stored is to be put; none of both where the settings name nobody who wakes devices.
pub fn prepare(
    settings: &OfflinePushSettings,
    parts: PushParts,
) -> Result<Option<(StoredTap, PreparedPushes)>, String> {
    let targets = parts.store.push_targets;
    let senders = Senders::start(settings, parts.business, &targets)?;
    if senders.is_empty() {
        return Ok(None);
    }
    let (tap, stored, valve) = StoredTap::new(TAP_BATCHES_MAX);
    let facts = FactReader::new(parts.shared, targets, settings.group_members_max);
    Ok(Some((tap, PreparedPushes { settings: settings.clone(), senders, facts, stored, valve })))
}

impl PreparedPushes {
    /// Begins to hand out.
    pub fn start(self, use_cases: Arc<UseCases>) -> OfflinePushes {
        let Self { settings, senders, facts, stored, valve } = self;
        let patience = Duration::from_secs(settings.unacknowledged_s);
        let gatherer = Gatherer {
            waiting: Waiting::new(patience, settings.awaited_max),
            badges: settings.badges.then(|| Badges::new(use_cases)),
            settings,
            senders,
            facts,
            valve,
            gathered: Vec::new(),
        };
        OfflinePushes(tokio::spawn(gatherer.run(stored)))
    }
}

impl OfflinePushes {
    /// Waits until everything is handed out that the fan-out, which has ended, put in; no longer than `patience`.
    pub async fn stop(mut self, patience: Duration) {
        if tokio::time::timeout(patience, &mut self.0).await.is_err() {
            self.0.abort();
        }
    }
}

/// The task.
struct Gatherer {
    settings: OfflinePushSettings,
    senders: Senders,
    facts: FactReader,
    badges: Option<Badges>,
    waiting: Waiting,
    valve: TapValve,
    gathered: Vec<Delivery>,
}

impl Gatherer {
    async fn run(mut self, mut stored: mpsc::Receiver<Vec<Delivery>>) {
        let interval = Duration::from_millis(self.settings.coalesce_ms);
        let mut look_at = None;
        loop {
            let wake_at = look_at.unwrap_or_else(|| Instant::now() + self.idle_interval(interval));
            tokio::select! {
                batch = stored.recv() => match batch {
                    Some(batch) => {
                        self.gather(batch);
                        look_at.get_or_insert_with(|| Instant::now() + interval);
                        continue;
                    }
                    None => break,
                },
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
            look_at = None;
            self.look().await;
            if !self.gathered.is_empty() {
                look_at = Some(Instant::now() + interval);
            }
        }
        self.look().await;
        self.senders.stop(interval * 2).await;
    }

    /// Nothing is stored: whoever is waited for comes due, or a business may want pushes by now.
    fn idle_interval(&self, interval: Duration) -> Duration {
        if self.waiting.len() > 0 { interval } else { SHUT_INTERVAL }
    }

    fn gather(&mut self, batch: Vec<Delivery>) {
        let room = MESSAGES_MAX.saturating_sub(self.gathered.len());
        let beyond = batch.len().saturating_sub(room) as u64;
        counter!(names::OFFLINE_PUSHES_DROPPED, "bound" => "messages").increment(beyond);
        self.gathered.extend(batch.into_iter().take(room));
    }

    /// Decides about what was gathered, part by part, and about those who were waited for.
    async fn look(&mut self) {
        while self.look_at_part().await && !self.gathered.is_empty() {}
    }

    /// Returns whether that could be decided.
    async fn look_at_part(&mut self) -> bool {
        self.valve.set(self.senders.want_any());
        let oldest_ms = clock::now_ms() - AGE_MAX_MS;
        self.gathered.retain(|delivery| delivery.message.created_at_ms >= oldest_ms);
        let rest = self.gathered.split_off(first_part(&self.gathered));
        let stored = std::mem::replace(&mut self.gathered, rest);
        let mut candidates = match self.decided(&stored).await {
            Ok(candidates) => candidates,
            Err(error) => {
                tracing::debug!(%error, messages = stored.len(), "who is away is looked at later");
                self.gathered.splice(..0, stored);
                return false;
            }
        };
        match self.vanished().await {
            Ok(vanished) => candidates.extend(vanished),
            Err(error) => tracing::debug!(%error, "who did not acknowledge is looked at later"),
        }
        gauge!(names::OFFLINE_PUSHES_AWAITED).set(self.waiting.len() as f64);
        let mut candidates = coalesced(candidates);
        if let Some(badges) = &self.badges {
            badges.add(&mut candidates).await;
        }
        for candidate in candidates {
            self.waiting.forget(&candidate.key);
            if !self.senders.put(candidate.push) {
                counter!(names::OFFLINE_PUSHES_DROPPED, "bound" => "sender").increment(1);
            }
        }
        true
    }

    async fn decided(&mut self, stored: &[Delivery]) -> Result<Vec<Candidate>, Error> {
        if stored.is_empty() || !self.senders.want_any() {
            return Ok(Vec::new());
        }
        let facts = self.facts.about(stored, self.senders.want_devices()).await?;
        let decided = decide(stored, &facts, self.settings.previews, self.senders.wake_users());
        let recalled: Vec<u64> =
            stored.iter().map(|one| &one.message).filter(|one| one.is_recalled()).map(|one| one.id).collect();
        let mut now = decided.now;
        now.retain(|candidate| !recalled.contains(&candidate.push.message_id));
        recalled.iter().for_each(|&message_id| self.waiting.recalled(message_id));
        counter!(names::OFFLINE_PUSHES_SPARED, "why" => "acknowledged").increment(decided.synced);
        let connected = decided.unless_acknowledged.len() as u64;
        counter!(names::OFFLINE_PUSHES_SPARED, "why" => "connected").increment(connected);
        let at = Instant::now();
        for candidate in decided.unless_acknowledged {
            if !recalled.contains(&candidate.push.message_id) && !self.waiting.put(candidate, at) {
                counter!(names::OFFLINE_PUSHES_DROPPED, "bound" => "awaited").increment(1);
            }
        }
        Ok(now)
    }

    /// Those who were connected and acknowledged nothing.
    async fn vanished(&mut self) -> Result<Vec<Candidate>, Error> {
        let due = self.waiting.due(Instant::now(), DUE_MAX);
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let of_inboxes: Vec<_> = due.iter().filter(|one| !one.is_large).map(|one| one.key.0).collect();
        let of_timelines: Vec<_> = due.iter().filter(|one| one.is_large).filter_map(member).collect();
        let facts = self.facts.acknowledged(&of_inboxes, &of_timelines).await;
        let facts = facts.inspect_err(|_| self.waiting.postpone(&due, Instant::now() + POSTPONED))?;
        let mut away = Vec::new();
        for candidate in due {
            let acknowledged = acknowledged(&facts, &candidate);
            if let Due::Away(candidate) = self.waiting.resolve(&candidate.key, acknowledged) {
                away.push(*candidate);
            }
        }
        Ok(away)
    }
}

/// How many of the first messages have few enough receivers together.
fn first_part(gathered: &[Delivery]) -> usize {
    let mut receivers = 0;
    let is_beyond = |delivery: &Delivery| {
        receivers += delivery.receivers.len();
        receivers > RECEIVERS_MAX
    };
    gathered.iter().position(is_beyond).map_or(gathered.len(), |place| place.max(1))
}

fn member(candidate: &Candidate) -> Option<(u64, u64)> {
    match candidate.key {
        ((user_id, _), Some(Peer::Group(group_id))) => Some((user_id, group_id)),
        _ => None,
    }
}

fn acknowledged(facts: &Facts, candidate: &Candidate) -> u64 {
    let seq = match member(candidate).filter(|_| candidate.is_large) {
        Some(member) => facts.cursors.get(&member),
        None => facts.acks.get(&candidate.key.0),
    };
    seq.copied().unwrap_or(0)
}
