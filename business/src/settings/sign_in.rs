//! The section `[sign_in]`: who may come in by phone number and code.

use std::path::PathBuf;

use gim_config::webhook::{self, Secret};
use serde::{Deserialize, Serialize};

use super::within;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignInSettings {
    /// The code that is accepted for every phone number, for development; `*` for any code. Empty: no code is accepted.
    pub development_code: String,
    /// Whether that is meant also where other hosts reach this service.
    pub development_code_beyond_loopback: bool,
    /// Where codes are handed to, which sends them on; empty for none.
    pub code_webhook: String,
    /// What the calls there are signed with.
    pub code_webhook_secret: String,
    /// A file that holds it.
    pub code_webhook_secret_file: PathBuf,
    /// A call that lasts longer has failed.
    pub code_webhook_timeout_ms: u64,
    /// Digits of a code.
    pub code_digits: u32,
    /// How long a code is good.
    pub code_ttl_s: u32,
    /// So many codes are sent to a phone number within the window.
    pub codes_per_number_max: u32,
    /// The same from an address; 0 for no bound.
    pub codes_per_address_max: u32,
    /// From the first code until the count starts anew.
    pub codes_window_s: u32,
    /// How long a token is good for.
    pub token_ttl_days: u32,
    /// So many codes may be tried for a phone number within the window, until one is right.
    pub wrong_codes_max: u32,
    /// From the first wrong code of a phone number until its count starts anew.
    pub wrong_codes_window_s: u32,
    /// The same from an address; 0 for no bound.
    pub wrong_codes_per_address_max: u32,
    /// Phone numbers, and addresses, whose wrong codes are counted at the same time; beyond it the oldest count of the fewest codes is
    /// forgotten.
    pub tracked_numbers_max: u32,
}

impl SignInSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        self.validate_webhook()?;
        within("sign_in.code_webhook_timeout_ms", self.code_webhook_timeout_ms, 1, 60_000)?;
        within("sign_in.code_digits", self.code_digits, 4, 12)?;
        within("sign_in.code_ttl_s", self.code_ttl_s, 1, 86_400)?;
        within("sign_in.codes_per_number_max", self.codes_per_number_max, 1, 1_000_000)?;
        within("sign_in.codes_per_address_max", self.codes_per_address_max, 0, 1_000_000_000)?;
        within("sign_in.codes_window_s", self.codes_window_s, 1, 31_536_000)?;
        within("sign_in.token_ttl_days", self.token_ttl_days, 1, 36_500)?;
        within("sign_in.wrong_codes_max", self.wrong_codes_max, 1, 1_000_000)?;
        within("sign_in.wrong_codes_window_s", self.wrong_codes_window_s, 1, 31_536_000)?;
        within("sign_in.wrong_codes_per_address_max", self.wrong_codes_per_address_max, 0, 1_000_000_000)?;
        within("sign_in.tracked_numbers_max", self.tracked_numbers_max, 1, 10_000_000)
    }

    fn validate_webhook(&self) -> Result<(), String> {
        if self.code_webhook.is_empty() {
            return Ok(());
        }
        webhook::checked(&self.code_webhook).map_err(|problem| format!("sign_in.code_webhook: {problem}"))?;
        Secret::new(&self.code_webhook_secret)
            .map_err(|problem| format!("sign_in.code_webhook_secret: {problem}, because calls are signed with it"))?;
        if self.development_code.is_empty() {
            Ok(())
        } else {
            Err("sign_in.development_code: must be empty where sign_in.code_webhook is set, or whoever knows it could sign in as \
                 anybody"
                .into())
        }
    }
}

impl Default for SignInSettings {
    fn default() -> Self {
        Self {
            development_code: "123456".into(),
            development_code_beyond_loopback: false,
            code_webhook: String::new(),
            code_webhook_secret: String::new(),
            code_webhook_secret_file: PathBuf::new(),
            code_webhook_timeout_ms: 5_000,
            code_digits: 6,
            code_ttl_s: 300,
            codes_per_number_max: 5,
            codes_per_address_max: 100,
            codes_window_s: 3_600,
            token_ttl_days: 30,
            wrong_codes_max: 10,
            wrong_codes_window_s: 600,
            wrong_codes_per_address_max: 1_000,
            tracked_numbers_max: 100_000,
        }
    }
}
