//! Groups: made, changed, read, by trusted services and by their members. What may be done is decided by the inbox writer,
//! in the transaction that does it; what is checked here is what needs no look into the group.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use gim_config::places::Place;
use gim_proto::{
    check::{self, Violation},
    connect::MessageCommand,
    logic::{
        AddGroupMembersPush, Group, GroupAddMemberRequest, GroupCreateRequest, GroupGetMembersReply,
        GroupGetMembersRequest, GroupListMineReply, GroupListMineRequest, GroupMember, GroupRemoveMemberRequest,
        GroupUpdateMemberRequest, GroupUpdateRequest, MemberType, RemoveGroupMemberPush, UpdateGroupPush,
    },
    page::Page,
};
use metrics::counter;
use prost::Message as _;

use super::additions::Additions;
use crate::{
    clients::business::Business,
    domain::{
        caller::Caller,
        group::{GroupAction, GroupRefusal, Member, check_kind, check_member, check_profile, check_twice},
        message::Message,
        short_id::ShortIds,
    },
    error::Error,
    metrics as names,
    settings::GroupSettings,
    store::{self, work::GroupWork, writer::Writer},
};

/// Bytes that are left for what stands around the members in a notice.
const NOTICE_BYTES_RESERVED: usize = 512;

/// Most bytes of an id in a notice.
const ID_BYTES_MAX: usize = 10;

/// Members that one transaction adds or removes: more are done in parts, so that nobody else waits for all of them.
const PART_MEMBERS_MAX: usize = 1_000;

/// Who changes a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// A trusted service, which may do everything.
    Service,
    /// A user, who may do what members or admins may.
    User(Caller),
}

impl Operator {
    fn user_id(self) -> Option<u64> {
        match self {
            Self::Service => None,
            Self::User(caller) => Some(caller.user_id),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Groups {
    pub(super) settings: GroupSettings,
    pub(super) additions: Additions,
    pub(super) content_bytes_max: usize,
    pub(super) group_ids: Arc<ShortIds>,
    pub(super) reads: store::UserReads,
    pub(super) groups: store::Groups,
    pub(super) writer: Writer,
    pub(super) business: Arc<Business>,
}

impl Groups {
    /// Makes a group and returns its id, which a service may choose. A user who makes one becomes an admin of it.
    pub async fn create(
        &self,
        operator: Operator,
        request: GroupCreateRequest,
        request_id: &str,
    ) -> Result<u64, Error> {
        let group = request.group.ok_or_else(|| check::invalid("group", "must be set"))?;
        let kind = check_kind(group.kind)?;
        let group_id = self.new_id(operator, group.id)?;
        let profile = check_profile(group)?;
        let mut members = request.members;
        if let Some(user_id) = operator.user_id() {
            let r#type = MemberType::MtAdmin as i32;
            match members.iter_mut().find(|member| member.user_id == user_id) {
                Some(member) => member.r#type = r#type,
                None => members.push(GroupMember { user_id, r#type, ..GroupMember::default() }),
            }
        }
        let mut members = self.check_members(operator, 0, members, request_id).await?;
        self.check_not_crowded(operator, &members).await?;
        let limits = self.settings.limits();
        if members.len() > limits.of(kind) {
            return Err(GroupRefusal::too_many(kind, limits).into());
        }
        // Whoever makes it has to be in it before he adds the others.
        members.sort_by_key(|member| Some(member.user_id) != operator.user_id());
        let others = members.split_off(members.len().min(PART_MEMBERS_MAX));
        let messages = self.added_notices(operator, group_id, &members, request_id).await;
        self.change(operator, group_id, GroupAction::Create { kind, profile, members }, messages, request_id).await?;
        self.add_in_parts(operator, group_id, others, request_id).await?;
        Ok(group_id)
    }

    /// The id of a group that is to be made: the one that a service gives it, else a new one.
    fn new_id(&self, operator: Operator, given: u64) -> Result<u64, Error> {
        match operator {
            Operator::Service if given != 0 => Ok(check::id("group.id", given)?),
            Operator::Service | Operator::User(_) => Ok(self.group_ids.next_id()),
        }
    }

    /// Gives a group another profile, or makes it a large one.
    pub async fn update(&self, operator: Operator, request: GroupUpdateRequest, request_id: &str) -> Result<(), Error> {
        let group = request.group.ok_or_else(|| check::invalid("group", "must be set"))?;
        let group_id = check::id("group.id", group.id)?;
        let kind = check_kind(group.kind)?;
        let profile = check_profile(group)?;
        let (opt_id, opt_name) = self.named(operator, request_id).await;
        let push = UpdateGroupPush {
            opt_id,
            opt_name,
            name: profile.name.clone(),
            avatar_url: profile.avatar_url.clone(),
            introduction: profile.introduction.clone(),
            extra: profile.extra.clone(),
            kind: kind.to_wire(),
        };
        let messages = vec![self.notice(group_id, MessageCommand::McUpdateGroup, push.encode_to_vec().into())];
        self.change(operator, group_id, GroupAction::Update { kind, profile }, messages, request_id).await
    }

    /// A group. A user sees only those that he is in.
    pub async fn get(&self, operator: Operator, group_id: u64) -> Result<Group, Error> {
        let _turn = self.turn(operator).await?;
        self.get_in_turn(operator, group_id).await
    }

    /// Users read by turns; a trusted service need not wait for one.
    async fn turn(&self, operator: Operator) -> Result<Option<Place>, Error> {
        match operator.user_id() {
            Some(user_id) => Ok(Some(self.reads.turn(user_id).await?)),
            None => Ok(None),
        }
    }

    async fn get_in_turn(&self, operator: Operator, group_id: u64) -> Result<Group, Error> {
        check::id("group_id", group_id)?;
        self.require_member(operator, group_id).await?;
        let group = self.groups.get(group_id).await?;
        Ok(group.ok_or(GroupRefusal::no_group(group_id, operator.user_id()))?.to_wire())
    }

    /// A page of the groups that a user is in.
    pub async fn list_mine(&self, caller: Caller, request: GroupListMineRequest) -> Result<GroupListMineReply, Error> {
        let page = Page::after("after_group_id", request.after_group_id, request.limit)?;
        let _turn = self.reads.turn(caller.user_id).await?;
        let groups = self.groups.groups_of(caller.user_id, page.after_id, page.entries_to_read()).await?;
        let (groups, has_more) = page.cut(groups.iter().map(|group| group.to_wire()).collect());
        Ok(GroupListMineReply { groups, has_more })
    }

    /// Puts users into a group.
    pub async fn add_members(
        &self,
        operator: Operator,
        request: GroupAddMemberRequest,
        request_id: &str,
    ) -> Result<(), Error> {
        let group_id = check::id("group_id", request.group_id)?;
        let members = self.check_members(operator, group_id, request.members, request_id).await?;
        self.check_not_crowded(operator, &members).await?;
        self.add_in_parts(operator, group_id, members, request_id).await
    }

    async fn add_in_parts(
        &self,
        operator: Operator,
        group_id: u64,
        members: Vec<Member>,
        request_id: &str,
    ) -> Result<(), Error> {
        for part in members.chunks(PART_MEMBERS_MAX) {
            let messages = self.added_notices(operator, group_id, part, request_id).await;
            self.change(operator, group_id, GroupAction::AddMembers(part.to_vec()), messages, request_id).await?;
        }
        Ok(())
    }

    /// Describes a member anew.
    pub async fn update_member(
        &self,
        operator: Operator,
        request: GroupUpdateMemberRequest,
        request_id: &str,
    ) -> Result<(), Error> {
        let group_id = check::id("group_id", request.group_id)?;
        let member = request.member.ok_or_else(|| check::invalid("member", "must be set"))?;
        let is_type_given = member.r#type != MemberType::MtUnknown as i32;
        let member = check_member(member)?;
        let (opt_id, opt_name) = self.named(operator, request_id).await;
        let notice = UpdateGroupPush { opt_id, opt_name, ..UpdateGroupPush::default() };
        let messages = vec![self.notice(group_id, MessageCommand::McUpdateGroup, Bytes::new())];
        let action = GroupAction::UpdateMember { member, is_type_given, notice };
        self.change(operator, group_id, action, messages, request_id).await
    }

    /// Takes users out of a group, or lets one leave it.
    pub async fn remove_members(
        &self,
        operator: Operator,
        request: GroupRemoveMemberRequest,
        request_id: &str,
    ) -> Result<(), Error> {
        let group_id = check::id("group_id", request.group_id)?;
        check::ids("user_ids", &request.user_ids, self.settings.members_per_request_max)?;
        check_twice("user_ids", &mut request.user_ids.clone())?;
        let (opt_id, opt_name) = self.named(operator, request_id).await;
        let mut user_ids = request.user_ids;
        // Whoever takes himself out, too, may do so until he is.
        user_ids.sort_by_key(|&user_id| Some(user_id) == operator.user_id());
        let ids_max = self.content_bytes_max.saturating_sub(opt_name.len() + NOTICE_BYTES_RESERVED) / ID_BYTES_MAX;
        for part in user_ids.chunks(ids_max.clamp(1, PART_MEMBERS_MAX)) {
            let deleted_user_id = part.first().copied().unwrap_or_default();
            let (opt_name, deleted_user_ids) = (opt_name.clone(), part.to_vec());
            let push = RemoveGroupMemberPush { opt_id, opt_name, deleted_user_id, deleted_user_ids };
            let messages =
                vec![self.notice(group_id, MessageCommand::McRemoveGroupMember, push.encode_to_vec().into())];
            self.change(operator, group_id, GroupAction::RemoveMembers(part.to_vec()), messages, request_id).await?;
        }
        Ok(())
    }

    /// A page of the members of a group. A user sees only those of groups that he is in.
    pub async fn members(
        &self,
        operator: Operator,
        request: GroupGetMembersRequest,
    ) -> Result<GroupGetMembersReply, Error> {
        let _turn = self.turn(operator).await?;
        self.get_in_turn(operator, request.group_id).await?;
        let page = Page::after("after_user_id", request.after_user_id, request.limit)?;
        let members = self.groups.members(request.group_id, page.after_id, page.entries_to_read()).await?;
        let (members, has_more) = page.cut(members.iter().map(Member::to_wire).collect());
        Ok(GroupGetMembersReply { members, has_more })
    }

    /// Fails where a user is not in the group.
    async fn require_member(&self, operator: Operator, group_id: u64) -> Result<(), Error> {
        let Operator::User(caller) = operator else { return Ok(()) };
        match self.groups.member(group_id, caller.user_id).await? {
            Some(_) => Ok(()),
            None => Err(GroupRefusal::NotInGroup(group_id).into()),
        }
    }

    /// Checks who is to be put into a group (0: a new one), and that the business lets whoever asks do it.
    async fn check_members(
        &self,
        operator: Operator,
        group_id: u64,
        members: Vec<GroupMember>,
        request_id: &str,
    ) -> Result<Vec<Member>, Error> {
        let mut user_ids: Vec<u64> = members.iter().map(|member| member.user_id).collect();
        check::ids("members", &user_ids, self.settings.members_per_request_max)?;
        check_twice("members", &mut user_ids)?;
        let members: Vec<Member> = members.into_iter().map(check_member).collect::<Result<_, Violation>>()?;
        match operator.user_id() {
            None => self.business.check_users(&user_ids, request_id).await?,
            Some(user_id) => self.business.check_may_add(user_id, &user_ids, group_id, request_id).await?,
        }
        Ok(members)
    }

    /// Users put nobody into more groups than the settings allow, or a few more where several do so at once, nor others again and
    /// again; services may.
    async fn check_not_crowded(&self, operator: Operator, members: &[Member]) -> Result<(), Error> {
        let Some(user_id) = operator.user_id() else { return Ok(()) };
        let _turn = self.reads.turn(user_id).await?;
        let user_ids: Vec<u64> = members.iter().map(|member| member.user_id).collect();
        if let Some(user_id) = self.groups.crowded(&user_ids, self.settings.user_groups_max).await? {
            counter!(names::GROUPS_CROWDED).increment(1);
            return Err(GroupRefusal::TooManyGroups(user_id).into());
        }
        let others: Vec<u64> = user_ids.into_iter().filter(|&added_id| added_id != user_id).collect();
        self.additions.take(user_id, &others, Instant::now())
    }

    /// Submits a change and waits until it is durable.
    async fn change(
        &self,
        operator: Operator,
        group_id: u64,
        action: GroupAction,
        messages: Vec<Message>,
        request_id: &str,
    ) -> Result<(), Error> {
        let not_told = self.not_told(operator, group_id, &action, request_id).await?;
        let work = GroupWork {
            group_id,
            actor: operator.user_id(),
            not_told,
            action,
            messages,
            limits: self.settings.limits(),
            client_msg_id: None,
            origin_device_id: 0,
            request_id: request_id.into(),
        };
        self.writer.submit_group(work)?.committed().await??;
        Ok(())
    }

    /// Members who blocked the user who makes a change, and hear nothing of it. In a large group nobody's inbox does.
    async fn not_told(
        &self,
        operator: Operator,
        group_id: u64,
        action: &GroupAction,
        request_id: &str,
    ) -> Result<Vec<u64>, Error> {
        let Operator::User(Caller { user_id, .. }) = operator else { return Ok(Vec::new()) };
        if matches!(action, GroupAction::Create { .. }) {
            return Ok(Vec::new());
        }
        let turn = self.reads.turn(user_id).await?;
        let members = self.groups.told_members(group_id, self.settings.limits().normal).await?;
        drop(turn);
        let asked = self.business.blockers_among(user_id, &members, request_id).await;
        // Nobody is kept in a group by a business that is away.
        let leaves = matches!(action, GroupAction::RemoveMembers(user_ids) if user_ids[..] == [user_id]);
        if leaves { Ok(asked.unwrap_or_default()) } else { Ok(asked?) }
    }

    /// As notices name the operator.
    async fn named(&self, operator: Operator, request_id: &str) -> (u64, String) {
        match operator {
            Operator::Service => (0, String::new()),
            Operator::User(caller) => (caller.user_id, self.business.sender_card(caller, request_id).await.nickname),
        }
    }

    /// Nobody is the sender of a notice, so that nobody can recall it.
    fn notice(&self, group_id: u64, command: MessageCommand, content: Bytes) -> Message {
        Message { group_id, ..Message::unnumbered(command as i32, content, 0) }
    }

    /// The notices of new members: one, unless it would be longer than a message may be.
    async fn added_notices(
        &self,
        operator: Operator,
        group_id: u64,
        members: &[Member],
        request_id: &str,
    ) -> Vec<Message> {
        let (opt_id, opt_name) = self.named(operator, request_id).await;
        let bytes_max = self.content_bytes_max.saturating_sub(opt_name.len() + NOTICE_BYTES_RESERVED);
        let parts = parts_of(members.iter().map(Member::to_wire), bytes_max);
        let notice = |members| {
            let push = AddGroupMembersPush { opt_id, opt_name: opt_name.clone(), members };
            self.notice(group_id, MessageCommand::McAddGroupMembers, push.encode_to_vec().into())
        };
        parts.into_iter().map(notice).collect()
    }
}

/// Cuts members into lists that encode to no more than `bytes_max`, but hold at least one each.
fn parts_of(members: impl Iterator<Item = GroupMember>, bytes_max: usize) -> Vec<Vec<GroupMember>> {
    let mut parts: Vec<Vec<GroupMember>> = Vec::new();
    let mut bytes = 0;
    for member in members {
        let needed = member.encoded_len() + 6;
        match parts.last_mut() {
            Some(part) if bytes + needed <= bytes_max => {
                bytes += needed;
                part.push(member);
            }
            _ => {
                bytes = needed;
                parts.push(vec![member]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_cut_to_its_bytes_but_names_somebody() {
        let member = |user_id| GroupMember { user_id, nickname: "x".repeat(40), ..GroupMember::default() };
        let parts = parts_of((1..=5).map(member), 110);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(parts_of((1..=2).map(member), 1).len(), 2);
        assert!(parts_of([].into_iter(), 100).is_empty());
    }
}
