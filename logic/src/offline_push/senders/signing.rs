//! Tokens that services of others ask for: JWTs, signed with a key of the operator's.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Serialize;

/// A key that signs, as a PEM file with `BEGIN PRIVATE KEY` (PKCS #8) holds it.
#[derive(Debug)]
pub(super) enum SigningKey {
    /// RS256.
    Rsa(Box<RsaKeyPair>),
    /// ES256.
    P256(Box<EcdsaKeyPair>),
}

/// The first part of a token.
#[derive(Debug, Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

impl SigningKey {
    /// An RSA key.
    pub(super) fn rsa(pem: &str) -> Result<Self, String> {
        let key = RsaKeyPair::from_pkcs8(of_pem(pem)?.secret_pkcs8_der());
        key.map(|key| Self::Rsa(Box::new(key))).map_err(|error| format!("is no RSA key: {error}"))
    }

    /// A key on the curve P-256, from a file.
    pub(super) fn p256(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let pem = fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let der = of_pem(&pem).map_err(|problem| format!("{shown} {problem}"))?;
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &SystemRandom::new());
        key.map(|key| Self::P256(Box::new(key))).map_err(|error| format!("{shown} is no P-256 key: {error}"))
    }

    /// The public key, as the curve's point; of an RSA key, as ring writes it.
    pub(super) fn public(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::P256(key) => key.public_key().as_ref(),
        }
    }

    /// A token with these claims.
    pub(super) fn token(&self, kid: Option<&str>, claims: &impl Serialize) -> Result<String, String> {
        let alg = match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        };
        let json = |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|error| error.to_string());
        let header = json(serde_json::to_vec(&Header { alg, typ: "JWT", kid }))?;
        let claims = json(serde_json::to_vec(claims))?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.sign(signed.as_bytes()).map_err(|error| format!("a token was not signed: {error}"))?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature)?;
                Ok(signature)
            }
            Self::P256(key) => Ok(key.sign(&random, signed)?.as_ref().to_vec()),
        }
    }
}

fn of_pem(pem: &str) -> Result<PrivatePkcs8KeyDer<'static>, String> {
    PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("holds no key of PKCS #8: {error}"))
}
