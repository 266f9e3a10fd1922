//! Clients of dialects that sync over their connection: their pushes do not tell what comes before them, so that a client which hears one
//! before its first sync is answered takes itself for up to date. Such pushes wait for the last page of that sync and leave behind it.
//! Owned by one reactor. Other connections pass by here with one comparison.
//!
//! Always holds: only a connection whose flag `catching_up` is set has pushes here, and it takes them along when its slot is freed.

use std::collections::HashMap;

use gim_legacy::today;
use gim_proto::{CloseReason, connect::PacketCommand};

use super::peer::Peer;
use crate::wire::{encoded::Encoded, outbound::Kind, packet::PacketView};

/// Why a connection ends for which too much waits here.
const NEVER_SYNCED: &str = "you have not synced to the end since you signed in, and more waits for that than may";

/// By the slot of the connection.
#[derive(Debug, Default)]
pub(super) struct HeldPushes(HashMap<usize, HeldBack>);

/// In the order in which they came.
#[derive(Debug, Default)]
struct HeldBack {
    pushes: Vec<(u64, Encoded)>,
    bytes: usize,
}

impl HeldPushes {
    /// Its connection is gone, or has them.
    pub(super) fn take(&mut self, slot: usize) -> Vec<(u64, Encoded)> {
        self.0.remove(&slot).unwrap_or_default().pushes
    }
}

impl Peer<'_> {
    /// It was let in, and syncs next.
    pub(super) fn begin_catching_up(&mut self) {
        self.connection.flags.catching_up = self.connection.dialect.is_some_and(|dialect| dialect.packets().has_sync());
    }

    /// Keeps a push until the client has what comes before it. One that does not sync is bounded as one that does not read.
    pub(super) fn hold(&mut self, seq: u64, frame: Encoded) {
        let held = self.context.held_pushes.0.entry(self.slot).or_default();
        held.bytes += frame.packet().len();
        if held.bytes > self.context.writer.limits.hard_bytes {
            return self.close_saying(CloseReason::CrSlowConsumer, NEVER_SYNCED);
        }
        held.pushes.push((seq, frame));
    }

    /// Queues an answer, and behind the last page of a sync what was pushed meanwhile.
    pub(super) fn send_reply(&mut self, frame: Encoded) {
        let last_seq = self.connection.flags.catching_up.then(|| last_synced(&frame)).flatten();
        self.send(frame, Kind::Reply);
        let Some(mut last_seq) = last_seq else { return };
        self.connection.flags.catching_up = false;
        for (seq, frame) in self.context.held_pushes.take(self.slot) {
            if seq > last_seq {
                last_seq = seq;
                self.send(frame, Kind::Inbox);
            }
        }
        if std::mem::take(&mut self.connection.flags.hint_owed) && self.connection.session.newest_seq() > last_seq {
            self.hint_to_sync();
        }
    }
}

/// Up to where a client has its inbox that gets this answer; none where that is no sync's, or not its last page.
fn last_synced(frame: &Encoded) -> Option<u64> {
    let PacketView { command, content, .. } = PacketView::decode(frame.packet()).ok()?;
    (command == PacketCommand::PcSync as i32).then(|| today::end_of_sync(content)).flatten()
}
