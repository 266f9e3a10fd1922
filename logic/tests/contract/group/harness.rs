//! Short names for what the tests of groups do again and again. User 7 has the token `token-7` and the device 70.

use gim_proto::{
    ResultCode,
    connect::{Message, SendReply, SendRequest, send_request::Target},
    logic::{
        Group, GroupAddMemberRequest, GroupCreateRequest, GroupCursor, GroupGetMembersRequest, GroupKind, GroupMember,
        GroupPage, GroupRemoveMemberRequest, GroupUpdateMemberRequest, GroupUpdateRequest, MemberType, SyncRequest,
    },
    metadata,
};
use tonic::{Request, Status};

use crate::support::{Server, refusal};

pub fn signed<T>(user_id: u64, message: T) -> Request<T> {
    metadata::signed(message, user_id, user_id * 10, &format!("token-{user_id}"))
}

pub fn member(user_id: u64) -> GroupMember {
    GroupMember { user_id, ..GroupMember::default() }
}

pub fn admin(user_id: u64) -> GroupMember {
    GroupMember { r#type: MemberType::MtAdmin as i32, ..member(user_id) }
}

pub fn group(name: &str, kind: GroupKind) -> Group {
    Group { name: name.into(), kind: kind as i32, ..Group::default() }
}

/// The code of a refusal.
pub fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> ResultCode {
    refusal(result).0
}

pub fn send_to(group_id: u64, text: &str, key: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::GroupId(group_id)),
        command: 0,
        content: text.as_bytes().to_vec().into(),
        client_msg_id: key.into(),
    }
}

impl Server {
    /// A group that a service makes; the first user is its admin.
    pub async fn make(&self, kind: GroupKind, user_ids: &[u64]) -> u64 {
        let members = user_ids.iter().enumerate().map(|(index, &id)| if index == 0 { admin(id) } else { member(id) });
        let request = GroupCreateRequest { group: Some(group("group", kind)), members: members.collect() };
        self.group_int().create(request).await.unwrap().into_inner().group_id
    }

    pub async fn say(&self, user_id: u64, group_id: u64, text: &str, key: &str) -> Result<SendReply, Status> {
        let reply = self.message_ext().send(signed(user_id, send_to(group_id, text, key))).await?;
        Ok(reply.into_inner())
    }

    pub async fn add(&self, by: u64, group_id: u64, members: Vec<GroupMember>) -> Result<(), Status> {
        let request = GroupAddMemberRequest { group_id, members };
        self.group_ext().add_members(signed(by, request)).await.map(drop)
    }

    pub async fn remove(&self, by: u64, group_id: u64, user_ids: &[u64]) -> Result<(), Status> {
        let request = GroupRemoveMemberRequest { group_id, user_ids: user_ids.to_vec() };
        self.group_ext().remove_member(signed(by, request)).await.map(drop)
    }

    pub async fn rename(&self, by: u64, group_id: u64, name: &str) -> Result<(), Status> {
        let group = Group { id: group_id, ..group(name, GroupKind::GkNormal) };
        self.group_ext().update(signed(by, GroupUpdateRequest { group: Some(group) })).await.map(drop)
    }

    pub async fn describe(&self, by: u64, group_id: u64, member: GroupMember) -> Result<(), Status> {
        let request = GroupUpdateMemberRequest { group_id, member: Some(member) };
        self.group_ext().update_member(signed(by, request)).await.map(drop)
    }

    /// A service makes the group a large one.
    pub async fn convert(&self, group_id: u64) {
        let group = Group { id: group_id, ..group("large", GroupKind::GkLarge) };
        self.group_int().update(GroupUpdateRequest { group: Some(group) }).await.unwrap();
    }

    /// All members that a member sees, page by page.
    pub async fn members(&self, by: u64, group_id: u64, limit: u32) -> Result<Vec<GroupMember>, Status> {
        let (mut members, mut after_user_id) = (Vec::new(), 0);
        loop {
            let request = GroupGetMembersRequest { group_id, after_user_id, limit };
            let page = self.group_ext().get_members(signed(by, request)).await?.into_inner();
            members.extend(page.members);
            after_user_id = members.last().map_or(0, |member: &GroupMember| member.user_id);
            if !page.has_more {
                return Ok(members);
            }
        }
    }

    /// Everything in a user's inbox.
    pub async fn inbox(&self, user_id: u64) -> Vec<Message> {
        self.try_inbox(user_id).await.unwrap()
    }

    /// As [`Self::inbox`], where the database may not answer.
    pub async fn try_inbox(&self, user_id: u64) -> Result<Vec<Message>, Status> {
        let (mut messages, mut seq) = (Vec::new(), 0);
        loop {
            let request = SyncRequest { seq, ..SyncRequest::default() };
            let page = self.message_ext().sync(signed(user_id, request)).await?.into_inner();
            assert!(page.groups.is_empty(), "who does not ask for large groups sees nothing of them");
            messages.extend(page.messages);
            seq = messages.last().map_or(0, |message: &Message| message.seq);
            if !page.has_more {
                return Ok(messages);
            }
        }
    }

    /// One page of what a user's large groups have after these cursors.
    pub async fn group_pages(&self, user_id: u64, cursors: &[(u64, u64)]) -> Result<(Vec<GroupPage>, bool), Status> {
        let group_cursors = cursors.iter().map(|&(group_id, seq)| GroupCursor { group_id, seq }).collect();
        let request = SyncRequest { large_groups: true, group_cursors, ..SyncRequest::default() };
        let reply = self.message_ext().sync(signed(user_id, request)).await?.into_inner();
        Ok((reply.groups, reply.groups_have_more))
    }

    /// Everything in the timeline of a large group after a seq.
    pub async fn timeline(&self, user_id: u64, group_id: u64, mut seq: u64) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let (pages, has_more) = self.group_pages(user_id, &[(group_id, seq)]).await.unwrap();
            messages.extend(pages.into_iter().filter(|page| page.group_id == group_id).flat_map(|page| page.messages));
            seq = messages.last().map_or(seq, |message| message.group_seq);
            if !has_more {
                return messages;
            }
        }
    }
}
