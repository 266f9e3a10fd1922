//! How many durable messages from user to user fit into a second, and how long does each take?
//!
//! Users in pairs send to each other over their long connections; a send lasts until the server says that it is durable.
//! Without `--rate` each sender sends when its last message is durable (a closed loop); with it sends leave on time
//! whatever the server does (an open loop), and latency counts from the time they were meant to leave. Beside a closed loop, in
//! turns, a bare multi-row insert writes the same rows to a database of its own on this machine.

use anyhow::ensure;
use serde_json::{Value, json};

use super::chats::{self, BASELINE_BATCH_MAX, Participants, SendingArguments};
use crate::{
    baseline::database::Shape,
    counts::Counts,
    load::{LoadArguments, Measurement, Run, ensure_rate},
    result::Figures,
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
    #[command(flatten)]
    sending: SendingArguments,
}

impl Measurement for Arguments {
    const NAME: &'static str = "send";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        json!({
            "senders": self.senders,
            "rate": self.sending.rate,
            "size": self.sending.size,
            "text": self.sending.text,
            "baseline_batch": self.batch(),
            "baseline_database": self.sending.database.kind(),
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("pairs of --senders", self.senders / 2)]
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure_rate("rate", self.sending.rate)?;
        ensure!(self.senders.is_multiple_of(2), "--senders must be even, as they send in pairs");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (senders, batch) = (2 * run.share(self.senders / 2), self.batch());
        let shape = Shape { batch, groups: batch, members: 2, size: self.sending.size, is_keyed: true };
        self.sending.measure(self, run, senders, shape, |_, users| {
            Ok(Participants::Pairs { user_ids: users.iter().map(|user| user.id).collect() })
        })
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        chats::tell(counts, figures, INBOXES, self.sending.rate)
    }
}

impl Arguments {
    fn batch(&self) -> u32 {
        self.sending.baseline_batch.unwrap_or(self.senders.min(BASELINE_BATCH_MAX))
    }
}
