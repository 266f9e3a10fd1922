//! Every metric of a conn node. Nothing else names one.
//!
//! A reactor counts into plain numbers ([`TurnCounts`]) and publishes them once per turn, so that counting costs it nothing.

use gim_legacy::Dialect;
use gim_proto::CloseReason;
use metrics::{Counter, Gauge, counter, gauge};

gim_config::metric_names! {
    /// Open connections. Here and where else it may be said, `dialect` names what older clients speak; others have none. What
    /// a reactor does for all alike (bytes, writes, TLS) is not told apart.
    Gauge CONNECTIONS = "conn_connections" of reactor, dialect;
    /// As many as there may be: `limits.connections_max`, or as the files of the process allow.
    Gauge CONNECTIONS_MAX = "conn_connections_max";
    /// Connections that are signed in.
    Gauge SIGNED_IN = "conn_signed_in" of reactor, app;
    /// Rooms with subscribers on this reactor.
    Gauge ROOMS = "conn_rooms" of reactor, app;
    /// Connections that were accepted.
    Counter ACCEPTED = "conn_accepted_total" of reactor, dialect;
    /// Connections that were refused at once: over a cap, or while draining.
    Counter REFUSED_CONNECTIONS = "conn_refused_connections_total" of reactor, dialect;
    /// Connections that had not signed in and gave their place to a newer one, at a cap of connections.
    Counter UNSIGNED_EVICTED = "conn_unsigned_evicted_total" of reactor;
    /// Connects that were gone before they were accepted.
    Counter ACCEPT_RETRIES = "conn_accept_retries_total" of reactor;
    /// Pauses of accepting, because the process or the system was out of files or memory.
    Counter ACCEPT_PAUSES = "conn_accept_pauses_total" of reactor;
    /// Sign-ins that were refused because their app has `connections_max` connections.
    Counter APPS_FULL = "conn_apps_full_total" of reactor;
    /// Connections that ended, by close reason.
    Counter CLOSED = "conn_closed_total" of reactor, reason, dialect;
    /// Bytes that clients sent.
    Counter BYTES_IN = "conn_bytes_in_total" of reactor;
    /// Bytes that were written to clients.
    Counter BYTES_OUT = "conn_bytes_out_total" of reactor;
    /// Packets that clients sent.
    Counter PACKETS_IN = "conn_packets_in_total" of reactor, dialect;
    /// Frames that were written to clients.
    Counter FRAMES_OUT = "conn_frames_out_total" of reactor;
    /// Calls of the kernel that wrote them.
    Counter WRITES = "conn_writes_total" of reactor;
    /// Heartbeats that were answered.
    Counter HEARTBEATS = "conn_heartbeats_total" of reactor, dialect;
    /// Packets that conn itself refused, as over the rate or not understood.
    Counter REFUSED_PACKETS = "conn_refused_packets_total" of reactor, dialect;
    /// Times that a connection was not read further because `session.in_flight_max` packets of it were with logic.
    Counter READ_PAUSES = "conn_read_pauses_total" of reactor, dialect;
    /// Times that a connection had more to read than its share of a turn.
    Counter READ_YIELDS = "conn_read_yields_total" of reactor;
    /// Packets answered "try again later" because the bridge to logic was behind.
    Counter UPLINK_FULL = "conn_uplink_full_total" of reactor, dialect;
    /// Socket events of connections that were gone already.
    Counter STALE_EVENTS = "conn_stale_events_total" of reactor;
    /// Commands and answers for connections that were gone already.
    Counter STALE_COMMANDS = "conn_stale_commands_total" of reactor;
    /// Pushes to rooms that were dropped for slow readers, or over `limits.room_backlog_max`.
    Counter ROOM_PUSHES_DROPPED = "conn_room_pushes_dropped_total" of reactor, dialect;
    /// Pushes to all that found too many others waiting.
    Counter PUSHES_TO_ALL_DROPPED = "conn_pushes_to_all_dropped_total" of reactor;
    /// Stored messages that were not pushed to a slow reader, who is told to sync instead, or in a dialect to come again.
    Counter INBOX_PUSHES_SKIPPED = "conn_inbox_pushes_skipped_total" of reactor, dialect;
    /// Hints to sync that were sent.
    Counter SYNC_HINTS = "conn_sync_hints_total" of reactor, dialect;
    /// WebSockets that were opened.
    Counter WEBSOCKET_UPGRADES = "conn_websocket_upgrades_total" of reactor;
    /// TLS handshakes that were completed.
    Counter TLS_HANDSHAKES = "conn_tls_handshakes_total" of reactor;
    /// TLS handshakes that failed.
    Counter TLS_FAILURES = "conn_tls_failures_total" of reactor;
    /// Handshakes that waited for a place.
    Counter TLS_HANDSHAKES_WAITED = "conn_tls_handshakes_waited_total" of reactor;
    /// Steps of handshakes that waited for the next turn.
    Counter TLS_HANDSHAKES_DEFERRED = "conn_tls_handshakes_deferred_total" of reactor;
    /// When the certificate expires, as Unix time.
    Gauge CERTIFICATE_EXPIRATION = "conn_tls_certificate_expiration_timestamp_seconds" of file;
    /// Times that the link to a logic node was attached.
    Counter LINK_ATTACHED = "conn_link_attached_total" of app, logic;
    /// Links to logic nodes that are attached.
    Gauge LINKS = "conn_links" of app;
    /// Requests that went to logic and ended, by command and code: 0 where they were done, `business` for codes of the business.
    Counter REQUESTS = "conn_requests_total" of command, code;
    /// How long they took, from the bridge on.
    Histogram REQUEST_SECONDS = "conn_request_seconds" of command;
    /// Requests that are with a logic node.
    Gauge REQUESTS_PENDING = "conn_requests_pending" of app, logic;
    /// For how long the oldest of them has been waiting for its answer.
    Gauge REQUESTS_OLDEST_SECONDS = "conn_requests_oldest_seconds" of app, logic;
    /// Requests answered "try again later" because the link broke or logic did not answer in time.
    Counter REQUESTS_EXPIRED = "conn_requests_expired_total" of app, logic;
    /// Requests answered "try again later" because `link.requests_max` were with the logic node.
    Counter REQUESTS_BEYOND = "conn_requests_beyond_window_total" of app, logic;
    /// Answers of logic that nobody waits for any more.
    Counter REPLIES_LATE = "conn_replies_late_total";
    /// Times that the command queue of a reactor was full, so that the stream from logic had to wait.
    Counter COMMAND_QUEUE_FULL = "conn_command_queue_full_total" of app;
    /// Pushes to rooms that waited for an earlier one of another logic node.
    Counter ROOM_PUSHES_HELD = "conn_room_pushes_held_total" of app;
    /// Of these, those that waited in vain.
    Counter ROOM_PUSHES_GIVEN_UP = "conn_room_pushes_given_up_total" of app;
    /// Pushes to rooms that came after their successors and were left out.
    Counter ROOM_PUSHES_LATE = "conn_room_pushes_late_total" of app;
}

/// What one turn of a reactor did.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is the metric of its name")]
pub struct TurnCounts {
    pub accepted: u64,
    pub accept_retries: u64,
    pub accept_pauses: u64,
    pub refused_connections: u64,
    pub unsigned_evicted: u64,
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
    counters: [(Counter, Read); 27],
    closed: Vec<Counter>,
    connections: Gauge,
    /// In the order of all dialects: of each that has a listener from the start on, so that what counts from 0 is there before it happens.
    dialects: Vec<Option<DialectMetrics>>,
    /// Of the open connections, those whose clients speak one.
    worded_connections: usize,
    reactor: usize,
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
    /// Registers the metrics of a reactor that has listeners for these dialects.
    pub fn new(reactor: usize, dialects: impl IntoIterator<Item = Dialect>) -> Self {
        let label = reactor.to_string();
        let named = |name: &'static str| counter!(name, "reactor" => label.clone());
        let closed = CloseReason::ALL
            .iter()
            .map(|reason| counter!(CLOSED, "reactor" => label.clone(), "reason" => reason.rule().label));
        let mut metrics = Self {
            counters: [
                (named(ACCEPTED), |counts| counts.accepted),
                (named(ACCEPT_RETRIES), |counts| counts.accept_retries),
                (named(ACCEPT_PAUSES), |counts| counts.accept_pauses),
                (named(REFUSED_CONNECTIONS), |counts| counts.refused_connections),
                (named(UNSIGNED_EVICTED), |counts| counts.unsigned_evicted),
                (named(BYTES_IN), |counts| counts.bytes_in),
                (named(PACKETS_IN), |counts| counts.packets_in),
                (named(BYTES_OUT), |counts| counts.bytes_out),
                (named(FRAMES_OUT), |counts| counts.frames_out),
                (named(WRITES), |counts| counts.writes),
                (named(HEARTBEATS), |counts| counts.heartbeats),
                (named(REFUSED_PACKETS), |counts| counts.refused_packets),
                (named(UPLINK_FULL), |counts| counts.uplink_full),
                (named(STALE_EVENTS), |counts| counts.stale_events),
                (named(STALE_COMMANDS), |counts| counts.stale_commands),
                (named(ROOM_PUSHES_DROPPED), |counts| counts.room_dropped),
                (named(PUSHES_TO_ALL_DROPPED), |counts| counts.broadcasts_dropped),
                (named(INBOX_PUSHES_SKIPPED), |counts| counts.inbox_skipped),
                (named(SYNC_HINTS), |counts| counts.sync_hints),
                (named(READ_PAUSES), |counts| counts.pauses),
                (named(READ_YIELDS), |counts| counts.yields),
                (named(WEBSOCKET_UPGRADES), |counts| counts.upgrades),
                (named(TLS_HANDSHAKES), |counts| counts.handshakes),
                (named(TLS_FAILURES), |counts| counts.handshakes_failed),
                (named(TLS_HANDSHAKES_DEFERRED), |counts| counts.handshakes_deferred),
                (named(TLS_HANDSHAKES_WAITED), |counts| counts.handshakes_waited),
                (named(APPS_FULL), |counts| counts.apps_full),
            ],
            closed: closed.collect(),
            connections: gauge!(CONNECTIONS, "reactor" => label.clone()),
            dialects: Dialect::all().map(|_| None).collect(),
            worded_connections: 0,
            reactor,
            counts: TurnCounts::default(),
            published: TurnCounts::default(),
        };
        for dialect in dialects {
            metrics.of(dialect);
        }
        metrics
    }

    /// Counts the end of a connection.
    pub fn closed(&mut self, dialect: Option<Dialect>, reason: CloseReason) {
        let Some(index) = CloseReason::ALL.iter().position(|known| *known == reason) else { return };
        match dialect {
            None => self.closed[index].increment(1),
            Some(dialect) => self.of(dialect).closed[index].increment(1),
        }
    }

    /// Counts a connection that was accepted.
    pub fn opened(&mut self, dialect: Option<Dialect>) {
        if let Some(dialect) = dialect {
            self.of(dialect).connections.increment(1.0);
            self.worded_connections += 1;
        }
    }

    /// Counts a connection that is gone.
    pub fn gone(&mut self, dialect: Option<Dialect>) {
        if let Some(dialect) = dialect {
            self.of(dialect).connections.decrement(1.0);
            self.worded_connections -= 1;
        }
    }

    /// The numbers of this turn of what clients do who speak this, or none for those of today.
    pub fn of_client(&mut self, dialect: Option<Dialect>) -> &mut TurnCounts {
        match dialect {
            None => &mut self.counts,
            Some(dialect) => &mut self.of(dialect).counts,
        }
    }

    /// Those of the turn before.
    pub fn published_of(&self, dialect: Dialect) -> Option<&TurnCounts> {
        self.dialects[dialect.index()].as_ref().map(|metrics| &metrics.published)
    }

    #[cold]
    fn of(&mut self, dialect: Dialect) -> &mut DialectMetrics {
        self.dialects[dialect.index()].get_or_insert_with(|| DialectMetrics::new(self.reactor, dialect))
    }

    /// Publishes the turn's numbers and begins anew.
    pub fn publish(&mut self, connections: usize) {
        self.published = publish(&self.counters, &mut self.counts);
        for metrics in self.dialects.iter_mut().flatten() {
            metrics.published = publish(&metrics.counters, &mut metrics.counts);
        }
        self.connections.set(connections.saturating_sub(self.worded_connections) as f64);
    }
}

/// Adds a turn's numbers to the counters, and begins anew; those that were added.
fn publish(counters: &[(Counter, Read)], counts: &mut TurnCounts) -> TurnCounts {
    for (counter, read) in counters {
        let count = read(counts);
        if count > 0 {
            counter.increment(count);
        }
    }
    std::mem::take(counts)
}

/// The metrics of one dialect in one reactor: what its clients do. What the reactor does for all of them is counted once.
struct DialectMetrics {
    connections: Gauge,
    counters: [(Counter, Read); 10],
    closed: Vec<Counter>,
    counts: TurnCounts,
    published: TurnCounts,
}

impl DialectMetrics {
    fn new(reactor: usize, dialect: Dialect) -> Self {
        let (reactor, name) = (reactor.to_string(), dialect.name());
        let named = |metric: &'static str| counter!(metric, "reactor" => reactor.clone(), "dialect" => name);
        let closed = |reason: &CloseReason| {
            let reason = reason.rule().label;
            counter!(CLOSED, "reactor" => reactor.clone(), "reason" => reason, "dialect" => name)
        };
        Self {
            connections: gauge!(CONNECTIONS, "reactor" => reactor.clone(), "dialect" => name),
            counters: [
                (named(ACCEPTED), |counts| counts.accepted),
                (named(REFUSED_CONNECTIONS), |counts| counts.refused_connections),
                (named(PACKETS_IN), |counts| counts.packets_in),
                (named(HEARTBEATS), |counts| counts.heartbeats),
                (named(REFUSED_PACKETS), |counts| counts.refused_packets),
                (named(UPLINK_FULL), |counts| counts.uplink_full),
                (named(ROOM_PUSHES_DROPPED), |counts| counts.room_dropped),
                (named(INBOX_PUSHES_SKIPPED), |counts| counts.inbox_skipped),
                (named(SYNC_HINTS), |counts| counts.sync_hints),
                (named(READ_PAUSES), |counts| counts.pauses),
            ],
            closed: CloseReason::ALL.iter().map(closed).collect(),
            counts: TurnCounts::default(),
            published: TurnCounts::default(),
        }
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
        Self { signed_in: named(SIGNED_IN), rooms: named(ROOMS) }
    }

    /// Publishes the turn's numbers.
    pub fn publish(&self, signed_in: usize, rooms: usize) {
        self.signed_in.set(signed_in as f64);
        self.rooms.set(rooms as f64);
    }
}
