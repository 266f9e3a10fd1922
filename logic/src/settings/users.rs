//! The sections about who users are and which of their devices may be connected: `[business]`, `[jwt]` and `[kick]`.

use std::path::PathBuf;

use gim_config::{endpoints::Endpoints, jwt::JwtAlgorithm};
use gim_proto::logic::DeviceType;
use serde::{Deserialize, Serialize};

use crate::domain::kick::KickPolicy;

/// The section `[business]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusinessSettings {
    /// Where the business service is called, on one node or several.
    pub endpoint: Endpoints,
    /// How long one call may last.
    pub call_timeout_ms: u64,
    /// Token checks under way at the same time; further ones wait within their time.
    pub auth_in_flight_max: usize,
    /// Calls about users under way at the same time; further ones wait within their time.
    pub calls_in_flight_max: usize,
    /// Commands of clients under way at the same time; further ones wait within their time.
    pub commands_in_flight_max: usize,
    /// Those of one user; further ones are refused.
    pub commands_per_user_max: usize,
    /// How long a token that was found good is not asked about again in `*ExtService` calls.
    pub auth_cache_ms: u64,
    /// How many such tokens are remembered.
    pub auth_cache_entries_max: usize,
    /// How long a user's card (nickname, avatar) is used before it is asked for again.
    pub user_cache_ms: u64,
    /// How many cards are remembered.
    pub user_cache_entries_max: usize,
    /// Whether the business is asked if a user may write to another one (`MayWrite`), or put others into a group (`MayAdd`).
    pub asks_may_write: bool,
    /// How long such an answer is used before it is asked for again.
    pub may_write_cache_ms: u64,
    /// How many such answers are remembered.
    pub may_write_cache_entries_max: usize,
    /// Who may write while the business is away.
    pub while_away: WhileAway,
    /// How long an answer is kept for `while_away = "cached"`.
    pub while_away_kept_ms: u64,
}

/// Who may write to whom, and into which room, while the business is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhileAway {
    /// Nobody whose answer is not remembered: they are told to try again later.
    #[default]
    Refuse,
    /// Everybody.
    Allow,
    /// Whoever might when the business was asked last.
    Cached,
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

impl Default for BusinessSettings {
    fn default() -> Self {
        Self {
            endpoint: Endpoints::new("http://127.0.0.1:8020"),
            call_timeout_ms: 3_000,
            auth_in_flight_max: 256,
            calls_in_flight_max: 1_024,
            commands_in_flight_max: 512,
            commands_per_user_max: 64,
            auth_cache_ms: 5_000,
            auth_cache_entries_max: 100_000,
            user_cache_ms: 60_000,
            user_cache_entries_max: 100_000,
            asks_may_write: true,
            may_write_cache_ms: 10_000,
            may_write_cache_entries_max: 100_000,
            while_away: WhileAway::Refuse,
            while_away_kept_ms: 86_400_000,
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
    pub(super) fn validate(&self) -> Result<(), String> {
        for (index, key) in self.keys.iter().enumerate() {
            if self.keys[..index].iter().any(|other| other.kid == key.kid) {
                return Err(format!("jwt.keys[{index}].kid: there are two keys `{}`", key.kid));
            }
        }
        Ok(())
    }
}
