//! Rooms: messages to whoever is there, in one order for all, and who is there.
//!
//! Shared by tasks of Tokio. Always holds: a message is numbered and queued for the nodes under its room's lock.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    check::{self, ID_MAX},
    connect::{self, SendReply},
    logic::{CountRoomMembersRequest, PushRoomRequest, RoomMemberCount, SubscribeRoomRequest},
};
use metrics::counter;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    envelope::wrap,
    room_counts::RoomCounts,
    room_sends::{RoomSends, Said},
    room_shares::RoomShares,
    words::judged,
};
use crate::{
    clients::{business::Business, word_lists::WordLists},
    delivery::{nodes::Nodes, rooms::Joined},
    domain::{
        caller::Caller,
        clock,
        message::{
            Audience, ClientCommands, Message, check_client_command, check_command, check_content, key_is_used,
            sent_at_ms,
        },
        message_id::MessageIds,
        route::NodeKey,
    },
    error::Error,
    metrics as names,
    shared_state::{Kept, RoomMessage, SharedState},
};

/// Locks that all rooms share: enough that two busy rooms seldom meet.
const STRIPES: usize = 256;

/// Rooms that one question about members may name: of a service, and of a client.
const COUNTED_ROOMS_MAX: usize = 1000;
const COUNTED_ROOMS_OF_CLIENT_MAX: usize = 100;

/// A message for a room, checked.
#[derive(Debug)]
struct RoomPush {
    /// Which room.
    room_id: u64,
    /// A `connect.MessageCommand`, or a number of the business.
    command: i32,
    /// Opaque, or wrapped with the sender's card.
    content: Bytes,
    /// 0 where a service sent it.
    sender_id: u64,
    /// When it was sent, Unix milliseconds.
    created_at_ms: i64,
    /// Whether those who subscribe later may get it.
    is_retained: bool,
    /// Whether it overtakes normal messages.
    is_priority: bool,
}

/// Numbering a room's message and queuing it for the nodes is one step, as is subscribing: both hold the room's lock. So a
/// node gets a room's messages in their order, and a subscription's retained messages before the newer ones.
#[derive(Debug)]
pub(super) struct RoomLocks {
    stripes: Vec<Mutex<()>>,
}

impl Default for RoomLocks {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }
}

impl RoomLocks {
    async fn lock(&self, room_id: u64) -> MutexGuard<'_, ()> {
        self.stripes[(room_id % STRIPES as u64) as usize].lock().await
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Rooms {
    pub(super) content_bytes_max: usize,
    pub(super) client_commands: ClientCommands,
    pub(super) words: WordLists,
    pub(super) ids: Arc<MessageIds>,
    pub(super) business: Arc<Business>,
    pub(super) shared: Arc<dyn SharedState>,
    pub(super) nodes: Arc<Nodes>,
    /// Keep each room's messages in order on their way out.
    pub(super) locks: RoomLocks,
    pub(super) counts: RoomCounts,
    /// Sends that a retry repeats.
    pub(super) sends: RoomSends,
    /// What each user may have retained, and ask for of it.
    pub(super) shares: RoomShares,
}

impl Rooms {
    /// Pushes a message of a trusted service into a room.
    pub async fn push(&self, request: PushRoomRequest) -> Result<(), Error> {
        let command = check_command(request.command)?;
        let is_filtered = request.filter_words;
        let push = self.checked_room_push(request, command, is_filtered)?;
        self.publish(self.ids.next_id(), push).await
    }

    /// Pushes a message of a client into a room, wrapped like a send, so that the sender inside is the real one.
    pub async fn push_as(&self, caller: Caller, request: PushRoomRequest, request_id: &str) -> Result<(), Error> {
        let command = check_client_command(request.command, Audience::People, &self.client_commands)?;
        let mut push = self.checked_room_push(request, command, true)?;
        self.business.check_may_write_to_room(caller.user_id, push.room_id, request_id).await?;
        // To overtake is the services' alone, and nobody tells us the time.
        (push.is_priority, push.created_at_ms) = (false, clock::now_ms());
        push.is_retained &= self.shares.may_retain(caller.user_id, push.room_id, push.content.len(), Instant::now())?;
        let card = self.business.sender_card(caller, request_id).await;
        push.content = wrap(card, 0, push.content);
        push.sender_id = caller.user_id;
        self.publish(self.ids.next_id(), push).await
    }

    /// What a send of a client says, as far as it takes to recognise it.
    pub(super) fn said(&self, room_id: u64, command: i32, content: &[u8]) -> Said {
        self.sends.said(room_id, command, content)
    }

    /// Publishes a send of a client, already wrapped; one that repeats an earlier one is answered as that was.
    pub(super) async fn send(
        &self,
        caller: Caller,
        said: Said,
        content: Bytes,
        client_msg_id: &str,
    ) -> Result<SendReply, Error> {
        let Said { room_id, command, .. } = said;
        let (message_id, created_at_ms) = self.ids.next_with_time();
        let push = RoomPush {
            room_id,
            command,
            content,
            sender_id: caller.user_id,
            created_at_ms,
            is_retained: false,
            is_priority: false,
        };
        let _order = self.locks.lock(room_id).await;
        if let Some((reply, differs_in)) = self.sends.find(caller.user_id, client_msg_id, said, Instant::now()) {
            if let Some(differs_in) = differs_in {
                return Err(key_is_used(differs_in).into());
            }
            counter!(names::SEND_DUPLICATES).increment(1);
            return Ok(reply);
        }
        self.publish_in_order(message_id, push).await?;
        let reply = SendReply { message_id, seq: 0, created_at_ms, duplicate: false };
        self.sends.remember(caller.user_id, client_msg_id, (reply, said), Instant::now());
        Ok(reply)
    }

    /// How many connections are in rooms, as the conn nodes told it lately.
    pub fn count_members(&self, request: &CountRoomMembersRequest) -> Result<Vec<RoomMemberCount>, Error> {
        check::ids("room_ids", &request.room_ids, COUNTED_ROOMS_MAX)?;
        let count = |&room_id: &u64| RoomMemberCount { room_id, members: self.nodes.room_members(room_id) };
        Ok(request.room_ids.iter().map(count).collect())
    }

    /// The same for a client, as it was a second ago at most.
    pub fn count_members_for_client(
        &self,
        request: &CountRoomMembersRequest,
        now: Instant,
    ) -> Result<Vec<RoomMemberCount>, Error> {
        check::ids("room_ids", &request.room_ids, COUNTED_ROOMS_OF_CLIENT_MAX)?;
        let count = |&room_id: &u64| RoomMemberCount {
            room_id,
            members: self.counts.members(room_id, now, || self.nodes.room_members(room_id)),
        };
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
        let _order = self.locks.lock(request.room_id).await;
        let joined = self.join(request.room_id, after(request.seq, request.from_start), &route.node).await?;
        self.nodes.move_to_room(&route, joined);
        Ok(())
    }

    /// Subscribes a node to a room for one of its connections; `answer` queues the reply while nothing newer can overtake it.
    pub async fn subscribe(
        &self,
        node: &Arc<NodeKey>,
        caller: Caller,
        request: connect::SubscribeRoomRequest,
        answer: impl FnOnce(Result<Joined, Error>),
    ) {
        let after = after(request.seq, request.from_start);
        let may_replay = || match after {
            Some(_) => self.shares.may_replay(caller.user_id, Instant::now()),
            None => Ok(()),
        };
        let checked = check_room(request.room_id).and_then(|()| check_seq(request.seq)).and_then(|()| may_replay());
        if let Err(error) = checked {
            return answer(Err(error));
        }
        let _order = self.locks.lock(request.room_id).await;
        let joined = self.join(request.room_id, after, node).await;
        if let Ok(joined) = &joined {
            let bytes = joined.kept.messages.iter().map(Bytes::len).sum();
            self.shares.replayed(caller.user_id, bytes, Instant::now());
        }
        answer(joined);
    }

    /// Says whether a node has subscribers of a room.
    pub async fn set_interest(&self, room_id: u64, node: &Arc<NodeKey>, interested: bool) -> Result<(), Error> {
        Ok(self.shared.set_interest(room_id, node, interested).await?)
    }

    /// Numbers a message and queues it for every node that has subscribers.
    async fn publish(&self, message_id: u64, push: RoomPush) -> Result<(), Error> {
        let _order = self.locks.lock(push.room_id).await;
        self.publish_in_order(message_id, push).await
    }

    /// [`Rooms::publish`], while the caller holds the room's lock.
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
        self.nodes.push_to_room(room_id, &published, is_priority, push.sender_id);
        counter!(names::ROOM_PUSHES).increment(1);
        tracing::debug!(room_id, seq = published.seq, nodes = published.nodes.len(), "room push");
        Ok(())
    }

    /// Gives a node a share in a room, with what that retains `after` a seq, where that is asked for.
    async fn join(&self, room_id: u64, after: Option<u64>, node: &Arc<NodeKey>) -> Result<Joined, Error> {
        if room_id == 0 {
            return Ok(Joined::default());
        }
        self.shared.set_interest(room_id, node, true).await?;
        let kept = match after {
            Some(seq) => self.shared.retained(room_id, seq).await?,
            None => Kept::default(),
        };
        Ok(Joined { room_id, kept })
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

    fn checked_room_push(&self, request: PushRoomRequest, command: i32, is_filtered: bool) -> Result<RoomPush, Error> {
        check::id("room_id", request.room_id)?;
        let content = if is_filtered {
            judged(&self.words, command, request.content, self.content_bytes_max)?
        } else {
            check_content(command, &request.content, self.content_bytes_max)?;
            request.content
        };
        Ok(RoomPush {
            room_id: request.room_id,
            command,
            content,
            sender_id: 0,
            created_at_ms: sent_at_ms(request.send_time, clock::now_ms()),
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

/// After which seq the retained messages of a room are asked for; none are with seq 0 alone.
fn after(seq: u64, from_start: bool) -> Option<u64> {
    (seq != 0 || from_start).then_some(seq)
}

fn check_seq(seq: u64) -> Result<(), Error> {
    match seq {
        0..=ID_MAX => Ok(()),
        _ => Err(check::invalid("seq", format!("must be from 0 to {ID_MAX}")).into()),
    }
}
