//! The sections about where clients get in: `[tcp]`, `[websocket]`, `[tls]` and `[public]`.

use std::path::PathBuf;

use gim_config::listen::Endpoint;
use serde::{Deserialize, Serialize};

/// Bytes of an address that clients are told.
const PUBLIC_BYTES_MAX: usize = 256;

/// The section `[tcp]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TcpSettings {
    pub listen: Endpoint,
    pub backlog: u16,
    pub keepalive_s: u32,
    pub user_timeout_ms: u32,
    pub send_buffer_bytes: usize,
    pub receive_buffer_bytes: usize,
}

/// The section `[websocket]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct WebSocketSettings {
    pub listen: Endpoint,
    pub origins: Vec<String>,
}

/// The section `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TlsSettings {
    pub listen: Endpoint,
    pub websocket_listen: Endpoint,
    pub certificates: Vec<CertificateSettings>,
    pub client_ca: PathBuf,
    pub client_certificate_required: bool,
}

/// The section `[public]`: where clients reach this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PublicSettings {
    pub tcp: String,
    pub ws: String,
    pub tls: String,
    pub wss: String,
}

/// One of `tls.certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct CertificateSettings {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::new("127.0.0.1:8002"),
            backlog: 16_384,
            keepalive_s: 300,
            user_timeout_ms: 60_000,
            send_buffer_bytes: 208 << 10,
            receive_buffer_bytes: 128 << 10,
        }
    }
}

impl TcpSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.listen.is_off() {
            return Err("tcp.listen: must not be empty".into());
        }
        let buffers = [
            ("tcp.send_buffer_bytes", self.send_buffer_bytes),
            ("tcp.receive_buffer_bytes", self.receive_buffer_bytes),
        ];
        match buffers.into_iter().find(|(_, bytes)| !matches!(bytes, 0 | 8_192..=67_108_864)) {
            Some((key, _)) => Err(format!("{key}: must be 0, or between 8192 and 67108864")),
            None => Ok(()),
        }
    }
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self { listen: Endpoint::new("127.0.0.1:8003"), origins: Vec::new() }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::new("127.0.0.1:8004"),
            websocket_listen: Endpoint::new("127.0.0.1:8005"),
            certificates: Vec::new(),
            client_ca: PathBuf::new(),
            client_certificate_required: false,
        }
    }
}

impl WebSocketSettings {
    /// What no browser says as its origin would keep out everybody.
    pub(super) fn validate(&self) -> Result<(), String> {
        let is_origin = |text: &str| {
            let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map_or("", |(_, host)| host);
            text == "null" || !host.is_empty() && !host.contains(['/', '?', '#', '*', ' '])
        };
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => {
                Err(format!("websocket.origins: `{origin}` has to be as in https://app.example.com, without a path"))
            }
            None => Ok(()),
        }
    }
}

impl TlsSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        let lacks = |path: &PathBuf| path.as_os_str().is_empty();
        if self.certificates.iter().any(|files| lacks(&files.certificate) || lacks(&files.key)) {
            return Err("tls.certificates: each needs the files `certificate` and `key`".into());
        }
        if self.client_certificate_required && lacks(&self.client_ca) {
            return Err("tls.client_ca: must be set where tls.client_certificate_required is".into());
        }
        Ok(())
    }
}

impl PublicSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        let is_url = |text: &str, scheme: &str| text.is_empty() || text.starts_with(scheme);
        if !is_url(&self.ws, "ws://") {
            return Err("public.ws: must begin with ws://".into());
        }
        if !is_url(&self.wss, "wss://") {
            return Err("public.wss: must begin with wss://".into());
        }
        let keys = [("tcp", &self.tcp), ("ws", &self.ws), ("tls", &self.tls), ("wss", &self.wss)];
        match keys.into_iter().find(|(_, text)| text.len() > PUBLIC_BYTES_MAX) {
            Some((key, _)) => Err(format!("public.{key}: must have at most {PUBLIC_BYTES_MAX} bytes")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_no_browser_names_is_refused() {
        let validate =
            |origin: &str| WebSocketSettings { origins: vec![origin.into()], ..Default::default() }.validate();
        for origin in ["https://app.example.com", "http://localhost:3000", "https://[::1]:3000", "app://local", "null"]
        {
            validate(origin).unwrap();
        }
        for origin in ["", "app.example.com", "https://", "https://app.example.com/", "https://*.example.com"] {
            assert!(validate(origin).unwrap_err().starts_with("websocket.origins: `"), "{origin}");
        }
    }
}
