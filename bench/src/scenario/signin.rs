//! How fast can everybody come back?
//!
//! Devices connect, sign in (with the check of their token), drop the connection and come again, a fixed number at a time:
//! what follows the restart of a conn node. A sign-in lasts from the first packet of the connect to the reply.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure};
use serde_json::json;

use crate::{
    host,
    load::{self, Findings, LoadArguments, OwnCpu},
    progress::Progress,
    report::Outcome,
    stats::{Latencies, ratio},
    swarm::{Behaviour, Closed, Link, Packet, Swarm, transport::Gate},
    target::DEADLINE,
    users::User,
};

/// The part of the time that is not measured.
const WARM_UP: f64 = 0.1;

/// Arguments of `signin`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Devices that come back, over and over
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
    /// Sign-ins that are under way at the same time
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let config = json!({ "devices": arguments.devices, "in_flight": arguments.in_flight });
    load::run("signin", &arguments.load, config, |findings| go(arguments, findings))
}

fn go(arguments: &Arguments, findings: &mut Findings) -> anyhow::Result<()> {
    let (devices, in_flight) = (arguments.devices as usize, arguments.in_flight as usize);
    ensure!(in_flight <= devices, "--in-flight {in_flight} sign-ins need as many --devices, which are {devices}");
    host::take_files(in_flight)?;
    let target = arguments.load.reach()?;
    let users = arguments.load.sign_up(&target, devices)?;
    let mut swarm = Swarm::new()?;
    let duration = arguments.load.duration();
    let started = Instant::now();
    let mut returns = Returns::new(target.gates().to_vec(), users, started + duration.mul_f64(WARM_UP));
    returns.fill(&mut swarm, in_flight)?;
    let own_cpu = OwnCpu::start()?;
    let ended = measure(started, duration, &mut swarm, &mut returns);
    returns.tell(started + duration, findings);
    own_cpu.check(findings)?;
    ended?;
    match &returns.first_failure {
        Some(why) => Err(anyhow!("{} sign-ins failed; the first: {why}", returns.failed)),
        None => Ok(()),
    }
}

fn measure(started: Instant, duration: Duration, swarm: &mut Swarm, returns: &mut Returns) -> anyhow::Result<()> {
    let mut progress = Progress::new("signing in", duration.as_millis() as u64);
    while started.elapsed() < duration {
        swarm.turn(returns, duration)?;
        ensure!(returns.newest.elapsed() < DEADLINE, "no sign-in succeeded in the last {DEADLINE:?}");
        progress.show(started.elapsed().as_millis() as u64, || format!("{} sign-ins", returns.latencies.count()));
    }
    Ok(())
}

/// Who is on the way, and who comes next. The clients of the swarm are places that devices take in turn.
struct Returns {
    gates: Vec<Gate>,
    users: Vec<User>,
    next_user: usize,
    measure_from: Instant,
    opened_at: Vec<Instant>,
    /// Places whose connection ended in this turn.
    free: VecDeque<usize>,
    latencies: Latencies,
    newest: Instant,
    failed: u64,
    first_failure: Option<String>,
}

impl Returns {
    fn new(gates: Vec<Gate>, users: Vec<User>, measure_from: Instant) -> Self {
        Self {
            gates,
            users,
            next_user: 0,
            measure_from,
            opened_at: Vec::new(),
            free: VecDeque::new(),
            latencies: Latencies::default(),
            newest: Instant::now(),
            failed: 0,
            first_failure: None,
        }
    }

    fn fill(&mut self, swarm: &mut Swarm, in_flight: usize) -> anyhow::Result<()> {
        for place in 0..in_flight {
            let greeting = self.next_greeting();
            self.opened_at.push(Instant::now());
            swarm.open(&self.gates[place % self.gates.len()], greeting)?;
        }
        Ok(())
    }

    fn next_greeting(&mut self) -> Box<[u8]> {
        let user = &self.users[self.next_user];
        self.next_user = (self.next_user + 1) % self.users.len();
        user.greeting.clone()
    }

    fn tell(&self, end: Instant, findings: &mut Findings) {
        let seconds = end.min(Instant::now()).saturating_duration_since(self.measure_from).as_secs_f64();
        let figures = &mut findings.figures;
        figures.measure("sign_ins_per_second", ratio(self.latencies.count() as f64, seconds), "sign-ins per second");
        figures.measure("p50_ms", self.latencies.ms(0.5), "half of them within (ms)");
        figures.measure("p99_ms", self.latencies.ms(0.99), "99 % within (ms)");
        figures.count("failed", self.failed, "sign-ins that failed");
    }
}

impl Behaviour for Returns {
    fn on_ready(&mut self, link: &mut Link, now: Instant) -> anyhow::Result<()> {
        if now >= self.measure_from {
            self.latencies.record(now - self.opened_at[link.id()]);
        }
        self.newest = now;
        link.hang_up();
        self.free.push_back(link.id());
        Ok(())
    }

    fn on_packet(&mut self, _link: &mut Link, _packet: &Packet<'_>, _now: Instant) -> anyhow::Result<()> {
        Ok(())
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        while let Some(id) = self.free.pop_front() {
            let greeting = self.next_greeting();
            self.opened_at[id] = Instant::now();
            swarm.reopen(id, &self.gates[id % self.gates.len()], greeting)?;
        }
        Ok(())
    }

    fn on_closed(&mut self, id: usize, why: Closed) -> anyhow::Result<()> {
        if let Closed::Unreachable(_) = why {
            return Err(anyhow!("{why}"));
        }
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| why.to_string());
        self.free.push_back(id);
        Ok(())
    }
}
