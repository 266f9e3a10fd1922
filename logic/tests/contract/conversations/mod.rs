//! Conversations: lists, what is unread, what a user sets of them.

mod history;
mod lists;
pub mod model;
mod notices;
pub mod reads;
mod settings;

use gim_proto::{
    connect::{SendReply, SendRequest, send_request::Target},
    logic::{
        Conversation, ConversationDeleteRequest, ConversationListReply, ConversationListRequest,
        ConversationSetRequest, conversation::Peer, conversation_delete_request, conversation_set_request,
    },
    metadata,
};
use tonic::{Request, Status};

use crate::support::Server;

pub fn signed<T>(user_id: u64, message: T) -> Request<T> {
    metadata::signed(message, user_id, user_id * 10, &format!("token-{user_id}"))
}

/// Sends a text that nobody sent before.
pub async fn send(server: &Server, from: u64, to: u64) -> SendReply {
    let request = SendRequest {
        target: Some(Target::UserId(to)),
        content: b"text"[..].into(),
        client_msg_id: format!("{:?}", std::time::Instant::now()),
        ..SendRequest::default()
    };
    server.message_ext().send(signed(from, request)).await.unwrap().into_inner()
}

/// Sends a text to a group that nobody sent before.
pub async fn say(server: &Server, from: u64, group_id: u64) -> SendReply {
    server.say(from, group_id, "text", &format!("{:?}", std::time::Instant::now())).await.unwrap()
}

pub async fn page(server: &Server, user_id: u64, after: &[u8], limit: u32) -> Result<ConversationListReply, Status> {
    let request = ConversationListRequest { after: after.to_vec().into(), limit, without_contents: false };
    Ok(server.conversation_ext().list(signed(user_id, request)).await?.into_inner())
}

/// All pages: those that are pinned, and the others.
pub async fn list(server: &Server, user_id: u64, limit: u32) -> (Vec<Conversation>, Vec<Conversation>) {
    let first = page(server, user_id, &[], limit).await.unwrap();
    let (pinned, mut all, mut next) = (first.pinned, first.conversations, first.next);
    while !next.is_empty() {
        let reply = page(server, user_id, &next, limit).await.unwrap();
        assert!(reply.pinned.is_empty() && (limit == 0 || reply.conversations.len() <= limit as usize));
        all.extend(reply.conversations);
        next = reply.next;
    }
    (pinned, all)
}

/// With whom, and how much is unread.
pub fn unread(conversations: &[Conversation]) -> Vec<(Peer, u32)> {
    conversations.iter().map(|conversation| (conversation.peer.unwrap(), conversation.unread)).collect()
}

/// With whom.
pub fn peers(conversations: &[Conversation]) -> Vec<Peer> {
    conversations.iter().map(|conversation| conversation.peer.unwrap()).collect()
}

pub async fn set(
    server: &Server,
    user_id: u64,
    peer: conversation_set_request::Peer,
    change: ConversationSetRequest,
) -> Result<(), Status> {
    let request = ConversationSetRequest { peer: Some(peer), ..change };
    server.conversation_ext().set(signed(user_id, request)).await.map(drop)
}

pub async fn delete(server: &Server, user_id: u64, peer: conversation_delete_request::Peer) -> Result<(), Status> {
    let request = ConversationDeleteRequest { peer: Some(peer) };
    server.conversation_ext().delete(signed(user_id, request)).await.map(drop)
}
