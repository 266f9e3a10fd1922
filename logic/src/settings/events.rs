//! What happened is told to others: the section `[events]`.

use std::path::PathBuf;

use gim_config::{
    listen::{self, Endpoint},
    public_addresses::Reach,
    webhook::{self, Secret},
};
use serde::{Deserialize, Serialize};

/// What is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names in the events are the documentation")]
pub enum EventKind {
    #[serde(rename = "message.stored")]
    MessageStored,
    #[serde(rename = "message.recalled")]
    MessageRecalled,
    #[serde(rename = "conversation.read")]
    ConversationRead,
    #[serde(rename = "group.changed")]
    GroupChanged,
    #[serde(rename = "user.online")]
    UserOnline,
    #[serde(rename = "user.offline")]
    UserOffline,
    #[serde(rename = "sign_in.refused")]
    SignInRefused,
    #[serde(rename = "device.registered")]
    DeviceRegistered,
}

impl EventKind {
    /// Those of what is stored, which are told at least once.
    pub const STORED: [Self; 4] =
        [Self::MessageStored, Self::MessageRecalled, Self::ConversationRead, Self::GroupChanged];

    /// Those of what is not, which are told at most once.
    pub const LIVE: [Self; 4] = [Self::UserOnline, Self::UserOffline, Self::SignInRefused, Self::DeviceRegistered];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::STORED.into_iter().chain(Self::LIVE)
    }

    /// Whether it is one of [`EventKind::STORED`].
    pub fn is_stored(self) -> bool {
        Self::STORED.contains(&self)
    }

    /// Its name in events, settings and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageStored => "message.stored",
            Self::MessageRecalled => "message.recalled",
            Self::ConversationRead => "conversation.read",
            Self::GroupChanged => "group.changed",
            Self::UserOnline => "user.online",
            Self::UserOffline => "user.offline",
            Self::SignInRefused => "sign_in.refused",
            Self::DeviceRegistered => "device.registered",
        }
    }
}

/// Kinds of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum EventGroups {
    Normal,
    Large,
}

impl EventGroups {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Large];
}

/// The section `[events]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventSettings {
    /// Where events are told; empty for nowhere.
    pub webhook: String,
    /// What calls are signed with.
    pub webhook_secret: String,
    /// A file that holds it.
    pub webhook_secret_file: PathBuf,
    /// How long one call may take.
    pub webhook_timeout_ms: u64,
    /// Whether the webhook may be at an address of a private network, or of this host.
    pub private_addresses: bool,
    /// What is told.
    pub kinds: Vec<EventKind>,
    /// Of which groups.
    pub group_kinds: Vec<EventGroups>,
    /// Most events in one call.
    pub batch_events_max: u32,
    /// About the most bytes of what messages say in one call.
    pub batch_bytes_max: usize,
    /// Most events of a kind that wait to be told at most once, for the webhook, and for each stream.
    pub live_queue_max: usize,
    /// How long it is waited after a first call that failed.
    pub backoff_first_ms: u64,
    /// And at most.
    pub backoff_max_ms: u64,
    /// After so long what nobody took is put into the dead-letter file; 0 for never.
    pub dead_letter_after_s: u64,
    /// Most bytes of that file.
    pub dead_letter_bytes_max: u64,
    /// Most streams of events of this node; 0 for none.
    pub streams_max: usize,
    /// For so long a subscriber may leave a batch where it is.
    pub stream_patience_ms: u64,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            webhook: String::new(),
            webhook_secret: String::new(),
            webhook_secret_file: PathBuf::new(),
            webhook_timeout_ms: 5_000,
            private_addresses: false,
            kinds: EventKind::STORED.to_vec(),
            group_kinds: EventGroups::ALL.to_vec(),
            batch_events_max: 500,
            batch_bytes_max: 1 << 20,
            live_queue_max: 10_000,
            backoff_first_ms: 500,
            backoff_max_ms: 30_000,
            dead_letter_after_s: 86_400,
            dead_letter_bytes_max: 256 << 20,
            streams_max: 0,
            stream_patience_ms: 30_000,
        }
    }
}

impl EventSettings {
    /// Whether there is a webhook.
    pub fn has_webhook(&self) -> bool {
        !self.webhook.is_empty()
    }

    /// Whether anybody may be told of what is stored.
    pub fn is_on(&self) -> bool {
        self.has_webhook() || self.streams_max > 0
    }

    /// Where calls may go.
    pub fn reach(&self) -> Reach {
        if self.private_addresses { Reach::Anywhere } else { Reach::PublicAddresses }
    }

    /// Names the key that is wrong. `own` are the listeners of this service.
    pub(super) fn validate(&self, own: [&Endpoint; 3]) -> Result<(), String> {
        if !self.has_webhook() {
            return Ok(());
        }
        let url = webhook::checked(&self.webhook).map_err(|problem| format!("events.webhook: {problem}"))?;
        webhook::check_reach(&url, self.reach())
            .map_err(|problem| format!("events.webhook: {problem} (events.private_addresses allows it)"))?;
        webhook::check_not_own(&url, &listen::addresses(&own))
            .map_err(|problem| format!("events.webhook: {problem}"))?;
        Secret::new(&self.webhook_secret)
            .map_err(|problem| format!("events.webhook_secret: {problem}, because calls are signed with it"))?;
        if self.kinds.is_empty() {
            return Err("events.kinds: must name one, where there is a webhook".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_that_leads_inside_or_back_or_is_unsigned_is_refused() {
        let own = Endpoint::new("127.0.0.1:8010");
        let off = Endpoint::default();
        let refusal = |webhook: &str, secret: &str, private_addresses: bool| {
            let settings = EventSettings {
                webhook: webhook.into(),
                webhook_secret: secret.into(),
                private_addresses,
                ..EventSettings::default()
            };
            settings.validate([&own, &off, &off]).err().unwrap_or_default()
        };
        let secret = "sixteen-bytes-16";
        assert_eq!(refusal("https://hooks.example.com/gim", secret, false), "");
        assert!(refusal("http://10.0.0.5/gim", secret, false).contains("private network, 10.0.0.5"));
        assert!(refusal("http://[::1]:9000/", secret, false).contains("events.private_addresses"));
        assert_eq!(refusal("http://127.0.0.1:9000/", secret, true), "");
        assert!(refusal("http://localhost:8010/x", secret, true).contains("is this service itself"));
        assert!(refusal("https://hooks.example.com/", "short", false).starts_with("events.webhook_secret: "));
        assert!(refusal("ftp://hooks.example.com/", secret, false).starts_with("events.webhook: must be a URL"));
        assert!(EventSettings::default().validate([&own, &off, &off]).is_ok());
        let named: Vec<String> =
            EventKind::all().map(|kind| serde_json::to_string(&kind).unwrap().replace('"', "")).collect();
        assert_eq!(named, EventKind::all().map(EventKind::name).collect::<Vec<_>>(), "one name everywhere");
    }
}
