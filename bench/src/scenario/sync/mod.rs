//! How fast does a device catch up that was away?
//!
//! Messages are pushed to users who are not there. Then all of them read their inboxes page after page, each as soon as the
//! page before has come (a closed loop), and begin anew when they have everything. In turns, bare page reads go through
//! inboxes of the same size in a database of their own.

pub mod backlog;
mod readers;

use anyhow::ensure;
use serde_json::{Value, json};

use self::readers::Readers;
use super::paired_with_database::take_turns;
use crate::{
    baseline::database::{Database, DatabaseArguments, Shape},
    counts::Counts,
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, Run, tell_faults},
    result::Figures,
    stats::ratio,
};

/// Messages that one transaction of the baseline holds while it is filled.
const FILL_BATCH: u32 = 4096;

/// Messages that are pushed before anything is measured, and kept by server and baseline.
const MESSAGES_MAX: u64 = 100_000_000;

/// What must not happen, in words.
const FAULTS: [(&str, &str); 3] = [
    ("lost", "messages lost"),
    ("reordered", "messages out of order, or twice"),
    ("unanswered", "pages that never came"),
];

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

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--users", self.users)]
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { users, backlog, .. } = self;
        let messages = u64::from(*users) * u64::from(*backlog);
        ensure!(
            messages <= MESSAGES_MAX,
            "--users {users} with a --backlog of {backlog} are {messages} messages, and {MESSAGES_MAX} are possible"
        );
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let count = run.share(self.users);
        let mut swarm = run.swarm(count)?;
        let groups = u32::try_from(count)?;
        let shape = Shape { batch: FILL_BATCH, groups, members: 1, size: self.size, is_keyed: false };
        let mut bare = Database::create(&self.database, shape)?;
        bare.fill(self.backlog)?;
        bare.read()?;
        let users = run.sign_up(count)?;
        backlog::push(&run.target, &users, self.backlog, self.size)?;
        let greetings = users.into_iter().map(|user| user.greeting);
        let mut readers = Readers::new(count, self.backlog);
        swarm.gather(&mut readers, run.target.endpoints(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let ended = take_turns(self, run, &mut swarm, &mut readers, Some(&mut bare));
        readers.count(&mut run.counts);
        ended
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let (messages, bare) = (counts.get("messages_per_second"), counts.get("baseline_rows"));
        let (page, whole) = (counts.latencies("page"), counts.latencies("whole"));
        figures.measure("messages_per_second", messages, "messages caught up with per second");
        figures.measure("baseline_rows_per_second", bare, "a bare page read, rows per second");
        figures.measure("ratio", ratio(messages, bare), "per second, against the bare one");
        figures.within("p50_ms", &page, 0.5, "half of the pages within (ms)");
        figures.within("p99_ms", &page, 0.99, "99 % of the pages within (ms)");
        figures.within("whole_p50_ms", &whole, 0.5, "half of the devices have everything within (ms)");
        tell_faults(counts, figures, &FAULTS)?;
        ensure!(page.count() > 0, "no page came");
        Ok(())
    }
}
