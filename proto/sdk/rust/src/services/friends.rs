//! Users and friends, for those who use gim's own business.

use gim_proto::business::{
    AddedBy, ContactRules, Friend, FriendAddRequest, FriendAgreeRequest, FriendBlockRequest, FriendRemoveRequest,
    FriendRequest, FriendSetReply, FriendSetRequest, GetUserReply, GetUserRequest, ListBlockedReply,
    ListFriendRequestsReply, ListFriendsReply, ListUsersRequest, SearchUserReply, SearchUserRequest, SignOutRequest,
    UpdateUserRequest, User,
};

use super::all_pages;
use crate::{client::Client, error::GimError};

/// See [`Client::friends`].
#[derive(Debug, Clone, Copy)]
pub struct Friends<'a> {
    pub(super) client: &'a Client,
}

impl Friends<'_> {
    /// All of them, in the order of their ids.
    pub async fn list(&self) -> Result<Vec<Friend>, GimError> {
        all_pages(async |after_user_id| {
            let request = ListUsersRequest { after_user_id, limit: 0 };
            let page: ListFriendsReply = self.client.rpc("business.FriendExtService/ListFriends", &request).await?;
            let last_id = page.friends.last().map(|friend| friend.user_id);
            Ok((page.friends, last_id, page.has_more))
        })
        .await
    }

    /// Who asked to be a friend and waits for an answer.
    pub async fn requests(&self) -> Result<Vec<FriendRequest>, GimError> {
        all_pages(async |after_user_id| {
            let request = ListUsersRequest { after_user_id, limit: 0 };
            let page: ListFriendRequestsReply =
                self.client.rpc("business.FriendExtService/ListRequests", &request).await?;
            let last_id = page.requests.last().map(|request| request.user_id);
            Ok((page.requests, last_id, page.has_more))
        })
        .await
    }

    /// Asks somebody to be a friend.
    pub async fn add(&self, friend_id: u64, description: &str) -> Result<(), GimError> {
        let description = description.to_owned();
        let request = FriendAddRequest { friend_id, description, ..FriendAddRequest::default() };
        self.client.rpc("business.FriendExtService/Add", &request).await
    }

    /// Agrees to who asked.
    pub async fn agree(&self, user_id: u64) -> Result<(), GimError> {
        let request = FriendAgreeRequest { user_id, ..FriendAgreeRequest::default() };
        self.client.rpc("business.FriendExtService/Agree", &request).await
    }

    /// Ends a friendship, or takes back (or turns down) a request.
    pub async fn remove(&self, friend_id: u64) -> Result<(), GimError> {
        self.client.rpc("business.FriendExtService/Remove", &FriendRemoveRequest { friend_id }).await
    }

    /// Somebody who may not write to this user any more.
    pub async fn block(&self, user_id: u64) -> Result<(), GimError> {
        self.client.rpc("business.FriendExtService/Block", &FriendBlockRequest { user_id }).await
    }

    /// Takes it back.
    pub async fn unblock(&self, user_id: u64) -> Result<(), GimError> {
        self.client.rpc("business.FriendExtService/Unblock", &FriendBlockRequest { user_id }).await
    }

    /// Whom this user blocked.
    pub async fn blocked(&self) -> Result<Vec<User>, GimError> {
        all_pages(async |after_user_id| {
            let request = ListUsersRequest { after_user_id, limit: 0 };
            let page: ListBlockedReply = self.client.rpc("business.FriendExtService/ListBlocked", &request).await?;
            let last_id = page.users.last().map(|user| user.user_id);
            Ok((page.users, last_id, page.has_more))
        })
        .await
    }

    /// What the user calls a friend, and keeps of one.
    pub async fn update(&self, friend_id: u64, remarks: &str, extra: &str) -> Result<(), GimError> {
        let request = FriendSetRequest { friend_id, remarks: remarks.to_owned(), extra: extra.to_owned() };
        let _: FriendSetReply = self.client.repeatable_rpc("business.FriendExtService/Set", &request).await?;
        Ok(())
    }

    /// Whom the user lets put this user into groups.
    pub async fn contact_rules(&self) -> Result<AddedBy, GimError> {
        let rules: ContactRules = self.client.rpc("business.FriendExtService/GetContactRules", &()).await?;
        Ok(rules.added_by())
    }

    /// Sets it.
    pub async fn set_contact_rules(&self, added_by: AddedBy) -> Result<(), GimError> {
        let rules = ContactRules { added_by: added_by as i32 };
        self.client.repeatable_rpc("business.FriendExtService/SetContactRules", &rules).await
    }
}

/// See [`Client::users`].
#[derive(Debug, Clone, Copy)]
pub struct Users<'a> {
    pub(super) client: &'a Client,
}

impl Users<'_> {
    /// None where there is no such user.
    pub async fn get(&self, user_id: u64) -> Result<Option<User>, GimError> {
        let request = GetUserRequest { user_id };
        let reply: GetUserReply = self.client.rpc("business.UserExtService/GetUser", &request).await?;
        Ok(reply.user)
    }

    /// By a whole phone number, or a part of a nickname. `from` is the `next` of the page before; 0 for the first, and after the last.
    pub async fn search(&self, key: &str, from: u64) -> Result<SearchUserReply, GimError> {
        let request = SearchUserRequest { key: key.to_owned(), from, limit: 0 };
        self.client.rpc("business.UserExtService/SearchUser", &request).await
    }

    /// Sets all of this user's card anew.
    pub async fn update_own(&self, card: UpdateUserRequest) -> Result<(), GimError> {
        self.client.repeatable_rpc("business.UserExtService/UpdateUser", &card).await
    }

    /// Ends the token of this device, or of all of the user's: they are disconnected, and the client ends with
    /// [`EndReason::TokenRevoked`](crate::EndReason::TokenRevoked).
    pub async fn sign_out(&self, all_devices: bool) -> Result<(), GimError> {
        self.client.rpc("business.UserExtService/SignOut", &SignOutRequest { all_devices }).await
    }
}
