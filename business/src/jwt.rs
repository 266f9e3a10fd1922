//! JSON Web Tokens as logic checks them: who (`sub`, `device_id`), from when to when (`iat`, `exp`), by whom and for whom.
//!
//! The key is read and tried once at start. Making a token takes microseconds and no IO; any task.

use gim_config::{
    jwt::{JwtAlgorithm, read_key},
    jwt_crypto,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

use crate::settings::JwtSettings;

/// Makes tokens.
pub struct JwtMaker {
    header: Header,
    key: EncodingKey,
    issuer: String,
    audience: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: String,
    device_id: String,
    /// With milliseconds: a token that is made right after a revocation must not count as made before it.
    iat: f64,
    exp: i64,
    /// Two tokens of a device differ, however quickly one follows the other.
    jti: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    aud: &'a str,
}

impl JwtMaker {
    /// The maker that the settings describe; `None` where they have no key.
    ///
    /// # Errors
    /// Where the key cannot be read or does not sign.
    pub fn new(settings: &JwtSettings) -> Result<Option<Self>, String> {
        if settings.key_file.as_os_str().is_empty() {
            return Ok(None);
        }
        jwt_crypto::install();
        let bytes = read_key("jwt.key_file", settings.algorithm, &settings.key_file)?;
        let refused = |problem| format!("jwt.key_file: {}: {problem}", settings.key_file.display());
        let (algorithm, key) = match settings.algorithm {
            JwtAlgorithm::HS256 => (Algorithm::HS256, EncodingKey::from_secret(&bytes)),
            JwtAlgorithm::EdDSA => {
                let key = EncodingKey::from_ed_pem(&bytes);
                (Algorithm::EdDSA, key.map_err(|error| refused(format!("is no Ed25519 private key in PEM: {error}")))?)
            }
        };
        let mut header = Header::new(algorithm);
        header.kid = (!settings.key_id.is_empty()).then(|| settings.key_id.clone());
        let maker = Self { header, key, issuer: settings.issuer.clone(), audience: settings.audience.clone() };
        encode(&maker.header, &maker.claims(1, 1, 0, 0), &maker.key).map_err(|error| refused(error.to_string()))?;
        Ok(Some(maker))
    }

    /// A token that lets a user in on a device until a moment.
    pub fn make(&self, user_id: u64, device_id: u64, now_ms: i64, expires_at_ms: i64) -> String {
        let claims = self.claims(user_id, device_id, now_ms, expires_at_ms);
        encode(&self.header, &claims, &self.key).expect("the key was tried at start")
    }

    fn claims(&self, user_id: u64, device_id: u64, now_ms: i64, expires_at_ms: i64) -> Claims<'_> {
        Claims {
            sub: user_id.to_string(),
            device_id: device_id.to_string(),
            iat: now_ms as f64 / 1_000.0,
            exp: expires_at_ms / 1_000,
            jti: format!("{:032x}", rand::random::<u128>()),
            iss: &self.issuer,
            aud: &self.audience,
        }
    }
}

impl std::fmt::Debug for JwtMaker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JwtMaker").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"a secret of at least 32 bytes, so";

    #[test]
    fn a_token_says_who_and_until_when() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret");
        std::fs::write(&key_file, SECRET).unwrap();
        let settings = JwtSettings { key_file, key_id: "a".into(), issuer: "gim".into(), ..JwtSettings::default() };
        let maker = JwtMaker::new(&settings).unwrap().unwrap();
        let [token, other] = [0; 2].map(|_| maker.make(7, 1 << 60, 1_800_000_000_123, 1_800_000_060_999));
        assert_ne!(token, other);
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        let decoded = decode::<Value>(&token, &DecodingKey::from_secret(SECRET), &validation).unwrap();
        assert_eq!(decoded.header.kid.as_deref(), Some("a"));
        let claims = decoded.claims;
        assert_eq!((&claims["sub"], &claims["device_id"]), (&json!("7"), &json!("1152921504606846976")));
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_800_000_000.123), &json!(1_800_000_060)));
        assert_eq!((&claims["iss"], claims.get("aud")), (&json!("gim"), None));
    }

    #[test]
    fn without_a_key_there_is_no_maker_and_a_bad_key_is_named() {
        assert!(JwtMaker::new(&JwtSettings::default()).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret");
        std::fs::write(&key_file, SECRET).unwrap();
        let settings = JwtSettings { key_file, algorithm: JwtAlgorithm::EdDSA, ..JwtSettings::default() };
        let problem = JwtMaker::new(&settings).unwrap_err();
        assert!(problem.starts_with("jwt.key_file: ") && problem.contains("is no Ed25519 private key"), "{problem}");
    }
}
