//! The section `[grpc]` of all services.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::listen::Endpoint;

/// Shorter ones would end connections of hosts that are only busy.
const KEEP_ALIVE_MIN_MS: u64 = 100;

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
    /// How often a peer is pinged, which finds one that vanished or stands still.
    pub keep_alive_interval_ms: u64,
    /// How long it may take to answer that.
    pub keep_alive_timeout_ms: u64,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::default(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            server_ca: PathBuf::new(),
            internal_token: String::new(),
            keep_alive_interval_ms: 5_000,
            keep_alive_timeout_ms: 5_000,
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
        for (key, value_ms) in [("interval", self.keep_alive_interval_ms), ("timeout", self.keep_alive_timeout_ms)] {
            if value_ms < KEEP_ALIVE_MIN_MS {
                return Err(format!("grpc.keep_alive_{key}_ms: must be at least {KEEP_ALIVE_MIN_MS}"));
            }
        }
        if !self.internal_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("grpc.internal_token: must be printable ASCII without spaces".into());
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
        settings.internal_token = "secret".into();
        settings.validate().unwrap();
        settings.internal_token = "two words".into();
        assert!(settings.validate().is_err());
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
