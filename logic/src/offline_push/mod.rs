//! Offline push: what was stored for people who are away is handed out, once, to whoever wakes their devices.
//!
//! ```text
//!  what is stored ── walk ──▶ gathered for a moment ──▶ decision ──┬──▶ queues ──▶ second look ──▶ claim ──▶ senders
//!                                                        ▲         └──▶ waiting: connected, and not acknowledged yet
//!                                     facts ─────────────┘                 └── away after all? ──▶ queues
//! ```
//! One of all logic nodes does it, the one that holds the walk `offline_push` ([`crate::walk`]); another one goes on where it ends or is killed.
//! One task, on a thread that gives way to what people wait for, reads, gathers, decides ([`gatherer`], [`decision`], [`facts`]) and hands out
//! ([`handing`], [`queue`], [`destinations`], [`senders`], [`badges`]).
//!
//! Always holds: no send waits for it, and nothing is written for a message; a push is claimed in the database before its call is made, so
//! that no other process makes that call; everything is bounded and counted. What a process that is killed takes with it are the calls that
//! were under way.

mod badges;
mod decision;
mod destinations;
mod facts;
mod gatherer;
mod handing;
mod queue;
mod senders;
mod waiting;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gim_config::threads::Threads;
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
};

use self::{
    badges::Badges, facts::FactReader, gatherer::Gatherer, handing::Handing, senders::Senders, waiting::Waiting,
};
use crate::{
    clients::business::Business,
    settings::OfflinePushSettings,
    shared_state::SharedState,
    store::{Store, StoreError, push_claims::WALK},
    usecase::UseCases,
    walk::{Settled, Walk},
};

/// How long calls may take that are under way when it is to stop; longer than that they are left.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// What it is made of.
#[derive(Debug)]
pub struct PushParts {
    /// What was stored, devices, and what holds pushes back.
    pub store: Store,
    /// Up to where that is settled.
    pub settled: Settled,
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
    parts: PushParts,
}

/// The running task.
#[derive(Debug)]
pub struct OfflinePushes {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Nothing where the settings name nobody who wakes devices.
///
/// # Errors
/// A sentence that names the key.
pub fn prepare(settings: &OfflinePushSettings, parts: PushParts) -> Result<Option<PreparedPushes>, String> {
    let senders = Senders::new(settings, parts.business.clone())?;
    if senders.is_empty() {
        return Ok(None);
    }
    Ok(Some(PreparedPushes { settings: settings.clone(), senders, parts }))
}

/// The key with which pages subscribe to Web Push; empty where the settings have none.
///
/// # Errors
/// What is wrong with its file.
pub fn web_push_key(settings: &OfflinePushSettings) -> Result<Bytes, String> {
    senders::web_push_key(settings)
}

impl PreparedPushes {
    /// Begins to hand out, on threads that give way.
    ///
    /// # Errors
    /// Where what was stored cannot be read there.
    pub fn start(self, use_cases: Arc<UseCases>, threads: &Threads) -> Result<OfflinePushes, StoreError> {
        let Self { settings, senders, parts } = self;
        let PushParts { store, settled, shared, .. } = parts;
        let (claims, targets) = (store.push_claims.clone(), store.push_targets.clone());
        let gatherer = Gatherer {
            walk: Walk::new(WALK, &store.aside()?, settled),
            claims: claims.clone(),
            facts: Arc::new(FactReader::new(shared, targets.clone(), settings.group_members_max)),
            badges: settings.badges.then(|| Badges::new(use_cases)),
            waiting: Waiting::new(Duration::from_secs(settings.unacknowledged_s), settings.awaited_max),
            handing: Handing::new(senders, claims, targets),
            held: None,
            skips: false,
            settings,
        };
        let (stop, stopped) = oneshot::channel();
        Ok(OfflinePushes { stop, task: threads.spawn(gatherer.run(stopped, FINISH_MAX)) })
    }
}

impl OfflinePushes {
    /// Waits until it ends, which it does not by itself.
    pub async fn ended(pushes: &mut Option<Self>) -> Result<(), JoinError> {
        match pushes {
            Some(pushes) => (&mut pushes.task).await,
            None => std::future::pending().await,
        }
    }

    /// Ends it, no later than after `patience`: another node, or this one after its next start, goes on.
    pub async fn stop(self, patience: Duration) {
        let Self { stop, mut task } = self;
        drop(stop);
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            task.abort();
        }
    }
}
