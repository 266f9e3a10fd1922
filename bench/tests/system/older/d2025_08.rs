//! A client of August 2025.

use gim_legacy::d2025_08::wire::{
    connect::{Command, Message, SignInRequest, SubscribeRoomRequest},
    logic::{
        AddMembersRequest, DeleteMemberRequest, FriendAddRequest, FriendAgreeRequest, FriendSetRequest,
        GetMembersRequest, GroupCreateRequest, GroupGetRequest, GroupMessagePush, GroupUpdateRequest, PushRoomRequest,
        RegisterDeviceRequest, SendFriendMessageRequest, SendGroupMessageRequest, SyncRequest, UpdateMemberRequest,
        User, UserMessagePush, device_ext_service_client::DeviceExtServiceClient,
        friend_ext_service_client::FriendExtServiceClient, group_ext_service_client::GroupExtServiceClient,
        message_ext_service_client::MessageExtServiceClient, room_ext_service_client::RoomExtServiceClient,
    },
    user::{
        GetUserRequest, SearchUserRequest, SignInRequest as UserSignInRequest, UpdateUserRequest,
        user_ext_service_client::UserExtServiceClient,
    },
};
use gim_proto::{ResultCode, metadata};
use prost::Message as _;
use tonic::{Request, Status, transport::Channel};

use super::{
    OlderClient, ROOM, Shown, Spot, chat_among_themselves, chat_beside_a_new_client, text,
    wire::{Asked, Framed, Heard, WAYS, Way},
};
use crate::server::Server;

pub const NAME: &str = "2025-08";

pub struct Older {
    user_id: u64,
    device_id: u64,
    token: String,
    connection: Option<Framed>,
    requests: u32,
    seq: u64,
    shown: Vec<Shown>,
}

impl Older {
    fn signed<T>(&self, message: T) -> Request<T> {
        metadata::signed(message, self.user_id, self.device_id, &self.token)
    }

    /// Asks, and waits for the answer; what is pushed meanwhile is taken.
    fn ask(&mut self, command: Command, content: Vec<u8>) -> Message {
        self.requests += 1;
        let request_id = self.requests.to_string();
        let asked = Message {
            request_id: request_id.clone(),
            command: command as i32,
            content: content.into(),
            ..Message::default()
        };
        self.connection.as_mut().unwrap().send(&asked);
        loop {
            let message: Message = self.connection.as_mut().unwrap().receive().unwrap();
            if message.command == command as i32 && message.request_id == request_id {
                return message;
            }
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        if message.seq != 0 {
            if message.seq <= self.seq {
                return;
            }
            self.seq = message.seq;
        }
        match message.command() {
            Command::UserMessage => {
                let push = UserMessagePush::decode(message.content).unwrap();
                let spot = Spot::User(push.from_user.unwrap().user_id);
                self.shown.push(Shown { spot, text: text(&push.content) });
            }
            Command::GroupMessage => {
                let push = GroupMessagePush::decode(message.content).unwrap();
                self.shown.push(Shown { spot: Spot::Group(push.group_id), text: text(&push.content) });
            }
            _ if message.room_id != 0 => {
                self.shown.push(Shown { spot: Spot::Room, text: text(&message.content) });
            }
            _ => {}
        }
    }

    fn sync(&mut self, server: &Server) {
        loop {
            let mut service = MessageExtServiceClient::new(server.older_channel(NAME));
            let request = self.signed(SyncRequest { seq: self.seq });
            let reply = server.call(service.sync(request)).unwrap();
            reply.messages.into_iter().for_each(|message| self.take(message));
            if !reply.has_more {
                return;
            }
        }
    }
}

impl OlderClient for Older {
    const NAME: &'static str = NAME;

    fn sign_in_on(server: &Server, phone_number: &str, device_id: u64, former: Option<&Self>) -> Result<Self, Status> {
        let request = UserSignInRequest { phone_number: phone_number.into(), code: "123456".into(), device_id };
        let request = former.map_or_else(|| Request::new(request.clone()), |former| former.signed(request.clone()));
        let reply = server.call(UserExtServiceClient::new(server.older_channel(NAME)).sign_in(request))?;
        let (user_id, device_id, token) = (reply.user_id, device_id, reply.token);
        Ok(Self { user_id, device_id, token, connection: None, requests: 0, seq: 0, shown: Vec::new() })
    }

    fn user_id(&self) -> u64 {
        self.user_id
    }

    fn credentials(&self) -> Asked {
        Asked::SignIn { user_id: self.user_id, device_id: self.device_id, token: self.token.clone() }
    }

    fn frame(asked: &Asked) -> Vec<u8> {
        let (command, content) = match asked.clone() {
            Asked::SignIn { user_id, device_id, token } => {
                (Command::SignIn as i32, SignInRequest { device_id, user_id, token }.encode_to_vec())
            }
            Asked::Heartbeat => (Command::Heartbeat as i32, Vec::new()),
            Asked::Unknown(command) => (command, Vec::new()),
        };
        Message { request_id: "7".into(), command, content: content.into(), ..Message::default() }.encode_to_vec()
    }

    fn heard(frame: &[u8]) -> Heard {
        let Message { command, code, message, .. } = Message::decode(frame).unwrap();
        Heard { kind: command, code, message }
    }

    fn connect(&mut self, server: &Server, way: Way) {
        let Self { user_id, device_id, token, .. } = &*self;
        let address = server.older_address(NAME, way == Way::WebSocket);
        if way == Way::WebSocket {
            let query = format!("?user_id={user_id}&device_id={device_id}&token={token}");
            let mut connection = Framed::web_socket(address, &query);
            let answer: Message = connection.receive().unwrap();
            assert_eq!((answer.command(), answer.code), (Command::SignIn, 0));
            self.connection = Some(connection);
        } else {
            let request = SignInRequest { device_id: *device_id, user_id: *user_id, token: token.clone() };
            self.connection = Some(Framed::tcp(address));
            let answer = self.ask(Command::SignIn, request.encode_to_vec());
            assert_eq!((answer.code, answer.message.as_str()), (0, ""));
        }
        assert_eq!(self.ask(Command::SubscribeRoom, SubscribeRoomRequest { room_id: ROOM }.encode_to_vec()).code, 0);
        assert_eq!(self.ask(Command::Heartbeat, Vec::new()).seq, 0);
        self.sync(server);
    }

    fn disconnect(&mut self) {
        self.connection = None;
    }

    fn add_friend(&self, server: &Server, friend_id: u64) {
        let request = self.signed(FriendAddRequest { friend_id, ..FriendAddRequest::default() });
        server.call(FriendExtServiceClient::new(server.older_channel(NAME)).add(request)).unwrap();
    }

    fn agree(&self, server: &Server, user_id: u64) {
        let request = self.signed(FriendAgreeRequest { user_id, ..FriendAgreeRequest::default() });
        server.call(FriendExtServiceClient::new(server.older_channel(NAME)).agree(request)).unwrap();
    }

    fn friends(&self, server: &Server) -> Vec<u64> {
        let reply = server.call(FriendExtServiceClient::new(server.older_channel(NAME)).get_friends(self.signed(())));
        reply.unwrap().friends.iter().map(|friend| friend.user_id).collect()
    }

    fn make_group(&self, server: &Server, member_id: u64) -> u64 {
        let request = GroupCreateRequest { name: "group".into(), member_ids: vec![member_id], ..Default::default() };
        let mut groups = GroupExtServiceClient::new(server.older_channel(NAME));
        let group_id = server.call(groups.create(self.signed(request))).unwrap().group_id;
        let listed = server.call(groups.list(self.signed(()))).unwrap().groups;
        assert_eq!(listed.iter().map(|group| (group.group_id, group.user_mum)).collect::<Vec<_>>(), [(group_id, 2)]);
        group_id
    }

    fn members(&self, server: &Server, group_id: u64) -> Vec<u64> {
        let request = self.signed(GetMembersRequest { group_id });
        let reply = server.call(GroupExtServiceClient::new(server.older_channel(NAME)).get_members(request)).unwrap();
        reply.members.iter().map(|member| member.user_id).collect()
    }

    fn list_groups(&self, server: &Server) -> Result<(), Status> {
        let mut groups = GroupExtServiceClient::new(server.older_channel(NAME));
        server.call(groups.list(self.signed(()))).map(drop)
    }

    fn add_members(&self, server: &Server, group_id: u64, user_ids: &[u64]) -> Result<Option<Vec<u64>>, Status> {
        let request = self.signed(AddMembersRequest { group_id, user_ids: user_ids.to_vec() });
        let reply = server.call(GroupExtServiceClient::new(server.older_channel(NAME)).add_members(request));
        reply.map(|_| None)
    }

    fn send_to_friend(&self, server: &Server, user_id: u64, text: &str) {
        let request = self.signed(SendFriendMessageRequest { user_id, content: text.to_owned().into() });
        let reply = server.call(FriendExtServiceClient::new(server.older_channel(NAME)).send_message(request));
        assert_ne!(reply.unwrap().message_id, 0);
    }

    fn send_to_group(&self, server: &Server, group_id: u64, text: &str) {
        let request = self.signed(SendGroupMessageRequest { group_id, content: text.to_owned().into() });
        let reply = server.call(GroupExtServiceClient::new(server.older_channel(NAME)).send_message(request));
        assert_ne!(reply.unwrap().message_id, 0);
    }

    fn push_to_room_as(&self, server: &Server, command: i32, content: Vec<u8>) -> Option<Result<(), Status>> {
        let content = content.into();
        let request = self.signed(PushRoomRequest { room_id: ROOM, command, content, ..PushRoomRequest::default() });
        Some(server.call(RoomExtServiceClient::new(server.older_channel(NAME)).push_room(request)))
    }

    fn said_by(user_id: u64, text: &str) -> Vec<u8> {
        let from_user = Some(User { user_id, ..User::default() });
        UserMessagePush { from_user, content: text.to_owned().into() }.encode_to_vec()
    }

    fn call_the_rest(&self, server: &Server, friend_id: u64, group_id: u64) {
        let mut friends = FriendExtServiceClient::new(server.older_channel(NAME));
        let request = FriendSetRequest { friend_id, remarks: "r".into(), extra: "e".into() };
        let set = server.call(friends.set(self.signed(request))).unwrap();
        assert_eq!((set.friend_id, set.remarks.as_str(), set.extra.as_str()), (friend_id, "r", "e"));
        let mut groups = GroupExtServiceClient::new(server.older_channel(NAME));
        let request = GroupUpdateRequest { group_id, name: "new".into(), ..GroupUpdateRequest::default() };
        server.call(groups.update(self.signed(request))).unwrap();
        let group = server.call(groups.get(self.signed(GroupGetRequest { group_id }))).unwrap().group.unwrap();
        assert_eq!((group.group_id, group.name.as_str(), group.user_mum), (group_id, "new", 2));
        let (remarks, user_id) = ("m".to_owned(), friend_id);
        let request = UpdateMemberRequest { group_id, user_id, member_type: 1, remarks, ..Default::default() };
        server.call(groups.update_member(self.signed(request))).unwrap();
        let members = server.call(groups.get_members(self.signed(GetMembersRequest { group_id }))).unwrap().members;
        let member = members.into_iter().find(|member| member.user_id == friend_id).unwrap();
        assert_eq!((member.member_type, member.remarks.as_str()), (1, "m"));
        server.call(groups.delete_member(self.signed(DeleteMemberRequest { group_id, user_id }))).unwrap();
        let request = AddMembersRequest { group_id, user_ids: vec![friend_id] };
        server.call(groups.add_members(self.signed(request))).unwrap();
        server.call(groups.delete_member(self.signed(DeleteMemberRequest { group_id, user_id }))).unwrap();

        let mut users = UserExtServiceClient::new(server.older_channel(NAME));
        let request = UpdateUserRequest { nickname: "Ada".into(), sex: 2, ..UpdateUserRequest::default() };
        server.call(users.update_user(self.signed(request))).unwrap();
        let request = self.signed(GetUserRequest { user_id: self.user_id });
        let user = server.call(users.get_user(request)).unwrap().user.unwrap();
        assert_eq!((user.user_id, user.nickname.as_str(), user.sex), (self.user_id, "Ada", 2));
        let request = self.signed(SearchUserRequest { key: "Ada".into() });
        let found = server.call(users.search_user(request)).unwrap().users;
        assert!(found.iter().any(|found| found.user_id == self.user_id));
    }

    fn sign_in_wrongly(server: &Server, phone_number: &str) -> Status {
        let request = UserSignInRequest { phone_number: phone_number.into(), code: "1".into(), device_id: 1 };
        server.call(UserExtServiceClient::new(server.older_channel(NAME)).sign_in(request)).unwrap_err()
    }

    fn register(server: &Server, count: usize) -> Vec<Status> {
        let client = DeviceExtServiceClient::new(server.older_channel(NAME));
        let calls = (0..count)
            .map(|_| client.clone())
            .map(async |mut client| client.register_device(RegisterDeviceRequest::default()).await);
        server.call_all(calls).into_iter().filter_map(Result::err).collect()
    }

    fn register_of(server: &Server, channel: Channel, r#type: i32) -> Result<u64, Status> {
        let device = RegisterDeviceRequest { r#type, brand: "old".into(), ..RegisterDeviceRequest::default() };
        let registered = server.call(DeviceExtServiceClient::new(channel).register_device(device));
        registered.map(|reply| reply.device_id)
    }

    fn try_take_push(&mut self) -> bool {
        let message: Option<Message> = self.connection.as_mut().unwrap().receive();
        let message = message.filter(|message| message.command() != Command::Unknown || message.code == 0);
        message.map(|message| self.take(message)).is_some()
    }

    fn shown(&self) -> &[Shown] {
        &self.shown
    }
}

#[test]
fn a_client_of_august_2025_chats_beside_a_new_one() {
    chat_beside_a_new_client::<Older>([Way::Tcp, Way::WebSocket]);
    chat_beside_a_new_client::<Older>([Way::WebSocket, Way::Tcp]);
}

#[test]
fn clients_of_august_2025_chat_among_themselves() {
    chat_among_themselves::<Older>([Way::Tcp, Way::WebSocket]);
    chat_among_themselves::<Older>([Way::WebSocket, Way::Tcp]);
}

#[test]
fn what_a_client_of_august_2025_does_wrong_is_answered_in_its_form() {
    let server = Server::start_for_older_clients();
    WAYS.into_iter().for_each(|way| does_wrong(&server, way));
    // A newer client signs in here with its own numbers, and is told in its own form, too.
    let client = Older::sign_in(&server, "13800000003");
    let address = server.older_address(NAME, false);
    let mut newer = gim_proto::client::Client::connect(address, crate::server::DEADLINE).unwrap();
    let refused = newer.sign_in(client.user_id, client.device_id, &client.token).unwrap();
    assert_eq!((refused.code, refused.message.ends_with("this port is for clients of 2025-08")), (10000, true));
}

/// What only this dialect and today's have methods of the same name for.
#[test]
fn calls_alike_in_2025_and_today_are_told_apart_at_todays_port() {
    let server = Server::start_for_older_clients();
    let client = Older::sign_in(&server, "13800000004");
    for channel in [server.channel(server.clients_address()), server.logic()] {
        let mut messages = MessageExtServiceClient::new(channel.clone());
        let mut groups = GroupExtServiceClient::new(channel);
        let (group_id, user_id) = (10_000, 10_001);
        let made = GroupCreateRequest { name: "group".into(), member_ids: vec![user_id], ..Default::default() };
        let named = GroupCreateRequest { name: "group".into(), ..GroupCreateRequest::default() };
        let update = GroupUpdateRequest { group_id, name: "new".into(), ..GroupUpdateRequest::default() };
        let add = AddMembersRequest { group_id, user_ids: vec![user_id, user_id + 1] };
        let member = UpdateMemberRequest { group_id, user_id, ..UpdateMemberRequest::default() };
        let refusals = [
            server.call(messages.sync(client.signed(SyncRequest { seq: 5 }))).err(),
            server.call(groups.create(client.signed(made))).err(),
            server.call(groups.create(client.signed(named))).err(),
            server.call(groups.update(client.signed(update))).err(),
            server.call(groups.add_members(client.signed(add))).err(),
            server.call(groups.update_member(client.signed(member))).err(),
        ];
        let whose = "this is the port of today's clients; this is a call of clients of 2025-08, who have another";
        are_told(&refusals, whose);
    }
}

#[test]
fn calls_alike_in_2025_and_today_are_told_apart_at_the_port_of_2025() {
    use gim_proto::logic::{
        Group, GroupCreateRequest, GroupGetMembersRequest, GroupMember, GroupUpdateMemberRequest, GroupUpdateRequest,
        PushRoomRequest, SyncRequest, group_ext_service_client::GroupExtServiceClient,
        message_ext_service_client::MessageExtServiceClient, room_ext_service_client::RoomExtServiceClient,
    };
    let server = Server::start_for_older_clients();
    let client = Older::sign_in(&server, "13800000005");
    let mut messages = MessageExtServiceClient::new(server.older_channel(NAME));
    let mut groups = GroupExtServiceClient::new(server.older_channel(NAME));
    let mut rooms = RoomExtServiceClient::new(server.older_channel(NAME));
    let group = || Some(Group { name: "group".into(), ..Group::default() });
    let member = GroupMember { user_id: 10_001, ..GroupMember::default() };
    let from_start = SyncRequest { from_start: true, ..SyncRequest::default() };
    let made = GroupCreateRequest { group: group(), members: vec![member.clone()] };
    let update = GroupUpdateRequest { group: group() };
    let described = GroupUpdateMemberRequest { group_id: 10_000, member: Some(member) };
    let listed = GroupGetMembersRequest { group_id: 10_000, limit: 5, ..GroupGetMembersRequest::default() };
    let kept = PushRoomRequest { room_id: ROOM, is_persist: true, ..PushRoomRequest::default() };
    let refusals = [
        server.call(messages.sync(client.signed(SyncRequest { seq: 5, ..SyncRequest::default() }))).err(),
        server.call(messages.sync(client.signed(from_start))).err(),
        server.call(groups.create(client.signed(made))).err(),
        server.call(groups.update(client.signed(update))).err(),
        server.call(groups.update_member(client.signed(described))).err(),
        server.call(groups.get_members(client.signed(listed))).err(),
        server.call(rooms.push_room(client.signed(kept))).err(),
    ];
    are_told(&refusals, "this is the port of clients of 2025-08; this is a call of today's clients, who have another");
}

fn are_told(refusals: &[Option<Status>], whose: &str) {
    for (place, refused) in refusals.iter().enumerate() {
        let refused = refused.as_ref().unwrap_or_else(|| panic!("call {place} was answered"));
        let (code, message) = (ResultCode::of_status(refused), refused.message());
        assert_eq!((code, message), (ResultCode::BadRequest, whose), "call {place}");
    }
}

fn does_wrong(server: &Server, way: Way) {
    let ask = |connection: &mut Framed, command: i32, content: Vec<u8>| -> Message {
        let asked = Message { request_id: "x".into(), command, content: content.into(), ..Message::default() };
        connection.send(&asked);
        connection.receive().unwrap()
    };
    let mut connection = Framed::open(server, NAME, way);
    let answer = ask(&mut connection, Command::Heartbeat as i32, Vec::new());
    assert_eq!((answer.request_id.as_str(), answer.command(), answer.code), ("x", Command::Heartbeat, 10000));
    for (user_id, code) in [(u64::MAX, 10001), (1, 10000)] {
        let request = SignInRequest { device_id: 2, user_id, token: "wrong".into() };
        let answer = ask(&mut connection, Command::SignIn as i32, request.encode_to_vec());
        assert_eq!((answer.command(), answer.code), (Command::SignIn, code), "{}", answer.message);
        assert!(!answer.message.is_empty());
    }

    let client = Older::sign_in(server, "13800000003");
    let request = SignInRequest { device_id: client.device_id, user_id: client.user_id, token: client.token.clone() };
    assert_eq!(ask(&mut connection, Command::SignIn as i32, request.encode_to_vec()).code, 0);
    for unknown in [5, 7, 10, 77, 2000, -5] {
        let answer = ask(&mut connection, unknown, Vec::new());
        assert_eq!((answer.request_id.as_str(), answer.command, answer.code), ("x", unknown, 10005));
    }

    let request = client.signed(GetMembersRequest { group_id: u64::MAX });
    let mut groups = GroupExtServiceClient::new(server.older_channel(NAME));
    let refused = server.call(groups.get_members(request)).unwrap_err();
    assert_eq!(refused.message(), "group_id: must be from 1 to 9223372036854775807");

    // What is no frame of the dialect is refused in its form, and the connection ends.
    let mut connection = Framed::open(server, NAME, way);
    connection.send(&gim_proto::logic::SignInRequest { user_id: 1, ..Default::default() });
    let goodbye: Message = connection.receive().unwrap();
    assert_eq!((goodbye.command(), goodbye.code), (Command::Unknown, 10001));
    assert_eq!(connection.receive::<Message>(), None);
}
