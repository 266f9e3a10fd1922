//! From items to `Up` messages: requests get a number and wait in [`PendingRequests`], the rest passes through (step 5 of the packet
//! path). Called by the task of a link, on Tokio. Always holds: items keep their order, and whatever got a number is answered or expires.

use std::time::Instant;

use gim_config::traces;
use gim_proto::logic::{ConnectionUser, NewestSeqQuestion, PushResult, Up, UpItem, announce::What, up_item::Item};

use super::{
    request_metrics::name_of,
    requests::{PendingRequests, Request},
};

/// Something for a link.
#[derive(Debug)]
pub(super) enum LinkItem {
    /// A request that logic answers.
    Request(Request, Item),
    /// Something that logic only has to know.
    State(Item),
    /// A heartbeat: all of a batch travel as one question.
    Heartbeat(ConnectionUser),
    /// A connection that a push did not find: all of a batch travel as one result.
    Gone(u64),
    /// Nothing follows on the stream of this number.
    Last(u64),
}

/// What a batch became.
pub(super) struct Packed {
    pub(super) message: Up,
    /// The stream that this was the last message of, where it says so.
    pub(super) last_of: Option<u64>,
}

/// Makers of items that are only told.
pub(super) mod state {
    use gim_proto::logic::{
        Announce, NodeLoad, PushAllDone, RoomMemberCount, RoomMembers, RoomRelease, SignOut, announce::What,
        up_item::Item,
    };

    use super::LinkItem;

    pub(crate) fn sign_out(item: SignOut) -> LinkItem {
        LinkItem::State(Item::SignOut(item))
    }

    pub(crate) fn room_release(item: RoomRelease) -> LinkItem {
        LinkItem::State(Item::RoomRelease(item))
    }

    pub(crate) fn room_members(rooms: &[RoomMemberCount]) -> LinkItem {
        LinkItem::State(Item::RoomMembers(RoomMembers { rooms: rooms.to_vec() }))
    }

    pub(crate) fn push_all_done(message_id: u64) -> LinkItem {
        LinkItem::State(Item::PushAllDone(PushAllDone { message_id }))
    }

    pub(crate) fn node_load(load: NodeLoad) -> LinkItem {
        LinkItem::State(Item::NodeLoad(load))
    }

    pub(crate) fn announce(what: What) -> LinkItem {
        LinkItem::State(Item::Announce(Announce { what: Some(what) }))
    }
}

impl LinkItem {
    pub(super) fn into_request(self) -> Option<Request> {
        match self {
            Self::Request(request, _) => Some(request),
            Self::State(_) | Self::Heartbeat(_) | Self::Gone(_) | Self::Last(_) => None,
        }
    }

    /// The user it is about. What is about no user was told every other logic node as well.
    pub(super) fn user_id(&self) -> Option<u64> {
        match self {
            Self::Request(_, item) | Self::State(item) => Self::user_of(item),
            Self::Heartbeat(question) => Some(question.user_id),
            Self::Gone(_) | Self::Last(_) => None,
        }
    }

    pub(super) fn user_of(item: &Item) -> Option<u64> {
        match item {
            Item::SignIn(sign_in) => Some(sign_in.user_id),
            Item::SignOut(sign_out) => Some(sign_out.user_id),
            Item::Packet(packet) => Some(packet.user_id),
            Item::Announce(announce) => match &announce.what {
                Some(What::Connection(connection)) => Some(connection.user_id),
                Some(What::RoomId(_)) | None => None,
            },
            _ => None,
        }
    }
}

/// Packs a batch into one message.
// path 5/9: to logic over gRPC
pub(super) fn pack(batch: Vec<LinkItem>, pending: &mut PendingRequests, deadline: Instant) -> Packed {
    let mut items = Vec::with_capacity(batch.len());
    let mut heartbeats = Vec::new();
    let mut gone_connection_ids = Vec::new();
    let mut last_of = None;
    for item in batch {
        match item {
            LinkItem::Request(mut request, mut item) => {
                let request_id = log_id(&request);
                trace(&mut request, &mut item, &request_id);
                let number = pending.add(request, deadline);
                put_numbers(&mut item, number, request_id);
                items.push(UpItem { item: Some(item) });
            }
            LinkItem::State(item) => items.push(UpItem { item: Some(item) }),
            LinkItem::Heartbeat(question) => heartbeats.push(question),
            LinkItem::Gone(connection_id) => gone_connection_ids.push(connection_id),
            LinkItem::Last(stream) => last_of = Some(stream),
        }
    }
    if !heartbeats.is_empty() {
        items.push(UpItem { item: Some(Item::NewestSeq(NewestSeqQuestion { connections: heartbeats })) });
    }
    if !gone_connection_ids.is_empty() {
        items.push(UpItem { item: Some(Item::PushResult(PushResult { gone_connection_ids })) });
    }
    Packed { message: Up { hello: None, items }, last_of }
}

/// The id under which a request is found in every log: the client's own, told apart from other clients' by the connection.
fn log_id(request: &Request) -> String {
    let id = if request.request_id.is_empty() {
        format!("{}/{:08x}", request.connection, rand::random::<u32>())
    } else {
        format!("{}/{}", request.connection, request.request_id)
    };
    tracing::debug!(request_id = id, command = request.command, "packet to logic");
    id
}

/// A trace begins where a packet goes to logic.
fn trace(request: &mut Request, item: &mut Item, id: &str) {
    let Item::Packet(packet) = item else { return };
    request.span = traces::request(name_of(request.command), None, false);
    packet.trace_context = request.span.context().to_link();
    if request.span.context().is_sampled {
        request.span.note("gim.request_id", id.to_owned());
        request.span.note("gim.user_id", packet.user_id.cast_signed());
    }
}

fn put_numbers(item: &mut Item, number: u64, id: String) {
    match item {
        Item::SignIn(sign_in) => (sign_in.request_no, sign_in.request_id) = (number, id),
        Item::Packet(packet) => (packet.request_no, packet.request_id) = (number, id),
        Item::SignOut(_)
        | Item::RoomRelease(_)
        | Item::Announce(_)
        | Item::NewestSeq(_)
        | Item::PushResult(_)
        | Item::RoomMembers(_)
        | Item::PushAllDone(_)
        | Item::NodeLoad(_) => {}
    }
}
