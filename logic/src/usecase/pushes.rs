//! Pushes of trusted services, persisted or not: to users, to the members of a group, and to everybody. Who gets a persisted push
//! to a group is decided in the transaction that stores it; what is not persisted goes to the members of this moment.

use std::sync::Arc;

use bytes::Bytes;
use gim_proto::{
    ResultCode, check, connect,
    logic::{GroupPushRequest, PushToAllRequest, PushToUsersRequest, UserMessagePush},
};
use prost::Message as _;

use super::words::judged;
use crate::{
    clients::word_lists::WordLists,
    delivery::{fanout::Fanout, nodes::Nodes},
    domain::{
        group::{GroupAction, GroupRefusal, Kind},
        message::{Delivery, GroupDelivery, Message, Receiver, Sent, check_command, check_content, key_is_used},
        message_id::MessageIds,
        refusal::Refusal,
    },
    error::Error,
    settings::{GroupSettings, LimitSettings},
    store::{
        self,
        work::{GroupWork, Post},
        writer::Writer,
    },
};

/// Receivers of a message that one transaction stores.
const PART_RECEIVERS_MAX: usize = 2_048;

/// See the module's documentation.
#[derive(Debug)]
pub struct Pushes {
    pub(super) limits: LimitSettings,
    pub(super) group: GroupSettings,
    pub(super) ids: Arc<MessageIds>,
    pub(super) groups: store::Groups,
    pub(super) writer: Writer,
    pub(super) fanout: Fanout,
    pub(super) nodes: Arc<Nodes>,
    pub(super) words: WordLists,
}

impl Pushes {
    /// Pushes a message to users; returns its id once it is durable (or, not persisted, is on its way).
    pub async fn to_users(&self, request: PushToUsersRequest, request_id: &str) -> Result<u64, Error> {
        check::ids("user_ids", &request.user_ids, self.limits.push_users_max)?;
        let client_msg_id = key(request.client_msg_id)?;
        let mut message = self.service_message(request.command, request.content, request.filter_words)?;
        let mut user_ids = request.user_ids;
        user_ids.sort_unstable();
        user_ids.dedup();
        let conversation = conversation(&message, &user_ids);
        message.sender_id = conversation.map_or(0, |(from, _)| from);

        if request.is_persist {
            return self.store(&message, &user_ids, conversation, client_msg_id, request_id).await;
        }
        let receivers = user_ids.into_iter().map(|user_id| Receiver { user_id, seq: 0 }).collect();
        let request_id = request_id.into();
        let message = self.numbered(message);
        let (message_id, caused_by) = (message.id, message.sender_id);
        let delivery = Delivery { message, receivers, caused_by, origin_device_id: 0, request_id, group: None };
        self.fanout.deliver(&[delivery]).await?;
        Ok(message_id)
    }

    /// Stores a message for its receivers, in parts where they are many: nobody else waits for all of them. One that has a key is
    /// stored at once, because who repeats it wants it for all or for none. Returns the id of the message that is stored.
    async fn store(
        &self,
        message: &Message,
        user_ids: &[u64],
        conversation: Option<(u64, u64)>,
        client_msg_id: Option<String>,
        request_id: &str,
    ) -> Result<u64, Error> {
        let part_max = if client_msg_id.is_some() { user_ids.len() } else { PART_RECEIVERS_MAX };
        let mut message = message.clone();
        for (number, part) in user_ids.chunks(part_max).enumerate() {
            let is_first_of_several = number == 0 && part.len() < user_ids.len();
            let post = Post {
                message: message.clone(),
                user_ids: part.to_vec(),
                all_user_ids: if is_first_of_several { user_ids.to_vec() } else { Vec::new() },
                conversation,
                client_msg_id: client_msg_id.clone(),
                is_of_service: true,
                origin_device_id: 0,
                request_id: request_id.into(),
                is_stored: number > 0,
            };
            let sent = self.writer.submit_post(post)?.committed().await?;
            (message.id, message.created_at_ms) = (first(sent)?, sent.created_at_ms);
        }
        Ok(message.id)
    }

    /// Pushes a message to every connection of every attached node, as many at a time as the nodes are set to.
    pub fn to_all(&self, request: PushToAllRequest) -> Result<(), Error> {
        let message = self.numbered(self.service_message(request.command, request.content, request.filter_words)?);
        let under_way_max = self.limits.push_all_max;
        if !self.nodes.push_to_all(message.id, &message.encode(), under_way_max) {
            let problem = format!("{under_way_max} pushes to all are under way; try again when one is done");
            return Err(Error::refused(ResultCode::TooManyRequests, problem));
        }
        Ok(())
    }

    /// Pushes a message of a trusted service to all members; returns its id once it is durable (or, not persisted, is on
    /// its way to those who are online).
    pub async fn to_group(&self, request: GroupPushRequest, request_id: &str) -> Result<u64, Error> {
        let group_id = check::id("group_id", request.group_id)?;
        let client_msg_id = key(request.client_msg_id)?;
        let message =
            Message { group_id, ..self.service_message(request.command, request.content, request.filter_words)? };
        if !request.is_persist {
            let message = self.numbered(message);
            let message_id = message.id;
            self.to_online_members(message, request_id).await?;
            return Ok(message_id);
        }
        let work = GroupWork {
            group_id,
            actor: None,
            action: GroupAction::Send,
            messages: vec![message],
            not_told: Vec::new(),
            limits: self.group.limits(),
            client_msg_id,
            origin_device_id: 0,
            request_id: request_id.into(),
        };
        first(self.writer.submit_group(work)?.committed().await??)
    }

    async fn to_online_members(&self, message: Message, request_id: &str) -> Result<(), Error> {
        let group_id = message.group_id;
        let group = self.groups.get(group_id).await?;
        let group = group.ok_or(GroupRefusal::NoGroup(group_id))?;
        let mut delivery = Delivery {
            message,
            receivers: Vec::new(),
            caused_by: 0,
            origin_device_id: 0,
            request_id: request_id.into(),
            group: None,
        };
        match group.kind {
            Kind::Normal => {
                let limit = u32::try_from(self.group.normal_members_max).unwrap_or(u32::MAX);
                let members = self.groups.members(group_id, 0, limit).await?;
                let receiver = |user_id| Receiver { user_id, seq: 0 };
                delivery.receivers = members.iter().map(|member| receiver(member.user_id)).collect();
            }
            Kind::Large => delivery.group = Some(GroupDelivery { group_id, is_live: true, ..GroupDelivery::default() }),
        }
        Ok(self.fanout.deliver(&[delivery]).await?)
    }

    /// Words count in what a service says where it asks for that.
    fn service_message(&self, command: i32, mut content: Bytes, is_filtered: bool) -> Result<Message, Error> {
        check_command(command)?;
        if is_filtered {
            content = judged(&self.words, command, content, self.limits.content_bytes_max)?;
        } else {
            check_content(command, &content, self.limits.content_bytes_max)?;
        }
        Ok(Message::unnumbered(command, content, 0))
    }

    /// One that is not stored is numbered here.
    fn numbered(&self, message: Message) -> Message {
        let (id, created_at_ms) = self.ids.next_with_time();
        Message { id, created_at_ms, ..message }
    }
}

/// The key of a push, if it has one.
fn key(client_msg_id: String) -> Result<Option<String>, Refusal> {
    check::size("client_msg_id", &client_msg_id, check::CLIENT_MSG_ID_BYTES_MAX)?;
    Ok((!client_msg_id.is_empty()).then_some(client_msg_id))
}

/// The message of the first push with this key, which may be this one.
fn first(sent: Sent) -> Result<u64, Error> {
    match sent.differs_in {
        Some(differs_in) => Err(key_is_used(differs_in).into()),
        None => Ok(sent.message_id),
    }
}

/// The two users of a message that a service sends for one of them to the other: it counts as that user's own.
fn conversation(message: &Message, user_ids: &[u64]) -> Option<(u64, u64)> {
    if message.command != connect::MessageCommand::McUserMessage as i32 {
        return None;
    }
    let push = UserMessagePush::decode(message.content.clone()).ok()?;
    let (from, to) = (push.from_user?.user_id, push.to_user_id);
    check::ids("users", &[from, to], 2).ok()?;
    user_ids.iter().all(|&user_id| user_id == from || user_id == to).then_some((from, to))
}
