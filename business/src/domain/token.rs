//! Tokens: 32 random bytes that a client shows as hex; only their SHA-256 is stored, and they expire.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A token that was just made. The text goes to the client and is forgotten here.
#[derive(Clone)]
pub struct NewToken {
    pub text: String,
    pub stored: StoredToken,
}

/// What is known of a token that a client holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    pub hash: Vec<u8>,
    pub created_at_ms: i64,
    /// The first millisecond at which it is no longer good.
    pub expires_at_ms: i64,
}

impl NewToken {
    /// A token in another form, which is kept in the same way.
    pub fn of(text: String, now_ms: i64, expires_at_ms: i64) -> Self {
        let stored = StoredToken { hash: hash(&text), created_at_ms: now_ms, expires_at_ms };
        Self { text, stored }
    }

    /// Makes a token that nobody can guess.
    pub fn make(now_ms: i64, ttl_ms: i64) -> Self {
        let mut text = String::with_capacity(64);
        for byte in rand::random::<[u8; 32]>() {
            write!(text, "{byte:02x}").expect("a String takes all that is written to it");
        }
        Self::of(text, now_ms, now_ms.saturating_add(ttl_ms))
    }
}

impl StoredToken {
    /// Whether the text that a client shows is this token and is still good. How long it takes tells nothing about it.
    pub fn admits(&self, shown: &str, now_ms: i64) -> bool {
        bool::from(self.hash.ct_eq(&hash(shown))) && now_ms < self.expires_at_ms
    }
}

fn hash(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires() {
        let token = NewToken::make(1_000, 500);
        assert!(token.stored.admits(&token.text, 1_000));
        assert!(token.stored.admits(&token.text, 1_499));
        assert!(!token.stored.admits(&token.text, 1_500));
    }

    #[test]
    fn another_text_is_refused() {
        let token = NewToken::make(0, 1_000);
        assert!(!token.stored.admits("", 0));
        assert!(!token.stored.admits(&token.text[..63], 0));
        assert!(!token.stored.admits(&token.text.to_uppercase(), 0));
        assert!(!token.stored.admits(&NewToken::make(0, 1_000).text, 0));
    }

    #[test]
    fn what_is_stored_does_not_hold_the_token() {
        let token = NewToken::make(0, 1_000);
        assert_eq!(token.text.len(), 64);
        assert_eq!(token.stored.hash.len(), 32);
        assert_ne!(token.stored.hash, token.text.as_bytes()[..32]);
    }
}
