//! TLS of a gRPC listener: what it shows, and whose certificates it asks for, as the files said last.
//!
//! Read when the service starts and at SIGHUP, taken by each handshake. Always holds: files of no use change nothing, and connections
//! that are open stay as they are.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use metrics::gauge;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};
use tokio_rustls::TlsAcceptor;

use super::{clients::ClientsSettings, settings::GrpcSettings};
use crate::{certificate, metrics as names};

/// See the module.
#[derive(Debug)]
pub(super) struct ListenerTls {
    files: Files,
    now: RwLock<Arc<ServerConfig>>,
}

#[derive(Debug)]
struct Files {
    /// Of the settings that name them.
    section: &'static str,
    certificate: PathBuf,
    key: PathBuf,
    /// Empty where nobody is asked for a certificate.
    client_ca: PathBuf,
}

impl ListenerTls {
    /// Of the listener for services; `None` where it serves without TLS.
    pub(super) fn of_services(settings: &GrpcSettings) -> Result<Option<Arc<Self>>, String> {
        let GrpcSettings { certificate, key, client_ca, .. } = settings.clone();
        Self::read(Files { section: "grpc", certificate, key, client_ca })
    }

    /// The same for clients, who show nothing themselves.
    pub(super) fn of_clients(settings: &ClientsSettings) -> Result<Option<Arc<Self>>, String> {
        let ClientsSettings { certificate, key, .. } = settings.clone();
        Self::read(Files { section: "clients", certificate, key, client_ca: PathBuf::new() })
    }

    fn read(files: Files) -> Result<Option<Arc<Self>>, String> {
        if files.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let now = RwLock::new(files.read()?);
        Ok(Some(Arc::new(Self { files, now })))
    }

    /// Reads the files again.
    pub(super) fn load(&self) -> Result<(), String> {
        let next = self.files.read()?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

impl Files {
    fn read(&self) -> Result<Arc<ServerConfig>, String> {
        let named = |problem: &dyn std::fmt::Display| format!("{}.certificate: {problem}", self.section);
        let provider = Arc::new(ring::default_provider());
        let own = certificate::read(&self.certificate, &self.key, &provider).map_err(|error| named(&error))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| named(&error))?
            .with_client_cert_verifier(self.verifier()?);
        let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(own.key)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tell_expiration(&self.certificate, own.expires_s);
        Ok(Arc::new(config))
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, String> {
        if self.client_ca.as_os_str().is_empty() {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let named = |problem: &dyn std::fmt::Display| format!("{}.client_ca: {problem}", self.section);
        let authorities = certificate::read_authorities(&self.client_ca).map_err(|error| named(&error))?;
        let provider = Arc::new(ring::default_provider());
        // Clients call here too, and need none; who may call what is judged call by call.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
        verifier.allow_unauthenticated().build().map_err(|error| named(&error))
    }
}

/// For whoever watches that it is renewed in time. Told of what is shown, and not of files that are of no use.
fn tell_expiration(certificate: &Path, expires_s: i64) {
    gauge!(names::GRPC_CERTIFICATE_EXPIRATION, "file" => certificate.display().to_string()).set(expires_s as f64);
}
