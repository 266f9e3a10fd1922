//! How many durable messages from user to user fit into a second, and how long does each take?
//!
//! Users in pairs send to each other over their long connections; a send lasts until the server says that it is durable.
//! Without `--rate` each sender sends when its last message is durable (a closed loop); with it sends leave on time
//! whatever the server does (an open loop), and latency counts from the time they were meant to leave. Beside a closed loop, in
//! turns, a bare multi-row insert writes the same rows to a database of its own on this machine.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{
    contest::take_turns,
    conversations::{self, Company, Conversations},
};
use crate::{
    baseline::database::{Database, DatabaseArguments, Shape},
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, Run, ensure_rate},
    report::Figures,
    tally::Tally,
};

/// Inboxes that hold each message: the sender's and the receiver's.
const INBOXES: u32 = 2;

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
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=60_000))]
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
        json!({
            "senders": self.senders,
            "rate": self.rate,
            "size": self.size,
            "baseline_batch": self.batch(),
            "baseline_database": self.database.kind(),
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("pairs of --senders", self.senders / 2)]
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure_rate("rate", self.rate)?;
        ensure!(self.senders.is_multiple_of(2), "--senders must be even, as they send in pairs");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let senders = 2 * run.share(self.senders / 2);
        let mut swarm = run.swarm(senders)?;
        let batch = self.batch();
        let shape = Shape { batch, groups: batch, members: 2, size: self.size, is_keyed: true };
        let mut bare = match self.rate {
            None => Some(Database::create(&self.database, shape)?),
            // What another one writes meanwhile would only delay what is due.
            Some(_) => None,
        };
        bare.as_mut().map_or(Ok(()), Database::insert)?;
        let users = run.sign_up(senders)?;
        let company = Company::Pairs { user_ids: users.iter().map(|user| user.id).collect() };
        let mut pairs = Conversations::new(company, self.size, run.rate_share(self.rate));
        let greetings = users.into_iter().map(|user| user.greeting);
        swarm.gather(&mut pairs, run.target.gates(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let ended = take_turns(self, run, &mut swarm, &mut pairs, bare.as_mut());
        pairs.count(&mut run.tally);
        run.note_schedule(pairs.scheduled());
        ended
    }

    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()> {
        conversations::tell(tally, figures, INBOXES, self.rate)
    }
}

impl Arguments {
    fn batch(&self) -> u32 {
        self.baseline_batch.unwrap_or(self.senders.min(8192))
    }
}
