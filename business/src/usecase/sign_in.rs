//! Signing in with a phone number and a code, which gives the device a token and makes the user at the first time.

use std::{sync::Arc, time::Duration};

use gim_proto::{ResultCode, logic::Device};

use super::{
    attempt_counts::{AttemptBounds, AttemptCounts, Origin, TooMany},
    tokens::Tokens,
};
use crate::{
    domain::{code::CodeCheck, token::NewToken},
    error::UseCaseError,
    jwt::JwtMaker,
    logic::Logic,
    metrics::SIGN_INS_TOTAL,
    settings::SignInSettings,
    store::Store,
};

/// Pauses between the tries to tell logic that the token of before is worthless.
const REVOCATION_PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The way in. Clones share everything.
#[derive(Clone)]
pub struct SignIns {
    store: Store,
    logic: Logic,
    tokens: Tokens,
    code_check: Arc<dyn CodeCheck>,
    attempts: Arc<AttemptCounts>,
    token_ttl_ms: i64,
    jwt: Option<Arc<JwtMaker>>,
}

/// Who asks for a token, by what was said and where from.
#[derive(Debug, Clone, Copy)]
pub struct Applicant<'a> {
    pub phone_number: &'a str,
    pub code: &'a str,
    /// Where it is known.
    pub origin: Option<Origin>,
    /// Whether a device that somebody else is signed in on is refused, and not given another id.
    pub on_this_device_only: bool,
    /// Who says, with a token, that it is their device.
    pub former: Option<Former<'a>>,
}

/// Who was signed in on a device before, as its app says that signs in somebody else there.
#[derive(Debug, Clone, Copy)]
pub struct Former<'a> {
    pub user_id: u64,
    pub device_id: u64,
    pub token: &'a str,
}

/// What a user gets for the right code.
pub struct SignedIn {
    pub is_new: bool,
    pub user_id: u64,
    pub device_id: u64,
    /// The only time that the token is known here.
    pub token: String,
}

impl SignIns {
    /// The way in that `settings` describe.
    pub fn new(
        settings: &SignInSettings,
        jwt: Option<JwtMaker>,
        store: Store,
        logic: Logic,
        code_check: Arc<dyn CodeCheck>,
    ) -> Self {
        let attempts = AttemptCounts::new(AttemptBounds {
            per_number_max: settings.wrong_codes_max,
            per_origin_max: settings.wrong_codes_per_address_max,
            window_s: settings.wrong_codes_window_s,
            tracked_max: settings.tracked_numbers_max,
        });
        let token_ttl_ms = i64::from(settings.token_ttl_days) * DAY_MS;
        let (attempts, jwt) = (Arc::new(attempts), jwt.map(Arc::new));
        let tokens = Tokens::new(store.clone(), logic.clone());
        Self { store, logic, tokens, code_check, attempts, token_ttl_ms, jwt }
    }

    /// Checks the code, saves the device with logic (which gives it an id where it has none), and only then writes the
    /// user and the token in one transaction: whatever fails before leaves no user behind, and the call can be
    /// repeated. What was let in with the token before it is ended, also where logic judges tokens by itself.
    pub async fn sign_in(
        &self,
        applicant: Applicant<'_>,
        device: Device,
        request_id: &str,
        now_ms: i64,
    ) -> Result<SignedIn, UseCaseError> {
        let phone_number = applicant.phone_number;
        self.begin(applicant, now_ms)?;
        let is_handed_over = applicant.on_this_device_only && self.is_handed_over(applicant, &device, now_ms).await?;
        self.check_code(applicant).await?;
        if let Some(Former { user_id, device_id, .. }) = applicant.former.filter(|_| is_handed_over) {
            // Logic first: where it stays away the token is still good, and a repeated sign-in asks anew.
            self.revoke_former(user_id, device_id, request_id, now_ms).await?;
            self.tokens.revoke(user_id, device_id, request_id, now_ms).await?;
        }
        let device = self.own_device(device, phone_number, now_ms).await?;
        let device_id = self.logic.save_device(device, request_id).await?;
        let (jwt, token_ttl_ms) = (self.jwt.clone(), self.token_ttl_ms);
        let make = move |user_id| new_token(jwt.as_deref(), user_id, device_id, now_ms, token_ttl_ms);
        let (signed_in, token) = self.store.sign_in(phone_number, device_id, now_ms, make).await?;
        let (user_id, is_new) = (signed_in.user_id, signed_in.is_new);
        if signed_in.has_replaced {
            self.revoke_former(user_id, device_id, request_id, now_ms).await?;
        }
        count(if is_new { "new_user" } else { "known_user" });
        tracing::debug!(user_id, device_id, is_new, "signed in");
        Ok(SignedIn { is_new, user_id, device_id, token })
    }

    /// Has logic refuse the token of before, and close what was let in with it. A logic that is away for a moment is asked again,
    /// because the code may be used up; one that stays away ends the sign-in: who is told of a new token may rely on the end
    /// of the old one, which may be a stolen one that logic judges by itself. A repeated sign-in asks anew.
    async fn revoke_former(
        &self,
        user_id: u64,
        device_id: u64,
        request_id: &str,
        now_ms: i64,
    ) -> Result<(), UseCaseError> {
        for pause in REVOCATION_PAUSES {
            match self.logic.revoke(user_id, device_id, now_ms, request_id).await {
                Err(error) if error.may_pass() => {
                    tracing::debug!(%error, user_id, device_id, "a revocation is tried again");
                    tokio::time::sleep(pause).await;
                }
                done => return Ok(done?),
            }
        }
        Ok(self.logic.revoke(user_id, device_id, now_ms, request_id).await?)
    }

    /// Whether somebody else is signed in on the device, and hands it over: whoever shows the token of that user could as well sign out.
    ///
    /// # Errors
    /// Where it is somebody's who does not.
    async fn is_handed_over(
        &self,
        applicant: Applicant<'_>,
        device: &Device,
        now_ms: i64,
    ) -> Result<bool, UseCaseError> {
        let phone_number = applicant.phone_number;
        let others = match device.id {
            0 => Vec::new(),
            device_id => self.store.others_on_device(device_id, phone_number, now_ms).await?,
        };
        if others.is_empty() {
            return Ok(false);
        }
        let former = applicant.former.filter(|former| former.device_id == device.id && others == [former.user_id]);
        if let Some(Former { user_id, device_id, token }) = former
            && self.tokens.is_good(user_id, device_id, token, now_ms).await?
        {
            return Ok(true);
        }
        // As the attempt goes on counting for whoever asks, nobody finds out about devices any faster than about codes.
        self.attempts.give_back_number(phone_number);
        count("other_device");
        let message = "device_id: somebody else is signed in on this device: show their token, or register it anew";
        Err(UseCaseError::refused(ResultCode::DeviceNotFound, message))
    }

    /// A device that somebody else is signed in on gets an id of its own for this user, which the reply tells: ids can be
    /// guessed, and nobody shall take over what is known of, or pushed to, another one's device.
    async fn own_device(&self, device: Device, phone_number: &str, now_ms: i64) -> Result<Device, UseCaseError> {
        let is_taken =
            device.id != 0 && !self.store.others_on_device(device.id, phone_number, now_ms).await?.is_empty();
        Ok(if is_taken { Device { id: 0, ..device } } else { device })
    }

    /// Counts an attempt that is within the bounds.
    fn begin(&self, applicant: Applicant<'_>, now_ms: i64) -> Result<(), UseCaseError> {
        let Applicant { phone_number, origin, .. } = applicant;
        if let Err(too_many) = self.attempts.begin(phone_number, origin, now_ms) {
            count("too_many_attempts");
            let (message, wait) = match too_many {
                TooMany::OfNumber(wait) => ("too many wrong codes for this phone number, try again later", wait),
                TooMany::OfOrigin(wait) => ("too many wrong codes from this address, try again later", wait),
            };
            return Err(UseCaseError::Later { message, wait });
        }
        Ok(())
    }

    async fn check_code(&self, applicant: Applicant<'_>) -> Result<(), UseCaseError> {
        let Applicant { phone_number, code, origin, .. } = applicant;
        if !self.code_check.check(phone_number, code).await? {
            count("wrong_code");
            return Err(ResultCode::WrongCode.into());
        }
        self.attempts.succeed(phone_number, origin);
        Ok(())
    }
}

fn new_token(jwt: Option<&JwtMaker>, user_id: u64, device_id: u64, now_ms: i64, token_ttl_ms: i64) -> NewToken {
    match jwt {
        None => NewToken::make(now_ms, token_ttl_ms),
        Some(jwt) => {
            let expires_at_ms = now_ms.saturating_add(token_ttl_ms);
            NewToken::of(jwt.make(user_id, device_id, now_ms, expires_at_ms), now_ms, expires_at_ms)
        }
    }
}

fn count(result: &'static str) {
    metrics::counter!(SIGN_INS_TOTAL, "result" => result).increment(1);
}
