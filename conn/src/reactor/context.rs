//! What connections are served with: everything of a reactor but the table that they stand in, its epoll and its listeners.
//! Each part keeps what it alone touches.

use std::sync::Arc;

use super::{
    apps::Apps, catching_up::HeldPushes, drain::Drain, flush::Writer, handshakes::Handshakes, log_limiter::LogLimiter,
    packets::ReplyArena, read::Reader, renditions::Renditions, unsigned::Unsigned,
};
use crate::{
    clock::Clock,
    metrics::ReactorMetrics,
    quota::Quota,
    reactor::wheel::Wheel,
    session::Rules,
    settings::{OutboundLimits, TurnSettings},
    wire::ws::upgrade::Site,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Context {
    /// Which reactor of the process this is.
    pub(super) index: usize,
    pub(super) rules: Rules,
    pub(super) site: Site,
    pub(super) budget: TurnSettings,
    /// How long a connection may take until packets can travel.
    pub(super) handshake_timeout_ms: u64,

    pub(super) clock: Clock,
    pub(super) wheel: Wheel,
    pub(super) apps: Apps,
    pub(super) quota: Arc<Quota>,
    pub(super) unsigned: Unsigned,
    pub(super) handshakes: Handshakes,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) replies: ReplyArena,
    pub(super) renditions: Renditions,
    pub(super) held_pushes: HeldPushes,
    pub(super) drain: Drain,
    /// Members of rooms, and the places that they moved to in this look-up's time.
    pub(super) moved_members: Vec<(usize, u32)>,
    /// Slots to free at the end of the turn.
    pub(super) dead: Vec<usize>,
    pub(super) metrics: ReactorMetrics,
    pub(super) log_limiter: LogLimiter,
}

impl Context {
    /// From now on these hold, also for connections that are there; but for the sizes of frames, by which others reckon. A deadline that
    /// runs already is looked at when it was to end before.
    pub(super) fn take_rules(&mut self, rules: Rules, outbound: OutboundLimits, origins: Vec<String>) {
        let Rules { unsigned_frame_bytes_max, frame_bytes_max, .. } = self.rules;
        self.rules = Rules { unsigned_frame_bytes_max, frame_bytes_max, ..rules };
        self.writer.limits = outbound;
        self.site.origins = origins;
    }
}
