//! The settings of a conn node, as documented key by key in `config/conn.toml`.

mod apps;
mod entrances;
mod legacy;

use gim_config::{
    RenamedKey, Settings, admin::AdminSettings, grpc::GrpcSettings, listen::Endpoint, logging::LogSettings,
    networks::Networks, traces::TracesSettings,
};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{REACTORS_MAX, SLOTS_MAX},
    net::socket::SocketOptions,
    session::Rules,
    wire::ws::upgrade::Site,
};

pub use apps::{App, AppSettings};
pub use entrances::{CertificateSettings, PublicSettings, TcpSettings, TlsSettings, WebSocketSettings};
pub use legacy::LegacySettings;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "config/conn.toml documents every key, and a test holds the two together")]
pub struct ConnSettings {
    pub node: String,
    pub reactors: usize,
    pub reactor_cores: Vec<usize>,
    pub busy_poll_us: u64,
    pub logic: Vec<Endpoint>,
    pub apps: Vec<AppSettings>,
    pub legacy: Vec<LegacySettings>,
    pub proxies: Networks,
    pub tcp: TcpSettings,
    pub websocket: WebSocketSettings,
    pub tls: TlsSettings,
    pub public: PublicSettings,
    pub grpc: GrpcSettings,
    pub admin: AdminSettings,
    pub log: LogSettings,
    pub traces: TracesSettings,
    pub session: SessionSettings,
    pub limits: LimitSettings,
    pub turn: TurnSettings,
    pub push_all: PushAllSettings,
    pub link: LinkSettings,
    pub drain: DrainSettings,
}

/// The section `[session]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SessionSettings {
    pub sign_in_timeout_ms: u64,
    pub handshake_timeout_ms: u64,
    pub failed_sign_ins_max: u8,
    pub heartbeat_timeout_ms: u64,
    pub in_flight_max: u16,
    pub calls_in_flight_max: u8,
    pub packets_per_s: u32,
    pub packets_burst: u32,
    pub newest_seq_interval_ms: u64,
    pub linger_ms: u64,
}

/// The section `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct LimitSettings {
    pub connections_max: usize,
    pub connections_per_ip_max: u32,
    pub handshakes_max: usize,
    pub handshakes_per_address_max: usize,
    pub files_reserved: usize,
    pub unsigned_frame_bytes_max: usize,
    pub frame_bytes_max: usize,
    pub outbound_hard_bytes: usize,
    pub outbound_soft_bytes: usize,
    pub outbound_soft_timeout_ms: u64,
    pub room_backlog_max: usize,
}

/// What may wait to be written to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundLimits {
    /// Beyond so many bytes nothing more is taken.
    pub hard_bytes: usize,
    /// Beyond so many the connection may be for the timeout.
    pub soft_bytes: usize,
    /// How long that is.
    pub soft_timeout_ms: u64,
}

impl LimitSettings {
    /// What they say of that.
    pub fn outbound(&self) -> OutboundLimits {
        OutboundLimits {
            hard_bytes: self.outbound_hard_bytes,
            soft_bytes: self.outbound_soft_bytes,
            soft_timeout_ms: self.outbound_soft_timeout_ms,
        }
    }
}

/// The section `[turn]`: how much of each kind one turn of a reactor does before the others get their share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TurnSettings {
    pub events: usize,
    pub read_bytes: usize,
    pub read_frames: usize,
    pub accepts: usize,
    pub handshakes: usize,
    pub accept_pause_ms: u64,
    pub commands: usize,
    pub timers: usize,
    pub deliveries: usize,
    pub write_bytes: usize,
}

/// The section `[push_all]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PushAllSettings {
    pub connections_per_s: u64,
    pub waiting_max: usize,
}

impl Default for PushAllSettings {
    fn default() -> Self {
        Self { connections_per_s: 200_000, waiting_max: 16 }
    }
}

/// The section `[link]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct LinkSettings {
    pub request_timeout_ms: u64,
    pub batch_items_max: usize,
    pub queue_batches_max: usize,
    pub requests_max: usize,
    pub calls_max: usize,
    pub room_hold_ms: u64,
    pub room_held_max: usize,
    pub commands_max: usize,
    pub reconnect_first_ms: u64,
    pub reconnect_max_ms: u64,
    pub room_members_interval_ms: u64,
    pub resolve_interval_ms: u64,
    pub load_interval_ms: u64,
    pub name_timeout_ms: u64,
}

/// The section `[drain]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct DrainSettings {
    pub closes_per_s: u64,
    pub timeout_ms: u64,
    pub reconnect_spread_ms: u32,
    pub endpoint: String,
}

impl Default for ConnSettings {
    fn default() -> Self {
        Self {
            node: "conn-1".into(),
            reactors: 0,
            reactor_cores: Vec::new(),
            busy_poll_us: 0,
            logic: vec![Endpoint::new("http://127.0.0.1:8010")],
            apps: Vec::new(),
            legacy: Vec::new(),
            proxies: Networks::default(),
            tcp: TcpSettings::default(),
            websocket: WebSocketSettings::default(),
            tls: TlsSettings::default(),
            public: PublicSettings::default(),
            // They come out of `limits.files_reserved`.
            grpc: GrpcSettings {
                listen: Endpoint::new("127.0.0.1:8000"),
                connections_max: 64,
                connections_per_address_max: 32,
                ..GrpcSettings::default()
            },
            admin: AdminSettings { listen: Endpoint::new("127.0.0.1:8001"), ..AdminSettings::default() },
            log: LogSettings::default(),
            traces: TracesSettings::default(),
            session: SessionSettings::default(),
            limits: LimitSettings::default(),
            turn: TurnSettings::default(),
            push_all: PushAllSettings::default(),
            link: LinkSettings::default(),
            drain: DrainSettings::default(),
        }
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            sign_in_timeout_ms: 10_000,
            handshake_timeout_ms: 5_000,
            failed_sign_ins_max: 5,
            heartbeat_timeout_ms: 720_000,
            in_flight_max: 32,
            calls_in_flight_max: 8,
            packets_per_s: 2_000,
            packets_burst: 4_000,
            newest_seq_interval_ms: 1_000,
            linger_ms: 1_000,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 1_000_000,
            connections_per_ip_max: 0,
            handshakes_max: 4_096,
            handshakes_per_address_max: 1_024,
            files_reserved: 128,
            unsigned_frame_bytes_max: 16 * 1024,
            frame_bytes_max: 64 * 1024,
            outbound_hard_bytes: 256 * 1024,
            outbound_soft_bytes: 64 * 1024,
            outbound_soft_timeout_ms: 10_000,
            room_backlog_max: 1_024,
        }
    }
}

impl Default for TurnSettings {
    fn default() -> Self {
        Self {
            events: 64,
            read_bytes: 64 * 1024,
            read_frames: 32,
            accepts: 64,
            handshakes: 16,
            accept_pause_ms: 500,
            commands: 256,
            timers: 1_024,
            deliveries: 2_048,
            write_bytes: 256 * 1024,
        }
    }
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            request_timeout_ms: 10_000,
            batch_items_max: 1_024,
            queue_batches_max: 256,
            requests_max: 200_000,
            calls_max: 20_000,
            room_hold_ms: 200,
            room_held_max: 4_096,
            commands_max: 4_096,
            reconnect_first_ms: 100,
            reconnect_max_ms: 3_000,
            room_members_interval_ms: 1_000,
            resolve_interval_ms: 5_000,
            load_interval_ms: 1_000,
            name_timeout_ms: 30_000,
        }
    }
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { closes_per_s: 20_000, timeout_ms: 30_000, reconnect_spread_ms: 5_000, endpoint: String::new() }
    }
}

impl Settings for ConnSettings {
    const SERVICE: &'static str = "conn";
    const RELOADED: &'static [&'static str] = &[
        "log.filter",
        "log.slow_ms",
        "traces.sampled_share",
        "grpc.internal_token",
        "grpc.accepted_tokens",
        "websocket.origins",
        "limits.connections_max",
        "limits.outbound_hard_bytes",
        "limits.outbound_soft_bytes",
        "limits.outbound_soft_timeout_ms",
        "session.sign_in_timeout_ms",
        "session.failed_sign_ins_max",
        "session.heartbeat_timeout_ms",
        "session.in_flight_max",
        "session.calls_in_flight_max",
        "session.packets_per_s",
        "session.packets_burst",
        "session.newest_seq_interval_ms",
        "session.linger_ms",
    ];
    const RENAMED: &'static [RenamedKey] =
        &[("link.inbox_commands_max", "link.commands_max"), ("tls.files_interval_ms", "admin.files_interval_ms")];

    fn listeners(&mut self) -> Vec<&mut Endpoint> {
        let legacy = self.legacy.iter_mut().flat_map(|legacy| [&mut legacy.tcp, &mut legacy.websocket]);
        [
            &mut self.tcp.listen,
            &mut self.websocket.listen,
            &mut self.tls.listen,
            &mut self.tls.websocket_listen,
            &mut self.grpc.listen,
            &mut self.admin.listen,
        ]
        .into_iter()
        .chain(legacy)
        .collect()
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
        self.logic.iter_mut().chain(self.apps.iter_mut().flat_map(|app| &mut app.logic)).collect()
    }

    fn validate(&self) -> Result<(), String> {
        self.grpc.validate()?;
        self.log.validate()?;
        self.traces.validate()?;
        if self.node.is_empty() {
            return Err("node: must not be empty".into());
        }
        self.validate_apps()?;
        legacy::validate(&self.legacy)?;
        self.public.validate()?;
        at_most("reactors", self.reactors, REACTORS_MAX)?;
        at_most("busy_poll_us", self.busy_poll_us as usize, 1_000_000)?;
        self.tcp.validate()?;
        self.websocket.validate()?;
        self.tls.validate()?;
        self.limits.validate()?;
        self.turn.validate()?;
        at_least("push_all.connections_per_s", self.push_all.connections_per_s as usize, 1)?;
        at_least("push_all.waiting_max", self.push_all.waiting_max, 1)?;
        at_least("link.room_members_interval_ms", self.link.room_members_interval_ms as usize, 1)?;
        at_least("link.resolve_interval_ms", self.link.resolve_interval_ms as usize, 1)?;
        at_least("link.load_interval_ms", self.link.load_interval_ms as usize, 1)?;
        at_least("session.in_flight_max", self.session.in_flight_max.into(), 1)?;
        at_least("session.calls_in_flight_max", self.session.calls_in_flight_max.into(), 1)?;
        at_least("session.failed_sign_ins_max", self.session.failed_sign_ins_max.into(), 1)?;
        at_least("session.sign_in_timeout_ms", self.session.sign_in_timeout_ms as usize, 1)?;
        at_least("session.handshake_timeout_ms", self.session.handshake_timeout_ms as usize, 1)?;
        at_least("session.heartbeat_timeout_ms", self.session.heartbeat_timeout_ms as usize, 1)?;
        if self.session.packets_per_s > 0 {
            at_least("session.packets_burst", self.session.packets_burst as usize, 1)?;
            at_most("session.packets_burst", self.session.packets_burst as usize, 1_000_000)?;
        }
        at_least("link.request_timeout_ms", self.link.request_timeout_ms as usize, 1)?;
        at_least("link.batch_items_max", self.link.batch_items_max, 1)?;
        at_least("link.queue_batches_max", self.link.queue_batches_max, 1)?;
        at_least("link.requests_max", self.link.requests_max, 1)?;
        at_least("link.calls_max", self.link.calls_max, 1)?;
        at_least("link.commands_max", self.link.commands_max, 1)?;
        at_least("link.reconnect_first_ms", self.link.reconnect_first_ms as usize, 1)?;
        at_least("drain.closes_per_s", self.drain.closes_per_s as usize, 1)
    }
}

impl LimitSettings {
    fn validate(&self) -> Result<(), String> {
        at_least("limits.connections_max", self.connections_max, 1)?;
        at_most("limits.connections_max", self.connections_max, REACTORS_MAX * SLOTS_MAX)?;
        at_least("limits.handshakes_max", self.handshakes_max, 1)?;
        at_least("limits.handshakes_per_address_max", self.handshakes_per_address_max, 1)?;
        at_least("limits.unsigned_frame_bytes_max", self.unsigned_frame_bytes_max, 256)?;
        at_least("limits.frame_bytes_max", self.frame_bytes_max, self.unsigned_frame_bytes_max)?;
        at_most("limits.frame_bytes_max", self.frame_bytes_max, 16 * 1024 * 1024)?;
        at_least("limits.outbound_soft_bytes", self.outbound_soft_bytes, 1)?;
        at_least("limits.outbound_hard_bytes", self.outbound_hard_bytes, self.outbound_soft_bytes)?;
        at_least("limits.room_backlog_max", self.room_backlog_max, 1)
    }
}

impl TurnSettings {
    fn validate(&self) -> Result<(), String> {
        at_least("turn.events", self.events, 1)?;
        at_most("turn.events", self.events, 65_536)?;
        at_least("turn.read_bytes", self.read_bytes, 1024)?;
        at_most("turn.read_bytes", self.read_bytes, 16 * 1024 * 1024)?;
        at_least("turn.read_frames", self.read_frames, 1)?;
        at_least("turn.accepts", self.accepts, 1)?;
        at_least("turn.handshakes", self.handshakes, 1)?;
        at_least("turn.commands", self.commands, 1)?;
        at_least("turn.timers", self.timers, 1)?;
        at_least("turn.deliveries", self.deliveries, 1)?;
        at_least("turn.write_bytes", self.write_bytes, 1024)
    }
}

impl ConnSettings {
    /// The rules of every session.
    pub fn rules(&self) -> Rules {
        Rules {
            unsigned_frame_bytes_max: self.limits.unsigned_frame_bytes_max,
            frame_bytes_max: self.limits.frame_bytes_max,
            sign_in_timeout_ms: self.session.sign_in_timeout_ms,
            failed_sign_ins_max: self.session.failed_sign_ins_max,
            heartbeat_timeout_ms: self.session.heartbeat_timeout_ms,
            in_flight_max: self.session.in_flight_max,
            calls_in_flight_max: self.session.calls_in_flight_max,
            packets_per_s: self.session.packets_per_s,
            packets_burst: self.session.packets_burst,
            newest_seq_interval_ms: self.session.newest_seq_interval_ms,
            linger_ms: self.session.linger_ms,
        }
    }

    /// What WebSocket listeners ask of requests, and whom every listener believes.
    pub fn site(&self) -> Site {
        Site { origins: self.websocket.origins.clone(), proxies: self.proxies.clone(), ..Site::default() }
    }

    /// How many reactors to run: as set, or one per core.
    pub fn reactor_count(&self) -> usize {
        match self.reactors {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(REACTORS_MAX),
            count => count,
        }
    }

    /// What every accepted socket gets.
    pub fn socket_options(&self) -> SocketOptions {
        let TcpSettings { keepalive_s, user_timeout_ms, send_buffer_bytes, receive_buffer_bytes, .. } = self.tcp;
        SocketOptions { keepalive_s, user_timeout_ms, send_buffer_bytes, receive_buffer_bytes }
    }
}

fn at_least(key: &str, value: usize, min: usize) -> Result<(), String> {
    if value >= min { Ok(()) } else { Err(format!("{key}: must be at least {min}")) }
}

fn at_most(key: &str, value: usize, max: usize) -> Result<(), String> {
    if value <= max { Ok(()) } else { Err(format!("{key}: must be at most {max}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_documents_every_default() {
        gim_config::settings::assert_documents_defaults::<ConnSettings>(include_str!("../../../config/conn.toml"));
    }

    #[test]
    fn a_change_of_each_key_is_applied_at_once_or_named() {
        gim_config::testing::assert_each_key_is_applied_or_named::<ConnSettings>(include_str!(
            "../../../config/conn.toml"
        ));
    }

    #[test]
    fn the_key_of_the_command_queue_is_refused_under_its_former_name() {
        let environment = [("GIM_CONN_LINK__INBOX_COMMANDS_MAX".to_owned(), "1".to_owned())];
        let error = gim_config::settings::load::<ConnSettings>(None, environment).unwrap_err().to_string();
        assert!(error.ends_with("is now GIM_CONN_LINK__COMMANDS_MAX"), "{error}");
    }

    #[test]
    fn the_defaults_are_valid_and_a_bad_value_names_its_key() {
        let mut settings = ConnSettings::default();
        settings.validate().unwrap();
        settings.limits.outbound_hard_bytes = 1;
        assert!(settings.validate().unwrap_err().starts_with("limits.outbound_hard_bytes: must be at least"));
    }
}
