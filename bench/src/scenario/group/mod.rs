//! How fast does a message reach the inbox of everybody in a group?
//!
//! Everybody is connected; some send to their group over the long connection, as much as fits (each the next message when
//! the one before is durable, a closed loop) or, with `--rate`, on time whatever the server does (an open loop, latency from
//! the time a message was meant to leave). A message is written to the inbox of every member. In turns, a bare multi-row
//! insert writes the same rows to a database of its own.

mod circle;

use anyhow::ensure;
use gim_proto::logic::{Group, GroupCreateRequest, GroupMember, group_int_service_client::GroupIntServiceClient};
use serde_json::{Value, json};

use self::circle::Circles;
use crate::{
    baseline::database::{Database, DatabaseArguments, Shape},
    duel::{Duel, Side},
    load::{CONNECTS_IN_FLIGHT, LoadArguments, Measurement, OwnCpu, Run, ensure_none},
    progress::Progress,
    report::Figures,
    stats::ratio,
    swarm::Swarm,
    tally::Tally,
    target::Target,
    users::User,
};

/// Arguments of `group`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Members of a group
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    members: u32,
    /// Members of each who send
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    senders: u32,
    /// Groups
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    groups: u32,
    /// Sends per second, of all together; without it as many as fit
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=60_000))]
    size: u32,
    /// Messages in one transaction of the bare insert [default: as many as there are senders, but 8192 rows at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    baseline_batch: Option<u32>,
    #[command(flatten)]
    database: DatabaseArguments,
}

impl Measurement for Arguments {
    const NAME: &'static str = "group";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        json!({
            "members": self.members,
            "senders": self.senders,
            "groups": self.groups,
            "rate": self.rate,
            "size": self.size,
            "baseline_batch": self.batch(),
            "baseline_database": self.database.kind(),
        })
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { members, senders, groups, rate, .. } = self;
        ensure!(rate.is_none_or(|rate| rate > 0.0 && rate <= 1e6), "--rate must be above 0 and at most 1000000");
        ensure!(senders <= members, "--senders {senders} are more than the --members of a group, which are {members}");
        let processes = self.load.processes();
        ensure!(processes <= *groups, "--processes {processes} need as many --groups, which are {groups}");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (groups, members) = (run.share(self.groups), self.members as usize);
        let mut swarm = run.swarm(groups * members)?;
        let (batch, all) = (self.batch(), u32::try_from(groups)?);
        let shape = Shape { batch, groups: all.min(batch), members: self.members, size: self.size, is_keyed: true };
        let mut bare = Database::create(&self.database, shape)?;
        bare.insert()?;
        let users = run.sign_up(groups * members)?;
        let groups = users.chunks(members).map(|users| create(&run.target, users));
        let mut circles = Circles::new(groups.collect::<anyhow::Result<_>>()?, self, run.rate_share(self.rate));
        let greetings = users.into_iter().map(|user| user.greeting);
        swarm.gather(&mut circles, run.target.gates(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let ended = take_turns(run, &mut swarm, &mut circles, &mut bare, Duel::new(self.load.duration()));
        circles.count(&mut run.tally);
        run.note_schedule(circles.scheduled);
        run.tally.add("baseline_rows", bare.per_second());
        ended
    }

    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()> {
        let (sends, bare) = (tally.sum("durable"), tally.sum("baseline_rows"));
        let rows = sends * f64::from(self.members);
        figures.measure("sends_per_second", sends, "durable sends per second");
        figures.measure("inbox_rows_per_second", rows, "rows of inboxes per second");
        figures.measure("baseline_rows_per_second", bare, "a bare multi-row insert, rows per second");
        figures.measure("ratio", ratio(rows, bare), "rows, against the bare one");
        let (durable, arrival) = (tally.latencies("durable"), tally.latencies("arrival"));
        figures.measure("p50_ms", durable.ms(0.5), "half of them durable within (ms)");
        figures.measure("p99_ms", durable.ms(0.99), "99 % durable within (ms)");
        figures.measure("arrival_p50_ms", arrival.ms(0.5), "half of the copies with a member within (ms)");
        figures.measure("arrival_p99_ms", arrival.ms(0.99), "99 % of the copies with a member within (ms)");
        let [lost, duplicates, reordered] = ["lost", "duplicates", "reordered"].map(|key| tally.count(key));
        figures.count("lost", lost, "copies lost");
        figures.count("duplicates", duplicates, "copies that came twice");
        figures.count("reordered", reordered, "copies out of order");
        if let Some(rate) = self.rate {
            figures.measure("offered_per_second", rate, "sends per second that were offered");
            figures.measure("achieved_per_second", sends, "sends per second that were achieved");
        }
        ensure_none(&[(lost, "copies were lost"), (duplicates, "came twice"), (reordered, "came out of order")])
    }
}

impl Arguments {
    fn batch(&self) -> u32 {
        let senders = self.senders.saturating_mul(self.groups);
        self.baseline_batch.unwrap_or(senders.min(8192 / self.members).max(1))
    }
}

fn create(target: &Target, users: &[User]) -> anyhow::Result<u64> {
    let member = |user: &User| GroupMember { user_id: user.id, ..GroupMember::default() };
    let group = Group { name: "gim-bench".into(), ..Group::default() };
    let request = GroupCreateRequest { group: Some(group), members: users.iter().map(member).collect() };
    let mut client = GroupIntServiceClient::new(target.logic());
    Ok(target.call("GroupIntService/Create", client.create(target.internal(request)))?.group_id)
}

fn take_turns(
    run: &mut Run<'_>,
    swarm: &mut Swarm,
    circles: &mut Circles,
    bare: &mut Database,
    duel: Duel,
) -> anyhow::Result<()> {
    let mut progress = Progress::new("group", duel.len().into());
    for number in 0..duel.len() {
        run.meet("slice", swarm, circles)?;
        let slice = duel.begin(number);
        match slice.side {
            Side::Baseline => bare.measure(swarm, circles, slice)?,
            Side::Server => {
                let own_cpu = OwnCpu::start()?;
                circles.begin(slice, swarm);
                let ended = swarm.run_until(circles, slice.end);
                circles.measured += slice.measured();
                ended?;
                own_cpu.check(run)?;
                circles.end();
                if !swarm.settle(circles, Circles::activity, Circles::is_settled)? {
                    break;
                }
            }
        }
        progress.show((number + 1).into(), || {
            format!("{:.0} sends/s, bare {:.0} rows/s", circles.per_second(), bare.per_second())
        });
    }
    Ok(())
}
