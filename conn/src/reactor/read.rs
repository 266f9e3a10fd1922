//! Reading: socket events and leftovers → scratch buffer → frames. At most a budget of bytes and frames per connection and
//! turn; what is left waits on the run-queue, because epoll will not tell a second time.

use std::collections::VecDeque;

use mio::event::Event;

use gim_proto::CloseReason;

use super::{Reactor, peer::Peer};
use crate::{
    connection::Ending,
    net::socket::{self, IoOutcome},
    wire::{
        frame::FrameError,
        intake::{Fed, Flow},
    },
};

/// The buffers that all connections of a reactor are read through, and who is still to be read.
#[derive(Debug)]
pub(super) struct Reader {
    /// Every read goes here first. Lent out while a connection is served.
    pub(super) scratch: Box<[u8]>,
    /// What was decrypted of one read, and what was unmasked of one message. Lent out likewise.
    pub(super) plain: Vec<u8>,
    pub(super) unmasked: Vec<u8>,
    /// Connections that ran out of budget, or whose pause was lifted.
    pub(super) runnable: VecDeque<(usize, u32)>,
}

/// Why serving a connection stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// There is nothing to read, or it is paused.
    Enough,
    /// Its budget of this turn is spent.
    OutOfBudget,
}

impl Reader {
    /// `read_bytes` are read at once.
    pub(super) fn new(read_bytes: usize) -> Self {
        Self { scratch: vec![0; read_bytes].into(), plain: Vec::new(), unmasked: Vec::new(), runnable: VecDeque::new() }
    }
}

impl Reactor {
    pub(super) fn on_socket_event(&mut self, slot: usize, generation: u32, event: &Event) {
        match self.owner(slot, generation) {
            Some(mut peer) => peer.on_socket_event(event),
            None => self.context.metrics.counts.stale_events += 1,
        }
    }

    /// Serves those that ran out of budget in an earlier turn, and those whose pause was lifted: the first of them, no more
    /// than fresh events, so that a turn stays short however many peers are loud.
    pub(super) fn serve_leftovers(&mut self) {
        for _ in 0..self.context.reader.runnable.len().min(self.context.budget.events) {
            let Some((slot, generation)) = self.context.reader.runnable.pop_front() else { break };
            if let Some(mut peer) = self.owner(slot, generation) {
                peer.connection.flags.runnable = false;
                peer.serve();
            }
        }
    }
}

impl Peer<'_> {
    fn on_socket_event(&mut self, event: &Event) {
        if event.is_writable() && self.connection.flags.write_blocked {
            self.connection.flags.write_blocked = false;
            self.mark_dirty();
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.connection.flags.readable = true;
            self.connection.flags.read_closed |= event.is_read_closed() || event.is_error();
            self.serve();
        }
    }

    /// Puts the connection on the run-queue if it can be read again.
    pub(super) fn resume(&mut self) {
        let has_input = self.connection.flags.readable || self.connection.intake.tail_bytes() > 0;
        if has_input && !self.is_paused() {
            self.serve_next_turn();
        }
    }

    pub(super) fn serve_next_turn(&mut self) {
        if !self.connection.flags.runnable {
            self.connection.flags.runnable = true;
            self.context.reader.runnable.push_back((self.slot, self.connection.generation));
        }
    }

    fn serve(&mut self) {
        // Lent out, so that frames can be borrowed from it while they are handled.
        let mut scratch = std::mem::take(&mut self.context.reader.scratch);
        let ending = self.connection.flags.ending;
        let served = match ending {
            // What became readable is remembered; lifting the pause puts the connection on the run-queue.
            Ending::None if self.is_paused() => Served::Enough,
            Ending::None if self.must_defer() => Served::OutOfBudget,
            Ending::None => self.read_frames(&mut scratch),
            Ending::Goodbye | Ending::Lingering => self.discard_input(&mut scratch),
            Ending::Settling | Ending::Dead => Served::Enough,
        };
        self.context.reader.scratch = scratch;
        if served == Served::OutOfBudget {
            self.context.metrics.counts.yields += 1;
            // Not by way of `resume`: a closing connection is paused for good, and still has to be read empty.
            self.serve_next_turn();
        }
    }

    fn read_frames(&mut self, scratch: &mut [u8]) -> Served {
        let mut frames_left = self.context.budget.read_frames;
        let mut bytes_left = self.context.budget.read_bytes;
        // What a pause or the last turn's budget left over comes first.
        if !self.take_kept_handshake(&mut frames_left) || !self.take_plain(&[], &mut frames_left) {
            return self.after_stop();
        }
        while bytes_left > 0 {
            if !self.connection.flags.readable || !self.goes_on() {
                return Served::Enough;
            }
            let read_bytes_max = self.connection.session.read_bytes_max(&self.context.rules);
            let room = scratch.len().min(bytes_left).min(read_bytes_max);
            match socket::read(&mut self.connection.stream, &mut scratch[..room]) {
                IoOutcome::Done(count) => {
                    // A short read empties the socket, unless the peer's end is still to be read.
                    self.connection.flags.readable = count == room || self.connection.flags.read_closed;
                    bytes_left -= count;
                    self.context.metrics.counts.bytes_in += count as u64;
                    if !self.take(&mut scratch[..count], &mut frames_left) {
                        return self.after_stop();
                    }
                    if self.must_defer() {
                        return Served::OutOfBudget;
                    }
                }
                IoOutcome::Blocked => self.connection.flags.readable = false,
                IoOutcome::Eof | IoOutcome::Reset => self.close(CloseReason::CrPeerClosed),
                IoOutcome::Failed(error) => self.fail(&error),
            }
        }
        Served::OutOfBudget
    }

    /// Decodes frames and handles them. False where it stopped before the input's end.
    // path 2/9: frame decode, borrowed from the scratch buffer
    pub(super) fn feed(&mut self, fresh: &[u8], frames_left: &mut usize) -> bool {
        if fresh.is_empty() && self.connection.intake.tail_bytes() == 0 {
            return true;
        }
        let bytes_max = self.connection.session.frame_bytes_max(&self.context.rules);
        let mut intake = std::mem::take(&mut self.connection.intake);
        let fed = intake.feed(fresh, bytes_max, |frame| {
            *frames_left -= 1;
            let flow = self.on_frame(frame);
            if *frames_left == 0 { Flow::Stop } else { flow }
        });
        if self.goes_on() {
            self.connection.intake = intake;
        }
        match fed {
            Fed::Drained => true,
            Fed::Stopped => false,
            Fed::Bad(error) => {
                self.close(match error {
                    FrameError::TooLarge { .. } => CloseReason::CrFrameTooLarge,
                    FrameError::OverlongPrefix => CloseReason::CrBadFrame,
                });
                false
            }
        }
    }

    fn after_stop(&mut self) -> Served {
        if !self.is_paused() {
            return Served::OutOfBudget;
        }
        self.context.metrics.of_client(self.connection.dialect).pauses += 1;
        Served::Enough
    }

    pub(super) fn is_paused(&self) -> bool {
        self.connection.awaits_handshake() || self.connection.session.pause(&self.context.rules).is_some()
    }

    /// Reads a closing connection empty, so that closing it does not reset what the peer has not read yet.
    fn discard_input(&mut self, scratch: &mut [u8]) -> Served {
        match socket::read(&mut self.connection.stream, scratch) {
            // The linger deadline ends a peer that never stops; the next event goes on here.
            IoOutcome::Done(count) if count == scratch.len() => Served::OutOfBudget,
            IoOutcome::Done(_) if self.connection.flags.read_closed => Served::OutOfBudget,
            IoOutcome::Done(_) | IoOutcome::Blocked => Served::Enough,
            IoOutcome::Eof | IoOutcome::Reset | IoOutcome::Failed(_) => {
                self.die();
                Served::Enough
            }
        }
    }
}
