//! Does a client that stopped reading cost the others anything?
//!
//! Messages are pushed to a room on time, whatever the server does. In the first half all members read. Then others enter
//! who never read again, so that the server's buffers for them fill up. At the end they read what there is for them, which
//! shows whom the server has closed meanwhile.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure};
use gim_proto::connect::PacketCommand;
use serde_json::json;

use super::room::{Audience, Pusher, subscription};
use crate::{
    host,
    load::{self, Findings, LoadArguments, OwnCpu},
    progress::Progress,
    report::Outcome,
    stats::{Latencies, Schedule},
    swarm::{Behaviour, Closed, Link, Packet, Swarm, packet::Message},
};

/// Connections that are under way at the same time.
const CONNECTS_IN_FLIGHT: usize = 256;

/// The part of each half that is not measured.
const WARM_UP: f64 = 0.2;

/// Nothing came for so long: nothing more will.
const QUIET: Duration = Duration::from_secs(2);

/// Longest wait for what comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `slow`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Members of the room who read
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    members: u32,
    /// Members who do not
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    stuck: u32,
    /// Messages per second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(8..=60_000))]
    size: u32,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let Arguments { members, stuck, rate, size, .. } = arguments;
    let config = json!({ "members": members, "stuck": stuck, "rate": rate, "size": size });
    load::run("slow", &arguments.load, config, |findings| go(arguments, findings))
}

fn go(arguments: &Arguments, findings: &mut Findings) -> anyhow::Result<()> {
    let (members, stuck) = (arguments.members as usize, arguments.stuck as usize);
    host::take_files(members + stuck)?;
    let target = arguments.load.reach()?;
    let users = arguments.load.sign_up(&target, members + stuck)?;
    // Positive as a signed number, because ids are stored as such.
    let room_id = rand::random::<u64>() >> 1 | 1;
    let pusher = Pusher::to_room(&target, room_id, arguments.size as usize)?;
    let mut swarm = Swarm::new()?;
    let mut crowd = Crowd {
        audience: Audience::new(members, 1, pusher),
        members,
        subscription: subscription(room_id),
        subscribed: 0,
        schedule: None,
        measure_from: None,
        newest: Instant::now(),
        closed: HashSet::new(),
    };
    swarm.gather(&mut crowd, target.gates(), users.into_iter().map(|user| user.greeting), CONNECTS_IN_FLIGHT)?;
    settle(&mut swarm, &mut crowd, |crowd| crowd.subscribed == members)?;
    ensure!(crowd.subscribed == members, "not all members could enter the room");
    let mut halves = Halves::default();
    let ended = measure(arguments, &mut swarm, &mut crowd, &mut halves, findings);
    tell(&halves, &crowd, findings);
    ended?;
    let (lost, reordered) = (crowd.audience.lost(), crowd.audience.reordered);
    ensure!(
        lost == 0 && reordered == 0,
        "of the messages to those who read, {lost} were lost and {reordered} reordered"
    );
    Ok(())
}

/// Latencies of those who read.
#[derive(Debug, Default)]
struct Halves {
    without: Latencies,
    with: Latencies,
}

fn measure(
    arguments: &Arguments,
    swarm: &mut Swarm,
    crowd: &mut Crowd,
    halves: &mut Halves,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start()?;
    let half = arguments.load.duration() / 2;
    let mut progress = Progress::new("slow", 2);
    let ended = crowd.play(swarm, half, arguments.rate.into());
    halves.without = std::mem::take(&mut crowd.audience.latencies);
    ended?;
    progress.show(1, || format!("99 % within {:.1} ms", halves.without.ms(0.99)));
    for id in crowd.members..swarm.len() {
        swarm.link(id).send(&crowd.subscription);
        swarm.link(id).get_stuck().map_err(|error| anyhow!("cannot make a client slow: {error}"))?;
    }
    let ended = crowd.play(swarm, half, arguments.rate.into());
    halves.with = std::mem::take(&mut crowd.audience.latencies);
    ended?;
    own_cpu.check(findings)?;
    settle(swarm, crowd, |crowd| crowd.audience.has_all())?;
    for id in crowd.members..swarm.len() {
        swarm.recover(id, crowd)?;
    }
    let stuck = swarm.len() - crowd.members;
    settle(swarm, crowd, |crowd| crowd.closed.len() == stuck)
}

/// Turns until `is_so`, or nothing comes any more.
fn settle(swarm: &mut Swarm, crowd: &mut Crowd, is_so: impl Fn(&Crowd) -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    crowd.newest = started;
    while !is_so(crowd) && crowd.newest.elapsed() < QUIET && started.elapsed() < PATIENCE {
        swarm.turn(crowd, QUIET)?;
    }
    Ok(())
}

fn tell(halves: &Halves, crowd: &Crowd, findings: &mut Findings) {
    let figures = &mut findings.figures;
    figures.measure("p99_ms_without", halves.without.ms(0.99), "99 % within (ms), while all read");
    figures.measure("p99_ms_with", halves.with.ms(0.99), "99 % within (ms), while some do not");
    figures.count("stuck_closed", crowd.closed.len() as u64, "of those, closed by the server");
    figures.count("messages", crowd.audience.pushed, "messages pushed");
    figures.count("lost", crowd.audience.lost(), "deliveries lost, of those who read");
    figures.count("reordered", crowd.audience.reordered, "deliveries out of order, or twice");
}

/// The first clients read, the others will not.
struct Crowd {
    audience: Audience,
    members: usize,
    subscription: Vec<u8>,
    subscribed: usize,
    schedule: Option<Schedule>,
    measure_from: Option<Instant>,
    /// When something last came.
    newest: Instant,
    /// Those of the others whom the server closed.
    closed: HashSet<usize>,
}

impl Crowd {
    fn play(&mut self, swarm: &mut Swarm, duration: Duration, rate: f64) -> anyhow::Result<()> {
        let start = Instant::now();
        self.schedule = Some(Schedule::new(start, rate));
        self.measure_from = Some(start + duration.mul_f64(WARM_UP));
        let ended = swarm.run_until(self, start + duration);
        self.schedule = None;
        ended
    }
}

impl Behaviour for Crowd {
    fn on_ready(&mut self, link: &mut Link, _now: Instant) -> anyhow::Result<()> {
        if link.id() < self.members {
            link.send(&self.subscription);
        }
        Ok(())
    }

    fn on_packet(&mut self, link: &mut Link, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        self.newest = now;
        if link.id() >= self.members {
            return Ok(());
        }
        if packet.command == PacketCommand::PcMessage as i32 {
            let counts = self.measure_from.is_some_and(|from| now >= from);
            self.audience.take(link.id(), &Message::read(packet.content)?, now, counts);
        } else if packet.command == PacketCommand::PcSubscribeRoom as i32 {
            self.subscribed += 1;
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        self.schedule.as_ref().map(Schedule::next)
    }

    fn on_tick(&mut self, _swarm: &mut Swarm) -> anyhow::Result<()> {
        self.audience.check()?;
        let now = Instant::now();
        while let Some(intended) = self.schedule.as_mut().and_then(|schedule| schedule.due(now)) {
            self.audience.push(intended, now)?;
        }
        Ok(())
    }

    fn on_closed(&mut self, id: usize, why: Closed) -> anyhow::Result<()> {
        if id < self.members {
            return Err(anyhow!("{why}"));
        }
        self.closed.insert(id);
        Ok(())
    }
}
