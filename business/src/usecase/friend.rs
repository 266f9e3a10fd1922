//! Becoming friends and ceasing to be, blocking, and who may write to whom.
//!
//! The database changes first, and notes what the other side is told; then it is told through logic. Where only the second
//! step fails the caller gets its code, the note is taken back, and the call is repeated: that changes nothing and tells
//! again. Otherwise repeating a call tells nobody anything.

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    business::{AddFriendPush, AgreeAddFriendPush},
    connect::MessageCommand,
    logic::SendAsRequest,
    page::Page,
};
use prost::Message as _;

use super::{Caller, existing_user};
use crate::{
    domain::{
        contact,
        friend::{AgreeOutcome, BlockOutcome, Friend, OpenRequest, RequestOutcome},
        user::User,
    },
    error::UseCaseError,
    logic::Logic,
    settings::{FriendSettings, Limits},
    store::{FriendRequest, Store, Told, What},
};

const HOUR_MS: i64 = 3_600_000;

/// Friends and their messages. Clones share everything.
#[derive(Debug, Clone)]
pub struct Friends {
    store: Store,
    logic: Logic,
    settings: FriendSettings,
    friends_max: u32,
    blocked_max: u32,
}

impl Friends {
    /// Friends in `store`, told through `logic`.
    pub fn new(settings: &FriendSettings, limits: &Limits, store: Store, logic: Logic) -> Self {
        let Limits { friends_max, blocked_max, .. } = *limits;
        Self { store, logic, settings: settings.clone(), friends_max, blocked_max }
    }

    /// Asks a user to be the caller's friend, or renews what was asked.
    pub async fn add(
        &self,
        caller: &Caller,
        friend_id: u64,
        remarks: &str,
        description: String,
        now_ms: i64,
    ) -> Result<(), UseCaseError> {
        let me = existing_user(&self.store, caller.user_id).await?;
        existing_user(&self.store, friend_id).await?;
        let request = FriendRequest { user_id: caller.user_id, friend_id, remarks, description: &description };
        let told_since_ms = now_ms - i64::from(self.settings.request_told_again_after_h) * HOUR_MS;
        match self.store.request_friend(request, self.friends_max, told_since_ms, now_ms).await? {
            RequestOutcome::Stored { is_news: true } => {}
            RequestOutcome::Stored { is_news: false } => return Ok(()),
            RequestOutcome::TooMany => {
                let message = "you asked as many users to be your friends as anybody may for now";
                return Err(UseCaseError::refused(ResultCode::TooManyRequests, message));
            }
            RequestOutcome::AlreadyFriends => return Err(ResultCode::AlreadyFriends.into()),
            RequestOutcome::ListFull => return Err(list_full()),
            RequestOutcome::Blocked => return Err(blocked()),
        }
        let push = AddFriendPush {
            friend_id: me.user_id,
            nickname: me.profile.nickname,
            avatar_url: me.profile.avatar_url,
            description,
        };
        self.tell(caller, friend_id, What::Request, MessageCommand::McAddFriend, push.encode_to_vec()).await
    }

    /// Agrees to what `friend_id` asked.
    pub async fn agree(&self, caller: &Caller, friend_id: u64, remarks: &str, now_ms: i64) -> Result<(), UseCaseError> {
        let me = existing_user(&self.store, caller.user_id).await?;
        match self.store.agree_friend(caller.user_id, friend_id, remarks, self.friends_max, now_ms).await? {
            AgreeOutcome::Friends { is_news: true } => {}
            AgreeOutcome::Friends { is_news: false } => return self.permissions_changed(caller, friend_id).await,
            AgreeOutcome::Blocked => return Err(blocked()),
            AgreeOutcome::NotRequested => {
                let message = "this user has not asked to be your friend";
                return Err(UseCaseError::refused(ResultCode::NotFriends, message));
            }
            AgreeOutcome::ListFull => return Err(list_full()),
        }
        let push = AgreeAddFriendPush {
            friend_id: me.user_id,
            nickname: me.profile.nickname,
            avatar_url: me.profile.avatar_url,
        };
        self.tell(caller, friend_id, What::Agreement, MessageCommand::McAgreeAddFriend, push.encode_to_vec()).await?;
        self.permissions_changed(caller, friend_id).await
    }

    /// Replaces what the caller notes about a friend.
    pub async fn set(
        &self,
        caller: &Caller,
        friend_id: u64,
        remarks: &str,
        extra: &str,
        now_ms: i64,
    ) -> Result<(), UseCaseError> {
        if self.store.update_friend(caller.user_id, friend_id, remarks, extra, now_ms).await? {
            Ok(())
        } else {
            Err(ResultCode::NotFriends.into())
        }
    }

    /// The caller's friends.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<Friend>, UseCaseError> {
        Ok(self.store.friends(caller.user_id, 0, self.friends_max).await?)
    }

    /// What is read for a page of them.
    pub async fn page(&self, caller: &Caller, page: Page) -> Result<Vec<Friend>, UseCaseError> {
        Ok(self.store.friends(caller.user_id, page.after_id, page.entries_to_read()).await?)
    }

    /// Ends a friendship, takes a request back or turns one down. Nobody is told.
    pub async fn remove(&self, caller: &Caller, friend_id: u64) -> Result<(), UseCaseError> {
        if !self.store.remove_friend(caller.user_id, friend_id).await? {
            return Err(ResultCode::NotFriends.into());
        }
        self.permissions_changed(caller, friend_id).await
    }

    /// Who asked the caller and waits for an answer.
    pub async fn open_requests(&self, caller: &Caller) -> Result<Vec<OpenRequest>, UseCaseError> {
        Ok(self.store.open_requests(caller.user_id, self.friends_max).await?)
    }

    /// What is read for a page of them.
    pub async fn page_of_requests(&self, caller: &Caller, page: Page) -> Result<Vec<OpenRequest>, UseCaseError> {
        Ok(self.store.open_requests_after(caller.user_id, page.after_id, page.entries_to_read()).await?)
    }

    /// From now on `user_id` cannot write to the caller, nor ask to be a friend.
    pub async fn block(&self, caller: &Caller, user_id: u64, now_ms: i64) -> Result<(), UseCaseError> {
        existing_user(&self.store, user_id).await?;
        match self.store.block(caller.user_id, user_id, self.blocked_max, now_ms).await? {
            BlockOutcome::Blocked => self.logic.forget(caller.user_id, user_id, &caller.request_id).await?,
            BlockOutcome::ListFull => {
                return Err(UseCaseError::refused(ResultCode::NotAllowed, "your list of blocked users is full"));
            }
        }
        Ok(())
    }

    /// Ends a block.
    pub async fn unblock(&self, caller: &Caller, user_id: u64) -> Result<(), UseCaseError> {
        self.store.unblock(caller.user_id, user_id).await?;
        Ok(self.logic.forget(caller.user_id, user_id, &caller.request_id).await?)
    }

    /// Whom the caller blocked.
    pub async fn blocked(&self, caller: &Caller) -> Result<Vec<User>, UseCaseError> {
        Ok(self.store.blocked(caller.user_id, 0, self.blocked_max).await?)
    }

    /// What is read for a page of them.
    pub async fn page_of_blocked(&self, caller: &Caller, page: Page) -> Result<Vec<User>, UseCaseError> {
        Ok(self.store.blocked(caller.user_id, page.after_id, page.entries_to_read()).await?)
    }

    /// Sends a message to a friend (or, by a setting, to anybody), and to the caller's own devices; the message's id, once it is durable. A repeated
    /// `client_msg_id` (empty for none) gives the id of the first message.
    pub async fn send(
        &self,
        caller: &Caller,
        friend_id: u64,
        content: Bytes,
        client_msg_id: String,
    ) -> Result<u64, UseCaseError> {
        let only_friends = !self.settings.send_message_to_others;
        if !only_friends {
            existing_user(&self.store, friend_id).await?;
        }
        self.check_write(caller.user_id, friend_id, only_friends).await?;
        let is_keyed = !client_msg_id.is_empty();
        let message = SendAsRequest {
            user_id: caller.user_id,
            device_id: caller.device_id,
            to_user_id: friend_id,
            command: MessageCommand::McUserMessage.into(),
            content,
            client_msg_id: if is_keyed { client_msg_id } else { format!("{:032x}", rand::random::<u128>()) },
        };
        Ok(self.logic.send_as(message, &caller.request_id).await?)
    }

    /// Whether a user may write to another one by PC_SEND.
    pub async fn may_write(&self, from_user_id: u64, to_user_id: u64) -> Result<(), UseCaseError> {
        existing_user(&self.store, to_user_id).await?;
        self.check_write(from_user_id, to_user_id, self.settings.only_friends_write).await
    }

    async fn check_write(&self, from_user_id: u64, to_user_id: u64, only_friends: bool) -> Result<(), UseCaseError> {
        let standing = self.store.standing(to_user_id, from_user_id).await?;
        standing.may_be_written_to(only_friends).map_err(|(code, message)| UseCaseError::refused(code, message))
    }

    /// Logic remembers who may write to whom; where that follows friendship, it has to forget.
    async fn permissions_changed(&self, caller: &Caller, other_id: u64) -> Result<(), UseCaseError> {
        if self.settings.only_friends_write {
            self.logic.forget(caller.user_id, other_id, &caller.request_id).await?;
        }
        Ok(())
    }

    /// Tells the other side what was noted as told; where that fails, it was not.
    async fn tell(
        &self,
        caller: &Caller,
        friend_id: u64,
        what: What,
        command: MessageCommand,
        content: Vec<u8>,
    ) -> Result<(), UseCaseError> {
        let pushed = self.logic.push(vec![friend_id], command, content, &caller.request_id).await;
        if pushed.is_err() {
            self.store.untell(Told { user_id: caller.user_id, friend_id, what }).await?;
        }
        pushed?;
        Ok(())
    }
}

fn blocked() -> UseCaseError {
    let (code, message) = contact::BLOCKED;
    UseCaseError::refused(code, message)
}

fn list_full() -> UseCaseError {
    UseCaseError::refused(ResultCode::NotAllowed, "your list of friends and requests is full")
}
