//! Does a client that stopped reading cost the others anything?
//!
//! Messages are pushed on time to a room, whatever the server does. By turns, second by second, the readers are in a room of
//! their own and in one with members who have stopped reading, and for whom more waits than server and kernel keep. Medians
//! over these turns are compared, so that neither the order of the two nor a stall of the machine in one of them decides.
//! After each turn those who had stopped read what is left for them, which shows that they really held up what was theirs.

use std::time::Instant;

use anyhow::{anyhow, ensure};
use gim_proto::connect::{Packet as Envelope, PacketCommand};
use prost::Message as _;
use serde_json::{Value, json};

use super::room::{Audience, Pusher, RoomCalls, subscription};
use crate::{
    counts::Counts,
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run, random_id, tell_faults},
    paired_run::{PairedRun, Side, Slice},
    progress::Progress,
    result::Figures,
    stats::{Latencies, Schedule, median, ratio},
    swarm::{Behaviour, Closed, Connection, Packet, Swarm, packet::Message, transport::ServerEndpoint},
};

/// What is pushed to those who have stopped reading: more than a queue of the server and the kernel's buffers take.
const FILLING_BYTES: usize = 8 << 20;
const FILLING_MESSAGE_BYTES: usize = 32 * 1024;

/// Turns of which each has its own latencies; later ones are added to the first ones.
const ROUNDS_MAX: usize = 100;

/// Messages of it that are pushed at once.
const FILLING_BURST: usize = 32;

const MESSAGE: i32 = PacketCommand::PcMessage as i32;
const SUBSCRIBE: i32 = PacketCommand::PcSubscribeRoom as i32;
const HEARTBEAT: i32 = PacketCommand::PcHeartbeat as i32;

/// What must not happen to those who read, in words.
const FAULTS: [(&str, &str); 2] =
    [("lost", "deliveries lost, of those who read"), ("reordered", "deliveries out of order, or twice")];

/// Arguments of `slow`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Members of the room who read
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    members: u32,
    /// Members who do not
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    stuck: u32,
    /// Messages per second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(8..=60_000))]
    size: u32,
}

impl Measurement for Arguments {
    const NAME: &'static str = "slow";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { members, stuck, rate, size, .. } = self;
        json!({ "members": members, "stuck": stuck, "rate": rate, "size": size })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--members", self.members), ("--stuck", self.stuck)]
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (members, stuck) = (run.share(self.members), run.share(self.stuck));
        let mut swarm = run.swarm(members + stuck)?;
        let greetings = run.sign_up(members)?.into_iter().map(|user| user.greeting);
        let mut crowd = Crowd::new(run, self, members)?;
        let stuck = Stuck {
            greetings: run.sign_up(stuck)?.into_iter().map(|user| user.greeting).collect(),
            endpoints: run.target.endpoints().to_vec(),
            room: RoomCalls::new(&run.target, crowd.beside.room_id),
        };
        swarm.gather(&mut crowd, run.target.endpoints(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let ended = take_turns(run, self, &stuck, &mut swarm, &mut crowd);
        for (key, place) in [("without", &crowd.alone), ("with", &crowd.beside)] {
            for (round, latencies) in place.rounds.iter().enumerate() {
                run.counts.add_latencies(key, latencies);
                run.counts.add_round(key, round, latencies);
            }
            run.counts.add_rate("deliveries", place.audience.score.per_second());
            run.counts.add("messages", place.audience.pushed as f64);
            run.counts.add("lost", place.audience.lost() as f64);
            run.counts.add("reordered", place.audience.reordered as f64);
        }
        run.counts.add("stuck_behind", crowd.behind as f64);
        run.counts.add("stuck_closed", crowd.closed as f64);
        run.note_schedule(crowd.scheduled);
        ended
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let p99s = |key| {
            let rounds = counts.rounds(key).iter().filter(|round| round.count() > 0);
            rounds.map(|round| round.ms(0.99)).collect::<Vec<_>>()
        };
        let (without, with) = (p99s("without"), p99s("with"));
        let ratios = without.iter().zip(&with).filter_map(|(without, with)| ratio(*with, *without)).collect();
        figures.measure("p99_ms_without", median(without), "99 % within (ms), while all read");
        figures.measure("p99_ms_with", median(with), "99 % within (ms), while some do not");
        figures.measure("with_to_without", median(ratios), "the second, against the first just before it");
        figures.counted(
            counts,
            &[
                ("stuck_behind", "of those who do not read, missed something, in all rounds together"),
                ("stuck_closed", "of those, closed by the server, likewise"),
                ("messages", "messages pushed"),
            ],
        );
        let offered = f64::from(self.rate) * f64::from(self.members);
        figures.measure("offered_per_second", offered, "deliveries per second that were offered");
        // Those of both rooms, which have half of the time each.
        let achieved = counts.get("deliveries").map(|both| both / 2.0);
        figures.measure("achieved_per_second", achieved, "deliveries per second that were achieved");
        tell_faults(counts, figures, &FAULTS)?;
        let was_stuck = counts.count("stuck_behind") + counts.count("stuck_closed") > 0;
        ensure!(was_stuck, "nobody was ever behind: the server kept all that was pushed to those who did not read");
        Ok(())
    }
}

fn take_turns(
    run: &mut Run<'_>,
    arguments: &Arguments,
    stuck: &Stuck,
    swarm: &mut Swarm,
    crowd: &mut Crowd,
) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start();
    let paired = PairedRun::new(arguments.load.duration());
    let mut progress = Progress::new("slow", paired.len().into());
    for number in 0..paired.len() {
        let side = paired.side(number);
        if side == Side::Server {
            stuck.enter(swarm, crowd)?;
        }
        crowd.move_readers(side, swarm)?;
        run.meet("slice", swarm, crowd)?;
        let slice = paired.begin(number);
        crowd.begin(slice, arguments.rate.into());
        let ended = swarm.run_until(crowd, slice.end);
        // What is under way when a slice ends still counts in it, as late as it comes.
        let ended = ended.and_then(|()| swarm.settle(crowd, Crowd::activity, |crowd| crowd.has_all(side)));
        crowd.end(slice);
        if !ended? {
            break;
        }
        if side == Side::Server {
            stuck.leave(swarm, crowd)?;
        }
        progress.show((number + 1).into(), || crowd.summary());
    }
    own_cpu.check(run);
    Ok(())
}

/// The clients that stop reading, new connections for every turn. In the swarm they come after the readers.
struct Stuck {
    greetings: Vec<Box<[u8]>>,
    endpoints: Vec<ServerEndpoint>,
    room: RoomCalls,
}

impl Stuck {
    /// Enters the room, stops reading, and is pushed more than anybody keeps, before the readers come.
    fn enter(&self, swarm: &mut Swarm, crowd: &mut Crowd) -> anyhow::Result<()> {
        let count = self.greetings.len();
        crowd.stuck = vec![StuckMember::default(); count];
        crowd.subscribed = 0;
        for (number, greeting) in self.greetings.iter().enumerate() {
            let (id, endpoint) = (crowd.members + number, &self.endpoints[number % self.endpoints.len()]);
            if id < swarm.len() {
                swarm.reopen(id, endpoint, greeting.clone())?;
            } else {
                swarm.open(endpoint, greeting.clone())?;
            }
        }
        let all_entered = swarm.settle(crowd, Crowd::activity, |crowd| crowd.subscribed == count)?;
        ensure!(all_entered, "not all members could enter the room");
        crowd.filling = FILLING_BYTES / FILLING_MESSAGE_BYTES;
        let mut left = crowd.filling;
        while left > 0 {
            let burst = left.min(FILLING_BURST);
            self.room.push(vec![vec![b'.'; FILLING_MESSAGE_BYTES]; burst])?;
            left -= burst;
        }
        Ok(())
    }

    /// Reads what is left, up to the answer to one more heartbeat, and goes.
    fn leave(&self, swarm: &mut Swarm, crowd: &mut Crowd) -> anyhow::Result<()> {
        let heartbeat = Envelope { command: HEARTBEAT, ..Envelope::default() }.encode_length_delimited_to_vec();
        let ids = crowd.members..crowd.members + self.greetings.len();
        for id in ids.clone() {
            swarm.connection(id).send(&heartbeat);
            swarm.recover(id, crowd)?;
        }
        let are_over = swarm.settle(crowd, Crowd::activity, |crowd| crowd.stuck.iter().all(|member| member.is_over))?;
        ensure!(are_over, "who reads again is neither served nor closed");
        let pushed = crowd.filling as u64 + crowd.pushed_beside();
        crowd.behind += crowd.stuck.iter().filter(|member| !member.is_closed && member.messages < pushed).count();
        crowd.closed += crowd.stuck.iter().filter(|member| member.is_closed).count();
        ids.into_iter().try_for_each(|id| swarm.hang_up(id))
    }
}

/// What one of those who had stopped reading was kept.
#[derive(Debug, Clone, Default)]
struct StuckMember {
    messages: u64,
    is_closed: bool,
    /// Nothing more comes.
    is_over: bool,
}

/// A room, and what its readers got.
struct MeasuredRoom {
    room_id: u64,
    subscription: Vec<u8>,
    audience: Audience,
    rounds: Vec<Latencies>,
    turns: usize,
    pushed_before: u64,
}

impl MeasuredRoom {
    fn new(run: &Run<'_>, members: usize, size: usize) -> anyhow::Result<Self> {
        let room_id = random_id();
        let audience = Audience::new(members, 1, Pusher::to_room(&run.target, room_id, size)?);
        let (subscription, rounds) = (subscription(room_id), Vec::new());
        Ok(Self { room_id, subscription, audience, rounds, turns: 0, pushed_before: 0 })
    }

    fn end_turn(&mut self, slice: &Slice) {
        self.audience.score.end(slice);
        let latencies = self.audience.score.take_latencies();
        match self.rounds.get_mut(self.turns % ROUNDS_MAX) {
            Some(round) => round.add(&latencies),
            None => self.rounds.push(latencies),
        }
        self.turns += 1;
    }
}

/// Everybody.
struct Crowd {
    /// Where all read, and where some do not.
    alone: MeasuredRoom,
    beside: MeasuredRoom,
    members: usize,
    stuck: Vec<StuckMember>,
    /// Messages that only those got who do not read.
    filling: usize,
    subscribed: usize,
    slice: Option<Slice>,
    schedule: Option<Schedule>,
    /// What was sent on schedule, and how much of it late through our fault.
    scheduled: (u32, u32),
    /// Grows with whatever happens.
    activity: u64,
    behind: usize,
    closed: usize,
}

impl Crowd {
    fn new(run: &Run<'_>, arguments: &Arguments, members: usize) -> anyhow::Result<Self> {
        let size = arguments.size as usize;
        Ok(Self {
            alone: MeasuredRoom::new(run, members, size)?,
            beside: MeasuredRoom::new(run, members, size)?,
            members,
            stuck: Vec::new(),
            filling: 0,
            subscribed: 0,
            slice: None,
            schedule: None,
            scheduled: (0, 0),
            activity: 0,
            behind: 0,
            closed: 0,
        })
    }

    fn place(&mut self, side: Side) -> &mut MeasuredRoom {
        match side {
            Side::Baseline => &mut self.alone,
            Side::Server => &mut self.beside,
        }
    }

    /// Has all readers enter the room of this side.
    fn move_readers(&mut self, side: Side, swarm: &mut Swarm) -> anyhow::Result<()> {
        let (members, subscription) = (self.members, self.place(side).subscription.clone());
        self.subscribed = 0;
        (0..members).for_each(|id| swarm.connection(id).send(&subscription));
        let all_entered = swarm.settle(self, Self::activity, |crowd| crowd.subscribed == members)?;
        ensure!(all_entered, "not all members could enter the room");
        Ok(())
    }

    fn activity(&self) -> u64 {
        self.activity
    }

    /// Whether all that was meant to be pushed on this side has been, and has arrived.
    fn has_all(&self, side: Side) -> bool {
        let place = if side == Side::Server { &self.beside } else { &self.alone };
        self.next_due().is_none() && place.audience.has_all()
    }

    fn begin(&mut self, slice: Slice, rate: f64) {
        let place = self.place(slice.side);
        place.pushed_before = place.audience.pushed;
        self.slice = Some(slice);
        self.schedule = Some(Schedule::new(Instant::now(), rate).until(slice.end));
    }

    /// The slice is over, or breaks off now.
    fn end(&mut self, slice: Slice) {
        self.slice = None;
        self.place(slice.side).end_turn(&slice);
        if let Some((sent, late)) = self.schedule.take().map(|schedule| schedule.sent()) {
            self.scheduled.0 += sent;
            self.scheduled.1 += late;
        }
    }

    fn pushed_beside(&self) -> u64 {
        self.beside.audience.pushed - self.beside.pushed_before
    }

    fn summary(&self) -> String {
        let p99 = |place: &MeasuredRoom| place.rounds.last().map_or(0.0, |round| round.ms(0.99));
        format!("99 % within {:.1} ms, with stuck ones {:.1} ms", p99(&self.alone), p99(&self.beside))
    }

    fn take_from_stuck(&mut self, connection: &mut Connection, packet: &Packet<'_>) -> anyhow::Result<()> {
        let member = &mut self.stuck[connection.id() - self.members];
        match packet.command {
            MESSAGE => member.messages += 1,
            SUBSCRIBE => {
                self.subscribed += 1;
                connection.get_stuck().map_err(|error| anyhow!("cannot make a client slow: {error}"))?;
            }
            HEARTBEAT => member.is_over = true,
            _ => {}
        }
        Ok(())
    }
}

impl Behaviour for Crowd {
    fn on_ready(&mut self, connection: &mut Connection, _now: Instant) -> anyhow::Result<()> {
        self.activity += 1;
        if connection.id() >= self.members {
            connection.send(&self.beside.subscription);
        }
        Ok(())
    }

    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        self.activity += 1;
        if connection.id() >= self.members {
            return self.take_from_stuck(connection, packet);
        }
        if packet.command == SUBSCRIBE {
            self.subscribed += 1;
        } else if packet.command == MESSAGE
            && let Some(slice) = self.slice
        {
            self.place(slice.side).audience.take(connection.id(), &Message::read(packet.content)?, now, Some(&slice));
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        self.schedule.as_ref().and_then(Schedule::next)
    }

    fn on_tick(&mut self, _swarm: &mut Swarm) -> anyhow::Result<()> {
        self.alone.audience.check()?;
        self.beside.audience.check()?;
        let now = Instant::now();
        let Some(Slice { side, .. }) = self.slice else { return Ok(()) };
        while let Some(intended) = self.schedule.as_mut().and_then(|schedule| schedule.due(now)) {
            self.place(side).audience.push(intended)?;
        }
        Ok(())
    }

    fn on_closed(&mut self, id: usize, why: Closed) -> anyhow::Result<()> {
        self.activity += 1;
        let Some(member) = id.checked_sub(self.members).and_then(|number| self.stuck.get_mut(number)) else {
            return Err(anyhow!("{why}"));
        };
        (member.is_closed, member.is_over) = (true, true);
        Ok(())
    }
}
