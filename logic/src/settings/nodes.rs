//! The sections about other nodes, and what comes over them: `[shared_state]`, `[link]`, `[call]` and `[gateway]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::redis_url::RedisTarget;
use crate::domain::locate::Fullness;

/// The section `[shared_state]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedStateSettings {
    /// `redis://…`, `redis+sentinel://…` or `redis+cluster://…`; empty to keep it in this process.
    pub url: String,
    /// A file that holds it.
    pub url_file: PathBuf,
    /// What every key in Redis begins with.
    pub key_prefix: String,
    /// How long a call of Redis may last; beyond it what needed it is answered "try again later".
    pub command_timeout_ms: u64,
    /// Calls of Redis under way at the same time; further ones wait within their time.
    pub calls_in_flight_max: usize,
}

/// The section `[link]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSettings {
    /// How long the connections of a conn node count as online after its stream broke.
    pub lease_ms: u64,
    /// Requests of one conn node that are under way; beyond it its stream is read no further.
    pub in_flight_max: usize,
    /// Pushes that wait for one conn node; beyond it they are dropped and the users told to sync.
    pub down_pushes_max: usize,
    /// Bytes of pushes that wait for one conn node, likewise.
    pub down_bytes_max: usize,
    /// Of these bytes, those that one user may have caused.
    pub down_user_bytes_max: usize,
    /// Items in one message of a stream.
    pub batch_items_max: usize,
    /// How long conn nodes may take to move their users away before this service stops.
    pub leave_timeout_ms: u64,
}

/// The section `[call]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallSettings {
    /// Calls over long connections (PC_CALL) that are under way; one more is refused.
    pub in_flight_max: usize,
    /// Those of one user.
    pub in_flight_per_user_max: usize,
    /// How long one may last.
    pub timeout_ms: u64,
    /// Most bytes of an answer.
    pub reply_bytes_max: usize,
}

/// The section `[gateway]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// Conn nodes in one answer.
    pub nodes_max: usize,
    /// A conn node that is so full, in thousandths of its connections, is offered to nobody.
    pub full_permille: u32,
    /// One that is so full is offered last to those who are about to enter a room.
    pub room_full_permille: u32,
    /// How often clients should send a heartbeat: at most half of conn's `session.heartbeat_timeout_ms`.
    pub heartbeat_s: u32,
    /// How long clients should wait before they try again, at first and at most.
    pub backoff_first_ms: u32,
    /// See there.
    pub backoff_max_ms: u32,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self { in_flight_max: 1_024, in_flight_per_user_max: 32, timeout_ms: 8_000, reply_bytes_max: 65_280 }
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            nodes_max: 8,
            full_permille: 950,
            room_full_permille: 800,
            heartbeat_s: 150,
            backoff_first_ms: 500,
            backoff_max_ms: 30_000,
        }
    }
}

impl Default for SharedStateSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            url_file: PathBuf::new(),
            key_prefix: "gim".into(),
            command_timeout_ms: 1_000,
            calls_in_flight_max: 1_024,
        }
    }
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            lease_ms: 15_000,
            in_flight_max: 16_384,
            down_pushes_max: 65_536,
            down_bytes_max: 64 << 20,
            down_user_bytes_max: 1 << 20,
            batch_items_max: 1_024,
            leave_timeout_ms: 5_000,
        }
    }
}

impl GatewaySettings {
    /// Which nodes are offered to clients.
    pub fn fullness(&self) -> Fullness {
        Fullness { full_permille: self.full_permille, room_full_permille: self.room_full_permille }
    }
}

impl SharedStateSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        if !self.url.is_empty() {
            RedisTarget::parse(&self.url).map_err(|problem| format!("shared_state.url: {problem}"))?;
        }
        if self.key_prefix.is_empty() || self.key_prefix.len() > 64 || self.key_prefix.contains(['{', '}']) {
            return Err("shared_state.key_prefix: must have 1 to 64 bytes, and no braces".into());
        }
        Ok(())
    }
}
