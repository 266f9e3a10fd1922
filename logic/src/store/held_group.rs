//! A group that a transaction holds, and what is done with it: what its rules need to know is read, they decide
//! ([`crate::domain::group`]), and the change is written.
//!
//! Always holds: a refused work wrote nothing; every message has a place in the timeline, gap-free and in the order of the
//! works; the members that a message goes to are those after all earlier works and before all later ones.

use std::collections::BTreeMap;

use gim_proto::logic::{MemberType, UpdateGroupPush};
use prost::Message as _;
use sqlx::{AnyConnection, Row as _};

use super::{
    columns::{from_sql, small, to_sql},
    group::find_member,
    left_member,
    statement::MultiRow,
    work::{GroupWork, Post},
};
use crate::domain::{
    clock,
    group::{Actor, Change, Facts, Group, GroupAction, GroupRefusal, Kind, Member, Profile},
    message::{GroupDelivery, Message},
};

const MEMBER_IDS: &str = "SELECT user_id FROM group_member WHERE group_id = ? ORDER BY user_id";
const OLDEST_MEMBER: &str =
    "SELECT user_id FROM group_member WHERE group_id = ? ORDER BY joined_at_ms, user_id LIMIT 1";
const TYPES: MultiRow = MultiRow {
    head: "SELECT user_id, type FROM group_member WHERE user_id IN (",
    row: "?",
    tail: ") AND group_id = ?",
};
const DELETE_MEMBERS: MultiRow =
    MultiRow { head: "DELETE FROM group_member WHERE user_id IN (", row: "?", tail: ") AND group_id = ?" };
const DELETE_CURSORS: MultiRow =
    MultiRow { head: "DELETE FROM group_cursor WHERE user_id IN (", row: "?", tail: ") AND group_id = ?" };
const DELETE_ACKS: MultiRow =
    MultiRow { head: "DELETE FROM group_device_cursor WHERE user_id IN (", row: "?", tail: ") AND group_id = ?" };
const INSERT_MEMBERS: MultiRow = MultiRow {
    head: "INSERT INTO group_member \
           (group_id, user_id, type, status, nickname, extra, joined_after_seq, joined_at_ms) VALUES ",
    row: "(?,?,?,?,?,?,?,?)",
    tail: "",
};
const UPDATE_MEMBER: &str =
    "UPDATE group_member SET type = ?, status = ?, nickname = ?, extra = ? WHERE group_id = ? AND user_id = ?";
const PROMOTE: &str = "UPDATE group_member SET type = ? WHERE group_id = ? AND user_id = ?";
const INSERT_GROUP: &str = "INSERT INTO chat_group (kind, name, avatar_url, introduction, extra, member_count, \
                            admin_count, version, seq, large_after_seq, updated_at_ms, created_at_ms, id) \
                            VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)";
const UPDATE_GROUP: &str = "UPDATE chat_group SET kind = ?, name = ?, avatar_url = ?, introduction = ?, extra = ?, \
                            member_count = ?, admin_count = ?, version = ?, seq = ?, large_after_seq = ?, \
                            updated_at_ms = ? WHERE id = ?";

/// A group whose row the transaction holds.
pub(super) struct HeldGroup {
    /// As it is by now.
    pub group: Group,
    /// Of a normal group, once they were needed: ascending.
    pub member_ids: Option<Vec<u64>>,
    /// Whether it is numbered anew, at least.
    pub is_numbered: bool,
    /// Receivers that are listed now.
    pub new_lists: Vec<ReceiverList>,
    /// The newest version of which they are.
    listed_version: Option<u64>,
    is_new: bool,
    is_changed: bool,
}

/// A message that is to be stored for a group, and what its delivery needs to know.
pub(super) struct GroupPost {
    pub post: Post,
    pub delivery: GroupDelivery,
    /// Of which version of the group its receivers are listed, where they are.
    pub receivers_version: Option<u64>,
}

/// The members of a version of a group, all of whom get what is sent to it.
pub(super) struct ReceiverList {
    pub group_id: u64,
    pub version: u64,
    pub first_message_id: u64,
    pub user_ids: Vec<u64>,
}

/// Why a work was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// The group does not allow it; nothing was written.
    #[error(transparent)]
    Refused(#[from] GroupRefusal),
    /// The transaction is spoilt.
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
}

impl GroupWork {
    /// Whether a member's inbox gets what is told of a change: of those who blocked whoever makes it, only who comes or goes by
    /// it, or would else not find the group's messages.
    fn is_told(&self, user_id: u64, change: &Change<'_>) -> bool {
        !self.not_told.contains(&user_id)
            || match change {
                Change::Message | Change::Profile { becomes_large: true, .. } => true,
                Change::Leave { user_ids, .. } => user_ids.contains(&user_id),
                Change::Join(members) => members.iter().any(|member| member.user_id == user_id),
                Change::Nothing | Change::Describe { .. } | Change::Profile { .. } => false,
            }
    }
}

impl HeldGroup {
    /// One that is stored already, and the newest version of which the receivers are listed.
    pub(super) fn stored(group: Group, listed_version: Option<u64>) -> Self {
        let (member_ids, new_lists) = (None, Vec::new());
        Self { group, member_ids, is_numbered: false, new_lists, listed_version, is_new: false, is_changed: false }
    }

    /// One that is new, and empty until the work that creates it is done.
    pub(super) fn new(group: Group) -> Self {
        Self { is_new: true, ..Self::stored(group, None) }
    }

    /// Whether all of it has to be stored, and not its seq alone.
    pub(super) fn is_other(&self) -> bool {
        self.is_new || self.is_changed
    }

    /// Does one work; returns the messages to store for it: none where everything was so already.
    pub(super) async fn apply(
        &mut self,
        connection: &mut AnyConnection,
        work: &GroupWork,
    ) -> Result<Vec<GroupPost>, ApplyError> {
        let facts = self.find_facts(connection, work).await?;
        let change = self.group.decide(&facts, &work.action)?;
        if change == Change::Nothing {
            return Ok(Vec::new());
        }
        let mut user_ids = self.write_members(connection, work, &change).await?;
        user_ids.retain(|user_id| work.is_told(*user_id, &change));
        let posts = self.number(work, &change, &user_ids);
        self.group.apply(&change);
        self.is_changed |= change != Change::Message;
        Ok(posts)
    }

    async fn find_facts(&mut self, connection: &mut AnyConnection, work: &GroupWork) -> Result<Facts, sqlx::Error> {
        let mut facts = Facts::of(work.limits, self.find_actor(connection, work).await?);
        // Nobody is looked up for somebody who may not ask.
        if self.group.admit(&facts, &work.action).is_ok() {
            match &work.action {
                GroupAction::AddMembers(members) => {
                    let user_ids: Vec<u64> = members.iter().map(|member| member.user_id).collect();
                    facts.named = self.types(connection, &user_ids).await?;
                    if work.actor.is_some() {
                        facts.left = left_member::first_of(connection, self.group.id, &user_ids).await?;
                    }
                }
                GroupAction::RemoveMembers(user_ids) => facts.named = self.types(connection, user_ids).await?,
                GroupAction::UpdateMember { member, .. } => {
                    facts.former = find_member(connection, self.group.id, member.user_id).await?;
                }
                GroupAction::Send | GroupAction::Create { .. } | GroupAction::Update { .. } => {}
            }
        }
        Ok(facts)
    }

    async fn find_actor(&mut self, connection: &mut AnyConnection, work: &GroupWork) -> Result<Actor, sqlx::Error> {
        let Some(user_id) = work.actor else { return Ok(Actor::Service) };
        match &work.action {
            GroupAction::Create { .. } => return Ok(Actor::Outsider),
            GroupAction::Send if self.group.kind == Kind::Normal => {
                let is_member = self.member_ids(connection).await?.binary_search(&user_id).is_ok();
                return Ok(if is_member { Actor::Member(user_id) } else { Actor::Outsider });
            }
            _ => {}
        }
        Ok(match find_member(connection, self.group.id, user_id).await? {
            Some(Member { is_admin: true, .. }) => Actor::Admin(user_id),
            Some(_) => Actor::Member(user_id),
            None => Actor::Outsider,
        })
    }

    /// Writes what a change says of members; returns whose inboxes get its messages.
    async fn write_members(
        &mut self,
        connection: &mut AnyConnection,
        work: &GroupWork,
        change: &Change<'_>,
    ) -> Result<Vec<u64>, sqlx::Error> {
        match *change {
            Change::Nothing => return Ok(Vec::new()),
            Change::Message => return self.receivers(connection, work.actor).await,
            Change::Profile { .. } => {}
            Change::Join(members) => {
                self.insert_members(connection, members).await?;
                if work.actor.is_none() && !self.is_new {
                    left_member::forget(connection, self.group.id, members).await?;
                }
            }
            Change::Describe { member, is_admin, .. } => self.update_member(connection, member, is_admin).await?,
            Change::Leave { user_ids, promotes_oldest, by_own_wish, .. } => {
                // Those who leave hear of it too.
                let receivers = self.receivers(connection, None).await?;
                self.delete_members(connection, user_ids).await?;
                if let Some(user_id) = by_own_wish {
                    left_member::note(connection, self.group.id, user_id).await?;
                }
                if promotes_oldest {
                    self.promote_oldest(connection).await?;
                }
                return Ok(receivers);
            }
        }
        self.receivers(connection, None).await
    }

    async fn insert_members(&mut self, connection: &mut AnyConnection, members: &[Member]) -> Result<(), sqlx::Error> {
        self.member_ids = None;
        let (group_id, joined_after_seq, now_ms) = (self.group.id, self.group.seq, clock::now_ms());
        INSERT_MEMBERS
            .execute(connection, members, |query, member| {
                query
                    .bind(to_sql(group_id))
                    .bind(to_sql(member.user_id))
                    .bind(type_of(member.is_admin))
                    .bind(i64::from(member.status))
                    .bind(member.nickname.clone())
                    .bind(member.extra.clone())
                    .bind(to_sql(joined_after_seq))
                    .bind(now_ms)
            })
            .await
    }

    async fn update_member(
        &self,
        connection: &mut AnyConnection,
        member: &Member,
        is_admin: bool,
    ) -> Result<(), sqlx::Error> {
        let query = sqlx::query(UPDATE_MEMBER)
            .bind(type_of(is_admin))
            .bind(i64::from(member.status))
            .bind(member.nickname.clone())
            .bind(member.extra.clone())
            .bind(to_sql(self.group.id))
            .bind(to_sql(member.user_id));
        query.execute(connection).await.map(drop)
    }

    async fn delete_members(&mut self, connection: &mut AnyConnection, user_ids: &[u64]) -> Result<(), sqlx::Error> {
        self.member_ids = None;
        let group_id = self.group.id;
        for statement in [DELETE_MEMBERS, DELETE_CURSORS, DELETE_ACKS] {
            statement
                .execute_then(
                    connection,
                    user_ids,
                    |query, user_id| query.bind(to_sql(*user_id)),
                    |query| query.bind(to_sql(group_id)),
                )
                .await?;
        }
        Ok(())
    }

    async fn promote_oldest(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let query = sqlx::query_scalar(OLDEST_MEMBER).bind(to_sql(self.group.id));
        let user_id: i64 = query.fetch_one(&mut *connection).await?;
        let query = sqlx::query(PROMOTE).bind(type_of(true)).bind(to_sql(self.group.id)).bind(user_id);
        query.execute(connection).await.map(drop)
    }

    /// Whose inboxes get a message: all members of a normal group, the sender first; nobody's where there is a timeline.
    async fn receivers(
        &mut self,
        connection: &mut AnyConnection,
        sender_id: Option<u64>,
    ) -> Result<Vec<u64>, sqlx::Error> {
        if self.group.kind == Kind::Large {
            return Ok(Vec::new());
        }
        let mut user_ids = self.member_ids(connection).await?.to_vec();
        if let Some(place) = sender_id.and_then(|sender_id| user_ids.binary_search(&sender_id).ok()) {
            user_ids[..=place].rotate_right(1);
        }
        Ok(user_ids)
    }

    async fn member_ids(&mut self, connection: &mut AnyConnection) -> Result<&[u64], sqlx::Error> {
        if self.member_ids.is_none() {
            let query = sqlx::query_scalar(MEMBER_IDS).bind(to_sql(self.group.id));
            let user_ids: Vec<i64> = query.fetch_all(&mut *connection).await?;
            self.member_ids = Some(user_ids.into_iter().map(from_sql).collect());
        }
        Ok(self.member_ids.as_deref().unwrap_or_default())
    }

    /// Which of these are members, and whether they are admins.
    async fn types(
        &self,
        connection: &mut AnyConnection,
        user_ids: &[u64],
    ) -> Result<BTreeMap<u64, bool>, sqlx::Error> {
        let group_id = self.group.id;
        let rows = TYPES
            .fetch_then(
                connection,
                user_ids,
                |query, user_id| query.bind(to_sql(*user_id)),
                |query| query.bind(to_sql(group_id)),
            )
            .await?;
        let read =
            |row: &sqlx::any::AnyRow| Ok((from_sql(row.try_get(0)?), i64::from(small(row, 1)?) == type_of(true)));
        rows.iter().map(read).collect()
    }

    /// The messages of a work, each with its place in the timeline.
    fn number(&mut self, work: &GroupWork, change: &Change<'_>, user_ids: &[u64]) -> Vec<GroupPost> {
        self.is_numbered = true;
        let is_live = self.group.kind == Kind::Large;
        let mut posts: Vec<GroupPost> =
            work.messages.iter().map(|message| self.number_one(work, message, user_ids)).collect();
        match *change {
            Change::Message => {
                posts.iter_mut().for_each(|post| post.receivers_version = self.list_receivers(&post.post))
            }
            Change::Describe { notice, .. } => {
                let Profile { name, avatar_url, introduction, extra } = self.group.profile.clone();
                let notice = UpdateGroupPush { name, avatar_url, introduction, extra, ..notice.clone() };
                for post in &mut posts {
                    post.post.message.content = notice.encode_to_vec().into();
                }
            }
            // The notice is the last message that goes to the inboxes; what comes after it is in the timeline.
            Change::Profile { becomes_large: true, .. } => {
                if let Some(last) = posts.last_mut() {
                    last.delivery.joined = self.member_ids.take().unwrap_or_default();
                }
            }
            Change::Join(members) if is_live => {
                if let Some(first) = posts.first_mut() {
                    first.delivery.joined = members.iter().map(|member| member.user_id).collect();
                }
            }
            // Who is out of the timeline learns from his inbox why.
            Change::Leave { user_ids, .. } if is_live => {
                if let Some(first) = posts.first_mut() {
                    first.post.user_ids = user_ids.to_vec();
                    first.delivery.left = user_ids.to_vec();
                }
            }
            _ => {}
        }
        posts
    }

    fn number_one(&mut self, work: &GroupWork, message: &Message, user_ids: &[u64]) -> GroupPost {
        self.group.seq += 1;
        let post = Post {
            message: message.clone(),
            user_ids: user_ids.to_vec(),
            all_user_ids: Vec::new(),
            conversation: None,
            client_msg_id: work.client_msg_id.clone(),
            is_of_service: message.sender_id == 0,
            origin_device_id: work.origin_device_id,
            request_id: work.request_id.clone(),
            is_stored: false,
        };
        let delivery = GroupDelivery {
            group_id: self.group.id,
            seq: self.group.seq,
            is_live: self.group.kind == Kind::Large,
            joined: Vec::new(),
            left: Vec::new(),
        };
        GroupPost { post, delivery, receivers_version: None }
    }

    /// Where somebody may ask for the receivers of a message later, sees to it that they are listed.
    fn list_receivers(&mut self, post: &Post) -> Option<u64> {
        if self.group.kind == Kind::Large || !post.is_asked_for() {
            return None;
        }
        let (group_id, version) = (self.group.id, self.group.version);
        if self.listed_version != Some(version) {
            self.listed_version = Some(version);
            let user_ids = self.member_ids.clone().unwrap_or_default();
            self.new_lists.push(ReceiverList { group_id, version, first_message_id: post.message.id, user_ids });
        }
        Some(version)
    }

    /// Stores the group itself.
    pub(super) async fn store_all(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let Group { id, kind, profile, member_count, admin_count, version, seq, large_after_seq } = self.group.clone();
        let now_ms = clock::now_ms();
        let query = sqlx::query(if self.is_new { INSERT_GROUP } else { UPDATE_GROUP })
            .bind(i64::from(kind.to_wire()))
            .bind(profile.name)
            .bind(profile.avatar_url)
            .bind(profile.introduction)
            .bind(profile.extra)
            .bind(to_sql(member_count))
            .bind(to_sql(admin_count))
            .bind(to_sql(version))
            .bind(to_sql(seq))
            .bind(to_sql(large_after_seq))
            .bind(now_ms);
        let query = if self.is_new { query.bind(now_ms) } else { query };
        query.bind(to_sql(id)).execute(connection).await?;
        Ok(())
    }
}

fn type_of(is_admin: bool) -> i64 {
    i64::from(if is_admin { MemberType::MtAdmin } else { MemberType::MtMember } as i32)
}
