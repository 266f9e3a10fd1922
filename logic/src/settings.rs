//! The settings of logic: `config/logic.toml` documents every key with its default. Plain data, read once at start.

use std::path::{Path, PathBuf};

use gim_config::{
    Settings, admin::AdminSettings, grpc::GrpcSettings, jwt::JwtAlgorithm, listen::Endpoint, logging::LogSettings,
    sql::DatabaseSettings,
};
use gim_proto::logic::DeviceType;
use serde::{Deserialize, Serialize};

use crate::{domain::message_id::NODE_NUMBER_MAX, route::redis};

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
    /// Metrics and health.
    pub admin: AdminSettings,
    /// Logs.
    pub log: LogSettings,
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
    /// The writer of inboxes.
    pub inbox: InboxSettings,
    /// The streams of conn nodes.
    pub link: LinkSettings,
    /// Where clients are told to connect.
    pub gateway: GatewaySettings,
    /// Rooms.
    pub room: RoomSettings,
    /// Groups.
    pub group: GroupSettings,
    /// What a sign-in does to the user's other devices.
    pub kick: KickSettings,
    /// How long messages are kept.
    pub retention: RetentionSettings,
}

/// The section `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// How long messages are kept; 0 for ever.
    pub keep_s: u64,
    /// Between two sweeps.
    pub interval_s: u64,
    /// Rows that one transaction deletes.
    pub step_rows: u32,
    /// Between two transactions.
    pub step_pause_ms: u64,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { keep_s: 0, interval_s: 3_600, step_rows: 500, step_pause_ms: 20 }
    }
}

/// The section `[shared_state]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedStateSettings {
    /// `redis://…`, `redis+sentinel://…` or `redis+cluster://…`; empty to keep it in this process.
    pub url: String,
    /// What every key in Redis begins with.
    pub key_prefix: String,
    /// How long a call of Redis may last; beyond it what needed it is answered "try again later".
    pub command_timeout_ms: u64,
    /// Calls of Redis under way at the same time; further ones wait within their time.
    pub calls_in_flight_max: usize,
}

/// The section `[business]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusinessSettings {
    /// Where the business service is called.
    pub endpoint: Endpoint,
    /// How long one call may last.
    pub call_timeout_ms: u64,
    /// Token checks under way at the same time; further ones wait within their time.
    pub auth_in_flight_max: usize,
    /// Calls about users under way at the same time; further ones wait within their time.
    pub calls_in_flight_max: usize,
    /// Commands of clients under way at the same time; further ones wait within their time.
    pub commands_in_flight_max: usize,
    /// How long a token that was found good is not asked about again in `*ExtService` calls.
    pub auth_cache_ms: u64,
    /// How many such tokens are remembered.
    pub auth_cache_entries_max: usize,
    /// How long a user's card (nickname, avatar) is used before it is asked for again.
    pub user_cache_ms: u64,
    /// How many cards are remembered.
    pub user_cache_entries_max: usize,
    /// Whether the business is asked (`MayWrite`) if a user may write to another one.
    pub asks_may_write: bool,
    /// How long such an answer is used before it is asked for again.
    pub may_write_cache_ms: u64,
    /// How many such answers are remembered.
    pub may_write_cache_entries_max: usize,
}

/// The section `[jwt]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtSettings {
    /// The keys, each under its name. Without one, every token is the business's to judge.
    pub keys: Vec<JwtKey>,
    /// What `iss` must be; empty asks for nothing.
    pub issuer: String,
    /// What `aud` must be, or hold; empty asks for nothing.
    pub audience: String,
    /// How far the clocks of maker and checker may differ.
    pub leeway_s: u32,
    /// A token that is good for longer is refused. Revocations are remembered for so long.
    pub lifetime_max_s: u32,
}

/// One key of `[jwt]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtKey {
    /// As in the header of tokens; empty for tokens without one.
    #[serde(default)]
    pub kid: String,
    /// What it signs with; a token of another algorithm is refused.
    pub algorithm: JwtAlgorithm,
    /// HS256: the secret, at least 32 bytes; EdDSA: the public key in PEM.
    pub file: PathBuf,
}

/// The section `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Longest content of one message. 60 KiB leave room for the envelope in a frame of 64 KiB.
    pub content_bytes_max: usize,
    /// Most receivers of one PushToUsers, and most users of one ListOnline.
    pub push_users_max: usize,
    /// Pushes to all that a conn node may be busy with; one more is refused.
    pub push_all_max: usize,
    /// A page that is synced over a long connection ends before it is longer than this (but holds at least one message).
    pub sync_packet_bytes_max: usize,
}

/// The section `[message]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageSettings {
    /// How long after sending a message its sender may recall it; 0 for never.
    pub recall_window_s: u64,
    /// Messages in a page of history where the client does not say, or asks for more.
    pub history_page_max: u32,
}

/// The section `[inbox]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InboxSettings {
    /// Inbox rows that one transaction takes.
    pub batch_rows_max: usize,
    /// Transactions under way at the same time, on MySQL; no more than connections for writing.
    pub transactions_max: u32,
    /// Inbox rows that wait before another transaction begins beside one that is under way.
    pub transaction_rows_min: usize,
    /// Requests that wait for the writer; beyond it the answer is "try again later".
    pub queue_jobs_max: usize,
    /// Bytes that wait for the writer; beyond it the answer is "try again later".
    pub queue_bytes_max: usize,
    /// How long a repeated send is recognised by its client_msg_id.
    pub idempotency_s: u64,
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
    /// Items in one message of a stream.
    pub batch_items_max: usize,
    /// How long conn nodes may take to move their users away before this service stops.
    pub leave_timeout_ms: u64,
}

/// The section `[gateway]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// Where `GET /locate` is answered; empty for nowhere.
    pub listen: Endpoint,
    /// Connections there at the same time; further ones wait.
    pub connections_max: usize,
    /// How long each may last, from its first byte to its last.
    pub connection_timeout_ms: u64,
    /// Conn nodes in one answer.
    pub nodes_max: usize,
    /// A conn node that is so full, in thousandths of its connections, is offered to nobody.
    pub full_permille: u32,
    /// One that is so full is offered last to those who are about to enter a room.
    pub room_full_permille: u32,
    /// How often clients should send a heartbeat: less than conn's `session.heartbeat_timeout_ms`.
    pub heartbeat_s: u32,
    /// How long clients should wait before they try again, at first and at most.
    pub backoff_first_ms: u32,
    /// See there.
    pub backoff_max_ms: u32,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::default(),
            connections_max: 256,
            connection_timeout_ms: 5_000,
            nodes_max: 8,
            full_permille: 950,
            room_full_permille: 800,
            heartbeat_s: 150,
            backoff_first_ms: 500,
            backoff_max_ms: 30_000,
        }
    }
}

/// The section `[room]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomSettings {
    /// Messages that a room keeps for those who subscribe later.
    pub retained_count_max: usize,
    /// For how long it keeps them.
    pub retained_ms: u64,
    /// Bytes of messages that a room keeps: a subscriber gets them at once, so they should fit its outbound queue in conn.
    pub retained_bytes_max: usize,
    /// Rooms with subscribers or retained messages; in one more nobody can be, "try again later".
    pub rooms_max: usize,
    /// How long a send into a room that is repeated is recognised by its client_msg_id; 0 for not at all.
    pub idempotency_ms: u64,
    /// How many such sends are remembered, the newest ones.
    pub idempotency_sends_max: usize,
}

/// The section `[kick]`: by the type of the device that signs in, which of the user's other devices are closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct KickSettings {
    pub other: KickPolicy,
    pub android: KickPolicy,
    pub ios: KickPolicy,
    pub windows: KickPolicy,
    pub macos: KickPolicy,
    pub web: KickPolicy,
}

/// Which of a user's other devices a sign-in closes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KickPolicy {
    /// All may be connected side by side.
    #[default]
    None,
    /// Those of the same type.
    SameType,
    /// All of them.
    AllOthers,
}

impl KickSettings {
    /// The policy of a `logic.DeviceType`.
    pub fn policy_of(&self, device_type: i32) -> KickPolicy {
        match DeviceType::try_from(device_type) {
            Ok(DeviceType::DtAndroid) => self.android,
            Ok(DeviceType::DtIos) => self.ios,
            Ok(DeviceType::DtWindows) => self.windows,
            Ok(DeviceType::DtMacos) => self.macos,
            Ok(DeviceType::DtWeb) => self.web,
            Ok(DeviceType::DtDefault) | Err(_) => self.other,
        }
    }

    /// Whether everybody may stay.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }
}

/// The section `[group]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSettings {
    /// Most members of a normal group, each of whom gets a copy of every message.
    pub normal_members_max: usize,
    /// Most members of a large group, which has one timeline for all.
    pub large_members_max: usize,
    /// Most members in one request that makes a group, adds to it or removes from it.
    pub members_per_request_max: usize,
}

impl Default for LogicSettings {
    fn default() -> Self {
        Self {
            node: "logic-1".into(),
            node_number: 1,
            data_dir: "data".into(),
            grpc: GrpcSettings { listen: Endpoint::new("127.0.0.1:8010"), ..GrpcSettings::default() },
            admin: AdminSettings { listen: Endpoint::new("127.0.0.1:8011") },
            log: LogSettings::default(),
            database: DatabaseSettings::default(),
            shared_state: SharedStateSettings::default(),
            business: BusinessSettings::default(),
            jwt: JwtSettings::default(),
            limits: LimitSettings::default(),
            message: MessageSettings::default(),
            inbox: InboxSettings::default(),
            link: LinkSettings::default(),
            gateway: GatewaySettings::default(),
            room: RoomSettings::default(),
            group: GroupSettings::default(),
            kick: KickSettings::default(),
            retention: RetentionSettings::default(),
        }
    }
}

impl Default for SharedStateSettings {
    fn default() -> Self {
        Self { url: String::new(), key_prefix: "gim".into(), command_timeout_ms: 1_000, calls_in_flight_max: 1_024 }
    }
}

impl Default for BusinessSettings {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::new("http://127.0.0.1:8020"),
            call_timeout_ms: 3_000,
            auth_in_flight_max: 256,
            calls_in_flight_max: 1_024,
            commands_in_flight_max: 512,
            auth_cache_ms: 5_000,
            auth_cache_entries_max: 100_000,
            user_cache_ms: 60_000,
            user_cache_entries_max: 100_000,
            asks_may_write: true,
            may_write_cache_ms: 10_000,
            may_write_cache_entries_max: 100_000,
        }
    }
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway_s: 30,
            lifetime_max_s: 90 * 86_400,
        }
    }
}

impl JwtSettings {
    fn validate(&self) -> Result<(), String> {
        for (index, key) in self.keys.iter().enumerate() {
            if self.keys[..index].iter().any(|other| other.kid == key.kid) {
                return Err(format!("jwt.keys[{index}].kid: there are two keys `{}`", key.kid));
            }
        }
        Ok(())
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            content_bytes_max: 60 * 1024,
            push_users_max: 10_000,
            push_all_max: 16,
            sync_packet_bytes_max: 60 * 1024,
        }
    }
}

impl Default for MessageSettings {
    fn default() -> Self {
        Self { recall_window_s: 120, history_page_max: 100 }
    }
}

impl Default for InboxSettings {
    fn default() -> Self {
        Self {
            batch_rows_max: 8_192,
            transactions_max: 2,
            transaction_rows_min: 1024,
            queue_jobs_max: 65_536,
            queue_bytes_max: 64 << 20,
            idempotency_s: 7 * 24 * 3600,
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
            batch_items_max: 1_024,
            leave_timeout_ms: 5_000,
        }
    }
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            retained_count_max: 100,
            retained_ms: 600_000,
            retained_bytes_max: 192 * 1024,
            rooms_max: 100_000,
            idempotency_ms: 60_000,
            idempotency_sends_max: 100_000,
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { normal_members_max: 500, large_members_max: 1_000_000, members_per_request_max: 10_000 }
    }
}

impl Settings for LogicSettings {
    const SERVICE: &'static str = "logic";

    fn endpoints(&mut self) -> Vec<&mut Endpoint> {
        vec![&mut self.grpc.listen, &mut self.admin.listen, &mut self.gateway.listen, &mut self.business.endpoint]
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
        self.jwt.validate()?;
        self.grpc.validate()?;
        self.log.validate()?;
        self.database.validate()?;
        let keep_least_s = self.message.recall_window_s.max(3_600);
        if self.retention.keep_s != 0 && self.retention.keep_s < keep_least_s {
            return Err(format!(
                "retention.keep_s: must be 0, or at least {keep_least_s} (also message.recall_window_s)"
            ));
        }
        self.shared_state.validate()?;
        self.validate_ranges()
    }
}

impl SharedStateSettings {
    fn validate(&self) -> Result<(), String> {
        if !self.url.is_empty() {
            redis::Target::parse(&self.url).map_err(|problem| format!("shared_state.url: {problem}"))?;
        }
        if self.key_prefix.is_empty() || self.key_prefix.len() > 64 || self.key_prefix.contains(['{', '}']) {
            return Err("shared_state.key_prefix: must have 1 to 64 bytes, and no braces".into());
        }
        Ok(())
    }
}

impl LogicSettings {
    fn validate_ranges(&self) -> Result<(), String> {
        let mib = 1 << 20;
        let ranges = [
            ("shared_state.command_timeout_ms", self.shared_state.command_timeout_ms, 1, 60_000),
            ("shared_state.calls_in_flight_max", self.shared_state.calls_in_flight_max as u64, 1, 1_000_000),
            ("business.call_timeout_ms", self.business.call_timeout_ms, 1, 60_000),
            ("business.auth_in_flight_max", self.business.auth_in_flight_max as u64, 1, 65_536),
            ("business.calls_in_flight_max", self.business.calls_in_flight_max as u64, 1, 65_536),
            ("business.commands_in_flight_max", self.business.commands_in_flight_max as u64, 1, 65_536),
            ("business.auth_cache_ms", self.business.auth_cache_ms, 0, 3_600_000),
            ("business.auth_cache_entries_max", self.business.auth_cache_entries_max as u64, 1, 10_000_000),
            ("business.user_cache_ms", self.business.user_cache_ms, 0, 86_400_000),
            ("business.user_cache_entries_max", self.business.user_cache_entries_max as u64, 1, 10_000_000),
            ("business.may_write_cache_ms", self.business.may_write_cache_ms, 0, 3_600_000),
            ("business.may_write_cache_entries_max", self.business.may_write_cache_entries_max as u64, 1, 10_000_000),
            ("jwt.leeway_s", self.jwt.leeway_s.into(), 0, 3_600),
            ("jwt.lifetime_max_s", self.jwt.lifetime_max_s.into(), 1, 10 * 366 * 86_400),
            ("limits.content_bytes_max", self.limits.content_bytes_max as u64, 1, mib),
            ("limits.push_users_max", self.limits.push_users_max as u64, 1, 100_000),
            ("limits.push_all_max", self.limits.push_all_max as u64, 1, 1_000),
            ("limits.sync_packet_bytes_max", self.limits.sync_packet_bytes_max as u64, 1, 3 * mib),
            ("message.recall_window_s", self.message.recall_window_s, 0, 30 * 86_400),
            ("message.history_page_max", self.message.history_page_max.into(), 1, 1_000),
            ("inbox.batch_rows_max", self.inbox.batch_rows_max as u64, 1, 1_000_000),
            ("inbox.transactions_max", u64::from(self.inbox.transactions_max), 1, 64),
            ("inbox.transaction_rows_min", self.inbox.transaction_rows_min as u64, 1, 65_536),
            ("inbox.queue_jobs_max", self.inbox.queue_jobs_max as u64, 1, 10_000_000),
            ("inbox.queue_bytes_max", self.inbox.queue_bytes_max as u64, mib, 64 << 30),
            ("inbox.idempotency_s", self.inbox.idempotency_s, 60, 366 * 86_400),
            ("link.lease_ms", self.link.lease_ms, 100, 600_000),
            ("link.in_flight_max", self.link.in_flight_max as u64, 1, 1_000_000),
            ("link.down_pushes_max", self.link.down_pushes_max as u64, 1, 10_000_000),
            ("link.down_bytes_max", self.link.down_bytes_max as u64, 1024, 64 << 30),
            ("link.batch_items_max", self.link.batch_items_max as u64, 1, 65_536),
            ("link.leave_timeout_ms", self.link.leave_timeout_ms, 0, 60_000),
            ("gateway.connections_max", self.gateway.connections_max as u64, 1, 65_536),
            ("gateway.connection_timeout_ms", self.gateway.connection_timeout_ms, 1, 60_000),
            ("gateway.nodes_max", self.gateway.nodes_max as u64, 1, 1_000),
            ("gateway.full_permille", self.gateway.full_permille.into(), 1, 1_000),
            ("gateway.room_full_permille", self.gateway.room_full_permille.into(), 1, 1_000),
            ("gateway.heartbeat_s", self.gateway.heartbeat_s.into(), 1, 86_400),
            ("gateway.backoff_first_ms", self.gateway.backoff_first_ms.into(), 1, 3_600_000),
            ("gateway.backoff_max_ms", self.gateway.backoff_max_ms.into(), 1, 3_600_000),
            ("room.retained_bytes_max", self.room.retained_bytes_max as u64, 0, 2 * mib),
            ("group.normal_members_max", self.group.normal_members_max as u64, 1, 10_000),
            ("group.large_members_max", self.group.large_members_max as u64, 1, 100_000_000),
            ("group.members_per_request_max", self.group.members_per_request_max as u64, 1, 100_000),
            ("retention.interval_s", self.retention.interval_s, 1, 86_400),
            ("retention.step_rows", self.retention.step_rows.into(), 1, 100_000),
            ("retention.step_pause_ms", self.retention.step_pause_ms, 0, 60_000),
            ("room.idempotency_ms", self.room.idempotency_ms, 0, 86_400_000),
            ("room.idempotency_sends_max", self.room.idempotency_sends_max as u64, 1, 10_000_000),
            ("room.rooms_max", self.room.rooms_max as u64, 1, 100_000_000),
        ];
        match ranges.into_iter().find(|&(_, value, least, most)| value < least || value > most) {
            Some((key, _, least, most)) => Err(format!("{key}: must be between {least} and {most}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_file_documents_every_default() {
        gim_config::settings::assert_documents_defaults::<LogicSettings>(include_str!("../../config/logic.toml"));
        LogicSettings::default().validate().unwrap();
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
        let nobody = refusal(|settings| settings.business.endpoint = Endpoint::default());
        assert!(nobody.starts_with("business.endpoint: must not be empty where there are no jwt.keys"), "{nobody}");
        let twice = refusal(|settings| {
            let key = JwtKey { kid: "a".into(), algorithm: JwtAlgorithm::HS256, file: "/a".into() };
            settings.jwt.keys = vec![key.clone(), key];
        });
        assert_eq!(twice, "jwt.keys[1].kid: there are two keys `a`");
    }
}
