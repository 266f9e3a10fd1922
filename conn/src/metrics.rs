//! Every metric of a conn node. Nothing else names one.
//!
//! A reactor counts into plain numbers ([`TurnCounts`]) and publishes them once per turn, so that counting costs it nothing.

use gim_proto::CloseReason;
use metrics::{Counter, Gauge, counter, gauge};

/// Requests that are with logic, by link.
pub const REQUESTS_PENDING: &str = "conn_requests_pending";
/// Requests that were answered "try again later" because their link broke or logic did not answer in time.
pub const REQUESTS_EXPIRED: &str = "conn_requests_expired_total";
/// Requests that were answered "try again later" because too many were with their logic node.
pub const REQUESTS_BEYOND: &str = "conn_requests_beyond_window_total";
/// Pushes to a room that waited for one of another logic node.
pub const ROOM_PUSHES_HELD: &str = "conn_room_pushes_held_total";
/// Those that waited in vain.
pub const ROOM_PUSHES_GIVEN_UP: &str = "conn_room_pushes_given_up_total";
/// Pushes that came when their successors were out already, and were left out.
pub const ROOM_PUSHES_LATE: &str = "conn_room_pushes_late_total";
/// Answers of logic to requests that nobody waits for any more.
pub const REPLIES_LATE: &str = "conn_replies_late_total";
/// Times that a link was attached.
pub const LINK_ATTACHED: &str = "conn_link_attached_total";
/// Times that a reactor's command queue was full and the bridge had to wait.
pub const COMMAND_QUEUE_FULL: &str = "conn_command_queue_full_total";

/// When a certificate expires, as Unix time.
pub const CERTIFICATE_EXPIRES: &str = "conn_tls_certificate_expires_seconds";

/// What one turn of a reactor did.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is described where it is registered")]
pub struct TurnCounts {
    pub accepted: u64,
    pub accept_retries: u64,
    pub accept_pauses: u64,
    pub refused_connections: u64,
    pub bytes_in: u64,
    pub packets_in: u64,
    pub bytes_out: u64,
    pub frames_out: u64,
    pub writes: u64,
    pub heartbeats: u64,
    pub refused_packets: u64,
    pub uplink_full: u64,
    pub stale_events: u64,
    pub stale_commands: u64,
    pub room_dropped: u64,
    pub broadcasts_dropped: u64,
    pub inbox_skipped: u64,
    pub sync_hints: u64,
    pub pauses: u64,
    pub yields: u64,
    pub upgrades: u64,
    pub handshakes: u64,
    pub handshakes_failed: u64,
    pub handshakes_deferred: u64,
    pub handshakes_waited: u64,
    pub apps_full: u64,
}

/// Reads one number of a turn.
type Read = fn(&TurnCounts) -> u64;

/// The metrics of one reactor.
pub struct ReactorMetrics {
    counters: [(Counter, Read); 26],
    closed: Vec<Counter>,
    connections: Gauge,
    /// Those of the turn under way.
    pub counts: TurnCounts,
    /// Those of the turn before.
    pub published: TurnCounts,
}

impl std::fmt::Debug for ReactorMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts.fmt(formatter)
    }
}

impl ReactorMetrics {
    /// Registers the metrics of a reactor.
    pub fn new(reactor: usize) -> Self {
        let label = reactor.to_string();
        let named = |name: &'static str| counter!(name, "reactor" => label.clone());
        let closed = CloseReason::ALL
            .iter()
            .map(|reason| counter!("conn_closed_total", "reactor" => label.clone(), "reason" => reason.rule().label));
        Self {
            counters: [
                (named("conn_accepted_total"), |counts| counts.accepted),
                (named("conn_accept_retries_total"), |counts| counts.accept_retries),
                (named("conn_accept_pauses_total"), |counts| counts.accept_pauses),
                (named("conn_refused_connections_total"), |counts| counts.refused_connections),
                (named("conn_bytes_in_total"), |counts| counts.bytes_in),
                (named("conn_packets_in_total"), |counts| counts.packets_in),
                (named("conn_bytes_out_total"), |counts| counts.bytes_out),
                (named("conn_frames_out_total"), |counts| counts.frames_out),
                (named("conn_writes_total"), |counts| counts.writes),
                (named("conn_heartbeats_total"), |counts| counts.heartbeats),
                (named("conn_refused_packets_total"), |counts| counts.refused_packets),
                (named("conn_uplink_full_total"), |counts| counts.uplink_full),
                (named("conn_stale_events_total"), |counts| counts.stale_events),
                (named("conn_stale_commands_total"), |counts| counts.stale_commands),
                (named("conn_room_pushes_dropped_total"), |counts| counts.room_dropped),
                (named("conn_pushes_to_all_dropped_total"), |counts| counts.broadcasts_dropped),
                (named("conn_inbox_pushes_skipped_total"), |counts| counts.inbox_skipped),
                (named("conn_sync_hints_total"), |counts| counts.sync_hints),
                (named("conn_read_pauses_total"), |counts| counts.pauses),
                (named("conn_read_yields_total"), |counts| counts.yields),
                (named("conn_websocket_upgrades_total"), |counts| counts.upgrades),
                (named("conn_tls_handshakes_total"), |counts| counts.handshakes),
                (named("conn_tls_failures_total"), |counts| counts.handshakes_failed),
                (named("conn_tls_handshakes_deferred_total"), |counts| counts.handshakes_deferred),
                (named("conn_tls_handshakes_waited_total"), |counts| counts.handshakes_waited),
                (named("conn_apps_full_total"), |counts| counts.apps_full),
            ],
            closed: closed.collect(),
            connections: gauge!("conn_connections", "reactor" => label.clone()),
            counts: TurnCounts::default(),
            published: TurnCounts::default(),
        }
    }

    /// Counts the end of a connection.
    pub fn closed(&self, reason: CloseReason) {
        if let Some(index) = CloseReason::ALL.iter().position(|known| *known == reason) {
            self.closed[index].increment(1);
        }
    }

    /// Publishes the turn's numbers and begins anew.
    pub fn publish(&mut self, connections: usize) {
        for (counter, read) in &self.counters {
            let count = read(&self.counts);
            if count > 0 {
                counter.increment(count);
            }
        }
        self.published = std::mem::take(&mut self.counts);
        self.connections.set(connections as f64);
    }
}

/// The metrics of one app in one reactor.
pub struct AppMetrics {
    signed_in: Gauge,
    rooms: Gauge,
}

impl std::fmt::Debug for AppMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AppMetrics").finish_non_exhaustive()
    }
}

impl AppMetrics {
    /// Registers the metrics of an app.
    pub fn new(reactor: usize, app_id: u32) -> Self {
        let named = |name: &'static str| gauge!(name, "reactor" => reactor.to_string(), "app" => app_id.to_string());
        Self { signed_in: named("conn_signed_in"), rooms: named("conn_rooms") }
    }

    /// Publishes the turn's numbers.
    pub fn publish(&self, signed_in: usize, rooms: usize) {
        self.signed_in.set(signed_in as f64);
        self.rooms.set(rooms as f64);
    }
}
