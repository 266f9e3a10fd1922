//! What goes after a time, each in a task of its own: leases, revocations, messages. A step at a time, so that
//! nothing else is held up.

use std::{sync::Arc, time::Duration};

use metrics::gauge;
use tokio::task::JoinHandle;

use crate::{
    domain::{clock, message_id},
    metrics as names,
    settings::{LogicSettings, RetentionSettings},
    shared_state::SharedState,
    store::{Retention, Revocations, Store, Walks, retention::Steps},
    usecase::listed_words::ListedWords,
};

/// How often revocations are looked through for those that no token can outlive.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

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
        tokio::spawn(purge_revocations(store.revocations.clone(), settings.jwt.lifetime_max_s)),
        tokio::spawn(delete_old(store.retention.clone(), store.walks.clone(), settings.retention.clone())),
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
        if let Err(problem) = words.refresh().await {
            words.tell(&problem);
        }
    }
}

/// Deletes messages that are kept no longer, and that no walk has yet to pass.
async fn delete_old(retention: Retention, walks: Walks, settings: RetentionSettings) {
    if settings.keep_s == 0 {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_secs(settings.interval_s));
    let keep_ms = i64::try_from(settings.keep_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let steps = Steps { rows: settings.step_rows, pause: Duration::from_millis(settings.step_pause_ms) };
    loop {
        interval.tick().await;
        let due_ms = clock::now_ms().saturating_sub(keep_ms);
        let Some(before_id) = not_held(&walks, due_ms, &settings).await else { continue };
        // Whoever reads on from a place of his own looks here after he has read.
        if let Err(error) = walks.delete_up_to(before_id.saturating_sub(1)).await {
            tracing::warn!(%error, "the deletion of old messages is put off");
            continue;
        }
        match retention.sweep(before_id, steps).await {
            Ok(swept) => tracing::info!(rows = swept.rows, messages = swept.messages, "deleted what is kept no longer"),
            Err(error) => tracing::warn!(%error, "the deletion of old messages is put off"),
        }
    }
}

/// Up to where messages may go that are due: no further than the slowest walk, but for one that is too far behind.
async fn not_held(walks: &Walks, due_ms: i64, settings: &RetentionSettings) -> Option<u64> {
    let slowest = match walks.slowest().await {
        Ok(slowest) => slowest,
        Err(error) => {
            tracing::warn!(%error, "the deletion of old messages is put off");
            return None;
        }
    };
    let at_least_ms = due_ms.saturating_sub(i64::try_from(settings.held_s.saturating_mul(1_000)).unwrap_or(i64::MAX));
    let (due_id, at_least_id) = (message_id::least_at(due_ms), message_id::least_at(at_least_ms));
    let held_id = slowest.map_or(due_id, |cursor_id| due_id.min(cursor_id + 1));
    if held_id < at_least_id {
        tracing::warn!("messages are deleted that nobody was told of: events are further behind than retention.held_s");
    }
    let before_id = held_id.max(at_least_id);
    let held_ms = due_ms.saturating_sub(message_id::time_ms(before_id)).max(0);
    gauge!(names::RETENTION_HELD_SECONDS).set(held_ms as f64 / 1_000.0);
    Some(before_id)
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
