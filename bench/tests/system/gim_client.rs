//! A client that was written for gim in Go: it knows only the fields of that, keeps the largest seq that it saw wherever it saw it, and syncs from
//! that. It has no notion of gaps, so no seq but the inbox's may ever reach it.

use gim_proto::{
    business::SignInReply,
    client::Client,
    connect::{PacketCommand, SubscribeRoomRequest},
    logic::{
        Group, GroupCreateRequest, GroupKind, GroupMember, GroupPushRequest, PushRoomRequest, SyncReply, SyncRequest,
        group_int_service_client::GroupIntServiceClient, message_ext_service_client::MessageExtServiceClient,
        room_int_service_client::RoomIntServiceClient,
    },
    metadata,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use prost::Message as _;

use crate::server::Server;

const COMMAND: i32 = 2001;
const ROOM: u64 = 77;

/// `connect.Message`, as far as clients of gim in Go know it.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(int32, tag = "2")]
    command: i32,
    #[prost(bytes, tag = "3")]
    content: Vec<u8>,
    #[prost(uint64, tag = "4")]
    seq: u64,
    #[prost(int64, tag = "5")]
    created_at: i64,
    #[prost(uint64, tag = "6")]
    room_id: u64,
}

/// Where a message is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Inbox,
    Room,
    LargeGroup,
}

/// What happens to the client.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A message is sent; a connected client reads it.
    Sent(Way),
    /// A message is sent, and the connection breaks before the client has read it.
    SentAndLost(Way),
    Disconnects,
    Connects,
}

struct GimClient<'a> {
    server: &'a Server,
    identity: SignInReply,
    connection: Option<Client>,
    seq: u64,
    shown: Vec<String>,
}

impl GimClient<'_> {
    fn connect(&mut self) {
        if self.connection.is_some() {
            return;
        }
        let mut connection = self.server.connect_as(&self.identity);
        let request = SubscribeRoomRequest { room_id: ROOM, ..SubscribeRoomRequest::default() };
        let reply = connection.request(PacketCommand::PcSubscribeRoom as i32, request.encode_to_vec()).unwrap();
        assert_eq!(reply.code, 0);
        self.connection = Some(connection);
        while self.sync() {}
    }

    /// Whether there is more.
    fn sync(&mut self) -> bool {
        let SignInReply { user_id, device_id, token, .. } = &self.identity;
        let request = SyncRequest { seq: self.seq, ..SyncRequest::default() };
        let mut service = MessageExtServiceClient::new(self.server.logic());
        let request = metadata::signed(request, *user_id, *device_id, token);
        let SyncReply { messages, has_more, .. } = self.server.call(service.sync(request)).unwrap();
        for message in messages {
            self.take(&message.encode_to_vec());
        }
        has_more
    }

    /// Reads what comes, up to a message with this text.
    fn read_until(&mut self, text: &str) {
        while self.shown.last().is_none_or(|last| last != text) {
            let packet = self.connection.as_mut().unwrap().receive().unwrap();
            if packet.command == PacketCommand::PcMessage as i32 {
                self.take(&packet.content);
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let message = Message::decode(bytes).unwrap();
        self.seq = self.seq.max(message.seq);
        self.shown.push(String::from_utf8_lossy(&message.content).into_owned());
    }
}

fn make_large_group(server: &Server, user_id: u64) -> u64 {
    let group = Group { name: "large".into(), kind: GroupKind::GkLarge as i32, ..Group::default() };
    let members = vec![GroupMember { user_id, ..GroupMember::default() }];
    let request = GroupCreateRequest { group: Some(group), members };
    server.call(GroupIntServiceClient::new(server.logic()).create(request)).unwrap().group_id
}

fn send(server: &Server, way: Way, user_id: u64, group_id: u64, text: &str) {
    let content = text.to_owned();
    match way {
        Way::Inbox => drop(server.push_to_users(&[user_id], text)),
        Way::Room => {
            let push = PushRoomRequest {
                room_id: ROOM,
                command: COMMAND,
                content: content.into(),
                is_persist: true,
                ..PushRoomRequest::default()
            };
            server.call(RoomIntServiceClient::new(server.logic()).push_room(push)).unwrap();
        }
        Way::LargeGroup => {
            let push = GroupPushRequest {
                group_id,
                command: COMMAND,
                content: content.into(),
                is_persist: true,
                ..GroupPushRequest::default()
            };
            server.call(GroupIntServiceClient::new(server.logic()).push(push)).unwrap();
        }
    }
}

/// What of its inbox the client showed after all of this, and what it should have.
fn live_through(server: &Server, phone_number: &str, events: &[Event]) -> (Vec<String>, Vec<String>) {
    let identity = server.business_sign_in(phone_number);
    let user_id = identity.user_id;
    let group_id = make_large_group(server, user_id);
    let mut client = GimClient { server, identity, connection: None, seq: 0, shown: Vec::new() };
    client.connect();
    let mut expected = Vec::new();
    for (number, event) in events.iter().enumerate() {
        match *event {
            Event::Sent(way) | Event::SentAndLost(way) => {
                let text = format!("{way:?} {number} {phone_number}");
                send(server, way, user_id, group_id, &text);
                match event {
                    Event::SentAndLost(_) => client.connection = None,
                    _ if client.connection.is_some() => client.read_until(&text),
                    _ => {}
                }
                expected.extend((way == Way::Inbox).then_some(text));
            }
            Event::Disconnects => client.connection = None,
            Event::Connects => client.connect(),
        }
    }
    client.connection = None;
    client.connect();
    let inbox = client.shown.into_iter().filter(|text| text.starts_with("Inbox"));
    (inbox.collect(), expected)
}

#[test]
fn a_client_of_gim_keeping_the_largest_seq_misses_nothing_of_its_inbox() {
    let server = Server::start();
    let way = prop_oneof![Just(Way::Inbox), Just(Way::Room), Just(Way::LargeGroup)];
    let event = prop_oneof![
        4 => way.clone().prop_map(Event::Sent),
        2 => way.prop_map(Event::SentAndLost),
        1 => Just(Event::Disconnects),
        2 => Just(Event::Connects),
    ];
    let mut phone_number = 13_900_000_000_u64;
    let next_number = std::cell::RefCell::new(|| {
        phone_number += 1;
        phone_number.to_string()
    });
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&proptest::collection::vec(event, 1..24), |events| {
            let phone_number = (next_number.borrow_mut())();
            let (shown, expected) = live_through(&server, &phone_number, &events);
            prop_assert_eq!(shown, expected);
            Ok(())
        })
        .unwrap();
}
