//! What does a connection cost that says nothing?
//!
//! Memory is the growth: of the server process and of the kernel, between the moment before the first connection and the
//! end of the run with all of them signed in. Where clients and server share a host, as here, the kernel holds both ends of
//! a connection, and half of its growth counts.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use gim_proto::connect::{Packet as Envelope, PacketCommand};
use prost::Message as _;
use serde_json::json;

use crate::{
    host::{self, Process},
    load::{self, Findings, LoadArguments},
    progress::Progress,
    report::Outcome,
    stats::ratio,
    swarm::{Behaviour, Link, Packet, Swarm},
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
    /// The process of conn, where its port does not tell
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let config = json!({
        "connections": arguments.connections,
        "in_flight": arguments.in_flight,
        "heartbeat_s": arguments.heartbeat,
    });
    load::run("idle", &arguments.load, config, |findings| go(arguments, findings))
}

fn go(arguments: &Arguments, findings: &mut Findings) -> anyhow::Result<()> {
    let count = arguments.connections as usize;
    host::take_files(count)?;
    let target = arguments.load.reach()?;
    let server = server(arguments.server_pid, target.gates()[0].address)?;
    let users = arguments.load.sign_up(&target, count)?;
    let mut swarm = Swarm::new()?;
    let mut idle = Idle::new(arguments.heartbeat);

    let before = Memory::now(&server)?;
    let started = Instant::now();
    let greetings = users.into_iter().map(|user| user.greeting);
    let ended = swarm.gather(&mut idle, target.gates(), greetings, arguments.in_flight as usize);
    let took = started.elapsed().as_secs_f64();
    let standing = swarm.ready();
    findings.figures.count("connections", standing as u64, "signed-in connections");
    findings.figures.measure("connects_per_second", ratio(standing as f64, took), "connects and sign-ins per second");
    ended?;

    idle.beats_from = Some(Instant::now());
    let ended = hold(arguments.load.duration(), &server, &mut swarm, &mut idle, findings);
    tell_memory(&before, &Memory::now(&server)?, swarm.ready(), target.gates()[0].address.ip().is_loopback(), findings);
    ended
}

fn server(process_id: Option<u32>, address: SocketAddr) -> anyhow::Result<Process> {
    match process_id {
        Some(id) => Process::with_id(id),
        None => Process::listening_on(address),
    }
}

fn hold(
    duration: Duration,
    server: &Process,
    swarm: &mut Swarm,
    idle: &mut Idle,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let (started, used) = (Instant::now(), server.cpu_time()?);
    let mut progress = Progress::new("holding", duration.as_millis() as u64);
    let mut ended = Ok(());
    while ended.is_ok() && started.elapsed() < duration {
        let end = (Instant::now() + Duration::from_millis(100)).min(started + duration);
        ended = swarm.run_until(idle, end);
        let done = started.elapsed().as_millis() as u64;
        progress.show(done, || format!("{} connections, {} heartbeats answered", swarm.ready(), idle.answered));
    }
    let used = server.cpu_time()?.saturating_sub(used);
    let cores = ratio(used.as_secs_f64(), started.elapsed().as_secs_f64());
    findings.figures.measure("server_cpu_cores", cores, "cores that the server uses meanwhile");
    findings.figures.count("heartbeats", idle.answered, "heartbeats answered meanwhile");
    ended
}

/// What the server and the kernel hold.
struct Memory {
    server: u64,
    kernel: u64,
}

impl Memory {
    fn now(server: &Process) -> anyhow::Result<Self> {
        Ok(Self { server: server.rss_bytes()?, kernel: host::kernel_bytes() })
    }
}

fn tell_memory(before: &Memory, after: &Memory, connections: usize, is_one_host: bool, findings: &mut Findings) {
    let ends = if is_one_host { 2.0 } else { 1.0 };
    let each = |before: u64, after: u64| ratio(after.saturating_sub(before) as f64, connections as f64);
    let server = each(before.server, after.server);
    findings.figures.measure("server_rss_bytes_per_connection", server, "bytes per connection, server process");
    let kernel = each(before.kernel, after.kernel) / ends;
    findings.figures.measure("kernel_bytes_per_connection", kernel, "bytes per connection, kernel, the server's end");
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
    fn on_packet(&mut self, _link: &mut Link, packet: &Packet<'_>, _now: Instant) -> anyhow::Result<()> {
        self.answered += u64::from(packet.command == PacketCommand::PcHeartbeat as i32);
        Ok(())
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        let Some(from) = self.beats_from else { return Ok(()) };
        let count = swarm.len();
        let due = from.elapsed().div_duration_f64(self.interval) * count as f64;
        while self.sent < due as u64 {
            swarm.link(self.sent as usize % count).send(&self.heartbeat);
            self.sent += 1;
        }
        Ok(())
    }
}
