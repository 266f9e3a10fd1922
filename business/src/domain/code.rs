//! Whether the code that a user types in belongs to their phone number, and who sends it there. The settings name a webhook that sends
//! codes; a backend plugs another way in through [`CodeCheck`] and [`crate::start_with_code_check`].

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Checks sign-in codes. Called on the Tokio runtime, several calls at once; the number of tries per phone number is
/// limited before it is asked.
#[tonic::async_trait]
pub trait CodeCheck: Send + Sync + 'static {
    /// Whether `code` is right for `phone_number` now.
    ///
    /// # Errors
    /// Where nobody can say: the client is told to try again later, and the error is logged.
    async fn check(&self, phone_number: &str, code: &str) -> Result<bool, CodeCheckError>;

    /// Makes a code for `phone_number` and has it sent there. What is not overridden sends none.
    ///
    /// # Errors
    /// Where none was sent, or nobody knows.
    async fn send(&self, _phone_number: &str, _request_id: &str) -> Result<SentCode, CodeSendError> {
        Err(CodeSendError::NotHere)
    }
}

/// A code is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentCode {
    /// How long it is good; 0 where nothing was sent, because a code that everybody knows is right.
    pub valid_s: u32,
}

/// Why a code could not be checked.
#[derive(Debug, thiserror::Error)]
#[error("the sign-in code cannot be checked: {0}")]
pub struct CodeCheckError(pub String);

/// Why no code was sent.
#[derive(Debug, thiserror::Error)]
pub enum CodeSendError {
    /// Nothing here sends codes.
    #[error("no codes are sent from here")]
    NotHere,
    /// Whoever sends them says that this is no number for them, with a status of HTTP.
    #[error("codes cannot be sent to this phone number (HTTP {0})")]
    Refused(u16),
    /// Whoever sends them cannot be asked.
    #[error("the sign-in code cannot be sent: {0}")]
    Away(String),
    /// It was asked for, and may be on its way.
    #[error("nobody knows whether the sign-in code was sent: {0}")]
    Unknown(String),
}

/// One fixed code for every phone number, or any code, or none at all. For development.
pub enum DevelopmentCode {
    /// Nobody gets in.
    Nothing,
    /// Whatever is typed in is right.
    Anything,
    /// This code. Hashes are compared, so that the time taken does not even tell the length.
    Hashed([u8; 32]),
}

/// In the settings, in place of a code.
pub const ANYTHING: &str = "*";

impl DevelopmentCode {
    /// Accepts `code`; an empty one accepts nothing, and `*` anything.
    pub fn new(code: &str) -> Self {
        match code {
            "" => Self::Nothing,
            ANYTHING => Self::Anything,
            code => Self::Hashed(Sha256::digest(code).into()),
        }
    }
}

#[tonic::async_trait]
impl CodeCheck for DevelopmentCode {
    async fn check(&self, _phone_number: &str, code: &str) -> Result<bool, CodeCheckError> {
        Ok(match self {
            Self::Nothing => false,
            Self::Anything => true,
            Self::Hashed(hash) => {
                let shown: [u8; 32] = Sha256::digest(code).into();
                hash.ct_eq(&shown).into()
            }
        })
    }

    /// An app that asks for a code first works with the code of development as well.
    async fn send(&self, _phone_number: &str, _request_id: &str) -> Result<SentCode, CodeSendError> {
        if matches!(self, Self::Nothing) { Err(CodeSendError::NotHere) } else { Ok(SentCode { valid_s: 0 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_whole_code_is_right() {
        let code = DevelopmentCode::new("123456");
        for (shown, right) in [("123456", true), ("123457", false), ("12345", false), ("1234567", false), ("", false)] {
            assert_eq!(code.check("1", shown).await.unwrap(), right, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_star_accepts_any_code_as_gim_does() {
        for shown in ["0", "123456", "*"] {
            assert!(DevelopmentCode::new("*").check("1", shown).await.unwrap());
        }
        assert!(!DevelopmentCode::new("**").check("1", "*").await.unwrap());
    }

    #[tokio::test]
    async fn an_empty_development_code_accepts_nothing() {
        assert!(!DevelopmentCode::new("").check("1", "").await.unwrap());
        assert!(!DevelopmentCode::new("").check("1", "123456").await.unwrap());
    }
}
