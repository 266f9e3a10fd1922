//! Callers over their long connections, a swarm on the thread of the scenario. Each has one call under way.

use std::time::Instant;

use gim_proto::connect::{CallRequest, Packet as Envelope, PacketCommand};
use prost::Message as _;

use crate::{
    paired_run::Slice,
    score::Score,
    swarm::{Behaviour, Connection, Packet, Swarm, packet::Reply},
};

const CALL: i32 = PacketCommand::PcCall as i32;

/// All of them.
pub struct ByConnection {
    /// The call of each, as a frame.
    frames: Vec<Vec<u8>>,
    slice: Option<Slice>,
    sent_at: Vec<Option<Instant>>,
    waiting: usize,
    answered: u64,
    /// What they did.
    pub score: Score,
}

impl ByConnection {
    /// One for each call, which it makes again and again.
    pub fn new(calls: impl Iterator<Item = CallRequest>) -> Self {
        let frame = |call: CallRequest| {
            let content = call.encode_to_vec().into();
            Envelope { command: CALL, content, ..Envelope::default() }.encode_length_delimited_to_vec()
        };
        let frames: Vec<_> = calls.map(frame).collect();
        let sent_at = vec![None; frames.len()];
        Self { frames, slice: None, sent_at, waiting: 0, answered: 0, score: Score::default() }
    }

    /// They call until the end of the slice.
    pub fn begin(&mut self, slice: Slice, swarm: &mut Swarm) {
        self.slice = Some(slice);
        for id in 0..self.frames.len() {
            self.call(swarm.connection(id), Instant::now());
        }
    }

    /// Calls that are under way.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Calls that were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    fn call(&mut self, connection: &mut Connection, now: Instant) {
        self.sent_at[connection.id()] = Some(now);
        self.waiting += 1;
        connection.send(&self.frames[connection.id()]);
    }
}

impl Behaviour for ByConnection {
    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        if packet.command != CALL {
            return Ok(());
        }
        Reply::read(packet.content)?.accepted(
            "a call (each of few callers asks for more than a user may: start logic with GIM_LOGIC_LIMITS__USER_REQUESTS_PER_S=0 \
             and business with GIM_BUSINESS_LIMITS__USER_REQUESTS_PER_S=0, or take more --callers)",
        )?;
        let Some(slice) = self.slice else { return Ok(()) };
        let Some(sent_at) = self.sent_at[connection.id()].take() else { return Ok(()) };
        self.waiting -= 1;
        self.answered += 1;
        self.score.record(&slice, sent_at, now);
        if now < slice.end {
            self.call(connection, now);
        }
        Ok(())
    }
}
