//! The settings of this service; `config/business.toml` documents every key.

mod files;
mod sign_in;

use std::path::{Path, PathBuf};

use gim_config::{
    Settings, admin::AdminSettings, endpoints::Endpoints, grpc::GrpcSettings, jwt::JwtAlgorithm, listen::Endpoint,
    logging::LogSettings, sql::DatabaseSettings, traces::TracesSettings,
};
use serde::{Deserialize, Serialize};

pub use self::{files::FilesSettings, sign_in::SignInSettings};
pub use crate::domain::contact::AddedBy;

/// All settings of the business service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusinessSettings {
    /// The name of this node.
    pub node: String,
    /// Folder of the embedded database.
    pub data_dir: PathBuf,
    /// Where this service is called.
    pub grpc: GrpcSettings,
    /// Metrics and health.
    pub admin: AdminSettings,
    /// Log lines.
    pub log: LogSettings,
    /// Traces.
    pub traces: TracesSettings,
    /// Where users, tokens and friends are kept.
    pub database: DatabaseSettings,
    /// The logic service that this one calls.
    pub logic: LogicSettings,
    /// The chat page.
    pub web: WebSettings,
    /// What users upload.
    pub files: FilesSettings,
    /// How users sign in.
    pub sign_in: SignInSettings,
    /// Tokens that logic can check by itself.
    pub jwt: JwtSettings,
    /// What friends may and others may not.
    pub friends: FriendSettings,
    /// Whom users find.
    pub search: SearchSettings,
    /// Sizes and counts.
    pub limits: Limits,
}

/// The section `[logic]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogicSettings {
    /// Where logic is called, on one node or several; it gives device ids and delivers pushes.
    pub endpoint: Endpoints,
    /// A call that lasts longer is answered "try again later".
    pub call_timeout_ms: u64,
}

/// The section `[web]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSettings {
    /// Where browsers find the chat page; off where it is empty.
    pub listen: Endpoint,
    /// Where the page connects, as browsers reach it; the nodes that Locate names, where it is empty.
    pub connect: String,
    /// Where pictures may come from that the page shows without being asked for; `*` for anywhere.
    pub media_origins: Vec<String>,
    /// Connections there at the same time; one beyond waits.
    pub connections_max: usize,
    /// How long each may last.
    pub connection_timeout_ms: u64,
}

/// The section `[jwt]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtSettings {
    /// HS256: a secret; EdDSA: a private key in PEM. Empty: tokens are random texts, which only this service can check.
    pub key_file: PathBuf,
    /// What tokens are signed with.
    pub algorithm: JwtAlgorithm,
    /// The `kid` in their header; empty for none.
    pub key_id: String,
    /// What they say as `iss`; empty for nothing.
    pub issuer: String,
    /// What they say as `aud`; empty for nothing.
    pub audience: String,
}

/// The section `[friends]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FriendSettings {
    /// Whether only friends may write to each other by PC_SEND; else everybody may who is not blocked.
    pub only_friends_write: bool,
    /// Whether SendMessage of friends reaches others, too.
    pub send_message_to_others: bool,
    /// Who puts those into groups who have no rule of their own; whoever may not write may not.
    pub added_by: AddedBy,
    /// A user who was told that another one asks to be a friend is not told again for so long.
    pub request_told_again_after_h: u32,
}

/// The section `[search]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSettings {
    /// Whether a part of a phone number is enough.
    pub part_of_phone_number: bool,
}

/// The section `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest phone number.
    pub phone_number_bytes_max: usize,
    /// Longest nickname, and longest search key.
    pub nickname_bytes_max: usize,
    /// Longest avatar URL.
    pub avatar_url_bytes_max: usize,
    /// Longest `extra`, of a user and of a friend.
    pub extra_bytes_max: usize,
    /// Longest remark about a friend.
    pub remarks_bytes_max: usize,
    /// Longest description of a request to be friends.
    pub description_bytes_max: usize,
    /// Longest content of a friend's message.
    pub content_bytes_max: usize,
    /// Longest text that describes a device: brand, model, …
    pub device_text_bytes_max: usize,
    /// Longest token.
    pub token_bytes_max: usize,
    /// Calls of one user per second, in the long run; 0 for no bound.
    pub user_requests_per_s: u32,
    /// Calls of one user at once.
    pub user_requests_burst: u32,
    /// Most users that one search finds.
    pub search_results_max: u32,
    /// Most user ids in one GetUsers.
    pub users_per_call_max: usize,
    /// Most friends of a user, together with the requests of that user that nobody agreed to yet.
    pub friends_max: u32,
    /// Most users whom one user blocks.
    pub blocked_max: u32,
}

impl Default for BusinessSettings {
    fn default() -> Self {
        Self {
            node: "business-1".into(),
            data_dir: "data".into(),
            grpc: GrpcSettings { listen: Endpoint::new("127.0.0.1:8020"), ..GrpcSettings::default() },
            admin: AdminSettings { listen: Endpoint::new("127.0.0.1:8021"), ..AdminSettings::default() },
            log: LogSettings::default(),
            traces: TracesSettings::default(),
            database: DatabaseSettings::default(),
            logic: LogicSettings::default(),
            web: WebSettings::default(),
            files: FilesSettings::default(),
            sign_in: SignInSettings::default(),
            jwt: JwtSettings::default(),
            friends: FriendSettings::default(),
            search: SearchSettings::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for LogicSettings {
    fn default() -> Self {
        Self { endpoint: Endpoints::new("http://127.0.0.1:8010"), call_timeout_ms: 3_000 }
    }
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::default(),
            connect: String::new(),
            media_origins: Vec::new(),
            connections_max: 256,
            connection_timeout_ms: 10_000,
        }
    }
}

impl Default for FriendSettings {
    fn default() -> Self {
        Self {
            only_friends_write: false,
            send_message_to_others: false,
            added_by: AddedBy::Everybody,
            request_told_again_after_h: 24,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            phone_number_bytes_max: 32,
            nickname_bytes_max: 128,
            avatar_url_bytes_max: 512,
            extra_bytes_max: 1_024,
            remarks_bytes_max: 128,
            description_bytes_max: 512,
            // With the sender's card around it, a message still fits the 60 KiB that logic takes.
            content_bytes_max: 56 * 1_024,
            device_text_bytes_max: 4 * 1_024,
            token_bytes_max: 12 * 1_024,
            user_requests_per_s: 200,
            user_requests_burst: 2_000,
            search_results_max: 50,
            users_per_call_max: 1_000,
            friends_max: 1_000,
            blocked_max: 1_000,
        }
    }
}

impl Settings for BusinessSettings {
    const SERVICE: &'static str = "business";
    const RELOADED: &'static [&'static str] = &[
        "log.filter",
        "log.slow_ms",
        "traces.sampled_share",
        "grpc.internal_token",
        "grpc.accepted_tokens",
        "limits.user_requests_per_s",
        "limits.user_requests_burst",
    ];

    fn listeners(&mut self) -> Vec<&mut Endpoint> {
        vec![&mut self.grpc.listen, &mut self.admin.listen, &mut self.web.listen, &mut self.files.listen]
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
        self.logic.endpoint.iter_mut().collect()
    }

    fn set_data_dir(&mut self, folder: &Path) -> bool {
        self.data_dir = folder.to_owned();
        true
    }

    fn validate(&self) -> Result<(), String> {
        if self.node.is_empty() {
            return Err("node: must not be empty".into());
        }
        self.grpc.validate()?;
        self.log.validate()?;
        self.traces.validate()?;
        self.database.validate()?;
        self.logic.validate()?;
        self.web.validate()?;
        self.files.validate()?;
        self.sign_in.validate()?;
        within("friends.request_told_again_after_h", self.friends.request_told_again_after_h, 0, 8_760)?;
        self.limits.validate()?;
        self.limits.validate_requests(self.grpc.request_bytes_max)?;
        self.grpc.validate_token(self.limits.token_bytes_max)
    }
}

impl BusinessSettings {
    /// Refuses a development code with which any host could sign in as anybody, unless that is meant.
    pub(crate) fn validate_development_code(&self) -> Result<(), String> {
        let SignInSettings { development_code, development_code_beyond_loopback: is_meant, .. } = &self.sign_in;
        if development_code.is_empty() || *is_meant || (self.grpc.listen.is_loopback() && self.web.listen.is_loopback())
        {
            return Ok(());
        }
        Err("sign_in.development_code: other hosts reach this service, and whoever knows the code could sign in as anybody: \
             empty it, or set sign_in.development_code_beyond_loopback = true if that is meant"
            .into())
    }
}

impl LogicSettings {
    fn validate(&self) -> Result<(), String> {
        self.endpoint.check_service().map_err(|problem| format!("logic.endpoint: {problem}"))?;
        within("logic.call_timeout_ms", self.call_timeout_ms, 1, 600_000)
    }
}

impl WebSettings {
    fn validate(&self) -> Result<(), String> {
        let is_url = self.connect.starts_with("ws://") || self.connect.starts_with("wss://");
        let is_plain = self.connect.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-_~".contains(&byte));
        let is_address = is_url && is_plain;
        if !self.connect.is_empty() && !is_address {
            return Err(format!(
                "web.connect must be empty, or an address as in `wss://chat.example.com/ws`, not `{}`",
                self.connect
            ));
        }
        if let Some(origin) = self.media_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!(
                "web.media_origins must have origins as in `https://cdn.example.com`, or `*`, not `{origin}`"
            ));
        }
        within("web.connections_max", self.connections_max as u64, 1, 65_536)?;
        within("web.connection_timeout_ms", self.connection_timeout_ms, 100, 600_000)
    }
}

/// As browsers write one: in lower case, without a path and without the port that goes without saying.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let goes_without_saying = if text.starts_with("https:") { "443" } else { "80" };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let is_host = |host: &str| {
        let is_ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_ipv6 = is_ipv6.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        is_ipv6 || (host.bytes().all(is_plain) && host.starts_with(|first: char| first.is_ascii_alphanumeric()))
    };
    let is_host_and_port = |host: &str| match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((name, port)) => is_host(name) && port != goes_without_saying && port.parse::<u16>().is_ok(),
        None => is_host(host),
    };
    text == "*" || host.is_some_and(is_host_and_port)
}

/// What stands around the texts of a request.
const ENVELOPE_BYTES: usize = 4096;

impl Limits {
    /// Each request has room for the longest texts that it may carry.
    fn validate_requests(&self, request_bytes_max: usize) -> Result<(), String> {
        let requests = [
            ("content_bytes_max", self.content_bytes_max),
            (
                "nickname_bytes_max, avatar_url_bytes_max and extra_bytes_max together",
                self.nickname_bytes_max + self.avatar_url_bytes_max + self.extra_bytes_max,
            ),
            (
                "remarks_bytes_max, description_bytes_max and extra_bytes_max together",
                self.remarks_bytes_max + self.description_bytes_max + self.extra_bytes_max,
            ),
            ("device_text_bytes_max, of which a device has five,", 5 * self.device_text_bytes_max),
        ];
        match requests.into_iter().find(|(_, bytes)| bytes + ENVELOPE_BYTES > request_bytes_max) {
            Some((name, bytes)) => Err(format!(
                "grpc.request_bytes_max: must be at least {}, {ENVELOPE_BYTES} more than limits.{name}",
                bytes + ENVELOPE_BYTES
            )),
            None => Ok(()),
        }
    }

    fn validate(&self) -> Result<(), String> {
        // The largest TEXT of MySQL.
        const TEXT_BYTES_MAX: u64 = 65_535;
        within("limits.phone_number_bytes_max", self.phone_number_bytes_max as u64, 1, 255)?;
        within("limits.content_bytes_max", self.content_bytes_max as u64, 1, 1 << 20)?;
        let texts = [
            ("nickname_bytes_max", self.nickname_bytes_max),
            ("avatar_url_bytes_max", self.avatar_url_bytes_max),
            ("extra_bytes_max", self.extra_bytes_max),
            ("remarks_bytes_max", self.remarks_bytes_max),
            ("description_bytes_max", self.description_bytes_max),
            ("device_text_bytes_max", self.device_text_bytes_max),
        ];
        for (name, value) in texts {
            within(&format!("limits.{name}"), value as u64, 1, TEXT_BYTES_MAX)?;
        }
        within("limits.token_bytes_max", self.token_bytes_max as u64, 64, 65_536)?;
        within("limits.user_requests_per_s", self.user_requests_per_s, 0, 1_000_000)?;
        within("limits.user_requests_burst", self.user_requests_burst, 1, 10_000_000)?;
        within("limits.search_results_max", self.search_results_max, 1, 1_000)?;
        // Each id is a parameter of one statement, and databases take 32,766 of them at most.
        // Logic asks about as many at once.
        within("limits.users_per_call_max", self.users_per_call_max as u64, 500, 10_000)?;
        within("limits.friends_max", self.friends_max, 1, 100_000)?;
        within("limits.blocked_max", self.blocked_max, 1, 100_000)
    }
}

fn within(key: &str, value: impl Into<u64>, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value.into()) {
        Ok(())
    } else {
        Err(format!("{key}: must be between {least} and {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_under_config_documents_every_default() {
        gim_config::settings::assert_documents_defaults::<BusinessSettings>(include_str!("../../config/business.toml"));
    }

    #[test]
    fn a_change_of_each_key_is_applied_at_once_or_named() {
        gim_config::testing::assert_each_key_is_applied_or_named::<BusinessSettings>(include_str!(
            "../../config/business.toml"
        ));
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(BusinessSettings::default().validate(), Ok(()));
    }

    #[test]
    fn a_refused_value_is_named() {
        let problem = |change: fn(&mut BusinessSettings)| {
            let mut settings = BusinessSettings::default();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        assert!(problem(|s| s.logic.endpoint = Endpoints::new("127.0.0.1:8010")).starts_with("logic.endpoint: "));
        assert!(problem(|s| s.logic.call_timeout_ms = 0).starts_with("logic.call_timeout_ms: "));
        assert!(problem(|s| s.sign_in.token_ttl_days = 0).starts_with("sign_in.token_ttl_days: "));
        assert!(
            problem(|s| s.web.media_origins = vec!["https://cdn.example.com/a".into()])
                .starts_with("web.media_origins ")
        );
        assert!(problem(|s| s.limits.content_bytes_max = 0).starts_with("limits.content_bytes_max: "));
        assert!(problem(|s| s.grpc.listen = Endpoint::default()).starts_with("grpc.listen: "));
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for origin in ["*", "https://cdn.example.com", "http://10.0.0.1:8080", "https://[::1]:8443", "http://[::1]"] {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in
            ["https://a:443", "http://a:80", "https://a:b", "https://.", "https://", "https://A", "a", "https://a/"]
        {
            assert!(!is_origin(origin), "{origin}");
        }
    }

    #[test]
    fn a_development_code_beyond_loopback_has_to_be_meant() {
        let mut settings = BusinessSettings::default();
        assert_eq!(settings.validate_development_code(), Ok(()));
        settings.grpc.listen = Endpoint::new("0.0.0.0:8020");
        for code in ["123456", "*"] {
            settings.sign_in.development_code = code.into();
            let problem = settings.validate_development_code().unwrap_err();
            assert!(problem.contains("sign_in.development_code_beyond_loopback = true"), "{problem}");
        }
        settings.sign_in.development_code_beyond_loopback = true;
        assert_eq!(settings.validate_development_code(), Ok(()));
        settings.sign_in.development_code_beyond_loopback = false;
        settings.sign_in.development_code = String::new();
        assert_eq!(settings.validate_development_code(), Ok(()));
    }

    #[test]
    fn the_data_folder_can_be_moved() {
        let mut settings = BusinessSettings::default();
        assert!(settings.set_data_dir(Path::new("/elsewhere")));
        assert_eq!(settings.data_dir, Path::new("/elsewhere"));
    }
}
