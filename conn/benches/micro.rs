//! What the hot paths cost, in instructions: repeatable on any machine, however busy. `scripts/micro` runs each case under
//! callgrind, which counts only what happens inside [`measured`].
//!
//! `micro` lists the cases; `micro CASE` runs one and prints how many operations were measured.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::{
    hint::black_box,
    io::{IoSlice, Read as _, Write as _},
    net,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gim_conn::{
    connection::Connection,
    ids::ConnectionId,
    net::listen,
    quota::{AppQuota, IpSlot, Quota},
    reactor::{
        LOG_LINES_PER_S_MAX, ListenerParts, Parts, Reactor,
        apps::AppParts,
        command_queue::Command,
        open_poll,
        table::Table,
        uplink::{UpBatch, UpItem, Uplink},
        wheel::Wheel,
    },
    session::{Action, Identity, Session},
    settings::ConnSettings,
    wire::{
        frame,
        intake::{Fed, Flow, Intake},
        outbound::{Kind, Outbound, Pushed, SLICES_MAX},
        packet::{self, PacketView},
        transport::Entrance,
    },
};
use gim_proto::connect::{PacketCommand, Reply};
use mio::Events;

/// How often each is done: enough for what the first time costs not to show.
const ROUNDS: usize = 1_000;

/// Does something, and returns how often.
type Case = fn() -> usize;

const CASES: &[(&str, Case)] = &[
    ("frame_next", frame_next),
    ("intake_whole_frames", intake_whole_frames),
    ("intake_cut_frame", intake_cut_frame),
    ("packet_decode_heartbeat", || packet_decode(&heartbeat())),
    ("packet_decode_send_100_bytes", || packet_decode(&send())),
    ("packet_encode_heartbeat", packet_encode_heartbeat),
    ("packet_message_of_100_bytes", packet_message),
    ("packet_reply", packet_reply),
    ("session_heartbeat", session_heartbeat),
    ("outbound_one_frame", outbound_one_frame),
    ("outbound_burst_of_16", outbound_burst_of_16),
    ("outbound_full_of_pushes", || outbound_full(Kind::Room)),
    ("outbound_full_of_replies", || outbound_full(Kind::Reply)),
    ("wheel_schedule", wheel_schedule),
    ("wheel_expire", wheel_expire),
    ("table_insert_remove", table_insert_remove),
    ("table_get_owned", table_get_owned),
    ("turn_of_one_heartbeat", || turns_of_heartbeats(1, 1)),
    ("turn_of_32_heartbeats_of_one_peer", || turns_of_heartbeats(1, 32)),
    ("turn_of_heartbeats_of_32_peers", || turns_of_heartbeats(32, 1)),
];

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    for (name, case) in CASES {
        match &wanted {
            None => println!("{name}"),
            Some(wanted) if wanted == name => println!("operations {}", case()),
            Some(_) => {}
        }
    }
}

/// The part that counts.
#[inline(never)]
fn measured<T>(part: impl FnOnce() -> T) -> T {
    black_box(part())
}

fn heartbeat() -> Bytes {
    packet::encode("", PacketCommand::PcHeartbeat as i32, &[], 0).length_value()
}

fn send() -> Bytes {
    packet::encode("request-1", PacketCommand::PcSend as i32, &[7; 100], 0).length_value()
}

fn frame_next() -> usize {
    let frame = send();
    measured(|| {
        for _ in 0..ROUNDS {
            black_box(frame::next(black_box(&frame), 65_536));
        }
    });
    ROUNDS
}

fn intake_whole_frames() -> usize {
    let bytes = heartbeat().repeat(32);
    let mut intake = Intake::default();
    measured(|| {
        for _ in 0..ROUNDS {
            let fed = intake.feed(black_box(&bytes), 65_536, |frame| {
                black_box(frame);
                Flow::Continue
            });
            assert!(matches!(fed, Fed::Drained));
        }
    });
    32 * ROUNDS
}

fn intake_cut_frame() -> usize {
    let bytes = send();
    let (first, second) = bytes.split_at(50);
    let mut intake = Intake::default();
    measured(|| {
        for _ in 0..ROUNDS {
            for piece in [first, second] {
                intake.feed(black_box(piece), 65_536, |frame| {
                    black_box(frame);
                    Flow::Continue
                });
            }
        }
    });
    ROUNDS
}

fn packet_decode(frame: &[u8]) -> usize {
    let body = &frame[1..];
    measured(|| {
        for _ in 0..ROUNDS {
            black_box(PacketView::decode(black_box(body)).unwrap());
        }
    });
    ROUNDS
}

fn packet_encode_heartbeat() -> usize {
    let mut bytes = BytesMut::with_capacity(32 * ROUNDS);
    measured(|| {
        for _ in 0..ROUNDS {
            packet::encode_into(black_box(""), PacketCommand::PcHeartbeat as i32, &[], black_box(1_000), &mut bytes);
        }
    });
    ROUNDS
}

fn packet_message() -> usize {
    let body = [7; 100];
    measured(|| {
        for _ in 0..ROUNDS {
            black_box(packet::message(black_box(&body), 1_000, 999));
        }
    });
    ROUNDS
}

fn packet_reply() -> usize {
    let reply = Reply { data: Bytes::from_static(&[7; 12]), ..Reply::default() };
    measured(|| {
        for _ in 0..ROUNDS {
            black_box(packet::reply("request-1", PacketCommand::PcSend as i32, black_box(&reply)));
        }
    });
    ROUNDS
}

fn session_heartbeat() -> usize {
    let rules = ConnSettings::default().rules();
    let mut session = Session::new(0, &rules);
    let sign_in = PacketView { command: PacketCommand::PcSignIn as i32, ..PacketView::default() };
    assert_eq!(session.on_packet(&sign_in, 0, &rules), Action::Forward);
    assert!(session.on_signed_in(Identity { user_id: 1, device_id: 2 }, 0, 0));
    let heartbeat = PacketView { command: PacketCommand::PcHeartbeat as i32, ..PacketView::default() };
    measured(|| {
        for round in 0..ROUNDS as u64 {
            black_box(session.on_packet(black_box(&heartbeat), round, &rules));
        }
    });
    ROUNDS
}

fn outbound_one_frame() -> usize {
    let frame = heartbeat();
    let mut outbound = Outbound::default();
    measured(|| {
        for _ in 0..ROUNDS {
            outbound.push(frame.clone(), Kind::Reply, 65_536);
            let written = black_box(outbound.only()).unwrap().len();
            outbound.advance(written);
        }
    });
    ROUNDS
}

fn outbound_burst_of_16() -> usize {
    let frame = send();
    let mut outbound = Outbound::default();
    measured(|| {
        for _ in 0..ROUNDS {
            for _ in 0..16 {
                outbound.push(frame.clone(), Kind::Room, 65_536);
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            assert_eq!(black_box(outbound.fill(&mut slices)), 16);
            outbound.advance(outbound.queued_bytes());
        }
    });
    16 * ROUNDS
}

/// One more room push for a peer who does not read: the oldest has to go, wherever in the queue it is.
fn outbound_full(of: Kind) -> usize {
    const BYTES_MAX: usize = 256 * 1024;
    let frame = send();
    let mut outbound = Outbound::default();
    while outbound.queued_bytes() + 2 * frame.len() <= BYTES_MAX {
        outbound.push(frame.clone(), of, BYTES_MAX);
    }
    outbound.push(frame.clone(), Kind::Room, BYTES_MAX);
    measured(|| {
        for _ in 0..ROUNDS {
            assert_eq!(outbound.push(black_box(&frame).clone(), Kind::Room, BYTES_MAX), Pushed::QueuedDropping(1));
        }
    });
    ROUNDS
}

fn wheel_schedule() -> usize {
    let mut wheel = Wheel::default();
    (0..ROUNDS).for_each(|slot| wheel.schedule(slot, 300_000));
    measured(|| (0..ROUNDS).for_each(|slot| wheel.schedule(black_box(slot), 400_000)));
    ROUNDS
}

fn wheel_expire() -> usize {
    let mut wheel = Wheel::default();
    (0..ROUNDS).for_each(|slot| wheel.schedule(slot, 1_000 + slot as u64));
    let expired = measured(|| std::iter::from_fn(|| wheel.expire(10_000)).count());
    assert_eq!(expired, ROUNDS);
    expired
}

/// Connections of this number share one socket: only their records are of interest.
fn connections(count: usize) -> impl Iterator<Item = Connection> {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let rules = ConnSettings::default().rules();
    (0..count as u32).map(move |generation| {
        let stream = mio::net::TcpStream::from_std(stream.try_clone().unwrap());
        Connection::new(stream, generation, Session::new(0, &rules), IpSlot::default())
    })
}

fn table_insert_remove() -> usize {
    const COUNT: usize = 500;
    let mut waiting: Vec<Connection> = connections(COUNT).collect();
    let mut removed = Vec::with_capacity(COUNT);
    let mut table = Table::default();
    // The first block is made before.
    let first = waiting.pop().unwrap();
    table.insert_with(|_, _| Ok::<_, ()>(first)).unwrap().unwrap();
    let count = waiting.len();
    measured(|| {
        for connection in waiting.drain(..) {
            let slot = table.insert_with(|_, _| Ok::<_, ()>(connection)).unwrap().unwrap();
            removed.extend(table.remove(black_box(slot)));
        }
    });
    assert_eq!(removed.len(), count);
    count
}

fn table_get_owned() -> usize {
    const COUNT: usize = 500;
    let mut table = Table::default();
    for connection in connections(COUNT) {
        table.insert_with(|_, _| Ok::<_, ()>(connection)).unwrap().unwrap();
    }
    let found = measured(|| {
        (0..ROUNDS).filter(|round| table.get_owned(black_box(round % COUNT), (round % COUNT) as u32).is_some()).count()
    });
    assert_eq!(found, ROUNDS);
    ROUNDS
}

/// A reactor without its thread.
struct Node {
    reactor: Reactor,
    events: Events,
    address: net::SocketAddr,
    commands: crossbeam_channel::Sender<Command>,
    batches: crossbeam_channel::Receiver<UpBatch>,
}

impl Node {
    fn new() -> Self {
        let mut settings = ConnSettings::default();
        settings.session.packets_per_s = 0;
        settings.session.newest_seq_interval_ms = 1_000_000;
        let listener = listen::open("127.0.0.1:0".parse().unwrap(), 1, 1024).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let (poll, wake) = open_poll().unwrap();
        let (commands, queue) = crossbeam_channel::bounded(64);
        let (sender, batches) = crossbeam_channel::bounded(64);
        let uplink = Uplink::new(sender, Arc::new(|| {}), 1024, 1 << 20);
        let parts = Parts {
            index: 0,
            poll,
            listeners: vec![ListenerParts { entrance: Entrance::Tcp, dialect: None, listener }],
            apps: vec![AppParts { id: 0, commands: queue, uplink, quota: Arc::new(AppQuota::new(0)) }],
            wake,
            rules: settings.rules(),
            site: settings.site(),
            tls: None,
            handshake_timeout_ms: settings.session.handshake_timeout_ms,
            socket_options: settings.socket_options(),
            quota: Arc::new(Quota::new(64, 0)),
            limits: settings.limits.clone(),
            push_all: settings.push_all.clone(),
            turn: settings.turn.clone(),
            busy_poll: Duration::ZERO,
            drain: settings.drain.clone(),
            log_lines_per_s: LOG_LINES_PER_S_MAX,
        };
        let events = Events::with_capacity(settings.turn.events);
        Self { reactor: Reactor::new(parts).unwrap(), events, address, commands, batches }
    }

    fn turn(&mut self) {
        self.reactor.turn(&mut self.events).unwrap();
    }

    fn sign_in(&mut self, device_id: u64) -> net::TcpStream {
        let mut stream = net::TcpStream::connect(self.address).unwrap();
        let sign_in = packet::encode("", PacketCommand::PcSignIn as i32, &[], 0).length_value();
        stream.write_all(&sign_in).unwrap();
        let connection = self.asked_by();
        let identity = Identity { user_id: device_id, device_id };
        let frame = packet::encode("", PacketCommand::PcSignIn as i32, &[], 0);
        let mut reply = frame.clone().length_value().to_vec();
        let signed_in = Command::SignedIn { connection, identity, newest_seq: 1, large_group_ids: Vec::new(), frame };
        self.commands.try_send(signed_in).unwrap();
        stream.set_nonblocking(true).unwrap();
        while stream.read(&mut reply).is_err() {
            self.turn();
        }
        stream
    }

    fn asked_by(&mut self) -> ConnectionId {
        loop {
            self.turn();
            let asked = self.batches.try_iter().flat_map(|batch| batch.items).find_map(|item| match item {
                UpItem::SignIn { connection, .. } => Some(connection),
                _ => None,
            });
            if let Some(connection) = asked {
                return connection;
            }
        }
    }
}

/// Turns in which so many peers are each answered so many heartbeats: all that happens to one between two calls of epoll.
fn turns_of_heartbeats(peers: u64, each: usize) -> usize {
    const TURNS: usize = 100;
    let mut node = Node::new();
    let mut streams: Vec<_> = (1..=peers).map(|device_id| node.sign_in(device_id)).collect();
    let heartbeats = heartbeat().repeat(each);
    // Answers say the newest seq, which the questions do not.
    let answers_bytes = each * packet::encode("", PacketCommand::PcHeartbeat as i32, &[], 1).length_value().len();
    let mut answers = vec![0; answers_bytes];
    for round in 0..=TURNS {
        streams.iter_mut().for_each(|stream| stream.write_all(&heartbeats).unwrap());
        if round == 0 {
            // What the first time costs is not counted: room for replies, and the question for the newest seq.
            node.turn();
        } else {
            measured(|| node.turn());
        }
        for stream in &mut streams {
            assert_eq!(stream.read(&mut answers).unwrap(), answers_bytes);
        }
    }
    TURNS * peers as usize * each
}
