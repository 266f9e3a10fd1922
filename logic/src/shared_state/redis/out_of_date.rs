//! What logic nodes tell each other through a list in Redis, whose entries are counted: each node asks, as often as it renews its
//! leases, for those that came since it asked last. With it goes a mark by which nodes know that they share this Redis: the
//! first one sets it, the others take it over, and it lasts as long as one of them.
//!
//! Always holds: a node that may have missed something is told that everything is out of date. That is so when it asks first,
//! when Redis lost the count or another process of Redis has it, and when more came than the list holds.

use redis::Value;

use super::{
    RedisState, SharedStateError,
    client::read,
    scripts::{self, IDLE_MS, script},
};
use crate::domain::out_of_date::OutOfDate;

/// Entries that are kept: more than the business tells in the seconds between two looks.
const ENTRIES_MAX: u64 = 4_096;

/// How far a node has heard.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    count: u64,
    /// The process of Redis that counted.
    server: Option<String>,
    /// Of all that share this Redis, once it was asked.
    pub(super) mark: String,
}

impl Default for Heard {
    fn default() -> Self {
        Self { count: 0, server: None, mark: format!("{:016x}", rand::random::<u64>()) }
    }
}

impl RedisState {
    /// Tells all logic nodes, this one too.
    pub(super) async fn tell_all(&self, what: OutOfDate) -> Result<(), SharedStateError> {
        let mut command = script(scripts::TELL, &self.keys.told()[..2]);
        command.arg(what.encode()).arg(ENTRIES_MAX).arg(IDLE_MS);
        self.client.run::<u64>(command).await.map(drop)
    }

    /// What was told since the last call. Only one task calls this.
    pub(super) async fn hear(&self) -> Result<Vec<OutOfDate>, SharedStateError> {
        let Heard { count, server, mark } = self.here().heard.clone();
        let mut command = script(scripts::TOLD, &self.keys.told());
        command.arg(count).arg(IDLE_MS).arg(mark).arg(self.lease_ms());
        let (now_at, count_now, entries, mark): (String, u64, Value, String) = self.client.run(command).await?;
        let is_same = server.as_ref() == Some(&now_at);
        self.here().heard = Heard { count: count_now, server: Some(now_at), mark };
        let entries: Option<Vec<String>> = read(entries)?;
        let entries = entries.filter(|_| is_same);
        Ok(entries.map_or_else(
            || vec![OutOfDate::Everything],
            |entries| entries.iter().map(|entry| OutOfDate::decode(entry)).collect(),
        ))
    }
}
