//! How many durable messages from user to user fit into a second, and how long does each take?
//!
//! Users in pairs send to each other over their long connections; a send lasts until the server says that it is durable.
//! Without `--rate` each sender sends when its last message is durable (a closed loop); with it sends leave on time
//! whatever the server does (an open loop), and latency counts from the time they were meant to leave. In turns, a bare
//! multi-row insert writes the same rows to a database of its own on this machine.

mod pairs;

use anyhow::ensure;
use serde_json::{Value, json};

pub use self::pairs::Pairs;
use crate::{
    baseline::database::{Database, DatabaseArguments, Shape},
    duel::{Duel, Side},
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run, ensure_none},
    progress::Progress,
    report::Figures,
    stats::ratio,
    swarm::Swarm,
    tally::Tally,
};

/// Inboxes that hold each message: the sender's and the receiver's.
const INBOXES: f64 = 2.0;

/// Arguments of `send`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Users who send, in pairs
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    senders: u32,
    /// Sends per second, of all together; without it as many as fit
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=60_000))]
    size: u32,
    /// Messages in one transaction of the bare insert [default: as many as there are senders, 8192 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    baseline_batch: Option<u32>,
    #[command(flatten)]
    database: DatabaseArguments,
}

impl Measurement for Arguments {
    const NAME: &'static str = "send";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { senders, rate, size, .. } = self;
        json!({ "senders": senders, "rate": rate, "size": size, "baseline_batch": self.batch(), "baseline_database": self.database.kind() })
    }

    fn check(&self) -> anyhow::Result<()> {
        let rate = self.rate;
        ensure!(rate.is_none_or(|rate| rate > 0.0 && rate <= 1e6), "--rate must be above 0 and at most 1000000");
        ensure!(self.senders.is_multiple_of(2), "--senders must be even, as they send in pairs");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let senders = 2 * run.share(self.senders / 2);
        let mut swarm = run.swarm(senders)?;
        let batch = self.batch();
        let shape = Shape { batch, groups: batch, members: 2, size: self.size, is_keyed: true };
        let mut bare = Database::create(&self.database, shape)?;
        bare.insert()?;
        let users = run.sign_up(senders)?;
        let rate = run.rate_share(self.rate);
        let mut pairs = Pairs::new(users.iter().map(|user| user.id).collect(), self.size as usize, rate);
        let greetings = users.into_iter().map(|user| user.greeting);
        swarm.gather(&mut pairs, run.target.gates(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let ended = take_turns(run, &mut swarm, &mut pairs, &mut bare, Duel::new(self.load.duration()));
        pairs.count(&mut run.tally);
        run.note_schedule(pairs.scheduled);
        run.tally.add("baseline_rows", bare.per_second());
        ended
    }

    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()> {
        let (sends, bare) = (tally.sum("durable"), tally.sum("baseline_rows"));
        figures.measure("sends_per_second", sends, "durable sends per second");
        figures.measure("inbox_rows_per_second", INBOXES * sends, "rows of inboxes per second");
        figures.measure("baseline_rows_per_second", bare, "a bare multi-row insert, rows per second");
        figures.measure("ratio", ratio(INBOXES * sends, bare), "rows, against the bare one");
        let (durable, arrival) = (tally.latencies("durable"), tally.latencies("arrival"));
        figures.measure("p50_ms", durable.ms(0.5), "half of them durable within (ms)");
        figures.measure("p99_ms", durable.ms(0.99), "99 % durable within (ms)");
        figures.measure("arrival_p50_ms", arrival.ms(0.5), "half of them with the receiver within (ms)");
        figures.measure("arrival_p99_ms", arrival.ms(0.99), "99 % with the receiver within (ms)");
        let [lost, duplicates, reordered] = ["lost", "duplicates", "reordered"].map(|key| tally.count(key));
        figures.count("lost", lost, "messages lost");
        figures.count("duplicates", duplicates, "messages that came twice");
        figures.count("reordered", reordered, "messages out of order");
        if let Some(rate) = self.rate {
            figures.measure("offered_per_second", rate, "sends per second that were offered");
            figures.measure("achieved_per_second", sends, "sends per second that were achieved");
        }
        ensure_none(&[(lost, "were lost"), (duplicates, "came twice"), (reordered, "came out of order")])
    }
}

impl Arguments {
    fn batch(&self) -> u32 {
        self.baseline_batch.unwrap_or(self.senders.min(8192))
    }
}

fn take_turns(
    run: &mut Run<'_>,
    swarm: &mut Swarm,
    pairs: &mut Pairs,
    bare: &mut Database,
    duel: Duel,
) -> anyhow::Result<()> {
    let mut progress = Progress::new("send", duel.len().into());
    for number in 0..duel.len() {
        run.meet("slice", swarm, pairs)?;
        let slice = duel.begin(number);
        match slice.side {
            Side::Baseline => bare.measure(swarm, pairs, slice)?,
            Side::Server => {
                let own_cpu = OwnCpu::start()?;
                pairs.begin(slice, swarm)?;
                let ended = swarm.run_until(pairs, slice.end);
                pairs.measured += slice.measured();
                ended?;
                own_cpu.check(run)?;
                pairs.end();
                if !swarm.settle(pairs, Pairs::activity, Pairs::is_settled)? {
                    break;
                }
            }
        }
        progress.show((number + 1).into(), || {
            format!("{:.0} sends/s, bare {:.0} rows/s", pairs.per_second(), bare.per_second())
        });
    }
    Ok(())
}
