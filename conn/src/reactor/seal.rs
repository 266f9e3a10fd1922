//! Writing to TLS connections: queued frames are gathered, sealed in as few records as they need, and written; what the
//! kernel does not take waits, sealed, and nothing more is sealed until it is gone.

use std::io::IoSlice;

use gim_proto::CloseReason;
use mio::net::TcpStream;

use super::{flush::Flushed, peer::Peer};
use crate::{
    connection::{Connection, Ending},
    metrics::TurnCounts,
    net::socket::{self, IoOutcome},
    wire::{
        outbound::{Outbound, SLICES_MAX},
        tls::{SEAL_BYTES_MAX, SEALED_BYTES_MAX, Tls},
    },
};

/// Room for what is sealed, shared by all connections of a reactor.
#[derive(Debug)]
pub(super) struct Sealing {
    plain: Vec<u8>,
    sealed: Box<[u8]>,
}

/// How a write ended.
enum Written {
    Some(usize),
    Blocked,
    Broken(CloseReason),
}

impl Default for Sealing {
    fn default() -> Self {
        Self { plain: Vec::with_capacity(SEAL_BYTES_MAX), sealed: vec![0; SEALED_BYTES_MAX].into() }
    }
}

impl Peer<'_> {
    pub(super) fn flush_sealed(&mut self) -> Flushed {
        let mut budget = self.context.writer.write_bytes_max;
        let sealing = self.context.writer.sealing.get_or_insert_default();
        let counts = &mut self.context.metrics.counts;
        let Connection { stream, transport, outbound, flags, .. } = &mut *self.connection;
        let Some(tls) = transport.as_mut().and_then(|transport| transport.tls.as_mut()) else { return Flushed::Empty };
        loop {
            while !tls.unsent().is_empty() {
                match write(stream, tls.unsent(), counts) {
                    Written::Some(count) => tls.advance(count),
                    Written::Blocked => {
                        flags.write_blocked = true;
                        return Flushed::Blocked;
                    }
                    Written::Broken(reason) => return Flushed::Broken(reason),
                }
            }
            if budget == 0 {
                return Flushed::OutOfBudget;
            }
            sealing.plain.clear();
            if tls.is_open()
                && let Some(outbound) = outbound
            {
                gather(outbound, &mut sealing.plain);
                counts.frames_out += outbound.advance(sealing.plain.len()) as u64;
            }
            if sealing.plain.is_empty() {
                if flags.ending == Ending::Goodbye && tls.say_goodbye().is_err() {
                    return Flushed::Broken(CloseReason::CrIoError);
                }
                if tls.unsent().is_empty() {
                    return Flushed::Empty;
                }
                continue;
            }
            budget = budget.saturating_sub(sealing.plain.len());
            // Where the kernel took less, the rest is tried once more above, which finds out that the socket is full.
            if let Written::Broken(reason) = seal(tls, sealing, stream, counts) {
                return Flushed::Broken(reason);
            }
        }
    }
}

/// Copies the front of a queue.
fn gather(outbound: &Outbound, plain: &mut Vec<u8>) {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbound.fill(&mut slices);
    for slice in &slices[..count] {
        let room = SEAL_BYTES_MAX - plain.len();
        plain.extend_from_slice(&slice[..slice.len().min(room)]);
    }
}

/// Seals what was gathered and writes it; what the kernel does not take is kept.
fn seal(tls: &mut Tls, sealing: &mut Sealing, stream: &mut TcpStream, counts: &mut TurnCounts) -> Written {
    let Ok(count) = tls.seal(&sealing.plain, &mut sealing.sealed) else {
        return Written::Broken(CloseReason::CrIoError);
    };
    let sealed = &sealing.sealed[..count];
    if !tls.unsent().is_empty() {
        // rustls had something to say first.
        tls.keep_unsent(sealed);
        return Written::Blocked;
    }
    let written = write(stream, sealed, counts);
    match written {
        Written::Some(taken) => tls.keep_unsent(&sealed[taken..]),
        Written::Blocked => tls.keep_unsent(sealed),
        Written::Broken(_) => {}
    }
    written
}

fn write(stream: &mut TcpStream, bytes: &[u8], counts: &mut TurnCounts) -> Written {
    counts.writes += 1;
    match socket::write(stream, bytes) {
        IoOutcome::Done(count) => {
            counts.bytes_out += count as u64;
            Written::Some(count)
        }
        IoOutcome::Blocked => Written::Blocked,
        IoOutcome::Eof | IoOutcome::Reset => Written::Broken(CloseReason::CrPeerClosed),
        IoOutcome::Failed(error) => {
            tracing::debug!(%error, "a write failed");
            Written::Broken(CloseReason::CrIoError)
        }
    }
}
