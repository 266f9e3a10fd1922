//! Certificates: read from files at start and at SIGHUP, checked, and chosen by the name that a client asks for (SNI).
//!
//! Runs at start-up and on Tokio, never on a reactor: those get whole [`TlsConfigs`] through their inboxes. Tickets of sessions
//! hold all of their state, sealed with keys that outlive a reload, so resuming needs no memory here.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use metrics::gauge;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{metrics as names, settings::TlsSettings, wire::transport::TlsConfigs};

/// What is inside of TLS, for clients that ask (ALPN).
const ALPN_TCP: &[u8] = b"gim";
const ALPN_WEB_SOCKET: &[u8] = b"http/1.1";

/// Tickets given to a client per handshake: it comes back with one connection at a time.
const TICKETS_PER_HANDSHAKE: usize = 1;

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

/// Loads certificates, again and again.
#[derive(Debug)]
pub struct Certificates {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
}

/// The certificates of this node, and the names that each is for.
#[derive(Debug)]
struct ByName {
    certificates: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl Certificates {
    /// Those of the settings; `None` where there are none.
    pub fn new(settings: &TlsSettings) -> Result<Option<Self>, rustls::Error> {
        if settings.certificates.is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        Ok(Some(Self { settings: settings.clone(), provider, ticketer: ring::Ticketer::new()? }))
    }

    /// Reads and checks all files.
    pub fn load(&self) -> Result<TlsConfigs, CertificateError> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64);
        let files = self.settings.certificates.iter();
        let certificates = files.map(|files| self.read(&files.certificate, &files.key, now_s));
        let by_name = Arc::new(ByName { certificates: certificates.collect::<Result<_, _>>()? });
        let verifier = self.client_verifier()?;
        let config = |alpn: &[u8]| self.config(by_name.clone(), verifier.clone(), alpn);
        Ok(TlsConfigs { tcp: config(ALPN_TCP)?, web_socket: config(ALPN_WEB_SOCKET)? })
    }

    fn read(
        &self,
        certificate: &Path,
        key: &Path,
        now_s: i64,
    ) -> Result<(Vec<String>, Arc<CertifiedKey>), CertificateError> {
        let chain = read_chain(certificate)?;
        let key_der =
            PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("a private key", key, &error.to_string()))?;
        let first = chain.first().ok_or_else(|| unreadable("a certificate", certificate, "there is none in it"))?;
        let (_, parsed) = X509Certificate::from_der(first)
            .map_err(|error| unreadable("a certificate", certificate, &error.to_string()))?;
        let validity = parsed.validity();
        let not_now = |problem: String| CertificateError::NotValidNow { path: certificate.to_owned(), problem };
        if validity.not_after.timestamp() <= now_s {
            return Err(not_now(format!("expired at {}", validity.not_after)));
        }
        if validity.not_before.timestamp() > now_s {
            return Err(not_now(format!("is valid only from {}", validity.not_before)));
        }
        gauge!(names::CERTIFICATE_EXPIRES, "file" => certificate.display().to_string())
            .set(validity.not_after.timestamp() as f64);
        let names = names_of(&parsed);
        let certified = CertifiedKey::from_der(chain, key_der, &self.provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CertificateError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            error => unusable(certificate, &error),
        })?;
        Ok((names, Arc::new(certified)))
    }

    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
        let path = &self.settings.client_ca;
        if path.as_os_str().is_empty() {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        for certificate in read_chain(path)? {
            roots.add(certificate).map_err(|error| unusable(path, &error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), self.provider.clone());
        let builder = if self.settings.client_certificate_required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| unreadable("a certificate authority", path, &error.to_string()))
    }

    fn config(
        &self,
        by_name: Arc<ByName>,
        verifier: Arc<dyn ClientCertVerifier>,
        alpn: &[u8],
    ) -> Result<Arc<ServerConfig>, CertificateError> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(Path::new("TLS"), &error))?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(by_name);
        config.alpn_protocols = vec![alpn.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.ticketer.clone();
        config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name().unwrap_or("");
        let is_for = |names: &[String]| names.iter().any(|name| is_for(name, wanted));
        // Who asks for no name, or one that we do not have, gets the first and judges for itself.
        let found = self.certificates.iter().find(|(names, _)| is_for(names)).or(self.certificates.first());
        found.map(|(_, certified)| certified.clone())
    }
}

/// Whether a name of a certificate, perhaps `*.example.com`, is for this host.
fn is_for(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => name.eq_ignore_ascii_case(host),
    }
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

fn unusable(path: &Path, error: &rustls::Error) -> CertificateError {
    CertificateError::Unusable { path: path.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(is_for("chat.example", "CHAT.example"));
        assert!(is_for("*.chat.example", "eu.chat.example"));
        for host in ["chat.example", "a.b.chat.example", "other.example", ""] {
            assert!(!is_for("*.chat.example", host), "{host}");
        }
    }
}
