//! How fast does a message reach the inbox of everybody in a group?
//!
//! Everybody is connected; some send to their group over the long connection, as much as fits (each the next message when
//! the one before is durable, a closed loop) or, with `--rate`, on time whatever the server does (an open loop, latency from
//! the time a message was meant to leave). A message is written to the inbox of every member. Beside a closed loop, in turns, a
//! bare multi-row insert writes the same rows to a database of its own.

use anyhow::ensure;
use gim_proto::logic::{Group, GroupCreateRequest, GroupMember, group_int_service_client::GroupIntServiceClient};
use serde_json::{Value, json};

use super::chats::{self, BASELINE_BATCH_MAX, Participants, SendingArguments};
use crate::{
    baseline::database::Shape,
    counts::Counts,
    load::{LoadArguments, Measurement, Run, ensure_rate},
    result::Figures,
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
    #[command(flatten)]
    sending: SendingArguments,
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
            "rate": self.sending.rate,
            "size": self.sending.size,
            "text": self.sending.text,
            "baseline_batch": self.batch(),
            "baseline_database": self.sending.database.kind(),
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("--groups", self.groups)]
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { members, senders, groups, .. } = self;
        ensure_rate("rate", self.sending.rate)?;
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
        let (batch, size) = (self.batch(), self.sending.size);
        let shape =
            Shape { batch, groups: u32::try_from(groups)?.min(batch), members: self.members, size, is_keyed: true };
        self.sending.measure(self, run, groups * members, shape, |target, users| {
            let groups = users.chunks(members).map(|users| create(target, users));
            let group_ids = groups.collect::<anyhow::Result<_>>()?;
            Ok(Participants::Groups { group_ids, members, senders: self.senders as usize })
        })
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        chats::tell(counts, figures, self.members, self.sending.rate)
    }
}

impl Arguments {
    fn batch(&self) -> u32 {
        let senders = self.senders.saturating_mul(self.groups);
        self.sending.baseline_batch.unwrap_or(senders.min(BASELINE_BATCH_MAX / self.members).max(1))
    }
}

/// Makes a group of these users.
pub fn create(target: &Target, users: &[User]) -> anyhow::Result<u64> {
    let member = |user: &User| GroupMember { user_id: user.id, ..GroupMember::default() };
    let group = Group { name: "gim-bench".into(), ..Group::default() };
    let request = GroupCreateRequest { group: Some(group), members: users.iter().map(member).collect() };
    let mut client = GroupIntServiceClient::new(target.logic());
    Ok(target.call("GroupIntService/Create", client.create(target.internal(request)))?.group_id)
}
