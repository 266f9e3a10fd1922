//! What does a connection cost that says nothing?
//!
//! Memory is the growth: of the server process and of the kernel, between the moment before the first connection and the
//! end of the run with all of them signed in. Where clients and server share a host, as here, the kernel holds both ends of
//! a connection, and half of its growth counts. Some of the growth of the process is no connection's: pages of its own file that are read
//! when it does something for the first time. They are left out of what is told beside it, by which few connections can be compared.

use std::time::{Duration, Instant};

use anyhow::ensure;
use gim_proto::connect::{Packet as Envelope, PacketCommand};
use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    counts::Counts,
    load::{LoadArguments, Measurement, OwnCpu, Run},
    progress::Progress,
    result::Figures,
    stats::ratio,
    swarm::{Behaviour, Connection, DEADLINE, Packet, Swarm, older::Dialect},
};

/// Arguments of `idle`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// So many signed-in connections
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,
    /// Connections that are on their way at the same time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Seconds between two heartbeats of a connection
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    heartbeat: u32,
    /// Seconds to hold them all [default: --seconds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    hold: Option<u64>,
    /// What the clients speak, where that is older than today's
    #[arg(long, value_enum, value_name = "DIALECT")]
    dialect: Option<Dialect>,
}

impl Measurement for Arguments {
    const NAME: &'static str = "idle";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn watches(&self) -> bool {
        true
    }

    fn config(&self) -> Value {
        json!({
            "connections": self.connections,
            "in_flight": self.in_flight,
            "heartbeat_s": self.heartbeat,
            "hold_s": self.hold().as_secs(),
            "dialect": self.dialect.map(Dialect::name),
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--connections", self.connections)]
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let count = run.share(self.connections);
        let mut swarm = run.swarm(count)?;
        let greetings = run.sign_up(count)?.into_iter().map(|user| user.greeting);
        let mut idle = Idle::new(self.heartbeat);
        run.meet("before", &mut swarm, &mut idle)?;
        let in_flight = run.in_flight(self.in_flight as usize);
        let own_cpu = OwnCpu::start();
        let endpoints = match self.dialect {
            None => run.target.endpoints().to_vec(),
            Some(dialect) => run.target.older_endpoints(dialect)?,
        };
        let ended = swarm.gather(&mut idle, &endpoints, greetings, in_flight);
        own_cpu.check(run);
        run.counts.add("connections", swarm.ready() as f64);
        ended?;
        idle.beats_from = Some(Instant::now());
        run.meet("standing", &mut swarm, &mut idle)?;
        let ended = hold(self.hold(), &mut swarm, &mut idle).and_then(|()| run.meet("end", &mut swarm, &mut idle));
        let ended = ended.and_then(|()| await_answers(&mut swarm, &mut idle));
        run.counts.add("heartbeats", idle.answered as f64);
        ended
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        tell_costs(counts, figures);
        figures.counted(counts, &[("heartbeats", "heartbeats answered meanwhile")]);
        Ok(())
    }
}

/// What the connections cost between the points "before", "standing" and "end", as far as these were reached.
pub fn tell_costs(counts: &Counts, figures: &mut Figures) {
    let connections = counts.sum("connections");
    let between = |from: &str, to: &str, key: &str| {
        Some(counts.get(&format!("{to}.{key}"))? - counts.get(&format!("{from}.{key}"))?)
    };
    let growth = |key: &str| between("before", "end", key).map(|growth| growth.max(0.0));
    figures.count("connections", connections as u64, "signed-in connections");
    let took = between("before", "standing", "seconds");
    figures.measure("connects_per_second", ratio(connections, took), "connects and sign-ins per second");
    let held = between("standing", "end", "seconds");
    let cores = ratio(between("standing", "end", "server_cpu_seconds"), held);
    figures.measure("server_cpu_cores", cores, "cores that the server uses meanwhile");
    let server = ratio(growth("server_rss_bytes"), connections);
    figures.measure("server_rss_bytes_per_connection", server, "bytes per connection, server processes");
    let own = ratio(growth("server_own_bytes"), connections);
    figures.measure("server_own_bytes_per_connection", own, "bytes per connection, of these without pages of files");
    // The watch works on one host only: the kernel holds both ends.
    let kernel = ratio(growth("kernel_bytes"), 2.0 * connections);
    figures.measure("kernel_bytes_per_connection", kernel, "bytes per connection, kernel, the server's end");
}

impl Arguments {
    fn hold(&self) -> Duration {
        self.hold.map_or(self.load.duration(), Duration::from_secs)
    }
}

fn hold(duration: Duration, swarm: &mut Swarm, idle: &mut Idle) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut progress = Progress::new("holding", duration.as_millis() as u64);
    while started.elapsed() < duration {
        let end = (Instant::now() + Duration::from_millis(100)).min(started + duration);
        swarm.run_until(idle, end)?;
        let done = started.elapsed().as_millis() as u64;
        progress.show(done, || format!("{} connections, {} heartbeats answered", swarm.ready(), idle.answered));
    }
    Ok(())
}

fn await_answers(swarm: &mut Swarm, idle: &mut Idle) -> anyhow::Result<()> {
    idle.beats_from = None;
    let are_all = swarm.settle(idle, |idle| idle.answered, |idle| idle.answered >= idle.sent)?;
    ensure!(are_all, "of {} heartbeats, {} were answered, and none in the last {DEADLINE:?}", idle.sent, idle.answered);
    Ok(())
}

/// Sends a heartbeat on each connection once per interval, evenly over it.
struct Idle {
    heartbeat: Vec<u8>,
    interval: Duration,
    beats_from: Option<Instant>,
    sent: u64,
    answered: u64,
}

impl Idle {
    fn new(interval_s: u32) -> Self {
        let packet = Envelope { command: PacketCommand::PcHeartbeat as i32, ..Envelope::default() };
        let heartbeat = packet.encode_length_delimited_to_vec();
        let interval = Duration::from_secs(interval_s.into());
        Self { heartbeat, interval, beats_from: None, sent: 0, answered: 0 }
    }
}

impl Behaviour for Idle {
    fn on_packet(&mut self, _link: &mut Connection, packet: &Packet<'_>, _now: Instant) -> anyhow::Result<()> {
        self.answered += u64::from(packet.command == PacketCommand::PcHeartbeat as i32);
        Ok(())
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        let Some(from) = self.beats_from else { return Ok(()) };
        let count = swarm.len();
        let due = from.elapsed().div_duration_f64(self.interval) * count as f64;
        while self.sent < due as u64 {
            swarm.connection(self.sent as usize % count).send(&self.heartbeat);
            self.sent += 1;
        }
        Ok(())
    }
}
