//! TLS handshakes: what they begin with, how many are under way, and how many more steps of them a turn may do, so that a storm
//! of them holds up nobody.
//!
//! Always holds: a connection asks for a place with its first byte of TLS and not before; no address has more places than its share;
//! addresses whose connections wait get places by turns.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use rustls::ServerConfig;

use crate::{
    settings::LimitSettings,
    wire::transport::{Entrance, TlsConfigs},
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Handshakes {
    configs: Option<TlsConfigs>,
    under_way: usize,
    under_way_max: usize,
    per_address_max: usize,
    lines: HashMap<IpAddr, Line>,
    /// Addresses below their share with connections that wait, each once.
    turns: VecDeque<IpAddr>,
    steps_left: usize,
    steps_max: usize,
}

/// The handshakes of one address.
#[derive(Debug, Default)]
struct Line {
    under_way: usize,
    /// The slots and generations of connections; some may be gone. As many as connections can be made in the time that a handshake may
    /// take.
    waiting: VecDeque<(usize, u32)>,
    has_turn: bool,
}

/// Which connection gets a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) slot: usize,
    pub(super) generation: u32,
    pub(super) address: IpAddr,
}

impl Handshakes {
    /// None yet; so many at a time, `steps_max` steps per turn.
    pub(super) fn new(configs: Option<TlsConfigs>, limits: &LimitSettings, steps_max: usize) -> Self {
        Self {
            configs,
            under_way: 0,
            under_way_max: limits.handshakes_max,
            per_address_max: limits.handshakes_per_address_max,
            lines: HashMap::new(),
            turns: VecDeque::new(),
            steps_left: 0,
            steps_max,
        }
    }

    pub(super) fn begin_turn(&mut self) {
        self.steps_left = self.steps_max;
    }

    /// New connections begin with these from now on.
    pub(super) fn configure(&mut self, configs: TlsConfigs) {
        self.configs = Some(configs);
    }

    /// What a connection through this entrance begins with, if it is one of TLS.
    pub(super) fn config_of(&self, entrance: Entrance) -> Option<Arc<ServerConfig>> {
        self.configs.as_ref()?.of(entrance).cloned()
    }

    pub(super) fn has_steps_left(&self) -> bool {
        self.steps_left > 0
    }

    pub(super) fn count_step(&mut self) {
        self.steps_left = self.steps_left.saturating_sub(1);
    }

    /// Takes a place for a connection of this address. Where there is none, or others came before, the connection waits, and
    /// [`Handshakes::next`] names it.
    #[must_use]
    pub(super) fn ask(&mut self, address: IpAddr, slot: usize, generation: u32) -> bool {
        let line = self.lines.entry(address).or_default();
        let is_free = self.under_way < self.under_way_max && line.under_way < self.per_address_max;
        if is_free && line.waiting.is_empty() && self.turns.is_empty() {
            self.under_way += 1;
            line.under_way += 1;
            return true;
        }
        line.waiting.push_back((slot, generation));
        self.line_up(address);
        false
    }

    /// The next connection that gets a place, if there is one for any that waits.
    pub(super) fn next(&mut self) -> Option<Next> {
        while self.has_next() {
            let address = self.turns.pop_front()?;
            let Some(line) = self.lines.get_mut(&address) else { continue };
            line.has_turn = false;
            let Some((slot, generation)) = line.waiting.pop_front() else { continue };
            line.under_way += 1;
            self.under_way += 1;
            self.line_up(address);
            return Some(Next { slot, generation, address });
        }
        None
    }

    pub(super) fn has_next(&self) -> bool {
        self.under_way < self.under_way_max && !self.turns.is_empty()
    }

    /// One of this address is over, well or not.
    pub(super) fn end(&mut self, address: IpAddr) {
        self.under_way -= 1;
        if let Entry::Occupied(mut line) = self.lines.entry(address) {
            line.get_mut().under_way -= 1;
            if line.get().under_way == 0 && line.get().waiting.is_empty() {
                line.remove();
            }
        }
        self.line_up(address);
    }

    fn line_up(&mut self, address: IpAddr) {
        let Some(line) = self.lines.get_mut(&address) else { return };
        if !line.has_turn && !line.waiting.is_empty() && line.under_way < self.per_address_max {
            line.has_turn = true;
            self.turns.push_back(address);
        }
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::settings::ConnSettings;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn handshakes(under_way_max: usize, per_address_max: usize) -> Handshakes {
        let limits = LimitSettings {
            handshakes_max: under_way_max,
            handshakes_per_address_max: per_address_max,
            ..ConnSettings::default().limits
        };
        Handshakes::new(None, &limits, 1)
    }

    fn next_slots(handshakes: &mut Handshakes) -> Vec<usize> {
        std::iter::from_fn(|| handshakes.next()).map(|next| next.slot).collect()
    }

    #[test]
    fn an_address_at_its_share_waits_while_others_begin() {
        let mut handshakes = handshakes(3, 2);
        assert!(handshakes.ask(ONE, 1, 0) && handshakes.ask(ONE, 2, 0));
        assert!(!handshakes.ask(ONE, 3, 0));
        assert_eq!(handshakes.next(), None, "its share is taken");
        assert!(handshakes.ask(TWO, 4, 0));
        handshakes.end(ONE);
        assert_eq!(handshakes.next(), Some(Next { slot: 3, generation: 0, address: ONE }));
        assert_eq!(handshakes.under_way(), 3);
    }

    #[test]
    fn those_that_wait_get_places_by_turns_of_their_addresses() {
        let mut handshakes = handshakes(1, 1);
        assert!(handshakes.ask(ONE, 1, 0));
        for slot in 2..=4 {
            assert!(!handshakes.ask(ONE, slot, 0));
        }
        assert!(!handshakes.ask(TWO, 5, 0));
        let mut order = Vec::new();
        let mut address = ONE;
        for _ in 0..4 {
            handshakes.end(address);
            let next = handshakes.next().unwrap();
            assert_eq!(handshakes.next(), None);
            address = next.address;
            order.push(next.slot);
        }
        assert_eq!(order, [5, 2, 3, 4]);
        handshakes.end(address);
        assert_eq!((handshakes.under_way(), handshakes.lines.len(), handshakes.turns.len()), (0, 0, 0));
    }

    #[test]
    fn who_comes_later_does_not_overtake_those_that_wait() {
        let mut handshakes = handshakes(2, 2);
        assert!(handshakes.ask(ONE, 1, 0) && handshakes.ask(ONE, 2, 0));
        assert!(!handshakes.ask(TWO, 3, 0));
        handshakes.end(ONE);
        assert!(!handshakes.ask(TWO, 4, 0));
        assert_eq!(next_slots(&mut handshakes), [3]);
    }
}
