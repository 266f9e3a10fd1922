//! How fast can everybody come back?
//!
//! Devices connect, sign in (with the check of their token), drop the connection and come again, a fixed number at a time:
//! what follows the restart of a conn node. A sign-in lasts from the first packet of the connect to the reply.
//! With `--sign-ins 1000000` it also tells by how much conn grew: what a million connects and disconnects leave behind. With
//! `--connected` all devices are connected before, and sign-ins alone count.

mod connected;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure};
use serde_json::{Value, json};

use self::connected::Connected;
use crate::{
    counts::Counts,
    load::{LoadArguments, Measurement, OwnCpu, Run},
    progress::Progress,
    result::Figures,
    stats::{Latencies, ratio},
    swarm::{Behaviour, Closed, Connection, DEADLINE, Packet, Swarm, transport::ServerEndpoint},
    users::User,
};

/// The part of the time that is not measured.
const WARM_UP: f64 = 0.1;

/// Longest turn without a look at the time.
const TURN_MAX: Duration = Duration::from_millis(100);

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
    /// Go on until so many are made, however long that takes, and tell by how much conn grew meanwhile
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    sign_ins: Option<u32>,
    /// Connect all devices first, again and again, and measure their sign-ins without that
    #[arg(long, conflicts_with = "sign_ins")]
    connected: bool,
}

impl Measurement for Arguments {
    const NAME: &'static str = "signin";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn watches(&self) -> bool {
        self.sign_ins.is_some()
    }

    fn config(&self) -> Value {
        json!({
            "devices": self.devices,
            "in_flight": self.in_flight,
            "sign_ins": self.sign_ins,
            "connected": self.connected,
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--devices", self.devices)]
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { devices, in_flight, .. } = self;
        ensure!(in_flight <= devices, "--in-flight {in_flight} sign-ins need as many --devices, which are {devices}");
        let is_whole = !self.connected || self.load.processes() == 1;
        ensure!(is_whole, "--connected counts the time of sign-ins alone, which --processes have at different moments");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        if self.connected { self.measure_connected(run) } else { self.measure_returns(run) }
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let latencies = counts.latencies("sign_ins");
        figures.measure("sign_ins_per_second", counts.get("sign_ins"), "sign-ins per second");
        figures.within("p50_ms", &latencies, 0.5, "half of them within (ms)");
        figures.within("p99_ms", &latencies, 0.99, "99 % within (ms)");
        figures.counted(counts, &[("failed", "sign-ins that failed")]);
        figures.count("sign_ins", latencies.count(), "sign-ins");
        let rss = |point: &str| counts.get(&format!("{point}.server_rss_bytes"));
        let grown = rss("end").zip(rss("warm")).map(|(end, warm)| end - warm);
        figures.measure("server_rss_growth_bytes", grown, "bytes by which conn grew meanwhile");
        Ok(())
    }
}

impl Arguments {
    fn measure_connected(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let users = run.sign_up(self.devices as usize)?;
        let mut connected = Connected::new(run.target.endpoints().to_vec(), users, self.in_flight as usize);
        let (duration, warm_up) = (self.load.duration(), self.load.duration().mul_f64(WARM_UP));
        connected.play(warm_up, run)?;
        (connected.busy, connected.latencies) = (Duration::ZERO, Latencies::default());
        let (own_cpu, spent) = (OwnCpu::start(), run.spent());
        connected.play(duration - warm_up, run)?;
        own_cpu.check(run);
        run.charge(&spent, connected.latencies.count());
        let per_second = ratio(connected.latencies.count() as f64, connected.busy.as_secs_f64());
        run.counts.add_rate("sign_ins", per_second);
        run.counts.add_latencies("sign_ins", &connected.latencies);
        run.counts.add("failed", 0.0);
        Ok(())
    }

    fn measure_returns(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let devices = run.share(self.devices);
        let in_flight = run.in_flight(self.in_flight as usize).min(devices);
        let mut swarm = run.swarm(in_flight)?;
        let users = run.sign_up(devices)?;
        let mut returns = Returns::new(run.target.endpoints().to_vec(), users);
        run.meet("start", &mut swarm, &mut returns)?;
        let (duration, warm_up) = (self.load.duration(), self.load.duration().mul_f64(WARM_UP));
        returns.fill(&mut swarm, in_flight)?;
        play(warm_up, 0, &mut swarm, &mut returns)?;
        run.meet("warm", &mut swarm, &mut returns)?;
        returns.latencies = Latencies::default();
        let spent = run.spent();
        let (started, own_cpu) = (Instant::now(), OwnCpu::start());
        let count = self.sign_ins.map_or(0, |count| run.share(count) as u64);
        let ended = play(duration - warm_up, count, &mut swarm, &mut returns);
        let per_second = ratio(returns.latencies.count() as f64, started.elapsed().as_secs_f64());
        own_cpu.check(run);
        let ended = ended.and_then(|()| returns.await_the_rest(&mut swarm));
        run.charge(&spent, returns.latencies.count());
        run.counts.add_rate("sign_ins", per_second);
        run.counts.add_latencies("sign_ins", &returns.latencies);
        run.counts.add("failed", returns.failed as f64);
        ended?;
        if let Some(why) = &returns.first_failure {
            return Err(anyhow!("{} sign-ins failed; the first: {why}", returns.failed));
        }
        run.meet("end", &mut swarm, &mut returns)
    }
}

/// Goes on for a while, and until `count` devices came back.
fn play(duration: Duration, count: u64, swarm: &mut Swarm, returns: &mut Returns) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut progress = Progress::new("signing in", duration.as_millis() as u64);
    while started.elapsed() < duration || returns.latencies.count() < count {
        swarm.turn(returns, TURN_MAX)?;
        ensure!(
            returns.newest.elapsed() < DEADLINE,
            "no sign-in succeeded in the last {DEADLINE:?}{}",
            returns.first_failure.as_ref().map(|why| format!("; the first that failed: {why}")).unwrap_or_default()
        );
        progress.show(started.elapsed().as_millis() as u64, || format!("{} sign-ins", returns.latencies.count()));
    }
    Ok(())
}

/// Who is on the way, and who comes next. The clients of the swarm are places that devices take in turn.
struct Returns {
    endpoints: Vec<ServerEndpoint>,
    users: Vec<User>,
    next_user: usize,
    opened_at: Vec<Instant>,
    /// Places whose connection has ended.
    free: VecDeque<usize>,
    /// Whether nobody sets out any more.
    is_over: bool,
    latencies: Latencies,
    newest: Instant,
    has_succeeded: bool,
    failed: u64,
    first_failure: Option<String>,
}

impl Returns {
    fn new(endpoints: Vec<ServerEndpoint>, users: Vec<User>) -> Self {
        Self {
            endpoints,
            users,
            next_user: 0,
            opened_at: Vec::new(),
            free: VecDeque::new(),
            is_over: false,
            latencies: Latencies::default(),
            newest: Instant::now(),
            has_succeeded: false,
            failed: 0,
            first_failure: None,
        }
    }

    fn fill(&mut self, swarm: &mut Swarm, in_flight: usize) -> anyhow::Result<()> {
        for place in 0..in_flight {
            let greeting = self.next_greeting();
            self.opened_at.push(Instant::now());
            swarm.open(&self.endpoints[place % self.endpoints.len()], greeting)?;
        }
        Ok(())
    }

    /// Waits for those on the way; who does not arrive has failed.
    fn await_the_rest(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        self.is_over = true;
        let places = swarm.len();
        if !swarm.settle(self, |returns| returns.free.len() as u64, |returns| returns.free.len() == places)? {
            self.failed += (places - self.free.len()) as u64;
            self.first_failure.get_or_insert_with(|| format!("it was not answered within {DEADLINE:?}"));
        }
        Ok(())
    }

    fn next_greeting(&mut self) -> Box<[u8]> {
        let user = &self.users[self.next_user];
        self.next_user = (self.next_user + 1) % self.users.len();
        user.greeting.clone()
    }
}

impl Behaviour for Returns {
    fn on_ready(&mut self, connection: &mut Connection, now: Instant) -> anyhow::Result<()> {
        self.latencies.record(now - self.opened_at[connection.id()]);
        (self.newest, self.has_succeeded) = (now, true);
        connection.hang_up();
        self.free.push_back(connection.id());
        Ok(())
    }

    fn on_packet(&mut self, _link: &mut Connection, _packet: &Packet<'_>, _now: Instant) -> anyhow::Result<()> {
        Ok(())
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        while !self.is_over
            && let Some(id) = self.free.pop_front()
        {
            let greeting = self.next_greeting();
            self.opened_at[id] = Instant::now();
            swarm.reopen(id, &self.endpoints[id % self.endpoints.len()], greeting)?;
        }
        Ok(())
    }

    fn on_closed(&mut self, id: usize, why: Closed) -> anyhow::Result<()> {
        if matches!(why, Closed::Unreachable(_)) || !self.has_succeeded {
            return Err(anyhow!("{why}"));
        }
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| why.to_string());
        self.free.push_back(id);
        Ok(())
    }
}
