//! The section `[offline_push]`: who wakes the devices of people who are away, and about what.

use std::path::PathBuf;

use gim_config::webhook::{self, Secret};
use serde::{Deserialize, Serialize};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfflinePushSettings {
    /// Whether the business is asked to wake devices.
    pub business: bool,
    /// Whether pushes are told in the log.
    pub log: bool,
    /// An endpoint that wakes devices; empty for none.
    pub webhook: String,
    /// What the calls there are signed with.
    pub webhook_secret: String,
    /// A file that holds it.
    pub webhook_secret_file: PathBuf,
    /// How long one call of a service that wakes devices may last.
    pub timeout_ms: u64,
    /// How long messages are gathered before those who are away are looked up.
    pub coalesce_ms: u64,
    /// How long a device that is connected may take to acknowledge a message before it counts as away; 0 for ever.
    pub unacknowledged_s: u64,
    /// Devices that are given that time.
    pub awaited_max: usize,
    /// Whether pushes tell what a message says.
    pub previews: bool,
    /// Whether pushes tell how much is unread.
    pub badges: bool,
    /// Members of a large group up to which all of them are woken; of larger ones, those who are mentioned.
    pub group_members_max: u32,
    /// Pushes that wait for one sender.
    pub queue_max: usize,
}

impl Default for OfflinePushSettings {
    fn default() -> Self {
        Self {
            business: true,
            log: false,
            webhook: String::new(),
            webhook_secret: String::new(),
            webhook_secret_file: PathBuf::new(),
            timeout_ms: 5_000,
            coalesce_ms: 500,
            unacknowledged_s: 20,
            awaited_max: 100_000,
            previews: true,
            badges: true,
            group_members_max: 1_000,
            queue_max: 100_000,
        }
    }
}

impl OfflinePushSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.webhook.is_empty() {
            return Ok(());
        }
        webhook::checked(&self.webhook).map_err(|problem| format!("offline_push.webhook: {problem}"))?;
        Secret::new(&self.webhook_secret)
            .map(drop)
            .map_err(|problem| format!("offline_push.webhook_secret: {problem}, because calls are signed with it"))
    }
}
