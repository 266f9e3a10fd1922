//! Whether the code that a user types in belongs to her phone number. A product plugs its own check in (the service
//! that sent the text message, as a rule) through [`CodeCheck`] and [`crate::start_with_code_check`].

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
}

/// Why a code could not be checked.
#[derive(Debug, thiserror::Error)]
#[error("the sign-in code cannot be checked: {0}")]
pub struct CodeCheckError(pub String);

/// One fixed code for every phone number, or none at all. For development.
pub struct DevelopmentCode {
    /// Hashes are compared, so that the time taken does not even tell the length.
    hash: Option<[u8; 32]>,
}

impl DevelopmentCode {
    /// Accepts `code`; an empty one accepts nothing.
    pub fn new(code: &str) -> Self {
        Self { hash: (!code.is_empty()).then(|| Sha256::digest(code).into()) }
    }
}

#[tonic::async_trait]
impl CodeCheck for DevelopmentCode {
    async fn check(&self, _phone_number: &str, code: &str) -> Result<bool, CodeCheckError> {
        let shown: [u8; 32] = Sha256::digest(code).into();
        Ok(self.hash.is_some_and(|hash| hash.ct_eq(&shown).into()))
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
    async fn an_empty_development_code_accepts_nothing() {
        assert!(!DevelopmentCode::new("").check("1", "").await.unwrap());
        assert!(!DevelopmentCode::new("").check("1", "123456").await.unwrap());
    }
}
