//! How many durable messages from user to user fit into a second, and how long does each take?
//!
//! Users in pairs send to each other over their long connections; a send lasts until the server says that it is durable.
//! Without `--rate` each sender sends when its last message is durable (a closed loop); with it sends leave on time
//! whatever the server does (an open loop), and latency counts from the time they were meant to leave. In turns, a bare
//! multi-row insert writes the same rows to a database of its own on this machine.

mod pairs;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::json;

use self::pairs::Pairs;
use crate::{
    baseline::rows::{Rows, Shape},
    duel::{self, Side, Slice},
    host,
    load::{self, Findings, LoadArguments, OwnCpu},
    progress::Progress,
    report::Outcome,
    stats::ratio,
    swarm::Swarm,
    target::DEADLINE,
};

/// Connections that are under way at the same time.
const CONNECTS_IN_FLIGHT: usize = 256;

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
    /// Where the bare insert has its database: a folder on the disk of the server's [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    baseline_folder: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let Arguments { senders, rate, size, .. } = arguments;
    let config = json!({ "senders": senders, "rate": rate, "size": size, "baseline_batch": batch(arguments) });
    load::run("send", &arguments.load, config, |findings| go(arguments, findings))
}

fn batch(arguments: &Arguments) -> u32 {
    arguments.baseline_batch.unwrap_or(arguments.senders.min(8192))
}

fn go(arguments: &Arguments, findings: &mut Findings) -> anyhow::Result<()> {
    let rate = arguments.rate;
    ensure!(rate.is_none_or(|rate| rate > 0.0 && rate <= 1e6), "--rate must be above 0 and at most 1000000");
    let senders = arguments.senders as usize;
    ensure!(senders.is_multiple_of(2), "--senders must be even, as they send in pairs");
    host::take_files(senders)?;
    let target = arguments.load.reach()?;
    let folder = match &arguments.baseline_folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let folder = folder.context("cannot make a folder for the bare insert")?;
    let shape = Shape { batch: batch(arguments), size: arguments.size };
    let rows = Rows::start(target.runtime(), folder.path(), shape)?;
    let users = arguments.load.sign_up(&target, senders)?;
    let mut swarm = Swarm::new()?;
    let mut pairs = Pairs::new(users.iter().map(|user| user.id).collect(), arguments.size as usize, rate);
    swarm.gather(&mut pairs, target.gates(), users.into_iter().map(|user| user.greeting), CONNECTS_IN_FLIGHT)?;
    let mut bare = Bare::default();
    let ended = measure(arguments, &mut swarm, &mut pairs, &rows, &mut bare, findings);
    tell(&pairs, &bare, findings);
    ended?;
    let (lost, duplicates, reordered) = (pairs.lost(), pairs.duplicates, pairs.reordered);
    ensure!(
        lost == 0 && duplicates == 0 && reordered == 0,
        "of the messages that were sent, {lost} were lost, {duplicates} came twice and {reordered} out of order"
    );
    Ok(())
}

/// What the bare insert did.
#[derive(Debug, Default)]
struct Bare {
    rows: u64,
    seconds: f64,
}

impl Bare {
    fn per_second(&self) -> f64 {
        ratio(self.rows as f64, self.seconds)
    }
}

fn measure(
    arguments: &Arguments,
    swarm: &mut Swarm,
    pairs: &mut Pairs,
    rows: &Rows,
    bare: &mut Bare,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let slices = duel::slices(arguments.load.duration());
    let mut progress = Progress::new("send", slices.len() as u64);
    for (number, slice) in slices.enumerate() {
        match slice.side {
            Side::Baseline => measure_bare(swarm, pairs, rows, bare, slice)?,
            Side::Server => {
                let own_cpu = OwnCpu::start()?;
                pairs.begin(slice, swarm)?;
                swarm.run_until(pairs, slice.end)?;
                pairs.seconds += slice.measured().as_secs_f64();
                own_cpu.check(findings)?;
                if !settle(swarm, pairs)? {
                    break;
                }
            }
        }
        progress.show(number as u64 + 1, || {
            format!("{:.0} sends/s, bare {:.0} rows/s", pairs.per_second(), bare.per_second())
        });
    }
    Ok(())
}

fn measure_bare(
    swarm: &mut Swarm,
    pairs: &mut Pairs,
    rows: &Rows,
    bare: &mut Bare,
    slice: Slice,
) -> anyhow::Result<()> {
    rows.run(true)?;
    swarm.run_until(pairs, slice.measure_from)?;
    let (from, before) = (Instant::now(), rows.inserted());
    swarm.run_until(pairs, slice.end)?;
    rows.run(false)?;
    bare.rows += rows.inserted() - before;
    bare.seconds += from.elapsed().as_secs_f64();
    Ok(())
}

/// Turns until all that was sent is answered and has arrived; false where nothing more comes.
fn settle(swarm: &mut Swarm, pairs: &mut Pairs) -> anyhow::Result<bool> {
    pairs.end();
    let mut newest = (pairs.activity(), Instant::now());
    while !pairs.is_settled() {
        swarm.turn(pairs, Duration::MAX)?;
        if pairs.activity() != newest.0 {
            newest = (pairs.activity(), Instant::now());
        } else if newest.1.elapsed() > DEADLINE {
            return Ok(false);
        }
    }
    Ok(true)
}

fn tell(pairs: &Pairs, bare: &Bare, findings: &mut Findings) {
    let sends = pairs.per_second();
    let figures = &mut findings.figures;
    figures.measure("sends_per_second", sends, "durable sends per second");
    figures.measure("inbox_rows_per_second", INBOXES * sends, "rows of inboxes per second");
    figures.measure("baseline_rows_per_second", bare.per_second(), "a bare multi-row insert, rows per second");
    figures.measure("ratio", ratio(INBOXES * sends, bare.per_second()), "rows, against the bare one");
    figures.measure("p50_ms", pairs.durable.ms(0.5), "half of them durable within (ms)");
    figures.measure("p99_ms", pairs.durable.ms(0.99), "99 % durable within (ms)");
    figures.measure("arrival_p50_ms", pairs.arrival.ms(0.5), "half of them with the receiver within (ms)");
    figures.measure("arrival_p99_ms", pairs.arrival.ms(0.99), "99 % with the receiver within (ms)");
    figures.count("lost", pairs.lost(), "messages lost");
    figures.count("duplicates", pairs.duplicates, "messages that came twice");
    figures.count("reordered", pairs.reordered, "messages out of order");
    if let Some(rate) = pairs.rate {
        figures.measure("offered_per_second", rate, "sends per second that were offered");
    }
}
