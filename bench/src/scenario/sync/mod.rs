//! How fast does a device catch up that was away?
//!
//! Messages are pushed to users who are not there. Then all of them read their inboxes page after page, each as soon as the
//! page before has come (a closed loop), and begin anew when they have everything. In turns, bare page reads go through
//! inboxes of the same size in a database of their own.

mod backlog;
mod readers;

use anyhow::ensure;
use serde_json::{Value, json};

use self::readers::Readers;
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

/// Messages that one transaction of the baseline holds while it is filled.
const FILL_BATCH: u32 = 4096;

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Users who catch up at the same time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    users: u32,
    /// Messages that wait for each of them
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    backlog: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    size: u32,
    #[command(flatten)]
    database: DatabaseArguments,
}

impl Measurement for Arguments {
    const NAME: &'static str = "sync";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { users, backlog, size, database, .. } = self;
        json!({ "users": users, "backlog": backlog, "size": size, "baseline_database": database.kind() })
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let count = run.share(self.users);
        let mut swarm = run.swarm(count)?;
        let groups = u32::try_from(count)?.max(1);
        let shape = Shape { batch: FILL_BATCH, groups, members: 1, size: self.size, is_keyed: false };
        let mut bare = Database::create(&self.database, shape)?;
        bare.fill(self.backlog)?;
        bare.read()?;
        let users = run.sign_up(count)?;
        backlog::push(&run.target, &users, self.backlog, self.size)?;
        let greetings = users.into_iter().map(|user| user.greeting);
        let mut readers = Readers::new(count, self.backlog);
        swarm.gather(&mut readers, run.target.gates(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let ended = take_turns(run, &mut swarm, &mut readers, &mut bare, Duel::new(self.load.duration()));
        readers.count(&mut run.tally);
        ended
    }

    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()> {
        let (messages, bare) = (tally.sum("messages_per_second"), tally.sum("baseline_rows"));
        let (page, whole) = (tally.latencies("page"), tally.latencies("whole"));
        figures.measure("messages_per_second", messages, "messages caught up with per second");
        figures.measure("baseline_rows_per_second", bare, "a bare page read, rows per second");
        figures.measure("ratio", ratio(messages, bare), "per second, against the bare one");
        figures.measure("p50_ms", page.ms(0.5), "half of the pages within (ms)");
        figures.measure("p99_ms", page.ms(0.99), "99 % of the pages within (ms)");
        figures.measure("whole_p50_ms", whole.ms(0.5), "half of the devices have everything within (ms)");
        let (lost, reordered) = (tally.count("lost"), tally.count("reordered"));
        figures.count("lost", lost, "messages lost");
        figures.count("reordered", reordered, "messages out of order, or twice");
        ensure!(tally.latencies("page").count() > 0, "no page came");
        ensure_none(&[(lost, "were lost"), (reordered, "came out of order or twice")])
    }
}

fn take_turns(
    run: &mut Run<'_>,
    swarm: &mut Swarm,
    readers: &mut Readers,
    bare: &mut Database,
    duel: Duel,
) -> anyhow::Result<()> {
    let mut progress = Progress::new("sync", duel.len().into());
    for number in 0..duel.len() {
        run.meet("slice", swarm, readers)?;
        let slice = duel.begin(number);
        match slice.side {
            Side::Baseline => bare.measure(swarm, readers, slice)?,
            Side::Server => {
                let own_cpu = OwnCpu::start()?;
                readers.begin(slice, swarm);
                let ended = swarm.run_until(readers, slice.end);
                readers.end(slice);
                ended?;
                own_cpu.check(run)?;
                readers.settle(swarm)?;
            }
        }
        progress.show((number + 1).into(), || {
            format!("{:.0} messages/s, bare {:.0} rows/s", readers.per_second(), bare.per_second())
        });
    }
    run.tally.add("baseline_rows", bare.per_second());
    Ok(())
}
