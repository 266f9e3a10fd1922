//! How fast does a message reach all members of a room, and how many such deliveries fit into a second?
//!
//! Without `--rate` the next burst is pushed when all members have one (a closed loop, two bursts under way), which shows
//! how much fits. With it bursts leave on time whatever the server does (an open loop), and latency counts from the time
//! they were meant to leave. With several processes, each has a room of its share of the members. The same clients then get the
//! same messages from a bare write loop, second by second in turns.
//!
//! With `--dialect` the members speak an older dialect, and in the place of the bare loop as many clients of today are in another room of
//! the same server: the ratio is what the dialect costs.

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
    swarm::{Swarm, older::Dialect, transport::ServerEndpoint},
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
    /// What the members speak, where that is older than today's; the ratio is then that to clients of today
    #[arg(long, value_enum, value_name = "DIALECT")]
    dialect: Option<Dialect>,
}

impl Measurement for Arguments {
    const NAME: &'static str = "room";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { members, rate, burst, size, dialect, .. } = self;
        let dialect = dialect.map(Dialect::name);
        json!({ "members": members, "rate": rate, "burst": burst, "size": size, "dialect": dialect })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--members", self.members)]
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.dialect.is_none_or(Dialect::has_rooms), "--dialect: there were no rooms then");
        ensure_rate("rate", self.rate)
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let members = run.share(self.members);
        let mut swarm = run.swarm(2 * members)?;
        let room_id = random_id();
        let pusher = Pusher::to_room(&run.target, room_id, self.size as usize)?;
        let Beside { pusher: pusher_beside, subscription: baseline_subscription, endpoints: doors_beside, _baseline } =
            self.beside(run, members)?;
        let mut hall = Hall {
            server: Audience::new(members, self.burst, pusher),
            baseline: Audience::new(members, self.burst, pusher_beside),
            members,
            slice: None,
            subscription: subscription(room_id),
            baseline_subscription,
            subscribed: 0,
            per_second: self.bursts_per_second(),
            schedule: None,
            scheduled: (0, 0),
        };
        let in_flight = run.in_flight(CONNECTS_IN_FLIGHT);
        swarm.gather(&mut hall, &self.doors(run)?, greetings(run, members)?.into_iter(), in_flight)?;
        let greetings_beside = match self.dialect {
            None => vec![Box::default(); members],
            Some(_) => greetings(run, members)?,
        };
        swarm.gather(&mut hall, &doors_beside, greetings_beside.into_iter(), in_flight)?;
        let in_rooms = if self.dialect.is_some() { 2 * members } else { members };
        let all_entered = swarm.settle(&mut hall, Hall::activity, |hall| hall.subscribed == in_rooms)?;
        ensure!(all_entered, "not all members could enter the room");
        let ended = take_turns(run, &mut swarm, &mut hall, PairedRun::new(self.load.duration()));
        hall.count(&mut run.counts);
        run.note_schedule(hall.scheduled);
        ended
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let (deliveries, beside) = (counts.get("server"), counts.get("baseline"));
        let (server, baseline) = (counts.latencies("server"), counts.latencies("baseline"));
        let (key, key_p99, what) = match self.dialect {
            None => ("baseline_writes_per_second", "baseline_p99_ms", "a bare write loop"),
            Some(_) => ("todays_deliveries_per_second", "todays_p99_ms", "to clients of today"),
        };
        figures.measure("deliveries_per_second", deliveries, "deliveries per second");
        figures.measure(key, beside, format!("{what}, deliveries per second"));
        figures.measure("ratio", ratio(deliveries, beside), format!("per second, against {what}"));
        figures.within("p50_ms", &server, 0.5, "half of them within (ms)");
        figures.within("p99_ms", &server, 0.99, "99 % within (ms)");
        figures.within(key_p99, &baseline, 0.99, format!("{what}, 99 % within (ms)"));
        figures.counted(counts, &[("messages", "messages pushed")]);
        let offered = self.rate.map(|rate| rate * f64::from(self.members));
        figures.measure("offered_per_second", offered, "deliveries per second that were offered");
        figures.measure("achieved_per_second", offered.and(deliveries), "deliveries per second that were achieved");
        tell_faults(counts, figures, &FAULTS)
    }
}

/// What goes on by turns with the room.
struct Beside {
    pusher: Pusher,
    subscription: Vec<u8>,
    endpoints: Vec<ServerEndpoint>,
    /// Ends with the run.
    _baseline: Option<Baseline>,
}

impl Arguments {
    /// Where the members connect.
    fn doors(&self, run: &Run<'_>) -> anyhow::Result<Vec<ServerEndpoint>> {
        let todays = || Ok(run.target.endpoints().to_vec());
        self.dialect.map_or_else(todays, |dialect| run.target.older_endpoints(dialect))
    }

    fn beside(&self, run: &Run<'_>, members: usize) -> anyhow::Result<Beside> {
        let size = self.size as usize;
        if self.dialect.is_some() {
            let room_id = random_id();
            // Read and written anew as the older ones are, so that the clients have the same work.
            let endpoints = run.target.endpoints().iter().map(|door| door.clone().speaking(Dialect::Today)).collect();
            let pusher = Pusher::to_room(&run.target, room_id, size)?;
            return Ok(Beside { pusher, subscription: subscription(room_id), endpoints, _baseline: None });
        }
        let mut baseline = Baseline::start(Kind::Writes { sockets: members })?;
        let bare = baseline.endpoint_like(&run.target.endpoints()[0]);
        let pusher = Pusher::to_sockets(baseline.take_input()?, bare.clone(), size)?;
        Ok(Beside { pusher, subscription: Vec::new(), endpoints: vec![bare], _baseline: Some(baseline) })
    }

    fn bursts_per_second(&self) -> Option<f64> {
        self.rate.map(|rate| rate / f64::from(self.burst))
    }
}

/// What new users say first.
fn greetings(run: &Run<'_>, count: usize) -> anyhow::Result<Vec<Box<[u8]>>> {
    Ok(run.sign_up(count)?.into_iter().map(|user| user.greeting).collect())
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
