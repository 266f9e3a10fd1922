//! The section `[offline_push]`: who wakes the devices of people who are away, and about what.

use std::path::PathBuf;

use gim_config::{
    listen::{self, Endpoint},
    public_addresses::Reach,
    webhook::{self, Secret},
};
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
    /// Whether the webhook may be at an address of a private network, or of this host.
    pub private_addresses: bool,
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
    /// The hosts of browsers' makers, each with those below it, and with a port where that is not 443. No other is called.
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
            private_addresses: false,
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
    /// Where calls of the webhook may go.
    pub fn reach(&self) -> Reach {
        if self.private_addresses { Reach::Anywhere } else { Reach::PublicAddresses }
    }

    /// Whether anybody may wake devices; `business` says whether there is one.
    pub fn is_on(&self, business: bool) -> bool {
        let files = [&self.fcm_account_file, &self.apns_key_file, &self.web_push_key_file];
        let has_service = files.iter().any(|file| !file.as_os_str().is_empty());
        has_service || !self.webhook.is_empty() || self.log || (self.business && business)
    }

    /// Names the key that is wrong. `own` are the listeners of this service.
    pub(super) fn validate(&self, own: [&Endpoint; 3]) -> Result<(), String> {
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
        let url = webhook::checked(&self.webhook).map_err(|problem| format!("offline_push.webhook: {problem}"))?;
        webhook::check_reach(&url, self.reach())
            .map_err(|problem| format!("offline_push.webhook: {problem} (offline_push.private_addresses allows it)"))?;
        webhook::check_not_own(&url, &listen::addresses(&own))
            .map_err(|problem| format!("offline_push.webhook: {problem}"))?;
        Secret::new(&self.webhook_secret)
            .map(drop)
            .map_err(|problem| format!("offline_push.webhook_secret: {problem}, because calls are signed with it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_that_leads_inside_or_back_or_is_unsigned_is_refused() {
        let (own, off) = (Endpoint::new("0.0.0.0:8010"), Endpoint::default());
        let refusal = |webhook: &str, webhook_secret: &str, private_addresses: bool| {
            let (webhook, webhook_secret) = (webhook.into(), webhook_secret.into());
            let settings = OfflinePushSettings { webhook, webhook_secret, private_addresses, ..Default::default() };
            settings.validate([&own, &off, &off]).err().unwrap_or_default()
        };
        let secret = "sixteen-bytes-16";
        assert_eq!(refusal("https://hooks.example.com/push", secret, false), "");
        assert!(refusal("http://169.254.169.254/", secret, false).contains("offline_push.private_addresses"));
        assert_eq!(refusal("http://127.0.0.1:9000/", secret, true), "");
        assert!(refusal("http://localhost:8010/x", secret, true).contains("is this service itself"));
        assert!(refusal("https://hooks.example.com/", "short", false).starts_with("offline_push.webhook_secret: "));
    }
}
