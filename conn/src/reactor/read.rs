//! Reading: socket events and leftovers → scratch buffer → frames. At most a budget of bytes and frames per connection and
//! turn; what is left waits on the run-queue, because epoll will not tell a second time.

use mio::event::Event;

use gim_proto::CloseReason;

use super::Reactor;
use crate::{
    connection::Ending,
    net::socket::{self, IoOutcome},
    wire::{
        frame::FrameError,
        intake::{Fed, Flow, Intake},
    },
};

/// Why serving a connection stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// There is nothing to read, or it is paused.
    Enough,
    /// Its budget of this turn is spent.
    OutOfBudget,
}

impl Reactor {
    pub(super) fn on_socket_event(&mut self, slot: usize, generation: u32, event: &Event) {
        let Some(connection) = self.table.get_owned(slot, generation) else {
            self.metrics.counts.stale_events += 1;
            return;
        };
        if event.is_writable() && connection.flags.write_blocked {
            connection.flags.write_blocked = false;
            self.mark_dirty(slot);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            if let Some(connection) = self.table.get(slot) {
                connection.flags.readable = true;
                connection.flags.read_closed |= event.is_read_closed() || event.is_error();
            }
            self.serve(slot);
        }
    }

    /// Serves those that ran out of budget in an earlier turn, and those whose pause was lifted: the first of them, no more
    /// than fresh events, so that a turn stays short however many peers are loud.
    pub(super) fn serve_leftovers(&mut self) {
        for _ in 0..self.runnable.len().min(self.budget.events) {
            let Some((slot, generation)) = self.runnable.pop_front() else { break };
            if let Some(connection) = self.table.get_owned(slot, generation) {
                connection.flags.runnable = false;
                self.serve(slot);
            }
        }
    }

    /// Puts a connection on the run-queue if it can be read again.
    pub(super) fn resume(&mut self, slot: usize) {
        let rules = self.rules;
        let Some(connection) = self.table.get(slot) else { return };
        let has_input = connection.flags.readable || connection.intake.tail_bytes() > 0;
        if has_input && connection.session.pause(&rules).is_none() {
            self.serve_next_turn(slot);
        }
    }

    pub(super) fn serve_next_turn(&mut self, slot: usize) {
        let Some(connection) = self.table.get(slot) else { return };
        if !connection.flags.runnable {
            connection.flags.runnable = true;
            let generation = connection.generation;
            self.runnable.push_back((slot, generation));
        }
    }

    fn serve(&mut self, slot: usize) {
        // Lent out, so that frames can be borrowed from it while the reactor handles them.
        let mut scratch = std::mem::take(&mut self.scratch);
        let served = match self.table.get(slot).map(|connection| connection.flags.ending) {
            // What became readable is remembered; lifting the pause puts the connection on the run-queue.
            Some(Ending::None) if self.is_paused(slot) => Served::Enough,
            Some(Ending::None) if self.must_defer(slot) => Served::OutOfBudget,
            Some(Ending::None) => self.read_frames(slot, &mut scratch),
            Some(Ending::Goodbye | Ending::Lingering) => self.discard_input(slot, &mut scratch),
            Some(Ending::Settling | Ending::Dead) | None => Served::Enough,
        };
        self.scratch = scratch;
        if served == Served::OutOfBudget {
            self.metrics.counts.yields += 1;
            // Not by way of `resume`: a closing connection is paused for good, and still has to be read empty.
            self.serve_next_turn(slot);
        }
    }

    fn read_frames(&mut self, slot: usize, scratch: &mut [u8]) -> Served {
        let mut frames_left = self.budget.read_frames;
        let mut bytes_left = self.budget.read_bytes;
        // What a pause or the last turn's budget left over comes first.
        if !self.take_plain(slot, &[], &mut frames_left) {
            return self.after_stop(slot);
        }
        while bytes_left > 0 {
            let Some(connection) = self.table.get(slot) else { return Served::Enough };
            if !connection.flags.readable || connection.flags.ending != Ending::None {
                return Served::Enough;
            }
            let room = scratch.len().min(bytes_left).min(connection.session.read_bytes_max(&self.rules));
            match socket::read(&mut connection.stream, &mut scratch[..room]) {
                IoOutcome::Done(count) => {
                    // A short read empties the socket, unless the peer's end is still to be read.
                    connection.flags.readable = count == room || connection.flags.read_closed;
                    bytes_left -= count;
                    self.metrics.counts.bytes_in += count as u64;
                    if !self.take(slot, &mut scratch[..count], &mut frames_left) {
                        return self.after_stop(slot);
                    }
                    if self.must_defer(slot) {
                        return Served::OutOfBudget;
                    }
                }
                IoOutcome::Blocked => connection.flags.readable = false,
                IoOutcome::Eof | IoOutcome::Reset => self.close(slot, CloseReason::CrPeerClosed),
                IoOutcome::Failed(error) => self.fail(slot, &error),
            }
        }
        Served::OutOfBudget
    }

    /// Decodes frames and handles them. False where it stopped before the input's end.
    // path 3/9: frame decode, borrowed from the scratch buffer
    pub(super) fn feed(&mut self, slot: usize, fresh: &[u8], frames_left: &mut usize) -> bool {
        let Some(connection) = self.table.get(slot) else { return false };
        let mut intake: Intake = std::mem::take(&mut connection.intake);
        if fresh.is_empty() && intake.tail_bytes() == 0 {
            return true;
        }
        let bytes_max = connection.session.frame_bytes_max(&self.rules);
        let fed = intake.feed(fresh, bytes_max, |frame| {
            *frames_left -= 1;
            let flow = self.on_frame(slot, frame);
            if *frames_left == 0 { Flow::Stop } else { flow }
        });
        if let Some(connection) = self.table.get(slot)
            && connection.flags.ending == Ending::None
        {
            connection.intake = intake;
        }
        match fed {
            Fed::Drained => true,
            Fed::Stopped => false,
            Fed::Bad(error) => {
                self.close(
                    slot,
                    match error {
                        FrameError::TooLarge { .. } => CloseReason::CrFrameTooLarge,
                        FrameError::OverlongPrefix => CloseReason::CrBadFrame,
                    },
                );
                false
            }
        }
    }

    fn after_stop(&mut self, slot: usize) -> Served {
        if !self.is_paused(slot) {
            return Served::OutOfBudget;
        }
        self.metrics.counts.pauses += 1;
        Served::Enough
    }

    fn is_paused(&self, slot: usize) -> bool {
        self.table.peek(slot).is_none_or(|connection| connection.session.pause(&self.rules).is_some())
    }

    /// Reads a closing connection empty, so that closing it does not reset what the peer has not read yet.
    fn discard_input(&mut self, slot: usize, scratch: &mut [u8]) -> Served {
        let Some(connection) = self.table.get(slot) else { return Served::Enough };
        match socket::read(&mut connection.stream, scratch) {
            // The linger deadline ends a peer that never stops; the next event goes on here.
            IoOutcome::Done(count) if count == scratch.len() => Served::OutOfBudget,
            IoOutcome::Done(_) if connection.flags.read_closed => Served::OutOfBudget,
            IoOutcome::Done(_) | IoOutcome::Blocked => Served::Enough,
            IoOutcome::Eof | IoOutcome::Reset | IoOutcome::Failed(_) => {
                self.die(slot);
                Served::Enough
            }
        }
    }
}
