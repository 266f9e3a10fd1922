//! An authority of a test, and the certificates that it signs, as PEM files.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority, and what it signed. Its files end with it.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, whom nobody trusts yet.
    ///
    /// # Panics
    /// Where the system gives no folder.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().expect("keys can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("what stands above can be signed");
        let folder = TempDir::new().expect("there is room for a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("the folder is ours");
        Self { folder, issuer }
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `localhost` and its key.
    pub fn issue(&self) -> (PathBuf, PathBuf) {
        self.issue_with("own", |_| {})
    }

    /// A certificate and its key, in files of that name.
    ///
    /// # Panics
    /// Where `change` asks for what cannot be signed.
    pub fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("it is a name");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let signed = params.signed_by(&key, &self.issuer).expect("it can be signed");
        let path = |ending| self.folder.path().join(format!("{name}.{ending}"));
        let files = (path("pem"), path("key"));
        fs::write(&files.0, signed.pem()).expect("the folder is ours");
        fs::write(&files.1, key.serialize_pem()).expect("the folder is ours");
        files
    }
}
