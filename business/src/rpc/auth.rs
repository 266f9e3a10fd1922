//! `UserIntService`: what trusted services ask. `Auth` is the one call that a backend implements to bring its own
//! users.

use gim_proto::{
    business::{
        AuthRequest, GetBlockersReply, GetBlockersRequest, GetUserReply, GetUserRequest, GetUsersReply,
        GetUsersRequest, MayAddReply, MayAddRequest, MayWriteReply, MayWriteRequest, MayWriteToRoomRequest,
        RevokeTokensRequest, user_int_service_server::UserIntService,
    },
    check,
};
use tonic::{Request, Response, Status};

use super::caller::request_id;
use crate::{
    clock,
    domain::contact::Refused,
    error::UseCaseError,
    settings::Limits,
    store::ALL_DEVICES,
    usecase::{contact::Contacts, friend::Friends, profile::Profiles, tokens::Tokens},
};

/// The service for trusted callers.
#[derive(Debug)]
pub struct UserInt {
    tokens: Tokens,
    profiles: Profiles,
    friends: Friends,
    contacts: Contacts,
    users_per_call_max: usize,
    token_bytes_max: usize,
}

impl UserInt {
    /// The service over its use cases.
    pub fn new(tokens: Tokens, profiles: Profiles, friends: Friends, contacts: Contacts, limits: &Limits) -> Self {
        let Limits { users_per_call_max, token_bytes_max, .. } = *limits;
        Self { tokens, profiles, friends, contacts, users_per_call_max, token_bytes_max }
    }
}

#[tonic::async_trait]
impl UserIntService for UserInt {
    async fn auth(&self, request: Request<AuthRequest>) -> Result<Response<()>, Status> {
        let AuthRequest { user_id, device_id, token } = request.into_inner();
        check::id("user_id", user_id)?;
        check::id("device_id", device_id)?;
        check::filled("token", &token, self.token_bytes_max)?;
        self.tokens.check(user_id, device_id, &token, clock::now_ms()).await?;
        Ok(Response::new(()))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserReply>, Status> {
        let user_id = check::id("user_id", request.into_inner().user_id)?;
        let user = self.profiles.user(user_id).await?;
        Ok(Response::new(GetUserReply { user: Some(user.into()) }))
    }

    async fn get_users(&self, request: Request<GetUsersRequest>) -> Result<Response<GetUsersReply>, Status> {
        let user_ids: Vec<u64> = request.into_inner().user_ids.into_keys().collect();
        check::ids("user_ids", &user_ids, self.users_per_call_max)?;
        let users = self.profiles.users(user_ids).await?;
        let users = users.into_iter().map(|user| (user.user_id, user.into())).collect();
        Ok(Response::new(GetUsersReply { users }))
    }

    async fn revoke_tokens(&self, request: Request<RevokeTokensRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        let RevokeTokensRequest { user_id, device_id } = request.into_inner();
        check::id("user_id", user_id)?;
        if device_id != ALL_DEVICES {
            check::id("device_id", device_id)?;
        }
        self.tokens.revoke(user_id, device_id, &request_id, clock::now_ms()).await?;
        Ok(Response::new(()))
    }

    async fn may_write(&self, request: Request<MayWriteRequest>) -> Result<Response<MayWriteReply>, Status> {
        let MayWriteRequest { from_user_id, to_user_id } = request.into_inner();
        check::id("from_user_id", from_user_id)?;
        check::id("to_user_id", to_user_id)?;
        match self.friends.may_write(from_user_id, to_user_id).await {
            Ok(()) => Ok(Response::new(MayWriteReply::default())),
            Err(UseCaseError::Refused { code, message }) => {
                Ok(Response::new(MayWriteReply { code: code.number(), message: message.to_owned() }))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn get_blockers(&self, request: Request<GetBlockersRequest>) -> Result<Response<GetBlockersReply>, Status> {
        let GetBlockersRequest { user_id, among_user_ids } = request.into_inner();
        check::id("user_id", user_id)?;
        check::ids("among_user_ids", &among_user_ids, self.users_per_call_max)?;
        let user_ids = self.contacts.blockers(user_id, &among_user_ids).await?;
        Ok(Response::new(GetBlockersReply { user_ids }))
    }

    async fn may_write_to_room(&self, _: Request<MayWriteToRoomRequest>) -> Result<Response<MayWriteReply>, Status> {
        Err(Status::unimplemented("rooms are open to all users"))
    }

    async fn may_add(&self, request: Request<MayAddRequest>) -> Result<Response<MayAddReply>, Status> {
        let MayAddRequest { from_user_id, user_ids, group_id } = request.into_inner();
        check::id("from_user_id", from_user_id)?;
        check::ids("user_ids", &user_ids, self.users_per_call_max)?;
        if group_id != 0 {
            check::id("group_id", group_id)?;
        }
        let refused = self.contacts.not_to_be_added(from_user_id, &user_ids).await?;
        let to_reply = |(user_id, (code, message)): (u64, Refused)| {
            (user_id, MayWriteReply { code: code.number(), message: message.into() })
        };
        Ok(Response::new(MayAddReply { refused: refused.into_iter().map(to_reply).collect() }))
    }
}
