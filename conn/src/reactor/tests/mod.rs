//! A reactor turn by turn, on real sockets and without its thread: what one turn does, counted in turns and never in time.

mod allocations;
mod apps;
mod closes;
mod dialects;
mod drain;
mod memberships;
mod owners;
mod slow;
mod turns;
mod unsigned;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use gim_proto::{
    CloseReason,
    connect::{Packet, PacketCommand, SignInRequest},
};
use mio::Events;
use prost::Message as _;

use super::{
    LOG_LINES_PER_S_MAX, ListenerParts, Parts, Reactor,
    apps::AppParts,
    command_queue::{Command, PushItem, TellFound},
    open_poll,
    uplink::{UpBatch, UpItem, Uplink},
    wake::WakeFlag,
};
use crate::{
    ids::ConnectionId,
    net::listen,
    quota::{AppQuota, Quota},
    session::Identity,
    settings::{App, ConnSettings},
    wire::{encoded::Encoded, packet, transport::Entrance},
};

/// Longer than a tick of the wheel.
const OVER_A_TICK: Duration = Duration::from_secs(1);

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(10);

/// One reactor, and the two ends of its channels.
struct Harness {
    reactor: Reactor,
    events: Events,
    wake: Arc<WakeFlag>,
    /// One pair per app.
    ends: Vec<(Sender<Command>, Receiver<UpBatch>)>,
    address: std::net::SocketAddr,
}

impl Harness {
    fn new(change: impl FnOnce(&mut ConnSettings)) -> Self {
        let mut settings = ConnSettings::default();
        change(&mut settings);
        let listener = listen::open("127.0.0.1:0".parse().unwrap(), 1, 1024).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let (poll, wake) = open_poll().unwrap();
        let apps = settings.all_apps();
        let (ends, apps): (Vec<_>, Vec<_>) = apps.iter().map(|app| app_parts(app, &settings)).unzip();
        let parts = Parts {
            index: 0,
            poll,
            listeners: vec![ListenerParts { entrance: Entrance::Tcp, dialect: None, listener }],
            apps,
            wake: wake.clone(),
            rules: settings.rules(),
            site: settings.site(),
            tls: None,
            handshake_timeout_ms: settings.session.handshake_timeout_ms,
            socket_options: settings.socket_options(),
            quota: Arc::new(Quota::new(settings.limits.connections_max, settings.limits.connections_per_ip_max)),
            limits: settings.limits.clone(),
            busy_poll: Duration::ZERO,
            drain: settings.drain.clone(),
            log_lines_per_s: LOG_LINES_PER_S_MAX,
            push_all: settings.push_all.clone(),
            turn: settings.turn,
        };
        let events = Events::with_capacity(parts.turn.events);
        Self { reactor: Reactor::new(parts).unwrap(), events, wake, ends, address }
    }

    fn turn(&mut self) {
        // So that a turn with nothing to do comes to its end.
        self.wake.wake().unwrap();
        self.reactor.turn(&mut self.events).unwrap();
    }

    /// Turns until something holds; returns how many it took.
    fn turns_until(&mut self, mut holds: impl FnMut(&mut Self) -> bool) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut turns = 0;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not even after {turns} turns");
            self.turn();
            turns += 1;
        }
        turns
    }

    /// Lets time pass, as far as the reactor knows.
    fn pass(&mut self, time: Duration) {
        self.reactor.context.clock.pass(time);
    }

    /// Turns until the peer's connection ends; returns what it could read until then.
    fn read_to_end(&mut self, stream: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        stream.set_nonblocking(true).unwrap();
        self.turns_until(|_| match stream.read_to_end(&mut all) {
            Ok(_) => true,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        });
        all
    }

    fn connect(&mut self) -> TcpStream {
        let before = self.reactor.table.len();
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.turns_until(|harness| harness.reactor.table.len() > before);
        stream
    }

    /// A signed-in connection of the first app, and its id.
    fn sign_in(&mut self, device_id: u64) -> (TcpStream, ConnectionId) {
        let stream = self.connect();
        self.sign_in_to(stream, 0, 0, device_id)
    }

    /// Signs in to the app with this id, which is at place `app`.
    fn sign_in_to(
        &mut self,
        mut stream: TcpStream,
        app: usize,
        app_id: u32,
        device_id: u64,
    ) -> (TcpStream, ConnectionId) {
        let connection = self.begin_sign_in(&mut stream, app, app_id);
        let identity = Identity { user_id: device_id, device_id };
        let reply = packet::notice(PacketCommand::PcSignIn, b"in", 0);
        let length = reply.clone().length_value().len();
        self.tell_of(
            app,
            Command::SignedIn { connection, identity, newest_seq: 0, large_group_ids: Vec::new(), frame: reply },
        );
        self.turn();
        stream.read_exact(&mut vec![0; length]).unwrap();
        (stream, connection)
    }

    /// Sends a sign-in and waits until it is on its way to logic.
    fn begin_sign_in(&mut self, stream: &mut TcpStream, app: usize, app_id: u32) -> ConnectionId {
        stream.write_all(&sign_in_frame(app_id)).unwrap();
        let mut asked = None;
        self.turns_until(|harness| {
            asked = asked.or_else(|| {
                harness.up_to(app).into_iter().find_map(|item| match item {
                    UpItem::SignIn { connection, .. } => Some(connection),
                    _ => None,
                })
            });
            asked.is_some()
        });
        asked.unwrap()
    }

    fn tell(&self, command: Command) {
        self.tell_of(0, command);
    }

    fn tell_of(&self, app: usize, command: Command) {
        self.ends[app].0.try_send(command).unwrap();
    }

    /// What went up since it was last asked.
    fn up(&self) -> Vec<UpItem> {
        self.up_to(0)
    }

    fn up_to(&self, app: usize) -> Vec<UpItem> {
        self.ends[app].1.try_iter().flat_map(|batch| batch.items).collect()
    }

    /// Waits until bytes of the peer lie in the socket of a connection: from then on, turns can be counted.
    fn wait_for_input(&self, connection: ConnectionId, bytes: usize) {
        let stream = &self.reactor.table.peek(connection.slot()).unwrap().stream;
        let deadline = Instant::now() + PATIENCE;
        while stream.peek(&mut vec![0; bytes]).unwrap_or(0) < bytes {
            assert!(Instant::now() < deadline, "bytes cross loopback");
            std::thread::yield_now();
        }
    }
}

fn app_parts(app: &App, settings: &ConnSettings) -> ((Sender<Command>, Receiver<UpBatch>), AppParts) {
    let (sender, commands) = crossbeam_channel::bounded(settings.link.commands_max);
    let (up, batches) = crossbeam_channel::bounded(1024);
    let uplink = Uplink::new(up, Arc::new(|| {}), 1024, 1 << 20);
    let quota = Arc::new(AppQuota::new(app.connections_max));
    ((sender, batches), AppParts { id: app.id, commands, uplink, quota })
}

fn sign_in_frame(app_id: u32) -> Vec<u8> {
    let content = SignInRequest { app_id, ..SignInRequest::default() }.encode_to_vec().into();
    Packet { command: PacketCommand::PcSignIn as i32, content, ..Packet::default() }.encode_length_delimited_to_vec()
}

fn frame(command: PacketCommand, content_bytes: usize) -> Vec<u8> {
    Packet { command: command as i32, content: vec![1; content_bytes].into(), ..Packet::default() }
        .encode_length_delimited_to_vec()
}

/// What a peer can read right now.
fn readable(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_nonblocking(true).unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    stream.set_nonblocking(false).unwrap();
    all
}

#[test]
fn a_push_to_a_huge_room_holds_up_neither_a_heartbeat_nor_a_sign_in() {
    const MEMBERS: usize = 100_000;
    let mut harness = Harness::new(|_| {});
    let (mut live, live_id) = harness.sign_in(1);
    let mut newcomer = harness.connect();
    // Members whose connections are gone: walking them is what a turn must not do at one go.
    for slot in 0..MEMBERS {
        harness.reactor.context.apps[0].rooms.join(5, 1_000 + slot);
    }
    harness.tell(Command::PushToRoom { room_id: 5, frame: Encoded::of(b"news"), urgent: false });
    harness.turn();
    assert!(harness.reactor.context.apps[0].rooms.is_active(), "the push has just begun");

    live.write_all(&frame(PacketCommand::PcHeartbeat, 0)).unwrap();
    harness.wait_for_input(live_id, 3);
    newcomer.write_all(&sign_in_frame(0)).unwrap();
    harness.up();
    let answered = harness.turns_until(|_| !readable(&mut live).is_empty());
    let asked = harness.turns_until(|harness| harness.up().iter().any(|item| matches!(item, UpItem::SignIn { .. })));
    assert!(harness.reactor.context.apps[0].rooms.is_active(), "the push is still under way");
    assert!(answered <= 2 && asked <= 2, "{answered} and {asked} turns");

    let turns = harness.turns_until(|harness| !harness.reactor.context.apps[0].rooms.is_active());
    let budget = ConnSettings::default().turn.deliveries;
    assert!(turns >= MEMBERS / budget - 4, "no turn visits more than its budget: {turns} turns");
}

#[test]
fn a_member_behind_by_more_than_the_backlog_misses_the_oldest() {
    let mut harness = Harness::new(|settings| settings.limits.room_backlog_max = 2);
    let (mut stream, connection) = harness.sign_in(1);
    harness.tell(Command::Subscribe { connection, room_id: 5, reply: None, retained: vec![] });
    for frame in [&b"1"[..], b"2", b"3", b"4"] {
        harness.tell(Command::PushToRoom { room_id: 5, frame: Encoded::of(frame), urgent: false });
    }
    harness.tell(Command::PushToRoom { room_id: 5, frame: Encoded::of(b"!"), urgent: true });
    harness.turn();
    assert_eq!(readable(&mut stream), b"\x01!\x013\x014");
}

/// A push to one device; nobody asks whether it is here.
fn push_to_devices(device_id: u64, text: &'static [u8]) -> Command {
    let tell_found = TellFound::new(drop);
    Command::PushToDevices { pushes: vec![(device_id, Encoded::of(text))], tell_found }
}
