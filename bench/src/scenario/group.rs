//! How fast does a message reach the inbox of everybody in a group?
//!
//! Everybody is connected; some send to their group over the long connection, as much as fits (each the next message when
//! the one before is durable, a closed loop) or, with `--rate`, on time whatever the server does (an open loop, latency from
//! the time a message was meant to leave). A message is written to the inbox of every member. Beside a closed loop, in turns, a
//! bare multi-row insert writes the same rows to a database of its own.

use anyhow::ensure;
use gim_proto::logic::{Group, GroupCreateRequest, GroupMember, group_int_service_client::GroupIntServiceClient};
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
    target::Target,
    users::User,
};

/// What each member has of each sender is kept in memory.
const MEMBERS_TIMES_SENDERS_MAX: u64 = 10_000_000;

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

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--groups", self.groups)]
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { members, senders, groups, rate, .. } = self;
        ensure_rate("rate", *rate)?;
        ensure!(senders <= members, "--senders {senders} are more than the --members of a group, which are {members}");
        let known = u64::from(*members) * u64::from(*senders) * u64::from(groups.div_ceil(self.load.processes()));
        ensure!(
            known <= MEMBERS_TIMES_SENDERS_MAX,
            "--members {members} who look out for --senders {senders} in --groups {groups} are {known} pairs of them, and a \
             process knows {MEMBERS_TIMES_SENDERS_MAX}"
        );
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (groups, members) = (run.share(self.groups), self.members as usize);
        let mut swarm = run.swarm(groups * members)?;
        let (batch, all) = (self.batch(), u32::try_from(groups)?);
        let shape = Shape { batch, groups: all.min(batch), members: self.members, size: self.size, is_keyed: true };
        let mut bare = match self.rate {
            None => Some(Database::create(&self.database, shape)?),
            // What another one writes meanwhile would only delay what is due.
            Some(_) => None,
        };
        bare.as_mut().map_or(Ok(()), Database::insert)?;
        let users = run.sign_up(groups * members)?;
        let group_ids = users.chunks(members).map(|users| create(&run.target, users)).collect::<anyhow::Result<_>>()?;
        let company = Company::Groups { group_ids, members, senders: self.senders as usize };
        let mut groups = Conversations::new(company, self.size, run.rate_share(self.rate));
        let greetings = users.into_iter().map(|user| user.greeting);
        swarm.gather(&mut groups, run.target.gates(), greetings, run.in_flight(CONNECTS_IN_FLIGHT))?;
        let ended = take_turns(self, run, &mut swarm, &mut groups, bare.as_mut());
        groups.count(&mut run.tally);
        run.note_schedule(groups.scheduled());
        ended
    }

    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()> {
        conversations::tell(tally, figures, self.members, self.rate)
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
