//! What is rewritten, held against the dialect's own messages.

use gim_proto::{
    CloseReason,
    connect::{CloseNotice, Message as Today, MessageCommand, MessageStatus as TodaysStatus, PacketCommand, Reply},
    logic::{self as todays, MessageAckRequest, SyncReply, SyncRequest},
};
use proptest::prelude::*;
use prost::Message as _;

use super::{
    PACKETS,
    wire::{
        Input, Message, MessageAck, MessageStatus, Output, PackageType, PushCode, Sender, SyncInput, SyncOutput,
        UserMessagePush,
    },
};
use crate::packets::{Packet, Packets as _, Scratch, UNKNOWN, asked_as};

fn written(command: PacketCommand, request_id: &str, content: &[u8]) -> Option<Output> {
    let mut frame = Vec::new();
    let is_said = PACKETS.write(&Packet { request_id, command: command as i32, content }, &mut frame);
    assert!(is_said || frame.is_empty());
    is_said.then(|| Output::decode(&frame[..]).unwrap())
}

fn pushed(message: &Today) -> Option<Message> {
    let output = written(PacketCommand::PcMessage, "", &message.encode_to_vec())?;
    assert_eq!((output.r#type(), output.request_id, output.code), (PackageType::PtMessage, 0, 0));
    Some(Message::decode(output.data).unwrap())
}

fn read(r#type: PackageType, request_id: i64, data: &[u8], check: impl FnOnce(Packet<'_>)) {
    let input = Input { r#type: r#type as i32, request_id, data: data.to_vec().into() };
    let (frame, mut scratch) = (input.encode_to_vec(), Scratch::default());
    check(PACKETS.read(&frame, &mut scratch).unwrap());
}

/// A message of a user to another one.
fn said(command: MessageCommand) -> Today {
    let card = todays::User { user_id: 5, device_id: 6, nickname: "n".into(), ..todays::User::default() };
    let push = todays::UserMessagePush { from_user: Some(card), to_user_id: 9, content: "hi".into() };
    let (command, content, is_from_user) = (command as i32, push.encode_to_vec().into(), true);
    Today {
        command,
        content,
        seq: 7,
        prev_seq: 6,
        created_at: 1,
        created_at_ms: 1_234,
        is_from_user,
        ..Today::default()
    }
}

fn old(code: PushCode) -> Message {
    let sender = Sender { user_id: 5, device_id: 6, nickname: "n".into(), ..Sender::default() };
    let push = UserMessagePush { sender: Some(sender), receiver_id: 9, content: "hi".into() };
    let content = push.encode_to_vec().into();
    Message { code: code as i32, content, seq: 7, send_time: 1_234, ..Message::default() }
}

#[test]
fn what_is_asked_becomes_todays() {
    let sync = SyncInput { seq: 8 }.encode_to_vec();
    read(PackageType::PtSync, -3, &sync, |packet| {
        assert_eq!((packet.request_id, packet.command), ("-3", PacketCommand::PcSync as i32));
        assert_eq!(SyncRequest::decode(packet.content).unwrap().seq, 8);
    });
    let ack = MessageAck { device_ack: 8, receive_time: 1 }.encode_to_vec();
    read(PackageType::PtMessage, 4, &ack, |packet| {
        assert_eq!((packet.request_id, packet.command), ("", PacketCommand::PcMessageAck as i32));
        assert_eq!(MessageAckRequest::decode(packet.content).unwrap().device_ack, 8);
    });
    read(PackageType::PtHeartbeat, 0, b"", |packet| {
        assert_eq!((packet.request_id, packet.command), ("", PacketCommand::PcHeartbeat as i32));
    });
    for r#type in [6, 7, 10, 1_000, i32::MAX, i32::MIN] {
        let (frame, mut scratch) = (Input { r#type, ..Input::default() }.encode_to_vec(), Scratch::default());
        assert!(PACKETS.read(&frame, &mut scratch).unwrap().command < 0, "{type}");
    }
}

#[test]
fn an_answer_repeats_type_and_request() {
    let reply = Reply { code: 10_000, message: "m".into(), data: "d".into() }.encode_to_vec();
    let expected = Output {
        r#type: PackageType::PtSignIn as i32,
        request_id: -3,
        code: 10_000,
        message: "m".into(),
        ..Output::default()
    };
    assert_eq!(written(PacketCommand::PcSignIn, "-3", &reply).unwrap(), expected);
    let beat = Output { r#type: PackageType::PtHeartbeat as i32, request_id: 4, ..Output::default() };
    assert_eq!(written(PacketCommand::PcHeartbeat, "4", b"").unwrap(), beat);
    let notice = CloseNotice { reason: CloseReason::CrKicked as i32, message: "m".into(), ..CloseNotice::default() };
    let goodbye = written(PacketCommand::PcClose, "", &notice.encode_to_vec()).unwrap();
    assert_eq!(goodbye, Output { code: 10_000, message: "m".into(), ..Output::default() });
}

#[test]
fn a_page_is_of_messages_as_they_are_pushed() {
    let page =
        SyncReply { messages: vec![said(MessageCommand::McUserMessage)], has_more: true, ..SyncReply::default() };
    let reply = Reply { data: page.encode_to_vec().into(), ..Reply::default() }.encode_to_vec();
    let output = written(PacketCommand::PcSync, "9", &reply).unwrap();
    assert_eq!((output.r#type(), output.request_id), (PackageType::PtSync, 9));
    let expected = SyncOutput { messages: vec![old(PushCode::PcUserMessage)], has_more: true };
    assert_eq!(SyncOutput::decode(output.data).unwrap(), expected);
}

#[test]
fn a_page_that_cannot_be_read_is_refused_as_a_whole() {
    let page =
        SyncReply { messages: vec![said(MessageCommand::McUserMessage)], has_more: true, ..SyncReply::default() };
    let data = [page.encode_to_vec(), vec![0x0a, 1, 0xff]].concat().into();
    let output = written(PacketCommand::PcSync, "9", &Reply { data, ..Reply::default() }.encode_to_vec()).unwrap();
    assert_eq!((output.r#type(), output.request_id, output.code), (PackageType::PtSync, 9, 2));
    assert!(output.data.is_empty());
}

#[test]
fn a_hint_is_an_empty_page_that_is_not_the_last() {
    let output = written(PacketCommand::PcSyncHint, "", b"").unwrap();
    assert_eq!((output.r#type(), output.request_id, output.code), (PackageType::PtSync, 0, 0));
    assert_eq!(SyncOutput::decode(output.data).unwrap(), SyncOutput { has_more: true, ..SyncOutput::default() });
}

#[test]
fn what_is_said_stands_under_the_numbers_of_then() {
    assert_eq!(pushed(&said(MessageCommand::McUserMessage)).unwrap(), old(PushCode::PcUserMessage));
    let to_group = Today { group_id: 9, ..said(MessageCommand::McGroupMessage) };
    assert_eq!(pushed(&to_group).unwrap(), old(PushCode::PcGroupMessage));
}

#[test]
fn in_a_room_content_is_what_was_said_and_has_no_code_of_the_dialect() {
    let in_room = |message: Today| {
        let Message { code, content, seq, .. } = pushed(&Today { room_id: 77, seq: 0, ..message }).unwrap();
        assert_eq!(seq, 0);
        (code, content)
    };
    let user = said(MessageCommand::McUserMessage);
    assert_eq!(in_room(user.clone()), (0, "hi".into()));
    assert_eq!(in_room(Today { command: 2_001, ..user.clone() }), (2_001, "hi".into()));
    // Where the settings let users take numbers of the server.
    assert_eq!(in_room(Today { command: PushCode::PcAddFriend as i32, ..user.clone() }), (0, "hi".into()));
    // A service may wrap a plain message, or not; its news are its own.
    let service = Today { is_from_user: false, ..user };
    assert_eq!(in_room(service.clone()), (0, "hi".into()));
    assert_eq!(in_room(Today { content: "hi".into(), ..service.clone() }), (0, "hi".into()));
    let news = Today { command: MessageCommand::McUpdateGroup as i32, content: "hi".into(), ..service };
    assert_eq!(in_room(news), (PushCode::PcUpdateGroup as i32, "hi".into()));
}

#[test]
fn a_recall_has_its_word_and_what_has_none_keeps_its_seq() {
    let gone = |status: TodaysStatus| {
        let (command, status) = (MessageCommand::McUserMessage as i32, status as i32);
        pushed(&Today { command, status, seq: 8, ..Today::default() }).unwrap()
    };
    let recalled = gone(TodaysStatus::MsRecalled);
    assert_eq!((recalled.code, recalled.seq, recalled.status()), (0, 8, MessageStatus::MsRecall));
    assert_eq!(gone(TodaysStatus::MsExpired), Message { seq: 8, ..Message::default() });
    let in_no_inbox = Today { status: TodaysStatus::MsRecalled as i32, group_id: 8, group_seq: 3, ..Today::default() };
    assert_eq!(pushed(&in_no_inbox), None);
    assert_eq!(pushed(&Today { command: MessageCommand::McRead as i32, ..Today::default() }), None);
    assert_eq!(pushed(&said(MessageCommand::McText)).unwrap().code, MessageCommand::McText as i32);
}

proptest! {
    #[test]
    fn frames_are_judged_as_prost_judges_them(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut scratch = Scratch::default();
        if let (Ok(packet), Ok(input)) = (PACKETS.read(&bytes, &mut scratch), Input::decode(&bytes[..])) {
            let request_id = if input.request_id == 0 || packet.command == PacketCommand::PcMessageAck as i32 {
                String::new()
            } else {
                input.request_id.to_string()
            };
            if packet.command == UNKNOWN {
                prop_assert_eq!(asked_as(packet.request_id), (input.r#type, &input.request_id.to_string()[..]));
            } else {
                prop_assert_eq!(packet.request_id, request_id);
            }
        }
    }
}
