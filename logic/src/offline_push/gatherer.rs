//! The task: what is stored is read behind the walk's place, gathered for a moment, decided about, and handed out.
//!
//! Always holds: the walk's place stays behind everything that waits, is being handed out, or is waited for, and moves on when all of that is
//! seen to. So whoever takes the walk after a kill finds all of it again, looks anew who is away, and passes over what was claimed. It is on a
//! thread that gives way, and asks on those of everybody else what others ask as well.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use tokio::sync::oneshot;

use super::{
    badges::Badges,
    decision::{Candidate, PushKey, Said, coalesced, decide},
    facts::FactReader,
    handing::{Handing, Lost},
    waiting::{Due, Waiting},
};
use crate::{
    domain::{clock, group::Kind, message_id, stored_event::StoredEvent},
    error::Error,
    metrics as names,
    settings::OfflinePushSettings,
    store::{PushClaims, StoreError, others},
    walk::{PageLimits, Walk},
};

/// Messages that are gathered; more are read when these are decided about.
const MESSAGES_MAX: usize = 50_000;

/// Receivers who are looked up together; one message may have more.
const RECEIVERS_MAX: usize = 2_000;

/// Messages that are older wake nobody.
const AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// Devices that are looked at again at once, after they were waited for.
const DUE_MAX: usize = 4_096;

/// What is read at once.
const PAGE: PageLimits = PageLimits { events: 1_000, bytes: 4 << 20 };

/// Between two looks for what was stored, and for what may be handed out.
const READ_INTERVAL: Duration = Duration::from_millis(100);
const TURN_INTERVAL: Duration = Duration::from_millis(20);

/// Between two looks for whether the walk may be taken, or anybody wants pushes by now.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// After what could not be read is looked at again.
const POSTPONED: Duration = Duration::from_secs(1);

/// Between two moves of the walk's place.
const PASS_INTERVAL: Duration = Duration::from_secs(2);

/// See the module's documentation.
pub(super) struct Gatherer {
    pub settings: OfflinePushSettings,
    pub walk: Walk,
    pub claims: PushClaims,
    pub facts: Arc<FactReader>,
    pub badges: Option<Badges>,
    pub waiting: Waiting,
    pub handing: Handing,
    pub held: Option<HeldPushes>,
    /// Whether what was stored before it holds the walk the next time wakes nobody: nobody wanted any.
    pub skips: bool,
}

/// What this process knows while it holds the walk.
pub(super) struct HeldPushes {
    holder: u64,
    /// Everything up to it was read.
    read_up_to: u64,
    gathered: Vec<Said>,
    /// When these are decided about.
    decide_at: Option<Instant>,
    read_at: Instant,
    passed_at: Instant,
    /// The newest message of each conversation and device that was claimed before this process held the walk.
    claimed_before: HashMap<PushKey, u64>,
    claimed_up_to: u64,
}

impl Gatherer {
    /// Goes on until it is asked to stop; then another node may go on at once.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>, patience: Duration) {
        loop {
            let interval = if self.turn().await { TURN_INTERVAL } else { IDLE_INTERVAL };
            tokio::select! {
                _ = &mut stop => break,
                () = self.handing.ended() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
        let holder = self.held.as_ref().map(|held| held.holder);
        self.handing.finish(holder, patience).await;
        if let Some(done) = self.done_up_to() {
            self.walk.pass(done);
        }
        self.walk.leave().await;
    }

    /// Does what is to be done now; false where nothing is, as another process does it, or nobody wants it.
    async fn turn(&mut self) -> bool {
        self.handing.senders.ask_business(Instant::now());
        if !self.handing.senders.want_any() {
            self.leave().await;
            return false;
        }
        match self.hold().await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                tracing::debug!(%error, "what is to be pushed is looked at later");
                return false;
            }
        }
        if let Err(error) = self.read().await {
            tracing::debug!(%error, "what was stored is read later");
        }
        self.decide().await;
        self.look_at_waiting().await;
        let Some(held) = &self.held else { return false };
        if let Err(Lost) = self.handing.hand_out(held.holder, &self.facts, self.badges.as_ref()).await {
            self.forget();
            return false;
        }
        self.move_on().await;
        true
    }

    /// Nobody wants pushes: what is stored meanwhile wakes nobody.
    async fn leave(&mut self) {
        if self.held.is_some() && !self.handing.is_calling() {
            self.walk.pass(self.walk.settled_id());
            self.walk.leave().await;
            self.forget();
            self.skips = true;
        }
    }

    fn forget(&mut self) {
        self.held = None;
        self.handing.forget(&self.settings);
        self.waiting = Waiting::new(Duration::from_secs(self.settings.unacknowledged_s), self.settings.awaited_max);
    }

    /// Whether this process holds the walk. Where it has taken it, it begins with what was left.
    async fn hold(&mut self) -> Result<bool, StoreError> {
        let holder = self.walk.hold().await?;
        if self.held.as_ref().map(|held| held.holder) == holder {
            return Ok(holder.is_some());
        }
        self.forget();
        let (Some(holder), Some(cursor_id)) = (holder, self.walk.cursor_id()) else { return Ok(false) };
        let oldest = message_id::least_at(clock::now_ms() - AGE_MAX.as_millis() as i64);
        let stored = self.claims.clone();
        let claims = others::ask(async move { stored.after(cursor_id).await }).await?;
        let claimed_up_to = claims.iter().map(|claim| claim.message_id).max().unwrap_or(0);
        let mut claimed_before = HashMap::new();
        for claim in claims {
            let newest = claimed_before.entry(((claim.user_id, claim.device_id), claim.peer)).or_insert(0);
            *newest = claim.message_id.max(*newest);
        }
        let now = Instant::now();
        let begin = if std::mem::take(&mut self.skips) { self.walk.settled_id() } else { oldest.saturating_sub(1) };
        let read_up_to = cursor_id.max(begin);
        tracing::info!(claims = claimed_before.len(), "this node hands pushes out");
        let (gathered, decide_at, read_at, passed_at) = (Vec::new(), None, now, now);
        self.held = Some(HeldPushes {
            holder,
            read_up_to,
            gathered,
            decide_at,
            read_at,
            passed_at,
            claimed_before,
            claimed_up_to,
        });
        Ok(true)
    }

    /// Reads what was stored meanwhile, as far as there is room.
    async fn read(&mut self) -> Result<(), StoreError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let now = Instant::now();
        while held.read_at <= now && held.gathered.len() < MESSAGES_MAX {
            let page = self.walk.ahead(held.read_up_to, PAGE).await?;
            if !page.has_more {
                held.read_at = now + READ_INTERVAL;
            }
            for event in page.events {
                match event {
                    StoredEvent::Message { message, receivers, group_kind } => {
                        let is_large = group_kind == Some(Kind::Large);
                        let expires = expires(message.created_at_ms, now);
                        let kept = (self.settings.previews, expires);
                        held.gathered.extend(Said::of(&message, receivers.as_deref(), is_large, kept));
                    }
                    StoredEvent::Recall(recall) => {
                        held.gathered.retain(|said| said.message_id != recall.message_id);
                        self.waiting.recalled(recall.message_id);
                    }
                    StoredEvent::Read(_) => {}
                }
            }
            held.read_up_to = page.up_to;
        }
        if held.decide_at.is_none() && !held.gathered.is_empty() {
            held.decide_at = Some(now + Duration::from_millis(self.settings.coalesce_ms));
        }
        Ok(())
    }

    /// Decides about what was gathered, part by part.
    async fn decide(&mut self) {
        let Some(held) = self.held.as_mut().filter(|held| held.decide_at.is_some_and(|at| at <= Instant::now())) else {
            return;
        };
        held.decide_at = None;
        let mut gathered = std::mem::take(&mut held.gathered);
        while !gathered.is_empty() {
            let rest = gathered.split_off(first_part(&gathered));
            let part = Arc::new(gathered);
            if let Err(error) = self.decide_about(&part).await {
                tracing::debug!(%error, messages = part.len() + rest.len(), "who is away is looked at later");
                let mut gathered = Arc::unwrap_or_clone(part);
                gathered.extend(rest);
                if let Some(held) = &mut self.held {
                    let now = Instant::now();
                    gathered.retain(|said| said.expires > now);
                    (held.gathered, held.decide_at) = (gathered, Some(now + POSTPONED));
                }
                return;
            }
            gathered = rest;
        }
    }

    async fn decide_about(&mut self, stored: &Arc<Vec<Said>>) -> Result<(), Error> {
        let senders = &self.handing.senders;
        let facts = self.facts.about(stored, senders.want_devices()).await?;
        let mut decided = decide(stored, &facts, senders.wake_users());
        if let Some(held) = &self.held {
            let is_new = |candidate: &Candidate| {
                held.claimed_before.get(&candidate.key).is_none_or(|&claimed| candidate.newest.message_id > claimed)
            };
            decided.now.retain(|(candidate, _)| is_new(candidate));
            decided.unless_acknowledged.retain(is_new);
        }
        counter!(names::OFFLINE_PUSHES_SPARED, "why" => "acknowledged").increment(decided.synced);
        let connected = decided.unless_acknowledged.len() as u64;
        counter!(names::OFFLINE_PUSHES_SPARED, "why" => "connected").increment(connected);
        let at = Instant::now();
        for candidate in decided.unless_acknowledged {
            if !self.waiting.put(candidate, at) {
                counter!(names::OFFLINE_PUSHES_DROPPED, "bound" => "awaited").increment(1);
            }
        }
        for (mut candidate, push_id) in coalesced(decided.now) {
            if let Some(waited) = self.waiting.forget(&candidate.key) {
                candidate.absorb(waited);
            }
            self.handing.put(candidate, &push_id);
        }
        Ok(())
    }

    /// Those who were connected, and acknowledged nothing in their time.
    async fn look_at_waiting(&mut self) {
        let due = self.waiting.due(Instant::now(), DUE_MAX);
        gauge!(names::OFFLINE_PUSHES_AWAITED).set(self.waiting.len() as f64);
        if due.is_empty() {
            return;
        }
        let acknowledged = match self.facts.acknowledged(due.clone()).await {
            Ok(acknowledged) => acknowledged,
            Err(error) => return tracing::debug!(%error, "who did not acknowledge is looked at later"),
        };
        let (now, mut away) = (Instant::now(), Vec::new());
        for candidate in due {
            let has = |message_id: u64| acknowledged.has(&candidate, message_id);
            if let Due::Away(candidate) = self.waiting.resolve(&candidate.key, now, has) {
                away.push(*candidate);
            }
        }
        self.hand_over(away).await;
    }

    /// Those who are away after all are woken; where nothing can be read about them, they have their time once more.
    async fn hand_over(&mut self, away: Vec<Candidate>) {
        if away.is_empty() {
            return;
        }
        let standing = self.facts.standing(away.clone()).await;
        for candidate in away {
            match &standing {
                Ok(standing) => {
                    if let Some((candidate, device)) = standing.of(&candidate) {
                        self.handing.put(candidate, &device.push_id);
                    }
                }
                Err(_) => drop(self.waiting.put(candidate, Instant::now())),
            }
        }
    }

    /// Notes how far all is seen to.
    async fn move_on(&mut self) {
        let now = Instant::now();
        let Some(held) = self.held.as_mut().filter(|held| now >= held.passed_at + PASS_INTERVAL) else { return };
        held.passed_at = now;
        if held.read_up_to > held.claimed_up_to && held.gathered.is_empty() {
            held.claimed_before = HashMap::new();
        }
        let Some(done) = self.done_up_to() else { return };
        // The place first: what was claimed behind it would be handed out again.
        if self.walk.advance(done).await.is_err() {
            return self.forget();
        }
        let claims = self.claims.clone();
        if let Err(error) = others::ask(async move { claims.pass(done).await }).await {
            tracing::debug!(%error, "what was claimed is forgotten later");
        }
    }

    /// Up to where everything is seen to.
    fn done_up_to(&self) -> Option<u64> {
        let held = self.held.as_ref()?;
        let gathered = held.gathered.first().map(|said| said.message_id);
        let first = [gathered, self.waiting.first_id(), self.handing.senders.first_id()].into_iter().flatten().min();
        let done = first.map_or(held.read_up_to, |first| held.read_up_to.min(first.saturating_sub(1)));
        Some(done.max(self.walk.cursor_id()?))
    }
}

/// When a message is too old. Its age is asked of the clock once, which may jump after that.
fn expires(stored_at_ms: i64, now: Instant) -> Instant {
    let age_ms = u64::try_from(clock::now_ms() - stored_at_ms).unwrap_or(0);
    now + AGE_MAX.saturating_sub(Duration::from_millis(age_ms))
}

/// How many of the first messages have few enough receivers together.
fn first_part(gathered: &[Said]) -> usize {
    let mut receivers = 0;
    let is_beyond = |said: &Said| {
        receivers += said.receivers.len();
        receivers > RECEIVERS_MAX
    };
    gathered.iter().position(is_beyond).map_or(gathered.len(), |place| place.max(1))
}
