//! Clients that speak older dialects, beside a new client of the same user on a second device, and a friend with a new client: each sees
//! all that is said one-to-one, in a group and in a room, in order and once, over reconnects of either.

mod bounds;
mod d2020_12;
mod d2024_01;
mod d2025_08;
mod doors;
mod gaps;
mod groups;
mod rooms;
mod wire;

use gim_proto::{
    business::{FriendAgreeRequest, SignInReply, friend_ext_service_client::FriendExtServiceClient},
    client::Client,
    connect::{Message, MessageCommand, PacketCommand, SendRequest, SubscribeRoomRequest, send_request::Target},
    content::Text,
    logic::{GroupMessagePush, SyncReply, SyncRequest, UserMessagePush},
    metadata,
};
use prost::Message as _;
use tonic::{Status, transport::Channel};

use self::wire::{Asked, Heard, Way};
use crate::server::{Server, receive_message};

const ROOM: u64 = 77;

/// Runs a check of each dialect.
macro_rules! each_dialect {
    ($check:ident, $server:expr) => {
        $check::<super::d2025_08::Older>($server, super::d2025_08::NAME);
        $check::<super::d2024_01::Older>($server, super::d2024_01::NAME);
        $check::<super::d2020_12::Older>($server, super::d2020_12::NAME);
    };
}
use each_dialect;

/// What a client showed: where it was said, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    spot: Spot,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// By this user.
    User(u64),
    Group(u64),
    Room,
}

/// A client of an older dialect, as the READMEs of its time have it.
pub trait OlderClient {
    /// The dialect.
    const NAME: &'static str;
    /// Registers a device and signs a phone number in on it.
    fn sign_in(server: &Server, phone_number: &str) -> Self
    where
        Self: Sized,
    {
        let device_id = Self::register_at(server, server.older_channel(Self::NAME)).unwrap();
        Self::sign_in_on(server, phone_number, device_id, None).unwrap()
    }
    /// Signs a phone number in on a device, and shows who was there before.
    fn sign_in_on(server: &Server, phone_number: &str, device_id: u64, former: Option<&Self>) -> Result<Self, Status>
    where
        Self: Sized;
    fn user_id(&self) -> u64;
    /// What it says first on a long connection.
    fn credentials(&self) -> Asked;
    /// The frame that asks this.
    fn frame(asked: &Asked) -> Vec<u8>;
    /// What a frame of the server says.
    fn heard(frame: &[u8]) -> Heard;
    /// Connects, enters the room, and syncs to the end.
    fn connect(&mut self, server: &Server, way: Way);
    fn disconnect(&mut self);
    fn add_friend(&self, server: &Server, user_id: u64);
    fn agree(&self, server: &Server, user_id: u64);
    fn friends(&self, server: &Server) -> Vec<u64>;
    fn make_group(&self, server: &Server, member_id: u64) -> u64;
    fn members(&self, server: &Server, group_id: u64) -> Vec<u64>;
    /// Asks for all of the caller's groups.
    fn list_groups(&self, server: &Server) -> Result<(), Status>;
    /// Adds these to a group; those whom the answer names, where it names some.
    fn add_members(&self, server: &Server, group_id: u64, user_ids: &[u64]) -> Result<Option<Vec<u64>>, Status>;
    fn send_to_friend(&self, server: &Server, user_id: u64, text: &str);
    fn send_to_group(&self, server: &Server, group_id: u64, text: &str);
    /// False where there are no rooms.
    fn push_to_room(&self, server: &Server, text: &str) -> bool {
        let pushed = self.push_to_room_as(server, 0, text.to_owned().into());
        pushed.map(Result::unwrap).is_some()
    }
    /// The same of any content, under a code or a command; none where there are no rooms.
    fn push_to_room_as(&self, server: &Server, number: i32, content: Vec<u8>) -> Option<Result<(), Status>>;
    /// What an app of the dialect takes for a message of this user, where it comes as a private one.
    fn said_by(user_id: u64, text: &str) -> Vec<u8>;
    /// Calls all methods that nothing above calls; the caller made the group, and the user is in it no longer then.
    fn call_the_rest(&self, server: &Server, friend_id: u64, group_id: u64);
    /// What somebody hears who has no right code.
    fn sign_in_wrongly(server: &Server, phone_number: &str) -> Status;
    /// Registers so many devices, all at once; how often it is refused, and why.
    fn register(server: &Server, count: usize) -> Vec<Status>;
    /// Registers a device over this channel.
    fn register_at(server: &Server, channel: Channel) -> Result<u64, Status> {
        Self::register_of(server, channel, 1)
    }
    /// The same of one of this type.
    fn register_of(server: &Server, channel: Channel, r#type: i32) -> Result<u64, Status>;
    /// Waits for the next push, and shows it if it says something. False where the connection ended, also with a sentence.
    fn try_take_push(&mut self) -> bool;
    fn shown(&self) -> &[Shown];
}

/// A client of today.
struct NewClient {
    identity: SignInReply,
    connection: Option<Client>,
    seq: u64,
    shown: Vec<Shown>,
    sends: u32,
}

impl NewClient {
    fn sign_in(server: &Server, phone_number: &str) -> Self {
        let identity = server.business_sign_in(phone_number);
        Self { identity, connection: None, seq: 0, shown: Vec::new(), sends: 0 }
    }

    fn connect(&mut self, server: &Server) {
        let mut connection = server.connect_as(&self.identity);
        let room = SubscribeRoomRequest { room_id: ROOM, ..SubscribeRoomRequest::default() };
        assert_eq!(connection.request(PacketCommand::PcSubscribeRoom as i32, room.encode_to_vec()).unwrap().code, 0);
        let request = SyncRequest { seq: self.seq, from_start: true, ..SyncRequest::default() };
        let reply = connection.request(PacketCommand::PcSync as i32, request.encode_to_vec()).unwrap();
        self.connection = Some(connection);
        SyncReply::decode(reply.data).unwrap().messages.into_iter().for_each(|message| self.take(message));
    }

    fn send(&mut self, target: Target, text: &str) {
        let command = match target {
            Target::GroupId(_) => MessageCommand::McGroupMessage,
            Target::UserId(_) | Target::RoomId(_) => MessageCommand::McUserMessage,
        };
        self.send_as(target, command as i32, text.to_owned().into());
    }

    fn send_as(&mut self, target: Target, command: i32, content: Vec<u8>) {
        self.sends += 1;
        let (client_msg_id, content) = (self.sends.to_string(), content.into());
        let request = SendRequest { target: Some(target), command, content, client_msg_id };
        let connection = self.connection.as_mut().unwrap();
        let reply = connection.request(PacketCommand::PcSend as i32, request.encode_to_vec()).unwrap();
        assert_eq!((reply.code, reply.message.as_str()), (0, ""));
    }

    fn read_until(&mut self, text: &str) {
        while self.shown.last().is_none_or(|shown| shown.text != text) {
            let message = receive_message(self.connection.as_mut().unwrap());
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        if message.seq != 0 {
            assert_eq!(message.prev_seq + 1, message.seq);
            // A push and a page may bring the same message, which is known by its seq.
            if message.seq <= self.seq {
                return;
            }
            self.seq = message.seq;
        }
        if !message.is_from_user {
            return;
        }
        let user = UserMessagePush::decode(message.content.clone()).unwrap();
        // A text with a type, or plain bytes as what it says.
        let text = |content: &[u8]| match message.command {
            command if command == MessageCommand::McText as i32 => Text::decode(content).unwrap().text,
            _ => text(content),
        };
        let shown = if message.room_id != 0 {
            Shown { spot: Spot::Room, text: text(&user.content) }
        } else if message.group_id != 0 {
            let group = GroupMessagePush::decode(message.content.clone()).unwrap();
            Shown { spot: Spot::Group(group.group_id), text: text(&group.content) }
        } else {
            Shown { spot: Spot::User(user.from_user.unwrap().user_id), text: text(&user.content) }
        };
        self.shown.push(shown);
    }
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

fn read_until(client: &mut impl OlderClient, text: &str) {
    while client.shown().last().is_none_or(|shown| shown.text != text) {
        assert!(client.try_take_push(), "the connection ended before: {text}");
    }
}

/// Two clients of a dialect among themselves, who connect by `ways` in turn: each sees all that the other says, in order and once.
pub fn chat_among_themselves<C: OlderClient>(ways: [Way; 2]) {
    let server = Server::start_for_older_clients();
    let (mut ada, mut bob) = (C::sign_in(&server, "13800000001"), C::sign_in(&server, "13800000002"));
    let (ada_id, bob_id) = (ada.user_id(), bob.user_id());
    ada.add_friend(&server, bob_id);
    bob.agree(&server, ada_id);
    assert_eq!((ada.friends(&server), bob.friends(&server)), (vec![bob_id], vec![ada_id]));
    ada.connect(&server, ways[0]);
    bob.connect(&server, ways[1]);
    ada.send_to_friend(&server, bob_id, "one");
    read_until(&mut bob, "one");
    bob.send_to_friend(&server, ada_id, "two");
    read_until(&mut ada, "two");
    let group_id = make_group(&server, &mut ada, bob_id);
    ada.send_to_group(&server, group_id, "three");
    read_until(&mut bob, "three");
    bob.send_to_group(&server, group_id, "four");
    read_until(&mut ada, "four");
    let has_rooms = ada.push_to_room(&server, "five");
    if has_rooms {
        read_until(&mut bob, "five");
    }
    ada.disconnect();
    bob.send_to_friend(&server, ada_id, "six");
    bob.send_to_group(&server, group_id, "seven");
    ada.connect(&server, ways[1]);
    bob.disconnect();
    ada.send_to_friend(&server, bob_id, "eight");
    bob.connect(&server, ways[0]);
    ada.send_to_group(&server, group_id, "nine");
    read_until(&mut bob, "nine");

    let (by_ada, by_bob, in_group) = (Spot::User(ada_id), Spot::User(bob_id), Spot::Group(group_id));
    let shown = |(spot, text): &(Spot, &str)| Shown { spot: *spot, text: (*text).to_owned() };
    // What a client itself says it knows; when it comes back it may hear it once more.
    let heard = |client: &C, own: &[&str]| -> Vec<Shown> {
        client.shown().iter().filter(|shown| !own.contains(&shown.text.as_str())).cloned().collect()
    };
    let to_ada = [(by_bob, "two"), (in_group, "four"), (by_bob, "six"), (in_group, "seven")];
    assert_eq!(heard(&ada, &["one", "three", "five", "eight", "nine"]), to_ada.iter().map(shown).collect::<Vec<_>>());
    let mut to_bob =
        vec![(by_ada, "one"), (in_group, "three"), (Spot::Room, "five"), (by_ada, "eight"), (in_group, "nine")];
    to_bob.retain(|(spot, _)| *spot != Spot::Room || has_rooms);
    assert_eq!(heard(&bob, &["two", "four", "six", "seven"]), to_bob.iter().map(shown).collect::<Vec<_>>());
}

fn befriend(server: &Server, old: &mut impl OlderClient, friend: &SignInReply) {
    let SignInReply { user_id: friend_id, device_id, token, .. } = friend;
    old.add_friend(server, *friend_id);
    let agreed = FriendAgreeRequest { user_id: old.user_id(), remarks: String::new() };
    let agreed = metadata::signed(agreed, *friend_id, *device_id, token);
    server.call(FriendExtServiceClient::new(server.business()).agree(agreed)).unwrap();
    assert_eq!(old.friends(server), [*friend_id]);
}

/// A group of the two.
fn make_group(server: &Server, old: &mut impl OlderClient, friend_id: u64) -> u64 {
    let group_id = old.make_group(server, friend_id);
    let mut members = old.members(server, group_id);
    members.sort_unstable();
    let mut both = [old.user_id(), friend_id];
    both.sort_unstable();
    assert_eq!(members, both);
    group_id
}

/// Lives through everything, connecting by `ways` in turn.
pub fn chat_beside_a_new_client<C: OlderClient>(ways: [Way; 2]) {
    let server = Server::start_for_older_clients();
    let mut old = C::sign_in(&server, "13800000001");
    let mut second = NewClient::sign_in(&server, "13800000001");
    let mut friend = NewClient::sign_in(&server, "13800000002");
    let (user_id, friend_id) = (old.user_id(), friend.identity.user_id);
    assert_eq!(user_id, second.identity.user_id);

    befriend(&server, &mut old, &friend.identity);
    old.connect(&server, ways[0]);
    [&mut second, &mut friend].into_iter().for_each(|client| client.connect(&server));
    friend.send(Target::UserId(user_id), "one");
    read_until(&mut old, "one");
    second.read_until("one");
    old.send_to_friend(&server, friend_id, "two");
    second.read_until("two");
    friend.read_until("two");
    let group_id = make_group(&server, &mut old, friend_id);
    friend.send(Target::GroupId(group_id), "three");
    read_until(&mut old, "three");
    second.read_until("three");
    old.send_to_group(&server, group_id, "four");
    second.read_until("four");
    friend.read_until("four");
    friend.send(Target::RoomId(ROOM), "five");
    second.read_until("five");
    let has_rooms = old.push_to_room(&server, "six");
    if has_rooms {
        read_until(&mut old, "five");
        second.read_until("six");
        friend.read_until("six");
    }

    old.disconnect();
    friend.send(Target::UserId(user_id), "seven");
    second.read_until("seven");
    old.connect(&server, ways[1]);
    second.connection = None;
    friend.send(Target::GroupId(group_id), "eight");
    read_until(&mut old, "eight");
    second.connect(&server);
    second.send(Target::UserId(friend_id), "nine");
    read_until(&mut old, "nine");
    old.disconnect();
    old.connect(&server, ways[0]);

    let shown = |spot: Spot, text: &str| Shown { spot, text: text.to_owned() };
    let (of_friend, of_user, of_group) = (Spot::User(friend_id), Spot::User(user_id), Spot::Group(group_id));
    let mut all = vec![
        shown(of_friend, "one"),
        shown(of_user, "two"),
        shown(of_group, "three"),
        shown(of_group, "four"),
        shown(Spot::Room, "five"),
        shown(Spot::Room, "six"),
        shown(of_friend, "seven"),
        shown(of_group, "eight"),
        shown(of_user, "nine"),
    ];
    all.retain(|shown| shown.spot != Spot::Room || has_rooms);
    // What a device itself says it knows, and does not hear.
    let without = |texts: &[&str]| -> Vec<_> {
        all.iter().filter(|shown| !texts.contains(&shown.text.as_str())).cloned().collect()
    };
    let heard = |shown: &[Shown], own: &[&str]| -> Vec<_> {
        let is_heard = |shown: &&Shown| shown.spot != Spot::Room || has_rooms;
        shown.iter().filter(is_heard).filter(|shown| !own.contains(&shown.text.as_str())).cloned().collect()
    };
    let own_of_old = ["two", "four", "six"];
    assert_eq!(heard(old.shown(), &own_of_old), without(&own_of_old));
    assert_eq!(heard(&second.shown, &["nine"]), without(&["nine"]));
}
