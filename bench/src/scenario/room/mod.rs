//! How fast does a message reach all members of a room, and how many such deliveries fit into a second?
//!
//! Without `--rate` the next burst is pushed when all members have one (a closed loop, two bursts under way), which shows
//! how much fits. With it bursts leave on time whatever the server does (an open loop), and latency counts from the time
//! they were meant to leave. The same clients then get the same messages from a bare write loop, second by second in turns.

mod audience;
mod pusher;

use std::time::{Duration, Instant};

use anyhow::ensure;
use gim_proto::connect::{Packet, PacketCommand, SubscribeRoomRequest};
use prost::Message as _;
use serde_json::json;

use self::audience::Hall;
pub use self::{audience::Audience, pusher::Pusher};
use crate::{
    baseline::{Baseline, Kind},
    duel, host,
    load::{self, Findings, LoadArguments, OwnCpu},
    progress::Progress,
    report::Outcome,
    stats::ratio,
    swarm::Swarm,
    target::DEADLINE,
};

/// Connections that are under way at the same time.
const CONNECTS_IN_FLIGHT: usize = 256;

/// Bursts that are under way at the same time in a closed loop.
const WINDOW: u64 = 2;

/// A burst that leaves later than this is late through our fault.
const LATE: Duration = Duration::from_millis(20);

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

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let Arguments { members, rate, burst, size, .. } = arguments;
    let config = json!({ "members": members, "rate": rate, "burst": burst, "size": size });
    load::run("room", &arguments.load, config, |findings| go(arguments, findings))
}

fn go(arguments: &Arguments, findings: &mut Findings) -> anyhow::Result<()> {
    let per_second = arguments.rate.map(|rate| rate / f64::from(arguments.burst));
    ensure!(per_second.is_none_or(|bursts| bursts > 0.0 && bursts <= 1e5), "--rate must be above 0 and below 100000");
    let members = arguments.members as usize;
    host::take_files(2 * members)?;
    let target = arguments.load.reach()?;
    let mut baseline = Baseline::start(Kind::Writes { sockets: members })?;
    let users = arguments.load.sign_up(&target, members)?;
    // Positive as a signed number, because ids are stored as such.
    let room_id = rand::random::<u64>() >> 1 | 1;
    let size = arguments.size as usize;
    let mut swarm = Swarm::new()?;
    let mut hall = Hall {
        server: Audience::new(members, arguments.burst, Pusher::to_room(&target, room_id, size)?),
        baseline: Audience::new(members, arguments.burst, Pusher::to_sockets(baseline.take_input()?, size)?),
        members,
        slice: None,
        subscription: subscription(room_id),
        subscribed: 0,
        per_second,
        schedule: None,
    };
    swarm.gather(&mut hall, target.gates(), users.into_iter().map(|user| user.greeting), CONNECTS_IN_FLIGHT)?;
    swarm.gather(&mut hall, &[baseline.gate()], (0..members).map(|_| Box::default()), CONNECTS_IN_FLIGHT)?;
    ensure!(wait(&mut swarm, &mut hall, |hall| hall.subscribed == members)?, "not all members could enter the room");
    let ended = measure(arguments, &mut swarm, &mut hall, findings);
    tell(&hall, findings);
    ended?;
    let Audience { reordered, .. } = hall.server;
    let lost = hall.server.lost();
    ensure!(lost == 0 && reordered == 0, "of the messages to the members, {lost} were lost and {reordered} reordered");
    Ok(())
}

/// The frame that enters a room.
pub fn subscription(room_id: u64) -> Vec<u8> {
    let content = SubscribeRoomRequest { room_id, seq: 0 }.encode_to_vec().into();
    let command = PacketCommand::PcSubscribeRoom as i32;
    Packet { request_id: "room".into(), command, content, seq: 0 }.encode_length_delimited_to_vec()
}

fn measure(arguments: &Arguments, swarm: &mut Swarm, hall: &mut Hall, findings: &mut Findings) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start()?;
    let slices = duel::slices(arguments.load.duration());
    let mut progress = Progress::new("room", slices.len() as u64);
    for (number, slice) in slices.enumerate() {
        hall.begin(slice)?;
        swarm.run_until(hall, slice.end)?;
        hall.audience(slice.side).seconds += slice.measured().as_secs_f64();
        // What is under way belongs to this side; the next one starts on an empty machine.
        hall.end();
        if !wait(swarm, hall, |hall| hall.audience(slice.side).has_all())? {
            break;
        }
        progress.show(number as u64 + 1, || hall.summary());
    }
    own_cpu.check(findings)
}

/// Turns until `is_so`, or until nothing more happens: then it is false.
fn wait(swarm: &mut Swarm, hall: &mut Hall, is_so: impl Fn(&mut Hall) -> bool) -> anyhow::Result<bool> {
    let mut newest = (hall.activity(), Instant::now());
    while !is_so(hall) {
        swarm.turn(hall, DEADLINE)?;
        if hall.activity() != newest.0 {
            newest = (hall.activity(), Instant::now());
        } else if newest.1.elapsed() > DEADLINE {
            return Ok(false);
        }
    }
    Ok(true)
}

fn tell(hall: &Hall, findings: &mut Findings) {
    let Hall { server, baseline, .. } = hall;
    let (deliveries, writes) = (server.per_second(), baseline.per_second());
    let figures = &mut findings.figures;
    figures.measure("deliveries_per_second", deliveries, "deliveries per second");
    figures.measure("baseline_writes_per_second", writes, "a bare write loop, deliveries per second");
    figures.measure("ratio", ratio(deliveries, writes), "per second, against the bare one");
    figures.measure("p50_ms", server.latencies.ms(0.5), "half of them within (ms)");
    figures.measure("p99_ms", server.latencies.ms(0.99), "99 % within (ms)");
    figures.measure("baseline_p99_ms", baseline.latencies.ms(0.99), "a bare write loop, 99 % within (ms)");
    figures.count("messages", server.pushed, "messages pushed");
    figures.count("lost", server.lost(), "deliveries lost");
    figures.count("reordered", server.reordered, "deliveries out of order, or twice");
    if let Some(bursts) = hall.per_second {
        let offered = bursts * f64::from(server.burst) * server.members as f64;
        figures.measure("offered_per_second", offered, "deliveries per second that were offered");
    }
    if server.late > 0 {
        let late = server.late;
        findings
            .warnings
            .push(format!("gim-bench pushed {late} bursts more than {LATE:?} after they were meant to be"));
    }
}
