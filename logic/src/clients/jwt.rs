//! JSON Web Tokens, checked here without asking anybody.
//!
//! No IO, the time is an argument; any thread. Always holds: a token is judged by the one key that its `kid` names, and with
//! that key's own algorithm, whatever its header says; nothing in a token is believed before its signature is.

use std::sync::{Arc, PoisonError, RwLock};

use gim_config::{
    jwt::{JwtAlgorithm, read_key},
    jwt_crypto,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::Error as LibraryError};
use serde::Deserialize;

use crate::{domain::caller::Caller, settings::JwtSettings};

/// The keys, which may become others while it runs. Clones share them.
#[derive(Debug, Clone)]
pub struct JwtCheck(Arc<RwLock<Arc<Keys>>>);

/// Keys, and what tokens have to say besides.
#[derive(Debug)]
struct Keys {
    keys: Vec<Key>,
    leeway_ms: i64,
    lifetime_max_ms: i64,
}

struct Key {
    kid: String,
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Why a token is not good. For the log; a client only learns that it has to sign in again.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// The header names a key that is not among ours.
    #[error("there is no key {0:?}")]
    UnknownKey(String),
    /// Its header has extensions that have to be understood, and none is here (RFC 7515, 4.1.11).
    #[error("it has critical extensions")]
    Critical,
    /// Not signed with that key and its algorithm, not for us, or no token at all.
    #[error("{0}")]
    Refused(#[from] LibraryError),
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time is yet to come.
    #[error("it is not good yet")]
    TooEarly,
    /// It would be good for longer than revocations are remembered.
    #[error("it is good for longer than jwt.lifetime_max_s")]
    TooLong,
    /// It lets somebody else in.
    #[error("it belongs to another user or device")]
    OtherCaller,
}

/// What a token says. Times are Unix seconds, with a fraction where the maker gives one.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: Id,
    device_id: Id,
    iat: f64,
    exp: f64,
    nbf: Option<f64>,
}

/// An id as a decimal string; as a number it would lose digits in some JSON parsers, but is read too.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

impl Id {
    fn is(&self, id: u64) -> bool {
        match self {
            Self::Text(text) => text.parse() == Ok(id),
            Self::Number(number) => *number == id,
        }
    }
}

/// Keys that were read, and by which nothing is judged yet.
#[derive(Debug)]
pub struct NextKeys(Keys);

impl JwtCheck {
    /// Reads the key files of the settings.
    pub fn new(settings: &JwtSettings) -> Result<Self, String> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(Keys::read(settings)?)))))
    }

    /// Reads the key files of the settings.
    ///
    /// # Errors
    /// Where one is of no use.
    pub fn read_files(settings: &JwtSettings) -> Result<NextKeys, String> {
        Keys::read(settings).map(NextKeys)
    }

    /// Judges by these from now on. The longest lifetime stays: revocations are remembered for so long.
    pub fn take_over(&self, NextKeys(next): NextKeys) {
        let keys = Keys { lifetime_max_ms: self.now().lifetime_max_ms, ..next };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Whether this token is for us to judge: there are keys, and it has the form of a JSON Web Token.
    pub fn is_for_us(&self, token: &str) -> bool {
        // The first part is Base64 of a JSON object, and that begins with `{"`.
        token.starts_with("eyJ")
            && token.bytes().filter(|byte| *byte == b'.').count() == 2
            && !self.now().keys.is_empty()
    }

    /// Checks a token; returns when it was issued, Unix milliseconds.
    pub fn check(&self, caller: Caller, token: &str, now_ms: i64) -> Result<i64, JwtError> {
        self.now().check(caller, token, now_ms)
    }

    fn now(&self) -> Arc<Keys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Keys {
    fn read(settings: &JwtSettings) -> Result<Self, String> {
        jwt_crypto::install();
        let read = |(index, key): (usize, &crate::settings::JwtKey)| {
            let name = format!("jwt.keys[{index}].file");
            let bytes = read_key(&name, key.algorithm, &key.file)?;
            let (algorithm, decoding) = match key.algorithm {
                JwtAlgorithm::HS256 => (Algorithm::HS256, DecodingKey::from_secret(&bytes)),
                JwtAlgorithm::EdDSA => {
                    let key = DecodingKey::from_ed_pem(&bytes);
                    (
                        Algorithm::EdDSA,
                        key.map_err(|error| format!("{name}: is no Ed25519 public key in PEM: {error}"))?,
                    )
                }
            };
            Ok::<_, String>(Key { kid: key.kid.clone(), key: decoding, validation: validation(algorithm, settings) })
        };
        let keys = settings.keys.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let ms = |seconds: u32| i64::from(seconds) * 1_000;
        Ok(Self { keys, leeway_ms: ms(settings.leeway_s), lifetime_max_ms: ms(settings.lifetime_max_s) })
    }

    fn check(&self, caller: Caller, token: &str, now_ms: i64) -> Result<i64, JwtError> {
        let header = decode_header(token)?;
        if header.crit.is_some() {
            return Err(JwtError::Critical);
        }
        let kid = header.kid.unwrap_or_default();
        let Some(key) = self.keys.iter().find(|key| key.kid == kid) else { return Err(JwtError::UnknownKey(kid)) };
        let claims = decode::<Claims>(token, &key.key, &key.validation)?.claims;
        if !claims.sub.is(caller.user_id) || !claims.device_id.is(caller.device_id) {
            return Err(JwtError::OtherCaller);
        }
        let (issued_ms, expires_ms) = (to_ms(claims.iat), to_ms(claims.exp));
        if now_ms.saturating_sub(self.leeway_ms) >= expires_ms {
            return Err(JwtError::Expired);
        }
        let earliest_ms = claims.nbf.map_or(issued_ms, |nbf| to_ms(nbf).max(issued_ms));
        if now_ms.saturating_add(self.leeway_ms) < earliest_ms {
            return Err(JwtError::TooEarly);
        }
        if expires_ms.saturating_sub(issued_ms) > self.lifetime_max_ms {
            return Err(JwtError::TooLong);
        }
        Ok(issued_ms)
    }
}

/// The library checks signature, issuer and audience; times are checked here, against the caller's clock.
fn validation(algorithm: Algorithm, settings: &JwtSettings) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let mut required = Vec::new();
    if settings.issuer.is_empty() {
        validation.iss = None;
    } else {
        validation.set_issuer(&[&settings.issuer]);
        required.push("iss");
    }
    validation.validate_aud = !settings.audience.is_empty();
    if validation.validate_aud {
        validation.set_audience(&[&settings.audience]);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// A cast from a float saturates, and turns what is no number into 0.
fn to_ms(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use gim_config::jwt::JwtAlgorithm::{EdDSA, HS256};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::settings::JwtKey;

    const NOW_MS: i64 = 1_800_000_000_000;
    const CALLER: Caller = Caller { user_id: 7, device_id: (1 << 60) + 1 };
    const SECRET: &[u8] = b"a secret of at least 32 bytes, so";
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
                           MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                           -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
                          MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                          -----END PUBLIC KEY-----\n";

    /// The claims below, signed with [`SECRET`] and HMAC-SHA-384, which nothing here can sign with.
    const HS384_TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzM4NCIsImtpZCI6Im9sZCJ9.\
                               eyJhdWQiOiJjaGF0IiwiZGV2aWNlX2lkIjoiMTE1MjkyMTUwNDYwNjg0Njk3NyIsImV4cCI6MTgwMDAwMDAxMCwiaWF0Ijox\
                               Nzk5OTk5OTkwLCJpc3MiOiJnaW0iLCJzdWIiOiI3In0.\
                               jcm5Tty4h99TeA7mBYzzFM1zi_vJQxD-YHw7CQMMfhMkRvPlIoPL9TI8hywvChL5";

    fn key(folder: &TempDir, kid: &str, algorithm: JwtAlgorithm, content: &[u8]) -> JwtKey {
        let file: PathBuf = folder.path().join(format!("{kid}.key"));
        fs::write(&file, content).unwrap();
        JwtKey { kid: kid.into(), algorithm, file }
    }

    /// The secret is the key `old` and the Ed25519 key the key `new`.
    fn check_with(change: impl FnOnce(&mut JwtSettings)) -> JwtCheck {
        let folder = tempfile::tempdir().unwrap();
        let keys = vec![key(&folder, "old", HS256, SECRET), key(&folder, "new", EdDSA, PUBLIC.as_bytes())];
        let mut settings = JwtSettings { keys, ..JwtSettings::default() };
        change(&mut settings);
        JwtCheck::new(&settings).unwrap()
    }

    fn claims() -> Value {
        let now_s = NOW_MS / 1_000;
        let device_id = CALLER.device_id.to_string();
        json!({ "sub": "7", "device_id": device_id, "iat": now_s - 10, "exp": now_s + 10, "iss": "gim", "aud": "chat" })
    }

    fn token_of(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
        jwt_crypto::install();
        let header = Header { kid: kid.map(Into::into), ..Header::new(algorithm) };
        encode(&header, claims, key).unwrap()
    }

    fn hs256(claims: &Value) -> String {
        token_of(Algorithm::HS256, Some("old"), &EncodingKey::from_secret(SECRET), claims)
    }

    fn eddsa(claims: &Value) -> String {
        token_of(Algorithm::EdDSA, Some("new"), &EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap(), claims)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_token_of_either_key_lets_its_user_in_on_its_device() {
        let check = check_with(|_| ());
        for token in [hs256(&claims()), eddsa(&claims())] {
            assert!(check.is_for_us(&token));
            assert_eq!(check.check(CALLER, &token, NOW_MS).unwrap(), NOW_MS - 10_000);
            for other in [Caller { user_id: 8, ..CALLER }, Caller { device_id: 1 << 60, ..CALLER }] {
                assert!(matches!(check.check(other, &token, NOW_MS), Err(JwtError::OtherCaller)));
            }
        }
        let number = with("sub", json!(7));
        assert!(check.check(CALLER, &hs256(&number), NOW_MS).is_ok());
    }

    #[test]
    fn times_are_kept_to_the_millisecond_with_a_leeway() {
        let check = check_with(|settings| settings.leeway_s = 5);
        let at = |now_ms| check.check(CALLER, &hs256(&claims()), now_ms);
        assert!(at(NOW_MS + 14_999).is_ok());
        assert!(matches!(at(NOW_MS + 15_000), Err(JwtError::Expired)));
        assert!(at(NOW_MS - 15_000).is_ok());
        assert!(matches!(at(NOW_MS - 15_001), Err(JwtError::TooEarly)));
        let later = with("nbf", json!(NOW_MS / 1_000 + 6));
        assert!(matches!(check.check(CALLER, &hs256(&later), NOW_MS), Err(JwtError::TooEarly)));
        let exact = with("iat", json!(1_799_999_999.123));
        assert_eq!(check.check(CALLER, &hs256(&exact), NOW_MS).unwrap(), 1_799_999_999_123);
        let long = with("exp", json!(NOW_MS / 1_000 + 400 * 86_400));
        assert!(matches!(check.check(CALLER, &hs256(&long), NOW_MS), Err(JwtError::TooLong)));
    }

    #[test]
    fn issuer_and_audience_must_match_where_they_are_set() {
        let check = check_with(|settings| (settings.issuer, settings.audience) = ("gim".into(), "chat".into()));
        assert!(check.check(CALLER, &eddsa(&claims()), NOW_MS).is_ok());
        for (name, value) in [("iss", json!("mig")), ("aud", json!("mail")), ("iss", Value::Null), ("aud", Value::Null)]
        {
            let refused = check.check(CALLER, &eddsa(&with(name, value.clone())), NOW_MS);
            assert!(matches!(refused, Err(JwtError::Refused(_))), "{name} {value}");
        }
        let free = check_with(|_| ());
        assert!(free.check(CALLER, &eddsa(&with("aud", Value::Null)), NOW_MS).is_ok());
    }

    #[test]
    fn a_claim_that_is_missing_or_malformed_is_refused() {
        let check = check_with(|_| ());
        for name in ["sub", "device_id", "iat", "exp"] {
            for value in [Value::Null, json!("x"), json!([]), json!(-1)] {
                let refused = check.check(CALLER, &hs256(&with(name, value.clone())), NOW_MS);
                assert!(refused.is_err(), "{name} {value}");
            }
        }
    }

    #[test]
    fn a_key_is_used_with_its_own_algorithm_only() {
        let check = check_with(|_| ());
        let secret = EncodingKey::from_secret(SECRET);
        // The classic: the public key, which everybody has, taken for a secret.
        let public_as_secret = EncodingKey::from_secret(PUBLIC.as_bytes());
        let wrong = [
            token_of(Algorithm::HS256, Some("new"), &public_as_secret, &claims()),
            token_of(Algorithm::HS256, Some("new"), &secret, &claims()),
            HS384_TOKEN.to_owned(),
            token_of(Algorithm::HS256, Some("old"), &EncodingKey::from_secret(&[b'x'; 32]), &claims()),
        ];
        for token in wrong {
            assert!(matches!(check.check(CALLER, &token, NOW_MS), Err(JwtError::Refused(_))), "{token}");
        }
        for kid in [None, Some(""), Some("gone")] {
            let token = token_of(Algorithm::HS256, kid, &secret, &claims());
            assert!(matches!(check.check(CALLER, &token, NOW_MS), Err(JwtError::UnknownKey(_))), "{token}");
        }
        let no_kid = check_with(|settings| settings.keys[0].kid.clear());
        assert!(no_kid.check(CALLER, &token_of(Algorithm::HS256, None, &secret, &claims()), NOW_MS).is_ok());
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let check = check_with(|_| ());
        let good = hs256(&claims());
        let parts: Vec<&str> = good.split('.').collect();
        // {"alg":"none"} and {"alg":"none","kid":"old"}
        for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIiwia2lkIjoib2xkIn0"] {
            for signature in ["", parts[2]] {
                let token = format!("{header}.{}.{signature}", parts[1]);
                assert!(check.is_for_us(&token), "it must not be taken for a token of another kind");
                assert!(check.check(CALLER, &token, NOW_MS).is_err());
            }
        }
        assert!(check.check(CALLER, &format!("{}.{}.", parts[0], parts[1]), NOW_MS).is_err());
    }

    #[test]
    fn a_token_with_critical_extensions_is_refused() {
        jwt_crypto::install();
        let key = EncodingKey::from_secret(SECRET);
        for crit in [vec!["exp".to_owned()], Vec::new()] {
            let header = Header { kid: Some("old".into()), crit: Some(crit), ..Header::new(Algorithm::HS256) };
            let token = encode(&header, &claims(), &key).unwrap();
            assert!(matches!(check_with(|_| ()).check(CALLER, &token, NOW_MS), Err(JwtError::Critical)));
        }
    }

    #[test]
    fn other_tokens_are_left_to_the_business() {
        let check = check_with(|_| ());
        for token in ["", "0123abcd", "a.b.c", "eyJ", "eyJhbGciOiJIUzI1NiJ9.e30"] {
            assert!(!check.is_for_us(token), "{token}");
        }
        assert!(!check_with(|settings| settings.keys.clear()).is_for_us(&hs256(&claims())));
    }

    #[test]
    fn keys_that_are_none_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |key| JwtCheck::new(&JwtSettings { keys: vec![key], ..JwtSettings::default() }).unwrap_err();
        assert!(problem(key(&folder, "a", HS256, b"short")).starts_with("jwt.keys[0].file: "));
        assert!(problem(key(&folder, "b", EdDSA, SECRET)).contains("is no Ed25519 public key in PEM"));
        let gone = JwtKey { kid: String::new(), algorithm: HS256, file: folder.path().join("gone") };
        assert!(problem(gone).starts_with("jwt.keys[0].file: "));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_let_anybody_in(token in "[ -~]{0,200}", header in any::<bool>()) {
            let token = if header { format!("eyJhbGciOiJIUzI1NiIsImtpZCI6Im9sZCJ9.{token}") } else { token };
            prop_assert!(check_with(|_| ()).check(CALLER, &token, NOW_MS).is_err());
        }

        #[test]
        fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), byte in b'0'..=b'z', ed in any::<bool>()) {
            let good = if ed { eddsa(&claims()) } else { hs256(&claims()) };
            let mut changed = good.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            prop_assume!(changed != good);
            prop_assert!(check_with(|_| ()).check(CALLER, &changed, NOW_MS).is_err());
        }

        #[test]
        fn a_long_token_is_just_refused(count in 0usize..65_536) {
            let token = format!("eyJ{}.{}.", "A".repeat(count), "A".repeat(65_536 - count));
            prop_assert!(check_with(|_| ()).check(CALLER, &token, NOW_MS).is_err());
        }
    }
}
