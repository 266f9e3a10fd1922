//! Whatever a peer sends, whenever logic answers and time passes: a session forwards no more than its window, counts what it
//! forwarded, lets nobody in whom logic did not, and ends at its deadlines, never before.
//!
//! Input: what the peer speaks (today's words, or a dialect), then steps, each a byte that chooses, and what follows it.

#![no_main]

use gim_conn::{
    clock::TICK_MS,
    reactor::wheel::Wheel,
    session::{Action, Identity, Phase, Rules, Session},
    wire::{
        intake::{Fed, Flow, Intake},
        packet::PacketView,
    },
};
use gim_legacy::{Dialect, packets::Scratch};
use libfuzzer_sys::fuzz_target;

const RULES: Rules = Rules {
    unsigned_frame_bytes_max: 64,
    frame_bytes_max: 200,
    sign_in_timeout_ms: 1_000,
    failed_sign_ins_max: 3,
    heartbeat_timeout_ms: 5_000,
    in_flight_max: 3,
    calls_in_flight_max: 2,
    packets_per_s: 20,
    packets_burst: 30,
    newest_seq_interval_ms: 500,
    linger_ms: 300,
};

/// The one connection of this world.
const SLOT: usize = 0;

struct World {
    now_ms: u64,
    session: Session,
    /// None for today's words.
    dialect: Option<Dialect>,
    scratch: Scratch,
    intake: Intake,
    wheel: Wheel,
    /// Requests with logic.
    in_flight: u16,
    calls: u8,
    was_let_in: bool,
    is_over: bool,
}

fuzz_target!(|input: &[u8]| {
    let [speaks, input @ ..] = input else { return };
    let dialect = usize::from(*speaks).checked_sub(1).and_then(|place| Dialect::all().nth(place));
    let session = Session::new(0, &RULES);
    let mut wheel = Wheel::default();
    wheel.schedule(SLOT, session.deadline_ms(&RULES));
    let mut world = World {
        now_ms: 0,
        session,
        dialect,
        scratch: Scratch::default(),
        intake: Intake::default(),
        wheel,
        in_flight: 0,
        calls: 0,
        was_let_in: false,
        is_over: false,
    };
    let mut rest = input;
    while let [step, after @ ..] = rest
        && !world.is_over
    {
        rest = after;
        match step % 8 {
            0..=2 => rest = world.bytes(rest),
            3 => world.reply(),
            4 => world.answer_sign_in(step & 8 == 0),
            5 => world.pass(u64::from(*step) * 4),
            6 => world.newest_seq(u64::from(*step)),
            _ => world.forward_fails(),
        }
        world.check();
    }
});

impl World {
    /// Bytes come in; the first says how many. Returns what is left.
    fn bytes<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let [count, rest @ ..] = rest else { return &[] };
        if self.session.pause(&RULES).is_some() {
            return rest;
        }
        let (fresh, rest) = rest.split_at(rest.len().min(usize::from(*count)));
        let mut intake = std::mem::take(&mut self.intake);
        let fed = intake.feed(fresh, self.session.frame_bytes_max(&RULES), |frame| self.on_frame(frame));
        self.is_over |= matches!(fed, Fed::Bad(_));
        self.intake = intake;
        rest
    }

    fn on_frame(&mut self, frame: &[u8]) -> Flow {
        let mut scratch = std::mem::take(&mut self.scratch);
        let packet = match self.dialect {
            None => PacketView::decode(frame).ok(),
            Some(dialect) => dialect.packets().read(frame, &mut scratch).ok().map(PacketView::from),
        };
        let flow = packet.map(|packet| self.on_packet(&packet));
        self.scratch = scratch;
        flow.unwrap_or_else(|| {
            self.is_over = true;
            Flow::Stop
        })
    }

    fn on_packet(&mut self, packet: &PacketView<'_>) -> Flow {
        let was_live = self.session.phase() == Phase::Live;
        match self.session.on_packet(packet, self.now_ms, &RULES) {
            Action::Forward => self.in_flight += 1,
            Action::Call => {
                assert!(was_live, "a call is one of those who signed in");
                self.calls += 1;
            }
            Action::Heartbeat => assert!(was_live, "a heartbeat is answered to those who signed in"),
            Action::Refuse(_) => {}
            Action::Close(_) => self.is_over = true,
        }
        if self.is_over || self.session.pause(&RULES).is_some() { Flow::Stop } else { Flow::Continue }
    }

    fn reply(&mut self) {
        if self.in_flight > 0 && self.session.phase() == Phase::Live {
            self.in_flight -= 1;
            self.session.on_reply();
        } else if self.calls > 0 {
            self.calls -= 1;
            self.session.on_call_over();
        }
    }

    fn answer_sign_in(&mut self, accepts: bool) {
        let waits = self.session.phase() == Phase::SigningIn;
        if accepts {
            let is_let_in = self.session.on_signed_in(Identity { user_id: 1, device_id: 2 }, 0, self.now_ms);
            assert_eq!(is_let_in, waits, "only who asked is let in");
            self.was_let_in |= is_let_in;
            // What a reactor does: the heartbeat deadline is later than the one before.
            self.wheel.schedule(SLOT, self.session.deadline_ms(&RULES));
        } else if waits {
            self.is_over |= self.session.on_sign_in_refused(&RULES).is_some();
        }
        self.in_flight -= u16::from(waits);
    }

    fn forward_fails(&mut self) {
        if self.in_flight > 0 {
            self.in_flight -= 1;
            self.session.on_forward_failed();
        }
    }

    fn newest_seq(&mut self, seq: u64) {
        let before = self.session.newest_seq();
        assert_eq!(self.session.on_newest_seq(seq), seq > before);
        assert_eq!(self.session.newest_seq(), seq.max(before));
        self.session.asks_newest_seq(self.now_ms, &RULES);
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        while self.wheel.expire(self.now_ms).is_some() {
            let deadline_ms = self.session.deadline_ms(&RULES);
            match self.session.on_deadline(self.now_ms, &RULES) {
                Some(_) => {
                    assert!(self.now_ms >= deadline_ms, "never early");
                    self.is_over = true;
                    return;
                }
                None => self.wheel.schedule(SLOT, deadline_ms),
            }
        }
        assert!(self.now_ms < self.session.deadline_ms(&RULES) + 2 * TICK_MS, "never missed");
    }

    fn check(&self) {
        let session = &self.session;
        assert_eq!(session.in_flight(), self.in_flight);
        assert!(self.in_flight <= RULES.in_flight_max && self.calls <= RULES.calls_in_flight_max);
        assert_eq!(session.identity().is_some(), session.phase() == Phase::Live);
        assert!(self.was_let_in || session.identity().is_none(), "nobody is let in but by logic");
    }
}
