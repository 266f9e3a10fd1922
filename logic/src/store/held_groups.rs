//! What a transaction of the inbox writer does with groups: it takes hold of their rows, so that a send and a change of
//! members see the same moment, and each work is done on the group as the ones before left it ([`super::held_group`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{AnyConnection, Row as _};

use super::{
    columns::{encode_receivers, from_sql},
    dialect::Sql,
    group::read_group,
    held_group::{ApplyError, GroupPost, HeldGroup, ReceiverList},
    opening::Opening,
    script::Script,
    statement::MultiRow,
    work::{GroupWork, Post, Work},
};
use crate::domain::{
    group::{Group, GroupAction, GroupRefusal, Kind},
    message::GroupDelivery,
};

const MEMBER_IDS_OF: MultiRow = MultiRow {
    head: "SELECT group_id, user_id FROM group_member WHERE group_id IN (",
    row: "?",
    tail: ") ORDER BY group_id, user_id",
};
const INSERT_LISTS: MultiRow = MultiRow {
    head: "INSERT INTO group_receivers (group_id, version, first_message_id, user_ids) VALUES ",
    row: "(?,?,?,?)",
    tail: "",
};
const UPDATE_SEQ: MultiRow = MultiRow { head: "UPDATE chat_group SET seq = ", row: "? WHERE id = ?", tail: "" };

/// How much one transaction writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// Inbox rows.
    pub rows: usize,
    /// Of these, for messages of one user to groups, where there are more than one.
    pub user_rows: usize,
}

/// The groups that a transaction holds.
pub(super) struct HeldGroups {
    groups: BTreeMap<u64, HeldGroup>,
}

impl HeldGroups {
    /// Takes hold of groups, in the order of their ids: two transactions that meet wait for each other, never in a circle.
    pub(super) async fn hold(
        connection: &mut AnyConnection,
        sql: &Sql,
        group_ids: &BTreeSet<u64>,
        opening: &mut Opening,
    ) -> Result<Self, sqlx::Error> {
        let group_ids: Vec<u64> = group_ids.iter().copied().collect();
        let mut script = Script::new(sql.sends_text);
        if !group_ids.is_empty() {
            opening.put_into(&mut script);
        }
        script.add(sql.hold_groups, &group_ids, |row, group_id| row.id(*group_id));
        let mut groups = BTreeMap::new();
        for row in script.fetch(connection).await? {
            let group = read_group(&row)?;
            let listed_version: Option<i64> = row.try_get(11)?;
            groups.insert(group.id, HeldGroup::stored(group, listed_version.map(from_sql)));
        }
        Ok(Self { groups })
    }

    /// How many of `works`, from the first on, fit into a transaction, where no user has more than a share of it; at least one, if
    /// there is one.
    pub(super) fn fitting(&self, works: &[&Work], limits: BatchLimits) -> usize {
        let (mut added, mut of_users) = (HashMap::new(), HashMap::new());
        let mut rows = 0;
        let fits = |work: &&&Work| {
            let Work::Group(request) = work else {
                rows += work.rows();
                return rows <= limits.rows;
            };
            let needed = self.rows_of(&request.wants, &mut added);
            rows += needed;
            let own: &mut usize = of_users.entry(request.wants.actor).or_default();
            let is_over = *own > 0 && *own + needed > limits.user_rows && request.wants.actor.is_some();
            *own += needed;
            rows <= limits.rows && !is_over
        };
        works.iter().take_while(fits).count().max(1).min(works.len())
    }

    /// Rows that a work may write, where the ones before it added so many members.
    fn rows_of(&self, work: &GroupWork, added: &mut HashMap<u64, usize>) -> usize {
        let held = self.groups.get(&work.group_id).map(|held| &held.group);
        let added = added.entry(work.group_id).or_default();
        let named = work.members_named();
        if let GroupAction::Create { members, .. } | GroupAction::AddMembers(members) = &work.action {
            *added += members.len();
        }
        let is_large = matches!(&work.action, GroupAction::Create { kind: Kind::Large, .. })
            || held.is_some_and(|group| group.kind == Kind::Large);
        // Of a large group, those who leave hear of it in their inboxes.
        let receivers = if is_large { 1 } else { held.map_or(0, |group| group.member_count as usize) + *added };
        named + work.messages.len() * receivers
    }

    /// Reads who is in those of the groups that are normal ones: nearly every work on them needs to know.
    pub(super) async fn read_members(
        &mut self,
        connection: &mut AnyConnection,
        sql: &Sql,
        group_ids: &BTreeSet<u64>,
    ) -> Result<(), sqlx::Error> {
        let is_wanted = |held: &&HeldGroup| held.group.kind == Kind::Normal && group_ids.contains(&held.group.id);
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

    /// Does one work; returns the messages to store for it: none where everything was so already.
    pub(super) async fn apply(
        &mut self,
        connection: &mut AnyConnection,
        work: &GroupWork,
    ) -> Result<Vec<GroupPost>, ApplyError> {
        if let GroupAction::Create { kind, profile, .. } = &work.action {
            if self.groups.contains_key(&work.group_id) {
                return Err(GroupRefusal::Taken(work.group_id).into());
            }
            let mut held = HeldGroup::new(Group::new(work.group_id, *kind, profile.clone()));
            let posts = held.apply(connection, work).await?;
            self.groups.insert(work.group_id, held);
            return Ok(posts);
        }
        let held = self.groups.get_mut(&work.group_id);
        let held = held.ok_or_else(|| GroupRefusal::no_group(work.group_id, work.actor))?;
        held.apply(connection, work).await
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

    /// Stores whose inboxes get what is sent to a version that had no message before.
    pub(super) fn add_lists(&self, script: &mut Script) {
        let lists: Vec<&ReceiverList> = self.groups.values().flat_map(|held| &held.new_lists).collect();
        script.add(INSERT_LISTS, &lists, |row, list| {
            row.id(list.group_id).id(list.version).id(list.first_message_id).bytes(&encode_receivers(&list.user_ids))
        });
    }

    /// Stores the seqs of those that only got messages.
    pub(super) fn add_seqs(&self, script: &mut Script) {
        let is_only_numbered = |held: &&HeldGroup| held.is_numbered && !held.is_other();
        for held in self.groups.values().filter(is_only_numbered) {
            script.add(UPDATE_SEQ, &[&held.group], |row, group| row.id(group.seq).id(group.id));
        }
    }
}
