//! What connections say and hear whose clients speak an older dialect: rewritten on the way in and out, by what the dialect itself brings.
//! Owned by one reactor. Other connections pass by here with one comparison.
//!
//! Always holds: a frame that goes to many is rewritten once for all who speak a dialect, as long as no more than [`SET_FRAMES`] of those
//! that go around with it fall into one set.

use gim_legacy::{
    Dialect,
    packets::{Packet, Scratch},
};
use gim_proto::{CloseReason, ResultCode};

use super::{Reactor, context::Context, peer::Peer};
use crate::{
    metrics::TurnCounts,
    wire::{encoded::Encoded, intake::Flow, outbound::Kind, packet::PacketView},
};

/// Frames of which the rendition is remembered: more than a burst in a room is long.
const RECENT_MAX: usize = 256;
/// They are remembered in sets of so many. With one place for an address, two frames of a burst that share it would be rewritten anew for
/// each receiver, by turns.
const SET_FRAMES: usize = 4;

/// What one reactor rewrites with.
#[derive(Debug, Default)]
pub(super) struct Renditions {
    /// What is read of a frame. Lent out while its packet is handled.
    scratch: Scratch,
    /// What is written.
    frame: Vec<u8>,
    /// By the address of the frame, the newest of each set first; none as long as nobody speaks a dialect.
    recent: Vec<Option<Rendition>>,
    has_recent: bool,
}

/// A frame, and what a dialect makes of it. The frame is held, so that no other one can have its address.
#[derive(Debug)]
struct Rendition {
    dialect: Dialect,
    of: Encoded,
    frame: Option<Encoded>,
}

impl Peer<'_> {
    /// A frame in a dialect.
    #[cold]
    pub(super) fn on_worded_frame(&mut self, dialect: Dialect, frame: &[u8]) -> Flow {
        self.context.metrics.of_client(Some(dialect)).packets_in += 1;
        let mut scratch = std::mem::take(&mut self.context.renditions.scratch);
        let flow = match dialect.packets().read(frame, &mut scratch) {
            Ok(packet) => self.on_packet(&packet.into()),
            Err(error) => {
                // Whoever came to the wrong port finds out here.
                let sentence = format!("this port is for clients of {}: {error}", dialect.name());
                self.close_saying(CloseReason::CrBadFrame, &sentence);
                Flow::Stop
            }
        };
        self.context.renditions.scratch = scratch;
        flow
    }

    /// Ends the connection in the words of older clients where these sign in like this, who came to the port of today's. False where
    /// nobody does.
    #[cold]
    pub(super) fn close_on_stranger(&mut self, frame: &[u8]) -> bool {
        let signing_in = Dialect::signing_in(frame);
        let Some(&dialect) = signing_in.first() else { return false };
        let names: Vec<&str> = signing_in.iter().map(|dialect| dialect.name()).collect();
        let sentence = wrong_port_of(&names.join(" or "));
        self.close_worded(CloseReason::CrBadFrame, &sentence, None, |peer, goodbye| {
            peer.context.worded(Some(dialect), goodbye, Kind::Reply)
        });
        true
    }

    /// The refusal of a sign-in. Who was no more than a user, a device and a token may be an older client at the wrong port.
    pub(super) fn refused_sign_in(&self, frame: Encoded) -> Encoded {
        let may_be_older = self.connection.dialect.is_none() && self.connection.heartbeat_s == 0;
        if may_be_older { told_to_strangers(&frame).unwrap_or(frame) } else { frame }
    }

    /// The frame as the client understands it; none where its dialect has no word for it.
    pub(super) fn worded(&mut self, frame: Encoded, kind: Kind) -> Option<Encoded> {
        self.context.worded(self.connection.dialect, frame, kind)
    }
}

impl Context {
    /// The same for a client that has no connection yet.
    pub(super) fn worded(&mut self, dialect: Option<Dialect>, frame: Encoded, kind: Kind) -> Option<Encoded> {
        match dialect {
            None => Some(frame),
            Some(dialect) => self.render(dialect, frame, kind),
        }
    }

    #[cold]
    fn render(&mut self, dialect: Dialect, frame: Encoded, kind: Kind) -> Option<Encoded> {
        let renditions = &mut self.renditions;
        if kind == Kind::Reply {
            return renditions.write(dialect, &frame).map(|packet| self.replies.copy(packet));
        }
        if renditions.recent.is_empty() {
            renditions.recent.resize_with(RECENT_MAX, || None);
        }
        let first = SET_FRAMES * set_of(&frame, dialect);
        let set = first..first + SET_FRAMES;
        let is_it = |known: &&Rendition| known.dialect == dialect && known.of.shares_bytes_with(&frame);
        if let Some(known) = renditions.recent[set.clone()].iter().flatten().find(is_it) {
            return known.frame.clone();
        }
        let rendered = renditions.write(dialect, &frame).map(Encoded::of);
        let set = &mut renditions.recent[set];
        set.rotate_right(1);
        set[0] = Some(Rendition { dialect, of: frame, frame: rendered.clone() });
        renditions.has_recent = true;
        rendered
    }
}

impl Renditions {
    /// What a dialect says in the place of a packet.
    fn write(&mut self, dialect: Dialect, frame: &Encoded) -> Option<&[u8]> {
        let PacketView { request_id, command, content } = PacketView::decode(frame.packet()).ok()?;
        self.frame.clear();
        dialect.packets().write(&Packet { request_id, command, content }, &mut self.frame).then_some(&self.frame)
    }
}

impl Reactor {
    /// The numbers of this turn under which what a connection does is counted.
    pub(super) fn counts_of(&mut self, slot: usize) -> &mut TurnCounts {
        let dialect = self.peer(slot).and_then(|peer| peer.connection.dialect);
        self.context.metrics.of_client(dialect)
    }

    /// Lets go of frames that went to everybody.
    pub(super) fn forget_renditions(&mut self) {
        if self.context.renditions.has_recent && !self.context.apps.have_leftovers() {
            self.context.renditions.recent.fill_with(|| None);
            self.context.renditions.has_recent = false;
        }
    }
}

/// Today's refusal with what older clients read of it, who take it for theirs; none where nobody does.
#[cold]
fn told_to_strangers(frame: &Encoded) -> Option<Encoded> {
    let mut packet = frame.packet().to_vec();
    let todays = packet.len();
    for dialect in Dialect::all() {
        dialect.packets().put_wrong_port(ResultCode::BadRequest, &wrong_port_of(dialect.name()), &mut packet);
    }
    (packet.len() > todays).then(|| Encoded::of(&packet))
}

/// What clients of a dialect, or of one of several, are told at the port of today's.
fn wrong_port_of(dialects: &str) -> String {
    format!("this is the port of today's clients; clients of {dialects} have another")
}

/// Allocations begin at multiples of 16, and those of one burst beside each other.
fn set_of(frame: &Encoded, dialect: Dialect) -> usize {
    let address = frame.address() >> 4;
    (address ^ address >> 6 ^ address >> 12 ^ dialect.index()) % (RECENT_MAX / SET_FRAMES)
}
