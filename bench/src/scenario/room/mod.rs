//! How fast does a message reach all members of a room, and how many such deliveries fit into a second?
//!
//! Without `--rate` the next burst is pushed when all members have one (a closed loop, two bursts under way), which shows
//! how much fits. With it bursts leave on time whatever the server does (an open loop), and latency counts from the time
//! they were meant to leave. With several processes, each has a room of its share of the members. The same clients then get the
//! same messages from a bare write loop, second by second in turns.

mod attendance;
mod audience;
mod pusher;

use anyhow::ensure;
use gim_proto::connect::{Packet, PacketCommand, SubscribeRoomRequest};
use prost::Message as _;
use serde_json::{Value, json};

use self::audience::Hall;
pub use self::{
    audience::Audience,
    pusher::{Pusher, RoomCalls},
};
use crate::{
    baseline::{Baseline, Kind},
    counts::Counts,
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run, ensure_rate, random_id, tell_faults},
    paired_run::{PairedRun, Side},
    progress::Progress,
    result::Figures,
    stats::ratio,
    swarm::Swarm,
};

/// Bursts that are under way at the same time in a closed loop.
const WINDOW: u64 = 2;

/// What must not happen, in words.
const FAULTS: [(&str, &str); 2] = [("lost", "deliveries lost"), ("reordered", "deliveries out of order, or twice")];

/// Arguments of `room`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Members of the room
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    members: u32,
    /// Messages per second; without it as many as fit
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Messages that are pushed at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    burst: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=60_000))]
    size: u32,
}

impl Measurement for Arguments {
    const NAME: &'static str = "room";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { members, rate, burst, size, .. } = self;
        json!({ "members": members, "rate": rate, "burst": burst, "size": size })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--members", self.members)]
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure_rate("rate", self.rate)
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let members = run.share(self.members);
        let mut swarm = run.swarm(2 * members)?;
        let mut baseline = Baseline::start(Kind::Writes { sockets: members })?;
        let greetings = run.sign_up(members)?.into_iter().map(|user| user.greeting);
        let (room_id, size) = (random_id(), self.size as usize);
        let bare = baseline.endpoint_like(&run.target.endpoints()[0]);
        let mut hall = Hall {
            server: Audience::new(members, self.burst, Pusher::to_room(&run.target, room_id, size)?),
            baseline: Audience::new(
                members,
                self.burst,
                Pusher::to_sockets(baseline.take_input()?, bare.clone(), size)?,
            ),
            members,
            slice: None,
            subscription: subscription(room_id),
            subscribed: 0,
            per_second: self.bursts_per_second(),
            schedule: None,
            scheduled: (0, 0),
        };
        let in_flight = run.in_flight(CONNECTS_IN_FLIGHT);
        swarm.gather(&mut hall, run.target.endpoints(), greetings, in_flight)?;
        swarm.gather(&mut hall, &[bare], (0..members).map(|_| Box::default()), in_flight)?;
        let all_entered = swarm.settle(&mut hall, Hall::activity, |hall| hall.subscribed == members)?;
        ensure!(all_entered, "not all members could enter the room");
        let ended = take_turns(run, &mut swarm, &mut hall, PairedRun::new(self.load.duration()));
        hall.count(&mut run.counts);
        run.note_schedule(hall.scheduled);
        ended
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let (deliveries, writes) = (counts.get("server"), counts.get("baseline"));
        let (server, baseline) = (counts.latencies("server"), counts.latencies("baseline"));
        figures.measure("deliveries_per_second", deliveries, "deliveries per second");
        figures.measure("baseline_writes_per_second", writes, "a bare write loop, deliveries per second");
        figures.measure("ratio", ratio(deliveries, writes), "per second, against the bare one");
        figures.within("p50_ms", &server, 0.5, "half of them within (ms)");
        figures.within("p99_ms", &server, 0.99, "99 % within (ms)");
        figures.within("baseline_p99_ms", &baseline, 0.99, "a bare write loop, 99 % within (ms)");
        figures.counted(counts, &[("messages", "messages pushed")]);
        let offered = self.rate.map(|rate| rate * f64::from(self.members));
        figures.measure("offered_per_second", offered, "deliveries per second that were offered");
        figures.measure("achieved_per_second", offered.and(deliveries), "deliveries per second that were achieved");
        tell_faults(counts, figures, &FAULTS)
    }
}

impl Arguments {
    fn bursts_per_second(&self) -> Option<f64> {
        self.rate.map(|rate| rate / f64::from(self.burst))
    }
}

/// The frame that enters a room.
pub fn subscription(room_id: u64) -> Vec<u8> {
    let content = SubscribeRoomRequest { room_id, ..SubscribeRoomRequest::default() }.encode_to_vec().into();
    let command = PacketCommand::PcSubscribeRoom as i32;
    Packet { request_id: "room".into(), command, content, seq: 0 }.encode_length_delimited_to_vec()
}

fn take_turns(run: &mut Run<'_>, swarm: &mut Swarm, hall: &mut Hall, paired: PairedRun) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start();
    let mut progress = Progress::new("room", paired.len().into());
    for number in 0..paired.len() {
        run.meet("slice", swarm, hall)?;
        let (spent, received) = (run.spent(), hall.server.received());
        let slice = paired.begin(number);
        hall.begin(slice)?;
        let ended = swarm.run_until(hall, slice.end);
        // What is under way still counts in this slice, as late as it comes; the next one starts on an empty machine.
        let ended = ended.and_then(|()| swarm.settle(hall, Hall::activity, Hall::is_settled));
        hall.end();
        if slice.side == Side::Server {
            run.charge(&spent, hall.server.received() - received);
        }
        if !ended? {
            break;
        }
        progress.show((number + 1).into(), || hall.summary());
    }
    own_cpu.check(run);
    Ok(())
}
