//! PEM files of certificates and keys, read and checked when a service starts: what is of no use there is named, rather than
//! found out by the first caller.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Why certificates are of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or holds something else.
    #[error("cannot read {what} from {path}: {problem}")]
    Unreadable {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// In the reader's words.
        problem: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// A file.
        certificate: PathBuf,
        /// Another file.
        key: PathBuf,
    },
    /// It is too late, or too early.
    #[error("the certificate in {path} {problem}")]
    NotValidNow {
        /// The file.
        path: PathBuf,
        /// Since or until when.
        problem: String,
    },
    /// rustls does not take it.
    #[error("the certificate in {path} cannot be used: {problem}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// In rustls's words.
        problem: String,
    },
}

/// A certificate that is valid now, with its key.
#[derive(Debug)]
pub struct Certified {
    /// Both, ready to be shown.
    pub key: Arc<CertifiedKey>,
    /// The host names that it is for, perhaps `*.example.com`.
    pub names: Vec<String>,
    /// Unix time of its end.
    pub expires_s: i64,
}

/// Reads a chain of certificates and the key of the first.
pub fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Certified, CertificateError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64);
    let chain = read_chain(certificate)?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("a private key", key, &error.to_string()))?;
    let first = chain.first().ok_or_else(|| unreadable("a certificate", certificate, "there is none in it"))?;
    let (_, parsed) = X509Certificate::from_der(first)
        .map_err(|error| unreadable("a certificate", certificate, &error.to_string()))?;
    let expires_s = check_time(certificate, &parsed, now_s)?;
    let names = names_of(&parsed);
    let certified = CertifiedKey::from_der(chain, key_der, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        error => unusable(certificate, &error),
    })?;
    Ok(Certified { key: Arc::new(certified), names, expires_s })
}

/// Reads authorities, at least one, of which all are valid now.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64);
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        // What this parser does not understand is for rustls to judge.
        if let Ok((_, parsed)) = X509Certificate::from_der(&certificate) {
            check_time(path, &parsed, now_s)?;
        }
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    if roots.is_empty() {
        return Err(unreadable("a certificate", path, "there is none in it"));
    }
    Ok(roots)
}

/// Puts what rustls says about a certificate into words.
pub fn unusable(path: &Path, error: &rustls::Error) -> CertificateError {
    CertificateError::Unusable { path: path.to_owned(), problem: error.to_string() }
}

/// Returns when it ends.
fn check_time(path: &Path, certificate: &X509Certificate<'_>, now_s: i64) -> Result<i64, CertificateError> {
    let validity = certificate.validity();
    let not_now = |problem: String| CertificateError::NotValidNow { path: path.to_owned(), problem };
    if validity.not_after.timestamp() <= now_s {
        return Err(not_now(format!("expired at {}", validity.not_after)));
    }
    if validity.not_before.timestamp() > now_s {
        return Err(not_now(format!("is valid only from {}", validity.not_before)));
    }
    Ok(validity.not_after.timestamp())
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    let dns =
        names.filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None });
    dns.collect()
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let fail = |error: rustls::pki_types::pem::Error| unreadable("a certificate", path, &error.to_string());
    CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)
}

fn unreadable(what: &'static str, path: &Path, problem: &str) -> CertificateError {
    CertificateError::Unreadable { what, path: path.to_owned(), problem: problem.to_owned() }
}
