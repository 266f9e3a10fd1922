//! `FriendExtService`: friends and their messages.

use gim_proto::{
    business::{
        AddedBy as AddedByNumber, ContactRules, Friend as FriendMessage, FriendAddRequest, FriendAgreeRequest,
        FriendBlockRequest, FriendRemoveRequest, FriendRequest, FriendSendMessageReply, FriendSendMessageRequest,
        FriendSetReply, FriendSetRequest, GetBlockedReply, GetFriendRequestsReply, GetFriendsReply, ListBlockedReply,
        ListFriendRequestsReply, ListFriendsReply, ListUsersRequest, friend_ext_service_server::FriendExtService,
    },
    check::{self, Violation},
    page::Page,
};
use tonic::{Request, Response, Status};

use super::caller::Callers;
use crate::{
    clock,
    domain::{
        contact::AddedBy,
        friend::{Friend, OpenRequest},
    },
    settings::Limits,
    usecase::{Caller, contact::Contacts, friend::Friends},
};

/// The service for clients.
#[derive(Debug)]
pub struct FriendExt {
    callers: Callers,
    friends: Friends,
    contacts: Contacts,
    limits: Limits,
}

impl FriendExt {
    /// The service over its use cases.
    pub fn new(callers: Callers, friends: Friends, contacts: Contacts, limits: Limits) -> Self {
        Self { callers, friends, contacts, limits }
    }
}

#[tonic::async_trait]
impl FriendExtService for FriendExt {
    async fn send_message(
        &self,
        request: Request<FriendSendMessageRequest>,
    ) -> Result<Response<FriendSendMessageReply>, Status> {
        let caller = self.callers.identify(&request).await?;
        let FriendSendMessageRequest { user_id, content, client_msg_id } = request.into_inner();
        check_other("user_id", user_id, &caller)?;
        check::filled("content", &content, self.limits.content_bytes_max)?;
        check::size("client_msg_id", &client_msg_id, check::CLIENT_MSG_ID_BYTES_MAX)?;
        let message_id = self.friends.send(&caller, user_id, content, client_msg_id).await?;
        Ok(Response::new(FriendSendMessageReply { message_id }))
    }

    async fn add(&self, request: Request<FriendAddRequest>) -> Result<Response<()>, Status> {
        let caller = self.callers.identify(&request).await?;
        let FriendAddRequest { friend_id, remarks, description } = request.into_inner();
        check_other("friend_id", friend_id, &caller)?;
        check::size("remarks", &remarks, self.limits.remarks_bytes_max)?;
        check::size("description", &description, self.limits.description_bytes_max)?;
        self.friends.add(&caller, friend_id, &remarks, description, clock::now_ms()).await?;
        Ok(Response::new(()))
    }

    async fn agree(&self, request: Request<FriendAgreeRequest>) -> Result<Response<()>, Status> {
        let caller = self.callers.identify(&request).await?;
        let FriendAgreeRequest { user_id, remarks } = request.into_inner();
        check_other("user_id", user_id, &caller)?;
        check::size("remarks", &remarks, self.limits.remarks_bytes_max)?;
        self.friends.agree(&caller, user_id, &remarks, clock::now_ms()).await?;
        Ok(Response::new(()))
    }

    async fn set(&self, request: Request<FriendSetRequest>) -> Result<Response<FriendSetReply>, Status> {
        let caller = self.callers.identify(&request).await?;
        let FriendSetRequest { friend_id, remarks, extra } = request.into_inner();
        check_other("friend_id", friend_id, &caller)?;
        check::size("remarks", &remarks, self.limits.remarks_bytes_max)?;
        check::size("extra", &extra, self.limits.extra_bytes_max)?;
        self.friends.set(&caller, friend_id, &remarks, &extra, clock::now_ms()).await?;
        Ok(Response::new(FriendSetReply { friend_id, remarks, extra }))
    }

    async fn get_friends(&self, request: Request<()>) -> Result<Response<GetFriendsReply>, Status> {
        let (caller, _turn) = self.callers.identify_reader(&request).await?;
        let friends = self.friends.list(&caller).await?;
        Ok(Response::new(GetFriendsReply { friends: friends.into_iter().map(Into::into).collect() }))
    }

    async fn list_friends(&self, request: Request<ListUsersRequest>) -> Result<Response<ListFriendsReply>, Status> {
        let (caller, _turn) = self.callers.identify_reader(&request).await?;
        let page = page_of(request.into_inner())?;
        let found = self.friends.page(&caller, page).await?;
        let (friends, has_more) = page.cut(found.into_iter().map(Into::into).collect());
        Ok(Response::new(ListFriendsReply { friends, has_more }))
    }

    async fn remove(&self, request: Request<FriendRemoveRequest>) -> Result<Response<()>, Status> {
        let caller = self.callers.identify(&request).await?;
        let friend_id = request.into_inner().friend_id;
        check_other("friend_id", friend_id, &caller)?;
        self.friends.remove(&caller, friend_id).await?;
        Ok(Response::new(()))
    }

    async fn get_requests(&self, request: Request<()>) -> Result<Response<GetFriendRequestsReply>, Status> {
        let (caller, _turn) = self.callers.identify_reader(&request).await?;
        let requests = self.friends.open_requests(&caller).await?;
        Ok(Response::new(GetFriendRequestsReply { requests: requests.into_iter().map(Into::into).collect() }))
    }

    async fn list_requests(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<ListFriendRequestsReply>, Status> {
        let (caller, _turn) = self.callers.identify_reader(&request).await?;
        let page = page_of(request.into_inner())?;
        let found = self.friends.page_of_requests(&caller, page).await?;
        let (requests, has_more) = page.cut(found.into_iter().map(Into::into).collect());
        Ok(Response::new(ListFriendRequestsReply { requests, has_more }))
    }

    async fn block(&self, request: Request<FriendBlockRequest>) -> Result<Response<()>, Status> {
        let caller = self.callers.identify(&request).await?;
        let user_id = request.into_inner().user_id;
        check_other("user_id", user_id, &caller)?;
        self.friends.block(&caller, user_id, clock::now_ms()).await?;
        Ok(Response::new(()))
    }

    async fn unblock(&self, request: Request<FriendBlockRequest>) -> Result<Response<()>, Status> {
        let caller = self.callers.identify(&request).await?;
        let user_id = request.into_inner().user_id;
        check_other("user_id", user_id, &caller)?;
        self.friends.unblock(&caller, user_id).await?;
        Ok(Response::new(()))
    }

    async fn get_blocked(&self, request: Request<()>) -> Result<Response<GetBlockedReply>, Status> {
        let (caller, _turn) = self.callers.identify_reader(&request).await?;
        let users = self.friends.blocked(&caller).await?;
        Ok(Response::new(GetBlockedReply { users: users.into_iter().map(Into::into).collect() }))
    }

    async fn list_blocked(&self, request: Request<ListUsersRequest>) -> Result<Response<ListBlockedReply>, Status> {
        let (caller, _turn) = self.callers.identify_reader(&request).await?;
        let page = page_of(request.into_inner())?;
        let found = self.friends.page_of_blocked(&caller, page).await?;
        let (users, has_more) = page.cut(found.into_iter().map(Into::into).collect());
        Ok(Response::new(ListBlockedReply { users, has_more }))
    }

    async fn set_contact_rules(&self, request: Request<ContactRules>) -> Result<Response<()>, Status> {
        let caller = self.callers.identify(&request).await?;
        let number = request.into_inner().added_by;
        if AddedByNumber::try_from(number).is_err() {
            return Err(check::invalid("added_by", format!("there is no rule {number}")).into());
        }
        self.contacts.set_added_by(&caller, AddedBy::of_number(number.into()), clock::now_ms()).await?;
        Ok(Response::new(()))
    }

    async fn get_contact_rules(&self, request: Request<()>) -> Result<Response<ContactRules>, Status> {
        let caller = self.callers.identify(&request).await?;
        let rule = self.contacts.added_by(&caller).await?;
        let added_by = rule.map_or(AddedByNumber::AbDefault, Into::into);
        Ok(Response::new(ContactRules { added_by: added_by.into() }))
    }
}

fn page_of(request: ListUsersRequest) -> Result<Page, Violation> {
    Page::after("after_user_id", request.after_user_id, request.limit)
}

/// An id of somebody else: nobody is her own friend.
fn check_other(field: &str, user_id: u64, caller: &Caller) -> Result<(), Violation> {
    check::id(field, user_id)?;
    if user_id == caller.user_id { Err(check::invalid(field, "must be another user")) } else { Ok(()) }
}

impl From<OpenRequest> for FriendRequest {
    fn from(request: OpenRequest) -> Self {
        let OpenRequest { user, description, asked_at_ms } = request;
        Self {
            user_id: user.user_id,
            nickname: user.profile.nickname,
            avatar_url: user.profile.avatar_url,
            description,
            create_time: asked_at_ms / 1_000,
        }
    }
}

impl From<Friend> for FriendMessage {
    fn from(friend: Friend) -> Self {
        let Friend { user, remarks, extra } = friend;
        Self {
            user_id: user.user_id,
            phone_number: user.phone_number,
            nickname: user.profile.nickname,
            sex: user.profile.sex,
            avatar_url: user.profile.avatar_url,
            user_extra: user.profile.extra,
            remarks,
            extra,
        }
    }
}
