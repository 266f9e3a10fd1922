//! Groups and their members.

use gim_proto::logic::{
    Group, GroupAddMemberRequest, GroupCreateReply, GroupCreateRequest, GroupGetMembersReply, GroupGetMembersRequest,
    GroupGetReply, GroupGetRequest, GroupListMineReply, GroupListMineRequest, GroupMember, GroupRemoveMemberRequest,
    GroupUpdateMemberRequest, GroupUpdateRequest,
};

use super::all_pages;
use crate::{client::Client, error::GimError};

/// See [`Client::groups`].
#[derive(Debug, Clone, Copy)]
pub struct Groups<'a> {
    pub(super) client: &'a Client,
}

impl Groups<'_> {
    /// The caller becomes an admin. Returns the id of the group; the `kind` of the group says whether it is a large one.
    pub async fn create(&self, group: Group, member_ids: &[u64]) -> Result<u64, GimError> {
        let request = GroupCreateRequest { group: Some(group), members: members(member_ids) };
        let reply: GroupCreateReply = self.client.rpc("logic.GroupExtService/Create", &request).await?;
        Ok(reply.group_id)
    }

    /// Everything but the kind is set anew; large groups stay large.
    pub async fn update(&self, group: Group) -> Result<(), GimError> {
        self.client.rpc("logic.GroupExtService/Update", &GroupUpdateRequest { group: Some(group) }).await
    }

    /// One group.
    pub async fn get(&self, group_id: u64) -> Result<Group, GimError> {
        let reply: GroupGetReply = self.client.rpc("logic.GroupExtService/Get", &GroupGetRequest { group_id }).await?;
        reply.group.ok_or_else(GimError::unreadable)
    }

    /// All groups that the user is in.
    pub async fn list(&self) -> Result<Vec<Group>, GimError> {
        all_pages(async |after_group_id| {
            let request = GroupListMineRequest { after_group_id, limit: 0 };
            let page: GroupListMineReply = self.client.rpc("logic.GroupExtService/ListMine", &request).await?;
            let last_id = page.groups.last().map(|group| group.id);
            Ok((page.groups, last_id, page.has_more))
        })
        .await
    }

    /// All members.
    pub async fn members(&self, group_id: u64) -> Result<Vec<GroupMember>, GimError> {
        all_pages(async |after_user_id| {
            let request = GroupGetMembersRequest { group_id, after_user_id, limit: 0 };
            let page: GroupGetMembersReply = self.client.rpc("logic.GroupExtService/GetMembers", &request).await?;
            let last_id = page.members.last().map(|member| member.user_id);
            Ok((page.members, last_id, page.has_more))
        })
        .await
    }

    /// All of them, or none.
    pub async fn add_members(&self, group_id: u64, user_ids: &[u64]) -> Result<(), GimError> {
        let request = GroupAddMemberRequest { group_id, members: members(user_ids) };
        self.client.rpc("logic.GroupExtService/AddMembers", &request).await
    }

    /// Admins change everybody, others themselves.
    pub async fn update_member(&self, group_id: u64, member: GroupMember) -> Result<(), GimError> {
        let request = GroupUpdateMemberRequest { group_id, member: Some(member) };
        self.client.rpc("logic.GroupExtService/UpdateMember", &request).await
    }

    /// By an admin; everybody may remove themselves.
    pub async fn remove_members(&self, group_id: u64, user_ids: &[u64]) -> Result<(), GimError> {
        let request = GroupRemoveMemberRequest { group_id, user_ids: user_ids.to_vec() };
        self.client.rpc("logic.GroupExtService/RemoveMember", &request).await
    }

    /// Removes the user.
    pub async fn leave(&self, group_id: u64) -> Result<(), GimError> {
        self.remove_members(group_id, &[self.client.user_id()]).await
    }
}

fn members(user_ids: &[u64]) -> Vec<GroupMember> {
    let member = |&user_id: &u64| GroupMember {
        user_id,
        r#type: gim_proto::logic::MemberType::MtMember as i32,
        ..GroupMember::default()
    };
    user_ids.iter().map(member).collect()
}
