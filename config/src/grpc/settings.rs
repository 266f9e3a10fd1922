//! The section `[grpc]` of all services.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{status_codes::StatusCodes, tls_way::CallerTls, tokens::ChangedTokens};
use crate::listen::Endpoint;

/// Shorter ones would end connections of hosts that are only busy.
const KEEP_ALIVE_MIN_MS: u64 = 100;

/// What may stand around a token in a call's metadata, lines and all.
const HEADER_ENVELOPE_BYTES: usize = 2_048;

/// The section `[grpc]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcSettings {
    /// Where the service is called.
    pub listen: Endpoint,
    /// What the service shows to its callers, and to those whom it calls by https://; empty serves without TLS.
    pub certificate: PathBuf,
    /// The key of `certificate`.
    pub key: PathBuf,
    /// Callers of internal services must show a certificate of these authorities; empty asks for none.
    pub client_ca: PathBuf,
    /// Whom the service believes when it calls by https://.
    pub server_ca: PathBuf,
    /// What callers of `*IntService` and `LinkService` must show as metadata `internal_token`, and what this service shows
    /// when it calls them. Required beyond loopback; empty asks for nothing.
    pub internal_token: String,
    /// A file that holds it.
    pub internal_token_file: PathBuf,
    /// What callers may show in its place, while it is changed from service to service.
    pub accepted_tokens: Vec<String>,
    /// A file that holds them, one in each line.
    pub accepted_tokens_file: PathBuf,
    /// What SIGHUP made of the tokens.
    #[serde(skip)]
    pub changed_tokens: ChangedTokens,
    /// What was read of the files for callers.
    #[serde(skip)]
    pub caller_tls: CallerTls,
    /// Names, beside `localhost` and addresses, by which callers in JSON address the service.
    pub names: Vec<String>,
    /// Whether `*ExtService` is served here to those who do not show what callers of internal services must.
    pub serves_clients: bool,
    /// Which numbers the statuses of refused calls have.
    pub status_codes: StatusCodes,
    /// How often a peer is pinged, which finds one that vanished or stands still.
    pub keep_alive_interval_ms: u64,
    /// How long it may take to answer that.
    pub keep_alive_timeout_ms: u64,
    /// Connections of strangers; one beyond them takes the place of one that is of less use.
    pub connections_max: usize,
    /// The same of one address.
    pub connections_per_address_max: usize,
    /// From the accept to a stranger's first call.
    pub first_call_timeout_ms: u64,
    /// How long a stranger's connection may be without a call; one of HTTP/1.1, no longer than 30 seconds.
    pub idle_timeout_ms: u64,
    /// Bytes of a call's metadata.
    pub header_bytes_max: u32,
    /// Lines of it, of strangers.
    pub header_lines_max: usize,
    /// Calls of strangers that are under way until their answers are taken.
    pub calls_max: usize,
    /// The same of one address.
    pub calls_per_address_max: usize,
    /// The same of one connection.
    pub calls_per_connection_max: usize,
    /// What an address of strangers may call of `*ExtService` in each second, where dear calls count as several; 0 for no bound.
    pub address_calls_per_s: u32,
    /// The same at once.
    pub address_calls_burst: u32,
    /// One request of a stranger.
    pub request_bytes_max: usize,
    /// Requests of strangers that are not whole; one of each connection always may.
    pub requests_bytes_max: usize,
    /// The same of one address.
    pub requests_per_address_bytes_max: usize,
    /// The same of one connection.
    pub requests_per_connection_bytes_max: usize,
    /// How long the rest of a request may take.
    pub request_timeout_ms: u64,
    /// Answers to strangers that are not taken.
    pub answers_bytes_max: usize,
    /// The same of one address.
    pub answers_per_address_bytes_max: usize,
    /// The same of one connection.
    pub answers_per_connection_bytes_max: usize,
    /// How long an answer may wait to be taken.
    pub answer_timeout_ms: u64,
    /// Frames of an address' strangers that ask for nothing (resets, pings, settings), in the long run.
    pub resets_per_s: u32,
    /// The same at once.
    pub resets_burst: u32,
    /// How long an address is refused that went beyond that.
    pub refused_for_ms: u64,
}

/// What is counted of strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Calls,
    RequestBytes,
    AnswerBytes,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Calls, Self::RequestBytes, Self::AnswerBytes];

    pub(super) fn name(self) -> &'static str {
        ["calls", "request_bytes", "answer_bytes"][self as usize]
    }
}

/// How much there may be of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) connection: usize,
    pub(super) address: usize,
    pub(super) all: usize,
    /// As much as a connection always may, whatever others hold.
    pub(super) floor: usize,
}

/// Calls, and bytes of answers, that a connection always may have.
const CALLS_FLOOR: usize = 16;
const ANSWERS_FLOOR_BYTES: usize = 64 * 1024;
/// What is in the way of an `internal_token` beyond loopback that can be guessed.
const INTERNAL_TOKEN_BYTES_MIN: usize = 16;

impl Default for GrpcSettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::default(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            server_ca: PathBuf::new(),
            internal_token: String::new(),
            internal_token_file: PathBuf::new(),
            accepted_tokens: Vec::new(),
            accepted_tokens_file: PathBuf::new(),
            changed_tokens: ChangedTokens::default(),
            caller_tls: CallerTls::default(),
            names: Vec::new(),
            serves_clients: true,
            status_codes: StatusCodes::Standard,
            keep_alive_interval_ms: 5_000,
            keep_alive_timeout_ms: 5_000,
            connections_max: 1024,
            connections_per_address_max: 512,
            first_call_timeout_ms: 10_000,
            idle_timeout_ms: 300_000,
            header_bytes_max: 16_384,
            header_lines_max: 64,
            calls_max: 4_096,
            calls_per_address_max: 2_048,
            calls_per_connection_max: 1_024,
            address_calls_per_s: 1_000,
            address_calls_burst: 10_000,
            request_bytes_max: 131_072,
            requests_bytes_max: 67_108_864,
            requests_per_address_bytes_max: 16_777_216,
            requests_per_connection_bytes_max: 8_388_608,
            request_timeout_ms: 20_000,
            answers_bytes_max: 268_435_456,
            answers_per_address_bytes_max: 67_108_864,
            answers_per_connection_bytes_max: 16_777_216,
            answer_timeout_ms: 20_000,
            resets_per_s: 200,
            resets_burst: 2_000,
            refused_for_ms: 10_000,
        }
    }
}

impl GrpcSettings {
    pub(super) fn keep_alive_interval(&self) -> Duration {
        Duration::from_millis(self.keep_alive_interval_ms)
    }

    pub(super) fn keep_alive_timeout(&self) -> Duration {
        Duration::from_millis(self.keep_alive_timeout_ms)
    }

    /// Whether callers of internal services have to show anything: then they are trusted.
    pub(super) fn asks_for_proof(&self) -> bool {
        !self.internal_token.is_empty() || !self.client_ca.as_os_str().is_empty()
    }

    pub(super) fn bound(&self, kind: Kind) -> Bound {
        match kind {
            Kind::Calls => Bound {
                connection: self.calls_per_connection_max,
                address: self.calls_per_address_max,
                all: self.calls_max,
                floor: CALLS_FLOOR,
            },
            Kind::RequestBytes => Bound {
                connection: self.requests_per_connection_bytes_max,
                address: self.requests_per_address_bytes_max,
                all: self.requests_bytes_max,
                floor: self.request_bytes_max,
            },
            Kind::AnswerBytes => Bound {
                connection: self.answers_per_connection_bytes_max,
                address: self.answers_per_address_bytes_max,
                all: self.answers_bytes_max,
                floor: ANSWERS_FLOOR_BYTES,
            },
        }
    }

    /// Nothing of it makes sense as 0.
    fn validate_bounds(&self) -> Result<(), String> {
        let bounds = [
            ("connections_max", self.connections_max),
            ("connections_per_address_max", self.connections_per_address_max),
            ("first_call_timeout_ms", self.first_call_timeout_ms as usize),
            ("idle_timeout_ms", self.idle_timeout_ms as usize),
            ("header_lines_max", self.header_lines_max),
            ("calls_max", self.calls_max),
            ("calls_per_address_max", self.calls_per_address_max),
            ("calls_per_connection_max", self.calls_per_connection_max),
            ("requests_bytes_max", self.requests_bytes_max),
            ("requests_per_address_bytes_max", self.requests_per_address_bytes_max),
            ("request_timeout_ms", self.request_timeout_ms as usize),
            ("answers_bytes_max", self.answers_bytes_max),
            ("answers_per_address_bytes_max", self.answers_per_address_bytes_max),
            ("answer_timeout_ms", self.answer_timeout_ms as usize),
            ("resets_per_s", self.resets_per_s as usize),
        ];
        if let Some((key, _)) = bounds.iter().find(|(_, value)| *value == 0) {
            return Err(format!("grpc.{key}: must be at least 1"));
        }
        if self.header_bytes_max < 1024 {
            return Err("grpc.header_bytes_max: must be at least 1024".into());
        }
        if self.request_bytes_max < 1024 {
            return Err("grpc.request_bytes_max: must be at least 1024".into());
        }
        if self.requests_per_connection_bytes_max < self.request_bytes_max {
            return Err("grpc.requests_per_connection_bytes_max: must be at least grpc.request_bytes_max".into());
        }
        if self.answers_per_connection_bytes_max < ANSWERS_FLOOR_BYTES {
            return Err(format!("grpc.answers_per_connection_bytes_max: must be at least {ANSWERS_FLOOR_BYTES}"));
        }
        if self.address_calls_burst < self.address_calls_per_s.max(100) {
            return Err("grpc.address_calls_burst: must be at least 100, and grpc.address_calls_per_s".into());
        }
        if self.resets_burst < self.resets_per_s {
            return Err("grpc.resets_burst: must be at least grpc.resets_per_s".into());
        }
        Ok(())
    }

    /// Whether a call has room for the longest token that a service takes from its callers.
    pub fn validate_token(&self, token_bytes_max: usize) -> Result<(), String> {
        let least = token_bytes_max + HEADER_ENVELOPE_BYTES;
        if (self.header_bytes_max as usize) < least {
            return Err(format!(
                "grpc.header_bytes_max: must be at least {least}, {HEADER_ENVELOPE_BYTES} more than limits.token_bytes_max"
            ));
        }
        Ok(())
    }

    /// Refuses trusted services that anybody could reach.
    pub fn validate(&self) -> Result<(), String> {
        if self.listen.is_off() {
            return Err("grpc.listen: must not be empty".into());
        }
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        if is_set(&self.certificate) != is_set(&self.key) {
            return Err("grpc.key: must be set where grpc.certificate is, and only there".into());
        }
        if is_set(&self.client_ca) && !is_set(&self.certificate) {
            return Err("grpc.client_ca: needs grpc.certificate, because only TLS asks for certificates".into());
        }
        if self.internal_token.is_empty() && !is_set(&self.client_ca) && !self.listen.is_loopback() {
            return Err(format!(
                "grpc.internal_token: must be set, or grpc.client_ca, because {} is reachable from other hosts and the internal services there \
                 trust their callers",
                self.listen
            ));
        }
        self.validate_tokens()?;
        self.validate_bounds()?;
        for (key, value_ms) in [("interval", self.keep_alive_interval_ms), ("timeout", self.keep_alive_timeout_ms)] {
            if value_ms < KEEP_ALIVE_MIN_MS {
                return Err(format!("grpc.keep_alive_{key}_ms: must be at least {KEEP_ALIVE_MIN_MS}"));
            }
        }
        Ok(())
    }

    fn validate_tokens(&self) -> Result<(), String> {
        let accepted = self.accepted_tokens.iter().map(|token| ("accepted_tokens", token));
        if accepted.clone().any(|(_, token)| token.is_empty() || self.internal_token.is_empty()) {
            return Err(
                "grpc.accepted_tokens: holds what takes the place of an internal_token: neither may be empty".into()
            );
        }
        for (key, token) in accepted.chain([("internal_token", &self.internal_token)]) {
            if (1..INTERNAL_TOKEN_BYTES_MIN).contains(&token.len()) && !self.listen.is_loopback() {
                return Err(format!(
                    "grpc.{key}: must have at least {INTERNAL_TOKEN_BYTES_MIN} bytes, because {} is reachable from other hosts and a \
                     shorter one can be guessed",
                    self.listen
                ));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("grpc.{key}: must be printable ASCII without spaces"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_services_beyond_loopback_need_a_token() {
        let mut settings = GrpcSettings { listen: Endpoint::new("0.0.0.0:8010"), ..GrpcSettings::default() };
        assert!(settings.validate().unwrap_err().starts_with("grpc.internal_token: must be set"));
        settings.internal_token = "fifteen bytes..".replace(' ', "-");
        assert!(settings.validate().unwrap_err().starts_with("grpc.internal_token: must have at least 16 bytes"));
        settings.internal_token = "sixteen-bytes-16".into();
        settings.validate().unwrap();
        settings.internal_token = "two words".into();
        assert!(settings.validate().is_err());
        settings.internal_token = "sixteen-bytes-16".into();
        settings.accepted_tokens = vec!["short".into()];
        assert!(settings.validate().unwrap_err().starts_with("grpc.accepted_tokens: must have at least 16 bytes"));
        settings.accepted_tokens = vec![String::new()];
        assert!(settings.validate().unwrap_err().starts_with("grpc.accepted_tokens: holds what takes the place"));
        settings.accepted_tokens.clear();
        let loopback = GrpcSettings { listen: Endpoint::new("127.0.0.1:8010"), ..GrpcSettings::default() };
        loopback.validate().unwrap();
        settings.internal_token = String::new();
        settings.client_ca = "ca.pem".into();
        assert!(settings.validate().unwrap_err().starts_with("grpc.client_ca: needs grpc.certificate"));
        settings.certificate = "own.pem".into();
        assert!(settings.validate().unwrap_err().starts_with("grpc.key: must be set"));
        settings.key = "own.key".into();
        settings.validate().unwrap();
    }
}
