//! TLS handshakes: what they begin with, how many are under way, and how many more steps of them a turn may do, so that a storm
//! of them holds up nobody.

use std::sync::Arc;

use rustls::ServerConfig;

use crate::wire::transport::{Entrance, TlsConfigs};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Handshakes {
    configs: Option<TlsConfigs>,
    under_way: usize,
    under_way_max: usize,
    steps_left: usize,
    steps_max: usize,
}

impl Handshakes {
    /// None yet; `under_way_max` at a time, `steps_max` steps per turn.
    pub(super) fn new(configs: Option<TlsConfigs>, under_way_max: usize, steps_max: usize) -> Self {
        Self { configs, under_way: 0, under_way_max, steps_left: 0, steps_max }
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

    /// Whether one more may begin.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < self.under_way_max
    }

    pub(super) fn has_steps_left(&self) -> bool {
        self.steps_left > 0
    }

    pub(super) fn count_step(&mut self) {
        self.steps_left = self.steps_left.saturating_sub(1);
    }

    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    /// One is over, well or not.
    pub(super) fn end(&mut self) {
        self.under_way -= 1;
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }
}
