//! Rooms: messages to whoever is there, in one order for all, and who is there.

use std::time::Instant;

use bytes::Bytes;
use gim_proto::{
    ResultCode, check,
    connect::{self, SendReply},
    logic::{
        self, CountRoomMembersRequest, PushRoomRequest, RoomMemberCount, RoomMove, RoomSubscribed,
        SubscribeRoomRequest, down_item::Item,
    },
};
use metrics::counter;
use tokio::sync::{Mutex, MutexGuard};

use super::{App, Caller, send::wrap};
use crate::{
    delivery::nodes::NodeLink,
    domain::{
        clock,
        message::{Message, check_client_command, check_command},
    },
    error::Error,
    metrics as names,
    shared_state::{Kept, RoomMessage},
};

/// Locks that all rooms share: enough that two busy rooms seldom meet.
const STRIPES: usize = 256;

/// Rooms that one question about members may name.
const COUNTED_ROOMS_MAX: usize = 1000;

/// A message for a room.
#[derive(Debug)]
pub struct RoomPush {
    /// Which room.
    pub room_id: u64,
    /// A `connect.MessageCommand`, or a number of the business.
    pub command: i32,
    /// Opaque, or wrapped with the sender's card.
    pub content: Bytes,
    /// 0 where a service sent it.
    pub sender_id: u64,
    /// When it was sent, Unix milliseconds.
    pub created_at_ms: i64,
    /// Whether those who subscribe later may get it.
    pub is_retained: bool,
    /// Whether it overtakes normal messages.
    pub is_priority: bool,
}

/// Numbering a room's message and queuing it for the nodes is one step, as is subscribing: both hold the room's lock. So a
/// node gets a room's messages in their order, and a subscription's retained messages before the newer ones.
#[derive(Debug)]
pub struct RoomOrder {
    stripes: Vec<Mutex<()>>,
}

impl Default for RoomOrder {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }
}

impl RoomOrder {
    async fn lock(&self, room_id: u64) -> MutexGuard<'_, ()> {
        self.stripes[(room_id % STRIPES as u64) as usize].lock().await
    }
}

impl App {
    /// Pushes a message of a trusted service into a room.
    pub async fn push_room(&self, request: PushRoomRequest) -> Result<(), Error> {
        let command = check_command(request.command)?;
        let push = self.checked_room_push(request, command)?;
        self.publish(self.ids.next_id(), push).await
    }

    /// Pushes a message of a client into a room, wrapped like a send, so that the sender inside is the real one.
    pub async fn push_room_as(&self, caller: Caller, request: PushRoomRequest, request_id: &str) -> Result<(), Error> {
        let command = check_client_command(request.command)?;
        let mut push = self.checked_room_push(request, command)?;
        let card = self.business.sender_card(caller, request_id).await;
        push.content = wrap(card, 0, push.content);
        push.sender_id = caller.user_id;
        self.publish(self.ids.next_id(), push).await
    }

    /// Publishes a send of a client, already wrapped; one that repeats an earlier one is answered as that was.
    pub(super) async fn send_to_room(
        &self,
        caller: Caller,
        room_id: u64,
        command: i32,
        content: Bytes,
        client_msg_id: &str,
    ) -> Result<SendReply, Error> {
        let (message_id, created_at_ms) = (self.ids.next_id(), clock::now_ms());
        let push = RoomPush {
            room_id,
            command,
            content,
            sender_id: caller.user_id,
            created_at_ms,
            is_retained: false,
            is_priority: false,
        };
        let _order = self.room_order.lock(room_id).await;
        if let Some(reply) = self.room_sends.find(caller.user_id, client_msg_id, Instant::now()) {
            counter!(names::SEND_DUPLICATES).increment(1);
            return Ok(reply);
        }
        self.publish_in_order(message_id, push).await?;
        let reply = SendReply { message_id, seq: 0, created_at_ms, duplicate: false };
        self.room_sends.remember(caller.user_id, client_msg_id, reply, Instant::now());
        Ok(reply)
    }

    /// How many connections are in rooms, as the conn nodes told it lately.
    pub fn count_room_members(&self, request: &CountRoomMembersRequest) -> Result<Vec<RoomMemberCount>, Error> {
        check::ids("room_ids", &request.room_ids, COUNTED_ROOMS_MAX)?;
        let count = |&room_id: &u64| RoomMemberCount { room_id, members: self.nodes.room_members(room_id) };
        Ok(request.room_ids.iter().map(count).collect())
    }

    /// Puts a device's connection into a room, or with room 0 takes it out, at the wish of a trusted service.
    pub async fn subscribe_device(&self, request: SubscribeRoomRequest) -> Result<(), Error> {
        check::id("user_id", request.user_id)?;
        check::id("device_id", request.device_id)?;
        check_room(request.room_id)?;
        check_seq(request.seq)?;
        let routes = self.shared.routes_of(&[request.user_id]).await?;
        let Some(route) = routes.into_iter().find(|route| route.device_id == request.device_id) else {
            return Err(self.not_connected(request.device_id).await?);
        };
        if !self.nodes.is_attached(&route.node) {
            return Err(Error::refused(
                ResultCode::TryAgainLater,
                "the device's conn node is not attached here just now",
            ));
        }
        let _order = self.room_order.lock(request.room_id).await;
        let subscribed = self.join(request.room_id, request.seq, &route.node).await?;
        let room_move = RoomMove { connection_id: route.connection_id, subscribed: Some(subscribed) };
        self.nodes.notice(&route.node, Item::RoomMove(room_move));
        Ok(())
    }

    /// Subscribes a node to a room for one of its connections; `answer` queues the reply while nothing newer can overtake it.
    pub async fn subscribe(
        &self,
        link: &NodeLink,
        request: connect::SubscribeRoomRequest,
        answer: impl FnOnce(Result<RoomSubscribed, Error>),
    ) {
        let checked = check_room(request.room_id).and_then(|()| check_seq(request.seq));
        if let Err(error) = checked {
            return answer(Err(error));
        }
        let _order = self.room_order.lock(request.room_id).await;
        answer(self.join(request.room_id, request.seq, &link.key).await);
    }

    /// Numbers a message and queues it for every node that has subscribers.
    async fn publish(&self, message_id: u64, push: RoomPush) -> Result<(), Error> {
        let _order = self.room_order.lock(push.room_id).await;
        self.publish_in_order(message_id, push).await
    }

    /// [`App::publish`], while the caller holds the room's lock.
    async fn publish_in_order(&self, message_id: u64, push: RoomPush) -> Result<(), Error> {
        let message = Message {
            id: message_id,
            command: push.command,
            content: push.content,
            sender_id: push.sender_id,
            created_at_ms: push.created_at_ms,
            status: 0,
            group_id: 0,
        };
        let wire = connect::Message { room_id: push.room_id, ..message.to_wire() };
        let RoomPush { room_id, is_retained, is_priority, .. } = push;
        let published = self.shared.publish(RoomMessage { message: wire, is_retained, is_priority }).await?;
        let (seq, after_seq) = published.after_seq.map_or((0, 0), |after_seq| (published.seq, after_seq));
        for node in &published.nodes {
            let message = published.encoded.clone();
            let room_push = logic::RoomPush { room_id, message, is_priority, seq, after_seq };
            self.nodes.push(node, Item::RoomPush(room_push), &[]);
        }
        counter!(names::ROOM_PUSHES).increment(1);
        tracing::debug!(room_id, seq = published.seq, nodes = published.nodes.len(), "room push");
        Ok(())
    }

    async fn join(
        &self,
        room_id: u64,
        seq: u64,
        node: &std::sync::Arc<crate::domain::route::NodeKey>,
    ) -> Result<RoomSubscribed, Error> {
        if room_id == 0 {
            return Ok(RoomSubscribed::default());
        }
        self.shared.set_interest(room_id, node, true).await?;
        let kept = if seq == 0 { Kept::default() } else { self.shared.retained(room_id, seq).await? };
        Ok(RoomSubscribed { room_id, retained: kept.messages, newest_seq: kept.newest_seq })
    }

    async fn not_connected(&self, device_id: u64) -> Result<Error, Error> {
        Ok(match self.shared.user_of_device(device_id).await? {
            Some(_) => Error::refused(
                ResultCode::ConnectionOfOtherDevice,
                format!("device {device_id} is connected as another user"),
            ),
            None => Error::refused(ResultCode::ConnectionNotFound, format!("device {device_id} is not connected")),
        })
    }

    fn checked_room_push(&self, request: PushRoomRequest, command: i32) -> Result<RoomPush, Error> {
        check::id("room_id", request.room_id)?;
        check::size("content", &request.content, self.limits.content_bytes_max)?;
        if request.send_time < 0 {
            return Err(check::invalid("send_time", "must not be negative").into());
        }
        Ok(RoomPush {
            room_id: request.room_id,
            command,
            content: request.content,
            sender_id: 0,
            created_at_ms: if request.send_time > 0 { request.send_time } else { clock::now_ms() },
            is_retained: request.is_persist,
            is_priority: request.is_priority,
        })
    }
}

fn check_room(room_id: u64) -> Result<(), Error> {
    if room_id != 0 {
        check::id("room_id", room_id)?;
    }
    Ok(())
}

fn check_seq(seq: u64) -> Result<(), Error> {
    if seq != 0 {
        check::id("seq", seq)?;
    }
    Ok(())
}
