//! URLs by which a file can be read without a token until they expire: the id, the last second, and an HMAC of both. Pure; the time is
//! an argument.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;

use crate::domain::file::FileId;

const CENTURY_S: i64 = 36_525 * 86_400;

/// Which bytes of a file a URL reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The file.
    Whole,
    /// A small picture of it.
    Thumbnail,
    /// The file, for whoever checks it before others may read it.
    Check,
}

/// What a URL shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What stands after the address of the server.
    pub path: String,
    /// The first millisecond at which it is no longer good.
    pub expires_at_ms: i64,
}

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlProblem {
    /// It is not one of ours, or was changed.
    Wrong,
    /// It was good.
    Expired,
}

/// Signs and checks.
pub struct Signer {
    key: hmac::Key,
    ttl_s: i64,
}

impl Variant {
    /// How it stands in paths.
    pub fn of_path(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Whole),
            "thumbnail" => Some(Self::Thumbnail),
            "check" => Some(Self::Check),
            _ => None,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Thumbnail => "/thumbnail",
            Self::Check => "/check",
        }
    }
}

impl Signer {
    /// URLs that are good for so long, at least.
    pub fn new(secret: &[u8], ttl_s: u32) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), ttl_s: i64::from(ttl_s) }
    }

    /// The URL of a file. It stays the same for a while (a quarter of what it is good for), so that browsers find it in their caches.
    pub fn sign(&self, file_id: FileId, variant: Variant, now_ms: i64) -> Signed {
        let step_s = (self.ttl_s / 4).max(1);
        self.sign_until(file_id, variant, (now_ms / 1_000 / step_s + 1) * step_s + self.ttl_s)
    }

    /// A URL that nobody will see expire, for clients who cannot ask for another one.
    pub fn sign_for_good(&self, file_id: FileId, variant: Variant, now_ms: i64) -> Signed {
        self.sign_until(file_id, variant, now_ms / 1_000 + CENTURY_S)
    }

    fn sign_until(&self, file_id: FileId, variant: Variant, expires_s: i64) -> Signed {
        let tag = hmac::sign(&self.key, signed_text(file_id, variant, expires_s).as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(tag);
        let path = format!("/files/{file_id}{}?expires={expires_s}&signature={signature}", variant.suffix());
        Signed { path, expires_at_ms: expires_s * 1_000 }
    }

    /// Whether this was signed here, and when it ends: in milliseconds.
    ///
    /// # Errors
    /// It was not, or has ended. How long it takes to find out tells nothing of a signature.
    pub fn check(
        &self,
        file_id: FileId,
        variant: Variant,
        expires: &str,
        signature: &str,
        now_ms: i64,
    ) -> Result<i64, UrlProblem> {
        let expires_s = expires.parse::<i64>().ok().filter(|seconds| seconds.to_string() == expires);
        let expires_s =
            expires_s.filter(|seconds| (0..=i64::MAX / 1_000).contains(seconds)).ok_or(UrlProblem::Wrong)?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| UrlProblem::Wrong)?;
        hmac::verify(&self.key, signed_text(file_id, variant, expires_s).as_bytes(), &tag)
            .map_err(|_| UrlProblem::Wrong)?;
        let expires_at_ms = expires_s * 1_000;
        if now_ms < expires_at_ms { Ok(expires_at_ms) } else { Err(UrlProblem::Expired) }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").field("ttl_s", &self.ttl_s).finish_non_exhaustive()
    }
}

fn signed_text(file_id: FileId, variant: Variant, expires_s: i64) -> String {
    format!("file\n{file_id}{}\n{expires_s}", variant.suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_123;

    fn signer() -> Signer {
        Signer::new(b"a secret of at least 32 bytes, so", 400)
    }

    fn parts(signed: &Signed) -> (String, String) {
        let query = signed.path.split_once("?expires=").unwrap().1;
        let (expires, signature) = query.split_once("&signature=").unwrap();
        (expires.to_owned(), signature.to_owned())
    }

    #[test]
    fn a_url_is_good_until_it_expires_and_the_same_for_a_while() {
        let (signer, file_id) = (signer(), FileId::random());
        let signed = signer.sign(file_id, Variant::Whole, NOW_MS);
        assert!(signed.expires_at_ms >= NOW_MS + 400_000 && signed.expires_at_ms <= NOW_MS + 500_000);
        assert_eq!(signer.sign(file_id, Variant::Whole, NOW_MS + 50_000), signed);
        let (expires, signature) = parts(&signed);
        let check = |now_ms| signer.check(file_id, Variant::Whole, &expires, &signature, now_ms);
        assert_eq!(check(signed.expires_at_ms - 1), Ok(signed.expires_at_ms));
        assert_eq!(check(signed.expires_at_ms), Err(UrlProblem::Expired));
    }

    #[test]
    fn a_url_that_was_changed_is_refused() {
        let (signer, file_id) = (signer(), FileId::random());
        let (expires, signature) = parts(&signer.sign(file_id, Variant::Whole, NOW_MS));
        let later = (expires.parse::<i64>().unwrap() + 1).to_string();
        let wrong = [
            signer.check(FileId::random(), Variant::Whole, &expires, &signature, NOW_MS),
            signer.check(file_id, Variant::Thumbnail, &expires, &signature, NOW_MS),
            signer.check(file_id, Variant::Whole, &later, &signature, NOW_MS),
            signer.check(file_id, Variant::Whole, &format!("+{expires}"), &signature, NOW_MS),
            signer.check(file_id, Variant::Whole, "9223372036854775807", &signature, NOW_MS),
            signer.check(file_id, Variant::Whole, &expires, "", NOW_MS),
            signer.check(file_id, Variant::Whole, &expires, &signature[1..], NOW_MS),
            Signer::new(b"another secret of at least 32 bytes", 400).check(
                file_id,
                Variant::Whole,
                &expires,
                &signature,
                NOW_MS,
            ),
        ];
        assert_eq!(wrong, [Err(UrlProblem::Wrong); 8]);
    }
}
