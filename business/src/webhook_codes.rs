//! Sign-in codes that a webhook of the operator's sends on, by text message as a rule: made here, kept as their HMAC until they expire,
//! checked here.
//!
//! On Tokio. Always holds: a code is stored before anybody can type it in, and stands in no log line.

use std::time::Duration;

use bytes::Bytes;
use gim_config::webhook::{Secret, Webhook, WebhookError};
use serde::Serialize;

use crate::{
    clock,
    domain::code::{CodeCheck, CodeCheckError, CodeSendError, SentCode},
    settings::SignInSettings,
    store::Store,
};

/// A used code is good for so long, so that a call whose answer was lost can be repeated.
const REPEAT_MS: i64 = 60_000;

/// Makes, sends and checks codes.
pub struct WebhookCodes {
    webhook: Webhook,
    secret: Secret,
    store: Store,
    digits: u32,
    ttl_s: u32,
}

/// What the webhook gets.
#[derive(Debug, Serialize)]
struct Event<'a> {
    r#type: &'static str,
    data: SignInCode<'a>,
}

#[derive(Debug, Serialize)]
struct SignInCode<'a> {
    phone_number: &'a str,
    code: &'a str,
    valid_s: u32,
    request_id: &'a str,
}

impl WebhookCodes {
    /// The webhook of the settings, if they have one.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn new(settings: &SignInSettings, store: &Store) -> Result<Option<Self>, String> {
        if settings.code_webhook.is_empty() {
            return Ok(None);
        }
        let secret = Secret::new(&settings.code_webhook_secret)
            .map_err(|problem| format!("sign_in.code_webhook_secret: {problem}"))?;
        let timeout = Duration::from_millis(settings.code_webhook_timeout_ms);
        let webhook = Webhook::new(&settings.code_webhook, secret.clone(), timeout)
            .map_err(|problem| format!("sign_in.code_webhook: {problem}"))?;
        let SignInSettings { code_digits: digits, code_ttl_s: ttl_s, .. } = *settings;
        Ok(Some(Self { webhook, secret, store: store.clone(), digits, ttl_s }))
    }

    fn hash(&self, phone_number: &str, code: &str) -> [u8; 32] {
        self.secret.digest(&format!("sign-in code\n{phone_number}\n{code}"))
    }
}

#[tonic::async_trait]
impl CodeCheck for WebhookCodes {
    async fn check(&self, phone_number: &str, code: &str) -> Result<bool, CodeCheckError> {
        let now_ms = clock::now_ms();
        let used = self.store.use_code(phone_number, self.hash(phone_number, code), now_ms, now_ms + REPEAT_MS).await;
        used.map_err(|error| CodeCheckError(error.to_string()))
    }

    async fn send(&self, phone_number: &str, request_id: &str) -> Result<SentCode, CodeSendError> {
        let away = |problem: String| CodeSendError::Away(problem);
        let place = self.webhook.place().map_err(|error| away(error.to_string()))?;
        let (number, digits) = (rand::random::<u64>() % 10_u64.pow(self.digits), self.digits as usize);
        let code = format!("{number:0digits$}");
        let (now_ms, valid_s) = (clock::now_ms(), self.ttl_s);
        let expires_at_ms = now_ms + i64::from(valid_s) * 1_000;
        let hash = self.hash(phone_number, &code);
        self.store
            .put_code(phone_number, hash, now_ms, expires_at_ms)
            .await
            .map_err(|error| away(error.to_string()))?;
        let id = format!("msg_{:032x}", rand::random::<u128>());
        let data = SignInCode { phone_number, code: &code, valid_s, request_id };
        let event = Event { r#type: "sign_in.code", data };
        let body = serde_json::to_vec(&event).map_err(|error| away(error.to_string()))?;
        match self.webhook.call(place, &id, Bytes::from(body)).await {
            Ok(()) => Ok(SentCode { valid_s }),
            // Who knows the numbers says that this is none.
            Err(WebhookError::Refused(status)) if matches!(status.as_u16(), 400 | 404 | 422) => {
                Err(CodeSendError::Refused(status.as_u16()))
            }
            Err(error @ WebhookError::Unanswered(_)) => Err(CodeSendError::Unknown(error.to_string())),
            // As a gateway says whose own server took it and did not answer.
            Err(error @ WebhookError::Refused(status)) if status.is_server_error() => {
                Err(CodeSendError::Unknown(error.to_string()))
            }
            Err(error) => Err(away(error.to_string())),
        }
    }
}
