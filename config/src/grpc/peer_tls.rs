//! TLS between services: what a service shows, and whom it believes. Read when it starts.

use std::{net::SocketAddr, path::Path};

use rustls::crypto::ring;
use tonic::transport::{
    Certificate, ClientTlsConfig, Identity, ServerTlsConfig,
    server::{TcpConnectInfo, TlsConnectInfo},
};

use super::settings::GrpcSettings;
use crate::certificate;

/// What a server shows and asks for; `None` where it serves without TLS.
pub(super) fn server(settings: &GrpcSettings) -> Result<Option<ServerTlsConfig>, String> {
    let Some(identity) = identity(settings)? else { return Ok(None) };
    let config = ServerTlsConfig::new().identity(identity);
    if settings.client_ca.as_os_str().is_empty() {
        return Ok(Some(config));
    }
    // Clients call here too, and need none; who may call what is judged call by call.
    let authority = authority("grpc.client_ca", &settings.client_ca)?;
    Ok(Some(config.client_ca_root(authority).client_auth_optional(true)))
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

/// Whether the caller showed a certificate; it was checked when the connection began.
pub(super) fn is_certified<B>(request: &http::Request<B>) -> bool {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
    info.and_then(|info| info.peer_certs()).is_some_and(|chain| !chain.is_empty())
}

/// Where a caller is.
pub(super) fn address<B>(request: &http::Request<B>) -> Option<SocketAddr> {
    let extensions = request.extensions();
    let plain = || extensions.get::<TcpConnectInfo>();
    let info = extensions.get::<TlsConnectInfo<TcpConnectInfo>>().map(TlsConnectInfo::get_ref).or_else(plain);
    info.and_then(TcpConnectInfo::remote_addr)
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
