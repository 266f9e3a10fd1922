//! Time, the network between the client and the server, and what else happens.

use std::collections::BTreeMap;

use bytes::Bytes;
use gim_client::{
    core::{Action, Core, CoreSettings, NEVER, StartAt},
    wire::Target,
};
use gim_proto::connect::Packet;
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    app::App,
    server::{GROUP_ID, ROOM_ID, Server, USER_ID},
};

/// How long everything goes wrong, and how long it takes to come right afterwards.
const BAD_MS: u64 = 180_000;
const GOOD_MS: u64 = 300_000;
/// Between two things that happen, on average.
const PAUSE_MS: u64 = 150;
const LATENCY_MS: u64 = 400;

/// On its way.
enum Travelling {
    ToServer(Bytes),
    ToClient(Bytes),
    Token,
    Opened,
    Closed,
}

pub struct World {
    seed: u64,
    random: StdRng,
    now_ms: u64,
    core: Core,
    app: App,
    server: Server,
    /// By the time when it arrives, and the connection that it is of.
    travelling: BTreeMap<(u64, u64), (u64, Travelling)>,
    next_number: u64,
    connection: u64,
    is_behind: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let app = App::default();
        let mut world = Self {
            seed,
            random: StdRng::seed_from_u64(seed),
            now_ms: 1,
            core: core(&app, seed, 1),
            app,
            server: Server::default(),
            travelling: BTreeMap::new(),
            next_number: 0,
            connection: 0,
            is_behind: false,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.core.enter_room(ROOM_ID, true, self.now_ms);
        self.core.start(self.now_ms);
        self.perform();
    }

    pub fn run(&mut self) {
        let mut happens_at_ms = PAUSE_MS;
        while self.now_ms < BAD_MS {
            self.pass_until(happens_at_ms);
            self.happen();
            self.perform();
            happens_at_ms = self.now_ms + self.random.random_range(1..2 * PAUSE_MS);
        }
        self.server.is_kind = true;
        // As a server does for what it did not push: a heartbeat tells nothing of large groups.
        if let Some(packet) = self.server.hint() {
            self.put(LATENCY_MS, Travelling::ToClient(packet.encode_to_vec().into()));
        }
        self.core.set_behind(false, self.now_ms);
        self.perform();
        self.pass_until(BAD_MS + GOOD_MS);
    }

    /// Returns how many messages there were.
    pub fn check(&self) -> usize {
        let (seed, app, server) = (self.seed, &self.app, &self.server);
        assert_eq!((app.inbox.len(), app.timeline.len()), (server.inbox.len(), server.timeline.len()), "seed {seed}");
        for (text, message) in app.timeline.iter().zip(&server.timeline) {
            assert_eq!(text.as_bytes(), message.content, "seed {seed}");
        }
        for (client_msg_id, target) in &app.asked {
            let log = if matches!(target, Target::Group(_)) { &app.timeline } else { &app.inbox };
            assert_eq!(log.iter().filter(|text| *text == client_msg_id).count(), 1, "seed {seed}: {client_msg_id}");
            let sent =
                app.sent.get(client_msg_id).unwrap_or_else(|| panic!("seed {seed}: nobody said {client_msg_id}"));
            assert_eq!(server.stored[client_msg_id], (sent.message_id, sent.seq), "seed {seed}");
        }
        for log in [&app.inbox, &app.timeline] {
            let own = log.iter().filter_map(|text| text.strip_prefix("send ")?.parse::<u64>().ok());
            let own: Vec<u64> = own.collect();
            assert!(own.is_sorted(), "seed {seed}: sends to one target are out of order: {own:?}");
        }
        app.inbox.len() + app.timeline.len()
    }

    /// Something, of the many things that may happen.
    fn happen(&mut self) {
        let text = Bytes::from(format!("at {}", self.now_ms));
        let packet = match self.random.random_range(0..100) {
            0..35 => self.server.store_in_inbox(text, true),
            35..55 => self.server.store_in_group(text, true),
            55..65 => self.server.publish(text),
            65..70 => self.server.hint(),
            70..85 => {
                let target = if self.random.random() { Target::User(8) } else { Target::Group(GROUP_ID) };
                let send = self.app.new_send(target, self.now_ms);
                self.core.send(send, self.now_ms);
                None
            }
            85..88 => {
                self.is_behind = !self.is_behind;
                self.core.set_behind(self.is_behind, self.now_ms);
                None
            }
            88..93 => {
                self.put(LATENCY_MS / 2, Travelling::Closed);
                None
            }
            93..95 => Some(self.server.goodbye()),
            95..97 => {
                self.core.nudge(self.now_ms);
                None
            }
            _ => {
                self.restart();
                None
            }
        };
        // A push is lost, comes once, or twice, in whatever order.
        if let Some(packet) = packet {
            for _ in 0..self.random.random_range(0..4_u32).min(2) {
                let latency_ms = self.random.random_range(1..LATENCY_MS);
                self.put(latency_ms, Travelling::ToClient(packet.encode_to_vec().into()));
            }
        }
    }

    /// The app ends without a word, and starts with what it stored.
    fn restart(&mut self) {
        self.connection += 1;
        self.server.reset();
        self.is_behind = false;
        self.app.room.clear();
        self.core = core(&self.app, self.random.random(), self.now_ms);
        self.start();
    }

    fn pass_until(&mut self, until_ms: u64) {
        loop {
            let arrives_at_ms = self.travelling.first_key_value().map_or(NEVER, |(key, _)| key.0);
            let next_ms = arrives_at_ms.min(self.core.deadline_ms());
            if next_ms > until_ms {
                break;
            }
            self.now_ms = self.now_ms.max(next_ms);
            if arrives_at_ms <= self.now_ms
                && let Some((_, (connection, what))) = self.travelling.pop_first()
            {
                if connection == self.connection {
                    self.arrive(what);
                }
            } else {
                self.core.advance(self.now_ms);
            }
            self.perform();
        }
        self.now_ms = until_ms;
    }

    fn arrive(&mut self, what: Travelling) {
        match what {
            Travelling::ToServer(bytes) => {
                for packet in self.server.receive(&Packet::decode(bytes).unwrap(), &mut self.random) {
                    let latency_ms = self.random.random_range(1..LATENCY_MS);
                    self.put(latency_ms, Travelling::ToClient(packet.encode_to_vec().into()));
                }
            }
            Travelling::ToClient(bytes) => self.core.on_bytes(bytes, self.now_ms),
            Travelling::Token => self.core.on_token(Some("a token".into()), self.now_ms),
            Travelling::Opened => self.core.on_opened(self.now_ms),
            Travelling::Closed => {
                self.connection += 1;
                self.server.reset();
                self.core.on_closed(self.now_ms);
            }
        }
    }

    fn put(&mut self, latency_ms: u64, what: Travelling) {
        self.next_number += 1;
        self.travelling.insert((self.now_ms + latency_ms, self.next_number), (self.connection, what));
    }

    fn perform(&mut self) {
        loop {
            let actions = self.core.poll();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.perform_one(action);
            }
        }
    }

    fn perform_one(&mut self, action: Action) {
        let latency_ms = self.random.random_range(1..LATENCY_MS);
        match action {
            Action::GetToken { .. } => self.put(1, Travelling::Token),
            Action::Connect { .. } => {
                self.connection += 1;
                self.server.reset();
                let is_refused = !self.server.is_kind && self.random.random_range(0..10) == 0;
                self.put(latency_ms, if is_refused { Travelling::Closed } else { Travelling::Opened });
            }
            Action::Disconnect => {
                self.connection += 1;
                self.server.reset();
            }
            // Few are lost: each costs a connection.
            Action::Packet(bytes) if self.server.is_kind || self.random.random_range(0..50) > 0 => {
                self.put(latency_ms, Travelling::ToServer(bytes));
            }
            Action::Packet(_) => {}
            Action::Deliver { messages, cursors } => {
                self.app.deliver(&messages, cursors.clone());
                self.core.on_stored(cursors, self.now_ms);
            }
            Action::RememberSend(send) => self.app.remember(send),
            Action::ForgetSend { client_msg_id } => self.app.forget(&client_msg_id),
            Action::Event(event) => self.app.tell(event),
            Action::Locate { .. } | Action::Answer { .. } => unreachable!("nobody asked"),
        }
    }
}

fn core(app: &App, seed: u64, now_ms: u64) -> Core {
    let mut random = StdRng::seed_from_u64(seed);
    let settings = CoreSettings {
        user_id: USER_ID,
        device_id: 70,
        app_id: 0,
        url: Some("tcp://server".into()),
        heartbeat_ms: Some(5000),
        answer_timeout_ms: 3000,
        start_at: StartAt::First,
        random: Box::new(move || random.random()),
    };
    Core::new(settings, app.remembered(), now_ms)
}
