//! A seeded simulation of session, codec, outbound queue and timer wheel on a virtual clock: peers whose bytes arrive in
//! pieces, a logic that answers when it likes, a kernel that takes what it likes. A failing seed is printed; run it again with
//! `GIM_SIMULATION_SEED=n cargo test -p gim-conn --test simulation`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    collections::VecDeque,
    io::IoSlice,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use gim_conn::{
    clock::TICK_MS,
    reactor::wheel::Wheel,
    session::{Action, Identity, Phase, Rules, Session},
    wire::{
        encoded::Framing,
        intake::{Fed, Flow, Intake},
        outbound::{Kind, Outbound, Pushed, SLICES_MAX},
        packet::{self, PacketView},
    },
};
use gim_proto::{
    CloseReason, ResultCode,
    connect::{Packet, PacketCommand},
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

const SEEDS: u64 = 256;
const STEPS: usize = 3_000;
const PEERS: usize = 6;

const RULES: Rules = Rules {
    unsigned_frame_bytes_max: 200,
    frame_bytes_max: 2_000,
    sign_in_timeout_ms: 10_000,
    failed_sign_ins_max: 3,
    heartbeat_timeout_ms: 60_000,
    in_flight_max: 4,
    calls_in_flight_max: 2,
    packets_per_s: 5,
    packets_burst: 100,
    newest_seq_interval_ms: 1_000,
    linger_ms: 1_000,
};

/// Bytes that may wait to be written to a peer.
const HARD_BYTES: usize = 1_000;

/// One peer, and the connection that a reactor would have for it.
struct Peer {
    session: Session,
    intake: Intake,
    outbound: Outbound,
    opened_ms: u64,
    heard_ms: u64,
    /// Written by the peer, not read yet.
    on_the_wire: VecDeque<u8>,
    /// Packets in the order in which the peer wrote them.
    written: VecDeque<Packet>,
    /// With logic: request id and command.
    in_flight: VecDeque<(String, i32)>,
    /// Calls with logic: request ids.
    calls: VecDeque<String>,
    /// Request ids whose reply is due, in the order in which the connection has to see them.
    replies_due: VecDeque<String>,
    /// Inbox pushes that were queued, in order; the others were refused.
    inbox_due: VecDeque<u32>,
    /// The newest push to a room that the peer got.
    room_newest: Option<u32>,
    next_push: u32,
    /// Packets that were let through.
    let_through: u64,
    received: Vec<u8>,
    closed: Option<CloseReason>,
    next_id: u32,
}

struct World {
    random: StdRng,
    now_ms: u64,
    wheel: Wheel,
    peers: Vec<Peer>,
}

impl Peer {
    fn new(now_ms: u64) -> Self {
        Self {
            session: Session::new(now_ms, &RULES),
            intake: Intake::default(),
            outbound: Outbound::default(),
            opened_ms: now_ms,
            heard_ms: now_ms,
            on_the_wire: VecDeque::new(),
            written: VecDeque::new(),
            in_flight: VecDeque::new(),
            calls: VecDeque::new(),
            replies_due: VecDeque::new(),
            inbox_due: VecDeque::new(),
            room_newest: None,
            next_push: 0,
            let_through: 0,
            received: Vec::new(),
            closed: None,
            next_id: 0,
        }
    }

    fn write(&mut self, command: i32, content_bytes: usize) {
        let packet = Packet {
            request_id: self.next_id.to_string(),
            command,
            content: vec![self.next_id as u8; content_bytes].into(),
            seq: 0,
        };
        self.next_id += 1;
        self.on_the_wire.extend(packet.encode_length_delimited_to_vec());
        self.written.push_back(packet);
    }

    /// What a reactor does with bytes that came in.
    fn read(&mut self, count: usize, now_ms: u64) {
        if self.closed.is_some() || self.session.pause(&RULES).is_some() {
            return;
        }
        let fresh: Vec<u8> = self.on_the_wire.drain(..count.min(self.on_the_wire.len())).collect();
        let bytes_max = self.session.frame_bytes_max(&RULES);
        let mut intake = std::mem::take(&mut self.intake);
        let fed = intake.feed(&fresh, bytes_max, |frame| self.on_frame(frame, now_ms));
        self.intake = intake;
        if let Fed::Bad(error) = fed {
            panic!("whole frames are never bad: {error}");
        }
    }

    fn on_frame(&mut self, frame: &[u8], now_ms: u64) -> Flow {
        let view = PacketView::decode(frame).unwrap();
        let expected = self.written.pop_front().expect("no frame comes that was not written");
        assert_eq!(
            (view.request_id, view.command, view.content),
            (&*expected.request_id, expected.command, &expected.content[..])
        );
        if self.session.phase() == Phase::Live {
            self.heard_ms = now_ms;
        }
        let action = self.session.on_packet(&view, now_ms, &RULES);
        self.check_rate(action, now_ms);
        match action {
            Action::Heartbeat => self.reply(&expected.request_id, expected.command, ResultCode::Ok),
            Action::Refuse(code) => self.reply(&expected.request_id, expected.command, code),
            Action::Forward => self.in_flight.push_back((expected.request_id, expected.command)),
            Action::Call => self.calls.push_back(expected.request_id),
            Action::Close(reason) => self.closed = Some(reason),
        }
        assert!(self.in_flight.len() <= usize::from(RULES.in_flight_max));
        assert_eq!(usize::from(self.session.in_flight()), self.in_flight.len());
        assert!(self.calls.len() <= usize::from(RULES.calls_in_flight_max));
        if self.session.pause(&RULES).is_some() || self.closed.is_some() { Flow::Stop } else { Flow::Continue }
    }

    fn reply(&mut self, request_id: &str, command: i32, code: ResultCode) {
        let frame = packet::refusal(request_id, command, code).piece(Framing::LengthValue);
        match self.outbound.push(frame, Kind::Reply, HARD_BYTES) {
            Pushed::Queued | Pushed::QueuedDropping(_) => self.replies_due.push_back(request_id.to_owned()),
            Pushed::Overflow => self.closed = Some(CloseReason::CrSlowConsumer),
            Pushed::Refused => panic!("a reply is never left out"),
        }
        self.check_bound();
    }

    /// A push from logic; each kind is numbered.
    fn push(&mut self, kind: Kind) {
        let number = self.next_push;
        self.next_push += 1;
        let mut content = number.to_be_bytes().to_vec();
        content.push(u8::from(kind == Kind::Inbox));
        let frame = packet::notice(PacketCommand::PcMessage, &content, 0).piece(Framing::LengthValue);
        match self.outbound.push(frame, kind, HARD_BYTES) {
            Pushed::Queued if kind == Kind::Inbox => self.inbox_due.push_back(number),
            Pushed::QueuedDropping(_) | Pushed::Overflow if kind == Kind::Inbox => {
                panic!("an inbox push drops nothing")
            }
            Pushed::Queued | Pushed::QueuedDropping(_) | Pushed::Refused => {}
            Pushed::Overflow => panic!("only a reply may end a connection"),
        }
        self.check_bound();
    }

    fn check_bound(&self) {
        assert!(self.outbound.queued_bytes() <= HARD_BYTES, "no frame here is larger than the bound");
    }

    /// Nobody gets through more than the burst and what was earned since.
    fn check_rate(&mut self, action: Action, now_ms: u64) {
        if !matches!(action, Action::Refuse(ResultCode::TooManyRequests) | Action::Close(CloseReason::CrRateLimited)) {
            self.let_through += 1;
        }
        let earned = (now_ms + TICK_MS - self.opened_ms) * u64::from(RULES.packets_per_s) / 1_000;
        assert!(self.let_through <= u64::from(RULES.packets_burst) + earned + 1);
    }

    /// Logic answers one of the calls that it has.
    fn answer_call(&mut self, which: usize) {
        if self.closed.is_some() || self.calls.is_empty() {
            return;
        }
        let request_id = self.calls.remove(which % self.calls.len()).unwrap();
        self.reply(&request_id, PacketCommand::PcCall as i32, ResultCode::Ok);
        self.session.on_call_over();
        assert_eq!(self.session.is_answered(), self.in_flight.is_empty() && self.calls.is_empty());
    }

    /// Logic answers one of the requests that it has.
    fn answer(&mut self, which: usize, accepts: bool, now_ms: u64) {
        if self.closed.is_some() || self.in_flight.is_empty() {
            return;
        }
        let (request_id, command) = self.in_flight.remove(which % self.in_flight.len()).unwrap();
        self.reply(&request_id, command, ResultCode::Ok);
        if self.session.phase() != Phase::SigningIn {
            self.session.on_reply();
        } else if accepts {
            assert!(self.session.on_signed_in(Identity { user_id: 1, device_id: 1 }, 0, now_ms));
            self.heard_ms = now_ms;
        } else {
            self.closed = self.session.on_sign_in_refused(&RULES);
        }
        assert_eq!(usize::from(self.session.in_flight()), self.in_flight.len());
    }

    /// The kernel takes up to `count` bytes, and the peer reads them.
    fn flush(&mut self, count: usize) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = self.outbound.fill(&mut slices);
        let front: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).take(count).collect();
        self.outbound.advance(front.len());
        self.received.extend(front);
        self.check_received();
    }

    fn check_received(&mut self) {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        loop {
            let before = rest;
            let Ok(packet) = Packet::decode_length_delimited(&mut rest) else {
                self.received = before.to_vec();
                return;
            };
            if packet.request_id.is_empty() {
                self.got_push(&packet.content);
            } else {
                assert_eq!(Some(packet.request_id), self.replies_due.pop_front(), "replies come once and in order");
            }
        }
    }

    fn got_push(&mut self, content: &[u8]) {
        let (number, is_inbox) = content.split_at(4);
        let number = u32::from_be_bytes(number.try_into().unwrap());
        if is_inbox == [1] {
            assert_eq!(Some(number), self.inbox_due.pop_front(), "what was queued of an inbox comes once and in order");
        } else {
            assert!(self.room_newest < Some(number), "{number} after {:?}", self.room_newest);
            self.room_newest = Some(number);
        }
    }

    /// What a reactor does when the wheel names the connection. Returns the next time to look.
    fn on_deadline(&mut self, now_ms: u64) -> Option<u64> {
        let Some(reason) = self.session.on_deadline(now_ms, &RULES) else {
            return Some(self.session.deadline_ms(&RULES));
        };
        let (since_ms, patience_ms) = match reason {
            CloseReason::CrSignInDeadline => (self.opened_ms, RULES.sign_in_timeout_ms),
            CloseReason::CrHeartbeatTimeout => (self.heard_ms, RULES.heartbeat_timeout_ms),
            other => panic!("{other:?} is no deadline"),
        };
        assert!(now_ms + TICK_MS >= since_ms + patience_ms, "{reason:?} at {now_ms} is early for {since_ms}");
        self.closed = Some(reason);
        None
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut wheel = Wheel::default();
        let peers: Vec<Peer> = (0..PEERS).map(|_| Peer::new(0)).collect();
        for (slot, peer) in peers.iter().enumerate() {
            wheel.schedule(slot, peer.session.deadline_ms(&RULES));
        }
        Self { random: StdRng::seed_from_u64(seed), now_ms: 0, wheel, peers }
    }

    fn step(&mut self) {
        let slot = self.random.random_range(0..PEERS);
        let amount = self.random.random_range(0..60);
        match self.random.random_range(0..100) {
            0..25 => self.write(slot, amount),
            25..60 => self.peers[slot].read(amount, self.now_ms),
            60..63 => self.peers[slot].answer_call(amount),
            63..75 => {
                let accepts = self.random.random_bool(0.8);
                self.peers[slot].answer(amount, accepts, self.now_ms);
                self.refile(slot);
            }
            75..90 => self.peers[slot].flush(amount),
            90..95 if self.peers[slot].session.phase() == Phase::Live => {
                let kind = if self.random.random_bool(0.5) { Kind::Inbox } else { Kind::Room };
                self.peers[slot].push(kind);
            }
            _ => self.advance(),
        }
        if self.peers[slot].closed.is_some() {
            self.replace(slot);
        }
    }

    fn write(&mut self, slot: usize, amount: usize) {
        let command = match self.random.random_range(0..8) {
            0 | 1 => PacketCommand::PcSignIn as i32,
            2 | 3 => PacketCommand::PcHeartbeat as i32,
            4 | 5 => PacketCommand::PcSend as i32,
            6 => [1000, PacketCommand::PcCall as i32][amount % 2],
            _ => self.random.random_range(-5..30),
        };
        self.peers[slot].write(command, amount);
    }

    fn advance(&mut self) {
        self.now_ms += self.random.random_range(0..3_000);
        while let Some(slot) = self.wheel.expire(self.now_ms) {
            match self.peers[slot].on_deadline(self.now_ms) {
                Some(deadline_ms) => self.wheel.schedule(slot, deadline_ms),
                None => self.replace(slot),
            }
        }
        for peer in &self.peers {
            let late_ms = self.now_ms.saturating_sub(peer.session.deadline_ms(&RULES));
            assert!(late_ms <= 2 * TICK_MS, "a deadline was missed by {late_ms} ms");
        }
    }

    fn refile(&mut self, slot: usize) {
        self.wheel.schedule(slot, self.peers[slot].session.deadline_ms(&RULES));
    }

    /// The slot gets a new owner.
    fn replace(&mut self, slot: usize) {
        self.peers[slot] = Peer::new(self.now_ms);
        self.refile(slot);
    }

    /// Everything that is under way arrives: each packet that was read has its one reply.
    fn settle(&mut self) {
        for slot in 0..PEERS {
            let peer = &mut self.peers[slot];
            while peer.closed.is_none()
                && !(peer.written.is_empty() && peer.in_flight.is_empty() && peer.calls.is_empty())
            {
                peer.answer(0, true, self.now_ms);
                peer.answer_call(0);
                peer.flush(HARD_BYTES);
                peer.read(100, self.now_ms);
                peer.flush(HARD_BYTES);
                assert!(
                    !(peer.in_flight.is_empty() && peer.session.pause(&RULES).is_some()),
                    "nothing would lift the pause"
                );
            }
            while !peer.outbound.is_empty() {
                peer.flush(1_000);
            }
            assert!(peer.replies_due.is_empty() && peer.inbox_due.is_empty() && peer.received.is_empty());
            assert!(peer.closed.is_some() || peer.intake.tail_bytes() == 0, "an idle connection owns no buffer");
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
}

#[test]
fn sessions_of_chopped_and_stalled_peers_keep_their_promises() {
    let chosen = std::env::var("GIM_SIMULATION_SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let seeds = chosen.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("failed with GIM_SIMULATION_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
