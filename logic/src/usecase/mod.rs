//! The use cases, one per file, each read from top to bottom: check, do, answer. They know nothing of gRPC streams or
//! packets; the link and the gRPC services both call them. Any task.

pub mod command;
mod device;
mod group;
mod group_message;
mod group_sync;
mod history;
mod locate;
mod push;
mod recall;
mod revoke;
mod room;
mod room_sends;
mod send;
mod sign_in;
mod sync;

use std::sync::Arc;

pub use crate::domain::caller::Caller;
use crate::{
    clients::business::Business,
    clients::jwt::JwtCheck,
    delivery::{fanout::Fanout, nodes::Nodes},
    domain::message_id::MessageIds,
    settings::{GroupSettings, KickSettings, LimitSettings, MessageSettings},
    shared_state::SharedState,
    store::{Store, writer::Writer},
};

pub use group::Operator;
pub use locate::Directory;
pub use room::{RoomOrder, RoomPush};
pub use room_sends::RoomSends;
pub use send::Submitted;
pub use sign_in::{Loser, NewConnection, SignedIn};
pub use sync::PageFor;

/// Everything that the use cases need.
#[derive(Debug)]
pub struct App {
    /// The name of this node.
    pub node: String,
    /// Sizes of requests.
    pub limits: LimitSettings,
    /// Which devices of a user may be connected side by side.
    pub kick: KickSettings,
    /// What clients may do with messages that are stored.
    pub messages: MessageSettings,
    /// Sizes of groups.
    pub group: GroupSettings,
    /// Message and device ids.
    pub ids: MessageIds,
    /// The database.
    pub store: Store,
    /// The inbox writer.
    pub writer: Writer,
    /// Users and tokens.
    pub business: Business,
    /// Tokens that are checked without the business.
    pub jwt: JwtCheck,
    /// Routes and rooms.
    pub shared: Arc<dyn SharedState>,
    /// The attached conn nodes.
    pub nodes: Arc<Nodes>,
    /// What they, and those attached elsewhere, told of themselves.
    pub directory: Directory,
    /// Delivery to them.
    pub fanout: Fanout,
    /// Keeps each room's messages in order on their way out.
    pub room_order: RoomOrder,
    /// Sends into rooms that a retry repeats.
    pub room_sends: RoomSends,
}
