//! Messages that users send: to another one, into a group, or into a room.
//!
//! What receivers get is wrapped by the server: the sender's card inside is who really sent it. Plain data of the service, shared by tasks of
//! Tokio. Always holds: a send is answered after its commit, or not at all.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use gim_proto::{
    check,
    connect::{Reply, SendReply, SendRequest, send_request::Target},
    logic::{SendAsRequest, SendManyAsReply, SendManyAsRequest, SendManyAsResult},
};
use metrics::counter;
use tracing::Instrument as _;

use super::{
    envelope::{wrap, wrap_for_group},
    rooms::Rooms,
    words::judged,
};
use crate::{
    clients::{business::Business, word_lists::WordLists},
    domain::{
        caller::{Caller, log_id},
        group::{GroupAction, MemberLimits},
        message::{Audience, ClientCommands, Message, Sent, check_client_command, key_is_used},
    },
    error::Error,
    metrics as names,
    store::{
        work::{GroupOutcome, GroupWork, Post},
        writer::{PendingCommit, Writer},
    },
};

/// Messages of one SendManyAs.
const SENT_TOGETHER_MAX: usize = 256;

/// How far a send got without waiting for the disk.
#[derive(Debug)]
pub enum Submitted {
    /// It waits for its commit; [`Messages::finish`] waits with it.
    ToUser(PendingCommit<Sent>),
    /// As above; what the group allows is seen at the commit.
    ToGroup(PendingCommit<GroupOutcome>),
    /// It is done.
    Done(SendReply),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Messages {
    pub(super) content_bytes_max: usize,
    pub(super) client_commands: ClientCommands,
    pub(super) words: WordLists,
    pub(super) member_limits: MemberLimits,
    pub(super) writer: Writer,
    pub(super) business: Arc<Business>,
    pub(super) rooms: Arc<Rooms>,
}

impl Messages {
    /// Checks a send and takes it on. Of two sends, the one that returned from here first comes first in every inbox.
    pub async fn submit(&self, caller: Caller, request: SendRequest, request_id: &str) -> Result<Submitted, Error> {
        let target = request.target.ok_or_else(|| check::invalid("target", "must be set"))?;
        let audience = match target {
            Target::GroupId(_) => Audience::Members,
            Target::UserId(_) | Target::RoomId(_) => Audience::People,
        };
        let command = check_client_command(request.command, audience, &self.client_commands)?;
        let content = judged(&self.words, command, request.content, self.content_bytes_max)?;
        match target {
            Target::UserId(to_user_id) => {
                check::id("user_id", to_user_id)?;
                check::filled("client_msg_id", &request.client_msg_id, check::CLIENT_MSG_ID_BYTES_MAX)?;
                let (known, card) = tokio::join!(
                    self.business.check_may_write(caller.user_id, to_user_id, request_id),
                    self.business.sender_card(caller, request_id),
                );
                known?;
                let content = wrap(card, to_user_id, content);
                self.submit_to_user(caller, to_user_id, command, content, request.client_msg_id, request_id)
            }
            Target::GroupId(group_id) => {
                check::id("group_id", group_id)?;
                check::filled("client_msg_id", &request.client_msg_id, check::CLIENT_MSG_ID_BYTES_MAX)?;
                let card = self.business.sender_card(caller, request_id).await;
                let content = wrap_for_group(card, group_id, content);
                let message = Message { group_id, ..Message::unnumbered(command, content, caller.user_id) };
                self.submit_to_group(caller, group_id, message, request.client_msg_id, request_id)
            }
            Target::RoomId(room_id) => {
                check::id("room_id", room_id)?;
                check::size("client_msg_id", &request.client_msg_id, check::CLIENT_MSG_ID_BYTES_MAX)?;
                let (may_write, card) = tokio::join!(
                    self.business.check_may_write_to_room(caller.user_id, room_id, request_id),
                    self.business.sender_card(caller, request_id),
                );
                may_write?;
                let said = self.rooms.said(room_id, command, &content);
                let content = wrap(card, 0, content);
                let sent = self.rooms.send(caller, said, content, &request.client_msg_id);
                Ok(Submitted::Done(Box::pin(sent).await?))
            }
        }
    }

    /// Sends for a user for whom a trusted service vouches, also that she may write to the other one. No device of hers is
    /// spared its copy: it was not there that the message was sent.
    pub async fn send_as(&self, request: SendAsRequest, request_id: &str) -> Result<SendReply, Error> {
        let SendAsRequest { user_id, device_id, to_user_id, command, content, client_msg_id } = request;
        check::id("user_id", user_id)?;
        check::id("device_id", device_id)?;
        check::id("to_user_id", to_user_id)?;
        let command = check_client_command(command, Audience::People, &self.client_commands)?;
        let content = judged(&self.words, command, content, self.content_bytes_max)?;
        check::filled("client_msg_id", &client_msg_id, check::CLIENT_MSG_ID_BYTES_MAX)?;
        let card = self.business.sender_card(Caller { user_id, device_id }, request_id).await;
        let content = wrap(card, to_user_id, content);
        let nowhere = Caller { user_id, device_id: 0 };
        let submitted = self.submit_to_user(nowhere, to_user_id, command, content, client_msg_id, request_id)?;
        Ok(Self::finish(submitted).await?.0)
    }

    /// Does several of these at the same time; each is answered for itself.
    pub async fn send_many_as(&self, request: SendManyAsRequest) -> Result<SendManyAsReply, Error> {
        let count = request.items.len();
        if count > SENT_TOGETHER_MAX {
            return Err(check::invalid("items", format!("are {count}, at most {SENT_TOGETHER_MAX} are allowed")).into());
        }
        let results = request.items.into_iter().map(async |item| {
            let request_id = log_id(&item.request_id);
            let span = tracing::info_span!("send_as", request_id);
            let message = item.message.unwrap_or_default();
            match self.send_as(message, request_id).instrument(span.clone()).await {
                Ok(reply) => SendManyAsResult { reply: Some(reply), ..SendManyAsResult::default() },
                Err(error) => {
                    let Reply { code, message, .. } = span.in_scope(|| error.into_reply());
                    SendManyAsResult { reply: None, code, message }
                }
            }
        });
        Ok(SendManyAsReply { results: join_all(results).await })
    }

    /// Waits until a send is durable. With the answer comes the seq that the message took in the sender's inbox (0 for none).
    pub async fn finish(submitted: Submitted) -> Result<(SendReply, u64), Error> {
        let sent = match submitted {
            Submitted::Done(reply) => return Ok((reply, 0)),
            Submitted::ToUser(pending) => pending.committed().await?,
            Submitted::ToGroup(pending) => pending.committed().await??,
        };
        if let Some(differs_in) = sent.differs_in {
            return Err(key_is_used(differs_in).into());
        }
        if sent.is_duplicate {
            counter!(names::SEND_DUPLICATES).increment(1);
        }
        Ok((sent.into(), sent.inbox_seq))
    }

    fn submit_to_user(
        &self,
        caller: Caller,
        to_user_id: u64,
        command: i32,
        content: Bytes,
        client_msg_id: String,
        request_id: &str,
    ) -> Result<Submitted, Error> {
        let mut user_ids = vec![caller.user_id, to_user_id];
        user_ids.dedup();
        let post = Post {
            message: Message::unnumbered(command, content, caller.user_id),
            user_ids,
            all_user_ids: Vec::new(),
            conversation: Some((caller.user_id, to_user_id)),
            client_msg_id: Some(client_msg_id),
            is_of_service: false,
            origin_device_id: caller.device_id,
            request_id: request_id.into(),
            is_stored: false,
        };
        Ok(Submitted::ToUser(self.writer.submit_post(post)?))
    }

    fn submit_to_group(
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
            not_told: Vec::new(),
            limits: self.member_limits,
            client_msg_id: Some(client_msg_id),
            origin_device_id: caller.device_id,
            request_id: request_id.into(),
        };
        Ok(Submitted::ToGroup(self.writer.submit_group(work)?))
    }
}
