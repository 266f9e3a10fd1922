//! Whatever comes in through TLS, cut and changed on its way: the server never panics, keeps what it has to say within
//! bounds, and hands on nothing but what its client sealed, in order. Where nothing was changed, nothing fails either, in
//! both directions.
//!
//! Input: what the client can do, and then steps, each a byte that chooses, a length, and for some what follows.

#![no_main]

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, LazyLock},
};

use gim_conn::wire::tls::{Received, SEALED_BYTES_MAX, Tls};
use libfuzzer_sys::fuzz_target;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

/// More than a server has to say in a handshake.
const UNSENT_BYTES_MAX: usize = 16 * 1024;

struct Configs {
    server: Arc<ServerConfig>,
    /// Of TLS 1.2 and 1.3.
    clients: [Arc<ClientConfig>; 2],
}

static CONFIGS: LazyLock<Configs> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["conn.test".into()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
        .expect("a server");
    let client = |version| {
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]);
        let mut config = builder.expect("a client").with_root_certificates(roots).with_no_client_auth();
        // Every handshake is a full one, whatever came before.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    Configs { server: Arc::new(server), clients: [client(&TLS12), client(&TLS13)] }
});

struct World {
    server: Tls,
    client: ClientConnection,
    /// From the client, on its way.
    on_the_way: Vec<u8>,
    /// Everything that the client sealed, and what of it came out.
    sent: Vec<u8>,
    received: Vec<u8>,
    /// The same in the other direction.
    pushed: Vec<u8>,
    got: Vec<u8>,
    is_changed: bool,
    is_over: bool,
}

fuzz_target!(|input: &[u8]| {
    let [abilities, steps @ ..] = input else { return };
    let mut world = World::new(usize::from(abilities & 1));
    if abilities & 2 != 0 {
        world.shake_hands();
    }
    let mut rest = steps;
    while let [step, length, after @ ..] = rest
        && !world.is_over
    {
        rest = world.step(step % 8, usize::from(*length), after);
        world.check();
    }
    if !world.is_changed && !world.is_over {
        world.deliver(usize::MAX);
        world.check();
        assert!(!world.server.is_open() || world.received == world.sent, "all of it comes out");
    }
});

impl World {
    fn new(version: usize) -> Self {
        let name = ServerName::try_from("conn.test").expect("a name");
        let client = ClientConnection::new(CONFIGS.clients[version].clone(), name).expect("a client");
        let server = Tls::new(CONFIGS.server.clone()).expect("a server");
        Self {
            server,
            client,
            on_the_way: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            pushed: Vec::new(),
            got: Vec::new(),
            is_changed: false,
            is_over: false,
        }
    }

    fn shake_hands(&mut self) {
        while self.client.is_handshaking() || !self.server.is_open() {
            self.deliver(usize::MAX);
            self.answer();
        }
    }

    /// Returns what is left of the input.
    fn step<'a>(&mut self, step: u8, length: usize, rest: &'a [u8]) -> &'a [u8] {
        self.take_from_client();
        match step {
            0 | 1 => self.deliver(length + 1),
            2 => self.answer(),
            3 => self.write(length),
            4 => self.push(length),
            5 => {
                let (bytes, rest) = rest.split_at(rest.len().min(length));
                self.is_changed |= !bytes.is_empty();
                self.on_the_way.splice(0..0, bytes.iter().copied());
                return rest;
            }
            6 if !self.on_the_way.is_empty() => {
                let at = length % self.on_the_way.len();
                self.on_the_way[at] ^= rest.first().map_or(1, |byte| byte | 1);
                self.is_changed = true;
            }
            _ if length < 128 => {
                let count = self.on_the_way.len().min(length);
                self.is_changed |= count > 0;
                self.on_the_way.drain(..count);
            }
            _ => {
                self.server.say_goodbye().expect("a goodbye");
                self.answer();
                self.is_over = true;
            }
        }
        rest
    }

    fn take_from_client(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.on_the_way).expect("memory takes everything");
        }
    }

    /// The server is given so many bytes of those on the way.
    fn deliver(&mut self, count: usize) {
        self.take_from_client();
        let count = count.min(self.on_the_way.len());
        let mut fresh: Vec<u8> = self.on_the_way.drain(..count).collect();
        match self.server.receive(&mut fresh, &mut self.received) {
            Ok(Received::More) => {}
            Ok(Received::End) => {
                assert!(self.is_changed, "the client never says that it is done");
                self.is_over = true;
            }
            Err(error) => {
                assert!(self.is_changed, "nothing was changed: {error}");
                assert!(!self.server.is_open());
                self.server.say_goodbye().expect("there is nothing to say");
                self.is_over = true;
            }
        }
    }

    /// The client gets what the server has to say.
    fn answer(&mut self) {
        let mut answer = self.server.unsent();
        while !answer.is_empty() && self.client.read_tls(&mut answer).expect("memory has no errors") > 0 {
            if let Err(error) = self.client.process_new_packets() {
                // What it says is about what it got, and that was changed.
                assert!(self.is_changed, "nothing was changed: {error}");
                self.is_over = true;
                return;
            }
            let count = self.client.reader().read_to_end(&mut self.got);
            assert!(count.is_ok() || count.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
        }
        self.server.advance(usize::MAX);
    }

    fn write(&mut self, count: usize) {
        if self.client.is_handshaking() {
            return;
        }
        let plain: Vec<u8> = (0..count).map(|number| (self.sent.len() + number) as u8).collect();
        self.client.writer().write_all(&plain).expect("room for a little");
        self.sent.extend(plain);
        self.take_from_client();
    }

    fn push(&mut self, count: usize) {
        if !self.server.is_open() {
            return;
        }
        let plain: Vec<u8> = (0..count).map(|number| (self.pushed.len() + number) as u8).collect();
        let mut sealed = vec![0; SEALED_BYTES_MAX];
        let length = self.server.seal(&plain, &mut sealed).expect("an open connection seals");
        self.server.keep_unsent(&sealed[..length]);
        self.pushed.extend(plain);
        self.answer();
    }

    fn check(&self) {
        assert!(self.server.unsent().len() <= UNSENT_BYTES_MAX);
        assert!(self.sent.starts_with(&self.received), "only what the client sealed comes out");
        assert!(self.pushed.starts_with(&self.got));
        assert!(self.is_changed || self.is_over || self.client.is_handshaking() || self.got == self.pushed);
    }
}
