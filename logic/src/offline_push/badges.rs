//! How much is unread, for the number on an app's icon: counted as lists count it, and remembered for a while.
//!
//! On the task of [`super`]. Always holds: for all of a moment's pushes it is counted for so long at most; who comes later has none.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};

use super::decision::Candidate;
use crate::{clients::cache::TtlCache, usecase::UseCases};

/// What was counted is added to for so long, before it is counted again: the user may have read something meanwhile.
const COUNTED_TTL: Duration = Duration::from_secs(30);
const COUNTED_ENTRIES_MAX: usize = 100_000;

/// Users who are counted for at the same time, and how long for all of them.
const COUNTS_MAX: usize = 4;
const COUNT_TIME_MAX: Duration = Duration::from_millis(300);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Badges {
    use_cases: Arc<UseCases>,
    /// With when it was counted.
    counted: TtlCache<u64, (u32, Instant)>,
}

impl Badges {
    pub(super) fn new(use_cases: Arc<UseCases>) -> Self {
        Self { use_cases, counted: TtlCache::new(COUNTED_TTL, COUNTED_ENTRIES_MAX) }
    }

    /// Sets the number of each push.
    pub(super) async fn add(&self, candidates: &mut [Candidate]) {
        let now = Instant::now();
        let mut news: HashMap<u64, u32> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        for candidate in candidates.iter() {
            // A user's devices all get the same message.
            if seen.insert((candidate.push.user_id, candidate.push.message_id)) {
                *news.entry(candidate.push.user_id).or_default() += candidate.push.messages;
            }
        }
        let mut badges: HashMap<u64, u32> = HashMap::new();
        let mut unknown = Vec::new();
        for (&user_id, &count) in &news {
            match self.counted.get(&user_id, now) {
                Some((before, at)) if now.duration_since(at) < COUNTED_TTL => {
                    badges.insert(user_id, before + count);
                    self.counted.put(user_id, (before + count, at), now);
                }
                _ => unknown.push(user_id),
            }
        }
        let counts = unknown.into_iter().map(async |user_id| (user_id, self.count(user_id).await));
        let mut counts = std::pin::pin!(stream::iter(counts).buffer_unordered(COUNTS_MAX));
        let deadline = tokio::time::Instant::now() + COUNT_TIME_MAX;
        while let Ok(Some((user_id, count))) = tokio::time::timeout_at(deadline, counts.next()).await {
            badges.extend(count.map(|count| (user_id, count)));
        }
        for candidate in candidates {
            candidate.push.badge = badges.get(&candidate.push.user_id).copied().unwrap_or(0);
        }
    }

    async fn count(&self, user_id: u64) -> Option<u32> {
        match self.use_cases.conversations.unread_total(user_id).await {
            Ok(count) => {
                let now = Instant::now();
                self.counted.put(user_id, (count, now), now);
                Some(count)
            }
            Err(error) => {
                tracing::debug!(user_id, %error, "a push has no badge");
                None
            }
        }
    }
}
