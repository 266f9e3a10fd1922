//! The gRPC services: each method in today's words. On the tasks of calls.
//!
//! Ids are of 64 bits with a sign here, and travel as those without one: a negative id is one beyond what an id can be, and is refused.

use gim_proto::{
    business, check,
    connect::send_request::Target,
    logic::{
        Device, Group, GroupCreateRequest, GroupGetReply, GroupKind, GroupMember, GroupRemoveMemberRequest,
        GroupUpdateMemberRequest, GroupUpdateRequest,
    },
};
use tonic::{Request, Response, Status, async_trait, service::RoutesBuilder};

use super::{
    said,
    wire::{
        self, GroupType, ReceiverType,
        business_ext_server::{BusinessExt, BusinessExtServer},
        logic_ext_server::{LogicExt, LogicExtServer},
    },
};
use crate::calls::{Calls, Today, new_members};

pub(super) const CALLS: Calls = Calls {
    methods: &[
        ("pb.LogicExt/RegisterDevice", "logic.DeviceExtService/Register"),
        ("pb.LogicExt/SendMessage", "logic.MessageExtService/Send"),
        ("pb.LogicExt/AddFriend", "business.FriendExtService/Add"),
        ("pb.LogicExt/AgreeAddFriend", "business.FriendExtService/Agree"),
        ("pb.LogicExt/SetFriend", "business.FriendExtService/Set"),
        ("pb.LogicExt/GetFriends", "business.FriendExtService/GetFriends"),
        ("pb.LogicExt/CreateGroup", "logic.GroupExtService/Create"),
        ("pb.LogicExt/UpdateGroup", "logic.GroupExtService/Update"),
        ("pb.LogicExt/GetGroup", "logic.GroupExtService/Get"),
        ("pb.LogicExt/GetGroups", "logic.GroupExtService/ListMine"),
        ("pb.LogicExt/AddGroupMembers", "logic.GroupExtService/AddMembers"),
        ("pb.LogicExt/UpdateGroupMember", "logic.GroupExtService/UpdateMember"),
        ("pb.LogicExt/DeleteGroupMember", "logic.GroupExtService/RemoveMember"),
        ("pb.LogicExt/GetGroupMembers", "logic.GroupExtService/GetMembers"),
        ("pb.BusinessExt/SignIn", "business.UserExtService/SignIn"),
        ("pb.BusinessExt/GetUser", "business.UserExtService/GetUser"),
        ("pb.BusinessExt/UpdateUser", "business.UserExtService/UpdateUser"),
        ("pb.BusinessExt/SearchUser", "business.UserExtService/SearchUser"),
    ],
    descriptors: include_bytes!(concat!(env!("OUT_DIR"), "/d2020_12/descriptors.bin")),
    add_to,
};

type Answer<T> = Result<Response<T>, Status>;

#[derive(Clone)]
struct Services {
    today: Today,
}

fn add_to(routes: &mut RoutesBuilder, today: Today) {
    let services = Services { today };
    routes.add_service(LogicExtServer::new(services.clone())).add_service(BusinessExtServer::new(services));
}

#[async_trait]
impl LogicExt for Services {
    async fn register_device(&self, request: Request<wire::RegisterDeviceReq>) -> Answer<wire::RegisterDeviceResp> {
        let (call, asked) = self.today.begin(request);
        let wire::RegisterDeviceReq { r#type, brand, model, system_version, sdk_version } = asked;
        let device = Device { r#type, brand, model, system_version, sdk_version, ..Device::default() };
        Ok(Response::new(call.register(device).await?))
    }

    async fn send_message(&self, request: Request<wire::SendMessageReq>) -> Answer<wire::SendMessageResp> {
        let (call, asked) = self.today.begin(request);
        let receiver_id = asked.receiver_id as u64;
        let target = match asked.receiver_type() {
            ReceiverType::RtUser => Target::UserId(receiver_id),
            ReceiverType::RtSmallGroup | ReceiverType::RtLargeGroup => Target::GroupId(receiver_id),
            ReceiverType::RtUnknown => return Err(check::invalid("receiver_type", "must be a user or a group").into()),
        };
        let (command, content) = said::todays(asked.message_type(), asked.message_content, &asked.to_user_ids)?;
        let seq = call.send_for_seq(target, command, content).await?;
        Ok(Response::new(wire::SendMessageResp { seq }))
    }

    async fn add_friend(&self, request: Request<wire::AddFriendReq>) -> Answer<wire::AddFriendResp> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/Add", &asked).await?))
    }

    async fn agree_add_friend(&self, request: Request<wire::AgreeAddFriendReq>) -> Answer<wire::AgreeAddFriendResp> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/Agree", &asked).await?))
    }

    async fn set_friend(&self, request: Request<wire::SetFriendReq>) -> Answer<wire::SetFriendResp> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/Set", &asked).await?))
    }

    async fn get_friends(&self, request: Request<wire::GetFriendsReq>) -> Answer<wire::GetFriendsResp> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/GetFriends", &asked).await?))
    }

    async fn create_group(&self, request: Request<wire::CreateGroupReq>) -> Answer<wire::CreateGroupResp> {
        let (call, asked) = self.today.begin(request);
        let kind = match GroupType::try_from(asked.r#type) {
            Ok(GroupType::GtLarge) => GroupKind::GkLarge as i32,
            Ok(GroupType::GtSmall) => GroupKind::GkNormal as i32,
            Ok(GroupType::GtUnknown) | Err(_) => {
                return Err(check::invalid("type", "must be that of a small or of a large group").into());
            }
        };
        let wire::CreateGroupReq { name, avatar_url, introduction, extra, member_ids, .. } = asked;
        let group = Group { name, avatar_url, introduction, extra, kind, ..Group::default() };
        let request = GroupCreateRequest {
            group: Some(group),
            members: new_members(member_ids.into_iter().map(|user_id| user_id as u64)),
        };
        Ok(Response::new(call.ask("logic.GroupExtService/Create", &request).await?))
    }

    async fn update_group(&self, request: Request<wire::UpdateGroupReq>) -> Answer<wire::UpdateGroupResp> {
        let (call, asked) = self.today.begin(request);
        let wire::UpdateGroupReq { group_id, avatar_url, name, introduction, extra } = asked;
        let group = Group { id: group_id as u64, name, avatar_url, introduction, extra, ..Group::default() };
        Ok(Response::new(call.ask("logic.GroupExtService/Update", &GroupUpdateRequest { group: Some(group) }).await?))
    }

    async fn get_group(&self, request: Request<wire::GetGroupReq>) -> Answer<wire::GetGroupResp> {
        let (call, asked) = self.today.begin(request);
        let reply: GroupGetReply = call.ask("logic.GroupExtService/Get", &asked).await?;
        Ok(Response::new(wire::GetGroupResp { group: reply.group.map(group_of) }))
    }

    async fn get_groups(&self, request: Request<wire::GetGroupsReq>) -> Answer<wire::GetGroupsResp> {
        let (call, _) = self.today.begin(request);
        let groups = call.groups().await?.into_iter().map(group_of).collect();
        Ok(Response::new(wire::GetGroupsResp { groups }))
    }

    async fn add_group_members(&self, request: Request<wire::AddGroupMembersReq>) -> Answer<wire::AddGroupMembersResp> {
        let (call, asked) = self.today.begin(request);
        let user_ids = asked.user_ids.into_iter().map(|user_id| user_id as u64).collect();
        let present = call.add_members(asked.group_id as u64, user_ids).await?;
        // Whom the call has not added.
        let user_ids = present.into_iter().map(|user_id| user_id as i64).collect();
        Ok(Response::new(wire::AddGroupMembersResp { user_ids }))
    }

    async fn update_group_member(
        &self,
        request: Request<wire::UpdateGroupMemberReq>,
    ) -> Answer<wire::UpdateGroupMemberResp> {
        let (call, asked) = self.today.begin(request);
        let wire::UpdateGroupMemberReq { group_id, user_id, member_type, remarks, extra } = asked;
        let user_id = user_id as u64;
        let member = GroupMember { user_id, nickname: remarks, r#type: member_type, extra, ..GroupMember::default() };
        let request = GroupUpdateMemberRequest { group_id: group_id as u64, member: Some(member) };
        Ok(Response::new(call.ask("logic.GroupExtService/UpdateMember", &request).await?))
    }

    async fn delete_group_member(
        &self,
        request: Request<wire::DeleteGroupMemberReq>,
    ) -> Answer<wire::DeleteGroupMemberResp> {
        let (call, asked) = self.today.begin(request);
        let (group_id, user_ids) = (asked.group_id as u64, vec![asked.user_id as u64]);
        let request = GroupRemoveMemberRequest { group_id, user_ids };
        Ok(Response::new(call.ask("logic.GroupExtService/RemoveMember", &request).await?))
    }

    async fn get_group_members(&self, request: Request<wire::GetGroupMembersReq>) -> Answer<wire::GetGroupMembersResp> {
        let (call, asked) = self.today.begin(request);
        let (members, mut users) = call.members(asked.group_id as u64).await?;
        let members = members.into_iter().map(|member| {
            let user = users.remove(&member.user_id).unwrap_or_default();
            member_of(member, user)
        });
        Ok(Response::new(wire::GetGroupMembersResp { members: members.collect() }))
    }
}

#[async_trait]
impl BusinessExt for Services {
    async fn sign_in(&self, request: Request<wire::SignInReq>) -> Answer<wire::SignInResp> {
        let (call, asked) = self.today.begin(request);
        let wire::SignInReq { phone_number, code, device_id } = asked;
        let business::SignInReply { is_new, user_id, token, .. } =
            call.sign_in(phone_number, code, device_id as u64).await?;
        Ok(Response::new(wire::SignInResp { is_new, user_id: user_id as i64, token }))
    }

    async fn get_user(&self, request: Request<wire::GetUserReq>) -> Answer<wire::GetUserResp> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.UserExtService/GetUser", &asked).await?))
    }

    async fn update_user(&self, request: Request<wire::UpdateUserReq>) -> Answer<wire::UpdateUserResp> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.UserExtService/UpdateUser", &asked).await?))
    }

    async fn search_user(&self, request: Request<wire::SearchUserReq>) -> Answer<wire::SearchUserResp> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.UserExtService/SearchUser", &asked).await?))
    }
}

/// When a group was made, and changed, is not told any more.
fn group_of(group: Group) -> wire::Group {
    let is_large = group.kind == GroupKind::GkLarge as i32;
    let Group { id, name, avatar_url, introduction, extra, member_count, .. } = group;
    let (group_id, user_mum) = (id as i64, i32::try_from(member_count).unwrap_or(i32::MAX));
    let r#type = if is_large { GroupType::GtLarge } else { GroupType::GtSmall } as i32;
    wire::Group { group_id, name, avatar_url, introduction, user_mum, r#type, extra, create_time: 0, update_time: 0 }
}

fn member_of(member: GroupMember, user: business::User) -> wire::GroupMember {
    wire::GroupMember {
        user_id: member.user_id as i64,
        nickname: user.nickname,
        sex: user.sex,
        avatar_url: user.avatar_url,
        user_extra: user.extra,
        member_type: member.r#type,
        remarks: member.nickname,
        extra: member.extra,
    }
}
