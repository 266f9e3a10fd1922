//! The SDK in Rust in TLS, to a conn with a certificate of an authority of the test: whoever trusts it chats, and nobody else is let in.

use std::{path::Path, sync::Arc};

use gim_client::{About, Event, State, Target};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{sdk::App, server::Server};

/// What an app sets that trusts this authority alone.
fn trusting(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn authority(server: &Server) -> Arc<ClientConfig> {
    trusting(&server.certificates.as_ref().unwrap().ca)
}

#[test]
fn the_sdk_chats_in_tls_by_tcp_and_by_web_socket() {
    let server = Server::start_certified();
    let [alice, bob] = ["13800000021", "13800000022"].map(|number| server.business_sign_in(number));
    let [by_tcp, by_web_socket] = server.tls_urls();
    let mut of_alice =
        App::start(&server, "Alice", &alice, |options| options.url(&by_tcp).tls_config(authority(&server)));
    let mut of_bob =
        App::start(&server, "Bob", &bob, |options| options.url(&by_web_socket).tls_config(authority(&server)));
    server.runtime.block_on(async {
        of_alice.until_live().await;
        of_bob.until_live().await;
        // More than a record of TLS.
        let long = "x".repeat(50 * 1024);
        for text in ["hello, Bob", &long] {
            of_alice.say(Target::User(of_bob.user_id), text).await;
            of_bob.until_text(text).await;
            of_bob.say(Target::User(of_alice.user_id), &format!("{text}, too")).await;
            of_alice.until_text(&format!("{text}, too")).await;
        }
    });
}

#[test]
fn a_conn_with_a_certificate_of_a_stranger_is_refused_with_the_reason() {
    let (server, other) = (Server::start_certified(), Server::start_certified());
    let identity = server.business_sign_in("13800000023");
    for url in server.tls_urls() {
        // One that trusts another authority, and one that trusts those of this host.
        for config in [Some(authority(&other)), None] {
            let mut app = App::start(&server, "Mallory's victim", &identity, |options| match &config {
                Some(config) => options.url(&url).tls_config(config.clone()),
                None => options.url(&url),
            });
            let reason = app.until("the reason", |event| match event {
                Event::Error { about: About::Connection, message } => Some(message.clone()),
                Event::State(State::Live) => panic!("it trusts anybody"),
                _ => None,
            });
            let reason = server.runtime.block_on(reason);
            assert!(reason.contains("certificate") || reason.contains("trusts no authority"), "{reason}");
        }
    }
}
