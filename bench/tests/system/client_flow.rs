//! The flow of a client that was written for gim in Go, unchanged: nothing in it is of ours.

use gim_proto::{
    connect::{PacketCommand, SubscribeRoomRequest},
    logic::{PushRoomRequest, room_int_service_client::RoomIntServiceClient},
};
use prost::Message as _;

use crate::server::{Server, receive_message};

#[test]
fn a_client_of_gim_signs_in_beats_and_gets_what_is_pushed() {
    let server = Server::start();
    let identity = server.business_sign_in("13800000001");
    assert!(identity.is_new && identity.user_id > 0 && identity.device_id > 0 && !identity.token.is_empty());

    let mut client = server.connect();
    let reply = client.sign_in(identity.user_id, identity.device_id, &identity.token).unwrap();
    assert_eq!(reply.code, 0, "{}", reply.message);
    assert_eq!(client.heartbeat().unwrap(), 0);
    let content = SubscribeRoomRequest { room_id: 77, ..SubscribeRoomRequest::default() }.encode_to_vec();
    assert_eq!(client.request(PacketCommand::PcSubscribeRoom as i32, content).unwrap().code, 0);

    let message_id = server.push_to_users(&[identity.user_id], "for you");
    let message = receive_message(&mut client);
    assert_eq!((message.message_id, message.seq, message.prev_seq), (message_id, 1, 0));
    assert_eq!((message.command, &message.content[..], message.room_id), (2001, &b"for you"[..], 0));
    assert!(message.created_at > 1_700_000_000);

    let request = PushRoomRequest { room_id: 77, command: 2002, content: "for the room".into(), ..Default::default() };
    server.call(RoomIntServiceClient::new(server.logic()).push_room(request)).unwrap();
    let message = receive_message(&mut client);
    assert_eq!((message.command, &message.content[..]), (2002, &b"for the room"[..]));
    assert_eq!((message.room_id, message.room_seq, message.seq), (77, 1, 0));
}
