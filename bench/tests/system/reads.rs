//! What a user reads, over the long connection: one packet that nobody answers, and the other user is told.

use gim_proto::{
    connect::{MessageCommand, Packet, PacketCommand, SendReply, SendRequest, send_request::Target},
    logic::{ConversationReadPush, ConversationReadRequest, conversation_read_request::Peer},
};
use prost::Message as _;

use crate::server::{Server, receive_message};

#[test]
fn a_read_without_a_request_id_is_told_to_the_sender_and_not_answered() {
    let server = Server::start();
    let (alice, bob) = (server.business_sign_in("13800000001"), server.business_sign_in("13800000002"));
    let (mut of_alice, mut of_bob) = (server.connect_as(&alice), server.connect_as(&bob));
    let send = SendRequest {
        target: Some(Target::UserId(bob.user_id)),
        content: "read me".into(),
        client_msg_id: "1".into(),
        ..SendRequest::default()
    };
    let reply = of_alice.request(PacketCommand::PcSend as i32, send.encode_to_vec()).unwrap();
    let sent = SendReply::decode(reply.data).unwrap();
    let message = receive_message(&mut of_bob);
    let read = |message_id| {
        let peer = Some(Peer::UserId(alice.user_id));
        ConversationReadRequest { peer, seq: 0, message_id }.encode_to_vec()
    };
    let content = read(message.message_id).into();
    let silent = Packet { command: PacketCommand::PcRead as i32, content, ..Packet::default() };
    of_bob.send(&silent).unwrap();
    let told = receive_message(&mut of_alice);
    assert_eq!((told.command(), told.seq), (MessageCommand::McRead, 0));
    let push = ConversationReadPush::decode(told.content).unwrap();
    let expected =
        ConversationReadPush { user_id: bob.user_id, group_id: 0, seq: sent.seq, message_id: sent.message_id };
    assert_eq!(push, expected);
    let answered = of_bob.request(PacketCommand::PcRead as i32, read(message.message_id)).unwrap();
    assert_eq!((answered.code, of_bob.take_set_aside()), (0, None), "the one before was not answered");
}

#[test]
fn five_hundred_reads_without_a_request_id_are_one_event() {
    const READS: usize = 500;
    let server = Server::start();
    let (alice, bob) = (server.business_sign_in("13800000003"), server.business_sign_in("13800000004"));
    let (mut of_alice, mut of_bob) = (server.connect_as(&alice), server.connect_as(&bob));
    let send =
        SendRequest { target: Some(Target::UserId(bob.user_id)), client_msg_id: "1".into(), ..SendRequest::default() };
    let reply = of_alice.request(PacketCommand::PcSend as i32, send.encode_to_vec()).unwrap();
    let sent = SendReply::decode(reply.data).unwrap();
    receive_message(&mut of_bob);
    let request =
        ConversationReadRequest { peer: Some(Peer::UserId(alice.user_id)), seq: 0, message_id: sent.message_id };
    let content: bytes::Bytes = request.encode_to_vec().into();
    let silent = Packet { command: PacketCommand::PcRead as i32, content, ..Packet::default() };
    for _ in 0..READS {
        of_bob.send(&silent).unwrap();
    }
    assert_eq!(receive_message(&mut of_alice).command(), MessageCommand::McRead);
    // What came after the reads is pushed after what they caused.
    let back = SendRequest {
        target: Some(Target::UserId(alice.user_id)),
        client_msg_id: "2".into(),
        ..SendRequest::default()
    };
    of_bob.request(PacketCommand::PcSend as i32, back.encode_to_vec()).unwrap();
    assert_ne!(receive_message(&mut of_alice).command(), MessageCommand::McRead);
}
