//! May a user put others into a group: the business is asked about all of them at once.

use std::time::Instant;

use futures_util::future::try_join_all;
use gim_proto::{
    ResultCode,
    business::{MayAddRequest, MayWriteReply},
};
use tonic::Code;

use super::{
    Business, BusinessError, Clients, failure, no_such_user,
    permissions::{Permission, to_permission},
    request,
};

/// Users asked about in one call: the members of a normal group.
const USERS_PER_CALL_MAX: usize = 500;

/// Where each user has to be asked about by herself: so many at the same time for one request.
const SINGLE_CALLS_MAX: usize = 16;

impl Business {
    /// Fails where a user may not put one of these into a group (0: a new one). A business without MayAdd lets whoever may
    /// write to a user add her; one that says nothing about that either lets everybody add whom it knows.
    pub async fn check_may_add(
        &self,
        from_user_id: u64,
        user_ids: &[u64],
        group_id: u64,
        request_id: &str,
    ) -> Result<(), BusinessError> {
        let others: Vec<u64> = user_ids.iter().copied().filter(|&user_id| user_id != from_user_id).collect();
        let Some(clients) = self.clients.as_ref().filter(|_| self.asks_may_write && !others.is_empty()) else {
            return self.check_users(user_ids, request_id).await;
        };
        for asked in others.chunks(USERS_PER_CALL_MAX) {
            let is_offered = self.no_may_add.get(&(), Instant::now()).is_none()
                && self.ask_may_add(clients, from_user_id, asked, group_id, request_id).await?;
            if !is_offered {
                return self.check_may_write_to_all(from_user_id, &others, request_id).await;
            }
        }
        Ok(())
    }

    /// Fails where one of these may not be added; whether the business has an opinion on that.
    async fn ask_may_add(
        &self,
        clients: &Clients,
        from_user_id: u64,
        user_ids: &[u64],
        group_id: u64,
        request_id: &str,
    ) -> Result<bool, BusinessError> {
        let message = MayAddRequest { from_user_id, user_ids: user_ids.to_vec(), group_id };
        let question = request(message, request_id);
        let refused = match self.ask(&self.calls_in_flight, None, clients.users.clone().may_add(question)).await {
            Ok(reply) => reply.refused,
            Err(status) if status.code() == Code::Unimplemented => {
                self.no_may_add.put((), (), Instant::now());
                return Ok(false);
            }
            Err(status) => return Err(failure("MayAdd", status)),
        };
        let first = refused.into_iter().filter(|(_, reply)| reply.code != 0).min_by_key(|(user_id, _)| *user_id);
        first.map_or(Ok(true), |(user_id, reply)| Err(refusal_of(user_id, reply)))
    }

    async fn check_may_write_to_all(
        &self,
        from_user_id: u64,
        user_ids: &[u64],
        request_id: &str,
    ) -> Result<(), BusinessError> {
        for asked in user_ids.chunks(SINGLE_CALLS_MAX) {
            let permissions = asked.iter().copied().map(|user_id| async move {
                let permission = self.permission(from_user_id, user_id, request_id).await?;
                Ok::<_, BusinessError>((user_id, permission))
            });
            for (user_id, permission) in try_join_all(permissions).await? {
                match permission {
                    Permission::Given => {}
                    Permission::Denied(code, message) => {
                        return Err(refusal_of(user_id, MayWriteReply { code, message }));
                    }
                    Permission::NotOffered => return self.check_users(user_ids, request_id).await,
                }
            }
        }
        Ok(())
    }
}

/// The refusal that a business gave about one of several users.
fn refusal_of(user_id: u64, reply: MayWriteReply) -> BusinessError {
    if reply.code == ResultCode::UserNotFound.number() {
        return no_such_user(user_id);
    }
    let sentence = match to_permission(reply.clone()) {
        Permission::Denied(_, message) if !message.is_empty() => message,
        _ => ResultCode::from_number(reply.code).unwrap_or(ResultCode::NotAllowed).text().to_owned(),
    };
    BusinessError::of_business(reply.code, &format!("user {user_id}: {sentence}"))
}
