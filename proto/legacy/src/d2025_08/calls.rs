//! The gRPC services: each method in today's words. On the tasks of calls.

use gim_proto::{
    ResultCode, business,
    connect::Message as TodaysMessage,
    logic::{
        Device, Group, GroupCreateRequest as TodaysCreate, GroupGetReply as TodaysGetReply, GroupMember,
        GroupRemoveMemberRequest, GroupUpdateMemberRequest, GroupUpdateRequest as TodaysUpdate,
        PushRoomRequest as TodaysPushRoom, SyncReply as TodaysSyncReply, SyncRequest as TodaysSync,
    },
};
use prost::Message as _;
use tonic::{Request, Response, Status, async_trait, service::RoutesBuilder};

use super::{
    pushes,
    wire::{
        connect::{self, Command},
        logic::{
            self, device_ext_service_server as device, friend_ext_service_server as friend,
            group_ext_service_server as group, message_ext_service_server as message, room_ext_service_server as room,
        },
        user::{self, user_ext_service_server as users},
    },
};
use crate::{
    calls::{Calls, Today, new_members, room_command},
    today,
};

pub(super) const CALLS: Calls = Calls {
    methods: &[
        ("logic.DeviceExtService/RegisterDevice", "logic.DeviceExtService/Register"),
        ("logic.FriendExtService/SendMessage", "business.FriendExtService/SendMessage"),
        ("logic.FriendExtService/Add", "business.FriendExtService/Add"),
        ("logic.FriendExtService/Agree", "business.FriendExtService/Agree"),
        ("logic.FriendExtService/Set", "business.FriendExtService/Set"),
        ("logic.FriendExtService/GetFriends", "business.FriendExtService/GetFriends"),
        ("logic.GroupExtService/SendMessage", "logic.MessageExtService/Send"),
        ("logic.GroupExtService/Create", "logic.GroupExtService/Create"),
        ("logic.GroupExtService/Update", "logic.GroupExtService/Update"),
        ("logic.GroupExtService/Get", "logic.GroupExtService/Get"),
        ("logic.GroupExtService/List", "logic.GroupExtService/ListMine"),
        ("logic.GroupExtService/AddMembers", "logic.GroupExtService/AddMembers"),
        ("logic.GroupExtService/UpdateMember", "logic.GroupExtService/UpdateMember"),
        ("logic.GroupExtService/DeleteMember", "logic.GroupExtService/RemoveMember"),
        ("logic.GroupExtService/GetMembers", "logic.GroupExtService/GetMembers"),
        ("logic.MessageExtService/Sync", "logic.MessageExtService/Sync"),
        ("logic.RoomExtService/PushRoom", "logic.RoomExtService/PushRoom"),
        ("user.UserExtService/SignIn", "business.UserExtService/SignIn"),
        ("user.UserExtService/GetUser", "business.UserExtService/GetUser"),
        ("user.UserExtService/UpdateUser", "business.UserExtService/UpdateUser"),
        ("user.UserExtService/SearchUser", "business.UserExtService/SearchUser"),
    ],
    descriptors: include_bytes!(concat!(env!("OUT_DIR"), "/d2025_08/descriptors.bin")),
    add_to,
};

/// The commands of what users say to each other.
const PLAIN: [i32; 2] = [Command::UserMessage as i32, Command::GroupMessage as i32];

type Answer<T> = Result<Response<T>, Status>;

#[derive(Clone)]
struct Services {
    today: Today,
}

fn add_to(routes: &mut RoutesBuilder, today: Today) {
    let services = Services { today };
    routes
        .add_service(device::DeviceExtServiceServer::new(services.clone()))
        .add_service(friend::FriendExtServiceServer::new(services.clone()))
        .add_service(group::GroupExtServiceServer::new(services.clone()))
        .add_service(message::MessageExtServiceServer::new(services.clone()))
        .add_service(room::RoomExtServiceServer::new(services.clone()))
        .add_service(users::UserExtServiceServer::new(services));
}

#[async_trait]
impl device::DeviceExtService for Services {
    async fn register_device(
        &self,
        request: Request<logic::RegisterDeviceRequest>,
    ) -> Answer<logic::RegisterDeviceReply> {
        let (call, asked) = self.today.begin(request);
        let logic::RegisterDeviceRequest { r#type, brand, model, system_version, sdk_version } = asked;
        let device = Device { r#type, brand, model, system_version, sdk_version, ..Device::default() };
        Ok(Response::new(call.register(device).await?))
    }
}

#[async_trait]
impl friend::FriendExtService for Services {
    async fn send_message(
        &self,
        request: Request<logic::SendFriendMessageRequest>,
    ) -> Answer<logic::SendFriendMessageReply> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/SendMessage", &asked).await?))
    }

    async fn add(&self, request: Request<logic::FriendAddRequest>) -> Answer<()> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/Add", &asked).await?))
    }

    async fn agree(&self, request: Request<logic::FriendAgreeRequest>) -> Answer<()> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/Agree", &asked).await?))
    }

    async fn set(&self, request: Request<logic::FriendSetRequest>) -> Answer<logic::FriendSetReply> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/Set", &asked).await?))
    }

    async fn get_friends(&self, request: Request<()>) -> Answer<logic::GetFriendsReply> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.FriendExtService/GetFriends", &asked).await?))
    }
}

#[async_trait]
impl group::GroupExtService for Services {
    async fn send_message(
        &self,
        request: Request<logic::SendGroupMessageRequest>,
    ) -> Answer<logic::SendGroupMessageReply> {
        let (call, asked) = self.today.begin(request);
        let reply = call.send_to_group(asked.group_id, asked.content).await?;
        Ok(Response::new(logic::SendGroupMessageReply { message_id: reply.message_id }))
    }

    async fn create(&self, request: Request<logic::GroupCreateRequest>) -> Answer<logic::GroupCreateReply> {
        let (call, asked) = self.today.begin(request);
        let logic::GroupCreateRequest { name, avatar_url, introduction, extra, member_ids } = asked;
        let group = Group { name, avatar_url, introduction, extra, ..Group::default() };
        let request = TodaysCreate { group: Some(group), members: new_members(member_ids) };
        Ok(Response::new(call.ask("logic.GroupExtService/Create", &request).await?))
    }

    async fn update(&self, request: Request<logic::GroupUpdateRequest>) -> Answer<()> {
        let (call, asked) = self.today.begin(request);
        let logic::GroupUpdateRequest { group_id: id, avatar_url, name, introduction, extra } = asked;
        let group = Group { id, name, avatar_url, introduction, extra, ..Group::default() };
        Ok(Response::new(call.ask("logic.GroupExtService/Update", &TodaysUpdate { group: Some(group) }).await?))
    }

    async fn get(&self, request: Request<logic::GroupGetRequest>) -> Answer<logic::GroupGetReply> {
        let (call, asked) = self.today.begin(request);
        let reply: TodaysGetReply = call.ask("logic.GroupExtService/Get", &asked).await?;
        Ok(Response::new(logic::GroupGetReply { group: reply.group.map(group_of) }))
    }

    async fn list(&self, request: Request<()>) -> Answer<logic::GroupListReply> {
        let (call, ()) = self.today.begin(request);
        let groups = call.groups().await?.into_iter().map(group_of).collect();
        Ok(Response::new(logic::GroupListReply { groups }))
    }

    async fn add_members(&self, request: Request<logic::AddMembersRequest>) -> Answer<logic::AddMembersReply> {
        let (call, asked) = self.today.begin(request);
        let _present = call.add_members(asked.group_id, asked.user_ids).await?;
        Ok(Response::new(logic::AddMembersReply {}))
    }

    async fn update_member(&self, request: Request<logic::UpdateMemberRequest>) -> Answer<()> {
        let (call, asked) = self.today.begin(request);
        let logic::UpdateMemberRequest { group_id, user_id, member_type, remarks, extra } = asked;
        let member = GroupMember { user_id, nickname: remarks, r#type: member_type, extra, ..GroupMember::default() };
        let request = GroupUpdateMemberRequest { group_id, member: Some(member) };
        Ok(Response::new(call.ask("logic.GroupExtService/UpdateMember", &request).await?))
    }

    async fn delete_member(&self, request: Request<logic::DeleteMemberRequest>) -> Answer<()> {
        let (call, asked) = self.today.begin(request);
        let request = GroupRemoveMemberRequest { group_id: asked.group_id, user_ids: vec![asked.user_id] };
        Ok(Response::new(call.ask("logic.GroupExtService/RemoveMember", &request).await?))
    }

    async fn get_members(&self, request: Request<logic::GetMembersRequest>) -> Answer<logic::GetMembersReply> {
        let (call, asked) = self.today.begin(request);
        let (members, mut users) = call.members(asked.group_id).await?;
        let members = members.into_iter().map(|member| {
            let user = users.remove(&member.user_id).unwrap_or_default();
            member_of(member, user)
        });
        Ok(Response::new(logic::GetMembersReply { members: members.collect() }))
    }
}

#[async_trait]
impl message::MessageExtService for Services {
    async fn sync(&self, request: Request<logic::SyncRequest>) -> Answer<logic::SyncReply> {
        let (call, asked) = self.today.begin(request);
        let request = TodaysSync { seq: asked.seq, ..TodaysSync::default() };
        let reply: TodaysSyncReply = call.ask("logic.MessageExtService/Sync", &request).await?;
        let messages = reply.messages.iter().map(synced).collect::<Result<_, _>>()?;
        Ok(Response::new(logic::SyncReply { messages, has_more: reply.has_more }))
    }
}

#[async_trait]
impl room::RoomExtService for Services {
    async fn push_room(&self, request: Request<logic::PushRoomRequest>) -> Answer<()> {
        let (call, asked) = self.today.begin(request);
        let logic::PushRoomRequest { room_id, command, content, send_time, is_priority } = asked;
        let request = TodaysPushRoom {
            room_id,
            command: room_command(command, PLAIN),
            content,
            send_time,
            is_priority,
            is_persist: false,
            filter_words: false,
        };
        Ok(Response::new(call.ask("logic.RoomExtService/PushRoom", &request).await?))
    }
}

#[async_trait]
impl users::UserExtService for Services {
    async fn sign_in(&self, request: Request<user::SignInRequest>) -> Answer<user::SignInReply> {
        let (call, asked) = self.today.begin(request);
        let user::SignInRequest { phone_number, code, device_id } = asked;
        let business::SignInReply { is_new, user_id, token, .. } = call.sign_in(phone_number, code, device_id).await?;
        Ok(Response::new(user::SignInReply { is_new, user_id, token }))
    }

    async fn get_user(&self, request: Request<user::GetUserRequest>) -> Answer<user::GetUserReply> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.UserExtService/GetUser", &asked).await?))
    }

    async fn update_user(&self, request: Request<user::UpdateUserRequest>) -> Answer<()> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.UserExtService/UpdateUser", &asked).await?))
    }

    async fn search_user(&self, request: Request<user::SearchUserRequest>) -> Answer<user::SearchUserReply> {
        let (call, asked) = self.today.begin(request);
        Ok(Response::new(call.ask("business.UserExtService/SearchUser", &asked).await?))
    }
}

/// When a group was made, and changed, is not told any more.
fn group_of(group: Group) -> logic::Group {
    let Group { id: group_id, name, avatar_url, introduction, extra, member_count, .. } = group;
    let user_mum = i32::try_from(member_count).unwrap_or(i32::MAX);
    logic::Group { group_id, name, avatar_url, introduction, user_mum, extra, create_time: 0, update_time: 0 }
}

fn member_of(member: GroupMember, user: business::User) -> logic::GroupMember {
    logic::GroupMember {
        user_id: member.user_id,
        nickname: user.nickname,
        sex: user.sex,
        avatar_url: user.avatar_url,
        user_extra: user.extra,
        member_type: member.r#type,
        remarks: member.nickname,
        extra: member.extra,
    }
}

fn synced(message: &TodaysMessage) -> Result<connect::Message, Status> {
    let unreadable = |error: &dyn std::fmt::Display| ResultCode::Internal.status(error.to_string());
    let bytes = message.encode_to_vec();
    let mut rewritten = Vec::new();
    // What is stored has a seq, and is always told.
    pushes::put(&mut rewritten, &today::Message::read(&bytes).map_err(|error| unreadable(&error))?);
    connect::Message::decode(&rewritten[..]).map_err(|error| unreadable(&error))
}
