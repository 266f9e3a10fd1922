//! The business service, as logic asks it: is this token good, who is this user, may she write to him, what about this
//! command.
//!
//! A backend that plugs in its own users implements `UserIntService/Auth` and nothing else: every other call may answer
//! UNIMPLEMENTED, and logic does without. Any task; calls go over one lazily connected channel.

mod asking;
mod blockers;
mod breaker;
mod hand_out;
mod may_add;
mod out_of_date;
mod permissions;
mod room_writers;
mod while_away;

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use gim_config::{
    grpc::{self, GrpcSettings, PeerChannel},
    outage::Outage,
};
use gim_proto::{
    ResultCode,
    business::{
        AuthRequest, GetUserRequest, GetUsersRequest, HandleCommandReply, HandleCommandRequest, MayWriteRequest,
        command_int_service_client::CommandIntServiceClient, push_int_service_client::PushIntServiceClient,
        user_int_service_client::UserIntServiceClient,
    },
    logic, metadata,
};
use metrics::counter;
use tokio::sync::Semaphore;
use tonic::{Code, Request, Status};

pub use self::hand_out::HandOutAnswer;
use self::{
    breaker::Breaker,
    permissions::{Permission, Permissions},
    while_away::cache,
};
use super::cache::TtlCache;
use crate::{
    domain::caller::Caller,
    metrics as names,
    settings::{BusinessSettings, WhileAway},
};

/// Larger cards are cut down to the bare ids, so that a message that is within its limit still fits a frame.
const CARD_BYTES_MAX: usize = 2048;

/// Users asked about in one call: far below what a message takes, whatever their cards are.
const USERS_PER_CALL_MAX: usize = 200;

/// Why the business did not say yes.
#[derive(Debug, thiserror::Error)]
pub enum BusinessError {
    /// It says no, or is away; the caller may read what it says.
    #[error("{}", .0.message())]
    Refused(Status),
    /// It did not say anything.
    #[error("the business service {0}, try again later")]
    Unanswered(Silence),
    /// It failed in a way that is no answer.
    #[error("business {call}: {status}")]
    Failed {
        /// Which call.
        call: &'static str,
        /// What it said.
        status: Status,
    },
}

/// How the business says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// A call does not get there, or breaks off.
    Away,
    /// It got there, and was not answered in time.
    Late,
}

impl fmt::Display for Silence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Away => "is away",
            Self::Late => "did not answer in time",
        })
    }
}

impl BusinessError {
    fn refused(code: ResultCode, message: impl Into<String>) -> Self {
        Self::Refused(code.status(message))
    }

    /// A refusal with the code that the business gave.
    fn of_business(code: i32, message: &str) -> Self {
        Self::Refused(ResultCode::status_of_business(code, message))
    }

    /// The result code that stands for it.
    pub fn code(&self) -> ResultCode {
        match self {
            Self::Refused(status) => ResultCode::of_status(status),
            Self::Unanswered(_) => ResultCode::TryAgainLater,
            Self::Failed { .. } => ResultCode::Internal,
        }
    }
}

impl From<ResultCode> for BusinessError {
    fn from(code: ResultCode) -> Self {
        Self::Refused(code.into())
    }
}

/// The client.
#[derive(Debug)]
pub struct Business {
    /// None where there is no business: then every token must be one that is checked here.
    clients: Option<Clients>,
    /// The same, for whatever is called of it.
    channel: Option<PeerChannel>,
    /// Where it is, as the settings say it.
    name: String,
    call_timeout: Duration,
    /// As the log tells of it, whichever call fails.
    outage: Outage,
    /// The same of calls that got there and were not answered in time.
    late: Outage,
    /// The same of what it says itself that it cannot do now: its database may be away.
    put_off: Outage,
    auth_in_flight: Semaphore,
    calls_in_flight: Semaphore,
    commands_in_flight: Semaphore,
    good_tokens: TtlCache<(Caller, String), ()>,
    /// Counts what had to be forgotten: an answer that was on its way meanwhile may be out of date, and is not kept.
    forgotten: AtomicU64,
    cards: TtlCache<u64, CardAnswer>,
    get_user: Breaker,
    asks_may_write: bool,
    while_away: WhileAway,
    /// From whom, to whom.
    may_write: Permissions,
    /// Who, into which room.
    room_writers: Permissions,
    /// Something while it is known that MayAdd is not offered.
    no_may_add: TtlCache<(), ()>,
    /// The same of GetBlockers.
    no_blockers: TtlCache<(), ()>,
}

#[derive(Debug, Clone)]
struct Clients {
    users: UserIntServiceClient<PeerChannel>,
    commands: CommandIntServiceClient<PeerChannel>,
    pushes: PushIntServiceClient<PeerChannel>,
}

/// What the business knows of a user.
#[derive(Debug, Clone, PartialEq)]
pub enum CardAnswer {
    /// This card (without device).
    Card(logic::User),
    /// It keeps its users to itself.
    NotOffered,
}

impl Business {
    /// A client that connects at its first call.
    pub fn new(settings: &BusinessSettings, grpc: &GrpcSettings) -> Result<Self, String> {
        let call_timeout = Duration::from_millis(settings.call_timeout_ms);
        let open = || grpc::channel_to_any(&settings.endpoint, grpc, Some(call_timeout));
        let channel = (!settings.endpoint.is_off()).then(open).transpose()?;
        let clients = channel.clone().map(|channel| Clients {
            users: UserIntServiceClient::new(channel.clone()),
            commands: CommandIntServiceClient::new(channel.clone()),
            pushes: PushIntServiceClient::new(channel),
        });
        let ttl = Duration::from_millis;
        Ok(Self {
            clients,
            channel,
            name: settings.endpoint.to_string(),
            call_timeout,
            outage: Outage::of("the business service"),
            late: Outage::of_late_answers("the business service"),
            put_off: Outage::of_put_off_calls("the business service"),
            auth_in_flight: Semaphore::new(settings.auth_in_flight_max),
            calls_in_flight: Semaphore::new(settings.calls_in_flight_max),
            commands_in_flight: Semaphore::new(settings.commands_in_flight_max),
            good_tokens: TtlCache::new(ttl(settings.auth_cache_ms), settings.auth_cache_entries_max),
            forgotten: AtomicU64::new(0),
            cards: cache(settings, settings.user_cache_ms, settings.user_cache_entries_max),
            get_user: Breaker::default(),
            asks_may_write: settings.asks_may_write,
            while_away: settings.while_away,
            may_write: Permissions::new("MayWrite", settings),
            room_writers: Permissions::new("MayWriteToRoom", settings),
            no_may_add: TtlCache::new(ttl(settings.may_write_cache_ms), 1),
            no_blockers: TtlCache::new(ttl(settings.may_write_cache_ms), 1),
        })
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.clients.is_some()
    }

    /// The way to it, where there is one.
    pub fn channel(&self) -> Option<PeerChannel> {
        self.channel.clone()
    }

    /// Whether this token lets this user in on this device.
    pub async fn auth(&self, caller: Caller, token: &str, request_id: &str) -> Result<(), BusinessError> {
        let Some(clients) = &self.clients else { return Err(ResultCode::SignInAgain.into()) };
        let message = AuthRequest { user_id: caller.user_id, device_id: caller.device_id, token: token.to_owned() };
        let mut users = clients.users.clone();
        self.ask(&self.auth_in_flight, None, users.auth(request(message, request_id))).await.map_err(refusal_of_auth)
    }

    /// For calls that come again and again: a token that `check` found good holds for a few seconds.
    pub async fn cached<E>(
        &self,
        caller: Caller,
        token: &str,
        check: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let key = (caller, token.to_owned());
        if self.good_tokens.get(&key, Instant::now()).is_some() {
            return Ok(());
        }
        let forgotten = self.forgotten.load(Ordering::Acquire);
        check.await?;
        if self.forgotten.load(Ordering::Acquire) == forgotten {
            self.good_tokens.put(key, (), Instant::now());
        }
        Ok(())
    }

    /// Fails where a user may not write to another one, or the business knows its users and the other is none of them.
    pub async fn check_may_write(
        &self,
        from_user_id: u64,
        to_user_id: u64,
        request_id: &str,
    ) -> Result<(), BusinessError> {
        if from_user_id == to_user_id || !self.asks_may_write {
            return self.unless_allowed(self.check_user(to_user_id, request_id).await);
        }
        match self.permission(from_user_id, to_user_id, request_id).await? {
            Permission::Given => Ok(()),
            Permission::Denied(code, message) => match BusinessError::of_business(code, &message) {
                error if error.code() == ResultCode::UserNotFound => Err(no_such_user(to_user_id)),
                error => Err(error),
            },
            Permission::NotOffered => self.unless_allowed(self.check_user(to_user_id, request_id).await),
        }
    }

    async fn permission(
        &self,
        from_user_id: u64,
        to_user_id: u64,
        request_id: &str,
    ) -> Result<Permission, BusinessError> {
        let ask = async |clients: &Clients| {
            let question = request(MayWriteRequest { from_user_id, to_user_id }, request_id);
            let mut users = clients.users.clone();
            self.ask(&self.calls_in_flight, Some(&self.may_write.breaker), users.may_write(question)).await
        };
        self.remembered(&self.may_write, (from_user_id, to_user_id), ask).await
    }

    /// The card of the sender of a message. One that cannot be had is just its ids: a message is not held up for a name.
    pub async fn sender_card(&self, sender: Caller, request_id: &str) -> logic::User {
        let card = match self.look_up(sender.user_id, false, request_id).await {
            Ok(CardAnswer::Card(card)) => card,
            Ok(CardAnswer::NotOffered) | Err(_) => logic::User { user_id: sender.user_id, ..logic::User::default() },
        };
        logic::User { device_id: sender.device_id, ..card }
    }

    /// Fails where the business knows its users, and this is none of them.
    pub async fn check_user(&self, user_id: u64, request_id: &str) -> Result<(), BusinessError> {
        let needs_answer = self.while_away != WhileAway::Allow;
        self.look_up(user_id, needs_answer, request_id).await.map(drop)
    }

    /// Fails where the business knows its users, and one of these is none of them.
    pub async fn check_users(&self, user_ids: &[u64], request_id: &str) -> Result<(), BusinessError> {
        let Some(clients) = &self.clients else { return Ok(()) };
        for user_ids in user_ids.chunks(USERS_PER_CALL_MAX) {
            let asked = user_ids.iter().map(|&user_id| (user_id, 0)).collect();
            let message = GetUsersRequest { user_ids: asked };
            let known = match self
                .ask(&self.calls_in_flight, None, clients.users.clone().get_users(request(message, request_id)))
                .await
            {
                Ok(reply) => reply.users,
                Err(status) if status.code() == Code::Unimplemented => return Ok(()),
                Err(status) => return Err(failure("GetUsers", status)),
            };
            if let Some(&user_id) = user_ids.iter().find(|user_id| !known.contains_key(user_id)) {
                return Err(no_such_user(user_id));
            }
        }
        Ok(())
    }

    /// Those of the users whom the business knows, as far as it tells.
    pub async fn users(&self, user_ids: &[u64]) -> HashMap<u64, gim_proto::business::User> {
        let mut known = HashMap::new();
        let Some(clients) = &self.clients else { return known };
        for user_ids in user_ids.chunks(USERS_PER_CALL_MAX) {
            let message = GetUsersRequest { user_ids: user_ids.iter().map(|&user_id| (user_id, 0)).collect() };
            let mut users = clients.users.clone();
            match self.ask(&self.calls_in_flight, None, users.get_users(request(message, ""))).await {
                Ok(reply) => known.extend(reply.users),
                // Members are listed without their names then.
                Err(status) => {
                    tracing::debug!(%status, "users cannot be looked up");
                    break;
                }
            }
        }
        known
    }

    /// Lets the business answer a packet with a command of its own.
    pub async fn handle_command(
        &self,
        message: HandleCommandRequest,
        request_id: &str,
    ) -> Result<HandleCommandReply, BusinessError> {
        let Some(clients) = &self.clients else { return Err(ResultCode::UnknownCommand.into()) };
        let mut commands = clients.commands.clone();
        match self.ask(&self.commands_in_flight, None, commands.handle(request(message, request_id))).await {
            Ok(reply) => Ok(reply),
            Err(status) if status.code() == Code::Unimplemented => Err(ResultCode::UnknownCommand.into()),
            Err(status) => Err(failure("Handle", status)),
        }
    }

    async fn look_up(&self, user_id: u64, needs_answer: bool, request_id: &str) -> Result<CardAnswer, BusinessError> {
        match self.cards.get(&user_id, Instant::now()) {
            Some(answer) => Ok(answer),
            None => Box::pin(self.ask_for_card(user_id, needs_answer, request_id)).await,
        }
    }

    async fn ask_for_card(
        &self,
        user_id: u64,
        needs_answer: bool,
        request_id: &str,
    ) -> Result<CardAnswer, BusinessError> {
        let Some(clients) = &self.clients else { return Ok(CardAnswer::NotOffered) };
        if !self.get_user.is_worth_a_try(Instant::now()) {
            match self.card_meanwhile(user_id) {
                Some(card) => return Ok(card),
                None if !needs_answer => return Err(BusinessError::Unanswered(Silence::Away)),
                None => {}
            }
        }
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let question = request(GetUserRequest { user_id }, request_id);
        let mut users = clients.users.clone();
        let answer = match self.ask(&self.calls_in_flight, Some(&self.get_user), users.get_user(question)).await {
            Ok(reply) => reply.user.map(to_card).map(CardAnswer::Card).ok_or_else(|| no_such_user(user_id))?,
            Err(status) => match status.code() {
                Code::Unimplemented => CardAnswer::NotOffered,
                Code::NotFound => {
                    self.cards.forget(&user_id);
                    return Err(no_such_user(user_id));
                }
                _ => match failure("GetUser", status) {
                    error @ BusinessError::Unanswered(_) => return self.card_meanwhile(user_id).ok_or(error),
                    error => return Err(error),
                },
            },
        };
        if self.forgotten.load(Ordering::Acquire) == forgotten {
            self.cards.put(user_id, answer.clone(), Instant::now());
        }
        Ok(answer)
    }
}

fn no_such_user(user_id: u64) -> BusinessError {
    BusinessError::refused(ResultCode::UserNotFound, format!("there is no user {user_id}"))
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

/// Any answer that is a refusal means the token is not good, or has a code of the business's own; what is no answer says
/// nothing about the token.
fn refusal_of_auth(status: Status) -> BusinessError {
    if ResultCode::own_of_business(&status).is_some() {
        return BusinessError::Refused(status);
    }
    let is_broken = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented);
    if is_broken || ResultCode::is_untrusted(&status) || ResultCode::of_status(&status).is_retryable() {
        return failure("Auth", status);
    }
    ResultCode::SignInAgain.into()
}

/// Whether a status says nothing about what was asked. A connection that breaks during the call is UNKNOWN with a source; UNKNOWN from
/// the business itself has none.
fn is_away(status: &Status) -> bool {
    let is_cut_off = std::error::Error::source(status).is_some();
    let is_judged = ResultCode::own_of_business(status).is_some();
    !is_judged
        && (is_cut_off
            || ResultCode::is_untrusted(status)
            || ResultCode::of_status(status) == ResultCode::TryAgainLater)
}

fn failure(call: &'static str, status: Status) -> BusinessError {
    if ResultCode::own_of_business(&status).is_some() {
        return BusinessError::Refused(status);
    }
    if is_away(&status) {
        counter!(names::BUSINESS_FAILED, "call" => call).increment(1);
        let silence = if status.code() == Code::DeadlineExceeded { Silence::Late } else { Silence::Away };
        tracing::debug!(call, %status, "the business service {silence}");
        return BusinessError::Unanswered(silence);
    }
    match ResultCode::of_status(&status) {
        ResultCode::Internal => {
            counter!(names::BUSINESS_FAILED, "call" => call).increment(1);
            BusinessError::Failed { call, status }
        }
        _ => BusinessError::Refused(status),
    }
}

#[cfg(test)]
mod tests;
