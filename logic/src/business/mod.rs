//! The business service, as logic asks it: is this token good, who is this user, what about this command.
//!
//! A product that plugs in its own users implements `UserIntService/Auth` and nothing else: every other call may answer
//! UNIMPLEMENTED, and logic does without. Any task; calls go over one lazily connected channel.

pub mod cache;

use std::time::{Duration, Instant};

use gim_config::grpc::{self, PeerChannel};
use gim_proto::{
    ResultCode,
    business::{
        AuthRequest, GetUserRequest, GetUsersRequest, HandleCommandReply, HandleCommandRequest,
        command_int_service_client::CommandIntServiceClient, user_int_service_client::UserIntServiceClient,
    },
    logic, metadata,
};
use metrics::counter;
use tokio::sync::Semaphore;
use tonic::{Code, Request, Status};

use self::cache::TtlCache;
use crate::{app::Caller, error::Error, metrics as names, settings::BusinessSettings};

/// Larger cards are cut down to the bare ids, so that a message that is within its limit still fits a frame.
const CARD_BYTES_MAX: usize = 2048;

/// Users asked about in one call: far below what a message takes, whatever their cards are.
const USERS_PER_CALL_MAX: usize = 200;

/// The client.
#[derive(Debug)]
pub struct Business {
    users: UserIntServiceClient<PeerChannel>,
    commands: CommandIntServiceClient<PeerChannel>,
    auth_in_flight: Semaphore,
    good_tokens: TtlCache<(Caller, String), ()>,
    cards: TtlCache<u64, Lookup>,
}

/// What the business knows of a user.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// This card (without device).
    Card(logic::User),
    /// It keeps its users to itself.
    NotOffered,
}

impl Business {
    /// A client that connects at its first call.
    pub fn new(settings: &BusinessSettings, internal_token: &str) -> Result<Self, String> {
        let timeout = Duration::from_millis(settings.call_timeout_ms);
        let channel = grpc::channel(&settings.endpoint, internal_token, Some(timeout))?;
        let ttl = Duration::from_millis;
        Ok(Self {
            users: UserIntServiceClient::new(channel.clone()),
            commands: CommandIntServiceClient::new(channel),
            auth_in_flight: Semaphore::new(settings.auth_in_flight_max),
            good_tokens: TtlCache::new(ttl(settings.auth_cache_ms), settings.auth_cache_entries_max),
            cards: TtlCache::new(ttl(settings.user_cache_ms), settings.user_cache_entries_max),
        })
    }

    /// Whether this token lets this user in on this device.
    pub async fn auth(&self, caller: Caller, token: &str, request_id: &str) -> Result<(), Error> {
        let _permit = self.auth_in_flight.acquire().await.expect("the semaphore is never closed");
        let message = AuthRequest { user_id: caller.user_id, device_id: caller.device_id, token: token.to_owned() };
        match self.users.clone().auth(request(message, request_id)).await {
            Ok(_) => Ok(()),
            Err(status) => Err(refusal_of_auth(status)),
        }
    }

    /// [`Business::auth`] for calls that come again and again: a good answer holds for a few seconds.
    pub async fn auth_cached(&self, caller: Caller, token: &str, request_id: &str) -> Result<(), Error> {
        let key = (caller, token.to_owned());
        if self.good_tokens.get(&key, Instant::now()).is_some() {
            return Ok(());
        }
        self.auth(caller, token, request_id).await?;
        self.good_tokens.put(key, (), Instant::now());
        Ok(())
    }

    /// The card of the sender of a message. One that cannot be had is just its ids: a message is not held up for a name.
    pub async fn sender_card(&self, sender: Caller, request_id: &str) -> logic::User {
        let card = match self.look_up(sender.user_id, request_id).await {
            Ok(Lookup::Card(card)) => card,
            Ok(Lookup::NotOffered) | Err(_) => logic::User { user_id: sender.user_id, ..logic::User::default() },
        };
        logic::User { device_id: sender.device_id, ..card }
    }

    /// Fails where the business knows its users, and this is none of them.
    pub async fn check_user(&self, user_id: u64, request_id: &str) -> Result<(), Error> {
        self.look_up(user_id, request_id).await.map(drop)
    }

    /// Fails where the business knows its users, and one of these is none of them.
    pub async fn check_users(&self, user_ids: &[u64], request_id: &str) -> Result<(), Error> {
        for user_ids in user_ids.chunks(USERS_PER_CALL_MAX) {
            let asked = user_ids.iter().map(|&user_id| (user_id, 0)).collect();
            let message = GetUsersRequest { user_ids: asked };
            let known = match self.users.clone().get_users(request(message, request_id)).await {
                Ok(reply) => reply.into_inner().users,
                Err(status) if status.code() == Code::Unimplemented => return Ok(()),
                Err(status) => return Err(failure("GetUsers", status)),
            };
            if let Some(&user_id) = user_ids.iter().find(|user_id| !known.contains_key(user_id)) {
                return Err(no_such_user(user_id));
            }
        }
        Ok(())
    }

    /// Lets the business answer a packet with a command of its own.
    pub async fn handle_command(
        &self,
        message: HandleCommandRequest,
        request_id: &str,
    ) -> Result<HandleCommandReply, Error> {
        match self.commands.clone().handle(request(message, request_id)).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) if status.code() == Code::Unimplemented => {
                Err(Error::Refused(ResultCode::UnknownCommand.into()))
            }
            Err(status) => Err(failure("Handle", status)),
        }
    }

    async fn look_up(&self, user_id: u64, request_id: &str) -> Result<Lookup, Error> {
        if let Some(lookup) = self.cards.get(&user_id, Instant::now()) {
            return Ok(lookup);
        }
        let lookup = match self.users.clone().get_user(request(GetUserRequest { user_id }, request_id)).await {
            Ok(reply) => reply.into_inner().user.map(to_card).map(Lookup::Card).ok_or_else(|| no_such_user(user_id))?,
            Err(status) => match status.code() {
                Code::Unimplemented => Lookup::NotOffered,
                Code::NotFound => return Err(no_such_user(user_id)),
                _ => return Err(failure("GetUser", status)),
            },
        };
        self.cards.put(user_id, lookup.clone(), Instant::now());
        Ok(lookup)
    }
}

fn no_such_user(user_id: u64) -> Error {
    Error::refused(ResultCode::UserNotFound, format!("there is no user {user_id}"))
}

fn to_card(user: gim_proto::business::User) -> logic::User {
    let size = user.nickname.len() + user.avatar_url.len() + user.extra.len();
    if size > CARD_BYTES_MAX {
        return logic::User { user_id: user.user_id, ..logic::User::default() };
    }
    logic::User {
        user_id: user.user_id,
        device_id: 0,
        nickname: user.nickname,
        avatar_url: user.avatar_url,
        extra: user.extra,
    }
}

fn request<T>(message: T, request_id: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !request_id.is_empty() {
        metadata::put(&mut request, metadata::REQUEST_ID, request_id);
    }
    request
}

/// Any answer that is a refusal means the token is not good; what is no answer says nothing about the token.
fn refusal_of_auth(status: Status) -> Error {
    let is_broken = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented);
    if is_broken || ResultCode::of_status(&status).is_retryable() {
        return failure("Auth", status);
    }
    Error::Refused(ResultCode::SignInAgain.into())
}

fn failure(call: &'static str, status: Status) -> Error {
    // A connection that breaks during the call is UNKNOWN with a source; UNKNOWN from the business itself has none.
    let is_cut_off = std::error::Error::source(&status).is_some();
    let code = if is_cut_off { ResultCode::TryAgainLater } else { ResultCode::of_status(&status) };
    match code {
        ResultCode::TryAgainLater => {
            counter!(names::BUSINESS_FAILED, "call" => call).increment(1);
            tracing::warn!(call, %status, "the business service is away");
            Error::refused(code, "the business service is away, try again later")
        }
        ResultCode::Internal => {
            counter!(names::BUSINESS_FAILED, "call" => call).increment(1);
            Error::Business { call, status }
        }
        _ => Error::Refused(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth_code(status: Status) -> ResultCode {
        refusal_of_auth(status).code()
    }

    #[test]
    fn a_refused_token_is_told_from_a_business_that_is_away_or_broken() {
        assert_eq!(auth_code(Status::unauthenticated("expired")), ResultCode::SignInAgain);
        assert_eq!(auth_code(Status::permission_denied("banned")), ResultCode::SignInAgain);
        assert_eq!(auth_code(Status::not_found("who?")), ResultCode::SignInAgain);
        assert_eq!(auth_code(Status::unavailable("down")), ResultCode::TryAgainLater);
        assert_eq!(auth_code(Status::cancelled("timeout")), ResultCode::TryAgainLater);
        assert_eq!(auth_code(Status::internal("bug")), ResultCode::Internal);
        assert_eq!(auth_code(Status::unimplemented("no Auth")), ResultCode::Internal);
    }

    #[test]
    fn a_card_that_would_not_fit_a_frame_is_bare() {
        let user = |extra: &str| gim_proto::business::User { user_id: 7, extra: extra.into(), ..Default::default() };
        assert_eq!(to_card(user("x")).extra, "x");
        let bare = to_card(user(&"x".repeat(CARD_BYTES_MAX + 1)));
        assert_eq!(bare, logic::User { user_id: 7, ..logic::User::default() });
    }
}
