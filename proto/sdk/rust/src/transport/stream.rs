//! A stream of bytes to a server, with TLS or without.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Address, TransportError};

/// Bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects, and shakes hands where TLS is asked for.
pub(crate) async fn open(address: &Address, tls: &Tls) -> Result<Box<dyn Stream>, TransportError> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    if address.scheme.is_in_tls() { tls.wrap(stream, &address.host).await } else { Ok(Box::new(stream)) }
}

#[cfg(feature = "tls")]
pub(crate) use with_tls::Tls;
#[cfg(not(feature = "tls"))]
pub(crate) use without_tls::Tls;

#[cfg(feature = "tls")]
mod with_tls {
    use std::sync::Arc;

    use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
    use tokio::{net::TcpStream, sync::OnceCell, task};
    use tokio_rustls::TlsConnector;

    use super::{Stream, TransportError};

    /// Whom to believe: the app's own settings, or the authorities that this host trusts.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Tls {
        config: Arc<OnceCell<Arc<ClientConfig>>>,
    }

    impl Tls {
        pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
            Self { config: Arc::new(OnceCell::new_with(Some(config))) }
        }

        pub(super) async fn wrap(&self, stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, TransportError> {
            let name = ServerName::try_from(host.to_owned()).map_err(|error| TransportError::Tls(error.to_string()))?;
            let config = self.config.get_or_try_init(config_of_host).await?;
            Ok(Box::new(TlsConnector::from(config.clone()).connect(name, stream).await?))
        }
    }

    async fn config_of_host() -> Result<Arc<ClientConfig>, TransportError> {
        let load = || {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(format!("this host trusts no authority: {}", errors.join(", ")));
            }
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
            Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        };
        let loaded = task::spawn_blocking(load).await.map_err(|error| TransportError::Tls(error.to_string()))?;
        loaded.map_err(TransportError::Tls)
    }
}

#[cfg(not(feature = "tls"))]
mod without_tls {
    use tokio::net::TcpStream;

    use super::{Stream, TransportError};

    /// There is none.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Tls(());

    impl Tls {
        pub(super) async fn wrap(&self, _stream: TcpStream, _host: &str) -> Result<Box<dyn Stream>, TransportError> {
            Err(TransportError::WithoutTls)
        }
    }
}
