//! Writing: what handlers queued leaves here, once per connection and turn, with as few system calls as there are sockets.

use std::io::IoSlice;

use gim_proto::{CloseReason, connect::PacketCommand};
use mio::net::TcpStream;

use super::{Reactor, peer::Peer, seal::Sealing};
use crate::{
    connection::{Connection, Ending},
    net::socket::{self, IoOutcome},
    settings::{LimitSettings, OutboundLimits},
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

/// Who has something to write, and what all connections of a reactor write with.
#[derive(Debug)]
pub(super) struct Writer {
    /// Slots with something to write.
    pub(super) dirty: Vec<usize>,
    /// Outbound queues for the few connections that have something to write right now.
    #[expect(
        clippy::vec_box,
        reason = "queues move between here and connections, where a thin pointer is all they cost"
    )]
    free_queues: Vec<Box<Outbound>>,
    pub(super) sealing: Option<Sealing>,
    /// What one connection may write in a turn.
    pub(super) write_bytes_max: usize,
    pub(super) limits: OutboundLimits,
}

/// How a flush of one connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    Empty,
    Blocked,
    OutOfBudget,
    Broken(CloseReason),
}

impl Writer {
    /// Each connection may write `write_bytes_max` in a turn.
    pub(super) fn new(limits: &LimitSettings, write_bytes_max: usize) -> Self {
        Self { dirty: Vec::new(), free_queues: Vec::new(), sealing: None, write_bytes_max, limits: limits.outbound() }
    }

    pub(super) fn take_queue(&mut self) -> Box<Outbound> {
        self.free_queues.pop().unwrap_or_default()
    }

    pub(super) fn give_back_queue(&mut self, mut outbound: Box<Outbound>) {
        if self.free_queues.len() < POOLED_MAX {
            outbound.clear();
            self.free_queues.push(outbound);
        }
    }
}

impl Reactor {
    // path 9/9: writev, partial writes, close
    pub(super) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.context.writer.dirty);
        for slot in dirty.drain(..) {
            if let Some(mut peer) = self.peer(slot) {
                peer.flush_of_turn();
            }
        }
        // Those that ran out of budget were put on the new list; the old one keeps its memory for them.
        dirty.append(&mut self.context.writer.dirty);
        self.context.writer.dirty = dirty;
    }
}

impl Peer<'_> {
    /// The one way to write to a connection: queues a frame and marks the connection for this turn's flush.
    pub(super) fn send(&mut self, frame: Encoded, kind: Kind) {
        let Some(frame) = self.worded(frame, kind) else { return };
        let piece = frame.piece(self.connection.framing());
        self.send_piece(piece, kind);
    }

    /// Queues what the transport says for itself.
    pub(super) fn send_raw(&mut self, piece: Piece) {
        self.send_piece(piece, Kind::Reply);
    }

    fn send_piece(&mut self, piece: Piece, kind: Kind) {
        if !matches!(self.connection.flags.ending, Ending::None | Ending::Settling) {
            return;
        }
        let hard_bytes = self.context.writer.limits.hard_bytes;
        if self.queued_bytes() + piece.len() > hard_bytes && !self.connection.flags.write_blocked {
            // Only what the kernel does not take counts against a peer: a burst within one turn is written before it is judged.
            // A socket that turns out to be broken is on the dirty list and found so again by the flush.
            self.flush();
        }
        let outbound = self.connection.outbound.get_or_insert_with(|| self.context.writer.take_queue());
        let counts = self.context.metrics.of_client(self.connection.dialect);
        match outbound.push(piece, kind, hard_bytes) {
            Pushed::Queued => {}
            Pushed::QueuedDropping(count) => counts.room_dropped += count as u64,
            Pushed::Refused if kind == Kind::Inbox => {
                counts.inbox_skipped += 1;
                // In a dialect the next push does not tell that one is missing before it: the client comes back, and syncs first.
                if self.connection.dialect.is_some() {
                    return self.close(CloseReason::CrSlowConsumer);
                }
                self.connection.flags.hint_owed = true;
            }
            Pushed::Refused => counts.room_dropped += 1,
            Pushed::Overflow => {
                self.close(CloseReason::CrSlowConsumer);
                return;
            }
        }
        if self.connection.flags.write_blocked {
            self.watch_congestion();
        } else {
            self.mark_dirty();
        }
    }

    pub(super) fn mark_dirty(&mut self) {
        let flags = &mut self.connection.flags;
        if !flags.dirty && !flags.write_blocked {
            flags.dirty = true;
            self.context.writer.dirty.push(self.slot);
        }
    }

    fn flush_of_turn(&mut self) {
        self.connection.flags.dirty = false;
        let has_nothing = self.connection.outbound.is_none() && self.connection.transport.is_none();
        if self.connection.flags.ending == Ending::Dead || has_nothing {
            return;
        }
        match self.flush() {
            Flushed::Empty => self.on_emptied(),
            Flushed::Blocked => self.watch_congestion(),
            Flushed::OutOfBudget => {
                self.watch_congestion();
                self.mark_dirty();
            }
            Flushed::Broken(reason) => self.close_broken(reason),
        }
    }

    fn flush(&mut self) -> Flushed {
        if self.connection.transport.as_ref().is_some_and(|transport| transport.tls.is_some()) {
            return self.flush_sealed();
        }
        let mut budget = self.context.writer.write_bytes_max;
        let Connection { stream, outbound, flags, .. } = &mut *self.connection;
        let Some(outbound) = outbound else { return Flushed::Empty };
        let counts = &mut self.context.metrics.counts;
        while !outbound.is_empty() {
            if budget == 0 {
                return Flushed::OutOfBudget;
            }
            counts.writes += 1;
            match write(stream, outbound) {
                IoOutcome::Done(written) => {
                    counts.bytes_out += written as u64;
                    counts.frames_out += outbound.advance(written) as u64;
                    budget = budget.saturating_sub(written);
                }
                IoOutcome::Blocked => {
                    flags.write_blocked = true;
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

    fn on_emptied(&mut self) {
        self.connection.congested_since_ms = None;
        if let Some(outbound) = self.connection.outbound.take() {
            self.context.writer.give_back_queue(outbound);
        }
        if self.connection.flags.hint_owed && self.goes_on() {
            self.connection.flags.hint_owed = false;
            self.hint_to_sync();
        } else {
            self.after_last_byte();
        }
    }

    /// Tells the client to sync, where it can be told.
    pub(super) fn hint_to_sync(&mut self) {
        if !self.connection.takes_hints() {
            return;
        }
        // It does so already.
        if self.connection.flags.catching_up {
            self.connection.flags.hint_owed = true;
            return;
        }
        let seq = self.connection.session.newest_seq();
        self.context.metrics.of_client(self.connection.dialect).sync_hints += 1;
        self.send(packet::notice(PacketCommand::PcSyncHint, &[], seq), Kind::Reply);
    }

    /// Starts, or ends, the time that a connection may have more than the soft limit waiting.
    fn watch_congestion(&mut self) {
        if self.queued_bytes() <= self.context.writer.limits.soft_bytes {
            self.connection.congested_since_ms = None;
        } else if self.connection.congested_since_ms.is_none() {
            self.connection.congested_since_ms = Some(self.context.clock.now_ms() as u32);
            self.reschedule();
        }
    }

    /// What waits for the client in its outbound queue.
    pub(super) fn queued_bytes(&self) -> usize {
        self.connection.outbound.as_ref().map_or(0, |outbound| outbound.queued_bytes())
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
