//! What a transaction of the inbox writer does with groups: it takes hold of their rows, so that a send and a change of
//! members see the same moment, and each work is done on the group as the ones before left it ([`super::held_group`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{AnyConnection, Row as _};

use super::{
    dialect::Sql,
    from_sql,
    group::read_group,
    held_group::{Held, Posts},
    script::Script,
    statement::MultiRow,
    work::{Post, Work, group_ids},
};
use crate::domain::{
    group::{GroupAction, GroupRefusal, Kind, Member, MemberLimits},
    message::{GroupDelivery, Message},
};

const MEMBER_IDS_OF: MultiRow = MultiRow {
    head: "SELECT group_id, user_id FROM group_member WHERE group_id IN (",
    row: "?",
    tail: ") ORDER BY group_id, user_id",
};
const UPDATE_SEQ: MultiRow = MultiRow { head: "UPDATE chat_group SET seq = ", row: "? WHERE id = ?", tail: "" };

/// What one request wants done with a group.
#[derive(Debug)]
pub struct GroupWork {
    /// Which group.
    pub group_id: u64,
    /// Who asks, with no more rights than he has; none for a trusted service.
    pub actor: Option<u64>,
    /// What to do.
    pub action: GroupAction,
    /// The message, or the notices that tell members of the change (one per user of a removal).
    pub messages: Vec<Message>,
    /// How many members there may be.
    pub limits: MemberLimits,
    /// The client's key of a send.
    pub client_msg_id: Option<String>,
    /// The device that sent it and needs no copy; 0 for none.
    pub origin_device_id: u64,
    /// For the logs.
    pub request_id: String,
}

/// A message that is to be stored for a group, and what its delivery needs to know.
pub(super) struct GroupPost {
    pub post: Post,
    pub delivery: GroupDelivery,
}

/// The groups that a transaction holds.
pub(super) struct HeldGroups {
    groups: BTreeMap<u64, Held>,
}

impl GroupWork {
    /// Inbox rows that it may write, as far as can be told without looking.
    pub(super) fn rows(&self) -> usize {
        match &self.action {
            GroupAction::Create { members, .. } | GroupAction::AddMembers(members) => members.len() + ROWS_GUESSED,
            GroupAction::RemoveMembers(user_ids) => user_ids.len() * ROWS_GUESSED,
            _ => ROWS_GUESSED,
        }
    }

    /// Memory that it holds while it waits.
    pub(super) fn bytes(&self) -> usize {
        let members = match &self.action {
            GroupAction::Create { members, .. } | GroupAction::AddMembers(members) => {
                members.len() * size_of::<Member>()
            }
            GroupAction::RemoveMembers(user_ids) => user_ids.len() * size_of::<u64>(),
            _ => 0,
        };
        let contents: usize = self.messages.iter().map(|message| size_of::<Message>() + message.content.len()).sum();
        size_of::<Self>() + members + contents
    }
}

/// What a message to a group is taken for while a batch is put together: most groups are small.
const ROWS_GUESSED: usize = 64;

impl HeldGroups {
    /// Takes hold of groups, in the order of their ids: two transactions that meet wait for each other, never in a circle.
    pub(super) async fn hold(
        connection: &mut AnyConnection,
        sql: &Sql,
        mut group_ids: Vec<u64>,
    ) -> Result<Self, sqlx::Error> {
        group_ids.sort_unstable();
        group_ids.dedup();
        let mut script = Script::new(sql.sends_text);
        script.add(sql.hold_groups, &group_ids, |row, group_id| row.id(*group_id));
        let mut groups = BTreeMap::new();
        for row in script.fetch(connection).await? {
            let group = read_group(&row)?;
            groups.insert(group.id, Held::stored(group));
        }
        Ok(Self { groups })
    }

    /// How many of `works`, from the first on, fit into a transaction of so many inbox rows; at least one, if there is one.
    pub(super) fn fitting(&self, works: &[&Work], rows_max: usize) -> usize {
        let mut added: HashMap<u64, usize> = HashMap::new();
        let mut rows = 0;
        let fits = |work: &&&Work| {
            rows += match work {
                Work::Group(work) => self.rows_of(work, &mut added),
                work => work.rows(),
            };
            rows <= rows_max
        };
        works.iter().take_while(fits).count().max(1).min(works.len())
    }

    /// Inbox rows that a work may write, where the ones before it added so many members.
    fn rows_of(&self, work: &GroupWork, added: &mut HashMap<u64, usize>) -> usize {
        let held = self.groups.get(&work.group_id).map(|held| &held.group);
        let added = added.entry(work.group_id).or_default();
        if let GroupAction::Create { members, .. } | GroupAction::AddMembers(members) = &work.action {
            *added += members.len();
        }
        match held {
            Some(group) if group.kind == Kind::Large => work.messages.len(),
            _ => work.messages.len() * (held.map_or(0, |group| group.member_count as usize) + *added),
        }
    }

    /// Reads who is in the normal groups that `works` are about: nearly each of them needs to know.
    pub(super) async fn read_members(
        &mut self,
        connection: &mut AnyConnection,
        sql: &Sql,
        works: &[&Work],
    ) -> Result<(), sqlx::Error> {
        let wanted: BTreeSet<u64> = group_ids(works).into_iter().collect();
        let is_wanted = |held: &&Held| held.group.kind == Kind::Normal && wanted.contains(&held.group.id);
        let ids: Vec<u64> = self.groups.values().filter(is_wanted).map(|held| held.group.id).collect();
        for id in &ids {
            self.groups.entry(*id).and_modify(|held| held.member_ids = Some(Vec::new()));
        }
        let mut script = Script::new(sql.sends_text);
        script.add(MEMBER_IDS_OF, &ids, |row, group_id| row.id(*group_id));
        for row in script.fetch(connection).await? {
            let group_id = from_sql(row.try_get(0)?);
            let member_ids = self.groups.get_mut(&group_id).and_then(|held| held.member_ids.as_mut());
            member_ids.ok_or(sqlx::Error::RowNotFound)?.push(from_sql(row.try_get(1)?));
        }
        Ok(())
    }

    /// Does one work.
    pub(super) async fn apply(&mut self, connection: &mut AnyConnection, work: &GroupWork) -> Posts {
        if let GroupAction::Create { kind, profile, members } = &work.action {
            if members.len() > work.limits.of(*kind) {
                return Ok(Err(GroupRefusal::too_many(*kind, work.limits)));
            }
            let mut held = Held::new(work.group_id, *kind, profile);
            let posts = held.apply(connection, work).await?;
            self.groups.insert(work.group_id, held);
            return Ok(posts);
        }
        match self.groups.get_mut(&work.group_id) {
            Some(held) => held.apply(connection, work).await,
            None => Ok(Err(GroupRefusal::NoGroup(work.group_id))),
        }
    }

    /// The place of a recall in the timeline of the large group that the message was sent to; none for any other recall.
    pub(super) fn recall(&mut self, post: &Post) -> Option<GroupDelivery> {
        let held = self.groups.get_mut(&post.timeline_alone()?)?;
        held.is_numbered = true;
        held.group.seq += 1;
        Some(GroupDelivery { group_id: held.group.id, seq: held.group.seq, is_live: true, ..GroupDelivery::default() })
    }

    /// Stores the groups that are new, or other than before.
    pub(super) async fn store_changed(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        for held in self.groups.values().filter(|held| held.is_other()) {
            held.store_all(connection).await?;
        }
        Ok(())
    }

    /// Stores the seqs of those that only got messages.
    pub(super) fn add_seqs(&self, script: &mut Script) {
        let is_only_numbered = |held: &&Held| held.is_numbered && !held.is_other();
        for held in self.groups.values().filter(is_only_numbered) {
            script.add(UPDATE_SEQ, &[&held.group], |row, group| row.id(group.seq).id(group.id));
        }
    }
}
