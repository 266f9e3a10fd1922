//! Messages to groups: sent by members, pushed by trusted services. Who gets them is decided in the transaction that stores
//! them; what is not stored goes to the members of this moment.

use bytes::Bytes;
use gim_proto::{
    check, connect,
    logic::{GroupMessagePush, GroupPushRequest, User},
};
use prost::Message as _;
use tonic::Status;

use super::{App, Caller, send::Submitted};
use crate::{
    domain::{
        clock,
        group::{GroupAction, GroupRefusal, Kind},
        message::{Delivery, GroupDelivery, Message, Receiver, check_command},
    },
    error::Error,
    store::work::GroupWork,
};

impl App {
    /// Takes a member's message on.
    pub(super) fn submit_to_group(
        &self,
        caller: Caller,
        group_id: u64,
        message: Message,
        client_msg_id: String,
        request_id: &str,
    ) -> Result<Submitted, Error> {
        let work = GroupWork {
            group_id,
            actor: Some(caller.user_id),
            action: GroupAction::Send,
            messages: vec![message],
            limits: self.group.limits(),
            client_msg_id: Some(client_msg_id),
            origin_device_id: caller.device_id,
            request_id: request_id.to_owned(),
        };
        Ok(Submitted::ToGroup(self.writer.submit_group(work)?))
    }

    /// Pushes a message of a trusted service to all members; returns its id once it is durable (or, not persisted, is on
    /// its way to those who are online).
    pub async fn push_to_group(&self, request: GroupPushRequest, request_id: &str) -> Result<u64, Error> {
        let group_id = check::id("group_id", request.group_id)?;
        check_command(request.command)?;
        check::size("content", &request.content, self.limits.content_bytes_max)?;
        let message = Message {
            id: self.ids.next_id(),
            command: request.command,
            content: request.content,
            sender_id: 0,
            created_at_ms: clock::now_ms(),
            status: 0,
            group_id,
        };
        let message_id = message.id;
        if !request.is_persist {
            self.push_to_online(message, request_id).await?;
            return Ok(message_id);
        }
        let work = GroupWork {
            group_id,
            actor: None,
            action: GroupAction::Send,
            messages: vec![message],
            limits: self.group.limits(),
            client_msg_id: None,
            origin_device_id: 0,
            request_id: request_id.to_owned(),
        };
        self.writer.submit_group(work)?.committed().await?.map_err(Status::from)?;
        Ok(message_id)
    }

    async fn push_to_online(&self, message: Message, request_id: &str) -> Result<(), Error> {
        let group_id = message.group_id;
        let group = self.store.groups.get(group_id).await?;
        let group = group.ok_or_else(|| Status::from(GroupRefusal::NoGroup(group_id)))?;
        let mut delivery = Delivery {
            message,
            receivers: Vec::new(),
            origin_device_id: 0,
            request_id: request_id.to_owned(),
            group: None,
        };
        match group.kind {
            Kind::Normal => {
                let limit = u32::try_from(self.group.normal_members_max).unwrap_or(u32::MAX);
                let members = self.store.groups.members(group_id, 0, limit).await?;
                let receiver = |user_id| Receiver { user_id, seq: 0 };
                delivery.receivers = members.iter().map(|member| receiver(member.user_id)).collect();
            }
            Kind::Large => delivery.group = Some(GroupDelivery { group_id, is_live: true, ..GroupDelivery::default() }),
        }
        Ok(self.fanout.deliver(vec![delivery]).await?)
    }
}

/// What members get: the content, with the card of who really sent it.
pub(super) fn wrap_for_group(from_user: User, group_id: u64, content: Bytes) -> Bytes {
    GroupMessagePush { from_user: Some(from_user), group_id, content }.encode_to_vec().into()
}

/// The command of a member's message: 0 means a plain group message.
pub(super) fn group_command(checked: i32, requested: i32) -> i32 {
    if requested == 0 { connect::MessageCommand::McGroupMessage as i32 } else { checked }
}
