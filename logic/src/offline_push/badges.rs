//! How much is unread, for the number on an app's icon: counted as lists count it, when a push is handed out.
//!
//! For the task of [`super`], on the threads of everybody else. Always holds: for all of a moment's pushes it is counted for so long at most;
//! who comes later has none. Nothing is remembered, so that the number is right after a read, and on whichever node it is counted.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};

use crate::usecase::UseCases;

/// Users who are counted for at the same time, and how long for all of them.
const COUNTS_MAX: usize = 8;
const COUNT_TIME_MAX: Duration = Duration::from_millis(200);

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Badges {
    use_cases: Arc<UseCases>,
}

impl Badges {
    pub(super) fn new(use_cases: Arc<UseCases>) -> Self {
        Self { use_cases }
    }

    /// The number of each user, as far as there is time.
    pub(super) async fn count(&self, user_ids: HashSet<u64>) -> HashMap<u64, u32> {
        let counts = user_ids.into_iter().map(async |user_id| (user_id, self.count_one(user_id).await));
        let mut counts = std::pin::pin!(stream::iter(counts).buffer_unordered(COUNTS_MAX));
        let deadline = tokio::time::Instant::now() + COUNT_TIME_MAX;
        let mut badges = HashMap::new();
        while let Ok(Some((user_id, count))) = tokio::time::timeout_at(deadline, counts.next()).await {
            badges.extend(count.map(|count| (user_id, count)));
        }
        badges
    }

    async fn count_one(&self, user_id: u64) -> Option<u32> {
        let counted = self.use_cases.conversations.unread_total(user_id).await;
        counted.inspect_err(|error| tracing::debug!(user_id, %error, "a push has no badge")).ok()
    }
}
