//! A server and a client of TLS in memory: what is unfinished waits, and is not disturbed by what is sealed meanwhile.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore,
    ServerConfig, SupportedCipherSuite,
    crypto::{
        cipher::{AeadKey, InboundOpaqueMessage, Iv, OutboundChunks, OutboundPlainMessage, Tls13AeadAlgorithm},
        ring,
    },
    pki_types::{PrivateKeyDer, ServerName},
};

use super::*;

/// Of a record.
const HEADER_BYTES: usize = 5;

/// "From the next record on I use new keys; you need not."
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

struct Pair {
    server: Tls,
    client: ClientConnection,
}

impl Pair {
    fn new() -> Self {
        Self::speaking(&[], &[])
    }

    /// What either speaks inside of TLS.
    fn speaking(server_alpn: &[&str], client_alpn: &[&str]) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let provider = Arc::new(ring::default_provider());
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["conn.test".into()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let mut server =
            builder.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        server.alpn_protocols = names(server_alpn);
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut client = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = names(client_alpn);
        client.enable_secret_extraction = true;
        let name = ServerName::try_from("conn.test").unwrap();
        Self { server: Tls::new(server.into()).unwrap(), client: ClientConnection::new(client.into(), name).unwrap() }
    }

    fn open() -> Self {
        let mut pair = Self::new();
        pair.shake_hands();
        pair
    }

    fn shake_hands(&mut self) {
        while self.client.is_handshaking() || !self.server.is_open() {
            let mut said = self.said();
            assert_eq!(self.server.receive(&mut said, &mut Vec::new()).unwrap(), Received::More);
            self.answer();
        }
    }

    /// What the client has to say.
    fn said(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// The client gets what the server has to say; returns what was in it.
    fn answer(&mut self) -> Vec<u8> {
        let mut bytes = self.server.unsent();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets().unwrap();
        }
        self.server.advance(usize::MAX);
        let mut plain = Vec::new();
        let end = self.client.reader().read_to_end(&mut plain).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::WouldBlock);
        plain
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; SEALED_BYTES_MAX];
        let count = self.server.seal(plain, &mut sealed).unwrap();
        sealed.truncate(count);
        sealed
    }
}

fn record(first_bytes: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&first_bytes[..3], &length, payload].concat()
}

#[test]
fn a_handshake_message_that_is_spread_over_records_is_put_together() {
    let length = Pair::new().said().len();
    for cut in 1..length - HEADER_BYTES {
        let mut pair = Pair::new();
        let hello = pair.said();
        let (first, second) = hello[HEADER_BYTES..].split_at(cut);
        for part in [first, second] {
            let received = pair.server.receive(&mut record(&hello, part), &mut Vec::new());
            assert_eq!(received.unwrap(), Received::More);
        }
        pair.answer();
        pair.shake_hands();
        pair.client.writer().write_all(b"hello").unwrap();
        let (mut said, mut plain) = (pair.said(), Vec::new());
        pair.server.receive(&mut said, &mut plain).unwrap();
        assert_eq!(plain, b"hello", "cut after {cut} bytes");
    }
}

#[test]
fn what_is_sealed_while_a_record_is_unfinished_disturbs_neither() {
    let mut pair = Pair::open();
    pair.client.writer().write_all(b"hello").unwrap();
    let length = pair.said().len();
    for cut in 1..length {
        let mut pair = Pair::open();
        pair.client.writer().write_all(b"hello").unwrap();
        let (mut said, mut plain) = (pair.said(), Vec::new());
        let (first, second) = said.split_at_mut(cut);
        pair.server.receive(first, &mut plain).unwrap();
        let sealed = pair.seal(b"meanwhile");
        pair.server.keep_unsent(&sealed);
        assert_eq!(pair.answer(), b"meanwhile");
        pair.server.receive(second, &mut plain).unwrap();
        assert_eq!(plain, b"hello", "cut after {cut} bytes");
    }
}

#[test]
fn what_is_sealed_during_an_unfinished_handshake_message_disturbs_none() {
    for cut in 1..KEY_UPDATE.len() {
        let mut pair = Pair::open();
        let Some(SupportedCipherSuite::Tls13(suite)) = pair.client.negotiated_cipher_suite() else { panic!() };
        let secrets = pair.client.dangerous_extract_secrets().unwrap();
        let (sent, (key, iv)) = (secrets.tx.0, parts(secrets.tx.1));
        let mut encrypter = suite.aead_alg.encrypter(key, iv);
        let mut encrypt = |typ, payload: &[u8], number| {
            let payload = OutboundChunks::Single(payload);
            let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload };
            encrypter.encrypt(message, sent + number).unwrap().encode()
        };
        let (first, second) = KEY_UPDATE.split_at(cut);
        let mut first = encrypt(ContentType::Handshake, first, 0);
        let mut second = encrypt(ContentType::Handshake, second, 1);
        let mut under_old_keys = encrypt(ContentType::ApplicationData, b"late", 2);

        let mut plain = Vec::new();
        assert_eq!(pair.server.receive(&mut first, &mut plain).unwrap(), Received::More);
        let mut sealed = pair.server.unsent().to_vec();
        let mut room = vec![0; SEALED_BYTES_MAX];
        let count = pair.server.seal(b"meanwhile", &mut room).unwrap();
        sealed.extend_from_slice(&room[..count]);
        assert_eq!(opened(suite.aead_alg, secrets.rx, &mut sealed), b"meanwhile");
        assert_eq!(pair.server.receive(&mut second, &mut plain).unwrap(), Received::More);
        pair.server.receive(&mut under_old_keys, &mut plain).expect_err("the keys were changed");
        assert!(plain.is_empty() && !pair.server.is_open());
    }
}

#[test]
fn a_handshake_message_without_end_is_given_up() {
    let mut pair = Pair::new();
    // A client hello of 16 MiB, in records of 16 KiB.
    let mut hello = vec![1, 0xff, 0xff, 0xff];
    hello.resize(16 * 1024, 0);
    let bytes = record(&[22, 3, 1], &hello);
    let refused = (0..).find(|_| pair.server.receive(&mut bytes.clone(), &mut Vec::new()).is_err());
    assert!(refused.unwrap() < 1 + RECEIVED_BYTES_MAX / bytes.len());
    assert!(pair.server.received.is_empty() || pair.server.received.len() <= RECEIVED_BYTES_MAX + bytes.len());
}

#[test]
fn who_speaks_another_protocol_is_told_so_by_an_alert() {
    let mut pair = Pair::speaking(&["gim"], &["h2"]);
    let mut hello = pair.said();
    let refused = pair.server.receive(&mut hello, &mut Vec::new()).unwrap_err();
    assert_eq!(refused, Error::NoApplicationProtocol);
    let mut answer = pair.server.unsent();
    pair.client.read_tls(&mut answer).unwrap();
    let told = pair.client.process_new_packets().unwrap_err();
    assert_eq!(told, Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol));
}

fn parts(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("another cipher"),
    }
}

/// What is in a record, by the keys of the client.
fn opened(aead: &dyn Tls13AeadAlgorithm, rx: (u64, ConnectionTrafficSecrets), record: &mut [u8]) -> Vec<u8> {
    let (key, iv) = parts(rx.1);
    let payload = &mut record[HEADER_BYTES..];
    let message = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload);
    aead.decrypter(key, iv).decrypt(message, rx.0).unwrap().payload.to_vec()
}
