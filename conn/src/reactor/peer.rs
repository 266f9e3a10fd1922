//! A connection while something happens to it: its record, looked up once, and with it all that it is served with.
//!
//! Always holds: who moved to another place of a room, because a member before it left, knows it before anybody is looked up
//! the next time.

use super::{Reactor, context::Context};
use crate::{
    connection::{Connection, Ending},
    ids::{AppIndex, ConnectionId},
    session::Identity,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Peer<'a> {
    pub(super) slot: usize,
    pub(super) connection: &'a mut Connection,
    pub(super) context: &'a mut Context,
}

impl Reactor {
    /// The connection in a slot of which the caller is sure, because it is of this turn.
    pub(super) fn peer(&mut self, slot: usize) -> Option<Peer<'_>> {
        for (moved, index) in self.context.moved_members.drain(..) {
            if let Some(connection) = self.table.get(moved) {
                connection.room.index = index;
            }
        }
        let connection = self.table.get(slot)?;
        Some(Peer { slot, connection, context: &mut self.context })
    }

    /// The connection that owns a slot under this generation.
    pub(super) fn owner(&mut self, slot: usize, generation: u32) -> Option<Peer<'_>> {
        self.peer(slot).filter(|peer| peer.connection.generation == generation)
    }

    /// A connection of this reactor, if it is still there and with this app.
    pub(super) fn peer_of(&mut self, app: usize, connection: ConnectionId) -> Option<Peer<'_>> {
        self.owner(connection.slot(), connection.generation()).filter(|peer| peer.app() == Some(app))
    }

    /// The same, where it is signed in.
    pub(super) fn live_peer_of(&mut self, app: usize, connection: ConnectionId) -> Option<Peer<'_>> {
        self.peer_of(app, connection).filter(|peer| peer.identity().is_some())
    }
}

impl Peer<'_> {
    pub(super) fn id(&self) -> ConnectionId {
        ConnectionId::new(self.context.index, self.slot, self.connection.generation)
    }

    /// The app that it is with.
    pub(super) fn app(&self) -> Option<usize> {
        self.connection.app.map(AppIndex::get)
    }

    /// Who it is, while it is signed in.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.connection.session.identity()
    }

    /// Whether its end has not begun.
    pub(super) fn goes_on(&self) -> bool {
        self.connection.flags.ending == Ending::None
    }
}
