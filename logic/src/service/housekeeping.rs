//! What goes after a time, each in a task of its own: leases, keys of sends, revocations, messages. A step at a time, so that
//! nothing else is held up.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use crate::{
    domain::{clock, message_id},
    settings::{LogicSettings, RetentionSettings},
    shared_state::SharedState,
    store::{Retention, Revocations, SentKeys, Store, retention::Steps, sent::PURGE_STEP_ROWS},
    usecase::listed_words::ListedWords,
};

/// How often keys of sends are looked through for those past their retention.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Between two steps of a purge, so that it never holds the writer up.
const PURGE_PAUSE: Duration = Duration::from_millis(50);

/// Starts the tasks; they end when they are aborted.
pub(super) fn start(
    settings: &LogicSettings,
    store: &Store,
    shared: &Arc<dyn SharedState>,
    lease: Duration,
    words: ListedWords,
) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(follow_words(words, settings.word_filter.refresh_ms)),
        tokio::spawn(sweep(shared.clone(), lease / 3)),
        tokio::spawn(purge_sent_keys(store.sent_keys.clone(), settings.inbox.idempotency_s)),
        tokio::spawn(purge_revocations(store.revocations.clone(), settings.jwt.lifetime_max_s)),
        tokio::spawn(delete_old(store.retention.clone(), settings.retention.clone())),
    ]
}

/// Forgets nodes, connections and rooms that ran out.
async fn sweep(shared: Arc<dyn SharedState>, interval: Duration) {
    let mut interval = tokio::time::interval(interval);
    loop {
        interval.tick().await;
        if let Err(error) = shared.sweep().await {
            tracing::warn!(%error, "housekeeping of routes and rooms is put off");
        }
    }
}

/// Judges by lists that were put through other nodes.
async fn follow_words(words: ListedWords, refresh_ms: u64) {
    let mut interval = tokio::time::interval(Duration::from_millis(refresh_ms));
    loop {
        interval.tick().await;
        if let Err(error) = words.refresh().await {
            tracing::warn!(%error, "the look for lists of words is put off");
        }
    }
}

/// Deletes messages that are kept no longer.
async fn delete_old(retention: Retention, settings: RetentionSettings) {
    if settings.keep_s == 0 {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(settings.interval_s));
    let keep_ms = i64::try_from(settings.keep_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let steps = Steps { rows: settings.step_rows, pause: Duration::from_millis(settings.step_pause_ms) };
    loop {
        interval.tick().await;
        let before_id = message_id::least_at(clock::now_ms().saturating_sub(keep_ms));
        match retention.sweep(before_id, steps).await {
            Ok(swept) => tracing::info!(rows = swept.rows, messages = swept.messages, "deleted what is kept no longer"),
            Err(error) => tracing::warn!(%error, "the deletion of old messages is put off"),
        }
    }
}

/// Forgets keys of sends after their retention, a step at a time.
async fn purge_sent_keys(sent_keys: SentKeys, idempotency_s: u64) {
    let mut interval = tokio::time::interval(PURGE_INTERVAL);
    let retention_ms = i64::try_from(idempotency_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    loop {
        interval.tick().await;
        let before_ms = clock::now_ms().saturating_sub(retention_ms);
        loop {
            match sent_keys.purge_step(before_ms).await {
                Ok(purged) if purged == u64::from(PURGE_STEP_ROWS) => tokio::time::sleep(PURGE_PAUSE).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "the purge of send keys is put off");
                    break;
                }
            }
        }
    }
}

/// Forgets revocations that no token can outlive, a step at a time.
async fn purge_revocations(revocations: Revocations, lifetime_max_s: u32) {
    let mut interval = tokio::time::interval(PURGE_INTERVAL);
    loop {
        interval.tick().await;
        let before_ms = clock::now_ms().saturating_sub(i64::from(lifetime_max_s) * 1000);
        if let Err(error) = revocations.purge_step(before_ms).await {
            tracing::warn!(%error, "the purge of revocations is put off");
        }
    }
}
