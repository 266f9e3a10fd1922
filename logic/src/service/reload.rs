//! What SIGHUP changes of a running service, besides its log and its certificates. Made at the start; on the task of the signal.
//!
//! Always holds: keys and words that are of no use change nothing; what was checked is what is applied, whatever became of its files meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use gim_config::{grpc::GrpcSettings, request_shares::RequestShares};

use crate::{
    clients::{
        jwt::{JwtCheck, NextKeys},
        word_lists::{NextWords, WordLists},
    },
    settings::LogicSettings,
};

/// Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Reloadable {
    pub(super) jwt: JwtCheck,
    pub(super) words: WordLists,
    pub(super) request_shares: Arc<RequestShares>,
    pub(super) grpc: GrpcSettings,
    /// Read by the check, for what follows on it.
    checked: Arc<Mutex<Option<Files>>>,
}

/// What the files of the settings hold.
#[derive(Debug)]
struct Files {
    keys: NextKeys,
    words: NextWords,
}

impl Files {
    fn read(settings: &LogicSettings, words: &WordLists) -> Result<Self, String> {
        Ok(Self { keys: JwtCheck::read_files(&settings.jwt)?, words: words.read_files(&settings.word_filter)? })
    }
}

impl Reloadable {
    /// As the settings say.
    pub(super) fn new(settings: &LogicSettings) -> Result<Self, String> {
        let limits = &settings.limits;
        let request_shares = Arc::new(RequestShares::new(limits.user_requests_per_s, limits.user_requests_burst));
        let (jwt, words) = (JwtCheck::new(&settings.jwt)?, WordLists::new(&settings.word_filter)?);
        Ok(Self { jwt, words, request_shares, grpc: settings.grpc.clone(), checked: Arc::default() })
    }

    /// Whether the files that they name are of use.
    pub(super) fn check(&self, settings: &LogicSettings) -> Result<(), String> {
        self.grpc.check_tokens(&settings.grpc)?;
        let files = Files::read(settings, &self.words)?;
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(files);
        Ok(())
    }

    /// As they say now. An error says why nothing changed.
    pub(super) fn apply(&self, settings: &LogicSettings) -> Result<(), String> {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let files = checked.map_or_else(|| Files::read(settings, &self.words), Ok)?;
        self.words.take_over(files.words)?;
        self.jwt.take_over(files.keys);
        self.grpc.set_tokens(&settings.grpc);
        self.request_shares.set(settings.limits.user_requests_per_s, settings.limits.user_requests_burst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gim_config::{jwt::JwtAlgorithm, request_shares::REQUEST};

    use super::*;
    use crate::settings::JwtKey;

    #[test]
    fn with_keys_of_no_use_the_shares_stay_as_they_were() {
        let mut settings = LogicSettings::default();
        (settings.limits.user_requests_per_s, settings.limits.user_requests_burst) = (1, 1);
        let reloadable = Reloadable::new(&settings).unwrap();
        let (now, request_shares) = (Instant::now(), &reloadable.request_shares);
        settings.limits.user_requests_burst = 1_000;
        let file = "/nowhere/key.pem".into();
        settings.jwt.keys = vec![JwtKey { kid: "one".into(), algorithm: JwtAlgorithm::EdDSA, file }];
        assert!(reloadable.check(&settings).unwrap_err().starts_with("jwt.keys[0].file: "));
        assert!(reloadable.apply(&settings).is_err());
        request_shares.take(7, REQUEST, now).unwrap();
        request_shares.take(7, REQUEST, now).unwrap_err();
        settings.jwt.keys.clear();
        reloadable.apply(&settings).unwrap();
        request_shares.take(7, REQUEST, now).unwrap();
    }

    #[test]
    fn a_key_file_that_vanishes_after_the_check_is_applied_as_it_was_checked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "a secret of at least 32 bytes, so").unwrap();
        let reloadable = Reloadable::new(&LogicSettings::default()).unwrap();
        let mut settings = LogicSettings::default();
        settings.jwt.keys = vec![JwtKey { kid: String::new(), algorithm: JwtAlgorithm::HS256, file: file.clone() }];
        reloadable.check(&settings).unwrap();
        std::fs::remove_file(&file).unwrap();
        reloadable.apply(&settings).unwrap();
        assert!(reloadable.jwt.is_for_us("eyJ.eyJ.x"), "there are keys");
        assert!(reloadable.apply(&settings).is_err(), "what was checked is used once");
    }
}
