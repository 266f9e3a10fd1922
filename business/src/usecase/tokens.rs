//! Checking a token: the call that every sign-in of a connection and every call of a client waits for. And its end.

use gim_proto::ResultCode;

use crate::{
    error::UseCaseError,
    logic::Logic,
    metrics::{REVOCATIONS_TOTAL, TOKEN_CHECKS_TOTAL},
    store::Store,
};

/// The check of tokens. Clones share the store.
#[derive(Debug, Clone)]
pub struct Tokens {
    store: Store,
    logic: Logic,
}

impl Tokens {
    /// Checks against `store`; `logic` is told what is revoked.
    pub fn new(store: Store, logic: Logic) -> Self {
        Self { store, logic }
    }

    /// Ends the token of a user's device, or those of all her devices ([`ALL_DEVICES`](crate::store::ALL_DEVICES)), and has
    /// the connections closed that were let in with them. Where only the second step fails the call can be repeated.
    pub async fn revoke(
        &self,
        user_id: u64,
        device_id: u64,
        request_id: &str,
        now_ms: i64,
    ) -> Result<(), UseCaseError> {
        self.store.revoke(user_id, device_id).await?;
        self.logic.revoke(user_id, device_id, now_ms, request_id).await?;
        metrics::counter!(REVOCATIONS_TOTAL).increment(1);
        tracing::info!(user_id, device_id, "revoked");
        Ok(())
    }

    /// Succeeds where the token lets this user in on this device. An unknown user, an unknown device, a wrong token and
    /// an expired one are refused alike, so that nobody learns which it was.
    pub async fn check(&self, user_id: u64, device_id: u64, token: &str, now_ms: i64) -> Result<(), UseCaseError> {
        let is_admitted = self.is_good(user_id, device_id, token, now_ms).await?;
        let result = if is_admitted { "ok" } else { "refused" };
        metrics::counter!(TOKEN_CHECKS_TOTAL, "result" => result).increment(1);
        if is_admitted { Ok(()) } else { Err(ResultCode::SignInAgain.into()) }
    }

    /// Whether the token lets this user in on this device.
    pub async fn is_good(&self, user_id: u64, device_id: u64, token: &str, now_ms: i64) -> Result<bool, UseCaseError> {
        let stored = self.store.token(user_id, device_id).await?;
        Ok(stored.is_some_and(|stored| stored.admits(token, now_ms)))
    }
}

#[cfg(test)]
mod tests {
    use gim_config::grpc::GrpcSettings;

    use super::*;
    use crate::{domain::token::NewToken, settings::LogicSettings, store::testing::temporary};

    #[tokio::test]
    async fn a_token_lets_in_its_user_on_its_device_until_it_expires() {
        let (_folder, store) = temporary().await;
        let token = NewToken::make(0, 1_000);
        let user_id = store.admit("1", 7, &token.stored).await.unwrap().user_id;
        let tokens = Tokens::new(store, Logic::new(&LogicSettings::default(), &GrpcSettings::default()).unwrap());
        tokens.check(user_id, 7, &token.text, 999).await.unwrap();
        let refusals = [
            tokens.check(user_id, 7, &token.text, 1_000).await,
            tokens.check(user_id, 8, &token.text, 999).await,
            tokens.check(user_id + 1, 7, &token.text, 999).await,
            tokens.check(user_id, 7, &NewToken::make(0, 1_000).text, 999).await,
        ];
        for refusal in refusals {
            let status = tonic::Status::from(refusal.unwrap_err());
            assert_eq!(
                (ResultCode::of_status(&status), status.message()),
                (ResultCode::SignInAgain, "please sign in again")
            );
        }
    }
}
