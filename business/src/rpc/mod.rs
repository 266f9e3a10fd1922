//! The gRPC services: who calls, which fields are wrong and how they are called, what the answer looks like. Decisions
//! are taken in `usecase`. Handlers run on Tokio inside the span of `gim_config::grpc`, which carries the request id.

mod auth;
mod caller;
mod friend;
mod user;

use std::sync::Arc;

use gim_config::{places::Places, request_shares::RequestShares};
use gim_proto::business::{
    User as UserMessage, friend_ext_service_server::FriendExtServiceServer,
    user_ext_service_server::UserExtServiceServer, user_int_service_server::UserIntServiceServer,
};
use tonic::{
    server::NamedService,
    service::{Routes, RoutesBuilder},
};

pub use self::{caller::Callers, user::UserExt};
use crate::{
    domain::user::User,
    settings::Limits,
    usecase::{codes::Codes, contact::Contacts, friend::Friends, profile::Profiles, sign_in::SignIns, tokens::Tokens},
};

/// The names under which the services are reported healthy.
pub const SERVICE_NAMES: [&str; 3] = [
    <UserExtServiceServer<UserExt> as NamedService>::NAME,
    <UserIntServiceServer<auth::UserInt> as NamedService>::NAME,
    <FriendExtServiceServer<friend::FriendExt> as NamedService>::NAME,
];

/// The use cases that the services call.
pub struct UseCases {
    pub tokens: Tokens,
    pub sign_ins: SignIns,
    pub codes: Codes,
    pub profiles: Profiles,
    pub friends: Friends,
    pub contacts: Contacts,
}

/// All services of this crate; that of users once more, for the chat page; and the check of callers, for files. Users who read take a place of `reads`, and each request
/// of a user is taken from `shares`.
pub fn routes(
    use_cases: UseCases,
    limits: &Limits,
    reads: Places,
    shares: Arc<RequestShares>,
) -> (RoutesBuilder, UserExt, Callers) {
    let UseCases { tokens, sign_ins, codes, profiles, friends, contacts } = use_cases;
    let callers = Callers::new(tokens.clone(), limits, reads, shares);
    let user_ext = UserExt {
        callers: callers.clone(),
        sign_ins,
        codes,
        tokens: tokens.clone(),
        profiles: profiles.clone(),
        limits: limits.clone(),
    };
    let user_int = auth::UserInt::new(tokens, profiles, friends.clone(), contacts.clone(), limits);
    let friend_ext = friend::FriendExt::new(callers.clone(), friends, contacts, limits.clone());
    let mut routes: RoutesBuilder = Routes::builder();
    routes
        .add_service(UserExtServiceServer::new(user_ext.clone()))
        .add_service(UserIntServiceServer::new(user_int))
        .add_service(FriendExtServiceServer::new(friend_ext));
    (routes, user_ext, callers)
}

impl From<User> for UserMessage {
    fn from(user: User) -> Self {
        Self {
            user_id: user.user_id,
            nickname: user.profile.nickname,
            sex: user.profile.sex,
            avatar_url: user.profile.avatar_url,
            extra: user.profile.extra,
            create_time: user.created_at_ms / 1_000,
            update_time: user.updated_at_ms / 1_000,
        }
    }
}
