//! Rooms, as conn nodes are told of them: the messages in them, and connections that come into them. Any task.

use gim_proto::logic::{RoomMove, RoomPush, RoomSubscribed, down_item::Item};

use super::nodes::Nodes;
use crate::{
    domain::route::Route,
    shared_state::{Kept, Published},
};

/// A room that a connection comes into; room 0 is none.
#[derive(Debug, Default)]
pub struct Joined {
    /// Which.
    pub room_id: u64,
    /// What it has to tell.
    pub kept: Kept,
}

impl From<Joined> for RoomSubscribed {
    fn from(Joined { room_id, kept }: Joined) -> Self {
        Self { room_id, retained: kept.messages, newest_seq: kept.newest_seq }
    }
}

impl Nodes {
    /// Queues a message of a room, which a user caused, for every node that has subscribers.
    pub fn push_to_room(&self, room_id: u64, published: &Published, is_priority: bool, caused_by: u64) {
        let (seq, after_seq) = published.after_seq.map_or((0, 0), |after_seq| (published.seq, after_seq));
        for node in &published.nodes {
            let message = published.encoded.clone();
            self.push(node, Item::RoomPush(RoomPush { room_id, message, is_priority, seq, after_seq }), caused_by);
        }
    }

    /// Moves a connection into a room.
    pub fn move_to_room(&self, route: &Route, joined: Joined) {
        let room_move = RoomMove { connection_id: route.connection_id, subscribed: Some(joined.into()) };
        self.notice(&route.node, Item::RoomMove(room_move));
    }
}
