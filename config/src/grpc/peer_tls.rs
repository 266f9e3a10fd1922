//! TLS between services: what a service shows, and whom it believes. Read when it starts.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use metrics::gauge;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio_rustls::TlsAcceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::settings::GrpcSettings;
use crate::{certificate, metrics as names};

/// What a server shows and asks for; `None` where it serves without TLS.
pub(super) fn server(settings: &GrpcSettings) -> Result<Option<TlsAcceptor>, String> {
    let GrpcSettings { certificate, key, .. } = settings;
    if certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(ring::default_provider());
    let own = certificate::read(certificate, key, &provider).map_err(|error| format!("grpc.certificate: {error}"))?;
    tell_expiration(certificate, own.expires_s);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("grpc.certificate: {error}"))?
        .with_client_cert_verifier(verifier(settings)?);
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(own.key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// A certificate that is shown to clients, and may be read again while it is.
#[derive(Debug)]
pub(super) struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<Arc<CertifiedKey>>,
}

impl Shown {
    /// Reads and checks the files.
    pub(super) fn new(certificate: &Path, key: &Path) -> Result<Self, String> {
        let now = RwLock::new(read_own(certificate, key)?);
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), now })
    }

    /// Reads the files again.
    pub(super) fn load(&self) -> Result<(), String> {
        let next = read_own(&self.certificate, &self.key)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read_own(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, String> {
    let own = certificate::read(certificate, key, &ring::default_provider());
    let own = own.map_err(|error| format!("clients.certificate: {error}"))?;
    tell_expiration(certificate, own.expires_s);
    Ok(own.key)
}

/// For whoever watches that it is renewed in time. Told of what is shown, and not of files that are of no use.
fn tell_expiration(certificate: &Path, expires_s: i64) {
    gauge!(names::GRPC_CERTIFICATE_EXPIRATION, "file" => certificate.display().to_string()).set(expires_s as f64);
}

/// TLS for clients, who show nothing themselves; HTTP/2 where they know it.
pub(super) fn for_clients(shown: Arc<Shown>) -> Result<TlsAcceptor, String> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("clients.certificate: {error}"))?;
    let mut config = config.with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(settings: &GrpcSettings) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if settings.client_ca.as_os_str().is_empty() {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let named = |problem: &dyn std::fmt::Display| format!("grpc.client_ca: {problem}");
    let authorities = certificate::read_authorities(&settings.client_ca).map_err(|error| named(&error))?;
    let provider = Arc::new(ring::default_provider());
    // Clients call here too, and need none; who may call what is judged call by call.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
    verifier.allow_unauthenticated().build().map_err(|error| named(&error))
}

/// What a caller shows and believes.
pub(super) fn client(settings: &GrpcSettings) -> Result<ClientTlsConfig, String> {
    if settings.server_ca.as_os_str().is_empty() {
        return Err("grpc.server_ca: must be set to call an https:// address".into());
    }
    let authority = authority("grpc.server_ca", &settings.server_ca)?;
    let config = ClientTlsConfig::new().ca_certificate(authority);
    Ok(match identity(settings)? {
        Some(identity) => config.identity(identity),
        None => config,
    })
}

fn identity(settings: &GrpcSettings) -> Result<Option<Identity>, String> {
    if settings.certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    let GrpcSettings { certificate, key, .. } = settings;
    // tonic takes the files' text and would say no more than that something is wrong with it.
    certificate::read(certificate, key, &ring::default_provider())
        .map_err(|error| format!("grpc.certificate: {error}"))?;
    Ok(Some(Identity::from_pem(read("grpc.certificate", certificate)?, read("grpc.key", key)?)))
}

fn authority(name: &str, path: &Path) -> Result<Certificate, String> {
    certificate::read_authorities(path).map_err(|error| format!("{name}: {error}"))?;
    Ok(Certificate::from_pem(read(name, path)?))
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{name}: cannot read {}: {error}", path.display()))
}
