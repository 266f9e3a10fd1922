//! How a reactor ends: refuse → tell clients, so many per second, with a spread-out reconnect delay → deadline → over.

use std::{collections::BTreeMap, sync::Arc};

use gim_proto::{CloseReason, logic::NodeAddresses};

use super::Reactor;
use crate::{settings::DrainSettings, wire::transport::Entrance};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Draining { since_ms: u64, closed: u64, next_slot: usize },
    Over,
}

/// The phase of one reactor's end.
#[derive(Debug)]
pub(super) struct Drain {
    phase: Phase,
    settings: DrainSettings,
    /// Other nodes that take clients, as the logic of each app told last.
    peers: BTreeMap<usize, Arc<Vec<NodeAddresses>>>,
}

impl Drain {
    pub(super) fn new(settings: DrainSettings) -> Self {
        Self { phase: Phase::Running, settings, peers: BTreeMap::new() }
    }

    pub(super) fn begin(&mut self, now_ms: u64) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining { since_ms: now_ms, closed: 0, next_slot: 0 };
        }
    }

    /// Whether new connections are refused.
    pub(super) fn is_draining(&self) -> bool {
        self.phase != Phase::Running
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The logic of an app told where else its clients may go.
    pub(super) fn learn(&mut self, app: usize, peers: Arc<Vec<NodeAddresses>>) {
        self.peers.insert(app, peers);
    }

    /// What a goodbye recommends to a client of an app (or of one that is not known, as the first) that came through `entrance`:
    /// when to come back and where to, both spread by `salt`. The endpoint of the settings, or else another node.
    pub(super) fn advice(&self, reason: CloseReason, app: Option<usize>, entrance: Entrance, salt: u64) -> (u32, &str) {
        let is_full = matches!(reason, CloseReason::CrServerOverloaded | CloseReason::CrAddressFull);
        if !is_full && reason != CloseReason::CrServerDraining {
            return (0, "");
        }
        let endpoint = match self.settings.endpoint.as_str() {
            "" => self.peers.get(&app.unwrap_or(0)).map_or("", |peers| peer(peers, entrance, salt)),
            endpoint => endpoint,
        };
        (spread(salt, self.settings.reconnect_spread_ms), endpoint)
    }
}

/// One of the nodes that can be reached in the same way, or nothing.
fn peer(peers: &[NodeAddresses], entrance: Entrance, salt: u64) -> &str {
    let address_of: fn(&NodeAddresses) -> &str = match entrance {
        Entrance::Tcp => |node| &node.tcp,
        Entrance::WebSocket => |node| &node.ws,
        Entrance::Tls => |node| &node.tls,
        Entrance::WebSocketTls => |node| &node.wss,
    };
    let count = peers.iter().filter(|node| !address_of(node).is_empty()).count();
    let Some(chosen) = mix(salt).checked_rem(count as u64) else { return "" };
    let mut addresses = peers.iter().map(address_of).filter(|address| !address.is_empty());
    addresses.nth(chosen as usize).unwrap_or_default()
}

impl Reactor {
    /// Closes as many connections as the rate allows by now; those that wait for a reply come last.
    pub(super) fn drain_step(&mut self) {
        let Phase::Draining { since_ms, mut closed, mut next_slot } = self.context.drain.phase else { return };
        let DrainSettings { closes_per_s, timeout_ms, .. } = self.context.drain.settings;
        let elapsed_ms = self.context.clock.now_ms() - since_ms;
        let allowed = (elapsed_ms + 1) * closes_per_s / 1000 + 1;
        let is_late = elapsed_ms >= timeout_ms;
        while closed < allowed && next_slot < self.table.slots_end() {
            if let Some(mut peer) = self.peer(next_slot)
                && peer.goes_on()
                && (peer.connection.session.is_answered() || is_late)
            {
                peer.close(CloseReason::CrServerDraining);
                closed += 1;
            }
            next_slot += 1;
        }
        if next_slot >= self.table.slots_end() {
            next_slot = 0;
        }
        let is_empty = self.table.len() == self.context.dead.len();
        let is_over = is_empty || elapsed_ms >= timeout_ms + self.context.rules.linger_ms;
        self.context.drain.phase = if is_over { Phase::Over } else { Phase::Draining { since_ms, closed, next_slot } };
    }
}

/// The same salt gets the same delay; many salts share the time evenly.
fn spread(salt: u64, spread_ms: u32) -> u32 {
    ((mix(salt) * u64::from(spread_ms)) >> 32) as u32
}

/// 32 bits that neighbouring salts do not share.
fn mix(salt: u64) -> u64 {
    salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_evenly() {
        let mut buckets = [0; 10];
        for salt in 0..10_000 {
            buckets[spread(salt, 1000) as usize / 100] += 1;
        }
        assert!(buckets.iter().all(|count| (800..1200).contains(count)), "{buckets:?}");
        assert_eq!(spread(7, 0), 0);
    }

    #[test]
    fn clients_are_sent_to_other_nodes_by_the_way_they_came_spread_evenly() {
        let node = |number: u32| NodeAddresses {
            tcp: format!("conn-{number}:8002"),
            ws: if number == 3 { String::new() } else { format!("ws://conn-{number}/ws") },
            ..NodeAddresses::default()
        };
        let mut drain = Drain::new(DrainSettings::default());
        let draining = CloseReason::CrServerDraining;
        assert_eq!(drain.advice(draining, None, Entrance::Tcp, 1).1, "", "nobody else is known");
        drain.learn(0, Arc::new(vec![node(1), node(2), node(3)]));
        let mut told = std::collections::BTreeMap::<&str, u32>::new();
        for salt in 0..3000 {
            *told.entry(drain.advice(draining, None, Entrance::Tcp, salt).1).or_default() += 1;
        }
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), ["conn-1:8002", "conn-2:8002", "conn-3:8002"]);
        assert!(told.values().all(|count| (800..1200).contains(count)), "{told:?}");
        assert!(
            (0..100).all(|salt| drain.advice(draining, None, Entrance::WebSocket, salt).1.starts_with("ws://conn-"))
        );
        assert_eq!(drain.advice(draining, None, Entrance::Tls, 1).1, "");
        assert_eq!(drain.advice(draining, Some(1), Entrance::Tcp, 1).1, "", "the clients of another app");
        assert_eq!(drain.advice(CloseReason::CrKicked, None, Entrance::Tcp, 1), (0, ""));
        drain.settings.endpoint = "balancer:8002".into();
        assert_eq!(drain.advice(draining, None, Entrance::Tcp, 1).1, "balancer:8002", "what the operator says counts");
    }
}
