//! Who may write to whom, or into which room: what one call of the business said of that, and says now. Any task.

use std::{sync::atomic::Ordering, time::Instant};

use gim_proto::{ResultCode, business::MayWriteReply};
use tonic::{Code, Status};

use super::{Business, BusinessError, Clients, TtlCache, breaker::Breaker, failure, while_away::cache};
use crate::settings::BusinessSettings;

/// What the business says about one user's writing to another one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Permission {
    Given,
    /// With the code and the sentence that the business gave.
    Denied(i32, String),
    /// It has no opinion on anybody.
    NotOffered,
}

/// In place of a pair in the cache: all of them.
pub(super) const EVERYBODY: (u64, u64) = (0, 0);

/// What one call says of pairs.
#[derive(Debug)]
pub(super) struct Permissions {
    call: &'static str,
    pub(super) answers: TtlCache<(u64, u64), Permission>,
    pub(super) breaker: Breaker,
}

impl Permissions {
    pub(super) fn new(call: &'static str, settings: &BusinessSettings) -> Self {
        let answers = cache(settings, settings.may_write_cache_ms, settings.may_write_cache_entries_max);
        Self { call, answers, breaker: Breaker::default() }
    }
}

impl Business {
    /// What the business says, or said a moment ago, about a pair; nothing where it does not offer the call.
    pub(super) async fn remembered(
        &self,
        permissions: &Permissions,
        pair: (u64, u64),
        ask: impl AsyncFnOnce(&Clients) -> Result<MayWriteReply, Status>,
    ) -> Result<Permission, BusinessError> {
        let Permissions { call, answers, breaker } = permissions;
        let now = Instant::now();
        if let Some(permission) = answers.get(&pair, now).or_else(|| answers.get(&EVERYBODY, now)) {
            return Ok(permission);
        }
        let Some(clients) = &self.clients else { return Ok(Permission::NotOffered) };
        if !breaker.is_worth_a_try(now)
            && let Some(permission) = self.permission_meanwhile(answers, pair)
        {
            return Ok(permission);
        }
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let permission = match Box::pin(ask(clients)).await {
            Ok(reply) => to_permission(reply),
            Err(status) if status.code() == Code::Unimplemented => {
                answers.put(EVERYBODY, Permission::NotOffered, now);
                return Ok(Permission::NotOffered);
            }
            Err(status) => match failure(call, status) {
                error @ BusinessError::Unanswered(_) => return self.permission_meanwhile(answers, pair).ok_or(error),
                error => return Err(error),
            },
        };
        if !permission.is_lasting() {
            answers.forget(&pair);
        } else if self.forgotten.load(Ordering::Acquire) == forgotten {
            answers.put(pair, permission.clone(), now);
        }
        Ok(permission)
    }
}

impl Permission {
    /// Whether asking again at once would be pointless.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Given | Self::NotOffered => true,
            Self::Denied(code, _) => !ResultCode::from_number(*code).is_some_and(ResultCode::is_retryable),
        }
    }
}

pub(super) fn to_permission(reply: MayWriteReply) -> Permission {
    match reply.code {
        0 => Permission::Given,
        code => Permission::Denied(code, reply.message),
    }
}
