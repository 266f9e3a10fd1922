//! Connections in TLS: a certificate that this host does not know is refused, one that the app knows is not.

use std::sync::Arc;

use gim_client::{About, Event, State};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

use super::stand_in::{Peer, listen, options, started, until, until_state, within};

/// An authority, and a server that shows a certificate of it for this name.
fn certified(name: &str) -> (Arc<ClientConfig>, TlsAcceptor) {
    let provider = Arc::new(ring::default_provider());
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    (Arc::new(client), TlsAcceptor::from(Arc::new(server)))
}

#[tokio::test]
async fn a_certificate_that_the_app_knows_is_good() {
    let (config, acceptor) = certified("127.0.0.1");
    let (listener, url) = listen().await;
    let (_client, mut events) = started(options(&url.replace("tcp:", "tls:")).tls_config(config)).await;
    let (stream, _) = listener.accept().await.unwrap();
    let mut peer = Peer::new(within("the handshake", acceptor.accept(stream)).await.unwrap());
    peer.let_in().await;
    until_state(&mut events, "it is live", |state| *state == State::Live).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_a_stranger_is_refused() {
    let (config, for_another_name) = certified("elsewhere.example.com");
    let (_, of_a_stranger) = certified("127.0.0.1");
    for acceptor in [for_another_name, of_a_stranger] {
        let (listener, url) = listen().await;
        let (_client, mut events) = started(options(&url.replace("tcp:", "tls:")).tls_config(config.clone())).await;
        let (stream, _) = listener.accept().await.unwrap();
        assert!(within("the handshake", acceptor.accept(stream)).await.is_err());
        let message = until(&mut events, "the reason", |event| match event {
            Event::Error { about: About::Connection, message } => Some(message),
            Event::State(State::Live) => panic!("it trusts anybody"),
            _ => None,
        });
        let message = message.await;
        assert!(message.contains("certificate"), "{message}");
    }
}
