//! A group that a transaction holds, and what is done with it: rights and members are looked at where they are changed.
//!
//! Always holds: a refused work wrote nothing; every message has a place in the timeline, gap-free and in the order of the
//! works; the members that a message goes to are those after all earlier works and before all later ones.

use std::collections::BTreeMap;

use gim_proto::logic::{MemberType, UpdateGroupPush};
use prost::Message as _;
use sqlx::{AnyConnection, Row as _};

use super::{
    from_sql,
    group::find_member,
    group_work::{GroupPost, GroupWork},
    small,
    statement::MultiRow,
    to_sql,
    work::Post,
};
use crate::domain::{
    clock,
    group::{Group, GroupAction, GroupRefusal, Kind, Member, Profile},
    message::{GroupDelivery, Message},
};

const MEMBER_IDS: &str = "SELECT user_id FROM group_member WHERE group_id = ? ORDER BY user_id";
const FIRST_MEMBER: &str = "SELECT user_id FROM group_member WHERE group_id = ? ORDER BY user_id LIMIT 1";
const TYPES: MultiRow = MultiRow {
    head: "SELECT user_id, type FROM group_member WHERE user_id IN (",
    row: "?",
    tail: ") AND group_id = ?",
};
const DELETE_MEMBERS: MultiRow =
    MultiRow { head: "DELETE FROM group_member WHERE user_id IN (", row: "?", tail: ") AND group_id = ?" };
const DELETE_CURSORS: MultiRow =
    MultiRow { head: "DELETE FROM group_cursor WHERE user_id IN (", row: "?", tail: ") AND group_id = ?" };
const INSERT_MEMBERS: MultiRow = MultiRow {
    head: "INSERT INTO group_member \
           (group_id, user_id, type, status, nickname, extra, joined_after_seq, joined_at_ms) VALUES ",
    row: "(?,?,?,?,?,?,?,?)",
    tail: "",
};
const UPDATE_MEMBER: &str =
    "UPDATE group_member SET type = ?, status = ?, nickname = ?, extra = ? WHERE group_id = ? AND user_id = ?";
const INSERT_GROUP: &str = "INSERT INTO chat_group (kind, name, avatar_url, introduction, extra, member_count, \
                            admin_count, version, seq, large_after_seq, updated_at_ms, created_at_ms, id) \
                            VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)";
const UPDATE_GROUP: &str = "UPDATE chat_group SET kind = ?, name = ?, avatar_url = ?, introduction = ?, extra = ?, \
                            member_count = ?, admin_count = ?, version = ?, seq = ?, large_after_seq = ?, \
                            updated_at_ms = ? WHERE id = ?";

/// A group whose row the transaction holds.
pub(super) struct Held {
    /// As it is by now.
    pub group: Group,
    /// Of a normal group, once they were needed: ascending.
    pub member_ids: Option<Vec<u64>>,
    /// Whether it is numbered anew, at least.
    pub is_numbered: bool,
    is_new: bool,
    is_changed: bool,
}

/// The messages to store for a work, at least one; or why nothing was done.
pub(super) type Posts = Result<Result<Vec<GroupPost>, GroupRefusal>, sqlx::Error>;

impl Held {
    /// One that is stored already.
    pub(super) fn stored(group: Group) -> Self {
        Self { group, member_ids: None, is_numbered: false, is_new: false, is_changed: false }
    }

    /// One that is new, and empty until the work that creates it is done.
    pub(super) fn new(id: u64, kind: Kind, profile: &Profile) -> Self {
        let profile = profile.clone();
        let group =
            Group { id, kind, profile, member_count: 0, admin_count: 0, version: 0, seq: 0, large_after_seq: 0 };
        Self { group, member_ids: Some(Vec::new()), is_numbered: false, is_new: true, is_changed: false }
    }

    /// Whether all of it has to be stored, and not its seq alone.
    pub(super) fn is_other(&self) -> bool {
        self.is_new || self.is_changed
    }

    /// Does one work.
    pub(super) async fn apply(&mut self, connection: &mut AnyConnection, work: &GroupWork) -> Posts {
        match &work.action {
            GroupAction::Create { members, .. } if self.is_new => self.add_members(connection, work, members).await,
            GroupAction::Create { .. } => Ok(Err(GroupRefusal::NoGroup(work.group_id))),
            GroupAction::Send => self.send(connection, work).await,
            GroupAction::Update { kind, profile } => self.update(connection, work, *kind, profile).await,
            GroupAction::AddMembers(members) => match self.require_admin(connection, work).await? {
                Some(refusal) => Ok(Err(refusal)),
                None => self.add_members(connection, work, members).await,
            },
            GroupAction::UpdateMember { member, is_type_given, notice } => {
                self.update_member(connection, work, member, *is_type_given, notice).await
            }
            GroupAction::RemoveMembers(user_ids) => self.remove_members(connection, work, user_ids).await,
        }
    }

    async fn send(&mut self, connection: &mut AnyConnection, work: &GroupWork) -> Posts {
        if let Some(sender_id) = work.actor
            && !self.is_member(connection, sender_id).await?
        {
            return Ok(Err(GroupRefusal::NotInGroup(self.group.id)));
        }
        let user_ids = self.receivers(connection, work.actor).await?;
        Ok(Ok(self.posts(work, user_ids)))
    }

    async fn update(
        &mut self,
        connection: &mut AnyConnection,
        work: &GroupWork,
        kind: Kind,
        profile: &Profile,
    ) -> Posts {
        if let Some(refusal) = self.require_admin(connection, work).await? {
            return Ok(Err(refusal));
        }
        self.group.profile = profile.clone();
        self.is_changed = true;
        let user_ids = self.receivers(connection, None).await?;
        let mut posts = self.posts(work, user_ids);
        if kind == Kind::Large && self.group.kind == Kind::Normal {
            // The notice is the last message that goes to the inboxes; what comes after it is in the timeline.
            self.group.kind = Kind::Large;
            self.group.large_after_seq = self.group.seq;
            let member_ids = self.member_ids.take().unwrap_or_default();
            if let Some(last) = posts.last_mut() {
                last.delivery.joined = member_ids;
            }
        }
        Ok(Ok(posts))
    }

    async fn add_members(&mut self, connection: &mut AnyConnection, work: &GroupWork, members: &[Member]) -> Posts {
        if self.group.member_count as usize + members.len() > work.limits.of(self.group.kind) {
            return Ok(Err(GroupRefusal::too_many(self.group.kind, work.limits)));
        }
        let user_ids: Vec<u64> = members.iter().map(|member| member.user_id).collect();
        if !self.is_new
            && let Some((user_id, _)) = self.types(connection, &user_ids).await?.into_iter().next()
        {
            return Ok(Err(GroupRefusal::AlreadyMember(user_id)));
        }
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
            .await?;
        self.members_changed();
        self.group.member_count += members.len() as u64;
        self.group.admin_count += members.iter().filter(|member| member.is_admin).count() as u64;
        let receivers = self.receivers(connection, None).await?;
        let mut posts = self.posts(work, receivers);
        if self.group.kind == Kind::Large
            && let Some(first) = posts.first_mut()
        {
            first.delivery.joined = user_ids;
        }
        Ok(Ok(posts))
    }

    async fn update_member(
        &mut self,
        connection: &mut AnyConnection,
        work: &GroupWork,
        member: &Member,
        is_type_given: bool,
        notice: &UpdateGroupPush,
    ) -> Posts {
        let is_self = work.actor == Some(member.user_id);
        let refusal = self.require_admin(connection, work).await?;
        if let Some(refusal) = refusal
            && !(is_self && refusal == GroupRefusal::NotAdmin)
        {
            return Ok(Err(refusal));
        }
        let Some(former) = find_member(connection, self.group.id, member.user_id).await? else {
            return Ok(Err(GroupRefusal::NoMember(member.user_id)));
        };
        let is_admin = if is_type_given { member.is_admin } else { former.is_admin };
        let is_more = is_admin != former.is_admin || member.status != former.status;
        if refusal.is_some() && is_more {
            return Ok(Err(GroupRefusal::NotAdmin));
        }
        if former.is_admin && !is_admin && self.group.admin_count <= 1 {
            return Ok(Err(GroupRefusal::LastAdmin));
        }
        let query = sqlx::query(UPDATE_MEMBER)
            .bind(type_of(is_admin))
            .bind(i64::from(member.status))
            .bind(member.nickname.clone())
            .bind(member.extra.clone())
            .bind(to_sql(self.group.id))
            .bind(to_sql(member.user_id));
        query.execute(&mut *connection).await?;
        self.group.admin_count = self.group.admin_count + u64::from(is_admin) - u64::from(former.is_admin);
        self.is_changed = true;
        let receivers = self.receivers(connection, None).await?;
        let mut posts = self.posts(work, receivers);
        let Profile { name, avatar_url, introduction, extra } = self.group.profile.clone();
        let notice = UpdateGroupPush { name, avatar_url, introduction, extra, ..notice.clone() };
        for post in &mut posts {
            post.post.message.content = notice.encode_to_vec().into();
        }
        Ok(Ok(posts))
    }

    async fn remove_members(&mut self, connection: &mut AnyConnection, work: &GroupWork, user_ids: &[u64]) -> Posts {
        let leaves = work.actor.is_some_and(|actor| user_ids == [actor]);
        match self.require_admin(connection, work).await? {
            Some(GroupRefusal::NotAdmin) if leaves => {}
            Some(refusal) => return Ok(Err(refusal)),
            None => {}
        }
        let types = self.types(connection, user_ids).await?;
        if let Some(&user_id) = user_ids.iter().find(|user_id| !types.contains_key(user_id)) {
            return Ok(Err(GroupRefusal::NoMember(user_id)));
        }
        let admins = types.values().filter(|&&is_admin| is_admin).count() as u64;
        let is_orphaned =
            admins > 0 && admins == self.group.admin_count && types.len() as u64 != self.group.member_count;
        if is_orphaned && work.actor.is_some() {
            return Ok(Err(GroupRefusal::LastAdmin));
        }
        let receivers = self.receivers(connection, None).await?;
        let group_id = self.group.id;
        for statement in [DELETE_MEMBERS, DELETE_CURSORS] {
            statement
                .execute_then(
                    connection,
                    user_ids,
                    |query, user_id| query.bind(to_sql(*user_id)),
                    |query| query.bind(to_sql(group_id)),
                )
                .await?;
        }
        self.members_changed();
        self.group.member_count -= types.len() as u64;
        self.group.admin_count -= admins;
        if is_orphaned {
            self.promote_first(connection).await?;
        }
        let mut posts = self.posts(work, receivers);
        if self.group.kind == Kind::Large {
            // Who is out of the timeline learns from his inbox why.
            for (post, &user_id) in posts.iter_mut().zip(user_ids) {
                post.post.user_ids = vec![user_id];
            }
            if let Some(first) = posts.first_mut() {
                first.delivery.left = user_ids.to_vec();
            }
        }
        Ok(Ok(posts))
    }

    /// A trusted service may take the last admin out; somebody has to follow him.
    async fn promote_first(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let query = sqlx::query_scalar(FIRST_MEMBER).bind(to_sql(self.group.id));
        let user_id: i64 = query.fetch_one(&mut *connection).await?;
        let query = sqlx::query("UPDATE group_member SET type = ? WHERE group_id = ? AND user_id = ?")
            .bind(type_of(true))
            .bind(to_sql(self.group.id))
            .bind(user_id);
        query.execute(&mut *connection).await?;
        self.group.admin_count += 1;
        Ok(())
    }

    /// Why whoever asks may not change the group, if he may not.
    async fn require_admin(
        &self,
        connection: &mut AnyConnection,
        work: &GroupWork,
    ) -> Result<Option<GroupRefusal>, sqlx::Error> {
        let Some(actor) = work.actor else { return Ok(None) };
        Ok(match find_member(connection, self.group.id, actor).await? {
            Some(Member { is_admin: true, .. }) => None,
            Some(_) => Some(GroupRefusal::NotAdmin),
            None => Some(GroupRefusal::NotInGroup(self.group.id)),
        })
    }

    async fn is_member(&mut self, connection: &mut AnyConnection, user_id: u64) -> Result<bool, sqlx::Error> {
        if self.group.kind == Kind::Large {
            return Ok(find_member(connection, self.group.id, user_id).await?.is_some());
        }
        Ok(self.member_ids(connection).await?.binary_search(&user_id).is_ok())
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

    fn members_changed(&mut self) {
        self.member_ids = None;
        self.group.version += 1;
        self.is_changed = true;
    }

    /// The messages of a work, each with its place in the timeline.
    fn posts(&mut self, work: &GroupWork, user_ids: Vec<u64>) -> Vec<GroupPost> {
        self.is_numbered = true;
        let mut post = |message: &Message| {
            self.group.seq += 1;
            let post = Post {
                message: message.clone(),
                user_ids: user_ids.clone(),
                conversation: None,
                client_msg_id: work.client_msg_id.clone(),
                origin_device_id: work.origin_device_id,
                request_id: work.request_id.clone(),
            };
            let delivery = GroupDelivery {
                group_id: self.group.id,
                seq: self.group.seq,
                is_live: self.group.kind == Kind::Large,
                joined: Vec::new(),
                left: Vec::new(),
            };
            GroupPost { post, delivery }
        };
        work.messages.iter().map(&mut post).collect()
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
