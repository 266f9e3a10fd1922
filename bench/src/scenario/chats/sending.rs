//! What the scenarios that send have in common: their options, and how their clients and a bare insert take turns. On the main
//! thread.

use super::{Conversations, Participants};
use crate::{
    baseline::database::{Database, DatabaseArguments, Shape},
    load::{CONNECTS_IN_FLIGHT, Measurement, Run},
    scenario::paired_with_database::take_turns,
    target::Target,
    users::User,
};

/// Most messages in one transaction of the bare insert.
pub const BASELINE_BATCH_MAX: u32 = 8192;

/// Arguments of every scenario that sends as much as fits, or at a rate.
#[derive(Debug, clap::Args)]
pub struct SendingArguments {
    /// Sends per second, of all together; without it as many as fit
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=60_000))]
    pub size: u32,
    /// Sends typed texts of so many bytes (content.Text), which the server checks and looks for words
    #[arg(long)]
    pub text: bool,
    /// Messages in one transaction of the bare insert [default: as many as there are senders, within a bound]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(BASELINE_BATCH_MAX)))]
    pub baseline_batch: Option<u32>,
    #[command(flatten)]
    pub database: DatabaseArguments,
}

impl SendingArguments {
    /// Measures `clients` of the server, and beside a closed loop a bare insert of rows of this shape.
    pub fn measure<M: Measurement>(
        &self,
        measurement: &M,
        run: &mut Run<'_>,
        clients: usize,
        shape: Shape,
        participants: impl FnOnce(&Target, &[User]) -> anyhow::Result<Participants>,
    ) -> anyhow::Result<()> {
        let mut swarm = run.swarm(clients)?;
        let mut bare = match self.rate {
            None => Some(Database::create(&self.database, shape)?),
            // What another one writes meanwhile would only delay what is due.
            Some(_) => None,
        };
        bare.as_mut().map_or(Ok(()), Database::insert)?;
        let users = run.sign_up(clients)?;
        let participants = participants(&run.target, &users)?;
        let mut conversations = Conversations::new(participants, self.size, run.rate_share(self.rate));
        if self.text {
            conversations = conversations.of_texts();
        }
        let greetings = users.into_iter().map(|user| user.greeting);
        let in_flight = run.in_flight(CONNECTS_IN_FLIGHT);
        swarm.gather(&mut conversations, run.target.endpoints(), greetings, in_flight)?;
        let ended = take_turns(measurement, run, &mut swarm, &mut conversations, bare.as_mut());
        conversations.count(&mut run.counts);
        run.note_schedule(conversations.scheduled());
        ended
    }
}
