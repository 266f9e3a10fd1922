//! The tokens that services show each other, as the settings say now: SIGHUP changes them for whatever listens and calls already.
//!
//! Part of [`GrpcSettings`], whose clones share what was changed. Looked at on the tasks of calls. Always holds: whether a token is asked
//! for at all is as it was at the start.

use std::sync::{Arc, PoisonError, RwLock};

use subtle::ConstantTimeEq as _;

use super::settings::GrpcSettings;

/// What took the place of the tokens that the service started with; nothing at first. Says nothing about whether settings are the same.
#[derive(Debug, Clone, Default)]
pub struct ChangedTokens(Arc<RwLock<Option<Tokens>>>);

#[derive(Debug)]
struct Tokens {
    internal: String,
    accepted: Vec<String>,
}

impl PartialEq for ChangedTokens {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for ChangedTokens {}

impl GrpcSettings {
    /// Whether the tokens of `new` could take the place of these while the service runs.
    pub fn check_tokens(&self, new: &Self) -> Result<(), String> {
        match self.internal_token.is_empty() == new.internal_token.is_empty() {
            true => Ok(()),
            false => {
                Err("grpc.internal_token: that one is asked for at all, or is not any more, needs a restart".into())
            }
        }
    }

    /// From now on those of `new` count, for whoever has a clone of these settings.
    pub fn set_tokens(&self, new: &Self) {
        let (internal, accepted) = (new.internal_token.clone(), new.accepted_tokens.clone());
        *self.changed_tokens.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Tokens { internal, accepted });
    }

    /// Whether this is a token that callers may show, or none is asked for.
    pub(super) fn accepts(&self, shown: &[u8]) -> bool {
        let is_one = |token: &String| bool::from(shown.ct_eq(token.as_bytes()));
        let changed = self.changed_tokens.0.read().unwrap_or_else(PoisonError::into_inner);
        let (internal, accepted) = match &*changed {
            Some(Tokens { internal, accepted }) => (internal, accepted),
            None => (&self.internal_token, &self.accepted_tokens),
        };
        internal.is_empty() || is_one(internal) || accepted.iter().any(is_one)
    }

    /// Gives the token that is shown to others, which may be empty.
    pub(super) fn shown_token<T>(&self, take: impl FnOnce(&str) -> T) -> T {
        let changed = self.changed_tokens.0.read().unwrap_or_else(PoisonError::into_inner);
        take(changed.as_ref().map_or(&self.internal_token, |tokens| &tokens.internal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(internal_token: &str, accepted_tokens: &[&str]) -> GrpcSettings {
        let accepted_tokens = accepted_tokens.iter().map(|token| (*token).to_owned()).collect();
        GrpcSettings { internal_token: internal_token.into(), accepted_tokens, ..GrpcSettings::default() }
    }

    #[test]
    fn clones_take_and_show_what_was_changed_and_others_do_not() {
        let (first, other) = (settings("old", &[]), settings("old", &[]));
        let clone = first.clone();
        first.set_tokens(&settings("new", &["old"]));
        for settings in [&first, &clone] {
            assert!(settings.accepts(b"new") && settings.accepts(b"old") && !settings.accepts(b"other"));
            assert_eq!(settings.shown_token(str::to_owned), "new");
        }
        first.set_tokens(&settings("new", &[]));
        assert!(!clone.accepts(b"old"));
        assert!(other.accepts(b"old") && !other.accepts(b"new"));
    }

    #[test]
    fn whether_there_is_a_token_needs_a_restart() {
        assert_eq!(settings("a", &[]).check_tokens(&settings("b", &["a"])), Ok(()));
        assert!(settings("", &[]).check_tokens(&settings("b", &[])).unwrap_err().starts_with("grpc.internal_token: "));
        assert!(settings("", &[]).accepts(b"") && settings("", &[]).accepts(b"whatever"));
    }
}
