//! Writing: what handlers queued leaves here, once per connection and turn, with as few system calls as there are sockets.

use std::io::IoSlice;

use gim_proto::{CloseReason, connect::PacketCommand};
use mio::net::TcpStream;

use super::Reactor;
use crate::{
    connection::Ending,
    net::socket::{self, IoOutcome},
    settings::LimitSettings,
    wire::{
        encoded::{Encoded, Piece},
        outbound::{GATHER_BYTES_MAX, Kind, Outbound, Pushed, SLICES_MAX},
        packet,
    },
};

/// Replies up to this size are copied when their peer does not read, rather than pin the piece they were cut from.
const DETACH_BYTES_MAX: usize = 1024;

/// Empty queues that are kept for the next ones to need one.
const POOLED_MAX: usize = 4096;

/// Outbound queues for the few connections that have something to write right now.
#[derive(Debug)]
pub(super) struct OutboundPool {
    #[expect(
        clippy::vec_box,
        reason = "queues move between here and connections, where a thin pointer is all they cost"
    )]
    free: Vec<Box<Outbound>>,
    hard_bytes: usize,
}

/// How a flush of one connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    Empty,
    Blocked,
    OutOfBudget,
    Broken(CloseReason),
}

impl OutboundPool {
    pub(super) fn new(limits: &LimitSettings) -> Self {
        Self { free: Vec::new(), hard_bytes: limits.outbound_hard_bytes }
    }

    pub(super) fn take(&mut self) -> Box<Outbound> {
        self.free.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, mut outbound: Box<Outbound>) {
        if self.free.len() < POOLED_MAX {
            outbound.clear();
            self.free.push(outbound);
        }
    }
}

impl Reactor {
    /// The one way to write to a connection: queues a frame and marks the connection for this turn's flush.
    pub(super) fn send(&mut self, slot: usize, frame: Encoded, kind: Kind) {
        let Some(connection) = self.table.get(slot) else { return };
        let piece = frame.piece(connection.framing());
        self.send_piece(slot, piece, kind);
    }

    /// Queues what the transport says for itself.
    pub(super) fn send_raw(&mut self, slot: usize, piece: Piece) {
        self.send_piece(slot, piece, Kind::Reply);
    }

    fn send_piece(&mut self, slot: usize, piece: Piece, kind: Kind) {
        let Some(connection) = self.table.get(slot) else { return };
        if !matches!(connection.flags.ending, Ending::None | Ending::Settling) {
            return;
        }
        let queued = connection.outbound.as_ref().map_or(0, |outbound| outbound.queued_bytes());
        if queued + piece.len() > self.outbound_pool.hard_bytes && !connection.flags.write_blocked {
            // Only what the kernel does not take counts against a peer: a burst within one turn is written before it is judged.
            // A socket that turns out to be broken is on the dirty list and found so again by the flush.
            self.flush(slot);
        }
        let Some(connection) = self.table.get(slot) else { return };
        let outbound = connection.outbound.get_or_insert_with(|| self.outbound_pool.take());
        let tally = &mut self.metrics.counts;
        match outbound.push(piece, kind, self.outbound_pool.hard_bytes) {
            Pushed::Queued => {}
            Pushed::QueuedDropping(count) => tally.room_dropped += count as u64,
            Pushed::Refused if kind == Kind::Inbox => {
                connection.flags.hint_owed = true;
                tally.inbox_skipped += 1;
            }
            Pushed::Refused => tally.room_dropped += 1,
            Pushed::Overflow => {
                self.close(slot, CloseReason::CrSlowConsumer);
                return;
            }
        }
        if connection.flags.write_blocked {
            self.watch_congestion(slot);
        } else {
            self.mark_dirty(slot);
        }
    }

    pub(super) fn mark_dirty(&mut self, slot: usize) {
        if let Some(connection) = self.table.get(slot)
            && !connection.flags.dirty
            && !connection.flags.write_blocked
        {
            connection.flags.dirty = true;
            self.dirty.push(slot);
        }
    }

    // path 9/9: writev, partial writes, close
    pub(super) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(connection) = self.table.get(slot) else { continue };
            connection.flags.dirty = false;
            let has_nothing = connection.outbound.is_none() && connection.transport.is_none();
            if connection.flags.ending == Ending::Dead || has_nothing {
                continue;
            }
            match self.flush(slot) {
                Flushed::Empty => self.on_emptied(slot),
                Flushed::Blocked => self.watch_congestion(slot),
                Flushed::OutOfBudget => {
                    self.watch_congestion(slot);
                    self.mark_dirty(slot);
                }
                Flushed::Broken(reason) => self.close_broken(slot, reason),
            }
        }
        // Those that ran out of budget were put on the new list; the old one keeps its memory for them.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn flush(&mut self, slot: usize) -> Flushed {
        let mut budget = self.budget.write_bytes;
        let Some(connection) = self.table.get(slot) else { return Flushed::Empty };
        if connection.transport.as_ref().is_some_and(|transport| transport.tls.is_some()) {
            return self.flush_sealed(slot);
        }
        let Some(outbound) = connection.outbound.as_mut() else { return Flushed::Empty };
        let tally = &mut self.metrics.counts;
        while !outbound.is_empty() {
            if budget == 0 {
                return Flushed::OutOfBudget;
            }
            tally.writes += 1;
            match write(&mut connection.stream, outbound) {
                IoOutcome::Done(written) => {
                    tally.bytes_out += written as u64;
                    tally.frames_out += outbound.advance(written) as u64;
                    budget = budget.saturating_sub(written);
                }
                IoOutcome::Blocked => {
                    connection.flags.write_blocked = true;
                    outbound.detach(DETACH_BYTES_MAX);
                    return Flushed::Blocked;
                }
                IoOutcome::Eof | IoOutcome::Reset => return Flushed::Broken(CloseReason::CrPeerClosed),
                IoOutcome::Failed(error) => {
                    tracing::debug!(%error, "a write failed");
                    return Flushed::Broken(CloseReason::CrIoError);
                }
            }
        }
        Flushed::Empty
    }

    fn on_emptied(&mut self, slot: usize) {
        let Some(connection) = self.table.get(slot) else { return };
        connection.congested_since_ms = None;
        if let Some(outbound) = connection.outbound.take() {
            self.outbound_pool.give_back(outbound);
        }
        if connection.flags.hint_owed && connection.flags.ending == Ending::None {
            connection.flags.hint_owed = false;
            let seq = connection.session.newest_seq();
            self.metrics.counts.sync_hints += 1;
            self.send(slot, packet::notice(PacketCommand::PcSyncHint, &[], seq), Kind::Reply);
            return;
        }
        self.after_last_byte(slot);
    }

    /// Starts, or ends, the time that a connection may have more than the soft limit waiting.
    fn watch_congestion(&mut self, slot: usize) {
        let now_ms = self.now_ms as u32;
        let soft_bytes = self.limits.outbound_soft_bytes;
        let Some(connection) = self.table.get(slot) else { return };
        let queued = connection.outbound.as_ref().map_or(0, |outbound| outbound.queued_bytes());
        if queued <= soft_bytes {
            connection.congested_since_ms = None;
        } else if connection.congested_since_ms.is_none() {
            connection.congested_since_ms = Some(now_ms);
            self.reschedule(slot);
        }
    }
}

/// One system call's worth of a queue.
fn write(stream: &mut TcpStream, outbound: &Outbound) -> IoOutcome {
    if let Some(frame) = outbound.only() {
        return socket::write(stream, frame);
    }
    let mut scratch = [0; GATHER_BYTES_MAX];
    if let Some(bytes) = outbound.gather(&mut scratch) {
        return socket::write(stream, bytes);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbound.fill(&mut slices);
    socket::write_vectored(stream, &slices[..count])
}
