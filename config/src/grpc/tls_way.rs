//! The way in TLS to those whom a service calls: whom it believes, and what it shows, as the files said last.
//!
//! Part of [`GrpcSettings`], whose clones share what was read. Connections are opened on the tasks of channels. Always holds: files of
//! no use change nothing; connections that are open stay as they are, and each new one takes what was read last.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, crypto::ring, pki_types::ServerName, sign::SingleCertAndKey};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

use super::{CONNECT_TIMEOUT, all_of, settings::GrpcSettings};
use crate::{certificate, listen::Endpoint};

/// What was read for callers, for each set of files. Says nothing about whether settings are the same.
#[derive(Debug, Clone, Default)]
pub struct CallerTls(Arc<Mutex<Vec<Arc<ReadFiles>>>>);

#[derive(Debug)]
struct ReadFiles {
    files: Files,
    now: RwLock<Arc<ClientConfig>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    server_ca: PathBuf,
}

/// See the module: the way to one peer.
#[derive(Debug, Clone)]
pub(super) struct TlsWay {
    /// Host and port.
    address: String,
    server_name: ServerName<'static>,
    read: Arc<ReadFiles>,
}

impl PartialEq for CallerTls {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for CallerTls {}

impl GrpcSettings {
    /// Reads again what is shown to others and whom of them is believed, for whoever calls already.
    ///
    /// # Errors
    /// Why it stays as it was.
    pub fn reload_caller_tls(&self) -> Result<(), String> {
        let read = self.caller_tls.lock().clone();
        all_of(read.iter().map(|read| {
            let next = read.files.read()?;
            *read.now.write().unwrap_or_else(PoisonError::into_inner) = next;
            Ok(())
        }))
    }
}

impl CallerTls {
    /// What these settings name, read now if it was not before.
    fn of(settings: &GrpcSettings) -> Result<Arc<ReadFiles>, String> {
        let GrpcSettings { certificate, key, server_ca, caller_tls, .. } = settings.clone();
        let files = Files { certificate, key, server_ca };
        let mut known = caller_tls.lock();
        if let Some(read) = known.iter().find(|read| read.files == files) {
            return Ok(read.clone());
        }
        let now = RwLock::new(files.read()?);
        let read = Arc::new(ReadFiles { files, now });
        known.push(read.clone());
        Ok(read)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ReadFiles>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn read(&self) -> Result<Arc<ClientConfig>, String> {
        if self.server_ca.as_os_str().is_empty() {
            return Err("grpc.server_ca: must be set to call an https:// address".into());
        }
        let provider = Arc::new(ring::default_provider());
        let authorities =
            certificate::read_authorities(&self.server_ca).map_err(|error| format!("grpc.server_ca: {error}"))?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("grpc.server_ca: {error}"))?
            .with_root_certificates(authorities);
        let mut config = if self.certificate.as_os_str().is_empty() {
            builder.with_no_client_auth()
        } else {
            let own = certificate::read(&self.certificate, &self.key, &provider)
                .map_err(|error| format!("grpc.certificate: {error}"))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.key)))
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl TlsWay {
    /// To a peer whose certificate is for `server_name`, or else for what `peer` says.
    pub(super) fn new(peer: &Endpoint, server_name: Option<&str>, settings: &GrpcSettings) -> Result<Self, String> {
        let read = CallerTls::of(settings)?;
        let text = peer.to_string();
        let address = text.rsplit_once("://").map_or(text.as_str(), |(_, address)| address).to_owned();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let name = server_name.unwrap_or(host.trim_start_matches('[').trim_end_matches(']')).to_owned();
        let server_name = ServerName::try_from(name).map_err(|error| format!("{peer}: {error}"))?;
        Ok(Self { address, server_name, read })
    }

    async fn open(self) -> io::Result<TlsStream<TcpStream>> {
        let config = self.read.now.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(config).connect(self.server_name, stream).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Ok(stream),
            _ => Err(io::Error::other("it speaks no HTTP/2")),
        }
    }
}

impl Service<http::Uri> for TlsWay {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _address: http::Uri) -> Self::Future {
        let opened = timeout(CONNECT_TIMEOUT, self.clone().open());
        Box::pin(async { opened.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(TokioIo::new) })
    }
}
