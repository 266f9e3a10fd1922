//! How long does a heartbeat take, there and back, and how many fit into a second?
//!
//! Each connection sends a heartbeat as soon as the one before is answered (a closed loop). The same clients then do the
//! same with a bare echo server, second by second in turns.

use std::time::Instant;

use gim_proto::connect::{Packet as Envelope, PacketCommand};
use prost::Message as _;
use serde_json::json;

use crate::{
    baseline::{Baseline, Kind},
    duel::{self, Side, Slice},
    host,
    load::{self, Findings, LoadArguments, OwnCpu},
    progress::Progress,
    report::Outcome,
    stats::{Latencies, ratio},
    swarm::{Behaviour, Link, Packet, Swarm},
};

const HEARTBEAT: i32 = PacketCommand::PcHeartbeat as i32;

/// Connections that are under way at the same time.
const CONNECTS_IN_FLIGHT: usize = 256;

/// Arguments of `echo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Connections, each with one heartbeat under way
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let config = json!({ "connections": arguments.connections });
    load::run("echo", &arguments.load, config, |findings| go(arguments, findings))
}

fn go(arguments: &Arguments, findings: &mut Findings) -> anyhow::Result<()> {
    let count = arguments.connections as usize;
    host::take_files(2 * count)?;
    let target = arguments.load.reach()?;
    let baseline = Baseline::start(Kind::Echo)?;
    let users = arguments.load.sign_up(&target, count)?;
    let mut swarm = Swarm::new()?;
    let mut echo = Echo::new(count);
    swarm.gather(&mut echo, target.gates(), users.into_iter().map(|user| user.greeting), CONNECTS_IN_FLIGHT)?;
    swarm.gather(&mut echo, &[baseline.gate()], (0..count).map(|_| Box::default()), CONNECTS_IN_FLIGHT)?;
    let ended = measure(arguments, &mut swarm, &mut echo, findings);
    echo.tell(findings);
    ended
}

fn measure(arguments: &Arguments, swarm: &mut Swarm, echo: &mut Echo, findings: &mut Findings) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start()?;
    let slices = duel::slices(arguments.load.duration());
    let mut progress = Progress::new("echo", slices.len() as u64);
    for (number, slice) in slices.enumerate() {
        echo.begin(slice, swarm);
        swarm.run_until(echo, slice.end)?;
        echo.score(slice.side).seconds += slice.measured().as_secs_f64();
        progress.show(number as u64 + 1, || echo.summary());
    }
    own_cpu.check(findings)
}

/// What one side did.
#[derive(Debug, Default)]
struct Score {
    latencies: Latencies,
    seconds: f64,
}

impl Score {
    fn per_second(&self) -> f64 {
        ratio(self.latencies.count() as f64, self.seconds)
    }
}

/// The first half of the clients is connected to the server, the second to the baseline.
struct Echo {
    per_side: usize,
    heartbeat: Vec<u8>,
    slice: Option<Slice>,
    sent_at: Vec<Option<Instant>>,
    server: Score,
    baseline: Score,
}

impl Echo {
    fn new(per_side: usize) -> Self {
        Self {
            per_side,
            heartbeat: Envelope { command: HEARTBEAT, ..Envelope::default() }.encode_length_delimited_to_vec(),
            slice: None,
            sent_at: vec![None; 2 * per_side],
            server: Score::default(),
            baseline: Score::default(),
        }
    }

    fn side(&self, id: usize) -> Side {
        if id < self.per_side { Side::Server } else { Side::Baseline }
    }

    fn score(&mut self, side: Side) -> &mut Score {
        match side {
            Side::Server => &mut self.server,
            Side::Baseline => &mut self.baseline,
        }
    }

    fn begin(&mut self, slice: Slice, swarm: &mut Swarm) {
        self.slice = Some(slice);
        for id in 0..self.sent_at.len() {
            if self.side(id) == slice.side && self.sent_at[id].is_none() {
                self.sent_at[id] = Some(Instant::now());
                swarm.link(id).send(&self.heartbeat);
            }
        }
    }

    fn summary(&self) -> String {
        let (server, baseline) = (self.server.per_second(), self.baseline.per_second());
        format!("{server:.0}/s, bare {baseline:.0}/s")
    }

    fn tell(&self, findings: &mut Findings) {
        let Self { server, baseline, .. } = self;
        let figures = &mut findings.figures;
        figures.measure("per_second", server.per_second(), "heartbeats answered per second");
        for (key, quantile, words) in [
            ("p50_us", 0.5, "half of them within (µs)"),
            ("p99_us", 0.99, "99 % within (µs)"),
            ("p999_us", 0.999, "99.9 % within (µs)"),
        ] {
            figures.measure(key, server.latencies.us(quantile), words);
        }
        figures.measure("baseline_per_second", baseline.per_second(), "a bare echo server, per second");
        figures.measure("baseline_p99_us", baseline.latencies.us(0.99), "a bare echo server, 99 % within (µs)");
        figures.measure("ratio", ratio(server.per_second(), baseline.per_second()), "per second, against the bare one");
        let p99_ratio = ratio(server.latencies.us(0.99), baseline.latencies.us(0.99));
        figures.measure("p99_ratio", p99_ratio, "99 % within, against the bare one");
    }
}

impl Behaviour for Echo {
    fn on_packet(&mut self, link: &mut Link, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        if packet.command != HEARTBEAT {
            return Ok(());
        }
        let (id, side) = (link.id(), self.side(link.id()));
        let Some(slice) = self.slice else { return Ok(()) };
        let Some(sent_at) = self.sent_at[id].take() else { return Ok(()) };
        if slice.measures(side, now) {
            self.score(side).latencies.record(now - sent_at);
        }
        if side == slice.side && now < slice.end {
            self.sent_at[id] = Some(now);
            link.send(&self.heartbeat);
        }
        Ok(())
    }
}
