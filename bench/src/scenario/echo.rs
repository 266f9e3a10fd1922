//! How long does a heartbeat take, there and back, and how many fit into a second?
//!
//! Each connection sends a heartbeat as soon as the one before is answered (a closed loop). The same clients then do the
//! same with a bare echo server, second by second in turns. That has as many threads as the server has reactors.

use std::time::Instant;

use anyhow::ensure;
use gim_proto::connect::{Packet as Envelope, PacketCommand};
use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    baseline::{Baseline, Kind},
    counts::Counts,
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run},
    paired_run::{PairedRun, Side, Slice},
    progress::Progress,
    result::Figures,
    score::Score,
    stats::ratio,
    swarm::{Behaviour, Connection, DEADLINE, Packet, Swarm, packet::Reply},
};

const HEARTBEAT: i32 = PacketCommand::PcHeartbeat as i32;

/// What conn calls its threads that serve clients.
const REACTOR_THREADS: &str = "reactor-";

/// Arguments of `echo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Connections, each with one heartbeat under way
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
}

impl Measurement for Arguments {
    const NAME: &'static str = "echo";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        json!({ "connections": self.connections })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--connections", self.connections)]
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let count = run.share(self.connections);
        let mut swarm = run.swarm(2 * count)?;
        let threads = run.server_threads(REACTOR_THREADS);
        run.counts.add("threads", threads as f64);
        let baseline = Baseline::start(Kind::Echo { threads })?;
        let greetings = run.sign_up(count)?.into_iter().map(|user| user.greeting);
        let mut echo = Echo::new(count);
        let in_flight = run.in_flight(CONNECTS_IN_FLIGHT);
        swarm.gather(&mut echo, run.target.endpoints(), greetings, in_flight)?;
        swarm.gather(&mut echo, &[baseline.endpoint()], (0..count).map(|_| Box::default()), in_flight)?;
        let ended = take_turns(run, &mut swarm, &mut echo, PairedRun::new(self.load.duration()));
        for (key, score) in [("server", &echo.server), ("baseline", &echo.baseline)] {
            run.counts.add_score(key, score);
        }
        ended
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let (server, baseline) = (counts.latencies("server"), counts.latencies("baseline"));
        let (per_second, bare) = (counts.get("server"), counts.get("baseline"));
        figures.measure("per_second", per_second, "heartbeats answered per second");
        for (key, quantile, words) in [
            ("p50_us", 0.5, "half of them within (µs)"),
            ("p99_us", 0.99, "99 % within (µs)"),
            ("p999_us", 0.999, "99.9 % within (µs)"),
        ] {
            figures.within(key, &server, quantile, words);
        }
        figures.count(
            "baseline_threads",
            counts.count("threads"),
            "threads of a bare echo server, as many as reactors",
        );
        figures.measure("baseline_per_second", bare, "a bare echo server, per second");
        figures.within("baseline_p99_us", &baseline, 0.99, "a bare echo server, 99 % within (µs)");
        figures.measure("ratio", ratio(per_second, bare), "per second, against the bare one");
        let slower = ratio(server.us(0.99), baseline.us(0.99)).filter(|_| server.count() > 0);
        figures.measure("p99_ratio", slower, "99 % within, against the bare one");
        Ok(())
    }
}

fn take_turns(run: &mut Run<'_>, swarm: &mut Swarm, echo: &mut Echo, paired: PairedRun) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start();
    let mut progress = Progress::new("echo", paired.len().into());
    for number in 0..paired.len() {
        run.meet("slice", swarm, echo)?;
        let (spent, answered) = (run.spent(), echo.answered);
        let slice = paired.begin(number);
        echo.begin(slice, swarm);
        let ended = swarm.run_until(echo, slice.end);
        let ended = ended.and_then(|()| swarm.settle(echo, |echo| echo.answered, |echo| echo.waiting == 0));
        echo.score(slice.side).end(&slice);
        if slice.side == Side::Server {
            run.charge(&spent, echo.answered - answered);
        }
        ensure!(ended?, "heartbeats that were not answered within {DEADLINE:?}: {}", echo.waiting);
        progress.show((number + 1).into(), || echo.summary());
    }
    own_cpu.check(run);
    Ok(())
}

/// The first half of the clients is connected to the server, the second to the baseline.
struct Echo {
    per_side: usize,
    heartbeat: Vec<u8>,
    slice: Option<Slice>,
    sent_at: Vec<Option<Instant>>,
    /// Heartbeats that are under way.
    waiting: usize,
    answered: u64,
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
            waiting: 0,
            answered: 0,
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
            if self.side(id) == slice.side {
                self.send(swarm.connection(id), Instant::now());
            }
        }
    }

    fn send(&mut self, connection: &mut Connection, now: Instant) {
        self.sent_at[connection.id()] = Some(now);
        self.waiting += 1;
        connection.send(&self.heartbeat);
    }

    fn summary(&self) -> String {
        let [server, baseline] = [&self.server, &self.baseline].map(|score| score.per_second().unwrap_or_default());
        format!("{server:.0}/s, bare {baseline:.0}/s")
    }
}

impl Behaviour for Echo {
    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        if packet.command != HEARTBEAT {
            return Ok(());
        }
        // An answered heartbeat has no content, a refused one says why.
        Reply::read(packet.content)?.accepted(
            "a heartbeat (each of few connections sends more than conn's session.packets_per_s: start conn with \
             GIM_CONN_SESSION__PACKETS_PER_S=0, or take more --connections)",
        )?;
        let (id, side) = (connection.id(), self.side(connection.id()));
        let Some(slice) = self.slice else { return Ok(()) };
        let Some(sent_at) = self.sent_at[id].take() else { return Ok(()) };
        self.waiting -= 1;
        self.answered += 1;
        self.score(side).record(&slice, sent_at, now);
        if now < slice.end {
            self.send(connection, now);
        }
        Ok(())
    }
}
