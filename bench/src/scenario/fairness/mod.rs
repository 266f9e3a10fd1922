//! Does one user who takes all that can be had cost the others anything?
//!
//! Users write to each other in pairs, on time, whatever the server does (an open loop). By turns, second by second, they are
//! alone, and there is one user more, with many devices, who asks for as much as fits, of one kind of work or of all. What the
//! pairs' sends take in both is compared. Before the pairs are alone again, all that the one user asked for is answered.

mod aggressor;
mod flood;

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use self::aggressor::{Aggression, Aggressor};
use super::{
    chats::{Conversations, FAULTS, Participants},
    paired_with_database::PairedClients as _,
};
use crate::{
    counts::Counts,
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run, ensure_rate, tell_faults},
    paired_run::{PairedRun, Side},
    progress::Progress,
    result::Figures,
    stats::{Latencies, ratio},
    swarm::{DEADLINE, Swarm, TICK},
};

/// A server may let a user do more at once than in the long run, which is what is measured: he does that in this time before.
const LEAD: Duration = Duration::from_secs(3);

/// Arguments of `fairness`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Users who write to each other, in pairs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    victims: u32,
    /// Sends per second, of all of them together
    #[arg(long, value_name = "N", default_value_t = 400.0)]
    rate: f64,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=60_000))]
    size: u32,
    /// What the one user asks for
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Aggression::All)]
    aggression: Aggression,
    /// Devices of the one user, each with a connection
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Requests of each device that are under way (eight calls at most), and of calls of gRPC, of all together, ten times as many
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    under_way: u32,
    /// Calls per second of a flood
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    flood_rate: u32,
    /// Members of the group that the one user writes to
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    members: u32,
    /// Fails where the pairs' p99 beside the one user is more than so many times their p99 alone
    #[arg(long, value_name = "RATIO")]
    at_most: Option<f64>,
}

impl Measurement for Arguments {
    const NAME: &'static str = "fairness";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { victims, rate, size, aggression, connections, under_way, flood_rate, members, at_most, .. } = self;
        json!({
            "victims": victims, "rate": rate, "size": size, "aggression": aggression.to_string(),
            "connections": connections, "under_way": under_way, "flood_rate": flood_rate, "members": members, "at_most": at_most,
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("pairs of --victims", self.victims / 2)]
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure_rate("rate", Some(self.rate))?;
        ensure!(self.victims.is_multiple_of(2), "--victims must be even, as they write in pairs");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let victims = 2 * run.share(self.victims / 2);
        let mut swarm = run.swarm(victims + self.connections as usize)?;
        let users = run.sign_up(victims)?;
        let participants = Participants::Pairs { user_ids: users.iter().map(|user| user.id).collect() };
        let mut pairs = Conversations::new(participants, self.size, run.rate_share(Some(self.rate)));
        let aggressor = Aggressor::start(run, self)?;
        let greetings = users.into_iter().map(|user| user.greeting);
        swarm.gather(&mut pairs, run.target.endpoints(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let turned = take_turns(run, self, &aggressor, &mut swarm, &mut pairs);
        let ended = aggressor.end(&mut run.counts);
        pairs.count(&mut run.counts);
        run.note_schedule(pairs.scheduled());
        turned.and(ended)
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let [alone, beside] = ["alone", "beside"].map(|key| counts.latencies(key));
        figures.within("p50_ms_alone", &alone, 0.5, "half of the pairs' sends durable within (ms), alone");
        figures.within("p50_ms_beside", &beside, 0.5, "half of them within (ms), beside the one user");
        figures.within("p99_ms_alone", &alone, 0.99, "99 % of them within (ms), alone");
        figures.within("p99_ms_beside", &beside, 0.99, "99 % of them within (ms), beside the one user");
        let is_measured = alone.count() > 0 && beside.count() > 0;
        let slower = ratio(beside.ms(0.99), alone.ms(0.99)).filter(|_| is_measured);
        figures.measure("p99_ratio", slower, "the second, against the first");
        figures.measure("offered_per_second", self.rate, "sends per second that the pairs were to make");
        figures.measure("achieved_per_second", counts.get("durable"), "sends per second that they made");
        figures.measure("aggressor_per_second", counts.get("aggressor"), "answers per second to the one user");
        figures.counted(
            counts,
            &[
                ("aggressor_refused", "requests of the one user that were refused"),
                ("aggressor_closed", "connections of the one user that the server closed"),
            ],
        );
        tell_faults(counts, figures, &FAULTS)?;
        if let (Some(slower), Some(at_most)) = (slower, self.at_most) {
            ensure!(slower <= at_most, "99 % of the pairs' sends take {slower:.2} times as long, {at_most} at most");
        }
        Ok(())
    }
}

fn take_turns(
    run: &mut Run<'_>,
    arguments: &Arguments,
    aggressor: &Aggressor,
    swarm: &mut Swarm,
    pairs: &mut Conversations,
) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start();
    let paired = PairedRun::new(arguments.load.duration());
    let mut progress = Progress::new("fairness", paired.len().into());
    let mut all = [Latencies::default(), Latencies::default()];
    let (mut answered, mut asked_for) = (0, Duration::ZERO);
    run.meet("lead", swarm, pairs)?;
    aggressor.set_on();
    swarm.run_until(pairs, Instant::now() + LEAD)?;
    quiet(aggressor, swarm, pairs)?;
    aggressor.take_answered();
    for number in 0..paired.len() {
        run.meet("slice", swarm, pairs)?;
        let slice = paired.begin(number);
        let is_beside = slice.side == Side::Server;
        let began = Instant::now();
        if is_beside {
            aggressor.set_on();
        }
        pairs.begin(slice, swarm);
        swarm.run_until(pairs, slice.end)?;
        if is_beside {
            (answered, asked_for) = (answered + aggressor.take_answered(), asked_for + began.elapsed());
        }
        // What is under way when a slice ends still counts in it, as late as it comes: beside an aggressor who goes on.
        let has_all = swarm.settle(pairs, |pairs| pairs.activity(), |pairs| pairs.is_settled())?;
        quiet(aggressor, swarm, pairs)?;
        pairs.end();
        let latencies = pairs.take_latencies();
        all[usize::from(is_beside)].add(&latencies);
        run.counts.add_latencies(if is_beside { "beside" } else { "alone" }, &latencies);
        if !has_all {
            break;
        }
        progress.show((number + 1).into(), || {
            let [alone, beside] = all.each_ref().map(|all| all.ms(0.99));
            format!("99 % within {alone:.1} ms alone, {beside:.1} ms beside the one user")
        });
    }
    run.counts.add_rate("aggressor", ratio(answered as f64, asked_for.as_secs_f64()));
    own_cpu.check(run);
    Ok(())
}

/// Has the one user ask for nothing more, and waits until all that he asked for is answered.
fn quiet(aggressor: &Aggressor, swarm: &mut Swarm, pairs: &mut Conversations) -> anyhow::Result<()> {
    aggressor.set_quiet();
    let until = Instant::now() + DEADLINE;
    while !aggressor.is_answered()? && Instant::now() < until {
        swarm.turn(pairs, TICK)?;
    }
    Ok(())
}
