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
    /// The file of a service account of Google's, for FCM; empty for none.
    pub fcm_account_file: PathBuf,
    /// Where FCM is.
    pub fcm_endpoint: String,
    /// The file of a key of Apple's, for APNs; empty for none.
    pub apns_key_file: PathBuf,
    /// Its id.
    pub apns_key_id: String,
    /// Whose it is.
    pub apns_team_id: String,
    /// The app's bundle id.
    pub apns_topic: String,
    /// Where APNs is.
    pub apns_endpoint: String,
    /// The file of the key that Web Push is signed with; empty for none.
    pub web_push_key_file: PathBuf,
    /// Where the makers of browsers reach the operator: a `mailto:` or `https:` address.
    pub web_push_subject: String,
    /// The hosts of browsers' makers, each with those below it. No other is called.
    pub web_push_hosts: Vec<String>,
    /// A file of authorities that are trusted besides those of the host; empty for none.
    pub authorities_file: PathBuf,
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

/// Those of Chrome, Firefox, Edge and Safari.
const WEB_PUSH_HOSTS: [&str; 4] =
    ["fcm.googleapis.com", "push.services.mozilla.com", "notify.windows.com", "push.apple.com"];

impl Default for OfflinePushSettings {
    fn default() -> Self {
        Self {
            business: true,
            log: false,
            webhook: String::new(),
            webhook_secret: String::new(),
            webhook_secret_file: PathBuf::new(),
            fcm_account_file: PathBuf::new(),
            fcm_endpoint: "https://fcm.googleapis.com".into(),
            apns_key_file: PathBuf::new(),
            apns_key_id: String::new(),
            apns_team_id: String::new(),
            apns_topic: String::new(),
            apns_endpoint: "https://api.push.apple.com".into(),
            web_push_key_file: PathBuf::new(),
            web_push_subject: String::new(),
            web_push_hosts: WEB_PUSH_HOSTS.map(str::to_owned).to_vec(),
            authorities_file: PathBuf::new(),
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
        let needed = [
            (&self.apns_key_file, "apns_key_id", &self.apns_key_id),
            (&self.apns_key_file, "apns_team_id", &self.apns_team_id),
            (&self.apns_key_file, "apns_topic", &self.apns_topic),
            (&self.web_push_key_file, "web_push_subject", &self.web_push_subject),
        ];
        if let Some((_, key, _)) =
            needed.iter().find(|(file, _, value)| !file.as_os_str().is_empty() && value.is_empty())
        {
            return Err(format!("offline_push.{key}: must not be empty where there is a file of the key"));
        }
        for (key, endpoint) in [("fcm_endpoint", &self.fcm_endpoint), ("apns_endpoint", &self.apns_endpoint)] {
            if !endpoint.starts_with("https://") || endpoint.ends_with('/') {
                return Err(format!("offline_push.{key}: must be as in `https://push.example`, without a path"));
            }
        }
        if self.webhook.is_empty() {
            return Ok(());
        }
        webhook::checked(&self.webhook).map_err(|problem| format!("offline_push.webhook: {problem}"))?;
        Secret::new(&self.webhook_secret)
            .map(drop)
            .map_err(|problem| format!("offline_push.webhook_secret: {problem}, because calls are signed with it"))
    }
}
