//! The settings of logic: `config/logic.toml` documents every key with its default. Plain data, read once at start.

mod events;
mod legacy;
mod messages;
mod nodes;
mod offline_push;
mod ranges;
mod redis_url;
mod users;

use std::path::{Path, PathBuf};

use gim_config::{
    RemovedKey, RenamedKey, Settings,
    admin::AdminSettings,
    grpc::{ClientsSettings, GrpcSettings},
    listen::Endpoint,
    logging::LogSettings,
    sql::DatabaseSettings,
    traces::TracesSettings,
};
use serde::{Deserialize, Serialize};

pub use self::{
    events::{EventGroups, EventKind, EventSettings},
    legacy::LegacySettings,
    messages::{
        ConversationSettings, GroupSettings, InboxSettings, LimitSettings, MessageSettings, RetentionSettings,
        RoomSettings, WordFilterSettings,
    },
    nodes::{CallSettings, GatewaySettings, LinkSettings, SharedStateSettings},
    offline_push::OfflinePushSettings,
    redis_url::{Credentials, RedisTarget, RedisWay, TlsFiles},
    users::{BusinessSettings, JwtKey, JwtSettings, KickSettings, WhileAway},
};
pub use crate::domain::kick::KickPolicy;
use crate::domain::message_id::NODE_NUMBER_MAX;

/// What may stand around a content or a token in a frame or a request.
pub const ENVELOPE_BYTES: usize = 4096;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogicSettings {
    /// The name of this node in logs and towards conn.
    pub node: String,
    /// Part of every message id; different on every logic node of one database. 0..=1023.
    pub node_number: u16,
    /// Where the SQLite file is kept.
    pub data_dir: PathBuf,
    /// Where this service is called.
    pub grpc: GrpcSettings,
    /// Where apps and pages call.
    pub clients: ClientsSettings,
    /// Where clients call that speak an older dialect.
    pub legacy: Vec<LegacySettings>,
    /// Metrics and health.
    pub admin: AdminSettings,
    /// Logs.
    pub log: LogSettings,
    /// Traces.
    pub traces: TracesSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// Routes and rooms.
    pub shared_state: SharedStateSettings,
    /// Who knows users and tokens.
    pub business: BusinessSettings,
    /// Tokens that are checked here.
    pub jwt: JwtSettings,
    /// Sizes of requests.
    pub limits: LimitSettings,
    /// What clients may do with messages that are stored.
    pub message: MessageSettings,
    /// Words that users may not say.
    pub word_filter: WordFilterSettings,
    /// Lists of conversations.
    pub conversation: ConversationSettings,
    /// The writer of inboxes.
    pub inbox: InboxSettings,
    /// The streams of conn nodes.
    pub link: LinkSettings,
    /// Calls over long connections.
    pub call: CallSettings,
    /// Where clients are told to connect.
    pub gateway: GatewaySettings,
    /// Rooms.
    pub room: RoomSettings,
    /// Groups.
    pub group: GroupSettings,
    /// What a sign-in does to the user's other devices.
    pub kick: KickSettings,
    /// Who wakes the devices of people who are away.
    pub offline_push: OfflinePushSettings,
    /// How long messages are kept.
    pub retention: RetentionSettings,
    /// Who is told what happened.
    pub events: EventSettings,
}

impl Default for LogicSettings {
    fn default() -> Self {
        Self {
            node: "logic-1".into(),
            node_number: 1,
            data_dir: "data".into(),
            grpc: GrpcSettings { listen: Endpoint::new("127.0.0.1:8010"), ..GrpcSettings::default() },
            clients: ClientsSettings::default(),
            legacy: Vec::new(),
            admin: AdminSettings { listen: Endpoint::new("127.0.0.1:8011"), ..AdminSettings::default() },
            log: LogSettings::default(),
            traces: TracesSettings::default(),
            database: DatabaseSettings::default(),
            shared_state: SharedStateSettings::default(),
            business: BusinessSettings::default(),
            jwt: JwtSettings::default(),
            limits: LimitSettings::default(),
            message: MessageSettings::default(),
            word_filter: WordFilterSettings::default(),
            conversation: ConversationSettings::default(),
            inbox: InboxSettings::default(),
            link: LinkSettings::default(),
            call: CallSettings::default(),
            gateway: GatewaySettings::default(),
            room: RoomSettings::default(),
            group: GroupSettings::default(),
            kick: KickSettings::default(),
            offline_push: OfflinePushSettings::default(),
            retention: RetentionSettings::default(),
            events: EventSettings::default(),
        }
    }
}

impl Settings for LogicSettings {
    const SERVICE: &'static str = "logic";
    const RENAMED: &'static [RenamedKey] = &[
        ("gateway.listen", "clients.listen"),
        ("gateway.connections_max", "grpc.connections_max"),
        ("gateway.connection_timeout_ms", "grpc.request_timeout_ms"),
    ];

    const REMOVED: &'static [RemovedKey] =
        &[("inbox.idempotency_s", "a client_msg_id is recognised as long as its message is kept (retention.keep_s)")];

    const RELOADED: &'static [&'static str] = &[
        "log.filter",
        "log.slow_ms",
        "traces.sampled_share",
        "grpc.internal_token",
        "grpc.accepted_tokens",
        "clients.origins",
        "jwt.keys",
        "jwt.issuer",
        "jwt.audience",
        "jwt.leeway_s",
        "limits.user_requests_per_s",
        "limits.user_requests_burst",
        "word_filter.refuse",
        "word_filter.mask",
        "word_filter.flag",
        "word_filter.words_max",
        "word_filter.file_bytes_max",
    ];

    fn listeners(&mut self) -> Vec<&mut Endpoint> {
        let legacy = self.legacy.iter_mut().map(|legacy| &mut legacy.listen);
        [&mut self.grpc.listen, &mut self.admin.listen, &mut self.clients.listen].into_iter().chain(legacy).collect()
    }

    fn admin(&self) -> &Endpoint {
        &self.admin.listen
    }

    fn files_interval_ms(&self) -> u64 {
        self.admin.files_interval_ms
    }

    fn traces(&self) -> Option<&TracesSettings> {
        Some(&self.traces)
    }

    fn node(&self) -> &str {
        &self.node
    }

    fn peers(&mut self) -> Vec<&mut Endpoint> {
        self.business.endpoint.iter_mut().collect()
    }

    fn set_data_dir(&mut self, folder: &Path) -> bool {
        self.data_dir = folder.to_owned();
        true
    }

    fn validate(&self) -> Result<(), String> {
        if self.node.is_empty() || self.node.len() > 64 {
            return Err("node: must have 1 to 64 bytes".into());
        }
        if self.node_number > NODE_NUMBER_MAX {
            return Err(format!("node_number: must be at most {NODE_NUMBER_MAX}"));
        }
        if self.business.endpoint.is_off() && self.jwt.keys.is_empty() {
            return Err("business.endpoint: must not be empty where there are no jwt.keys to check tokens with".into());
        }
        if !self.business.endpoint.is_off() {
            self.business.endpoint.check_service().map_err(|problem| format!("business.endpoint: {problem}"))?;
        }
        self.jwt.validate()?;
        self.grpc.validate()?;
        self.clients.validate()?;
        legacy::validate(&self.legacy)?;
        self.log.validate()?;
        self.traces.validate()?;
        self.database.validate()?;
        let keep_least_s = self.message.recall_window_s.max(3_600);
        if self.retention.keep_s != 0 && self.retention.keep_s < keep_least_s {
            return Err(format!(
                "retention.keep_s: must be 0, or at least {keep_least_s} (also message.recall_window_s)"
            ));
        }
        self.shared_state.validate()?;
        self.events.validate([&self.grpc.listen, &self.clients.listen, &self.admin.listen])?;
        let walks = self.events.is_on() || self.offline_push.is_on(!self.business.endpoint.is_off());
        if walks && !self.shared_state.url.is_empty() && self.database.writers_max < 2 {
            return Err(
                "database.writers_max: must be at least 2 where events.webhook or events.streams_max is set, or \
                        [offline_push] wakes anybody"
                    .into(),
            );
        }
        self.offline_push.validate([&self.grpc.listen, &self.clients.listen, &self.admin.listen])?;
        ranges::validate(self)?;
        if self.group.normal_members_max > self.inbox.batch_rows_max {
            return Err("group.normal_members_max: must be at most inbox.batch_rows_max".into());
        }
        let request_bytes_min = self.limits.content_bytes_max.max(self.limits.token_bytes_max) + ENVELOPE_BYTES;
        if self.grpc.request_bytes_max < request_bytes_min {
            return Err(format!(
                "grpc.request_bytes_max: must be at least {request_bytes_min}, {ENVELOPE_BYTES} more than limits.content_bytes_max \
                 and limits.token_bytes_max"
            ));
        }
        let device_bytes = 5 * self.limits.device_text_bytes_max + ENVELOPE_BYTES;
        if self.grpc.request_bytes_max < device_bytes {
            return Err(format!(
                "grpc.request_bytes_max: must be at least {device_bytes}, as a device has five texts of limits.device_text_bytes_max"
            ));
        }
        self.grpc.validate_token(self.limits.token_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use gim_config::{endpoints::Endpoints, jwt::JwtAlgorithm};

    use super::*;

    #[test]
    fn the_settings_file_documents_every_default() {
        gim_config::settings::assert_documents_defaults::<LogicSettings>(include_str!("../../../config/logic.toml"));
        LogicSettings::default().validate().unwrap();
    }

    #[test]
    fn a_change_of_each_key_is_applied_at_once_or_named() {
        gim_config::testing::assert_each_key_is_applied_or_named::<LogicSettings>(include_str!(
            "../../../config/logic.toml"
        ));
    }

    #[test]
    fn a_request_has_room_for_the_longest_content() {
        let mut settings = LogicSettings::default();
        settings.limits.content_bytes_max = settings.grpc.request_bytes_max - ENVELOPE_BYTES;
        settings.validate().unwrap();
        settings.limits.content_bytes_max += 1;
        assert!(settings.validate().unwrap_err().starts_with("grpc.request_bytes_max: must be at least 131073"));
    }

    #[test]
    fn a_value_out_of_range_is_refused_by_its_key() {
        let refusal = |change: fn(&mut LogicSettings)| {
            let mut settings = LogicSettings::default();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        assert_eq!(refusal(|settings| settings.node_number = 1024), "node_number: must be at most 1023");
        assert_eq!(refusal(|settings| settings.node.clear()), "node: must have 1 to 64 bytes");
        let keep = refusal(|settings| settings.retention.keep_s = 60);
        assert!(keep.starts_with("retention.keep_s: must be 0, or at least 3600"), "{keep}");
        let limit = refusal(|settings| settings.limits.content_bytes_max = 0);
        assert_eq!(limit, "limits.content_bytes_max: must be between 1 and 1048576");
        let nobody = refusal(|settings| settings.business.endpoint = Endpoints::default());
        assert!(nobody.starts_with("business.endpoint: must not be empty where there are no jwt.keys"), "{nobody}");
        let twice = refusal(|settings| {
            let key = JwtKey { kid: "a".into(), algorithm: JwtAlgorithm::HS256, file: "/a".into() };
            settings.jwt.keys = vec![key.clone(), key];
        });
        assert_eq!(twice, "jwt.keys[1].kid: there are two keys `a`");
    }
}
