//! TLS on the reactor: handshakes, certificates, resumption, and peers that stop half-way.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{
    Harness, Script, TOKEN,
    web::{ValueClient, WebClient, packet, proxy_header, sign_in_packet, tcp},
};
use gim_config::networks::Networks;
use gim_conn::{ConnSettings, settings::CertificateSettings, wire::transport::Entrance};
use gim_proto::connect::{Message, PacketCommand, Reply};
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and the files of what it signed.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, file: &str, host: &str) -> CertificateSettings {
        self.issue_with(file, host, |_| {})
    }

    fn issue_with(&self, file: &str, host: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateSettings {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateSettings {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        fs::write(&files.certificate, signed.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn client(&self, alpn: &str) -> ClientConfig {
        let mut config = self.builder().with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config
    }

    fn client_with(&self, files: &CertificateSettings) -> ClientConfig {
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
        self.builder().with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap()
    }

    fn builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
    }
}

fn with_tls(authority: &Authority) -> impl FnOnce(&mut ConnSettings) {
    let certificates = vec![authority.issue("chat", "chat.test"), authority.issue("other", "*.other.test")];
    move |settings| settings.tls.certificates = certificates
}

fn connect(harness: &Harness, entrance: Entrance, config: &Arc<ClientConfig>, host: &str) -> Stream {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp(harness.address(entrance)))
}

fn sign_in(harness: &Harness, config: &Arc<ClientConfig>, host: &str, device_id: u64) -> ValueClient<Stream> {
    let mut client = ValueClient(connect(harness, Entrance::Tls, config, host));
    assert_eq!(client.sign_in(1, device_id).code, 0);
    client
}

/// A client of another address.
fn elsewhere(harness: &Harness, config: &Arc<ClientConfig>) -> ValueClient<Stream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&harness.address(Entrance::Tls).into()).unwrap();
    let name = ServerName::try_from("chat.test").unwrap();
    ValueClient(StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket.into()))
}

fn serial_of(client: &ValueClient<Stream>) -> Vec<u8> {
    client.0.conn.peer_certificates().unwrap()[0].to_vec()
}

fn in_file(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}

#[test]
fn a_client_signs_in_and_is_pushed_to_through_tls() {
    let authority = Authority::new();
    let harness = Harness::start_with(Script::Obliging, with_tls(&authority));
    let config = Arc::new(authority.client("gim"));
    let mut client = sign_in(&harness, &config, "chat.test", 2);
    assert_eq!(client.0.conn.alpn_protocol(), Some(&b"gim"[..]));
    let connection_id = harness.logic.next_sign_in().connection_id;
    client.heartbeat();
    harness.logic.say(common::inbox_push(connection_id, 3, b"sealed"));
    assert_eq!(Message::decode(client.receive().content).unwrap().content, "sealed");
    drop(client);
    assert_eq!(harness.logic.next_sign_out().device_id, 2);
}

#[test]
fn a_web_socket_works_the_same_through_tls() {
    let authority = Authority::new();
    let harness = Harness::start_with(Script::Obliging, with_tls(&authority));
    let config = Arc::new(authority.client("http/1.1"));
    let stream = connect(&harness, Entrance::WebSocketTls, &config, "chat.test");
    let mut client = WebClient::open(stream, &format!("/ws?user_id=5&device_id=6&token={TOKEN}"));
    assert_eq!(Reply::decode(client.packet().content).unwrap().code, 0);
    client.heartbeat();
    let connection_id = harness.logic.next_sign_in().connection_id;
    harness.logic.say(common::inbox_push(connection_id, 3, &vec![9; 100_000]));
    assert_eq!(client.message().content.len(), 100_000);
    client.0.close(None).unwrap();
    assert_eq!(client.ending(), (None, None));
}

#[test]
fn the_certificate_is_that_of_the_name_that_was_asked_for() {
    let authority = Authority::new();
    let harness = Harness::start_with(Script::Obliging, with_tls(&authority));
    let config = Arc::new(authority.client("gim"));
    let chat = sign_in(&harness, &config, "chat.test", 2);
    assert_eq!(serial_of(&chat), in_file(&authority.path("chat.pem")));
    let other = sign_in(&harness, &config, "eu.other.test", 3);
    assert_eq!(serial_of(&other), in_file(&authority.path("other.pem")));
}

#[test]
fn who_asks_for_no_name_or_an_unknown_one_sees_the_first_certificate() {
    let authority = Authority::new();
    let certificates = vec![authority.issue("address", "127.0.0.1"), authority.issue("other", "other.test")];
    let harness = Harness::start_with(Script::Obliging, |settings| settings.tls.certificates = certificates);
    let config = Arc::new(authority.client("gim"));
    // An address is no name that a client could ask for.
    let nameless = sign_in(&harness, &config, "127.0.0.1", 2);
    assert_eq!(serial_of(&nameless), in_file(&authority.path("address.pem")));
    let mut unknown = connect(&harness, Entrance::Tls, &config, "nobody.test");
    let refused = unknown.write_all(b"never").unwrap_err().to_string();
    assert!(refused.contains("nobody.test") && refused.contains("127.0.0.1"), "{refused}");
}

#[test]
fn the_header_of_a_proxy_comes_before_tls_however_it_is_cut() {
    let authority = Authority::new();
    let change = with_tls(&authority);
    let harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.proxies = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    let config = Arc::new(authority.client("gim"));
    for (device_id, piece_bytes) in [(1, 1), (2, 7), (3, 28), (4, 100), (5, 4096)] {
        let client_addr = format!("203.0.113.9:{device_id}");
        let mut stream = connect(&harness, Entrance::Tls, &config, "chat.test");
        let mut bytes = proxy_header(&client_addr);
        stream.conn.write_tls(&mut bytes).unwrap();
        for piece in bytes.chunks(piece_bytes) {
            stream.sock.write_all(piece).unwrap();
        }
        let mut client = ValueClient(stream);
        assert_eq!(client.sign_in(1, device_id).code, 0);
        assert_eq!(harness.logic.next_sign_in().client_addr, client_addr);
    }
}

#[test]
fn the_header_of_a_proxy_that_is_not_listed_is_no_tls() {
    let authority = Authority::new();
    let harness = Harness::start_with(Script::Obliging, with_tls(&authority));
    let mut stream = tcp(harness.address(Entrance::Tls));
    stream.write_all(&proxy_header("203.0.113.9:1")).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:02x?}");
}

#[test]
fn a_client_that_comes_back_resumes_its_session() {
    let authority = Authority::new();
    let harness = Harness::start_with(Script::Obliging, with_tls(&authority));
    let config = Arc::new(authority.client("gim"));
    let first = sign_in(&harness, &config, "chat.test", 2);
    assert_eq!(first.0.conn.handshake_kind(), Some(HandshakeKind::Full));
    drop(first);
    let second = sign_in(&harness, &config, "chat.test", 2);
    assert_eq!(second.0.conn.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn certificates_are_read_again_without_dropping_anyone() {
    let authority = Authority::new();
    let mut harness = Harness::start_with(Script::Obliging, with_tls(&authority));
    let mut old = sign_in(&harness, &Arc::new(authority.client("gim")), "chat.test", 2);
    let before = serial_of(&old);
    authority.issue("chat", "chat.test");
    harness.reload(None).unwrap();
    // The reactor takes its commands in order: what it answers next, it answers with the new certificates.
    old.heartbeat();
    let new = sign_in(&harness, &Arc::new(authority.client("gim")), "chat.test", 3);
    assert_ne!(serial_of(&new), before);
    assert_eq!(serial_of(&new), in_file(&authority.path("chat.pem")));
    old.heartbeat();

    fs::write(authority.path("chat.key"), "no key").unwrap();
    assert!(harness.reload(None).unwrap_err().starts_with("tls.certificates: "));
    let still = sign_in(&harness, &Arc::new(authority.client("gim")), "chat.test", 4);
    assert_eq!(serial_of(&still), serial_of(&new), "what cannot be read changes nothing");
}

#[test]
fn client_certificates_are_asked_for_where_the_settings_say_so() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let change = with_tls(&authority);
    let ca = authority.path("ca.pem");
    let harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.tls.client_ca = ca;
        settings.tls.client_certificate_required = true;
    });
    let files = authority.issue("client", "phone.test");
    let known = Arc::new(authority.client_with(&files));
    sign_in(&harness, &known, "chat.test", 2).heartbeat();
    for config in [authority.client("gim"), authority.client_with(&stranger.issue("client", "phone.test"))] {
        let mut stream = connect(&harness, Entrance::Tls, &Arc::new(config), "chat.test");
        let written = stream.write_all(&sign_in_packet(1, 3).encode_length_delimited_to_vec());
        assert!(written.is_err() || stream.read_exact(&mut [0]).is_err());
    }
}

#[test]
fn a_client_whose_authority_was_taken_out_does_not_come_back_by_a_ticket() {
    let authority = Authority::new();
    let leaving = Authority::new();
    let change = with_tls(&authority);
    let ca = authority.path("ca.pem");
    let both = [authority.issuer.pem(), leaving.issuer.pem()].concat();
    fs::write(&ca, both).unwrap();
    let mut harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.tls.client_ca = ca.clone();
        settings.tls.client_certificate_required = true;
    });
    let files = leaving.issue("client", "phone.test");
    let config = Arc::new(authority.client_with(&files));
    let mut there = sign_in(&harness, &config, "chat.test", 2);
    let again = sign_in(&harness, &config, "chat.test", 3);
    assert_eq!(again.0.conn.handshake_kind(), Some(HandshakeKind::Resumed));

    fs::write(&ca, authority.issuer.pem()).unwrap();
    harness.reload(None).unwrap();
    // The reactor takes its commands in order: what it answers next, it answers with the new authorities.
    there.heartbeat();
    let mut stream = connect(&harness, Entrance::Tls, &config, "chat.test");
    let written = stream.write_all(&sign_in_packet(1, 4).encode_length_delimited_to_vec());
    assert!(written.is_err() || stream.read_exact(&mut [0]).is_err());
    there.heartbeat();
}

#[test]
fn a_handshake_that_stops_half_way_ends_at_its_deadline() {
    let authority = Authority::new();
    let change = with_tls(&authority);
    let harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.session.handshake_timeout_ms = 500;
        settings.limits.handshakes_max = 1;
    });
    let mut plain = harness.sign_in(7, 7);
    let mut half = tcp(harness.address(Entrance::Tls));
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    // It holds the one place, so that this one is served after its deadline only.
    let config = Arc::new(authority.client("gim"));
    let mut waiting = sign_in(&harness, &config, "chat.test", 2);
    assert_eq!(half.read(&mut [0; 10]).unwrap(), 0, "it was ended before");
    waiting.heartbeat();
    assert_eq!(plain.heartbeat().unwrap(), 0);
}

#[test]
fn silent_connections_keep_nobody_from_a_handshake() {
    let authority = Authority::new();
    let change = with_tls(&authority);
    let harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.limits.handshakes_max = 1;
    });
    let entrances = [Entrance::Tls, Entrance::WebSocketTls];
    let mut silent: Vec<_> =
        entrances.iter().cycle().take(20).map(|entrance| tcp(harness.address(*entrance))).collect();
    let config = Arc::new(authority.client("gim"));
    for device_id in 1..=3 {
        sign_in(&harness, &config, "chat.test", device_id).heartbeat();
    }
    for silent in &mut silent {
        silent.set_nonblocking(true).unwrap();
        let error = silent.read(&mut [0]).expect_err("it is still open");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn an_address_at_its_share_of_handshakes_waits_for_its_own_places() {
    let authority = Authority::new();
    let change = with_tls(&authority);
    let harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.limits.handshakes_per_address_max = 1;
    });
    let config = Arc::new(authority.client("gim"));
    let mut half = tcp(harness.address(Entrance::Tls));
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    // That it came is known from the answer to what was sent after it.
    harness.sign_in(7, 7).heartbeat().unwrap();
    let mut waiting = connect(&harness, Entrance::Tls, &config, "chat.test");
    waiting.conn.write_tls(&mut waiting.sock).unwrap();
    assert_eq!(elsewhere(&harness, &config).sign_in(1, 3).code, 0);
    drop(half);
    let mut waiting = ValueClient(waiting);
    assert_eq!(waiting.sign_in(1, 2).code, 0);
}

#[test]
fn plain_bytes_to_the_tls_port_get_an_alert_and_nobody_else_notices() {
    let authority = Authority::new();
    let harness = Harness::start_with(Script::Obliging, with_tls(&authority));
    let mut bystander = sign_in(&harness, &Arc::new(authority.client("gim")), "chat.test", 2);
    for entrance in [Entrance::Tls, Entrance::WebSocketTls] {
        for bytes in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x10\x08\x01garbage that is a frame", &[0xff; 300]] {
            let mut stream = tcp(harness.address(entrance));
            stream.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:02x?}");
        }
    }
    bystander.heartbeat();
}

#[test]
fn a_storm_of_handshakes_is_spread_over_turns() {
    let authority = Authority::new();
    let change = with_tls(&authority);
    let harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.turn.handshakes = 1;
    });
    let config = Arc::new(authority.client("gim"));
    let mut streams: Vec<_> = (0..40).map(|_| connect(&harness, Entrance::Tls, &config, "chat.test")).collect();
    for stream in &mut streams {
        // The first flight only: all of them are under way at once.
        stream.conn.write_tls(&mut stream.sock).unwrap();
    }
    for (device_id, stream) in streams.into_iter().enumerate() {
        let mut client = ValueClient(stream);
        assert_eq!(client.sign_in(1, device_id as u64 + 1).code, 0);
    }
}

#[test]
fn a_peer_that_reads_late_gets_every_byte_in_order() {
    let authority = Authority::new();
    let change = with_tls(&authority);
    let harness = Harness::start_with(Script::Obliging, |settings| {
        change(settings);
        settings.limits.outbound_hard_bytes = 64 << 20;
        settings.limits.outbound_soft_bytes = 64 << 20;
    });
    let mut client = sign_in(&harness, &Arc::new(authority.client("gim")), "chat.test", 2);
    let connection_id = harness.logic.next_sign_in().connection_id;
    for seq in 1..=200 {
        harness.logic.say(common::inbox_push(connection_id, seq, &vec![seq as u8; 60_000]));
    }
    for seq in 1..=200 {
        let message = Message::decode(client.receive().content).unwrap();
        assert_eq!((message.seq, &message.content[..]), (seq, &vec![seq as u8; 60_000][..]));
    }
    client.send(&packet(PacketCommand::PcSend as i32, "large", vec![3; 60_000]));
    assert_eq!(Reply::decode(client.receive().content).unwrap().data.len(), 60_000);
}

/// What the node says instead of starting.
fn refusal(change: impl FnOnce(&mut ConnSettings)) -> String {
    let mut settings = ConnSettings::default();
    settings.admin.listen = gim_config::listen::Endpoint::default();
    change(&mut settings);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(gim_conn::start(settings));
    refused.expect_err("it does not start").to_string()
}

#[test]
fn a_certificate_of_no_use_is_named_at_start() {
    let authority = Authority::new();
    let expired = authority.issue_with("expired", "a.test", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    });
    let early = authority.issue_with("early", "a.test", |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
    let good = authority.issue("good", "a.test");
    let mismatch = CertificateSettings { key: expired.key.clone(), ..good.clone() };
    let missing = CertificateSettings { certificate: authority.path("missing.pem"), ..good.clone() };
    let no_key = CertificateSettings { key: good.certificate.clone(), ..good.clone() };
    for (files, words) in [
        (expired, ["expired.pem", "expired at"]),
        (early, ["early.pem", "is valid only from"]),
        (mismatch, ["expired.key does not belong to", "good.pem"]),
        (missing, ["cannot read a certificate", "missing.pem"]),
        (no_key, ["cannot read a private key", "good.pem"]),
    ] {
        let problem = refusal(|settings| settings.tls.certificates = vec![files]);
        assert!(problem.starts_with("settings: tls: ") && words.iter().all(|word| problem.contains(word)), "{problem}");
    }
}
