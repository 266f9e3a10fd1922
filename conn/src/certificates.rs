//! Certificates: read from files at start and at SIGHUP, checked, and chosen by the name that a client asks for (SNI).
//!
//! Runs at start-up and on Tokio, never on a reactor: those get whole [`TlsConfigs`] through their command queues. Tickets of sessions
//! hold all of their state, sealed with keys that outlive a reload, so resuming needs no memory here. Where the authorities
//! of clients changed, these keys do too: a ticket would let in whose certificate is not accepted any more.

use std::{path::Path, sync::Arc};

use gim_config::certificate::{self, CertificateError, Certified};
use metrics::gauge;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::TrustAnchor,
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use crate::{metrics as names, settings::TlsSettings, wire::transport::TlsConfigs};

/// What is inside of TLS, for clients that ask (ALPN).
const ALPN_TCP: &[u8] = b"gim";
const ALPN_WEB_SOCKET: &[u8] = b"http/1.1";

/// Tickets given to a client per handshake: it comes back with one connection at a time.
const TICKETS_PER_HANDSHAKE: usize = 1;

/// Loads certificates, again and again.
#[derive(Debug)]
pub struct Certificates {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
    authorities: Vec<TrustAnchor<'static>>,
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
        let ticketer = ring::Ticketer::new()?;
        Ok(Some(Self { settings: settings.clone(), provider, ticketer, authorities: Vec::new() }))
    }

    /// Reads and checks all files.
    pub fn load(&mut self) -> Result<TlsConfigs, CertificateError> {
        let (mut by_name, mut ends) = (Vec::new(), Vec::new());
        for files in &self.settings.certificates {
            let Certified { key, names: hosts, expires_s } =
                certificate::read(&files.certificate, &files.key, &self.provider)?;
            ends.push((files.certificate.display().to_string(), expires_s));
            by_name.push((hosts, key));
        }
        let by_name = Arc::new(ByName { certificates: by_name });
        let verifier = self.client_verifier()?;
        let config = |alpn: &[u8]| self.config(by_name.clone(), verifier.clone(), alpn);
        let configs = TlsConfigs { tcp: config(ALPN_TCP)?, web_socket: config(ALPN_WEB_SOCKET)? };
        // Told only now, so that the metric is about what is shown to clients, also where a reload failed.
        for (file, expires_s) in ends {
            gauge!(names::CERTIFICATE_EXPIRATION, "file" => file).set(expires_s as f64);
        }
        Ok(configs)
    }

    fn client_verifier(&mut self) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
        let path = self.settings.client_ca.as_path();
        if path.as_os_str().is_empty() {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let roots = Arc::new(certificate::read_authorities(path)?);
        if self.authorities != roots.roots {
            self.ticketer = ring::Ticketer::new().map_err(|error| certificate::unusable(path, &error))?;
            self.authorities.clone_from(&roots.roots);
        }
        let builder = WebPkiClientVerifier::builder_with_provider(roots, self.provider.clone());
        let builder = if self.settings.client_certificate_required { builder } else { builder.allow_unauthenticated() };
        builder
            .build()
            .map_err(|error| CertificateError::Unusable { path: path.to_owned(), problem: error.to_string() })
    }

    fn config(
        &self,
        by_name: Arc<ByName>,
        verifier: Arc<dyn ClientCertVerifier>,
        alpn: &[u8],
    ) -> Result<Arc<ServerConfig>, CertificateError> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate::unusable(Path::new("TLS"), &error))?;
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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;
    use crate::settings::CertificateSettings;

    fn issue(certificate: PathBuf, last_year: i32) -> CertificateSettings {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 1, 1);
        let (key, key_file) = (KeyPair::generate().unwrap(), certificate.with_extension("key"));
        fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        CertificateSettings { certificate, key: key_file }
    }

    #[test]
    fn the_metric_tells_until_when_the_certificates_are_good_that_are_shown() {
        let folder = TempDir::new().unwrap();
        let (first, second) = (folder.path().join("first.pem"), folder.path().join("second.pem"));
        let files = vec![issue(first.clone(), 3000), issue(second.clone(), 3000)];
        let settings = TlsSettings { certificates: files, ..TlsSettings::default() };
        let recorder = PrometheusBuilder::new().build_recorder();
        // The exporter gives its lines in no order.
        let rendered = || {
            let mut lines: Vec<String> = recorder.handle().render().lines().map(str::to_owned).collect();
            lines.sort();
            lines.join("\n")
        };
        metrics::with_local_recorder(&recorder, || {
            let mut certificates = Certificates::new(&settings).unwrap().unwrap();
            certificates.load().unwrap();
            let before = rendered();
            assert!(before.contains("first.pem") && before.contains("second.pem"), "{before}");

            issue(first.clone(), 3001);
            fs::write(&second, "broken").unwrap();
            certificates.load().unwrap_err();
            assert_eq!(rendered(), before);

            issue(second.clone(), 3001);
            certificates.load().unwrap();
            assert_ne!(rendered(), before);
        });
    }

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(is_for("chat.example", "CHAT.example"));
        assert!(is_for("*.chat.example", "eu.chat.example"));
        for host in ["chat.example", "a.b.chat.example", "other.example", ""] {
            assert!(!is_for("*.chat.example", host), "{host}");
        }
    }
}
