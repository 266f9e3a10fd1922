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
use serde_json::{Value, json};

use super::room::{Audience, Pusher, subscription};
use crate::{
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run, ensure_none, random_id},
    progress::Progress,
    report::Figures,
    stats::{Latencies, Schedule},
    swarm::{Behaviour, Closed, Link, Packet, Swarm, packet::Message},
    tally::Tally,
};

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

impl Measurement for Arguments {
    const NAME: &'static str = "slow";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { members, stuck, rate, size, .. } = self;
        json!({ "members": members, "stuck": stuck, "rate": rate, "size": size })
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (members, stuck) = (run.share(self.members), run.share(self.stuck));
        let mut swarm = run.swarm(members + stuck)?;
        let greetings = run.sign_up(members + stuck)?.into_iter().map(|user| user.greeting);
        let room_id = random_id();
        let pusher = Pusher::to_room(&run.target, room_id, self.size as usize)?;
        let mut crowd = Crowd {
            audience: Audience::new(members, 1, pusher),
            members,
            subscription: subscription(room_id),
            subscribed: 0,
            schedule: None,
            scheduled: (0, 0),
            measure_from: None,
            newest: Instant::now(),
            closed: HashSet::new(),
        };
        swarm.gather(&mut crowd, run.target.gates(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        settle(&mut swarm, &mut crowd, |crowd| crowd.subscribed == members)?;
        ensure!(crowd.subscribed == members, "not all members could enter the room");
        let mut halves = Halves::default();
        let ended = play_both(run, self, &mut swarm, &mut crowd, &mut halves);
        run.tally.add_latencies("without", &halves.without);
        run.tally.add_latencies("with", &halves.with);
        run.tally.add("stuck_closed", crowd.closed.len() as f64);
        run.tally.add("messages", crowd.audience.pushed as f64);
        run.tally.add("lost", crowd.audience.lost() as f64);
        run.tally.add("reordered", crowd.audience.reordered as f64);
        run.note_schedule(crowd.scheduled);
        ended
    }

    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()> {
        let (without, with) = (tally.latencies("without"), tally.latencies("with"));
        figures.measure("p99_ms_without", without.ms(0.99), "99 % within (ms), while all read");
        figures.measure("p99_ms_with", with.ms(0.99), "99 % within (ms), while some do not");
        figures.count("stuck_closed", tally.count("stuck_closed"), "of those, closed by the server");
        figures.count("messages", tally.count("messages"), "messages pushed");
        let (lost, reordered) = (tally.count("lost"), tally.count("reordered"));
        figures.count("lost", lost, "deliveries lost, of those who read");
        figures.count("reordered", reordered, "deliveries out of order, or twice");
        ensure_none(&[(lost, "were lost"), (reordered, "came out of order or twice")])
    }
}

/// Latencies of those who read.
#[derive(Debug, Default)]
struct Halves {
    without: Latencies,
    with: Latencies,
}

fn play_both(
    run: &mut Run<'_>,
    arguments: &Arguments,
    swarm: &mut Swarm,
    crowd: &mut Crowd,
    halves: &mut Halves,
) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start()?;
    let half = arguments.load.duration() / 2;
    let mut progress = Progress::new("slow", 2);
    run.meet("all read", swarm, crowd)?;
    let ended = crowd.play(swarm, half, arguments.rate.into());
    halves.without = std::mem::take(&mut crowd.audience.latencies);
    ended?;
    progress.show(1, || format!("99 % within {:.1} ms", halves.without.ms(0.99)));
    run.meet("some do not", swarm, crowd)?;
    for id in crowd.members..swarm.len() {
        swarm.link(id).send(&crowd.subscription);
        swarm.link(id).get_stuck().map_err(|error| anyhow!("cannot make a client slow: {error}"))?;
    }
    let ended = crowd.play(swarm, half, arguments.rate.into());
    halves.with = std::mem::take(&mut crowd.audience.latencies);
    ended?;
    own_cpu.check(run)?;
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

/// The first clients read, the others will not.
struct Crowd {
    audience: Audience,
    members: usize,
    subscription: Vec<u8>,
    subscribed: usize,
    schedule: Option<Schedule>,
    /// What was sent on schedule, and how much of it late through our fault.
    scheduled: (u32, u32),
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
        if let Some((sent, late)) = self.schedule.take().map(|schedule| schedule.sent()) {
            self.scheduled.0 += sent;
            self.scheduled.1 += late;
        }
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
            self.audience.push(intended)?;
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
