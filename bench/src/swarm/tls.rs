//! TLS, as a client of the swarm speaks it, with WebSocket inside where that is wanted. Without IO. Whoever shows a certificate
//! is believed: a run measures a server that it was pointed at, often one with a certificate made for the occasion.

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    transport::{TransportError, TransportLayer},
    web::WebSocket,
};

/// One client's layer.
#[derive(Debug)]
pub(super) struct Tls {
    connection: ClientConnection,
    inner: Option<WebSocket>,
    is_inner_asked: bool,
}

impl Tls {
    /// A layer to the host of this name.
    pub(super) fn new(host: &str, inner: Option<WebSocket>) -> Result<Self, TransportError> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(|error| TransportError(error.to_string()))?;
        let mut connection = ClientConnection::new(config(), name).map_err(told)?;
        connection.set_buffer_limit(None);
        Ok(Self { connection, inner, is_inner_asked: false })
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), TransportError> {
        while self.connection.wants_write() {
            self.connection.write_tls(out).map_err(told)?;
        }
        Ok(())
    }

    fn take_plain(&mut self, count: usize, frames: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut plain = vec![0; count];
        self.connection.reader().read_exact(&mut plain).map_err(told)?;
        let Some(inner) = &mut self.inner else {
            frames.extend_from_slice(&plain);
            return Ok(());
        };
        let mut answer = Vec::new();
        inner.receive(&plain, frames, &mut answer)?;
        self.connection.writer().write_all(&answer).map_err(told)
    }

    fn ask_inner(&mut self) -> Result<(), TransportError> {
        if let Some(inner) = &mut self.inner
            && !self.is_inner_asked
            && !self.connection.is_handshaking()
        {
            self.is_inner_asked = true;
            let mut request = Vec::new();
            inner.open(&mut request)?;
            self.connection.writer().write_all(&request).map_err(told)?;
        }
        Ok(())
    }
}

impl TransportLayer for Tls {
    fn open(&mut self, out: &mut Vec<u8>) -> Result<(), TransportError> {
        self.flush(out)
    }

    fn is_open(&self) -> bool {
        !self.connection.is_handshaking() && self.inner.as_ref().is_none_or(TransportLayer::is_open)
    }

    fn send(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
        match &mut self.inner {
            None => self.connection.writer().write_all(frames).map_err(told)?,
            Some(inner) => {
                let mut messages = Vec::new();
                inner.send(frames, &mut messages)?;
                self.connection.writer().write_all(&messages).map_err(told)?;
            }
        }
        self.flush(out)
    }

    fn receive(&mut self, mut bytes: &[u8], frames: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), TransportError> {
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).map_err(told)?;
            let state = self.connection.process_new_packets().map_err(told)?;
            let count = state.plaintext_bytes_to_read();
            if count > 0 {
                self.take_plain(count, frames)?;
            }
            self.ask_inner()?;
        }
        self.flush(out)
    }
}

fn told(error: impl std::fmt::Display) -> TransportError {
    TransportError(format!("TLS failed: {error}"))
}

/// One for all clients: what it holds is the same.
fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring has them all")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believing(provider)))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    };
    CONFIG.get_or_init(make).clone()
}

/// Checks that the server has the key of its certificate, and nothing else.
#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
