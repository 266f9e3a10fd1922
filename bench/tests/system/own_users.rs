//! A backend that brings its own users implements `UserIntService/Auth`, and nothing else.

use gim_proto::{
    ResultCode,
    connect::{PacketCommand, SendReply, SendRequest, send_request::Target},
    logic::UserMessagePush,
};
use prost::Message as _;

use crate::{
    server::{Server, receive_message},
    ticket_backend::{serve_own_users, serve_users_of_gim, token_of},
};

#[test]
fn a_backend_with_its_own_users_needs_only_auth() {
    let server = Server::start_with_business(serve_own_users);
    let mut stranger = server.connect();
    let refused = stranger.sign_in(7, 70, "forged").unwrap();
    assert_eq!(refused.code, ResultCode::SignInAgain.number());

    let [mut ada, mut bob] = [(7, 70), (8, 80)].map(|(user_id, device_id)| {
        let mut client = server.connect();
        assert_eq!(client.sign_in(user_id, device_id, &token_of(user_id)).unwrap().code, 0);
        client
    });
    let request = SendRequest {
        target: Some(Target::UserId(8)),
        content: "hello".into(),
        client_msg_id: "1".into(),
        ..SendRequest::default()
    };
    let reply = ada.request(PacketCommand::PcSend as i32, request.encode_to_vec()).unwrap();
    assert_eq!(reply.code, 0, "{}", reply.message);
    let sent = SendReply::decode(reply.data).unwrap();
    let message = receive_message(&mut bob);
    assert_eq!((message.message_id, message.seq), (sent.message_id, 1));
    let push = UserMessagePush::decode(message.content).unwrap();
    assert_eq!(push.from_user.map(|card| (card.user_id, card.device_id)), Some((7, 70)));
    assert_eq!((push.to_user_id, &push.content[..]), (8, &b"hello"[..]));

    server.push_to_users(&[7], "from the backend");
    assert_eq!(&receive_message(&mut ada).content[..], b"from the backend");
}

#[test]
fn a_backend_of_gim_refuses_by_the_number_of_the_status() {
    let server = Server::start_with_business(serve_users_of_gim);
    let mut client = server.connect();
    let refused = client.sign_in(7, 70, "expired").unwrap();
    assert_eq!(refused.code, ResultCode::SignInAgain.number(), "{}", refused.message);
    assert_eq!(client.sign_in(7, 70, &token_of(7)).unwrap().code, 0);

    let mut send = |user_id| {
        let target = Some(Target::UserId(user_id));
        let request = SendRequest { target, client_msg_id: "1".into(), ..SendRequest::default() };
        client.request(PacketCommand::PcSend as i32, request.encode_to_vec()).unwrap().code
    };
    assert_eq!(send(8), ResultCode::NotFriends.number(), "what it says by MayWrite");
    assert_eq!(send(7), ResultCode::UserNotFound.number(), "and by GetUser");
}
