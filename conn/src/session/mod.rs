//! What a connection may do and when it has to end: a state machine without IO, driven by packets and by the reactor's clock.
//!
//! ```text
//!   Unsigned ──PC_SIGN_IN──▶ SigningIn ──accepted──▶ Live
//!      ▲                        │ refused                      any ──▶ Closing
//!      └────────────────────────┘
//! ```
//!
//! Always holds: `in_flight` counts the packets that went to logic and were not answered; while it is full, or a sign-in is
//! under way, the connection is not read. Calls are counted for themselves: one beyond their number is refused, and neither holds up
//! what follows nor has to wait for it. Times are ticks of the timer wheel, so that a record stays small.

use gim_proto::{
    BUSINESS_COMMAND_MIN, CloseReason, ResultCode, connect::PacketCommand, metadata::REQUEST_ID_BYTES_MAX,
};

use crate::{
    clock::{TICK_MS, tick},
    token_bucket::{Drawn, Rate, TokenBucket},
    wire::packet::PacketView,
};

/// The rules of a session; the same for all connections of a process.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Longest frame body before the sign-in.
    pub unsigned_frame_bytes_max: usize,
    /// Longest frame body after it.
    pub frame_bytes_max: usize,
    /// How long a connection may live without having signed in.
    pub sign_in_timeout_ms: u64,
    /// Refused sign-ins after which the connection is closed.
    pub failed_sign_ins_max: u8,
    /// How long a signed-in connection may be silent at most.
    pub heartbeat_timeout_ms: u64,
    /// Packets under way to logic at which reading pauses.
    pub in_flight_max: u16,
    /// Calls under way to logic; one more is refused.
    pub calls_in_flight_max: u8,
    /// Packets per second in the long run; 0 for no limit.
    pub packets_per_s: u32,
    /// Packets at once.
    pub packets_burst: u32,
    /// How often logic is asked, at a heartbeat, for the newest seq of the inbox; 0 for every time.
    pub newest_seq_interval_ms: u64,
    /// How long a closing connection may take to read what it is owed.
    pub linger_ms: u64,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Only a sign-in is let through.
    Unsigned,
    /// Waits for the answer to its sign-in.
    SigningIn,
    /// Signed in.
    Live,
    /// Ended; only what it is owed still leaves.
    Closing,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answer the heartbeat here.
    Heartbeat,
    /// Hand it to logic; `in_flight` counts it already.
    Forward,
    /// Hand it to logic as a call; it is counted among the calls already.
    Call,
    /// Answer with this code.
    Refuse(ResultCode),
    /// End the connection.
    Close(CloseReason),
}

/// What to do with a ping of the transport, or with another frame that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlVerdict {
    /// Answer it.
    Answer,
    /// Leave it unanswered.
    Ignore,
    /// End the connection.
    Close(CloseReason),
}

/// Why a connection is not read; named, so that exactly one event lifts each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseReason {
    /// Lifted by the answer to the sign-in.
    SigningIn,
    /// Lifted by a reply.
    InFlightFull,
    /// Never lifted: nothing more is read for its content.
    Closing,
}

/// Who signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// The user.
    pub user_id: u64,
    /// The user's device.
    pub device_id: u64,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    /// Newest inbox seq that this node knows of.
    newest_seq: u64,
    bucket: TokenBucket,
    /// When it was opened, last heard of, or closed, by `phase`.
    since_tick: u32,
    /// When it signed in.
    live_tick: u32,
    /// One more than the tick at which logic was last asked for the newest seq; 0 for never.
    asked_tick: u32,
    in_flight: u16,
    phase: Phase,
    /// Sign-ins that were refused; once live, calls that logic has not answered. Never both, and a record has room for one.
    tally: u8,
}

impl Rules {
    /// The rules for a client that sends a heartbeat so often, who may be silent for twice as long; 0 where it did not say.
    #[must_use]
    pub fn for_heartbeat(self, heartbeat_s: u16) -> Self {
        let patience_ms = match heartbeat_s {
            0 => u64::MAX,
            heartbeat_s => 2000 * u64::from(heartbeat_s),
        };
        Self { heartbeat_timeout_ms: patience_ms.min(self.heartbeat_timeout_ms), ..self }
    }

    fn rate(&self) -> Rate {
        Rate::new(self.packets_per_s, self.packets_burst)
    }
}

impl Session {
    /// A connection that was accepted now.
    pub fn new(now_ms: u64, rules: &Rules) -> Self {
        Self {
            identity: Identity::default(),
            newest_seq: 0,
            bucket: TokenBucket::full(now_ms, rules.rate()),
            since_tick: tick(now_ms),
            live_tick: 0,
            asked_tick: 0,
            in_flight: 0,
            phase: Phase::Unsigned,
            tally: 0,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Who signed in, while the connection is live.
    pub fn identity(&self) -> Option<Identity> {
        (self.phase == Phase::Live).then_some(self.identity)
    }

    /// When it signed in, on the reactor's clock.
    pub fn live_since_ms(&self) -> u64 {
        u64::from(self.live_tick) * TICK_MS
    }

    /// Newest inbox seq that this node knows of.
    pub fn newest_seq(&self) -> u64 {
        self.newest_seq
    }

    /// Packets that logic has not answered.
    pub fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Whether logic has answered everything, calls included.
    pub fn is_answered(&self) -> bool {
        self.in_flight == 0 && (self.tally == 0 || self.phase != Phase::Live)
    }

    /// Longest frame body that is read now.
    pub fn frame_bytes_max(&self, rules: &Rules) -> usize {
        if self.phase == Phase::Live { rules.frame_bytes_max } else { rules.unsigned_frame_bytes_max }
    }

    /// Most bytes that are read at once: what follows a sign-in waits with the kernel, not here, until that is answered.
    pub fn read_bytes_max(&self, rules: &Rules) -> usize {
        if self.phase == Phase::Live { usize::MAX } else { rules.unsigned_frame_bytes_max }
    }

    /// Why it is not read now, if it is not.
    pub fn pause(&self, rules: &Rules) -> Option<PauseReason> {
        match self.phase {
            Phase::Closing => Some(PauseReason::Closing),
            Phase::SigningIn => Some(PauseReason::SigningIn),
            _ if self.in_flight >= rules.in_flight_max => Some(PauseReason::InFlightFull),
            _ => None,
        }
    }

    /// Judges a packet of the client.
    // path 4/9: first packet, sign-in deadline
    pub fn on_packet(&mut self, packet: &PacketView<'_>, now_ms: u64, rules: &Rules) -> Action {
        if let Some(action) = self.judge_rate(now_ms, rules) {
            return action;
        }
        let command = PacketCommand::try_from(packet.command).unwrap_or(PacketCommand::PcUnknown);
        if self.phase == Phase::Live {
            self.since_tick = tick(now_ms);
        }
        if packet.request_id.len() > REQUEST_ID_BYTES_MAX {
            return Action::Refuse(ResultCode::BadRequest);
        }
        match (self.phase, command) {
            (Phase::Unsigned, PacketCommand::PcSignIn) => {
                self.phase = Phase::SigningIn;
                self.forward()
            }
            (Phase::Unsigned, _) => Action::Refuse(ResultCode::SignInAgain),
            (Phase::Live, PacketCommand::PcHeartbeat) => Action::Heartbeat,
            // A second sign-in would have to move the device to another user while its packets are under way.
            (Phase::Live, PacketCommand::PcSignIn) => Action::Refuse(ResultCode::BadRequest),
            (
                Phase::Live,
                PacketCommand::PcSubscribeRoom
                | PacketCommand::PcSync
                | PacketCommand::PcMessageAck
                | PacketCommand::PcSend
                | PacketCommand::PcRead,
            ) => self.forward(),
            (Phase::Live, PacketCommand::PcCall) if self.tally >= rules.calls_in_flight_max => {
                Action::Refuse(ResultCode::TooManyRequests)
            }
            (Phase::Live, PacketCommand::PcCall) => {
                self.tally += 1;
                Action::Call
            }
            (Phase::Live, _) if packet.command >= BUSINESS_COMMAND_MIN => self.forward(),
            _ => Action::Refuse(ResultCode::UnknownCommand),
        }
    }

    /// Judges a frame of the transport that is no message (a ping, a pong, a fragment): it is a sign of life, and counts against
    /// the rate like a packet.
    pub fn on_control(&mut self, now_ms: u64, rules: &Rules) -> ControlVerdict {
        if self.phase == Phase::Live {
            self.since_tick = tick(now_ms);
        }
        match self.judge_rate(now_ms, rules) {
            None => ControlVerdict::Answer,
            Some(Action::Close(reason)) => ControlVerdict::Close(reason),
            Some(_) => ControlVerdict::Ignore,
        }
    }

    /// Logic let the connection in. False where it is not waiting for that (any more).
    pub fn on_signed_in(&mut self, identity: Identity, newest_seq: u64, now_ms: u64) -> bool {
        if self.phase != Phase::SigningIn {
            return false;
        }
        self.on_reply();
        self.phase = Phase::Live;
        self.tally = 0;
        self.identity = identity;
        // A push may have come before the answer, along the route that logic wrote just before it.
        self.newest_seq = self.newest_seq.max(newest_seq);
        self.since_tick = tick(now_ms);
        self.live_tick = self.since_tick;
        true
    }

    /// Logic did not let the connection in. Returns why it has to end, if it tried too often. The sign-in deadline goes on.
    pub fn on_sign_in_refused(&mut self, rules: &Rules) -> Option<CloseReason> {
        if self.phase == Phase::SigningIn {
            self.phase = Phase::Unsigned;
            self.on_reply();
            self.tally = self.tally.saturating_add(1);
        }
        (self.tally >= rules.failed_sign_ins_max).then_some(CloseReason::CrRateLimited)
    }

    /// Whether logic is to be asked for the newest seq at this heartbeat. Pushes tell it, too; asking finds what they missed.
    pub fn asks_newest_seq(&mut self, now_ms: u64, rules: &Rules) -> bool {
        // Stored as one more than the tick, so that 0 is never: an `Option` would take the record over its size.
        let now = tick(now_ms) + 1;
        let waited_ms = u64::from(now.saturating_sub(self.asked_tick)) * TICK_MS;
        let asks = self.asked_tick == 0 || waited_ms >= rules.newest_seq_interval_ms;
        if asks {
            self.asked_tick = now;
        }
        asks
    }

    /// Logic answered a packet.
    pub fn on_reply(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Logic answered a call, or it could not be handed over after all.
    pub fn on_call_over(&mut self) {
        self.tally = self.tally.saturating_sub(1);
    }

    /// A packet that was to be forwarded could not be handed over after all.
    pub fn on_forward_failed(&mut self) {
        self.on_reply();
        if self.phase == Phase::SigningIn {
            self.phase = Phase::Unsigned;
        }
    }

    /// A newer seq of the user's inbox became known. True where it is news.
    pub fn on_newest_seq(&mut self, seq: u64) -> bool {
        let is_news = seq > self.newest_seq;
        self.newest_seq = self.newest_seq.max(seq);
        is_news
    }

    /// What the client sent took this seq, which it hears with the answer. Where that follows on what was known, nothing was missed.
    pub fn on_own_message(&mut self, seq: u64) {
        if seq == self.newest_seq + 1 {
            self.newest_seq = seq;
        }
    }

    /// The connection ends; what it is owed may still leave until the deadline.
    pub fn on_close(&mut self, now_ms: u64) {
        self.phase = Phase::Closing;
        self.since_tick = tick(now_ms);
    }

    /// When to look again.
    pub fn deadline_ms(&self, rules: &Rules) -> u64 {
        let patience = match self.phase {
            Phase::Unsigned | Phase::SigningIn => rules.sign_in_timeout_ms,
            Phase::Live => rules.heartbeat_timeout_ms,
            Phase::Closing => rules.linger_ms,
        };
        u64::from(self.since_tick) * TICK_MS + patience
    }

    /// Why the connection has to end now, if its deadline has passed. (A closing one is simply over.)
    pub fn on_deadline(&self, now_ms: u64, rules: &Rules) -> Option<CloseReason> {
        if now_ms < self.deadline_ms(rules) {
            return None;
        }
        Some(match self.phase {
            Phase::Unsigned | Phase::SigningIn => CloseReason::CrSignInDeadline,
            Phase::Live | Phase::Closing => CloseReason::CrHeartbeatTimeout,
        })
    }

    /// What to do with a packet that is over the rate: it is answered so, and a peer that goes on all the same, by as much again
    /// as the whole burst, is closed.
    fn judge_rate(&mut self, now_ms: u64, rules: &Rules) -> Option<Action> {
        if rules.packets_per_s == 0 {
            return None;
        }
        match self.bucket.draw(now_ms, rules.rate()) {
            Drawn::Granted => None,
            Drawn::Over => Some(Action::Refuse(ResultCode::TooManyRequests)),
            Drawn::FarOver => Some(Action::Close(CloseReason::CrRateLimited)),
        }
    }

    fn forward(&mut self) -> Action {
        self.in_flight += 1;
        Action::Forward
    }
}

#[cfg(test)]
mod tests;
