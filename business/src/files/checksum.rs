//! The header `Upload-Checksum` of tus: which bytes a client means. Pure.

use axum::http::HeaderMap;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

/// What is understood, as `Tus-Checksum-Algorithm` says it.
pub const ALGORITHMS: &str = "sha1,sha256,sha512";
const HEADER: &str = "upload-checksum";

/// What a body has to be.
#[derive(Debug, Clone)]
pub struct Checksum {
    algorithm: &'static Algorithm,
    expected: Vec<u8>,
}

/// What a body is, as far as it has come.
pub struct Digest(Context);

impl Checksum {
    /// What the headers say, if they do.
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        const FORM: &str = "upload-checksum: must be `sha1`, `sha256` or `sha512`, a space, and the hash in base64";
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        let (name, hash) = value.to_str().ok().and_then(|text| text.trim().split_once(' ')).ok_or(FORM)?;
        let algorithm = match name {
            "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &SHA256,
            "sha512" => &SHA512,
            _ => return Err(FORM),
        };
        let expected = BASE64_STANDARD.decode(hash).map_err(|_| FORM)?;
        if expected.len() == algorithm.output_len() { Ok(Some(Self { algorithm, expected })) } else { Err(FORM) }
    }

    /// Begins to look at a body.
    pub fn digest(&self) -> Digest {
        Digest(Context::new(self.algorithm))
    }

    /// Whether a body was the one that was meant.
    pub fn is_of(&self, digest: Digest) -> bool {
        digest.0.finish().as_ref() == self.expected
    }
}

impl Digest {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<Checksum>, &'static str> {
        Checksum::of(&HeaderMap::from_iter([(HEADER.parse().unwrap(), text.parse().unwrap())]))
    }

    #[test]
    fn a_checksum_knows_its_bytes() {
        let checksum = of("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=").unwrap().unwrap();
        let is_of = |bytes: &[u8]| {
            let mut digest = checksum.digest();
            digest.update(bytes);
            checksum.is_of(digest)
        };
        assert!(is_of(b"hello") && !is_of(b"hallo") && !is_of(b""));
        assert!(Checksum::of(&HeaderMap::new()).unwrap().is_none());
        for wrong in ["", "sha1", "md5 aGVsbG8=", "sha1 aGVsbG8=", "sha256 qvTGHdzF6KLavt4PO0gs2a6pQ00=", "sha1 ***"] {
            of(wrong).unwrap_err();
        }
    }
}
