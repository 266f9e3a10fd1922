//! A client of December 2020.

use gim_legacy::d2020_12::wire::{
    AddFriendReq, AddGroupMembersReq, AgreeAddFriendReq, CreateGroupReq, Custom, DeleteGroupMemberReq, GetFriendsReq,
    GetGroupMembersReq, GetGroupReq, GetGroupsReq, GetUserReq, GroupType, Input, Message, MessageAck, MessageSend,
    MessageType, Output, PackageType, ReceiverType, RegisterDeviceReq, SearchUserReq, SendMessageReq, SenderType,
    SetFriendReq, SignInInput, SignInReq, SyncInput, SyncOutput, Text, UpdateGroupMemberReq, UpdateGroupReq,
    UpdateUserReq, Voice, business_ext_client::BusinessExtClient, logic_ext_client::LogicExtClient,
};
use gim_proto::{ResultCode, metadata};
use prost::Message as _;
use tonic::{Request, Status, transport::Channel};

use super::{
    OlderClient, Shown, Spot, chat_among_themselves, chat_beside_a_new_client,
    wire::{Asked, Framed, Heard, WAYS, Way},
};
use crate::server::Server;

pub const NAME: &str = "2020-12";

pub struct Older {
    user_id: i64,
    device_id: i64,
    token: String,
    connection: Option<Framed>,
    requests: i64,
    seq: i64,
    shown: Vec<Shown>,
}

fn logic(server: &Server) -> LogicExtClient<Channel> {
    LogicExtClient::new(server.older_channel(NAME))
}

fn input(r#type: PackageType, request_id: i64, data: Vec<u8>) -> Input {
    Input { r#type: r#type as i32, request_id, data: data.into() }
}

impl Older {
    fn signed<T>(&self, message: T) -> Request<T> {
        metadata::signed(message, self.user_id as u64, self.device_id as u64, &self.token)
    }

    fn connection(&mut self) -> &mut Framed {
        self.connection.as_mut().unwrap()
    }

    /// Asks, and waits for the answer; what is pushed meanwhile is taken.
    fn ask(&mut self, r#type: PackageType, data: Vec<u8>) -> Output {
        self.requests += 1;
        let request_id = self.requests;
        self.connection().send(&input(r#type, request_id, data));
        loop {
            let output: Output = self.connection().receive().unwrap();
            if output.r#type() == r#type && output.request_id == request_id {
                return output;
            }
            self.take_output(output);
        }
    }

    fn sync(&mut self) {
        loop {
            let seq = self.seq;
            let answer = self.ask(PackageType::PtSync, SyncInput { seq }.encode_to_vec());
            assert_eq!((answer.code, answer.message.as_str()), (0, ""));
            let page = SyncOutput::decode(answer.data).unwrap();
            page.messages.into_iter().for_each(|message| self.take(message));
            if !page.has_more {
                return;
            }
        }
    }

    fn send(&self, server: &Server, receiver_type: ReceiverType, receiver_id: u64, text: &str) -> i64 {
        let request = SendMessageReq {
            receiver_type: receiver_type as i32,
            receiver_id: receiver_id as i64,
            message_type: MessageType::MtText as i32,
            message_content: Text { text: text.to_owned() }.encode_to_vec().into(),
            is_persist: true,
            ..SendMessageReq::default()
        };
        server.call(logic(server).send_message(self.signed(request))).unwrap().seq
    }

    fn take_output(&mut self, output: Output) {
        match output.r#type() {
            PackageType::PtMessage => {
                self.take(MessageSend::decode(output.data).unwrap().message.unwrap());
                let device_ack = self.seq;
                let ack = MessageAck { device_ack, receive_time: 1 }.encode_to_vec();
                self.connection().send(&input(PackageType::PtMessage, 0, ack));
            }
            // There is more to sync.
            PackageType::PtSync => self.sync(),
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, message: Message) {
        if message.seq != 0 {
            if message.seq <= self.seq {
                return;
            }
            self.seq = message.seq;
        }
        let sender = message.sender.clone().unwrap();
        let text = match message.message_type() {
            MessageType::MtText => Text::decode(message.message_content.clone()).unwrap().text,
            // What newer clients say in a form of their own.
            MessageType::MtCustom => Custom::decode(message.message_content.clone()).unwrap().data,
            _ => return,
        };
        assert_eq!(sender.sender_type(), SenderType::StUser);
        let spot = match message.receiver_type() {
            ReceiverType::RtUser => Spot::User(sender.sender_id as u64),
            _ => Spot::Group(message.receiver_id as u64),
        };
        let shown = Shown { spot, text };
        self.shown.push(shown);
    }
}

impl OlderClient for Older {
    const NAME: &'static str = NAME;

    fn sign_in_on(server: &Server, phone_number: &str, device_id: u64, former: Option<&Self>) -> Result<Self, Status> {
        let request =
            SignInReq { phone_number: phone_number.into(), code: "123456".into(), device_id: device_id as i64 };
        let request = former.map_or_else(|| Request::new(request.clone()), |former| former.signed(request.clone()));
        let reply = server.call(BusinessExtClient::new(server.older_channel(NAME)).sign_in(request))?;
        let (user_id, device_id, token) = (reply.user_id, device_id as i64, reply.token);
        Ok(Self { user_id, device_id, token, connection: None, requests: 0, seq: 0, shown: Vec::new() })
    }

    fn user_id(&self) -> u64 {
        self.user_id as u64
    }

    fn credentials(&self) -> Asked {
        let (user_id, device_id) = (self.user_id as u64, self.device_id as u64);
        Asked::SignIn { user_id, device_id, token: self.token.clone() }
    }

    fn frame(asked: &Asked) -> Vec<u8> {
        let (r#type, data) = match asked.clone() {
            Asked::SignIn { user_id, device_id, token } => {
                let (user_id, device_id) = (user_id as i64, device_id as i64);
                (PackageType::PtSignIn as i32, SignInInput { device_id, user_id, token }.encode_to_vec())
            }
            Asked::Heartbeat => (PackageType::PtHeartbeat as i32, Vec::new()),
            Asked::Unknown(r#type) => (r#type, Vec::new()),
        };
        Input { r#type, request_id: 7, data: data.into() }.encode_to_vec()
    }

    fn heard(frame: &[u8]) -> Heard {
        let Output { r#type, code, message, .. } = Output::decode(frame).unwrap();
        Heard { kind: r#type, code, message }
    }

    fn connect(&mut self, server: &Server, way: Way) {
        let (user_id, device_id, token) = (self.user_id, self.device_id, self.token.clone());
        let address = server.older_address(NAME, way == Way::WebSocket);
        if way == Way::WebSocket {
            let query = format!("?user_id={user_id}&device_id={device_id}&token={token}");
            self.connection = Some(Framed::web_socket(address, &query));
            let answer: Output = self.connection().receive().unwrap();
            assert_eq!((answer.r#type(), answer.request_id, answer.code), (PackageType::PtSignIn, 0, 0));
        } else {
            self.connection = Some(Framed::tcp(address));
            let request = SignInInput { device_id, user_id, token };
            let answer = self.ask(PackageType::PtSignIn, request.encode_to_vec());
            assert_eq!((answer.code, answer.message.as_str()), (0, ""));
        }
        assert_eq!(self.ask(PackageType::PtHeartbeat, Vec::new()).code, 0);
        self.sync();
    }

    fn disconnect(&mut self) {
        self.connection = None;
    }

    fn add_friend(&self, server: &Server, friend_id: u64) {
        let request = AddFriendReq { friend_id: friend_id as i64, ..AddFriendReq::default() };
        server.call(logic(server).add_friend(self.signed(request))).unwrap();
    }

    fn agree(&self, server: &Server, user_id: u64) {
        let request = AgreeAddFriendReq { user_id: user_id as i64, ..AgreeAddFriendReq::default() };
        server.call(logic(server).agree_add_friend(self.signed(request))).unwrap();
    }

    fn friends(&self, server: &Server) -> Vec<u64> {
        let reply = server.call(logic(server).get_friends(self.signed(GetFriendsReq {}))).unwrap();
        reply.friends.iter().map(|friend| friend.user_id as u64).collect()
    }

    fn make_group(&self, server: &Server, member_id: u64) -> u64 {
        let member_ids = vec![member_id as i64];
        let r#type = GroupType::GtSmall as i32;
        let request = CreateGroupReq { name: "group".into(), r#type, member_ids, ..CreateGroupReq::default() };
        let group_id = server.call(logic(server).create_group(self.signed(request))).unwrap().group_id;
        let listed = server.call(logic(server).get_groups(self.signed(GetGroupsReq {}))).unwrap().groups;
        assert_eq!(listed.iter().map(|group| (group.group_id, group.user_mum)).collect::<Vec<_>>(), [(group_id, 2)]);
        group_id as u64
    }

    fn members(&self, server: &Server, group_id: u64) -> Vec<u64> {
        let request = self.signed(GetGroupMembersReq { group_id: group_id as i64 });
        let reply = server.call(logic(server).get_group_members(request)).unwrap();
        reply.members.iter().map(|member| member.user_id as u64).collect()
    }

    fn list_groups(&self, server: &Server) -> Result<(), Status> {
        server.call(logic(server).get_groups(self.signed(GetGroupsReq {}))).map(drop)
    }

    fn add_members(&self, server: &Server, group_id: u64, user_ids: &[u64]) -> Result<Option<Vec<u64>>, Status> {
        let user_ids = user_ids.iter().map(|user_id| *user_id as i64).collect();
        let request = self.signed(AddGroupMembersReq { group_id: group_id as i64, user_ids });
        let reply = server.call(logic(server).add_group_members(request))?;
        Ok(Some(reply.user_ids.into_iter().map(|user_id| user_id as u64).collect()))
    }

    fn send_to_friend(&self, server: &Server, user_id: u64, text: &str) {
        assert_ne!(self.send(server, ReceiverType::RtUser, user_id, text), 0);
    }

    fn send_to_group(&self, server: &Server, group_id: u64, text: &str) {
        assert_ne!(self.send(server, ReceiverType::RtSmallGroup, group_id, text), 0);
    }

    fn push_to_room_as(&self, _server: &Server, _number: i32, _content: Vec<u8>) -> Option<Result<(), Status>> {
        None
    }

    fn said_by(_user_id: u64, text: &str) -> Vec<u8> {
        Text { text: text.to_owned() }.encode_to_vec()
    }

    fn call_the_rest(&self, server: &Server, friend_id: u64, group_id: u64) {
        let (mut logic, mut business) = (logic(server), BusinessExtClient::new(server.older_channel(NAME)));
        let (friend_id, group_id) = (friend_id as i64, group_id as i64);
        let request = SetFriendReq { friend_id, remarks: "r".into(), extra: "e".into() };
        let set = server.call(logic.set_friend(self.signed(request))).unwrap();
        assert_eq!((set.friend_id, set.remarks.as_str(), set.extra.as_str()), (friend_id, "r", "e"));
        let request = UpdateGroupReq { group_id, name: "new".into(), ..UpdateGroupReq::default() };
        server.call(logic.update_group(self.signed(request))).unwrap();
        let group = server.call(logic.get_group(self.signed(GetGroupReq { group_id }))).unwrap().group.unwrap();
        assert_eq!((group.group_id, group.name.as_str(), group.user_mum), (group_id, "new", 2));
        let request = UpdateGroupMemberReq {
            group_id,
            user_id: friend_id,
            member_type: 1,
            remarks: "m".into(),
            ..Default::default()
        };
        server.call(logic.update_group_member(self.signed(request))).unwrap();
        let members =
            server.call(logic.get_group_members(self.signed(GetGroupMembersReq { group_id }))).unwrap().members;
        let member = members.into_iter().find(|member| member.user_id == friend_id).unwrap();
        assert_eq!((member.member_type, member.remarks.as_str()), (1, "m"));
        let request = DeleteGroupMemberReq { group_id, user_id: friend_id };
        server.call(logic.delete_group_member(self.signed(request))).unwrap();
        let request = AddGroupMembersReq { group_id, user_ids: vec![friend_id] };
        server.call(logic.add_group_members(self.signed(request))).unwrap();
        let request = DeleteGroupMemberReq { group_id, user_id: friend_id };
        server.call(logic.delete_group_member(self.signed(request))).unwrap();

        let request = UpdateUserReq { nickname: "Ada".into(), sex: 2, ..UpdateUserReq::default() };
        server.call(business.update_user(self.signed(request))).unwrap();
        let request = GetUserReq { user_id: self.user_id };
        let user = server.call(business.get_user(self.signed(request))).unwrap().user.unwrap();
        assert_eq!((user.user_id, user.nickname.as_str(), user.sex), (self.user_id, "Ada", 2));
        let users = server.call(business.search_user(self.signed(SearchUserReq { key: "Ada".into() }))).unwrap().users;
        assert!(users.iter().any(|found| found.user_id == self.user_id));
    }

    fn sign_in_wrongly(server: &Server, phone_number: &str) -> Status {
        let request = SignInReq { phone_number: phone_number.into(), code: "1".into(), device_id: 1 };
        server.call(BusinessExtClient::new(server.older_channel(NAME)).sign_in(request)).unwrap_err()
    }

    fn register(server: &Server, count: usize) -> Vec<Status> {
        let client = logic(server);
        let calls = (0..count)
            .map(|_| client.clone())
            .map(async |mut client| client.register_device(RegisterDeviceReq::default()).await);
        server.call_all(calls).into_iter().filter_map(Result::err).collect()
    }

    fn register_of(server: &Server, channel: Channel, r#type: i32) -> Result<u64, Status> {
        let device = RegisterDeviceReq { r#type, brand: "old".into(), ..RegisterDeviceReq::default() };
        let registered = server.call(LogicExtClient::new(channel).register_device(device));
        registered.map(|reply| reply.device_id as u64)
    }

    fn try_take_push(&mut self) -> bool {
        let output: Option<Output> = self.connection().receive();
        let output = output.filter(|output| output.r#type() != PackageType::PtUnknown);
        output.map(|output| self.take_output(output)).is_some()
    }

    fn shown(&self) -> &[Shown] {
        &self.shown
    }
}

#[test]
fn a_client_of_december_2020_chats_beside_a_new_one() {
    chat_beside_a_new_client::<Older>([Way::Tcp, Way::WebSocket]);
    chat_beside_a_new_client::<Older>([Way::WebSocket, Way::Tcp]);
}

#[test]
fn clients_of_december_2020_chat_among_themselves() {
    chat_among_themselves::<Older>([Way::Tcp, Way::WebSocket]);
    chat_among_themselves::<Older>([Way::WebSocket, Way::Tcp]);
}

#[test]
fn what_is_said_in_a_large_group_has_no_seq_for_a_client_of_2020() {
    let server = Server::start_for_older_clients();
    let ada = Older::sign_in(&server, "13800000007");
    let (r#type, member_ids) = (GroupType::GtLarge as i32, vec![ada.user_id; 2]);
    let group = CreateGroupReq { name: "all".into(), r#type, member_ids, ..CreateGroupReq::default() };
    let made = server.call(logic(&server).create_group(ada.signed(group))).unwrap();
    for receiver_type in [ReceiverType::RtLargeGroup, ReceiverType::RtSmallGroup] {
        assert_eq!(ada.send(&server, receiver_type, made.group_id as u64, "to all"), 0);
    }
}

#[test]
fn what_a_client_of_december_2020_does_wrong_is_answered_in_its_form() {
    let server = Server::start_for_older_clients();
    WAYS.into_iter().for_each(|way| does_wrong(&server, way));
}

fn does_wrong(server: &Server, way: Way) {
    let ask = |connection: &mut Framed, asked: Input| -> Output {
        connection.send(&asked);
        connection.receive().unwrap()
    };
    let mut connection = Framed::open(server, NAME, way);
    let answer = ask(&mut connection, input(PackageType::PtSync, -9, Vec::new()));
    assert_eq!((answer.request_id, answer.r#type(), answer.code), (-9, PackageType::PtSync, 10000));
    for (user_id, code) in [(-1, 10001), (i64::MIN, 10001), (1, 10000)] {
        let request = SignInInput { device_id: 2, user_id, token: "wrong".into() };
        let answer = ask(&mut connection, input(PackageType::PtSignIn, 3, request.encode_to_vec()));
        assert_eq!((answer.r#type(), answer.code), (PackageType::PtSignIn, code), "{}", answer.message);
        assert!(!answer.message.is_empty());
    }
    let client = Older::sign_in(server, "13800000003");
    let request = SignInInput { device_id: client.device_id, user_id: client.user_id, token: client.token.clone() };
    assert_eq!(ask(&mut connection, input(PackageType::PtSignIn, 4, request.encode_to_vec())).code, 0);
    for unknown in [5, 6, 7, 10, 77, 2000, -1, -3, -77] {
        let asked = Input { r#type: unknown, request_id: 5, ..Input::default() };
        let answer = ask(&mut connection, asked);
        assert_eq!((answer.request_id, answer.r#type, answer.code), (5, unknown, 10005));
    }
    let answer = ask(&mut connection, input(PackageType::PtSync, 6, SyncInput { seq: -1 }.encode_to_vec()));
    assert_eq!((answer.r#type(), answer.code), (PackageType::PtSync, 10001));
    assert_eq!(answer.message, "seq: must be from 0 to 9223372036854775807");

    let member_id = client.signed(GetGroupMembersReq { group_id: -5 });
    let refused = server.call(logic(server).get_group_members(member_id)).unwrap_err();
    assert_eq!(refused.message(), "group_id: must be from 1 to 9223372036854775807");

    for r#type in [GroupType::GtUnknown as i32, 77, -1] {
        let group = client.signed(CreateGroupReq { name: "group".into(), r#type, ..CreateGroupReq::default() });
        let refused = server.call(logic(server).create_group(group)).unwrap_err();
        assert_eq!(refused.message(), "type: must be that of a small or of a large group");
    }
    let message_content = Voice { id: "i".into(), duration: -1, ..Voice::default() }.encode_to_vec().into();
    let (receiver_type, message_type) = (ReceiverType::RtUser as i32, MessageType::MtVoice as i32);
    let voice = SendMessageReq { receiver_type, receiver_id: 1, message_type, message_content, ..Default::default() };
    let refused = server.call(logic(server).send_message(client.signed(voice))).unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::BadRequest);
    assert_eq!(refused.message(), "message_content.duration: must not be negative");

    // A newer client signs in here: its packet is none of the dialect's, and is told so in the dialect's form.
    let mut connection = Framed::open(server, NAME, way);
    let request_id = "1".to_owned();
    connection.send(&gim_proto::connect::Packet { request_id, command: 1, ..Default::default() });
    let goodbye: Output = connection.receive().unwrap();
    assert_eq!((goodbye.r#type(), goodbye.code), (PackageType::PtUnknown, 10001));
    assert_eq!(connection.receive::<Output>(), None);
}
