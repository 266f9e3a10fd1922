//! What is wrong on a long connection gets the reply or the close reason of PROTOCOL.md, and harms no other connection.

use std::time::Duration;

use gim_proto::{
    ResultCode,
    client::{Client, ClientError},
    connect::{CloseReason, PacketCommand},
};

use crate::server::{Server, receive_message};

/// A signed-in connection that must not notice anything.
struct Bystander {
    client: Client,
    user_id: u64,
}

impl Bystander {
    fn of(server: &Server) -> Self {
        let identity = server.business_sign_in("13800000009");
        Self { client: server.connect_as(&identity), user_id: identity.user_id }
    }

    fn assert_unharmed(mut self, server: &Server) {
        server.push_to_users(&[self.user_id], "still there?");
        assert_eq!(receive_message(&mut self.client).seq, 1);
    }
}

#[track_caller]
fn assert_closed(client: &mut Client, reason: CloseReason) {
    match client.receive().unwrap_err() {
        ClientError::Closed(Some(notice)) => assert_eq!(notice.reason, reason as i32, "{}", notice.message),
        other => panic!("{other}"),
    }
}

#[test]
fn garbage_and_oversized_frames_are_closed_with_their_reason() {
    let server = Server::start();
    let bystander = Bystander::of(&server);
    let cases: [(&[u8], CloseReason); 5] = [
        (
            b"GET / HTTP/1.1\r\nHost: gim.example\r\nAccept: everything there is\r\nConnection: close\r\n\r\n",
            CloseReason::CrBadFrame,
        ),
        (b"\x05\xff\xff\xff\xff\xff", CloseReason::CrBadFrame),
        (b"\x80\x00", CloseReason::CrBadFrame),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", CloseReason::CrBadFrame),
        (b"\x81\x80\x01", CloseReason::CrFrameTooLarge),
    ];
    for (bytes, reason) in cases {
        let mut client = server.connect();
        client.send_raw(bytes).unwrap();
        assert_closed(&mut client, reason);
    }
    bystander.assert_unharmed(&server);
}

#[test]
fn a_frame_over_the_limit_after_sign_in_is_closed_as_too_large() {
    let server = Server::start();
    let identity = server.business_sign_in("13800000010");
    let bystander = Bystander::of(&server);
    let mut client = server.connect_as(&identity);
    // A length of 64 KiB + 1, and not one byte of it.
    client.send_raw(b"\x81\x80\x04").unwrap();
    assert_closed(&mut client, CloseReason::CrFrameTooLarge);
    bystander.assert_unharmed(&server);
}

#[test]
fn unknown_and_early_commands_are_answered_and_the_connection_stays() {
    let server = Server::start();
    let identity = server.business_sign_in("13800000011");
    let mut client = server.connect();
    for command in [PacketCommand::PcHeartbeat as i32, PacketCommand::PcSync as i32, 500] {
        assert_eq!(client.request(command, "").unwrap().code, ResultCode::SignInAgain.number(), "command {command}");
    }
    let wrong = client.sign_in(identity.user_id, identity.device_id, "wrong").unwrap();
    assert_eq!(wrong.code, ResultCode::SignInAgain.number());
    assert_eq!(client.sign_in(identity.user_id, identity.device_id, &identity.token).unwrap().code, 0);
    for command in [0, 500, -1] {
        assert_eq!(client.request(command, "").unwrap().code, ResultCode::UnknownCommand.number(), "command {command}");
    }
    // A zero-length frame is an empty packet: command 0.
    client.send_raw(b"\x00").unwrap();
    assert_eq!(client.receive().unwrap().command, 0);
    let reply = client.request(PacketCommand::PcSync as i32, &b"\xff\xff"[..]).unwrap();
    assert_eq!(reply.code, ResultCode::BadRequest.number());
    assert_eq!(client.heartbeat().unwrap(), 0);
}

#[test]
fn half_a_frame_and_then_silence_is_closed_at_the_sign_in_deadline() {
    let server = Server::start_impatient(Duration::from_millis(300));
    let bystander = Bystander::of(&server);
    let mut client = server.connect();
    client.send_raw(b"\x20\x0a").unwrap();
    assert_closed(&mut client, CloseReason::CrSignInDeadline);
    assert_closed(&mut server.connect(), CloseReason::CrSignInDeadline);
    bystander.assert_unharmed(&server);
}
