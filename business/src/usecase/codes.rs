//! Sending sign-in codes, so many to a phone number and for whoever asks.

use std::sync::Arc;

use super::attempt_counts::{AttemptBounds, AttemptCounts, Origin, TooMany};
use crate::{
    domain::code::{CodeCheck, CodeSendError, SentCode},
    error::UseCaseError,
    metrics::SIGN_IN_CODES_TOTAL,
    settings::SignInSettings,
};

/// Whoever has a phone and no code yet. Clones share everything.
#[derive(Clone)]
pub struct Codes {
    code_check: Arc<dyn CodeCheck>,
    sent: Arc<AttemptCounts>,
}

impl Codes {
    /// Codes as `settings` bound them.
    pub fn new(settings: &SignInSettings, code_check: Arc<dyn CodeCheck>) -> Self {
        let sent = AttemptCounts::new(AttemptBounds {
            per_number_max: settings.codes_per_number_max,
            per_origin_max: settings.codes_per_address_max,
            window_s: settings.codes_window_s,
            tracked_max: settings.tracked_numbers_max,
        });
        Self { code_check, sent: Arc::new(sent) }
    }

    /// Sends a code. One that certainly was not sent does not count for the number.
    pub async fn send(
        &self,
        phone_number: &str,
        origin: Option<Origin>,
        request_id: &str,
        now_ms: i64,
    ) -> Result<SentCode, UseCaseError> {
        if let Err(too_many) = self.sent.begin(phone_number, origin, now_ms) {
            count("too_many");
            let (message, wait) = match too_many {
                TooMany::OfNumber(wait) => ("too many codes for this phone number, try again later", wait),
                TooMany::OfOrigin(wait) => ("too many codes for this address, try again later", wait),
            };
            return Err(UseCaseError::Later { message, wait });
        }
        let sent = self.code_check.send(phone_number, request_id).await;
        count(match &sent {
            Ok(_) => "sent",
            Err(CodeSendError::Unknown(_)) => "failed",
            Err(CodeSendError::Away(_)) => {
                self.sent.give_back(phone_number, origin);
                "failed"
            }
            // Whoever tries numbers that are none has asked all the same.
            Err(CodeSendError::Refused(_) | CodeSendError::NotHere) => {
                self.sent.give_back(phone_number, None);
                "refused"
            }
        });
        Ok(sent?)
    }
}

fn count(result: &'static str) {
    metrics::counter!(SIGN_IN_CODES_TOTAL, "result" => result).increment(1);
}
