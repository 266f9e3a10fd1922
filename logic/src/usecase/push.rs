//! Pushes of trusted services: to users, persisted or not, and to everybody.

use gim_proto::{
    ResultCode, check, connect,
    logic::{PushAll, PushToAllRequest, PushToUsersRequest, UserMessagePush},
};
use prost::Message as _;

use super::App;
use crate::{
    domain::{
        clock,
        message::{Delivery, Message, Receiver, check_command},
    },
    error::Error,
    store::work::Post,
};

impl App {
    /// Pushes a message to users; returns its id once it is durable (or, not persisted, is on its way).
    pub async fn push_to_users(&self, request: PushToUsersRequest, request_id: &str) -> Result<u64, Error> {
        check::ids("user_ids", &request.user_ids, self.limits.push_users_max)?;
        let mut message = self.service_message(request.command, request.content)?;
        let message_id = message.id;
        let mut user_ids = request.user_ids;
        user_ids.sort_unstable();
        user_ids.dedup();
        let conversation = conversation(&message, &user_ids);
        message.sender_id = conversation.map_or(0, |(from, _)| from);

        if request.is_persist {
            let request_id = request_id.to_owned();
            let post = Post { message, user_ids, conversation, client_msg_id: None, origin_device_id: 0, request_id };
            self.writer.submit_post(post)?.committed().await?;
        } else {
            let receivers = user_ids.into_iter().map(|user_id| Receiver { user_id, seq: 0 }).collect();
            let request_id = request_id.to_owned();
            let delivery = Delivery { message, receivers, origin_device_id: 0, request_id, group: None };
            self.fanout.deliver(vec![delivery]).await?;
        }
        Ok(message_id)
    }

    /// Pushes a message to every connection of every attached node, as many at a time as the nodes are set to.
    pub fn push_to_all(&self, request: PushToAllRequest) -> Result<(), Error> {
        let message = self.service_message(request.command, request.content)?;
        let push = PushAll { message: message.encode(), message_id: message.id };
        let under_way_max = self.limits.push_all_max;
        if !self.nodes.push_to_all(&push, under_way_max) {
            let problem = format!("{under_way_max} pushes to all are under way; try again when one is done");
            return Err(Error::refused(ResultCode::TooManyRequests, problem));
        }
        Ok(())
    }

    fn service_message(&self, command: i32, content: bytes::Bytes) -> Result<Message, Error> {
        check_command(command)?;
        check::size("content", &content, self.limits.content_bytes_max)?;
        Ok(Message {
            id: self.ids.next_id(),
            command,
            content,
            sender_id: 0,
            created_at_ms: clock::now_ms(),
            status: 0,
            group_id: 0,
        })
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
