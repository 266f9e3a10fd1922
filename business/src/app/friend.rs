//! Becoming friends, and what friends send each other.
//!
//! The database changes first, then the other side is told through logic. Where only the second step fails the caller
//! gets its code and repeats the call: a renewed request and a repeated agreement change nothing and tell again.

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    business::{AddFriendPush, AgreeAddFriendPush},
    connect::MessageCommand,
    logic::{User as SenderCard, UserMessagePush},
};
use prost::Message as _;

use super::{Caller, existing_user};
use crate::{
    domain::friend::{AgreeOutcome, Friend, RequestOutcome},
    error::AppError,
    logic::Logic,
    store::{FriendRequest, Store},
};

/// Friends and their messages. Clones share everything.
#[derive(Debug, Clone)]
pub struct Friends {
    store: Store,
    logic: Logic,
    friends_max: u32,
}

impl Friends {
    /// Friends in `store`, told through `logic`; a list holds `friends_max` at most.
    pub fn new(store: Store, logic: Logic, friends_max: u32) -> Self {
        Self { store, logic, friends_max }
    }

    /// Asks a user to be the caller's friend, or renews what was asked.
    pub async fn add(
        &self,
        caller: &Caller,
        friend_id: u64,
        remarks: &str,
        description: String,
        now_ms: i64,
    ) -> Result<(), AppError> {
        let me = existing_user(&self.store, caller.user_id).await?;
        existing_user(&self.store, friend_id).await?;
        let request = FriendRequest { user_id: caller.user_id, friend_id, remarks, description: &description };
        match self.store.request_friend(request, self.friends_max, now_ms).await? {
            RequestOutcome::Stored => {}
            RequestOutcome::AlreadyFriends => return Err(ResultCode::AlreadyFriends.into()),
            RequestOutcome::ListFull => return Err(list_full()),
        }
        let push = AddFriendPush {
            friend_id: me.user_id,
            nickname: me.profile.nickname,
            avatar_url: me.profile.avatar_url,
            description,
        };
        self.push(caller, vec![friend_id], MessageCommand::McAddFriend, push.encode_to_vec()).await?;
        Ok(())
    }

    /// Agrees to what `friend_id` asked.
    pub async fn agree(&self, caller: &Caller, friend_id: u64, remarks: &str, now_ms: i64) -> Result<(), AppError> {
        let me = existing_user(&self.store, caller.user_id).await?;
        match self.store.agree_friend(caller.user_id, friend_id, remarks, self.friends_max, now_ms).await? {
            AgreeOutcome::Friends => {}
            AgreeOutcome::NotRequested => {
                let message = "this user has not asked to be your friend";
                return Err(AppError::refused(ResultCode::NotFriends, message));
            }
            AgreeOutcome::ListFull => return Err(list_full()),
        }
        let push = AgreeAddFriendPush {
            friend_id: me.user_id,
            nickname: me.profile.nickname,
            avatar_url: me.profile.avatar_url,
        };
        self.push(caller, vec![friend_id], MessageCommand::McAgreeAddFriend, push.encode_to_vec()).await?;
        Ok(())
    }

    /// Replaces what the caller notes about a friend.
    pub async fn set(
        &self,
        caller: &Caller,
        friend_id: u64,
        remarks: &str,
        extra: &str,
        now_ms: i64,
    ) -> Result<(), AppError> {
        if self.store.update_friend(caller.user_id, friend_id, remarks, extra, now_ms).await? {
            Ok(())
        } else {
            Err(ResultCode::NotFriends.into())
        }
    }

    /// The caller's friends.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<Friend>, AppError> {
        Ok(self.store.friends(caller.user_id, self.friends_max).await?)
    }

    /// Sends a message to a friend, and to the caller's own other devices; the message's id, once it is durable.
    pub async fn send(&self, caller: &Caller, friend_id: u64, content: Bytes) -> Result<u64, AppError> {
        if !self.store.are_friends(caller.user_id, friend_id).await? {
            return Err(ResultCode::NotFriends.into());
        }
        let me = existing_user(&self.store, caller.user_id).await?;
        let card = SenderCard {
            user_id: caller.user_id,
            device_id: caller.device_id,
            nickname: me.profile.nickname,
            avatar_url: me.profile.avatar_url,
            extra: me.profile.extra,
        };
        let push = UserMessagePush { from_user: Some(card), to_user_id: friend_id, content };
        let receivers = vec![friend_id, caller.user_id];
        self.push(caller, receivers, MessageCommand::McUserMessage, push.encode_to_vec()).await
    }

    async fn push(
        &self,
        caller: &Caller,
        user_ids: Vec<u64>,
        command: MessageCommand,
        content: Vec<u8>,
    ) -> Result<u64, AppError> {
        Ok(self.logic.push(user_ids, command, content, &caller.request_id).await?)
    }
}

fn list_full() -> AppError {
    AppError::refused(ResultCode::NotAllowed, "your list of friends and requests is full")
}
